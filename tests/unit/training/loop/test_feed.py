"""The order of data after a resume."""

from __future__ import annotations

import pytest
import torch

from milepost.training.loop.data.feed import DataFeed
from milepost.training.saving.rng import RandomCapture
from milepost.training.saving.snapshots import Boundary


@pytest.mark.parametrize("done", [0, 1, 5, 8])
def test_an_epoch_goes_on_in_the_same_order(done: int) -> None:
    """After a resume a shuffled loader gives the batches that were not done, and the generators go on the same."""
    capture = RandomCapture()
    loader = torch.utils.data.DataLoader(torch.arange(16), batch_size=2, shuffle=True)
    torch.manual_seed(3)
    feed = DataFeed(capture, tells_epoch=True)
    iterator = feed.begin(loader, Boundary(0), lambda count: None)
    for _ in range(done):
        next(iterator)
        torch.rand(1)
    boundary = Boundary(done, 0, done, capture.capture())
    state = feed.state()
    rest, after = [batch.tolist() for batch in iterator], torch.rand(1).item()
    torch.manual_seed(99)
    resumed = DataFeed(capture, tells_epoch=True)
    resumed.restore(state)
    again = resumed.begin(loader, boundary, lambda count: None)
    assert [batch.tolist() for batch in again] == rest
    assert torch.rand(1).item() == after

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


@pytest.mark.parametrize("own_generator", [False, True])
def test_behind_a_snapshot_between_two_epochs_the_next_one_has_its_own_order(own_generator: bool) -> None:
    """So it is after the end of a run that is extended. The order of the epoch before does not come again."""
    capture = RandomCapture()

    def loader() -> torch.utils.data.DataLoader[torch.Tensor]:
        generator = torch.Generator().manual_seed(1) if own_generator else None
        return torch.utils.data.DataLoader(torch.arange(16), batch_size=2, shuffle=True, generator=generator)

    torch.manual_seed(3)
    feed, data = DataFeed(capture, tells_epoch=True), loader()
    first = [batch.tolist() for batch in feed.begin(data, Boundary(0), lambda count: None)]
    feed.end_epoch()
    between, state = Boundary(8, 1, 0, capture.capture()), feed.state()
    iterator = feed.begin(data, between, lambda count: None)
    second = [next(iterator).tolist() for _ in range(3)]
    within, state_within = Boundary(11, 1, 3, capture.capture()), feed.state()
    second += [batch.tolist() for batch in iterator]
    after = torch.rand(1).item()
    assert second != first

    torch.manual_seed(99)
    resumed, data = DataFeed(capture, tells_epoch=True), loader()
    resumed.restore(state)
    iterator = resumed.begin(data, between, lambda count: None)
    assert [next(iterator).tolist() for _ in range(3)] == second[:3]
    for boundary, kept in ((within, state_within), (within, resumed.state())):
        torch.manual_seed(99)
        again, data = DataFeed(capture, tells_epoch=True), loader()
        again.restore(kept)
        assert [batch.tolist() for batch in again.begin(data, boundary, lambda count: None)] == second[3:]
        assert torch.rand(1).item() == after

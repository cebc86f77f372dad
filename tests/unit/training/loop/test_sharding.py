"""The parts of a batch that ranks get."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from milepost.errors import InvalidArgument
from milepost.training.loop.data.sharding import part_of, shard


@given(st.integers(1, 8), st.lists(st.integers(), min_size=8, max_size=40))
def test_the_parts_of_a_batch_are_the_batch(world_size: int, batch: list[int]) -> None:
    parts = [part_of(batch, rank, world_size) for rank in range(world_size)]
    assert list(chain(*parts)) == batch
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_ranks_together_see_the_batches_of_one_rank() -> None:
    """In every epoch, whatever has been drawn from the generators of the process meanwhile."""
    data = TensorDataset(torch.arange(32))

    def batches(rank: int, world_size: int, epoch: int) -> list[list[int]]:
        torch.rand(rank + 1)
        loader = shard(DataLoader(data, batch_size=8, shuffle=True), rank, world_size, seed=4)
        loader.batch_sampler.set_epoch(epoch)
        return [batch[0].tolist() for batch in loader]

    for epoch in (0, 1):
        whole = batches(0, 1, epoch)
        halves = [batches(rank, 2, epoch) for rank in (0, 1)]
        assert whole == [first + second for first, second in zip(*halves, strict=True)]
    assert batches(0, 1, 0) != batches(0, 1, 1)
    assert sorted(chain(*batches(0, 1, 0))) == list(range(32))


@pytest.mark.parametrize("loader", [[1, 2, 3], DataLoader(TensorDataset(torch.arange(1)))])
def test_what_cannot_be_divided_is_refused(loader: Any) -> None:
    with pytest.raises(InvalidArgument):
        shard(loader, 0, 2, 0)

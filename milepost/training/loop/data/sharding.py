"""Parts of a PyTorch loader's batches, one for each rank.

Every rank draws the same global batches and loads its own part of each. The order comes from a generator of the
sampler's own, set anew in each epoch, so it depends neither on what a rank has drawn otherwise nor on how many ranks
there are: a run with two ranks sees the batches of a run with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from milepost.errors import InvalidArgument, Violation


class RankBatches(Sampler[list[int]]):
    """The part of one rank of every batch of indices. A batch sampler."""

    # See `feed.OWN_SAMPLER`.
    milepost_tells_epoch = True

    def __init__(self, batches: Any, generator: torch.Generator, rank: int, world_size: int, seed: int) -> None:
        self._batches = batches
        self._generator = generator
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        self._generator.manual_seed(order_seed(self._seed, self._epoch))
        for batch in self._batches:
            yield part_of(batch, self._rank, self._world_size)


def order_seed(seed: int, epoch: int) -> int:
    """Return the seed of an epoch's order. Epochs of neighbouring seeds do not share orders."""
    return (seed * 1_000_003 + epoch) % 2**63


def part_of(batch: list[int], rank: int, world_size: int) -> list[int]:
    """Cut the part of one rank out of a batch: neighbouring parts, the first ones longer by one if it must be."""
    size, more = divmod(len(batch), world_size)
    if size == 0:
        raise InvalidArgument(
            [Violation("loader", f"a batch of {len(batch)} cannot be divided among {world_size} ranks; drop_last?")]
        )
    start = rank * size + min(rank, more)
    return batch[start : start + size + (1 if rank < more else 0)]


def shard(loader: Any, rank: int, world_size: int, seed: int) -> DataLoader[Any]:
    """Return a loader for one rank. See `Trial.shard`."""
    batches = getattr(loader, "batch_sampler", None)
    if batches is None:
        raise InvalidArgument([Violation("loader", "shard takes a DataLoader that makes batches of indices")])
    if len(loader.dataset) < world_size:
        raise InvalidArgument([Violation("loader", f"{len(loader.dataset)} examples for {world_size} ranks")])
    generator = torch.Generator()
    owners: tuple[Any, ...] = (batches, getattr(batches, "sampler", None))
    for owner in owners:
        if hasattr(owner, "generator"):
            owner.generator = generator
    workers: dict[str, Any] = {}
    if loader.num_workers:
        workers = {
            "prefetch_factor": loader.prefetch_factor,
            "persistent_workers": loader.persistent_workers,
            "multiprocessing_context": loader.multiprocessing_context,
        }
    return DataLoader(
        loader.dataset,
        batch_sampler=RankBatches(batches, generator, rank, world_size, seed),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        **workers,
    )

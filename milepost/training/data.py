"""Where a loop is in its data, and how to get there again.

The order of an epoch comes from the random generators as they were when the loader's iterator was made. They are
remembered; after a resume the iterator is made from the same states, the batches that are done are skipped, and then
the generators are put where they were at the boundary. A loader that has `state_dict` and `load_state_dict` skips by
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from milepost.training import rng
from milepost.training.rng import RandomCapture
from milepost.training.snapshots import Boundary, DataState


def loader_length(loader: Any) -> int | None:
    """Return the number of batches of an epoch; None where the loader cannot tell."""
    try:
        return len(loader)
    except TypeError:
        return None


def _generators(loader: Any) -> list[Any]:
    """Find the random generators that belong to a loader itself."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found: list[Any] = []
    for owner in owners:
        generator = getattr(owner, "generator", None)
        if generator is not None and hasattr(generator, "get_state") and all(generator is not other for other in found):
            found.append(generator)
    return found


def _set_epoch(loader: Any, epoch: int) -> None:
    """Tell a distributed sampler the epoch, without which every epoch has the same order."""
    sampler = getattr(loader, "sampler", None)
    for owner in (loader, sampler, getattr(loader, "batch_sampler", None)):
        if owner is not None and callable(getattr(owner, "set_epoch", None)):
            owner.set_epoch(epoch)
            return


class DataFeed:
    """Makes the iterators of one trial's loader."""

    def __init__(self, capture: RandomCapture) -> None:
        self._capture = capture
        self._restored: DataState | None = None
        self._loader: Any = None
        self._state = DataState()

    def restore(self, state: DataState) -> None:
        """Give the first iterator the state of a snapshot."""
        self._restored = state
        self._state = state

    def begin(self, loader: Iterable[Any], boundary: Boundary, on_skip: Callable[[int], None]) -> Iterator[Any]:
        """Make the iterator of the current epoch, after the batches of it that are done."""
        _set_epoch(loader, boundary.epoch)
        restored, self._restored = self._restored, None
        self._loader = loader
        if restored is None:
            self._state = DataState(self._capture.capture(), tuple(g.get_state() for g in _generators(loader)))
            iterator = iter(loader)
            # Batches that were done without `restore` having been asked for: the loop began in mid-epoch.
            return self._skip(iterator, boundary.batch, on_skip)
        if restored.loader is not None and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(restored.loader)
            iterator = iter(loader)
        else:
            for generator, state in zip(_generators(loader), restored.generators, strict=False):
                generator.set_state(state)
            if restored.random is not None:
                rng.restore(restored.random)
            iterator = self._skip(iter(loader), boundary.batch, on_skip)
        if boundary.random is not None:
            rng.restore(boundary.random)
        return iterator

    def _skip(self, iterator: Iterator[Any], count: int, on_skip: Callable[[int], None]) -> Iterator[Any]:
        if count and _skip_indices(iterator, count):
            on_skip(count)
            return iterator
        for done, _ in enumerate(islice(iterator, count), start=1):
            on_skip(done)
        return iterator

    def state(self) -> DataState:
        """Describe the loader of the current epoch for a snapshot."""
        loader = self._loader
        if loader is not None and hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict"):
            return DataState(self._state.random, self._state.generators, loader.state_dict())
        return self._state


def _skip_indices(iterator: Iterator[Any], count: int) -> bool:
    """Skip batches of a PyTorch loader that loads in this process, without loading them.

    What loading would have drawn from the random generators does not matter: they are put where they belong next.
    With worker processes it would, because they have generators of their own; there the batches are loaded.
    """
    if type(iterator).__name__ != "_SingleProcessDataLoaderIter":
        return False
    dataset_kind = getattr(iterator, "_dataset_kind", None)
    sampler_iterator = getattr(iterator, "_sampler_iter", None)
    if sampler_iterator is None or dataset_kind != 0:
        # An iterable data set has no indices.
        return False
    for _ in islice(sampler_iterator, count):
        iterator._num_yielded += 1  # type: ignore[attr-defined]
    return True

"""Where a loop is in its data, and how to get there again.

The order of an epoch comes from the random generators as they were when the loader's iterator was made. They are
remembered; after a resume the iterator is made from the same states, the batches that are done are skipped, and then
the generators are put where they were at the boundary. A loader that has `state_dict` and `load_state_dict` skips by
itself, unless that state is known to lose examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from milepost.training.loop.data.stream_shuffles import buffered_examples, order_of
from milepost.training.saving import rng
from milepost.training.saving.rng import RandomCapture
from milepost.training.saving.snapshots import Boundary, DataState
from milepost.training.user_code import given

# An attribute of samplers whose order depends on the epoch alone, which nobody but Milepost tells them.
OWN_SAMPLER = "milepost_tells_epoch"


def loader_length(loader: Any) -> int | None:
    """Return the number of batches of an epoch; None where the loader cannot tell, whatever it raises."""
    return given.ask(lambda: len(loader), None)


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


def _owner_of_epoch(loader: Any) -> Any | None:
    """Find what is to be told the epoch: a distributed sampler, without which every epoch has the same order."""
    for owner in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        if callable(getattr(owner, "set_epoch", None)):
            return owner
    return None


class DataFeed:
    """Makes the iterators of one trial's loader.

    Args:
        tells_epoch: distributed samplers are told the epoch, unless the loop tells them itself. A script that is only
            recorded has to compute what it computes by itself: there none is told but those of `shard`, which are ours.
        warn: says a problem, once.
    """

    def __init__(
        self, capture: RandomCapture, tells_epoch: bool, warn: Callable[[str, str], None] = lambda problem, text: None
    ) -> None:
        self._capture = capture
        self._warn = warn
        self._tells_epoch = tells_epoch
        # What a sampler was told last, by its id.
        self._told: dict[int, int] = {}
        self._restored: DataState | None = None
        self._loader: Any = None
        self._epoch = -1
        # Between two epochs there is no iterator that one could go on with.
        self._between = False
        self._state = DataState(known=False)

    def restore(self, state: DataState) -> None:
        """Give the first iterator the state of a snapshot."""
        self._restored = state
        self._state = state

    def _tell_epoch(self, loader: Any, epoch: int) -> None:
        owner = _owner_of_epoch(loader)
        if owner is None:
            return
        if not hasattr(owner, OWN_SAMPLER):
            told = self._told.get(id(owner), 0)
            if not self._tells_epoch or getattr(owner, "epoch", told) != told:
                return
        self._told[id(owner)] = epoch
        owner.set_epoch(epoch)

    def begin(self, loader: Iterable[Any], boundary: Boundary, on_skip: Callable[[int], None]) -> Iterator[Any]:
        """Make the iterator of the current epoch, after a resume behind the batches of it that are done."""
        self._tell_epoch(loader, boundary.epoch)
        restored, self._restored = self._restored, None
        several = self._epoch == boundary.epoch and self._loader is not None and boundary.batch > 0
        self._loader, self._epoch, self._between = loader, boundary.epoch, False
        if restored is None or not restored.known:
            # With several loaders in one epoch a number of batches says nothing.
            generators = tuple(g.get_state() for g in _generators(loader))
            self._state = DataState(self._capture.capture(), generators, known=not several, order=order_of(loader))
            return iter(loader)
        if restored.order != order_of(loader):
            self._warn(
                "order",
                "the stream is shuffled in another order than before the resume, so some examples come twice and some not "
                "at all: give its shuffle a seed",
            )
        if restored.loader is not None and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(restored.loader)
            iterator = iter(loader)
        else:
            for generator, state in zip(_generators(loader), restored.generators, strict=False):
                generator.set_state(state)
            if restored.random is None and not boundary.batch:
                # It was taken between two epochs: the order of this one is drawn now, and what is drawn stays drawn.
                if boundary.random is not None:
                    rng.restore(boundary.random)
                self._state = replace(restored, random=self._capture.capture())
                return iter(loader)
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

    def end_epoch(self) -> None:
        """Note that the iterator of the current epoch is at its end."""
        self._between = True

    def state(self) -> DataState:
        """Describe the loader of the current epoch for a snapshot; between two epochs, of the one that comes."""
        loader = self._loader
        if self._between and self._state.known and not hasattr(loader, "load_state_dict"):
            generators = tuple(generator.get_state() for generator in _generators(loader))
            return replace(self._state, random=None, generators=generators)
        if loader is None or not (hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")):
            return self._state
        buffered = buffered_examples(loader)
        if buffered:
            self._warn(
                "shuffle_buffer",
                f"the loader's own state leaves out the shuffle buffer of its stream, up to {buffered:,} examples: after a "
                "resume the batches that are done are read again and skipped, and no example is lost",
            )
            return self._state
        return replace(self._state, loader=loader.state_dict())


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

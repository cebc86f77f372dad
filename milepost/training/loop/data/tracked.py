"""A data loader that counts: the one that a loop has, with the batch monitor fed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Batch = TypeVar("Batch")


class Batches(Iterator[Batch]):
    """The batches of a loader. Its iterator is made when this one is asked for, as a loop would ask the loader itself.

    What that draws from the random generators is drawn then: not before, and not with the first batch.
    """

    def __init__(self, begin: Callable[[], Iterator[Batch]]) -> None:
        self._begin = begin
        self._iterator: Iterator[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if self._iterator is None:
            self._iterator = self._begin()
        return self._iterator

    def __next__(self) -> Batch:
        return next(iter(self))


class TrackedLoader:
    """Stands for a loader wherever the loop uses it. Each iteration over it is an epoch, counted from 0.

    Args:
        batches: goes through the batches of a loader, and counts them.
    """

    def __init__(self, loader: Any, batches: Callable[[Any], Iterator[Any]]) -> None:
        self._loader = loader
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches(self._loader))

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

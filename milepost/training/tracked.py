"""A data loader that counts: the one that a loop has, with the batch monitor fed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milepost.training.trial import Trial


class TrackedLoader:
    """Stands for a loader wherever the loop uses it. Each iteration over it is an epoch, counted from 0."""

    def __init__(self, trial: Trial, loader: Any) -> None:
        self._trial = trial
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        self._trial.leave_epoch()
        return self._trial.batches(self._loader)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

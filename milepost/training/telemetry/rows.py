"""Where the values of a step go: into the buffer, or to whoever takes what is not recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from milepost import series_names
from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.buffer import StepBuffer
from milepost.training.telemetry.means import AVERAGED, EXAMPLES


class Rows(Protocol):
    """Takes what a step logged. The loop waits for it, so it costs as little as it can."""

    def append(self, step: int, time: float, values: Mapping[str, Any], /) -> None:
        """Take one row; the time is in seconds since 1970."""
        ...


class WeightedRows:
    """Those of one of several ranks, with the number of examples behind a mean: of rank 0 everything, of others the mean."""

    def __init__(self, buffer: StepBuffer, rank: int, position: Position) -> None:
        self._buffer = buffer
        self._rank = rank
        self._position = position

    def append(self, step: int, time: float, values: Mapping[str, Any], /) -> None:
        values = series_names.flat(values)
        if AVERAGED in values:
            mine = values if self._rank == 0 else {AVERAGED: values[AVERAGED]}
            self._buffer.append(step, time, {**mine, EXAMPLES: max(1, self._position.examples)})
        elif self._rank == 0:
            self._buffer.append(step, time, values)


class IgnoredRows:
    """Those of a process that records nothing. `note` is told of each."""

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note

    def append(self, step: int, time: float, values: Mapping[str, Any], /) -> None:
        self._note()

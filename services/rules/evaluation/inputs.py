"""What the fold takes in besides events: messages of TELEMETRY, decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """Points of one series, by ascending step: step, ms since 1970 by the clock of the loop, value."""

    key: str
    steps: Sequence[int]
    times_ms: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Points:
    """A message with points.

    Attributes:
        time_ms: when it was stored, by the clock of the log's server.
        columns: by key.
    """

    runtime_id: str
    trial: int
    attempt: int
    sequence: int
    time_ms: int
    columns: tuple[Column, ...]

    @property
    def count(self) -> int:
        """How many points it has."""
        return sum(len(column.steps) for column in self.columns)


@dataclass(frozen=True, slots=True)
class Lines:
    """A message with lines of the log: the number of each in its message, step and text."""

    runtime_id: str
    trial: int
    attempt: int
    source: str
    number: int
    sequence: int
    time_ms: int
    lines: tuple[tuple[int, int, str], ...]

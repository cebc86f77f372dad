"""Parts of curves, kept: what a branch has of its ancestors, and ends that have to be read point by point.

An ancestor's part ends where somebody took a snapshot, and is the same in every query. So are the ends of parts, which lie
within a unit of the roll-ups.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from services.metrics.storage.selection import Pin, StepRange, TrialRef

MAX_KEPT = 500
MAX_BYTES = 32 * 2**20
# Rows of one answer; more are not kept.
MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Mark:
    """What an attempt has logged in the units that pieces touch: it is another one once there is a row more, or less."""

    rows: int
    last: Pin


# What there is of each attempt, series by series.
Marks = Mapping[tuple[TrialRef, int], tuple[Mark, ...]]


class KeptParts:
    """Answers about parts of curves: of those last used at most `MAX_KEPT`, of `MAX_BYTES` together."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Sequence[pa.Table]] = OrderedDict()
        self._bytes = 0

    @property
    def count(self) -> int:
        """How many answers are kept."""
        return len(self._kept)

    def find(self, question: Hashable | None) -> Sequence[pa.Table] | None:
        """Return what is kept as the answer to a question; None: nothing."""
        if question is None or question not in self._kept:
            return None
        self._kept.move_to_end(question)
        return self._kept[question]

    async def answer(
        self, question: Hashable | None, read: Callable[[], Awaitable[Sequence[pa.Table]]]
    ) -> Sequence[pa.Table]:
        """Return what is kept as the answer to a question; else read it, and keep it."""
        known = self.find(question)
        if known is None:
            known = await read()
            self.keep(question, known)
        return known

    def keep(self, question: Hashable | None, answer: Sequence[pa.Table]) -> None:
        """Keep an answer, unless it is long or the question has none that stays."""
        if question is None or sum(table.num_rows for table in answer) > MAX_ROWS:
            return
        self._bytes += _size(answer) - _size(self._kept.get(question, ()))
        self._kept[question] = answer
        while len(self._kept) > MAX_KEPT or self._bytes > MAX_BYTES:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(answer: Sequence[pa.Table]) -> int:
    return sum(table.nbytes for table in answer)


def question(
    pieces: Sequence[StepRange],
    keys: Sequence[str],
    shift: int | None,
    pin: Pin,
    marks: Marks,
) -> Hashable | None:
    """Return what an answer about pieces depends on; None: also on the position, as some rows lie behind it.

    Args:
        shift: of buckets; None: every point is read.
    """
    if any(piece.yields_to for piece in pieces):
        return None
    found = [marks.get((piece.trial, piece.attempt), ()) for piece in pieces]
    if any(mark.last > pin for of_piece in found for mark in of_piece):
        return None
    return tuple(pieces), tuple(keys), shift, tuple(found)

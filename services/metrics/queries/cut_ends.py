"""Buckets of the ends of pieces, kept: what is cut off within a unit of the roll-ups has to be read point by point.

The ends of what a branch has of its ancestors lie where somebody took a snapshot, and are the same in every query.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from services.metrics.storage.selection import Pin, StepRange, TrialRef

MAX_KEPT = 500
# Rows of one answer; more are not kept.
MAX_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Mark:
    """What an attempt has logged in the units that pieces touch: it is another one once there is a row more, or less."""

    rows: int
    last: Pin


class CutEnds:
    """Answers about the ends of pieces, the last used `MAX_KEPT` of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, pa.Table] = OrderedDict()

    @property
    def count(self) -> int:
        """How many answers are kept."""
        return len(self._kept)

    def find(self, question: Hashable | None) -> pa.Table | None:
        """Return what is kept as the answer to a question; None: nothing."""
        if question is None or question not in self._kept:
            return None
        self._kept.move_to_end(question)
        return self._kept[question]

    def keep(self, question: Hashable | None, answer: pa.Table) -> None:
        """Keep an answer, unless it is long or the question has none that stays."""
        if question is None or answer.num_rows > MAX_ROWS:
            return
        self._kept[question] = answer
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def question(
    pieces: Sequence[StepRange],
    keys: Sequence[str],
    shift: int,
    pin: Pin,
    marks: Mapping[tuple[TrialRef, int], tuple[Mark, ...]],
) -> Hashable | None:
    """Return what buckets of pieces depend on; None: also on the position, as some rows lie behind it."""
    if any(piece.yields_to for piece in pieces):
        return None
    found = [marks.get((piece.trial, piece.attempt), ()) for piece in pieces]
    if any(mark.last > pin for of_piece in found for mark in of_piece):
        return None
    return tuple(pieces), tuple(keys), shift, tuple(found)

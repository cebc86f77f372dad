"""Large views, encoded piece by piece: what has not changed since the last time is not encoded again.

A search of ten thousand trials is some ten million characters, of which a few thousand change between two checkpoints. To
write all of it would block everything else for seconds. The pieces of one trial are those of its view, which changes only
with the messages of its own chain. The entries of a history never change, and there are only ever more of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import cast

from milepost.domain.search import Entry
from services.readmodel.checkpoints import Codec, Encoded
from services.runtime.readmodel.view import RuntimeView, TrialView

# Trials from which on a view is large.
LARGE = 200


@dataclass(slots=True)
class _Known:
    """What is encoded of one view: trials with the sequence of their last message, and entries of the history, in order."""

    trials: dict[int, tuple[int, Encoded]] = field(default_factory=dict)
    entries: list[Encoded] = field(default_factory=list)
    first: Entry | None = None


class Pieces:
    """The pieces of all large views that were encoded, by runtime."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._known: dict[str, _Known] = {}

    def is_large(self, view: RuntimeView) -> bool:
        return len(view.trials) >= LARGE

    def prepare(self, view: RuntimeView, count: int) -> bool:
        """Encode some of what has changed. Returns whether that was all of it."""
        known, left = self._of(view), count
        entries = view.state.history.entries
        for entry in islice(entries, len(known.entries), len(known.entries) + count):
            known.entries.append(self._codec.piece(entry))
            left -= 1
        for number, one in view.trials.items():
            if left <= 0:
                return False
            if _is_other(known, number, one):
                known.trials[number] = (one.head.sequence, self._codec.piece(one))
                left -= 1
        return left > 0

    def encode(self, view: RuntimeView) -> bytes:
        """Return what the codec makes of a view."""
        while not self.prepare(view, len(view.trials) + len(view.state.history.entries) + 1):
            pass
        known = self._of(view)
        # Each in the place of what it is the encoded form of.
        trials = cast("dict[int, TrialView]", {number: known.trials[number][1] for number in view.trials})
        entries = cast("tuple[Entry, ...]", tuple(known.entries))
        state = replace(view.state, history=replace(view.state.history, entries=entries))
        return self._codec.encode(replace(view, trials=trials, state=state))

    def forget(self, runtime_id: str) -> None:
        """Forget a view of which nothing more is to come soon."""
        self._known.pop(runtime_id, None)

    def _of(self, view: RuntimeView) -> _Known:
        entries = view.state.history.entries
        first = entries[0] if entries else None
        known = self._known.get(view.runtime_id)
        if known is None or known.first not in (None, first) or len(known.entries) > len(entries):
            known = self._known[view.runtime_id] = _Known()
        known.first = first
        return known


def _is_other(known: _Known, number: int, one: TrialView) -> bool:
    piece = known.trials.get(number)
    return piece is None or piece[0] != one.head.sequence

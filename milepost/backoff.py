"""Pauses between tries: the one policy of everybody who waits for something to come back.

Ours, because what waits is a thread here, a task there and a process with a deadline elsewhere: libraries for this wrap the
call that is tried, which none of them could do for all of these, and `pip install milepost` would bring one more of them.
"""

from __future__ import annotations

from collections.abc import Iterator


class Backoff(Iterator[float]):
    """Pauses in seconds, each twice as long as the one before, up to the longest, without end."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def __next__(self) -> float:
        """Return how long to wait before the next try, in seconds."""
        pause = self._next
        self._next = min(self._longest, 2 * pause)
        return pause

    def reset(self) -> None:
        """Begin with the first pause again: there was an answer."""
        self._next = self._first

"""Which rank of a group holds up the others, from how much of its time each waits. Pure.

Ranks that go in step take equally long for a step, whoever is slow. The slow one finds the others there at each collective;
the others wait for it. So it is the one that waits least, if the others wait for much longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

# How long shares are taken over, and in how many such times in a row a rank is to stand out, or no more.
WINDOW_SECONDS = 60.0
WINDOWS = 2
# Fewer looks at a rank in a window tell nothing.
MIN_LOOKS = 60
# By how much more of their time the others wait, at least, and how many times as much.
MIN_DIFFERENCE = 0.1
MIN_RATIO = 2.0
# And by how many times the error that so many looks have by chance.
MIN_ERRORS = 3.0


@dataclass(frozen=True, slots=True)
class Share:
    """Looks at a rank, and those at which it waited for others."""

    looks: int
    waiting: int

    @property
    def part(self) -> float:
        return self.waiting / self.looks


@dataclass(frozen=True, slots=True)
class Straggler:
    """A rank that holds up the others. Shares of time are 0 to 1."""

    rank: int
    waiting: float
    others_waiting: float
    looks: int


def find(shares: Mapping[int, Share]) -> Straggler | None:
    """Return the rank that holds up the others. None: none does.

    Args:
        shares: of each rank in one window, by rank.
    """
    known = {rank: share for rank, share in shares.items() if share.looks >= MIN_LOOKS}
    if len(known) < 2 or len(known) < len(shares):
        return None
    least = min(known, key=lambda rank: (known[rank].part, rank))
    one = known[least]
    others = [share.part for rank, share in known.items() if rank != least]
    # Where two are equally slow, none of them holds up all the others.
    next_one = min(others)
    error = math.sqrt((one.part * (1 - one.part) + next_one * (1 - next_one)) / one.looks)
    if next_one - one.part < max(MIN_DIFFERENCE, MIN_ERRORS * error) or next_one < MIN_RATIO * one.part:
        return None
    return Straggler(least, one.part, median(others), one.looks)


class Windows:
    """Takes counts of one attempt until a window is over, and remembers who stood out before."""

    def __init__(self, now: float, seconds: float = WINDOW_SECONDS) -> None:
        self._seconds = seconds
        self._since = now
        self._base: dict[int, Share] = {}
        # Who stood out in the last window, if anybody, and in how many in a row.
        self._last: int | None = None
        self._times = 0

    def look(self, counts: Mapping[int, Share], now: float) -> tuple[bool, Straggler | None]:
        """Take in the counts since the start of the attempt.

        Returns:
            whether it is settled who holds up the others, if anybody: it was the same in so many windows; and who.
        """
        if not self._base:
            self._base, self._since = dict(counts), now
            return False, None
        if now - self._since < self._seconds:
            return False, None
        base, self._base, self._since = self._base, dict(counts), now
        shares = {
            rank: Share(one.looks - base[rank].looks, one.waiting - base[rank].waiting)
            for rank, one in counts.items()
            if rank in base
        }
        if len(shares) < len(counts) or any(share.looks < 0 or share.waiting < 0 for share in shares.values()):
            return False, None
        found = find(shares)
        rank = found.rank if found is not None else None
        self._times = self._times + 1 if rank == self._last else 1
        self._last = rank
        return self._times >= WINDOWS, found

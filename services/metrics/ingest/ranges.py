"""Sets of batch numbers as ranges: almost always one range, however many numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np


class RangeSet:
    """A set of positive numbers that remembers ranges. Adding at the end is the fast case."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self._firsts.append(first)
            self._lasts.append(last)

    @classmethod
    def of(cls, numbers: np.ndarray) -> RangeSet:
        """Build from numbers in any order, repeats allowed."""
        distinct = np.unique(numbers)
        if not len(distinct):
            return cls()
        ends = np.flatnonzero(np.diff(distinct) > 1)
        firsts = distinct[np.concatenate(([0], ends + 1))]
        lasts = distinct[np.concatenate((ends, [len(distinct) - 1]))]
        return cls(zip(firsts.tolist(), lasts.tolist(), strict=True))

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._firsts, number) - 1
        return index >= 0 and number <= self._lasts[index]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """The number of ranges."""
        return len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def add(self, number: int) -> bool:
        """Add a number. False: it was there."""
        index = bisect_right(self._firsts, number) - 1
        if index >= 0 and number <= self._lasts[index]:
            return False
        touches_left = index >= 0 and self._lasts[index] == number - 1
        touches_right = index + 1 < len(self._firsts) and self._firsts[index + 1] == number + 1
        if touches_left and touches_right:
            self._lasts[index] = self._lasts.pop(index + 1)
            self._firsts.pop(index + 1)
        elif touches_left:
            self._lasts[index] = number
        elif touches_right:
            self._firsts[index + 1] = number
        else:
            self._firsts.insert(index + 1, number)
            self._lasts.insert(index + 1, number)
        return True

    def gaps(self) -> list[tuple[int, int]]:
        """List the ranges from 1 to the largest number that are not in the set."""
        found = []
        expected = 1
        for first, last in self:
            if first > expected:
                found.append((expected, first - 1))
            expected = last + 1
        return found

    def copy(self) -> RangeSet:
        copied = RangeSet()
        copied._firsts = self._firsts.copy()
        copied._lasts = self._lasts.copy()
        return copied

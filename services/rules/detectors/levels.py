"""Detectors that compare a value with a bound: fixed, or that of another trial at the same step."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.rules.detectors.verdicts import QUIET, Nothing, Verdict

SYSTEM = "system/"
GPU = re.compile(r"system/(?:rank_[0-9]+/)?gpu_[0-9]+_percent")
DISK = re.compile(r"system/(?:rank_[0-9]+/)?disk_used_percent")


@dataclass(frozen=True, slots=True)
class Level:
    """A value above or below a bound. Keeps nothing; a point costs a comparison, a quiet batch one `max`.

    Attributes:
        key: a series, or a pattern of several.
    """

    key: str | re.Pattern[str]
    above: bool
    bound: float

    def wants(self, key: str) -> bool:
        return key == self.key if isinstance(self.key, str) else self.key.fullmatch(key) is not None

    def fresh(self) -> Nothing:
        return Nothing()

    def judge(self, state: Nothing, step: int, value: float) -> Verdict | None:
        if not math.isfinite(value):
            return None
        if not (value > self.bound if self.above else value < self.bound):
            return QUIET
        return Verdict(True, self.bound, 0, f"{'above' if self.above else 'below'} {self.bound:g}")

    def is_quiet(self, values: Sequence[float]) -> bool:
        # With NaN as the first of them both are false: then each point is looked at.
        return max(values) <= self.bound if self.above else min(values) >= self.bound

    def cut(self, state: Nothing, step: int) -> Nothing:
        return state


@dataclass(frozen=True, slots=True)
class NotFinite:
    """NaN or infinity. Keeps nothing; a quiet batch costs one `sum`. An empty key: any but those under `system/`."""

    key: str

    def wants(self, key: str) -> bool:
        return key == self.key if self.key else not key.startswith(SYSTEM)

    def fresh(self) -> Nothing:
        return Nothing()

    def judge(self, state: Nothing, step: int, value: float) -> Verdict:
        return QUIET if math.isfinite(value) else Verdict(True, None, 0, "not finite")

    def is_quiet(self, values: Sequence[float]) -> bool:
        return math.isfinite(sum(values))

    def cut(self, state: Nothing, step: int) -> Nothing:
        return state


@dataclass(frozen=True, slots=True)
class Baseline:
    """A value worse than the curve of another trial at the last step before it that the curve has.

    The curve is part of the rule (at most 1,000 points). Keeps nothing; a point costs a binary search.
    """

    key: str
    steps: Sequence[int]
    values: Sequence[float]
    tolerance: float
    above: bool

    def wants(self, key: str) -> bool:
        return key == self.key

    def fresh(self) -> Nothing:
        return Nothing()

    def judge(self, state: Nothing, step: int, value: float) -> Verdict | None:
        index = bisect.bisect_right(self.steps, step) - 1
        if index < 0 or not math.isfinite(value):
            return None
        known = self.values[index]
        margin = abs(known) * self.tolerance
        bound = known + margin if self.above else known - margin
        if not (value > bound if self.above else value < bound):
            return QUIET
        words = f"{'above' if self.above else 'below'} {bound:g}, where the baseline has {known:g}"
        return Verdict(True, bound, 0, words)

    def is_quiet(self, values: Sequence[float]) -> bool:
        return False

    def cut(self, state: Nothing, step: int) -> Nothing:
        return state


@dataclass(slots=True)
class Row:
    """How many points in a row were below the bound, and the last one."""

    count: int = 0
    last_step: int = -1


@dataclass(frozen=True, slots=True)
class Vanishing:
    """A value below a bound, several times in a row. Keeps two numbers; a point costs a comparison."""

    key: str
    bound: float
    points: int

    def wants(self, key: str) -> bool:
        return key == self.key

    def fresh(self) -> Row:
        return Row()

    def judge(self, state: Row, step: int, value: float) -> Verdict | None:
        if not math.isfinite(value):
            return None
        state.count = state.count + 1 if value < self.bound else 0
        state.last_step = step
        if state.count < self.points:
            return QUIET
        words = f"below {self.bound:g} for {state.count} points in a row"
        return Verdict(True, self.bound, self.points, words)

    def is_quiet(self, values: Sequence[float]) -> bool:
        return False

    def cut(self, state: Row, step: int) -> Row:
        """Count anew, where the row went on after the step: how much of it came before is not kept."""
        return state if state.last_step <= step else Row(0, step)

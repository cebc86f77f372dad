"""Detectors that compare a value with those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.rules.detectors.verdicts import QUIET, Verdict
from services.rules.detectors.windows import Window

# Points before which a window says nothing.
WARM_POINTS = 8


@dataclass(slots=True)
class Spread:
    """The window, how many points in a row were far from it, and the last of them."""

    window: Window = field(default_factory=Window)
    far: int = 0
    far_step: int = -1


@dataclass(frozen=True, slots=True)
class Change:
    """A value far from the median of the points before it: robust z = |value - median| / (1.4826 MAD).

    Where all of the window are the same, any other value is far. Keeps the window; a point costs O(window) moves, one that
    may be far O(window log window). What was found far does not enter the window while it is, so that a spike does not
    hide the next one; a new level is taken over once as many points in a row are far as the window is long.
    """

    key: str
    window: int
    deviations: float
    up: bool
    down: bool

    def wants(self, key: str) -> bool:
        return key == self.key

    def fresh(self) -> Spread:
        return Spread()

    def judge(self, state: Spread, step: int, value: float) -> Verdict | None:
        if not math.isfinite(value):
            return None
        window = state.window
        if len(window) < min(WARM_POINTS, self.window):
            window.add(step, value, self.window)
            return None
        middle = window.median()
        if not window.may_be_beyond(middle, abs(value - middle) / self.deviations):
            state.far = 0
            window.add(step, value, self.window)
            return QUIET
        allowed = self.deviations * window.deviation(middle)
        far = (self.up and value > middle + allowed) or (self.down and value < middle - allowed)
        bound = middle + allowed if value >= middle else middle - allowed
        if far and state.far < self.window:
            state.far += 1
            state.far_step = step
        else:
            if far:
                state.window = Window()
            state.far = 0
            state.window.add(step, value, self.window)
        if not far:
            return QUIET
        words = f"{'above' if value >= middle else 'below'} {bound:g}, where the median before it is {middle:g}"
        return Verdict(True, bound, len(window), words)

    def is_quiet(self, values: Sequence[float]) -> bool:
        return False

    def cut(self, state: Spread, step: int) -> Spread:
        far = state.far if state.far_step <= step else 0
        return Spread(state.window.cut(step), far, min(state.far_step, step))


@dataclass(frozen=True, slots=True)
class Multiple:
    """A value above (or with `above` false, below) a multiple of the median of the points before it.

    What passes the bound does not enter the window. Keeps the window; a point costs O(window) moves.
    """

    key: str
    window: int
    factor: float
    above: bool

    def wants(self, key: str) -> bool:
        return key == self.key

    def fresh(self) -> Window:
        return Window()

    def judge(self, state: Window, step: int, value: float) -> Verdict | None:
        if not math.isfinite(value):
            return None
        if len(state) < min(WARM_POINTS, self.window):
            state.add(step, value, self.window)
            return None
        middle = state.median()
        bound = middle * self.factor
        holds = value > bound if self.above else value < bound
        if not holds:
            state.add(step, value, self.window)
            return QUIET
        words = f"{'above' if self.above else 'below'} {self.factor:g} times the median {middle:g}"
        return Verdict(True, bound, len(state), words)

    def is_quiet(self, values: Sequence[float]) -> bool:
        return False

    def cut(self, state: Window, step: int) -> Window:
        return state.cut(step)


@dataclass(slots=True)
class Best:
    """The best value, its step, and how many points came since."""

    value: float | None = None
    step: int = -1
    count: int = 0
    last_step: int = -1


@dataclass(frozen=True, slots=True)
class Plateau:
    """No better value for a number of points. Keeps four numbers; a point costs a comparison."""

    key: str
    window: int
    min_improvement: float
    up: bool

    def wants(self, key: str) -> bool:
        return key == self.key

    def fresh(self) -> Best:
        return Best()

    def judge(self, state: Best, step: int, value: float) -> Verdict | None:
        if not math.isfinite(value):
            return None
        state.last_step = step
        if state.value is None or self._is_better(value, state.value):
            state.value, state.step, state.count = value, step, 0
            return QUIET
        state.count += 1
        if state.count < self.window:
            return QUIET
        words = f"no better than {state.value:g} of step {state.step:,}, {state.count:,} points ago"
        return Verdict(True, state.value, self.window, words)

    def _is_better(self, value: float, best: float) -> bool:
        margin = abs(best) * self.min_improvement
        return value > best + margin if self.up else value < best - margin

    def is_quiet(self, values: Sequence[float]) -> bool:
        return False

    def cut(self, state: Best, step: int) -> Best:
        """Keep a best value that stays, and count anew; where it was abandoned, begin anew."""
        if state.last_step <= step:
            return state
        return Best(state.value, state.step, 0, step) if state.step <= step else Best()

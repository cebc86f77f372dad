"""The usual time of a step, from looking at the position now and then."""

from __future__ import annotations

from collections import deque
from statistics import median

# Looks that count; with one a second, the last half minute of fast steps, more of slow ones.
_KEPT = 32
# Fewer tell nothing: the first steps compile, allocate and warm up.
_FEWEST = 3


class StepPace:
    """Measures steps between looks, without what evaluations and snapshots take. One pause does not change it."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)
        self._step = 0
        self._time = 0.0
        self._busy = 0.0
        self._begun = False

    def begin(self, step: int, now: float, busy_seconds: float) -> None:
        """Measure from here on."""
        self._begun, self._step, self._time, self._busy = True, step, now, busy_seconds

    def look(self, step: int, now: float, busy_seconds: float) -> None:
        """Take notice of a position.

        Args:
            step: the last step that was done.
            now: seconds of a monotonic clock.
            busy_seconds: time spent in evaluations and snapshots so far.
        """
        if not self._begun or step <= self._step:
            return
        spent = now - self._time - (busy_seconds - self._busy)
        self._seconds.append(max(0.0, spent) / (step - self._step))
        self.begin(step, now, busy_seconds)

    @property
    def usual_seconds(self) -> float:
        """The median; 0 while it is not known."""
        return median(self._seconds) if len(self._seconds) >= _FEWEST else 0.0

"""Detectors that look at when points come: silence, and the estimated end."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

# Gaps that the usual one is the median of, and before which nothing is said.
KEPT_GAPS = 32
WARM_GAPS = 3
# Steps that the usual step time is the median of, and before which there is no estimate.
KEPT_STEPS = 64
WARM_STEPS = 8


@dataclass(slots=True)
class Rhythm:
    """When messages with points came, in ms by the clock of the log's server."""

    last_ms: int = 0
    gaps: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Silence:
    """No point for `factor` times the usual gap between messages with points. Keeps 32 gaps; a message costs O(1)."""

    factor: float
    min_ms: int

    def heard(self, state: Rhythm, now_ms: int) -> None:
        """Take in that a message with points came."""
        if state.last_ms and now_ms > state.last_ms:
            state.gaps.append(now_ms - state.last_ms)
            del state.gaps[:-KEPT_GAPS]
        self.alive(state, now_ms)

    def alive(self, state: Rhythm, now_ms: int) -> None:
        """Take in a sign of life that says nothing of the usual gap: an evaluation that ended, an attempt that began."""
        state.last_ms = max(state.last_ms, now_ms)

    def allowed_ms(self, state: Rhythm) -> int:
        """Return how long nothing may come; 0: not known yet."""
        if len(state.gaps) < WARM_GAPS:
            return 0
        return max(self.min_ms, int(self.factor * median(state.gaps)))


@dataclass(slots=True)
class Steps:
    """The newest steps and when they were done, ms by the clock of the loop."""

    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    first_ms: int = 0


@dataclass(frozen=True, slots=True)
class EstimatedEnd:
    """The end beyond a time: that of the last step, and the remaining steps times the median step time.

    Keeps 64 steps; a step costs O(64 log 64). Without evaluations, snapshots and pauses: early rather than late.

    Attributes:
        by_ms: the time, ms since 1970; 0: `after_ms` counts, from the first point.
    """

    by_ms: int
    after_ms: int

    def estimate_ms(self, state: Steps, step: int, time_ms: int, total: int | None) -> tuple[int, int] | None:
        """Take in a step. Returns the estimated end and the bound, ms since 1970; None: there is no estimate."""
        state.first_ms = state.first_ms or time_ms
        state.steps.append(step)
        state.times.append(time_ms)
        del state.steps[:-KEPT_STEPS], state.times[:-KEPT_STEPS]
        if total is None or step >= total or len(state.steps) < WARM_STEPS:
            return None
        paces = [
            (state.times[i] - state.times[i - 1]) / (state.steps[i] - state.steps[i - 1])
            for i in range(1, len(state.steps))
        ]
        return int(time_ms + median(paces) * (total - step)), self.by_ms or state.first_ms + self.after_ms

    def cut(self, state: Steps, step: int) -> Steps:
        """Begin anew after a pause, for what lies between two attempts is no step; the first point stays the first."""
        return Steps(first_ms=state.first_ms)

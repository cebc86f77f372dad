"""Estimated time: how long the rest of a trial, or of a runtime, will take. Pure: times come in with the observations.

The rest of a trial is: remaining steps x robust step time of this attempt, + remaining evaluations x their typical time,
+ remaining snapshots x theirs. The step time comes from windows of wall-clock time without evaluations and snapshots:

* the first observation of an attempt is only a baseline, so compilation and warm-up are in no window;
* windows double in length as a run grows, so that they hold whatever recurs, and the most recent third of them counts;
* the shortest and the longest windows by weight are trimmed, and where the speed has changed for good (several windows
  in a row apart from those before) only what came after the change counts;
* a pause, a gap of many usual step times, is left out, until it has come three times: then it recurs and counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

# Windows held. When they are full, neighbours are joined and windows become twice as long.
MAXIMUM_WINDOWS = 64
# Windows needed before there is an estimate.
WARM_WINDOWS = 3
# The share of windows, newest first, that counts, and their least number.
RECENT_SHARE = 1 / 3
RECENT_LEAST = 8
# The share of steps left out at either end, by time per step.
TRIM_SHARE = 0.08
# A speed has changed for good when this many windows in a row differ by more than this share from those before.
CHANGE_WINDOWS = 3
CHANGE_SHARE = 0.15
# A gap of so many usual step times, and of so many seconds, is a pause.
PAUSE_FACTOR = 10.0
PAUSE_LEAST_SECONDS = 5.0
RECURRING_PAUSES = 3
# No advance for so many usual step times, and so many seconds: stalled.
STALL_FACTOR = 10.0
STALL_LEAST_SECONDS = 30.0
# The newest evaluations and snapshots whose median is the typical one.
TYPICAL_OF = 5
# Half-width of the range: at least this share, at most that one.
RANGE_LEAST = 0.02
RANGE_MOST = 0.6
# Standard deviations between the middle and the ends of the range.
RANGE_DEVIATIONS = 1.6


@dataclass(slots=True)
class Window:
    """A stretch of training: wall-clock seconds without evaluations, snapshots and pauses, and the steps done in it."""

    seconds: float
    steps: int

    @property
    def step_seconds(self) -> float:
        return self.seconds / self.steps


@dataclass(slots=True)
class StepTimes:
    """What is known about the speed of one attempt.

    Attributes:
        last_time: seconds since 1970 of the last observation, by the trainer's clock. None: none yet.
        last_step: the step of the last observation.
        windows: oldest first.
        length: observations that make a window.
        pending: the window that is being filled, and the observations in it.
    """

    last_time: float | None = None
    last_step: int = 0
    windows: list[Window] = field(default_factory=list)
    length: int = 1
    pending_seconds: float = 0.0
    pending_steps: int = 0
    pending_count: int = 0
    pause_count: int = 0
    pause_seconds: float = 0.0
    # Steps done since the baseline.
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do, and what it has taken so far.

    Attributes:
        steps: steps that are left.
        evaluations, snapshots: how many are left, the one under way not counted.
        evaluation_seconds, snapshot_seconds: what the last ones took, oldest first.
        evaluation_under_way: the share of the current evaluation that is done; None: none is under way, or unknown.
        evaluation_elapsed: seconds the current evaluation has taken so far; None: none is under way.
    """

    steps: int
    evaluations: int = 0
    snapshots: int = 0
    evaluation_seconds: Sequence[float] = ()
    snapshot_seconds: Sequence[float] = ()
    evaluation_under_way: float | None = None
    evaluation_elapsed: float | None = None


@dataclass(frozen=True, slots=True)
class Remaining:
    """Seconds until the end, with a range."""

    seconds: float
    low: float
    high: float


def restart(times: StepTimes) -> None:
    """Take the next observation as a baseline: what happened before it is not known."""
    times.last_time = None
    times.pending_seconds, times.pending_steps, times.pending_count = 0.0, 0, 0


def observe(times: StepTimes, time: float, step: int, busy_seconds: float) -> None:
    """Take in a position: at `time` (seconds since 1970) `step` steps were done.

    `busy_seconds`: time since the last observation that was spent in evaluations and snapshots.
    """
    if times.last_time is None or step < times.last_step or time < times.last_time:
        times.last_time, times.last_step = time, step
        times.pending_seconds, times.pending_steps, times.pending_count = 0.0, 0, 0
        return
    seconds = max(0.0, time - times.last_time - busy_seconds)
    steps = step - times.last_step
    times.last_time, times.last_step = time, step
    times.steps += steps
    usual = step_seconds(times)
    if usual is not None and seconds > max(PAUSE_LEAST_SECONDS, PAUSE_FACTOR * usual * max(steps, 1)):
        times.pause_count += 1
        times.pause_seconds += seconds - usual * steps
        seconds = usual * steps
    times.pending_seconds += seconds
    times.pending_steps += steps
    times.pending_count += 1
    if times.pending_steps > 0 and times.pending_count >= times.length:
        times.windows.append(Window(times.pending_seconds, times.pending_steps))
        times.pending_seconds, times.pending_steps, times.pending_count = 0.0, 0, 0
        if len(times.windows) >= MAXIMUM_WINDOWS:
            _join(times)


def _join(times: StepTimes) -> None:
    pairs = zip(times.windows[0::2], times.windows[1::2], strict=False)
    times.windows = [Window(a.seconds + b.seconds, a.steps + b.steps) for a, b in pairs]
    times.length *= 2


def is_warm(times: StepTimes) -> bool:
    return len(times.windows) >= WARM_WINDOWS


def step_seconds(times: StepTimes) -> float | None:
    """Return the robust time of a step, pauses that recur included; None until warm."""
    if not is_warm(times):
        return None
    value = _trimmed(_recent(times.windows))
    return value + _pause_share(times)


def _pause_share(times: StepTimes) -> float:
    if times.pause_count < RECURRING_PAUSES or times.steps == 0:
        return 0.0
    return times.pause_seconds / times.steps


def _recent(windows: Sequence[Window]) -> Sequence[Window]:
    """Return the windows that say how fast it is now."""
    start = max(0, min(len(windows) - RECENT_LEAST, int(len(windows) * (1 - RECENT_SHARE))))
    change = _last_change(windows)
    return windows[max(start, change) :]


def _last_change(windows: Sequence[Window]) -> int:
    """Return the index of the first window after the last lasting change of speed; 0: there was none."""
    rates = [window.step_seconds for window in windows]
    for index in range(len(rates) - CHANGE_WINDOWS, CHANGE_WINDOWS - 1, -1):
        before = rates[max(0, index - RECENT_LEAST) : index]
        after = rates[index : index + CHANGE_WINDOWS]
        level = median(before)
        spread = median(abs(rate - level) for rate in before)
        margin = max(CHANGE_SHARE * level, 5 * spread)
        if all(rate > level + margin for rate in after) or all(rate < level - margin for rate in after):
            return index
    return 0


def _trimmed(windows: Sequence[Window]) -> float:
    """Return the mean time per step without the fastest and the slowest windows, by weight."""
    ordered = sorted(windows, key=lambda window: window.step_seconds)
    total = sum(window.steps for window in ordered)
    low, high = total * TRIM_SHARE, total * (1 - TRIM_SHARE)
    position, seconds, steps = 0.0, 0.0, 0.0
    for window in ordered:
        kept = min(position + window.steps, high) - max(position, low)
        position += window.steps
        if kept > 0:
            seconds += kept * window.step_seconds
            steps += kept
    return seconds / steps


def typical(durations: Sequence[float]) -> float | None:
    """Return the usual duration of an evaluation or a snapshot; None: there was none."""
    return median(durations[-TYPICAL_OF:]) if durations else None


def remaining(times: StepTimes, work: Work) -> Remaining | None:
    """Estimate what is left at the moment of the last observation; None until warm."""
    step = step_seconds(times)
    if step is None:
        return None
    evaluation = typical(work.evaluation_seconds)
    if evaluation is None and work.evaluation_under_way and work.evaluation_elapsed:
        evaluation = work.evaluation_elapsed / work.evaluation_under_way
    snapshot = typical(work.snapshot_seconds)
    training = work.steps * step
    others = work.evaluations * (evaluation or 0.0) + work.snapshots * (snapshot or 0.0)
    others += _rest_of_evaluation(work, evaluation)
    seconds = training + others
    spread = _spread(times, work.steps) * training + 0.1 * others
    half = min(max(RANGE_DEVIATIONS * spread, RANGE_LEAST * seconds), RANGE_MOST * seconds)
    # Evaluations that are planned and whose time nobody knows can only make it longer.
    unknown = 0.5 * training if (work.evaluations and evaluation is None) else 0.0
    return Remaining(seconds, seconds - half, seconds + half + unknown)


def _rest_of_evaluation(work: Work, evaluation: float | None) -> float:
    if work.evaluation_elapsed is None or evaluation is None:
        return 0.0
    if work.evaluation_under_way is not None:
        return evaluation * max(0.0, 1 - work.evaluation_under_way)
    return max(0.0, evaluation - work.evaluation_elapsed)


def _spread(times: StepTimes, steps: int) -> float:
    """Return the relative standard deviation of the time of the remaining steps: noise, our sample, and drift."""
    recent = _recent(times.windows)
    rates = [window.step_seconds for window in recent]
    level = median(rates)
    if level <= 0 or len(rates) < 2:
        return 0.1
    deviation = 1.4826 * median(abs(rate - level) for rate in rates) / level
    window_steps = sum(window.steps for window in recent) / len(recent)
    ahead = max(1.0, steps / window_steps)
    half = len(rates) // 2
    drift = abs(median(rates[half:]) - median(rates[:half])) / level
    return math.sqrt(deviation**2 / ahead + deviation**2 / len(rates) + (0.5 * drift) ** 2)


def is_stalled(times: StepTimes, silent_seconds: float, evaluation_seconds: float | None = None) -> bool:
    """Tell whether there has been no advance for too long. `evaluation_seconds`: the usual one, while one is under way."""
    usual = step_seconds(times) or 0.0
    return silent_seconds > max(STALL_LEAST_SECONDS, STALL_FACTOR * usual, 3 * (evaluation_seconds or 0.0))


def schedule(running: Sequence[float], waiting: Sequence[float], slots: int) -> float:
    """Return when the last of several trials ends: the running ones occupy a slot each, the waiting ones follow in order."""
    ends = sorted(running)
    free = [0.0] * max(0, slots - len(ends))
    for seconds in waiting:
        queue = free if free else ends
        start = queue.pop(0)
        ends.append(start + seconds)
        ends.sort()
    return ends[-1] if ends else 0.0

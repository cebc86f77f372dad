"""Estimated time: how long the rest of a trial, or of a runtime, will take. Pure: times come in with the observations.

The rest of a trial is: remaining steps x robust step time of this attempt, + remaining evaluations, snapshots and epoch
boundaries x their typical time. The step time comes from windows of wall-clock time without those:

* the first observation of an attempt is only a baseline, so compilation and warm-up are in no window;
* windows double in length as a run grows, and the most recent third of them counts;
* the shortest and the longest windows by weight are trimmed, and where the speed has changed for good (several windows
  in a row apart from those before) only what came after the change counts;
* a steady drift of the speed is carried on;
* when the batch size changes, what was measured before is scaled to the new one until there are new windows;
* a pause, a gap of several usual times, is left out until pauses have come often enough: then they recur and count.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

# Windows held. When they are full, neighbours are joined and windows become twice as long.
MAX_WINDOWS = 64
# Windows needed before there is an estimate.
WARM_WINDOWS = 3
# The share of windows, newest first, that counts, and their least number.
RECENT_SHARE = 1 / 3
MIN_RECENT = 8
# The share of steps left out at either end, by time per step.
TRIM_SHARE = 0.08
# A speed has changed for good when this many windows in a row differ by more than this share from those before.
CHANGE_WINDOWS = 3
CHANGE_SHARE = 0.15
# Windows needed to see a drift, and the most that it changes the estimate.
DRIFT_WINDOWS = 24
MAX_DRIFT = 0.1
# An observation of so many times the usual time, and so many seconds longer than usual, holds a pause.
PAUSE_FACTOR = 2.5
MIN_PAUSE_SECONDS = 1.5
RECURRING_PAUSES = 3
KEEP_PAUSES = 32
KEEP_EPOCH_GAPS = 8
# No advance for so many usual step times, and so many seconds: stalled.
STALL_FACTOR = 10.0
STALL_LEAST_SECONDS = 30.0
# The newest evaluations and snapshots whose median is the typical one.
TYPICAL_OF = 5
# Half-width of the range: at least this share, at most that one.
MIN_RANGE = 0.03
MAX_RANGE = 0.6
# Relative standard deviations beyond it say no more.
MAX_SPREAD = 1e6
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
        pending_seconds, pending_steps, pending_count: the window that is being filled, and the observations in it.
        steps: steps done since the baseline.
        pause_count: pauses so far. `pauses`: how long the newest were. `pause_steps`: the steps done at the last one.
        epoch_gaps: how much longer than usual the last changes of epoch took.
        epoch_step: the step after which an epoch has ended, as long as there was no other since.
        open_seconds, open_steps: what came before an evaluation, a snapshot or a change of epoch that is under way.
        samples: samples per step. None: unknown.
        changed_at: index of the first window after the last change of the batch size.
    """

    last_time: float | None = None
    last_step: int = 0
    windows: list[Window] = field(default_factory=list)
    length: int = 1
    pending_seconds: float = 0.0
    pending_steps: int = 0
    pending_count: int = 0
    steps: int = 0
    pause_count: int = 0
    pauses: list[float] = field(default_factory=list)
    pause_steps: int = 0
    epoch_gaps: list[float] = field(default_factory=list)
    epoch_step: int | None = None
    open_seconds: float = 0.0
    open_steps: int = 0
    samples: float | None = None
    changed_at: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """A position of the training loop.

    Attributes:
        time: seconds since 1970, by the trainer's clock.
        step: steps done.
        busy_seconds: time spent in evaluations and snapshots that have ended since the last observation.
        in_busy: one is under way; its time is among the `busy_seconds` of a later observation.
        new_epoch: an epoch has ended since the last observation.
        samples: samples per step. None: unknown.
    """

    time: float
    step: int
    busy_seconds: float = 0.0
    in_busy: bool = False
    new_epoch: bool = False
    samples: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do, and what it has taken so far.

    Attributes:
        steps: steps that are left.
        evaluations, snapshots: how many are left, the one under way not counted.
        epochs: changes of epoch that are left.
        evaluation_seconds, snapshot_seconds: what the last ones took, oldest first.
        evaluation_elapsed, snapshot_elapsed: seconds the one under way has taken so far; None: none is under way.
        evaluation_share: the share of it that is done; None: unknown.
    """

    steps: int
    evaluations: int = 0
    snapshots: int = 0
    epochs: int = 0
    evaluation_seconds: Sequence[float] = ()
    snapshot_seconds: Sequence[float] = ()
    evaluation_elapsed: float | None = None
    evaluation_share: float | None = None
    snapshot_elapsed: float | None = None


@dataclass(frozen=True, slots=True)
class Remaining:
    """Seconds until the end, with a range."""

    seconds: float
    low: float
    high: float

    def after(self, seconds: float) -> Remaining:
        """Return what is left when so much time has passed."""
        return Remaining(max(0.0, self.seconds - seconds), max(0.0, self.low - seconds), max(0.0, self.high - seconds))


# --- observing ------------------------------------------------------------------------------------------------------


def restart(times: StepTimes) -> None:
    """Take the next observation as a baseline: what happened before it is not known."""
    times.last_time = None
    times.pending_seconds, times.pending_steps, times.pending_count = 0.0, 0, 0
    times.open_seconds, times.open_steps = 0.0, 0


def observe(times: StepTimes, seen: Observation) -> None:
    """Take in the next position."""
    if times.last_time is None or seen.step < times.last_step or seen.time < times.last_time:
        restart(times)
        times.last_time, times.last_step = seen.time, seen.step
        times.samples = seen.samples or times.samples
        return
    # Less than nothing while an evaluation is under way: its time comes off when it has ended.
    seconds = times.open_seconds + seen.time - times.last_time - seen.busy_seconds
    steps = times.open_steps + seen.step - times.last_step
    times.steps += seen.step - times.last_step
    times.last_time, times.last_step = seen.time, seen.step
    if seen.new_epoch:
        times.epoch_step = seen.step
    times.open_seconds, times.open_steps = 0.0, 0
    if _scale(times, seen.samples):
        return
    if seen.in_busy or seen.step == times.epoch_step:
        times.open_seconds, times.open_steps = seconds, steps
        return
    times.pending_seconds += _without_gaps(times, seconds, steps)
    times.pending_steps += steps
    times.pending_count += 1
    if times.pending_steps > 0 and times.pending_count >= times.length:
        times.windows.append(Window(max(0.0, times.pending_seconds), times.pending_steps))
        times.pending_seconds, times.pending_steps, times.pending_count = 0.0, 0, 0
        if len(times.windows) >= MAX_WINDOWS:
            _join(times)


def _scale(times: StepTimes, samples: float | None) -> bool:
    """When the batch size changes, expect the same samples a second until the new speed is known.

    Returns whether it changed: then the observation holds steps of both kinds and measures neither.
    """
    if samples is None or samples <= 0 or samples == times.samples:
        return False
    before, times.samples = times.samples, samples
    if before is None:
        return False
    times.windows = [Window(window.seconds * samples / before, window.steps) for window in times.windows]
    times.changed_at = len(times.windows)
    times.pending_seconds, times.pending_steps, times.pending_count = 0.0, 0, 0
    return True


def _without_gaps(times: StepTimes, seconds: float, steps: int) -> float:
    """Return the time of the steps alone; what is beyond it goes to the pauses or to the changes of epoch."""
    usual = pace_of(times).usual
    if usual is None:
        times.epoch_step = None
        return seconds
    extra = seconds - usual * steps
    is_pause = extra > MIN_PAUSE_SECONDS and seconds > PAUSE_FACTOR * usual * max(1, steps)
    if times.epoch_step is not None:
        times.epoch_step = None
        times.epoch_gaps.append(extra if is_pause else 0.0)
        del times.epoch_gaps[:-KEEP_EPOCH_GAPS]
    elif is_pause:
        times.pause_count += 1
        times.pause_steps = times.steps
        times.pauses.append(extra)
        del times.pauses[:-KEEP_PAUSES]
    return usual * steps if is_pause else seconds


def _join(times: StepTimes) -> None:
    pairs = zip(times.windows[0::2], times.windows[1::2], strict=False)
    times.windows = [Window(a.seconds + b.seconds, a.steps + b.steps) for a, b in pairs]
    times.length *= 2
    times.changed_at = (times.changed_at + 1) // 2


# --- speed ----------------------------------------------------------------------------------------------------------


def is_warm(times: StepTimes) -> bool:
    return len(times.windows) >= WARM_WINDOWS


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it is now.

    Attributes:
        change: index of the first window after the last lasting change of speed; 0: there was none.
        recent: the windows that say how fast it is now.
        usual: the robust time of a step without pauses, in seconds; None until warm.
    """

    change: int
    recent: Sequence[Window]
    usual: float | None


def pace_of(times: StepTimes) -> Pace:
    """Return how fast it is now."""
    change = _last_change(times.windows)
    recent = _recent(times, change)
    return Pace(change, recent, _trimmed(recent) if is_warm(times) else None)


def step_seconds(times: StepTimes, pace: Pace | None = None) -> float | None:
    """Return the robust time of a step now, pauses that recur included; None until warm. `pace`: where it is known."""
    usual = (pace or pace_of(times)).usual
    return None if usual is None else usual + _pause_share(times)


def _pause_share(times: StepTimes) -> float:
    """Return the seconds that recurring pauses add to a step."""
    if times.pause_count < RECURRING_PAUSES or times.steps == 0:
        return 0.0
    # Right after a pause they have come once in so many steps; that the next is overdue shows only later.
    interval = times.pause_steps / times.pause_count
    return median(times.pauses) / max(interval, (times.steps - interval) / times.pause_count)


def _recent(times: StepTimes, change: int) -> Sequence[Window]:
    """Return the windows that say how fast it is now: those after the last change, if there was one lately."""
    windows = times.windows
    start = max(0, min(len(windows) - MIN_RECENT, int(len(windows) * (1 - RECENT_SHARE))))
    if len(windows) - times.changed_at >= WARM_WINDOWS:
        start = max(start, times.changed_at)
    return windows[max(start, change) :]


def _last_change(windows: Sequence[Window]) -> int:
    """Return the index of the first window after the last lasting change of speed; 0: there was none."""
    rates = [window.step_seconds for window in windows]
    for index in range(len(rates) - CHANGE_WINDOWS, CHANGE_WINDOWS - 1, -1):
        before = rates[max(0, index - MIN_RECENT) : index]
        after = rates[index : index + CHANGE_WINDOWS]
        level = median(before)
        if min(after) <= level * (1 + CHANGE_SHARE) and max(after) >= level * (1 - CHANGE_SHARE):
            continue
        spread = median(abs(rate - level) for rate in before)
        margin = max(CHANGE_SHARE * level, 5 * spread)
        if min(after) > level + margin or max(after) < level - margin:
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


def _drift(times: StepTimes, pace: Pace, steps: int) -> float:
    """Return the share by which the mean of the remaining steps will be slower than now, if a steady drift goes on.

    A drift is steady when the medians of three thirds of the windows go the same way by about the same amount, and
    that amount stands out from the noise.
    """
    windows = times.windows[max(times.changed_at, pace.change) :]
    if len(windows) < DRIFT_WINDOWS:
        return 0.0
    third = len(windows) // 3
    thirds = [windows[-3 * third : -2 * third], windows[-2 * third : -third], windows[-third:]]
    rates = [[window.step_seconds for window in part] for part in thirds]
    first, second, last = (median(part) for part in rates)
    early, late = second - first, last - second
    noise = median(abs(rate - level) for part, level in zip(rates, (first, second, last), strict=True) for rate in part)
    error = 1.5 * noise / math.sqrt(third)
    if early * late <= 0 or min(abs(early), abs(late)) < max(5 * error, 0.5 * max(abs(early), abs(late))):
        return 0.0
    span = sum(window.steps for window in windows[-2 * third :])
    slope = (last - first) / span
    # From the middle of the last third to the middle of what is left, but no further than it has been seen to go.
    ahead = min((sum(window.steps for window in windows[-third:]) + steps) / 2, 1.5 * span)
    return max(-MAX_DRIFT, min(MAX_DRIFT, slope * ahead / last)) if last > 0 else 0.0


# --- estimating -----------------------------------------------------------------------------------------------------


def typical(durations: Sequence[float]) -> float | None:
    """Return the usual duration of an evaluation or a snapshot; None: there was none."""
    return median(durations[-TYPICAL_OF:]) if durations else None


def remaining(times: StepTimes, work: Work, pace: Pace | None = None) -> Remaining | None:
    """Estimate what is left at the moment of the last observation; None until warm. `pace`: where it is known."""
    pace = pace or pace_of(times)
    usual = pace.usual
    if usual is None:
        return None
    evaluation = typical(work.evaluation_seconds)
    if evaluation is None and work.evaluation_share and work.evaluation_elapsed:
        evaluation = work.evaluation_elapsed / work.evaluation_share
    snapshot = typical(work.snapshot_seconds)
    drift = _drift(times, pace, work.steps)
    training = work.steps * (usual * (1 + drift) + _pause_share(times))
    others = work.evaluations * (evaluation or 0.0) + work.snapshots * (snapshot or 0.0)
    # The change of epoch that is under way counts among those that are left.
    changes = work.epochs + (times.epoch_step is not None)
    others += changes * (median(times.epoch_gaps) if times.epoch_gaps else 0.0)
    others += _rest(evaluation, work.evaluation_elapsed, work.evaluation_share)
    others += _rest(snapshot, work.snapshot_elapsed, None)
    seconds = training + others
    spread = _spread(times, pace, work.steps, drift) * training + 0.1 * others
    half = min(max(RANGE_DEVIATIONS * spread, MIN_RANGE * seconds), MAX_RANGE * seconds)
    # Evaluations that are planned and whose time nobody knows can only make it longer.
    unknown = 0.5 * training if work.evaluations and evaluation is None else 0.0
    return Remaining(seconds, seconds - half, seconds + half + unknown)


def _rest(usual: float | None, elapsed: float | None, share: float | None) -> float:
    """Return what is left of something under way."""
    if elapsed is None or usual is None:
        return 0.0
    return usual * max(0.0, 1 - share) if share is not None else max(0.0, usual - elapsed)


def _spread(times: StepTimes, pace: Pace, steps: int, drift: float) -> float:
    """Return the relative standard deviation of the time of the remaining steps: noise, our sample, drift, pauses."""
    recent = pace.recent
    rates = [window.step_seconds for window in recent]
    level = median(rates)
    if level <= 0 or len(rates) < 2:
        return 0.1
    deviation = 1.4826 * median(abs(rate - level) for rate in rates) / level
    ahead = max(1.0, steps * len(recent) / sum(window.steps for window in recent))
    half = len(rates) // 2
    change = abs(median(rates[half:]) - median(rates[:half])) / level
    # A drift of the newest windows, carried on for as long again, at most over what is left.
    carried = change * min(1.0, ahead / len(rates))
    irregular = 0.3 * times.pause_count * median(times.pauses) / (times.steps * level) if times.pauses else 0.0
    parts = (deviation / math.sqrt(ahead), deviation / math.sqrt(len(rates)), 0.5 * carried, 0.5 * drift, irregular)
    # Where steps took next to nothing, what came between them is any number of times as long.
    return min(math.hypot(*parts), MAX_SPREAD)


def stall_seconds(times: StepTimes, evaluation_seconds: float | None = None, pace: Pace | None = None) -> float:
    """Return the longest time without an advance that is usual.

    Args:
        evaluation_seconds: of a usual evaluation, while it evaluates.
        pace: where it is known.
    """
    usual = step_seconds(times, pace) or 0.0
    return max(STALL_LEAST_SECONDS, STALL_FACTOR * usual, 3 * (evaluation_seconds or 0.0))


def schedule(running: Sequence[float], waiting: Sequence[float], slots: int) -> float:
    """Return when the last of several trials ends: those that run hold a slot each, those that wait follow in order."""
    ends = list(running)
    heapq.heapify(ends)
    free = max(0, slots - len(ends))
    for seconds in waiting:
        if free > 0 or not ends:
            free -= 1
            heapq.heappush(ends, seconds)
        else:
            heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends, default=0.0)


class Survival:
    """How long trials last that may be given up on the way, from those that have ended and those that still run.

    Those that are given up early end first: their mean alone would be too short. So trials that run count as trials that
    last at least so long (the estimator of Kaplan and Meier, 1958).

    Args:
        ended: seconds that trials took which completed or were given up.
        running: seconds that trials have taken so far.
        full: seconds of one that is not given up.
    """

    def __init__(self, ended: Sequence[float], running: Sequence[float], full: float) -> None:
        self._full = full
        self.ended_count = len(ended)
        lengths, lasting = sorted(ended), sorted(running)
        # Each length with the share of the trials that last longer than that, of those that came so far.
        self._times: list[float] = []
        self._shares: list[float] = []
        share, at, outlasted = 1.0, 0, 0
        while at < len(lengths):
            seconds = lengths[at]
            until = bisect.bisect_right(lengths, seconds)
            while outlasted < len(lasting) and lasting[outlasted] < seconds:
                outlasted += 1
            share *= 1 - (until - at) / (len(lengths) - at + len(lasting) - outlasted)
            self._times.append(seconds)
            self._shares.append(share)
            at = until

    def rest(self, after: float = 0.0) -> tuple[float, float]:
        """Return how long a trial that has run `after` seconds still lasts, in the mean, and the standard deviation."""
        first = bisect.bisect_right(self._times, after)
        left = self._shares[first - 1] if first else 1.0
        if left <= 0:
            # None lasted so long: it will take what a whole one does.
            return max(0.0, self._full - after), 0.0
        mean = square = 0.0
        before, share = after, 1.0
        ends = [*zip(self._times[first:], (one / left for one in self._shares[first:]), strict=True), (self._full, 0.0)]
        for seconds, lasting in ends:
            seconds = max(seconds, before)
            mean += share * (seconds - before)
            square += share * ((seconds - after) ** 2 - (before - after) ** 2)
            before, share = seconds, lasting
        return mean, math.sqrt(max(0.0, square - mean * mean))

"""How far a trial is, what is left to do, and how long that takes; from its view and its newest position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.domain import trial
from services.trials.readmodel import eta
from services.trials.readmodel.positions import Position
from services.trials.readmodel.view import Redone, RuntimeView, TrialView

# What would take longer has no estimate: ten years.
MAX_ESTIMATE_SECONDS = 10 * 366 * 86_400.0


def step_of(view: TrialView, position: Position | None) -> int:
    """Return the step that the lineage has reached."""
    return max(view.reached_step, position.step) if position is not None else view.reached_step


def redone_of(view: TrialView, position: Position | None) -> list[Redone]:
    """Return the stretches that ran twice: as events told, and further where telemetry of the first run says so."""
    ranges = {(r.attempt, r.first_step): r.last_step for r in view.redone}
    if position is not None:
        started = [attempt for attempt in view.attempts if attempt.start_time and not attempt.appends]
        for earlier, later in pairwise(started):
            reached = position.reached_by(earlier.number)
            if reached > later.restored_step:
                place = (earlier.number, later.restored_step)
                ranges[place] = max(reached, ranges.get(place, 0))
    return [Redone(attempt, first, last) for (attempt, first), last in sorted(ranges.items())]


def interval_of(view: TrialView, kind: int, planned: int | None) -> int | None:
    """Return the usual distance of markers in steps: as planned, else as it has been, the first from the start."""
    if planned:
        return planned
    steps = [marker.step for marker in view.markers if marker.kind == kind]
    gaps = sorted(b - a for a, b in pairwise([0, *steps]) if b > a)
    return gaps[len(gaps) // 2] if gaps else None


def planned_evaluations(plan: trial.Plan, after: int, total: int) -> Iterator[int]:
    """Yield the steps of the evaluations that the plan has after a step, in order."""
    every = plan.eval_every_steps
    if not every:
        return
    epochs, length = plan.eval_every_epochs, plan.steps_per_epoch
    if not epochs or not length:
        yield from range((after // every + 1) * every, total + 1, every)
        return
    epoch = after // length
    # On to the next epoch that has evaluations.
    for number in range(epoch + (-(epoch + 1)) % epochs, -(-total // length), epochs):
        start = number * length
        first = start + max(1, (after - start) // every + 1) * every
        yield from range(first, min(total, start + length) + 1, every)


def evaluations_left(plan: trial.Plan, step: int, total: int) -> int:
    """Count the evaluations that the plan has after a step."""

    def until(end: int) -> int:
        every, epochs, length = plan.eval_every_steps or 0, plan.eval_every_epochs, plan.steps_per_epoch
        if not every or not epochs or not length:
            return end // every if every else 0
        full, rest = divmod(end, length)
        return full // epochs * (length // every) + (rest // every if (full + 1) % epochs == 0 else 0)

    return until(total) - until(step)


def _left(interval: int | None, step: int, total: int) -> int:
    return total // interval - step // interval if interval else 0


def _seconds_under_way(start: float | None, position: Position, phase: str) -> float | None:
    if start is None or position.phase != phase:
        return None
    return max(0.0, position.trainer_time - start)


def work_left(view: TrialView, position: Position) -> eta.Work:
    """Say what is left to do at a position, in steps, evaluations and snapshots. The total must be known."""
    plan, total, step = view.state.plan, view.state.plan.total_steps or 0, position.step
    attempt, under_way = view.attempts[-1], view.evaluation
    evaluating = _seconds_under_way(under_way.start_time if under_way is not None else None, position, "evaluating")
    snapshotting = _seconds_under_way(view.snapshot_since, position, "snapshotting")
    share = None
    if evaluating is not None and under_way is not None:
        batches = position.evaluation_batches or under_way.batch_count
        share = min(1.0, position.evaluation_batch / batches) if batches else None
    rhythm = plan
    if not plan.eval_every_steps:
        rhythm = replace(plan, eval_every_steps=interval_of(view, api.MARKER_KIND_EVALUATION, None))
    evaluations = evaluations_left(rhythm, step, total)
    evaluated = max((m.step for m in view.markers if m.kind == api.MARKER_KIND_EVALUATION), default=0)
    due = step > evaluated and next(planned_evaluations(rhythm, step - 1, step), 0) == step
    if due and evaluating is None:
        evaluations += 1
    # What evaluations and snapshots have blocked in this attempt, less the evaluations: the snapshots.
    blocked = max(0.0, position.busy_seconds - attempt.evaluation_seconds)
    return eta.Work(
        steps=max(0, total - step),
        evaluations=evaluations,
        snapshots=_left(interval_of(view, api.MARKER_KIND_SNAPSHOT, plan.snapshot_every_steps), step, total),
        epochs=max(0, _left(interval_of(view, api.MARKER_KIND_EPOCH_END, plan.steps_per_epoch), step, total - 1)),
        evaluation_seconds=view.evaluation_seconds,
        snapshot_seconds=[blocked / attempt.snapshot_count] if attempt.snapshot_count else (),
        evaluation_elapsed=evaluating,
        evaluation_share=share,
        snapshot_elapsed=snapshotting,
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """What follows from the newest position of a trial, whenever it is asked for.

    Attributes:
        rest: what was left at that position; None: not known, stopping, or not running.
        stall_seconds: after so much time without an advance it counts as stalled.
    """

    rest: eta.Remaining | None
    stall_seconds: float

    def is_stalled(self, position: Position, now: int) -> bool:
        return (now - position.advance_time) / 1e9 > self.stall_seconds

    def estimate(self, position: Position, now: int) -> eta.Remaining | None:
        """Estimate the rest at a moment; None: not known, stalled, stopping, or not running."""
        if self.rest is None or self.is_stalled(position, now):
            return None
        return believable(self.rest.after(max(0.0, now / 1e9 - (position.trainer_time + position.clock_offset))))


def outlook_of(view: TrialView, position: Position) -> Outlook:
    """Say what follows from a position of a trial. It is the same until an event or a batch of the trial comes."""
    evaluation = eta.typical(view.evaluation_seconds) if view.evaluation is not None else None
    active, rest, pace = view.state.active, None, eta.pace_of(position.times)
    may_end = active is not None and active.started and active.may_write and active.stop is None
    if may_end and view.state.plan.total_steps:
        rest = eta.remaining(position.times, work_left(view, position), pace)
    return Outlook(rest, eta.stall_seconds(position.times, evaluation, pace))


def estimate_trial(view: TrialView, position: Position | None, now: int) -> eta.Remaining | None:
    """Estimate the rest of a running trial; None: not known, stalled, stopping, or not running."""
    return outlook_of(view, position).estimate(position, now) if position is not None else None


def believable(rest: eta.Remaining) -> eta.Remaining | None:
    """Keep an estimate, if it is one that a person could wait for: clocks and totals may be any numbers."""
    return (
        rest if all(0.0 <= seconds <= MAX_ESTIMATE_SECONDS for seconds in (rest.seconds, rest.low, rest.high)) else None
    )


def elapsed_nanoseconds(view: TrialView | RuntimeView, now: int) -> int:
    """Return the running time up to now."""
    return view.running_nanoseconds + (max(0, now - view.running_since) if view.running_since else 0)

"""Trials as messages of the API: what the views say, at a moment."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.domain import trial
from milepost.domain.sentences import duration, number, plural
from milepost.domain.times import EARLIEST
from services.trials.readmodel import eta
from services.trials.readmodel.positions import Position, recent_rates, step_quantile, usual_samples
from services.trials.readmodel.progress import (
    elapsed_nanoseconds,
    planned_evaluations,
    redone_of,
    step_of,
)
from services.trials.readmodel.view import Attempt, Instance, Key, Marker, RuntimeView, TrialView
from services.trials.readmodel.views import Views

# Planned markers of one kind: the next ones. The intervals are in `Progress` for whoever wants to draw more.
MAX_PLANNED = 500
# Trials whose messages are held.
MAX_RENDERED = 5_000
# Without a `keep_best` in the configuration.
DEFAULT_BEST = "eval/loss"

STATUSES: dict[type, tuple[api.TrialStatus, api.WaitingReason]] = {
    trial.Queued: (api.TRIAL_STATUS_WAITING, api.WAITING_REASON_QUEUED),
    trial.Retrying: (api.TRIAL_STATUS_WAITING, api.WAITING_REASON_RETRYING),
    trial.Stopped: (api.TRIAL_STATUS_WAITING, api.WAITING_REASON_STOPPED),
    trial.Completed: (api.TRIAL_STATUS_COMPLETED, api.WAITING_REASON_UNSPECIFIED),
    trial.Failed: (api.TRIAL_STATUS_FAILED, api.WAITING_REASON_UNSPECIFIED),
    trial.Active: (api.TRIAL_STATUS_RUNNING, api.WAITING_REASON_UNSPECIFIED),
}

# Of one that has ended it is how fast it was, by its own clock, whenever its record was sent.
_HAS_THROUGHPUT = trial.Active | trial.Completed | trial.Failed | trial.Stopped

PHASES = {
    "starting": api.PROGRESS_PHASE_STARTING,
    "training": api.PROGRESS_PHASE_TRAINING,
    "evaluating": api.PROGRESS_PHASE_EVALUATING,
    "snapshotting": api.PROGRESS_PHASE_SNAPSHOTTING,
    "skipping": api.PROGRESS_PHASE_SKIPPING,
    "finishing": api.PROGRESS_PHASE_FINISHING,
}


def trial_name(key: Key) -> str:
    return f"runtimes/{key.runtime_id}/trials/{key.trial}"


def status_of(view: TrialView) -> tuple[api.TrialStatus, api.WaitingReason]:
    situation = view.state.situation
    if isinstance(situation, trial.Stopped) and situation.pruned:
        return api.TRIAL_STATUS_WAITING, api.WAITING_REASON_PRUNED
    return STATUSES[type(situation)]


def completion_percent(step: int, total: int | None) -> float | None:
    """Return the share of the steps that is done, floored to 0.1; None: the total is not known."""
    if not total or total <= 0:
        return None
    return min(1000, step * 1000 // total) / 10


def completion_of(view: TrialView, step: int) -> float | None:
    """Return the share that a trial has done at a step. One that counts from 0 ends at one less than its total."""
    total, situation = total_steps(view), view.state.situation
    if total and isinstance(situation, trial.Completed) and not situation.detail and step == total - 1:
        return 100.0
    return completion_percent(step, total)


def total_steps(view: TrialView) -> int | None:
    """Return the total of the plan; of a trial that completed without one, what it has done. None: not known."""
    planned, situation = view.state.plan.total_steps, view.state.situation
    if planned is None and isinstance(situation, trial.Completed):
        return situation.last_step or None
    return planned


def to_timestamp(time: int) -> Timestamp | None:
    return Timestamp(seconds=time // 1_000_000_000, nanos=time % 1_000_000_000) if time else None


def to_duration(nanoseconds: int) -> Duration:
    return Duration(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)


def to_estimate(rest: eta.Remaining | None, now: int) -> api.Estimate | None:
    if rest is None:
        return None
    return api.Estimate(
        remaining=to_duration(int(rest.seconds * 1e9)),
        remaining_low=to_duration(int(rest.low * 1e9)),
        remaining_high=to_duration(int(rest.high * 1e9)),
        finish_time=to_timestamp(now + int(rest.seconds * 1e9)),
    )


def render_trial(views: Views, view: TrialView, now: int, brief: bool = False) -> api.Trial:
    """Say what a trial is at a moment. `now`: nanoseconds since 1970."""
    runtime = views.runtimes[view.runtime_id]
    position = views.position_of(view)
    status, waiting_reason = status_of(view)
    situation = view.state.situation
    message = api.Trial(
        name=trial_name(view.key),
        runtime_id=view.runtime_id,
        trial=view.number,
        status=status,
        waiting_reason=waiting_reason,
        reason=view.reason,
        progress=_progress(view, position, own_clock=runtime.is_script),
        elapsed=to_duration(elapsed_nanoseconds(view, now)),
        estimate=to_estimate(views.estimate_of(view, now), now),
        attempt=view.state.attempt,
        attempt_count=len(view.attempts),
        parameters=view.parameters,
        searched_parameters=view.searched_parameters,
        labels=view.labels,
        best=best_of(view, runtime),
        last_values=position.last_values if position is not None else {},
        start_time=to_timestamp(view.start_time),
        end_time=to_timestamp(view.end_time),
        hints=_hints(views, view, position, now),
        events_sequence=max(view.events_sequence, runtime.events_sequence),
        telemetry_sequence=position.sequence if position is not None else 0,
        change_time=to_timestamp(view.change_time),
        start_receive_time=to_timestamp(view.start_received),
        end_receive_time=to_timestamp(view.end_received),
        runtime_deleted=runtime.deleted,
    )
    if isinstance(situation, trial.Failed):
        message.failure_reason = situation.reason
    if isinstance(situation, trial.Retrying):
        message.retry_time.FromDatetime(situation.not_before_time)
    if isinstance(situation, _HAS_THROUGHPUT) and position is not None:
        throughput = _throughput(position)
        if throughput is not None:
            message.throughput.CopyFrom(throughput)
    suggestion = runtime.suggestions.get(view.number)
    if suggestion is not None:
        message.suggestion.CopyFrom(
            api.Suggestion(
                sampler=suggestion.sampler,
                because=suggestion.because,
                outcome=suggestion.outcome,
                value=suggestion.value,
                metric=runtime.best_metric,
                detail=suggestion.detail,
                best=view.number in runtime.best_trials,
                rung=suggestion.rung,
                values=[runtime_facts.MeasuredValue(metric=m, value=value) for m, value in suggestion.values],
                constraints=[
                    runtime_facts.MeasuredConstraint(metric=metric, value=value, violation=violation)
                    for metric, value, violation in suggestion.constraints
                ],
                infeasible=suggestion.infeasible,
                donor=suggestion.donor,
                donor_step=suggestion.donor_step,
                replaced=suggestion.replaced,
            )
        )
    if view.state.origin is not None:
        message.inherited_elapsed.CopyFrom(view.state.origin.elapsed)
    snapshots = trial.restorable_snapshots(view.state)
    if snapshots:
        message.newest_snapshot_step, message.newest_snapshot_id = snapshots[0].step, snapshots[0].snapshot_id
    if not brief:
        _add_history(message, view, position, views.positions.get(view.key))
    return message


class Rendered:
    """Messages of trials that do not run, which change only with an event. For one set of views."""

    def __init__(self) -> None:
        self._messages: dict[tuple[Key, bool], tuple[tuple[int, int, int], api.Trial]] = {}

    def render(self, views: Views, view: TrialView, now: int, brief: bool = False) -> api.Trial:
        """Say what a trial is at a moment, as `render_trial` does. The message must not be changed."""
        if view.state.active is not None:
            return render_trial(views, view, now, brief)
        position = views.positions.get(view.key)
        runtime = views.runtimes[view.runtime_id]
        place = (view.events_sequence, runtime.events_sequence, position.sequence if position is not None else 0)
        known = self._messages.get((view.key, brief))
        if known is not None and known[0] == place:
            return known[1]
        if len(self._messages) >= MAX_RENDERED:
            self._messages.clear()
        message = render_trial(views, view, now, brief)
        self._messages[view.key, brief] = (place, message)
        return message


def _add_history(message: api.Trial, view: TrialView, position: Position | None, told: Position | None) -> None:
    message.steerables.extend(_steerables(view))
    step = step_of(view, position)
    message.markers.extend(_marker(marker, step) for marker in view.markers)
    if not isinstance(view.state.situation, trial.Completed):
        message.markers.extend(planned_markers(view, step))
    message.lineage.extend(
        api.SegmentOfLineage(attempt=s.attempt, first_step=s.first_step, last_step=s.last_step or 0)
        for s in view.state.lineage
        if s.last_step is None or s.last_step >= s.first_step
    )
    _close_lineage(message, view, position)
    message.redone.extend(
        api.RedoneRange(attempt=r.attempt, first_step=r.first_step, last_step=r.last_step)
        for r in redone_of(view, told)
    )
    if view.attempt is not None:
        message.instances.extend(_instance(view.attempt.instances[rank]) for rank in sorted(view.attempt.instances))


def _close_lineage(message: api.Trial, view: TrialView, position: Position | None) -> None:
    """The last segment is open only while its attempt runs."""
    active = view.state.active
    if message.lineage and (
        active is None or (active.attempt != message.lineage[-1].attempt and not active.launch.appends)
    ):
        message.lineage[-1].last_step = max(step_of(view, position), message.lineage[-1].first_step - 1)


def _steerables(view: TrialView) -> Iterator[api.Steerable]:
    """Yield what may be changed of a trial, and what it was changed to."""
    steered = {change.name: change.value for change in view.state.steering.changes}
    requested = {name: text for request in view.state.steering.waiting for name, text in request.values}
    for one in view.state.steering.steerables:
        yield api.Steerable(
            name=one.name,
            kind=one.kind,  # type: ignore[arg-type]
            declared_value=one.value,
            steered_value=steered.get(one.name, ""),
            requested_value=requested.get(one.name, ""),
            minimum=one.minimum,
            maximum=one.maximum,
            choices=one.choices,
        )


def _marker(marker: Marker, step: int) -> api.Marker:
    return api.Marker(
        # A change of values that an attempt which went back still has before it.
        planned=marker.kind == api.MARKER_KIND_PARAMETERS_CHANGED and marker.step > step,
        changes=[facts.ParameterChange(name=name, old=old, new=new) for name, old, new in marker.changes],
        actor=marker.actor,
        kind=marker.kind,  # type: ignore[arg-type]
        step=marker.step,
        sequence=marker.sequence,
        time=to_timestamp(marker.time),
        values=marker.values,
        epoch=marker.epoch,
        snapshot_id=marker.snapshot_id,
        receive_time=to_timestamp(marker.received),
    )


def planned_markers(view: TrialView, step: int) -> Iterator[api.Marker]:
    """Yield what the plan says is still to come, up to a limit for each kind."""
    plan, total = view.state.plan, view.state.plan.total_steps
    if not total:
        return
    ends = [m for m in view.markers if m.kind == api.MARKER_KIND_EPOCH_END]
    last_end, epoch = (ends[-1].step, ends[-1].epoch + 1) if ends else (0, 0)
    yield from (
        api.Marker(kind=api.MARKER_KIND_EVALUATION, step=at, planned=True)
        for at in islice(planned_evaluations(plan, step, total), MAX_PLANNED)
    )
    for kind, interval, origin in (
        (api.MARKER_KIND_EPOCH_END, plan.steps_per_epoch, last_end),
        (api.MARKER_KIND_SNAPSHOT, plan.snapshot_every_steps, 0),
    ):
        if not interval:
            continue
        passed = max(0, step - origin) // interval
        first = origin + (passed + 1) * interval
        for index, at in enumerate(range(first, min(total, first + (MAX_PLANNED - 1) * interval) + 1, interval)):
            marker = api.Marker(kind=kind, step=at, planned=True)
            if kind == api.MARKER_KIND_EPOCH_END:
                marker.epoch = epoch + passed + index
            yield marker


def _progress(view: TrialView, position: Position | None, *, own_clock: bool) -> api.Progress:
    plan, step, total = view.state.plan, step_of(view, position), total_steps(view)
    progress = api.Progress(step=step, epoch=view.epoch, batch=view.batch)
    for name, value in (
        ("total_steps", total),
        ("completion_percent", completion_of(view, step)),
        ("epochs", plan.epochs),
        ("batches_per_epoch", plan.batches_per_epoch),
        ("eval_every_steps", plan.eval_every_steps),
        ("steps_per_epoch", plan.steps_per_epoch),
        ("snapshot_every_steps", plan.snapshot_every_steps),
    ):
        if value is not None:
            setattr(progress, name, value)
    if position is not None and position.step >= view.reached_step:
        _add_place(progress, position, own_clock=own_clock)
    elif position is not None and (position.epoch, position.batch) > (view.epoch, view.batch):
        # A fence knows of a step more than what was sent: the place of the last batch that came is the best there is.
        _add_batches(progress, position)
    active = view.state.active
    if active is not None:
        told = PHASES.get(position.phase, api.PROGRESS_PHASE_UNSPECIFIED) if position is not None else None
        progress.phase = (told or api.PROGRESS_PHASE_TRAINING) if active.started else api.PROGRESS_PHASE_STARTING
        if view.evaluation is not None:
            progress.phase = api.PROGRESS_PHASE_EVALUATING
            if not progress.HasField("evaluation_batches") and view.evaluation.batch_count is not None:
                progress.evaluation_batches = view.evaluation.batch_count
    progress.batch_text = batch_text(progress)
    return progress


def _add_batches(progress: api.Progress, position: Position) -> None:
    progress.epoch, progress.batch = position.epoch, position.batch
    if position.epoch_batches is not None:
        progress.batches_per_epoch = position.epoch_batches


def _add_place(progress: api.Progress, position: Position, *, own_clock: bool) -> None:
    _add_batches(progress, position)
    if position.phase == "evaluating":
        progress.evaluation_batch = position.evaluation_batch
        if position.evaluation_batches is not None:
            progress.evaluation_batches = position.evaluation_batches
    if position.phase == "skipping":
        progress.skipped_batches = position.skipped
        if position.to_skip is not None:
            progress.batches_to_skip = position.to_skip
    stamp = to_timestamp(_step_time(position) if own_clock else position.step_time)
    if stamp is not None:
        progress.step_time.CopyFrom(stamp)


def _step_time(position: Position) -> int:
    """When a script did its last step, by its own clock as far as that can be true."""
    own = int(position.step_trainer_time * 1e9)
    return min(own, position.step_time) if own >= EARLIEST.timestamp() * 1e9 else position.step_time


def batch_text(progress: api.Progress) -> str:
    """Say where in the data it is: `E0 450/1000`, `E0 eval 12/40`, `skipping data 12,000/400,000`."""

    def of(done: int, name: str, write: object = str) -> str:
        text = number if write is number else str
        return f"{text(done)}/{text(getattr(progress, name))}" if progress.HasField(name) else text(done)

    if progress.phase == api.PROGRESS_PHASE_SKIPPING:
        return f"skipping data {of(progress.skipped_batches, 'batches_to_skip', number)}"
    if progress.phase == api.PROGRESS_PHASE_EVALUATING:
        return f"E{progress.epoch} eval {of(progress.evaluation_batch, 'evaluation_batches')}"
    return f"E{progress.epoch} {of(progress.batch, 'batches_per_epoch')}"


def _throughput(position: Position) -> api.Throughput | None:
    rates = recent_rates(position)
    seconds = sum(rate.seconds for rate in rates)
    if seconds <= 0:
        return None
    throughput = api.Throughput(steps_per_second=sum(rate.steps for rate in rates) / seconds)
    samples = usual_samples(rates)
    if samples is not None:
        throughput.samples_per_second = throughput.steps_per_second * samples
    for name, share in (("step_seconds_p50", 0.5), ("step_seconds_p95", 0.95)):
        quantile = step_quantile(rates, share)
        if quantile is not None:
            setattr(throughput, name, quantile)
    return throughput


def best_of(view: TrialView, runtime: RuntimeView) -> api.BestValue | None:
    """Return the best evaluation of the lineage, else what its search knows of it; None: there is neither."""
    metric = runtime.best_metric or DEFAULT_BEST
    sign = -1.0 if runtime.best_mode == config.METRIC_MODE_MAX else 1.0
    best: tuple[float, Marker] | None = None
    for marker in view.markers:
        value = marker.values.get(metric, math.nan)
        if math.isfinite(value) and (best is None or sign * value < best[0]):
            best = (sign * value, marker)
    if best is None:
        suggestion = runtime.suggestions.get(view.number)
        known = suggestion.value if suggestion is not None else None
        return api.BestValue(metric=metric, value=known) if known is not None else None
    return api.BestValue(metric=metric, value=best[1].values[metric], step=best[1].step)


def _hints(views: Views, view: TrialView, position: Position | None, now: int) -> list[str]:
    hints: list[str] = []
    active, attempt = view.state.active, view.attempt
    if active is not None and attempt is not None:
        for rank in sorted(attempt.instances):
            instance = attempt.instances[rank]
            if instance.health == common.HEALTH_UNHEALTHY and not instance.exit_time:
                hints.append(f"no contact with instance {rank} for {duration((now - instance.health_time) / 1e9)}")
        if active.started and position is not None and views.is_stalled(view, now):
            why = f": {attempt.stall}" if attempt.stall_step == position.step else ""
            hints.append(f"no progress for {duration((now - position.advance_time) / 1e9)}{why}")
        if attempt.straggler:
            hints.append(attempt.straggler)
        if attempt.restored_step:
            hints.append(f"resumed from step {number(attempt.restored_step)}")
    # A hint of the past that the view itself gives while it lasts.
    hints += [alert.message for alert in view.alerts if alert.kind != facts.ALERT_KIND_NO_PROGRESS]
    if view.dropped_steps:
        hints.append(f"{plural(view.dropped_steps, 'point')} dropped by the sender")
    if view.dropped_lines:
        hints.append(f"{plural(view.dropped_lines, 'log line')} dropped by the sender")
    return hints


def _instance(instance: Instance) -> api.InstanceState:
    return api.InstanceState(
        rank=instance.rank,
        attempt=instance.attempt,
        host=instance.host,
        process_id=instance.process_id,
        devices=instance.devices,
        ready=instance.ready,
        health=instance.health,  # type: ignore[arg-type]
        exit_cause=instance.exit_cause,  # type: ignore[arg-type]
        detail=instance.detail,
        start_time=to_timestamp(instance.start_time),
        exit_time=to_timestamp(instance.exit_time),
        software=instance.software,
    )


def render_attempt(attempt: Attempt) -> api.Attempt:
    return api.Attempt(
        attempt=attempt.number,
        launch_time=to_timestamp(attempt.launch_time),
        start_time=to_timestamp(attempt.start_time),
        end_time=to_timestamp(attempt.end_time),
        restored_snapshot_id=attempt.restored_snapshot_id,
        restored_step=attempt.restored_step,
        last_step=attempt.last_step,
        cause=attempt.cause,  # type: ignore[arg-type]
        detail=attempt.detail,
        fenced=attempt.fenced,
        instances=[_instance(attempt.instances[rank]) for rank in sorted(attempt.instances)],
        world_size=attempt.world_size,
        start_receive_time=to_timestamp(attempt.start_received),
        end_receive_time=to_timestamp(attempt.end_received),
    )

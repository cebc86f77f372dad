"""What each fact does to the view of its trial: one function for each type of event, and the table of them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.domain.sentences import sentence
from milepost.eventlog.bounds import bounded, scalars
from services.trials.readmodel.view import Alert, Attempt, EvaluationUnderWay, Instance, Marker, Redone, TrialView

# The newest alerts, which every list shows.
MAX_ALERTS = 50
# Durations kept of evaluations and snapshots.
KEEP_DURATIONS = 16


class EventContext(NamedTuple):
    """The envelope of a fact, and who owned the end of the lineage before it.

    `time` is when it happened: by the server's clock, or where a script says it by that of the script. `received` is
    always the server's.
    """

    sequence: int
    time: int
    received: int
    # By the writer's clock, seconds since 1970.
    writer_time: float
    owner: int
    of_script: bool = False


def _changed(view: TrialView, fact: Message, occasion: EventContext) -> None:
    view.reason = sentence(fact)
    view.change_time = occasion.time


def _created(view: TrialView, fact: facts.TrialCreated, occasion: EventContext) -> None:
    view.parameters = dict(sorted(fact.parameters.items()))
    view.searched_parameters = dict(sorted(fact.searched_parameters.items()))
    if fact.HasField("origin"):
        at = fact.origin
        view.snapshot_places[at.snapshot_id] = (at.epoch, at.batch)
        view.reached_step, view.epoch, view.batch = at.step, at.epoch, at.batch
    _changed(view, fact, occasion)


def _parameters_declared(view: TrialView, fact: facts.ParametersDeclared, occasion: EventContext) -> None:
    view.parameters = bounded({**view.parameters, **scalars(fact.parameters)})
    kept = {key: text for key, text in view.labels.items() if key not in fact.removed_labels}
    view.labels = bounded({**kept, **fact.labels})


def _launched(view: TrialView, fact: facts.AttemptLaunched, occasion: EventContext) -> None:
    view.attempts.append(Attempt(fact.attempt, launch_time=occasion.time, appends=fact.appends))
    view.start_time = view.start_time or occasion.time
    view.start_received = view.start_received or occasion.received
    view.end_time = view.end_received = 0
    view.evaluation, view.snapshot_since = None, None
    _changed(view, fact, occasion)


def _fenced(view: TrialView, fact: facts.AttemptFenced, occasion: EventContext) -> None:
    attempt = view.attempts[-1]
    attempt.fenced, attempt.cause, attempt.detail = True, fact.cause, fact.detail
    _end_attempt(view, attempt, fact.last_step, occasion)
    _changed(view, fact, occasion)


def _end_attempt(view: TrialView, attempt: Attempt, last_step: int, occasion: EventContext) -> None:
    # Clocks go back at times.
    attempt.end_time = attempt.end_time or max(occasion.time, attempt.start_time)
    attempt.end_received = attempt.end_received or occasion.received
    attempt.last_step = max(attempt.last_step, last_step)
    view.evaluation = None
    if view.owner == attempt.number or attempt.appends:
        view.reached_step = max(view.reached_step, last_step)


def _attempt_started(view: TrialView, fact: facts.AttemptStarted, occasion: EventContext) -> None:
    attempt = view.attempts[-1]
    attempt.start_time, attempt.start_received, attempt.world_size = occasion.time, occasion.received, fact.world_size
    attempt.restored_snapshot_id, attempt.restored_step = fact.restored_snapshot_id, fact.restored_step
    attempt.last_step = fact.restored_step
    if attempt.appends and occasion.owner:
        _changed(view, fact, occasion)
        return
    attempt.appends = False
    if view.reached_step > fact.restored_step:
        view.redone.append(Redone(occasion.owner, fact.restored_step, view.reached_step))
    # A change of values comes again at its step.
    view.markers = [
        m for m in view.markers if m.step <= fact.restored_step or m.kind == api.MARKER_KIND_PARAMETERS_CHANGED
    ]
    view.alerts = [a for a in view.alerts if a.step <= fact.restored_step]
    view.reached_step = fact.restored_step
    view.epoch, view.batch = view.snapshot_places.get(fact.restored_snapshot_id, (0, 0))
    _changed(view, fact, occasion)


def _plan_declared(view: TrialView, fact: facts.PlanDeclared, occasion: EventContext) -> None:
    pass  # the decider's state has it


def _instance_started(view: TrialView, fact: facts.InstanceStarted, occasion: EventContext) -> None:
    view.attempts[-1].instances[fact.rank] = Instance(
        fact.rank,
        fact.attempt,
        fact.host,
        fact.process_id,
        list(fact.devices),
        fact.software,
        health=common.HEALTH_HEALTHY,
        start_time=occasion.time,
    )


def _instance(view: TrialView, attempt: int, rank: int) -> Instance:
    instances = view.attempts[-1].instances
    return instances.setdefault(rank, Instance(rank, attempt))


def _instance_ready(view: TrialView, fact: facts.InstanceReadinessChanged, occasion: EventContext) -> None:
    instance = _instance(view, fact.attempt, fact.rank)
    instance.ready, instance.detail = fact.ready, fact.reason


def _instance_health(view: TrialView, fact: facts.InstanceHealthChanged, occasion: EventContext) -> None:
    instance = _instance(view, fact.attempt, fact.rank)
    instance.health, instance.detail, instance.health_time = fact.health, fact.reason, occasion.time


def _instance_exited(view: TrialView, fact: facts.InstanceExited, occasion: EventContext) -> None:
    instance = _instance(view, fact.attempt, fact.rank)
    instance.exit_cause, instance.detail, instance.exit_time = fact.cause, fact.detail, occasion.time
    instance.ready = False


def _stepped(view: TrialView, step: int) -> None:
    view.reached_step = max(view.reached_step, step)
    view.attempts[-1].last_step = max(view.attempts[-1].last_step, step)


def _marker(kind: int, fact: Any, occasion: EventContext, epoch: int) -> Marker:
    return Marker(kind, fact.step, occasion.sequence, occasion.time, occasion.received, fact.attempt, epoch)


def _mark(view: TrialView, marker: Marker) -> None:
    if view.attempts[-1].restored_step == marker.step:
        _take_place(view, marker)
    bisect.insort(view.markers, marker, key=lambda m: (m.step, m.sequence))


def _take_place(view: TrialView, marker: Marker) -> None:
    """What an attempt does again at the step it went on from counts instead of what earlier ones did there."""
    kept = []
    for earlier in view.markers:
        repeated = (earlier.step, earlier.kind) == (marker.step, marker.kind) and earlier.attempt < marker.attempt
        if repeated and marker.kind == api.MARKER_KIND_EVALUATION:
            # Series by series, as the metric service does.
            rest = {key: value for key, value in earlier.values.items() if key not in marker.values}
            if not rest:
                continue
            earlier = replace(earlier, values=rest)
        elif repeated and marker.kind == api.MARKER_KIND_EPOCH_END:
            continue
        kept.append(earlier)
    view.markers = kept


def _epoch_completed(view: TrialView, fact: facts.EpochCompleted, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    view.epoch, view.batch = fact.epoch + 1, 0
    marker = Marker(
        api.MARKER_KIND_EPOCH_END,
        fact.step,
        occasion.sequence,
        occasion.time,
        occasion.received,
        fact.attempt,
        fact.epoch,
    )
    _mark(view, marker)


def _evaluation_started(view: TrialView, fact: facts.EvaluationStarted, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    batches = fact.batch_count if fact.HasField("batch_count") else None
    view.evaluation = EvaluationUnderWay(fact.step, occasion.writer_time, batches)


def _evaluation_completed(view: TrialView, fact: facts.EvaluationCompleted, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    view.evaluation = None
    view.attempts[-1].evaluation_seconds += fact.duration_seconds
    if fact.interrupted:
        return
    _keep(view.evaluation_seconds, fact.duration_seconds)
    marker = Marker(
        api.MARKER_KIND_EVALUATION,
        fact.step,
        occasion.sequence,
        occasion.time,
        occasion.received,
        fact.attempt,
        view.epoch,
    )
    marker.values = dict(sorted(fact.values.items()))
    _mark(view, marker)


def _keep(durations: list[float], seconds: float) -> None:
    if math.isfinite(seconds) and seconds >= 0:
        durations.append(seconds)
        del durations[:-KEEP_DURATIONS]


def _snapshot_started(view: TrialView, fact: facts.SnapshotStarted, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    view.snapshot_since = occasion.writer_time


def _snapshot_committed(view: TrialView, fact: facts.SnapshotCommitted, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    view.attempts[-1].snapshot_count += 1
    view.snapshot_places[fact.snapshot_id] = (fact.epoch, fact.batch)
    marker = Marker(
        api.MARKER_KIND_SNAPSHOT,
        fact.step,
        occasion.sequence,
        occasion.time,
        occasion.received,
        fact.attempt,
        fact.epoch,
    )
    marker.snapshot_id = fact.snapshot_id
    _mark(view, marker)


def _snapshot_failed(view: TrialView, fact: facts.SnapshotFailed, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    _warn(view, Alert(facts.ALERT_KIND_UNSPECIFIED, "", fact.step, sentence(fact)))


def _snapshot_deleted(view: TrialView, fact: facts.SnapshotDeleted, occasion: EventContext) -> None:
    view.snapshot_places.pop(fact.snapshot_id, None)
    if fact.reason == facts.SNAPSHOT_DELETE_REASON_CORRUPT:
        _warn(view, Alert(facts.ALERT_KIND_UNSPECIFIED, "", fact.step, sentence(fact)))


def _snapshot_kept(view: TrialView, fact: Message, occasion: EventContext) -> None:
    pass  # the decider's state has it


def _warn(view: TrialView, alert: Alert) -> None:
    view.alerts.append(alert)
    del view.alerts[:-MAX_ALERTS]


def _telemetry_dropped(view: TrialView, fact: facts.TelemetryDropped, occasion: EventContext) -> None:
    if fact.kind == "logs":
        view.dropped_lines += fact.item_count
    elif fact.kind != "samples":
        view.dropped_steps += fact.item_count


def _attempt_ended(view: TrialView, fact: facts.AttemptEnded, occasion: EventContext) -> None:
    attempt = view.attempts[-1]
    attempt.cause, attempt.detail = fact.cause, fact.detail
    _end_attempt(view, attempt, fact.last_step, occasion)
    _changed(view, fact, occasion)


def _retry_scheduled(view: TrialView, fact: facts.RetryScheduled, occasion: EventContext) -> None:
    _changed(view, fact, occasion)


def _stop_requested(view: TrialView, fact: facts.TrialStopRequested, occasion: EventContext) -> None:
    _changed(view, fact, occasion)


def _resume_requested(view: TrialView, fact: facts.TrialResumeRequested, occasion: EventContext) -> None:
    view.end_time = view.end_received = 0
    _changed(view, fact, occasion)


def _roll_back_requested(view: TrialView, fact: facts.TrialRollBackRequested, occasion: EventContext) -> None:
    view.end_time = view.end_received = 0
    view.parameters = bounded({**view.parameters, **dict(sorted(fact.parameters.items()))})
    _drop_former_changes(view)
    _changed(view, fact, occasion)


def _snapshot_requested(view: TrialView, fact: facts.TrialSnapshotRequested, occasion: EventContext) -> None:
    """What it brings about says what became of it."""


def _evaluation_requested(view: TrialView, fact: facts.TrialEvaluationRequested, occasion: EventContext) -> None:
    """What it brings about says what became of it."""


def _evaluation_refused(view: TrialView, fact: facts.EvaluationRefused, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    _warn(view, Alert(facts.ALERT_KIND_UNSPECIFIED, "", fact.step, sentence(fact)))


def _parameters_changed(view: TrialView, fact: facts.ParametersChanged, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    _drop_former_changes(view)
    marker = Marker(
        api.MARKER_KIND_PARAMETERS_CHANGED,
        fact.step,
        occasion.sequence,
        occasion.time,
        occasion.received,
        fact.attempt,
        view.epoch,
    )
    marker.changes = tuple((one.name, one.old, one.new) for one in fact.changes)
    marker.actor = fact.actor
    _mark(view, marker)


def _drop_former_changes(view: TrialView) -> None:
    """Leave out markers of changes that no attempt makes again."""
    left = {(one.step, one.name) for one in view.state.steering.changes}
    view.markers = [
        m
        for m in view.markers
        if m.kind != api.MARKER_KIND_PARAMETERS_CHANGED or any((m.step, name) in left for name, _, _ in m.changes)
    ]


def _parameters_not_changed(view: TrialView, fact: facts.ParametersNotChanged, occasion: EventContext) -> None:
    _stepped(view, fact.step)
    _warn(view, Alert(facts.ALERT_KIND_UNSPECIFIED, "", fact.step, sentence(fact)))


def _steering_said(view: TrialView, fact: Message, occasion: EventContext) -> None:
    pass  # the decider's state has it


def _concluded(view: TrialView, fact: Message, occasion: EventContext) -> None:
    view.end_time, view.end_received = occasion.time, occasion.received
    _changed(view, fact, occasion)
    if occasion.of_script and view.attempts and view.attempts[-1].end_time:
        # What its process has said is concluded from.
        view.end_time = view.change_time = view.attempts[-1].end_time


def _completed(view: TrialView, fact: facts.TrialCompleted, occasion: EventContext) -> None:
    view.reached_step = max(view.reached_step, fact.last_step)
    _concluded(view, fact, occasion)


def _alert_raised(view: TrialView, fact: facts.AlertRaised, occasion: EventContext) -> None:
    if fact.kind != facts.ALERT_KIND_CODE:
        view.alerts = [a for a in view.alerts if (a.kind, a.series) != (fact.kind, fact.series)]
    _warn(view, Alert(fact.kind, fact.series, fact.step, fact.message))


def _stacks_said(view: TrialView, fact: Message, occasion: EventContext) -> None:
    """They are large, and few look at them: they stay in the log."""


def _stall_diagnosed(view: TrialView, fact: facts.StallDiagnosed, occasion: EventContext) -> None:
    if view.attempt is not None:
        view.attempt.stall_step, view.attempt.stall = fact.step, fact.message


def _straggler_observed(view: TrialView, fact: facts.StragglerObserved, occasion: EventContext) -> None:
    if view.attempt is not None:
        view.attempt.straggler = "" if fact.over else sentence(fact)


def _cluster_observed(view: TrialView, fact: facts.ClusterStateObserved, occasion: EventContext) -> None:
    if not view.attempts[-1].start_time:
        _changed(view, fact, occasion)


def _environment_recorded(view: TrialView, fact: facts.EnvironmentRecorded, occasion: EventContext) -> None:
    """It is large, and few look at it: it stays in the log."""


APPLY: dict[type[Message], Callable[[TrialView, Any, EventContext], None]] = {
    facts.TrialCreated: _created,
    facts.AttemptLaunched: _launched,
    facts.AttemptFenced: _fenced,
    facts.AttemptStarted: _attempt_started,
    facts.PlanDeclared: _plan_declared,
    facts.ParametersDeclared: _parameters_declared,
    facts.InstanceStarted: _instance_started,
    facts.InstanceReadinessChanged: _instance_ready,
    facts.InstanceHealthChanged: _instance_health,
    facts.InstanceExited: _instance_exited,
    facts.EpochCompleted: _epoch_completed,
    facts.EvaluationStarted: _evaluation_started,
    facts.EvaluationCompleted: _evaluation_completed,
    facts.SnapshotStarted: _snapshot_started,
    facts.SnapshotCommitted: _snapshot_committed,
    facts.SnapshotFailed: _snapshot_failed,
    facts.SnapshotDeleted: _snapshot_deleted,
    facts.SnapshotHeld: _snapshot_kept,
    facts.SnapshotLetGo: _snapshot_kept,
    facts.TrialPurgeStarted: _snapshot_kept,
    facts.SnapshotPinned: _snapshot_kept,
    facts.SnapshotUnpinned: _snapshot_kept,
    facts.TelemetryDropped: _telemetry_dropped,
    facts.AttemptEnded: _attempt_ended,
    facts.RetryScheduled: _retry_scheduled,
    facts.TrialStopRequested: _stop_requested,
    facts.TrialResumeRequested: _resume_requested,
    facts.TrialCompleted: _completed,
    facts.TrialFailed: _concluded,
    facts.TrialStopped: _concluded,
    facts.AlertRaised: _alert_raised,
    facts.ClusterStateObserved: _cluster_observed,
    facts.EnvironmentRecorded: _environment_recorded,
    facts.TrialSnapshotRequested: _snapshot_requested,
    facts.TrialEvaluationRequested: _evaluation_requested,
    facts.EvaluationRefused: _evaluation_refused,
    facts.TrialStacksRequested: _stacks_said,
    facts.StacksRecorded: _stacks_said,
    facts.StallDiagnosed: _stall_diagnosed,
    facts.StragglerObserved: _straggler_observed,
    facts.TrialRollBackRequested: _roll_back_requested,
    facts.SteerableDeclared: _steering_said,
    facts.TrialSteerRequested: _steering_said,
    facts.ParametersChanged: _parameters_changed,
    facts.ParametersNotChanged: _parameters_not_changed,
}

"""From views and recorded events to the messages of the contract."""

from __future__ import annotations

import logging
from collections.abc import Collection

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.configuration import left_out, to_text
from milepost.domain import runtime, search, trial
from milepost.domain.sentences import sentence
from milepost.domain.times import believable
from milepost.eventlog import RecordedEvent, codec, parse_subject
from services.runtime.readmodel.view import Reference, RuntimeView, labels_of

log = logging.getLogger(__name__)

STATUSES = {
    runtime.Status.STARTED: api.RUNTIME_STATUS_STARTED,
    runtime.Status.ABORTED: api.RUNTIME_STATUS_ABORTED,
    runtime.Status.FAILED: api.RUNTIME_STATUS_FAILED,
    runtime.Status.COMPLETED: api.RUNTIME_STATUS_COMPLETED,
}

PHASES: dict[runtime.Phase, api.RuntimePhase] = {
    phase: getattr(api, f"RUNTIME_PHASE_{phase.value}") for phase in runtime.Phase
}


def rungs_of(history: search.History) -> list[api.Rung]:
    """List the rungs that trials have reached, in the order in which they were judged."""
    rungs: list[api.Rung] = []
    last: dict[int, api.Rung] = {}
    for entry in history.entries:
        if isinstance(entry, search.Reached):
            rung = api.Rung(trial=entry.trial, rung=entry.rung, step=entry.step, value=entry.value)
            rungs.append(rung)
            last[entry.trial] = rung
        elif isinstance(entry, search.Pruned) and entry.trial in last:
            verdict = last[entry.trial].verdict
            verdict.cut_off, verdict.rank, verdict.reached_count = entry.cut_off, entry.rank, entry.reached_count
    return rungs


def runtime_message(view: RuntimeView, with_text: bool = False, position: int = 0) -> api.Runtime:
    """Describe a runtime.

    Args:
        with_text: adds the configuration as text: as the client gave it, and as resolved.
        position: where it stands in the queue; 0: not known, so what events of earlier versions say is told.
    """
    state = view.state
    message = api.Runtime(
        name=f"runtimes/{view.runtime_id}",
        runtime_id=view.runtime_id,
        display_name=state.configuration.name if state.configuration is not None else "",
        status=STATUSES[state.status] if state.status is not None else api.RUNTIME_STATUS_UNSPECIFIED,
        phase=PHASES[view.phase] if view.phase is not None else api.RUNTIME_PHASE_UNSPECIFIED,
        reason=view.reason,
        failure_reason=state.failure_reason,
        configuration=state.configuration,
        configuration_digest=state.configuration_digest,
        trials=trial_counts(view),
        trial_count=trial_count_of(view),
        cloned_from=view.cloned_from,
        branch=state.branch,
        health=state.health,
        health_reason="" if state.health == common.HEALTH_HEALTHY or not state.in_progress else state.health_reason,
        ready=state.ready,
        purge_remaining=state.purge_remaining,
        sequence=view.sequence,
        etag=str(view.head.sequence),
        deleted=state.deleting,
    )
    if state.configuration is not None:
        message.left_out_trial_count = left_out(state.configuration)
    _set_times(message, view)
    message.labels.update(labels_of(view))
    if state.pending is not None and (state.phase is runtime.Phase.QUEUED or _waits_in_cluster(view)):
        message.pending_reason, message.queue_position = state.pending.reason, position or state.pending.position
        if state.pending.detail:
            words = _pending_words(message.queue_position, state.pending.detail)
            message.reason = f"{message.reason}{'; ' if message.reason else ''}{words}"
    if state.stop is not None:
        message.stop_mode = state.stop.mode
        message.stop_deadline_time.FromDatetime(state.stop.deadline_time)
    if with_text:
        message.configuration_text = view.configuration_text
        if state.configuration is not None:
            message.resolved_text = to_text(state.configuration)
    return message


def _waits_in_cluster(view: RuntimeView) -> bool:
    """Return whether nothing of a runtime has begun that was handed to a cluster."""
    pending = view.state.pending
    if pending is None or pending.reason != facts.PENDING_REASON_CLUSTER_QUEUE or not view.state.in_progress:
        return False
    active = [one.state.active for one in view.trials.values() if one.state.active is not None]
    return bool(active) and not any(one.started for one in active)


def _pending_words(position: int, detail: str) -> str:
    return f"number {position} in the queue, {detail}" if position else detail


def _set_times(message: api.Runtime, view: RuntimeView) -> None:
    for name in ("create_time", "start_time", "end_time", "change_time"):
        time = getattr(view, name)
        if time is not None:
            getattr(message, name).FromDatetime(time)
    for name, reference in (("create", view.created), ("start", view.started), ("end", view.ended)):
        if reference is not None:
            getattr(message, f"{name}_receive_time").FromDatetime(reference.time)
    if view.created is not None:
        message.created_by = view.created.actor
    if view.changed is not None:
        message.changed_by = _who_changed(view, view.changed)
        message.change_event_id = view.changed.event_id
        message.change_sequence = view.changed.sequence
    deleted = view.last.get("DeleteRequested")
    if deleted is not None and view.state.deleting:
        message.delete_time.FromDatetime(deleted.time)
        if view.state.purge_time is not None and not view.state.purging:
            message.purge_time.FromDatetime(view.state.purge_time)


def _who_changed(view: RuntimeView, changed: Reference) -> str:
    """A service carries a stop out; who asked for it is behind it."""
    stop = view.last.get("StopRequested")
    aborted = view.state.status is runtime.Status.ABORTED and not view.state.deleting
    return stop.actor if aborted and stop is not None and stop.sequence >= view.began else changed.actor


def trial_count_of(view: RuntimeView) -> int:
    """Return how many trials a runtime has; of a search that goes on, how many it may have."""
    state = view.state
    has_ended = state.history.ended is not None
    return state.history.suggested_count if has_ended else state.trial_count


def trial_counts(view: RuntimeView) -> api.TrialCounts:
    """Count the trials by the four words."""
    counts = api.TrialCounts()
    for one in view.trials.values():
        match one.state.situation:
            case trial.Active():
                counts.running += 1
            case trial.Completed():
                counts.completed += 1
            case trial.Failed():
                counts.failed += 1
            case trial.Queued() | trial.Retrying() | trial.Stopped():
                counts.waiting += 1
    return counts


def event_message(event: RecordedEvent, ignored: Collection[int] = ()) -> events_api.RecordedEvent:
    """Describe an event of the log. One of a type that this version does not know has no payload."""
    message = events_api.RecordedEvent(
        sequence=event.sequence,
        subject=event.subject,
        event_id=event.id,
        type=event.type,
        actor=event.actor,
        cause=event.cause,
        version=event.version,
        previous_hash=event.previous_hash,
        hash=event.hash,
        traceparent=event.traceparent,
        source=event.source,
        ignored=event.sequence in ignored,
        repeat_count=1,
        last_sequence=event.sequence,
    )
    message.event_time.FromDatetime(believable(event.time, event.recorded_time))
    message.recorded_time.FromDatetime(event.recorded_time)
    subject = parse_subject(event.subject)
    if not subject.is_platform:
        message.runtime_id, message.trial = subject.runtime_id, subject.trial or 0
        message.attempt = subject.attempt or 0
    try:
        payload = codec.decode(event.type, event.body)
    except codec.UnknownEventType:
        message.message = f"An event of a type that this version does not know: {event.type}"
        return message
    message.scope, message.category = codec.scope_of(event.type), codec.category_of(event.type)
    message.message = sentence(payload)
    if not message.attempt:
        message.attempt = getattr(payload, "attempt", 0)
    if subject.is_of_rules:
        message.trial = getattr(payload, "trial", 0)
    _set_payload(message, event.type, payload)
    return message


def _set_payload(message: events_api.RecordedEvent, ce_type: str, payload: Message) -> None:
    area, name = codec.TYPES[codec.newest_type(ce_type)]
    field: Message = getattr(getattr(message, f"{area}_event"), name)
    # An empty payload must still select its field.
    field.SetInParent()
    field.CopyFrom(payload)

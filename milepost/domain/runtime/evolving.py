"""What each fact changes of a runtime: a function for each, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import search
from milepost.domain.decider import Fact, replace
from milepost.domain.runtime.states import (
    BEFORE_RUNNING,
    ENDED_STATUSES,
    Allocation,
    Pending,
    Phase,
    Runtime,
    Status,
    Stop,
)


def _requested(state: Runtime, fact: facts.RuntimeRequested) -> Runtime:
    return replace(
        state,
        runtime_id=fact.runtime_id,
        status=Status.STARTED,
        phase=Phase.QUEUED,
        configuration=fact.configuration,
        configuration_digest=fact.configuration_digest,
        request_id=fact.request_id,
        trial_count=fact.trial_count,
        branch=fact.branch if fact.HasField("branch") else None,
    )


def _pending(state: Runtime, fact: facts.ResourcesPending) -> Runtime:
    return replace(state, pending=Pending(fact.reason, fact.detail, fact.position))


def _allocated(state: Runtime, fact: facts.ResourcesAllocated) -> Runtime:
    allocation = Allocation(fact.cpus, fact.memory_gigabytes, tuple(fact.gpus), fact.host, fact.gpu_count)
    phase = Phase.ALLOCATING if state.phase is Phase.QUEUED else state.phase
    return replace(state, allocation=allocation, pending=None, phase=phase)


def _adjusted(state: Runtime, fact: facts.ResourcesAdjusted) -> Runtime:
    if state.allocation is None:
        return state
    host = state.allocation.host
    held = Allocation(fact.cpus, fact.memory_gigabytes, tuple(fact.gpus), host, fact.gpu_count)
    return replace(state, allocation=held)


def _started(state: Runtime, _: facts.RuntimeStarted) -> Runtime:
    phase = Phase.RUNNING if state.phase in BEFORE_RUNNING else state.phase
    return replace(state, phase=phase, pending=None)


def _stop_requested(state: Runtime, fact: facts.StopRequested) -> Runtime:
    stop = Stop(fact.mode, fact.deadline_time.ToDatetime(UTC), fact.reason)
    return replace(state, stop=stop, phase=Phase.STOPPING, pending=None)


def _aborted(state: Runtime, _: facts.RuntimeAborted) -> Runtime:
    return _end(state, Status.ABORTED)


def _failed(state: Runtime, fact: facts.RuntimeFailed) -> Runtime:
    return replace(_end(state, Status.FAILED), failure_reason=fact.reason)


def _completed(state: Runtime, _: facts.RuntimeCompleted) -> Runtime:
    return _end(state, Status.COMPLETED)


def _end(state: Runtime, status: Status) -> Runtime:
    return replace(state, status=status, phase=Phase.TERMINATING, stop=None, pending=None, ready=False)


def _released(state: Runtime, _: facts.ResourcesReleased) -> Runtime:
    phase = Phase.ENDED if state.status in ENDED_STATUSES else state.phase
    if state.deleting:
        phase = Phase.DELETED if state.purged else _phase_of_deletion(state.purging)
    return replace(state, allocation=None, phase=phase)


def _phase_of_deletion(purging: bool) -> Phase:
    return Phase.DELETING if purging else Phase.RESTORABLE


def _resume_requested(state: Runtime, fact: facts.ResumeRequested) -> Runtime:
    changed = fact.HasField("configuration")
    history = state.history
    if history.ended is not None and history.ended.reason == facts.SEARCH_END_REASON_SAMPLER_FAILED:
        # Whatever was wrong with the sampler may be so no longer.
        history = replace(history, ended=None)
    return replace(
        state,
        history=history,
        status=Status.STARTED,
        phase=Phase.QUEUED,
        configuration=fact.configuration if changed else state.configuration,
        configuration_digest=fact.configuration_digest if changed else state.configuration_digest,
        resume_trials=tuple(fact.trials),
        resume_snapshot_id=fact.snapshot_id,
        resumes=state.resumes + 1,
        failure_reason=common.FAILURE_REASON_UNSPECIFIED,
        health=common.HEALTH_UNSPECIFIED,
        health_reason="",
    )


def _delete_requested(state: Runtime, fact: facts.DeleteRequested) -> Runtime:
    at_once = not fact.HasField("purge_time")
    purge_time = None if at_once else fact.purge_time.ToDatetime(UTC)
    return _with_deletion(replace(state, deleting=True, purge_time=purge_time), state.purging or at_once)


def _with_deletion(state: Runtime, purging: bool) -> Runtime:
    over = state.allocation is None and state.status in ENDED_STATUSES
    return replace(state, purging=purging, phase=_phase_of_deletion(purging) if over else state.phase)


def _undeleted(state: Runtime, _: facts.RuntimeUndeleted) -> Runtime:
    phase = Phase.ENDED if state.phase is Phase.RESTORABLE else state.phase
    return replace(state, deleting=False, purge_time=None, phase=phase)


def _purge_started(state: Runtime, _: facts.PurgeStarted) -> Runtime:
    return _with_deletion(state, purging=True)


def _purged(state: Runtime, fact: facts.RuntimePurged) -> Runtime:
    remaining = tuple(fact.remaining)
    return replace(
        state, purge_remaining=remaining, purged=not remaining, phase=Phase.DELETING if remaining else Phase.DELETED
    )


def _health_changed(state: Runtime, fact: facts.HealthChanged) -> Runtime:
    return replace(state, health=fact.health, health_reason=fact.reason)


def _readiness_changed(state: Runtime, fact: facts.ReadinessChanged) -> Runtime:
    return replace(state, ready=fact.ready)


def _labels_changed(state: Runtime, fact: facts.LabelsChanged) -> Runtime:
    gone = frozenset(fact.removed_labels)
    kept = {key: text for key, text in state.labels if key not in gone}
    labels = tuple(sorted({**kept, **fact.labels}.items()))
    return replace(state, labels=labels, removed_labels=(state.removed_labels | gone) - frozenset(fact.labels))


def _suggested(state: Runtime, fact: facts.TrialSuggested) -> Runtime:
    return replace(state, history=state.history.suggest(fact.trial, fact.parameters))


def _earlier_told(state: Runtime, fact: facts.EarlierTrialsTold) -> Runtime:
    trials = [
        search.Earlier(
            one.runtime_id, one.trial, tuple(sorted(one.parameters.items())), tuple(one.values), tuple(one.violations)
        )
        for one in fact.trials
    ]
    return replace(state, history=state.history.tell_earlier(trials))


def _objective_reported(state: Runtime, fact: facts.ObjectiveReported) -> Runtime:
    values = (fact.value,) if fact.HasField("value") else tuple(one.value for one in fact.values)
    report = search.Reported(fact.trial, values, tuple(one.violation for one in fact.constraints))
    return replace(state, history=state.history.report(report, best=fact.best, surpassed=fact.surpassed))


def _rung_reached(state: Runtime, fact: facts.RungReached) -> Runtime:
    reached = search.Reached(fact.trial, fact.rung, fact.step, fact.value, fact.snapshot_id)
    return replace(state, history=state.history.reach(reached))


def _pruned(state: Runtime, fact: facts.TrialPruned) -> Runtime:
    pruned = search.Pruned(fact.trial, fact.cut_off, fact.rank, fact.reached_count)
    return replace(state, history=state.history.prune(pruned))


def _promoted(state: Runtime, fact: facts.TrialPromoted) -> Runtime:
    promoted = search.Promoted(fact.child, fact.donor, fact.rung, fact.snapshot_id)
    return replace(state, history=state.history.promote(promoted))


def _search_ended(state: Runtime, fact: facts.SearchEnded) -> Runtime:
    return replace(state, history=replace(state.history, ended=search.Ended(fact.reason, fact.detail)))


EVOLVE: dict[type[Message], Callable[[Runtime, Any], Runtime]] = {
    facts.RuntimeRequested: _requested,
    facts.ResourcesPending: _pending,
    facts.ResourcesAllocated: _allocated,
    facts.ResourcesAdjusted: _adjusted,
    facts.RuntimeStarted: _started,
    facts.StopRequested: _stop_requested,
    facts.RuntimeAborted: _aborted,
    facts.RuntimeFailed: _failed,
    facts.RuntimeCompleted: _completed,
    facts.ResourcesReleased: _released,
    facts.ResumeRequested: _resume_requested,
    facts.DeleteRequested: _delete_requested,
    facts.RuntimeUndeleted: _undeleted,
    facts.PurgeStarted: _purge_started,
    facts.RuntimePurged: _purged,
    facts.HealthChanged: _health_changed,
    facts.ReadinessChanged: _readiness_changed,
    facts.LabelsChanged: _labels_changed,
    facts.TrialSuggested: _suggested,
    facts.EarlierTrialsTold: _earlier_told,
    facts.ObjectiveReported: _objective_reported,
    facts.RungReached: _rung_reached,
    facts.TrialPruned: _pruned,
    facts.TrialPromoted: _promoted,
    facts.SearchEnded: _search_ended,
}


def evolve(state: Runtime, fact: Fact) -> Runtime:
    """Apply one fact. One that an attempt wrote, or that comes before the request, is counted and changes nothing."""
    apply = EVOLVE.get(type(fact.payload))
    first = isinstance(fact.payload, facts.RuntimeRequested)
    if apply is None or fact.attempt is not None or first == state.exists:
        return replace(state, ignored=state.ignored + 1)
    return apply(state, fact.payload)

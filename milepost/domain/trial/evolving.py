"""What each fact changes of a trial: a function for each, and the table of them."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from datetime import UTC
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls, steering
from milepost.domain.decider import Fact, replace
from milepost.domain.trial.lineage import cut_lineage, is_at_rung
from milepost.domain.trial.states import (
    Abandoned,
    Active,
    Completed,
    Ending,
    Failed,
    Plan,
    Queued,
    Retrying,
    RollBackOrder,
    Situation,
    SnapshotRecord,
    StopOrder,
    Stopped,
    Trial,
)
from milepost.domain.trial.writers import alert_key, has_effect
from milepost.numbers import MAX_NUMBER


def _created(state: Trial, fact: facts.TrialCreated) -> Trial:
    return replace(
        state,
        runtime_id=fact.runtime_id,
        number=fact.trial,
        situation=Queued(facts.LAUNCH_REASON_FIRST),
        origin=fact.origin if fact.HasField("origin") else None,
        steering=_inherited(fact),
        rung_steps=fact.rung_steps,
    )


def _inherited(fact: facts.TrialCreated) -> steering.Steering:
    """Return what a branch takes over of the values that its parent was steered to. What a search chose wins."""
    values = {name: text for name, text in fact.origin.steered.items() if name not in fact.searched_parameters}
    return steering.inherit(fact.origin.step, values)


def _launched(state: Trial, fact: facts.AttemptLaunched) -> Trial:
    process = fact.process if fact.HasField("process") else None
    return replace(state, situation=Active(fact.attempt, fact, process=process), attempt=fact.attempt)


def _fenced(state: Trial, fact: facts.AttemptFenced) -> Trial:
    active = state.active
    if active is None or active.attempt != fact.attempt:
        return replace(state, ignored=state.ignored + 1)
    return _with_active(state, fence=fact)


def _attempt_started(state: Trial, fact: facts.AttemptStarted) -> Trial:
    if state.active is not None and state.active.launch.appends and state.lineage:
        # It takes no step from anybody: what it adds is of the attempt that has the end of the lineage.
        return _with_active(state, started=True, last_step=fact.restored_step)
    snapshots = tuple(
        replace(s, superseded=True) if s.step > fact.restored_step and s.attempt != fact.attempt else s
        for s in state.snapshots
    )
    lineage = cut_lineage(state.lineage, fact.attempt, fact.restored_step)
    situation = _changed(state.situation, started=True, last_step=fact.restored_step)
    return replace(state, situation=situation, lineage=lineage, snapshots=snapshots)


def _plan_declared(state: Trial, fact: facts.PlanDeclared) -> Trial:
    def known(name: str) -> int | None:
        value: int = getattr(fact, name)
        return value if fact.HasField(name) and 0 <= value <= MAX_NUMBER else None

    plan = Plan(
        total_steps=known("total_steps"),
        steps_per_epoch=known("steps_per_epoch"),
        epochs=known("epochs"),
        eval_every_steps=known("eval_every_steps"),
        snapshot_every_steps=known("snapshot_every_steps"),
        batches_per_epoch=known("batches_per_epoch"),
        eval_every_epochs=known("eval_every_epochs"),
        gives_state=fact.gives_state,
    )
    return replace(state, plan=plan)


def _instance_started(state: Trial, fact: facts.InstanceStarted) -> Trial:
    active = state.active
    if active is None:
        return state
    process = fact.process if fact.HasField("process") and fact.rank == 0 else active.process
    hosts = active.hosts | {(fact.rank, fact.host)}
    return _with_active(state, running_ranks=active.running_ranks | {fact.rank}, hosts=hosts, process=process)


def _instance_ready(state: Trial, fact: facts.InstanceReadinessChanged) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(state, ready=active.ready | {fact.rank} if fact.ready else active.ready - {fact.rank})


def _instance_health(state: Trial, fact: facts.InstanceHealthChanged) -> Trial:
    active = state.active
    if active is None:
        return state
    others = tuple(entry for entry in active.health if entry[0] != fact.rank)
    return _with_active(state, health=(*others, (fact.rank, fact.health)))


def _instance_exited(state: Trial, fact: facts.InstanceExited) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(state, running_ranks=active.running_ranks - {fact.rank}, ready=active.ready - {fact.rank})


def _stepped(state: Trial, fact: Any, **changes: Any) -> Trial:
    active = state.active
    if active is None or (not changes and fact.step <= active.last_step):
        return state
    return _with_active(state, last_step=max(active.last_step, fact.step), **changes)


def _evaluation_started(state: Trial, fact: facts.EvaluationStarted) -> Trial:
    return _stepped(state, fact, open_evaluation_step=fact.step)


def _evaluation_completed(state: Trial, fact: facts.EvaluationCompleted) -> Trial:
    active = state.active
    wanted = active is not None and active.evaluation_wanted and fact.interrupted
    return _stepped(state, fact, open_evaluation_step=None, evaluation_wanted=wanted)


def _evaluation_refused(state: Trial, fact: facts.EvaluationRefused) -> Trial:
    return _stepped(state, fact, evaluation_wanted=False)


def _snapshot_committed(state: Trial, fact: facts.SnapshotCommitted) -> Trial:
    trunk = cut_lineage(state.lineage, fact.attempt, fact.step)[:-1]
    record = SnapshotRecord(
        fact.snapshot_id, fact.attempt, fact.step, fact.uri, fact.manifest_sha256,
        superseded=state.active is not None and state.active.roll_back is not None,
        epoch=fact.epoch, batch=fact.batch, trunk=trunk,
        held_by=(state.runtime_id,) if is_at_rung(state.rung_steps, fact.step) else (),
    )  # fmt: skip
    place = bisect.bisect_right(state.snapshots, (record.step, record.attempt), key=lambda s: (s.step, s.attempt))
    snapshots = (*state.snapshots[:place], record, *state.snapshots[place:])
    step = max(state.active.last_step, fact.step) if state.active is not None else 0
    situation = _changed(state.situation, last_step=step, snapshot_wanted=False)
    return replace(state, situation=situation, snapshots=snapshots)


def _snapshot_failed(state: Trial, fact: facts.SnapshotFailed) -> Trial:
    return _stepped(state, fact, snapshot_wanted=False)


def _snapshot_deleted(state: Trial, fact: facts.SnapshotDeleted) -> Trial:
    return replace(state, snapshots=tuple(s for s in state.snapshots if s.snapshot_id != fact.snapshot_id))


def _snapshot_held(state: Trial, fact: facts.SnapshotHeld) -> Trial:
    def held(record: SnapshotRecord) -> SnapshotRecord:
        return replace(record, held_by=tuple(sorted({*record.held_by, fact.runtime_id})))

    return _with_snapshot(state, fact.snapshot_id, held)


def _snapshot_let_go(state: Trial, fact: facts.SnapshotLetGo) -> Trial:
    def let_go(record: SnapshotRecord) -> SnapshotRecord:
        return replace(record, held_by=tuple(one for one in record.held_by if one != fact.runtime_id))

    return _with_snapshot(state, fact.snapshot_id, let_go)


def _snapshot_pinned(state: Trial, fact: facts.SnapshotPinned) -> Trial:
    return _with_snapshot(state, fact.snapshot_id, lambda record: replace(record, pinned=True))


def _snapshot_unpinned(state: Trial, fact: facts.SnapshotUnpinned) -> Trial:
    return _with_snapshot(state, fact.snapshot_id, lambda record: replace(record, pinned=False))


def _purge_started(state: Trial, _: facts.TrialPurgeStarted) -> Trial:
    return replace(state, purging=True)


def _with_snapshot(state: Trial, snapshot_id: str, change: Callable[[SnapshotRecord], SnapshotRecord]) -> Trial:
    snapshots = tuple(change(record) if record.snapshot_id == snapshot_id else record for record in state.snapshots)
    return replace(state, snapshots=snapshots)


def _attempt_ended(state: Trial, fact: facts.AttemptEnded) -> Trial:
    ending = Ending(fact.outcome, fact.cause, fact.detail, fact.last_step)
    return _with_active(state, ending=ending, last_step=fact.last_step)


def _retry_scheduled(state: Trial, fact: facts.RetryScheduled) -> Trial:
    situation = Retrying(fact.retry, fact.not_before_time.ToDatetime(UTC), fact.cause, fact.detail)
    interruptions = fact.interruption or state.interruptions
    return replace(state, situation=situation, retries=fact.retry, interruptions=interruptions)


def _stop_requested(state: Trial, fact: facts.TrialStopRequested) -> Trial:
    return _with_active(state, stop=StopOrder(fact.mode, fact.deadline_time.ToDatetime(UTC), fact.reason, fact.pruned))


def _resume_requested(state: Trial, fact: facts.TrialResumeRequested) -> Trial:
    reason = facts.LAUNCH_REASON_RESUME if state.attempt else facts.LAUNCH_REASON_FIRST
    active = state.active
    if active is not None and active.roll_back is not None:
        reason = facts.LAUNCH_REASON_ROLL_BACK
    return replace(state, situation=Queued(reason, fact.snapshot_id), retries=0, interruptions=0)


def _snapshot_requested(state: Trial, fact: facts.TrialSnapshotRequested) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(
        state,
        snapshot_requests=active.snapshot_requests + 1,
        snapshot_wanted=True,
        snapshot_request_id=fact.request_id,
    )


def _evaluation_requested(state: Trial, fact: facts.TrialEvaluationRequested) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(
        state,
        evaluation_requests=active.evaluation_requests + 1,
        evaluation_wanted=True,
        evaluation_request_id=fact.request_id,
    )


def _stacks_requested(state: Trial, fact: facts.TrialStacksRequested) -> Trial:
    return _with_stalls(state, lambda known: stalls.request(known, fact))


def _stacks_recorded(state: Trial, fact: facts.StacksRecorded) -> Trial:
    return _with_stalls(state, lambda known: stalls.record(known, fact))


def _stall_diagnosed(state: Trial, fact: facts.StallDiagnosed) -> Trial:
    return _with_stalls(state, lambda known: stalls.conclude(known, fact))


def _straggler_observed(state: Trial, fact: facts.StragglerObserved) -> Trial:
    return _with_active(state, straggler=None if fact.over else fact.rank)


def _with_stalls(state: Trial, change: Callable[[stalls.Stalls], stalls.Stalls]) -> Trial:
    return state if state.active is None else _with_active(state, stalls=change(state.active.stalls))


def _roll_back_requested(state: Trial, fact: facts.TrialRollBackRequested) -> Trial:
    skips = tuple(entry for entry in state.skips if entry[0] != fact.snapshot_id)
    if fact.skip_batches:
        skips = (*skips, (fact.snapshot_id, fact.skip_batches))
    snapshots = tuple(replace(s, superseded=True) if s.step > fact.snapshot_step else s for s in state.snapshots)
    state = replace(
        state,
        skips=skips,
        snapshots=snapshots,
        roll_backs=(*state.roll_backs, fact.request_id),
        abandoned=Abandoned(state.attempt, fact.snapshot_step),
        steering=steering.forget(state.steering, frozenset(fact.parameters)),
    )
    if state.active is not None:
        order = RollBackOrder(fact.snapshot_id, fact.reason)
        return _with_active(state, roll_back=order)
    return replace(state, situation=Queued(facts.LAUNCH_REASON_ROLL_BACK, fact.snapshot_id), retries=0, interruptions=0)


def _completed(state: Trial, fact: facts.TrialCompleted) -> Trial:
    return replace(state, situation=Completed(fact.last_step, fact.detail))


def _failed(state: Trial, fact: facts.TrialFailed) -> Trial:
    return replace(state, situation=Failed(fact.reason, fact.detail))


def _stopped(state: Trial, fact: facts.TrialStopped) -> Trial:
    return replace(state, situation=Stopped(fact.reason, fact.pruned))


def _steerable_declared(state: Trial, fact: facts.SteerableDeclared) -> Trial:
    return replace(state, steering=steering.declare(state.steering, fact))


def _steer_requested(state: Trial, fact: facts.TrialSteerRequested) -> Trial:
    return replace(state, steering=steering.request(state.steering, fact))


def _parameters_changed(state: Trial, fact: facts.ParametersChanged) -> Trial:
    return replace(_stepped(state, fact), steering=steering.change(state.steering, fact))


def _parameters_not_changed(state: Trial, fact: facts.ParametersNotChanged) -> Trial:
    return replace(_stepped(state, fact), steering=steering.end_request(state.steering, fact.number))


def _alert_raised(state: Trial, fact: facts.AlertRaised) -> Trial:
    active = state.active
    return _with_active(state, alerts=active.alerts | {alert_key(fact)}) if active else state


def _unchanged(state: Trial, _: Message) -> Trial:
    return state


def _with_active(state: Trial, **changes: Any) -> Trial:
    active = state.active
    return state if active is None else replace(state, situation=replace(active, **changes))


def _changed(situation: Situation | None, **changes: Any) -> Situation | None:
    """Change the attempt that is under way; for facts that change more of the trial at once."""
    return replace(situation, **changes) if isinstance(situation, Active) else situation


EVOLVE: dict[type[Message], Callable[[Trial, Any], Trial]] = {
    facts.TrialCreated: _created,
    facts.AttemptLaunched: _launched,
    facts.AttemptFenced: _fenced,
    facts.AttemptStarted: _attempt_started,
    facts.PlanDeclared: _plan_declared,
    facts.ParametersDeclared: _unchanged,
    facts.InstanceStarted: _instance_started,
    facts.InstanceReadinessChanged: _instance_ready,
    facts.InstanceHealthChanged: _instance_health,
    facts.InstanceExited: _instance_exited,
    facts.EpochCompleted: _stepped,
    facts.EvaluationStarted: _evaluation_started,
    facts.EvaluationCompleted: _evaluation_completed,
    facts.EvaluationRefused: _evaluation_refused,
    facts.SnapshotStarted: _stepped,
    facts.SnapshotCommitted: _snapshot_committed,
    facts.SnapshotFailed: _snapshot_failed,
    facts.SnapshotDeleted: _snapshot_deleted,
    facts.SnapshotHeld: _snapshot_held,
    facts.SnapshotLetGo: _snapshot_let_go,
    facts.SnapshotPinned: _snapshot_pinned,
    facts.SnapshotUnpinned: _snapshot_unpinned,
    facts.TrialPurgeStarted: _purge_started,
    facts.TelemetryDropped: _unchanged,
    facts.AttemptEnded: _attempt_ended,
    facts.RetryScheduled: _retry_scheduled,
    facts.TrialStopRequested: _stop_requested,
    facts.TrialResumeRequested: _resume_requested,
    facts.TrialCompleted: _completed,
    facts.TrialFailed: _failed,
    facts.TrialStopped: _stopped,
    facts.AlertRaised: _alert_raised,
    facts.ClusterStateObserved: _unchanged,
    facts.EnvironmentRecorded: _unchanged,
    facts.TrialSnapshotRequested: _snapshot_requested,
    facts.TrialEvaluationRequested: _evaluation_requested,
    facts.TrialRollBackRequested: _roll_back_requested,
    facts.SteerableDeclared: _steerable_declared,
    facts.TrialSteerRequested: _steer_requested,
    facts.ParametersChanged: _parameters_changed,
    facts.ParametersNotChanged: _parameters_not_changed,
    facts.TrialStacksRequested: _stacks_requested,
    facts.StacksRecorded: _stacks_recorded,
    facts.StallDiagnosed: _stall_diagnosed,
    facts.StragglerObserved: _straggler_observed,
}


def evolve(state: Trial, fact: Fact) -> Trial:
    """Apply one fact. One that has no right to be there is counted and changes nothing."""
    if not has_effect(state, fact):
        return replace(state, ignored=state.ignored + 1)
    return EVOLVE[type(fact.payload)](state, fact.payload)

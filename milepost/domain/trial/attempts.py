"""Decisions about attempts: how one is launched, fenced and concluded, and what is noticed of it from outside."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.decider import to_timestamp
from milepost.domain.trial.commands import (
    CompleteTrial,
    DiagnoseStall,
    FailTrial,
    FenceAttempt,
    GoOn,
    LaunchAttempt,
    MarkStopped,
    ObserveStraggler,
    RaiseAlert,
    ReportInstanceHealth,
    ScheduleRetry,
)
from milepost.domain.trial.lineage import origin_step, restorable_snapshots
from milepost.domain.trial.states import (
    Active,
    Completed,
    Failed,
    Queued,
    Retrying,
    Stopped,
    Trial,
    describe,
    label,
)
from milepost.domain.trial.writers import alert_key, writing
from milepost.errors import FailedPrecondition


def launch(state: Trial, command: LaunchAttempt) -> list[Message]:
    if command.attempt <= state.attempt:
        return []
    if not isinstance(state.situation, Queued | Retrying) or command.attempt != state.attempt + 1:
        raise FailedPrecondition(
            f"{label(state)} cannot launch attempt {command.attempt}: it is {describe(state)}", reason="NOT_LAUNCHABLE"
        )
    reason = facts.LAUNCH_REASON_RETRY if isinstance(state.situation, Retrying) else state.situation.reason
    launched = facts.AttemptLaunched(
        attempt=command.attempt,
        reason=reason,
        host=command.host,
        gpus=command.gpus,
        rejected_snapshot_ids=command.rejected_snapshot_ids,
        process=command.process,
        request_id=command.request_id,
        own_step=command.own_step,
        appends=command.appends,
    )
    if command.snapshot is not None:
        launched.skip_batches = state.skip_of(command.snapshot.snapshot_id)
        launched.snapshot_id = command.snapshot.snapshot_id
        launched.snapshot_step = command.snapshot.step
        launched.snapshot_uri = command.snapshot.uri
    return [launched]


def fence(state: Trial, command: FenceAttempt) -> list[Message]:
    active = writing(state, command.attempt)
    if active is None:
        return []
    return [
        facts.AttemptFenced(
            attempt=command.attempt,
            reason=command.reason,
            cause=command.cause,
            detail=command.detail,
            last_step=max(command.last_step, active.last_step),
        )
    ]


def concludable(state: Trial, attempt: int) -> Active | None:
    """Return the attempt if it is over but not concluded; None when it was concluded already."""
    active = state.active
    if active is None or active.attempt != attempt:
        return None
    if active.may_write:
        raise FailedPrecondition(
            f"{label(state)}: attempt {attempt} still runs; fence it first", reason="ATTEMPT_RUNNING"
        )
    return active


def schedule_retry(state: Trial, command: ScheduleRetry) -> list[Message]:
    if concludable(state, command.attempt) is None:
        return []
    return [
        facts.RetryScheduled(
            attempt=command.attempt,
            retry=state.retries if command.interrupted else state.retries + 1,
            interruption=state.interruptions + 1 if command.interrupted else 0,
            max_retries=command.max_retries,
            cause=command.cause,
            detail=command.detail,
            not_before_time=to_timestamp(command.not_before_time),
        )
    ]


def complete(state: Trial, command: CompleteTrial) -> list[Message]:
    active = concludable(state, command.attempt)
    if active is None:
        return []
    if active.ending is None or active.ending.outcome != facts.ATTEMPT_OUTCOME_COMPLETED:
        raise FailedPrecondition(f"{label(state)}: attempt {command.attempt} did not complete", reason="NOT_COMPLETED")
    ending = active.ending
    return [facts.TrialCompleted(attempt=command.attempt, last_step=ending.last_step, detail=ending.detail)]


def fail(state: Trial, command: FailTrial) -> list[Message]:
    if command.attempt == 0 or isinstance(state.situation, Queued | Retrying):
        waiting = isinstance(state.situation, Queued | Retrying)
        return (
            [facts.TrialFailed(attempt=state.attempt, reason=command.reason, detail=command.detail)] if waiting else []
        )
    if concludable(state, command.attempt) is None:
        return []
    return [facts.TrialFailed(attempt=command.attempt, reason=command.reason, detail=command.detail)]


def mark_stopped(state: Trial, command: MarkStopped) -> list[Message]:
    if isinstance(state.situation, Stopped | Completed | Failed):
        return []
    active = state.active
    if active is None:
        return [stopped_fact(state, command.reason)]
    concludable(state, active.attempt)
    return [stopped_fact(state, command.reason)]


def stopped_fact(state: Trial, reason: str, pruned: bool = False) -> facts.TrialStopped:
    snapshots = restorable_snapshots(state)
    active = state.active
    done = active.last_step if active else 0
    if active is not None and active.fence is not None:
        done = max(done, active.fence.last_step)
    lost = max(0, done - (snapshots[0].step if snapshots else origin_step(state))) if active else 0
    pruned = pruned or (active is not None and active.stop is not None and active.stop.pruned)
    return facts.TrialStopped(attempt=state.attempt, reason=reason, lost_steps=lost, pruned=pruned)


def go_on(state: Trial, command: GoOn) -> list[Message]:
    active = concludable(state, command.attempt)
    if active is None or active.roll_back is None:
        return []
    return [facts.TrialResumeRequested(snapshot_id=active.roll_back.snapshot_id)]


def report_instance_health(state: Trial, command: ReportInstanceHealth) -> list[Message]:
    active = writing(state, command.attempt)
    if active is None:
        return []
    if dict(active.health).get(command.rank, common.HEALTH_UNSPECIFIED) == command.health:
        return []
    return [
        facts.InstanceHealthChanged(
            attempt=command.attempt, rank=command.rank, health=command.health, reason=command.reason
        )
    ]


def diagnose_stall(state: Trial, command: DiagnoseStall) -> list[Message]:
    active, found = writing(state, command.attempt), command.diagnosis
    if active is None:
        return []
    if command.step in active.stalls.diagnosed:
        return []
    return [
        facts.StallDiagnosed(
            attempt=active.attempt, step=command.step, kind=found.kind, ranks=found.ranks, message=found.message
        )
    ]


def observe_straggler(state: Trial, command: ObserveStraggler) -> list[Message]:
    fact = command.fact
    active = writing(state, fact.attempt)
    if active is None:
        return []
    changes = active.straggler == fact.rank if fact.over else active.straggler != fact.rank
    return [fact] if changes else []


def raise_alert(state: Trial, command: RaiseAlert) -> list[Message]:
    active = state.active
    return [command.alert] if active is not None and alert_key(command.alert) not in active.alerts else []

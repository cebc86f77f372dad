"""The decision about what an attempt writes: whether it still may, and whether the log says it already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls, steering
from milepost.domain.trial.commands import Record
from milepost.domain.trial.lineage import known_snapshots, origin_step
from milepost.domain.trial.states import Active, Trial, describe, label
from milepost.domain.trial.writers import WRITERS, alert_key, is_plausible, writing
from milepost.errors import FailedPrecondition


class StaleAttempt(FailedPrecondition):
    """The attempt is fenced, ended, or not the current one. Its process must leave at once and write nothing."""

    reason = "STALE_ATTEMPT"


def record(state: Trial, command: Record) -> list[Message]:
    active = writing(state, command.attempt)
    if active is None:
        raise StaleAttempt(
            f"{label(state)}: attempt {command.attempt} may write nothing: the trial is {describe(state)}"
        )
    payload = command.payload
    writer = WRITERS.get(type(payload), options.WRITER_UNSPECIFIED)
    if writer not in (options.WRITER_ATTEMPT, options.WRITER_BOTH):
        raise FailedPrecondition(f"an attempt may not write {type(payload).__name__}", reason="WRONG_WRITER")
    if getattr(payload, "attempt", None) != command.attempt:
        raise FailedPrecondition(
            f"{type(payload).__name__} names attempt {getattr(payload, 'attempt', None)}", reason="WRONG_ATTEMPT"
        )
    repeated = _REPEATED.get(type(payload))
    if repeated is not None and repeated(state, active, payload):
        return []
    if not is_plausible(active, payload):
        raise FailedPrecondition(
            f"{type(payload).__name__} has a number that counts nothing, or is one of too many", reason="IMPLAUSIBLE"
        )
    if not active.started and type(payload) not in _BEFORE_START:
        raise FailedPrecondition(
            f"{label(state)}: attempt {command.attempt} has not started", reason="ATTEMPT_NOT_STARTED"
        )
    if isinstance(payload, facts.AttemptStarted) and payload.restored_step < origin_step(state):
        raise FailedPrecondition(
            f"{label(state)} is a branch and begins at step {origin_step(state)}, not at {payload.restored_step}",
            reason="NOT_RESTORED",
        )
    if isinstance(payload, facts.AttemptStarted) and payload.restored_snapshot_id:
        known = known_snapshots(state)
        if all(s.snapshot_id != payload.restored_snapshot_id or s.step != payload.restored_step for s in known):
            raise FailedPrecondition(
                f"{label(state)}: {payload.restored_snapshot_id} is not a committed snapshot",
                reason="UNVERIFIED_SNAPSHOT",
            )
    return [payload]


_BEFORE_START: frozenset[type[Message]] = frozenset(
    {
        facts.AttemptStarted,
        facts.InstanceStarted,
        facts.InstanceReadinessChanged,
        facts.InstanceExited,
        facts.ClusterStateObserved,
        facts.EnvironmentRecorded,
        facts.TelemetryDropped,
        facts.AttemptEnded,
        facts.AlertRaised,
        facts.SteerableDeclared,
        # Left in a spool by the attempt before.
        facts.PlanDeclared,
        facts.ParametersDeclared,
    }
)
# When a payload says again what the log already says.
_REPEATED: dict[type[Message], Callable[[Trial, Active, Any], bool]] = {
    facts.AttemptStarted: lambda state, active, payload: active.started,
    facts.InstanceStarted: lambda state, active, payload: payload.rank in active.running_ranks,
    facts.InstanceReadinessChanged: lambda state, active, payload: payload.ready == (payload.rank in active.ready),
    facts.InstanceExited: lambda state, active, payload: payload.rank not in active.running_ranks,
    facts.AlertRaised: lambda state, active, payload: alert_key(payload) in active.alerts,
    facts.StacksRecorded: lambda state, active, payload: stalls.is_known(active.stalls, payload),
    facts.SteerableDeclared: lambda state, active, payload: steering.of_fact(payload) in state.steering.steerables,
    facts.ParametersChanged: lambda state, active, payload: not steering.is_waiting(state.steering, payload.number),
    facts.ParametersNotChanged: lambda state, active, payload: not steering.is_waiting(state.steering, payload.number),
    facts.EvaluationStarted: lambda state, active, payload: active.open_evaluation_step == payload.step,
    facts.EvaluationCompleted: lambda state, active, payload: active.open_evaluation_step != payload.step,
    facts.SnapshotCommitted: lambda state, active, payload: any(
        s.snapshot_id == payload.snapshot_id for s in state.snapshots
    ),
    # One at which another runtime began, or that is pinned, is kept, and what a roll back goes on from is not made room of.
    facts.SnapshotDeleted: lambda state, active, payload: (
        active.roll_back is not None or all(s.snapshot_id != payload.snapshot_id or s.is_kept for s in state.snapshots)
    ),
}

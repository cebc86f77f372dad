"""What each command brings about: the table of decisions, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.domain import decider
from milepost.domain.trial import attempts, commands, keeping, recording, requests
from milepost.domain.trial.evolving import evolve
from milepost.domain.trial.states import Trial
from milepost.domain.trial.writers import writing
from milepost.errors import NotFound


def _replace_attempt(state: Trial, command: commands.ReplaceAttempt) -> list[Message]:
    fence = command.fence
    if writing(state, fence.attempt) is None:
        # It has said its end meanwhile, or somebody else was faster.
        return []
    failed = commands.FailTrial(fence.attempt, command.failure, fence.detail)
    return decide_all(state, [fence, failed, commands.ResumeTrial(), command.launch])


DECIDE: dict[type, Callable[[Trial, Any], list[Message]]] = {
    commands.CreateTrial: requests.create,
    commands.LaunchAttempt: attempts.launch,
    commands.FenceAttempt: attempts.fence,
    commands.ScheduleRetry: attempts.schedule_retry,
    commands.CompleteTrial: attempts.complete,
    commands.FailTrial: attempts.fail,
    commands.MarkStopped: attempts.mark_stopped,
    commands.StopTrial: requests.stop,
    commands.ResumeTrial: requests.resume,
    commands.RequestSnapshot: requests.request_snapshot,
    commands.RequestEvaluation: requests.request_evaluation,
    commands.RequestStacks: requests.request_stacks,
    commands.RollBackTrial: requests.roll_back,
    commands.SteerTrial: requests.steer,
    commands.GoOn: attempts.go_on,
    commands.ReplaceAttempt: _replace_attempt,
    commands.ReportInstanceHealth: attempts.report_instance_health,
    commands.RaiseAlert: attempts.raise_alert,
    commands.DiagnoseStall: attempts.diagnose_stall,
    commands.ObserveStraggler: attempts.observe_straggler,
    commands.DeleteSnapshot: keeping.delete_snapshot,
    commands.HoldSnapshot: keeping.hold_snapshot,
    commands.LetSnapshotGo: keeping.let_snapshot_go,
    commands.StartPurge: keeping.start_purge,
    commands.PinSnapshot: keeping.pin_snapshot,
    commands.UnpinSnapshot: keeping.unpin_snapshot,
    commands.Record: recording.record,
}


def decide(state: Trial, command: object) -> list[Message]:
    """Decide what a command brings about. A repeated command decides nothing.

    Raises:
        NotFound: there is no such trial or snapshot.
        StaleAttempt: the attempt may not write any more.
        FailedPrecondition: the state does not allow it.
        InvalidArgument: a steerable value cannot be what it is to be.
    """
    if state.situation is None and not isinstance(command, commands.CreateTrial):
        raise NotFound("no such trial", reason="TRIAL_NOT_FOUND")
    return DECIDE[type(command)](state, command)


def decide_all(state: Trial, wanted: list[object]) -> list[Message]:
    """Decide several commands of the runtime service as one decision: all of their facts or none."""
    return decider.decide_all(decide, evolve, state, wanted)

"""What can be asked of a trial. All but `Record`, which is that of an attempt, are commands of the runtime service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.stalls import Diagnosis
from milepost.domain.trial.states import SnapshotRecord


@dataclass(frozen=True, slots=True)
class CreateTrial:
    runtime_id: str
    trial: int
    parameters: dict[str, str]
    searched_parameters: dict[str, str]
    origin: common.SnapshotOrigin | None = None
    # Above 0: snapshots at its multiples are taken, and kept for others to begin at.
    rung_steps: int = 0


@dataclass(frozen=True, slots=True)
class LaunchAttempt:
    # The number it must get: one more than the last. Guards against launching twice.
    attempt: int
    snapshot: SnapshotRecord | None
    host: str = ""
    gpus: tuple[int, ...] = ()
    rejected_snapshot_ids: tuple[str, ...] = ()
    # Of a script: which process asked for it, by which request, and the step of the checkpoint of its own.
    process: common.ProcessIdentity | None = None
    request_id: str = ""
    own_step: int | None = None
    appends: bool = False


@dataclass(frozen=True, slots=True)
class FenceAttempt:
    attempt: int
    reason: facts.FenceReason
    cause: common.ExitCause
    detail: str
    last_step: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleRetry:
    attempt: int
    max_retries: int
    not_before_time: datetime
    cause: common.ExitCause
    detail: str
    # The cluster has interrupted it, and this uses no retry.
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class CompleteTrial:
    attempt: int


@dataclass(frozen=True, slots=True)
class FailTrial:
    attempt: int
    reason: common.FailureReason
    detail: str


@dataclass(frozen=True, slots=True)
class MarkStopped:
    """The attempt ended or was fenced because of a stop, or the trial waited and need not be launched."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopTrial:
    mode: common.StopMode
    deadline_time: datetime
    reason: str = ""
    # The pruner of its search wants it.
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class ResumeTrial:
    snapshot_id: str = ""
    # The configuration trains for longer now, which alone lets a Completed trial go on.
    extends: bool = False


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RequestEvaluation:
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RequestStacks:
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RollBackTrial:
    snapshot_id: str
    # What changes of the parameters. JSON scalars as text.
    parameters: dict[str, str]
    # Beside those that are passed over behind this snapshot already.
    skip_batches: int = 0
    reason: str = ""
    request_id: str = ""
    # Only while `step` is a step of this attempt. 0: whose ever it is.
    step: int = 0
    attempt: int = 0
    # Refused where it was rolled back so often already. 0: any number.
    max_times: int = 0


@dataclass(frozen=True, slots=True)
class SteerTrial:
    """Change steerable values. Whether they may be what they are to be is judged here."""

    # Anything that JSON can hold, by name.
    values: Mapping[str, Any]
    actor: str
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class GoOn:
    """The attempt is over because of a roll back: the next one goes on from the snapshot."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ReplaceAttempt:
    """Another process goes on with the run of a script, whose attempt before is dead and has not said its end."""

    fence: FenceAttempt
    failure: common.FailureReason
    launch: LaunchAttempt


@dataclass(frozen=True, slots=True)
class ReportInstanceHealth:
    attempt: int
    rank: int
    health: common.Health
    reason: str


@dataclass(frozen=True, slots=True)
class RaiseAlert:
    alert: facts.AlertRaised


@dataclass(frozen=True, slots=True)
class DiagnoseStall:
    attempt: int
    # The last step before it.
    step: int
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class ObserveStraggler:
    fact: facts.StragglerObserved


@dataclass(frozen=True, slots=True)
class DeleteSnapshot:
    snapshot_id: str
    reason: facts.SnapshotDeleteReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HoldSnapshot:
    """A runtime begins at this snapshot."""

    snapshot_id: str
    runtime_id: str


@dataclass(frozen=True, slots=True)
class LetSnapshotGo:
    """The runtime that began at this snapshot is purged."""

    snapshot_id: str
    runtime_id: str


@dataclass(frozen=True, slots=True)
class StartPurge:
    """Its runtime is purged: no snapshot is held from here on that is not held already."""


@dataclass(frozen=True, slots=True)
class PinSnapshot:
    snapshot_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UnpinSnapshot:
    snapshot_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """Something happened in an attempt: one of the facts that an attempt may write."""

    attempt: int
    payload: Message

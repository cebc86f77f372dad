import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.event.v1 import common_pb2 as _common_pb2
from milepost.api.event.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LaunchReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAUNCH_REASON_UNSPECIFIED: _ClassVar[LaunchReason]
    LAUNCH_REASON_FIRST: _ClassVar[LaunchReason]
    LAUNCH_REASON_RESUME: _ClassVar[LaunchReason]
    LAUNCH_REASON_RETRY: _ClassVar[LaunchReason]
    LAUNCH_REASON_ROLL_BACK: _ClassVar[LaunchReason]

class FenceReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FENCE_REASON_UNSPECIFIED: _ClassVar[FenceReason]
    FENCE_REASON_LOST: _ClassVar[FenceReason]
    FENCE_REASON_EXITED: _ClassVar[FenceReason]
    FENCE_REASON_ABRUPT_STOP: _ClassVar[FenceReason]
    FENCE_REASON_STOP_DEADLINE: _ClassVar[FenceReason]
    FENCE_REASON_LAUNCH_FAILED: _ClassVar[FenceReason]
    FENCE_REASON_DEADLINE_EXCEEDED: _ClassVar[FenceReason]
    FENCE_REASON_POLICY: _ClassVar[FenceReason]
    FENCE_REASON_DELETED: _ClassVar[FenceReason]
    FENCE_REASON_EXCESS: _ClassVar[FenceReason]
    FENCE_REASON_ROLLED_BACK: _ClassVar[FenceReason]

class SnapshotReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SNAPSHOT_REASON_UNSPECIFIED: _ClassVar[SnapshotReason]
    SNAPSHOT_REASON_INTERVAL: _ClassVar[SnapshotReason]
    SNAPSHOT_REASON_STOP: _ClassVar[SnapshotReason]
    SNAPSHOT_REASON_END: _ClassVar[SnapshotReason]
    SNAPSHOT_REASON_REQUEST: _ClassVar[SnapshotReason]

class SnapshotDeleteReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SNAPSHOT_DELETE_REASON_UNSPECIFIED: _ClassVar[SnapshotDeleteReason]
    SNAPSHOT_DELETE_REASON_RETENTION: _ClassVar[SnapshotDeleteReason]
    SNAPSHOT_DELETE_REASON_PURGE: _ClassVar[SnapshotDeleteReason]
    SNAPSHOT_DELETE_REASON_CORRUPT: _ClassVar[SnapshotDeleteReason]

class AttemptOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTEMPT_OUTCOME_UNSPECIFIED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_COMPLETED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_STOPPED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_FAILED: _ClassVar[AttemptOutcome]

class AlertKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALERT_KIND_UNSPECIFIED: _ClassVar[AlertKind]
    ALERT_KIND_NON_FINITE: _ClassVar[AlertKind]
    ALERT_KIND_NO_PROGRESS: _ClassVar[AlertKind]
    ALERT_KIND_SPOOL_FILLING: _ClassVar[AlertKind]
    ALERT_KIND_NOT_REPRODUCIBLE: _ClassVar[AlertKind]
    ALERT_KIND_CODE: _ClassVar[AlertKind]

class AlertLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALERT_LEVEL_UNSPECIFIED: _ClassVar[AlertLevel]
    ALERT_LEVEL_INFO: _ClassVar[AlertLevel]
    ALERT_LEVEL_WARNING: _ClassVar[AlertLevel]
    ALERT_LEVEL_ERROR: _ClassVar[AlertLevel]

class StackPlace(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STACK_PLACE_UNSPECIFIED: _ClassVar[StackPlace]
    STACK_PLACE_CODE: _ClassVar[StackPlace]
    STACK_PLACE_DATA_LOADER: _ClassVar[StackPlace]
    STACK_PLACE_COLLECTIVE: _ClassVar[StackPlace]
    STACK_PLACE_STORAGE: _ClassVar[StackPlace]

class StallKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STALL_KIND_UNSPECIFIED: _ClassVar[StallKind]
    STALL_KIND_CODE: _ClassVar[StallKind]
    STALL_KIND_DATA_LOADER: _ClassVar[StallKind]
    STALL_KIND_STORAGE: _ClassVar[StallKind]
    STALL_KIND_UNRESPONSIVE: _ClassVar[StallKind]
    STALL_KIND_NETWORK: _ClassVar[StallKind]
    STALL_KIND_MISMATCH: _ClassVar[StallKind]
    STALL_KIND_OTHER_RANKS: _ClassVar[StallKind]

class SteerableKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEERABLE_KIND_UNSPECIFIED: _ClassVar[SteerableKind]
    STEERABLE_KIND_FLOAT: _ClassVar[SteerableKind]
    STEERABLE_KIND_INTEGER: _ClassVar[SteerableKind]
    STEERABLE_KIND_BOOLEAN: _ClassVar[SteerableKind]
    STEERABLE_KIND_TEXT: _ClassVar[SteerableKind]
LAUNCH_REASON_UNSPECIFIED: LaunchReason
LAUNCH_REASON_FIRST: LaunchReason
LAUNCH_REASON_RESUME: LaunchReason
LAUNCH_REASON_RETRY: LaunchReason
LAUNCH_REASON_ROLL_BACK: LaunchReason
FENCE_REASON_UNSPECIFIED: FenceReason
FENCE_REASON_LOST: FenceReason
FENCE_REASON_EXITED: FenceReason
FENCE_REASON_ABRUPT_STOP: FenceReason
FENCE_REASON_STOP_DEADLINE: FenceReason
FENCE_REASON_LAUNCH_FAILED: FenceReason
FENCE_REASON_DEADLINE_EXCEEDED: FenceReason
FENCE_REASON_POLICY: FenceReason
FENCE_REASON_DELETED: FenceReason
FENCE_REASON_EXCESS: FenceReason
FENCE_REASON_ROLLED_BACK: FenceReason
SNAPSHOT_REASON_UNSPECIFIED: SnapshotReason
SNAPSHOT_REASON_INTERVAL: SnapshotReason
SNAPSHOT_REASON_STOP: SnapshotReason
SNAPSHOT_REASON_END: SnapshotReason
SNAPSHOT_REASON_REQUEST: SnapshotReason
SNAPSHOT_DELETE_REASON_UNSPECIFIED: SnapshotDeleteReason
SNAPSHOT_DELETE_REASON_RETENTION: SnapshotDeleteReason
SNAPSHOT_DELETE_REASON_PURGE: SnapshotDeleteReason
SNAPSHOT_DELETE_REASON_CORRUPT: SnapshotDeleteReason
ATTEMPT_OUTCOME_UNSPECIFIED: AttemptOutcome
ATTEMPT_OUTCOME_COMPLETED: AttemptOutcome
ATTEMPT_OUTCOME_STOPPED: AttemptOutcome
ATTEMPT_OUTCOME_FAILED: AttemptOutcome
ALERT_KIND_UNSPECIFIED: AlertKind
ALERT_KIND_NON_FINITE: AlertKind
ALERT_KIND_NO_PROGRESS: AlertKind
ALERT_KIND_SPOOL_FILLING: AlertKind
ALERT_KIND_NOT_REPRODUCIBLE: AlertKind
ALERT_KIND_CODE: AlertKind
ALERT_LEVEL_UNSPECIFIED: AlertLevel
ALERT_LEVEL_INFO: AlertLevel
ALERT_LEVEL_WARNING: AlertLevel
ALERT_LEVEL_ERROR: AlertLevel
STACK_PLACE_UNSPECIFIED: StackPlace
STACK_PLACE_CODE: StackPlace
STACK_PLACE_DATA_LOADER: StackPlace
STACK_PLACE_COLLECTIVE: StackPlace
STACK_PLACE_STORAGE: StackPlace
STALL_KIND_UNSPECIFIED: StallKind
STALL_KIND_CODE: StallKind
STALL_KIND_DATA_LOADER: StallKind
STALL_KIND_STORAGE: StallKind
STALL_KIND_UNRESPONSIVE: StallKind
STALL_KIND_NETWORK: StallKind
STALL_KIND_MISMATCH: StallKind
STALL_KIND_OTHER_RANKS: StallKind
STEERABLE_KIND_UNSPECIFIED: SteerableKind
STEERABLE_KIND_FLOAT: SteerableKind
STEERABLE_KIND_INTEGER: SteerableKind
STEERABLE_KIND_BOOLEAN: SteerableKind
STEERABLE_KIND_TEXT: SteerableKind

class TrialEvent(_message.Message):
    __slots__ = ("trial_created", "attempt_launched", "attempt_fenced", "attempt_started", "plan_declared", "instance_started", "instance_readiness_changed", "instance_health_changed", "instance_exited", "epoch_completed", "evaluation_started", "evaluation_completed", "snapshot_started", "snapshot_committed", "snapshot_failed", "snapshot_deleted", "telemetry_dropped", "attempt_ended", "retry_scheduled", "trial_stop_requested", "trial_resume_requested", "trial_completed", "trial_failed", "trial_stopped", "alert_raised", "cluster_state_observed", "parameters_declared", "environment_recorded", "trial_snapshot_requested", "trial_roll_back_requested", "snapshot_held", "snapshot_let_go", "snapshot_pinned", "snapshot_unpinned", "trial_evaluation_requested", "evaluation_refused", "trial_purge_started", "steerable_declared", "trial_steer_requested", "parameters_changed", "parameters_not_changed", "trial_stacks_requested", "stacks_recorded", "stall_diagnosed", "straggler_observed")
    TRIAL_CREATED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_LAUNCHED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FENCED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_STARTED_FIELD_NUMBER: _ClassVar[int]
    PLAN_DECLARED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_STARTED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_READINESS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_HEALTH_CHANGED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_EXITED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_STARTED_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STARTED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FAILED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_DELETED_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_DROPPED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ENDED_FIELD_NUMBER: _ClassVar[int]
    RETRY_SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_STOP_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_RESUME_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FAILED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_STOPPED_FIELD_NUMBER: _ClassVar[int]
    ALERT_RAISED_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_STATE_OBSERVED_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_DECLARED_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_RECORDED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_SNAPSHOT_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ROLL_BACK_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_HELD_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_LET_GO_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_PINNED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_UNPINNED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_EVALUATION_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_REFUSED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_PURGE_STARTED_FIELD_NUMBER: _ClassVar[int]
    STEERABLE_DECLARED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_STEER_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_NOT_CHANGED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_STACKS_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    STACKS_RECORDED_FIELD_NUMBER: _ClassVar[int]
    STALL_DIAGNOSED_FIELD_NUMBER: _ClassVar[int]
    STRAGGLER_OBSERVED_FIELD_NUMBER: _ClassVar[int]
    trial_created: TrialCreated
    attempt_launched: AttemptLaunched
    attempt_fenced: AttemptFenced
    attempt_started: AttemptStarted
    plan_declared: PlanDeclared
    instance_started: InstanceStarted
    instance_readiness_changed: InstanceReadinessChanged
    instance_health_changed: InstanceHealthChanged
    instance_exited: InstanceExited
    epoch_completed: EpochCompleted
    evaluation_started: EvaluationStarted
    evaluation_completed: EvaluationCompleted
    snapshot_started: SnapshotStarted
    snapshot_committed: SnapshotCommitted
    snapshot_failed: SnapshotFailed
    snapshot_deleted: SnapshotDeleted
    telemetry_dropped: TelemetryDropped
    attempt_ended: AttemptEnded
    retry_scheduled: RetryScheduled
    trial_stop_requested: TrialStopRequested
    trial_resume_requested: TrialResumeRequested
    trial_completed: TrialCompleted
    trial_failed: TrialFailed
    trial_stopped: TrialStopped
    alert_raised: AlertRaised
    cluster_state_observed: ClusterStateObserved
    parameters_declared: ParametersDeclared
    environment_recorded: EnvironmentRecorded
    trial_snapshot_requested: TrialSnapshotRequested
    trial_roll_back_requested: TrialRollBackRequested
    snapshot_held: SnapshotHeld
    snapshot_let_go: SnapshotLetGo
    snapshot_pinned: SnapshotPinned
    snapshot_unpinned: SnapshotUnpinned
    trial_evaluation_requested: TrialEvaluationRequested
    evaluation_refused: EvaluationRefused
    trial_purge_started: TrialPurgeStarted
    steerable_declared: SteerableDeclared
    trial_steer_requested: TrialSteerRequested
    parameters_changed: ParametersChanged
    parameters_not_changed: ParametersNotChanged
    trial_stacks_requested: TrialStacksRequested
    stacks_recorded: StacksRecorded
    stall_diagnosed: StallDiagnosed
    straggler_observed: StragglerObserved
    def __init__(self, trial_created: _Optional[_Union[TrialCreated, _Mapping]] = ..., attempt_launched: _Optional[_Union[AttemptLaunched, _Mapping]] = ..., attempt_fenced: _Optional[_Union[AttemptFenced, _Mapping]] = ..., attempt_started: _Optional[_Union[AttemptStarted, _Mapping]] = ..., plan_declared: _Optional[_Union[PlanDeclared, _Mapping]] = ..., instance_started: _Optional[_Union[InstanceStarted, _Mapping]] = ..., instance_readiness_changed: _Optional[_Union[InstanceReadinessChanged, _Mapping]] = ..., instance_health_changed: _Optional[_Union[InstanceHealthChanged, _Mapping]] = ..., instance_exited: _Optional[_Union[InstanceExited, _Mapping]] = ..., epoch_completed: _Optional[_Union[EpochCompleted, _Mapping]] = ..., evaluation_started: _Optional[_Union[EvaluationStarted, _Mapping]] = ..., evaluation_completed: _Optional[_Union[EvaluationCompleted, _Mapping]] = ..., snapshot_started: _Optional[_Union[SnapshotStarted, _Mapping]] = ..., snapshot_committed: _Optional[_Union[SnapshotCommitted, _Mapping]] = ..., snapshot_failed: _Optional[_Union[SnapshotFailed, _Mapping]] = ..., snapshot_deleted: _Optional[_Union[SnapshotDeleted, _Mapping]] = ..., telemetry_dropped: _Optional[_Union[TelemetryDropped, _Mapping]] = ..., attempt_ended: _Optional[_Union[AttemptEnded, _Mapping]] = ..., retry_scheduled: _Optional[_Union[RetryScheduled, _Mapping]] = ..., trial_stop_requested: _Optional[_Union[TrialStopRequested, _Mapping]] = ..., trial_resume_requested: _Optional[_Union[TrialResumeRequested, _Mapping]] = ..., trial_completed: _Optional[_Union[TrialCompleted, _Mapping]] = ..., trial_failed: _Optional[_Union[TrialFailed, _Mapping]] = ..., trial_stopped: _Optional[_Union[TrialStopped, _Mapping]] = ..., alert_raised: _Optional[_Union[AlertRaised, _Mapping]] = ..., cluster_state_observed: _Optional[_Union[ClusterStateObserved, _Mapping]] = ..., parameters_declared: _Optional[_Union[ParametersDeclared, _Mapping]] = ..., environment_recorded: _Optional[_Union[EnvironmentRecorded, _Mapping]] = ..., trial_snapshot_requested: _Optional[_Union[TrialSnapshotRequested, _Mapping]] = ..., trial_roll_back_requested: _Optional[_Union[TrialRollBackRequested, _Mapping]] = ..., snapshot_held: _Optional[_Union[SnapshotHeld, _Mapping]] = ..., snapshot_let_go: _Optional[_Union[SnapshotLetGo, _Mapping]] = ..., snapshot_pinned: _Optional[_Union[SnapshotPinned, _Mapping]] = ..., snapshot_unpinned: _Optional[_Union[SnapshotUnpinned, _Mapping]] = ..., trial_evaluation_requested: _Optional[_Union[TrialEvaluationRequested, _Mapping]] = ..., evaluation_refused: _Optional[_Union[EvaluationRefused, _Mapping]] = ..., trial_purge_started: _Optional[_Union[TrialPurgeStarted, _Mapping]] = ..., steerable_declared: _Optional[_Union[SteerableDeclared, _Mapping]] = ..., trial_steer_requested: _Optional[_Union[TrialSteerRequested, _Mapping]] = ..., parameters_changed: _Optional[_Union[ParametersChanged, _Mapping]] = ..., parameters_not_changed: _Optional[_Union[ParametersNotChanged, _Mapping]] = ..., trial_stacks_requested: _Optional[_Union[TrialStacksRequested, _Mapping]] = ..., stacks_recorded: _Optional[_Union[StacksRecorded, _Mapping]] = ..., stall_diagnosed: _Optional[_Union[StallDiagnosed, _Mapping]] = ..., straggler_observed: _Optional[_Union[StragglerObserved, _Mapping]] = ...) -> None: ...

class TrialCreated(_message.Message):
    __slots__ = ("runtime_id", "trial", "parameters", "searched_parameters", "origin", "rung_steps")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SearchedParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RUNG_STEPS_FIELD_NUMBER: _ClassVar[int]
    runtime_id: str
    trial: int
    parameters: _containers.ScalarMap[str, str]
    searched_parameters: _containers.ScalarMap[str, str]
    origin: _common_pb2.SnapshotOrigin
    rung_steps: int
    def __init__(self, runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., searched_parameters: _Optional[_Mapping[str, str]] = ..., origin: _Optional[_Union[_common_pb2.SnapshotOrigin, _Mapping]] = ..., rung_steps: _Optional[int] = ...) -> None: ...

class SnapshotHeld(_message.Message):
    __slots__ = ("snapshot_id", "step", "runtime_id")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    step: int
    runtime_id: str
    def __init__(self, snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., runtime_id: _Optional[str] = ...) -> None: ...

class SnapshotLetGo(_message.Message):
    __slots__ = ("snapshot_id", "step", "runtime_id")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    step: int
    runtime_id: str
    def __init__(self, snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., runtime_id: _Optional[str] = ...) -> None: ...

class SnapshotPinned(_message.Message):
    __slots__ = ("snapshot_id", "step", "reason")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    step: int
    reason: str
    def __init__(self, snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class SnapshotUnpinned(_message.Message):
    __slots__ = ("snapshot_id", "step", "reason")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    step: int
    reason: str
    def __init__(self, snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class TrialPurgeStarted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttemptLaunched(_message.Message):
    __slots__ = ("attempt", "reason", "snapshot_id", "snapshot_step", "snapshot_uri", "host", "gpus", "rejected_snapshot_ids", "process", "request_id", "own_step", "appends", "skip_batches")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_URI_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_SNAPSHOT_IDS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OWN_STEP_FIELD_NUMBER: _ClassVar[int]
    APPENDS_FIELD_NUMBER: _ClassVar[int]
    SKIP_BATCHES_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    reason: LaunchReason
    snapshot_id: str
    snapshot_step: int
    snapshot_uri: str
    host: str
    gpus: _containers.RepeatedScalarFieldContainer[int]
    rejected_snapshot_ids: _containers.RepeatedScalarFieldContainer[str]
    process: _common_pb2.ProcessIdentity
    request_id: str
    own_step: int
    appends: bool
    skip_batches: int
    def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[_Union[LaunchReason, str]] = ..., snapshot_id: _Optional[str] = ..., snapshot_step: _Optional[int] = ..., snapshot_uri: _Optional[str] = ..., host: _Optional[str] = ..., gpus: _Optional[_Iterable[int]] = ..., rejected_snapshot_ids: _Optional[_Iterable[str]] = ..., process: _Optional[_Union[_common_pb2.ProcessIdentity, _Mapping]] = ..., request_id: _Optional[str] = ..., own_step: _Optional[int] = ..., appends: bool = ..., skip_batches: _Optional[int] = ...) -> None: ...

class AttemptFenced(_message.Message):
    __slots__ = ("attempt", "reason", "cause", "detail", "last_step")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    reason: FenceReason
    cause: _common_pb2.ExitCause
    detail: str
    last_step: int
    def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[_Union[FenceReason, str]] = ..., cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., detail: _Optional[str] = ..., last_step: _Optional[int] = ...) -> None: ...

class AttemptStarted(_message.Message):
    __slots__ = ("attempt", "restored_snapshot_id", "restored_step", "world_size", "inexact")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESTORED_SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    RESTORED_STEP_FIELD_NUMBER: _ClassVar[int]
    WORLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    INEXACT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    restored_snapshot_id: str
    restored_step: int
    world_size: int
    inexact: str
    def __init__(self, attempt: _Optional[int] = ..., restored_snapshot_id: _Optional[str] = ..., restored_step: _Optional[int] = ..., world_size: _Optional[int] = ..., inexact: _Optional[str] = ...) -> None: ...

class PlanDeclared(_message.Message):
    __slots__ = ("attempt", "total_steps", "steps_per_epoch", "epochs", "eval_every_steps", "snapshot_every_steps", "batches_per_epoch", "gives_state", "eval_every_epochs")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    EVAL_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    BATCHES_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    GIVES_STATE_FIELD_NUMBER: _ClassVar[int]
    EVAL_EVERY_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    total_steps: int
    steps_per_epoch: int
    epochs: int
    eval_every_steps: int
    snapshot_every_steps: int
    batches_per_epoch: int
    gives_state: bool
    eval_every_epochs: int
    def __init__(self, attempt: _Optional[int] = ..., total_steps: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., eval_every_steps: _Optional[int] = ..., snapshot_every_steps: _Optional[int] = ..., batches_per_epoch: _Optional[int] = ..., gives_state: bool = ..., eval_every_epochs: _Optional[int] = ...) -> None: ...

class ParametersDeclared(_message.Message):
    __slots__ = ("attempt", "parameters", "labels", "removed_labels")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_LABELS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    parameters: _containers.ScalarMap[str, str]
    labels: _containers.ScalarMap[str, str]
    removed_labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attempt: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., removed_labels: _Optional[_Iterable[str]] = ...) -> None: ...

class InstanceStarted(_message.Message):
    __slots__ = ("attempt", "rank", "host", "process_id", "devices", "software", "process")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    rank: int
    host: str
    process_id: int
    devices: _containers.RepeatedScalarFieldContainer[str]
    software: str
    process: _common_pb2.ProcessIdentity
    def __init__(self, attempt: _Optional[int] = ..., rank: _Optional[int] = ..., host: _Optional[str] = ..., process_id: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ..., software: _Optional[str] = ..., process: _Optional[_Union[_common_pb2.ProcessIdentity, _Mapping]] = ...) -> None: ...

class InstanceReadinessChanged(_message.Message):
    __slots__ = ("attempt", "rank", "ready", "reason")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    rank: int
    ready: bool
    reason: str
    def __init__(self, attempt: _Optional[int] = ..., rank: _Optional[int] = ..., ready: bool = ..., reason: _Optional[str] = ...) -> None: ...

class InstanceHealthChanged(_message.Message):
    __slots__ = ("attempt", "rank", "health", "reason")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    rank: int
    health: _common_pb2.Health
    reason: str
    def __init__(self, attempt: _Optional[int] = ..., rank: _Optional[int] = ..., health: _Optional[_Union[_common_pb2.Health, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class InstanceExited(_message.Message):
    __slots__ = ("attempt", "rank", "cause", "exit_code", "signal", "detail")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    rank: int
    cause: _common_pb2.ExitCause
    exit_code: int
    signal: int
    detail: str
    def __init__(self, attempt: _Optional[int] = ..., rank: _Optional[int] = ..., cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class EpochCompleted(_message.Message):
    __slots__ = ("attempt", "epoch", "step", "batch", "batch_count")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    epoch: int
    step: int
    batch: int
    batch_count: int
    def __init__(self, attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., step: _Optional[int] = ..., batch: _Optional[int] = ..., batch_count: _Optional[int] = ...) -> None: ...

class EvaluationStarted(_message.Message):
    __slots__ = ("attempt", "step", "batch_count", "requested")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: int
    batch_count: int
    requested: bool
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[int] = ..., batch_count: _Optional[int] = ..., requested: bool = ...) -> None: ...

class EvaluationCompleted(_message.Message):
    __slots__ = ("attempt", "step", "values", "duration_seconds", "interrupted", "requested")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: int
    values: _containers.ScalarMap[str, float]
    duration_seconds: float
    interrupted: bool
    requested: bool
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[int] = ..., values: _Optional[_Mapping[str, float]] = ..., duration_seconds: _Optional[float] = ..., interrupted: bool = ..., requested: bool = ...) -> None: ...

class EvaluationRefused(_message.Message):
    __slots__ = ("attempt", "step", "detail")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: int
    detail: str
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class SnapshotStarted(_message.Message):
    __slots__ = ("attempt", "snapshot_id", "step", "reason")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    snapshot_id: str
    step: int
    reason: SnapshotReason
    def __init__(self, attempt: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., reason: _Optional[_Union[SnapshotReason, str]] = ...) -> None: ...

class SnapshotCommitted(_message.Message):
    __slots__ = ("attempt", "snapshot_id", "step", "epoch", "batch", "uri", "manifest_sha256", "byte_count", "file_count", "reason", "duration_seconds", "metrics", "world_size")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    WORLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    snapshot_id: str
    step: int
    epoch: int
    batch: int
    uri: str
    manifest_sha256: str
    byte_count: int
    file_count: int
    reason: SnapshotReason
    duration_seconds: float
    metrics: _containers.ScalarMap[str, float]
    world_size: int
    def __init__(self, attempt: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., epoch: _Optional[int] = ..., batch: _Optional[int] = ..., uri: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., byte_count: _Optional[int] = ..., file_count: _Optional[int] = ..., reason: _Optional[_Union[SnapshotReason, str]] = ..., duration_seconds: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., world_size: _Optional[int] = ...) -> None: ...

class SnapshotFailed(_message.Message):
    __slots__ = ("attempt", "snapshot_id", "step", "detail")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    snapshot_id: str
    step: int
    detail: str
    def __init__(self, attempt: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class SnapshotDeleted(_message.Message):
    __slots__ = ("attempt", "snapshot_id", "step", "reason", "detail")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    snapshot_id: str
    step: int
    reason: SnapshotDeleteReason
    detail: str
    def __init__(self, attempt: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., reason: _Optional[_Union[SnapshotDeleteReason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class TelemetryDropped(_message.Message):
    __slots__ = ("attempt", "rank", "kind", "batch_count", "item_count", "first_step", "last_step", "reason")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    rank: int
    kind: str
    batch_count: int
    item_count: int
    first_step: int
    last_step: int
    reason: str
    def __init__(self, attempt: _Optional[int] = ..., rank: _Optional[int] = ..., kind: _Optional[str] = ..., batch_count: _Optional[int] = ..., item_count: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class AttemptEnded(_message.Message):
    __slots__ = ("attempt", "outcome", "cause", "detail", "last_step", "unsent_batch_count")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    UNSENT_BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    outcome: AttemptOutcome
    cause: _common_pb2.ExitCause
    detail: str
    last_step: int
    unsent_batch_count: int
    def __init__(self, attempt: _Optional[int] = ..., outcome: _Optional[_Union[AttemptOutcome, str]] = ..., cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., detail: _Optional[str] = ..., last_step: _Optional[int] = ..., unsent_batch_count: _Optional[int] = ...) -> None: ...

class RetryScheduled(_message.Message):
    __slots__ = ("attempt", "retry", "max_retries", "cause", "detail", "not_before_time", "interruption")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTION_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    retry: int
    max_retries: int
    cause: _common_pb2.ExitCause
    detail: str
    not_before_time: _timestamp_pb2.Timestamp
    interruption: int
    def __init__(self, attempt: _Optional[int] = ..., retry: _Optional[int] = ..., max_retries: _Optional[int] = ..., cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., detail: _Optional[str] = ..., not_before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., interruption: _Optional[int] = ...) -> None: ...

class TrialStopRequested(_message.Message):
    __slots__ = ("mode", "deadline_time", "reason", "pruned")
    MODE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PRUNED_FIELD_NUMBER: _ClassVar[int]
    mode: _common_pb2.StopMode
    deadline_time: _timestamp_pb2.Timestamp
    reason: str
    pruned: bool
    def __init__(self, mode: _Optional[_Union[_common_pb2.StopMode, str]] = ..., deadline_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., pruned: bool = ...) -> None: ...

class TrialResumeRequested(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class TrialSnapshotRequested(_message.Message):
    __slots__ = ("attempt", "reason", "request_id")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    reason: str
    request_id: str
    def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TrialEvaluationRequested(_message.Message):
    __slots__ = ("attempt", "reason", "request_id")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    reason: str
    request_id: str
    def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TrialRollBackRequested(_message.Message):
    __slots__ = ("snapshot_id", "snapshot_step", "attempt", "parameters", "skip_batches", "reason", "request_id")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SKIP_BATCHES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    snapshot_step: int
    attempt: int
    parameters: _containers.ScalarMap[str, str]
    skip_batches: int
    reason: str
    request_id: str
    def __init__(self, snapshot_id: _Optional[str] = ..., snapshot_step: _Optional[int] = ..., attempt: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., skip_batches: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TrialCompleted(_message.Message):
    __slots__ = ("attempt", "last_step", "detail")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    last_step: int
    detail: str
    def __init__(self, attempt: _Optional[int] = ..., last_step: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class TrialFailed(_message.Message):
    __slots__ = ("attempt", "reason", "detail")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    reason: _common_pb2.FailureReason
    detail: str
    def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[_Union[_common_pb2.FailureReason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class TrialStopped(_message.Message):
    __slots__ = ("attempt", "reason", "lost_steps", "pruned")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOST_STEPS_FIELD_NUMBER: _ClassVar[int]
    PRUNED_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    reason: str
    lost_steps: int
    pruned: bool
    def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[str] = ..., lost_steps: _Optional[int] = ..., pruned: bool = ...) -> None: ...

class AlertRaised(_message.Message):
    __slots__ = ("attempt", "kind", "series", "step", "message", "title", "level")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    kind: AlertKind
    series: str
    step: int
    message: str
    title: str
    level: AlertLevel
    def __init__(self, attempt: _Optional[int] = ..., kind: _Optional[_Union[AlertKind, str]] = ..., series: _Optional[str] = ..., step: _Optional[int] = ..., message: _Optional[str] = ..., title: _Optional[str] = ..., level: _Optional[_Union[AlertLevel, str]] = ...) -> None: ...

class TrialStacksRequested(_message.Message):
    __slots__ = ("attempt", "reason", "request_id")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    reason: str
    request_id: str
    def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CollectiveState(_message.Message):
    __slots__ = ("group", "enqueued", "completed", "operation")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    group: str
    enqueued: int
    completed: int
    operation: str
    def __init__(self, group: _Optional[str] = ..., enqueued: _Optional[int] = ..., completed: _Optional[int] = ..., operation: _Optional[str] = ...) -> None: ...

class StacksRecorded(_message.Message):
    __slots__ = ("attempt", "rank", "step", "requested", "idle_seconds", "place", "frame", "groups", "text")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    rank: int
    step: int
    requested: bool
    idle_seconds: float
    place: StackPlace
    frame: str
    groups: _containers.RepeatedCompositeFieldContainer[CollectiveState]
    text: str
    def __init__(self, attempt: _Optional[int] = ..., rank: _Optional[int] = ..., step: _Optional[int] = ..., requested: bool = ..., idle_seconds: _Optional[float] = ..., place: _Optional[_Union[StackPlace, str]] = ..., frame: _Optional[str] = ..., groups: _Optional[_Iterable[_Union[CollectiveState, _Mapping]]] = ..., text: _Optional[str] = ...) -> None: ...

class StallDiagnosed(_message.Message):
    __slots__ = ("attempt", "step", "kind", "ranks", "message")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: int
    kind: StallKind
    ranks: _containers.RepeatedScalarFieldContainer[int]
    message: str
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[int] = ..., kind: _Optional[_Union[StallKind, str]] = ..., ranks: _Optional[_Iterable[int]] = ..., message: _Optional[str] = ...) -> None: ...

class StragglerObserved(_message.Message):
    __slots__ = ("attempt", "step", "rank", "host", "waiting", "others_waiting", "looks", "over")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    OTHERS_WAITING_FIELD_NUMBER: _ClassVar[int]
    LOOKS_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: int
    rank: int
    host: str
    waiting: float
    others_waiting: float
    looks: int
    over: bool
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[int] = ..., rank: _Optional[int] = ..., host: _Optional[str] = ..., waiting: _Optional[float] = ..., others_waiting: _Optional[float] = ..., looks: _Optional[int] = ..., over: bool = ...) -> None: ...

class ClusterStateObserved(_message.Message):
    __slots__ = ("attempt", "state", "message")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    state: str
    message: str
    def __init__(self, attempt: _Optional[int] = ..., state: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class EnvironmentRecorded(_message.Message):
    __slots__ = ("attempt", "git", "packages", "left_out_package_count", "python", "platform", "cpu_count", "devices", "command", "gpus")
    class PackagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GIT_FIELD_NUMBER: _ClassVar[int]
    PACKAGES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_PACKAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    git: GitState
    packages: _containers.ScalarMap[str, str]
    left_out_package_count: int
    python: str
    platform: str
    cpu_count: int
    devices: _containers.RepeatedScalarFieldContainer[str]
    command: str
    gpus: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attempt: _Optional[int] = ..., git: _Optional[_Union[GitState, _Mapping]] = ..., packages: _Optional[_Mapping[str, str]] = ..., left_out_package_count: _Optional[int] = ..., python: _Optional[str] = ..., platform: _Optional[str] = ..., cpu_count: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ..., command: _Optional[str] = ..., gpus: _Optional[_Iterable[str]] = ...) -> None: ...

class GitState(_message.Message):
    __slots__ = ("commit", "branch", "remote", "dirty", "diff", "diff_byte_count", "untracked", "left_out_untracked_count", "unknown_changes")
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    DIRTY_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    DIFF_BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNTRACKED_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_UNTRACKED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_CHANGES_FIELD_NUMBER: _ClassVar[int]
    commit: str
    branch: str
    remote: str
    dirty: bool
    diff: str
    diff_byte_count: int
    untracked: _containers.RepeatedScalarFieldContainer[str]
    left_out_untracked_count: int
    unknown_changes: bool
    def __init__(self, commit: _Optional[str] = ..., branch: _Optional[str] = ..., remote: _Optional[str] = ..., dirty: bool = ..., diff: _Optional[str] = ..., diff_byte_count: _Optional[int] = ..., untracked: _Optional[_Iterable[str]] = ..., left_out_untracked_count: _Optional[int] = ..., unknown_changes: bool = ...) -> None: ...

class SteerableDeclared(_message.Message):
    __slots__ = ("attempt", "name", "kind", "value", "minimum", "maximum", "choices")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    name: str
    kind: SteerableKind
    value: str
    minimum: str
    maximum: str
    choices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attempt: _Optional[int] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[SteerableKind, str]] = ..., value: _Optional[str] = ..., minimum: _Optional[str] = ..., maximum: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ...) -> None: ...

class TrialSteerRequested(_message.Message):
    __slots__ = ("number", "parameters", "actor", "reason", "request_id")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    number: int
    parameters: _containers.ScalarMap[str, str]
    actor: str
    reason: str
    request_id: str
    def __init__(self, number: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ParameterChange(_message.Message):
    __slots__ = ("name", "old", "new")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    old: str
    new: str
    def __init__(self, name: _Optional[str] = ..., old: _Optional[str] = ..., new: _Optional[str] = ...) -> None: ...

class ParametersChanged(_message.Message):
    __slots__ = ("attempt", "step", "changes", "number", "actor")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: int
    changes: _containers.RepeatedCompositeFieldContainer[ParameterChange]
    number: int
    actor: str
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ParameterChange, _Mapping]]] = ..., number: _Optional[int] = ..., actor: _Optional[str] = ...) -> None: ...

class ParametersNotChanged(_message.Message):
    __slots__ = ("attempt", "step", "number", "detail")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    step: int
    number: int
    detail: str
    def __init__(self, attempt: _Optional[int] = ..., step: _Optional[int] = ..., number: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExitCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXIT_CAUSE_UNSPECIFIED: _ClassVar[ExitCause]
    EXIT_CAUSE_FINISHED: _ClassVar[ExitCause]
    EXIT_CAUSE_STOPPED: _ClassVar[ExitCause]
    EXIT_CAUSE_EXCEPTION: _ClassVar[ExitCause]
    EXIT_CAUSE_DETERMINISTIC: _ClassVar[ExitCause]
    EXIT_CAUSE_SIGNAL: _ClassVar[ExitCause]
    EXIT_CAUSE_OUT_OF_MEMORY: _ClassVar[ExitCause]
    EXIT_CAUSE_LOST: _ClassVar[ExitCause]
    EXIT_CAUSE_KILLED: _ClassVar[ExitCause]
    EXIT_CAUSE_LAUNCH_FAILED: _ClassVar[ExitCause]
    EXIT_CAUSE_FENCED: _ClassVar[ExitCause]
    EXIT_CAUSE_TIME_LIMIT: _ClassVar[ExitCause]
    EXIT_CAUSE_PREEMPTED: _ClassVar[ExitCause]
    EXIT_CAUSE_NODE_FAILED: _ClassVar[ExitCause]

class FailureReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_REASON_UNSPECIFIED: _ClassVar[FailureReason]
    FAILURE_REASON_TRAINING_ERROR: _ClassVar[FailureReason]
    FAILURE_REASON_DETERMINISTIC_ERROR: _ClassVar[FailureReason]
    FAILURE_REASON_CRASHED: _ClassVar[FailureReason]
    FAILURE_REASON_OUT_OF_MEMORY: _ClassVar[FailureReason]
    FAILURE_REASON_LOST: _ClassVar[FailureReason]
    FAILURE_REASON_LAUNCH_FAILED: _ClassVar[FailureReason]
    FAILURE_REASON_DEADLINE_EXCEEDED: _ClassVar[FailureReason]
    FAILURE_REASON_TRIAL_FAILED: _ClassVar[FailureReason]
    FAILURE_REASON_NO_VALID_SNAPSHOT: _ClassVar[FailureReason]
    FAILURE_REASON_SAMPLER_FAILED: _ClassVar[FailureReason]

class Health(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_UNSPECIFIED: _ClassVar[Health]
    HEALTH_HEALTHY: _ClassVar[Health]
    HEALTH_DEGRADED: _ClassVar[Health]
    HEALTH_UNHEALTHY: _ClassVar[Health]

class StopMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOP_MODE_UNSPECIFIED: _ClassVar[StopMode]
    STOP_MODE_GRACEFUL: _ClassVar[StopMode]
    STOP_MODE_ABRUPT: _ClassVar[StopMode]
EXIT_CAUSE_UNSPECIFIED: ExitCause
EXIT_CAUSE_FINISHED: ExitCause
EXIT_CAUSE_STOPPED: ExitCause
EXIT_CAUSE_EXCEPTION: ExitCause
EXIT_CAUSE_DETERMINISTIC: ExitCause
EXIT_CAUSE_SIGNAL: ExitCause
EXIT_CAUSE_OUT_OF_MEMORY: ExitCause
EXIT_CAUSE_LOST: ExitCause
EXIT_CAUSE_KILLED: ExitCause
EXIT_CAUSE_LAUNCH_FAILED: ExitCause
EXIT_CAUSE_FENCED: ExitCause
EXIT_CAUSE_TIME_LIMIT: ExitCause
EXIT_CAUSE_PREEMPTED: ExitCause
EXIT_CAUSE_NODE_FAILED: ExitCause
FAILURE_REASON_UNSPECIFIED: FailureReason
FAILURE_REASON_TRAINING_ERROR: FailureReason
FAILURE_REASON_DETERMINISTIC_ERROR: FailureReason
FAILURE_REASON_CRASHED: FailureReason
FAILURE_REASON_OUT_OF_MEMORY: FailureReason
FAILURE_REASON_LOST: FailureReason
FAILURE_REASON_LAUNCH_FAILED: FailureReason
FAILURE_REASON_DEADLINE_EXCEEDED: FailureReason
FAILURE_REASON_TRIAL_FAILED: FailureReason
FAILURE_REASON_NO_VALID_SNAPSHOT: FailureReason
FAILURE_REASON_SAMPLER_FAILED: FailureReason
HEALTH_UNSPECIFIED: Health
HEALTH_HEALTHY: Health
HEALTH_DEGRADED: Health
HEALTH_UNHEALTHY: Health
STOP_MODE_UNSPECIFIED: StopMode
STOP_MODE_GRACEFUL: StopMode
STOP_MODE_ABRUPT: StopMode

class ProcessIdentity(_message.Message):
    __slots__ = ("host", "process_id", "boot_id", "process_start", "pid_namespace")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_START_FIELD_NUMBER: _ClassVar[int]
    PID_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    host: str
    process_id: int
    boot_id: str
    process_start: int
    pid_namespace: str
    def __init__(self, host: _Optional[str] = ..., process_id: _Optional[int] = ..., boot_id: _Optional[str] = ..., process_start: _Optional[int] = ..., pid_namespace: _Optional[str] = ...) -> None: ...

class AncestorSteps(_message.Message):
    __slots__ = ("runtime_id", "trial", "attempt", "first_step", "last_step")
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    runtime_id: str
    trial: int
    attempt: int
    first_step: int
    last_step: int
    def __init__(self, runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ...) -> None: ...

class SnapshotOrigin(_message.Message):
    __slots__ = ("runtime_id", "trial", "attempt", "snapshot_id", "step", "epoch", "batch", "uri", "manifest_sha256", "trunk", "elapsed", "steered")
    class SteeredEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    TRUNK_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    STEERED_FIELD_NUMBER: _ClassVar[int]
    runtime_id: str
    trial: int
    attempt: int
    snapshot_id: str
    step: int
    epoch: int
    batch: int
    uri: str
    manifest_sha256: str
    trunk: _containers.RepeatedCompositeFieldContainer[AncestorSteps]
    elapsed: _duration_pb2.Duration
    steered: _containers.ScalarMap[str, str]
    def __init__(self, runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., step: _Optional[int] = ..., epoch: _Optional[int] = ..., batch: _Optional[int] = ..., uri: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., trunk: _Optional[_Iterable[_Union[AncestorSteps, _Mapping]]] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., steered: _Optional[_Mapping[str, str]] = ...) -> None: ...

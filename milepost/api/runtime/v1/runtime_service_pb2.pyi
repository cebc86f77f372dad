import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.config.v1 import configuration_pb2 as _configuration_pb2
from milepost.api.event.v1 import common_pb2 as _common_pb2
from milepost.api.event.v1 import options_pb2 as _options_pb2
from milepost.api.event.v1 import recorded_event_pb2 as _recorded_event_pb2
from milepost.api.event.v1 import runtime_events_pb2 as _runtime_events_pb2
from milepost.api.event.v1 import trial_events_pb2 as _trial_events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RuntimeStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUNTIME_STATUS_UNSPECIFIED: _ClassVar[RuntimeStatus]
    RUNTIME_STATUS_STARTED: _ClassVar[RuntimeStatus]
    RUNTIME_STATUS_ABORTED: _ClassVar[RuntimeStatus]
    RUNTIME_STATUS_FAILED: _ClassVar[RuntimeStatus]
    RUNTIME_STATUS_COMPLETED: _ClassVar[RuntimeStatus]

class RuntimePhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUNTIME_PHASE_UNSPECIFIED: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_QUEUED: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_ALLOCATING: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_STARTING: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_RUNNING: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_STOPPING: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_TERMINATING: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_ENDED: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_DELETING: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_DELETED: _ClassVar[RuntimePhase]
    RUNTIME_PHASE_RESTORABLE: _ClassVar[RuntimePhase]

class BranchKeep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BRANCH_KEEP_UNSPECIFIED: _ClassVar[BranchKeep]
    BRANCH_KEEP_ALL: _ClassVar[BranchKeep]
    BRANCH_KEEP_WEIGHTS: _ClassVar[BranchKeep]

class SnapshotState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SNAPSHOT_STATE_UNSPECIFIED: _ClassVar[SnapshotState]
    SNAPSHOT_STATE_COMMITTED: _ClassVar[SnapshotState]
    SNAPSHOT_STATE_CORRUPT: _ClassVar[SnapshotState]
    SNAPSHOT_STATE_DELETED: _ClassVar[SnapshotState]
RUNTIME_STATUS_UNSPECIFIED: RuntimeStatus
RUNTIME_STATUS_STARTED: RuntimeStatus
RUNTIME_STATUS_ABORTED: RuntimeStatus
RUNTIME_STATUS_FAILED: RuntimeStatus
RUNTIME_STATUS_COMPLETED: RuntimeStatus
RUNTIME_PHASE_UNSPECIFIED: RuntimePhase
RUNTIME_PHASE_QUEUED: RuntimePhase
RUNTIME_PHASE_ALLOCATING: RuntimePhase
RUNTIME_PHASE_STARTING: RuntimePhase
RUNTIME_PHASE_RUNNING: RuntimePhase
RUNTIME_PHASE_STOPPING: RuntimePhase
RUNTIME_PHASE_TERMINATING: RuntimePhase
RUNTIME_PHASE_ENDED: RuntimePhase
RUNTIME_PHASE_DELETING: RuntimePhase
RUNTIME_PHASE_DELETED: RuntimePhase
RUNTIME_PHASE_RESTORABLE: RuntimePhase
BRANCH_KEEP_UNSPECIFIED: BranchKeep
BRANCH_KEEP_ALL: BranchKeep
BRANCH_KEEP_WEIGHTS: BranchKeep
SNAPSHOT_STATE_UNSPECIFIED: SnapshotState
SNAPSHOT_STATE_COMMITTED: SnapshotState
SNAPSHOT_STATE_CORRUPT: SnapshotState
SNAPSHOT_STATE_DELETED: SnapshotState

class TrialCounts(_message.Message):
    __slots__ = ("running", "completed", "failed", "waiting")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    running: int
    completed: int
    failed: int
    waiting: int
    def __init__(self, running: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., waiting: _Optional[int] = ...) -> None: ...

class Runtime(_message.Message):
    __slots__ = ("name", "runtime_id", "display_name", "status", "phase", "reason", "failure_reason", "changed_by", "change_time", "change_event_id", "change_sequence", "create_time", "created_by", "start_time", "end_time", "configuration", "configuration_digest", "trials", "trial_count", "cloned_from", "health", "ready", "pending_reason", "queue_position", "stop_mode", "stop_deadline_time", "labels", "delete_time", "purge_remaining", "sequence", "etag", "configuration_text", "deleted", "imported", "health_reason", "create_receive_time", "start_receive_time", "end_receive_time", "left_out_trial_count", "resolved_text", "branch", "purge_time", "spent", "spent_with_ancestors")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BY_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLONED_FROM_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    PENDING_REASON_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    STOP_MODE_FIELD_NUMBER: _ClassVar[int]
    STOP_DEADLINE_TIME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DELETE_TIME_FIELD_NUMBER: _ClassVar[int]
    PURGE_REMAINING_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_TEXT_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_TEXT_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    PURGE_TIME_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    SPENT_WITH_ANCESTORS_FIELD_NUMBER: _ClassVar[int]
    name: str
    runtime_id: str
    display_name: str
    status: RuntimeStatus
    phase: RuntimePhase
    reason: str
    failure_reason: _common_pb2.FailureReason
    changed_by: str
    change_time: _timestamp_pb2.Timestamp
    change_event_id: str
    change_sequence: int
    create_time: _timestamp_pb2.Timestamp
    created_by: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    configuration: _configuration_pb2.RuntimeConfiguration
    configuration_digest: str
    trials: TrialCounts
    trial_count: int
    cloned_from: str
    health: _common_pb2.Health
    ready: bool
    pending_reason: _runtime_events_pb2.PendingReason
    queue_position: int
    stop_mode: _common_pb2.StopMode
    stop_deadline_time: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    delete_time: _timestamp_pb2.Timestamp
    purge_remaining: _containers.RepeatedScalarFieldContainer[str]
    sequence: int
    etag: str
    configuration_text: str
    deleted: bool
    imported: Imported
    health_reason: str
    create_receive_time: _timestamp_pb2.Timestamp
    start_receive_time: _timestamp_pb2.Timestamp
    end_receive_time: _timestamp_pb2.Timestamp
    left_out_trial_count: int
    resolved_text: str
    branch: _runtime_events_pb2.Branch
    purge_time: _timestamp_pb2.Timestamp
    spent: Spent
    spent_with_ancestors: Spent
    def __init__(self, name: _Optional[str] = ..., runtime_id: _Optional[str] = ..., display_name: _Optional[str] = ..., status: _Optional[_Union[RuntimeStatus, str]] = ..., phase: _Optional[_Union[RuntimePhase, str]] = ..., reason: _Optional[str] = ..., failure_reason: _Optional[_Union[_common_pb2.FailureReason, str]] = ..., changed_by: _Optional[str] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., change_event_id: _Optional[str] = ..., change_sequence: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., configuration: _Optional[_Union[_configuration_pb2.RuntimeConfiguration, _Mapping]] = ..., configuration_digest: _Optional[str] = ..., trials: _Optional[_Union[TrialCounts, _Mapping]] = ..., trial_count: _Optional[int] = ..., cloned_from: _Optional[str] = ..., health: _Optional[_Union[_common_pb2.Health, str]] = ..., ready: bool = ..., pending_reason: _Optional[_Union[_runtime_events_pb2.PendingReason, str]] = ..., queue_position: _Optional[int] = ..., stop_mode: _Optional[_Union[_common_pb2.StopMode, str]] = ..., stop_deadline_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., delete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., purge_remaining: _Optional[_Iterable[str]] = ..., sequence: _Optional[int] = ..., etag: _Optional[str] = ..., configuration_text: _Optional[str] = ..., deleted: bool = ..., imported: _Optional[_Union[Imported, _Mapping]] = ..., health_reason: _Optional[str] = ..., create_receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., left_out_trial_count: _Optional[int] = ..., resolved_text: _Optional[str] = ..., branch: _Optional[_Union[_runtime_events_pb2.Branch, _Mapping]] = ..., purge_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spent: _Optional[_Union[Spent, _Mapping]] = ..., spent_with_ancestors: _Optional[_Union[Spent, _Mapping]] = ...) -> None: ...

class Imported(_message.Message):
    __slots__ = ("import_time", "imported_by", "export_time", "events_sequence", "sha256")
    IMPORT_TIME_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_BY_FIELD_NUMBER: _ClassVar[int]
    EXPORT_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    import_time: _timestamp_pb2.Timestamp
    imported_by: str
    export_time: _timestamp_pb2.Timestamp
    events_sequence: int
    sha256: str
    def __init__(self, import_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., imported_by: _Optional[str] = ..., export_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., events_sequence: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class StartRuntimeRequest(_message.Message):
    __slots__ = ("configuration", "configuration_text", "request_id", "validate_only", "runtime_id", "process")
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    configuration: _configuration_pb2.RuntimeConfiguration
    configuration_text: str
    request_id: str
    validate_only: bool
    runtime_id: str
    process: _common_pb2.ProcessIdentity
    def __init__(self, configuration: _Optional[_Union[_configuration_pb2.RuntimeConfiguration, _Mapping]] = ..., configuration_text: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., runtime_id: _Optional[str] = ..., process: _Optional[_Union[_common_pb2.ProcessIdentity, _Mapping]] = ...) -> None: ...

class StartRuntimeResponse(_message.Message):
    __slots__ = ("runtime", "sequence")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    sequence: int
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class GetRuntimeRequest(_message.Message):
    __slots__ = ("name", "show_deleted", "min_sequence", "as_of")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHOW_DELETED_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    name: str
    show_deleted: bool
    min_sequence: int
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, name: _Optional[str] = ..., show_deleted: bool = ..., min_sequence: _Optional[int] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class GetRuntimeResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class ListRuntimesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter", "order_by", "show_deleted", "min_sequence", "as_of")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    SHOW_DELETED_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    order_by: str
    show_deleted: bool
    min_sequence: int
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ..., show_deleted: bool = ..., min_sequence: _Optional[int] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class ListRuntimesResponse(_message.Message):
    __slots__ = ("runtimes", "next_page_token", "total_size", "status_counts", "sequence")
    class StatusCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    STATUS_COUNTS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    runtimes: _containers.RepeatedCompositeFieldContainer[Runtime]
    next_page_token: str
    total_size: int
    status_counts: _containers.ScalarMap[str, int]
    sequence: int
    def __init__(self, runtimes: _Optional[_Iterable[_Union[Runtime, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ..., status_counts: _Optional[_Mapping[str, int]] = ..., sequence: _Optional[int] = ...) -> None: ...

class WatchRuntimesRequest(_message.Message):
    __slots__ = ("name", "filter", "after_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    filter: str
    after_sequence: int
    def __init__(self, name: _Optional[str] = ..., filter: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchRuntimesResponse(_message.Message):
    __slots__ = ("runtime", "sequence", "caught_up")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    sequence: int
    caught_up: bool
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ..., sequence: _Optional[int] = ..., caught_up: bool = ...) -> None: ...

class PreviewStopRequest(_message.Message):
    __slots__ = ("name", "trial")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    trial: int
    def __init__(self, name: _Optional[str] = ..., trial: _Optional[int] = ...) -> None: ...

class StopLoss(_message.Message):
    __slots__ = ("trial", "current_step", "snapshot_step", "snapshot_id", "lost_steps", "lost_time", "graceful_saves")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    CURRENT_STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    LOST_STEPS_FIELD_NUMBER: _ClassVar[int]
    LOST_TIME_FIELD_NUMBER: _ClassVar[int]
    GRACEFUL_SAVES_FIELD_NUMBER: _ClassVar[int]
    trial: int
    current_step: int
    snapshot_step: int
    snapshot_id: str
    lost_steps: int
    lost_time: _duration_pb2.Duration
    graceful_saves: bool
    def __init__(self, trial: _Optional[int] = ..., current_step: _Optional[int] = ..., snapshot_step: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., lost_steps: _Optional[int] = ..., lost_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., graceful_saves: bool = ...) -> None: ...

class PreviewStopResponse(_message.Message):
    __slots__ = ("losses", "abrupt_message", "graceful_message", "stoppable")
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    ABRUPT_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GRACEFUL_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STOPPABLE_FIELD_NUMBER: _ClassVar[int]
    losses: _containers.RepeatedCompositeFieldContainer[StopLoss]
    abrupt_message: str
    graceful_message: str
    stoppable: bool
    def __init__(self, losses: _Optional[_Iterable[_Union[StopLoss, _Mapping]]] = ..., abrupt_message: _Optional[str] = ..., graceful_message: _Optional[str] = ..., stoppable: bool = ...) -> None: ...

class StopRuntimeRequest(_message.Message):
    __slots__ = ("name", "mode", "reason", "deadline", "request_id", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: _common_pb2.StopMode
    reason: str
    deadline: _duration_pb2.Duration
    request_id: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[_Union[_common_pb2.StopMode, str]] = ..., reason: _Optional[str] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class StopRuntimeResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class ResumeRuntimeRequest(_message.Message):
    __slots__ = ("name", "snapshot_id", "configuration_changes_text", "request_id", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_CHANGES_TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    snapshot_id: str
    configuration_changes_text: str
    request_id: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., configuration_changes_text: _Optional[str] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class ResumeRuntimeResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class CloneRuntimeRequest(_message.Message):
    __slots__ = ("name", "display_name", "configuration_changes_text", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_CHANGES_TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    configuration_changes_text: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., configuration_changes_text: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class CloneRuntimeResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class BranchTrialRequest(_message.Message):
    __slots__ = ("name", "step", "snapshot_id", "keep", "parameters_text", "configuration_changes_text", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_TEXT_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_CHANGES_TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    step: int
    snapshot_id: str
    keep: BranchKeep
    parameters_text: str
    configuration_changes_text: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., step: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., keep: _Optional[_Union[BranchKeep, str]] = ..., parameters_text: _Optional[str] = ..., configuration_changes_text: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class BranchTrialResponse(_message.Message):
    __slots__ = ("runtime", "sequence")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    sequence: int
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class ListLineageRequest(_message.Message):
    __slots__ = ("name", "min_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    min_sequence: int
    def __init__(self, name: _Optional[str] = ..., min_sequence: _Optional[int] = ...) -> None: ...

class LineageNode(_message.Message):
    __slots__ = ("name", "runtime_id", "display_name", "status", "phase", "deleted", "create_time", "created_by", "branch", "last_step", "trial_count", "child_count", "spent", "spent_with_ancestors")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHILD_COUNT_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    SPENT_WITH_ANCESTORS_FIELD_NUMBER: _ClassVar[int]
    name: str
    runtime_id: str
    display_name: str
    status: RuntimeStatus
    phase: RuntimePhase
    deleted: bool
    create_time: _timestamp_pb2.Timestamp
    created_by: str
    branch: _runtime_events_pb2.Branch
    last_step: int
    trial_count: int
    child_count: int
    spent: Spent
    spent_with_ancestors: Spent
    def __init__(self, name: _Optional[str] = ..., runtime_id: _Optional[str] = ..., display_name: _Optional[str] = ..., status: _Optional[_Union[RuntimeStatus, str]] = ..., phase: _Optional[_Union[RuntimePhase, str]] = ..., deleted: bool = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., branch: _Optional[_Union[_runtime_events_pb2.Branch, _Mapping]] = ..., last_step: _Optional[int] = ..., trial_count: _Optional[int] = ..., child_count: _Optional[int] = ..., spent: _Optional[_Union[Spent, _Mapping]] = ..., spent_with_ancestors: _Optional[_Union[Spent, _Mapping]] = ...) -> None: ...

class Spent(_message.Message):
    __slots__ = ("elapsed", "core_seconds", "gpu_seconds")
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    CORE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    GPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    elapsed: _duration_pb2.Duration
    core_seconds: float
    gpu_seconds: float
    def __init__(self, elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., core_seconds: _Optional[float] = ..., gpu_seconds: _Optional[float] = ...) -> None: ...

class ListLineageResponse(_message.Message):
    __slots__ = ("nodes", "truncated", "sequence")
    NODES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[LineageNode]
    truncated: bool
    sequence: int
    def __init__(self, nodes: _Optional[_Iterable[_Union[LineageNode, _Mapping]]] = ..., truncated: bool = ..., sequence: _Optional[int] = ...) -> None: ...

class DeleteRuntimeRequest(_message.Message):
    __slots__ = ("name", "force", "request_id", "etag", "purge")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    PURGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    force: bool
    request_id: str
    etag: str
    purge: bool
    def __init__(self, name: _Optional[str] = ..., force: bool = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ..., purge: bool = ...) -> None: ...

class DeleteRuntimeResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class UndeleteRuntimeRequest(_message.Message):
    __slots__ = ("name", "reason", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UndeleteRuntimeResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("name", "snapshot_id", "trial", "attempt", "step", "epoch", "batch", "uri", "byte_count", "state", "reason", "commit_time", "manifest_sha256", "metrics", "superseded", "receive_time", "held_by", "pin")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_FIELD_NUMBER: _ClassVar[int]
    PIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    snapshot_id: str
    trial: int
    attempt: int
    step: int
    epoch: int
    batch: int
    uri: str
    byte_count: int
    state: SnapshotState
    reason: _trial_events_pb2.SnapshotReason
    commit_time: _timestamp_pb2.Timestamp
    manifest_sha256: str
    metrics: _containers.ScalarMap[str, float]
    superseded: bool
    receive_time: _timestamp_pb2.Timestamp
    held_by: _containers.RepeatedScalarFieldContainer[str]
    pin: SnapshotPin
    def __init__(self, name: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., step: _Optional[int] = ..., epoch: _Optional[int] = ..., batch: _Optional[int] = ..., uri: _Optional[str] = ..., byte_count: _Optional[int] = ..., state: _Optional[_Union[SnapshotState, str]] = ..., reason: _Optional[_Union[_trial_events_pb2.SnapshotReason, str]] = ..., commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., manifest_sha256: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., superseded: bool = ..., receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., held_by: _Optional[_Iterable[str]] = ..., pin: _Optional[_Union[SnapshotPin, _Mapping]] = ...) -> None: ...

class SnapshotPin(_message.Message):
    __slots__ = ("actor", "time", "reason")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    actor: str
    time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, actor: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class PinSnapshotRequest(_message.Message):
    __slots__ = ("name", "step", "snapshot_id", "reason", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    step: int
    snapshot_id: str
    reason: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., step: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PinSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...

class UnpinSnapshotRequest(_message.Message):
    __slots__ = ("name", "step", "snapshot_id", "reason", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    step: int
    snapshot_id: str
    reason: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., step: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UnpinSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ("parent", "show_deleted", "as_of", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SHOW_DELETED_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    show_deleted: bool
    as_of: _recorded_event_pb2.AsOf
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., show_deleted: bool = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots", "sequence", "next_page_token")
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    sequence: int
    next_page_token: str
    def __init__(self, snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., sequence: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Rung(_message.Message):
    __slots__ = ("trial", "rung", "step", "value", "verdict")
    class Verdict(_message.Message):
        __slots__ = ("cut_off", "rank", "reached_count")
        CUT_OFF_FIELD_NUMBER: _ClassVar[int]
        RANK_FIELD_NUMBER: _ClassVar[int]
        REACHED_COUNT_FIELD_NUMBER: _ClassVar[int]
        cut_off: float
        rank: int
        reached_count: int
        def __init__(self, cut_off: _Optional[float] = ..., rank: _Optional[int] = ..., reached_count: _Optional[int] = ...) -> None: ...
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    trial: int
    rung: int
    step: int
    value: float
    verdict: Rung.Verdict
    def __init__(self, trial: _Optional[int] = ..., rung: _Optional[int] = ..., step: _Optional[int] = ..., value: _Optional[float] = ..., verdict: _Optional[_Union[Rung.Verdict, _Mapping]] = ...) -> None: ...

class ListRungsRequest(_message.Message):
    __slots__ = ("parent", "as_of", "page_size", "page_token", "min_sequence")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    as_of: _recorded_event_pb2.AsOf
    page_size: int
    page_token: str
    min_sequence: int
    def __init__(self, parent: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., min_sequence: _Optional[int] = ...) -> None: ...

class ListRungsResponse(_message.Message):
    __slots__ = ("rungs", "next_page_token", "sequence")
    RUNGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    rungs: _containers.RepeatedCompositeFieldContainer[Rung]
    next_page_token: str
    sequence: int
    def __init__(self, rungs: _Optional[_Iterable[_Union[Rung, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class GetImportancesRequest(_message.Message):
    __slots__ = ("name", "min_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    min_sequence: int
    def __init__(self, name: _Optional[str] = ..., min_sequence: _Optional[int] = ...) -> None: ...

class GetImportancesResponse(_message.Message):
    __slots__ = ("importances", "method", "value_count", "sequence")
    class Importance(_message.Message):
        __slots__ = ("parameter", "share")
        PARAMETER_FIELD_NUMBER: _ClassVar[int]
        SHARE_FIELD_NUMBER: _ClassVar[int]
        parameter: str
        share: float
        def __init__(self, parameter: _Optional[str] = ..., share: _Optional[float] = ...) -> None: ...
    IMPORTANCES_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    VALUE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    importances: _containers.RepeatedCompositeFieldContainer[GetImportancesResponse.Importance]
    method: str
    value_count: int
    sequence: int
    def __init__(self, importances: _Optional[_Iterable[_Union[GetImportancesResponse.Importance, _Mapping]]] = ..., method: _Optional[str] = ..., value_count: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class EventFilter(_message.Message):
    __slots__ = ("scope", "categories", "trial", "start_time", "end_time", "actor", "types")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    scope: _options_pb2.Scope
    categories: _containers.RepeatedScalarFieldContainer[_options_pb2.Category]
    trial: int
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    actor: str
    types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, scope: _Optional[_Union[_options_pb2.Scope, str]] = ..., categories: _Optional[_Iterable[_Union[_options_pb2.Category, str]]] = ..., trial: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("parent", "filter", "page_size", "page_token", "after_sequence", "until_sequence", "newest_first", "fold_repeats", "min_sequence", "behind_event_id", "as_of")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIRST_FIELD_NUMBER: _ClassVar[int]
    FOLD_REPEATS_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BEHIND_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    parent: str
    filter: EventFilter
    page_size: int
    page_token: str
    after_sequence: int
    until_sequence: int
    newest_first: bool
    fold_repeats: bool
    min_sequence: int
    behind_event_id: str
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, parent: _Optional[str] = ..., filter: _Optional[_Union[EventFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., after_sequence: _Optional[int] = ..., until_sequence: _Optional[int] = ..., newest_first: bool = ..., fold_repeats: bool = ..., min_sequence: _Optional[int] = ..., behind_event_id: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token", "sequence")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_recorded_event_pb2.RecordedEvent]
    next_page_token: str
    sequence: int
    def __init__(self, events: _Optional[_Iterable[_Union[_recorded_event_pb2.RecordedEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("parent", "filter", "after_sequence")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    filter: EventFilter
    after_sequence: int
    def __init__(self, parent: _Optional[str] = ..., filter: _Optional[_Union[EventFilter, _Mapping]] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("event", "sequence", "caught_up")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    event: _recorded_event_pb2.RecordedEvent
    sequence: int
    caught_up: bool
    def __init__(self, event: _Optional[_Union[_recorded_event_pb2.RecordedEvent, _Mapping]] = ..., sequence: _Optional[int] = ..., caught_up: bool = ...) -> None: ...

class StopTrialRequest(_message.Message):
    __slots__ = ("name", "mode", "reason", "deadline", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: _common_pb2.StopMode
    reason: str
    deadline: _duration_pb2.Duration
    request_id: str
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[_Union[_common_pb2.StopMode, str]] = ..., reason: _Optional[str] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class StopTrialResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class ResumeTrialRequest(_message.Message):
    __slots__ = ("name", "snapshot_id", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    snapshot_id: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeTrialResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class LabelRuntimeRequest(_message.Message):
    __slots__ = ("name", "labels", "removed_labels", "request_id", "etag")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_LABELS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: _containers.ScalarMap[str, str]
    removed_labels: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., removed_labels: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class LabelRuntimeResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class SnapshotTrialRequest(_message.Message):
    __slots__ = ("name", "reason", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SnapshotTrialResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class EvaluateTrialRequest(_message.Message):
    __slots__ = ("name", "reason", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class EvaluateTrialResponse(_message.Message):
    __slots__ = ("runtime",)
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ...) -> None: ...

class RecordStacksRequest(_message.Message):
    __slots__ = ("name", "reason", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RecordStacksResponse(_message.Message):
    __slots__ = ("runtime", "ranks", "after_sequence")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    ranks: _containers.RepeatedScalarFieldContainer[int]
    after_sequence: int
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ..., ranks: _Optional[_Iterable[int]] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class RollBackTrialRequest(_message.Message):
    __slots__ = ("name", "snapshot_id", "before_step", "margin_steps", "attempt", "parameters_text", "factors", "skip_batches", "max_times", "reason", "request_id")
    class FactorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    BEFORE_STEP_FIELD_NUMBER: _ClassVar[int]
    MARGIN_STEPS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_TEXT_FIELD_NUMBER: _ClassVar[int]
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    SKIP_BATCHES_FIELD_NUMBER: _ClassVar[int]
    MAX_TIMES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    snapshot_id: str
    before_step: int
    margin_steps: int
    attempt: int
    parameters_text: str
    factors: _containers.ScalarMap[str, float]
    skip_batches: int
    max_times: int
    reason: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., before_step: _Optional[int] = ..., margin_steps: _Optional[int] = ..., attempt: _Optional[int] = ..., parameters_text: _Optional[str] = ..., factors: _Optional[_Mapping[str, float]] = ..., skip_batches: _Optional[int] = ..., max_times: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RollBackTrialResponse(_message.Message):
    __slots__ = ("runtime", "snapshot_id", "snapshot_step")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STEP_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    snapshot_id: str
    snapshot_step: int
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ..., snapshot_id: _Optional[str] = ..., snapshot_step: _Optional[int] = ...) -> None: ...

class SteerTrialRequest(_message.Message):
    __slots__ = ("name", "parameters_text", "reason", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_TEXT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters_text: str
    reason: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., parameters_text: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class SteerTrialResponse(_message.Message):
    __slots__ = ("runtime", "number")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    runtime: Runtime
    number: int
    def __init__(self, runtime: _Optional[_Union[Runtime, _Mapping]] = ..., number: _Optional[int] = ...) -> None: ...

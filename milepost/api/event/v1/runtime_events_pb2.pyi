import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.config.v1 import configuration_pb2 as _configuration_pb2
from milepost.api.event.v1 import common_pb2 as _common_pb2
from milepost.api.event.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PendingReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PENDING_REASON_UNSPECIFIED: _ClassVar[PendingReason]
    PENDING_REASON_INSUFFICIENT_CPU: _ClassVar[PendingReason]
    PENDING_REASON_INSUFFICIENT_GPU: _ClassVar[PendingReason]
    PENDING_REASON_INSUFFICIENT_MEMORY: _ClassVar[PendingReason]
    PENDING_REASON_BEHIND_OTHERS: _ClassVar[PendingReason]
    PENDING_REASON_LAUNCHER_UNAVAILABLE: _ClassVar[PendingReason]
    PENDING_REASON_CLUSTER_QUEUE: _ClassVar[PendingReason]

class ObjectiveOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBJECTIVE_OUTCOME_UNSPECIFIED: _ClassVar[ObjectiveOutcome]
    OBJECTIVE_OUTCOME_VALUE: _ClassVar[ObjectiveOutcome]
    OBJECTIVE_OUTCOME_TRIAL_FAILED: _ClassVar[ObjectiveOutcome]
    OBJECTIVE_OUTCOME_NO_VALUE: _ClassVar[ObjectiveOutcome]
    OBJECTIVE_OUTCOME_NON_FINITE: _ClassVar[ObjectiveOutcome]
    OBJECTIVE_OUTCOME_PRUNED: _ClassVar[ObjectiveOutcome]

class SearchEndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_END_REASON_UNSPECIFIED: _ClassVar[SearchEndReason]
    SEARCH_END_REASON_MAX_TRIALS: _ClassVar[SearchEndReason]
    SEARCH_END_REASON_TARGET: _ClassVar[SearchEndReason]
    SEARCH_END_REASON_NO_GAIN: _ClassVar[SearchEndReason]
    SEARCH_END_REASON_HOURS: _ClassVar[SearchEndReason]
    SEARCH_END_REASON_SAMPLER_FAILED: _ClassVar[SearchEndReason]
    SEARCH_END_REASON_POPULATION: _ClassVar[SearchEndReason]
PENDING_REASON_UNSPECIFIED: PendingReason
PENDING_REASON_INSUFFICIENT_CPU: PendingReason
PENDING_REASON_INSUFFICIENT_GPU: PendingReason
PENDING_REASON_INSUFFICIENT_MEMORY: PendingReason
PENDING_REASON_BEHIND_OTHERS: PendingReason
PENDING_REASON_LAUNCHER_UNAVAILABLE: PendingReason
PENDING_REASON_CLUSTER_QUEUE: PendingReason
OBJECTIVE_OUTCOME_UNSPECIFIED: ObjectiveOutcome
OBJECTIVE_OUTCOME_VALUE: ObjectiveOutcome
OBJECTIVE_OUTCOME_TRIAL_FAILED: ObjectiveOutcome
OBJECTIVE_OUTCOME_NO_VALUE: ObjectiveOutcome
OBJECTIVE_OUTCOME_NON_FINITE: ObjectiveOutcome
OBJECTIVE_OUTCOME_PRUNED: ObjectiveOutcome
SEARCH_END_REASON_UNSPECIFIED: SearchEndReason
SEARCH_END_REASON_MAX_TRIALS: SearchEndReason
SEARCH_END_REASON_TARGET: SearchEndReason
SEARCH_END_REASON_NO_GAIN: SearchEndReason
SEARCH_END_REASON_HOURS: SearchEndReason
SEARCH_END_REASON_SAMPLER_FAILED: SearchEndReason
SEARCH_END_REASON_POPULATION: SearchEndReason

class RuntimeEvent(_message.Message):
    __slots__ = ("runtime_requested", "resources_pending", "resources_allocated", "runtime_started", "stop_requested", "runtime_aborted", "runtime_failed", "runtime_completed", "resources_released", "resume_requested", "delete_requested", "runtime_purged", "health_changed", "readiness_changed", "labels_changed", "trial_suggested", "objective_reported", "search_ended", "runtime_undeleted", "purge_started", "rung_reached", "trial_pruned", "earlier_trials_told", "trial_promoted", "resources_adjusted")
    RUNTIME_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_PENDING_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_ALLOCATED_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_STARTED_FIELD_NUMBER: _ClassVar[int]
    STOP_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ABORTED_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FAILED_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_RELEASED_FIELD_NUMBER: _ClassVar[int]
    RESUME_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    DELETE_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_PURGED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHANGED_FIELD_NUMBER: _ClassVar[int]
    READINESS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    LABELS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_SUGGESTED_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_REPORTED_FIELD_NUMBER: _ClassVar[int]
    SEARCH_ENDED_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_UNDELETED_FIELD_NUMBER: _ClassVar[int]
    PURGE_STARTED_FIELD_NUMBER: _ClassVar[int]
    RUNG_REACHED_FIELD_NUMBER: _ClassVar[int]
    TRIAL_PRUNED_FIELD_NUMBER: _ClassVar[int]
    EARLIER_TRIALS_TOLD_FIELD_NUMBER: _ClassVar[int]
    TRIAL_PROMOTED_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_ADJUSTED_FIELD_NUMBER: _ClassVar[int]
    runtime_requested: RuntimeRequested
    resources_pending: ResourcesPending
    resources_allocated: ResourcesAllocated
    runtime_started: RuntimeStarted
    stop_requested: StopRequested
    runtime_aborted: RuntimeAborted
    runtime_failed: RuntimeFailed
    runtime_completed: RuntimeCompleted
    resources_released: ResourcesReleased
    resume_requested: ResumeRequested
    delete_requested: DeleteRequested
    runtime_purged: RuntimePurged
    health_changed: HealthChanged
    readiness_changed: ReadinessChanged
    labels_changed: LabelsChanged
    trial_suggested: TrialSuggested
    objective_reported: ObjectiveReported
    search_ended: SearchEnded
    runtime_undeleted: RuntimeUndeleted
    purge_started: PurgeStarted
    rung_reached: RungReached
    trial_pruned: TrialPruned
    earlier_trials_told: EarlierTrialsTold
    trial_promoted: TrialPromoted
    resources_adjusted: ResourcesAdjusted
    def __init__(self, runtime_requested: _Optional[_Union[RuntimeRequested, _Mapping]] = ..., resources_pending: _Optional[_Union[ResourcesPending, _Mapping]] = ..., resources_allocated: _Optional[_Union[ResourcesAllocated, _Mapping]] = ..., runtime_started: _Optional[_Union[RuntimeStarted, _Mapping]] = ..., stop_requested: _Optional[_Union[StopRequested, _Mapping]] = ..., runtime_aborted: _Optional[_Union[RuntimeAborted, _Mapping]] = ..., runtime_failed: _Optional[_Union[RuntimeFailed, _Mapping]] = ..., runtime_completed: _Optional[_Union[RuntimeCompleted, _Mapping]] = ..., resources_released: _Optional[_Union[ResourcesReleased, _Mapping]] = ..., resume_requested: _Optional[_Union[ResumeRequested, _Mapping]] = ..., delete_requested: _Optional[_Union[DeleteRequested, _Mapping]] = ..., runtime_purged: _Optional[_Union[RuntimePurged, _Mapping]] = ..., health_changed: _Optional[_Union[HealthChanged, _Mapping]] = ..., readiness_changed: _Optional[_Union[ReadinessChanged, _Mapping]] = ..., labels_changed: _Optional[_Union[LabelsChanged, _Mapping]] = ..., trial_suggested: _Optional[_Union[TrialSuggested, _Mapping]] = ..., objective_reported: _Optional[_Union[ObjectiveReported, _Mapping]] = ..., search_ended: _Optional[_Union[SearchEnded, _Mapping]] = ..., runtime_undeleted: _Optional[_Union[RuntimeUndeleted, _Mapping]] = ..., purge_started: _Optional[_Union[PurgeStarted, _Mapping]] = ..., rung_reached: _Optional[_Union[RungReached, _Mapping]] = ..., trial_pruned: _Optional[_Union[TrialPruned, _Mapping]] = ..., earlier_trials_told: _Optional[_Union[EarlierTrialsTold, _Mapping]] = ..., trial_promoted: _Optional[_Union[TrialPromoted, _Mapping]] = ..., resources_adjusted: _Optional[_Union[ResourcesAdjusted, _Mapping]] = ...) -> None: ...

class RuntimeRequested(_message.Message):
    __slots__ = ("runtime_id", "configuration_text", "configuration", "configuration_digest", "cloned_from", "request_id", "trial_count", "branch")
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_TEXT_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CLONED_FROM_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    runtime_id: str
    configuration_text: str
    configuration: _configuration_pb2.RuntimeConfiguration
    configuration_digest: str
    cloned_from: str
    request_id: str
    trial_count: int
    branch: Branch
    def __init__(self, runtime_id: _Optional[str] = ..., configuration_text: _Optional[str] = ..., configuration: _Optional[_Union[_configuration_pb2.RuntimeConfiguration, _Mapping]] = ..., configuration_digest: _Optional[str] = ..., cloned_from: _Optional[str] = ..., request_id: _Optional[str] = ..., trial_count: _Optional[int] = ..., branch: _Optional[_Union[Branch, _Mapping]] = ...) -> None: ...

class FieldChange(_message.Message):
    __slots__ = ("field", "before", "after")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    field: str
    before: str
    after: str
    def __init__(self, field: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("origin", "weights_only", "changes")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_ONLY_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    origin: _common_pb2.SnapshotOrigin
    weights_only: bool
    changes: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, origin: _Optional[_Union[_common_pb2.SnapshotOrigin, _Mapping]] = ..., weights_only: bool = ..., changes: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class ResourcesPending(_message.Message):
    __slots__ = ("reason", "detail", "position")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    reason: PendingReason
    detail: str
    position: int
    def __init__(self, reason: _Optional[_Union[PendingReason, str]] = ..., detail: _Optional[str] = ..., position: _Optional[int] = ...) -> None: ...

class ResourcesAllocated(_message.Message):
    __slots__ = ("cpus", "memory_gigabytes", "gpus", "host", "gpu_count")
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_GIGABYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    GPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    cpus: float
    memory_gigabytes: float
    gpus: _containers.RepeatedScalarFieldContainer[int]
    host: str
    gpu_count: float
    def __init__(self, cpus: _Optional[float] = ..., memory_gigabytes: _Optional[float] = ..., gpus: _Optional[_Iterable[int]] = ..., host: _Optional[str] = ..., gpu_count: _Optional[float] = ...) -> None: ...

class ResourcesAdjusted(_message.Message):
    __slots__ = ("cpus", "memory_gigabytes", "gpus", "gpu_count", "trials", "because")
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_GIGABYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    GPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    cpus: float
    memory_gigabytes: float
    gpus: _containers.RepeatedScalarFieldContainer[int]
    gpu_count: float
    trials: int
    because: str
    def __init__(self, cpus: _Optional[float] = ..., memory_gigabytes: _Optional[float] = ..., gpus: _Optional[_Iterable[int]] = ..., gpu_count: _Optional[float] = ..., trials: _Optional[int] = ..., because: _Optional[str] = ...) -> None: ...

class RuntimeStarted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StopRequested(_message.Message):
    __slots__ = ("mode", "deadline_time", "reason")
    MODE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    mode: _common_pb2.StopMode
    deadline_time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, mode: _Optional[_Union[_common_pb2.StopMode, str]] = ..., deadline_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class RuntimeAborted(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class RuntimeFailed(_message.Message):
    __slots__ = ("reason", "detail", "trial")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    reason: _common_pb2.FailureReason
    detail: str
    trial: int
    def __init__(self, reason: _Optional[_Union[_common_pb2.FailureReason, str]] = ..., detail: _Optional[str] = ..., trial: _Optional[int] = ...) -> None: ...

class RuntimeCompleted(_message.Message):
    __slots__ = ("detail",)
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    detail: str
    def __init__(self, detail: _Optional[str] = ...) -> None: ...

class ResourcesReleased(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeRequested(_message.Message):
    __slots__ = ("trials", "snapshot_id", "configuration", "configuration_digest", "changed_fields")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedScalarFieldContainer[int]
    snapshot_id: str
    configuration: _configuration_pb2.RuntimeConfiguration
    configuration_digest: str
    changed_fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, trials: _Optional[_Iterable[int]] = ..., snapshot_id: _Optional[str] = ..., configuration: _Optional[_Union[_configuration_pb2.RuntimeConfiguration, _Mapping]] = ..., configuration_digest: _Optional[str] = ..., changed_fields: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteRequested(_message.Message):
    __slots__ = ("reason", "purge_time")
    REASON_FIELD_NUMBER: _ClassVar[int]
    PURGE_TIME_FIELD_NUMBER: _ClassVar[int]
    reason: str
    purge_time: _timestamp_pb2.Timestamp
    def __init__(self, reason: _Optional[str] = ..., purge_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RuntimeUndeleted(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class PurgeStarted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RuntimePurged(_message.Message):
    __slots__ = ("snapshot_count", "snapshot_bytes", "point_count", "log_line_count", "remaining")
    SNAPSHOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOG_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    snapshot_count: int
    snapshot_bytes: int
    point_count: int
    log_line_count: int
    remaining: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, snapshot_count: _Optional[int] = ..., snapshot_bytes: _Optional[int] = ..., point_count: _Optional[int] = ..., log_line_count: _Optional[int] = ..., remaining: _Optional[_Iterable[str]] = ...) -> None: ...

class HealthChanged(_message.Message):
    __slots__ = ("health", "reason")
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    health: _common_pb2.Health
    reason: str
    def __init__(self, health: _Optional[_Union[_common_pb2.Health, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ReadinessChanged(_message.Message):
    __slots__ = ("ready", "reason")
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    reason: str
    def __init__(self, ready: bool = ..., reason: _Optional[str] = ...) -> None: ...

class LabelsChanged(_message.Message):
    __slots__ = ("labels", "removed_labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    removed_labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., removed_labels: _Optional[_Iterable[str]] = ...) -> None: ...

class TrialSuggested(_message.Message):
    __slots__ = ("trial", "parameters", "sampler", "because", "sampler_version")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_VERSION_FIELD_NUMBER: _ClassVar[int]
    trial: int
    parameters: _containers.ScalarMap[str, str]
    sampler: str
    because: str
    sampler_version: str
    def __init__(self, trial: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., sampler: _Optional[str] = ..., because: _Optional[str] = ..., sampler_version: _Optional[str] = ...) -> None: ...

class EarlierTrialsTold(_message.Message):
    __slots__ = ("trials", "detail")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[EarlierTrial]
    detail: str
    def __init__(self, trials: _Optional[_Iterable[_Union[EarlierTrial, _Mapping]]] = ..., detail: _Optional[str] = ...) -> None: ...

class EarlierTrial(_message.Message):
    __slots__ = ("runtime_id", "trial", "parameters", "values", "violations")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    runtime_id: str
    trial: int
    parameters: _containers.ScalarMap[str, str]
    values: _containers.RepeatedScalarFieldContainer[float]
    violations: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., values: _Optional[_Iterable[float]] = ..., violations: _Optional[_Iterable[float]] = ...) -> None: ...

class RungReached(_message.Message):
    __slots__ = ("trial", "rung", "step", "value", "metric", "snapshot_id")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    trial: int
    rung: int
    step: int
    value: float
    metric: str
    snapshot_id: str
    def __init__(self, trial: _Optional[int] = ..., rung: _Optional[int] = ..., step: _Optional[int] = ..., value: _Optional[float] = ..., metric: _Optional[str] = ..., snapshot_id: _Optional[str] = ...) -> None: ...

class TrialPruned(_message.Message):
    __slots__ = ("trial", "rung", "step", "value", "cut_off", "rank", "reached_count", "pruner", "metric")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CUT_OFF_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    REACHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PRUNER_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    trial: int
    rung: int
    step: int
    value: float
    cut_off: float
    rank: int
    reached_count: int
    pruner: str
    metric: str
    def __init__(self, trial: _Optional[int] = ..., rung: _Optional[int] = ..., step: _Optional[int] = ..., value: _Optional[float] = ..., cut_off: _Optional[float] = ..., rank: _Optional[int] = ..., reached_count: _Optional[int] = ..., pruner: _Optional[str] = ..., metric: _Optional[str] = ...) -> None: ...

class TrialPromoted(_message.Message):
    __slots__ = ("donor", "child", "replaced", "rung", "step", "snapshot_id", "value", "rank", "reached_count", "metric", "changes", "because")
    DONOR_FIELD_NUMBER: _ClassVar[int]
    CHILD_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    REACHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    donor: int
    child: int
    replaced: int
    rung: int
    step: int
    snapshot_id: str
    value: float
    rank: int
    reached_count: int
    metric: str
    changes: _containers.RepeatedCompositeFieldContainer[FieldChange]
    because: str
    def __init__(self, donor: _Optional[int] = ..., child: _Optional[int] = ..., replaced: _Optional[int] = ..., rung: _Optional[int] = ..., step: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., value: _Optional[float] = ..., rank: _Optional[int] = ..., reached_count: _Optional[int] = ..., metric: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ..., because: _Optional[str] = ...) -> None: ...

class ObjectiveReported(_message.Message):
    __slots__ = ("trial", "outcome", "value", "metric", "detail", "best", "values", "constraints", "infeasible", "surpassed")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    INFEASIBLE_FIELD_NUMBER: _ClassVar[int]
    SURPASSED_FIELD_NUMBER: _ClassVar[int]
    trial: int
    outcome: ObjectiveOutcome
    value: float
    metric: str
    detail: str
    best: bool
    values: _containers.RepeatedCompositeFieldContainer[MeasuredValue]
    constraints: _containers.RepeatedCompositeFieldContainer[MeasuredConstraint]
    infeasible: bool
    surpassed: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, trial: _Optional[int] = ..., outcome: _Optional[_Union[ObjectiveOutcome, str]] = ..., value: _Optional[float] = ..., metric: _Optional[str] = ..., detail: _Optional[str] = ..., best: bool = ..., values: _Optional[_Iterable[_Union[MeasuredValue, _Mapping]]] = ..., constraints: _Optional[_Iterable[_Union[MeasuredConstraint, _Mapping]]] = ..., infeasible: bool = ..., surpassed: _Optional[_Iterable[int]] = ...) -> None: ...

class MeasuredValue(_message.Message):
    __slots__ = ("metric", "value")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    value: float
    def __init__(self, metric: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class MeasuredConstraint(_message.Message):
    __slots__ = ("metric", "value", "violation")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VIOLATION_FIELD_NUMBER: _ClassVar[int]
    metric: str
    value: float
    violation: float
    def __init__(self, metric: _Optional[str] = ..., value: _Optional[float] = ..., violation: _Optional[float] = ...) -> None: ...

class SearchEnded(_message.Message):
    __slots__ = ("reason", "detail", "best_trial", "best_value", "best_trials")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BEST_TRIAL_FIELD_NUMBER: _ClassVar[int]
    BEST_VALUE_FIELD_NUMBER: _ClassVar[int]
    BEST_TRIALS_FIELD_NUMBER: _ClassVar[int]
    reason: SearchEndReason
    detail: str
    best_trial: int
    best_value: float
    best_trials: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, reason: _Optional[_Union[SearchEndReason, str]] = ..., detail: _Optional[str] = ..., best_trial: _Optional[int] = ..., best_value: _Optional[float] = ..., best_trials: _Optional[_Iterable[int]] = ...) -> None: ...

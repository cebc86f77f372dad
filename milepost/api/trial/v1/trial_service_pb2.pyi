import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.event.v1 import common_pb2 as _common_pb2
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

class TrialStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRIAL_STATUS_UNSPECIFIED: _ClassVar[TrialStatus]
    TRIAL_STATUS_RUNNING: _ClassVar[TrialStatus]
    TRIAL_STATUS_COMPLETED: _ClassVar[TrialStatus]
    TRIAL_STATUS_FAILED: _ClassVar[TrialStatus]
    TRIAL_STATUS_WAITING: _ClassVar[TrialStatus]

class WaitingReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAITING_REASON_UNSPECIFIED: _ClassVar[WaitingReason]
    WAITING_REASON_STOPPED: _ClassVar[WaitingReason]
    WAITING_REASON_QUEUED: _ClassVar[WaitingReason]
    WAITING_REASON_RETRYING: _ClassVar[WaitingReason]
    WAITING_REASON_PRUNED: _ClassVar[WaitingReason]

class ProgressPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROGRESS_PHASE_UNSPECIFIED: _ClassVar[ProgressPhase]
    PROGRESS_PHASE_STARTING: _ClassVar[ProgressPhase]
    PROGRESS_PHASE_TRAINING: _ClassVar[ProgressPhase]
    PROGRESS_PHASE_EVALUATING: _ClassVar[ProgressPhase]
    PROGRESS_PHASE_SNAPSHOTTING: _ClassVar[ProgressPhase]
    PROGRESS_PHASE_SKIPPING: _ClassVar[ProgressPhase]
    PROGRESS_PHASE_FINISHING: _ClassVar[ProgressPhase]

class MarkerKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MARKER_KIND_UNSPECIFIED: _ClassVar[MarkerKind]
    MARKER_KIND_EVALUATION: _ClassVar[MarkerKind]
    MARKER_KIND_EPOCH_END: _ClassVar[MarkerKind]
    MARKER_KIND_SNAPSHOT: _ClassVar[MarkerKind]
    MARKER_KIND_PARAMETERS_CHANGED: _ClassVar[MarkerKind]
TRIAL_STATUS_UNSPECIFIED: TrialStatus
TRIAL_STATUS_RUNNING: TrialStatus
TRIAL_STATUS_COMPLETED: TrialStatus
TRIAL_STATUS_FAILED: TrialStatus
TRIAL_STATUS_WAITING: TrialStatus
WAITING_REASON_UNSPECIFIED: WaitingReason
WAITING_REASON_STOPPED: WaitingReason
WAITING_REASON_QUEUED: WaitingReason
WAITING_REASON_RETRYING: WaitingReason
WAITING_REASON_PRUNED: WaitingReason
PROGRESS_PHASE_UNSPECIFIED: ProgressPhase
PROGRESS_PHASE_STARTING: ProgressPhase
PROGRESS_PHASE_TRAINING: ProgressPhase
PROGRESS_PHASE_EVALUATING: ProgressPhase
PROGRESS_PHASE_SNAPSHOTTING: ProgressPhase
PROGRESS_PHASE_SKIPPING: ProgressPhase
PROGRESS_PHASE_FINISHING: ProgressPhase
MARKER_KIND_UNSPECIFIED: MarkerKind
MARKER_KIND_EVALUATION: MarkerKind
MARKER_KIND_EPOCH_END: MarkerKind
MARKER_KIND_SNAPSHOT: MarkerKind
MARKER_KIND_PARAMETERS_CHANGED: MarkerKind

class Marker(_message.Message):
    __slots__ = ("kind", "step", "planned", "sequence", "time", "values", "epoch", "snapshot_id", "receive_time", "changes", "actor")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    kind: MarkerKind
    step: int
    planned: bool
    sequence: int
    time: _timestamp_pb2.Timestamp
    values: _containers.ScalarMap[str, float]
    epoch: int
    snapshot_id: str
    receive_time: _timestamp_pb2.Timestamp
    changes: _containers.RepeatedCompositeFieldContainer[_trial_events_pb2.ParameterChange]
    actor: str
    def __init__(self, kind: _Optional[_Union[MarkerKind, str]] = ..., step: _Optional[int] = ..., planned: bool = ..., sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., values: _Optional[_Mapping[str, float]] = ..., epoch: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[_trial_events_pb2.ParameterChange, _Mapping]]] = ..., actor: _Optional[str] = ...) -> None: ...

class Steerable(_message.Message):
    __slots__ = ("name", "kind", "declared_value", "steered_value", "requested_value", "minimum", "maximum", "choices")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DECLARED_VALUE_FIELD_NUMBER: _ClassVar[int]
    STEERED_VALUE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_VALUE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _trial_events_pb2.SteerableKind
    declared_value: str
    steered_value: str
    requested_value: str
    minimum: str
    maximum: str
    choices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_trial_events_pb2.SteerableKind, str]] = ..., declared_value: _Optional[str] = ..., steered_value: _Optional[str] = ..., requested_value: _Optional[str] = ..., minimum: _Optional[str] = ..., maximum: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ...) -> None: ...

class RedoneRange(_message.Message):
    __slots__ = ("attempt", "first_step", "last_step")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    first_step: int
    last_step: int
    def __init__(self, attempt: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("step", "total_steps", "completion_percent", "epoch", "epochs", "batch", "batches_per_epoch", "phase", "evaluation_batch", "evaluation_batches", "skipped_batches", "batches_to_skip", "eval_every_steps", "steps_per_epoch", "snapshot_every_steps", "step_time", "batch_text")
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_PERCENT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BATCHES_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_BATCH_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_BATCHES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    BATCHES_TO_SKIP_FIELD_NUMBER: _ClassVar[int]
    EVAL_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    STEP_TIME_FIELD_NUMBER: _ClassVar[int]
    BATCH_TEXT_FIELD_NUMBER: _ClassVar[int]
    step: int
    total_steps: int
    completion_percent: float
    epoch: int
    epochs: int
    batch: int
    batches_per_epoch: int
    phase: ProgressPhase
    evaluation_batch: int
    evaluation_batches: int
    skipped_batches: int
    batches_to_skip: int
    eval_every_steps: int
    steps_per_epoch: int
    snapshot_every_steps: int
    step_time: _timestamp_pb2.Timestamp
    batch_text: str
    def __init__(self, step: _Optional[int] = ..., total_steps: _Optional[int] = ..., completion_percent: _Optional[float] = ..., epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., batch: _Optional[int] = ..., batches_per_epoch: _Optional[int] = ..., phase: _Optional[_Union[ProgressPhase, str]] = ..., evaluation_batch: _Optional[int] = ..., evaluation_batches: _Optional[int] = ..., skipped_batches: _Optional[int] = ..., batches_to_skip: _Optional[int] = ..., eval_every_steps: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., snapshot_every_steps: _Optional[int] = ..., step_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., batch_text: _Optional[str] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("remaining", "remaining_low", "remaining_high", "finish_time")
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    REMAINING_LOW_FIELD_NUMBER: _ClassVar[int]
    REMAINING_HIGH_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    remaining: _duration_pb2.Duration
    remaining_low: _duration_pb2.Duration
    remaining_high: _duration_pb2.Duration
    finish_time: _timestamp_pb2.Timestamp
    def __init__(self, remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., remaining_low: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., remaining_high: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Throughput(_message.Message):
    __slots__ = ("steps_per_second", "samples_per_second", "step_seconds_p50", "step_seconds_p95")
    STEPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_P50_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_P95_FIELD_NUMBER: _ClassVar[int]
    steps_per_second: float
    samples_per_second: float
    step_seconds_p50: float
    step_seconds_p95: float
    def __init__(self, steps_per_second: _Optional[float] = ..., samples_per_second: _Optional[float] = ..., step_seconds_p50: _Optional[float] = ..., step_seconds_p95: _Optional[float] = ...) -> None: ...

class SegmentOfLineage(_message.Message):
    __slots__ = ("attempt", "first_step", "last_step")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    first_step: int
    last_step: int
    def __init__(self, attempt: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ...) -> None: ...

class BestValue(_message.Message):
    __slots__ = ("metric", "value", "step")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    metric: str
    value: float
    step: int
    def __init__(self, metric: _Optional[str] = ..., value: _Optional[float] = ..., step: _Optional[int] = ...) -> None: ...

class InstanceState(_message.Message):
    __slots__ = ("rank", "attempt", "host", "process_id", "devices", "ready", "health", "exit_cause", "detail", "start_time", "exit_time", "software")
    RANK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    EXIT_CAUSE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    EXIT_TIME_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    rank: int
    attempt: int
    host: str
    process_id: int
    devices: _containers.RepeatedScalarFieldContainer[str]
    ready: bool
    health: _common_pb2.Health
    exit_cause: _common_pb2.ExitCause
    detail: str
    start_time: _timestamp_pb2.Timestamp
    exit_time: _timestamp_pb2.Timestamp
    software: str
    def __init__(self, rank: _Optional[int] = ..., attempt: _Optional[int] = ..., host: _Optional[str] = ..., process_id: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ..., ready: bool = ..., health: _Optional[_Union[_common_pb2.Health, str]] = ..., exit_cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., detail: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., software: _Optional[str] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("name", "runtime_id", "trial", "status", "waiting_reason", "reason", "failure_reason", "progress", "elapsed", "estimate", "throughput", "markers", "lineage", "redone", "attempt", "attempt_count", "parameters", "searched_parameters", "best", "last_values", "start_time", "end_time", "instances", "hints", "newest_snapshot_step", "newest_snapshot_id", "events_sequence", "telemetry_sequence", "retry_time", "change_time", "runtime_deleted", "labels", "start_receive_time", "end_receive_time", "inherited_elapsed", "suggestion", "steerables")
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
    class LastValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WAITING_REASON_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    THROUGHPUT_FIELD_NUMBER: _ClassVar[int]
    MARKERS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    REDONE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    LAST_VALUES_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_SNAPSHOT_STEP_FIELD_NUMBER: _ClassVar[int]
    NEWEST_SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RETRY_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_DELETED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    START_RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    INHERITED_ELAPSED_FIELD_NUMBER: _ClassVar[int]
    SUGGESTION_FIELD_NUMBER: _ClassVar[int]
    STEERABLES_FIELD_NUMBER: _ClassVar[int]
    name: str
    runtime_id: str
    trial: int
    status: TrialStatus
    waiting_reason: WaitingReason
    reason: str
    failure_reason: _common_pb2.FailureReason
    progress: Progress
    elapsed: _duration_pb2.Duration
    estimate: Estimate
    throughput: Throughput
    markers: _containers.RepeatedCompositeFieldContainer[Marker]
    lineage: _containers.RepeatedCompositeFieldContainer[SegmentOfLineage]
    redone: _containers.RepeatedCompositeFieldContainer[RedoneRange]
    attempt: int
    attempt_count: int
    parameters: _containers.ScalarMap[str, str]
    searched_parameters: _containers.ScalarMap[str, str]
    best: BestValue
    last_values: _containers.ScalarMap[str, float]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    instances: _containers.RepeatedCompositeFieldContainer[InstanceState]
    hints: _containers.RepeatedScalarFieldContainer[str]
    newest_snapshot_step: int
    newest_snapshot_id: str
    events_sequence: int
    telemetry_sequence: int
    retry_time: _timestamp_pb2.Timestamp
    change_time: _timestamp_pb2.Timestamp
    runtime_deleted: bool
    labels: _containers.ScalarMap[str, str]
    start_receive_time: _timestamp_pb2.Timestamp
    end_receive_time: _timestamp_pb2.Timestamp
    inherited_elapsed: _duration_pb2.Duration
    suggestion: Suggestion
    steerables: _containers.RepeatedCompositeFieldContainer[Steerable]
    def __init__(self, name: _Optional[str] = ..., runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., status: _Optional[_Union[TrialStatus, str]] = ..., waiting_reason: _Optional[_Union[WaitingReason, str]] = ..., reason: _Optional[str] = ..., failure_reason: _Optional[_Union[_common_pb2.FailureReason, str]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ..., throughput: _Optional[_Union[Throughput, _Mapping]] = ..., markers: _Optional[_Iterable[_Union[Marker, _Mapping]]] = ..., lineage: _Optional[_Iterable[_Union[SegmentOfLineage, _Mapping]]] = ..., redone: _Optional[_Iterable[_Union[RedoneRange, _Mapping]]] = ..., attempt: _Optional[int] = ..., attempt_count: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., searched_parameters: _Optional[_Mapping[str, str]] = ..., best: _Optional[_Union[BestValue, _Mapping]] = ..., last_values: _Optional[_Mapping[str, float]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., instances: _Optional[_Iterable[_Union[InstanceState, _Mapping]]] = ..., hints: _Optional[_Iterable[str]] = ..., newest_snapshot_step: _Optional[int] = ..., newest_snapshot_id: _Optional[str] = ..., events_sequence: _Optional[int] = ..., telemetry_sequence: _Optional[int] = ..., retry_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., runtime_deleted: bool = ..., labels: _Optional[_Mapping[str, str]] = ..., start_receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., inherited_elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., suggestion: _Optional[_Union[Suggestion, _Mapping]] = ..., steerables: _Optional[_Iterable[_Union[Steerable, _Mapping]]] = ...) -> None: ...

class Suggestion(_message.Message):
    __slots__ = ("sampler", "because", "outcome", "value", "metric", "detail", "best", "rung", "values", "constraints", "infeasible", "donor", "donor_step", "replaced")
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    INFEASIBLE_FIELD_NUMBER: _ClassVar[int]
    DONOR_FIELD_NUMBER: _ClassVar[int]
    DONOR_STEP_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    sampler: str
    because: str
    outcome: _runtime_events_pb2.ObjectiveOutcome
    value: float
    metric: str
    detail: str
    best: bool
    rung: int
    values: _containers.RepeatedCompositeFieldContainer[_runtime_events_pb2.MeasuredValue]
    constraints: _containers.RepeatedCompositeFieldContainer[_runtime_events_pb2.MeasuredConstraint]
    infeasible: bool
    donor: int
    donor_step: int
    replaced: int
    def __init__(self, sampler: _Optional[str] = ..., because: _Optional[str] = ..., outcome: _Optional[_Union[_runtime_events_pb2.ObjectiveOutcome, str]] = ..., value: _Optional[float] = ..., metric: _Optional[str] = ..., detail: _Optional[str] = ..., best: bool = ..., rung: _Optional[int] = ..., values: _Optional[_Iterable[_Union[_runtime_events_pb2.MeasuredValue, _Mapping]]] = ..., constraints: _Optional[_Iterable[_Union[_runtime_events_pb2.MeasuredConstraint, _Mapping]]] = ..., infeasible: bool = ..., donor: _Optional[int] = ..., donor_step: _Optional[int] = ..., replaced: _Optional[int] = ...) -> None: ...

class GetTrialRequest(_message.Message):
    __slots__ = ("name", "min_sequence", "as_of")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    name: str
    min_sequence: int
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, name: _Optional[str] = ..., min_sequence: _Optional[int] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class GetTrialResponse(_message.Message):
    __slots__ = ("trial",)
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    trial: Trial
    def __init__(self, trial: _Optional[_Union[Trial, _Mapping]] = ...) -> None: ...

class ListTrialsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "filter", "order_by", "min_sequence", "as_of", "brief", "from_log", "runtime_ids")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    FROM_LOG_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_IDS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    filter: str
    order_by: str
    min_sequence: int
    as_of: _recorded_event_pb2.AsOf
    brief: bool
    from_log: bool
    runtime_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ..., min_sequence: _Optional[int] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., brief: bool = ..., from_log: bool = ..., runtime_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListTrialsResponse(_message.Message):
    __slots__ = ("trials", "next_page_token", "total_size", "estimate", "elapsed", "events_sequence", "telemetry_sequence", "set_aside")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    next_page_token: str
    total_size: int
    estimate: Estimate
    elapsed: _duration_pb2.Duration
    events_sequence: int
    telemetry_sequence: int
    set_aside: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., events_sequence: _Optional[int] = ..., telemetry_sequence: _Optional[int] = ..., set_aside: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchTrialsRequest(_message.Message):
    __slots__ = ("parent", "after_events_sequence", "after_telemetry_sequence", "brief")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AFTER_TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    parent: str
    after_events_sequence: int
    after_telemetry_sequence: int
    brief: bool
    def __init__(self, parent: _Optional[str] = ..., after_events_sequence: _Optional[int] = ..., after_telemetry_sequence: _Optional[int] = ..., brief: bool = ...) -> None: ...

class WatchTrialsResponse(_message.Message):
    __slots__ = ("trial", "events_sequence", "telemetry_sequence", "caught_up", "runtime_estimate", "runtime_elapsed")
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ELAPSED_FIELD_NUMBER: _ClassVar[int]
    trial: Trial
    events_sequence: int
    telemetry_sequence: int
    caught_up: bool
    runtime_estimate: Estimate
    runtime_elapsed: _duration_pb2.Duration
    def __init__(self, trial: _Optional[_Union[Trial, _Mapping]] = ..., events_sequence: _Optional[int] = ..., telemetry_sequence: _Optional[int] = ..., caught_up: bool = ..., runtime_estimate: _Optional[_Union[Estimate, _Mapping]] = ..., runtime_elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("attempt", "launch_time", "start_time", "end_time", "restored_snapshot_id", "restored_step", "last_step", "cause", "detail", "fenced", "instances", "world_size", "start_receive_time", "end_receive_time")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    RESTORED_SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    RESTORED_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    WORLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    START_RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    launch_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    restored_snapshot_id: str
    restored_step: int
    last_step: int
    cause: _common_pb2.ExitCause
    detail: str
    fenced: bool
    instances: _containers.RepeatedCompositeFieldContainer[InstanceState]
    world_size: int
    start_receive_time: _timestamp_pb2.Timestamp
    end_receive_time: _timestamp_pb2.Timestamp
    def __init__(self, attempt: _Optional[int] = ..., launch_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., restored_snapshot_id: _Optional[str] = ..., restored_step: _Optional[int] = ..., last_step: _Optional[int] = ..., cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., detail: _Optional[str] = ..., fenced: bool = ..., instances: _Optional[_Iterable[_Union[InstanceState, _Mapping]]] = ..., world_size: _Optional[int] = ..., start_receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListAttemptsRequest(_message.Message):
    __slots__ = ("parent", "as_of")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    parent: str
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, parent: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class ListAttemptsResponse(_message.Message):
    __slots__ = ("attempts",)
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    def __init__(self, attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ...) -> None: ...

class CompareTrialsRequest(_message.Message):
    __slots__ = ("names", "as_of", "brief")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    as_of: _recorded_event_pb2.AsOf
    brief: bool
    def __init__(self, names: _Optional[_Iterable[str]] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., brief: bool = ...) -> None: ...

class CompareTrialsResponse(_message.Message):
    __slots__ = ("trials", "differing_parameters")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    differing_parameters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., differing_parameters: _Optional[_Iterable[str]] = ...) -> None: ...

class ListEstimatesRequest(_message.Message):
    __slots__ = ("parent", "as_of")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    parent: str
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, parent: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class IssuedEstimate(_message.Message):
    __slots__ = ("time", "attempt", "step", "finish_time", "finish_time_low", "finish_time_high", "error_percent")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_LOW_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_HIGH_FIELD_NUMBER: _ClassVar[int]
    ERROR_PERCENT_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    attempt: int
    step: int
    finish_time: _timestamp_pb2.Timestamp
    finish_time_low: _timestamp_pb2.Timestamp
    finish_time_high: _timestamp_pb2.Timestamp
    error_percent: float
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., step: _Optional[int] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time_low: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time_high: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error_percent: _Optional[float] = ...) -> None: ...

class ListEstimatesResponse(_message.Message):
    __slots__ = ("estimates", "median_error_percent", "worst_error_percent")
    ESTIMATES_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_ERROR_PERCENT_FIELD_NUMBER: _ClassVar[int]
    WORST_ERROR_PERCENT_FIELD_NUMBER: _ClassVar[int]
    estimates: _containers.RepeatedCompositeFieldContainer[IssuedEstimate]
    median_error_percent: float
    worst_error_percent: float
    def __init__(self, estimates: _Optional[_Iterable[_Union[IssuedEstimate, _Mapping]]] = ..., median_error_percent: _Optional[float] = ..., worst_error_percent: _Optional[float] = ...) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_INFO: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_CRITICAL: _ClassVar[Severity]

class Comparison(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARISON_UNSPECIFIED: _ClassVar[Comparison]
    COMPARISON_ABOVE: _ClassVar[Comparison]
    COMPARISON_BELOW: _ClassVar[Comparison]

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_UP: _ClassVar[Direction]
    DIRECTION_DOWN: _ClassVar[Direction]
SEVERITY_UNSPECIFIED: Severity
SEVERITY_INFO: Severity
SEVERITY_WARNING: Severity
SEVERITY_CRITICAL: Severity
COMPARISON_UNSPECIFIED: Comparison
COMPARISON_ABOVE: Comparison
COMPARISON_BELOW: Comparison
DIRECTION_UNSPECIFIED: Direction
DIRECTION_UP: Direction
DIRECTION_DOWN: Direction

class Rule(_message.Message):
    __slots__ = ("name", "display_name", "selector", "detector", "hold_seconds", "severity", "actions", "max_firings", "watching_only", "disabled", "owner", "create_time", "update_time", "revision", "etag", "sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    HOLD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_FIRINGS_FIELD_NUMBER: _ClassVar[int]
    WATCHING_ONLY_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    selector: str
    detector: Detector
    hold_seconds: float
    severity: Severity
    actions: _containers.RepeatedCompositeFieldContainer[Action]
    max_firings: int
    watching_only: bool
    disabled: bool
    owner: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    revision: int
    etag: str
    sequence: int
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., selector: _Optional[str] = ..., detector: _Optional[_Union[Detector, _Mapping]] = ..., hold_seconds: _Optional[float] = ..., severity: _Optional[_Union[Severity, str]] = ..., actions: _Optional[_Iterable[_Union[Action, _Mapping]]] = ..., max_firings: _Optional[int] = ..., watching_only: bool = ..., disabled: bool = ..., owner: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., etag: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("notify", "label", "snapshot", "stop", "start", "roll_back")
    NOTIFY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    ROLL_BACK_FIELD_NUMBER: _ClassVar[int]
    notify: Notify
    label: Label
    snapshot: TakeSnapshot
    stop: Stop
    start: Start
    roll_back: RollBack
    def __init__(self, notify: _Optional[_Union[Notify, _Mapping]] = ..., label: _Optional[_Union[Label, _Mapping]] = ..., snapshot: _Optional[_Union[TakeSnapshot, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., start: _Optional[_Union[Start, _Mapping]] = ..., roll_back: _Optional[_Union[RollBack, _Mapping]] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("set", "remove")
    class SetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SET_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    set: _containers.ScalarMap[str, str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, set: _Optional[_Mapping[str, str]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class TakeSnapshot(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Stop(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Start(_message.Message):
    __slots__ = ("configuration_text", "runtime", "resolved_text")
    CONFIGURATION_TEXT_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_TEXT_FIELD_NUMBER: _ClassVar[int]
    configuration_text: str
    runtime: str
    resolved_text: str
    def __init__(self, configuration_text: _Optional[str] = ..., runtime: _Optional[str] = ..., resolved_text: _Optional[str] = ...) -> None: ...

class RollBack(_message.Message):
    __slots__ = ("margin_steps", "parameters", "factors", "skip_batches", "max_times")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FactorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MARGIN_STEPS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    FACTORS_FIELD_NUMBER: _ClassVar[int]
    SKIP_BATCHES_FIELD_NUMBER: _ClassVar[int]
    MAX_TIMES_FIELD_NUMBER: _ClassVar[int]
    margin_steps: int
    parameters: _containers.ScalarMap[str, str]
    factors: _containers.ScalarMap[str, float]
    skip_batches: int
    max_times: int
    def __init__(self, margin_steps: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., factors: _Optional[_Mapping[str, float]] = ..., skip_batches: _Optional[int] = ..., max_times: _Optional[int] = ...) -> None: ...

class Notify(_message.Message):
    __slots__ = ("destination",)
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    destination: str
    def __init__(self, destination: _Optional[str] = ...) -> None: ...

class Detector(_message.Message):
    __slots__ = ("threshold", "change", "baseline", "plateau", "exploding_gradient", "vanishing_gradient", "not_finite", "silence", "throughput_drop", "log_pattern", "event", "state", "retries", "estimated_end", "gpu_idle", "disk_filling")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    PLATEAU_FIELD_NUMBER: _ClassVar[int]
    EXPLODING_GRADIENT_FIELD_NUMBER: _ClassVar[int]
    VANISHING_GRADIENT_FIELD_NUMBER: _ClassVar[int]
    NOT_FINITE_FIELD_NUMBER: _ClassVar[int]
    SILENCE_FIELD_NUMBER: _ClassVar[int]
    THROUGHPUT_DROP_FIELD_NUMBER: _ClassVar[int]
    LOG_PATTERN_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_END_FIELD_NUMBER: _ClassVar[int]
    GPU_IDLE_FIELD_NUMBER: _ClassVar[int]
    DISK_FILLING_FIELD_NUMBER: _ClassVar[int]
    threshold: Threshold
    change: Change
    baseline: Baseline
    plateau: Plateau
    exploding_gradient: ExplodingGradient
    vanishing_gradient: VanishingGradient
    not_finite: NotFinite
    silence: Silence
    throughput_drop: ThroughputDrop
    log_pattern: LogPattern
    event: EventSeen
    state: StateEntered
    retries: Retries
    estimated_end: EstimatedEnd
    gpu_idle: GpuIdle
    disk_filling: DiskFilling
    def __init__(self, threshold: _Optional[_Union[Threshold, _Mapping]] = ..., change: _Optional[_Union[Change, _Mapping]] = ..., baseline: _Optional[_Union[Baseline, _Mapping]] = ..., plateau: _Optional[_Union[Plateau, _Mapping]] = ..., exploding_gradient: _Optional[_Union[ExplodingGradient, _Mapping]] = ..., vanishing_gradient: _Optional[_Union[VanishingGradient, _Mapping]] = ..., not_finite: _Optional[_Union[NotFinite, _Mapping]] = ..., silence: _Optional[_Union[Silence, _Mapping]] = ..., throughput_drop: _Optional[_Union[ThroughputDrop, _Mapping]] = ..., log_pattern: _Optional[_Union[LogPattern, _Mapping]] = ..., event: _Optional[_Union[EventSeen, _Mapping]] = ..., state: _Optional[_Union[StateEntered, _Mapping]] = ..., retries: _Optional[_Union[Retries, _Mapping]] = ..., estimated_end: _Optional[_Union[EstimatedEnd, _Mapping]] = ..., gpu_idle: _Optional[_Union[GpuIdle, _Mapping]] = ..., disk_filling: _Optional[_Union[DiskFilling, _Mapping]] = ...) -> None: ...

class Threshold(_message.Message):
    __slots__ = ("series", "comparison", "value")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    series: str
    comparison: Comparison
    value: float
    def __init__(self, series: _Optional[str] = ..., comparison: _Optional[_Union[Comparison, str]] = ..., value: _Optional[float] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("series", "window", "deviations", "direction")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    series: str
    window: int
    deviations: float
    direction: Direction
    def __init__(self, series: _Optional[str] = ..., window: _Optional[int] = ..., deviations: _Optional[float] = ..., direction: _Optional[_Union[Direction, str]] = ...) -> None: ...

class Baseline(_message.Message):
    __slots__ = ("series", "trial", "tolerance", "direction", "steps", "values")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    series: str
    trial: str
    tolerance: float
    direction: Direction
    steps: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, series: _Optional[str] = ..., trial: _Optional[str] = ..., tolerance: _Optional[float] = ..., direction: _Optional[_Union[Direction, str]] = ..., steps: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class Plateau(_message.Message):
    __slots__ = ("series", "window", "min_improvement", "direction")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MIN_IMPROVEMENT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    series: str
    window: int
    min_improvement: float
    direction: Direction
    def __init__(self, series: _Optional[str] = ..., window: _Optional[int] = ..., min_improvement: _Optional[float] = ..., direction: _Optional[_Union[Direction, str]] = ...) -> None: ...

class ExplodingGradient(_message.Message):
    __slots__ = ("series", "factor", "window")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    series: str
    factor: float
    window: int
    def __init__(self, series: _Optional[str] = ..., factor: _Optional[float] = ..., window: _Optional[int] = ...) -> None: ...

class VanishingGradient(_message.Message):
    __slots__ = ("series", "below", "points")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    BELOW_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    series: str
    below: float
    points: int
    def __init__(self, series: _Optional[str] = ..., below: _Optional[float] = ..., points: _Optional[int] = ...) -> None: ...

class NotFinite(_message.Message):
    __slots__ = ("series",)
    SERIES_FIELD_NUMBER: _ClassVar[int]
    series: str
    def __init__(self, series: _Optional[str] = ...) -> None: ...

class Silence(_message.Message):
    __slots__ = ("factor", "min_seconds")
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    MIN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    factor: float
    min_seconds: float
    def __init__(self, factor: _Optional[float] = ..., min_seconds: _Optional[float] = ...) -> None: ...

class ThroughputDrop(_message.Message):
    __slots__ = ("series", "share", "window")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    series: str
    share: float
    window: int
    def __init__(self, series: _Optional[str] = ..., share: _Optional[float] = ..., window: _Optional[int] = ...) -> None: ...

class LogPattern(_message.Message):
    __slots__ = ("pattern",)
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    def __init__(self, pattern: _Optional[str] = ...) -> None: ...

class EventSeen(_message.Message):
    __slots__ = ("type",)
    TYPE_FIELD_NUMBER: _ClassVar[int]
    type: str
    def __init__(self, type: _Optional[str] = ...) -> None: ...

class StateEntered(_message.Message):
    __slots__ = ("states",)
    STATES_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, states: _Optional[_Iterable[str]] = ...) -> None: ...

class Retries(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class EstimatedEnd(_message.Message):
    __slots__ = ("time", "after_seconds")
    TIME_FIELD_NUMBER: _ClassVar[int]
    AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    after_seconds: float
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., after_seconds: _Optional[float] = ...) -> None: ...

class GpuIdle(_message.Message):
    __slots__ = ("below_percent",)
    BELOW_PERCENT_FIELD_NUMBER: _ClassVar[int]
    below_percent: float
    def __init__(self, below_percent: _Optional[float] = ...) -> None: ...

class DiskFilling(_message.Message):
    __slots__ = ("above_percent",)
    ABOVE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    above_percent: float
    def __init__(self, above_percent: _Optional[float] = ...) -> None: ...

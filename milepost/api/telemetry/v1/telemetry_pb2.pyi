from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RowForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROW_FORM_UNSPECIFIED: _ClassVar[RowForm]
    ROW_FORM_SAMPLE: _ClassVar[RowForm]
    ROW_FORM_TEXT: _ClassVar[RowForm]
    ROW_FORM_TABLE: _ClassVar[RowForm]
    ROW_FORM_HISTOGRAM: _ClassVar[RowForm]
    ROW_FORM_IMAGE: _ClassVar[RowForm]
    ROW_FORM_AUDIO: _ClassVar[RowForm]

class LogLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_LEVEL_UNSPECIFIED: _ClassVar[LogLevel]
    LOG_LEVEL_DEBUG: _ClassVar[LogLevel]
    LOG_LEVEL_INFO: _ClassVar[LogLevel]
    LOG_LEVEL_WARNING: _ClassVar[LogLevel]
    LOG_LEVEL_ERROR: _ClassVar[LogLevel]
    LOG_LEVEL_CRITICAL: _ClassVar[LogLevel]

class LogStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_STREAM_UNSPECIFIED: _ClassVar[LogStream]
    LOG_STREAM_STDOUT: _ClassVar[LogStream]
    LOG_STREAM_STDERR: _ClassVar[LogStream]
    LOG_STREAM_LOGGER: _ClassVar[LogStream]
    LOG_STREAM_MILEPOST: _ClassVar[LogStream]
ROW_FORM_UNSPECIFIED: RowForm
ROW_FORM_SAMPLE: RowForm
ROW_FORM_TEXT: RowForm
ROW_FORM_TABLE: RowForm
ROW_FORM_HISTOGRAM: RowForm
ROW_FORM_IMAGE: RowForm
ROW_FORM_AUDIO: RowForm
LOG_LEVEL_UNSPECIFIED: LogLevel
LOG_LEVEL_DEBUG: LogLevel
LOG_LEVEL_INFO: LogLevel
LOG_LEVEL_WARNING: LogLevel
LOG_LEVEL_ERROR: LogLevel
LOG_LEVEL_CRITICAL: LogLevel
LOG_STREAM_UNSPECIFIED: LogStream
LOG_STREAM_STDOUT: LogStream
LOG_STREAM_STDERR: LogStream
LOG_STREAM_LOGGER: LogStream
LOG_STREAM_MILEPOST: LogStream

class Sender(_message.Message):
    __slots__ = ("runtime_id", "trial", "attempt", "source")
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    runtime_id: str
    trial: int
    attempt: int
    source: str
    def __init__(self, runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

class StepBatch(_message.Message):
    __slots__ = ("sender", "number", "groups", "tombstone", "last", "rows")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    sender: Sender
    number: int
    groups: _containers.RepeatedCompositeFieldContainer[StepGroup]
    tombstone: Tombstone
    last: bool
    rows: _containers.RepeatedCompositeFieldContainer[Row]
    def __init__(self, sender: _Optional[_Union[Sender, _Mapping]] = ..., number: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[StepGroup, _Mapping]]] = ..., tombstone: _Optional[_Union[Tombstone, _Mapping]] = ..., last: bool = ..., rows: _Optional[_Iterable[_Union[Row, _Mapping]]] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Row(_message.Message):
    __slots__ = ("key", "step", "time_ms", "form", "prompt", "completion", "scores", "group", "tags", "content", "edges", "counts", "media_sha256", "media_type", "media_bytes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    MEDIA_SHA256_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_BYTES_FIELD_NUMBER: _ClassVar[int]
    key: str
    step: int
    time_ms: int
    form: RowForm
    prompt: str
    completion: str
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    group: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    content: str
    edges: _containers.RepeatedScalarFieldContainer[float]
    counts: _containers.RepeatedScalarFieldContainer[float]
    media_sha256: str
    media_type: str
    media_bytes: int
    def __init__(self, key: _Optional[str] = ..., step: _Optional[int] = ..., time_ms: _Optional[int] = ..., form: _Optional[_Union[RowForm, str]] = ..., prompt: _Optional[str] = ..., completion: _Optional[str] = ..., scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., group: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., content: _Optional[str] = ..., edges: _Optional[_Iterable[float]] = ..., counts: _Optional[_Iterable[float]] = ..., media_sha256: _Optional[str] = ..., media_type: _Optional[str] = ..., media_bytes: _Optional[int] = ...) -> None: ...

class StepGroup(_message.Message):
    __slots__ = ("steps", "times_ms", "columns")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TIMES_MS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    steps: bytes
    times_ms: bytes
    columns: _containers.RepeatedCompositeFieldContainer[SeriesColumn]
    def __init__(self, steps: _Optional[bytes] = ..., times_ms: _Optional[bytes] = ..., columns: _Optional[_Iterable[_Union[SeriesColumn, _Mapping]]] = ...) -> None: ...

class SeriesColumn(_message.Message):
    __slots__ = ("key", "values")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    key: str
    values: bytes
    def __init__(self, key: _Optional[str] = ..., values: _Optional[bytes] = ...) -> None: ...

class Tombstone(_message.Message):
    __slots__ = ("point_count", "first_step", "last_step", "reason")
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    point_count: int
    first_step: int
    last_step: int
    reason: str
    def __init__(self, point_count: _Optional[int] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("time_ms", "level", "rank", "stream", "step", "text", "logger")
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOGGER_FIELD_NUMBER: _ClassVar[int]
    time_ms: int
    level: LogLevel
    rank: int
    stream: LogStream
    step: int
    text: str
    logger: str
    def __init__(self, time_ms: _Optional[int] = ..., level: _Optional[_Union[LogLevel, str]] = ..., rank: _Optional[int] = ..., stream: _Optional[_Union[LogStream, str]] = ..., step: _Optional[int] = ..., text: _Optional[str] = ..., logger: _Optional[str] = ...) -> None: ...

class LogBatch(_message.Message):
    __slots__ = ("sender", "number", "lines", "tombstone", "last")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    sender: Sender
    number: int
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    tombstone: Tombstone
    last: bool
    def __init__(self, sender: _Optional[_Union[Sender, _Mapping]] = ..., number: _Optional[int] = ..., lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., tombstone: _Optional[_Union[Tombstone, _Mapping]] = ..., last: bool = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("rank", "step", "next_beat_ms", "process_id", "idle_ms", "phase", "step_ms", "spooled_batches", "spooled_bytes", "looks", "waiting_looks")
    RANK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NEXT_BEAT_MS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    IDLE_MS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STEP_MS_FIELD_NUMBER: _ClassVar[int]
    SPOOLED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    SPOOLED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOOKS_FIELD_NUMBER: _ClassVar[int]
    WAITING_LOOKS_FIELD_NUMBER: _ClassVar[int]
    rank: int
    step: int
    next_beat_ms: int
    process_id: int
    idle_ms: int
    phase: str
    step_ms: float
    spooled_batches: int
    spooled_bytes: int
    looks: int
    waiting_looks: int
    def __init__(self, rank: _Optional[int] = ..., step: _Optional[int] = ..., next_beat_ms: _Optional[int] = ..., process_id: _Optional[int] = ..., idle_ms: _Optional[int] = ..., phase: _Optional[str] = ..., step_ms: _Optional[float] = ..., spooled_batches: _Optional[int] = ..., spooled_bytes: _Optional[int] = ..., looks: _Optional[int] = ..., waiting_looks: _Optional[int] = ...) -> None: ...

class StoredRange(_message.Message):
    __slots__ = ("source", "kind", "first", "last")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    source: str
    kind: str
    first: int
    last: int
    def __init__(self, source: _Optional[str] = ..., kind: _Optional[str] = ..., first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Stored(_message.Message):
    __slots__ = ("ranges", "watched", "takes_rows")
    RANGES_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    TAKES_ROWS_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[StoredRange]
    watched: bool
    takes_rows: bool
    def __init__(self, ranges: _Optional[_Iterable[_Union[StoredRange, _Mapping]]] = ..., watched: bool = ..., takes_rows: bool = ...) -> None: ...

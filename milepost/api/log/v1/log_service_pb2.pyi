import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.event.v1 import recorded_event_pb2 as _recorded_event_pb2
from milepost.api.telemetry.v1 import telemetry_pb2 as _telemetry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogFilter(_message.Message):
    __slots__ = ("levels", "ranks", "attempts", "streams", "text", "regular_expression", "start_time", "end_time", "first_step", "last_step", "include_superseded")
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REGULAR_EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    levels: _containers.RepeatedScalarFieldContainer[_telemetry_pb2.LogLevel]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    attempts: _containers.RepeatedScalarFieldContainer[int]
    streams: _containers.RepeatedScalarFieldContainer[_telemetry_pb2.LogStream]
    text: str
    regular_expression: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    first_step: int
    last_step: int
    include_superseded: bool
    def __init__(self, levels: _Optional[_Iterable[_Union[_telemetry_pb2.LogLevel, str]]] = ..., ranks: _Optional[_Iterable[int]] = ..., attempts: _Optional[_Iterable[int]] = ..., streams: _Optional[_Iterable[_Union[_telemetry_pb2.LogStream, str]]] = ..., text: _Optional[str] = ..., regular_expression: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., first_step: _Optional[int] = ..., last_step: _Optional[int] = ..., include_superseded: bool = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("cursor", "time", "level", "rank", "stream", "step", "trial", "attempt", "text", "superseded", "logger", "receive_time")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    LOGGER_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    time: _timestamp_pb2.Timestamp
    level: _telemetry_pb2.LogLevel
    rank: int
    stream: _telemetry_pb2.LogStream
    step: int
    trial: int
    attempt: int
    text: str
    superseded: bool
    logger: str
    receive_time: _timestamp_pb2.Timestamp
    def __init__(self, cursor: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., level: _Optional[_Union[_telemetry_pb2.LogLevel, str]] = ..., rank: _Optional[int] = ..., stream: _Optional[_Union[_telemetry_pb2.LogStream, str]] = ..., step: _Optional[int] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., text: _Optional[str] = ..., superseded: bool = ..., logger: _Optional[str] = ..., receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class QueryLogsRequest(_message.Message):
    __slots__ = ("parent", "filter", "page_size", "cursor", "backwards", "as_of", "skip", "min_telemetry_sequence")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    BACKWARDS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    MIN_TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    filter: LogFilter
    page_size: int
    cursor: str
    backwards: bool
    as_of: _recorded_event_pb2.AsOf
    skip: int
    min_telemetry_sequence: int
    def __init__(self, parent: _Optional[str] = ..., filter: _Optional[_Union[LogFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., cursor: _Optional[str] = ..., backwards: bool = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., skip: _Optional[int] = ..., min_telemetry_sequence: _Optional[int] = ...) -> None: ...

class QueryLogsResponse(_message.Message):
    __slots__ = ("entries", "next_cursor", "total_size", "telemetry_sequence", "first_index")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LogEntry]
    next_cursor: str
    total_size: int
    telemetry_sequence: int
    first_index: int
    def __init__(self, entries: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., total_size: _Optional[int] = ..., telemetry_sequence: _Optional[int] = ..., first_index: _Optional[int] = ...) -> None: ...

class StreamLogsRequest(_message.Message):
    __slots__ = ("parent", "filter", "cursor")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    parent: str
    filter: LogFilter
    cursor: str
    def __init__(self, parent: _Optional[str] = ..., filter: _Optional[_Union[LogFilter, _Mapping]] = ..., cursor: _Optional[str] = ...) -> None: ...

class StreamLogsResponse(_message.Message):
    __slots__ = ("entries", "cursor", "telemetry_sequence", "caught_up")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LogEntry]
    cursor: str
    telemetry_sequence: int
    caught_up: bool
    def __init__(self, entries: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ..., cursor: _Optional[str] = ..., telemetry_sequence: _Optional[int] = ..., caught_up: bool = ...) -> None: ...

class ListLogFacetsRequest(_message.Message):
    __slots__ = ("parent", "filter", "as_of")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    parent: str
    filter: LogFilter
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, parent: _Optional[str] = ..., filter: _Optional[_Union[LogFilter, _Mapping]] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class Facet(_message.Message):
    __slots__ = ("value", "count")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    value: str
    count: int
    def __init__(self, value: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ListLogFacetsResponse(_message.Message):
    __slots__ = ("levels", "ranks", "attempts", "streams")
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    levels: _containers.RepeatedCompositeFieldContainer[Facet]
    ranks: _containers.RepeatedCompositeFieldContainer[Facet]
    attempts: _containers.RepeatedCompositeFieldContainer[Facet]
    streams: _containers.RepeatedCompositeFieldContainer[Facet]
    def __init__(self, levels: _Optional[_Iterable[_Union[Facet, _Mapping]]] = ..., ranks: _Optional[_Iterable[_Union[Facet, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[Facet, _Mapping]]] = ..., streams: _Optional[_Iterable[_Union[Facet, _Mapping]]] = ...) -> None: ...

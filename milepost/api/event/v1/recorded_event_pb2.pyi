import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.event.v1 import options_pb2 as _options_pb2
from milepost.api.event.v1 import platform_events_pb2 as _platform_events_pb2
from milepost.api.event.v1 import rule_events_pb2 as _rule_events_pb2
from milepost.api.event.v1 import runtime_events_pb2 as _runtime_events_pb2
from milepost.api.event.v1 import trial_events_pb2 as _trial_events_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordedEvent(_message.Message):
    __slots__ = ("sequence", "subject", "event_id", "type", "event_time", "recorded_time", "actor", "cause", "version", "previous_hash", "hash", "traceparent", "source", "scope", "category", "runtime_id", "trial", "attempt", "ignored", "message", "repeat_count", "last_sequence", "runtime_event", "trial_event", "platform_event", "rule_event")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    RECORDED_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HASH_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REPEAT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_EVENT_FIELD_NUMBER: _ClassVar[int]
    TRIAL_EVENT_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_EVENT_FIELD_NUMBER: _ClassVar[int]
    RULE_EVENT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    subject: str
    event_id: str
    type: str
    event_time: _timestamp_pb2.Timestamp
    recorded_time: _timestamp_pb2.Timestamp
    actor: str
    cause: str
    version: int
    previous_hash: str
    hash: str
    traceparent: str
    source: str
    scope: _options_pb2.Scope
    category: _options_pb2.Category
    runtime_id: str
    trial: int
    attempt: int
    ignored: bool
    message: str
    repeat_count: int
    last_sequence: int
    runtime_event: _runtime_events_pb2.RuntimeEvent
    trial_event: _trial_events_pb2.TrialEvent
    platform_event: _platform_events_pb2.PlatformEvent
    rule_event: _rule_events_pb2.RuleEvent
    def __init__(self, sequence: _Optional[int] = ..., subject: _Optional[str] = ..., event_id: _Optional[str] = ..., type: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., cause: _Optional[str] = ..., version: _Optional[int] = ..., previous_hash: _Optional[str] = ..., hash: _Optional[str] = ..., traceparent: _Optional[str] = ..., source: _Optional[str] = ..., scope: _Optional[_Union[_options_pb2.Scope, str]] = ..., category: _Optional[_Union[_options_pb2.Category, str]] = ..., runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., ignored: bool = ..., message: _Optional[str] = ..., repeat_count: _Optional[int] = ..., last_sequence: _Optional[int] = ..., runtime_event: _Optional[_Union[_runtime_events_pb2.RuntimeEvent, _Mapping]] = ..., trial_event: _Optional[_Union[_trial_events_pb2.TrialEvent, _Mapping]] = ..., platform_event: _Optional[_Union[_platform_events_pb2.PlatformEvent, _Mapping]] = ..., rule_event: _Optional[_Union[_rule_events_pb2.RuleEvent, _Mapping]] = ...) -> None: ...

class AsOf(_message.Message):
    __slots__ = ("events_sequence", "telemetry_sequence", "time")
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    events_sequence: int
    telemetry_sequence: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, events_sequence: _Optional[int] = ..., telemetry_sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

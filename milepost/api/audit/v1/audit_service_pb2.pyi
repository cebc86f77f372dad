from milepost.api.event.v1 import recorded_event_pb2 as _recorded_event_pb2
from milepost.api.runtime.v1 import runtime_service_pb2 as _runtime_service_pb2
from milepost.api.trial.v1 import trial_service_pb2 as _trial_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplayEventsRequest(_message.Message):
    __slots__ = ("parent", "filter", "after_sequence", "until_sequence", "follow")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    parent: str
    filter: _runtime_service_pb2.EventFilter
    after_sequence: int
    until_sequence: int
    follow: bool
    def __init__(self, parent: _Optional[str] = ..., filter: _Optional[_Union[_runtime_service_pb2.EventFilter, _Mapping]] = ..., after_sequence: _Optional[int] = ..., until_sequence: _Optional[int] = ..., follow: bool = ...) -> None: ...

class ReplayEventsResponse(_message.Message):
    __slots__ = ("events", "sequence")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_recorded_event_pb2.RecordedEvent]
    sequence: int
    def __init__(self, events: _Optional[_Iterable[_Union[_recorded_event_pb2.RecordedEvent, _Mapping]]] = ..., sequence: _Optional[int] = ...) -> None: ...

class GetStateAtRequest(_message.Message):
    __slots__ = ("name", "as_of")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    name: str
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, name: _Optional[str] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class GetStateAtResponse(_message.Message):
    __slots__ = ("runtime", "trials", "as_of")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    runtime: _runtime_service_pb2.Runtime
    trials: _containers.RepeatedCompositeFieldContainer[_trial_service_pb2.Trial]
    as_of: _recorded_event_pb2.AsOf
    def __init__(self, runtime: _Optional[_Union[_runtime_service_pb2.Runtime, _Mapping]] = ..., trials: _Optional[_Iterable[_Union[_trial_service_pb2.Trial, _Mapping]]] = ..., as_of: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ...) -> None: ...

class DiffStatesRequest(_message.Message):
    __slots__ = ("name", "to")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    name: str
    to: _recorded_event_pb2.AsOf
    def __init__(self, name: _Optional[str] = ..., to: _Optional[_Union[_recorded_event_pb2.AsOf, _Mapping]] = ..., **kwargs) -> None: ...

class FieldChange(_message.Message):
    __slots__ = ("path", "before", "after")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    path: str
    before: str
    after: str
    def __init__(self, path: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class DiffStatesResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[FieldChange]
    def __init__(self, changes: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ...) -> None: ...

class VerifyLogRequest(_message.Message):
    __slots__ = ("parent", "include_read_models")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_READ_MODELS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    include_read_models: bool
    def __init__(self, parent: _Optional[str] = ..., include_read_models: bool = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("kind", "sequence", "subject", "message", "tolerated")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TOLERATED_FIELD_NUMBER: _ClassVar[int]
    kind: str
    sequence: int
    subject: str
    message: str
    tolerated: bool
    def __init__(self, kind: _Optional[str] = ..., sequence: _Optional[int] = ..., subject: _Optional[str] = ..., message: _Optional[str] = ..., tolerated: bool = ...) -> None: ...

class VerifyLogResponse(_message.Message):
    __slots__ = ("checked_events", "total_events", "finished", "valid", "findings", "message", "digest")
    CHECKED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_EVENTS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    checked_events: int
    total_events: int
    finished: bool
    valid: bool
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    message: str
    digest: str
    def __init__(self, checked_events: _Optional[int] = ..., total_events: _Optional[int] = ..., finished: bool = ..., valid: bool = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., message: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class ExportBundleRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ExportBundleResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

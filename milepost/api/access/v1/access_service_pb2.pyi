from milepost.api.event.v1 import platform_events_pb2 as _platform_events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCallerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCallerResponse(_message.Message):
    __slots__ = ("actor", "role", "verified")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    actor: str
    role: str
    verified: bool
    def __init__(self, actor: _Optional[str] = ..., role: _Optional[str] = ..., verified: bool = ...) -> None: ...

class ObservedAccess(_message.Message):
    __slots__ = ("access", "actor")
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    access: _platform_events_pb2.AccessObserved
    actor: str
    def __init__(self, access: _Optional[_Union[_platform_events_pb2.AccessObserved, _Mapping]] = ..., actor: _Optional[str] = ...) -> None: ...

class ReportAccessRequest(_message.Message):
    __slots__ = ("observed",)
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    observed: _containers.RepeatedCompositeFieldContainer[ObservedAccess]
    def __init__(self, observed: _Optional[_Iterable[_Union[ObservedAccess, _Mapping]]] = ...) -> None: ...

class ReportAccessResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.event.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AccessResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCESS_RESULT_UNSPECIFIED: _ClassVar[AccessResult]
    ACCESS_RESULT_ALLOWED: _ClassVar[AccessResult]
    ACCESS_RESULT_UNAUTHENTICATED: _ClassVar[AccessResult]
    ACCESS_RESULT_PERMISSION_DENIED: _ClassVar[AccessResult]
ACCESS_RESULT_UNSPECIFIED: AccessResult
ACCESS_RESULT_ALLOWED: AccessResult
ACCESS_RESULT_UNAUTHENTICATED: AccessResult
ACCESS_RESULT_PERMISSION_DENIED: AccessResult

class PlatformEvent(_message.Message):
    __slots__ = ("access_observed", "log_regression_accepted")
    ACCESS_OBSERVED_FIELD_NUMBER: _ClassVar[int]
    LOG_REGRESSION_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    access_observed: AccessObserved
    log_regression_accepted: LogRegressionAccepted
    def __init__(self, access_observed: _Optional[_Union[AccessObserved, _Mapping]] = ..., log_regression_accepted: _Optional[_Union[LogRegressionAccepted, _Mapping]] = ...) -> None: ...

class AccessObserved(_message.Message):
    __slots__ = ("result", "operation", "resource", "peer", "count", "first_time")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    result: AccessResult
    operation: str
    resource: str
    peer: str
    count: int
    first_time: _timestamp_pb2.Timestamp
    def __init__(self, result: _Optional[_Union[AccessResult, str]] = ..., operation: _Optional[str] = ..., resource: _Optional[str] = ..., peer: _Optional[str] = ..., count: _Optional[int] = ..., first_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LogRegressionAccepted(_message.Message):
    __slots__ = ("anchored_sequence", "found_sequence", "reason")
    ANCHORED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FOUND_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    anchored_sequence: int
    found_sequence: int
    reason: str
    def __init__(self, anchored_sequence: _Optional[int] = ..., found_sequence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

from milepost.api.training.v1 import training_pb2 as _training_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClaimLaunchRequest(_message.Message):
    __slots__ = ("claim_id", "host")
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    claim_id: str
    host: str
    def __init__(self, claim_id: _Optional[str] = ..., host: _Optional[str] = ...) -> None: ...

class ClaimLaunchResponse(_message.Message):
    __slots__ = ("launch", "environment", "nats_credentials")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    NATS_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    launch: _training_pb2.AttemptLaunch
    environment: _containers.ScalarMap[str, str]
    nats_credentials: str
    def __init__(self, launch: _Optional[_Union[_training_pb2.AttemptLaunch, _Mapping]] = ..., environment: _Optional[_Mapping[str, str]] = ..., nats_credentials: _Optional[str] = ...) -> None: ...

class TakeUpAttemptRequest(_message.Message):
    __slots__ = ("name", "attempt")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    name: str
    attempt: int
    def __init__(self, name: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class TakeUpAttemptResponse(_message.Message):
    __slots__ = ("launch", "nats_credentials")
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    NATS_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    launch: _training_pb2.AttemptLaunch
    nats_credentials: str
    def __init__(self, launch: _Optional[_Union[_training_pb2.AttemptLaunch, _Mapping]] = ..., nats_credentials: _Optional[str] = ...) -> None: ...

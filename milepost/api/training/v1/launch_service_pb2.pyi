from milepost.api.event.v1 import common_pb2 as _common_pb2
from milepost.api.training.v1 import training_pb2 as _training_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
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

class BeginAttemptRequest(_message.Message):
    __slots__ = ("name", "request_id", "process", "dead_attempt", "dead_detail", "step", "total_steps", "snapshot_id", "rejected_snapshot_ids", "appends")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    DEAD_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DEAD_DETAIL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    REJECTED_SNAPSHOT_IDS_FIELD_NUMBER: _ClassVar[int]
    APPENDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    process: _common_pb2.ProcessIdentity
    dead_attempt: int
    dead_detail: str
    step: int
    total_steps: int
    snapshot_id: str
    rejected_snapshot_ids: _containers.RepeatedScalarFieldContainer[str]
    appends: bool
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., process: _Optional[_Union[_common_pb2.ProcessIdentity, _Mapping]] = ..., dead_attempt: _Optional[int] = ..., dead_detail: _Optional[str] = ..., step: _Optional[int] = ..., total_steps: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., rejected_snapshot_ids: _Optional[_Iterable[str]] = ..., appends: bool = ...) -> None: ...

class BeginAttemptResponse(_message.Message):
    __slots__ = ("launch", "nats_credentials")
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    NATS_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    launch: _training_pb2.AttemptLaunch
    nats_credentials: str
    def __init__(self, launch: _Optional[_Union[_training_pb2.AttemptLaunch, _Mapping]] = ..., nats_credentials: _Optional[str] = ...) -> None: ...

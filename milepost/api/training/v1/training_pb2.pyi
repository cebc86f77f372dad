from milepost.api.config.v1 import configuration_pb2 as _configuration_pb2
from milepost.api.event.v1 import common_pb2 as _common_pb2
from milepost.api.event.v1 import trial_events_pb2 as _trial_events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttemptLaunch(_message.Message):
    __slots__ = ("runtime_id", "trial", "attempt", "configuration", "parameters", "snapshot_id", "snapshot_step", "snapshot_uri", "manifest_sha256", "initialize_from_uri", "initialize_from_manifest_sha256", "nats_url", "attempt_directory", "snapshot_storage_uri", "gpus", "code_directory", "traceparent", "nats_credentials_file", "ray_address", "launch_event_id", "origin_step", "skip_batches", "inexact", "steered", "steers", "rung_steps")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUNTIME_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_URI_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    INITIALIZE_FROM_URI_FIELD_NUMBER: _ClassVar[int]
    INITIALIZE_FROM_MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    NATS_URL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STORAGE_URI_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    CODE_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    NATS_CREDENTIALS_FILE_FIELD_NUMBER: _ClassVar[int]
    RAY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_STEP_FIELD_NUMBER: _ClassVar[int]
    SKIP_BATCHES_FIELD_NUMBER: _ClassVar[int]
    INEXACT_FIELD_NUMBER: _ClassVar[int]
    STEERED_FIELD_NUMBER: _ClassVar[int]
    STEERS_FIELD_NUMBER: _ClassVar[int]
    RUNG_STEPS_FIELD_NUMBER: _ClassVar[int]
    runtime_id: str
    trial: int
    attempt: int
    configuration: _configuration_pb2.RuntimeConfiguration
    parameters: _containers.ScalarMap[str, str]
    snapshot_id: str
    snapshot_step: int
    snapshot_uri: str
    manifest_sha256: str
    initialize_from_uri: str
    initialize_from_manifest_sha256: str
    nats_url: str
    attempt_directory: str
    snapshot_storage_uri: str
    gpus: _containers.RepeatedScalarFieldContainer[int]
    code_directory: str
    traceparent: str
    nats_credentials_file: str
    ray_address: str
    launch_event_id: str
    origin_step: int
    skip_batches: int
    inexact: str
    steered: _containers.RepeatedCompositeFieldContainer[SteeredValue]
    steers: _containers.RepeatedCompositeFieldContainer[SteerInstruction]
    rung_steps: int
    def __init__(self, runtime_id: _Optional[str] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., configuration: _Optional[_Union[_configuration_pb2.RuntimeConfiguration, _Mapping]] = ..., parameters: _Optional[_Mapping[str, str]] = ..., snapshot_id: _Optional[str] = ..., snapshot_step: _Optional[int] = ..., snapshot_uri: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., initialize_from_uri: _Optional[str] = ..., initialize_from_manifest_sha256: _Optional[str] = ..., nats_url: _Optional[str] = ..., attempt_directory: _Optional[str] = ..., snapshot_storage_uri: _Optional[str] = ..., gpus: _Optional[_Iterable[int]] = ..., code_directory: _Optional[str] = ..., traceparent: _Optional[str] = ..., nats_credentials_file: _Optional[str] = ..., ray_address: _Optional[str] = ..., launch_event_id: _Optional[str] = ..., origin_step: _Optional[int] = ..., skip_batches: _Optional[int] = ..., inexact: _Optional[str] = ..., steered: _Optional[_Iterable[_Union[SteeredValue, _Mapping]]] = ..., steers: _Optional[_Iterable[_Union[SteerInstruction, _Mapping]]] = ..., rung_steps: _Optional[int] = ...) -> None: ...

class SteeredValue(_message.Message):
    __slots__ = ("step", "name", "value")
    STEP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    step: int
    name: str
    value: str
    def __init__(self, step: _Optional[int] = ..., name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class InstanceReport(_message.Message):
    __slots__ = ("rank", "number", "time_ms", "event", "hello", "stop_proposal", "finished", "snapshot_wanted", "snapshot_part", "values", "group_ended")
    RANK_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STOP_PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_WANTED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_PART_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    GROUP_ENDED_FIELD_NUMBER: _ClassVar[int]
    rank: int
    number: int
    time_ms: int
    event: _trial_events_pb2.TrialEvent
    hello: Hello
    stop_proposal: StopProposal
    finished: Finished
    snapshot_wanted: SnapshotWanted
    snapshot_part: SnapshotPart
    values: RankValues
    group_ended: GroupEnded
    def __init__(self, rank: _Optional[int] = ..., number: _Optional[int] = ..., time_ms: _Optional[int] = ..., event: _Optional[_Union[_trial_events_pb2.TrialEvent, _Mapping]] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., stop_proposal: _Optional[_Union[StopProposal, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., snapshot_wanted: _Optional[_Union[SnapshotWanted, _Mapping]] = ..., snapshot_part: _Optional[_Union[SnapshotPart, _Mapping]] = ..., values: _Optional[_Union[RankValues, _Mapping]] = ..., group_ended: _Optional[_Union[GroupEnded, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("token", "process_id", "host", "stream")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    token: str
    process_id: int
    host: str
    stream: str
    def __init__(self, token: _Optional[str] = ..., process_id: _Optional[int] = ..., host: _Optional[str] = ..., stream: _Optional[str] = ...) -> None: ...

class StopProposal(_message.Message):
    __slots__ = ("step", "hold")
    STEP_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    step: int
    hold: int
    def __init__(self, step: _Optional[int] = ..., hold: _Optional[int] = ...) -> None: ...

class SnapshotWanted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotPart(_message.Message):
    __slots__ = ("snapshot_id", "rank", "failure")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    rank: int
    failure: str
    def __init__(self, snapshot_id: _Optional[str] = ..., rank: _Optional[int] = ..., failure: _Optional[str] = ...) -> None: ...

class RankValues(_message.Message):
    __slots__ = ("rank", "key", "steps", "values", "examples", "complete_step")
    RANK_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_STEP_FIELD_NUMBER: _ClassVar[int]
    rank: int
    key: str
    steps: bytes
    values: bytes
    examples: bytes
    complete_step: int
    def __init__(self, rank: _Optional[int] = ..., key: _Optional[str] = ..., steps: _Optional[bytes] = ..., values: _Optional[bytes] = ..., examples: _Optional[bytes] = ..., complete_step: _Optional[int] = ...) -> None: ...

class GroupEnded(_message.Message):
    __slots__ = ("cause", "detail")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    cause: _common_pb2.ExitCause
    detail: str
    def __init__(self, cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("outcome", "detail", "last_step", "deterministic", "unsent_batch_count", "cause", "exit_code", "signal")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    UNSENT_BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    outcome: _trial_events_pb2.AttemptOutcome
    detail: str
    last_step: int
    deterministic: bool
    unsent_batch_count: int
    cause: _common_pb2.ExitCause
    exit_code: int
    signal: int
    def __init__(self, outcome: _Optional[_Union[_trial_events_pb2.AttemptOutcome, str]] = ..., detail: _Optional[str] = ..., last_step: _Optional[int] = ..., deterministic: bool = ..., unsent_batch_count: _Optional[int] = ..., cause: _Optional[_Union[_common_pb2.ExitCause, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ...) -> None: ...

class InstanceInstruction(_message.Message):
    __slots__ = ("appended_number", "stop", "fenced", "hold", "snapshot", "snapshot_part", "values", "steer", "evaluate", "stacks")
    APPENDED_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_PART_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STEER_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    appended_number: int
    stop: StopInstruction
    fenced: bool
    hold: HoldInstruction
    snapshot: SnapshotInstruction
    snapshot_part: SnapshotPart
    values: RankValues
    steer: SteerInstruction
    evaluate: EvaluateInstruction
    stacks: StacksInstruction
    def __init__(self, appended_number: _Optional[int] = ..., stop: _Optional[_Union[StopInstruction, _Mapping]] = ..., fenced: bool = ..., hold: _Optional[_Union[HoldInstruction, _Mapping]] = ..., snapshot: _Optional[_Union[SnapshotInstruction, _Mapping]] = ..., snapshot_part: _Optional[_Union[SnapshotPart, _Mapping]] = ..., values: _Optional[_Union[RankValues, _Mapping]] = ..., steer: _Optional[_Union[SteerInstruction, _Mapping]] = ..., evaluate: _Optional[_Union[EvaluateInstruction, _Mapping]] = ..., stacks: _Optional[_Union[StacksInstruction, _Mapping]] = ...) -> None: ...

class StacksInstruction(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EvaluateInstruction(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class SteerInstruction(_message.Message):
    __slots__ = ("number", "step", "parameters", "actor")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    number: int
    step: int
    parameters: _containers.ScalarMap[str, str]
    actor: str
    def __init__(self, number: _Optional[int] = ..., step: _Optional[int] = ..., parameters: _Optional[_Mapping[str, str]] = ..., actor: _Optional[str] = ...) -> None: ...

class HoldInstruction(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class SnapshotInstruction(_message.Message):
    __slots__ = ("step", "requested")
    STEP_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    step: int
    requested: bool
    def __init__(self, step: _Optional[int] = ..., requested: bool = ...) -> None: ...

class StopInstruction(_message.Message):
    __slots__ = ("step", "deadline_ms")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    step: int
    deadline_ms: int
    def __init__(self, step: _Optional[int] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

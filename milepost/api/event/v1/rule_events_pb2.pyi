import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.event.v1 import options_pb2 as _options_pb2
from milepost.api.config.v1 import rule_pb2 as _rule_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClearReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLEAR_REASON_UNSPECIFIED: _ClassVar[ClearReason]
    CLEAR_REASON_RECOVERED: _ClassVar[ClearReason]
    CLEAR_REASON_SUPERSEDED: _ClassVar[ClearReason]
    CLEAR_REASON_ENDED: _ClassVar[ClearReason]
    CLEAR_REASON_RULE_CHANGED: _ClassVar[ClearReason]
CLEAR_REASON_UNSPECIFIED: ClearReason
CLEAR_REASON_RECOVERED: ClearReason
CLEAR_REASON_SUPERSEDED: ClearReason
CLEAR_REASON_ENDED: ClearReason
CLEAR_REASON_RULE_CHANGED: ClearReason

class RuleEvent(_message.Message):
    __slots__ = ("rule_set", "rule_disabled", "rule_deleted", "rule_fired", "rule_cleared", "notification_delivered", "notification_failed", "notification_retried", "action_taken", "action_failed")
    RULE_SET_FIELD_NUMBER: _ClassVar[int]
    RULE_DISABLED_FIELD_NUMBER: _ClassVar[int]
    RULE_DELETED_FIELD_NUMBER: _ClassVar[int]
    RULE_FIRED_FIELD_NUMBER: _ClassVar[int]
    RULE_CLEARED_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_DELIVERED_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FAILED_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_RETRIED_FIELD_NUMBER: _ClassVar[int]
    ACTION_TAKEN_FIELD_NUMBER: _ClassVar[int]
    ACTION_FAILED_FIELD_NUMBER: _ClassVar[int]
    rule_set: RuleSet
    rule_disabled: RuleDisabled
    rule_deleted: RuleDeleted
    rule_fired: RuleFired
    rule_cleared: RuleCleared
    notification_delivered: NotificationDelivered
    notification_failed: NotificationFailed
    notification_retried: NotificationRetried
    action_taken: ActionTaken
    action_failed: ActionFailed
    def __init__(self, rule_set: _Optional[_Union[RuleSet, _Mapping]] = ..., rule_disabled: _Optional[_Union[RuleDisabled, _Mapping]] = ..., rule_deleted: _Optional[_Union[RuleDeleted, _Mapping]] = ..., rule_fired: _Optional[_Union[RuleFired, _Mapping]] = ..., rule_cleared: _Optional[_Union[RuleCleared, _Mapping]] = ..., notification_delivered: _Optional[_Union[NotificationDelivered, _Mapping]] = ..., notification_failed: _Optional[_Union[NotificationFailed, _Mapping]] = ..., notification_retried: _Optional[_Union[NotificationRetried, _Mapping]] = ..., action_taken: _Optional[_Union[ActionTaken, _Mapping]] = ..., action_failed: _Optional[_Union[ActionFailed, _Mapping]] = ...) -> None: ...

class RuleSet(_message.Message):
    __slots__ = ("rule_id", "revision", "rule", "request_id")
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    revision: int
    rule: _rule_pb2.Rule
    request_id: str
    def __init__(self, rule_id: _Optional[str] = ..., revision: _Optional[int] = ..., rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class RuleDisabled(_message.Message):
    __slots__ = ("rule_id",)
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    def __init__(self, rule_id: _Optional[str] = ...) -> None: ...

class RuleDeleted(_message.Message):
    __slots__ = ("rule_id",)
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    def __init__(self, rule_id: _Optional[str] = ...) -> None: ...

class RuleFired(_message.Message):
    __slots__ = ("firing_id", "rule_id", "revision", "rule_name", "severity", "trial", "attempt", "subject", "step", "value", "threshold", "window", "onset_time", "onset_step", "occur_time", "message", "events_sequence", "telemetry_sequence", "watching_only", "momentary")
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RULE_NAME_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ONSET_TIME_FIELD_NUMBER: _ClassVar[int]
    ONSET_STEP_FIELD_NUMBER: _ClassVar[int]
    OCCUR_TIME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WATCHING_ONLY_FIELD_NUMBER: _ClassVar[int]
    MOMENTARY_FIELD_NUMBER: _ClassVar[int]
    firing_id: str
    rule_id: str
    revision: int
    rule_name: str
    severity: _rule_pb2.Severity
    trial: int
    attempt: int
    subject: str
    step: int
    value: float
    threshold: float
    window: int
    onset_time: _timestamp_pb2.Timestamp
    onset_step: int
    occur_time: _timestamp_pb2.Timestamp
    message: str
    events_sequence: int
    telemetry_sequence: int
    watching_only: bool
    momentary: bool
    def __init__(self, firing_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., revision: _Optional[int] = ..., rule_name: _Optional[str] = ..., severity: _Optional[_Union[_rule_pb2.Severity, str]] = ..., trial: _Optional[int] = ..., attempt: _Optional[int] = ..., subject: _Optional[str] = ..., step: _Optional[int] = ..., value: _Optional[float] = ..., threshold: _Optional[float] = ..., window: _Optional[int] = ..., onset_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., onset_step: _Optional[int] = ..., occur_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[str] = ..., events_sequence: _Optional[int] = ..., telemetry_sequence: _Optional[int] = ..., watching_only: bool = ..., momentary: bool = ...) -> None: ...

class RuleCleared(_message.Message):
    __slots__ = ("firing_id", "rule_id", "trial", "reason", "step", "occur_time")
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    OCCUR_TIME_FIELD_NUMBER: _ClassVar[int]
    firing_id: str
    rule_id: str
    trial: int
    reason: ClearReason
    step: int
    occur_time: _timestamp_pb2.Timestamp
    def __init__(self, firing_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., trial: _Optional[int] = ..., reason: _Optional[_Union[ClearReason, str]] = ..., step: _Optional[int] = ..., occur_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NotificationDelivered(_message.Message):
    __slots__ = ("notification_id", "firing_id", "rule_id", "destination", "attempt_count", "status_code", "receipt", "cleared")
    NOTIFICATION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    notification_id: str
    firing_id: str
    rule_id: str
    destination: str
    attempt_count: int
    status_code: int
    receipt: str
    cleared: bool
    def __init__(self, notification_id: _Optional[str] = ..., firing_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., destination: _Optional[str] = ..., attempt_count: _Optional[int] = ..., status_code: _Optional[int] = ..., receipt: _Optional[str] = ..., cleared: bool = ...) -> None: ...

class NotificationFailed(_message.Message):
    __slots__ = ("notification_id", "firing_id", "rule_id", "destination", "attempt_count", "status_code", "detail", "cleared")
    NOTIFICATION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    notification_id: str
    firing_id: str
    rule_id: str
    destination: str
    attempt_count: int
    status_code: int
    detail: str
    cleared: bool
    def __init__(self, notification_id: _Optional[str] = ..., firing_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., destination: _Optional[str] = ..., attempt_count: _Optional[int] = ..., status_code: _Optional[int] = ..., detail: _Optional[str] = ..., cleared: bool = ...) -> None: ...

class NotificationRetried(_message.Message):
    __slots__ = ("notification_id", "firing_id", "rule_id", "destination")
    NOTIFICATION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    notification_id: str
    firing_id: str
    rule_id: str
    destination: str
    def __init__(self, notification_id: _Optional[str] = ..., firing_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., destination: _Optional[str] = ...) -> None: ...

class ActionTaken(_message.Message):
    __slots__ = ("action_id", "firing_id", "rule_id", "number", "kind", "trial", "owner", "attempt_count", "detail", "runtime")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    firing_id: str
    rule_id: str
    number: int
    kind: str
    trial: int
    owner: str
    attempt_count: int
    detail: str
    runtime: str
    def __init__(self, action_id: _Optional[str] = ..., firing_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., number: _Optional[int] = ..., kind: _Optional[str] = ..., trial: _Optional[int] = ..., owner: _Optional[str] = ..., attempt_count: _Optional[int] = ..., detail: _Optional[str] = ..., runtime: _Optional[str] = ...) -> None: ...

class ActionFailed(_message.Message):
    __slots__ = ("action_id", "firing_id", "rule_id", "number", "kind", "trial", "owner", "attempt_count", "reason", "detail")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    firing_id: str
    rule_id: str
    number: int
    kind: str
    trial: int
    owner: str
    attempt_count: int
    reason: str
    detail: str
    def __init__(self, action_id: _Optional[str] = ..., firing_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., number: _Optional[int] = ..., kind: _Optional[str] = ..., trial: _Optional[int] = ..., owner: _Optional[str] = ..., attempt_count: _Optional[int] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milepost.api.event.v1 import rule_events_pb2 as _rule_events_pb2
from milepost.api.config.v1 import rule_pb2 as _rule_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ActionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_STATE_UNSPECIFIED: _ClassVar[ActionState]
    ACTION_STATE_PENDING: _ClassVar[ActionState]
    ACTION_STATE_TAKEN: _ClassVar[ActionState]
    ACTION_STATE_FAILED: _ClassVar[ActionState]

class NotificationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOTIFICATION_STATE_UNSPECIFIED: _ClassVar[NotificationState]
    NOTIFICATION_STATE_PENDING: _ClassVar[NotificationState]
    NOTIFICATION_STATE_DELIVERED: _ClassVar[NotificationState]
    NOTIFICATION_STATE_FAILED: _ClassVar[NotificationState]
ACTION_STATE_UNSPECIFIED: ActionState
ACTION_STATE_PENDING: ActionState
ACTION_STATE_TAKEN: ActionState
ACTION_STATE_FAILED: ActionState
NOTIFICATION_STATE_UNSPECIFIED: NotificationState
NOTIFICATION_STATE_PENDING: NotificationState
NOTIFICATION_STATE_DELIVERED: NotificationState
NOTIFICATION_STATE_FAILED: NotificationState

class CreateRuleRequest(_message.Message):
    __slots__ = ("rule_id", "rule", "request_id", "validate_only")
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    rule: _rule_pb2.Rule
    request_id: str
    validate_only: bool
    def __init__(self, rule_id: _Optional[str] = ..., rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class CreateRuleResponse(_message.Message):
    __slots__ = ("rule", "warnings")
    RULE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    rule: _rule_pb2.Rule
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class GetRuleRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetRuleResponse(_message.Message):
    __slots__ = ("rule",)
    RULE_FIELD_NUMBER: _ClassVar[int]
    rule: _rule_pb2.Rule
    def __init__(self, rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ...) -> None: ...

class ListRulesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "runtime")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    runtime: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., runtime: _Optional[str] = ...) -> None: ...

class ListRulesResponse(_message.Message):
    __slots__ = ("rules", "next_page_token", "total_size")
    RULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[_rule_pb2.Rule]
    next_page_token: str
    total_size: int
    def __init__(self, rules: _Optional[_Iterable[_Union[_rule_pb2.Rule, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

class UpdateRuleRequest(_message.Message):
    __slots__ = ("name", "rule", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    rule: _rule_pb2.Rule
    etag: str
    def __init__(self, name: _Optional[str] = ..., rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class UpdateRuleResponse(_message.Message):
    __slots__ = ("rule", "warnings")
    RULE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    rule: _rule_pb2.Rule
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class DisableRuleRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class DisableRuleResponse(_message.Message):
    __slots__ = ("rule",)
    RULE_FIELD_NUMBER: _ClassVar[int]
    rule: _rule_pb2.Rule
    def __init__(self, rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ...) -> None: ...

class DeleteRuleRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteRuleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TestRuleRequest(_message.Message):
    __slots__ = ("name", "rule", "start_time", "max_runs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    rule: _rule_pb2.Rule
    start_time: _timestamp_pb2.Timestamp
    max_runs: int
    def __init__(self, name: _Optional[str] = ..., rule: _Optional[_Union[_rule_pb2.Rule, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_runs: _Optional[int] = ...) -> None: ...

class TestedRun(_message.Message):
    __slots__ = ("runtime", "display_name", "firings", "failed", "lead_seconds", "point_count")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FIRINGS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    LEAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    runtime: str
    display_name: str
    firings: _containers.RepeatedCompositeFieldContainer[_rule_events_pb2.RuleFired]
    failed: bool
    lead_seconds: float
    point_count: int
    def __init__(self, runtime: _Optional[str] = ..., display_name: _Optional[str] = ..., firings: _Optional[_Iterable[_Union[_rule_events_pb2.RuleFired, _Mapping]]] = ..., failed: bool = ..., lead_seconds: _Optional[float] = ..., point_count: _Optional[int] = ...) -> None: ...

class TestSummary(_message.Message):
    __slots__ = ("run_count", "fired_run_count", "firing_count", "failed_run_count", "foreseen_count", "missed_count", "false_alarm_count", "median_lead_seconds", "point_count", "truncated")
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRED_RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRING_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    FORESEEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FALSE_ALARM_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_LEAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    run_count: int
    fired_run_count: int
    firing_count: int
    failed_run_count: int
    foreseen_count: int
    missed_count: int
    false_alarm_count: int
    median_lead_seconds: float
    point_count: int
    truncated: bool
    def __init__(self, run_count: _Optional[int] = ..., fired_run_count: _Optional[int] = ..., firing_count: _Optional[int] = ..., failed_run_count: _Optional[int] = ..., foreseen_count: _Optional[int] = ..., missed_count: _Optional[int] = ..., false_alarm_count: _Optional[int] = ..., median_lead_seconds: _Optional[float] = ..., point_count: _Optional[int] = ..., truncated: bool = ...) -> None: ...

class TestRuleResponse(_message.Message):
    __slots__ = ("run", "summary")
    RUN_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    run: TestedRun
    summary: TestSummary
    def __init__(self, run: _Optional[_Union[TestedRun, _Mapping]] = ..., summary: _Optional[_Union[TestSummary, _Mapping]] = ...) -> None: ...

class ListFiringsRequest(_message.Message):
    __slots__ = ("parent", "runtime", "open_only", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    OPEN_ONLY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    runtime: str
    open_only: bool
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., runtime: _Optional[str] = ..., open_only: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class Firing(_message.Message):
    __slots__ = ("runtime", "fired", "record_time", "event_id", "sequence", "cleared", "actions")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    FIRED_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    runtime: str
    fired: _rule_events_pb2.RuleFired
    record_time: _timestamp_pb2.Timestamp
    event_id: str
    sequence: int
    cleared: _rule_events_pb2.RuleCleared
    actions: _containers.RepeatedCompositeFieldContainer[FiringAction]
    def __init__(self, runtime: _Optional[str] = ..., fired: _Optional[_Union[_rule_events_pb2.RuleFired, _Mapping]] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_id: _Optional[str] = ..., sequence: _Optional[int] = ..., cleared: _Optional[_Union[_rule_events_pb2.RuleCleared, _Mapping]] = ..., actions: _Optional[_Iterable[_Union[FiringAction, _Mapping]]] = ...) -> None: ...

class FiringAction(_message.Message):
    __slots__ = ("action_id", "number", "kind", "state", "owner", "attempt_count", "detail", "reason", "runtime")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    number: int
    kind: str
    state: ActionState
    owner: str
    attempt_count: int
    detail: str
    reason: str
    runtime: str
    def __init__(self, action_id: _Optional[str] = ..., number: _Optional[int] = ..., kind: _Optional[str] = ..., state: _Optional[_Union[ActionState, str]] = ..., owner: _Optional[str] = ..., attempt_count: _Optional[int] = ..., detail: _Optional[str] = ..., reason: _Optional[str] = ..., runtime: _Optional[str] = ...) -> None: ...

class ListFiringsResponse(_message.Message):
    __slots__ = ("firings", "next_page_token", "sequence")
    FIRINGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    firings: _containers.RepeatedCompositeFieldContainer[Firing]
    next_page_token: str
    sequence: int
    def __init__(self, firings: _Optional[_Iterable[_Union[Firing, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class WatchFiringsRequest(_message.Message):
    __slots__ = ("after_sequence",)
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    def __init__(self, after_sequence: _Optional[int] = ...) -> None: ...

class OpenFirings(_message.Message):
    __slots__ = ("name", "count", "firings", "sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRINGS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    firings: _containers.RepeatedCompositeFieldContainer[Firing]
    sequence: int
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ..., firings: _Optional[_Iterable[_Union[Firing, _Mapping]]] = ..., sequence: _Optional[int] = ...) -> None: ...

class WatchFiringsResponse(_message.Message):
    __slots__ = ("open", "sequence", "caught_up")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    open: OpenFirings
    sequence: int
    caught_up: bool
    def __init__(self, open: _Optional[_Union[OpenFirings, _Mapping]] = ..., sequence: _Optional[int] = ..., caught_up: bool = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("name", "state", "runtime", "rule", "firing_id", "destination", "cleared", "title", "create_time", "update_time", "attempt_count", "status_code", "detail", "sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    FIRING_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: NotificationState
    runtime: str
    rule: str
    firing_id: str
    destination: str
    cleared: bool
    title: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    attempt_count: int
    status_code: int
    detail: str
    sequence: int
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[NotificationState, str]] = ..., runtime: _Optional[str] = ..., rule: _Optional[str] = ..., firing_id: _Optional[str] = ..., destination: _Optional[str] = ..., cleared: bool = ..., title: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt_count: _Optional[int] = ..., status_code: _Optional[int] = ..., detail: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class ListNotificationsRequest(_message.Message):
    __slots__ = ("parent", "state", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    state: NotificationState
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., state: _Optional[_Union[NotificationState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNotificationsResponse(_message.Message):
    __slots__ = ("notifications", "next_page_token", "sequence")
    NOTIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    notifications: _containers.RepeatedCompositeFieldContainer[Notification]
    next_page_token: str
    sequence: int
    def __init__(self, notifications: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class RetryNotificationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RetryNotificationResponse(_message.Message):
    __slots__ = ("notification",)
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    notification: Notification
    def __init__(self, notification: _Optional[_Union[Notification, _Mapping]] = ...) -> None: ...

class Destination(_message.Message):
    __slots__ = ("name", "kind", "signed", "pending_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    signed: bool
    pending_count: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., signed: bool = ..., pending_count: _Optional[int] = ...) -> None: ...

class ListDestinationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDestinationsResponse(_message.Message):
    __slots__ = ("destinations", "problem")
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    destinations: _containers.RepeatedCompositeFieldContainer[Destination]
    problem: str
    def __init__(self, destinations: _Optional[_Iterable[_Union[Destination, _Mapping]]] = ..., problem: _Optional[str] = ...) -> None: ...

class TestDestinationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class TestDestinationResponse(_message.Message):
    __slots__ = ("delivered", "status_code", "detail")
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    delivered: bool
    status_code: int
    detail: str
    def __init__(self, delivered: bool = ..., status_code: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

"""What is to be told, and who was: a fold of the rules' chains, in the order of the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime

from milepost.api.config.v1.rule_pb2 import Rule
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from services.rules.deliveries.messages import Notification, notification_id, title

# Notifications that can be listed of each state that is an end, the newest ones; all of them are in the log.
MAX_LISTED = 10_000
PENDING = api.NOTIFICATION_STATE_PENDING
DELIVERED = api.NOTIFICATION_STATE_DELIVERED
FAILED = api.NOTIFICATION_STATE_FAILED


class Outbox:
    """Notifications by id: those that nobody has, those that arrived, and those that were given up.

    Each destination of a rule is told of a firing once, and of its end once, if it was to be told of its beginning. Which
    destinations these are is what the rule said when it fired.
    """

    def __init__(self) -> None:
        self.pending: dict[str, Notification] = {}
        # Dead letters: what would be sent again.
        self._dead: dict[str, Notification] = {}
        self._records: dict[api.NotificationState, OrderedDict[str, api.Notification]] = {
            state: OrderedDict() for state in (PENDING, DELIVERED, FAILED)
        }
        # Of a firing that is open: what was told of it.
        self._open: dict[str, tuple[Notification, ...]] = {}

    # --- reading

    def notifications(self) -> Iterator[api.Notification]:
        """Yield what is known, newest first by its last fact."""
        everything = (record for records in self._records.values() for record in records.values())
        return iter(sorted(everything, key=lambda record: (record.sequence, record.name), reverse=True))

    def get(self, told_id: str) -> api.Notification | None:
        """Find a notification by its id."""
        return next((records[told_id] for records in self._records.values() if told_id in records), None)

    def waiting_for(self, destination: str) -> int:
        """Count what a destination is still to be told."""
        return sum(told.destination == destination for told in self.pending.values())

    # --- folding

    def fired(
        self, runtime_id: str, fired: facts.RuleFired, rule: Rule | None, time: datetime, event_id: str, sequence: int
    ) -> None:
        """A rule fired; `rule` is what it said then."""
        if fired.watching_only or rule is None or fired.firing_id in self._open:
            return
        told = tuple(
            Notification(notification_id(fired.firing_id, name, False), name, runtime_id, fired, None, time, event_id)
            for name in _destinations(rule)
        )
        if told and not fired.momentary:
            self._open[fired.firing_id] = told
        for one in told:
            if self.get(one.id) is None:
                self._put(one, sequence)

    def cleared(self, cleared: facts.RuleCleared, time: datetime, event_id: str, sequence: int) -> None:
        """A firing is over."""
        for one in self._open.pop(cleared.firing_id, ()):
            told = notification_id(cleared.firing_id, one.destination, True)
            over = Notification(told, one.destination, one.runtime_id, one.fired, cleared, time, event_id)
            if self.get(told) is None:
                self._put(over, sequence)

    def delivered(self, fact: facts.NotificationDelivered, time: datetime, sequence: int) -> None:
        """Somebody has it."""
        if self._end(fact.notification_id, DELIVERED, time, sequence) is not None:
            record = self._records[DELIVERED][fact.notification_id]
            record.attempt_count, record.status_code = fact.attempt_count, fact.status_code
            record.detail = fact.receipt
            self._dead.pop(fact.notification_id, None)

    def failed(self, fact: facts.NotificationFailed, time: datetime, sequence: int) -> None:
        """It was given up."""
        told = self._end(fact.notification_id, FAILED, time, sequence)
        if told is not None:
            record = self._records[FAILED][fact.notification_id]
            record.attempt_count, record.status_code = fact.attempt_count, fact.status_code
            record.detail = fact.detail
            self._dead[told.id] = told

    def retried(self, fact: facts.NotificationRetried, time: datetime, event_id: str, sequence: int) -> None:
        """Somebody wants a dead letter sent again: for another day."""
        told = self._dead.pop(fact.notification_id, None)
        if told is None:
            return
        del self._records[FAILED][told.id]
        again = Notification(told.id, told.destination, told.runtime_id, told.fired, told.cleared, time, event_id)
        self._put(again, sequence)

    def _put(self, told: Notification, sequence: int) -> None:
        self.pending[told.id] = told
        record = api.Notification(
            name=f"notifications/{told.id}",
            state=PENDING,
            runtime=f"runtimes/{told.runtime_id}",
            rule=f"rules/{told.fired.rule_id}",
            firing_id=told.fired.firing_id,
            destination=told.destination,
            cleared=told.cleared is not None,
            title=title(told),
            sequence=sequence,
        )
        record.create_time.FromDatetime(told.time)
        record.update_time.FromDatetime(told.time)
        self._records[PENDING][told.id] = record

    def _end(self, told_id: str, state: api.NotificationState, time: datetime, sequence: int) -> Notification | None:
        told = self.pending.pop(told_id, None)
        if told is None:
            return None
        record = self._records[PENDING].pop(told_id)
        record.state, record.sequence = state, sequence
        record.update_time.FromDatetime(time)
        ended = self._records[state]
        ended[told_id] = record
        if len(ended) > MAX_LISTED:
            self._dead.pop(ended.popitem(last=False)[0], None)
        return told


def _destinations(rule: Rule) -> Iterable[str]:
    named = (action.notify.destination for action in rule.actions if action.WhichOneof("kind") == "notify")
    return dict.fromkeys(named)

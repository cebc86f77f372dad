"""What can be asked of notifications and destinations, and what of them can be told to be done again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime

from milepost import names
from milepost.api.config.v1 import rule_pb2 as config
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.domain.firings import RetryNotification
from milepost.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Violation
from milepost.ids import new_runtime_id
from services.pages import page_size, read_token, write_token
from services.rpc.limits import fitting
from services.rules.deliveries.destinations import Destination, Destinations
from services.rules.deliveries.messages import Notification, notification_id
from services.rules.deliveries.transports import Outcome
from services.rules.ledger import Ledger

DEFAULT_PAGE = 100
MAX_PAGE = 1_000
MAX_TESTS_AT_ONCE = 4
TEST_SECONDS = 30.0
_NOTIFICATION = re.compile(r"notifications/([0-9a-f]{32})")
_DESTINATION = re.compile(r"destinations/([a-z0-9][a-z0-9_-]{0,62})")


class Notifications:
    """The part of RuleService that is about who was told."""

    def __init__(
        self,
        ledger: Ledger,
        destinations: Destinations,
        send: Callable[[Notification, Destination], Outcome],
        tried: Callable[[Notification], tuple[int, Outcome | None]],
    ) -> None:
        self._ledger = ledger
        self._tried = tried
        self._destinations = destinations
        self._send = send
        self._testing = 0

    def unknown(self, rule: config.Rule) -> list[Violation]:
        """Name the destinations of a rule that the operator's file does not have."""
        known = self._destinations.read()
        found = ", ".join(sorted(known)) or "none; the operator lists them in a file, docs/deliveries.md says how"
        return [
            Violation(
                f"rule.actions[{at}].notify.destination", f"there is no destination {name[:80]!r}; known: {found}"
            )
            for at, action in enumerate(rule.actions)
            if action.WhichOneof("kind") == "notify" and (name := action.notify.destination) not in known
        ]

    def list(self, request: api.ListNotificationsRequest, rule_id: str) -> api.ListNotificationsResponse:
        """List them, newest first. `rule_id`: empty for all.

        Raises:
            InvalidArgument: the page, or the state.
        """
        violations: list[Violation] = []
        if request.state not in api.NotificationState.values():
            violations.append(Violation("state", "must be one of PENDING, DELIVERED, FAILED"))
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, violations)
        query = [rule_id, request.state]
        token = read_token(request.page_token, query, violations)
        if violations:
            raise InvalidArgument(violations)
        behind = (int(token[0]), str(token[1])) if token is not None else (0, "")
        matching = [
            record
            for record in self._ledger.outbox.notifications()
            if (not rule_id or record.rule == f"rules/{rule_id}")
            and (not request.state or record.state == request.state)
            and (token is None or (record.sequence, record.name) < behind)
        ]
        shown = fitting([self._with_tries(record) for record in matching[:size]])
        more = len(shown) < len(matching)
        next_token = write_token(query, [shown[-1].sequence, shown[-1].name]) if more else ""
        return api.ListNotificationsResponse(
            notifications=shown, next_page_token=next_token, sequence=self._ledger.sequence
        )

    def _with_tries(self, record: api.Notification) -> api.Notification:
        """Add to a pending one how the tries until now have ended."""
        told = self._ledger.outbox.pending.get(record.name.removeprefix("notifications/"))
        made, last = self._tried(told) if told is not None else (0, None)
        if last is None:
            return record
        shown = api.Notification()
        shown.CopyFrom(record)
        shown.attempt_count, shown.status_code, shown.detail = made, last.status_code, last.detail
        return shown

    async def retry(self, request: api.RetryNotificationRequest, actor: str) -> api.RetryNotificationResponse:
        """Send a dead letter again.

        Raises:
            NotFound: there is no such notification.
            FailedPrecondition: it was delivered.
        """
        found = _NOTIFICATION.fullmatch(request.name)
        if found is None:
            raise names.refusal("name", request.name, "notifications/{notification_id}")
        record = self._ledger.outbox.get(found[1])
        if record is None:
            raise NotFound(f"there is no notification {found[1]}", reason="NOTIFICATION_NOT_FOUND")
        if record.state == api.NOTIFICATION_STATE_DELIVERED:
            raise FailedPrecondition(f"{record.destination} has it already", reason="NOTIFICATION_DELIVERED")
        retried = facts.NotificationRetried(
            notification_id=found[1],
            firing_id=record.firing_id,
            rule_id=record.rule.removeprefix("rules/"),
            destination=record.destination,
        )
        runtime_id = record.runtime.removeprefix("runtimes/")
        await self._ledger.record(runtime_id, RetryNotification(retried), actor=actor)
        await self._ledger.settled(runtime_id)
        now = self._ledger.outbox.get(found[1])
        return api.RetryNotificationResponse(notification=now if now is not None else record)

    def destinations(self) -> api.ListDestinationsResponse:
        """List where firings may be told, by name."""
        known = self._destinations.read()
        return api.ListDestinationsResponse(
            destinations=[
                api.Destination(
                    name=f"destinations/{name}",
                    kind=known[name].kind,
                    signed=bool(known[name].secret),
                    pending_count=self._ledger.outbox.waiting_for(name),
                )
                for name in sorted(known)
            ],
            problem=self._destinations.problem,
        )

    async def test(self, request: api.TestDestinationRequest) -> api.TestDestinationResponse:
        """Tell a destination something made up, once.

        Raises:
            NotFound: there is no such destination.
            ResourceExhausted: others are being tested.
        """
        found = _DESTINATION.fullmatch(request.name)
        if found is None:
            raise names.refusal("name", request.name, "destinations/{destination}")
        to = self._destinations.read().get(found[1])
        if to is None:
            raise NotFound(f"there is no destination {found[1]}", reason="DESTINATION_NOT_FOUND")
        if self._testing >= MAX_TESTS_AT_ONCE:
            raise ResourceExhausted("other destinations are being tested; try again", reason="TOO_MANY_TESTS")
        self._testing += 1
        trying = asyncio.create_task(asyncio.to_thread(self._send, _made_up(to.name), to))
        # A receiver that takes its time keeps its place.
        trying.add_done_callback(self._tested)
        try:
            async with asyncio.timeout(TEST_SECONDS):
                outcome = await asyncio.shield(trying)
        except TimeoutError:
            outcome = Outcome(False, detail=f"the receiver was not done within {TEST_SECONDS:.0f} s")
        return api.TestDestinationResponse(
            delivered=outcome.delivered, status_code=outcome.status_code, detail=outcome.detail
        )

    def _tested(self, _: object) -> None:
        self._testing -= 1


def _made_up(destination: str) -> Notification:
    runtime_id = new_runtime_id()
    fired = facts.RuleFired(
        firing_id="0" * 32, rule_id="test", rule_name="a test", severity=config.SEVERITY_INFO,
        message="somebody tests whether this destination can be told; nothing has happened",
    )  # fmt: skip
    now = datetime.now(UTC)
    fired.occur_time.FromDatetime(now)
    told_id = notification_id(f"test {runtime_id}", destination, False)
    return Notification(told_id, destination, runtime_id, fired, None, now, "")

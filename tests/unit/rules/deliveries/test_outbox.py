"""What is still to be told, folded from facts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from milepost.api.config.v1.rule_pb2 import Rule
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from services.rules.deliveries import outbox as module
from services.rules.deliveries.messages import notification_id
from services.rules.deliveries.outbox import Outbox
from tests.unit.rules.deliveries.samples import NOW, RUNTIME, fired, rule


def with_firing(*destinations: str, **fields: Any) -> Outbox:
    outbox = Outbox()
    outbox.fired(RUNTIME, fired(**fields), rule(*destinations), NOW, "ev-1", 10)
    return outbox


def states(outbox: Outbox) -> dict[str, int]:
    return {one.destination + "-over" * one.cleared: one.state for one in outbox.notifications()}


def test_each_destination_is_told_once_of_both_ends() -> None:
    outbox = with_firing("oncall", "chat", "oncall")
    assert states(outbox) == {"oncall": module.PENDING, "chat": module.PENDING}
    outbox.fired(RUNTIME, fired(), rule("oncall"), NOW, "ev-2", 11)
    assert len(outbox.pending) == 2
    for _ in range(2):
        outbox.cleared(facts.RuleCleared(firing_id=fired().firing_id), NOW, "ev-3", 12)
    assert sorted(states(outbox)) == ["chat", "chat-over", "oncall", "oncall-over"]
    assert outbox.waiting_for("oncall") == 2


def test_nobody_is_told_of_what_is_only_watched_or_has_no_destination() -> None:
    assert with_firing("oncall", watching_only=True).pending == {}
    assert with_firing().pending == {}
    outbox = Outbox()
    outbox.fired(RUNTIME, fired(), None, NOW, "ev-1", 10)
    outbox.fired(RUNTIME, fired(2), Rule(), NOW, "ev-1", 10)
    assert outbox.pending == {}


def test_a_dead_letter_is_tried_for_another_day() -> None:
    outbox = with_firing("oncall")
    told = notification_id(fired().firing_id, "oncall", False)
    outbox.failed(facts.NotificationFailed(notification_id=told, attempt_count=12, detail="no answer"), NOW, 11)
    record = outbox.get(told)
    assert record is not None
    assert (record.state, record.attempt_count, record.detail) == (api.NOTIFICATION_STATE_FAILED, 12, "no answer")
    assert outbox.pending == {}
    later = NOW + timedelta(days=3)
    outbox.retried(facts.NotificationRetried(notification_id=told), later, "ev-9", 12)
    assert outbox.pending[told].time == later
    assert states(outbox) == {"oncall": module.PENDING}
    outbox.delivered(facts.NotificationDelivered(notification_id=told, receipt="thanks"), later, 13)
    assert outbox.pending == {}
    outbox.retried(facts.NotificationRetried(notification_id=told), later, "ev-10", 14)
    assert outbox.pending == {}, "what has arrived is not sent again"


@given(st.lists(st.tuples(st.sampled_from(["fired", "cleared", "delivered", "failed", "retried"]), st.integers(1, 3))))
def test_whatever_order_facts_have_a_notification_is_in_one_state(steps: list[tuple[str, int]]) -> None:
    outbox = Outbox()
    for sequence, (step, number) in enumerate(steps):
        told = notification_id(fired(number).firing_id, "oncall", False)
        if step == "fired":
            outbox.fired(RUNTIME, fired(number), rule("oncall"), NOW, "ev", sequence)
        elif step == "cleared":
            outbox.cleared(facts.RuleCleared(firing_id=fired(number).firing_id), NOW, "ev", sequence)
        elif step == "delivered":
            outbox.delivered(facts.NotificationDelivered(notification_id=told), NOW, sequence)
        elif step == "failed":
            outbox.failed(facts.NotificationFailed(notification_id=told), NOW, sequence)
        else:
            outbox.retried(facts.NotificationRetried(notification_id=told), NOW, "ev", sequence)
        records = list(outbox.notifications())
        assert len({record.name for record in records}) == len(records)
        waiting = {record.name for record in records if record.state == module.PENDING}
        assert waiting == {f"notifications/{one}" for one in outbox.pending}

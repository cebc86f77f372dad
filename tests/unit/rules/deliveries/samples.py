"""Firings for the tests of deliveries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from milepost.api.config.v1 import rule_pb2 as config
from milepost.api.event.v1 import rule_events_pb2 as facts
from services.rules.deliveries.messages import Notification, notification_id

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
RUNTIME = "rt-06h2g5jp5ttfj8s45sl917e3ic"


def fired(number: int = 1, **fields: Any) -> facts.RuleFired:
    given: dict[str, Any] = {"message": "train/loss is 8.1, above 5, at step 1,200", "step": 1200, **fields}
    return facts.RuleFired(
        firing_id=f"{number:032x}", rule_id="loss", rule_name="loss <too> high", trial=1,
        severity=config.SEVERITY_CRITICAL, **given,
    )  # fmt: skip


def told(number: int = 1, to: str = "oncall", time: datetime = NOW, cleared: bool = False) -> Notification:
    over = facts.RuleCleared(firing_id=f"{number:032x}", rule_id="loss", trial=1) if cleared else None
    return Notification(notification_id(f"{number:032x}", to, cleared), to, RUNTIME, fired(number), over, time, "ev-1")


def rule(*destinations: str) -> config.Rule:
    return config.Rule(actions=[config.Action(notify=config.Notify(destination=name)) for name in destinations])

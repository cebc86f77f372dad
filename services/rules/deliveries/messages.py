"""What is said of a firing: a CloudEvent, or one line for a chat."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from milepost import protojson
from milepost.api.config.v1 import rule_pb2 as config
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.security.terminal import one_line

FIRED = "milepost.rule.rule_fired.v1"
CLEARED = "milepost.rule.rule_cleared.v1"
_MARKS = {config.SEVERITY_INFO: "info", config.SEVERITY_CRITICAL: "critical"}


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing to tell to one destination."""

    # 32 hex digits: the same at each try.
    id: str
    destination: str
    runtime_id: str
    fired: facts.RuleFired
    # Unset: it tells of the beginning.
    cleared: facts.RuleCleared | None
    # When its fact was recorded.
    time: datetime
    # Events behind it: that of the fact.
    cause: str


def notification_id(firing_id: str, destination: str, cleared: bool) -> str:
    """Return the id of what one destination is told of one end of a firing. 32 hex digits."""
    text = f"{firing_id}\n{destination}\n{'cleared' if cleared else 'fired'}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cloud_event(told: Notification, page: str) -> dict[str, Any]:
    """Return the body of a CloudEvent in its JSON form. `page` is the address of the gateway; empty: unknown."""
    data: dict[str, Any] = {
        "title": title(told),
        "message": told.fired.message,
        "severity": severity(told.fired),
        "runtime": f"runtimes/{told.runtime_id}",
        "firing": protojson.to_json(told.fired),
    }
    if told.cleared is not None:
        data["cleared"] = protojson.to_json(told.cleared)
    link = link_of(told, page)
    if link:
        data["link"] = link
    return {
        "specversion": "1.0",
        "id": told.id,
        "source": f"/rules/{told.fired.rule_id}",
        "type": FIRED if told.cleared is None else CLEARED,
        "subject": f"runtimes/{told.runtime_id}",
        "time": told.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data,
    }


def chat_line(told: Notification, page: str) -> dict[str, str]:
    """Return the body that incoming webhooks of chats take. Nothing in it is taken for a command or a mention."""
    lines = [title(told), one_line(told.fired.message)]
    link = link_of(told, page)
    if link:
        lines.append(link)
    text = "\n".join(lines)
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def title(told: Notification) -> str:
    """Return one line: what happened, how bad it is, and where."""
    over = "over: " if told.cleared is not None else ""
    trial = f", trial {told.fired.trial}" if told.fired.trial else ""
    name = one_line(told.fired.rule_name or told.fired.rule_id)
    return f"{over}[{severity(told.fired)}] {name} in {told.runtime_id}{trial}"


def severity(fired: facts.RuleFired) -> str:
    """Return the word of a severity."""
    return _MARKS.get(fired.severity, "warning")


def link_of(told: Notification, page: str) -> str:
    """Return the address of the run on the page; empty where the page has none."""
    return f"{page.rstrip('/')}/runtimes/{told.runtime_id}" if page else ""

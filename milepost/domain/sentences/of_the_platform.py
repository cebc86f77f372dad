"""What is said of rules, what they found and did, and of who used the platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import platform_events_pb2 as platform_facts
from milepost.api.event.v1 import rule_events_pb2 as rule_facts
from milepost.domain.sentences.quantities import number, plural, tail
from milepost.domain.sentences.words import (
    ACCESS_RESULTS,
    ACTION_WORDS,
    CLEAR_REASONS,
)


def _access(fact: platform_facts.AccessObserved) -> str:
    what = f"{fact.operation}{tail(fact.resource, ' on ')}"
    return f"{fact.peer or 'Somebody'} {ACCESS_RESULTS[fact.result]} {what}, {plural(fact.count, 'time')}"


SENTENCES: dict[type[Message], Callable[[Any], str]] = {
    rule_facts.RuleSet: lambda fact: f"Rule {fact.rule_id} set, revision {fact.revision}",
    rule_facts.RuleDisabled: lambda fact: f"Rule {fact.rule_id} disabled",
    rule_facts.RuleDeleted: lambda fact: f"Rule {fact.rule_id} deleted",
    rule_facts.RuleFired: lambda fact: f"Rule {fact.rule_name or fact.rule_id} fired{tail(fact.message)}",
    rule_facts.RuleCleared: lambda fact: f"Rule {fact.rule_id} cleared: {CLEAR_REASONS[fact.reason]}",
    rule_facts.NotificationDelivered: lambda fact: f"Told {fact.destination} of rule {fact.rule_id}",
    rule_facts.NotificationRetried: lambda fact: f"Telling {fact.destination} of rule {fact.rule_id} again",
    rule_facts.NotificationFailed: lambda fact: (
        f"Could not tell {fact.destination} of rule {fact.rule_id}{tail(fact.detail)}"
    ),
    rule_facts.ActionTaken: lambda fact: f"Rule {fact.rule_id} for {fact.owner}{tail(fact.detail)}",
    rule_facts.ActionFailed: lambda fact: (
        f"Rule {fact.rule_id} could not {ACTION_WORDS.get(fact.kind, fact.kind)} for {fact.owner}{tail(fact.detail)}"
    ),
    platform_facts.AccessObserved: _access,
    platform_facts.LogRegressionAccepted: lambda fact: (
        "A person accepted a log at sequence "
        f"{number(fact.found_sequence)} that is behind its anchor at {number(fact.anchored_sequence)}{tail(fact.reason)}"
    ),
}

"""What rules have found in one runtime, what they did and who was told: the chain `events.<runtime>.rules`.

Whoever evaluates the rules, and however often: the id of an occurrence is the same each time, and this decider takes each
once. Pure; facts are messages of `rule_events.proto`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.domain.decider import Fact, replace

# --- states ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Firings:
    """Occurrences that the log has, and notifications that are settled."""

    # Id of the firing -> whether it is cleared.
    cleared: Mapping[str, bool] = field(default_factory=dict)
    settled: frozenset[str] = frozenset()
    # Notifications that were given up, and nobody asked for again.
    dead: frozenset[str] = frozenset()
    # Actions of which it is said how they ended.
    acted: frozenset[str] = frozenset()
    # Facts of types this version does not expect here.
    ignored: int = 0


initial = Firings()

# --- evolve ---------------------------------------------------------------------------------------------------------


def _fired(state: Firings, fact: facts.RuleFired) -> Firings:
    return replace(state, cleared={**state.cleared, fact.firing_id: state.cleared.get(fact.firing_id, False)})


def _cleared(state: Firings, fact: facts.RuleCleared) -> Firings:
    return replace(state, cleared={**state.cleared, fact.firing_id: True})


def _delivered(state: Firings, fact: facts.NotificationDelivered) -> Firings:
    told = {fact.notification_id}
    return replace(state, settled=state.settled | told, dead=state.dead - told)


def _failed(state: Firings, fact: facts.NotificationFailed) -> Firings:
    return replace(state, dead=state.dead | {fact.notification_id})


def _retried(state: Firings, fact: facts.NotificationRetried) -> Firings:
    return replace(state, dead=state.dead - {fact.notification_id})


def _acted(state: Firings, fact: facts.ActionTaken | facts.ActionFailed) -> Firings:
    return replace(state, acted=state.acted | {fact.action_id})


EVOLVE: dict[type[Message], Callable[[Firings, Any], Firings]] = {
    facts.RuleFired: _fired,
    facts.RuleCleared: _cleared,
    facts.NotificationDelivered: _delivered,
    facts.NotificationFailed: _failed,
    facts.NotificationRetried: _retried,
    facts.ActionTaken: _acted,
    facts.ActionFailed: _acted,
}


def evolve(state: Firings, fact: Fact) -> Firings:
    """Apply one fact. One that is not of this chain is counted and changes nothing."""
    apply = EVOLVE.get(type(fact.payload))
    if apply is None or fact.attempt is not None:
        return replace(state, ignored=state.ignored + 1)
    return apply(state, fact.payload)


# --- commands and decide --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordFiring:
    fired: facts.RuleFired


@dataclass(frozen=True, slots=True)
class RecordCleared:
    cleared: facts.RuleCleared


@dataclass(frozen=True, slots=True)
class RecordDelivered:
    delivered: facts.NotificationDelivered


@dataclass(frozen=True, slots=True)
class RecordFailed:
    failed: facts.NotificationFailed


@dataclass(frozen=True, slots=True)
class RecordAction:
    acted: facts.ActionTaken | facts.ActionFailed


@dataclass(frozen=True, slots=True)
class RetryNotification:
    retried: facts.NotificationRetried


def decide(state: Firings, command: object) -> list[Message]:
    """Return the fact that a command brings about; none, where the log has it already."""
    match command:
        case RecordFiring(fired):
            return [] if fired.firing_id in state.cleared else [fired]
        case RecordCleared(cleared):
            # An end without a beginning says nothing; one that is known says it a second time.
            return [cleared] if state.cleared.get(cleared.firing_id) is False else []
        case RecordDelivered(delivered):
            return [] if delivered.notification_id in state.settled else [delivered]
        case RecordFailed(failed):
            return [] if failed.notification_id in state.settled | state.dead else [failed]
        case RecordAction(acted):
            return [] if acted.action_id in state.acted else [acted]
        case RetryNotification(retried):
            return [retried] if retried.notification_id in state.dead else []
    raise TypeError(f"not a command of this decider: {command!r}")

"""Who may write what: whether a fact stands where its writer may put it, and can mean what it says."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import steering
from milepost.domain.decider import Fact
from milepost.domain.trial.states import Active, Trial
from milepost.numbers import MAX_NUMBER

_PAYLOADS: list[Any] = [field.message_type for field in facts.TrialEvent.DESCRIPTOR.oneofs_by_name["payload"].fields]
# By the class of a fact: on whose subjects it may stand.
WRITERS = {getattr(facts, kind.name): kind.GetOptions().Extensions[options.writer] for kind in _PAYLOADS}
# Workers of one attempt.
MAX_RANKS = 10_000
# Alerts of one attempt; what a run has more to say has been heard.
MAX_ALERTS = 200
# Numbers of an attempt that may be negative, and those that `PlanDeclared` may get wrong without being wrong itself.
_ANY_NUMBER = frozenset({"exit_code", "signal"})
_COUNTS = {
    getattr(facts, kind.name): tuple(
        field.name
        for field in kind.fields
        if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
        and not field.is_repeated
        and field.name not in _ANY_NUMBER
    )
    for kind in _PAYLOADS
    if kind.name != facts.PlanDeclared.DESCRIPTOR.name
}
_OF_A_RANK = frozenset(getattr(facts, kind.name) for kind in _PAYLOADS if "rank" in kind.fields_by_name)


def writing(state: Trial, attempt: int) -> Active | None:
    """Return an attempt that may write; None where it may not: it is over, was fenced, or another came after it."""
    active = state.active
    return active if active is not None and active.attempt == attempt and active.may_write else None


def has_effect(state: Trial, fact: Fact) -> bool:
    """Return whether a fact stands where its writer may put it and its attempt may still write.

    This is what makes a zombie, a forged or an unchecked append change nothing.
    """
    writer = WRITERS.get(type(fact.payload))
    if writer is None or (state.situation is None) != isinstance(fact.payload, facts.TrialCreated):
        return False
    if fact.attempt is None:
        return writer != options.WRITER_ATTEMPT
    if writer == options.WRITER_RUNTIME_SERVICE:
        return False
    active = state.active
    if active is None or not active.may_write:
        return False
    named: int = fact.payload.attempt  # type: ignore[attr-defined]
    return active.attempt == fact.attempt == named and is_plausible(active, fact.payload)


def is_plausible(active: Active, payload: Message) -> bool:
    """Return whether an attempt can mean what it says: numbers that count something, of workers that there can be."""
    kind = type(payload)
    for name in _COUNTS.get(kind, ()):
        if not 0 <= getattr(payload, name) <= MAX_NUMBER:
            return False
    if isinstance(payload, facts.AlertRaised):
        return len(active.alerts) < MAX_ALERTS
    # A message of protobuf that is asked for a field that it has not takes longer than all the rest.
    if kind in _OF_A_RANK and payload.rank >= MAX_RANKS:  # type: ignore[attr-defined]
        return False
    return steering.is_readable(payload)


def alert_key(fact: facts.AlertRaised) -> tuple[int, str, int]:
    """Return by what an alert is told from the others of its attempt."""
    return (fact.kind, fact.series or fact.title, fact.step)

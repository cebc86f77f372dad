"""Which rules there are: facts, states, `initial`, `evolve`, `decide`. All rules are one chain, `events.platform.rules`.

Pure: no clock, no random, no I/O. Facts are messages of `rule_events.proto`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from milepost.api.config.v1.rule_pb2 import Rule
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.domain.decider import Fact, replace
from milepost.errors import Aborted, AlreadyExists, NotFound, ResourceExhausted

# Rules of an installation that are not deleted.
MAX_RULES = 1_000

# --- states ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A rule as the log has it."""

    rule: Rule
    # From 1, and never back: a rule of the id of one that was deleted goes on behind it.
    revision: int
    # Of the client that asked for it first. Empty: none.
    request_id: str = ""
    disabled: bool = False
    deleted: bool = False

    @property
    def etag(self) -> str:
        return f"{self.revision}-disabled" if self.disabled else str(self.revision)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules by id, with those that were deleted."""

    by_id: Mapping[str, Kept] = field(default_factory=dict)
    # Facts of types this version does not expect here.
    ignored: int = 0

    def get(self, rule_id: str) -> Kept | None:
        """Find a rule that is not deleted."""
        kept = self.by_id.get(rule_id)
        return kept if kept is not None and not kept.deleted else None

    @property
    def count(self) -> int:
        return sum(not kept.deleted for kept in self.by_id.values())


initial = Rules()

# --- evolve ---------------------------------------------------------------------------------------------------------


def _set(state: Rules, fact: facts.RuleSet) -> Rules:
    known = state.by_id.get(fact.rule_id)
    request_id = fact.request_id or (known.request_id if known is not None and not known.deleted else "")
    return _with(state, fact.rule_id, Kept(fact.rule, fact.revision, request_id))


def _disabled(state: Rules, fact: facts.RuleDisabled) -> Rules:
    return _with(state, fact.rule_id, replace(state.by_id[fact.rule_id], disabled=True))


def _deleted(state: Rules, fact: facts.RuleDeleted) -> Rules:
    return _with(state, fact.rule_id, replace(state.by_id[fact.rule_id], deleted=True))


def _with(state: Rules, rule_id: str, kept: Kept) -> Rules:
    return replace(state, by_id={**state.by_id, rule_id: kept})


EVOLVE: dict[type[Message], Callable[[Rules, Any], Rules]] = {
    facts.RuleSet: _set,
    facts.RuleDisabled: _disabled,
    facts.RuleDeleted: _deleted,
}


def evolve(state: Rules, fact: Fact) -> Rules:
    """Apply one fact. One that is not about the rules, or about a rule that there is not, is counted and changes nothing."""
    apply = EVOLVE.get(type(fact.payload))
    known = isinstance(fact.payload, facts.RuleSet) or getattr(fact.payload, "rule_id", "") in state.by_id
    if apply is None or fact.attempt is not None or not known:
        return replace(state, ignored=state.ignored + 1)
    return apply(state, fact.payload)


# --- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateRule:
    rule_id: str
    # Checked, with every default filled in.
    rule: Rule
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class UpdateRule:
    rule_id: str
    rule: Rule
    # Empty: whatever it is now.
    etag: str = ""


@dataclass(frozen=True, slots=True)
class DisableRule:
    rule_id: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class DeleteRule:
    rule_id: str
    etag: str = ""


# --- decide ---------------------------------------------------------------------------------------------------------


def _create(state: Rules, command: CreateRule) -> list[Message]:
    known = state.get(command.rule_id)
    if known is not None:
        if known.rule == command.rule or (command.request_id and command.request_id == known.request_id):
            return []
        raise AlreadyExists(f"rule {command.rule_id} exists already, and says something else", reason="RULE_EXISTS")
    if state.count >= MAX_RULES:
        raise ResourceExhausted(
            f"there are {MAX_RULES:,} rules, as many as may be; delete one first",
            reason="TOO_MANY_RULES",
            metadata={"field": "rule", "limit": str(MAX_RULES)},
        )
    before = state.by_id.get(command.rule_id)
    revision = before.revision + 1 if before is not None else 1
    return [facts.RuleSet(rule_id=command.rule_id, revision=revision, rule=command.rule, request_id=command.request_id)]


def _update(state: Rules, command: UpdateRule) -> list[Message]:
    known = _found(state, command.rule_id)
    if known.rule == command.rule and not known.disabled:
        return []
    _check_etag(command.rule_id, known, command.etag)
    return [facts.RuleSet(rule_id=command.rule_id, revision=known.revision + 1, rule=command.rule)]


def _disable(state: Rules, command: DisableRule) -> list[Message]:
    known = _found(state, command.rule_id)
    if known.disabled:
        return []
    _check_etag(command.rule_id, known, command.etag)
    return [facts.RuleDisabled(rule_id=command.rule_id)]


def _delete(state: Rules, command: DeleteRule) -> list[Message]:
    known = state.by_id.get(command.rule_id)
    if known is not None and known.deleted:
        return []
    _check_etag(command.rule_id, _found(state, command.rule_id), command.etag)
    return [facts.RuleDeleted(rule_id=command.rule_id)]


def _found(state: Rules, rule_id: str) -> Kept:
    known = state.get(rule_id)
    if known is None:
        raise NotFound(f"there is no rule {rule_id}", reason="RULE_NOT_FOUND")
    return known


def _check_etag(rule_id: str, known: Kept, etag: str) -> None:
    if etag and etag != known.etag:
        raise Aborted(f"rule {rule_id} was changed meanwhile: its etag is {known.etag}", reason="ETAG_MISMATCH")


DECIDE: dict[type, Callable[[Rules, Any], list[Message]]] = {
    CreateRule: _create,
    UpdateRule: _update,
    DisableRule: _disable,
    DeleteRule: _delete,
}


def decide(state: Rules, command: object) -> list[Message]:
    """Return the facts that a command brings about; none, where everything is so already.

    Raises:
        NotFound: there is no such rule.
        AlreadyExists: there is another one of this id.
        Aborted: it was changed meanwhile.
        ResourceExhausted: there are as many as may be.
    """
    return DECIDE[type(command)](state, command)

"""Values that training code lets be changed while it runs: what there are, what they were changed to, and what is asked for.

A part of the state of a trial; its functions are those of `evolve` and `decide`. Values are JSON scalars as text throughout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import SteerInstruction
from milepost.domain.decider import replace
from milepost.errors import InvalidArgument, Violation
from milepost.numbers import MAX_NUMBER

# Of one trial: values that can be steered, requests that wait at a time, and requests in all.
MAX_STEERABLES = 100
MAX_WAITING = 100
MAX_REQUESTS = 1_000
# Characters of a text, and of a name.
MAX_TEXT = 1_000
MAX_NAME = 200

_KIND_WORDS: dict[int, str] = {
    facts.STEERABLE_KIND_FLOAT: "number",
    facts.STEERABLE_KIND_INTEGER: "whole number",
    facts.STEERABLE_KIND_BOOLEAN: "true or false",
    facts.STEERABLE_KIND_TEXT: "text",
}


@dataclass(frozen=True, slots=True)
class Steerable:
    """A value that may be changed, as its code has declared it."""

    name: str
    kind: int
    value: str
    # Of a number, included. Empty: none.
    minimum: str = ""
    maximum: str = ""
    # What a text may be. Empty: anything.
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a value was changed to after a step. Attempts that begin at an earlier step change it again."""

    step: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Request:
    """Values that are to be changed, and were not yet."""

    number: int
    values: tuple[tuple[str, str], ...]
    actor: str


@dataclass(frozen=True, slots=True)
class Steering:
    """What is known of the steerable values of one trial."""

    # By name.
    steerables: tuple[Steerable, ...] = ()
    # By step; of one step in the order in which they were made.
    changes: tuple[Change, ...] = ()
    # By number.
    waiting: tuple[Request, ...] = ()
    # Of every request, by number; empty: it had none.
    request_ids: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many requests there were."""
        return len(self.request_ids)

    def number_of(self, request_id: str) -> int:
        """Return the number of the request with an id; 0: there is none. Of those without one it is the last."""
        if not request_id:
            return self.count
        return self.request_ids.index(request_id) + 1 if request_id in self.request_ids else 0

    def in_force(self, step: int) -> dict[str, str]:
        """Return the values that hold after a step because they were changed, by name."""
        return {change.name: change.value for change in self.changes if change.step <= step}


initial = Steering()

# --- evolve ---------------------------------------------------------------------------------------------------------


def inherit(step: int, values: Mapping[str, str]) -> Steering:
    """Return how a branch begins: with the values that hold where it does."""
    return Steering(changes=tuple(Change(step, name, value) for name, value in sorted(values.items())))


def declare(steering: Steering, fact: facts.SteerableDeclared) -> Steering:
    """Take in a declaration. The last one of a name holds; of too many the further ones do not count."""
    others = tuple(one for one in steering.steerables if one.name != fact.name)
    if len(others) >= MAX_STEERABLES:
        return steering
    return replace(steering, steerables=tuple(sorted((*others, of_fact(fact)), key=lambda one: one.name)))


def request(steering: Steering, fact: facts.TrialSteerRequested) -> Steering:
    """Have values wait for being changed."""
    ids = (*steering.request_ids, fact.request_id)
    waiting = (*steering.waiting, Request(fact.number, tuple(sorted(fact.parameters.items())), fact.actor))
    return replace(steering, waiting=waiting, request_ids=ids)


def change(steering: Steering, fact: facts.ParametersChanged) -> Steering:
    """Change values. What was changed at later steps, by attempts that are given up, does not come again."""
    if not is_waiting(steering, fact.number):
        return steering
    names = {one.name for one in fact.changes}
    kept = [one for one in steering.changes if one.step <= fact.step or one.name not in names]
    kept += [Change(fact.step, one.name, one.new) for one in fact.changes]
    kept.sort(key=lambda one: one.step)
    return replace(end_request(steering, fact.number), changes=tuple(kept))


def end_request(steering: Steering, number: int) -> Steering:
    """Let a request wait no longer."""
    return replace(steering, waiting=tuple(one for one in steering.waiting if one.number != number))


def forget(steering: Steering, names: Collection[str]) -> Steering:
    """Leave out every change of these values: a roll back gives them anew."""
    if not names:
        return steering
    return replace(steering, changes=tuple(one for one in steering.changes if one.name not in names))


def of_fact(fact: facts.SteerableDeclared) -> Steerable:
    """Return what was declared."""
    return Steerable(fact.name, fact.kind, fact.value, fact.minimum, fact.maximum, tuple(fact.choices))


def is_readable(payload: Message) -> bool:
    """Return whether what an attempt says of steerables can be read by everybody: few enough, and JSON scalars."""
    match payload:
        case facts.SteerableDeclared():
            bounds = [_scalar(text) for text in (payload.minimum, payload.maximum) if text]
            return (
                0 < len(payload.name) <= MAX_NAME
                and payload.kind in _KIND_WORDS
                and not any(isinstance(bound, str | bool | None) for bound in bounds)
                and len(payload.choices) <= MAX_STEERABLES
                and all(len(choice) <= MAX_TEXT for choice in payload.choices)
                and fitting(of_fact(payload), _scalar(payload.value))[1] == ""
            )
        case facts.ParametersChanged():
            texts = [text for one in payload.changes for text in (one.old, one.new)]
            names_fit = all(len(one.name) <= MAX_NAME for one in payload.changes)
            return len(texts) <= 2 * MAX_STEERABLES and names_fit and None not in map(_scalar, texts)
    return True


def _scalar(text: str) -> Any:
    """Read a JSON scalar. None: it is none, and not longer than one may be."""
    try:
        value = json.loads(text) if len(text) <= 6 * MAX_TEXT + 2 else None
    except ValueError:
        return None
    return value if isinstance(value, str | int | float) else None


def is_waiting(steering: Steering, number: int) -> bool:
    """Return whether the request of this number was neither carried out nor refused."""
    return any(one.number == number for one in steering.waiting)


def instruction(request: Request) -> SteerInstruction:
    """Have an attempt carry out a request."""
    return SteerInstruction(number=request.number, parameters=dict(request.values), actor=request.actor)


# --- decide ---------------------------------------------------------------------------------------------------------


def read(steering: Steering, values: Mapping[str, Any]) -> dict[str, str]:
    """Read new values of steerables, as they are kept.

    Raises:
        InvalidArgument: with everything that is wrong, by name.
    """
    known = {one.name: one for one in steering.steerables}
    violations, found = [], {}
    for name, value in sorted(values.items()):
        one = known.get(name)
        if one is None:
            description = f"is not steerable; there is {listed(steering.steerables)}"
            violations.append(Violation(f"parameters.{name[:80]}", description))
            continue
        found[name], problem = fitting(one, value)
        if problem:
            violations.append(Violation(f"parameters.{name}", problem))
    if violations:
        raise InvalidArgument(violations)
    return found


# --- values ---------------------------------------------------------------------------------------------------------


def fitting(steerable: Steerable, value: Any) -> tuple[str, str]:
    """Return a value as it is kept, and why it cannot be one; one of the two is empty.

    Args:
        value: anything that JSON can hold.
    """
    found = _of_kind(steerable.kind, value)
    if found is None or not _is_within(steerable, found):
        return "", f"must be {_described(steerable)}, not {shown(value)}"
    return json.dumps(found), ""


def _of_kind(kind: int, value: Any) -> float | int | bool | str | None:
    """Return a value of a kind; None: it is none."""
    if kind == facts.STEERABLE_KIND_BOOLEAN:
        return value if isinstance(value, bool) else None
    if kind == facts.STEERABLE_KIND_TEXT:
        return value if isinstance(value, str) and len(value) <= MAX_TEXT else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return None if abs(value) > MAX_NUMBER else value if kind == facts.STEERABLE_KIND_INTEGER else float(value)
    if not math.isfinite(value):
        return None
    if kind == facts.STEERABLE_KIND_FLOAT:
        return value
    return int(value) if value.is_integer() and abs(value) <= MAX_NUMBER else None


def _is_within(steerable: Steerable, value: Any) -> bool:
    if steerable.choices:
        return value in steerable.choices
    too_low = steerable.minimum and value < json.loads(steerable.minimum)
    return not (too_low or (steerable.maximum and value > json.loads(steerable.maximum)))


def shown(value: Any) -> str:
    """Write a value for people, not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _described(steerable: Steerable) -> str:
    if steerable.choices:
        return f"one of {', '.join(steerable.choices)}"
    words = _KIND_WORDS.get(steerable.kind, "a value of a kind that this version does not know")
    article = "" if steerable.kind == facts.STEERABLE_KIND_BOOLEAN else "a "
    if steerable.minimum and steerable.maximum:
        return f"{article}{words} from {steerable.minimum} to {steerable.maximum}"
    bound = f" of at least {steerable.minimum}" if steerable.minimum else ""
    bound = f" of at most {steerable.maximum}" if steerable.maximum else bound
    return f"{article}{words}{bound}"


def listed(steerables: Iterable[Steerable]) -> str:
    """Name what can be steered, with its bounds, for people."""
    return ", ".join(f"{one.name} ({_described(one)})" for one in steerables)

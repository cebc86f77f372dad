"""One value that may be changed while training runs."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Generic, TypeVar

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import steering as domain
from milepost.errors import InvalidArgument, Violation
from milepost.series_names import is_printable
from milepost.training.user_code import given

Value = TypeVar("Value", float, int, bool, str)


class Steerable(Generic[Value]):
    """A value that may be changed while training runs; see `Trial.steerable`.

    It changes between two steps only, on all ranks between the same two.
    """

    def __init__(self, declared: domain.Steerable) -> None:
        self._declared = declared
        self._text = declared.value
        self._value: Value = json.loads(declared.value)

    @property
    def name(self) -> str:
        return self._declared.name

    @property
    def value(self) -> Value:
        """What it is now. Read it in every step."""
        return self._value

    @property
    def declared(self) -> domain.Steerable:
        """What the loop says of it."""
        return self._declared

    @property
    def text(self) -> str:
        """What it is now, as it is recorded: a JSON scalar."""
        return self._text

    def declare_again(self, declared: domain.Steerable) -> None:
        """Take what the loop says of it now. What it is follows from `become`."""
        self._declared = declared

    def fitting(self, text: str) -> tuple[str, str]:
        """Return a value as it would be kept, and why it cannot be one; one of the two is empty."""
        return domain.fitting(self._declared, json.loads(text))

    def become(self, text: str) -> None:
        """Have another value from here on."""
        self._text, self._value = text, json.loads(text)

    def __repr__(self) -> str:
        return f"<milepost.Steerable {self.name} {self._text}>"


def read_declaration(
    name: str, value: Any, minimum: Any, maximum: Any, choices: Collection[str] | None
) -> domain.Steerable:
    """Read what a loop says of a value that may be changed.

    Raises:
        InvalidArgument: with everything that is wrong with it.
    """
    violations = []
    if not (isinstance(name, str) and 0 < len(name) <= domain.MAX_NAME and is_printable(name)):
        violations.append(Violation("name", f"must be printable text of 1 to {domain.MAX_NAME} characters"))
    plain = value if isinstance(value, bool | int | float | str) else given.number(value)
    kind = _kind_of(plain)
    is_number = kind in (facts.STEERABLE_KIND_FLOAT, facts.STEERABLE_KIND_INTEGER)
    bounds = {"minimum": minimum, "maximum": maximum}
    texts = {}
    for field, bound in bounds.items():
        found = given.number(bound) if bound is not None else None
        if bound is not None and (not is_number or found is None or found != found):
            violations.append(Violation(field, "must be a number, and is for numbers only"))
        texts[field] = "" if found is None else _text_of(found, kind)
    if choices is not None and (kind != facts.STEERABLE_KIND_TEXT or not all(isinstance(one, str) for one in choices)):
        violations.append(Violation("choices", "must be texts, and are for texts only"))
    if violations:
        raise InvalidArgument(violations)
    declared = domain.Steerable(name, kind, "", texts["minimum"], texts["maximum"], tuple(choices or ()))
    kept, problem = domain.fitting(declared, plain)
    if problem:
        raise InvalidArgument([Violation("value", problem)])
    return domain.replace(declared, value=kept)


def _kind_of(value: Any) -> facts.SteerableKind:
    if isinstance(value, bool):
        return facts.STEERABLE_KIND_BOOLEAN
    if isinstance(value, int):
        return facts.STEERABLE_KIND_INTEGER
    return facts.STEERABLE_KIND_TEXT if isinstance(value, str) else facts.STEERABLE_KIND_FLOAT


def _text_of(bound: float, kind: facts.SteerableKind) -> str:
    """Write a bound; one that is infinite is none."""
    if bound in (float("inf"), float("-inf")):
        return ""
    return json.dumps(int(bound) if kind == facts.STEERABLE_KIND_INTEGER and bound.is_integer() else bound)

"""The filter language of lists: terms joined by AND, such as `status=Failed AND label.team=nlp`. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from milepost.errors import InvalidArgument, Violation

MAXIMUM_LENGTH = 1_000
MAXIMUM_TERMS = 20

_TERM = re.compile(
    r"""\s*(?:(?P<field>[A-Za-z_][A-Za-z0-9_./-]*)\s*(?P<operator>!=|>=|<=|=|>|<|:)\s*)?"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|[^\s"=<>!]+)(?=\s|$)"""
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. Without a field it is a bare word; `:` asks whether the text occurs."""

    field: str
    operator: str
    value: str

    def accepts(self, actual: str) -> bool:
        """Compare with a text: as numbers where both are numbers, else by letters."""
        if self.operator in ("", ":"):
            return self.value.lower() in actual.lower()
        ours, theirs = _number(self.value), _number(actual)
        if self.operator in ("=", "!="):
            same = ours == theirs if ours is not None and theirs is not None else self.value == actual
            return same == (self.operator == "=")
        if ours is not None and theirs is not None:
            return _COMPARE[self.operator](theirs, ours)
        # Times as in RFC 3339 in UTC compare by letters.
        return bool(actual) and _COMPARE[self.operator]((actual > self.value) - (actual < self.value), 0)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def parse_filter(text: str) -> list[Term]:
    """Read a filter. The empty one has no terms.

    Raises:
        InvalidArgument: it is too long or not of this language.
    """
    if len(text) > MAXIMUM_LENGTH:
        raise InvalidArgument([Violation("filter", f"must not be longer than {MAXIMUM_LENGTH} characters")])
    terms: list[Term] = []
    position, joined = 0, True
    while text[position:].strip():
        match = _TERM.match(text, position)
        if match is None:
            raise InvalidArgument([Violation("filter", f"is not understood from {text[position:].strip()[:40]!r} on")])
        position = match.end()
        if match["field"] is None and match["value"] == "AND":
            if joined:
                raise InvalidArgument([Violation("filter", "AND must stand between two terms")])
            joined = True
            continue
        value = match["value"]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        terms.append(Term(match["field"] or "", match["operator"] or "", value))
        joined = False
    if joined and terms:
        raise InvalidArgument([Violation("filter", "AND must stand between two terms")])
    if len(terms) > MAXIMUM_TERMS:
        raise InvalidArgument([Violation("filter", f"must not have more than {MAXIMUM_TERMS} terms")])
    return terms

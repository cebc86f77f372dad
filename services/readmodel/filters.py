"""The filter language of lists: terms joined by AND, such as `status=Failed AND label.team=nlp`. Pure."""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from milepost.errors import InvalidArgument, Violation

MAX_LENGTH = 1_000
MAX_TERMS = 20

_TERM = re.compile(
    r"""\s*(?:(?P<field>[A-Za-z_][A-Za-z0-9_./-]*)\s*(?P<operator>!=|>=|<=|=|>|<|:)\s*)?"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|(?(field)[^\s"=<>!]+|[^\s"=<>!:]+))(?=\s|$)"""
)
# Words of other filter languages: taken for a text they would find nothing, without a word.
_RESERVED = frozenset({"OR", "NOT", "IN", "LIKE", "ILIKE", "HAS"})
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
    # Where it stands in the filter, for refusals.
    place: str = dataclasses.field(default="", compare=False, repr=False)

    def refused(self, problem: str) -> InvalidArgument:
        """Return the error that says what is wrong with this term, and where it stands."""
        return InvalidArgument([Violation("filter", f"{self.place}: {problem}")])

    def unknown(self, known: Iterable[str]) -> InvalidArgument:
        """Return the error for a field that the list does not have."""
        return self.refused(f"{self.field} is not a known field; known: {', '.join(known)}")

    def as_one_of(self, words: Iterable[str]) -> Term:
        """Write its value as one of the words of its field, in any case; part of one is asked for by `:`.

        Raises:
            InvalidArgument: it is none of them.
        """
        if self.operator == ":":
            return self
        for word in words:
            if word.lower() == self.value.lower():
                return replace(self, value=word)
        raise self.refused(f"{self.field} is one of {', '.join(words)}")

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
    if len(text) > MAX_LENGTH:
        raise InvalidArgument([Violation("filter", f"must not be longer than {MAX_LENGTH} characters")])
    terms: list[Term] = []
    position, joined = 0, True
    while text[position:].strip():
        match = _TERM.match(text, position)
        if match is None:
            raise _refused(text, position, "is not understood; a text with spaces or operators stands in double quotes")
        word = match["value"] if match["field"] is None else ""
        if word == "AND" and not joined:
            joined = True
        elif word == "AND":
            raise _refused(text, position, "AND must stand between two terms")
        elif word in _RESERVED:
            raise _refused(text, position, f"{word} does not exist in this language; terms are joined by AND")
        elif not joined:
            raise _refused(text, position, "AND is missing before this; a text with spaces stands in double quotes")
        else:
            value = _unquoted(match["value"])
            terms.append(Term(match["field"] or "", match["operator"] or "", value, _place(text, position)))
            joined = False
        position = match.end()
    if joined and terms:
        raise _refused(text, position, "AND must stand between two terms")
    if len(terms) > MAX_TERMS:
        raise InvalidArgument([Violation("filter", f"must not have more than {MAX_TERMS} terms")])
    return terms


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _place(text: str, position: int) -> str:
    """Return words for a place in a filter: characters are counted from 1."""
    start = position + len(text[position:]) - len(text[position:].lstrip())
    rest = text[start:][:40]
    return f"at character {start + 1}" + (f", {rest!r}" if rest else "")


def _refused(text: str, position: int, problem: str) -> InvalidArgument:
    return InvalidArgument([Violation("filter", f"{_place(text, position)}: {problem}")])

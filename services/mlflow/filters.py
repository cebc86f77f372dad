"""MLflow's search language: comparisons joined by `and`, and an order. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.mlflow.errors import invalid
from services.mlflow.like import Like

_KEY = r"`[^`]+`|\"[^\"]+\"|[\w./:-]+"
_TERM = re.compile(
    rf"""\s*(?:(?P<kind>[A-Za-z]+)\s*\.\s*)?
    (?P<key>{_KEY})\s*
    (?:(?P<null>\bIS\s+(?:NOT\s+)?NULL\b)|
    (?P<operator><=|>=|!=|=|<|>|\bNOT\s+IN\b|\bIN\b|\bLIKE\b|\bILIKE\b)\s*
    (?P<value>'[^']*'|"[^"]*"|\([^)]*\)|[-+0-9.eE]+))\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_AND = re.compile(r"\band\b", re.IGNORECASE)
_CLAUSE = re.compile(rf"\s*(?:(\w+)\.)?({_KEY})(?:\s+(ASC|DESC))?\s*", re.IGNORECASE)
_MEMBERS = re.compile(r"\(\s*(?:'[^']*'|\"[^\"]*\")(?:\s*,\s*(?:'[^']*'|\"[^\"]*\"))*\s*,?\s*\)")
_KINDS = {
    "metric": "metrics", "metrics": "metrics", "param": "params", "params": "params", "parameter": "params",
    "parameters": "params", "tag": "tags", "tags": "tags", "attribute": "attributes", "attributes": "attributes",
    "attr": "attributes", "run": "attributes", "": "attributes", "dataset": "datasets", "datasets": "datasets",
}  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_OTHER_NAMES = {"created": "start_time", "run name": "run_name"}


@dataclass(frozen=True, slots=True)
class Searched:
    """What can be searched: its kinds of keys, and its attributes."""

    kinds: frozenset[str]
    texts: frozenset[str]
    numbers: frozenset[str]


RUNS = Searched(
    frozenset({"metrics", "params", "tags", "attributes", "datasets"}),
    frozenset({"run_id", "run_name", "status", "user_id", "artifact_uri", "experiment_id"}),
    frozenset({"start_time", "end_time"}),
)
EXPERIMENTS = Searched(
    frozenset({"tags", "attributes"}),
    frozenset({"name", "experiment_id"}),
    frozenset({"creation_time", "last_update_time"}),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run or an experiment as searches see it. Nothing has a data set here."""

    attributes: dict[str, Any] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)

    def value(self, kind: str, key: str) -> Any:
        """Return a value; None: there is none."""
        found: dict[str, Any] = getattr(self, kind)
        return found.get(key)


Accepts = Callable[[Candidate], bool]


def parse(text: str, searched: Searched = RUNS) -> Accepts:
    """Read a filter. The empty one accepts all.

    Raises:
        InvalidArgument: it is not one, or asks for what is not offered.
    """
    terms: list[Accepts] = []
    position = 0
    while text.strip():
        match = _TERM.match(text, position)
        if match is None:
            raise invalid("filter", f"cannot be read from {text[position : position + 40]!r} on")
        terms.append(_term(match, searched))
        position = match.end()
        if position == len(text):
            break
        joined = _AND.match(text, position)
        if joined is None:
            raise invalid("filter", f"`and` is expected before {text[position : position + 40]!r}")
        position = joined.end()
    return lambda candidate: all(accepts(candidate) for accepts in terms)


def _place(kind: str | None, key: str, searched: Searched, field: str) -> tuple[str, str]:
    """Return what kind of key is meant, and its name."""
    name = _KINDS.get((kind or "").lower(), "")
    if name not in searched.kinds:
        raise invalid(field, f"{kind} is not one of {', '.join(sorted(searched.kinds))}")
    key = key[1:-1] if key[0] in '`"' else key
    if name != "attributes":
        return name, key
    key = _OTHER_NAMES.get(key.lower(), key)
    known = searched.texts | searched.numbers
    if key not in known:
        raise invalid(field, f"{key} is not one of the attributes {', '.join(sorted(known))}")
    return name, key


def _term(match: re.Match[str], searched: Searched) -> Accepts:
    kind, key = _place(match["kind"], match["key"], searched, "filter")
    is_number = kind == "metrics" or (kind == "attributes" and key in searched.numbers)
    if match["null"]:
        wants_none = "NOT" not in match["null"].upper()
        if kind not in ("params", "tags"):
            raise invalid("filter", f"{match['null']} is for params and tags, not for {kind}")
        return lambda run: (run.value(kind, key) is None) == wants_none
    word, raw = " ".join(match["operator"].upper().split()), match["value"]
    if is_number:
        return _number_term(kind, key, word, raw)
    if word in ("IN", "NOT IN"):
        if _MEMBERS.fullmatch(raw) is None:
            raise invalid("filter", f"{word} needs texts in quotes and in parentheses, not {raw!r}")
        members = {part[1:-1] for part in re.findall(r"'[^']*'|\"[^\"]*\"", raw)}
        return lambda run: (value := run.value(kind, key)) is not None and (str(value) in members) == (word == "IN")
    if raw[0] not in "'\"":
        raise invalid("filter", f"{key} is compared with a text in quotes, not with {raw!r}")
    value = raw[1:-1]
    if word in ("LIKE", "ILIKE"):
        like = Like(value, ignore_case=word == "ILIKE")
        return lambda run: (text := run.value(kind, key)) is not None and like.matches(str(text))
    if word not in ("=", "!="):
        raise invalid("filter", f"{key} is text, which is compared by =, !=, LIKE, ILIKE and IN")
    compare = _COMPARE[word]
    return lambda run: (found := run.value(kind, key)) is not None and compare(found, value)


def _number_term(kind: str, key: str, word: str, raw: str) -> Accepts:
    try:
        wanted = float(raw)
        compare = _COMPARE[word]
    except (ValueError, KeyError):
        raise invalid("filter", f"{key} is compared with a number by {', '.join(_COMPARE)}, not {word} {raw}") from None
    return lambda run: (found := run.value(kind, key)) is not None and compare(found, wanted)


def order(found: list[Candidate], clauses: list[str], searched: Searched = RUNS) -> list[Candidate]:
    """Sort, those without a value last; the newest first where nothing else decides.

    Raises:
        InvalidArgument: a clause is none.
    """
    ident = "run_id" if searched is RUNS else "experiment_id"
    newest = "start_time" if searched is RUNS else "creation_time"
    found = sorted(found, key=lambda one: (-one.attributes[newest], one.attributes[ident]))
    for clause in reversed(clauses):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise invalid("order_by", f"{clause!r} is not <kind>.<key> ASC or DESC")
        kind, key = _place(match[1], match[2], searched, "order_by")
        values = [(one.value(kind, key), one) for one in found]
        # NaN is no number to sort by, and differs from itself.
        having = [pair for pair in values if pair[0] is not None and pair[0] == pair[0]]
        having.sort(key=lambda pair: pair[0], reverse=(match[3] or "").upper() == "DESC")
        nan = [pair for pair in values if pair[0] != pair[0]]
        found = [one for _, one in (*having, *nan, *(pair for pair in values if pair[0] is None))]
    return found

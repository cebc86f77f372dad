"""MLflow's search language, as far as runs need it: comparisons joined by `and`, and an order. Pure."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.gateway.mlflow.errors import invalid

_TERM = re.compile(
    r"""\s*(?:(?P<kind>[A-Za-z]+)\s*\.\s*)?
    (?P<key>`[^`]+`|"[^"]+"|[A-Za-z0-9_./-]+)\s*
    (?P<operator><=|>=|!=|=|<|>|\bNOT\s+IN\b|\bIN\b|\bLIKE\b|\bILIKE\b)\s*
    (?P<value>'[^']*'|"[^"]*"|\([^)]*\)|[-+0-9.eE]+)\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_AND = re.compile(r"\band\b", re.IGNORECASE)
_KINDS = {
    "metric": "metrics", "metrics": "metrics", "param": "params", "params": "params", "parameter": "params",
    "parameters": "params", "tag": "tags", "tags": "tags", "attribute": "attributes", "attributes": "attributes",
    "attr": "attributes", "run": "attributes", "": "attributes",
}  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run as searches see it. Attributes: run_id, run_name, status, start_time, end_time, experiment_id."""

    attributes: dict[str, Any] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def value(self, kind: str, key: str) -> Any:
        """Return a value; None: the run has none."""
        found: dict[str, Any] = getattr(self, kind)
        return found.get(_ATTRIBUTES.get(key, key) if kind == "attributes" else key)


_ATTRIBUTES = {"Run Name": "run_name", "created": "start_time", "Created": "start_time", "run name": "run_name"}
Accepts = Callable[[Candidate], bool]


def parse(text: str) -> Accepts:
    """Read a filter. The empty one accepts all.

    Raises:
        InvalidArgument: it is not one, or asks for what is not offered.
    """
    terms: list[Accepts] = []
    position = 0
    while position < len(text) and text.strip():
        match = _TERM.match(text, position)
        if match is None:
            raise invalid("filter", f"cannot be read from {text[position : position + 40]!r} on")
        terms.append(_term(match))
        position = match.end()
        joined = _AND.match(text, position)
        if joined is None and position < len(text):
            raise invalid("filter", f"`and` is expected before {text[position : position + 40]!r}")
        position = joined.end() if joined else position
    return lambda candidate: all(accepts(candidate) for accepts in terms)


def _term(match: re.Match[str]) -> Accepts:
    kind = _KINDS.get((match["kind"] or "").lower())
    if kind is None:
        raise invalid("filter", f"{match['kind']} is not one of attributes, metrics, params, tags")
    key, word, raw = match["key"].strip('`"'), " ".join(match["operator"].upper().split()), match["value"]
    if word in ("IN", "NOT IN"):
        members = {part.strip().strip("'\"") for part in raw.strip("()").split(",")}
        return lambda run: (value := run.value(kind, key)) is not None and (str(value) in members) == (word == "IN")
    value = raw[1:-1] if raw[0] in "'\"" else raw
    if word in ("LIKE", "ILIKE"):
        pattern = re.compile(
            "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in value),
            re.DOTALL | (re.IGNORECASE if word == "ILIKE" else 0),
        )
        return lambda run: (text := run.value(kind, key)) is not None and pattern.fullmatch(str(text)) is not None
    if kind == "metrics" or key in ("start_time", "end_time", "created"):
        try:
            wanted: Any = float(value)
        except ValueError:
            raise invalid("filter", f"{key} is compared with a number, not {value!r}") from None
    elif word in ("=", "!="):
        wanted = value
    else:
        raise invalid("filter", f"{key} is text, which is compared by =, !=, LIKE, ILIKE and IN")
    compare = _COMPARE[word]
    return lambda run: (found := run.value(kind, key)) is not None and compare(found, wanted)


def order(runs: list[Candidate], clauses: list[str]) -> list[Candidate]:
    """Sort runs, those without a value last; the newest first where nothing else decides.

    Raises:
        InvalidArgument: a clause is none.
    """
    runs = sorted(runs, key=lambda run: (-run.attributes["start_time"], run.attributes["run_id"]))
    for clause in reversed(clauses):
        match = re.fullmatch(r"\s*(?:(\w+)\.)?(`[^`]+`|\"[^\"]+\"|[^\s]+)(?:\s+(ASC|DESC))?\s*", clause, re.IGNORECASE)
        kind = _KINDS.get((match[1] or "").lower()) if match else None
        if match is None or kind is None:
            raise invalid("order_by", f"{clause!r} is not <kind>.<key> ASC or DESC")
        key = match[2].strip('`"')
        # NaN is no number to sort by, and differs from itself.
        without = [run for run in runs if (value := run.value(kind, key)) is None or value != value]
        having = [run for run in runs if run not in without]
        having.sort(key=lambda run: run.value(kind, key), reverse=(match[3] or "").upper() == "DESC")
        runs = having + without
    return runs


def name_matches(pattern: str, name: str) -> bool:
    """Tell whether a name is like a pattern with `%` for anything."""
    return fnmatch.fnmatchcase(name, pattern.replace("%", "*"))

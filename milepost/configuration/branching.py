"""What a branch may change in the configuration of its parent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration.continuation import changed_paths, merge
from milepost.configuration.plain import Plain
from milepost.configuration.resolution import resolve
from milepost.configuration.shown import to_plain
from milepost.errors import FailedPrecondition, Violation

_CHANGEABLE = frozenset(
    {"name", "labels", "parameters", "search", "limits", "retries", "rules", "snapshots", "priority"}
)
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Change:
    """One field that is other. JSON; empty: there is none."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Branched:
    """The configuration of a branch, and what is other in it."""

    configuration: RuntimeConfiguration
    changes: tuple[Change, ...]


def patch_violations(known: Mapping[str, Any], patch: Mapping[str, Any], field: str = "parameters") -> list[Violation]:
    """List what is wrong with parameters that are to change: names that are not known, and values of another type.

    Args:
        known: the parameters by name, as JSON scalars; None where the type is not known.
    """
    violations = []
    for name, value in patch.items():
        path = f"{field}.{name[:80]}"
        if name not in known:
            near = get_close_matches(name, known, 1)
            listed = ", ".join(sorted(known)[:_SHOWN]) + (" ..." if len(known) > _SHOWN else "")
            hint = f"did you mean {near[0]}?" if near else f"it has {listed}" if known else "it has none"
            violations.append(Violation(path, f"is no parameter of this trial; {hint}"))
        elif value is not None and known[name] is not None and _kind(value) != _kind(known[name]):
            violations.append(Violation(path, f"must be {_kind(known[name])}, as before, not {_kind(value)}"))
    return violations


def branch_with(
    configuration: RuntimeConfiguration,
    given: Mapping[str, str],
    patch: Mapping[str, Any],
    changes: Mapping[str, Any],
    initialize_from: str = "",
) -> Branched:
    """Judge what a branch changes: parameters, the search, names, limits, retries, snapshots and the priority.

    Args:
        configuration: that of the parent.
        given: the parameters of the parent's trial, JSON scalars as text. Its search is over: these are what it chose.
        patch: parameters to change.
        changes: what else changes, as in a file.
        initialize_from: the snapshot whose weights are taken; empty: its whole state is.

    Raises:
        InvalidArgument: the result is no valid configuration.
        FailedPrecondition: it changes what a branch may not change; names every such field.
    """
    before = to_plain(configuration)
    before["parameters"] = {name: json.loads(text) for name, text in sorted(given.items())}
    before["search"] = None
    # What is no field at all is told as in any configuration.
    refused = sorted(name for name in changes if name in before and name not in _CHANGEABLE)
    if refused:
        raise FailedPrecondition(
            f"a branch may not change {', '.join(refused)}; it may change {', '.join(sorted(_CHANGEABLE))}. Code, resources "
            "and environment are those of its parent; clone the runtime to change them.",
            reason="NOT_A_BRANCH",
        )
    after = merge(merge(before, changes), {"parameters": dict(patch)})
    after["initialize_from"] = initialize_from
    resolved = resolve(after)
    shown = to_plain(resolved)
    paths = [path for path in changed_paths(before, shown) if path != "initialize_from"]
    return Branched(resolved, tuple(Change(path, _text(before, path), _text(shown, path)) for path in paths))


def _text(plain: Plain, path: str) -> str:
    """Write a value of a plain configuration; names in it may have dots."""
    value: Any = plain
    while path:
        if not isinstance(value, Mapping):
            return ""
        name = path if path in value else path.partition(".")[0]
        if name not in value:
            return ""
        value, path = value[name], path[len(name) + 1 :]
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else "text"

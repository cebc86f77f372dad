"""What a resume may change in a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration.plain import Plain
from milepost.configuration.resolution import resolve
from milepost.configuration.shown import to_plain
from milepost.errors import FailedPrecondition

# Parameters that say how long to train. A continuation may change these and no other.
DURATION_PARAMETERS = frozenset(
    {
        "epochs",
        "max_epochs",
        "num_epochs",
        "num_train_epochs",
        "steps",
        "max_steps",
        "num_steps",
        "total_steps",
        "max_train_steps",
    }
)
_CONTINUABLE = frozenset({"limits", "retries", "snapshots", "priority"})


def merge(plain: Plain, changes: Mapping[str, Any]) -> Plain:
    """Lay changes over a plain configuration: mappings merge, everything else replaces."""
    merged = dict(plain)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged


@dataclass(frozen=True, slots=True)
class Continuation:
    """A configuration that a resumed run goes on with."""

    configuration: RuntimeConfiguration
    # Paths of the fields that changed.
    changed_fields: tuple[str, ...]
    # It trains for longer than before.
    extends: bool


def continue_with(configuration: RuntimeConfiguration, changes: Mapping[str, Any]) -> Continuation:
    """Judge what a resume changes: how long to train, limits, retries, snapshots and the priority, nothing else.

    Raises:
        InvalidArgument: the result is no valid configuration.
        FailedPrecondition: it changes what a continuation may not change; names every such field.
    """
    before = to_plain(configuration)
    merged = resolve(merge(before, changes))
    after = to_plain(merged)
    changed = tuple(changed_paths(before, after))
    refused = [path for path in changed if not _may_change(path)]
    if refused:
        raise FailedPrecondition(
            f"a continuation may not change {', '.join(refused)}; it may change how long to train "
            f"(parameters {', '.join(sorted(DURATION_PARAMETERS))}), limits, retries, snapshots and priority. "
            "Clone the runtime to change more.",
            reason="NOT_A_CONTINUATION",
        )
    extends = any(
        _grew(before["parameters"].get(path.partition(".")[2]), after["parameters"].get(path.partition(".")[2]))
        for path in changed
        if path.startswith("parameters.")
    )
    return Continuation(merged, changed, extends)


def changed_paths(before: Plain, after: Plain, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the fields that differ in two plain configurations."""
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changed_paths(old, new, f"{prefix}{key}.")
        elif key not in before or key not in after or (type(old), old) != (type(new), new):
            yield f"{prefix}{key}"


def _may_change(path: str) -> bool:
    section, _, name = path.partition(".")
    return (section in _CONTINUABLE and path != "snapshots.storage") or (
        section == "parameters" and name in DURATION_PARAMETERS
    )


def _grew(old: Any, new: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (old, new))
    return numbers and new > old

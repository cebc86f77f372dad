"""The rules of a configuration, in the form of a file of rules. What each may say is judged by `milepost/rules/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.rule_pb2 import Rule
from milepost.configuration.plain import Plain
from milepost.configuration.specs import kind, refuse
from milepost.errors import InvalidArgument, Violation
from milepost.ids import TOKEN

MAX_RULES = 50
# What a rule says by itself: no selector, and nothing that the server says of it.
_SHOWN = ("display_name", "detector", "hold_seconds", "severity", "actions", "max_firings", "watching_only")


def _messages() -> Any:
    """Load what reads messages: it reads configurations too."""
    return import_module("milepost.protojson")


@dataclass(frozen=True)
class RunRules:
    """A list of rules, each with an id of its own."""

    maximum: int = MAX_RULES

    def read(self, value: Any, path: str, violations: list[Violation]) -> list[config.RunRule | None]:
        """Return a message for each rule; None for one that cannot be read."""
        if not isinstance(value, list):
            refuse(violations, path, f"must be a list, not {kind(value)}")
            return []
        if len(value) > self.maximum:
            refuse(violations, path, f"has {len(value):,} rules, more than {self.maximum}")
            return []
        first: dict[str, int] = {}
        found: list[config.RunRule | None] = []
        for index, item in enumerate(value):
            found.append(_read_rule(item, f"{path}[{index}]", violations))
            made = found[-1]
            if made is not None and first.setdefault(made.id, index) != index:
                refuse(violations, f"{path}[{index}].id", f"is that of {path}[{first[made.id]}] too: {made.id!r}")
        return found

    def schema(self) -> Plain:
        return {
            "type": "array",
            "maxItems": self.maximum,
            "items": {
                "type": "object",
                "required": ["id", "detector"],
                "properties": {"id": {"type": "string", "pattern": f"^(?:{TOKEN.pattern})$"}},
            },
        }


def _read_rule(value: Any, path: str, violations: list[Violation]) -> config.RunRule | None:
    if not isinstance(value, Mapping):
        refuse(violations, path, f"must be a mapping with an id and a detector, not {kind(value)}")
        return None
    before = len(violations)
    values = {str(name): given for name, given in value.items()}
    rule_id = values.pop("id", None)
    if not isinstance(rule_id, str) or TOKEN.fullmatch(rule_id) is None:
        refuse(violations, f"{path}.id", "must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")
    try:
        rule = _messages().from_json(values, Rule)
    except InvalidArgument as error:
        violations += [Violation(f"{path}.{one.field}", one.description) for one in error.violations]
    return config.RunRule(id=rule_id, rule=rule) if len(violations) == before else None


def rules_plain(rules: Any) -> list[Plain]:
    """Show rules in the form in which they are written. `RunRules.read` of it gives the same messages."""
    found = []
    for one in rules:
        shown = _messages().to_json(one.rule)
        # A selector that has no place here is shown, so that it is judged.
        names = [*(["selector"] if one.rule.selector else []), *_SHOWN]
        found.append({"id": one.id, **{name: shown[name] for name in names if shown[name] is not None}})
    return found

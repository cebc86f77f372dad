"""The rules that a run brings with its configuration, as they are evaluated. Pure."""

from __future__ import annotations

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.config.v1.rule_pb2 import Rule
from milepost.rules import of_runs
from services.rules.evaluation.states import SetRule


def own_rules(runtime_id: str, configuration: RuntimeConfiguration | None) -> dict[str, SetRule]:
    """Return the rules of a run by id. They select it alone, and are never changed."""
    found: dict[str, SetRule] = {}
    for one in configuration.rules if configuration is not None else ():
        rule = Rule()
        rule.CopyFrom(one.rule)
        rule.selector = f"id={runtime_id}"
        rule.display_name = rule.display_name or one.id
        rule_id = of_runs.rule_id(runtime_id, one.id)
        found[rule_id] = SetRule(rule_id, 1, rule)
    return found

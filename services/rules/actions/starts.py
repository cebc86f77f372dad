"""Runs that rules start: what they are like, and whether rules would start runs because of each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from milepost.api.config.v1.rule_pb2 import Rule
from milepost.configuration import resolve_text
from milepost.errors import FailedPrecondition
from services.rules.selection import Selectable, parse_selector

# Rule and who has written it.
Written = tuple[Rule, str]


def check_no_cycle(rule_id: str, rules: Mapping[str, Written]) -> None:
    """Refuse a rule that starts runs which it selects itself, also through other rules.

    What the code of a run declares later is not known; such a run is refused when it would be started.

    Raises:
        FailedPrecondition: names the rules in the order in which they would start runs.
    """
    path = _path_back(rule_id, rule_id, rules, (rule_id,), set())
    if path:
        through = f": {' starts a run for '.join(path)}" if len(path) > 2 else ""
        raise FailedPrecondition(
            f"the rule {rule_id} starts runs that it selects itself{through}; that would go on for ever. Narrow its selector, "
            "or give what it starts another name or label",
            reason="CYCLIC_START",
        )


def _path_back(
    target: str, at: str, rules: Mapping[str, Written], path: tuple[str, ...], seen: set[str]
) -> tuple[str, ...]:
    for following in _starts_for(at, rules):
        if following == target:
            return (*path, target)
        if following not in seen:
            seen.add(following)
            found = _path_back(target, following, rules, (*path, following), seen)
            if found:
                return found
    return ()


def _starts_for(rule_id: str, rules: Mapping[str, Written]) -> Iterator[str]:
    """Yield the rules that start runs and select one that this rule starts."""
    runs = list(_started(*rules[rule_id]))
    for other, (rule, _) in sorted(rules.items()):
        selects = parse_selector(rule.selector)
        if any(True for _ in _started(rule, "")) and any(selects(run) for run in runs):
            yield other


def _started(rule: Rule, owner: str) -> Iterator[Selectable]:
    """Describe the runs that a rule starts."""
    for action in rule.actions:
        if action.WhichOneof("kind") == "start":
            yield Selectable.of("", resolve_text(action.start.resolved_text), owner)

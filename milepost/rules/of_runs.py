"""The rules that a run brings with its configuration: what they may say, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable

from milepost.api.config.v1.configuration_pb2 import RunRule, RuntimeConfiguration
from milepost.errors import InvalidArgument, Violation
from milepost.rules.checks import checked


def rule_id(runtime_id: str, own_id: str) -> str:
    """Name a rule of a run among all rules. No id of a run, and of no other rule, has a dot."""
    return f"{runtime_id}.{own_id}"


def runtime_of(rule_id: str) -> str:
    """Return the id of the run whose configuration has a rule; empty: it is none of a run."""
    runtime_id, dot, _ = rule_id.partition(".")
    return runtime_id if dot else ""


def with_rules_checked(configuration: RuntimeConfiguration) -> RuntimeConfiguration:
    """Return a configuration whose rules have every default filled in.

    Raises:
        InvalidArgument: with all that is wrong with them, by field; `rules[0].detector.threshold.value` is one.
    """
    violations: list[Violation] = []
    made = [_checked(at, one, violations) for at, one in enumerate(configuration.rules)]
    if violations:
        raise InvalidArgument(violations)
    judged = RuntimeConfiguration()
    judged.CopyFrom(configuration)
    del judged.rules[:]
    judged.rules.extend(one for one in made if one is not None)
    return judged


def violations_of(rules: Iterable[RunRule | None]) -> list[Violation]:
    """List what is wrong with rules; None is one that cannot be read."""
    violations: list[Violation] = []
    for at, one in enumerate(rules):
        if one is not None:
            _checked(at, one, violations)
    return violations


def _checked(at: int, one: RunRule, violations: list[Violation]) -> RunRule | None:
    path = f"rules[{at}]."
    if one.rule.detector.WhichOneof("kind") == "baseline":
        violations.append(
            Violation(f"{path}detector.baseline", "is for a rule of its own: its curve is read when that is made")
        )
        return None
    try:
        return RunRule(id=one.id, rule=checked(one.rule, path=path))
    except InvalidArgument as error:
        violations += error.violations
        return None

"""What a rule may say, for the document: as `milepost/rules/checks.py` has it, which judges what no schema can say.

A number that is 0 is its default, so most may be 0 beside what they are from and to.
"""

from __future__ import annotations

from typing import Any

from milepost.domain.runtime import Phase, Status
from milepost.eventlog import codec

INT32 = 2**31 - 1
_INT64 = {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1}


def _number(lowest: float, highest: float, **more: float) -> dict[str, Any]:
    return {"type": "number", "minimum": lowest, "maximum": highest, **more}


def _zero_or(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": schema["type"], "enum": [0]}, schema]}


def _whole(lowest: int, highest: int) -> dict[str, Any]:
    return {"type": "integer", "format": "int32", "minimum": lowest, "maximum": highest}


def _long(lowest: int, highest: int) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": lowest, "maximum": highest}


def _above(lowest: float, highest: float) -> dict[str, Any]:
    return {"type": "number", "exclusiveMinimum": lowest, "maximum": highest}


def rule_fields(key: dict[str, Any], trial: dict[str, Any], name: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return `<message>.<field>` -> schema, given those of a series key, the name of a trial and a name for people."""
    usual_key = {"anyOf": [{"type": "string", "enum": [""]}, key]}
    window = _zero_or(_whole(8, 1_000))
    watched = [type_ for type_ in sorted(codec.TYPES) if not type_.startswith(("milepost.rule.", "milepost.platform."))]
    return {
        "Rule.display_name": name,
        "Rule.selector": {"type": "string", "maxLength": 1_000, "description": "Terms joined by AND, as a filter"},
        "Rule.hold_seconds": _number(0, 86_400),
        "Rule.max_firings": _whole(0, 100),
        # What the server says of a rule is passed over.
        "Rule.revision": _whole(-INT32 - 1, INT32),
        "Rule.sequence": _INT64,
        "Baseline.steps": _INT64,
        "Threshold.series": key,
        "Threshold.value": {"type": "number"},
        "Change.series": key,
        "Change.window": window,
        "Change.deviations": _number(0, 1_000),
        "Baseline.series": key,
        "Baseline.trial": trial,
        "Baseline.tolerance": _number(0, 1_000),
        "Plateau.series": key,
        "Plateau.window": _zero_or(_whole(2, 1_000_000)),
        "Plateau.min_improvement": _number(0, 1),
        "ExplodingGradient.series": usual_key,
        "ExplodingGradient.factor": _zero_or(_above(1, 1e12)),
        "ExplodingGradient.window": window,
        "VanishingGradient.series": usual_key,
        "VanishingGradient.below": _number(0, 1e12),
        "VanishingGradient.points": _whole(0, 1_000_000),
        "NotFinite.series": usual_key,
        "Silence.factor": _zero_or(_above(1, 1e6)),
        "Silence.min_seconds": _zero_or(_number(1, 604_800)),
        "ThroughputDrop.series": usual_key,
        "ThroughputDrop.share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "ThroughputDrop.window": window,
        "LogPattern.pattern": {"type": "string", "minLength": 1, "maxLength": 1_000, "description": "RE2"},
        "EventSeen.type": {"type": "string", "enum": watched},
        "StateEntered.states": {"type": "string", "enum": [word.value for word in (*Status, *Phase)]},
        "Retries.count": _whole(1, 100),
        "EstimatedEnd.after_seconds": _above(0, 1e9),
        "GpuIdle.below_percent": _number(0, 100),
        "DiskFilling.above_percent": _number(0, 99.999),
        "Label.set": {
            "type": "object",
            "maxProperties": 64,
            "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$"},
            "additionalProperties": {"type": "string", "maxLength": 256},
        },
        "Label.remove": {"type": "string", "minLength": 1, "maxLength": 250},
        "Start.runtime": {"type": "string"},
        "RollBack.margin_steps": _long(0, 1_000_000_000),
        "RollBack.parameters": {"type": "object", "maxProperties": 100, "additionalProperties": {"type": "string"}},
        "RollBack.factors": {
            "type": "object",
            "maxProperties": 100,
            "additionalProperties": _above(0, 1e6),
        },
        "RollBack.skip_batches": _long(0, 1_000_000_000),
        "RollBack.max_times": _whole(0, 100),
    }


RULE_LISTS: dict[str, dict[str, Any]] = {
    "Rule.actions": {"maxItems": 10},
    "Label.remove": {"maxItems": 64},
    "StateEntered.states": {"minItems": 1, "maxItems": len(Status) + len(Phase)},
}
RULE_REQUIRED = frozenset(
    {
        "CreateRule.rule",
        "UpdateRule.rule",
        "Rule.detector",
        "Threshold.series",
        "Threshold.comparison",
        "Change.series",
        "Baseline.series",
        "Baseline.trial",
        "Plateau.series",
        "LogPattern.pattern",
        "EventSeen.type",
        "StateEntered.states",
        "Retries.count",
    }
)

"""What the services take beyond the types of the fields: for the document, which is to allow what they accept, and no more.

What no schema can say stays with the services: the grammar of filters and regular expressions, what holds between two
fields, and whatever depends on the state.
"""

from __future__ import annotations

from typing import Any

from milepost import series_names
from milepost.configuration import MAX_TEXT_BYTES
from milepost.eventlog import codec
from milepost.ids import TOKEN
from milepost.numbers import MAX_NUMBER
from services.gateway.rule_bounds import RULE_LISTS, RULE_REQUIRED, rule_fields

_ID = TOKEN.pattern
_TRIAL_NAME = f"runtimes/{_ID}/trials/[1-9][0-9]{{0,8}}"
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
PRINTABLE = f"^[^{_CONTROL}]*$"


def _text(longest: int, pattern: str = PRINTABLE) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest, "pattern": pattern}


def _whole(lowest: int, highest: int) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": lowest, "maximum": highest}


def _page(largest: int) -> dict[str, Any]:
    return {"type": "integer", "format": "int32", "minimum": 0, "maximum": largest}


def _yaml(description: str, shortest: int = 0) -> dict[str, Any]:
    # Neither YAML nor JSON has these anywhere. What the text says is judged by the services.
    pattern = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f]*$"
    schema = {"type": "string", "maxLength": MAX_TEXT_BYTES, "pattern": pattern, "description": description}
    return {**schema, "minLength": shortest} if shortest else schema


_SEQUENCE = _whole(0, MAX_NUMBER)
_REQUEST_ID = {**_text(128), "description": "The same id gives the same answer for 24 hours"}
_FILTER = {
    "type": "string",
    "maxLength": 1_000,
    "description": "Terms joined by AND, such as status=Failed AND label.team=nlp",
}
# Spaces at its ends are no part of a key, so one of spaces alone is none.
_KEY = {
    "type": "string",
    "maxLength": series_names.LONGEST,
    "pattern": rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$",
}
# A name, a sign and a number, as the metric service reads them.
COMPARISON = (
    r"^\s*[^<>=\s](?:[^<>=]{0,248}[^<>=\s])?\s*(?:<=|>=|<|>|=)"
    r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?\s*$"
)
_NAME = {"type": "string", "pattern": f"^{_TRIAL_NAME}$"}
_RUNTIME_OR_ALL = {"type": "string", "pattern": f"^runtimes/(?:{_ID}|-)$"}
_ORDERS = ["create_time", "update_time", "display_name", "status", "created_by"]

# Field of a request, or `<method>.<field>` -> schema. Of a list: of its elements.
FIELDS: dict[str, dict[str, Any]] = {
    "page_size": _page(1_000),
    "QueryLogs.page_size": _page(5_000),
    "ListSnapshots.page_size": _page(10_000),
    "ListSeries.page_size": _page(10_000),
    "ListRungs.page_size": _page(10_000),
    "page_token": {"type": "string", "description": "next_page_token of the answer before, to the same query"},
    "filter": _FILTER,
    "ListRuntimes.order_by": {"enum": ["", "activity", *(f"{name}{way}" for name in _ORDERS for way in ("", " desc"))]},
    "ListTrials.order_by": {
        "type": "string",
        "pattern": r"^\s*((trial|status|completion|best|elapsed|remaining|step|start_time)(\s+desc)?)?\s*$",
    },
    "min_sequence": _SEQUENCE,
    "min_telemetry_sequence": _SEQUENCE,
    "after_sequence": _SEQUENCE,
    "until_sequence": _SEQUENCE,
    "first_step": _SEQUENCE,
    "last_step": {**_SEQUENCE, "description": "0: to the end; else not before first_step"},
    "QueryLogs.skip": _whole(0, 100_000_000),
    "ExportSeries.skip": {**_SEQUENCE, "description": "Only with limit"},
    "ExportSeries.limit": {**_whole(0, 100_000), "description": "Not with include_superseded. 0: all"},
    "bucket_count": _page(10_000),
    "QueryHistograms.bucket_count": _page(1_000),
    "QueryHistograms.bin_count": _page(256),
    "QueryHistograms.key": {**_KEY, "minLength": 1},
    "prompt_text": {"type": "string", "maxLength": 1_000},
    "completion_text": {"type": "string", "maxLength": 1_000},
    "prompt_id": {"type": "string", "pattern": "^(?:[0-9a-f]{16})?$"},
    "ListSamples.scores": {"type": "string", "pattern": COMPARISON},
    "parents": _NAME,
    "names": _NAME,
    "keys": _KEY,
    "ReplayEvents.parent": _RUNTIME_OR_ALL,
    "VerifyLog.parent": {"type": "string", "pattern": f"^(?:runtimes/(?:{_ID}|-))?$"},
    "VerifyStored.parent": {"type": "string", "pattern": f"^(?:runtimes/{_ID}(?:/trials/[1-9][0-9]{{0,8}})?)?$"},
    "BranchTrial.step": {**_SEQUENCE, "description": "Instead of snapshot_id: that of a snapshot"},
    "BranchTrial.snapshot_id": _text(200),
    **{
        f"{method}.{name}": schema
        for method in ("PinSnapshot", "UnpinSnapshot")
        for name, schema in {
            "step": {**_SEQUENCE, "description": "Instead of snapshot_id: that of a snapshot"},
            "snapshot_id": _text(200),
        }.items()
    },
    "parameters_text": _yaml("YAML or JSON: parameters by name"),
    "cursor": {"type": "string", "pattern": "^(?:[0-9a-f]{16}-[0-9a-f]{12}-[0-9a-f]{5})?$"},
    "EventFilter.trial": {"type": "integer", "format": "int32", "minimum": 0},
    "EventFilter.types": {"enum": sorted(codec.TYPES)},
    "text": {"type": "string", "maxLength": 1_000},
    "regular_expression": {"type": "string", "maxLength": 1_000, "description": "RE2"},
    "request_id": _REQUEST_ID,
    "reason": _text(1_000, r"^[^\u0000-\u0008\u000b-\u001f]*$"),
    # A nanosecond is the least that a duration can say.
    "deadline": {"type": "number", "minimum": 1e-9, "maximum": 86_400, "description": "seconds"},
    "runtime_id": {"type": "string", "pattern": "^(?:rt-[0-9a-v]{26})?$"},
    "runtime_ids": {"type": "string", "pattern": f"^{_ID}$", "description": "With runtime - only, 1,000 at most"},
    "display_name": _text(200),
    "rule_id": {"type": "string", "pattern": f"^(?:{_ID})?$"},
    "TestRule.name": {"type": "string", "pattern": f"^rules/{_ID}(?:\\.{_ID})?$"},
    "TestRule.max_runs": _page(10_000),
    "ListRules.runtime": {"type": "string", "pattern": f"^(?:runtimes/{_ID})?$"},
    "ListFirings.runtime": {"type": "string", "pattern": f"^(?:runtimes/{_ID})?$"},
    **rule_fields(_KEY, _NAME, _text(200)),
    "LabelRuntime.labels": {
        "type": "object",
        "maxProperties": 64,
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$"},
        "additionalProperties": _text(256),
    },
    "removed_labels": {"type": "string", "maxLength": 250},
    "before_step": {**_SEQUENCE, "minimum": 1, "description": "Or snapshot_id: one of them"},
    "RollBackTrial.snapshot_id": {"type": "string", "minLength": 1},
    "RollBackTrial.attempt": {**_page(2**31 - 1), "description": "With before_step"},
    "RollBackTrial.margin_steps": {**_whole(0, 1_000_000_000), "description": "With before_step"},
    "RollBackTrial.skip_batches": _whole(0, 1_000_000_000),
    "RollBackTrial.max_times": _page(1_000),
    "factors": {
        "type": "object",
        "propertyNames": {"maxLength": 250},
        "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
    },
    "RollBackTrial.parameters_text": _yaml("Parameters to change by name, as YAML or JSON"),
    "SteerTrial.parameters_text": _yaml("New values of steerables by name, as YAML or JSON"),
    "configuration_text": _yaml("The configuration as YAML or JSON", shortest=1),
    "configuration_changes_text": _yaml("YAML or JSON, laid over the configuration"),
}

# Lists: how many elements they have, and whether they must be there.
LISTS: dict[str, dict[str, Any]] = {
    "QuerySeries.parents": {"minItems": 1, "maxItems": 50},
    "ExportSeries.parents": {"minItems": 1, "maxItems": 50},
    "ListSamples.parents": {"minItems": 1, "maxItems": 50},
    "ListSamples.keys": {"maxItems": 100},
    "ListSamples.scores": {"maxItems": 10},
    "ListSeries.parents": {"maxItems": 50},
    "ListSeries.keys": {"maxItems": 100},
    "QuerySeries.keys": {"minItems": 1, "maxItems": 100},
    "ExportSeries.keys": {"maxItems": 100},
    "CheckDeterminism.keys": {"maxItems": 100},
    "CompareTrials.names": {"minItems": 2, "maxItems": 10, "uniqueItems": True},
    "LabelRuntimeRequest.removed_labels": {"maxItems": 64},
    **RULE_LISTS,
}
REQUIRED = frozenset(
    {
        "QuerySeries.parents",
        "QuerySeries.keys",
        "ExportSeries.parents",
        "ListSamples.parents",
        "QueryHistograms.key",
        "CompareTrials.names",
        "ReplayEvents.parent",
    }
    | RULE_REQUIRED
)


def bounds_of(method: str, message: str, field: str) -> dict[str, Any] | None:
    """Return the schema of a field of a method's request, or of a message in it; None: its type says all."""
    return next((FIELDS[key] for key in (f"{method}.{field}", f"{message}.{field}", field) if key in FIELDS), None)

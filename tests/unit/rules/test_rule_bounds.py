"""What the document says of a rule is what the rule service takes."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost import protojson
from milepost.api.config.v1 import rule_pb2 as config
from milepost.errors import InvalidArgument
from milepost.rules.checks import CHECKS, checked
from services.gateway.openapi import document

DOCUMENT = document("0")
SENT = {"$ref": "#/components/schemas/config.v1.RuleSent", "components": DOCUMENT["components"]}
VALIDATOR = jsonschema.Draft202012Validator(SENT, format_checker=jsonschema.FormatChecker())
TRIAL = "runtimes/rt-06h2g5jp5ttfj8s45sl917e3ic/trials/1"
NUMBERS = st.sampled_from([0, 1, 2, 7, 8, 20, 100, 101, 1000, 1001, 86400, 86401, 1_000_001, -1, 0.5, 1e-9, 99.9, 1e13])
WHOLE = st.sampled_from([0, 1, 2, 7, 8, 20, 100, 101, 1000, 1001, 86400, 86401, 1_000_001, -1])
SERIES = st.sampled_from(["train/loss", "", " ", "a\tb", "x" * 300])


def fields_of(detector: str) -> dict[str, st.SearchStrategy[Any]]:
    message = getattr(config.Detector(), detector)
    found: dict[str, st.SearchStrategy[Any]] = {}
    for field in message.DESCRIPTOR.fields:
        if field.name == "series":
            found[field.name] = SERIES
        elif field.name == "trial":
            found[field.name] = st.sampled_from([TRIAL, "runtimes/x", ""])
        elif field.enum_type is not None:
            found[field.name] = st.sampled_from([value.name.partition("_")[2] for value in field.enum_type.values])
        elif field.name == "states":
            found[field.name] = st.lists(st.sampled_from(["Failed", "QUEUED", "failed"]), max_size=3)
        elif field.name == "pattern":
            found[field.name] = st.sampled_from(["", "loss", "x" * 1001])
        elif field.name == "type":
            found[field.name] = st.sampled_from(["milepost.trial.attempt_fenced.v1", "milepost.rule.rule_set.v1", "x"])
        elif field.name == "time":
            found[field.name] = st.just("2026-11-29T12:00:00Z")
        elif field.type in (field.TYPE_DOUBLE, field.TYPE_INT32) and field.name not in ("steps", "values"):
            whole = field.type == field.TYPE_INT32
            found[field.name] = WHOLE if whole else NUMBERS
    return found


@st.composite
def rules(draw: st.DrawFn, detector: str) -> dict[str, Any]:
    strategies = fields_of(detector)
    chosen = draw(st.lists(st.sampled_from(sorted(strategies)), unique=True)) if strategies else []
    if detector == "estimated_end":
        chosen = chosen[:1]
    rule: dict[str, Any] = {"detector": {detector: {name: draw(strategies[name]) for name in chosen}}}
    for name in ("hold_seconds", "max_firings"):
        if draw(st.booleans()):
            rule[name] = draw(WHOLE)
    return rule


@pytest.mark.parametrize("detector", sorted(CHECKS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_it_allows_is_accepted_and_what_it_forbids_is_refused(detector: str, data: st.DataObject) -> None:
    given_rule = data.draw(rules(detector))
    allowed = VALIDATOR.is_valid(given_rule)
    try:
        checked(protojson.from_json(given_rule, config.Rule))
        accepted = True
    except InvalidArgument:
        accepted = False
    assert accepted == allowed, given_rule


def test_every_detector_is_described_and_what_is_read_can_be_written_back() -> None:
    kinds = DOCUMENT["components"]["schemas"]["config.v1.DetectorSent"]["oneOf"]
    assert {kind["required"][0] for kind in kinds} == set(CHECKS)
    rule = checked(protojson.from_json({"detector": {"plateau": {"series": "train/loss"}}}, config.Rule))
    rule.name, rule.revision, rule.etag, rule.owner, rule.sequence = "rules/a", 3, "3", "ada", 17
    rule.create_time.GetCurrentTime()
    VALIDATOR.validate({name: value for name, value in protojson.to_json(rule).items() if value is not None})

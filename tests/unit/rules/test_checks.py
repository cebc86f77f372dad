"""What a rule may say, and what is said about one that says something else."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1 import rule_pb2 as rules
from milepost.errors import InvalidArgument
from milepost.ids import new_runtime_id
from milepost.rules import checks
from milepost.rules.checks import CHECKS
from services.rules.selection import Selectable, parse_selector

checked = partial(checks.checked, parse_selector=parse_selector)

ABOVE = rules.COMPARISON_ABOVE


def rule(**detector: Any) -> rules.Rule:
    return rules.Rule(detector=rules.Detector(**detector))


def fields_of(given: rules.Rule) -> list[str]:
    with pytest.raises(InvalidArgument) as refused:
        checked(given)
    return [violation.field for violation in refused.value.violations]


def test_every_detector_is_checked() -> None:
    assert set(CHECKS) == {field.name for field in rules.Detector.DESCRIPTOR.oneofs_by_name["kind"].fields}


def test_a_rule_watches_only_unless_it_says_otherwise() -> None:
    made = checked(rule(not_finite=rules.NotFinite()))
    assert made.watching_only
    assert (made.max_firings, made.severity) == (10, rules.SEVERITY_WARNING)
    acting = rule(not_finite=rules.NotFinite())
    acting.watching_only = False
    assert not checked(acting).watching_only


def test_what_the_server_says_of_a_rule_nobody_else_can() -> None:
    given = rule(not_finite=rules.NotFinite())
    given.owner, given.revision, given.disabled, given.etag = "somebody", 7, True, "x"
    made = checked(given)
    assert (made.owner, made.revision, made.disabled, made.etag) == ("", 0, False, "")


def test_a_rule_that_was_checked_stays_as_it_is() -> None:
    made = checked(rule(change=rules.Change(series="train/loss")))
    assert (made.detector.change.window, made.detector.change.deviations) == (50, 8.0)
    assert checked(made) == made


@pytest.mark.parametrize(
    ("detector", "field"),
    [
        ({}, "rule.detector"),
        ({"threshold": rules.Threshold(series="a", value=1.0)}, "rule.detector.threshold.comparison"),
        ({"threshold": rules.Threshold(comparison=ABOVE)}, "rule.detector.threshold.series"),
        ({"threshold": rules.Threshold(series="a", comparison=ABOVE, value=math.nan)}, "rule.detector.threshold.value"),
        ({"threshold": rules.Threshold(series="a", comparison=ABOVE, value=math.inf)}, "rule.detector.threshold.value"),
        ({"change": rules.Change(series="a", window=2)}, "rule.detector.change.window"),
        ({"change": rules.Change(series="a", window=10_000)}, "rule.detector.change.window"),
        ({"change": rules.Change(series="a", deviations=math.nan)}, "rule.detector.change.deviations"),
        ({"baseline": rules.Baseline(series="a", trial="runtimes/x")}, "rule.detector.baseline.trial"),
        ({"plateau": rules.Plateau(series="a", min_improvement=2.0)}, "rule.detector.plateau.min_improvement"),
        ({"exploding_gradient": rules.ExplodingGradient(factor=0.5)}, "rule.detector.exploding_gradient.factor"),
        ({"vanishing_gradient": rules.VanishingGradient(below=-1.0)}, "rule.detector.vanishing_gradient.below"),
        ({"not_finite": rules.NotFinite(series="a\nb")}, "rule.detector.not_finite.series"),
        ({"silence": rules.Silence(factor=1.0)}, "rule.detector.silence.factor"),
        ({"throughput_drop": rules.ThroughputDrop(share=1.0)}, "rule.detector.throughput_drop.share"),
        ({"log_pattern": rules.LogPattern(pattern="(a")}, "rule.detector.log_pattern.pattern"),
        ({"log_pattern": rules.LogPattern(pattern=r"(a)\1")}, "rule.detector.log_pattern.pattern"),
        ({"log_pattern": rules.LogPattern()}, "rule.detector.log_pattern.pattern"),
        ({"log_pattern": rules.LogPattern(pattern="((a{1,100}){1,100}){1,100}")}, "rule.detector.log_pattern.pattern"),
        ({"event": rules.EventSeen(type="milepost.trial.nothing.v1")}, "rule.detector.event.type"),
        ({"event": rules.EventSeen(type="milepost.rule.rule_fired.v1")}, "rule.detector.event.type"),
        ({"state": rules.StateEntered()}, "rule.detector.state.states"),
        ({"state": rules.StateEntered(states=["Running away"])}, "rule.detector.state.states"),
        ({"retries": rules.Retries()}, "rule.detector.retries.count"),
        ({"estimated_end": rules.EstimatedEnd()}, "rule.detector.estimated_end.bound"),
        ({"estimated_end": rules.EstimatedEnd(after_seconds=-1.0)}, "rule.detector.estimated_end.after_seconds"),
        ({"gpu_idle": rules.GpuIdle(below_percent=200.0)}, "rule.detector.gpu_idle.below_percent"),
        ({"disk_filling": rules.DiskFilling(above_percent=100.0)}, "rule.detector.disk_filling.above_percent"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(detector: dict[str, Any], field: str) -> None:
    assert fields_of(rule(**detector)) == [field]


def test_what_is_refused_is_said_in_the_words_of_a_file() -> None:
    with pytest.raises(InvalidArgument, match=r"comparison: must be one of ABOVE, BELOW$"):
        checked(rule(threshold=rules.Threshold(series="train/loss", value=1.0)))


def test_everything_that_is_wrong_is_named_at_once() -> None:
    given = rule(log_pattern=rules.LogPattern(pattern="["))
    given.selector, given.hold_seconds, given.max_firings = "status=Failed", -1.0, 1_000
    given.display_name = "a\tb"
    given.actions.add()
    assert set(fields_of(given)) == {
        "rule.selector", "rule.hold_seconds", "rule.max_firings", "rule.display_name", "rule.actions[0]",
        "rule.detector.log_pattern.pattern",
    }  # fmt: skip


def test_a_selector_looks_at_what_a_run_is_made_with() -> None:
    configuration = config.RuntimeConfiguration(
        name="lm large",
        launcher=config.LAUNCHER_RAY,
        labels={"team": "nlp"},
        parameters={"optimizer": '"adam"', "lr": "0.01"},
    )
    run = Selectable.of(new_runtime_id(), configuration, "ada")
    for text in ("", "large", 'name:"lm"', "created_by=ada AND label.team=nlp", "launcher=ray", "parameters.optimizer=adam",
                 "parameters.lr<0.1", f"id={run.runtime_id}"):  # fmt: skip
        assert parse_selector(text)(run), text
    for text in ("label.team=cv", "label.other=x", "created_by=eve", "parameters.lr>0.1", "small"):
        assert not parse_selector(text)(run), text

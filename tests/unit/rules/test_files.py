"""Rules in files, and the ten that come with Milepost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import resources

import click
import pytest

from milepost.cli.runs.rules import read_rules, start_of
from milepost.errors import InvalidArgument
from milepost.rules.checks import checked

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def test_the_ten_that_come_with_milepost_are_rules() -> None:
    read = read_rules(resources.files("milepost.recipes").joinpath("rules.yaml").read_text())
    assert len(dict(read)) == 10
    assert all(checked(rule).watching_only for _, rule in read)


def test_a_file_has_one_rule_or_several() -> None:
    ((rule_id, rule),) = read_rules("id: nan\ndetector: {not_finite: {}}")
    assert (rule_id, rule.detector.WhichOneof("kind")) == ("nan", "not_finite")
    assert [
        rule_id
        for rule_id, _ in read_rules("rules: [{detector: {silence: {}}}, {id: b, detector: {retries: {count: 1}}}]")
    ] == ["", "b"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("detector: {thresold: {}}", "rule.detector.thresold"),
        ("rules: [{detector: {silence: {factor: many}}}]", "rules[0].detector.silence.factor"),
        ("severity: LOUD", "rule.severity"),
        ("rules: [{id: a, detector: {silence: {}}}, {id: a, detector: {not_finite: {}}}]", "rules[1].id"),
        ("- 1", "rule"),
        ("a: [", "rule"),
        ("detector: {silence: {}, retries: {count: 1}}", "rule.detector"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_by_its_field(text: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_rules(text)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_a_word_where_a_number_belongs_is_said_as_it_stands() -> None:
    with pytest.raises(InvalidArgument, match="must be a number, not 'five'"):
        read_rules("detector: {threshold: {series: train/loss, comparison: ABOVE, value: five}}")


def test_since_is_so_long_ago_or_a_time() -> None:
    assert start_of("90d", NOW) == NOW - timedelta(days=90)
    assert start_of("12h", NOW) == NOW - timedelta(hours=12)
    assert start_of("2026-11-01", NOW) == datetime(2026, 11, 1, tzinfo=UTC)
    for text in ("yesterday", "999999w", ""):
        with pytest.raises(click.UsageError):
            start_of(text, NOW)

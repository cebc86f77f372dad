"""The filter and order language of MLflow's searches."""

from __future__ import annotations

import math
from typing import Any

import pytest

from milepost.errors import InvalidArgument
from services.mlflow.filters import Candidate, order, parse


def run(number: int, **more: Any) -> Candidate:
    attributes = {"run_id": str(number), "start_time": number, "status": "FINISHED", "run_name": f"run {number}"}
    return Candidate(attributes, **more)


RUNS = [
    run(1, params={"lr": "0.1"}, metrics={"loss": 3.0}, tags={"team": "nlp"}),
    run(2, params={"lr": "0.2"}, metrics={"loss": 1.0, "val acc": 0.5}),
    run(3, metrics={"loss": math.nan}),
    run(4),
]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", "1234"),
        ("metrics.loss > 2", "1"),
        ("metrics.loss <= 3 and params.lr = '0.2'", "2"),
        ("metrics.`val acc` = 0.5", "2"),
        ("params.lr IN ('0.1', '0.2')", "12"),
        ("params.lr NOT IN ('0.1')", "2"),
        ("tags.team LIKE 'n%' AND attributes.status = 'FINISHED'", "1"),
        ("run_name ILIKE 'RUN 3'", "3"),
        ("start_time >= 3", "34"),
        ("params.lr IS NULL", "34"),
        ("tags.team IS NOT NULL and metrics.loss=3.0", "1"),
        ("datasets.name = 'x'", ""),
    ],
)
def test_filters(text: str, numbers: str) -> None:
    accepts = parse(text)
    assert "".join(candidate.attributes["run_id"] for candidate in RUNS if accepts(candidate)) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "loss",
        "metrics.loss < 'x'",
        "params.a = '1' or params.b = '2'",
        "things.a = 'b'",
        "params.lr < '3'",
        "x = 1 ;",
        "AND",
        "metrics.loss > 1 and",
        "params.lr = 1",
        "metrics.loss = '1'",
        "unknown = 'x'",
        "metrics.loss LIKE '1'",
        "status IS NULL",
        "run_id IN ()",
    ],
)
def test_a_filter_of_another_language_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text)


def test_orders_put_what_has_no_value_last() -> None:
    def numbers(*clauses: str) -> str:
        return "".join(candidate.attributes["run_id"] for candidate in order(RUNS, list(clauses)))

    assert numbers() == "4321"
    assert numbers("metrics.loss ASC") == "2134"
    assert numbers("metrics.loss DESC") == "1234"
    assert numbers("params.lr DESC", "start_time ASC") == "2134"
    with pytest.raises(InvalidArgument):
        numbers("loss upwards")

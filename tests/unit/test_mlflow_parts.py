"""MLflow's ids, values and search language, without a server."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.errors import InvalidArgument, MilepostError
from milepost.ids import is_runtime_id, new_runtime_id
from services.gateway.mlflow.catalog import Catalog
from services.gateway.mlflow.errors import STATUSES, code_of
from services.gateway.mlflow.filters import Candidate, order, parse
from services.gateway.mlflow.names import (
    experiment_id_of,
    number_of,
    number_text,
    parameter_text,
    parameter_value,
    run_id_of,
    runtime_id_of,
    whole_of,
)
from services.gateway.mlflow.recorder import Point


def test_an_id_is_the_same_in_both_worlds() -> None:
    runtime_id = new_runtime_id()
    run_id = run_id_of(runtime_id)
    assert len(run_id) == 32
    assert runtime_id_of(run_id) == runtime_id
    assert is_runtime_id(runtime_id_of("f" * 32))


@pytest.mark.parametrize("text", ["", "x" * 32, "0" * 31, "0" * 33, None, 7])
def test_what_is_no_id_is_refused(text: Any) -> None:
    with pytest.raises(InvalidArgument):
        runtime_id_of(text)


@given(st.text(max_size=50))
def test_a_parameter_comes_back_as_it_was_written(text: str) -> None:
    import json

    kept = parameter_text(text)
    json.loads(kept)
    assert parameter_value(kept) == text


@pytest.mark.parametrize(("text", "kept"), [("1e-3", "1e-3"), ("Adam", '"Adam"'), ("NaN", '"NaN"'), ("true", "true")])
def test_a_parameter_that_is_a_number_is_kept_as_one(text: str, kept: str) -> None:
    assert parameter_text(text) == kept


def test_numbers_that_json_lacks_are_words() -> None:
    for value in (math.inf, -math.inf, 0.1):
        assert number_of(number_text(value), "x") == value
    assert math.isnan(number_of(number_text(math.nan), "x"))
    for wrong in (None, True, "many", [1]):
        with pytest.raises(InvalidArgument):
            number_of(wrong, "x")


def test_whole_numbers_may_be_text() -> None:
    assert whole_of("12", "x", 0, 20) == 12
    for wrong in ("1.5", -1, 21, None, True, 1.0):
        with pytest.raises(InvalidArgument):
            whole_of(wrong, "x", 0, 20)


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
    ],
)
def test_filters(text: str, numbers: str) -> None:
    accepts = parse(text)
    assert "".join(candidate.attributes["run_id"] for candidate in RUNS if accepts(candidate)) == numbers


@pytest.mark.parametrize(
    "text",
    ["loss", "metrics.loss < 'x'", "params.a = '1' or params.b = '2'", "things.a = 'b'", "params.lr < '3'", "x = 1 ;"],
)
def test_a_filter_of_another_language_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text)


def test_orders_put_what_has_no_value_last() -> None:
    def numbers(*clauses: str) -> str:
        return "".join(candidate.attributes["run_id"] for candidate in order(RUNS, list(clauses)))

    assert numbers() == "4321"
    assert numbers("metrics.loss ASC") == "2143"
    assert numbers("metrics.loss DESC") == "1243"
    assert numbers("params.lr DESC", "start_time ASC") == "2134"
    with pytest.raises(InvalidArgument):
        numbers("loss upwards")


def test_experiments_are_known_by_name_and_by_id(tmp_path: Any) -> None:
    catalog = Catalog(tmp_path / "experiments.sqlite")
    made = catalog.create("mine", {"owner": "ada"})
    assert catalog.by_id(made.experiment_id) == catalog.by_name("mine") == made
    catalog.set_tag(made.experiment_id, "owner", "grace")
    assert Catalog(tmp_path / "experiments.sqlite").by_name("mine").tags == {"owner": "grace"}
    with pytest.raises(MilepostError):
        catalog.create("mine", {})
    assert {experiment.name for experiment in catalog.all()} == {"Default", "mine"}
    assert experiment_id_of("Default") == "0" and experiment_id_of("mine") == made.experiment_id


def test_a_point_is_known_again_also_if_it_is_nan() -> None:
    assert Point("x", 1, 2, math.nan).identity == Point("x", 1, 2, float("nan")).identity
    assert Point("x", 1, 2, 3.0).identity != Point("x", 1, 3, 3.0).identity


def test_every_error_has_a_code_of_mlflow() -> None:
    kinds = MilepostError.__subclasses__()
    assert kinds
    for kind in kinds:
        error = kind([]) if kind is InvalidArgument else kind("text")
        assert code_of(error) in STATUSES

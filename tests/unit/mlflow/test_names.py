"""Ids, parameters and numbers as MLflow writes them, and as they are here."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.errors import InvalidArgument
from milepost.ids import is_runtime_id, new_runtime_id
from services.mlflow.names import (
    number_of,
    number_text,
    parameter_text,
    parameter_value,
    run_id_of,
    runtime_id_of,
    whole_of,
)


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

"""Which trials are not worth to go on."""

from __future__ import annotations

import math
from typing import Any

import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from services.runtime.policies.pruning import Verdict, judge, rung_step

MIN, MAX = config.METRIC_MODE_MIN, config.METRIC_MODE_MAX


def pruner(kind: str, **fields: Any) -> config.SearchPruner:
    return config.SearchPruner(kind=f"PRUNER_KIND_{kind}", **{"first_step": 10, **fields})


def test_asha_lets_one_in_so_many_go_on_and_its_rungs_lie_further_and_further_apart() -> None:
    asha = pruner("ASHA", reduction_factor=3)
    assert [rung_step(asha, rung) for rung in (1, 2, 3)] == [10, 30, 90]
    assert judge(asha, MIN, [5.0], []) is None, "the first one has nobody to be worse than"
    assert judge(asha, MIN, [6.0], [5.0]) == Verdict(5.0, 2, 2)
    assert judge(asha, MIN, [5.0], [5.0]) is None, "as good is good enough"
    assert judge(asha, MIN, [2.0], [1.0, 3.0, 4.0, 5.0, 6.0]) is None, "two of six"
    assert judge(asha, MIN, [3.5], [1.0, 3.0, 4.0, 5.0, 6.0]) == Verdict(3.0, 3, 6)
    assert judge(asha, MAX, [3.5], [1.0, 3.0, 4.0, 5.0, 6.0]) == Verdict(5.0, 4, 6)


def test_the_median_asks_for_some_others_first() -> None:
    median = pruner("MEDIAN", startup_trials=3)
    assert rung_step(median, 7) == 10, "each evaluation is a rung"
    assert judge(median, MIN, [9.0], [1.0, 2.0]) is None
    assert judge(median, MIN, [9.0], [1.0, 2.0, 3.0]) == Verdict(2.0, 4, 4)
    assert judge(median, MIN, [2.0], [1.0, 2.0, 3.0]) is None
    assert judge(median, MAX, [1.5], [1.0, 2.0, 3.0]) == Verdict(2.0, 3, 4)


def test_a_threshold_is_the_same_for_all() -> None:
    threshold = pruner("THRESHOLD", bound=0.5)
    assert judge(threshold, MIN, [0.5], []) is None
    assert judge(threshold, MIN, [0.6], [0.1]) == Verdict(0.5, 2, 2)
    assert judge(threshold, MAX, [0.4], []) == Verdict(0.5, 1, 1)


def test_patience_ends_with_so_many_rungs_without_a_better_value() -> None:
    patience = pruner("PATIENCE", patience=2)
    assert judge(patience, MIN, [3.0, 4.0], []) is None
    assert judge(patience, MIN, [3.0, 4.0, 3.5], []) == Verdict(3.0, 1, 1)
    assert judge(patience, MIN, [3.0, 4.0, 2.0], []) is None
    assert judge(patience, MIN, [3.0, 2.0, 4.0], []) is None
    assert judge(patience, MAX, [3.0, 2.0, 1.0], []) == Verdict(3.0, 1, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_worse_than_anything(value: float) -> None:
    for mode in (MIN, MAX):
        assert judge(pruner("ASHA", reduction_factor=2), mode, [value], [5.0]) == Verdict(5.0, 2, 2)
        assert judge(pruner("THRESHOLD", bound=1e9), mode, [value], []) == Verdict(1e9, 1, 1)
        assert judge(pruner("ASHA", reduction_factor=2), mode, [5.0], [value]) is None

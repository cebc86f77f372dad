"""Which trials are not worth to go on."""

from __future__ import annotations

import math
from typing import Any

import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.domain.pruning import Verdict, bracket_of, judge, rung_step

MIN, MAX = config.METRIC_MODE_MIN, config.METRIC_MODE_MAX


def pruner(kind: str, **fields: Any) -> config.SearchPruner:
    return config.SearchPruner(kind=f"PRUNER_KIND_{kind}", **{"first_step": 10, **fields})


def test_asha_lets_one_in_so_many_go_on_and_its_rungs_lie_further_and_further_apart() -> None:
    asha = pruner("ASHA", reduction_factor=3)
    assert [rung_step(asha, 1, rung) for rung in (1, 2, 3)] == [10, 30, 90]
    assert judge(asha, MIN, [5.0], []) is None, "the first one has nobody to be worse than"
    assert judge(asha, MIN, [6.0], [5.0]) == Verdict(5.0, 2, 2)
    assert judge(asha, MIN, [5.0], [5.0]) is None, "as good is good enough"
    assert judge(asha, MIN, [2.0], [1.0, 3.0, 4.0, 5.0, 6.0]) is None, "two of six"
    assert judge(asha, MIN, [3.5], [1.0, 3.0, 4.0, 5.0, 6.0]) == Verdict(3.0, 3, 6)
    assert judge(asha, MAX, [3.5], [1.0, 3.0, 4.0, 5.0, 6.0]) == Verdict(5.0, 4, 6)


def test_the_median_asks_for_some_others_first() -> None:
    median = pruner("MEDIAN", startup_trials=3)
    assert rung_step(median, 1, 7) == 10, "each evaluation is a rung"
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


def test_hyperband_spreads_trials_over_brackets_by_their_number_alone() -> None:
    """Shares as in the paper, table 1: with R = 81 and eta = 3 brackets begin with 81, 34, 15, 8 and 5 trials."""
    hyperband = pruner("HYPERBAND", first_step=1, reduction_factor=3, max_step=81)
    brackets = [bracket_of(hyperband, trial) for trial in range(1, 144)]
    assert [brackets.count(bracket) for bracket in range(5)] == [81, 34, 15, 8, 5]
    assert [bracket_of(hyperband, trial) for trial in range(144, 287)] == brackets
    assert len(set(brackets[:12])) >= 3, "mixed from the beginning"
    in_bracket = {bracket: brackets.index(bracket) + 1 for bracket in range(5)}
    assert [rung_step(hyperband, in_bracket[0], rung) for rung in (1, 2, 3, 4, 5)] == [1, 3, 9, 27, None]
    assert [rung_step(hyperband, in_bracket[2], rung) for rung in (1, 2, 3)] == [9, 27, None]
    assert rung_step(hyperband, in_bracket[4], 1) is None, "one in a few is trained to its end"
    assert judge(hyperband, MIN, [6.0], [5.0]) == Verdict(5.0, 2, 2)
    assert bracket_of(pruner("ASHA", reduction_factor=3), 7) == 0


def test_a_bracket_gets_about_as_many_steps_as_another() -> None:
    hyperband = pruner("HYPERBAND", first_step=2, reduction_factor=2, max_step=64)
    brackets = [bracket_of(hyperband, trial) for trial in range(1, 1_001)]

    def steps(bracket: int) -> float:
        """Those of a bracket's trials, if at each rung the best half goes on."""
        alive, spent, before, rung = float(brackets.count(bracket)), 0.0, 0, 1
        trial = brackets.index(bracket) + 1
        while (step := rung_step(hyperband, trial, rung)) is not None:
            spent, alive, before, rung = spent + alive * (step - before), alive / 2, step, rung + 1
        return spent + alive * (64 - before)

    spent = [steps(bracket) for bracket in sorted(set(brackets))]
    assert max(spent) < 2 * min(spent)

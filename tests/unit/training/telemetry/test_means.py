"""Means over the ranks of a group."""

from __future__ import annotations

import math
from array import array

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.buffer import Columns, StepBuffer
from milepost.training.telemetry.means import (
    AVERAGED,
    EXAMPLES,
    RankMeans,
    add_to_mean,
    examples_in,
    numbers_in,
    own_values,
)
from milepost.training.telemetry.rows import WeightedRows
from trainer.means import INCOMPLETE_SECONDS, GroupMeans


def rows(steps: list[int], losses: list[float], examples: list[int]) -> Columns:
    return Columns(
        (AVERAGED, "train/learning_rate", EXAMPLES),
        array("q", steps),
        array("d", [0.0] * len(steps)),
        (array("d", losses), array("d", [0.1] * len(steps)), array("d", examples)),
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_0_keeps_everything_and_others_what_goes_into_the_mean(rank: int) -> None:
    """Each with the number of examples behind it."""
    buffer = StepBuffer(print)
    kept = WeightedRows(buffer, rank, Position(examples=3))
    kept.append(1, 0.0, {AVERAGED: 2.0, "train/learning_rate": 0.1})
    kept.append(2, 0.0, {"train/learning_rate": 0.2})
    found = {
        (step, key): column[index]
        for group in buffer.take()
        for key, column in zip(group.keys, group.values, strict=True)
        for index, step in enumerate(group.steps)
    }
    of_rank_0 = {(1, "train/learning_rate"): 0.1, (2, "train/learning_rate"): 0.2} if rank == 0 else {}
    assert found == {(1, AVERAGED): 2.0, (1, EXAMPLES): 3.0, **of_rank_0}


def test_a_step_is_given_out_when_all_ranks_have_spoken() -> None:
    """Weighted by examples; what only rank 0 has stays as it is, and the weights never leave."""
    means = RankMeans()
    assert means.merge([rows([1, 2, 3], [1.0, 2.0, 3.0], [4, 4, 3])], 3) == []
    means.receive(own_values(1, [rows([1, 2], [3.0, 4.0], [4, 1])], 2))
    (ready,) = means.merge([], 3)
    assert ready.keys == (AVERAGED, "train/learning_rate")
    assert list(ready.steps) == [1, 2]
    assert list(ready.values[0]) == [2.0, (2.0 * 4 + 4.0) / 5]
    assert list(ready.values[1]) == [0.1, 0.1]
    means.receive(own_values(1, [rows([3], [7.0], [1])], 3))
    (ready,) = means.merge([], 3)
    assert list(ready.values[0]) == [(3.0 * 3 + 7.0) / 4]


def test_a_rank_that_logs_no_loss_holds_nothing_back() -> None:
    means = RankMeans()
    means.receive(own_values(1, [], 5))
    (ready,) = means.merge([rows([5], [1.5], [2])], 5)
    assert list(ready.values[0]) == [1.5]


def test_at_the_end_everything_is_given_out() -> None:
    """Of a rank that died nothing comes any more."""
    means = RankMeans()
    means.receive(own_values(1, [rows([1], [3.0], [1])], 1))
    (ready,) = means.merge([rows([1], [1.0], [1])], 1, final=True)
    assert list(ready.values[0]) == [2.0]


@given(
    losses=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20),
    order=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=40),
)
def test_whoever_is_ahead_every_step_comes_out_once_with_the_mean_of_all(
    losses: list[list[float]], order: list[tuple[int, int]]
) -> None:
    """Each rank gives pieces of any length, in any order; a rank may be far ahead of the others."""
    means, driver, found = RankMeans(), GroupMeans(3), {}
    done = [0, 0, 0]
    for rank, count in [*order, *((rank, len(losses)) for rank in (0, 1, 2))]:
        steps = list(range(done[rank] + 1, min(len(losses), done[rank] + count) + 1))
        done[rank] += len(steps)
        piece = [rows(steps, [losses[s - 1][rank] for s in steps], [rank + 1] * len(steps))] if steps else []
        if rank:
            driver.receive(rank, own_values(rank, piece, done[rank]), now=0.0)
            passed_on = driver.due(now=0.0)
            if passed_on is not None:
                means.receive(passed_on)
            piece = []
        for group in means.merge(piece, done[0]):
            for step, value in zip(group.steps, group.values[0], strict=True):
                assert step not in found
                found[step] = value
    assert list(found) == list(range(1, len(losses) + 1))
    for step, value in found.items():
        first, second, third = losses[step - 1]
        assert value == pytest.approx((first * 1.0 + second * 2.0 + third * 3.0) / 6.0, rel=1e-12, abs=1e-6)


def gathered(group: GroupMeans, now: float) -> tuple[list[tuple[int, float, float]], int]:
    """Return what rank 0 hears: steps with mean and examples, and the step up to which all is there."""
    values = group.due(now)
    return ([], -1) if values is None else (list(numbers_in(values)), values.complete_step)


def test_the_driver_gives_one_mean_for_all_other_ranks_whoever_speaks_first() -> None:
    found = []
    for order in ((1, 2, 3), (3, 1, 2)):
        group = GroupMeans(4)
        for rank in order:
            assert gathered(group, 0.0) == ([], -1)
            group.receive(rank, own_values(rank, [rows([1], [0.1 * rank], [rank])], 1), now=0.0)
        found.append(gathered(group, 0.0))
    assert found[0] == found[1]
    (((step, mean, examples),), complete) = found[0]
    assert (step, examples, complete) == (1, 6.0, 1)
    assert mean == pytest.approx((0.1 + 0.4 + 0.9) / 6)


def test_a_rank_that_ends_or_is_late_does_not_keep_what_others_gave() -> None:
    """What is late is passed on without it, and once more when it comes; for one that has ended nobody waits."""
    group = GroupMeans(3)
    group.receive(1, own_values(1, [rows([1, 2], [1.0, 1.0], [1, 1])], 2), now=0.0)
    assert gathered(group, INCOMPLETE_SECONDS / 2) == ([], -1)
    late = 2 * INCOMPLETE_SECONDS
    assert gathered(group, late) == ([(1, 1.0, 1.0), (2, 1.0, 1.0)], 0)
    assert gathered(group, late) == ([], -1)
    group.receive(2, own_values(2, [rows([1], [3.0], [1])], 1), now=late)
    assert gathered(group, late) == ([(1, 2.0, 2.0)], 1)
    group.leave(2)
    assert gathered(group, late) == ([(2, 1.0, 1.0)], 2)


def test_values_that_cannot_be_added_up_have_a_mean_all_the_same() -> None:
    """As IEEE has it, in place of an error."""
    for others, wanted in (([math.inf, -math.inf], math.nan), ([1e308, 1e308], math.inf), ([math.nan, 1.0], math.nan)):
        group = GroupMeans(3)
        for rank, value in enumerate(others, 1):
            group.receive(rank, own_values(rank, [rows([1], [value], [1])], 1), now=0.0)
        ((_, mean, _),), _ = gathered(group, 0.0)
        assert mean == wanted or (math.isnan(mean) and math.isnan(wanted))


def test_examples_are_counted_by_the_first_dimension() -> None:
    assert examples_in(torch.zeros(5, 2)) == 5
    assert examples_in((torch.zeros(3), torch.zeros(3, 9))) == 3
    assert examples_in({"input_ids": torch.zeros(7, 4)}) == 7
    assert examples_in(torch.tensor(1.0)) == 1
    assert examples_in(["a", "b"]) == 2
    assert examples_in(object()) == examples_in([]) == examples_in({}) == 1


def test_micro_batches_are_weighted() -> None:
    mean = add_to_mean(add_to_mean(torch.tensor(1.0), 2, torch.tensor(4.0), 1), 3, 0.0, 3)
    assert float(mean) == pytest.approx((1.0 * 2 + 4.0) / 6)

"""The recipe goes on with the learning rate that it was given, also where the snapshot has another one."""

from __future__ import annotations

import copy

import pytest

from milepost.recipes.language_model import Sizes, Training

SIZES = Sizes(vocabulary=8, context=4, width=4, layers=1, heads=1)


def training(rate: float) -> Training:
    return Training(SIZES, 0.0, rate, 0.1, warmup_steps=10, total_steps=100)


def stepped(one: Training, count: int) -> Training:
    for _ in range(count):
        one.optimizer.step()
        one.schedule.step()
    return one


def rates(one: Training) -> list[float]:
    return [group["lr"] for group in one.optimizer.param_groups]


def test_a_snapshot_is_gone_on_from_with_the_rate_of_this_run_at_the_same_place_of_the_schedule() -> None:
    saved = copy.deepcopy(stepped(training(1.0), 4).state())
    other = training(0.25)
    other.load(saved)
    assert rates(other) == pytest.approx([0.25 * 5 / 10] * 2)
    assert rates(stepped(other, 2)) == pytest.approx([0.25 * 7 / 10] * 2)
    same = training(1.0)
    same.load(saved)
    assert rates(same) == rates(stepped(training(1.0), 4)), "to the bit"

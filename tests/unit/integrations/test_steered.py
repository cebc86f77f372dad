"""How a framework's training becomes what somebody has changed it to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import AttemptLaunch, InstanceInstruction, SteeredValue, SteerInstruction
from milepost.integrations.steered import Steered, rates_of
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from tests.support.trainers.remembering_host import RememberingHost


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates_over(schedule: LRScheduler, changed: torch.optim.Optimizer, steps: int, change: Any = None) -> list[float]:
    """The rate of the last group at each step; changed after the second."""
    found = []
    for step in range(steps):
        found.append(float(changed.param_groups[-1]["lr"]))
        changed.step()
        schedule.step()
        if step == 1 and change is not None:
            change()
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda of: LambdaLR(of, lambda step: 1 / (1 + step)),
        lambda of: StepLR(of, 3, 0.5),
        lambda of: OneCycleLR(of, max_lr=[group["lr"] * 4 for group in of.param_groups], total_steps=12),
    ],
)
def test_a_schedule_goes_on_from_the_new_rate_and_groups_keep_their_ratio(make: Any) -> None:
    """From the change on the curve is that of the same schedule begun with the new rate."""
    steered, begun = optimizer(0.1, 0.2), optimizer(0.05, 0.1)
    schedule, other = make(steered), make(begun)
    rates = rates_of(steered, [schedule])
    assert rates is not None
    before = rates.base
    found = rates_over(schedule, steered, 8, lambda: rates.become(before / 2))
    wanted = rates_over(other, begun, 8)
    assert found[:2] == pytest.approx([rate * 2 for rate in wanted[:2]])
    assert found[2:] == pytest.approx(wanted[2:])
    assert rates.base == before / 2, "what a resumed training compares with is exact"


def test_a_rate_without_a_schedule_is_simply_another() -> None:
    changed = optimizer(0.1, 0.2)
    rates = rates_of(changed, [])
    assert rates is not None
    rates.become(0.3)
    assert [group["lr"] for group in changed.param_groups] == [0.3, pytest.approx(0.6)]
    rates.become(0.0)
    rates.become(0.2)
    assert [group["lr"] for group in changed.param_groups] == [0.2, 0.2]


def test_a_schedule_that_looks_at_a_metric_leaves_nothing_to_compare_with() -> None:
    changed = optimizer(0.1)
    assert rates_of(changed, [ReduceLROnPlateau(changed)]) is None
    assert rates_of(None, []) is None


def trial_of(**launch: Any) -> tuple[TrainingLoop, Trial, RememberingHost]:
    host = RememberingHost(launch=AttemptLaunch(attempt=2, **launch))
    loop = TrainingLoop(host)
    return loop, Trial(loop), host


def test_what_was_changed_before_is_carried_out_at_once_and_later_changes_behind_their_step() -> None:
    loop, trial, host = trial_of(steered=[SteeredValue(step=0, name="every", value="5")])
    became: list[int] = []
    steered = Steered(trial)
    steered.add("every", 10, became.append, minimum=1)
    assert became == [5]
    trial.log({"train/loss": 1.0})
    loop.on_instruction(InstanceInstruction(steer=SteerInstruction(number=1, parameters={"every": "7"})))
    steered.carry_out()
    assert became == [5]
    trial.advance(2)
    trial.should_stop()
    steered.carry_out()
    steered.carry_out()
    assert became == [5, 7]
    assert [fact.step for fact in host.facts if isinstance(fact, facts.ParametersChanged)] == [2]


def test_an_end_that_was_asked_for_before_does_not_end_what_goes_on() -> None:
    _, trial, _ = trial_of(steered=[SteeredValue(step=0, name="early_stop", value="true")])
    became: list[bool] = []
    steered = Steered(trial)
    steered.add("early_stop", False, became.append, from_now_on=True)
    steered.carry_out()
    assert became == []

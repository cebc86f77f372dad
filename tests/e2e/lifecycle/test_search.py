"""A grid search to its end: ten trials, two at a time. The real recipe: `make test-search`."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as api
from tests.e2e.runs import ENTRYPOINT, TINY
from tests.e2e.stack import StackProcess, until

RATES = [0.001, 0.002, 0.003, 0.005, 0.01]
SEEDS = [1, 2]
TRIALS = len(RATES) * len(SEEDS)
AT_A_TIME = 2


def configuration(parameters: dict[str, Any]) -> str:
    return json.dumps(
        {
            "name": "grid",
            "entrypoint": ENTRYPOINT,
            "parameters": parameters,
            "search": {
                "kind": "grid",
                "space": {"learning_rate": RATES, "seed": SEEDS},
                "max_concurrent_trials": AT_A_TIME,
            },
            "snapshots": {"every_steps": 100, "keep_last": 1},
        }
    )


def run_search(stack: StackProcess, parameters: dict[str, Any], seconds: float) -> None:
    """Run ten trials and check that each came to its end, that no more ran at once than may, and what is told of them."""
    name = stack.client.start_runtime(configuration(parameters)).name
    seen: list[tuple[int, bool, int]] = []

    def ended() -> bool:
        listed = trials_of(stack, name)
        running = [one for one in listed.trials if one.status == api.TRIAL_STATUS_RUNNING]
        completed = sum(one.status == api.TRIAL_STATUS_COMPLETED for one in listed.trials)
        seen.append((len(running), listed.HasField("estimate"), completed))
        return stack.runtime(name).phase == runtime_api.RUNTIME_PHASE_ENDED

    until(ended, f"{name} ends", seconds)
    runtime = stack.runtime(name)
    assert runtime.status == runtime_api.RUNTIME_STATUS_COMPLETED, runtime.reason
    assert max(running for running, _, _ in seen) <= AT_A_TIME
    assert any(known and completed < TRIALS - AT_A_TIME for _, known, completed in seen), "the whole has an estimate"
    assert most_at_once(stack, name) == AT_A_TIME

    trials = list(trials_of(stack, name).trials)
    assert [one.trial for one in trials] == list(range(1, TRIALS + 1))
    assert {one.status for one in trials} == {api.TRIAL_STATUS_COMPLETED}
    assert {one.progress.completion_percent for one in trials} == {100.0}
    assert all(math.isfinite(one.best.value) and one.best.metric == "eval/loss" for one in trials)
    points = {(one.searched_parameters["learning_rate"], one.searched_parameters["seed"]) for one in trials}
    assert points == {(json.dumps(rate), json.dumps(seed)) for rate in RATES for seed in SEEDS}
    check_stored(stack, name, trials)
    check_compared(stack, trials)


def trials_of(stack: StackProcess, parent: str, **more: Any) -> api.ListTrialsResponse:
    return stack.client.trials.ListTrials(api.ListTrialsRequest(parent=parent, **more))


def most_at_once(stack: StackProcess, name: str) -> int:
    """Count from the log how many attempts were under way at the same time, at most."""
    under_way, most = 0, 0
    for event in stack.events(name):
        if event.type == "milepost.trial.attempt_launched.v1":
            under_way += 1
            most = max(most, under_way)
        elif event.type in ("milepost.trial.trial_completed.v1", "milepost.trial.retry_scheduled.v1"):
            under_way -= 1
    return most


def check_stored(stack: StackProcess, name: str, trials: list[api.Trial]) -> None:
    """Each trial has its own curve, every step once."""

    def stored() -> bool:
        return all(len(stack.series(name, "train/loss", one.trial)) == one.progress.total_steps for one in trials)

    until(stored, f"{name}: every point is stored", 60)
    curves = {tuple(stack.series(name, "train/loss", one.trial).values()) for one in trials}
    assert len(curves) == TRIALS


def check_compared(stack: StackProcess, trials: list[api.Trial]) -> None:
    """What differs between trials is named; lists of one runtime and of all agree, in any order and filtered."""
    parent = f"runtimes/{trials[0].runtime_id}"
    names = [trials[0].name, trials[1].name, trials[-1].name]
    compared = stack.client.trials.CompareTrials(api.CompareTrialsRequest(names=names))
    assert list(compared.differing_parameters) == ["learning_rate", "seed"]
    assert [one.name for one in compared.trials] == names
    best = trials_of(stack, parent, order_by="best", page_size=3)
    assert [one.name for one in best.trials] == [one.name for one in sorted(trials, key=lambda o: o.best.value)[:3]]
    some = trials_of(stack, "runtimes/-", filter=f"runtime={trials[0].runtime_id} AND parameters.seed=2")
    assert {one.name for one in some.trials} == {one.name for one in trials if one.parameters["seed"] == "2"}


@pytest.mark.timeout(420)
def test_ten_trials_of_a_grid_search_run_two_at_a_time_to_the_end(stack: StackProcess) -> None:
    run_search(stack, TINY | {"epochs": 1, "eval_every": 60}, 360.0)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_ten_trials_of_the_real_recipe_run_two_at_a_time_to_the_end(stack: StackProcess) -> None:
    run_search(stack, {"epochs": 1}, 3_500.0)

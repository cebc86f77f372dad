"""`kill -9` of the runtime service at random instants of searches of each kind: the very same search as the undisturbed one.

Suggestions, prunings, values and the best are compared value for value, with one trial at a time. Each takes some minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.faults.searching.killing import SPACE, check, configuration, searched, stack

TRIALS, KILLS, SECONDS = 24, 20, 1.0

KINDS: dict[str, dict[str, Any]] = {
    "nsga2": {
        "kind": "nsga2",
        "population_size": 6,
        "objective": None,
        "objectives": [{"metric": "eval/loss"}, {"metric": "size", "mode": "max", "value": "last"}],
        "constraints": [{"metric": "size", "at_most": 9}],
    },
    "conditional": {
        "space": {**SPACE, "y": {**SPACE["y"], "when": {"kind": "wide"}}, "kind": ["wide", "narrow"]},
    },
    "hyperband": {"pruner": {"kind": "hyperband", "first_step": 2, "reduction_factor": 2, "max_step": 12}},
}


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_killed_search_of_any_kind_is_the_undisturbed_one(kind: str, tmp_path: Path) -> None:
    async with stack(tmp_path) as (service, user):
        found = await check(service, user, KINDS[kind], TRIALS, at_once=1, kills=KILLS, seconds=SECONDS)
    suggested = [point for what, _, point in found if what == "suggested"]
    if kind == "conditional":
        assert {("y" in point) for point in suggested} == {True, False}
        assert all(("y" in point) == (point["kind"] == '"wide"') for point in suggested)
    if kind == "nsga2":
        [(_, _, (_, best))] = [entry for entry in found if entry[0] == "ended"]
        print(f"{len(best)} of the trials are surpassed by none")
        assert len(best) > 1


POPULATION = {
    "kind": "pbt", "population_size": 8, "quantile": 0.25, "first_step": 2, "max_step": 12, "resample_probability": 0.2,
}  # fmt: skip


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_killed_population_is_the_undisturbed_one(tmp_path: Path) -> None:
    """Who gives weights to whom, at which rung, and with which parameters."""
    async with stack(tmp_path) as (service, user):
        search = {"kind": "qmc", "pruner": POPULATION}
        found = await check(service, user, search, 20, at_once=1, kills=KILLS, seconds=SECONDS)
    _check_promotions(found)


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_kills_lose_and_double_nobody_of_a_population_of_eight_at_a_time(tmp_path: Path) -> None:
    async with stack(tmp_path) as (service, user):
        search = {"kind": "qmc", "pruner": POPULATION}
        found = await check(service, user, search, 20, at_once=8, kills=KILLS // 2, seconds=12.0)
    _check_promotions(found)


def _check_promotions(found: list[tuple[str, int, Any]]) -> None:
    promoted = [what for kind, _, what in found if kind == "promoted"]
    pruned = [number for kind, number, _ in found if kind == "pruned"]
    print(f"{len(promoted)} trials took the place of another one")
    assert promoted and [replaced for _, replaced, *_ in promoted] == pruned
    reached = {(number, rung): value for kind, number, (rung, value, *_) in _rungs(found)}
    for donor, replaced, rung, step, value in promoted:
        assert step == 2 * rung and value == reached[donor, rung] < reached[replaced, rung]


def _rungs(found: list[tuple[str, int, Any]]) -> list[tuple[str, int, Any]]:
    return [entry for entry in found if entry[0] == "reached"]


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_killed_search_that_began_with_earlier_trials_is_the_undisturbed_one(tmp_path: Path) -> None:
    async with stack(tmp_path) as (service, user):
        earlier, _ = await searched(user, service, configuration({"seed": 1}, 12, 1, 0.0), 0)
        assert earlier.status == api.RUNTIME_STATUS_COMPLETED
        warm = {"warm_start": [earlier.runtime_id]}
        found = await check(service, user, warm, TRIALS, at_once=1, kills=KILLS, seconds=SECONDS)
    [(_, _, told)] = [entry for entry in found if entry[0] == "told"]
    assert len(told) == 12

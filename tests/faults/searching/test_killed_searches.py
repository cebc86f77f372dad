"""`kill -9` of the runtime service at random instants of a search: it goes on to the very same next point.

With one trial at a time suggestions, values and winner are those of the undisturbed search; with eight none is lost or
doubled. A few kills in every test run, fifty of each in `make test-faults`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.searching.killing import check, stack


@pytest.mark.timeout(180)
async def test_a_search_that_is_killed_is_the_undisturbed_one(tmp_path: Path) -> None:
    async with stack(tmp_path) as (service, user):
        await check(service, user, {}, trials=6, at_once=1, kills=2, seconds=1.0)


@pytest.mark.faults
@pytest.mark.timeout(1_500)
async def test_a_search_that_is_killed_fifty_times_is_the_undisturbed_one(tmp_path: Path) -> None:
    async with stack(tmp_path) as (service, user):
        await check(service, user, {}, trials=60, at_once=1, kills=50, seconds=1.0)


PRUNER = {"kind": "asha", "first_step": 2, "reduction_factor": 2}


@pytest.mark.faults
@pytest.mark.timeout(1_800)
async def test_a_search_with_a_pruner_that_is_killed_fifty_times_prunes_the_same_trials(tmp_path: Path) -> None:
    async with stack(tmp_path) as (service, user):
        await check(service, user, {"pruner": PRUNER}, trials=60, at_once=1, kills=50, seconds=1.2)


@pytest.mark.faults
@pytest.mark.timeout(1_500)
async def test_fifty_kills_lose_and_double_no_trial_with_eight_at_a_time(tmp_path: Path) -> None:
    async with stack(tmp_path) as (service, user):
        await check(service, user, {}, trials=60, at_once=8, kills=50, seconds=8.0)

"""A task that dies says so, is started again, and in the end its service is not well."""

from __future__ import annotations

import asyncio

import pytest

from services.readmodel.set_aside import MAX_LISTED, SetAside
from services.supervision import MAX_RESTARTS, WINDOW_SECONDS, Supervision, TaskFailed


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_task_that_dies_is_started_again_and_the_service_is_not_well_meanwhile() -> None:
    supervision, runs, runs_again = Supervision(first_pause=0.01), 0, asyncio.Event()

    async def die_once() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise KeyError(99)
        assert supervision.problem() is None
        runs_again.set()
        await asyncio.Event().wait()

    keeping = asyncio.create_task(supervision.keep("views", die_once))
    while supervision.problem() is None:
        await asyncio.sleep(0)
    assert supervision.problem() == "views does not run: KeyError: 99"
    async with asyncio.timeout(10):
        await runs_again.wait()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_task_that_dies_again_and_again_is_given_up_and_named() -> None:
    supervision, runs = Supervision(first_pause=0.0), 0

    async def die() -> None:
        nonlocal runs
        runs += 1
        raise ValueError("the same every time")

    with pytest.raises(TaskFailed, match="views ended 6 times in 300 s: the same every time"):
        await supervision.keep("views", die)
    assert runs == MAX_RESTARTS + 1
    assert supervision.problem() == "views does not run: ValueError: the same every time"


async def test_a_task_that_dies_now_and_then_goes_on_for_ever() -> None:
    clock, runs = Clock(), 0
    supervision = Supervision(clock, first_pause=0.0)

    async def die_rarely() -> None:
        nonlocal runs
        runs += 1
        clock.now += WINDOW_SECONDS / (MAX_RESTARTS - 1)
        if runs == 50:
            await asyncio.Event().wait()

    keeping = asyncio.create_task(supervision.keep("views", die_rarely))
    while runs < 50:
        await asyncio.sleep(0)
    assert not keeping.done()
    assert supervision.problem() is None
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def test_what_is_set_aside_is_listed_by_sequence_and_runtime_and_survives_a_checkpoint() -> None:
    aside = SetAside("trials", "EVENTS")
    for sequence in range(1, MAX_LISTED + 3):
        aside.add(sequence, f"events.rt-{sequence % 2}.trial.1.attempt-1", KeyError(99))
    assert aside.count == MAX_LISTED + 2
    assert len(aside.sentences()) == MAX_LISTED
    assert aside.sentences("rt-1")[0] == "trials set message 1 on events.rt-1.trial.1.attempt-1 aside: KeyError: 99"
    restored = SetAside("trials", "EVENTS")
    restored.restore(aside.to_json())
    assert restored.sentences() == aside.sentences()

"""Whoever waits for a read model goes on when it has folded what they wait for, and not before."""

from __future__ import annotations

import asyncio

import pytest

from services.readmodel.waiting import Waiters


async def test_each_waits_for_its_own_condition() -> None:
    waiters, folded = Waiters(), [0]
    first = asyncio.create_task(waiters.wait(lambda: folded[0] >= 1))
    second = asyncio.create_task(waiters.wait(lambda: folded[0] >= 2))
    await asyncio.sleep(0)
    folded[0] = 1
    waiters.wake()
    assert await first
    assert not second.done()
    folded[0] = 2
    waiters.wake()
    assert await second


async def test_what_is_folded_already_is_not_waited_for() -> None:
    assert await Waiters().wait(lambda: True, 0.0)


async def test_time_that_is_up_is_told_and_a_cancelled_wait_leaves_nothing() -> None:
    waiters = Waiters()
    assert not await waiters.wait(lambda: False, 0.01)
    waiting = asyncio.create_task(waiters.wait(lambda: False))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiters._waiting == []


async def test_those_who_wait_are_told_what_nothing_comes_of() -> None:
    waiters = Waiters()
    waiting = asyncio.create_task(waiters.wait(lambda: False))
    await asyncio.sleep(0)
    waiters.fail(RuntimeError("over"))
    async with asyncio.timeout(5.0):
        with pytest.raises(RuntimeError, match="over"):
            await waiting
    assert waiters._waiting == []

"""Rates and slots of callers, and who goes first."""

from __future__ import annotations

import asyncio

import pytest

from milepost.errors import ResourceExhausted
from services import limits
from services.limits import MAXIMUM_CALLERS, Precedence, Rate, RateLimiter, Slots


def test_a_caller_over_its_rate_is_told_when_to_come_back() -> None:
    now = 0.0
    limiter = RateLimiter(Rate(per_second=2, burst=3), lambda: now)
    for _ in range(3):
        limiter.take("ann")
    with pytest.raises(ResourceExhausted) as refused:
        limiter.take("ann")
    assert refused.value.metadata["retry_after_seconds"] == "0.500"
    limiter.take("bob")
    now = 0.5
    limiter.take("ann")


def test_a_caller_who_can_wait_is_told_how_long_until_its_turn() -> None:
    now = 0.0
    limiter = RateLimiter(Rate(per_second=2, burst=1), lambda: now)
    assert [limiter.take("ann", 1.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    with pytest.raises(ResourceExhausted) as refused:
        limiter.take("ann", 1.0)
    assert refused.value.metadata["retry_after_seconds"] == "1.500"
    now = 0.5
    assert limiter.take("ann", 1.0) == 1.0


async def test_a_flood_is_held_to_the_rate_and_so_are_its_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(limits.asyncio, "sleep", sleep)
    limiter = RateLimiter(Rate(per_second=2, burst=1), lambda: 0.0)
    for _ in range(3):
        await limiter.wait_turn("ann")
    assert slept == [0.5, 1.0]
    with pytest.raises(ResourceExhausted):
        await limiter.wait_turn("ann")
    assert slept == [0.5, 1.0, limits.PATIENCE_SECONDS]
    monkeypatch.setattr(limits, "MAXIMUM_HELD", 0)
    with pytest.raises(ResourceExhausted):
        await limiter.wait_turn("ann")
    assert len(slept) == 3


def test_the_memory_of_callers_is_bounded() -> None:
    limiter = RateLimiter(Rate(1, 1), lambda: 0.0)
    for number in range(MAXIMUM_CALLERS + 10):
        limiter.take(str(number))
    assert len(limiter._buckets) == MAXIMUM_CALLERS


def test_slots_are_bounded_in_all_and_for_each() -> None:
    slots = Slots(total=3, per_caller=2, what="streams")
    slots.take("ann")
    slots.take("ann")
    with pytest.raises(ResourceExhausted):
        slots.take("ann")
    slots.take("bob")
    with pytest.raises(ResourceExhausted):
        slots.take("cem")
    slots.release("ann")
    slots.take("cem")
    assert slots.used == 3


async def test_reads_wait_for_a_command_that_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRECEDENCE_SECONDS", 60.0)
    precedence, order = Precedence(), []

    async def read() -> None:
        await precedence.wait()
        order.append("read")

    await read()
    with precedence.command():
        reads = [asyncio.create_task(read()) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        with precedence.command():
            order.append("another command")
        order.append("command")
    await asyncio.gather(*reads)
    assert order == ["read", "another command", "command", "read", "read", "read"]


async def test_reads_do_not_wait_for_a_command_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRECEDENCE_SECONDS", 0.01)
    precedence = Precedence()
    with precedence.command():
        await precedence.wait()
        await precedence.wait()

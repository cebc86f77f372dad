"""Rates and slots of callers, and who goes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from milepost.errors import ResourceExhausted
from milepost.security.tokens import Identity, Role
from services.access.authentication import (
    MESSAGES_IN_A_ROW,
    AuthenticationInterceptor,
    Authenticator,
    Caller,
    _Call,
    _stream,
)
from services.access.authorization import RULES, RUNTIMES
from services.access.guard import Unobserved
from services.rpc import limits
from services.rpc.limits import MAX_CALLERS, Precedence, Rate, RateLimiter, Slots, Turns, fitting


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
    monkeypatch.setattr(limits, "MAX_HELD_PER_CALLER", 0)
    impatient = RateLimiter(Rate(per_second=0.1, burst=0), lambda: 0.0)
    with pytest.raises(ResourceExhausted):
        await impatient.wait_turn("ann")
    assert len(slept) == 3, "whoever has many refusals waiting is refused right away"


def test_the_memory_of_callers_is_bounded() -> None:
    limiter = RateLimiter(Rate(1, 1), lambda: 0.0)
    for number in range(MAX_CALLERS + 10):
        limiter.take(str(number))
    assert len(limiter._buckets) == MAX_CALLERS


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


def test_a_call_may_count_for_more() -> None:
    limiter = RateLimiter(Rate(per_second=2, burst=5), lambda: 0.0)
    limiter.take("ann")
    limiter.charge("ann", 5)
    with pytest.raises(ResourceExhausted) as refused:
        limiter.take("ann", 0.5)
    assert refused.value.metadata["retry_after_seconds"] == "1.000"
    limiter.charge("who never called", 5)
    limiter.take("bob")


async def test_who_waits_for_a_turn_gets_it_and_holds_up_no_other() -> None:
    turns, order = Turns(total=3, per_caller=1, what="looks"), []
    going_on = asyncio.Event()

    async def look(caller: str) -> None:
        async with turns.turn(caller):
            order.append(caller)
            if caller == "ann":
                await going_on.wait()

    waiting = [asyncio.create_task(look("ann")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await look("bob")
    assert order == ["ann", "bob"]
    going_on.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == ["ann", "bob", "ann"]


@pytest.mark.parametrize(
    ("role", "in_a_row"), [(Role.VIEWER, MESSAGES_IN_A_ROW), (Role.SERVICE, 3 * MESSAGES_IN_A_ROW)]
)
async def test_a_stream_makes_way_for_a_command_unless_many_share_it(
    monkeypatch: pytest.MonkeyPatch, role: Role, in_a_row: int
) -> None:
    monkeypatch.setattr(limits, "PRECEDENCE_SECONDS", 60.0)
    interceptor = AuthenticationInterceptor(Authenticator(None, required=False), Unobserved())
    caller = Caller("ann", role, True, Identity("ann", role))
    method = RUNTIMES + "WatchEvents"
    received: list[int] = []

    async def messages(request: Any, context: Any) -> AsyncIterator[int]:
        for number in range(3 * MESSAGES_IN_A_ROW):
            yield number

    async def read() -> None:
        context: Any = SimpleNamespace(peer=lambda: "ipv4:127.0.0.1:1")
        async for number in _stream(messages, _Call(interceptor, caller, RULES[method], method, ()))(None, context):
            received.append(number)

    with interceptor.precedence.command():
        reading = asyncio.create_task(read())
        for _ in range(20):
            await asyncio.sleep(0)
        assert received == list(range(in_a_row))
    await reading
    assert received == list(range(3 * MESSAGES_IN_A_ROW))


def test_a_page_has_what_fits_and_at_least_one() -> None:
    messages = [BytesValue(value=b"x" * size) for size in (50, 40, 30)]
    sizes = [message.ByteSize() for message in messages]
    assert fitting(messages, sum(sizes)) == messages
    assert fitting(messages, sum(sizes) - 1) == messages[:2]
    assert fitting(messages, 1) == messages[:1]
    assert fitting(messages, 1, may_be_empty=True) == []

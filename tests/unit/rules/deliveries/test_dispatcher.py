"""Telling what is pending: schedule, one that hangs, a day that is over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.rules.deliveries.destinations import Destination
from services.rules.deliveries.dispatcher import SCHEDULE, Dispatcher
from services.rules.deliveries.messages import Notification
from services.rules.deliveries.outbox import Outbox
from services.rules.deliveries.transports import Outcome
from tests.unit.rules.deliveries.samples import NOW, RUNTIME, fired, rule

KNOWN = {name: Destination(name, url="http://h/") for name in ("oncall", "chat")}


def outbox_of(*destinations: str, firings: int = 1, time: datetime = NOW) -> Outbox:
    outbox = Outbox()
    for number in range(1, firings + 1):
        outbox.fired(RUNTIME, fired(number), rule(*destinations), time, "ev", number)
    return outbox


class Settled:
    """Takes what ended out of the outbox, as the log does."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.seen: list[tuple[str, Outcome, int]] = []

    async def __call__(self, told: Notification, outcome: Outcome, tries: int) -> None:
        self.seen.append((told.destination, outcome, tries))
        self.outbox.pending.pop(told.id)


@asynccontextmanager
async def running(outbox: Outbox, send: Callable[[Notification, Destination], Outcome], **options: Any) -> Any:
    settled = Settled(outbox)
    options = {"clock": lambda: NOW, "schedule": (0, 0.01, 0.02, 86_400.0), "look_seconds": 0.01, **options}
    dispatcher = Dispatcher(outbox, lambda: KNOWN, send, settled, **options)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield settled
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(ask: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not ask():
            await asyncio.sleep(0.005)


async def test_it_is_tried_until_somebody_has_it() -> None:
    answers = iter([Outcome(False, 500, "busy"), Outcome(False, detail="no answer"), Outcome(True, 204, "thanks")])
    outbox = outbox_of("oncall")
    async with running(outbox, lambda told, to: next(answers)) as settled:
        await until(lambda: bool(settled.seen))
    assert settled.seen == [("oncall", Outcome(True, 204, "thanks"), 3)]


async def test_one_that_hangs_keeps_no_other_waiting() -> None:
    hanging = threading.Event()

    def send(told: Notification, to: Destination) -> Outcome:
        if to.name == "oncall":
            hanging.wait(20)
            return Outcome(True)
        return Outcome(True, 204)

    outbox = outbox_of("oncall", "chat", firings=3)
    async with running(outbox, send, try_seconds=0.05) as settled:
        await until(lambda: len(settled.seen) == 3)
        assert {destination for destination, _, _ in settled.seen} == {"chat"}
        hanging.set()
        await until(lambda: len(settled.seen) == 6)


@pytest.mark.parametrize("outcome", [Outcome(False, 410, "gone", final=True), Outcome(False, 500, "busy")])
async def test_it_is_given_up_when_the_receiver_says_so_or_the_day_is_over(outcome: Outcome) -> None:
    outbox = outbox_of("oncall")
    clock = (lambda: NOW) if outcome.final else (lambda: NOW + timedelta(days=1))
    async with running(outbox, lambda told, to: outcome, clock=clock) as settled:
        await until(lambda: bool(settled.seen))
    assert settled.seen == [("oncall", outcome, 1)]


async def test_a_destination_that_is_no_longer_listed_waits_for_the_operator() -> None:
    outbox = outbox_of("nobody", "chat")
    async with running(outbox, lambda told, to: Outcome(True, 204)) as settled:
        await until(lambda: bool(settled.seen))
        await asyncio.sleep(0.05)
    assert [destination for destination, _, _ in settled.seen] == ["chat"]
    assert outbox.waiting_for("nobody") == 1


async def test_one_that_is_sent_again_by_hand_does_not_wait_for_what_was_before() -> None:
    outbox = outbox_of("oncall")
    (told,) = outbox.pending.values()

    class Slow(Settled):
        """Its fact comes back a while after it was recorded."""

        async def __call__(self, one: Notification, outcome: Outcome, tries: int) -> None:
            self.seen.append((one.destination, outcome, tries))
            if len(self.seen) == 1:
                asyncio.get_running_loop().call_later(
                    0.03, outbox.pending.update, {told.id: replace(told, cause="ev-2")}
                )

    settled = Slow(outbox)
    dispatcher = Dispatcher(
        outbox, lambda: KNOWN, lambda told, to: Outcome(False, 410, final=True), settled, clock=lambda: NOW,
        look_seconds=0.01,
    )  # fmt: skip
    task = asyncio.create_task(dispatcher.run())
    await until(lambda: len(settled.seen) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_log_that_does_not_answer_ends_it_loudly() -> None:
    async def settle(told: Notification, outcome: Outcome, tries: int) -> None:
        raise RuntimeError("the log is away")

    dispatcher = Dispatcher(outbox_of("chat"), lambda: KNOWN, lambda told, to: Outcome(True), settle, look_seconds=0.01)
    with pytest.raises(RuntimeError, match="the log is away"):
        await asyncio.wait_for(dispatcher.run(), 20)


def test_the_schedule_lasts_a_day_and_begins_quickly() -> None:
    assert (SCHEDULE[0], SCHEDULE[1], SCHEDULE[-1]) == (0, 5, 24 * 3600)
    assert list(SCHEDULE) == sorted(SCHEDULE)

"""Decisions of one process on one runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from milepost.domain import runtime
from milepost.eventlog import Appended, Head, NewEvent
from milepost.eventlog.memory import MemoryLog
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel.views import Views
from tests.unit.domain.given import NOW
from tests.unit.runtime.world import configuration

ACTOR = Cause("local:ada")


class CountedLog(MemoryLog):
    """Takes its time, and counts how many append at once."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self._appending = 0
        self.calls = 0
        self.most = 0

    async def append(self, events: Sequence[NewEvent], heads: Sequence[Head] = ()) -> Appended:
        self.calls += 1
        self._appending += 1
        self.most = max(self.most, self._appending)
        try:
            await asyncio.sleep(0.001)
            return await super().append(events, heads)
        finally:
            self._appending -= 1


async def test_who_waits_for_a_decision_on_a_runtime_goes_on_alone_too() -> None:
    """Also those who come when one has just let go and the next has not begun."""
    log, views = CountedLog(), Views()
    following = asyncio.create_task(views.follow(log))
    decisions = Decisions(log, views, lambda: NOW)
    request = runtime.RequestRuntime("rt-1", "text", configuration(), "sha256:a", 1)
    await decisions.decide("rt-1", {None: [request]}, ACTOR)

    async def label(number: int) -> None:
        command = runtime.LabelRuntime({f"k{number}": "v"}, frozenset())
        await decisions.decide("rt-1", {None: [command]}, ACTOR)
        again = runtime.LabelRuntime({f"k{number}": "w"}, frozenset())
        await decisions.decide("rt-1", {None: [again]}, ACTOR)

    await asyncio.gather(*(label(number) for number in range(8)))
    following.cancel()
    assert (log.most, log.calls) == (1, 17), "nobody had to decide again"

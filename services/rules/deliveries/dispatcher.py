"""Tells what the outbox holds: one task for each destination, so that one that hangs keeps no other waiting."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from services.rules.deliveries.destinations import Destination
from services.rules.deliveries.messages import Notification
from services.rules.deliveries.outbox import Outbox
from services.rules.deliveries.transports import Outcome
from services.rules.lanes import MAX_AT_ONCE, Lanes, Tries

log = logging.getLogger(__name__)

# Seconds after the fact at which it is tried: for a day.
SCHEDULE = (0, 5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400)
# Of one try, whatever the other side does.
TRY_SECONDS = 30.0
LOOK_SECONDS = 1.0


# Tries once, and blocks.
Sender = Callable[[Notification, Destination], Outcome]
Settle = Callable[[Notification, Outcome, int], Awaitable[None]]


class Dispatcher(Lanes[Notification, tuple[str, str], Outcome]):
    """Sends what is pending, and has each end of it recorded by `settle(notification, outcome, tries)`.

    After a restart what nobody has recorded is tried at once, under its old id. A day after its fact it is given up.
    """

    def __init__(
        self,
        outbox: Outbox,
        destinations: Callable[[], Mapping[str, Destination]],
        send: Sender,
        settle: Settle,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        schedule: tuple[float, ...] = SCHEDULE,
        try_seconds: float = TRY_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        super().__init__(look_seconds)
        self._outbox = outbox
        self._destinations = destinations
        self._send = send
        self._settle = settle
        self._clock = clock
        self._schedule = schedule
        self._try_seconds = try_seconds
        # Threads that a destination holds although its time is up.
        self._stuck: dict[str, asyncio.Future[Outcome]] = {}
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, "deliveries")

    def tried(self, told: Notification) -> tuple[int, Outcome | None]:
        """Return how often this process has tried, and how the last try ended."""
        tries = self._tries.get(self._key(told))
        return (tries.made, tries.last) if tries is not None else (0, None)

    async def run(self) -> None:
        """Send for ever."""
        try:
            await super().run()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _pending(self) -> Iterable[Notification]:
        return sorted(self._outbox.pending.values(), key=lambda one: one.time)

    def _key(self, told: Notification) -> tuple[str, str]:
        # One that is sent again by hand begins anew.
        return told.id, told.cause

    def _lane(self, told: Notification) -> str:
        return told.destination

    async def _one(self, told: Notification, tries: Tries[Outcome]) -> None:
        outcome = await self._tried(told)
        tries.made += 1
        tries.last = outcome
        age = (self._clock() - told.time).total_seconds()
        over = age >= self._schedule[-1]
        if outcome.delivered or outcome.final or over:
            await self._settle(told, outcome, tries.made)
            self._outbox_wait(told, tries)
            return
        log.warning(
            "notification.again",
            extra={"destination": told.destination, "tries": tries.made, "detail": outcome.detail},
        )
        pause = max(self._pause(tries.made, age), outcome.wait_seconds)
        tries.not_before = asyncio.get_running_loop().time() + pause

    def _outbox_wait(self, told: Notification, tries: Tries[Outcome]) -> None:
        # Until its fact comes back from the log it is not tried again.
        if told.id in self._outbox.pending:
            tries.not_before = asyncio.get_running_loop().time() + self._try_seconds

    def _pause(self, made: int, age: float) -> float:
        """Return the seconds until the next try: as the schedule has it, and the last one a day after the fact."""
        gaps = [later - earlier for earlier, later in itertools.pairwise(self._schedule)]
        gap = gaps[min(made - 1, len(gaps) - 1)] if gaps else 0.0
        return max(0.0, min(gap, self._schedule[-1] - age))

    async def _tried(self, told: Notification) -> Outcome:
        to = self._destinations().get(told.destination)
        if to is None:
            return Outcome(False, detail=f"there is no destination {told.destination!r} in the operator's file now")
        stuck = self._stuck.get(told.destination)
        if stuck is not None:
            if not stuck.done():
                return Outcome(False, detail="the try before it still waits for the receiver")
            del self._stuck[told.destination]
        trying = asyncio.get_running_loop().run_in_executor(self._threads, self._send, told, to)
        try:
            async with asyncio.timeout(self._try_seconds):
                return await asyncio.shield(trying)
        except TimeoutError:
            self._stuck[told.destination] = trying
            return Outcome(False, detail=f"the receiver was not done within {self._try_seconds:.0f} s")

"""Tells what the outbox holds: one task for each destination, so that one that hangs keeps no other waiting."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from services.rules.deliveries.destinations import Destination
from services.rules.deliveries.messages import Notification
from services.rules.deliveries.outbox import Outbox
from services.rules.deliveries.transports import Outcome

log = logging.getLogger(__name__)

# Seconds after the fact at which it is tried: for a day.
SCHEDULE = (0, 5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400)
# Of one try, whatever the other side does.
TRY_SECONDS = 30.0
LOOK_SECONDS = 1.0
MAX_AT_ONCE = 16


@dataclass(slots=True)
class _Tries:
    """What was tried since this process began."""

    made: int = 0
    last: Outcome | None = None
    # By the clock of the loop.
    not_before: float = 0.0


# Tries once, and blocks.
Sender = Callable[[Notification, Destination], Outcome]
Settle = Callable[[Notification, Outcome, int], Awaitable[None]]


class Dispatcher:
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
        self._outbox = outbox
        self._destinations = destinations
        self._send = send
        self._settle = settle
        self._clock = clock
        self._schedule = schedule
        self._try_seconds = try_seconds
        self._look_seconds = look_seconds
        # By id and fact: one that is sent again by hand begins anew.
        self._tries: dict[tuple[str, str], _Tries] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        # Threads that a destination holds although its time is up.
        self._stuck: dict[str, asyncio.Future[Outcome]] = {}
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, "deliveries")
        self._news = asyncio.Event()

    def tried(self, told: Notification) -> tuple[int, Outcome | None]:
        """Return how often this process has tried, and how the last try ended."""
        tries = self._tries.get(_key(told))
        return (tries.made, tries.last) if tries is not None else (0, None)

    def wake(self) -> None:
        """There may be something new."""
        self._news.set()

    async def run(self) -> None:
        """Send for ever."""
        try:
            while True:
                self._begin()
                # Not `wait_for`: that of Python 3.11 loses a cancellation that comes with the news.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_seconds):
                        await self._news.wait()
                self._news.clear()
        finally:
            for task in self._busy.values():
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        """Give each destination that has time what is due for it, the oldest first."""
        for task_of in [name for name, task in self._busy.items() if task.done()]:
            # What went wrong with the log stays pending; the task is watched by whoever runs this.
            self._busy.pop(task_of).result()
        for gone in self._tries.keys() - {_key(told) for told in self._outbox.pending.values()}:
            del self._tries[gone]
        now = asyncio.get_running_loop().time()
        for told in sorted(self._outbox.pending.values(), key=lambda one: one.time):
            if told.destination in self._busy or len(self._busy) >= MAX_AT_ONCE:
                continue
            if self._tries.setdefault(_key(told), _Tries()).not_before <= now:
                self._busy[told.destination] = asyncio.create_task(self._one(told), name=f"tell {told.destination}")

    async def _one(self, told: Notification) -> None:
        tries = self._tries.setdefault(_key(told), _Tries())
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
        self.wake()

    def _outbox_wait(self, told: Notification, tries: _Tries) -> None:
        # Until its fact comes back from the log it is not tried again.
        if told.id in self._outbox.pending:
            tries.not_before = asyncio.get_running_loop().time() + self._try_seconds
        self.wake()

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


def _key(told: Notification) -> tuple[str, str]:
    return told.id, told.cause

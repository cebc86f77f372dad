"""Sees that the loop makes no progress, and says where it is then; also when somebody asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls
from milepost.training.telemetry.stalling import stacks

# Looking takes milliseconds. It is done elsewhere and not waited for for long: heartbeats must not stand still too.
LOOK_SECONDS = 5.0
ELSEWHERE = (
    "process {0} trains, which has not begun its run with Milepost; `py-spy dump --pid {0}` on its host shows it"
)


class StallWatch:
    """Records the stacks of this process once for each stall."""

    def __init__(
        self,
        attempt: int,
        rank: int,
        world_size: int,
        least_seconds: float,
        report: Callable[[Message], None],
    ) -> None:
        """Make it.

        Args:
            least_seconds: a shorter pause is no stall. 0: the default.
            report: takes what is recorded.
        """
        self._attempt = attempt
        self._rank = rank
        self._world_size = world_size
        self._least_seconds = least_seconds or stalls.MIN_STALL_SECONDS
        self._report = report
        self._told = 0
        self._is_told = False
        # The one that trains, as soon as that is known.
        self.loop_thread: threading.Thread | None = None
        # The process that trains, where it is another one, of which nothing can be seen from here. 0: it is this one.
        self.elsewhere = 0

    async def look(self, step: int, step_seconds: float, idle_seconds: float, phase: str) -> None:
        """Look at how long nothing has moved. See `stalls.is_stalled`."""
        if self.elsewhere:
            return
        if not stalls.is_stalled(step_seconds, idle_seconds, phase, self._least_seconds):
            self._is_told = False
        elif not self._is_told and self._told < stalls.MAX_STALLS:
            self._is_told = True
            self._told += 1
            await self.record(step, idle_seconds, requested=False)

    async def record(self, step: int, idle_seconds: float, *, requested: bool) -> None:
        """Record what all threads are doing.

        Args:
            step: the last that was done.
            idle_seconds: since nothing has moved.
            requested: somebody has asked.
        """
        with suppress(TimeoutError):
            if self.elsewhere:
                fact = facts.StacksRecorded(text=ELSEWHERE.format(self.elsewhere))
            else:
                async with asyncio.timeout(LOOK_SECONDS):
                    fact = await asyncio.to_thread(stacks.record, self.loop_thread, self._world_size)
            fact.attempt, fact.rank, fact.step = self._attempt, self._rank, step
            fact.requested, fact.idle_seconds = requested, idle_seconds
            self._report(fact)

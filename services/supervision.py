"""The tasks of a service: one that dies says so and is started again, a few times; then its service says it is not well.

What a task waits for by design (a log that does not answer, a disk that is full) it handles itself. This is for the rest:
the error that nobody has thought of, which must neither end a service at once nor be silent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from milepost.backoff import Backoff
from milepost.installation import observability

log = logging.getLogger(__name__)

# So often a task is started again within so many seconds. Then it stays dead, and whoever waits for it hears of it.
MAX_RESTARTS = 5
WINDOW_SECONDS = 300.0
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 10.0


class TaskFailed(Exception):
    """A task died again and again."""


class Supervision:
    """The tasks of one service that have to run for as long as it does.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, first_pause: float = FIRST_PAUSE_SECONDS) -> None:
        self._clock = clock
        self._first_pause = first_pause
        self._down: dict[str, str] = {}
        self._deaths = observability.counter("milepost.task.deaths", "Tasks of a service that died, by name")

    def problem(self) -> str | None:
        """Say which tasks do not run, and why; None: all do."""
        return "; ".join(f"{name} does not run: {error}" for name, error in self._down.items()) or None

    async def keep(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """Run something for ever; start it again when it ends.

        Raises:
            TaskFailed: it ended too often.
        """
        deaths: deque[float] = deque()
        pauses = Backoff(self._first_pause, MAX_PAUSE_SECONDS)
        self._deaths.add(0, {"task": name})
        while True:
            error: Exception
            try:
                await run()
                error = RuntimeError("it ended by itself")
            except Exception as raised:  # the outermost loop of this task: whatever it is, it is said and counted
                error = raised
            now = self._clock()
            while deaths and now - deaths[0] > WINDOW_SECONDS:
                deaths.popleft()
            if not deaths:
                pauses.reset()
            deaths.append(now)
            self._down[name] = f"{type(error).__name__}: {error}"[:300]
            self._deaths.add(1, {"task": name})
            log.error("task.died", exc_info=error, extra={"task": name, "deaths": len(deaths)})
            if len(deaths) > MAX_RESTARTS:
                raise TaskFailed(f"{name} ended {len(deaths)} times in {WINDOW_SECONDS:g} s: {error}") from error
            await asyncio.sleep(next(pauses))
            del self._down[name]

    @asynccontextmanager
    async def running(self, name: str, run: Callable[[], Awaitable[object]]) -> AsyncIterator[asyncio.Task[None]]:
        """Keep something running for the length of a block. Yields its task, which fails when it ended too often."""
        task = asyncio.create_task(self.keep(name, run), name=name)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

"""Has done what the backlog holds: the actions of one run after each other, in the order of their firings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.rules.actions.backlog import Backlog, Due
from services.rules.actions.commands import Outcome

log = logging.getLogger(__name__)

# Seconds between tries; the last one is that of all further ones.
PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
# How long after the firing an action is tried again. Later the run is another one.
TRIED_SECONDS = 3_600.0
LOOK_SECONDS = 0.5
MAX_AT_ONCE = 16


@dataclass(slots=True)
class _Tries:
    """What was tried since this process began."""

    made: int = 0
    last: Outcome | None = None
    # By the clock of the loop.
    not_before: float = 0.0


CarryOut = Callable[[Due], Awaitable[Outcome]]
# Records how it ended. Returns once the backlog knows.
Settle = Callable[[Due, Outcome, int], Awaitable[None]]


class Executor:
    """Carries out what is pending, and has each end of it recorded by `settle(due, outcome, tries)`.

    After a restart what nobody has recorded is tried at once, under its old id, so that what was done is not done again.
    """

    def __init__(
        self,
        backlog: Backlog,
        carry_out: CarryOut,
        settle: Settle,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pauses: tuple[float, ...] = PAUSES,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._backlog = backlog
        self._carry_out = carry_out
        self._settle = settle
        self._clock = clock
        self._pauses = pauses
        self._look_seconds = look_seconds
        self._tries: dict[str, _Tries] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    def tried(self, action_id: str) -> tuple[int, Outcome | None]:
        """Return how often this process has tried, and how the last try ended."""
        tries = self._tries.get(action_id)
        return (tries.made, tries.last) if tries is not None else (0, None)

    async def run(self) -> None:
        """Carry out for ever."""
        try:
            while True:
                self._begin()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_seconds):
                        await self._news.wait()
                self._news.clear()
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _begin(self) -> None:
        """Begin with the oldest action of each run that has none under way."""
        for runtime_id in [runtime_id for runtime_id, task in self._busy.items() if task.done()]:
            # What went wrong with the log stays pending; this task is watched by whoever runs it.
            self._busy.pop(runtime_id).result()
        for gone in self._tries.keys() - self._backlog.pending.keys():
            del self._tries[gone]
        now = asyncio.get_running_loop().time()
        seen: set[str] = set()
        for due in list(self._backlog.pending.values()):
            if due.runtime_id in seen:
                continue
            seen.add(due.runtime_id)
            if due.runtime_id in self._busy or len(self._busy) >= MAX_AT_ONCE:
                continue
            if self._tries.setdefault(due.id, _Tries()).not_before <= now:
                self._busy[due.runtime_id] = asyncio.create_task(self._one(due), name=f"{due.kind} {due.runtime_id}")

    async def _one(self, due: Due) -> None:
        tries = self._tries.setdefault(due.id, _Tries())
        outcome = self._refused_here(due) or await self._carry_out(due)
        tries.made += 1
        tries.last = outcome
        over = (self._clock() - due.time).total_seconds() >= TRIED_SECONDS
        if outcome.taken or outcome.final or over:
            await self._settle(due, outcome, tries.made)
            log.info("action.settled", extra={"kind": due.kind, "taken": outcome.taken, "detail": outcome.detail})
        else:
            log.warning("action.again", extra={"kind": due.kind, "tries": tries.made, "detail": outcome.detail})
            pause = self._pauses[min(tries.made, len(self._pauses)) - 1]
            tries.not_before = asyncio.get_running_loop().time() + pause
        self._news.set()

    def _refused_here(self, due: Due) -> Outcome | None:
        """Refuse to start a run because of one that the same rule has brought about: that would go on for ever."""
        if due.kind == "start" and due.fired.rule_id in self._backlog.ancestors(due.runtime_id):
            detail = "this run was brought about by the same rule; a rule does not start runs because of its own"
            return Outcome(False, detail, "CYCLIC_START", final=True)
        return None

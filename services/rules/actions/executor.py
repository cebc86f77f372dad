"""Has done what the backlog holds: the actions of one run after each other, in the order of their firings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

from services.rules.actions.backlog import Backlog, Due
from services.rules.actions.commands import Outcome
from services.rules.lanes import Lanes, Tries

log = logging.getLogger(__name__)

# Seconds between tries; the last one is that of all further ones.
PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
# How long after the firing an action is tried again. Later the run is another one.
TRIED_SECONDS = 3_600.0
LOOK_SECONDS = 0.5


CarryOut = Callable[[Due], Awaitable[Outcome]]
# Records how it ended. Returns once the backlog knows.
Settle = Callable[[Due, Outcome, int], Awaitable[None]]


class Executor(Lanes[Due, str, Outcome]):
    """Carries out what is pending, and has each end of it recorded by `settle(due, outcome, tries)`.

    After a restart what nobody has recorded is tried at once, under its old id, so that what was done is not done again.
    """

    in_order = True

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
        super().__init__(look_seconds)
        self._backlog = backlog
        self._carry_out = carry_out
        self._settle = settle
        self._clock = clock
        self._pauses = pauses

    def tried(self, action_id: str) -> tuple[int, Outcome | None]:
        """Return how often this process has tried, and how the last try ended."""
        tries = self._tries.get(action_id)
        return (tries.made, tries.last) if tries is not None else (0, None)

    def _pending(self) -> Iterable[Due]:
        return self._backlog.pending.values()

    def _key(self, due: Due) -> str:
        return due.id

    def _lane(self, due: Due) -> str:
        return due.runtime_id

    async def _one(self, due: Due, tries: Tries[Outcome]) -> None:
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

    def _refused_here(self, due: Due) -> Outcome | None:
        """Refuse to start a run because of one that the same rule has brought about: that would go on for ever."""
        if due.kind == "start" and due.fired.rule_id in self._backlog.ancestors(due.runtime_id):
            detail = "this run was brought about by the same rule; a rule does not start runs because of its own"
            return Outcome(False, detail, "CYCLIC_START", final=True)
        return None

"""Access facts on `events.platform.access`: who did, or failed to do, what matters; one event a minute for repeats."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from milepost.api.event.v1 import platform_events_pb2 as facts
from milepost.eventlog import PLATFORM_SUBJECT, EventLog, EventLogError, NewEvent, WrongExpectedSequence, codec
from milepost.ids import new_event_id
from services.authentication import Observation, Result

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
# Different facts in one window; those beyond become one that names no resource, no peer and no actor.
MAXIMUM_FACTS = 200
MAXIMUM_ROUNDS = 8
OTHERS = "(others)"

_RESULTS = {
    Result.ALLOWED: facts.ACCESS_RESULT_ALLOWED,
    Result.UNAUTHENTICATED: facts.ACCESS_RESULT_UNAUTHENTICATED,
    Result.PERMISSION_DENIED: facts.ACCESS_RESULT_PERMISSION_DENIED,
}


@dataclass(slots=True)
class _Counted:
    first_time: datetime
    count: int = 0


class AccessLog:
    """Collects observations and appends them when their minute has ended. An `Observer`.

    Facts of the minute under way are lost with a crash of the process; its JSON log has each first one at once.
    """

    def __init__(
        self,
        event_log: EventLog,
        source: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._log = event_log
        self._source = source
        self._clock = clock
        self._window = window_seconds
        self._counted: dict[Observation, _Counted] = {}

    def observe(self, observation: Observation) -> None:
        if observation not in self._counted and len(self._counted) >= MAXIMUM_FACTS:
            observation = replace(observation, actor=OTHERS, resource=OTHERS, peer=OTHERS, operation=OTHERS)
        known = self._counted.get(observation)
        if known is None:
            level = logging.INFO if observation.result is Result.ALLOWED else logging.WARNING
            fields = {
                "actor": observation.actor,
                "operation": observation.operation,
                "resource": observation.resource,
                "peer": observation.peer,
            }
            log.log(level, f"access.{observation.result.lower()}", extra=fields)
            known = self._counted[observation] = _Counted(self._clock())
        known.count += 1

    async def run(self) -> None:
        """Append what each minute brought, until cancelled; then what is left."""
        try:
            while True:
                await asyncio.sleep(self._window)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Append what was observed since the last time. What the log does not take now is kept for the next time."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            await self._append([self._event(observation, count) for observation, count in counted.items()])
        except EventLogError as error:
            log.warning("access.not_recorded", extra={"facts": len(counted), "error": str(error)})
            self._keep(counted)

    def _keep(self, counted: dict[Observation, _Counted]) -> None:
        for observation, count in self._counted.items():
            counted.setdefault(observation, _Counted(count.first_time)).count += count.count
        self._counted = dict(list(counted.items())[: MAXIMUM_FACTS + len(Result)])

    def _event(self, observation: Observation, counted: _Counted) -> NewEvent:
        payload = facts.AccessObserved(
            result=_RESULTS[observation.result],
            operation=observation.operation,
            resource=observation.resource,
            peer=observation.peer,
            count=counted.count,
        )
        payload.first_time.FromDatetime(counted.first_time)
        ce_type, body = codec.encode(payload)
        return NewEvent(
            subject=PLATFORM_SUBJECT,
            type=ce_type,
            body=body,
            id=new_event_id(),
            time=self._clock(),
            source=self._source,
            actor=observation.actor,
        )

    async def _append(self, events: list[NewEvent]) -> None:
        for round_number in range(MAXIMUM_ROUNDS):
            head = await self._log.head(PLATFORM_SUBJECT)
            try:
                await self._log.append(events, [head])
                return
            except WrongExpectedSequence:
                if round_number == MAXIMUM_ROUNDS - 1:
                    raise
                # All services write here, each once a minute.
                await asyncio.sleep(0.01 * 2**round_number)

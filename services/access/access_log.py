"""Access facts on `events.platform.access`: who did, or failed to do, what matters; one event a minute for repeats."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import grpc.aio

from milepost.api.access.v1 import access_service_pb2 as access_api
from milepost.api.access.v1 import access_service_pb2_grpc
from milepost.api.event.v1 import platform_events_pb2 as facts
from milepost.errors import InvalidArgument, Violation
from milepost.eventlog import PLATFORM_SUBJECT, EventLog, EventLogError, NewEvent, WrongExpectedSequence, codec
from milepost.ids import new_event_id
from services.access.authentication import Observation, Result
from services.supervision import Supervision

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
# Different facts in one window; those beyond become one that names no resource, no peer and no actor.
MAX_FACTS = 200
MAX_ROUNDS = 8
REPORT_SECONDS = 5.0
OTHERS = "(others)"

_RESULTS = {
    Result.ALLOWED: facts.ACCESS_RESULT_ALLOWED,
    Result.UNAUTHENTICATED: facts.ACCESS_RESULT_UNAUTHENTICATED,
    Result.PERMISSION_DENIED: facts.ACCESS_RESULT_PERMISSION_DENIED,
}


@dataclass(slots=True)
class Counted:
    """How often something was observed, and when first."""

    first_time: datetime
    count: int = 0


def now_utc() -> datetime:
    return datetime.now(UTC)


class AccessCollector(ABC):
    """Counts observations and passes them on when their minute has ended. An `Observer`.

    Facts of the minute under way are lost with a crash of the process; its JSON log has each first one at once.
    """

    def __init__(self, clock: Callable[[], datetime] = now_utc, window_seconds: float = WINDOW_SECONDS) -> None:
        self.clock = clock
        self._window = window_seconds
        self._counted: dict[Observation, Counted] = {}

    @abstractmethod
    async def send(self, counted: Mapping[Observation, Counted]) -> None:
        """Pass facts on. Raises NotRecorded: they are kept and sent again, with those of the next minute."""

    def observe(self, observation: Observation) -> None:
        self.add(observation, 1, self.clock())

    def add(self, observation: Observation, count: int, first_time: datetime) -> None:
        """Count something that was observed several times, perhaps elsewhere."""
        if observation not in self._counted and len(self._counted) >= MAX_FACTS:
            observation = replace(observation, actor=OTHERS, resource=OTHERS, peer=OTHERS, operation=OTHERS)
        known = self._counted.get(observation)
        if known is None:
            level = logging.INFO if observation.result is Result.ALLOWED else logging.WARNING
            fields = {name: getattr(observation, name) for name in ("actor", "operation", "resource", "peer")}
            log.log(level, f"access.{observation.result.lower()}", extra=fields)
            known = self._counted[observation] = Counted(first_time)
        known.count += count

    async def run(self) -> None:
        """Pass on what each minute brought, until cancelled; then what is left."""
        try:
            while True:
                await asyncio.sleep(self._window)
                await self.flush()
        finally:
            await self.flush()

    def running(self, supervision: Supervision) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        """Run for the length of a block."""
        return supervision.running("access facts", self.run)

    async def flush(self) -> None:
        """Pass on what was observed since the last time."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            await self.send(counted)
        except NotRecorded as error:
            log.warning("access.not_recorded", extra={"facts": len(counted), "error": str(error)})
            self._keep(counted)

    def _keep(self, counted: dict[Observation, Counted]) -> None:
        for observation, new in self._counted.items():
            counted.setdefault(observation, Counted(new.first_time)).count += new.count
        self._counted = dict(list(counted.items())[: MAX_FACTS + len(Result)])


class NotRecorded(Exception):
    """Facts could not be passed on now."""


class AccessLog(AccessCollector):
    """Appends the facts to the event log."""

    def __init__(
        self,
        event_log: EventLog,
        source: str,
        clock: Callable[[], datetime] = now_utc,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        super().__init__(clock, window_seconds)
        self._log = event_log
        self._source = source

    async def send(self, counted: Mapping[Observation, Counted]) -> None:
        events = [self._event(observation, count) for observation, count in counted.items()]
        try:
            for round_number in range(MAX_ROUNDS):
                head = await self._log.head(PLATFORM_SUBJECT)
                try:
                    await self._log.append(events, [head])
                    return
                except WrongExpectedSequence:
                    # All services write here, each once a minute.
                    await asyncio.sleep(0.01 * 2**round_number)
        except EventLogError as error:
            raise NotRecorded(str(error)) from error
        raise NotRecorded(f"others were faster {MAX_ROUNDS} times")

    def _event(self, observation: Observation, counted: Counted) -> NewEvent:
        ce_type, body = codec.encode(payload_of(observation, counted))
        return NewEvent(
            subject=PLATFORM_SUBJECT,
            type=ce_type,
            body=body,
            id=new_event_id(),
            time=self.clock(),
            source=self._source,
            actor=observation.actor,
        )


class AccessReports(AccessCollector):
    """Hands the facts to the runtime service: for a process without an event log of its own."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str]],
        clock: Callable[[], datetime] = now_utc,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        super().__init__(clock, window_seconds)
        self._stub = access_service_pb2_grpc.AccessServiceStub(channel)
        self._metadata = tuple(metadata)

    async def send(self, counted: Mapping[Observation, Counted]) -> None:
        observed = [
            access_api.ObservedAccess(access=payload_of(observation, count), actor=observation.actor)
            for observation, count in counted.items()
        ]
        request = access_api.ReportAccessRequest(observed=observed)
        try:
            await self._stub.ReportAccess(request, metadata=self._metadata, timeout=REPORT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise NotRecorded(error.code().name) from error


def payload_of(observation: Observation, counted: Counted) -> facts.AccessObserved:
    """Say an observation as a fact."""
    payload = facts.AccessObserved(
        result=_RESULTS[observation.result],
        operation=observation.operation,
        resource=observation.resource,
        peer=observation.peer,
        count=counted.count,
    )
    payload.first_time.FromDatetime(counted.first_time)
    return payload


def observation_of(reported: access_api.ObservedAccess) -> tuple[Observation, Counted]:
    """Read what another service reports; texts are cut where they are too long.

    Raises:
        InvalidArgument: the result or the count says nothing.
    """
    access = reported.access
    result = next((ours for ours, theirs in _RESULTS.items() if theirs == access.result), None)
    if result is None or access.count < 1:
        raise InvalidArgument([Violation("observed", "needs a result and a count")])
    observation = Observation(
        result, reported.actor[:128], access.operation[:256], access.resource[:256], access.peer[:128]
    )
    return observation, Counted(access.first_time.ToDatetime(tzinfo=UTC), access.count)

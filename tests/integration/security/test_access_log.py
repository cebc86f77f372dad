"""Access facts: one event for the repeats of a minute, who is behind it, and nothing lost while the log is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio
import pytest

from milepost.api.event.v1 import platform_events_pb2 as facts
from milepost.eventlog import PLATFORM_SUBJECT, LogUnavailable, RecordedEvent, codec
from milepost.eventlog.memory import MemoryLog
from milepost.security.tokens import Role
from services.access.access_log import MAX_FACTS, OTHERS, AccessLog, AccessReports
from services.access.access_service import AccessService
from services.access.authentication import Observation, Result
from services.access.channels import service_metadata
from tests.integration.security.secured import SecuredServer, all_methods, call, request_of, running_secured

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STOPPED = Observation(Result.ALLOWED, "ann", "RuntimeService/StopRuntime", "runtimes/rt-a", "127.0.0.1")
REFUSED = Observation(Result.UNAUTHENTICATED, "unauthenticated", "RuntimeService/GetRuntime", "", "10.0.0.1")


def access_log(event_log: MemoryLog) -> AccessLog:
    return AccessLog(event_log, "/services/runtime", lambda: NOW, window_seconds=3600)


async def recorded(event_log: MemoryLog) -> list[tuple[RecordedEvent, facts.AccessObserved]]:
    found = []
    for event in await event_log.read_chain(PLATFORM_SUBJECT):
        payload = codec.decode(event.type, event.body)
        assert isinstance(payload, facts.AccessObserved)
        found.append((event, payload))
    return found


async def test_repeats_become_one_event_with_a_count() -> None:
    event_log = MemoryLog()
    observer = access_log(event_log)
    for observation in (STOPPED, REFUSED, REFUSED, REFUSED):
        observer.observe(observation)
    await observer.flush()
    await observer.flush()
    (first, stopped), (second, refused) = await recorded(event_log)
    assert (first.actor, stopped.operation, stopped.resource, stopped.count) == (
        "ann", "RuntimeService/StopRuntime", "runtimes/rt-a", 1,
    )  # fmt: skip
    assert stopped.result == facts.ACCESS_RESULT_ALLOWED
    assert (second.actor, refused.peer, refused.count) == ("unauthenticated", "10.0.0.1", 3)
    assert refused.first_time.ToDatetime(tzinfo=UTC) == NOW


async def test_an_attacker_fills_neither_memory_nor_log() -> None:
    event_log = MemoryLog()
    observer = access_log(event_log)
    for number in range(5_000):
        observer.observe(Observation(Result.UNAUTHENTICATED, "unauthenticated", f"operation-{number}", "", "10.0.0.1"))
    await observer.flush()
    events = await recorded(event_log)
    assert len(events) == MAX_FACTS + 1
    assert (events[-1][0].actor, events[-1][1].count) == (OTHERS, 5_000 - MAX_FACTS)


async def test_while_the_log_is_away_facts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    event_log = MemoryLog()
    observer = access_log(event_log)

    async def unavailable(*arguments: object) -> None:
        raise LogUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(event_log, "append", unavailable)
        observer.observe(STOPPED)
        await observer.flush()
        observer.observe(STOPPED)
        await observer.flush()
    await observer.flush()
    ((_, stopped),) = await recorded(event_log)
    assert stopped.count == 2


async def test_services_write_side_by_side() -> None:
    event_log = MemoryLog()
    observers = [access_log(event_log) for _ in range(3)]
    for observer in observers:
        observer.observe(STOPPED)
    for observer in observers:
        await observer.flush()
    assert [event.version for event, _ in await recorded(event_log)] == [1, 2, 3]


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[tuple[SecuredServer, AccessLog, MemoryLog]]:
    """A server that asks for tokens, with the AccessService on a log."""
    event_log = MemoryLog()
    collected = access_log(event_log)
    async with running_secured(tmp_path, access_service=AccessService(collected), authentication="required") as secured:
        yield secured, collected, event_log


async def test_the_gateway_reports_what_it_saw(secured: tuple[SecuredServer, AccessLog, MemoryLog]) -> None:
    server, collected, event_log = secured
    async with grpc.aio.insecure_channel(server.address) as channel:
        reports = AccessReports(channel, service_metadata(server.data_dir / "keys", "gateway"), lambda: NOW)
        for _ in range(3):
            reports.observe(REFUSED)
        await reports.flush()
        await collected.flush()
        ((event, refused),) = await recorded(event_log)
        assert (event.actor, refused.peer, refused.count) == ("unauthenticated", "10.0.0.1", 3)

        # Nobody else can put words into the log.
        for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
            stranger = AccessReports(channel, [("authorization", f"Bearer {server.token(role)}")])
            stranger.observe(STOPPED)
            await stranger.flush()
        await collected.flush()
        assert len(await recorded(event_log)) == 1


async def test_a_caller_can_ask_who_they_are(secured: tuple[SecuredServer, AccessLog, MemoryLog]) -> None:
    server, _, _ = secured
    method = next(method for method in all_methods() if method.name == "GetCaller")
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, method, request_of(method), server.token(Role.VIEWER)) is grpc.StatusCode.OK
        assert await call(channel, method, request_of(method)) is grpc.StatusCode.UNAUTHENTICATED

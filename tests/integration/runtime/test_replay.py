"""Replay of the log: any range, any choice of events; it ends or follows, and goes no faster than its reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest
from google.protobuf.message import Message

from milepost.api.audit.v1 import audit_service_pb2 as api
from milepost.api.audit.v1 import audit_service_pb2_grpc
from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog import (
    SUBJECTS,
    LogMessage,
    NewEvent,
    attempt_subject,
    chain_of,
    codec,
    control_subject,
    runtime_subject,
)
from milepost.eventlog.memory import MemoryLog
from milepost.ids import new_event_id
from services.rpc.errors import ErrorInterceptor
from services.runtime.audit.service import CHUNK, AuditService
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.views import Views

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class CountingLog(MemoryLog):
    """Counts what was read of it; its clock goes on a second with each event."""

    def __init__(self) -> None:
        self.seconds = 0
        self.taken = 0
        super().__init__(clock=self._tick)

    def _tick(self) -> datetime:
        self.seconds += 1
        return START + timedelta(seconds=self.seconds)

    async def read(
        self, after: int = 0, until: int | None = None, subjects: Sequence[str] = (SUBJECTS,)
    ) -> AsyncIterator[LogMessage]:
        async for event in super().read(after, until, subjects):
            self.taken += 1
            yield event

    async def add(self, subject: str, payload: Message, actor: str = "ada") -> None:
        kind, body = codec.encode(payload)
        event = NewEvent(subject, kind, body, new_event_id(), START, "/tests", actor)
        await self.append([event], [await self.head(chain_of(subject))])


class Played:
    """An audit service over a log in memory, and a client of it."""

    def __init__(self, log: CountingLog, views: Views, stub: Any) -> None:
        self.log, self.views, self.stub = log, views, stub

    async def fold(self) -> None:
        async for event in self.log.read(self.views.sequence):
            self.views.apply(event)

    async def replay(self, parent: str = "runtimes/-", **fields: Any) -> list[int]:
        answers = self.stub.ReplayEvents(api.ReplayEventsRequest(parent=parent, **fields))
        return [event.sequence async for answer in answers for event in answer.events]


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Played]:
    log, views = CountingLog(), Views()
    for runtime_id, actor in (("rt-a", "ada"), ("rt-b", "eve")):
        await log.add(runtime_subject(runtime_id), runtime_facts.RuntimeRequested(runtime_id=runtime_id), actor)
        for number in (1, 2):
            control, own = control_subject(runtime_id, number), attempt_subject(runtime_id, number, 1)
            await log.add(control, facts.TrialCreated(runtime_id=runtime_id, trial=number), actor)
            await log.add(control, facts.AttemptLaunched(attempt=1), "service:runtime")
            await log.add(own, facts.AttemptStarted(attempt=1), "attempt")
    service = AuditService(Events(log, views), SimpleNamespace(views=views), tmp_path)  # type: ignore[arg-type]
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        made = Played(log, views, audit_service_pb2_grpc.AuditServiceStub(channel))
        await made.fold()
        yield made
    await server.stop(None)


async def test_a_replay_gives_a_range_in_order_and_ends(played: Played) -> None:
    assert await played.replay() == list(range(1, 15))
    assert await played.replay(after_sequence=3, until_sequence=6) == [4, 5, 6]
    assert await played.replay(after_sequence=14) == []


async def test_a_replay_chooses_by_runtime_trial_category_type_and_actor(played: Played) -> None:
    assert await played.replay("runtimes/rt-b") == list(range(8, 15))
    assert await played.replay("runtimes/rt-a", filter={"trial": 2}) == [5, 6, 7]
    assert await played.replay(filter={"actor": "eve"}) == [8, 9, 12]
    assert await played.replay(filter={"types": ["milepost.trial.attempt_started.v1"]}) == [4, 7, 11, 14]
    scheduling = await played.replay(filter={"categories": [options.CATEGORY_SCHEDULING]})
    lifecycle = await played.replay(filter={"categories": [options.CATEGORY_LIFECYCLE]})
    assert scheduling or lifecycle
    assert not set(scheduling) & set(lifecycle)
    assert await played.replay(filter={"actor": "eve", "trial": 2}) == [12]


async def test_a_replay_chooses_by_the_time_of_the_log(played: Played) -> None:
    request = api.ReplayEventsRequest(parent="runtimes/-")
    request.filter.start_time.FromDatetime(START + timedelta(seconds=5))
    request.filter.end_time.FromDatetime(START + timedelta(seconds=8))
    answers = played.stub.ReplayEvents(request)
    assert [event.sequence async for answer in answers for event in answer.events] == [5, 6, 7]


async def test_a_replay_that_follows_gives_each_new_event_once(played: Played) -> None:
    stream = played.stub.ReplayEvents(
        api.ReplayEventsRequest(parent="runtimes/rt-a", after_sequence=6, until_sequence=16, follow=True)
    )
    received: list[int] = []

    async def receive() -> None:
        async for answer in stream:
            received.extend(event.sequence for event in answer.events)

    receiving = asyncio.create_task(receive())
    for attempt in range(3):
        await played.log.add(attempt_subject("rt-a", 1, 1), facts.EpochCompleted(attempt=1, epoch=attempt))
        await played.fold()
    async with asyncio.timeout(30):
        await receiving
    # 15, 16 and 17 came; it ends where it was told to.
    assert received == [7, 15, 16]


async def test_a_replay_past_the_end_or_of_nonsense_is_refused(played: Played) -> None:
    bad: list[tuple[dict[str, Any], grpc.StatusCode]] = [
        ({"after_sequence": 99}, grpc.StatusCode.OUT_OF_RANGE),
        ({"until_sequence": 99}, grpc.StatusCode.OUT_OF_RANGE),
        ({"after_sequence": 99, "follow": True}, grpc.StatusCode.OUT_OF_RANGE),
        ({"until_sequence": -1}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"after_sequence": -1}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"filter": {"types": ["milepost.trial.nonsense.v1"]}}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"parent": "runtimes/rt-c"}, grpc.StatusCode.NOT_FOUND),
    ]
    for fields, code in bad:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await played.replay(**fields)
        assert error.value.code() is code, fields


async def test_a_reader_that_does_not_read_holds_the_replay_back(played: Played) -> None:
    """What is read of the log stays bounded, however long it is, until the reader goes on."""
    count = 800
    # Some 50 kB; no single text may be that long.
    labels = {f"label-{number}": "x" * 4_000 for number in range(12)}
    for _ in range(count):
        await played.log.add(attempt_subject("rt-a", 1, 1), facts.ParametersDeclared(attempt=1, labels=labels))
    await played.fold()
    played.log.taken = 0
    stream = aiter(played.stub.ReplayEvents(api.ReplayEventsRequest(parent="runtimes/-")))
    first = await anext(stream)
    assert CHUNK > len(first.events) > 14, "a message is limited in bytes too"
    # It fills the window of the connection and waits.
    taken = -1
    while taken != played.log.taken:
        taken = played.log.taken
        await asyncio.sleep(0.5)
    assert taken < count / 2
    assert len(first.events) + sum([len(answer.events) async for answer in stream]) == count + 14

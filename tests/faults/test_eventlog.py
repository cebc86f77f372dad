"""Promises 1 to 4 and 13 of the event log under long abuse: kills, power cuts, a disk without room."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from milepost.eventlog import (
    REQUESTS_BUCKET,
    EventLogError,
    Head,
    LogFull,
    LogUnavailable,
    NewEvent,
    RecordedEvent,
    WrongExpectedSequence,
    events_of,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamKeyValue, JetStreamLog
from milepost.eventlog.nats.streams import StreamSettings, ensure_streams
from milepost.eventlog.proof.anchor import AnchorFile
from milepost.eventlog.proof.examination import verify_log, verify_tail
from milepost.eventlog.proof.log_guard import LogGuard
from tests.support.faults.disks import disk, fill
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.events import new_event, new_events, unique_id

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

KILLS = 50
POWER_CUTS = 15
SECONDS = 600.0


@dataclass
class Writers:
    """Writers that append decisions of one to ten events and remember what was acknowledged."""

    url: str
    acknowledged: dict[int, str] = field(default_factory=dict)
    decisions: list[tuple[str, ...]] = field(default_factory=list)
    keys: dict[str, bytes] = field(default_factory=dict)
    stopping: bool = False

    async def write(self, trial: int) -> None:
        chance = random.Random(trial)
        async with await connect(self.url) as connection:
            log, key_value = JetStreamLog(connection), JetStreamKeyValue(connection)
            while not self.stopping:
                # Two writers share each trial, so there are conflicts too.
                chain = trial_chain("rt-1", trial // 2)
                events = new_events(chance.randint(1, 10), "rt-1", trial // 2)
                self.decisions.append(tuple(event.id for event in events))
                with contextlib.suppress(WrongExpectedSequence):
                    await self._append(log, events, await self._head(log, chain))
                key = unique_id("request")
                with contextlib.suppress(LogUnavailable):
                    if await key_value.create(REQUESTS_BUCKET, key, key.encode()) is not None:
                        self.keys[key] = key.encode()

    async def _head(self, log: JetStreamLog, chain: str) -> Head:
        while True:
            with contextlib.suppress(LogUnavailable):
                return await log.head(chain)

    async def _append(self, log: JetStreamLog, events: list[NewEvent], head: Head) -> None:
        while True:
            with contextlib.suppress(LogUnavailable):
                appended = await log.append(events, [head])
                self.acknowledged.update(zip(appended.sequences, (event.id for event in events), strict=True))
                return


async def check(url: str, writers: Writers, decisions: int, anchors: AnchorFile | None = None) -> None:
    """The log is whole; what was acknowledged is there once; each decision is there whole or not at all."""
    async with await connect(url) as connection:
        log = JetStreamLog(connection)
        async for verification in verify_log(log, anchors.read() if anchors else []):
            last = verification
        assert last.findings == ()
        stored = {event.sequence: event.id async for event in events_of(log.read())}
        assert len(set(stored.values())) == len(stored)
        assert {sequence: stored.get(sequence) for sequence in writers.acknowledged} == writers.acknowledged
        ids = set(stored.values())
        for decision in writers.decisions[:decisions]:
            assert len(ids & set(decision)) in (0, len(decision))
        key_value = JetStreamKeyValue(connection)
        for key, value in list(writers.keys.items())[-50:]:
            found = await key_value.get(REQUESTS_BUCKET, key)
            assert found is not None
            assert found[0] == value


async def test_fifty_kills_of_the_server(tmp_path: Path) -> None:
    chance = random.Random(7)
    with running_nats(tmp_path) as server:
        async with asyncio.timeout(SECONDS), await connect(server.url) as connection:
            await ensure_streams(connection)
            anchors = AnchorFile(tmp_path / "EVENTS.jsonl")
            guard = LogGuard(JetStreamLog(connection), anchors, every_seconds=0.1)
            assert await guard.check()
            guarding = asyncio.create_task(guard.run())
            followed: list[RecordedEvent] = []
            following = asyncio.create_task(_follow(JetStreamLog(connection), followed))
            writers = Writers(server.url)
            writing = [asyncio.create_task(writers.write(trial)) for trial in range(2, 8)]
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.02, 0.6))
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(chance.uniform(0, 0.3))
                await asyncio.to_thread(server.restart)
            writers.stopping = True
            await asyncio.gather(*writing)
            log = JetStreamLog(connection)
            expected = [event async for event in log.read()]
            while len(followed) < len(expected):
                await asyncio.sleep(0.05)
            for task in (following, guarding):
                task.cancel()
            assert followed == expected
            assert len(expected) > KILLS
            await check(server.url, writers, len(writers.decisions), anchors)


async def _follow(log: JetStreamLog, into: list[RecordedEvent]) -> None:
    async for event in events_of(log.follow()):
        into.append(event)


async def test_nothing_acknowledged_is_lost_in_power_cuts(tmp_path: Path) -> None:
    chance = random.Random(8)
    with disk(tmp_path, megabytes=512) as device, running_nats(device.path / "nats") as server:
        async with asyncio.timeout(SECONDS), await connect(server.url) as connection:
            await ensure_streams(connection, StreamSettings(telemetry_max_bytes=16 << 20))
            for number in range(POWER_CUTS):
                writers = Writers(server.url)
                before = await JetStreamLog(connection).last_sequence()
                writing = [asyncio.create_task(writers.write(trial)) for trial in range(2, 6)]
                await asyncio.sleep(chance.uniform(0.3, 2.0))
                server.pause()
                at_the_cut = replace(writers, acknowledged=dict(writers.acknowledged), keys=dict(writers.keys))
                cut = tmp_path / f"cut-{number}"
                cut.mkdir()
                with device.after_power_cut(cut) as survived:
                    await _start_on_what_survived(survived / "nats", at_the_cut, before)
                server.unpause()
                writers.stopping = True
                await asyncio.gather(*writing)


async def _start_on_what_survived(directory: Path, writers: Writers, before: int) -> None:
    assert writers.acknowledged, "the cut came before anything was acknowledged"
    with running_nats(directory) as survivor:
        await check(survivor.url, writers, len(writers.decisions))
        async with await connect(survivor.url) as connection:
            log = JetStreamLog(connection)
            assert await log.last_sequence() >= max(*writers.acknowledged, before)
            chain = runtime_chain("rt-after")
            await log.append([new_event(runtime_subject("rt-after"))], [await log.head(chain)])


async def test_a_disk_without_room_loses_nothing_and_needs_no_repair(tmp_path: Path) -> None:
    """The limit of the server is above the disk's, as when something else fills it."""
    with (
        disk(tmp_path, megabytes=64) as device,
        running_nats(device.path / "nats", maximum_store_bytes=1 << 30) as server,
    ):
        async with asyncio.timeout(SECONDS), await connect(server.url) as connection:
            await ensure_streams(connection, StreamSettings(telemetry_max_bytes=16 << 20))
            log = JetStreamLog(connection, append_timeout_seconds=4.0)
            head = Head(runtime_chain("rt-1"))
            acknowledged: dict[int, str] = {}
            ballast = fill(device.path, leave_bytes=2 << 20)
            waiting, failure = await _append_until_it_fails(log, head, acknowledged)
            assert isinstance(failure, LogFull | LogUnavailable)
            assert len(acknowledged) > 5
            ballast.unlink()
            server.kill()
            server.restart()
            head = Head(runtime_chain("rt-1")) if not acknowledged else await log.head(runtime_chain("rt-1"))
            stored = {event.sequence: event.id async for event in events_of(log.read())}
            assert {sequence: stored.get(sequence) for sequence in acknowledged} == acknowledged
            if waiting.id not in stored.values():
                await log.append([waiting], [head])
            assert [event.id for event in await log.read_chain(head.chain)].count(waiting.id) == 1
            await verify_tail(log, AnchorFile(tmp_path / "none.jsonl"))
            server.kill()


async def _append_until_it_fails(
    log: JetStreamLog, head: Head, acknowledged: dict[int, str]
) -> tuple[NewEvent, EventLogError]:
    while True:
        event = replace(new_event(runtime_subject("rt-1")), body=b"x" * 50_000)
        try:
            appended = await log.append([event], [head])
        except EventLogError as error:
            return event, error
        head = appended.heads[head.chain]
        acknowledged[appended.sequences[0]] = event.id


def test_the_servers_of_these_tests_sync_every_write(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        assert isinstance(server, NatsServer)
        assert "sync_interval: always" in (tmp_path / "nats.conf").read_text()

"""Copies of streams, by a real server: taken while it is written to, and put back on another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from milepost.eventlog import EVENTS
from milepost.eventlog.backup import BackupFailed, restore_stream, save_stream
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import (
    StreamSettings,
    configuration_differences,
    ensure_streams,
    events_configuration,
    stream_configuration,
)
from milepost.eventlog.proof.anchor import AnchorFile
from milepost.eventlog.proof.chain import EMPTY_DIGEST, roll
from milepost.eventlog.proof.examination import adopt_restored, examine_tail
from milepost.eventlog.proof.log_guard import LogGuard
from tests.support.servers.metrics_service import start_attempt
from tests.support.servers.servers import running_nats


async def digest(connection: Connection, until: int) -> str:
    found = EMPTY_DIGEST
    async for event in JetStreamLog(connection).examine(0, until):
        found = roll(found, event)
    return found


async def test_a_copy_taken_while_events_come_restores_the_same_stream(tmp_path: Path) -> None:
    """Sequences, bytes and settings are those of the original, and it takes appends."""
    folder = tmp_path / "copy"
    folder.mkdir()
    with running_nats(tmp_path / "one") as one:
        async with await connect(one.url) as connection:
            await ensure_streams(connection)
            log = JetStreamLog(connection)
            for number in range(60):
                await start_attempt(log, f"rt-{number}", 1)
            finished = asyncio.Event()

            async def go_on() -> None:
                number = 60
                while not finished.is_set():
                    await start_attempt(log, f"rt-{number}", 1)
                    number += 1

            writing = asyncio.create_task(go_on())
            saved = await save_stream(connection, EVENTS, folder)
            finished.set()
            await writing
            assert saved.last_sequence >= 180
            expected = await digest(connection, saved.last_sequence)
    with running_nats(tmp_path / "two") as two:
        async with await connect(two.url) as connection:
            restored = await restore_stream(connection, EVENTS, folder)
            assert restored.last_sequence >= saved.last_sequence
            assert await digest(connection, saved.last_sequence) == expected
            found = await stream_configuration(connection, EVENTS)
            assert found is not None and not configuration_differences(events_configuration(StreamSettings()), found)
            await ensure_streams(connection)
            assert await start_attempt(JetStreamLog(connection), "rt-new", 1) > restored.last_sequence
            with pytest.raises(BackupFailed, match="already"):
                await restore_stream(connection, EVENTS, folder)


async def test_a_damaged_copy_makes_no_stream(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    with running_nats(tmp_path / "one") as one:
        async with await connect(one.url) as connection:
            await ensure_streams(connection)
            await start_attempt(JetStreamLog(connection), "rt-1", 1)
            await save_stream(connection, EVENTS, folder)
    path = folder / f"{EVENTS}.snapshot"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with running_nats(tmp_path / "two") as two:
        async with await connect(two.url) as connection:
            with pytest.raises(BackupFailed, match="does not take"):
                await restore_stream(connection, EVENTS, folder)
            assert await stream_configuration(connection, EVENTS) is None


async def test_a_restored_log_is_anchored_again_only_if_it_has_all_that_was_anchored(tmp_path: Path) -> None:
    """A copy that is older than the anchors stays one that services refuse to write to."""
    folder, anchors = tmp_path / "copy", AnchorFile(tmp_path / "anchors.jsonl")
    folder.mkdir()
    with running_nats(tmp_path / "one") as one:
        async with await connect(one.url) as connection:
            await ensure_streams(connection)
            log = JetStreamLog(connection)
            await start_attempt(log, "rt-1", 1)
            await LogGuard(log, anchors).anchor_growth()
            await start_attempt(log, "rt-2", 1)
            await save_stream(connection, EVENTS, folder)
            enough = anchors.read()
            await start_attempt(log, "rt-3", 1)
            await LogGuard(log, anchors).anchor_growth()
            too_many = anchors.read()
    with running_nats(tmp_path / "two") as two:
        async with await connect(two.url) as connection:
            await restore_stream(connection, EVENTS, folder)
            log = JetStreamLog(connection)
            assert await examine_tail(log, enough)
            assert not await adopt_restored(log, anchors)
            assert anchors.read() == too_many
            fitting = AnchorFile(tmp_path / "fitting.jsonl")
            for anchor in enough:
                fitting.append(anchor)
            assert await adopt_restored(log, fitting)
            assert len(fitting.read()) == len(enough) + 1
            assert not await examine_tail(log, fitting.read())

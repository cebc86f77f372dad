"""Promise 6: truncation, edit, gap and regression of the log are found, and writes refused until a person decides.

Most tests tamper with a copy of a real store and start a real server on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import shutil
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from milepost.api.event.v1.platform_events_pb2 import LogRegressionAccepted
from milepost.cli.exits import Exit
from milepost.cli.local.datadir import DataDirectory
from milepost.eventlog import (
    PLATFORM_SUBJECT,
    Head,
    LogRegressed,
    LogUnavailable,
    NewEvent,
    RecordedEvent,
    events_of,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.codec import decode
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.credentials import ADMIN, credentials_path, open_authority, write_service_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.ordered import OrderedReader
from milepost.eventlog.nats.streams import ensure_streams, stream_configuration
from milepost.eventlog.proof.acceptance import accept_regression
from milepost.eventlog.proof.anchor import Anchor, AnchorFile, anchors_path, current, witnesses
from milepost.eventlog.proof.chain import EMPTY_DIGEST, Finding
from milepost.eventlog.proof.examination import Verification, verify_log, verify_tail
from milepost.eventlog.proof.log_guard import LogGuard
from milepost.eventlog.proof.witness import AnchorSink, HttpAnchorSink, Witness
from milepost.installation import endpoints
from milepost.security.egress import Egress
from tests.support.programs.strangers import run_program_of
from tests.support.servers.servers import NatsServer, running_nats, wait_until
from tests.support.trainers.events import new_event, new_events

AUDIT_PAGE = "docs/audit.md"
EVENTS = 300
EVERY = 50
BLOCK = Path("nats/jetstream/$G/streams/EVENTS/msgs/1.blk")
INDEX = BLOCK.with_name("index.db")
SECONDS = 30.0


@asynccontextmanager
async def opened(server: NatsServer) -> AsyncIterator[tuple[Connection, JetStreamLog]]:
    async with await connect(server.url) as connection:
        yield connection, JetStreamLog(connection)


async def grow(log: JetStreamLog, runtime: int, count: int) -> None:
    chain = trial_chain(f"rt-{runtime}", 1)
    await log.append(new_events(count, f"rt-{runtime}"), [await log.head(chain)])


async def verified(log: JetStreamLog, anchors: list[Anchor]) -> Verification:
    async for verification in verify_log(log, anchors):
        last = verification
    assert last.finished
    return last


@dataclass(frozen=True)
class Store:
    """A real log at rest, and its anchors."""

    directory: Path
    anchors: Path
    earlier: Path

    def copy(self, directory: Path) -> Path:
        shutil.copytree(self.directory, directory)
        return directory


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """300 events in 5 trials, anchored every 50; `earlier` is a backup of its first half."""
    directory = tmp_path_factory.mktemp("store")
    result = Store(directory / "whole", directory / "EVENTS.jsonl", directory / "earlier")

    async def build() -> None:
        with running_nats(result.directory) as server:
            for half in range(2):
                async with opened(server) as (connection, log):
                    await ensure_streams(connection)
                    for number in range(EVENTS // 10):
                        await grow(log, number % 5, 5)
                    guard = LogGuard(log, AnchorFile(result.anchors), every_events=EVERY)
                    assert await guard.check()
                    await guard.anchor_growth()
                server.stop()
                if half == 0:
                    shutil.copytree(result.directory, result.earlier)
                    server.restart()

    asyncio.run(build())
    return result


@pytest.fixture
def anchors(store: Store, tmp_path: Path) -> AnchorFile:
    """A copy of the anchors of the store."""
    return AnchorFile(Path(shutil.copy(store.anchors, tmp_path / "EVENTS.jsonl")))


@dataclass(frozen=True)
class Record:
    """A message in a block file: length, sequence, time, length of the subject, subject, headers, body, checksum."""

    start: int
    size: int
    subject_size: int

    @property
    def end(self) -> int:
        return self.start + self.size

    def at(self, part: str) -> int:
        return {
            "length": self.start,
            "sequence": self.start + 5,
            "time": self.start + 13,
            "subject": self.start + 22 + 9,
            "header": self.start + 22 + self.subject_size + 4 + 60,
            "body": self.end - 10,
            "checksum": self.end - 3,
        }[part]


def records(raw: bytes) -> list[Record]:
    found, position = [], 0
    while position < len(raw):
        length, _, _, subject_size = struct.unpack_from("<IQQH", raw, position)
        found.append(Record(position, length & 0x7FFFFFFF, subject_size))
        position += length & 0x7FFFFFFF
    return found


Tamper = Callable[[bytes, list[Record]], bytes]


def flip(sequence: int, part: str) -> Tamper:
    def tamper(raw: bytes, messages: list[Record]) -> bytes:
        changed = bytearray(raw)
        changed[messages[sequence - 1].at(part)] ^= 0x04
        return bytes(changed)

    return tamper


def cut(sequence: int, extra: int = 0) -> Tamper:
    return lambda raw, messages: raw[: messages[sequence - 1].start + extra]


def remove(sequence: int) -> Tamper:
    return lambda raw, messages: raw[: messages[sequence - 1].start] + raw[messages[sequence - 1].end :]


def swap(first: int, second: int) -> Tamper:
    def tamper(raw: bytes, messages: list[Record]) -> bytes:
        a, b = messages[first - 1], messages[second - 1]
        return raw[: a.start] + raw[b.start : b.end] + raw[a.end : b.start] + raw[a.start : a.end] + raw[b.end :]

    return tamper


def zero(first: int, last: int) -> Tamper:
    def tamper(raw: bytes, messages: list[Record]) -> bytes:
        start, end = messages[first - 1].start, messages[last - 1].end
        return raw[:start] + bytes(end - start) + raw[end:]

    return tamper


def duplicate_over_next(first: int, last: int) -> Tamper:
    """Write a range a second time, over as many events that follow it."""

    def tamper(raw: bytes, messages: list[Record]) -> bytes:
        start, end = messages[first - 1].start, messages[last - 1].end
        return raw[:end] + raw[start:end] + raw[messages[2 * last - first].end :]

    return tamper


def remove_range(first: int, last: int) -> Tamper:
    return lambda raw, messages: raw[: messages[first - 1].start] + raw[messages[last - 1].end :]


def move_to_end(sequence: int) -> Tamper:
    def tamper(raw: bytes, messages: list[Record]) -> bytes:
        record = messages[sequence - 1]
        return raw[: record.start] + raw[record.end :] + raw[record.start : record.end]

    return tamper


def other_body(target: int, source: int) -> Tamper:
    """Put the bytes behind the subject of one event into the place of those of another of the same size."""

    def tamper(raw: bytes, messages: list[Record]) -> bytes:
        to, of = messages[target - 1], messages[source - 1]
        assert to.size == of.size
        skip = 22 + to.subject_size
        return raw[: to.start + skip] + raw[of.start + skip : of.end] + raw[to.end :]

    return tamper


def nothing(raw: bytes, messages: list[Record]) -> bytes:
    return b""


TAMPERS: dict[str, tuple[Tamper, int]] = {
    **{
        f"flip a bit in the {part} of {sequence}": (flip(sequence, part), sequence)
        for sequence, part in [
            (1, "body"),
            (2, "header"),
            (120, "length"),
            (120, "sequence"),
            (120, "time"),
            (120, "subject"),
            (120, "header"),
            (120, "body"),
            (120, "checksum"),
            (EVENTS, "header"),
            (EVENTS, "body"),
        ]
    },
    "cut off the last event": (cut(EVENTS), EVENTS),
    "cut in the middle of an event": (cut(200, 30), 200),
    "cut off the second half": (cut(150), 150),
    "remove an event": (remove(77), 77),
    "remove the first event": (remove(1), 1),
    "swap two events": (swap(60, 70), 60),
    "overwrite a range with zeros": (zero(100, 110), 100),
    "empty the file": (nothing, 1),
    "write a range again over what follows it": (duplicate_over_next(90, 95), 96),
    "remove a range": (remove_range(80, 89), 80),
    "move an event to the end": (move_to_end(140), 140),
    "put another event's headers and body in the place of one": (other_body(150, 145), 150),
}


def first_bad(findings: tuple[Finding, ...]) -> int:
    return min(finding.sequence for finding in findings if finding.sequence)


@pytest.mark.parametrize("with_index", [True, False], ids=["index kept", "index rebuilt"])
@pytest.mark.parametrize("name", TAMPERS)
async def test_a_store_that_was_tampered_with_is_found_out(
    store: Store, anchors: AnchorFile, tmp_path: Path, name: str, with_index: bool
) -> None:
    tamper, expected = TAMPERS[name]
    directory = store.copy(tmp_path / "copy")
    raw = (directory / BLOCK).read_bytes()
    (directory / BLOCK).write_bytes(tamper(raw, records(raw)))
    if not with_index:
        (directory / INDEX).unlink()
    with running_nats(directory) as server:
        async with opened(server) as (_, log):
            verification = await verified(log, anchors.read())
    assert not verification.valid
    # A server that rebuilt its index may have dropped more than was touched, never less.
    found = first_bad(verification.findings)
    assert found <= expected
    if with_index and name.startswith(("flip", "cut")):
        assert found == expected


# What is done through a server, by somebody who may do anything there, and the first bad sequence that is named.

Act = Callable[[Connection, JetStreamLog], Awaitable[None]]


async def erase_the_beginning(connection: Connection, log: JetStreamLog) -> None:
    configuration = await stream_configuration(connection, "EVENTS")
    assert configuration is not None
    await connection.request_api("STREAM.UPDATE.EVENTS", {**configuration, "max_msgs": 100, "discard": "old"})
    await connection.request_api("STREAM.UPDATE.EVENTS", configuration)


async def send_again(connection: Connection, log: JetStreamLog) -> None:
    async with OrderedReader(connection, "EVENTS", 99) as reader:
        (message,) = await reader.next_batch(1)
    copied = {name: value for name, value in message.headers.items() if not name.startswith("Nats-")}
    await connection.request(message.subject, message.body, copied)


async def scribble(connection: Connection, log: JetStreamLog) -> None:
    await connection.request("events.rt-1.trial.1.control", b"graffiti")


async def scribble_an_envelope(connection: Connection, log: JetStreamLog) -> None:
    """A well-formed event of a new runtime that claims a past which is not there."""
    async with OrderedReader(connection, "EVENTS", 99) as reader:
        (message,) = await reader.next_batch(1)
    headers = {name: value for name, value in message.headers.items() if not name.startswith("Nats-")}
    headers |= {"ce-id": str(uuid.uuid4()), "ce-subject": "events.rt-forged.trial.1.control"}
    await connection.request("events.rt-forged.trial.1.control", message.body, headers)


def settings_changed(**changes: Any) -> Act:
    async def act(connection: Connection, log: JetStreamLog) -> None:
        configuration = await stream_configuration(connection, "EVENTS")
        assert configuration is not None
        await connection.request_api("STREAM.UPDATE.EVENTS", {**configuration, **changes})

    return act


ACTS: dict[str, tuple[Act, str, int]] = {
    "erase the beginning by a limit, and take the limit back": (erase_the_beginning, "sequence_gap", 1),
    "send an old event again past the check": (send_again, "hash_chain", EVENTS + 1),
    "publish what is no event": (scribble, "unreadable", EVENTS + 1),
    "publish an event with a made-up past": (scribble_an_envelope, "hash_chain", EVENTS + 1),
    "let events expire": (settings_changed(max_age=10**18), "stream_configuration", 0),
    "limit how many events are kept": (settings_changed(max_msgs=10_000), "stream_configuration", 0),
    "limit how many events a subject keeps": (
        settings_changed(max_msgs_per_subject=1_000),
        "stream_configuration",
        0,
    ),
    "let new events push out old ones": (settings_changed(discard="old"), "stream_configuration", 0),
    "forget at once what was sent before": (settings_changed(duplicate_window=10**9), "stream_configuration", 0),
}


@pytest.mark.parametrize("name", ACTS)
async def test_what_is_done_to_the_log_through_its_server_is_found_out(
    store: Store, anchors: AnchorFile, tmp_path: Path, name: str
) -> None:
    act, kind, expected = ACTS[name]
    with running_nats(store.copy(tmp_path / "copy")) as server:
        async with opened(server) as (connection, log):
            await act(connection, log)
        status, lines, _ = await asyncio.to_thread(run_verify, server, anchors.path)
    findings = lines[-1]["findings"]
    assert (status, lines[-1]["valid"]) == (1, False)
    assert kind in {finding["kind"] for finding in findings}
    assert min((finding["sequence"] for finding in findings if finding["sequence"]), default=0) == expected


async def test_a_history_and_its_anchors_written_anew_are_found_out_by_a_witness(
    store: Store, anchors: AnchorFile, tmp_path: Path
) -> None:
    """Whoever owns the host can forge log and anchors together; what went to an outside witness stays."""
    with running_nats(store.copy(tmp_path / "copy")) as server:
        async with opened(server) as (_, log):
            history = [event async for event in events_of(log.read())]
    forged = [_forged(event, "actor") if event.sequence == 130 else _again(event) for event in history]
    witness = AnchorFile(tmp_path / "witness.jsonl")
    with running_nats(tmp_path / "forged") as server:
        async with opened(server) as (connection, log):
            await ensure_streams(connection)
            for event in forged:
                await log.append([event], [await log.head(trial_chain(event.subject.split(".")[1], 1))])
            # The forger also gives the new stream the name of the old: its time of creation.
            created = (await log.state()).created
            for anchor in anchors.read():
                witness.append(replace(anchor, stream_created=created))
            anchors.path.unlink()
            guard = LogGuard(log, anchors, every_events=EVERY)
            assert await guard.check()
            await guard.anchor_growth()
        status, lines, _ = await asyncio.to_thread(run_verify, server, anchors.path)
        assert (status, lines[-1]["valid"]) == (0, True)
        status, lines, _ = await asyncio.to_thread(run_verify, server, witness.path)
    assert status == 1
    assert [(f["kind"], f["sequence"]) for f in lines[-1]["findings"]] == [("anchor", 1)]


def test_at_least_thirty_kinds_of_tampering_are_tried() -> None:
    """Those of the two tables, and those that have a test of their own."""
    own = [
        *(f"write the history anew with another {part}" for part in REWRITTEN),
        "write history and anchors anew",
        "restore an old backup",
        "restore an old backup and let it grow past the anchor",
        "put another stream in its place",
        "edit the file of anchors",
    ]
    assert len({*TAMPERS, *ACTS, *own}) >= 30


async def test_an_untouched_store_is_whole(store: Store, anchors: AnchorFile, tmp_path: Path) -> None:
    for number, with_index in enumerate((True, False)):
        directory = store.copy(tmp_path / f"copy{number}")
        if not with_index:
            (directory / INDEX).unlink()
        with running_nats(directory) as server:
            async with opened(server) as (_, log):
                await verify_tail(log, anchors)
                verification = await verified(log, anchors.read())
        assert verification.findings == ()
        assert (verification.checked, verification.digest) == (EVENTS, anchors.read()[-1].digest)


async def follows_to_its_end(log: JetStreamLog) -> None:
    """What a service waits for at its start comes, also where the log has lost its end."""
    end = await log.last_sequence()
    if end:
        async for message in log.follow():
            if message.sequence >= end:
                return


@pytest.mark.parametrize(
    "tamper",
    [cut(EVENTS), cut(40), flip(EVENTS, "body"), flip(EVENTS - 20, "header"), remove(EVENTS - 5), nothing],
    ids=["last event", "nearly all", "flip at the end", "flip in the tail", "gap in the tail", "everything"],
)
async def test_a_service_that_starts_on_a_damaged_end_refuses_to_write_and_reads(
    store: Store, anchors: AnchorFile, tmp_path: Path, tamper: Tamper
) -> None:
    directory = store.copy(tmp_path / "copy")
    raw = (directory / BLOCK).read_bytes()
    (directory / BLOCK).write_bytes(tamper(raw, records(raw)))
    with running_nats(directory) as server:
        async with opened(server) as (_, log):
            guard = LogGuard(log, anchors)
            assert not await guard.check()
            with pytest.raises(LogRegressed, match="milepost audit accept"):
                await grow(log, 9, 1)
            assert (await log.head(runtime_chain("rt-none"))).sequence == 0
            with pytest.raises(LogRegressed):
                await verify_tail(log, anchors)
            await follows_to_its_end(log)


async def test_a_restored_backup_is_found_out_even_after_it_grew_past_the_anchor(
    store: Store, anchors: AnchorFile, tmp_path: Path
) -> None:
    shutil.copytree(store.earlier, tmp_path / "copy")
    with running_nats(tmp_path / "copy") as server:
        async with opened(server) as (_, log):
            with pytest.raises(LogRegressed, match=f"ends with {EVENTS // 2}, but {EVENTS} messages were anchored"):
                await verify_tail(log, anchors)
            await grow(log, 0, 200)
            with pytest.raises(LogRegressed, match=f"messages {EVENTS - EVERY + 1} to {EVENTS} are not what"):
                await verify_tail(log, anchors)
            verification = await verified(log, anchors.read())
    assert [(f.kind, f.sequence) for f in verification.findings] == [("anchor", EVENTS // 2 + 1)]


async def test_another_stream_in_the_place_of_the_anchored_one_is_found_out(
    anchors: AnchorFile, tmp_path: Path
) -> None:
    with running_nats(tmp_path / "fresh") as server:
        async with opened(server) as (connection, log):
            await ensure_streams(connection)
            with pytest.raises(LogRegressed, match="not the stream that was anchored"):
                await verify_tail(log, anchors)
            for _ in range(3):
                await grow(log, 0, 150)
            with pytest.raises(LogRegressed, match="not the stream that was anchored"):
                await verify_tail(log, anchors)


REWRITTEN = ("body", "actor", "cause", "time", "order")


@pytest.mark.parametrize("changed", REWRITTEN)
async def test_a_history_written_anew_with_valid_links_is_found_out_by_its_anchor(
    store: Store, anchors: AnchorFile, tmp_path: Path, changed: str
) -> None:
    with running_nats(store.copy(tmp_path / "copy")) as server:
        async with opened(server) as (_, log):
            history = [event async for event in events_of(log.read())]
    forged = [_forged(event, changed) if event.sequence == 130 else _again(event) for event in history]
    if changed == "order":
        forged[129], forged[130] = forged[130], forged[129]
    with running_nats(tmp_path / "forged") as server:
        async with opened(server) as (connection, log):
            await ensure_streams(connection)
            for event in forged:
                chain = trial_chain(event.subject.split(".")[1], 1)
                await log.append([event], [await log.head(chain)])
            created = (await log.state()).created
            verification = await verified(log, [replace(anchor, stream_created=created) for anchor in anchors.read()])
    # The server's clock is part of the digest: a history that is written anew is another one from its first message on.
    assert [(f.kind, f.sequence) for f in verification.findings] == [("anchor", 1)]
    assert "messages 1 to 50 are not what was anchored" in verification.findings[0].message


def _again(event: RecordedEvent) -> NewEvent:
    return NewEvent(event.subject, event.type, event.body, event.id, event.time, event.source, event.actor, event.cause)


def _forged(event: RecordedEvent, changed: str) -> NewEvent:
    forged = _again(event)
    if changed == "body":
        return replace(forged, body=new_event(event.subject).body)
    if changed == "time":
        return replace(forged, time=datetime(2026, 1, 1, tzinfo=UTC))
    if changed == "actor":
        return replace(forged, actor="somebody-else")
    return replace(forged, cause="something-else") if changed == "cause" else forged


async def test_limits_that_erase_the_beginning_are_found_out(store: Store, anchors: AnchorFile, tmp_path: Path) -> None:
    """The server refuses purges, but an administrator may still shorten the stream by a new limit."""
    with running_nats(store.copy(tmp_path / "copy")) as server:
        async with opened(server) as (connection, log):
            configuration = await stream_configuration(connection, "EVENTS")
            assert configuration is not None
            limits = {**configuration, "max_msgs": 100, "discard": "old"}
            await connection.request_api("STREAM.UPDATE.EVENTS", limits)
            await connection.request_api("STREAM.UPDATE.EVENTS", configuration)
            with pytest.raises(LogRegressed, match="200 of 300 messages are missing"):
                await verify_tail(log, anchors)
            verification = await verified(log, anchors.read())
    assert first_bad(verification.findings) == 1


async def test_what_somebody_else_published_is_named_and_stops_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    async with opened(nats_server) as (connection, log):
        await ensure_streams(connection)
        await grow(log, 1, 3)
        await connection.request("events.rt-1.trial.1.control", b"graffiti")
        await connection.request("events.anything.at.all", b"", {"ce-id": "x"})
        await grow(log, 2, 3)
        assert [event.sequence async for event in events_of(log.read())] == [1, 2, 3, 6, 7, 8]
        chain = trial_chain("rt-1", 1)
        last = (await log.read_chain(chain))[-1]
        assert await log.head(chain) == Head(chain, 4, last.version, last.hash), "the next one stands behind it"
        verification = await verified(log, [])
        assert [(f.kind, f.sequence) for f in verification.findings] == [("unreadable", 4), ("unreadable", 5)]


# Keeping anchors


async def test_anchors_are_written_as_the_log_grows_and_only_then(nats_server: NatsServer, tmp_path: Path) -> None:
    file = AnchorFile(tmp_path / "anchors" / "EVENTS.jsonl")
    async with opened(nats_server) as (connection, log):
        await ensure_streams(connection)
        guard = LogGuard(log, file, every_events=10)
        assert await guard.check()
        await guard.anchor_growth()
        assert file.read() == []
        await grow(log, 1, 25)
        await guard.anchor_growth()
        await guard.anchor_growth()
        assert [anchor.sequence for anchor in file.read()] == [10, 20, 25]
        await grow(log, 1, 3)
        again = LogGuard(log, file, every_events=10)
        assert await again.check()
        await again.anchor_growth()
        assert [anchor.sequence for anchor in file.read()] == [10, 20, 25, 28]
        verification = await verified(log, file.read())
        assert verification.valid
        assert verification.digest == file.read()[-1].digest
    assert file.path.stat().st_mode & 0o777 == 0o600


async def test_a_service_that_only_checks_writes_no_anchor(nats_server: NatsServer, tmp_path: Path) -> None:
    file = AnchorFile(tmp_path / "EVENTS.jsonl")
    async with opened(nats_server) as (connection, log):
        await ensure_streams(connection)
        await grow(log, 1, 5)
        guard = LogGuard(log, file, writes=False)
        assert await guard.check()
        await guard.anchor_growth()
    assert not file.path.exists()


async def test_a_log_that_loses_its_past_under_a_running_service_is_refused_until_accepted(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Stop, bring an older copy of the store, start: the running services notice, a person accepts, they go on."""
    file = AnchorFile(tmp_path / "EVENTS.jsonl")
    async with opened(nats_server) as (connection, log):
        await ensure_streams(connection)
        await grow(log, 1, 10)
        guard = LogGuard(log, file, every_seconds=0.05)
        assert await guard.check()
        await guard.anchor_growth()
        running = asyncio.create_task(guard.run())
        nats_server.stop()
        shutil.copytree(nats_server.store_directory, tmp_path / "backup")
        nats_server.restart()
        await grow(log, 1, 10)
        async with asyncio.timeout(SECONDS):
            while file.read()[-1].sequence < 20:
                await asyncio.sleep(0.02)
        nats_server.stop()
        shutil.rmtree(nats_server.store_directory)
        shutil.copytree(tmp_path / "backup", nats_server.store_directory)
        nats_server.restart()
        async with asyncio.timeout(SECONDS):
            while log.refusal is None:
                await asyncio.sleep(0.02)
        with pytest.raises(LogRegressed, match="ends with 10, but 20 messages"):
            await grow(log, 1, 1)
        async with opened(nats_server) as (_, administrator):
            accepted = await accept(administrator, file)
        assert accepted is not None
        async with asyncio.timeout(SECONDS):
            while log.refusal is not None:
                await asyncio.sleep(0.02)
        await grow(log, 1, 1)
        running.cancel()
        (event,) = [event async for event in log.read(subjects=[PLATFORM_SUBJECT])]
        fact = decode(event.type, event.body)
        assert fact == LogRegressionAccepted(anchored_sequence=20, found_sequence=10, reason="the disk died")
        assert event.actor == "local:ada"
        assert current(file.read())[0] == accepted
        assert (await verified(log, file.read())).valid


async def accept(log: JetStreamLog, file: AnchorFile) -> Anchor | None:
    return await accept_regression(
        log, file, actor="local:ada", reason="the disk died", event_id=str(uuid.uuid4()), time=datetime.now(UTC)
    )


async def test_an_accepted_gap_stays_named_but_no_longer_stands_in_the_way(
    store: Store, anchors: AnchorFile, tmp_path: Path
) -> None:
    with running_nats(store.copy(tmp_path / "copy")) as server:
        async with opened(server) as (connection, log):
            configuration = await stream_configuration(connection, "EVENTS")
            assert configuration is not None
            limits = {**configuration, "max_msgs": 100, "discard": "old"}
            await connection.request_api("STREAM.UPDATE.EVENTS", limits)
            await connection.request_api("STREAM.UPDATE.EVENTS", configuration)
            guard = LogGuard(log, anchors)
            assert not await guard.check()
            log.refusal = None
            assert await accept(log, anchors) is not None
            assert await guard.check()
            await grow(log, 1, 5)
            await guard.anchor_growth()
            await verify_tail(log, anchors)
            verification = await verified(log, anchors.read())
    assert verification.valid
    assert [(f.sequence, f.accepted) for f in verification.findings if f.kind == "sequence_gap"] == [(1, True)]


async def test_what_lies_before_the_end_that_services_check_is_accepted_too(
    store: Store, anchors: AnchorFile, tmp_path: Path
) -> None:
    """Otherwise `verify` would name it for ever, and `accept` say that there is nothing."""
    directory = store.copy(tmp_path / "copy")
    raw = (directory / BLOCK).read_bytes()
    (directory / BLOCK).write_bytes(flip(120, "body")(raw, records(raw)))
    with running_nats(directory) as server:
        async with opened(server) as (_, log):
            assert not (await verified(log, anchors.read())).valid
            assert await accept(log, anchors) is not None
            assert await LogGuard(log, anchors).check()
            verification = await verified(log, anchors.read())
            assert await accept(log, anchors) is None
    assert verification.valid
    assert any(finding.accepted for finding in verification.findings)


async def test_there_is_nothing_to_accept_in_a_log_that_is_whole(
    store: Store, anchors: AnchorFile, tmp_path: Path
) -> None:
    before = anchors.path.read_bytes()
    with running_nats(store.copy(tmp_path / "copy")) as server:
        async with opened(server) as (_, log):
            assert await accept(log, anchors) is None
            assert await log.last_sequence() == EVENTS
    assert anchors.path.read_bytes() == before


async def test_an_anchor_file_that_was_edited_is_found_out(store: Store, anchors: AnchorFile, tmp_path: Path) -> None:
    content = anchors.path.read_text().replace('"sequence":300', '"sequence":250')
    anchors.path.write_text(content)
    with running_nats(store.copy(tmp_path / "copy")) as server:
        async with opened(server) as (_, log):
            guard = LogGuard(log, anchors)
            assert not await guard.check()
            log.refusal = None
            assert await accept(log, anchors) is not None
            assert await guard.check()
    assert [anchor.sequence for anchor in anchors.read()] == [EVENTS + 1]
    assert len(list(anchors.path.parent.glob("EVENTS.jsonl.rejected-*"))) == 1


def test_an_anchor_that_a_crash_cut_short_does_not_count_and_is_written_over(tmp_path: Path) -> None:
    file = AnchorFile(tmp_path / "EVENTS.jsonl")
    whole = [Anchor(1, n, EMPTY_DIGEST, "2026-03-01T12:00:00Z") for n in (1, 2, 3)]
    file.append(whole[0])
    file.append(whole[1])
    size = file.path.stat().st_size
    for cut_at in (size - 1, size // 2 + 1, size // 2 + 40):
        content = file.path.read_bytes()
        file.path.write_bytes(content[:cut_at])
        assert file.read() == whole[:1]
        file.append(whole[2])
        assert file.read() == [whole[0], whole[2]]
        file.path.write_bytes(content)


def test_a_file_that_grew_large_is_thinned_out_and_still_covers_the_past(tmp_path: Path) -> None:
    file = AnchorFile(tmp_path / "EVENTS.jsonl", maximum_bytes=50_000)
    accepted = 7
    for sequence in range(1, 401):
        mark = "by a person" if sequence == accepted else ""
        file.append(Anchor(1, sequence, EMPTY_DIGEST, "2026-03-01T12:00:00Z", mark))
    anchors = file.read()
    assert file.path.stat().st_size < 51_000
    assert [anchor.sequence for anchor in anchors[-100:]] == list(range(301, 401))
    assert current(anchors)[0].sequence == accepted
    assert len([anchor for anchor in anchors if anchor.sequence < 300]) > 3
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_two_processes_may_write_anchors_at_once(tmp_path: Path) -> None:
    """A service that stands by writes too; nothing is torn and nothing is lost."""
    program = (
        "import sys; from pathlib import Path; from milepost.eventlog.proof.anchor import Anchor, AnchorFile\n"
        "file = AnchorFile(Path(sys.argv[1]), maximum_bytes=30_000)\n"
        "for n in range(80): file.append(Anchor(int(sys.argv[2]), n, '00' * 32, 'now'))\n"
    )
    path = tmp_path / "EVENTS.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), str(number)]) for number in (1, 2)]
    assert [writer.wait(100) for writer in writers] == [0, 0]
    anchors = AnchorFile(path).read()
    last = {anchor.stream_created: anchor.sequence for anchor in anchors}
    assert last == {1: 79, 2: 79}


@pytest.fixture
def witness() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """An HTTP server that keeps what is posted to it."""
    received: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/anchors", received
    server.shutdown()
    thread.join()
    server.server_close()


async def test_an_outside_witness_gets_every_anchor_and_one_that_fails_holds_nothing_up(
    nats_server: NatsServer, tmp_path: Path, witness: tuple[str, list[dict[str, object]]]
) -> None:
    url, received = witness
    file = AnchorFile(tmp_path / "EVENTS.jsonl")
    second = AnchorFile(tmp_path / "second" / "EVENTS.jsonl")
    async with opened(nats_server) as (connection, log):
        await ensure_streams(connection)
        sinks: list[AnchorSink] = [
            HttpAnchorSink("http://127.0.0.1:1/", Egress()),
            HttpAnchorSink(url, Egress()),
            second,
        ]
        guard = LogGuard(log, file, sinks, every_events=4)
        await guard.check()
        await grow(log, 1, 10)
        await guard.anchor_growth()
        await guard.tell_witnesses()
    assert [anchor.sequence for anchor in file.read()] == [4, 8, 10]
    assert second.read() == file.read()
    assert [Anchor.from_line(json.dumps(line)) for line in received] == file.read()
    assert [witness.waiting for witness in guard.witnesses] == [3, 0, 0]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\xff" * 40_000,
        b"HTTP/1.1 999999999999 what\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        # More headers than `http.client` takes, also after clickhouse_connect, once imported, has raised its limit to 10,000.
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000,
        b"",
    ],
)
async def test_a_witness_that_speaks_something_else_is_said_and_tried_again(answer: bytes) -> None:
    asked: list[int] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        await reader.readuntil(b"}")
        writer.write(answer if len(asked) == 1 else b"HTTP/1.1 204 No Content\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    now = 0.0
    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        witness = Witness(HttpAnchorSink(f"http://127.0.0.1:{port}/", Egress()), lambda: now)
        witness.add(Anchor(1, 1, "00" * 32, "2026-03-01T12:00:00.000000Z"))
        await witness.send()
        assert (witness.waiting, len(asked)) == (1, 1)
        await witness.send()
        assert len(asked) == 1, "not at once"
        now += 10.0
        await witness.send()
        assert (witness.waiting, len(asked)) == (0, 2)


async def test_a_witness_that_never_ends_its_answer_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.eventlog.proof.witness.TRY_SECONDS", 0.3)
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while not ended.is_set():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        witness = Witness(HttpAnchorSink(f"http://127.0.0.1:{port}/", Egress()))
        for sequence in range(1_100):
            witness.add(Anchor(1, sequence, "00" * 32, "2026-03-01T12:00:00.000000Z"))
        await witness.send()
        monkeypatch.setattr(witness, "_not_before", 0.0)
        before = threading.active_count()
        await witness.send()
        assert threading.active_count() <= before, "a try that hangs is not repeated beside itself"
        assert witness.waiting == 1_000
        ended.set()


def test_a_witness_has_to_be_an_address_of_http() -> None:
    with pytest.raises(ValueError, match="not an address"):
        HttpAnchorSink("file:///etc/passwd", Egress())


async def test_a_log_that_does_not_answer_is_unavailable_not_regressed(
    nats_server: NatsServer, anchors: AnchorFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.eventlog.nats.jetstream.READ_TIMEOUT_SECONDS", 0.3)
    async with opened(nats_server) as (_, log):
        nats_server.kill()
        with pytest.raises(LogUnavailable):
            await LogGuard(log, anchors).check()
        assert log.refusal is None


async def test_a_new_log_without_anchors_is_whole(nats_server: NatsServer, tmp_path: Path) -> None:
    async with opened(nats_server) as (connection, log):
        await ensure_streams(connection)
        file = AnchorFile(tmp_path / "none.jsonl")
        await verify_tail(log, file)
        await log.append([new_event(runtime_subject("rt-1"))], [Head(runtime_chain("rt-1"))])
        await verify_tail(log, file)
        verification = await verified(log, [])
        assert (verification.valid, verification.checked) == (True, 1)


# The process that verifies


def run_verify(server: NatsServer, anchors: Path | None = None) -> tuple[int, list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "milepost.eventlog.verify", server.url]
    if anchors is not None:
        command += ["--anchors", str(anchors)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_a_process_of_its_own_says_that_a_log_is_whole(store: Store, anchors: AnchorFile, tmp_path: Path) -> None:
    with running_nats(store.copy(tmp_path / "copy")) as server:
        status, lines, _ = run_verify(server, anchors.path)
    assert (status, lines[-1]["finished"], lines[-1]["valid"], lines[-1]["checked"]) == (0, True, True, EVENTS)
    assert lines[-1]["message"].startswith("300 of 300 events: the chain is unbroken")


def test_anchors_that_are_damaged_are_a_finding_and_the_log_is_checked_all_the_same(
    store: Store, anchors: AnchorFile, tmp_path: Path
) -> None:
    content = anchors.path.read_bytes()
    anchors.path.write_bytes(content.replace(b'"sequence":150', b'"sequence":151'))
    with running_nats(store.copy(tmp_path / "copy")) as server:
        status, lines, _ = run_verify(server, anchors.path)
    assert (status, lines[-1]["valid"], lines[-1]["checked"]) == (1, False, EVENTS)
    (finding,) = lines[-1]["findings"]
    assert finding["kind"] == "anchor"
    assert f"line 3 of {anchors.path} is not an anchor" in finding["message"]


def test_a_process_of_its_own_says_what_is_wrong(store: Store, anchors: AnchorFile, tmp_path: Path) -> None:
    directory = store.copy(tmp_path / "copy")
    raw = (directory / BLOCK).read_bytes()
    (directory / BLOCK).write_bytes(flip(120, "body")(raw, records(raw)))
    with running_nats(directory) as server:
        status, lines, _ = run_verify(server, anchors.path)
    assert (status, lines[-1]["valid"]) == (1, False)
    assert min(finding["sequence"] for finding in lines[-1]["findings"]) == 120


def test_a_log_that_cannot_be_read_is_neither_right_nor_wrong(nats_server: NatsServer) -> None:
    status, lines, message = run_verify(nats_server)
    assert (status, lines) == (2, [])
    assert "no stream EVENTS" in message


def run_accept(data_dir: Path, *options: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "milepost", "audit", "accept", "--data-dir", str(data_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, input=answer)


async def test_the_command_line_accepts_after_it_has_said_what_and_asked(store: Store, tmp_path: Path) -> None:
    file = AnchorFile(anchors_path(tmp_path))
    file.path.parent.mkdir()
    shutil.copy(store.anchors, file.path)
    shutil.copytree(store.earlier, tmp_path / "copy")
    with running_nats(tmp_path / "copy") as server:
        found = endpoints.find(str(tmp_path))
        endpoints.write(replace(found, nats=server.url, data_dir=str(tmp_path)), tmp_path)
        refused = await asyncio.to_thread(run_accept, tmp_path, "--reason", "a test", answer="n\n")
        assert refused.returncode == 1
        assert "ends with 150, but 300 messages were anchored" in refused.stderr
        accepted = await asyncio.to_thread(run_accept, tmp_path, "--reason", "a test", "--yes")
        assert (accepted.returncode, accepted.stdout) == (0, "")
        async with opened(server) as (_, log):
            await verify_tail(log, file)
            assert (await verified(log, file.read())).valid
        again = await asyncio.to_thread(run_accept, tmp_path, "--reason", "a test", "--yes")
        assert again.returncode == 0
        assert "nothing to accept" in again.stderr


def test_where_nothing_runs_the_command_line_starts_the_server_that_it_needs(store: Store, tmp_path: Path) -> None:
    file = AnchorFile(anchors_path(tmp_path))
    file.path.parent.mkdir()
    shutil.copy(store.anchors, file.path)
    file.path.write_bytes(file.path.read_bytes()[:-200] + b"no anchor\n")
    shutil.copytree(store.directory / "nats", tmp_path / "nats")
    streams = tmp_path / "nats" / "jetstream"
    (streams / "$G").rename(streams / open_authority(tmp_path / "keys").account)
    accepted = run_accept(tmp_path, "--reason", "a test", "--yes")
    assert (accepted.returncode, accepted.stdout) == (Exit.OK, ""), accepted.stderr
    assert "is not an anchor" in accepted.stderr
    assert file.read()[-1].accepted
    again = run_accept(tmp_path, "--reason", "a test", "--yes")
    assert again.returncode == Exit.OK and "nothing to accept" in again.stderr, "the server ended, and starts again"
    endpoints.write(replace(endpoints.find(str(tmp_path)), nats="nats://127.0.0.1:9", data_dir=str(tmp_path)), tmp_path)
    with DataDirectory(tmp_path):
        refused = run_accept(tmp_path, "--reason", "a test", "--yes")
    assert refused.returncode == Exit.UNAVAILABLE, "somebody has the data directory, whose server is asked"


def test_the_recipe_of_the_documentation_computes_the_digest_of_an_anchor(
    store: Store, anchors: AnchorFile, tmp_path: Path
) -> None:
    """docs/audit.md promises a check by hand with nothing of Milepost in it, where NATS has users too."""
    first, last = anchors.read()[0], anchors.read()[-1]
    with running_nats(store.copy(tmp_path / "copy")) as server:
        done = run_program_of(AUDIT_PAGE, "milepost.anchor.v1", tmp_path, server.url, str(first.sequence))
        assert done.stdout.strip() == first.digest, done.stderr
    keys = tmp_path / "keys"
    authority = open_authority(keys)
    write_service_credentials(keys)
    directory = store.copy(tmp_path / "with users")
    streams = directory / "nats" / "jetstream"
    (streams / "$G").rename(streams / authority.account)
    with running_nats(directory, authority=authority) as server:
        arguments = (server.url, str(last.sequence), str(credentials_path(keys, ADMIN)))
        done = run_program_of(AUDIT_PAGE, "milepost.anchor.v1", tmp_path, *arguments)
        assert done.stdout.strip() == last.digest, done.stderr


def test_witnesses_are_what_the_settings_name(tmp_path: Path) -> None:
    assert witnesses("", "", Egress()) == ()
    file, url = witnesses(str(tmp_path / "second.jsonl"), "https://witness/anchors", Egress())
    assert isinstance(file, AnchorFile) and file.path == tmp_path / "second.jsonl"
    assert isinstance(url, HttpAnchorSink) and url.url == "https://witness/anchors"
    with pytest.raises(ValueError, match="not an address"):
        witnesses("", "witness:80", Egress())


@pytest.mark.parametrize("service", ["runtime", "trials", "metrics"])
def test_every_service_checks_the_end_of_the_log_when_it_starts(store: Store, tmp_path: Path, service: str) -> None:
    """On a log that regressed it says so, with what to do, and serves reads."""
    data_dir, output = tmp_path / "data", tmp_path / "output"
    anchors_path(data_dir).parent.mkdir(parents=True)
    shutil.copy(store.anchors, anchors_path(data_dir))
    shutil.copytree(store.earlier, tmp_path / "copy")
    with running_nats(tmp_path / "copy") as server, output.open("wb") as log:
        before = (tmp_path / "copy" / BLOCK).read_bytes()
        process = subprocess.Popen(
            [
                sys.executable, "-m", f"services.{service}", f"--data-dir={data_dir}", f"--nats-url={server.url}",
                f"--{service}-listen=127.0.0.1:0",
            ],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[3],
        )  # fmt: skip
        try:
            wait_until(lambda: "server.started" in output.read_text(), f"the {service} service serves", SECONDS)
            (entry,) = [json.loads(line) for line in output.read_text().splitlines() if '"log.regressed"' in line]
        finally:
            process.terminate()
            process.wait(SECONDS)
        assert "ends with 150, but 300 messages were anchored" in entry["error"]
        assert "milepost audit accept" in entry["error"]
        assert (tmp_path / "copy" / BLOCK).read_bytes() == before, "nothing was written"

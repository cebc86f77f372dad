"""Promises 1, 3 and 4 of the event log: once, all or nothing, one winner, whatever dies or gets lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from milepost.eventlog import (
    Head,
    LogFull,
    LogMisconfigured,
    LogUnavailable,
    NewEvent,
    RecordedEvent,
    WrongExpectedSequence,
    attempt_subject,
    control_subject,
    events_of,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.nats.connection import Connection, CoreMessage, connect
from milepost.eventlog.nats.jetstream import JetStreamKeyValue, JetStreamLog
from milepost.eventlog.nats.streams import StreamSettings, ensure_streams, stream_configuration
from milepost.eventlog.proof.chain import ChainVerifier
from milepost.eventlog.telemetry import Telemetry, steps_subject
from tests.support.servers.proxy import running_proxy
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.events import new_event, new_events, unique_id

SECONDS = 100.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Connection, JetStreamLog]]:
    async with await connect(url) as connection:
        await ensure_streams(connection)
        yield connection, JetStreamLog(connection, append_timeout_seconds=SECONDS)


async def append_surely(log: JetStreamLog, chain: str, events: list[NewEvent]) -> tuple[int, ...]:
    """Append as a service does: on an unknown outcome again with the same ids."""
    head = await log.head(chain)
    while True:
        try:
            return (await log.append(events, [head])).sequences
        except LogUnavailable:
            continue


async def whole_log(log: JetStreamLog) -> list[RecordedEvent]:
    """All events, after a check that the log is whole."""
    verifier = ChainVerifier(after=0)
    events = []
    async for event in log.examine():
        assert not any(finding.is_open for finding in verifier.check(event))
        assert isinstance(event, RecordedEvent)
        events.append(event)
    return events


async def kill_repeatedly(server: NatsServer, times: int, done: asyncio.Event, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0.05, 0.35))
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(chance.uniform(0, 0.1))
        await asyncio.to_thread(server.restart)
    done.set()


# Lost answers and cut connections


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("direct", [False, True], ids=["leader", "direct"])
async def test_an_append_whose_answer_got_lost_is_stored_once(
    shared_nats: NatsServer, count: int, direct: bool
) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    async with running_proxy(shared_nats.port) as proxy, opened(shared_nats.url) as (_, witness):
        async with await connect(proxy.url) as connection:
            log = JetStreamLog(connection, direct=direct, append_timeout_seconds=SECONDS)
            events = [new_event(attempt_subject(runtime_id, 1, 1)) for _ in range(count)]
            head = await log.head(chain)
            proxy.loses_answers = True
            append = asyncio.create_task(log.append(events, [head]))
            async with asyncio.timeout(SECONDS):
                while (await witness.head(chain)).version < count:
                    await asyncio.sleep(0.01)
            proxy.loses_answers = False
            proxy.reset()
            appended = await append
        assert appended.repeated
        recorded = await witness.read_chain(chain)
        assert [event.id for event in recorded] == [event.id for event in events]
        assert appended.heads[chain] == recorded[-1].head


async def test_an_append_whose_answer_got_lost_is_recognized_behind_a_later_event(shared_nats: NatsServer) -> None:
    """A service loses the answer and the attempt appends next: the service is told of its success all the same."""
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    async with running_proxy(shared_nats.port) as proxy, opened(shared_nats.url) as (_, other):
        async with await connect(proxy.url) as connection:
            log = JetStreamLog(connection, append_timeout_seconds=SECONDS)
            events = new_events(2, runtime_id)
            proxy.loses_answers = True
            append = asyncio.create_task(log.append(events, [Head(chain)]))
            async with asyncio.timeout(SECONDS):
                while (await other.head(chain)).version < 2:
                    await asyncio.sleep(0.01)
            await other.append([new_event(attempt_subject(runtime_id, 1, 1))], [await other.head(chain)])
            proxy.loses_answers = False
            proxy.reset()
            appended = await append
        assert appended.repeated
        assert appended.sequences == tuple(event.sequence for event in (await other.read_chain(chain))[:2])


async def test_an_append_that_lost_the_race_while_its_connection_was_cut_says_so(shared_nats: NatsServer) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    async with running_proxy(shared_nats.port) as proxy, opened(shared_nats.url) as (_, other):
        async with await connect(proxy.url) as connection:
            log = JetStreamLog(connection, append_timeout_seconds=SECONDS)
            head = await log.head(chain)
            proxy.is_silent = True
            append = asyncio.create_task(log.append(new_events(3, runtime_id), [head]))
            await asyncio.sleep(0.05)
            winner = await other.append(new_events(1, runtime_id), [Head(chain)])
            proxy.reset()
            proxy.is_silent = False
            with pytest.raises(WrongExpectedSequence) as failure:
                await append
        assert failure.value.actual == winner.sequences[0]
        assert (await other.head(chain)).version == 1


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
async def test_a_batch_that_is_cut_in_the_middle_is_stored_whole_and_once(
    shared_nats: NatsServer, share: float
) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    async with running_proxy(shared_nats.port) as proxy, opened(proxy.url) as (_, log):
        before = proxy.bytes_to_server
        await log.append(new_events(100, runtime_id, 2), [Head(trial_chain(runtime_id, 2))])
        size = proxy.bytes_to_server - before
        proxy.cuts_after = int(size * share)
        events = new_events(100, runtime_id)
        appended = await log.append(events, [Head(chain)])
        recorded = await log.read_chain(chain)
        assert [event.id for event in recorded] == [event.id for event in events]
        assert tuple(event.sequence for event in recorded) == appended.sequences


async def test_a_server_that_does_not_answer_ends_in_unavailable_and_the_retry_stores_once(tmp_path: Path) -> None:
    runtime_id = unique_id()
    chain = runtime_chain(runtime_id)
    events = [new_event(runtime_subject(runtime_id))]
    with running_nats(tmp_path) as server:
        async with await connect(server.url) as connection:
            await ensure_streams(connection)
            log = JetStreamLog(connection, append_timeout_seconds=1.0)
            server.pause()
            with pytest.raises(LogUnavailable):
                await log.append(events, [Head(chain)])
            server.unpause()
            sequences = await append_surely(log, chain, events)
            assert [event.sequence for event in await log.read_chain(chain)] == list(sequences) == [1]


# Killed servers


async def test_appends_are_there_exactly_once_after_kills_in_the_middle_of_them(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (_, log):
        done = asyncio.Event()
        killer = asyncio.create_task(kill_repeatedly(nats_server, 4, done, seed=1))
        acknowledged: dict[int, str] = {}

        async def write(trial: int) -> None:
            chain = trial_chain("rt-1", trial)
            while not done.is_set():
                events = new_events(1 + trial % 3, "rt-1", trial)
                sequences = await append_surely(log, chain, events)
                acknowledged.update(zip(sequences, (event.id for event in events), strict=True))

        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(write(trial) for trial in range(1, 5)))
            await killer
        stored = {event.sequence: event.id for event in await whole_log(log)}
        assert stored == acknowledged
        assert len(set(stored.values())) == len(stored)


async def test_of_writers_that_race_over_kills_one_wins_each_time(nats_server: NatsServer) -> None:
    chain = trial_chain("rt-1", 1)
    async with opened(nats_server.url) as (_, one), opened(nats_server.url) as (_, other):
        done = asyncio.Event()
        killer = asyncio.create_task(kill_repeatedly(nats_server, 3, done, seed=2))
        won: list[str] = []

        async def write(log: JetStreamLog, subject: str) -> None:
            while not done.is_set():
                event = new_event(subject)
                with contextlib.suppress(WrongExpectedSequence):
                    head = await log.head(chain)
                    while True:
                        with contextlib.suppress(LogUnavailable):
                            await log.append([event], [head])
                            break
                    won.append(event.id)

        async with asyncio.timeout(SECONDS):
            await asyncio.gather(
                write(one, control_subject("rt-1", 1)), write(other, attempt_subject("rt-1", 1, 1)), killer
            )
        events = await whole_log(one)
        assert sorted(event.id for event in events) == sorted(won)
        assert {event.subject for event in events} == {control_subject("rt-1", 1), attempt_subject("rt-1", 1, 1)}


async def test_followers_see_every_event_once_and_in_order_over_five_kills(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (_, log), opened(nats_server.url) as (_, reading):
        done = asyncio.Event()
        everything: list[RecordedEvent] = []
        trial_only: list[RecordedEvent] = []

        async def follow(into: list[RecordedEvent], subjects: list[str]) -> None:
            async for event in events_of(reading.follow(0, subjects)):
                into.append(event)

        followers = [
            asyncio.create_task(follow(everything, ["events.>"])),
            asyncio.create_task(follow(trial_only, ["events.*.trial.2.*"])),
        ]
        killer = asyncio.create_task(kill_repeatedly(nats_server, 5, done, seed=3))
        number = 0
        async with asyncio.timeout(SECONDS):
            while not done.is_set():
                number += 1
                trial = 1 + number % 2
                await append_surely(log, trial_chain("rt-1", trial), new_events(1 + number % 4, "rt-1", trial))
            await killer
            last = await log.last_sequence()
            while not (everything and everything[-1].sequence == last):
                await asyncio.sleep(0.02)
        expected = await whole_log(log)
        async with asyncio.timeout(SECONDS):
            while len(trial_only) < sum(".trial.2." in event.subject for event in expected):
                await asyncio.sleep(0.02)
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        assert everything == expected
        assert trial_only == [event for event in expected if ".trial.2." in event.subject]


async def test_an_orderly_stop_of_the_server_is_survived_like_a_kill(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (connection, log):
        heartbeats = await connection.subscribe("heartbeat.>")
        seen: list[int] = []

        async def follow() -> None:
            async for event in events_of(log.follow()):
                seen.append(event.version)

        follower = asyncio.create_task(follow())
        for version in (1, 2, 3):
            await append_surely(log, runtime_chain("rt-1"), [new_event(runtime_subject("rt-1"))])
            await asyncio.to_thread(nats_server.stop)
            await asyncio.to_thread(nats_server.restart)
            async with asyncio.timeout(SECONDS):
                while len(seen) < version:
                    await asyncio.sleep(0.02)
        follower.cancel()
        assert seen == [1, 2, 3]
        async with asyncio.timeout(SECONDS):
            while not await heartbeats.next_batch(0.05):
                with contextlib.suppress(LogUnavailable):
                    await connection.publish("heartbeat.rt-1.1.1.0", b"still here")


async def test_telemetry_is_read_in_order_without_gap_or_repeat_over_kills(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (connection, _):
        telemetry = Telemetry(connection)
        done = asyncio.Event()
        killer = asyncio.create_task(kill_repeatedly(nats_server, 3, done, seed=4))
        sequences: list[int] = []
        full: list[int] = []
        number = 0

        async def read(into: list[int], headers_only: bool) -> None:
            async with telemetry.consume(buffer_messages=16, headers_only=headers_only) as reader:
                while True:
                    for message in await reader.next_batch(10):
                        assert len(message.body) == (0 if headers_only else 10_000)
                        assert message.headers["mp-number"]
                        into.append(message.sequence)

        readers = [asyncio.create_task(read(sequences, True)), asyncio.create_task(read(full, False))]
        async with asyncio.timeout(SECONDS):
            while not done.is_set():
                number += 1
                with contextlib.suppress(LogUnavailable):
                    await telemetry.publish(
                        steps_subject("rt-1", 1, 1), b"x" * 10_000, {"mp-number": str(number)}, timeout_seconds=1
                    )
            await killer
            state = await telemetry.state()
            while not (sequences and full and sequences[-1] == full[-1] == state.last_sequence):
                await asyncio.sleep(0.02)
        for reader in readers:
            reader.cancel()
        assert sequences == full == list(range(1, state.last_sequence + 1))


async def test_a_lease_is_taken_once_over_kills(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (connection, _):
        key_value = JetStreamKeyValue(connection)
        done = asyncio.Event()
        killer = asyncio.create_task(kill_repeatedly(nats_server, 2, done, seed=5))
        async with asyncio.timeout(SECONDS):
            while not done.is_set():
                key = unique_id("request")
                revisions = await asyncio.gather(*(key_value.create("requests", key, b"%d" % n) for n in range(3)))
                (winner,) = [n for n, revision in enumerate(revisions) if revision is not None]
                assert await key_value.get("requests", key) == (b"%d" % winner, revisions[winner])
            await killer


# A full log


async def test_a_full_log_refuses_appends_reads_on_and_recovers_with_more_room(tmp_path: Path) -> None:
    with running_nats(tmp_path, maximum_store_bytes=4 << 20) as server:
        settings = StreamSettings(telemetry_max_bytes=1 << 20)
        async with await connect(server.url) as connection:
            await ensure_streams(connection, settings)
            log = JetStreamLog(connection)
            chain = runtime_chain("rt-1")
            head = Head(chain)
            large = new_event(runtime_subject("rt-1"))
            with pytest.raises(LogFull):  # noqa: PT012
                while True:
                    large = replace(new_event(runtime_subject("rt-1")), body=b"x" * 100_000)
                    head = (await log.append([large], [head])).heads[chain]
            assert await log.head(chain) == head
            assert len(await log.read_chain(chain)) == head.version > 5
            server.stop()
            server.config["maximum_store_bytes"] = 64 << 20
            server.restart()
            assert (await log.append([large], [head])).heads[chain].version == head.version + 1


# Configuration


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("limit", ["server", "stream"])
async def test_at_a_limit_every_decision_that_was_acknowledged_is_there_whole(
    tmp_path: Path, size: int, limit: str
) -> None:
    """At its own limit the server acknowledges a batch of which it drops a part; at the stream's it refuses it whole."""
    chance = random.Random(size)
    small, large = 3 << 20, 64 << 20
    with running_nats(tmp_path, maximum_store_bytes=small if limit == "server" else large) as server:
        async with await connect(server.url) as connection:
            events_limit = small if limit == "stream" else -1
            await ensure_streams(connection, StreamSettings(telemetry_max_bytes=1 << 18, events_max_bytes=events_limit))
            log = JetStreamLog(connection, append_timeout_seconds=SECONDS)
            head = Head(runtime_chain("rt-1"))
            acknowledged: list[set[str]] = []
            refused: list[set[str]] = []
            while len(refused) < 5:
                decision = [
                    replace(new_event(runtime_subject("rt-1")), body=bytes(chance.randint(100, 40_000)))
                    for _ in range(size)
                ]
                ids = {event.id for event in decision}
                try:
                    head = (await log.append(decision, [head])).heads[head.chain]
                    acknowledged.append(ids)
                except LogFull:
                    refused.append(ids)
                    head = await log.head(head.chain)
            stored = {event.id for event in await whole_log(log)}
            assert len(acknowledged) > 5
            assert all(ids <= stored for ids in acknowledged)
            parts = [ids & stored for ids in refused if ids & stored]
            assert limit == "server" or not parts


async def test_with_a_store_of_a_known_size_the_log_comes_to_its_own_limit_first(tmp_path: Path) -> None:
    """Also when telemetry takes all that it may."""
    with running_nats(tmp_path, maximum_store_bytes=24 << 20) as server:
        async with await connect(server.url) as connection:
            await ensure_streams(connection, StreamSettings.of("1", "24"))
            telemetry, log = Telemetry(connection), JetStreamLog(connection, append_timeout_seconds=SECONDS)
            for _ in range(40):
                await telemetry.publish(steps_subject("rt-1", 1, 1), bytes(500_000), {})
            head = Head(runtime_chain("rt-1"))
            refused: set[str] = set()
            why = ""
            while not refused:
                decision = [replace(new_event(runtime_subject("rt-1")), body=bytes(30_000)) for _ in range(3)]
                try:
                    head = (await log.append(decision, [head])).heads[head.chain]
                except LogFull as error:
                    why, refused = str(error), {event.id for event in decision}
            assert "maximum bytes exceeded" in why
            stored = {event.id for event in await whole_log(log)}
            assert len(stored) > 200
            assert not refused & stored


async def test_services_that_start_together_make_the_streams_once(nats_server: NatsServer) -> None:
    connections = [await connect(nats_server.url) for _ in range(4)]
    await asyncio.gather(*(ensure_streams(connection) for connection in connections))
    found = await stream_configuration(connections[0], "EVENTS")
    assert found is not None
    assert (found["deny_delete"], found["deny_purge"], found["allow_atomic"]) == (True, True, True)
    for connection in connections:
        await connection.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_msgs": 10}, "max_msgs is 10"),
        ({"max_age": 3600 * 10**9}, "max_age is 3600000000000"),
        ({"discard": "old"}, "discard is 'old'"),
        ({"republish": {"src": "events.>", "dest": "other.>"}}, "republish is"),
        ({"duplicate_window": 10**9}, "duplicate_window is"),
        ({"allow_atomic": False}, "allow_atomic is"),
        ({"allow_direct": False}, "allow_direct is"),
        ({"max_msgs_per_subject": 1}, "max_msgs_per_subject is 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_stream_that_would_lose_history_is_named_and_not_changed(
    nats_server: NatsServer, change: dict[str, object], named: str
) -> None:
    async with opened(nats_server.url) as (connection, _):
        configuration = await stream_configuration(connection, "EVENTS")
        assert configuration is not None
        await connection.request_api("STREAM.UPDATE.EVENTS", {**configuration, **change})
        changed = await stream_configuration(connection, "EVENTS")
        with pytest.raises(LogMisconfigured) as failure:
            await ensure_streams(connection)
        assert named in str(failure.value)
        assert "nats stream edit EVENTS" in str(failure.value)
        assert await stream_configuration(connection, "EVENTS") == changed


async def test_limits_of_telemetry_are_the_administrators(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (connection, _):
        configuration = await stream_configuration(connection, "TELEMETRY")
        assert configuration is not None
        await connection.request_api("STREAM.UPDATE.TELEMETRY", {**configuration, "max_age": 3600 * 10**9})
        await ensure_streams(connection)


async def test_the_server_itself_refuses_to_shorten_the_history(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (connection, log):
        await log.append(new_events(3, "rt-1"), [Head(trial_chain("rt-1", 1))])
        for name, request in (("PURGE", {}), ("MSG.DELETE", {"seq": 1})):
            with pytest.raises(Exception, match=r"not permitted|purge|delete"):
                await connection.request_api(f"STREAM.{name}.EVENTS", request)
        assert len(await whole_log(log)) == 3


async def test_a_log_without_its_stream_says_what_to_do(nats_server: NatsServer) -> None:
    async with await connect(nats_server.url) as connection:
        with pytest.raises(LogMisconfigured, match="no stream EVENTS"):
            await JetStreamLog(connection).last_sequence()


async def test_closing_is_quiet_when_the_server_is_gone(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url)
    await ensure_streams(connection)
    log = JetStreamLog(connection, append_timeout_seconds=0.5)
    reader = Telemetry(connection).consume()
    await reader.next_batch(wait_seconds=0.05)
    nats_server.kill()
    with contextlib.suppress(LogUnavailable):
        await connection.publish("heartbeat.rt-1.1.1.0", b"into the void")
    with pytest.raises(LogUnavailable):
        await log.append(new_events(1, "rt-1"), [Head(trial_chain("rt-1", 1))])
    assert await reader.next_batch(wait_seconds=0.1) == []
    await reader.close()
    await log.close()
    await connection.close()


async def test_no_server_is_unavailable() -> None:
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        await connect("nats://127.0.0.1:1", timeout_seconds=0.5)


async def test_committed_events_are_heard_and_refused_ones_are_not(nats_server: NatsServer) -> None:
    async with opened(nats_server.url) as (connection, log):
        async with await connection.subscribe("committed.events.rt-1.>") as committed:
            chain = trial_chain("rt-1", 1)
            first = await log.append(new_events(1, "rt-1"), [Head(chain)])
            with pytest.raises(WrongExpectedSequence):
                await log.append(new_events(1, "rt-1"), [Head(chain)])
            await log.append(new_events(2, "rt-1"), [first.heads[chain]])
            heard: list[CoreMessage] = []
            async with asyncio.timeout(SECONDS):
                while len(heard) < 3:
                    heard += await committed.next_batch()
            assert [int(message.headers["Nats-Sequence"]) for message in heard] == [1, 2, 3]


async def test_a_flush_does_not_overtake_what_was_sent_before_it() -> None:
    """The library's own ping does: its answer would say that the server has what is still in the buffer."""
    heard: list[bytes] = []
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"headers":true,"proto":1}\r\n')
        while line := await reader.readline():
            heard.append(b" ".join(line.split()[:2]))
            if heard[-1] == b"PING":
                writer.write(b"PONG\r\n")
        writer.close()
        gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = await connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", name="test")
    heard.clear()
    async with await connection.subscribe("a", "b"):
        await connection.flush()
        assert heard[-3:] == [b"SUB a", b"SUB b", b"PING"]
    await connection.close()
    await gone.wait()
    server.close()

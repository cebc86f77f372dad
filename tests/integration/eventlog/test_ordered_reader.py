"""The ordered reader: in order, without gap or repeat, and never more than there is room for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from milepost.eventlog.nats import ordered
from milepost.eventlog.nats.connection import ApiError, Connection, connect
from milepost.eventlog.nats.ordered import OrderedReader
from milepost.eventlog.nats.streams import StreamSettings, ensure_stream, telemetry_configuration
from milepost.eventlog.telemetry import Telemetry, parse_telemetry_subject, steps_subject
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.events import unique_id

SECONDS = 30.0


@pytest.fixture
async def stream(connection: Connection) -> AsyncIterator[str]:
    """A stream of one test, on subjects of its own; its name is also the first token of them."""
    name = unique_id("stream")
    configuration = telemetry_configuration(StreamSettings(telemetry_max_bytes=64 << 20))
    await ensure_stream(connection, {**configuration, "name": name, "subjects": [f"{name}.>"]})
    yield name
    await connection.request_api(f"STREAM.DELETE.{name}")


async def fill(connection: Connection, stream: str, count: int, size: int = 10) -> None:
    for number in range(count):
        await connection.publish(f"{stream}.{number % 3}", b"%d " % number + b"x" * size, {"mp-number": str(number)})
    await connection.flush()
    async with asyncio.timeout(SECONDS):
        while (await connection.request_api(f"STREAM.INFO.{stream}"))["state"]["messages"] < count:
            await asyncio.sleep(0.01)


async def take(reader: OrderedReader, count: int, maximum: int = 100) -> list[int]:
    sequences: list[int] = []
    async with asyncio.timeout(SECONDS):
        while len(sequences) < count:
            sequences += [message.sequence for message in await reader.next_batch(maximum)]
    return sequences


async def test_it_begins_behind_a_sequence(connection: Connection, stream: str) -> None:
    await fill(connection, stream, 20)
    async with OrderedReader(connection, stream, 15) as reader:
        assert await take(reader, 5) == [16, 17, 18, 19, 20]
        assert (reader.last_sequence, reader.pending) == (20, 0)
        assert await reader.next_batch(wait_seconds=0.05) == []


async def test_it_takes_only_some_subjects(connection: Connection, stream: str) -> None:
    await fill(connection, stream, 9)
    async with OrderedReader(connection, stream, 0, [f"{stream}.0", f"{stream}.2"]) as reader:
        assert await take(reader, 6) == [1, 3, 4, 6, 7, 9]


async def test_a_message_says_all_that_is_known_of_it(connection: Connection, stream: str) -> None:
    before = time.time_ns()
    await fill(connection, stream, 2)
    async with OrderedReader(connection, stream, 0) as reader:
        first = (await reader.next_batch(1))[0]
    assert (first.sequence, first.subject, first.body) == (1, f"{stream}.0", b"0 xxxxxxxxxx")
    assert first.headers == {"mp-number": "0"}
    assert before - 10**9 < first.time < time.time_ns() + 10**9
    assert first.pending <= 1


async def test_it_asks_for_no_more_than_there_is_room_for(connection: Connection, stream: str) -> None:
    await fill(connection, stream, 400)
    async with OrderedReader(connection, stream, 0, buffer_messages=20) as reader:
        sequences = await take(reader, 5, maximum=5)
        await asyncio.sleep(0.3)
        assert len(reader._buffer) <= 20
        assert sequences + await take(reader, 395, maximum=5) == list(range(1, 401))


async def test_large_messages_come_through_a_small_buffer(connection: Connection, stream: str) -> None:
    await fill(connection, stream, 40, size=500_000)
    async with OrderedReader(connection, stream, 0, buffer_bytes=1 << 20) as reader:
        assert await take(reader, 40) == list(range(1, 41))


async def test_messages_that_got_lost_on_the_way_are_read_again(
    connection: Connection, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(connection, stream, 500)
    receive = OrderedReader._receive
    calls = 0

    async def lossy(self: OrderedReader, consumer: str, message: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 97 != 0:
            await receive(self, consumer, message)

    monkeypatch.setattr(OrderedReader, "_receive", lossy)
    async with OrderedReader(connection, stream, 0, buffer_messages=64) as reader:
        assert await take(reader, 500) == list(range(1, 501))
    assert calls > 500


async def remove_consumer(connection: Connection, stream: str, reader: OrderedReader) -> None:
    """Remove it while a request of the reader waits there, so that the server tells the reader."""

    async def waits() -> bool:
        try:
            return bool((await connection.request_api(f"CONSUMER.INFO.{stream}.{reader._consumer}"))["num_waiting"])
        except ApiError as error:
            # The reader has had its messages of one that is gone, and has not made the next one yet.
            if error.code != 404:
                raise
            return False

    async with asyncio.timeout(SECONDS):
        while not await waits():
            await asyncio.sleep(0.01)
    await connection.request_api(f"CONSUMER.DELETE.{stream}.{reader._consumer}")


async def test_a_consumer_that_somebody_removed_is_made_again(connection: Connection, stream: str) -> None:
    await fill(connection, stream, 30)
    async with OrderedReader(connection, stream, 0) as reader:
        sequences = await take(reader, 5, maximum=5)
        await remove_consumer(connection, stream, reader)
        sequences += await take(reader, 25)
        assert sequences == list(range(1, 31))
        await remove_consumer(connection, stream, reader)
        await connection.publish(f"{stream}.0", b"later")
        assert await take(reader, 1) == [31]


async def test_silence_of_the_server_is_noticed(
    connection: Connection, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer is gone and its end was not heard: the heartbeats stop, and the reader makes another."""
    monkeypatch.setattr(ordered, "SILENCE_SECONDS", 0.3)
    await fill(connection, stream, 3)
    async with OrderedReader(connection, stream, 0) as reader:
        assert await take(reader, 3) == [1, 2, 3]
        monkeypatch.setattr(reader, "_receive_status", lambda *_: None)
        await remove_consumer(connection, stream, reader)
        await connection.publish(f"{stream}.0", b"later")
        assert await take(reader, 1) == [4]


async def test_a_closed_reader_leaves_no_consumer_behind(connection: Connection, stream: str) -> None:
    await fill(connection, stream, 3)
    async with OrderedReader(connection, stream, 0) as reader:
        await take(reader, 3)
        assert (await connection.request_api(f"STREAM.INFO.{stream}"))["state"]["consumer_count"] == 1
    async with asyncio.timeout(SECONDS):
        while (await connection.request_api(f"STREAM.INFO.{stream}"))["state"]["consumer_count"]:
            await asyncio.sleep(0.01)
    assert await reader.next_batch() == []


async def test_a_reader_waits_for_a_stream_that_comes_later(nats_server: NatsServer) -> None:
    async with await connect(nats_server.url) as connection:
        telemetry = Telemetry(connection)
        async with telemetry.consume() as reader:
            assert await reader.next_batch(wait_seconds=0.2) == []
            await ensure_stream(connection, telemetry_configuration(StreamSettings()))
            sequence = await telemetry.publish(steps_subject("rt-1", 1, 1), b"body", {"mp-number": "1"})
            assert await take(reader, 1) == [sequence]
            assert (await telemetry.state()).message_count == 1
            assert await telemetry.stream_id() == (await telemetry.state()).created


async def test_a_stream_made_anew_has_another_identity(tmp_path_factory: pytest.TempPathFactory) -> None:
    identities = []
    for _ in range(2):
        with running_nats(tmp_path_factory.mktemp("nats")) as server:
            async with await connect(server.url) as connection:
                await ensure_stream(connection, telemetry_configuration(StreamSettings()))
                identities.append(await Telemetry(connection).stream_id())
                server.kill()
                server.restart()
                async with asyncio.timeout(SECONDS):
                    while not connection.generation:
                        await asyncio.sleep(0.02)
                assert await Telemetry(connection).stream_id() == identities[-1]
    assert identities[0] < identities[1]


def test_subjects_of_telemetry_are_taken_apart() -> None:
    assert parse_telemetry_subject(steps_subject("rt-1", 2, 3)) == ("rt-1", 2, 3, "steps")
    with pytest.raises(ValueError, match="not a subject"):
        parse_telemetry_subject("events.rt-1.runtime")


async def test_a_slow_listener_of_core_messages_loses_the_oldest_and_knows(connection: Connection) -> None:
    subject = unique_id("heartbeat") + ".x"
    async with await connection.subscribe(subject, buffer=5) as subscription:
        for number in range(12):
            await connection.publish(subject, b"%d" % number)
        await connection.flush()
        async with asyncio.timeout(SECONDS):
            while subscription.dropped < 7:
                await asyncio.sleep(0.01)
        assert [message.body for message in await subscription.next_batch()] == [b"7", b"8", b"9", b"10", b"11"]
        assert await subscription.next_batch(0.01) == []

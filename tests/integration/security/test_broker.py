"""What users of the NATS server may do, tried on a real one: attempts their own subjects, services their own part."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog import (
    EVENTS,
    PLATFORM_SUBJECT,
    TELEMETRY,
    EventLogError,
    Head,
    LogUnavailable,
    NewEvent,
    attempt_subject,
    codec,
    control_subject,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.nats.credentials import (
    ADMIN,
    MAX_PREDECESSORS,
    SERVICES,
    Authority,
    InvalidCredentials,
    credentials_path,
    find_authority,
    find_credentials,
    open_authority,
    write_service_credentials,
)
from milepost.eventlog.nats.jetstream import Connection, JetStreamKeyValue, JetStreamLog, connect, ensure_streams
from milepost.eventlog.nats.wire import STATUS
from milepost.eventlog.proof.chain_service import ChainService
from milepost.eventlog.telemetry import Telemetry, heartbeat_subject, steps_subject, stored_subject
from milepost.ids import new_event_id
from milepost.security.tokens import TokenError
from tests.support.servers.servers import NatsServer, running_nats

# A refused publish gets no answer: how long to wait before taking silence for a refusal.
SILENCE_SECONDS = 0.4
MINE = ("rt-a", 1, 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    directory = tmp_path_factory.mktemp("broker")
    authority = open_authority(directory / "keys")
    write_service_credentials(directory / "keys")
    with running_nats(directory, authority=authority) as server:
        yield server


@pytest.fixture
def authority(server: NatsServer) -> Authority:
    found = find_authority(server.directory / "keys")
    assert found is not None
    return found


async def service(server: NatsServer, name: str) -> Connection:
    return await connect(server.url, credentials=find_credentials(server.directory / "keys", name))


async def attempt(server: NatsServer, folder: Path, *identity: object) -> Connection:
    authority = find_authority(server.directory / "keys")
    assert authority is not None
    path = folder / f"{'_'.join(map(str, identity))}.creds"
    path.write_text(authority.attempt_credentials(*identity))  # type: ignore[arg-type]
    return await connect(server.url, credentials=path)


@pytest.fixture
async def runtime(server: NatsServer) -> AsyncIterator[Connection]:
    connection = await service(server, "runtime")
    await ensure_streams(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def mine(server: NatsServer, runtime: Connection, tmp_path: Path) -> AsyncIterator[Connection]:
    """The connection of attempt 1 of trial 1 of rt-a."""
    connection = await attempt(server, tmp_path, *MINE)
    yield connection
    await connection.close()


def fact(subject: str, step: int = 1) -> NewEvent:
    ce_type, body = codec.encode(facts.EpochCompleted(attempt=1, epoch=0, step=step))
    return NewEvent(subject, ce_type, body, new_event_id(), datetime.now(UTC), "/test", "test")


async def is_refused(connection: Connection, subject: str, body: bytes = b"") -> bool:
    """Return whether the server lets nothing through: no answer, and no trace."""
    try:
        await connection.request(subject, body, timeout_seconds=SILENCE_SECONDS)
    except LogUnavailable as error:
        return "Responders" not in type(error).__name__
    return False


async def test_strangers_do_not_get_in(server: NatsServer, tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="Authorization Violation"):
        await connect(server.url, timeout_seconds=2)
    other = open_authority(tmp_path / "keys")
    path = tmp_path / "other.creds"
    path.write_text(other.attempt_credentials(*MINE))
    with pytest.raises(LogUnavailable, match="Authorization Violation"):
        await connect(server.url, timeout_seconds=2, credentials=path)


async def test_expired_credentials_do_not_open_anything(
    server: NatsServer, authority: Authority, tmp_path: Path
) -> None:
    from milepost.eventlog.nats.credentials import ADMIN_PERMISSIONS

    path = tmp_path / "old.creds"
    path.write_text(authority.credentials("old", ADMIN_PERMISSIONS, lifetime_seconds=-10))
    with pytest.raises(LogUnavailable, match="Authorization Violation"):
        await connect(server.url, timeout_seconds=2, credentials=path)


async def test_an_attempt_does_its_work(server: NatsServer, runtime: Connection, mine: Connection) -> None:
    chain = trial_chain("rt-a", 1)
    own = JetStreamLog(mine, direct=True)
    leader = JetStreamLog(runtime)
    control = fact(control_subject("rt-a", 1))
    await leader.append([control], [await leader.head(chain)])
    committed = await mine.subscribe("committed.events.rt-a.>")
    stored = await mine.subscribe(stored_subject(*MINE))
    await mine.flush()

    await own.append([fact(attempt_subject(*MINE), step) for step in (1, 2)], [await own.head(chain)])
    assert len(await committed.next_batch(10)) >= 1
    assert (await own.head(chain)).sequence == (await leader.head(chain)).sequence
    await own.head("events.rt-a.runtime")
    await Telemetry(mine).publish(steps_subject(*MINE), b"x", {"mp-number": "1"})
    beats = await runtime.subscribe("heartbeat.>")
    await runtime.flush()
    await mine.publish(heartbeat_subject(*MINE, 0), b"beat")
    assert [message.body for message in await beats.next_batch(10)] == [b"beat"]
    metrics = await service(server, "metrics")
    await metrics.publish(stored_subject(*MINE), b"stored")
    assert [message.body for message in await stored.next_batch(10)] == [b"stored"]
    for opened in (committed, stored, beats, metrics):
        await opened.close()


FOREIGN_PUBLISHES = [
    attempt_subject("rt-a", 1, 2),
    attempt_subject("rt-a", 2, 1),
    attempt_subject("rt-b", 1, 1),
    control_subject("rt-a", 1),
    runtime_subject("rt-a"),
    PLATFORM_SUBJECT,
    steps_subject("rt-a", 1, 2),
    steps_subject("rt-b", 1, 1),
    heartbeat_subject("rt-a", 1, 2, 0),
    "stored.rt-a.1.1",
    "committed.events.rt-a.runtime",
    "_INBOX_runtime.x",
    "$KV.leases.scheduler",
]
FOREIGN_REQUESTS = [
    (f"$JS.API.STREAM.CREATE.{EVENTS}", {"name": EVENTS, "subjects": ["events.>"]}),
    ("$JS.API.STREAM.CREATE.MINE", {"name": "MINE", "subjects": ["mine.>"]}),
    (f"$JS.API.STREAM.UPDATE.{EVENTS}", {"name": EVENTS, "subjects": ["events.>"], "max_msgs": 1}),
    (f"$JS.API.STREAM.DELETE.{EVENTS}", None),
    (f"$JS.API.STREAM.PURGE.{TELEMETRY}", None),
    (f"$JS.API.STREAM.INFO.{EVENTS}", None),
    (f"$JS.API.STREAM.MSG.GET.{EVENTS}", {"seq": 1}),
    (f"$JS.API.STREAM.MSG.DELETE.{EVENTS}", {"seq": 1}),
    (f"$JS.API.DIRECT.GET.{EVENTS}", {"seq": 1}),
    (f"$JS.API.DIRECT.GET.{EVENTS}.events.rt-b.runtime", None),
    (f"$JS.API.DIRECT.GET.{EVENTS}.events.platform.access", None),
    (f"$JS.API.DIRECT.GET.{TELEMETRY}.telemetry.rt-a.1.1.steps", None),
    (
        f"$JS.API.CONSUMER.CREATE.{EVENTS}",
        {"stream_name": EVENTS, "config": {"deliver_subject": "events.rt-a.runtime"}},
    ),
    (f"$JS.API.CONSUMER.CREATE.{EVENTS}.x", {"stream_name": EVENTS, "config": {"name": "x"}, "action": "create"}),
    (f"$JS.API.CONSUMER.DURABLE.CREATE.{EVENTS}.x", {"stream_name": EVENTS, "config": {"durable_name": "x"}}),
    ("$JS.API.STREAM.NAMES", None),
    ("$JS.API.INFO", None),
    ("$SYS.REQ.SERVER.PING", None),
]


async def test_an_attempt_can_neither_write_nor_ask_for_anything_else(runtime: Connection, mine: Connection) -> None:
    log = JetStreamLog(runtime)
    before = await log.last_sequence()
    watching = await runtime.subscribe("committed.events.>", "heartbeat.>", "stored.>")
    await runtime.flush()
    requests = [(subject, b"x") for subject in FOREIGN_PUBLISHES]
    requests += [(subject, json.dumps(body).encode() if body else b"") for subject, body in FOREIGN_REQUESTS]
    refused = await asyncio.gather(*(is_refused(mine, subject, body) for subject, body in requests))
    let_through = [subject for (subject, _), was in zip(requests, refused, strict=True) if not was]
    assert not let_through
    assert await log.last_sequence() == before
    assert await watching.next_batch(SILENCE_SECONDS) == []
    await watching.close()


async def test_an_attempt_hears_nothing_of_others(
    server: NatsServer, runtime: Connection, mine: Connection, tmp_path: Path
) -> None:
    foreign = [
        "committed.events.rt-b.>", "committed.events.>", "events.>", "telemetry.>", "heartbeat.>", "stored.rt-b.1.1",
        "_INBOX.>", "_INBOX_runtime.>", "_INBOX_rt-a_1_2.>", ">", "$JS.>", "$KV.>", "$SYS.>",
    ]  # fmt: skip
    ears = [await mine.subscribe(subject) for subject in foreign]
    await mine.flush()
    other = await attempt(server, tmp_path, "rt-b", 1, 1)
    log = JetStreamLog(runtime)
    await log.append([fact(runtime_subject("rt-b"))], [await log.head(runtime_subject("rt-b"))])
    await other.publish(heartbeat_subject("rt-b", 1, 1, 0), b"beat")
    await Telemetry(other).publish(steps_subject("rt-b", 1, 1), b"x", {})
    await runtime.flush()
    await asyncio.sleep(SILENCE_SECONDS)
    heard = {ear.subjects[0]: await ear.next_batch(0.01) for ear in ears}
    assert not [subject for subject, messages in heard.items() if messages]
    await other.close()


async def test_no_service_can_shorten_history(server: NatsServer, runtime: Connection) -> None:
    dangerous = [
        (f"$JS.API.STREAM.UPDATE.{EVENTS}", {"name": EVENTS, "subjects": ["events.>"], "max_msgs": 1}),
        (f"$JS.API.STREAM.DELETE.{EVENTS}", None),
        (f"$JS.API.STREAM.DELETE.{TELEMETRY}", None),
        (f"$JS.API.STREAM.PURGE.{EVENTS}", None),
        (f"$JS.API.STREAM.MSG.DELETE.{EVENTS}", {"seq": 1}),
        ("$JS.API.STREAM.RESTORE.EVENTS", {}),
        ("$JS.API.ACCOUNT.PURGE.x", None),
    ]
    for name in SERVICES:
        connection = await service(server, name)
        bodies = [(subject, json.dumps(body).encode() if body is not None else b"") for subject, body in dangerous]
        assert all(await asyncio.gather(*(is_refused(connection, subject, body) for subject, body in bodies)))
        await connection.close()


async def test_only_the_runtime_service_writes_control_facts(server: NatsServer, runtime: Connection) -> None:
    for name in ("trials", "metrics"):
        connection = await service(server, name)
        subjects = [runtime_subject("rt-a"), control_subject("rt-a", 1), attempt_subject(*MINE), "$KV.requests.x"]
        assert all(await asyncio.gather(*(is_refused(connection, subject, b"x") for subject in subjects)))
        log = JetStreamLog(connection)
        await log.append([fact(PLATFORM_SUBJECT)], [await log.head(PLATFORM_SUBJECT)])
        await connection.close()
    assert await is_refused(runtime, attempt_subject(*MINE), b"x")


async def test_the_recorder_of_mlflow_runs_speaks_for_attempts_only(server: NatsServer, runtime: Connection) -> None:
    """It records for clients of MLflow; it decides nothing, and makes no facts of runtimes."""
    connection = await service(server, "mlflow")
    subjects = [runtime_subject("rt-a"), control_subject("rt-a", 1), "$KV.requests.x", "stored.rt-a.1.1"]
    assert all(await asyncio.gather(*(is_refused(connection, subject, b"x") for subject in subjects)))
    await Telemetry(connection).publish(steps_subject("rt-a", 1, 1), b"x", {})
    # Of a runtime that no other test reads: this is no event.
    assert not await is_refused(connection, attempt_subject("rt-mlflow", 1, 1), b"x")
    await connection.close()


async def test_a_later_attempt_sends_what_earlier_ones_have_left(
    server: NatsServer, runtime: Connection, tmp_path: Path
) -> None:
    third = await attempt(server, tmp_path, "rt-a", 1, 3)
    for number in (1, 2, 3):
        await Telemetry(third).publish(steps_subject("rt-a", 1, number), b"x", {})
    assert await is_refused(third, steps_subject("rt-a", 1, 4), b"x")
    assert await is_refused(third, attempt_subject("rt-a", 1, 2), b"x")
    await third.close()


async def test_an_attempt_after_very_many_connects_and_sends_what_the_last_ones_have_left(
    server: NatsServer, runtime: Connection, tmp_path: Path
) -> None:
    """What it may do must fit into the one line with which it connects."""
    last, longest = 10_000_000, "rt-" + "v" * 26
    late = await attempt(server, tmp_path, longest, 999, last)
    for number in (last - MAX_PREDECESSORS, last):
        await Telemetry(late).publish(steps_subject(longest, 999, number), b"x", {})
    assert await is_refused(late, steps_subject(longest, 999, last - MAX_PREDECESSORS - 1), b"x")
    await late.close()


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_reads_both_streams(server: NatsServer, runtime: Connection, name: str) -> None:
    log = JetStreamLog(runtime)
    await log.append([fact(runtime_subject("rt-c"))], [await log.head(runtime_subject("rt-c"))])
    connection = await service(server, name)
    await ensure_streams(connection)
    theirs = JetStreamLog(connection)
    assert [event async for event in theirs.read()]
    assert await theirs.read_chain(runtime_subject("rt-c"))
    async with Telemetry(connection).consume() as reader:
        await reader.open(10)
    await connection.close()


async def test_the_runtime_service_uses_its_buckets(runtime: Connection) -> None:
    bucket = JetStreamKeyValue(runtime)
    from milepost.eventlog import BUCKETS

    for name in BUCKETS:
        key = f"key-{time.time_ns()}"
        revision = await bucket.create(name, key, b"1")
        assert revision is not None
        assert await bucket.update(name, key, b"2", revision)
        assert (await bucket.get(name, key) or (b"", 0))[0] == b"2"
        await bucket.delete(name, key)


async def test_the_command_line_may_do_what_repairs_need(server: NatsServer, runtime: Connection) -> None:
    connection = await service(server, ADMIN)
    assert (await connection.request_api(f"STREAM.INFO.{EVENTS}"))["config"]["name"] == EVENTS
    await connection.close()


async def test_credentials_live_on_through_a_restart_of_the_server(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "keys")
    write_service_credentials(tmp_path / "keys")
    with running_nats(tmp_path, authority=authority) as server:
        connection = await service(server, "runtime")
        await ensure_streams(connection)
        log = JetStreamLog(connection)
        await log.append([fact(runtime_subject("rt-a"))], [Head(runtime_subject("rt-a"))])
        server.kill()
        server.restart()
        assert (await log.head(runtime_subject("rt-a"))).version == 1
        await connection.close()


async def test_with_lost_keys_new_ones_take_the_history_over(tmp_path: Path) -> None:
    write_service_credentials(tmp_path / "keys")
    subject = runtime_subject("rt-a")
    with running_nats(tmp_path, authority=open_authority(tmp_path / "keys")) as server:
        connection = await service(server, "runtime")
        await ensure_streams(connection)
        await JetStreamLog(connection).append([fact(subject)], [Head(subject)])
        await connection.close()
        server.stop()
        for path in (tmp_path / "keys").iterdir():
            path.unlink()
        server.config["authority"] = open_authority(tmp_path / "keys", server.store_directory)
        write_service_credentials(tmp_path / "keys")
        server.start()
        connection = await service(server, "runtime")
        assert (await JetStreamLog(connection).head(subject)).version == 1
        await connection.close()


def test_keys_and_credentials_are_for_their_owner_only(tmp_path: Path) -> None:
    write_service_credentials(tmp_path / "keys")
    for path in (tmp_path / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    path = tmp_path / "keys" / "nats-authority.json"
    path.chmod(0o644)
    with pytest.raises(TokenError, match="chmod 600"):
        find_authority(tmp_path / "keys")
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(InvalidCredentials):
        find_authority(tmp_path / "keys")


def test_a_signing_key_is_all_that_the_runtime_service_needs(tmp_path: Path) -> None:
    whole = open_authority(tmp_path / "keys")
    part = replace(whole, operator_seed="", system_account="")
    assert "BEGIN NATS USER JWT" in part.attempt_credentials(*MINE)


async def test_an_open_server_takes_credentials_as_well(tmp_path: Path) -> None:
    write_service_credentials(tmp_path / "keys")
    with running_nats(tmp_path) as server:
        connection = await connect(server.url, credentials=credentials_path(tmp_path / "keys", "runtime"))
        with suppress(EventLogError):
            await ensure_streams(connection)
        assert await JetStreamLog(connection).last_sequence() == 0
        await connection.close()


async def test_an_attempt_reads_the_history_of_its_own_trial_and_of_no_other(
    server: NatsServer, runtime: Connection, mine: Connection, tmp_path: Path
) -> None:
    leader = JetStreamLog(runtime)
    serving = asyncio.create_task(ChainService(runtime, leader).run())
    chain, other = trial_chain("rt-a", 1), trial_chain("rt-a", 2)
    await leader.append([fact(control_subject("rt-a", 1), n) for n in range(700)], [await leader.head(chain)])
    await leader.append([fact(control_subject("rt-a", 2))], [await leader.head(other)])
    own = JetStreamLog(mine, direct=True)
    assert await own.read_chain(chain) == await leader.read_chain(chain)
    assert len(await own.read_chain(chain)) >= 700
    assert await is_refused(mine, "chains.rt-a.2")
    assert await is_refused(mine, "chains.rt-b.1")
    # The runtime service may answer whoever asked it, and nobody else.
    assert await is_refused(runtime, "_INBOX_rt-a_1_1.guessed")
    serving.cancel()


async def test_batches_that_an_attempt_leaves_open_do_not_hold_up_the_decisions_of_others(
    runtime: Connection, mine: Connection
) -> None:
    for _ in range(300):
        headers = {"Nats-Batch-Id": new_event_id(), "Nats-Batch-Sequence": "1"}
        await mine.publish(attempt_subject(*MINE), b"x", headers)
    await mine.flush()
    log, subject = JetStreamLog(runtime, append_timeout_seconds=4.0), runtime_subject("rt-decided")
    await log.append([fact(subject), fact(subject, 2)], [await log.head(subject)])
    assert len(await log.read_chain(subject)) == 2


async def test_an_attempt_that_asks_again_and_again_is_answered_once_at_a_time(
    server: NatsServer, runtime: Connection, mine: Connection, tmp_path: Path
) -> None:
    """Of what it asks for meanwhile the last counts, and others are answered in between."""
    leader, other = JetStreamLog(runtime), await attempt(server, tmp_path, "rt-b", 1, 1)
    serving = asyncio.create_task(ChainService(runtime, leader).run())
    for chain in (trial_chain("rt-a", 1), trial_chain("rt-b", 1)):
        subject = chain.replace("*", "control")
        await leader.append([fact(subject, n) for n in range(50)], [await leader.head(chain)])
    ears = await mine.subscribe(f"{mine.inbox_prefix}.flood")
    for _ in range(300):
        await mine.client.publish("chains.rt-a.1", b"", reply=f"{mine.inbox_prefix}.flood")
    assert len(await JetStreamLog(other, direct=True).read_chain(trial_chain("rt-b", 1))) >= 50
    assert await JetStreamLog(mine, direct=True).read_chain(trial_chain("rt-a", 1))
    answers = 0
    while heard := await ears.next_batch(SILENCE_SECONDS):
        answers += sum(message.headers.get(STATUS) == "204" for message in heard)
    assert 1 <= answers < 150
    serving.cancel()
    await other.close()


async def test_a_bad_request_for_a_chain_ends_nothing(
    server: NatsServer, runtime: Connection, mine: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    leader = JetStreamLog(runtime)
    serving = asyncio.create_task(ChainService(runtime, leader).run())
    await leader.append([fact(control_subject("rt-a", 1))], [await leader.head(trial_chain("rt-a", 1))])
    before = await leader.last_sequence()
    strange = ("", "events.rt-a.trial.1.control", "events.rt-b.runtime", "_INBOX_runtime.x", "_INBOX_rt-b_1_1.x")
    # What nobody may listen to would be refused to us, event by event.
    for place in (*strange, "_INBOX.x"):
        await mine.client.publish("chains.rt-a.1", b"\xff", reply=place)
    assert await JetStreamLog(mine, direct=True).read_chain(trial_chain("rt-a", 1))
    assert await leader.last_sequence() == before
    assert [record.message for record in caplog.records].count("chain.bad_request") == len(strange) + 1
    serving.cancel()

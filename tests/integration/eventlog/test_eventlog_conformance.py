"""What every adapter of the event log and of the key-value buckets does: in memory, and on a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from milepost.eventlog import (
    LEASES_BUCKET,
    MAX_EVENTS,
    REQUESTS_BUCKET,
    EventLog,
    EventRefused,
    Head,
    KeyValue,
    LogMessage,
    LogMisconfigured,
    NewEvent,
    RecordedEvent,
    UnreadableMessage,
    WrongExpectedSequence,
    attempt_subject,
    control_subject,
    events_of,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.memory import MemoryKeyValue, MemoryLog
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamKeyValue, JetStreamLog, ensure_streams
from milepost.eventlog.proof.chain import verify_chain
from milepost.eventlog.proof.chain_service import ChainService
from tests.support.servers.servers import NatsServer
from tests.support.trainers.events import new_event, new_events, unique_id

SECONDS = 20.0


@pytest.fixture(params=["memory", "jetstream", "jetstream-direct"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[EventLog]:
    if request.param == "memory":
        yield MemoryLog()
        return
    server: NatsServer = request.getfixturevalue("shared_nats")
    async with await connect(server.url) as connection:
        await ensure_streams(connection)
        adapter = JetStreamLog(connection, direct=request.param == "jetstream-direct")
        async with await connect(server.url) as other:
            chains = asyncio.create_task(ChainService(other, JetStreamLog(other)).run())
            yield adapter
            await adapter.close()
            chains.cancel()


@pytest.fixture(params=["memory", "jetstream"])
async def key_value(request: pytest.FixtureRequest) -> AsyncIterator[KeyValue]:
    if request.param == "memory":
        yield MemoryKeyValue()
        return
    server: NatsServer = request.getfixturevalue("shared_nats")
    async with await connect(server.url) as connection:
        await ensure_streams(connection)
        yield JetStreamKeyValue(connection)


async def collect(events: AsyncIterator[LogMessage], count: int) -> list[RecordedEvent]:
    """Take some events of a follower and end it."""
    found: list[RecordedEvent] = []
    async with asyncio.timeout(SECONDS), contextlib.aclosing(events) as following:  # type: ignore[type-var]
        async for event in events_of(following):
            found.append(event)
            if len(found) == count:
                break
    return found


def same_fact(new: NewEvent, recorded: RecordedEvent) -> bool:
    fields = ("subject", "type", "body", "id", "time", "source", "actor", "cause", "traceparent")
    return all(getattr(new, name) == getattr(recorded, name) for name in fields)


# Appending


async def test_an_empty_chain_has_a_head_of_zero(log: EventLog) -> None:
    chain = trial_chain(unique_id(), 1)
    assert await log.head(chain) == Head(chain, 0, 0, "")
    assert await log.read_chain(chain) == []


async def test_an_event_is_read_as_it_was_appended(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = runtime_chain(runtime_id)
    event = replace(
        new_event(runtime_subject(runtime_id), actor="zoë@例え.jp (unverified)"),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    appended = await log.append([event], [Head(chain)])
    (recorded,) = await log.read_chain(chain)
    assert same_fact(event, recorded)
    assert (recorded.version, recorded.previous_hash) == (1, "")
    assert recorded.sequence == appended.sequences[0] == await log.last_sequence()
    assert await log.head(chain) == recorded.head == appended.heads[chain]
    assert recorded.recorded_time.tzinfo is not None
    assert not appended.repeated


async def test_versions_and_hashes_run_over_all_subjects_of_a_trial(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 2)
    head = Head(chain)
    for subject in (control_subject(runtime_id, 2), attempt_subject(runtime_id, 2, 1), control_subject(runtime_id, 2)):
        head = (await log.append([new_event(subject)], [head])).heads[chain]
    events = await log.read_chain(chain)
    assert [event.version for event in events] == [1, 2, 3]
    assert [event.previous_hash for event in events] == ["", events[0].hash, events[1].hash]
    assert await log.head(chain) == events[-1].head == head


async def test_chains_are_apart(log: EventLog) -> None:
    runtime_id = unique_id()
    await log.append(new_events(2, runtime_id, trial=1), [Head(trial_chain(runtime_id, 1))])
    await log.append(new_events(1, runtime_id, trial=11), [Head(trial_chain(runtime_id, 11))])
    assert (await log.head(trial_chain(runtime_id, 1))).version == 2
    assert [event.version for event in await log.read_chain(trial_chain(runtime_id, 11))] == [1]
    assert (await log.head(runtime_chain(runtime_id))).sequence == 0


async def test_a_head_that_moved_refuses_the_append_and_says_where_it_is(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    first = await log.append([new_event(attempt_subject(runtime_id, 1, 1))], [Head(chain)])
    before = await log.last_sequence()
    with pytest.raises(WrongExpectedSequence) as failure:
        await log.append([new_event(control_subject(runtime_id, 1))], [Head(chain)])
    assert (failure.value.chain, failure.value.expected, failure.value.actual) == (chain, 0, first.sequences[0])
    assert await log.last_sequence() == before


async def test_a_fence_on_one_subject_refuses_the_next_append_on_the_other(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    zombie = await log.append([new_event(attempt_subject(runtime_id, 1, 1))], [Head(chain)])
    await log.append([new_event(control_subject(runtime_id, 1))], [zombie.heads[chain]])
    with pytest.raises(WrongExpectedSequence):
        await log.append([new_event(attempt_subject(runtime_id, 1, 1))], [zombie.heads[chain]])


async def test_several_events_stand_side_by_side_and_are_linked(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    events = [
        new_event(control_subject(runtime_id, 1)),
        new_event(attempt_subject(runtime_id, 1, 1)),
        new_event(control_subject(runtime_id, 1)),
    ]
    appended = await log.append(events, [Head(chain)])
    recorded = await log.read_chain(chain)
    assert [event.id for event in recorded] == [event.id for event in events]
    assert [event.sequence for event in recorded] == list(appended.sequences)
    assert appended.sequences == tuple(range(appended.sequences[0], appended.sequences[0] + 3))
    assert [event.previous_hash for event in recorded[1:]] == [event.hash for event in recorded[:-1]]
    assert appended.heads[chain] == await log.head(chain)


async def test_one_decision_may_touch_two_chains(log: EventLog) -> None:
    runtime_id = unique_id()
    chains = [runtime_chain(runtime_id), trial_chain(runtime_id, 1)]
    events = [
        new_event(runtime_subject(runtime_id)),
        new_event(control_subject(runtime_id, 1)),
        new_event(runtime_subject(runtime_id)),
    ]
    appended = await log.append(events, [Head(chain) for chain in chains])
    assert [await log.head(chain) for chain in chains] == [appended.heads[chain] for chain in chains]
    assert [head.version for head in appended.heads.values()] == [2, 1]


async def test_of_two_chains_one_that_moved_refuses_both(log: EventLog) -> None:
    runtime_id = unique_id()
    runtime, trial = runtime_chain(runtime_id), trial_chain(runtime_id, 1)
    await log.append([new_event(control_subject(runtime_id, 1))], [Head(trial)])
    before = await log.last_sequence()
    with pytest.raises(WrongExpectedSequence) as failure:
        await log.append(
            [new_event(runtime_subject(runtime_id)), new_event(control_subject(runtime_id, 1))],
            [Head(runtime), Head(trial)],
        )
    assert failure.value.chain == trial
    assert await log.last_sequence() == before
    assert (await log.head(runtime)).sequence == 0


@pytest.mark.parametrize("count", [1, 3])
async def test_the_same_append_again_answers_with_what_was_stored(log: EventLog, count: int) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    events = new_events(count, runtime_id)
    first = await log.append(events, [Head(chain)])
    again = await log.append(events, [Head(chain)])
    assert again.repeated
    assert again == replace(first, repeated=True)
    assert len(await log.read_chain(chain)) == count


@pytest.mark.parametrize("count", [1, 3])
async def test_the_same_ids_with_a_fresh_head_are_not_stored_twice(log: EventLog, count: int) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    await log.append(new_events(1, runtime_id), [Head(chain)])
    events = new_events(count, runtime_id)
    first = await log.append(events, [await log.head(chain)])
    again = await log.append(events, [await log.head(chain)])
    assert again == replace(first, repeated=True)
    assert len(await log.read_chain(chain)) == count + 1


async def test_the_same_append_again_after_others_appended_is_still_recognized(log: EventLog) -> None:
    if isinstance(log, JetStreamLog) and log.direct:
        # An attempt alone writes its subject, so only its own later events can be there.
        return
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    events = new_events(2, runtime_id)
    first = await log.append(events, [Head(chain)])
    await log.append([new_event(attempt_subject(runtime_id, 1, 1))], [first.heads[chain]])
    assert (await log.append(events, [Head(chain)])).sequences == first.sequences


async def test_an_id_that_is_in_the_log_already_is_refused_with_other_events(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    old = new_events(1, runtime_id)
    head = (await log.append(old, [Head(chain)])).heads[chain]
    other = new_event(control_subject(runtime_id, 1))
    with pytest.raises(EventRefused):
        await log.append([other, *old], [head])
    assert len(await log.read_chain(chain)) == 1


async def test_a_decision_of_the_greatest_size_is_one_append(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    appended = await log.append(new_events(MAX_EVENTS, runtime_id), [Head(chain)])
    assert len(appended.sequences) == MAX_EVENTS
    events = await log.read_chain(chain)
    assert [event.version for event in events] == list(range(1, MAX_EVENTS + 1))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda event: replace(event, actor="two\r\nlines"),
        lambda event: replace(event, cause=" padded"),
        lambda event: replace(event, source="\x00"),
        lambda event: replace(event, actor="a" * 5000),
        lambda event: replace(event, body=b"x" * 1_000_001),
    ],
    ids=["line break", "padding", "NUL", "long header", "large body"],
)
async def test_what_cannot_be_stored_byte_for_byte_is_refused(
    log: EventLog, spoil: Callable[[NewEvent], NewEvent]
) -> None:
    runtime_id = unique_id()
    before = await log.last_sequence()
    with pytest.raises(EventRefused):
        await log.append([spoil(new_event(runtime_subject(runtime_id)))], [Head(runtime_chain(runtime_id))])
    assert await log.last_sequence() == before


async def test_a_decision_without_events_or_with_too_many_is_an_error_of_the_caller(log: EventLog) -> None:
    runtime_id = unique_id()
    for events in ([], new_events(MAX_EVENTS + 1, runtime_id)):
        with pytest.raises(ValueError, match="1 to 1000 events"):
            await log.append(events, [Head(trial_chain(runtime_id, 1))])


async def test_a_chain_without_its_expected_head_is_an_error_of_the_caller(log: EventLog) -> None:
    runtime_id = unique_id()
    with pytest.raises(ValueError, match="expected head"):
        await log.append(new_events(1, runtime_id), [Head(runtime_chain(runtime_id))])


async def test_of_concurrent_writers_one_wins_and_the_chain_stays_whole(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)

    async def write(subject: str) -> int:
        won = 0
        while won < 8:
            head = await log.head(chain)
            with contextlib.suppress(WrongExpectedSequence):
                await log.append([new_event(subject), new_event(subject)], [head])
                won += 1
        return won

    async with asyncio.timeout(60):
        subjects = [control_subject(runtime_id, 1), *(attempt_subject(runtime_id, 1, n) for n in (1, 2, 3))]
        await asyncio.gather(*(write(subject) for subject in subjects))
    events = await log.read_chain(chain)
    assert [event.version for event in events] == list(range(1, 65))
    assert [event.previous_hash for event in events] == ["", *(event.hash for event in events[:-1])]
    pairs = [(first.subject, second.subject) for first, second in zip(events[::2], events[1::2], strict=True)]
    assert all(first == second for first, second in pairs)


# Reading


async def test_reading_gives_a_range_in_order(log: EventLog) -> None:
    runtime_id = unique_id()
    events = new_events(10, runtime_id)
    appended = await log.append(events, [Head(trial_chain(runtime_id, 1))])
    first = appended.sequences[0]
    assert [event.id async for event in events_of(log.read(first - 1))] == [event.id for event in events]
    assert [event.sequence async for event in log.read(first + 2, first + 5)] == [first + 3, first + 4, first + 5]
    assert [event async for event in log.read(first + 9)] == []
    assert [event async for event in log.read(first + 5, first + 5)] == []
    assert [event async for event in log.read(first + 500)] == []


async def test_reading_ends_where_the_log_ended_at_the_call(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    appended = await log.append(new_events(3, runtime_id), [Head(chain)])
    seen = []
    async for event in log.read(appended.sequences[0] - 1):
        seen.append(event.sequence)
        await log.append(new_events(1, runtime_id), [await log.head(chain)])
    assert seen == list(appended.sequences)


async def test_reading_takes_only_the_subjects_asked_for(log: EventLog) -> None:
    runtime_id, other = unique_id(), unique_id()
    after = await log.last_sequence()
    await log.append([new_event(runtime_subject(runtime_id))], [Head(runtime_chain(runtime_id))])
    await log.append([new_event(runtime_subject(other))], [Head(runtime_chain(other))])
    await log.append(
        [new_event(control_subject(runtime_id, 1)), new_event(attempt_subject(runtime_id, 1, 1))],
        [Head(trial_chain(runtime_id, 1))],
    )

    async def subjects(*patterns: str) -> list[str]:
        return [event.subject async for event in log.read(after, subjects=patterns)]

    everything = [
        runtime_subject(runtime_id),
        runtime_subject(other),
        control_subject(runtime_id, 1),
        attempt_subject(runtime_id, 1, 1),
    ]
    assert await subjects("events.>") == everything
    assert await subjects(f"events.{runtime_id}.>") == [s for s in everything if runtime_id in s]
    assert await subjects("events.*.trial.*.control") == [control_subject(runtime_id, 1)]
    assert await subjects(f"events.{other}.>", trial_chain(runtime_id, 1)) == everything[1:]
    assert await subjects("events.nobody.>") == []


async def test_following_gives_what_is_there_and_then_what_comes(log: EventLog) -> None:
    runtime_id = unique_id()
    chain = trial_chain(runtime_id, 1)
    first = await log.append(new_events(3, runtime_id), [Head(chain)])

    async def append_later() -> None:
        head = first.heads[chain]
        for _ in range(5):
            await asyncio.sleep(0.01)
            head = (await log.append(new_events(2, runtime_id), [head])).heads[chain]

    writer = asyncio.create_task(append_later())
    events = await collect(log.follow(first.sequences[0] - 1, [chain]), 13)
    await writer
    assert [event.version for event in events] == list(range(1, 14))
    assert events == await log.read_chain(chain)


async def test_following_takes_only_the_subjects_asked_for(log: EventLog) -> None:
    runtime_id, other = unique_id(), unique_id()
    after = await log.last_sequence()
    for name in (other, runtime_id, other, runtime_id):
        await log.append([new_event(runtime_subject(name))], [await log.head(runtime_chain(name))])
    events = await collect(log.follow(after, [f"events.{runtime_id}.>"]), 2)
    assert [event.version for event in events] == [1, 2]
    assert {event.subject for event in events} == {runtime_subject(runtime_id)}


async def put(log: EventLog, subject: str, body: bytes) -> None:
    """Put something on a subject as whoever may write there can."""
    if isinstance(log, MemoryLog):
        await log.put(subject, {}, body)
    else:
        assert isinstance(log, JetStreamLog)
        await log._connection.request(subject, body)


async def test_what_is_no_event_is_passed_over_and_the_next_event_stands_behind_it(log: EventLog) -> None:
    runtime_id = unique_id()
    chain, subject = trial_chain(runtime_id, 1), attempt_subject(runtime_id, 1, 1)
    await put(log, subject, b"before everything")
    first = await log.append(new_events(2, runtime_id), [await log.head(chain)])
    await put(log, subject, b"noise")
    await put(log, subject, b"more noise")
    before = first.heads[chain]
    head = await log.head(chain)
    assert head == replace(before, sequence=before.sequence + 2)
    with pytest.raises(WrongExpectedSequence):
        await log.append(new_events(1, runtime_id), [before])
    last = (await log.append(new_events(1, runtime_id), [head])).sequences[-1]
    events = await log.read_chain(chain)
    assert [event.version for event in events] == [1, 2, 3]
    assert (events[-1].previous_hash, events[-1].sequence) == (before.hash, last)
    messages = [message async for message in log.read(first.sequences[0] - 2, last, [f"events.{runtime_id}.>"])]
    assert [isinstance(message, UnreadableMessage) for message in messages] == [True, False, False, True, True, False]
    assert [finding for finding in verify_chain(messages) if not finding.tolerated] == []


async def test_closing_the_log_ends_whoever_follows(log: EventLog) -> None:
    follower = asyncio.create_task(collect(log.follow(await log.last_sequence()), 1))
    await asyncio.sleep(0.05)
    await log.close()
    assert await follower == []


# Key-value buckets


async def test_of_several_who_create_a_key_one_does(key_value: KeyValue) -> None:
    key = unique_id("request")
    revisions = await asyncio.gather(*(key_value.create(REQUESTS_BUCKET, key, b"%d" % i) for i in range(8)))
    assert sum(revision is not None for revision in revisions) == 1
    winner = next(i for i, revision in enumerate(revisions) if revision is not None)
    assert await key_value.get(REQUESTS_BUCKET, key) == (b"%d" % winner, revisions[winner])


async def test_an_absent_key_is_none(key_value: KeyValue) -> None:
    assert await key_value.get(REQUESTS_BUCKET, unique_id("request")) is None


async def test_a_value_is_replaced_only_at_its_revision(key_value: KeyValue) -> None:
    key = unique_id("lease")
    revision = await key_value.create(LEASES_BUCKET, key, b"one")
    assert revision is not None
    later = await key_value.update(LEASES_BUCKET, key, b"two", revision)
    assert later is not None
    assert later > revision
    assert await key_value.update(LEASES_BUCKET, key, b"three", revision) is None
    assert await key_value.get(LEASES_BUCKET, key) == (b"two", later)


async def test_a_deleted_key_can_be_created_again(key_value: KeyValue) -> None:
    key = unique_id("lease")
    revision = await key_value.create(LEASES_BUCKET, key, b"one")
    assert revision is not None
    await key_value.delete(LEASES_BUCKET, key)
    await key_value.delete(LEASES_BUCKET, key)
    assert await key_value.get(LEASES_BUCKET, key) is None
    assert await key_value.update(LEASES_BUCKET, key, b"late", revision) is None
    assert await key_value.create(LEASES_BUCKET, key, b"two") is not None


async def test_a_key_may_be_any_text(key_value: KeyValue) -> None:
    prefix = unique_id("request")
    keys = [f"{prefix} *.>", f"{prefix}/ü", f"{prefix}" + "x" * 500]
    for index, key in enumerate(keys):
        assert await key_value.create(REQUESTS_BUCKET, key, b"%d" % index) is not None
    values = [await key_value.get(REQUESTS_BUCKET, key) for key in keys]
    assert [value[0] for value in values if value] == [b"0", b"1", b"2"]


async def test_a_bucket_that_does_not_exist_is_a_misconfiguration(key_value: KeyValue) -> None:
    with pytest.raises(LogMisconfigured, match="bucket"):
        await key_value.get("nothing", "key")

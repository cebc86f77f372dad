"""Many clients of one state share one stream of its service, and none misses or repeats a change."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from services.gateway.live import sharing
from services.gateway.live.sharing import Entry, SharedStream, SharedStreams, entry_of
from services.gateway.live.subscriptions import Position, Subscription, subscribe
from services.gateway.routes import PLATFORM_TOPICS, RUNTIME_TOPICS

RUNTIMES = 5
WAIT_SECONDS = 30.0


class Source:
    """Runtimes that change, watched as `WatchRuntimes` has it: first those behind a position, then each change."""

    def __init__(self) -> None:
        # As in a log: what comes first is no runtime.
        self.sequence = 1
        self.places: dict[str, int] = {}
        self.deleted: set[str] = set()
        self.open_now = 0
        self._changed = asyncio.Event()
        self._broken = asyncio.Event()

    def change(self, name: str) -> None:
        self.sequence += 1
        self.places[name] = self.sequence
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def break_all(self) -> None:
        """End every open stream."""
        broken, self._broken = self._broken, asyncio.Event()
        broken.set()
        self.change("broken")

    def watch(self, rpc: str, request: Any) -> Call:
        return Call(self._watch(request))

    async def _watch(self, request: Any) -> AsyncGenerator[Any, None]:
        self.open_now += 1
        broken = self._broken
        try:
            seen, caught_up = request.after_sequence, False
            while not broken.is_set():
                due = sorted((place, name) for name, place in self.places.items() if place > seen)
                for place, name in due:
                    state = api.Runtime(name=name, sequence=place, deleted=name in self.deleted)
                    yield api.WatchRuntimesResponse(runtime=state, sequence=place)
                    seen = place
                    await asyncio.sleep(0)
                if not caught_up:
                    caught_up, seen = True, max(seen, self.sequence if not due else seen)
                    yield api.WatchRuntimesResponse(sequence=seen, caught_up=True)
                elif not any(place > seen for place in self.places.values()):
                    await self._changed.wait()
        finally:
            self.open_now -= 1


class Call:
    """A call as gRPC has it: it is iterated once, in whatever task, and cancelled from outside."""

    def __init__(self, responses: AsyncGenerator[Any, None]) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        self._task = asyncio.create_task(self._run(responses))

    async def _run(self, responses: AsyncGenerator[Any, None]) -> None:
        async with aclosing(responses):
            async for response in responses:
                await self._queue.put(response)
        await self._queue.put(None)

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> Any:
        response = await self._queue.get()
        if response is None:
            raise StopAsyncIteration
        return response

    def cancel(self) -> None:
        self._task.cancel()


class Client:
    """Follows the runtimes, leaves and comes back."""

    def __init__(self, streams: SharedStreams, subscription: Subscription) -> None:
        self.states: dict[str, int] = {}
        self.position: Position | None = None
        self.repeats: list[tuple[str, int]] = []
        self.caught_up = False
        self._streams = streams
        self._subscription = subscription

    async def follow(self) -> None:
        while True:
            if self.position is None:
                # A snapshot that was not completed is begun anew.
                self.states.clear()
            batches = self._streams.follow(self._subscription, self.position)
            try:
                async for entries in batches:
                    for entry in entries:
                        self._take(entry)
            finally:
                await batches.aclose()

    def _take(self, entry: Entry) -> None:
        self.caught_up = self.caught_up or entry.caught_up
        if entry.subject:
            place = int(entry.place[0])
            if place <= self.states.get(entry.subject, 0):
                self.repeats.append((entry.subject, place))
            self.states[entry.subject] = place
        if self.caught_up and entry.position:
            self.position = entry.position


def runtimes(query: list[tuple[str, str]] | None = None) -> Subscription:
    return subscribe(PLATFORM_TOPICS["runtimes"], {"trial": "1"}, query or [])


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(8))
async def test_no_client_misses_or_repeats_a_change(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes when, from wherever, and however often streams end or what is kept is not enough."""
    chance = random.Random(seed)
    monkeypatch.setattr(sharing, "WAKE_SECONDS", 0.002)
    monkeypatch.setattr(sharing, "MIN_KEPT_BYTES", chance.choice((200, 2_000, 4 << 20)))
    source = Source()
    streams = SharedStreams(source.watch, source.watch)
    clients = [Client(streams, runtimes()) for _ in range(12)]
    tasks: dict[int, asyncio.Task[None]] = {}
    for _ in range(400):
        draw = chance.random()
        number = chance.randrange(len(clients))
        if draw < 0.6:
            source.change(f"runtimes/rt-{chance.randrange(RUNTIMES)}")
        elif draw < 0.8 and number not in tasks:
            tasks[number] = asyncio.create_task(clients[number].follow())
        elif draw < 0.85 and number in tasks and clients[number].caught_up:
            tasks[number].cancel()
            await asyncio.gather(tasks.pop(number), return_exceptions=True)
        elif draw < 0.87:
            source.break_all()
        await asyncio.sleep(chance.choice((0, 0, 0, 0.001)))
    for number, client in enumerate(clients):
        if number not in tasks:
            tasks[number] = asyncio.create_task(client.follow())
    await until(lambda: all(client.states == source.places for client in clients))
    assert [client.repeats for client in clients] == [[]] * len(clients)
    await asyncio.sleep(0.05)
    assert source.open_now <= 2, "all follow the one stream, but for one that was begun meanwhile"
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    await until(lambda: source.open_now == 0)


async def test_a_hundred_clients_are_one_watcher_of_the_service() -> None:
    source = Source()
    for number in range(RUNTIMES):
        source.change(f"runtimes/rt-{number}")
    streams = SharedStreams(source.watch, source.watch)
    clients = [Client(streams, runtimes()) for _ in range(100)]
    tasks = [asyncio.create_task(client.follow()) for client in clients]
    await until(lambda: all(client.states == source.places for client in clients) and source.open_now == 1)
    source.change("runtimes/rt-0")
    await until(lambda: all(client.states == source.places for client in clients))
    assert source.open_now == 1
    for task in tasks[:99]:
        task.cancel()
    await asyncio.gather(*tasks[:99], return_exceptions=True)
    source.change("runtimes/rt-1")
    await until(lambda: clients[99].states == source.places)
    tasks[99].cancel()
    await asyncio.gather(tasks[99], return_exceptions=True)
    await until(lambda: source.open_now == 0)


async def keep_up(stream: SharedStream, places: dict[str, int]) -> None:
    async for entries in stream.follow(()):
        places.update({entry.subject: int(entry.place[0]) for entry in entries if entry.subject})


async def test_a_client_that_fell_behind_gets_the_states_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on in the same stream: nothing has ended, and its page need not say so."""
    monkeypatch.setattr(sharing, "MIN_KEPT_BYTES", 200)
    source = Source()
    for number in range(RUNTIMES):
        source.change(f"runtimes/rt-{number}")
    stream = SharedStream(runtimes())
    running = asyncio.create_task(stream.run(source.watch))
    batches = stream.follow(())
    first = await anext(batches)
    assert first[-1].caught_up
    seen: dict[str, int] = {}
    following = asyncio.create_task(keep_up(stream, seen))
    for number in range(2_000):
        source.change(f"runtimes/rt-{number % 2}")
        await asyncio.sleep(0)
    await until(lambda: seen == source.places)
    late = await anext(batches)
    assert {entry.subject for entry in late} == {"runtimes/rt-0", "runtimes/rt-1", ""}, "the others have not changed"
    assert {entry.subject: int(entry.place[0]) for entry in late if entry.subject}.items() <= source.places.items()
    source.change("runtimes/rt-3")
    assert [entry.subject for entry in await anext(batches)] == ["runtimes/rt-3"]
    await batches.aclose()
    for task in (running, following):
        task.cancel()
    await asyncio.gather(running, following, return_exceptions=True)


def test_what_is_kept_takes_no_more_memory_than_it_is_long() -> None:
    response = api.WatchRuntimesResponse(runtime=api.Runtime(name="runtimes/rt-1", reason="r" * 1_000), sequence=1)
    topic = PLATFORM_TOPICS["runtimes"]
    tracemalloc.start()
    try:
        entries = [entry_of(topic, response) for _ in range(100)]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 2 * sum(len(entry.data) for entry in entries)


async def test_a_filtered_list_has_a_stream_of_its_own() -> None:
    """What such a list has shown before decides what it is told: no two are alike."""
    source = Source()
    streams = SharedStreams(source.watch, source.watch)
    clients = [Client(streams, runtimes([("filter", "status=Failed")])) for _ in range(2)]
    tasks = [asyncio.create_task(client.follow()) for client in clients]
    await until(lambda: all(client.caught_up for client in clients))
    assert source.open_now == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: source.open_now == 0)


def test_positions_of_two_streams_are_joined_number_by_number() -> None:
    assert sharing.joined(("9", "70"), ("12", "60")) == ("12", "70")
    assert sharing.covers(("12", "70"), ("9", "70"))
    assert not sharing.covers(("12", "60"), ("9", "70"))


def test_the_newest_state_of_each_subject_is_left() -> None:
    old, new = (Entry((str(n),), b"", subject="a") for n in (1, 3))
    other = Entry(("2",), b"", subject="b")
    plain = Entry(("4",), b"")
    assert sharing.newest([old, other, new, plain]) == [other, new, plain]


def test_states_are_shared_and_logs_are_not() -> None:
    path = {"runtime": "rt-a", "trial": "1"}
    shared = {name: subscribe(topic, path, []).is_shared for name, topic in RUNTIME_TOPICS.items()}
    assert shared == {
        "runtime": True, "trials": True, "trial": True, "events": False, "metrics": False, "logs": False,
        "firings": True,
    }  # fmt: skip


class TwoNumbers:
    """Trials behind positions of two numbers, in random histories."""

    def __init__(self, chance: random.Random) -> None:
        self.events = self.telemetry = 1
        self.states: dict[str, Entry] = {}
        for _ in range(60):
            name = f"t{chance.randrange(6)}"
            old = self.states.get(name)
            events, telemetry = (int(part) for part in old.place) if old else (0, 0)
            if chance.random() < 0.4 or not events:
                self.events = events = self.events + 1
            else:
                self.telemetry = telemetry = self.telemetry + 1
            self.states[name] = Entry((), b"", subject=name, place=(str(events), str(telemetry)))

    @property
    def at(self) -> Position:
        return (str(self.events), str(self.telemetry))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_missing_can_be_broken_off_anywhere(seed: int) -> None:
    """A client that leaves in the midst of it and comes back gets the rest, and nothing again."""
    chance = random.Random(seed)
    world = TwoNumbers(chance)
    seen: Position = (str(chance.randrange(world.events + 1)), str(chance.randrange(world.telemetry + 1)))
    expected = {s.subject for s in world.states.values() if not sharing.covers(seen, s.place)}
    got: list[str] = []
    while behind := sharing.missing(world.states.values(), seen, world.at):
        for entry in behind[: chance.randrange(1, 4)]:
            got.append(entry.subject)
            assert sharing.joined(seen, entry.position) == entry.position, "positions only grow"
            seen = entry.position
    assert sorted(got) == sorted(expected)


async def test_an_old_state_says_how_old_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "STALE_SECONDS", 0.0)
    source = Source()
    source.change("runtimes/rt-0")
    streams = SharedStreams(source.watch, source.watch)
    first = Client(streams, runtimes())
    tasks = [asyncio.create_task(first.follow())]
    await until(lambda: first.caught_up)
    batches = streams.follow(runtimes(), None)
    entries = await anext(batches)
    assert [orjson.loads(entry.data).get("age_seconds", -1.0) >= 0 for entry in entries] == [True, False]
    await batches.aclose()
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_deleted_runtime_is_told_to_those_only_who_have_seen_it() -> None:
    source = Source()
    source.change("runtimes/rt-0")
    source.change("runtimes/rt-1")
    streams = SharedStreams(source.watch, source.watch)
    before = Client(streams, runtimes())
    task = asyncio.create_task(before.follow())
    await until(lambda: before.states == source.places)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    source.deleted.add("runtimes/rt-1")
    source.change("runtimes/rt-1")
    fresh = Client(streams, runtimes())
    tasks = [asyncio.create_task(client.follow()) for client in (before, fresh)]
    await until(lambda: fresh.caught_up and before.states == source.places)
    assert set(fresh.states) == {"runtimes/rt-0"}
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

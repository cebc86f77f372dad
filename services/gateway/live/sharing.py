"""One stream of a service for all clients that follow the same state.

The first client of a topic has its stream begun, with all of the state; later ones get the state as it is known here,
or what of it they have not seen, and then all of them the same changes. So a service has one watcher for a page that a
thousand people have open, and each message becomes JSON once. When the stream ends, its clients have the next one begun.

A position says "all that changed at or before it has been sent", in each of its numbers. The positions of one stream
only grow, and two such sayings hold together: that is why a client may go from one stream to another without a gap.

Whoever may open the gateway may read everything; a stream begun for one is therefore good for all of them. It is the
gateway's own: that the first of them signs out, or that its token is revoked, ends nothing for the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

import grpc
import orjson

from milepost.protojson import message_class_of, to_json
from services.edge.contract import method_of
from services.gateway.live.subscriptions import Position, Subscription
from services.gateway.routes import Topic

# Changes that are kept for clients that are behind: as much as all states together, within these bounds. One that is
# further behind gets the states anew that it lacks, which is then less than the changes would be.
MIN_KEPT_BYTES = 32 << 10
MAX_KEPT_BYTES = 4 << 20
# Clients are woken at most this often: under a flood of news each of them gets several messages at once. To serve one
# takes about a tenth of a millisecond; with this pause for each, thousands of them leave most of a core to others.
WAKE_SECONDS = 0.05
WAKE_SECONDS_PER_CLIENT = 0.0003
# A state that is older says how old it is.
STALE_SECONDS = 1.0
# What a client is given at once, in bytes.
BATCH_BYTES = 64 << 10

log = logging.getLogger(__name__)

# (rpc, request) -> the stream of responses
Open = Callable[[str, Any], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a topic.

    Attributes:
        position: what a client that has it has seen; empty: it says nothing of that.
        data: as JSON.
        caught_up: the state is complete with it.
        subject: what it is the state of; empty: of nothing.
        place: position of the last change of that state.
        hidden: the state is of interest to those only who have seen it before.
        time: when it came, of the clock of the event loop.
    """

    position: Position
    data: bytes
    caught_up: bool = False
    subject: str = ""
    place: Position = ()
    hidden: bool = False
    time: float = 0.0

    def aged(self, now: float) -> Entry:
        """Say in the data how old the state is: what it says of elapsed and remaining time was true then."""
        age = now - self.time
        if age < STALE_SECONDS:
            return self
        return replace(self, data=b'{"age_seconds":%.3f,%s' % (age, self.data[1:]))


def entry_of(topic: Topic, response: Any) -> Entry:
    """Make an entry of a response."""
    position = _position(topic, response)
    data = orjson.dumps(to_json(response))
    if not topic.snapshot:
        return Entry(position, data)
    # Kept, so copied: behind what orjson returns lies the whole buffer that it wrote into, 8 KiB or more for each.
    data = bytes(memoryview(data))
    if not response.HasField(topic.state):
        return Entry(position, data, response.caught_up)
    state = getattr(response, topic.state)
    hidden = bool(topic.hidden) and getattr(state, topic.hidden)
    return Entry(position, data, response.caught_up, state.name, _position(topic, state), hidden)


def _position(topic: Topic, message: Any) -> Position:
    numbers = tuple(str(getattr(message, field)) for field in topic.seen)
    return numbers if any(number not in ("", "0") for number in numbers) else ()


def covers(seen: Position, position: Position) -> bool:
    """Return whether a client that has seen the one has seen the other."""
    return all(int(mine) >= int(other) for mine, other in zip(seen, position, strict=False))


def joined(seen: Position, position: Position) -> Position:
    """Return what a client has seen that has seen both."""
    if not seen or not position:
        return seen or position
    return tuple(str(max(int(mine), int(other))) for mine, other in zip(seen, position, strict=True))


def newest(entries: list[Entry]) -> list[Entry]:
    """Leave out each state that a later one replaces."""
    last = {entry.subject: index for index, entry in enumerate(entries) if entry.subject}
    return [entry for index, entry in enumerate(entries) if not entry.subject or last[entry.subject] == index]


def missing(states: Iterable[Entry], seen: Position, at: Position) -> list[Entry]:
    """Return the states that changed behind `seen`, with positions that can be gone on from.

    Those that changed in the last number alone go first, by it; then the others, by the first number: after each, all
    that are still to come have a change behind its position. `at` is the position of the states.
    """
    behind = [state for state in states if not covers(seen, state.place)]
    if len(seen) == 1:
        return [replace(s, position=s.place) for s in sorted(behind, key=lambda s: int(s.place[0]))]
    decided = [state for state in behind if int(state.place[0]) > int(seen[0])]
    moved = [state for state in behind if int(state.place[0]) <= int(seen[0])]
    return [
        replace(s, position=joined(seen, (seen[0], s.place[1]))) for s in sorted(moved, key=lambda s: int(s.place[1]))
    ] + [
        replace(s, position=(s.place[0], max(seen[1], at[1], key=int)))
        for s in sorted(decided, key=lambda s: int(s.place[0]))
    ]


def in_batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut into pieces of about `BATCH_BYTES`, each when it is asked for."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += len(entry.data)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _as_sent(state: Entry, whole: bool) -> Entry:
    """Say how old a state is now; as part of a whole one it says nothing of what the client has seen."""
    aged = state.aged(asyncio.get_running_loop().time())
    return replace(aged, position=()) if whole else aged


class SharedStream:
    """The state of a topic, and its last changes."""

    def __init__(self, subscription: Subscription) -> None:
        self.clients = 0
        self.failure: grpc.aio.AioRpcError | None = None
        self.ended = False
        self._subscription = subscription
        self._states: dict[str, Entry] = {}
        self._states_bytes = 0
        # Where the states stand; empty: they are not complete yet.
        self._at: Position = ()
        self._complete = asyncio.Event()
        self._changes: deque[Entry] = deque()
        # The number of the first change that is kept.
        self._first = 0
        self._changes_bytes = 0
        self._news = asyncio.Event()
        self._woken = 0.0
        self._waking: asyncio.TimerHandle | None = None

    async def run(self, open_stream: Open) -> None:
        """Take what the service sends until it ends."""
        topic = self._subscription.topic
        responses = open_stream(topic.rpc, self._subscription.request_from(topic.everything or None))
        try:
            async for response in responses:
                self._take(entry_of(topic, response))
        except grpc.aio.AioRpcError as error:
            self.failure = error
            log.info("shared_stream.ended", extra={"rpc": topic.rpc, "code": error.code().name})
        finally:
            self.ended = True
            self._complete.set()
            self._wake()
            cancel(responses)

    def _take(self, entry: Entry) -> None:
        if entry.subject:
            entry = replace(entry, time=asyncio.get_running_loop().time())
            # The newest is the last.
            replaced = self._states.pop(entry.subject, None)
            self._states[entry.subject] = entry
            self._states_bytes += len(entry.data) - (len(replaced.data) if replaced else 0)
        if not self._complete.is_set():
            if entry.caught_up:
                self._at = entry.position or ("0",) * len(self._subscription.topic.seen)
                self._complete.set()
            return
        self._at = joined(self._at, entry.position)
        self._changes.append(entry)
        self._changes_bytes += len(entry.data)
        self._forget_changes()
        if self._waking is None:
            loop = asyncio.get_running_loop()
            pause = max(WAKE_SECONDS, self.clients * WAKE_SECONDS_PER_CLIENT)
            self._waking = loop.call_later(max(0.0, self._woken + pause - loop.time()), self._wake)

    def _forget_changes(self) -> None:
        kept = min(max(self._states_bytes, MIN_KEPT_BYTES), MAX_KEPT_BYTES)
        while self._changes_bytes > kept and len(self._changes) > 1:
            self._changes_bytes -= len(self._changes.popleft().data)
            self._first += 1

    def _wake(self) -> None:
        self._woken = asyncio.get_running_loop().time()
        self._waking = None
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def is_behind(self, seen: Position) -> bool:
        """Return whether a client has seen more than the state here holds."""
        await self._complete.wait()
        return bool(self._at) and not covers(self._at, seen)

    async def follow(self, seen: Position) -> AsyncGenerator[list[Entry], None]:
        """Yield what a client has not seen, as much at once as there is. Ends with the stream of the service.

        Raises:
            grpc.aio.AioRpcError: the service does not answer, or refuses.
        """
        await self._complete.wait()
        if not self._at:
            if self.failure is not None:
                raise self.failure
            return
        while True:
            next_change, at = self._first + len(self._changes), self._at
            for batch in in_batches(self._state_for(seen, at)):
                yield batch
            seen = joined(seen, at)
            # A service that is behind the one the client came from tells what the client has already.
            joining = True
            while next_change >= self._first:
                fresh, at = list(islice(self._changes, next_change - self._first, None)), self._at
                next_change = self._first + len(self._changes)
                while joining and fresh and covers(seen, fresh[0].position):
                    del fresh[0]
                joining = joining and not fresh
                if fresh:
                    for batch in in_batches(newest(fresh)):
                        yield batch
                    seen = joined(seen, at)
                elif self.ended:
                    return
                else:
                    # Between the look and the wait nothing else runs.
                    await self._news.wait()

    def _state_for(self, seen: Position, at: Position) -> Iterator[Entry]:
        """Return the state for a client that has seen so much of it.

        Thousands of clients may be at this at once, and slow: what is kept for each of them is its way through the state,
        not a copy.
        """
        if seen:
            states = missing(self._states.values(), seen, at)
        else:
            states = [state for state in self._states.values() if not state.hidden]
        return chain(map(partial(_as_sent, whole=not seen), states), [self._caught_up(joined(seen, at))])

    def _caught_up(self, position: Position) -> Entry:
        topic = self._subscription.topic
        message: Any = message_class_of(method_of(topic.rpc).output_type)
        numbers = dict(zip(topic.seen, map(int, position), strict=True))
        return entry_of(topic, message(caught_up=True, **numbers))


class SharedStreams:
    """The shared streams of a gateway.

    Args:
        open_stream: begins a stream in the name of the client that asks for it.
        open_own: begins one in the name of the gateway.
    """

    def __init__(self, open_stream: Open, open_own: Open) -> None:
        self._open = open_stream
        self._open_own = open_own
        self._streams: dict[tuple[str, bytes], tuple[SharedStream, asyncio.Task[None]]] = {}

    async def follow(self, subscription: Subscription, position: Position | None) -> AsyncGenerator[list[Entry], None]:
        """Yield the messages of a topic, from a position or from the beginning. Ends when the service ends the stream.

        Raises:
            grpc.aio.AioRpcError: the service does not answer, or refuses.
        """
        if not subscription.is_shared:
            responses = self._open(subscription.topic.rpc, subscription.request_from(position))
            try:
                async for response in responses:
                    yield [entry_of(subscription.topic, response)]
            finally:
                cancel(responses)
            return
        stream, running = self._of(subscription)
        stream.clients += 1
        batches = stream.follow(position or ())
        try:
            if position and await stream.is_behind(position):
                await self._ask(subscription, position)
            async for entries in batches:
                yield entries
        finally:
            await batches.aclose()
            stream.clients -= 1
            if not stream.clients:
                # The last one ends it.
                running.cancel()
        if stream.failure is not None:
            raise stream.failure

    async def _ask(self, subscription: Subscription, position: Position) -> None:
        """Return once the service has come to a position: it may be behind the one that the client came from.

        Raises:
            grpc.aio.AioRpcError: OUT_OF_RANGE, its log ends before.
        """
        responses = self._open(subscription.topic.rpc, subscription.request_from(position))
        try:
            async for _ in responses:
                return
        finally:
            cancel(responses)

    def _of(self, subscription: Subscription) -> tuple[SharedStream, asyncio.Task[None]]:
        key = (subscription.topic.rpc, subscription.request.SerializeToString(deterministic=True))
        known = self._streams.get(key)
        if known is not None and not known[0].ended:
            return known
        stream = SharedStream(subscription)
        running = asyncio.create_task(self._run(key, stream))
        self._streams[key] = (stream, running)
        return stream, running

    async def _run(self, key: tuple[str, bytes], stream: SharedStream) -> None:
        try:
            await stream.run(self._open_own)
        finally:
            stream.ended = True
            if key in self._streams and self._streams[key][0] is stream:
                del self._streams[key]


def cancel(responses: AsyncIterator[Any]) -> None:
    """End a call. What is no call, as in tests, ends by itself."""
    end = getattr(responses, "cancel", None)
    if end is not None:
        end()

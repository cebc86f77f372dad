"""One stream of a service for all clients that follow the same state.

A client begins with a stream of its own, from where it was. Once it has caught up it goes over to the shared stream of
its topic; if there is none, its own becomes that one. Ends a shared stream, each of its followers begins again with one
of its own. So a service has one watcher for a page that a thousand people have open, and each message becomes JSON once.

A position says "all that changed at or before it has been sent", in each of its numbers. The positions of one stream
only grow, and two such sayings hold together: that is why a client may change streams without a gap or a repeat.

Whoever may open the gateway may read everything; a stream begun for one is therefore good for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc
import orjson

from milepost.protojson import to_json
from services.gateway.routes import Topic
from services.gateway.subscriptions import Position, Subscription

# What is kept for followers that are behind. One that is further behind begins again with a stream of its own.
KEPT_BYTES = 4 << 20
# Followers are woken at most this often: under a flood of news each of them gets several messages at once.
WAKE_SECONDS = 0.05

log = logging.getLogger(__name__)

# (rpc, request) -> the stream of responses
Open = Callable[[str, Any], AsyncIterator[Any]]
Key = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a topic.

    Attributes:
        position: what a client that has it has seen; empty: it says nothing of that.
        subject: what it is the state of; empty: of nothing.
        data: as JSON.
        caught_up: the state is complete with it.
    """

    position: Position
    subject: str
    data: bytes
    caught_up: bool


def entry_of(topic: Topic, response: Any) -> Entry:
    """Make an entry of a response."""
    position = tuple(str(getattr(response, field)) for field in topic.seen)
    known = any(part not in ("", "0") for part in position)
    subject = ""
    for name in ("runtime", "trial") if topic.snapshot else ():
        if name in response.DESCRIPTOR.fields_by_name and response.HasField(name):
            subject = getattr(response, name).name
    caught_up = topic.snapshot and response.caught_up
    return Entry(position if known else (), subject, orjson.dumps(to_json(response)), caught_up)


def covers(seen: Position, position: Position) -> bool:
    """Say whether a client that has seen the one has seen the other."""
    return all(int(mine) >= int(other) for mine, other in zip(seen, position, strict=True))


def joined(seen: Position, position: Position) -> Position:
    """Return what a client has seen that has seen both."""
    return tuple(str(max(int(mine), int(other))) for mine, other in zip(seen, position, strict=True))


def newest(entries: list[Entry]) -> list[Entry]:
    """Leave out each state that a later one replaces."""
    last = {entry.subject: index for index, entry in enumerate(entries) if entry.subject}
    return [entry for index, entry in enumerate(entries) if not entry.subject or last[entry.subject] == index]


class Behind(Exception):
    """What the follower needs next is no longer kept, or the stream has ended."""


class SharedStream:
    """A stream that is complete up to `floor`, and what came after."""

    def __init__(self, floor: Position) -> None:
        self.followers = 0
        self._floor = floor
        self._entries: deque[Entry] = deque()
        # The number of the first kept entry.
        self._first = 0
        self._bytes = 0
        self._ended = False
        self._news = asyncio.Event()
        self._woken = 0.0
        self._waking: asyncio.TimerHandle | None = None

    def reaches(self, seen: Position) -> bool:
        """Say whether a client that has seen so much can follow."""
        return not self._ended and covers(seen, self._floor)

    async def run(self, topic: Topic, responses: AsyncIterator[Any]) -> None:
        """Take what the service sends until it ends."""
        try:
            async for response in responses:
                self._append(entry_of(topic, response))
        except grpc.aio.AioRpcError as error:
            log.info("shared_stream.ended", extra={"rpc": topic.rpc, "code": error.code().name})
        finally:
            self._ended = True
            self._wake()

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._bytes += len(entry.data)
        while self._bytes > KEPT_BYTES and len(self._entries) > 1:
            gone = self._entries.popleft()
            self._first += 1
            self._bytes -= len(gone.data)
            if gone.position:
                self._floor = joined(self._floor, gone.position)
        if self._waking is None:
            loop = asyncio.get_running_loop()
            self._waking = loop.call_later(max(0.0, self._woken + WAKE_SECONDS - loop.time()), self._wake)

    def _wake(self) -> None:
        self._woken = asyncio.get_running_loop().time()
        self._waking = None
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self, seen: Position) -> AsyncGenerator[list[Entry], None]:
        """Yield what a client has not seen, as much at once as there is.

        Raises:
            Behind: it cannot go on from here.
        """
        at = self._first
        joining = True
        while True:
            if at < self._first:
                raise Behind
            fresh = list(islice(self._entries, at - self._first, None))
            at = self._first + len(self._entries)
            # The shared stream may be behind the client's own one: what it has already may still come.
            while joining and fresh and covers(seen, fresh[0].position):
                del fresh[0]
            if fresh:
                joining = False
                yield newest(fresh)
            elif self._ended:
                raise Behind
            else:
                # Between the look and the wait nothing else runs.
                await self._news.wait()


class SharedStreams:
    """The shared streams of a gateway."""

    def __init__(self, open_stream: Open) -> None:
        self._open = open_stream
        self._streams: dict[Key, tuple[SharedStream, asyncio.Task[None]]] = {}

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
                _cancel(responses)
            return
        key = (subscription.topic.rpc, subscription.request.SerializeToString(deterministic=True))
        while True:
            shared = self._streams.get(key)
            if shared is not None and position is not None and shared[0].reaches(position):
                async with contextlib.aclosing(_followed(*shared, position)) as batches:
                    async for entries in batches:
                        position = joined(position, entries[-1].position)
                        yield entries
                continue
            responses = self._open(subscription.topic.rpc, subscription.request_from(position))
            handed_over = complete = False
            try:
                async for response in responses:
                    entry = entry_of(subscription.topic, response)
                    complete = complete or position is not None or entry.caught_up
                    if complete and entry.position:
                        position = entry.position if position is None else joined(position, entry.position)
                    yield [entry]
                    if entry.caught_up and position is not None:
                        handed_over = self._share(key, subscription.topic, responses, position)
                        break
                else:
                    return
            finally:
                if not handed_over:
                    _cancel(responses)

    def _share(self, key: Key, topic: Topic, responses: AsyncIterator[Any], floor: Position) -> bool:
        """Make a client's own stream the one of its topic. False: there is one that it can follow."""
        known = self._streams.get(key)
        if known is not None and known[0].reaches(floor):
            return False
        stream = SharedStream(floor)
        self._streams[key] = (stream, asyncio.create_task(self._run(key, stream, topic, responses)))
        return True

    async def _run(self, key: Key, stream: SharedStream, topic: Topic, responses: AsyncIterator[Any]) -> None:
        try:
            await stream.run(topic, responses)
        finally:
            _cancel(responses)
            if key in self._streams and self._streams[key][0] is stream:
                del self._streams[key]


async def _followed(
    stream: SharedStream, running: asyncio.Task[None], position: Position
) -> AsyncGenerator[list[Entry], None]:
    """Follow a shared stream while it goes on. The last follower ends it."""
    stream.followers += 1
    try:
        async with contextlib.aclosing(stream.follow(position)) as batches:
            async for entries in batches:
                yield entries
    except Behind:
        return
    finally:
        stream.followers -= 1
        if not stream.followers:
            running.cancel()


def _cancel(responses: AsyncIterator[Any]) -> None:
    cancel = getattr(responses, "cancel", None)
    if cancel is not None:
        cancel()

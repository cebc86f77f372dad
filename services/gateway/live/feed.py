"""The live stream of a page: several gRPC streams as one stream of server-sent events, resumable exactly.

`event:` is the topic, `data:` the JSON of the message, `id:` a token that names the last position of every topic, for
example `events=1204;runtime=1204;trials=1204/99120`. A client that comes back with it (`Last-Event-ID`, or `from` in the
query) gets what it has not seen, once. Two more events have no id: `feed` says that a topic is lost or live again,
`problem` that a topic has ended for good. One whose position lies behind the end of its log, because an older backup was
restored, has one: whoever comes back with it begins that topic anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

import grpc
import orjson
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send

from milepost.backoff import Backoff
from milepost.errors import MilepostError
from services.edge.problems import Problem, from_rpc_error
from services.gateway.authentication import problem_of
from services.gateway.live.sharing import Entry, SharedStreams, joined
from services.gateway.live.subscriptions import Position, Subscription, format_token

# What may wait for one client, in bytes. Beyond it the topics wait, and with them their services' flow control.
OUTBOX_BYTES = 128 << 10
SEND_BUFFER_BYTES = 64 << 10
# A client that takes nothing for so long, or leaves its outbox full for so long, is cut off.
STALL_SECONDS = 10.0
HEARTBEAT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
# What the browser waits before it comes back.
CLIENT_RETRY_MS = 1_000

# After these the topic is asked for again from its last position.
PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)

log = logging.getLogger(__name__)


class SlowClient(Exception):
    """The client does not read as fast as there is news."""


class _Outbox:
    """What waits for one client: bounded in bytes; a `put` that cannot get in for too long is the client's end."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._news = asyncio.Event()
        self._failure: Exception | None = None
        self._ended = False
        self._room.set()
        self._empty.set()

    async def put(self, chunk: bytes) -> None:
        while self._bytes >= OUTBOX_BYTES:
            self._room.clear()
            await _within(STALL_SECONDS, self._room)
        self._chunks.append(chunk)
        self._bytes += len(chunk)
        self._empty.clear()
        self._news.set()

    async def wait_empty(self) -> None:
        """Wait until the client has taken everything."""
        await _within(STALL_SECONDS, self._empty)

    async def take(self) -> bytes:
        """Return everything that waits; nothing once it was ended. Raises what `fail` was given."""
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                break
            self._news.clear()
            await self._news.wait()
        everything = b"".join(self._chunks)
        self._chunks.clear()
        self._bytes = 0
        self._room.set()
        self._empty.set()
        return everything

    def fail(self, error: Exception) -> None:
        """End the client's stream, after what waits for it."""
        self._failure = error
        self._news.set()

    def end(self) -> None:
        """Let the client's stream end well, after what waits for it."""
        self._ended = True
        self._news.set()


async def _within(seconds: float, event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        raise SlowClient from None


class Feed:
    """Merges the topics of one client. Iterate over `chunks` once.

    `check` raises MilepostError when the client may no longer be here; it is asked before each message.
    """

    def __init__(
        self,
        subscriptions: Mapping[str, Subscription],
        positions: Mapping[str, Position],
        streams: SharedStreams,
        check: Callable[[], object],
    ) -> None:
        self._subscriptions = subscriptions
        self._positions: dict[str, Position] = dict(positions)
        # State topics that were begun without a position hold none until their snapshot is complete.
        self._complete = {name for name, one in subscriptions.items() if not one.topic.snapshot or name in positions}
        self._streams = streams
        self._check = check
        self._outbox = _Outbox()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the stream until the client is cut off or closed, or `end` is called."""
        yield f"retry: {CLIENT_RETRY_MS}\n\n".encode()
        pumps = [asyncio.create_task(self._pump(name, one)) for name, one in self._subscriptions.items()]
        try:
            while chunk := await self._outbox.take():
                yield chunk
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def end(self) -> None:
        """Let the stream end: its client comes back, and goes on with what it has not seen."""
        self._outbox.end()

    async def _pump(self, name: str, subscription: Subscription) -> None:
        try:
            await self._carry(name, subscription)
        except Exception as error:
            self._outbox.fail(error)

    async def _carry(self, name: str, subscription: Subscription) -> None:
        """Carry one topic to the outbox; begin again from its position when its service goes away."""
        lost = False
        pauses = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        while True:
            detail = "the service ended the stream"
            try:
                async with contextlib.aclosing(
                    self._streams.follow(subscription, self._positions.get(name))
                ) as batches:
                    async for entries in batches:
                        if lost:
                            lost = False
                            pauses.reset()
                            await self._outbox.put(_event("feed", {"topic": name, "state": "live"}))
                        self._check()
                        await self._forward(name, subscription, entries)
            except grpc.aio.AioRpcError as error:
                problem = from_rpc_error(error)
                if error.code() not in PASSING:
                    await self._end_topic(name, problem)
                    return
                detail = problem.detail
            except MilepostError as refused:
                await self._end_topic(name, problem_of(refused))
                return
            if not lost:
                lost = True
                await self._outbox.put(_event("feed", {"topic": name, "state": "reconnecting", "detail": detail}))
            await asyncio.sleep(next(pauses))

    async def _end_topic(self, name: str, problem: Problem) -> None:
        content = {"topic": name, **problem.content()}
        if problem.code != grpc.StatusCode.OUT_OF_RANGE.name:
            await self._outbox.put(_event("problem", content))
            return
        self._positions.pop(name, None)
        # An empty id is one too: it makes a client forget the last.
        head = f"id: {format_token(self._positions)}\n".encode()
        await self._outbox.put(head + _event("problem", content))

    async def _forward(self, name: str, subscription: Subscription, entries: list[Entry]) -> None:
        chunks = []
        for entry in entries:
            if entry.caught_up:
                self._complete.add(name)
            if name in self._complete and entry.position:
                seen = self._positions.get(name) if subscription.is_shared else None
                self._positions[name] = joined(seen, entry.position) if seen else entry.position
            chunks.append(_raw_event(name, entry.data, format_token(self._positions)))
        await self._outbox.put(b"".join(chunks))
        if subscription.is_shared and name in self._complete:
            # A client that reads slowly gets the newest states, not every one between.
            await self._outbox.wait_empty()


def _event(name: str, content: object) -> bytes:
    return _raw_event(name, orjson.dumps(content))


def _raw_event(name: str, data: bytes, token: str = "") -> bytes:
    head = f"id: {token}\nevent: {name}\ndata: " if token else f"event: {name}\ndata: "
    return head.encode() + data + b"\n\n"


class FeedResponse(EventSourceResponse):
    """A live stream as an HTTP response, with heartbeats. A client that does not read is cut off.

    `on_cut` is called once when that happens.
    """

    def __init__(self, feed: Feed, on_cut: Callable[[], None]) -> None:
        super().__init__(
            feed.chunks(),
            ping=HEARTBEAT_SECONDS,
            sep="\n",
            send_timeout=STALL_SECONDS,
            headers={"cache-control": "no-store"},
        )
        self._on_cut = on_cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = scope.get("milepost.transport")
        connection = transport.get_extra_info("socket") if transport is not None else None
        if connection is not None:
            # What the kernel keeps for a client that does not read is work that was done for nobody.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        try:
            await super().__call__(scope, receive, send)
        except (SendTimeoutError, SlowClient):
            self._on_cut()
            log.warning("feed.cut_off", extra={"path": scope.get("path"), "client": scope.get("client")})
            if transport is not None:
                # Closing would wait until the client has read what is buffered, for ever.
                transport.abort()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STALL_SECONDS):
                        await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

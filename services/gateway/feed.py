"""The live stream of a page: several gRPC streams as one stream of server-sent events, resumable exactly.

`event:` is the topic, `data:` the JSON of the message, `id:` a token that names the last position of every topic, for
example `events=1204;runtime=1204;trials=1204/99120`. A client that comes back with it (`Last-Event-ID`, or `from` in the
query) gets what it has not seen, once. Two more events have no id: `feed` says that a topic is lost or live again,
`problem` that a topic has ended for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import grpc
import orjson
from google.protobuf.descriptor import FieldDescriptor
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send

from milepost.errors import InvalidArgument, Violation
from milepost.protojson import from_query, is_repeated, message_class_of, to_json
from services.gateway.problems import from_rpc_error
from services.gateway.routes import Topic, method_of

# What may wait for one client, in bytes. Beyond it the topics wait, and with them their services' flow control.
OUTBOX_BYTES = 1 << 20
# A client that takes nothing for so long, or leaves its outbox full for so long, is cut off.
STALL_SECONDS = 10.0
HEARTBEAT_SECONDS = 10.0
RETRY_FIRST_SECONDS = 0.1
RETRY_MOST_SECONDS = 2.0
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

Position = tuple[str, ...]
# (rpc, request) -> the stream of responses
Open = Callable[[str, Any], AsyncIterator[Any]]


class SlowClient(Exception):
    """The client does not read as fast as there is news."""


def format_token(positions: Mapping[str, Position]) -> str:
    """Write positions as an event id."""
    return ";".join(
        f"{name}={'/'.join(quote(part, safe='') for part in positions[name])}" for name in sorted(positions)
    )


def parse_token(token: str, topics: Mapping[str, Topic]) -> dict[str, Position]:
    """Read an event id. Topics that are not asked for now are passed over.

    Raises:
        InvalidArgument: it is not one of ours.
    """
    positions: dict[str, Position] = {}
    for piece in filter(None, token.split(";")):
        name, separator, value = piece.partition("=")
        parts = tuple(unquote(part) for part in value.split("/"))
        if not separator or not value:
            raise InvalidArgument([Violation("Last-Event-ID", "is not an event id of this stream")])
        topic = topics.get(name)
        if topic is None:
            continue
        if len(parts) != len(topic.positions) or not all(_fits(topic, index, part) for index, part in enumerate(parts)):
            raise InvalidArgument(
                [Violation("Last-Event-ID", f"has a position of {name} that is not one of this stream")]
            )
        positions[name] = parts
    return positions


def _position_field(topic: Topic, index: int) -> FieldDescriptor:
    return method_of(topic.rpc).input_type.fields_by_name[topic.positions[index]]


def _fits(topic: Topic, index: int, part: str) -> bool:
    if _position_field(topic, index).type == FieldDescriptor.TYPE_STRING:
        return True
    return part.isascii() and part.isdigit() and len(part) <= 18


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic that a client asked for, and what its request is apart from the position."""

    topic: Topic
    request: Any

    def request_from(self, position: Position | None) -> Any:
        request = type(self.request)()
        request.CopyFrom(self.request)
        for index, part in enumerate(position or ()):
            is_text = _position_field(self.topic, index).type == FieldDescriptor.TYPE_STRING
            setattr(request, self.topic.positions[index], part if is_text else int(part))
        return request


def subscribe(topic: Topic, path: Mapping[str, str], query: list[tuple[str, str]]) -> Subscription:
    """Fill the fixed part of a topic's request from the path and the query.

    Raises:
        InvalidArgument: a query parameter does not fit its field.
    """
    message_class = message_class_of(method_of(topic.rpc).input_type)
    request: Any = from_query([(topic.query[key], text) for key, text in query if key in topic.query], message_class)
    for name, template in topic.request.items():
        field = request.DESCRIPTOR.fields_by_name[name]
        if is_repeated(field):
            getattr(request, name).extend(text.format(**path) for text in template)
        else:
            setattr(request, name, template.format(**path) if isinstance(template, str) else template)
    return Subscription(topic, request)


class _Outbox:
    """What waits for one client: bounded in bytes; a `put` that cannot get in for too long is the client's end."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._room.set()

    async def put(self, chunk: bytes) -> None:
        while self._bytes >= OUTBOX_BYTES:
            self._room.clear()
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await self._room.wait()
            except TimeoutError:
                raise SlowClient from None
        self._chunks.append(chunk)
        self._bytes += len(chunk)
        self._news.set()

    async def take(self) -> bytes:
        """Return everything that waits, at least one chunk."""
        while not self._chunks:
            self._news.clear()
            await self._news.wait()
        everything = b"".join(self._chunks)
        self._chunks.clear()
        self._bytes = 0
        self._room.set()
        return everything


class Feed:
    """Merges the topics of one client. Iterate over `chunks` once."""

    def __init__(
        self, subscriptions: Mapping[str, Subscription], positions: Mapping[str, Position], open_stream: Open
    ) -> None:
        self._subscriptions = subscriptions
        self._positions: dict[str, Position] = dict(positions)
        # State topics that were begun without a position hold none until their snapshot is complete.
        self._complete = {name for name, one in subscriptions.items() if not one.topic.snapshot or name in positions}
        self._open = open_stream
        self._outbox = _Outbox()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the stream until the client is cut off or closed."""
        yield f"retry: {CLIENT_RETRY_MS}\n\n".encode()
        pumps = [asyncio.create_task(self._pump(name, one)) for name, one in self._subscriptions.items()]
        broken = asyncio.ensure_future(_first_failure(pumps))
        try:
            while not broken.done():
                taking = asyncio.ensure_future(self._outbox.take())
                try:
                    await asyncio.wait((taking, broken), return_when=asyncio.FIRST_COMPLETED)
                    if taking.done():
                        yield taking.result()
                finally:
                    taking.cancel()
            broken.result()
        finally:
            for task in (*pumps, broken):
                task.cancel()
            await asyncio.gather(*pumps, broken, return_exceptions=True)

    async def _pump(self, name: str, subscription: Subscription) -> None:
        """Carry one topic to the outbox; begin again from its position when its service goes away."""
        lost = False
        delay = RETRY_FIRST_SECONDS
        while True:
            detail = "the service ended the stream"
            try:
                async for response in self._open(
                    subscription.topic.rpc, subscription.request_from(self._positions.get(name))
                ):
                    if lost:
                        lost, delay = False, RETRY_FIRST_SECONDS
                        await self._outbox.put(_event("feed", {"topic": name, "state": "live"}))
                    await self._forward(name, subscription.topic, response)
            except grpc.aio.AioRpcError as error:
                problem = from_rpc_error(error)
                if error.code() not in PASSING:
                    await self._outbox.put(_event("problem", {"topic": name, **problem.content()}))
                    return
                detail = problem.detail
            if not lost:
                lost = True
                await self._outbox.put(_event("feed", {"topic": name, "state": "reconnecting", "detail": detail}))
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MOST_SECONDS)

    async def _forward(self, name: str, topic: Topic, response: Any) -> None:
        if topic.snapshot and response.caught_up:
            self._complete.add(name)
        seen = tuple(str(getattr(response, field)) for field in topic.seen)
        if name in self._complete and any(part not in ("", "0") for part in seen):
            self._positions[name] = seen
        await self._outbox.put(_event(name, to_json(response), format_token(self._positions)))


async def _first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Raise what the first failing task raises. A task that merely ends is not a failure."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    await asyncio.Event().wait()


def _event(name: str, content: object, token: str = "") -> bytes:
    head = f"id: {token}\nevent: {name}\ndata: " if token else f"event: {name}\ndata: "
    return head.encode() + orjson.dumps(content) + b"\n\n"


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
        try:
            await super().__call__(scope, receive, send)
        except (SendTimeoutError, SlowClient):
            self._on_cut()
            log.warning("feed.cut_off", extra={"path": scope.get("path"), "client": scope.get("client")})
            abort = scope.get("milepost.abort")
            if abort is not None:
                # Closing would wait until the client has read what is buffered, for ever.
                abort()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STALL_SECONDS):
                        await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""One connection to NATS: requests to JetStream, core messages, and reconnecting for ever."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from milepost.backoff import Backoff
from milepost.eventlog import EventLogError, EventRefused, LogUnavailable
from milepost.eventlog.nats.credentials import inbox_prefix_of
from milepost.eventlog.nats.nats_client import Client, ClientSubscription, Msg, errors
from milepost.eventlog.nats.wire import STATUS, RobustClient, has_status

log = logging.getLogger(__name__)

PING_INTERVAL_SECONDS = 5
RECONNECT_WAIT_SECONDS = 0.25
CONNECT_TIMEOUT_SECONDS = 2
REQUEST_TIMEOUT_SECONDS = 5.0
# Core messages that a slow reader may leave unread before the oldest are dropped.
SUBSCRIPTION_BUFFER = 8192

FIRST_PAUSE_SECONDS = 0.02
MAX_PAUSE_SECONDS = 0.5

_NO_RESPONDERS = "503"
# Where answers go at a server that has no users.
ANY_INBOX = "_INBOX"

# Not the generator of the module `random`: a training loop may draw from that one.
_random = random.SystemRandom()

T = TypeVar("T")


class ApiError(EventLogError):
    """JetStream refused a request.

    Attributes:
        code: HTTP-like code, for example 404.
        err_code: the server's own number of the error, for example 10059.
        description: the server's words.
    """

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"the log refused a request: {description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


@dataclass(slots=True)
class _Waiting:
    """Somebody who waits for answers."""

    done: asyncio.Future[None]
    count: int | None
    messages: list[Msg] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CoreMessage:
    """A message that is not stored: whoever is not there when it passes misses it."""

    subject: str
    headers: Mapping[str, str]
    body: bytes
    # Where an answer is waited for. Empty: nowhere.
    reply: str = ""


class Subscription:
    """Core messages of some subjects. Iterate over it, or take batches; close it when done.

    It goes on after reconnects, and misses what passes meanwhile. `dropped` counts what a slow reader lost.
    """

    def __init__(self, connection: Connection, subjects: tuple[str, ...], buffer: int, queue: str = "") -> None:
        self.subjects = subjects
        self._queue = queue
        self.dropped = 0
        self._connection = connection
        self._messages: deque[CoreMessage] = deque(maxlen=buffer)
        self._arrived = asyncio.Event()
        self._closed = False
        self._client_subscriptions: list[ClientSubscription] = []

    async def attach(self, client: Client) -> None:
        """Subscribe on a client. The connection calls it, again with each new client."""
        self._client_subscriptions = [
            await client.subscribe(subject, self._queue, self._receive, pending_msgs_limit=0, pending_bytes_limit=0)
            for subject in self.subjects
        ]

    async def _receive(self, message: Msg) -> None:
        if len(self._messages) == self._messages.maxlen:
            self.dropped += 1
        self._messages.append(CoreMessage(message.subject, message.headers or {}, message.data, message.reply))
        self._arrived.set()

    async def next_batch(self, wait_seconds: float | None = None) -> list[CoreMessage]:
        """Take all messages that are there; wait for the first one. Empty: none came in time, or it is closed."""
        if not self._messages and not self._closed:
            self._arrived.clear()
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._arrived.wait()
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CoreMessage:
        while not self._messages:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._messages.popleft()

    async def close(self) -> None:
        self._closed = True
        self._arrived.set()
        self._connection.forget(self)
        for subscription in self._client_subscriptions:
            with suppress(errors.Error):
                await subscription.unsubscribe()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def without_password(url: str) -> str:
    """Return addresses without what stands before the host: user, password or token."""
    return re.sub(r"//[^/@,]*@", "//", url)


async def connect(
    url: str,
    *,
    name: str = "milepost",
    timeout_seconds: float = 30.0,
    inbox_prefix: str = ANY_INBOX,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    credentials: Path | None = None,
    tls_ca: Path | None = None,
) -> Connection:
    """Connect to NATS, waiting for a server that is still starting.

    Args:
        url: `nats://host:port`, or several separated by commas.
        name: shown by the server's monitoring.
        timeout_seconds: how long to wait for the first connection. Afterwards it reconnects for ever.
        inbox_prefix: subject prefix of replies, for users whose permissions name one.
        credentials: file with the credentials of a user, see `milepost.eventlog.nats.credentials`. It names the inbox too,
            and is read again at every reconnect. A server that asks for none ignores it.
        tls_ca: PEM file with the authority that signed the server's certificate, for `tls://` addresses.

    Raises:
        LogUnavailable: no server answered in time, or none let this user in.
        InvalidCredentials: the file of credentials cannot be used.
    """
    options: dict[str, Any] = {"name": name, "inbox_prefix": inbox_prefix}
    if credentials is not None:
        options |= {"user_credentials": str(credentials), "inbox_prefix": inbox_prefix_of(credentials)}
    if tls_ca is not None:
        options["tls"] = ssl.create_default_context(cafile=str(tls_ca))
    options |= {
        key: value for key, value in (("user", user), ("password", password), ("token", token)) if value is not None
    }
    connection = Connection(url.split(","), options)
    await connection.open(timeout_seconds)
    return connection


class Connection:
    """A connection that outlives its server. Made by `connect`.

    `generation` grows with every reconnect: whoever keeps state on the server compares it.
    """

    def __init__(self, servers: list[str], options: Mapping[str, Any]) -> None:
        self.generation = 0
        self._servers = servers
        self._options = options
        self._client: Client = RobustClient()
        self._closing = False
        self._problem = ""
        self._reopening: asyncio.Task[None] | None = None
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[], None]] = []
        self._inbox = ""
        # Subject prefix of answers to it.
        self.inbox_prefix = str(options.get("inbox_prefix", ANY_INBOX))
        self._request_number = 0
        self._waiting: dict[str, _Waiting] = {}

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    @property
    def address(self) -> str:
        """Where the servers are, without what stands before the host."""
        return ", ".join(without_password(server) for server in self._servers)

    @property
    def client(self) -> Client:
        """The client of this moment. It is another one after the server closed a connection for good."""
        return self._client

    async def open(self, timeout_seconds: float) -> None:
        """Connect for the first time.

        Raises:
            LogUnavailable: no server answered in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._open()
        except TimeoutError as error:
            raise LogUnavailable(
                f"no NATS server answered at {self.address} within {timeout_seconds:g} s{self._problem}"
            ) from error

    async def _open(self) -> None:
        while True:
            client = RobustClient()
            # The library would shuffle them, and those that a server names, with the generator of the module.
            servers = list(self._servers)
            _random.shuffle(servers)
            try:
                await client.connect(
                    servers=servers,
                    dont_randomize=True,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type]
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    ping_interval=PING_INTERVAL_SECONDS,
                    max_outstanding_pings=2,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                    **self._options,
                )
                self._problem = ""
                self._client = client
                self._inbox = client.new_inbox()
                await client.subscribe(
                    f"{self._inbox}.*", cb=self._on_reply, pending_msgs_limit=0, pending_bytes_limit=0
                )
                for subscription in self._subscriptions:
                    await subscription.attach(client)
                return
            except (OSError, errors.Error) as error:
                # The error's text may hold the address, and with it a password.
                log.info("nats.connect_failed", extra={"address": self.address, "error": type(error).__name__})
                await asyncio.sleep(RECONNECT_WAIT_SECONDS)

    async def _on_error(self, error: Exception) -> None:
        if "Authorization" in str(error):
            self._problem = " (Authorization Violation: it does not know this user, or the credentials have expired)"
        if self._closing or isinstance(error, OSError | errors.StaleConnectionError):
            log.debug("nats.error", extra={"error": str(error)})
        else:
            log.warning("nats.error", extra={"error": str(error) or repr(error)})

    async def _on_disconnected(self) -> None:
        # What was asked on the old connection is never answered on the new one.
        for waiting in list(self._waiting.values()):
            if not waiting.done.done():
                waiting.done.set_exception(LogUnavailable("the connection broke before an answer came"))
        if not self._closing:
            log.warning("nats.disconnected")

    async def _on_reconnected(self) -> None:
        log.info("nats.reconnected")
        self._renewed()

    async def _on_closed(self) -> None:
        # The server ends some connections for good, for example when it shuts down in order.
        if not self._closing and (self._reopening is None or self._reopening.done()):
            self._reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        await self._open()
        log.info("nats.reopened")
        self._renewed()

    def _renewed(self) -> None:
        self.generation += 1
        for listener in list(self._listeners):
            listener()

    def on_renewal(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function after every reconnect. Returns a function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def ready(self, timeout_seconds: float) -> None:
        """Wait until there is a connection.

        Raises:
            LogUnavailable: there is none in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self._client.is_connected:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._closing:
                raise LogUnavailable(f"there is no connection to {self.address}{self._problem}")
            await asyncio.sleep(min(0.02, remaining))

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> Msg:
        """Send a request and wait for one answer.

        Raises:
            NoResponders: nobody listens; nothing was carried out.
            LogUnavailable: no answer in time, or the connection broke. It may have been carried out.
            EventRefused: it is larger than the server takes.
        """
        return (await self.collect(subject, body, headers, timeout_seconds, count=1))[0]

    async def collect(
        self,
        subject: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        *,
        count: int | None = None,
    ) -> list[Msg]:
        """Send a request and wait for `count` answers, or, with None, for all up to the one that has a status.

        Raises: as `request`.
        """
        self._request_number += 1
        token = str(self._request_number)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), count)
        self._waiting[token] = waiting
        try:
            await self._send(subject, body, headers, f"{self._inbox}.{token}")
            async with asyncio.timeout(timeout_seconds):
                await waiting.done
        except TimeoutError as error:
            raise LogUnavailable(f"no answer on {subject} within {timeout_seconds:g} s") from error
        finally:
            del self._waiting[token]
        last = waiting.messages[-1].headers
        if count is not None and has_status(last) and last[STATUS] == _NO_RESPONDERS:
            raise NoResponders(f"nothing answers on {subject}")
        return waiting.messages

    async def _on_reply(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject[len(self._inbox) + 1 :])
        if waiting is None or waiting.done.done():
            return
        waiting.messages.append(message)
        if has_status(message.headers) or len(waiting.messages) == waiting.count:
            waiting.done.set_result(None)

    async def _send(self, subject: str, body: bytes, headers: Mapping[str, str] | None, reply: str = "") -> None:
        size = len(body)
        if headers:
            # Four bytes a line, and the line in front. The server would end the connection.
            size += 14 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
        if size > (self._client.max_payload or size):
            raise EventRefused(f"a message on {subject} has {size} bytes; the server takes {self._client.max_payload}")
        try:
            await self._client.publish(subject, body, reply, dict(headers) if headers else None)
        except (errors.Error, OSError) as error:
            raise LogUnavailable(f"could not send on {subject} ({type(error).__name__})") from error

    async def request_api(
        self, name: str, body: Mapping[str, Any] | None = None, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """Call the JetStream API, for example `STREAM.INFO.EVENTS`, and return its answer.

        Raises:
            ApiError: the server refused.
            LogUnavailable: no answer in time.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        answer = await self.request(f"$JS.API.{name}", payload, timeout_seconds=timeout_seconds)
        return parse_answer(answer.data)

    async def publish(self, subject: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a core message: not stored, not acknowledged.

        Raises:
            LogUnavailable: the connection is closed, or its buffer is full while the server is away.
            EventRefused: it is larger than the server takes.
        """
        await self._send(subject, body, headers)

    async def subscribe(self, *subjects: str, buffer: int = SUBSCRIPTION_BUFFER, queue: str = "") -> Subscription:
        """Listen to core messages. At most `buffer` wait unread, then the oldest are dropped and counted.

        Of those that name the same `queue` one gets each message.

        Raises:
            LogUnavailable: the connection is closed.
        """
        subscription = Subscription(self, subjects, buffer, queue)
        self._subscriptions.append(subscription)
        try:
            await subscription.attach(self._client)
        except errors.Error as error:
            if self._closing:
                raise LogUnavailable("the connection is closed") from error
        return subscription

    def new_inbox(self) -> str:
        """Make a subject on which this user alone may listen."""
        return self._client.new_inbox()

    def forget(self, subscription: Subscription) -> None:
        """Keep a subscription no more. `Subscription.close` calls it."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    async def flush(self) -> None:
        """Wait until the server has what was published.

        Raises:
            LogUnavailable: it did not answer in time.
        """
        try:
            await self._client.flush(timeout=int(REQUEST_TIMEOUT_SECONDS))
        except (errors.Error, TimeoutError, OSError) as error:
            raise LogUnavailable("the server did not answer a flush in time") from error

    async def close(self) -> None:
        """Close for good. Subscriptions end."""
        if self._closing:
            return
        self._closing = True
        if self._reopening is not None:
            self._reopening.cancel()
            with suppress(asyncio.CancelledError):
                await self._reopening
        for subscription in list(self._subscriptions):
            await subscription.close()
        # With the server gone there is nobody to say goodbye to.
        with suppress(OSError, errors.Error):
            await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class NoResponders(LogUnavailable):
    """Nobody listens on the subject: nothing was carried out."""


class Tries:
    """Tries with pauses between them, longer each time, up to a deadline of `time.monotonic`."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._pauses = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)

    async def wait(self) -> bool:
        """Pause. False, at once: there is no time for another try."""
        pause = next(self._pauses)
        if time.monotonic() + pause >= self.deadline:
            return False
        await asyncio.sleep(pause)
        return True


async def patiently(connection: Connection, ask: Callable[[], Awaitable[T]], timeout_seconds: float) -> T:
    """Ask again while there is no answer. Only for what may be done twice.

    Raises:
        LogUnavailable: no answer in time.
    """
    tries = Tries(time.monotonic() + timeout_seconds)
    while True:
        try:
            await connection.ready(tries.deadline - time.monotonic())
            return await ask()
        except LogUnavailable:
            if not await tries.wait():
                raise


def parse_answer(data: bytes) -> dict[str, Any]:
    """Decode an answer of the JetStream API.

    Raises:
        ApiError: it is a refusal.
        EventLogError: it is not an answer of JetStream.
    """
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise EventLogError("the answer is not one of JetStream") from error
    refusal = answer.get("error")
    if refusal is not None:
        raise ApiError(
            refusal.get("code", 0), refusal.get("err_code", 0), refusal.get("description", "no reason given")
        )
    return dict(answer)

"""How long the end of a process waits for its server: as long as it answers, and not two seconds longer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from milepost.security.transport import ClientTls, replicas_of

# The end of a script without a server takes no longer than 2 s; the rest of them is for closing.
SILENCE_SECONDS = 1.2
_BETWEEN_PROBES_SECONDS = 0.2
# What is cancelled gets so long to leave.
LEAVE_SECONDS = 0.5

# The first bytes of a client of HTTP/2, and empty settings: a server answers with its own.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

# Asks a server for a sign of life, within so many seconds. None: nobody listens there.
Question = Callable[[float], Coroutine[Any, Any, bool | None]]


class ServerWatch:
    """Watches at the end of a process whether a server answers. Lives in one event loop.

    `silent` is set once no answer came for 1.2 s, or at once where nobody listens and nobody ever did.
    """

    def __init__(self, ask: Question, was_there: Callable[[], bool]) -> None:
        self.silent = asyncio.Event()
        self._ask = ask
        self._was_there = was_there
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        """Begin to watch. Repeats do nothing."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Let nobody wait any longer."""
        self.silent.set()

    async def _run(self) -> None:
        answered = time.monotonic()
        while not self.silent.is_set():
            left = answered + SILENCE_SECONDS - time.monotonic()
            answer = await self._ask(max(0.1, left))
            if answer:
                answered = time.monotonic()
            elif time.monotonic() - answered >= SILENCE_SECONDS or (answer is None and not self._was_there()):
                self.silent.set()
            await asyncio.sleep(_BETWEEN_PROBES_SECONDS)

    async def while_answered(self, work: Coroutine[Any, Any, Any], seconds: float) -> bool:
        """Do something until it is done, the time is up, or nobody answers. Returns whether it is done.

        Before the end has begun only the time counts.
        """
        task = asyncio.ensure_future(work)
        silent = asyncio.ensure_future(self.silent.wait())
        try:
            await asyncio.wait({task, silent}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return task.done()
        finally:
            task.cancel()
            silent.cancel()
            await asyncio.wait({task, silent}, timeout=LEAVE_SECONDS)


async def ask_nats(url: str, seconds: float) -> bool | None:
    """Ask NATS servers, of which the first that answers is enough."""
    parts = [urlsplit(one if "//" in one else f"nats://{one}") for one in url.split(",") if one]
    addresses = [(part.hostname or "localhost", part.port or 4222) for part in parts]
    # Over other transports it is for the client to speak first.
    speak_first = [part.scheme == "nats" for part in parts]

    async def ask(number: int) -> bool:
        async with _connection(*addresses[number]) as (reader, _):
            return not speak_first[number] or bool(await reader.read(1))

    return await _first(ask, len(parts), seconds)


async def ask_service(address: str, seconds: float) -> bool | None:
    """Ask a gRPC service, or the first of its replicas that answers. Of one behind TLS a connection is enough."""
    replicas = [replica.rpartition(":") for replica in replicas_of(address)]
    uses_tls = ClientTls.from_environment().is_used(address)

    async def ask(number: int) -> bool:
        host, _, port = replicas[number]
        async with _connection(host.strip("[]"), int(port)) as (reader, writer):
            if uses_tls:
                return True
            writer.write(_HTTP2_PREFACE)
            return bool(await reader.read(1))

    return await _first(ask, len(replicas), seconds)


@asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _first(ask: Callable[[int], Coroutine[Any, Any, bool]], count: int, seconds: float) -> bool | None:
    """Ask one after the other, each for its part of the time."""
    listens = False
    for number in range(count):
        try:
            async with asyncio.timeout(seconds / count):
                # A process that hangs has its connections accepted for it.
                if await ask(number):
                    return True
        except TimeoutError:
            listens = True
        except (OSError, ValueError):
            continue
    return False if listens else None


class DaemonThreads(ThreadPoolExecutor):
    """Does each call in a thread of its own, which the end of the interpreter does not wait for.

    The interpreter waits for the threads of an ordinary executor, also where one looks for a name server that is away.
    """

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **named)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="milepost-call", daemon=True).start()
        return future


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all that still runs in a loop that has stopped, as `asyncio.run` does, within a bounded time; close it."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=LEAVE_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())
    for task in tasks:
        if task.done() and not task.cancelled():
            # Seen, so that nobody is told of it.
            task.exception()
    forget_tasks(loop)
    loop.close()


def forget_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Have nothing said of tasks that are pending: they are not to be done. Also in a child, where no loop runs."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]

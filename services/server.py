"""A gRPC server as every service runs it: health, reflection, errors, limits, graceful stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from enum import Enum
from typing import Protocol

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from milepost.security.transport import CALLS_HEALTH
from services.access.guard import Access, loopback_access
from services.garbage import nothing_collected
from services.rpc.errors import ErrorInterceptor
from services.rpc.telemetry import ObservingInterceptor

MAX_REQUEST_BYTES = 1 << 20
MAX_METADATA_BYTES = 16 << 10
# More than all that callers may have at work together (services/access/authentication.py): behind it gRPC itself refuses, whoever
# comes, and commands with the rest.
MAX_CONCURRENT_RPCS = 8_000
# gRPC takes new calls one after the other, a fraction of a millisecond each, before it is seen whose they are: commands of
# others stand behind all that are opened. Of one connection it takes no more at once than other servers do; the rest waits
# at the client. Who speaks for many has further connections (`services/edge/spread.py`).
MAX_CALLS_PER_CONNECTION = 100
STOP_GRACE_SECONDS = 5.0
HEALTH_INTERVAL_SECONDS = 1.0
# While something is wrong, so that a start and a recovery show at once.
RECOVERY_INTERVAL_SECONDS = 0.1

# Name of the health that a replica has while another one leads and it is well.
STANDBY_HEALTH = "milepost.standby"

log = logging.getLogger(__name__)


class Role(Enum):
    """What a replica is for at the moment."""

    STARTS = "starts"
    # It answers calls. So does every replica of a service that has no leader.
    LEADS = "leads"
    # Another replica answers; this one is well and waits for its end.
    STANDS_BY = "stands by"


# Raises, or says in words what is wrong; None: all is well.
HealthCheck = Callable[[], Awaitable[str | None]]


class Server:
    """One listening gRPC server. Health is SERVING only while every dependency is.

    `register` adds servicers to the `grpc.aio.Server`; `names` are the full names of the services. `interceptors` are the
    innermost: they see errors as they were raised. Without `access` it serves loopback only, and asks for no tokens.
    """

    def __init__(
        self,
        listen: str,
        register: Callable[[grpc.aio.Server], None],
        names: Sequence[str],
        check: HealthCheck,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        access: Access | None = None,
        role: Callable[[], Role] = lambda: Role.LEADS,
    ) -> None:
        access = access or loopback_access(listen)
        self._listen = listen
        self._names = tuple(names)
        self._check = check
        self._role = role
        self._tls = access.tls
        self._server = grpc.aio.server(
            interceptors=[ObservingInterceptor(self._names), access.interceptor, ErrorInterceptor(), *interceptors],
            maximum_concurrent_rpcs=MAX_CONCURRENT_RPCS,
            options=[
                # With port reuse two servers bind one port and clients see either.
                ("grpc.so_reuseport", 0),
                ("grpc.max_concurrent_streams", MAX_CALLS_PER_CONNECTION),
                # A client keeps to that limit by itself and lets its further calls wait. Those that it begins before it
                # has heard of it, or while an end is under way to it, would be refused (RST_STREAM) to no purpose.
                ("grpc.http.overload_protection", 0),
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self._watcher: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self.port = 0

    async def start(self) -> int:
        """Bind and serve. Returns the port.

        Raises:
            SystemExit: the port is taken; the message says which.
        """
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(self._listen)
            else:
                self.port = self._server.add_secure_port(self._listen, self._tls.server_credentials())
        except RuntimeError as error:
            raise SystemExit(
                f"cannot listen on {self._listen}: the port is in use or the address is not of this machine"
            ) from error
        await self._report()
        await self._server.start()
        self._watcher = asyncio.create_task(self._watch_health())
        log.info("server.started", extra={"listen": self._listen, "port": self.port})
        return self.port

    async def stop(self) -> None:
        """Take no new calls, let running ones end within the grace, then cut them off."""
        if self._watcher is not None:
            self._watcher.cancel()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(STOP_GRACE_SECONDS)
        log.info("server.stopped")

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(RECOVERY_INTERVAL_SECONDS if self._problem else HEALTH_INTERVAL_SECONDS)
            await self._report()

    async def _report(self) -> None:
        try:
            async with asyncio.timeout(5.0):
                problem = await self._check()
        except Exception as error:  # whatever a dependency raises, it is not healthy
            problem = f"{type(error).__name__}: {error}"
        serving = _status(not problem)
        if problem and not self._problem:
            log.warning("health.not_serving", extra={"problem": problem})
        elif self._problem and not problem:
            log.info("health.serving")
        self._problem = problem
        for name in ("", *self._names):
            await self._health.set(name, serving)
        for name, role in ((CALLS_HEALTH, Role.LEADS), (STANDBY_HEALTH, Role.STANDS_BY)):
            await self._health.set(name, _status(self._role() is role))


def _status(serving: bool) -> health_pb2.HealthCheckResponse.ServingStatus:
    return health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING


async def wait_for_signal() -> None:
    """Return at the first SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


async def first_of(stopped: Awaitable[None], failed: Awaitable[object]) -> None:
    """Return when something says stop, or raise what ended a part of a service before."""
    ended = {asyncio.ensure_future(stopped), asyncio.ensure_future(failed)}
    done, pending = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


class Application(Protocol):
    """A service as its entry point runs it, and as a test does."""

    async def start(self) -> None: ...

    async def run_until(self, stopped: Awaitable[None]) -> None:
        """Return when something says stop, or raise what made a part of the service end."""

    async def stop(self) -> None: ...


class Assembled(ABC):
    """An application made of parts: started one after the other, ended in reverse, also where one of them cannot start."""

    def __init__(self) -> None:
        self._parts = AsyncExitStack()
        self.port = 0

    async def start(self) -> None:
        """Start all parts, and listen at `port`. Raises what `_start` does, once those that were started have ended."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    @abstractmethod
    async def _start(self) -> None:
        """Start the parts, and have `_parts` end each."""

    async def stop(self) -> None:
        """End in order, what was started last first."""
        await self._parts.aclose()


async def run(application: Application) -> None:
    """Run a service until the first SIGTERM or SIGINT."""
    with nothing_collected():
        await application.start()
    try:
        await application.run_until(wait_for_signal())
    finally:
        await application.stop()

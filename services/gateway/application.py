"""The composition root of the gateway: builds its parts, starts them, ends them. Tests start it too."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import uvicorn

from milepost.security.transport import ClientTls, open_aio_channel
from services.access.access_log import AccessReports
from services.access.authentication import Observer
from services.access.exposure import Tls, raise_file_limit
from services.access.guard import Access, loopback_access
from services.edge.calls import CHANNEL_OPTIONS
from services.edge.spread import OWN_CONNECTION
from services.gateway.app import Gateway, Services, Telemetry, create_app
from services.gateway.connections import MAX_HEAD_BYTES, bounded_protocol
from services.gateway.middleware import NO_PROXIES, Proxies
from services.gateway.mlflow import Forwarded, Mlflow, mounted
from services.server import Assembled, first_of
from services.supervision import Supervision

WEB = Path(__file__).parent / "web"
STOP_GRACE_SECONDS = 5
_POLL_SECONDS = 0.01

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between installations of the gateway."""

    listen: str
    # host:port of the services `runtime`, `trials`, `metrics` and `rules`.
    addresses: Mapping[str, str]
    # The host names it answers to.
    hosts: Collection[str] = ("127.0.0.1", "localhost", "::1")
    # Those that may say where a request came from.
    proxies: Proxies = NO_PROXIES
    tls: ClientTls = field(default_factory=ClientTls)
    # By which the gateway itself is known to the services; empty: it is nobody.
    own_metadata: tuple[tuple[str, str], ...] = ()
    # host:port of a process of its own for MLflow's clients; empty: they are answered here.
    mlflow_address: str = ""
    # Where what they send waits to be recorded; None: they are not answered here.
    data_dir: Path | None = None
    nats_url: str = ""
    # Credentials for the NATS server; None: it lets anybody in.
    keys_dir: Path | None = None
    # Guards the listening address, and has an observer told; None: loopback, without tokens.
    open_access: Callable[[Observer], Access] | None = None
    web: Path = WEB


class Application(Assembled):
    """A running gateway."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self._tasks: list[asyncio.Task[Any]] = []

    async def _start(self) -> None:
        """Listen. The services need not be there: `/readyz` says whether they are.

        Raises:
            SystemExit: the port is taken, or who may come in cannot be told.
        """
        options, parts, supervision = self._options, self._parts, Supervision()
        raise_file_limit()
        channels = {
            name: open_aio_channel(address, options.tls, CHANNEL_OPTIONS) for name, address in options.addresses.items()
        }
        for channel in channels.values():
            parts.push_async_callback(channel.close, None)
        reports = AccessReports(channels["runtime"], options.own_metadata)
        access = options.open_access(reports) if options.open_access is not None else loopback_access(options.listen)
        listener = bind(access.listen)
        parts.callback(listener.close)
        self.port = listener.getsockname()[1]
        further = [*CHANNEL_OPTIONS, OWN_CONNECTION]
        services = Services(
            channels, options.own_metadata, lambda name: open_aio_channel(options.addresses[name], options.tls, further)
        )
        parts.push_async_callback(services.close)
        mlflow = self._mlflow(services, reports)
        gateway = Gateway(
            services, Telemetry(), options.web, _version(), mlflow=mlflow, grpc_address=options.addresses["runtime"]
        )
        app = create_app(gateway, options.hosts, access, reports, options.proxies)
        server = http_server(app, access.tls, options.proxies)
        self._tasks.append(await parts.enter_async_context(reports.running(supervision)))
        if mlflow is not None:
            self._tasks.append(await parts.enter_async_context(supervision.running("mlflow", mlflow.run)))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        self._tasks.append(serving)

        async def end_serving() -> None:
            gateway.end_streams()
            server.should_exit = True
            await serving

        parts.push_async_callback(end_serving)
        while not (server.started or serving.done()):
            await asyncio.sleep(_POLL_SECONDS)
        log.info("gateway.started", extra={"listen": options.listen, "port": self.port})

    def _mlflow(self, services: Services, reports: AccessReports) -> Mlflow | None:
        options, further = self._options, [*CHANNEL_OPTIONS, OWN_CONNECTION]
        if options.mlflow_address:
            return Forwarded(lambda: open_aio_channel(options.mlflow_address, options.tls, further))
        if options.data_dir is None:
            return None
        return mounted(services, reports, options.data_dir, options.nats_url, options.keys_dir)

    async def run_until(self, stopped: Awaitable[None]) -> None:
        """Return when something says stop, or raise what made a part of the gateway end."""
        await first_of(stopped, _first_end(self._tasks))

    async def stop(self) -> None:
        """End in order, what was started last first."""
        await super().stop()
        log.info("gateway.stopped")


class _HttpServer(uvicorn.Server):
    """Serves until it is told to stop. Signals are heard by who runs the gateway, as for every service."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(listen: str) -> socket.socket:
    """Bind a listening address. Raises SystemExit with the reason if it cannot be had."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: it held back every small answer for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), int(port)))
        listener.listen(1024)
    except (OSError, ValueError, OverflowError) as error:
        listener.close()
        raise SystemExit(f"cannot listen on {listen}: {error}") from error
    return listener


def http_server(app: Any, tls: Tls | None, proxies: Proxies) -> uvicorn.Server:
    """Make what serves the application; `should_exit` ends it."""
    return _HttpServer(
        uvicorn.Config(
            app,
            http=bounded_protocol(proxies),
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            # Whoever can reach this server could claim to be anybody by a header: `ProtectionMiddleware` asks who says so.
            proxy_headers=False,
            **_tls_options(tls),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=STOP_GRACE_SECONDS,
        )
    )


def _tls_options(tls: Tls | None) -> dict[str, Any]:
    """Say to uvicorn what TLS it has."""
    if tls is None:
        return {}
    options: dict[str, Any] = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
    if tls.client_ca is not None:
        options |= {"ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options


async def _first_end(tasks: Collection[asyncio.Task[Any]]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _version() -> str:
    try:
        return metadata.version("milepost")
    except metadata.PackageNotFoundError:
        return "0.0.0"

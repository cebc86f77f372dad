"""Entry point of the gateway: `python -m services.gateway`."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from importlib import metadata
from pathlib import Path
from typing import Any

import uvicorn

from milepost.eventlog.credentials import find_credentials
from milepost.transport import ClientTls, open_aio_channel
from services.access import open_access
from services.access_log import AccessReports
from services.channels import service_metadata
from services.exposure import Tls, raise_file_limit
from services.gateway.app import Gateway, Services, Telemetry, create_app
from services.gateway.connections import MAXIMUM_HEAD_BYTES, BoundedProtocol
from services.gateway.guards import host_name
from services.gateway.mlflow.api import MlflowApi
from services.gateway.mlflow.recorder import Recorder
from services.settings import Settings, load
from services.telemetry import configure_logging, start_observing

WEB = Path(__file__).parent / "web"
STOP_GRACE_SECONDS = 5
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]

log = logging.getLogger(__name__)


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


async def serve(settings: Settings) -> None:
    raise_file_limit()
    tls = ClientTls.of(settings)
    channels = {
        name: open_aio_channel(settings[f"{name}_address"], tls, CHANNEL_OPTIONS)
        for name in ("runtime", "trials", "metrics")
    }
    reports = AccessReports(channels["runtime"], service_metadata(settings.keys_dir, "gateway"))
    access = open_access(settings, "gateway", reports)
    listener = bind(access.listen)
    services = Services(channels)
    folder = settings.data_dir / "mlflow"
    recorder = Recorder(folder, settings["nats_url"], find_credentials(settings.keys_dir, "gateway"))
    mlflow = MlflowApi(services, recorder, folder / "experiments.sqlite", reports)
    gateway = Gateway(services, Telemetry(), WEB, _version(), mlflow=mlflow)
    hosts = {
        "127.0.0.1",
        "localhost",
        "::1",
        host_name(settings["gateway_address"]),
        host_name(settings["gateway_listen"]),
        *(name.strip().lower() for name in settings["gateway_hosts"].split(",")),
    }
    config = uvicorn.Config(
        create_app(gateway, hosts - {""}, access, reports),
        http=BoundedProtocol,
        h11_max_incomplete_event_size=MAXIMUM_HEAD_BYTES,
        # Whoever can reach this server could claim to be anybody by a header.
        proxy_headers=False,
        **tls_options(access.tls),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=STOP_GRACE_SECONDS,
    )
    reporting = asyncio.create_task(reports.run())
    recording = asyncio.create_task(recorder.run())
    log.info("gateway.started", extra={"listen": settings["gateway_listen"], "port": listener.getsockname()[1]})
    try:
        await uvicorn.Server(config).serve(sockets=[listener])
    finally:
        reporting.cancel()
        recording.cancel()
        await asyncio.gather(reporting, recording, return_exceptions=True)
        await asyncio.gather(*(channel.close(None) for channel in channels.values()))
    log.info("gateway.stopped")


def tls_options(tls: Tls | None) -> dict[str, Any]:
    """Say to uvicorn what TLS it has."""
    if tls is None:
        return {}
    options: dict[str, Any] = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
    if tls.client_ca is not None:
        options |= {"ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options


def _version() -> str:
    try:
        return metadata.version("milepost")
    except metadata.PackageNotFoundError:
        return "0.0.0"


if __name__ == "__main__":
    settings = load(program="milepost gateway")
    configure_logging("gateway", settings["log_level"])
    shutdown = start_observing("gateway", settings["monitoring_listen"])
    try:
        asyncio.run(serve(settings))
    finally:
        shutdown()

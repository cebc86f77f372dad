"""Entry point of the gateway: `python -m services.gateway`."""

from __future__ import annotations

import asyncio
import logging
import socket
from importlib import metadata
from pathlib import Path

import grpc
import uvicorn

from services.gateway.app import Gateway, Services, Telemetry, create_app
from services.gateway.guards import host_name
from services.settings import Settings, load
from services.telemetry import configure_logging

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
    try:
        return socket.create_server(
            (host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except (OSError, ValueError, OverflowError) as error:
        raise SystemExit(f"cannot listen on {listen}: {error}") from error


async def serve(settings: Settings) -> None:
    listener = bind(settings["gateway_listen"])
    channels = {
        name: grpc.aio.insecure_channel(settings[f"{name}_address"], CHANNEL_OPTIONS)
        for name in ("runtime", "trials", "metrics")
    }
    gateway = Gateway(Services(channels), Telemetry(), WEB, _version())
    hosts = {
        "127.0.0.1",
        "localhost",
        "::1",
        host_name(settings["gateway_address"]),
        host_name(settings["gateway_listen"]),
    }
    config = uvicorn.Config(
        create_app(gateway, hosts - {""}),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=STOP_GRACE_SECONDS,
    )
    log.info("gateway.started", extra={"listen": settings["gateway_listen"], "port": listener.getsockname()[1]})
    try:
        await uvicorn.Server(config).serve(sockets=[listener])
    finally:
        await asyncio.gather(*(channel.close(None) for channel in channels.values()))
    log.info("gateway.stopped")


def _version() -> str:
    try:
        return metadata.version("milepost")
    except metadata.PackageNotFoundError:
        return "0.0.0"


if __name__ == "__main__":
    settings = load(program="milepost gateway")
    configure_logging("gateway", settings["log_level"])
    asyncio.run(serve(settings))

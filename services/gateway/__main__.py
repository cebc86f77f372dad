"""Entry point of the gateway: `python -m services.gateway`."""

from __future__ import annotations

import asyncio
from functools import partial

from milepost.security.transport import ClientTls
from services.access.channels import service_metadata
from services.access.guard import open_access
from services.gateway.application import Application, Options
from services.gateway.middleware import Proxies, host_name
from services.rpc.telemetry import configure_logging, start_observing
from services.server import run
from services.settings import Settings, load


def options(settings: Settings) -> Options:
    """Read what this service needs from its settings. Raises SystemExit: a proxy among them is no address."""
    hosts = {
        "127.0.0.1",
        "localhost",
        "::1",
        host_name(settings["gateway_address"]),
        host_name(settings["gateway_listen"]),
        *(name.strip().lower() for name in settings["gateway_hosts"].split(",")),
    }
    return Options(
        listen=settings["gateway_listen"],
        addresses={name: settings[f"{name}_address"] for name in ("runtime", "trials", "metrics", "rules")},
        hosts=hosts - {""},
        proxies=trusted_proxies(settings),
        tls=ClientTls.of(settings),
        own_metadata=service_metadata(settings.keys_dir, "gateway"),
        mlflow_address=settings["mlflow_address"],
        data_dir=settings.data_dir,
        nats_url=settings["nats_url"],
        keys_dir=settings.keys_dir,
        open_access=partial(open_access, settings, "gateway"),
    )


def trusted_proxies(settings: Settings) -> Proxies:
    """Read the proxies that may say where a request came from. Raises SystemExit: one of them is no address."""
    try:
        return Proxies.of(settings["trusted_proxies"])
    except ValueError as error:
        raise SystemExit(f"trusted_proxies: {error}") from error


if __name__ == "__main__":
    settings = load(program="milepost gateway")
    configure_logging("gateway", settings["log_level"])
    finish = start_observing("gateway", settings["monitoring_listen"])
    try:
        asyncio.run(run(Application(options(settings))))
    finally:
        finish()

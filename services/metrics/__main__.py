"""Entry point of the metric service: `python -m services.metrics`."""

from __future__ import annotations

import asyncio
from functools import partial

from milepost.eventlog.nats.streams import StreamSettings
from services import settings as service_settings
from services.access.guard import open_access
from services.metrics.application import Application, Options
from services.rpc.telemetry import configure_logging, start_observing
from services.server import run
from services.settings import Settings


def options(settings: Settings) -> Options:
    """Read what this service needs from its settings."""
    return Options(
        listen=settings["metrics_listen"],
        data_dir=settings.data_dir,
        nats_url=settings["nats_url"],
        streams=StreamSettings.of(settings["replicas"], settings["store_megabytes"]),
        clickhouse_url=settings["clickhouse_url"],
        clickhouse_cluster=settings["clickhouse_cluster"],
        clickhouse_password_file=settings["clickhouse_password_file"],
        keys_dir=settings.keys_dir,
        open_access=partial(open_access, settings, "metrics"),
    )


if __name__ == "__main__":
    settings = service_settings.load(program="milepost metrics service")
    configure_logging("metrics", settings["log_level"])
    shutdown = start_observing("metrics", settings["monitoring_listen"])
    try:
        asyncio.run(run(Application(options(settings))))
    finally:
        shutdown()

"""Entry point of the runtime service: `python -m services.runtime`."""

from __future__ import annotations

import asyncio
from functools import partial

from milepost.eventlog.anchor import AnchorSink, witnesses
from milepost.eventlog.streams import StreamSettings
from milepost.transport import ClientTls
from services import settings as service_settings
from services.access import open_access
from services.channels import service_metadata
from services.garbage import nothing_collected
from services.runtime import host
from services.runtime.application import Application, Options
from services.runtime.cluster import ray_options
from services.server import wait_for_signal
from services.settings import Settings
from services.telemetry import configure_logging, start_observing


def options(settings: Settings) -> Options:
    """Read what this service needs from its settings."""
    return Options(
        listen=settings["runtime_listen"],
        data_dir=settings.data_dir,
        nats_url=settings["nats_url"],
        metrics_address=settings["metrics_address"],
        trials_address=settings["trials_address"],
        ray=ray_options(settings),
        streams=StreamSettings.of(settings["replicas"], settings["store_megabytes"]),
        capacity=host.capacity(settings["local_cpus"], settings["local_gpus"], settings["local_memory_gigabytes"]),
        secrets=host.secrets(settings.data_dir),
        keys_dir=settings.keys_dir,
        tls=ClientTls.of(settings),
        own_metadata=service_metadata(settings.keys_dir, "runtime"),
        open_access=partial(open_access, settings, "runtime"),
        witnesses=_witnesses(settings),
    )


def _witnesses(settings: Settings) -> tuple[AnchorSink, ...]:
    try:
        return witnesses(settings["anchor_file"], settings["anchor_url"])
    except ValueError as error:
        raise SystemExit(f"anchor_url: {error}") from error


async def serve(settings: Settings) -> None:
    application = Application(options(settings))
    with nothing_collected():
        await application.start()
    try:
        await application.run_until(wait_for_signal())
    finally:
        await application.stop()


if __name__ == "__main__":
    settings = service_settings.load(program="milepost runtime service")
    configure_logging("runtime", settings["log_level"])
    shutdown = start_observing("runtime", settings["monitoring_listen"])
    try:
        asyncio.run(serve(settings))
    finally:
        shutdown()

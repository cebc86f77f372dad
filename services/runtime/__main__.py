"""Entry point of the runtime service: `python -m services.runtime`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from functools import partial

from milepost.eventlog.nats.streams import StreamSettings
from milepost.eventlog.proof.anchor import AnchorSink, witnesses
from milepost.security.egress import Egress
from milepost.security.transport import ClientTls
from services import settings as service_settings
from services.access.channels import service_metadata
from services.access.exposure import egress_of
from services.access.guard import open_access
from services.rpc.telemetry import configure_logging, start_observing
from services.runtime.application import Application, Options
from services.runtime.launchers import host
from services.runtime.launchers.cluster import ray_options, slurm_options
from services.runtime.launchers.local_runs import local_policy
from services.server import run
from services.settings import Settings

MAX_RESTORE_DAYS = 3_650


def options(settings: Settings) -> Options:
    """Read what this service needs from its settings."""
    egress = egress_of(settings)
    return Options(
        listen=settings["runtime_listen"],
        data_dir=settings.data_dir,
        nats_url=settings["nats_url"],
        metrics_address=settings["metrics_address"],
        trials_address=settings["trials_address"],
        ray=ray_options(settings),
        slurm=slurm_options(settings),
        streams=StreamSettings.of(settings["replicas"], settings["store_megabytes"]),
        capacity=host.capacity(settings["local_cpus"], settings["local_gpus"], settings["local_memory_gigabytes"]),
        secrets=host.secrets(settings.data_dir),
        keys_dir=settings.keys_dir,
        tls=ClientTls.of(settings),
        own_metadata=service_metadata(settings.keys_dir, "runtime"),
        open_access=partial(open_access, settings, "runtime"),
        witnesses=_witnesses(settings, egress),
        egress=egress,
        local=local_policy(settings),
        restore_window=_restore_window(settings["restore_days"]),
    )


def _restore_window(text: str) -> timedelta:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= MAX_RESTORE_DAYS:
        raise SystemExit(f"restore_days: must be a number from 0 to {MAX_RESTORE_DAYS:,}, not {text!r}")
    return timedelta(days=days)


def _witnesses(settings: Settings, egress: Egress) -> tuple[AnchorSink, ...]:
    try:
        return witnesses(settings["anchor_file"], settings["anchor_url"], egress)
    except ValueError as error:
        raise SystemExit(f"anchor_url: {error}") from error


# Threads that check configurations and pack exports run Python too. At the usual 5 ms each of them would hold up a
# command by that, each time it comes back to the event loop.
SWITCH_SECONDS = 0.0005


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = service_settings.load(program="milepost runtime service")
    configure_logging("runtime", settings["log_level"])
    shutdown = start_observing("runtime", settings["monitoring_listen"])
    try:
        asyncio.run(run(Application(options(settings))))
    finally:
        shutdown()

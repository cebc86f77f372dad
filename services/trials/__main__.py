"""Entry point of the trial service: `python -m services.trials`."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from milepost.eventlog import EventLogError
from milepost.eventlog.nats.streams import StreamSettings
from milepost.installation.settings import Settings
from services.access.guard import open_access
from services.rpc.telemetry import configure_logging, start_observing
from services.server import run
from services.settings import load
from services.trials.application import Application, Options


def options(settings: Settings) -> Options:
    """Read what this service needs from its settings."""
    return Options(
        listen=settings["trials_listen"],
        data_dir=settings.data_dir,
        nats_url=settings["nats_url"],
        streams=StreamSettings.of(settings["replicas"], settings["store_megabytes"]),
        keys_dir=settings.keys_dir,
        open_access=partial(open_access, settings, "trials"),
    )


if __name__ == "__main__":
    settings = load(program="milepost trials")
    configure_logging("trials", settings["log_level"])
    finish = start_observing("trials", settings["monitoring_listen"])
    try:
        asyncio.run(run(Application(options(settings))))
    except EventLogError as error:
        sys.exit(f"the event log cannot be used: {error}")
    finally:
        finish()

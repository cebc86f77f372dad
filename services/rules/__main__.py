"""Entry point of the rule service: `python -m services.rules`."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from milepost.eventlog import EventLogError
from milepost.eventlog.nats.streams import StreamSettings
from milepost.installation.settings import Settings
from milepost.security.transport import ClientTls
from services.access.channels import service_metadata
from services.access.exposure import egress_of
from services.access.guard import open_access
from services.rpc.telemetry import configure_logging, start_observing
from services.rules.application import Application, Options
from services.server import run
from services.settings import load


def options(settings: Settings) -> Options:
    """Read what this service needs from its settings."""
    return Options(
        listen=settings["rules_listen"],
        data_dir=settings.data_dir,
        nats_url=settings["nats_url"],
        runtime_address=settings["runtime_address"],
        metrics_address=settings["metrics_address"],
        streams=StreamSettings.of(settings["replicas"], settings["store_megabytes"]),
        keys_dir=settings.keys_dir,
        tls=ClientTls.of(settings),
        destinations=Path(settings["destinations_file"] or settings.data_dir / "destinations.yaml").expanduser(),
        expects_destinations=bool(settings["destinations_file"]),
        egress=egress_of(settings),
        page=settings["page_url"] or _page(settings),
        own_metadata=service_metadata(settings.keys_dir, "rules"),
        open_access=partial(open_access, settings, "rules"),
    )


def _page(settings: Settings) -> str:
    """Return the address at which people most likely find the page."""
    host = settings["gateway_hosts"].partition(",")[0].strip() or settings["gateway_address"]
    return f"{'https' if settings['tls_certificate'] else 'http'}://{host}"


if __name__ == "__main__":
    settings = load(program="milepost rules")
    configure_logging("rules", settings["log_level"])
    finish = start_observing("rules", settings["monitoring_listen"])
    try:
        asyncio.run(run(Application(options(settings))))
    except EventLogError as error:
        sys.exit(f"the event log cannot be used: {error}")
    finally:
        finish()

"""Entry point of the MLflow service: `python -m services.mlflow`."""

from __future__ import annotations

import asyncio
from functools import partial

from milepost.installation.settings import Settings
from milepost.security.transport import ClientTls
from services.access.channels import service_metadata
from services.access.guard import open_access
from services.mlflow.application import Application, Options
from services.rpc.telemetry import configure_logging, start_observing
from services.server import run
from services.settings import load


def options(settings: Settings) -> Options:
    """Read what this service needs from its settings."""
    return Options(
        listen=settings["mlflow_listen"],
        data_dir=settings.data_dir,
        nats_url=settings["nats_url"],
        addresses={name: settings[f"{name}_address"] for name in ("runtime", "trials", "metrics")},
        keys_dir=settings.keys_dir,
        tls=ClientTls.of(settings),
        own_metadata=service_metadata(settings.keys_dir, "mlflow"),
        open_access=partial(open_access, settings, "mlflow"),
    )


if __name__ == "__main__":
    settings = load(program="milepost mlflow")
    configure_logging("mlflow", settings["log_level"])
    finish = start_observing("mlflow", settings["monitoring_listen"])
    try:
        asyncio.run(run(Application(options(settings))))
    finally:
        finish()

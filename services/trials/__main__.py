"""Entry point of the trial service: `python -m services.trials`."""

from __future__ import annotations

import asyncio
import logging
import sys

from milepost.api.trial.v1 import trial_service_pb2
from milepost.api.trial.v1.trial_service_pb2_grpc import add_TrialServiceServicer_to_server
from milepost.eventlog import EventLogError
from milepost.eventlog.credentials import find_credentials
from milepost.eventlog.jetstream import JetStreamLog, connect
from milepost.eventlog.streams import StreamSettings, wait_for_streams
from milepost.eventlog.telemetry import Telemetry
from milepost.settings import Settings
from services.access import open_access
from services.access_log import AccessLog
from services.checkpoints import CheckpointStore
from services.garbage import nothing_collected
from services.log_guard import guarded
from services.server import Server, wait_for_signal
from services.settings import load
from services.telemetry import configure_logging, start_observing
from services.trials.imported import TrialRouting, imports_of
from services.trials.live import FORM, LiveViews
from services.trials.service import TrialService

NAME = trial_service_pb2.DESCRIPTOR.services_by_name["TrialService"].full_name

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    credentials = find_credentials(settings.keys_dir, "trials")
    async with await connect(settings["nats_url"], name="trials", credentials=credentials) as connection:
        await wait_for_streams(connection, StreamSettings.of(settings["replicas"], settings["store_megabytes"]))
        event_log = JetStreamLog(connection)
        checkpoints = CheckpointStore(settings.data_dir / "checkpoints" / "trials", FORM)
        live = LiveViews(event_log, Telemetry(connection), checkpoints)
        with nothing_collected():
            await live.start()

        async def check() -> str | None:
            return await live.problem() if connection.is_connected else "not connected to the event log"

        imports = imports_of(settings.data_dir, live.views)
        access_log = AccessLog(event_log, "/services/trials")
        server = Server(
            settings["trials_listen"],
            lambda grpc_server: add_TrialServiceServicer_to_server(
                TrialRouting(TrialService(live), imports), grpc_server
            ),
            [NAME],
            check,
            access=open_access(settings, "trials", access_log),
        )
        await imports.look()
        async with guarded(event_log, settings.data_dir), imports.running(), access_log.running():
            await server.start()
            await wait_for_signal()
            await server.stop()
        await live.stop()
        await event_log.close()


if __name__ == "__main__":
    settings = load(program="milepost trials")
    configure_logging("trials", settings["log_level"])
    finish = start_observing("trials", settings["monitoring_listen"])
    try:
        asyncio.run(serve(settings))
    except EventLogError as error:
        sys.exit(f"the event log cannot be used: {error}")
    finally:
        finish()

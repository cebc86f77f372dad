"""Entry point of the metric service: `python -m services.metrics`."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc.aio

from milepost.api.log.v1 import log_service_pb2_grpc
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.eventlog.connection import connect
from milepost.eventlog.credentials import find_credentials
from milepost.eventlog.jetstream import JetStreamLog
from milepost.eventlog.keyvalue import JetStreamKeyValue
from milepost.eventlog.streams import StreamSettings, wait_for_streams
from services import settings as service_settings
from services.access import open_access
from services.access_log import AccessLog
from services.checkpoints import CheckpointStore
from services.lease import Lease
from services.log_guard import guarded
from services.metrics.engine import Engine
from services.metrics.imported import LogRouting, MetricRouting, imports_of
from services.metrics.keeping import CODEC
from services.metrics.logs import LogService
from services.metrics.service import MetricService
from services.metrics.store import open_embedded, open_server
from services.metrics.writer import Overtaken
from services.server import Server, wait_for_signal
from services.settings import Settings
from services.telemetry import configure_logging, start_observing

NAMES = ("milepost.api.metric.v1.MetricService", "milepost.api.log.v1.LogService")


async def serve(settings: Settings) -> None:
    address = settings["clickhouse_url"]
    cluster = settings["clickhouse_cluster"]
    open_store = (
        partial(open_server, address, cluster) if address else partial(open_embedded, settings.data_dir / "clickhouse")
    )
    credentials = find_credentials(settings.keys_dir, "metrics")
    async with await connect(settings["nats_url"], name="metrics", credentials=credentials) as connection:
        await wait_for_streams(connection, StreamSettings.of(settings["replicas"], settings["store_megabytes"]))
        event_log = JetStreamLog(connection)
        # A directory is held by a lock; a server takes inserts from anybody.
        lease = Lease(JetStreamKeyValue(connection), "metrics") if address else None
        checkpoints = CheckpointStore(settings.data_dir / "checkpoints" / "metrics", CODEC.form)
        engine = Engine(open_store, connection, event_log, checkpoints, lease)

        imports = imports_of(settings.data_dir, engine)

        def register(server: grpc.aio.Server) -> None:
            metric_service_pb2_grpc.add_MetricServiceServicer_to_server(
                MetricRouting(MetricService(engine), imports), server
            )
            log_service_pb2_grpc.add_LogServiceServicer_to_server(LogRouting(LogService(engine), imports), server)

        access_log = AccessLog(event_log, "/services/metrics")
        access = open_access(settings, "metrics", access_log)
        server = Server(
            settings["metrics_listen"], register, NAMES, engine.health, access=access, role=lambda: engine.role
        )
        await engine.start()
        async with guarded(event_log, settings.data_dir), imports.running(), access_log.running():
            await server.start()
            ended = {asyncio.create_task(wait_for_signal()), asyncio.create_task(engine.failed())}
            done, pending = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await server.stop()
        await engine.stop()
        for task in done:
            try:
                task.result()
            except Overtaken as overtaken:
                raise SystemExit(f"{overtaken}; started again, this process stands by") from overtaken


if __name__ == "__main__":
    settings = service_settings.load(program="milepost metrics service")
    configure_logging("metrics", settings["log_level"])
    shutdown = start_observing("metrics", settings["monitoring_listen"])
    try:
        asyncio.run(serve(settings))
    finally:
        shutdown()

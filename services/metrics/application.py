"""The composition root of the metric service: builds its parts, starts them, ends them. Tests start it too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc.aio

from milepost.api.log.v1 import log_service_pb2_grpc
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.keyvalue import JetStreamKeyValue
from milepost.eventlog.nats.streams import StreamSettings, wait_for_streams
from services.access.access_log import AccessLog
from services.access.authentication import Observer
from services.access.guard import Access
from services.lease import Lease
from services.log_guard import guarded
from services.metrics.checkpointing import CODEC
from services.metrics.engine import Engine
from services.metrics.ingest.writer import Overtaken
from services.metrics.serving.imported import imports_of, seam_of
from services.metrics.serving.logs import LogService
from services.metrics.serving.service import MetricService
from services.metrics.storage.store import Store, open_embedded, open_server
from services.readmodel.checkpoints import CheckpointStore
from services.server import Assembled, Server, first_of

NAMES = ("milepost.api.metric.v1.MetricService", "milepost.api.log.v1.LogService")


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between installations of the metric service."""

    listen: str
    data_dir: Path
    nats_url: str
    streams: StreamSettings = field(default_factory=StreamSettings)
    # A ClickHouse server; empty: an engine in this process, below the data directory.
    clickhouse_url: str = ""
    clickhouse_cluster: str = ""
    clickhouse_password_file: str = ""
    # Credentials for the NATS server; None: it lets anybody in.
    keys_dir: Path | None = None
    # Guards the listening address, and has an observer told; None: loopback, without tokens.
    open_access: Callable[[Observer], Access] | None = None


class Application(Assembled):
    """A running metric service."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options

    async def _start(self) -> None:
        """Connect, open the store, begin to write, and listen.

        Raises:
            EventLogError: the log cannot be had, or its settings would lose history.
            SystemExit: the port is taken.
        """
        options, parts = self._options, self._parts
        credentials = find_credentials(options.keys_dir, "metrics") if options.keys_dir is not None else None
        connecting = await connect(options.nats_url, name="metrics", credentials=credentials)
        connection = await parts.enter_async_context(connecting)
        await wait_for_streams(connection, options.streams)
        event_log = JetStreamLog(connection)
        # A directory is held by a lock; a server takes inserts from anybody.
        lease = Lease(JetStreamKeyValue(connection), "metrics") if options.clickhouse_url else None
        checkpoints = CheckpointStore(options.data_dir / "checkpoints" / "metrics", CODEC.form)
        self.engine = Engine(self._open_store(), connection, event_log, checkpoints, lease)
        imports = imports_of(options.data_dir, self.engine)
        access_log = AccessLog(event_log, "/services/metrics")
        access = options.open_access(access_log) if options.open_access is not None else None

        metrics, logs = MetricService(self.engine), LogService(self.engine)

        def register(server: grpc.aio.Server) -> None:
            metric_service_pb2_grpc.add_MetricServiceServicer_to_server(metrics, server)
            log_service_pb2_grpc.add_LogServiceServicer_to_server(logs, server)

        inner = [seam_of(imports, metrics, logs)]
        server = Server(
            options.listen, register, NAMES, self.engine.health, inner, access, role=lambda: self.engine.role
        )
        await self.engine.start()
        parts.push_async_callback(self.engine.stop)
        tasks = self.engine.supervision
        for part in (guarded(event_log, options.data_dir, tasks), imports.running(tasks), access_log.running(tasks)):
            await parts.enter_async_context(part)
        self.port = await server.start()
        parts.push_async_callback(server.stop)

    def _open_store(self) -> Callable[[], Awaitable[Store]]:
        options = self._options
        if not options.clickhouse_url:
            return partial(open_embedded, options.data_dir / "clickhouse")
        password = options.clickhouse_password_file
        return partial(open_server, options.clickhouse_url, options.clickhouse_cluster, password)

    async def run_until(self, stopped: Awaitable[None]) -> None:
        """Return when something says stop, or raise what made a part of the service end.

        Raises:
            SystemExit: another replica has taken over; started again, this one stands by.
        """
        try:
            await first_of(stopped, self.engine.failed())
        except Overtaken as error:
            raise SystemExit(f"{error}; started again, this process stands by") from error

"""The composition root of the trial service: builds its parts, starts them, ends them. Tests start it too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from milepost.api.trial.v1 import trial_service_pb2
from milepost.api.trial.v1.trial_service_pb2_grpc import add_TrialServiceServicer_to_server
from milepost.eventlog.nats.credentials import find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog, connect
from milepost.eventlog.nats.streams import StreamSettings, wait_for_streams
from milepost.eventlog.telemetry import Telemetry
from services.access.access_log import AccessLog
from services.access.authentication import Observer
from services.access.guard import Access
from services.log_guard import guarded
from services.readmodel.imports import ImportSeam
from services.readmodel.incremental import IncrementalStore
from services.server import Assembled, Server, first_of
from services.trials.imported import TrialRouting, imports_of
from services.trials.live import FORM, LiveViews, key_of
from services.trials.service import TrialService

NAME = trial_service_pb2.DESCRIPTOR.services_by_name["TrialService"].full_name


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between installations of the trial service."""

    listen: str
    data_dir: Path
    nats_url: str
    streams: StreamSettings = field(default_factory=StreamSettings)
    # Credentials for the NATS server; None: it lets anybody in.
    keys_dir: Path | None = None
    # Guards the listening address, and has an observer told; None: loopback, without tokens.
    open_access: Callable[[Observer], Access] | None = None


class Application(Assembled):
    """A running trial service."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options

    async def _start(self) -> None:
        """Connect, read both streams, and listen.

        Raises:
            EventLogError: the log cannot be had, or its settings would lose history.
            SystemExit: the port is taken.
        """
        options, parts = self._options, self._parts
        credentials = find_credentials(options.keys_dir, "trials") if options.keys_dir is not None else None
        connecting = await connect(options.nats_url, name="trials", credentials=credentials)
        connection = await parts.enter_async_context(connecting)
        await wait_for_streams(connection, options.streams)
        event_log = JetStreamLog(connection)
        parts.push_async_callback(event_log.close)
        checkpoints = IncrementalStore(options.data_dir / "checkpoints" / "trials", FORM, key_of)
        self.live = LiveViews(event_log, Telemetry(connection), checkpoints)
        await self.live.start()
        parts.push_async_callback(self.live.stop)
        imports = imports_of(options.data_dir, self.live.views)
        await imports.look()
        access_log = AccessLog(event_log, "/services/trials")
        tasks = self.live.supervision
        for part in (guarded(event_log, options.data_dir, tasks), imports.running(tasks), access_log.running(tasks)):
            await parts.enter_async_context(part)

        trials = TrialService(self.live)

        def register(server: grpc.aio.Server) -> None:
            add_TrialServiceServicer_to_server(trials, server)

        async def check() -> str | None:
            return await self.live.problem() if connection.is_connected else "not connected to the event log"

        access = options.open_access(access_log) if options.open_access is not None else None
        server = Server(
            options.listen, register, [NAME], check, [ImportSeam(imports, TrialRouting(trials, imports))], access
        )
        self.port = await server.start()
        parts.push_async_callback(server.stop)

    async def run_until(self, stopped: Awaitable[None]) -> None:
        """Return when something says stop, or raise what made a part of the service end."""
        await first_of(stopped, self.live.failed())

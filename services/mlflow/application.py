"""The composition root of the MLflow service: in a process of its own, or mounted by the gateway in its process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
from starlette.requests import Request
from starlette.responses import Response

from milepost.api.mlflow.v1 import mlflow_service_pb2
from milepost.api.mlflow.v1.mlflow_service_pb2_grpc import add_MlflowServiceServicer_to_server
from milepost.eventlog.nats.credentials import find_credentials
from milepost.security.transport import ClientTls, open_aio_channel
from services.access.access_log import AccessReports
from services.access.authentication import Caller, Observer
from services.access.guard import Access
from services.edge.calls import CHANNEL_OPTIONS, Calls
from services.edge.spread import OWN_CONNECTION
from services.mlflow import runs
from services.mlflow.api import MlflowApi
from services.mlflow.recorder import Recorder
from services.mlflow.service import MlflowService
from services.server import Assembled, Server, first_of
from services.supervision import Supervision

NAME = mlflow_service_pb2.DESCRIPTOR.services_by_name["MlflowService"].full_name
# Of the data directory: the spools of open runs, and what clients have named and deleted.
FOLDER = "mlflow"
EXPERIMENTS = "experiments.sqlite"
# As whom it writes to the event log; in folders of keys that an earlier version has made, as the gateway.
USERS = ("mlflow", "gateway")


class Tracking:
    """What answers clients of MLflow, and records what they log.

    Args:
        calls: to the other services, in the name of who sent a request.
        observer: takes notice of who writes to which run.
        data_dir: of this installation; one process records in it.
        nats_url: the server of the event log.
        keys_dir: has the credentials for it, where it asks for some.
    """

    def __init__(
        self, calls: runs.Caller, observer: Observer, data_dir: Path, nats_url: str, keys_dir: Path | None
    ) -> None:
        folder = data_dir / FOLDER
        found = [find_credentials(keys_dir, user) for user in USERS] if keys_dir is not None else []
        self.recorder = Recorder(folder, nats_url, next((one for one in found if one is not None), None))
        self._api = MlflowApi(calls, self.recorder, folder / EXPERIMENTS, observer)

    async def answer(self, request: Request, caller: Caller) -> Response:
        """Answer one request below `/mlflow`, whatever becomes of it."""
        return await self._api.handle(request, caller)

    async def run(self) -> None:
        """Record, until cancelled."""
        await self.recorder.run()


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between installations of the MLflow service."""

    listen: str
    data_dir: Path
    nats_url: str
    # Process -> where it answers.
    addresses: Mapping[str, str]
    # Credentials for the NATS server; None: it lets anybody in.
    keys_dir: Path | None = None
    tls: ClientTls = field(default_factory=ClientTls)
    # What this service shows to others.
    own_metadata: tuple[tuple[str, str], ...] = (("mp-actor", "service:mlflow"),)
    # Guards the listening address, and has an observer told; None: loopback, without tokens.
    open_access: Callable[[Observer], Access] | None = None


class Application(Assembled):
    """A running MLflow service."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options

    async def _start(self) -> None:
        """Begin to record, and listen. An event log that does not answer is waited for.

        Raises:
            SystemExit: the port is taken.
        """
        options, parts = self._options, self._parts
        channels = {name: self._open(name, CHANNEL_OPTIONS) for name in options.addresses}
        for channel in channels.values():
            parts.push_async_callback(channel.close, None)
        calls = Calls(channels, lambda name: self._open(name, [*CHANNEL_OPTIONS, OWN_CONNECTION]))
        parts.push_async_callback(calls.close)
        supervision = Supervision()
        reports = AccessReports(channels["runtime"], options.own_metadata)
        await parts.enter_async_context(reports.running(supervision))
        tracking = Tracking(calls, reports, options.data_dir, options.nats_url, options.keys_dir)
        self._recording = await parts.enter_async_context(supervision.running("mlflow", tracking.run))
        service = MlflowService(tracking.answer)
        parts.push_async_callback(service.close)

        def register(server: grpc.aio.Server) -> None:
            add_MlflowServiceServicer_to_server(service, server)

        async def check() -> str | None:
            return supervision.problem() if tracking.recorder.is_connected else "not connected to the event log"

        access = options.open_access(reports) if options.open_access is not None else None
        server = Server(options.listen, register, [NAME], check, access=access)
        self.port = await server.start()
        parts.push_async_callback(server.stop)

    def _open(self, name: str, channel_options: list[tuple[str, int]]) -> grpc.aio.Channel:
        return open_aio_channel(self._options.addresses[name], self._options.tls, channel_options)

    async def run_until(self, stopped: Awaitable[None]) -> None:
        """Return when something says stop, or raise what made a part of the service end."""
        await first_of(stopped, self._recording)

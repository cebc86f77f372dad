"""The composition root of the runtime service: builds its parts, starts them, ends them. Tests start it too."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio

from milepost.api.access.v1 import access_service_pb2_grpc
from milepost.api.audit.v1 import audit_service_pb2_grpc
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.runtime.v1 import runtime_service_pb2_grpc
from milepost.api.training.v1 import launch_service_pb2_grpc
from milepost.eventlog import EVENTS
from milepost.eventlog.nats.connection import connect, without_password
from milepost.eventlog.nats.credentials import find_authority, find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.keyvalue import JetStreamKeyValue
from milepost.eventlog.nats.streams import StreamSettings, wait_for_streams
from milepost.eventlog.proof.anchor import AnchorFile, AnchorSink, anchors_path
from milepost.eventlog.proof.chain_service import ChainService
from milepost.eventlog.proof.log_guard import LogGuard
from milepost.eventlog.telemetry import Telemetry
from milepost.names import AttemptKey
from milepost.security.egress import Egress
from milepost.security.signing import BundleKey
from milepost.security.tokens import LaunchTickets, TokenError
from milepost.security.transport import ClientTls, open_aio_channel
from services.access import access_service
from services.access.access_log import AccessLog
from services.access.access_service import AccessService
from services.access.authentication import Observer
from services.access.guard import Access
from services.lease import Lease
from services.rpc.telemetry import consumer_lag
from services.runtime.audit.imported import imports_of, seam_of
from services.runtime.audit.service import AuditService
from services.runtime.audit.service_clients import ServiceClients
from services.runtime.audit.verification import Sources
from services.runtime.commands import launch_service
from services.runtime.commands.catching_up import CatchUpInterceptor
from services.runtime.commands.launch_service import LaunchService
from services.runtime.commands.preflight import Preflight
from services.runtime.commands.request_ids import Requests
from services.runtime.commands.service import RuntimeService
from services.runtime.decisions import Decisions
from services.runtime.launchers import Launcher
from services.runtime.launchers.claims import Claims
from services.runtime.launchers.external import External
from services.runtime.launchers.jobs import JobLauncher
from services.runtime.launchers.local import LocalLauncher, LocalPolicy
from services.runtime.launchers.ray import RayLauncher, RayOptions
from services.runtime.launchers.slurm import SlurmLauncher, SlurmOptions
from services.runtime.policies.placement import Capacity
from services.runtime.readmodel.checkpointing import Checkpointing
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.continuing import Continuing
from services.runtime.scheduling.launching import LaunchEnvironment, Launches
from services.runtime.scheduling.liveness import SUBJECTS, Liveness
from services.runtime.scheduling.purge import Purger
from services.runtime.scheduling.recovery import Recovery
from services.runtime.scheduling.scheduler import Scheduler
from services.runtime.scheduling.steps import Steps
from services.runtime.searching.controller import Searches
from services.runtime.searching.importances import ImportanceReader
from services.runtime.searching.sampler import Sampler
from services.runtime.searching.values import TrialValues
from services.runtime.snapshots import SnapshotStorage
from services.server import Server
from services.supervision import Supervision

log = logging.getLogger(__name__)

SERVICES = (
    "milepost.api.runtime.v1.RuntimeService",
    "milepost.api.audit.v1.AuditService",
    access_service.NAME,
    launch_service.NAME,
)
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between installations of the runtime service."""

    listen: str
    data_dir: Path
    nats_url: str
    metrics_address: str
    trials_address: str
    capacity: Capacity
    # The cluster of the `ray` launcher; None: there is none. Needs `keys_dir`.
    ray: RayOptions | None = None
    # The Slurm of the `slurm` launcher; None: there is none. Needs `keys_dir`.
    slurm: SlurmOptions | None = None
    streams: StreamSettings = field(default_factory=StreamSettings)
    secrets: Callable[[str], str | None] = lambda name: None
    # Keys and credentials for the NATS server; None: it lets anybody in.
    keys_dir: Path | None = None
    tls: ClientTls = field(default_factory=ClientTls)
    # What this service shows to others.
    own_metadata: tuple[tuple[str, str], ...] = (("mp-actor", "service:runtime"),)
    # Guards the listening address, and has an observer told; None: loopback, without tokens.
    open_access: Callable[[Observer], Access] | None = None
    # Where anchors go besides the data directory.
    witnesses: tuple[AnchorSink, ...] = ()
    # Where it connects because a configuration says so.
    egress: Egress = field(default_factory=Egress)
    # Whether the local launcher starts anything, and as whom.
    local: LocalPolicy = field(default_factory=LocalPolicy)
    # What it runs; empty: the trainer of this installation.
    trainer_command: tuple[str, ...] = ()
    # For how long a deleted runtime can be undeleted. None at all: its data is removed at once.
    restore_window: timedelta = timedelta()


class Application:
    """A running runtime service."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.views = Views()
        self.liveness = Liveness()
        self.supervision = Supervision()
        self._lag = consumer_lag()
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Connect, read the log, listen, and begin to schedule.

        Raises:
            EventLogError: the log cannot be had, or its settings would lose history.
            SystemExit: the port is taken.
        """
        options = self._options
        self._failed = asyncio.get_running_loop().create_future()
        credentials = find_credentials(options.keys_dir, "runtime") if options.keys_dir is not None else None
        self._connection = await connect(options.nats_url, name="milepost runtime service", credentials=credentials)
        await wait_for_streams(self._connection, options.streams)
        self._log = JetStreamLog(self._connection)
        anchors = AnchorFile(anchors_path(options.data_dir))
        # Everybody checks; who leads writes anchors too, from where the check found the last one.
        self.anchoring = LogGuard(self._log, anchors, options.witnesses)
        await self.anchoring.check()
        self._spawn(ChainService(self._connection, self._log).run, "chains")
        state = await self._log.state()
        end, self._stream_created = state.last_sequence, state.created
        self.checkpointing = Checkpointing(options.data_dir / "checkpoints" / "runtime", self.views, state.created)
        await self.checkpointing.restore(end)
        self._spawn(lambda: self.views.follow(self._log), "views")
        await self.views.catch_up(self._log)
        self._build()
        await self._imports.look()
        self._spawn(self._imports.run, "imports")
        access = options.open_access(self._access_log) if options.open_access is not None else None
        inner = [
            CatchUpInterceptor(self._log, self.views),
            seam_of(self._imports, self._runtime_service, self._audit_service),
        ]
        self._server = Server(options.listen, self._register, SERVICES, self._check, inner, access)
        self.port = await self._server.start()
        beats = await self._connection.subscribe(SUBJECTS)
        self._connection.on_renewal(self.liveness.listen_anew)
        self._spawn(lambda: self.liveness.listen(beats), "heartbeats")
        self._spawn(self.scheduler.run, "scheduler")
        self._spawn(self._access_log.run, "access facts")
        self._spawn(self.checkpointing.run, "checkpoints")

    def _build(self) -> None:
        options = self._options
        key_value = JetStreamKeyValue(self._connection)
        claims = Claims(key_value)
        self.decisions = Decisions(self._log, self.views)
        launchers = self._build_launchers(claims)
        storage = SnapshotStorage(options.data_dir, options.egress)
        launches = Launches(self.views, storage, self._launch_environment())
        clients = self._open_clients()
        steps = Steps(self.liveness, options.data_dir)
        self.scheduler = Scheduler(
            self.views,
            self.decisions,
            launchers,
            Lease(key_value, "scheduler"),
            self.liveness,
            storage,
            Purger(options.data_dir, storage, clients.purge, launchers),
            self._recovery,
            launches,
            steps,
            duties={"anchors": self.anchoring.run, "searches": self._build_searches().run},
            supervision=self.supervision,
        )
        events = Events(self._log, self.views, self.checkpointing.before)
        self.importances = ImportanceReader()
        self._runtime_service = RuntimeService(
            self.views,
            self.decisions,
            Requests(key_value),
            Preflight(launchers, self.views, storage, options.secrets),
            storage,
            events,
            steps,
            self.importances,
            options.restore_window,
        )
        self._build_audit(events, clients)
        self._access_log = AccessLog(self._log, "/services/runtime")
        external = launchers[config.LAUNCHER_EXTERNAL]
        continuing = Continuing(self.decisions, self.liveness, external, self._recovery)
        self._launch_service = LaunchService(
            self.views, launches, claims, self._attempt_credentials, self._access_log, continuing
        )

    def _build_launchers(self, claims: Claims) -> dict[config.Launcher, Launcher]:
        options = self._options
        self._local = LocalLauncher(
            options.data_dir,
            options.capacity,
            options.trainer_command or None,
            self._attempt_credentials,
            options.local,
        )
        self._recovery = Recovery(options.data_dir, options.nats_url, self._attempt_credentials)
        launchers: dict[config.Launcher, Launcher] = {
            config.LAUNCHER_LOCAL: self._local,
            config.LAUNCHER_EXTERNAL: External(options.data_dir, self._locks),
        }
        self._clusters = self._cluster_launchers(claims)
        for kind, launcher in self._clusters.items():
            launchers[kind] = launcher
            launcher.start()
        return launchers

    def _build_searches(self) -> Searches:
        self.sampler = Sampler()
        values = TrialValues(self._channels[1], self._options.own_metadata, Telemetry(self._connection))
        return Searches(self.views, self.decisions, self.sampler, values)

    def _launch_environment(self) -> LaunchEnvironment:
        options = self._options
        return LaunchEnvironment(
            options.data_dir,
            # An attempt is a user of its own, if the server asks for users.
            without_password(options.nats_url),
            socket.gethostname(),
            options.secrets,
            {
                kind: cluster.nats_url
                for kind, cluster in ((config.LAUNCHER_RAY, options.ray), (config.LAUNCHER_SLURM, options.slurm))
                if cluster is not None
            },
        )

    def _open_clients(self) -> ServiceClients:
        options = self._options
        self._channels = [
            open_aio_channel(address, options.tls, CHANNEL_OPTIONS)
            for address in (options.trials_address, options.metrics_address)
        ]
        return ServiceClients(self._channels[0], self._channels[1], options.own_metadata)

    def _build_audit(self, events: Events, clients: ServiceClients) -> None:
        options = self._options
        refused_imports: dict[str, str] = {}
        sources = Sources(
            options.nats_url,
            anchors_path(options.data_dir),
            find_credentials(options.keys_dir, "runtime") if options.keys_dir is not None else None,
            self._log,
            self._stream_created,
            Telemetry(self._connection),
            self.views,
            clients,
            options.data_dir,
            refused_imports,
        )
        self._audit_service = AuditService(events, sources, options.data_dir, self._bundle_key())
        self._imports = imports_of(options.data_dir, sources, refused_imports)

    def _bundle_key(self) -> BundleKey | None:
        keys_dir = self._options.keys_dir
        if keys_dir is None:
            return None
        try:
            return BundleKey(keys_dir)
        except TokenError as error:
            # An installation of an earlier version may have its keys where nothing can be written.
            log.warning("bundles.unsigned", extra={"error": str(error), "remedy": "milepost token keys makes the key"})
            return None

    def _cluster_launchers(self, claims: Claims) -> dict[config.Launcher, JobLauncher[Any]]:
        options = self._options
        if options.keys_dir is None or (options.ray is None and options.slurm is None):
            return {}
        tickets = LaunchTickets(options.keys_dir)

        def ticket(key: AttemptKey) -> str:
            return tickets.create(key.runtime_id, key.trial, key.attempt)

        def address() -> str:
            return f"{options.listen.rpartition(':')[0]}:{self.port}"

        launchers: dict[config.Launcher, JobLauncher[Any]] = {}
        if options.ray is not None:
            launchers[config.LAUNCHER_RAY] = RayLauncher(options.ray, options.data_dir, claims, ticket, address)
        if options.slurm is not None:
            launchers[config.LAUNCHER_SLURM] = SlurmLauncher(options.slurm, options.data_dir, claims, ticket, address)
        return launchers

    def _locks(self, key: AttemptKey) -> bool:
        """Return whether a script locks what it writes: the versions that do also name their process."""
        view = self.views.runtimes.get(key.runtime_id)
        active = view.trials[key.trial].state.active if view is not None and key.trial in view.trials else None
        return active is not None and active.attempt == key.attempt and active.process is not None

    def _attempt_credentials(self, key: AttemptKey) -> str | None:
        authority = find_authority(self._options.keys_dir) if self._options.keys_dir is not None else None
        if authority is None:
            return None
        return authority.attempt_credentials(key.runtime_id, key.trial, key.attempt)

    def _register(self, server: grpc.aio.Server) -> None:
        runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server(self._runtime_service, server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self._audit_service, server)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessService(self._access_log), server)
        launch_service_pb2_grpc.add_LaunchServiceServicer_to_server(self._launch_service, server)

    async def _check(self) -> str | None:
        if not self._connection.is_connected:
            return "not connected to NATS"
        end = await self._log.last_sequence()
        behind = end - self.views.sequence
        self._lag.set(behind, {"consumer": "runtime", "stream": EVENTS})
        return f"the read model is {behind} events behind" if behind > 1_000 else self.supervision.problem()

    # --- running

    def _spawn(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        task = asyncio.get_running_loop().create_task(self.supervision.keep(name, work), name=name)
        task.add_done_callback(self._on_done)
        self._tasks.append(task)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """End the service when one of its parts died too often: a new start reads the log again."""
        if task.cancelled() or self._failed is None or self._failed.done():
            return
        error = task.exception()
        assert error is not None, "it runs until it is cancelled or has died too often"
        self._failed.set_exception(error)

    async def run_until(self, stopped: Awaitable[None]) -> None:
        """Return when something says stop, or raise what made a part of the service end."""
        assert self._failed is not None, "start it first"
        waiter = asyncio.ensure_future(stopped)
        await asyncio.wait([waiter, self._failed], return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            waiter.cancel()
            self._failed.result()

    async def stop(self) -> None:
        """End in order. Trainers stay."""
        await self._server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.checkpointing.write()
        await self.importances.close()
        await self._recovery.close()
        await self._local.close()
        for cluster in self._clusters.values():
            await cluster.close()
        await asyncio.gather(*(channel.close(None) for channel in self._channels))
        await self._log.close()
        await self._connection.close()

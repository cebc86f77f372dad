"""The composition root of the rule service: builds its parts, starts them, ends them. Tests start it too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from milepost.api.rule.v1 import rule_service_pb2
from milepost.api.rule.v1.rule_service_pb2_grpc import add_RuleServiceServicer_to_server
from milepost.eventlog.nats.credentials import find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog, connect
from milepost.eventlog.nats.keyvalue import JetStreamKeyValue
from milepost.eventlog.nats.streams import StreamSettings, wait_for_streams
from milepost.eventlog.telemetry import Telemetry
from milepost.installation import observability
from milepost.security.egress import Egress
from milepost.security.transport import ClientTls, open_aio_channel
from services.access.access_log import AccessLog
from services.access.authentication import Observer
from services.access.guard import Access
from services.lease import Lease
from services.log_guard import guarded
from services.readmodel.checkpoints import CheckpointStore
from services.rules.actions.backlog import Due
from services.rules.actions.commands import Commands, recorded
from services.rules.actions.commands import Outcome as Done
from services.rules.actions.executor import Executor
from services.rules.checkpointing import CODEC
from services.rules.curves import StoredCurves
from services.rules.deliveries.destinations import Destinations
from services.rules.deliveries.dispatcher import Dispatcher
from services.rules.deliveries.messages import Notification
from services.rules.deliveries.transports import Outcome, Transports, ended
from services.rules.evaluator import Evaluator
from services.rules.ledger import Ledger
from services.rules.notifications import Notifications
from services.rules.past.stored import StoredRuns
from services.rules.past.trying import Trial
from services.rules.service import RuleService
from services.server import Assembled, Server, first_of
from services.supervision import Supervision

NAME = rule_service_pb2.DESCRIPTOR.services_by_name["RuleService"].full_name
# Nobody asks for the past of the fold: the newest checkpoints are enough.
KEEP_EVERY = 1 << 53
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between installations of the rule service."""

    listen: str
    data_dir: Path
    nats_url: str
    runtime_address: str
    metrics_address: str
    streams: StreamSettings = field(default_factory=StreamSettings)
    # Credentials for the NATS server; None: it lets anybody in.
    keys_dir: Path | None = None
    tls: ClientTls = field(default_factory=ClientTls)
    # The operator's file of destinations. None: nobody can be told.
    destinations: Path | None = None
    # Somebody has named that file: it should be there.
    expects_destinations: bool = True
    egress: Egress = field(default_factory=Egress)
    # Address of the page, for links; empty: none.
    page: str = ""
    # What this service shows to others.
    own_metadata: tuple[tuple[str, str], ...] = (("mp-actor", "service:rules"),)
    # Guards the listening address, and has an observer told; None: loopback, without tokens.
    open_access: Callable[[Observer], Access] | None = None


class Application(Assembled):
    """A running rule service."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self.supervision = Supervision()
        self._tasks: list[asyncio.Task[None]] = []
        self._dead_letters = observability.counter("milepost.rules.undelivered", "Notifications that were given up")
        self._dead_letters.add(0)
        self._refused_actions = observability.counter(
            "milepost.rules.actions.failed", "Actions of rules that were refused or given up"
        )
        self._refused_actions.add(0)

    async def _start(self) -> None:
        """Connect, read which rules there are, and listen.

        Raises:
            EventLogError: the log cannot be had, or its settings would lose history.
            SystemExit: the port is taken.
        """
        options, parts = self._options, self._parts
        credentials = find_credentials(options.keys_dir, "rules") if options.keys_dir is not None else None
        connecting = await connect(options.nats_url, name="rules", credentials=credentials)
        connection = await parts.enter_async_context(connecting)
        await wait_for_streams(connection, options.streams)
        event_log = JetStreamLog(connection)
        parts.push_async_callback(event_log.close)
        self.ledger = Ledger(event_log)
        await self.ledger.catch_up()
        channel = open_aio_channel(options.metrics_address, options.tls, CHANNEL_OPTIONS)
        parts.push_async_callback(channel.close, None)
        curves = StoredCurves(channel, options.own_metadata)
        runtimes = open_aio_channel(options.runtime_address, options.tls, CHANNEL_OPTIONS)
        parts.push_async_callback(runtimes.close, None)
        telemetry = Telemetry(connection)
        trial = Trial(event_log, StoredRuns(runtimes, channel, telemetry, options.own_metadata))
        destinations = Destinations(options.destinations, options.expects_destinations)
        transports = Transports(options.egress, options.page)
        dispatcher = Dispatcher(self.ledger.outbox, destinations.read, transports.send, self._settle)
        notifications = Notifications(self.ledger, destinations, transports.send, dispatcher.tried)
        commands = Commands(runtimes, options.own_metadata)
        executor = Executor(self.ledger.backlog, commands.carry_out, self._settle_action)
        access_log = AccessLog(event_log, "/services/rules")
        tasks = self.supervision
        await parts.enter_async_context(guarded(event_log, options.data_dir, tasks))
        checkpoints = CheckpointStore(options.data_dir / "checkpoints" / "rules", CODEC.form, KEEP_EVERY)
        lease = Lease(JetStreamKeyValue(connection), "rules")
        self.evaluator = Evaluator(event_log, telemetry, self.ledger, checkpoints, lease)
        running = (
            ("ledger", self.ledger.follow),
            ("evaluator", self.evaluator.run),
            ("deliveries", dispatcher.run),
            ("actions", executor.run),
        )
        for name, run in running:
            self._tasks.append(await parts.enter_async_context(tasks.running(name, run)))
        await parts.enter_async_context(access_log.running(tasks))

        def register(server: grpc.aio.Server) -> None:
            service = RuleService(self.ledger, curves, trial, notifications, commands.resolve, executor.tried)
            add_RuleServiceServicer_to_server(service, server)

        async def check() -> str | None:
            return self.supervision.problem() if connection.is_connected else "not connected to the event log"

        access = options.open_access(access_log) if options.open_access is not None else None
        server = Server(options.listen, register, [NAME], check, access=access)
        self.port = await server.start()
        parts.push_async_callback(server.stop)

    async def _settle(self, told: Notification, outcome: Outcome, tries: int) -> None:
        """Record how a notification ended."""
        if not outcome.delivered:
            self._dead_letters.add(1)
        command = ended(told, outcome, tries)
        await self.ledger.record(told.runtime_id, command, told.cause)

    async def _settle_action(self, due: Due, outcome: Done, tries: int) -> None:
        """Record how an action ended."""
        if not outcome.taken:
            self._refused_actions.add(1)
        await self.ledger.record(due.runtime_id, recorded(due, outcome, tries), due.cause)
        await self.ledger.settled(due.runtime_id)

    async def run_until(self, stopped: Awaitable[None]) -> None:
        """Return when something says stop, or raise what made a part of the service end."""
        await first_of(stopped, asyncio.gather(*self._tasks))

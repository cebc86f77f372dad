"""The events of one attempt of a script, appended by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from google.protobuf.message import Message

from milepost.api.training.v1.training_pb2 import (
    AttemptLaunch,
    EvaluateInstruction,
    InstanceInstruction,
    InstanceReport,
    SnapshotInstruction,
    StacksInstruction,
    StopInstruction,
)
from milepost.domain import steering
from milepost.domain import trial as domain
from milepost.errors import MilepostError, Unavailable
from milepost.eventlog import EventLogError, LogUnavailable, RecordedEvent, control_subject
from milepost.eventlog.codec import decode, encode, format_time
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.ids import new_event_id
from milepost.snapshots import confined
from milepost.storage import Folder
from milepost.training.saving.retention import Retention
from milepost.training.script.attempt.outcome import facts_of_end
from milepost.training.script.attempt.place import Place
from milepost.training.script.attempt.registration import check_answers, register
from milepost.training.script.attempt.verdict import Verdict
from milepost.training.spooling.journal import AttemptJournal, Fenced, driver_sender, driver_spool_path, with_attempt
from milepost.training.spooling.recovery import send_earlier_attempts
from milepost.training.spooling.spool import Spool, SpooledEvent
from milepost.training.telemetry.addresses import KNOWN_SECONDS

# Between two tries to register, while no server answers.
RETRY_SECONDS = 5.0
_WATCH_SECONDS = 15.0


class ExternalChannel:
    """Appends the events of its own attempt, as the driver does for managed ones."""

    def __init__(
        self,
        place: Place,
        launch: AttemptLaunch,
        warn: Callable[[str, str], None],
        on_given_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._policy = launch.configuration.snapshots
        self._snapshot_uri = launch.snapshot_uri
        self._warn = warn
        self._on_given_up = on_given_up
        # Others have ended the attempt: what it says has no place any more.
        self._given_up = False
        self._spool = Spool(driver_spool_path(place.directory), driver_sender(place.key))
        self._journal: AttemptJournal | None = None
        self._connection: Connection | None = None
        self._stop: domain.StopOrder | None = None
        self._snapshot_requests = self._evaluation_requests = self._stacks_requests = 0
        # The number of the last request for other values that was passed on, or that the attempt was launched with.
        self._steered = max((order.number for order in launch.steers), default=0)
        # Set when it is known whether a server answers.
        self._tried = asyncio.Event()
        # Since when none does: the last try has failed, and the next one has not begun.
        self._away = asyncio.Event()
        # Events that were not appended when it was closed.
        self.left = 0

    async def run(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        connection = self._connection = await self._reach()
        if connection is None:
            return

        def on_change(state: domain.Trial, event: RecordedEvent) -> None:
            verdict.note(decode(event.type, event.body))
            self._obey(state, on_instruction)
            retention.apply(event)

        def record(payload: Message) -> None:
            self._record(payload, datetime.now(UTC))

        key = self._place.key
        retention, verdict = Retention(self._policy, key.attempt, "", record, self._confine), Verdict(key.attempt)
        event_log = JetStreamLog(connection, direct=self._place.credentials.exists())
        self._journal = AttemptJournal(event_log, self._place.key, self._spool, on_change)
        self._tried.set()
        watching = asyncio.create_task(self._watch(connection, self._journal))
        sending = asyncio.create_task(send_earlier_attempts(connection, self._place.directory, self._snapshot_uri))
        try:
            await self._append_until_fenced(self._journal)
            if verdict.is_given_up:
                self._given_up = True
                self._journal.discard_if_fenced()
                self._warn("fenced", verdict.words())
                self._on_given_up()
        finally:
            for task in (watching, sending):
                task.cancel()
            await asyncio.gather(watching, sending, return_exceptions=True)

    def _confine(self, uri: str, snapshot_id: str) -> Folder:
        # An earlier attempt may have had another data folder.
        return confined(uri, snapshot_id, self._place.key.runtime_id, self._place.key.trial, None)

    async def _append_until_fenced(self, journal: AttemptJournal) -> None:
        """Append what is recorded, until nothing may be."""
        appending, fenced = asyncio.create_task(journal.run()), asyncio.create_task(journal.fenced.wait())
        try:
            await asyncio.wait({appending, fenced}, return_when=asyncio.FIRST_COMPLETED)
            if appending.done():
                with suppress(Fenced):
                    appending.result()
        finally:
            appending.cancel()
            fenced.cancel()
            await asyncio.gather(appending, fenced, return_exceptions=True)

    async def _reach(self) -> Connection | None:
        """Register, and connect to the log, however long that takes."""
        while not self._place.decided.is_set():
            await asyncio.sleep(KNOWN_SECONDS)
        while True:
            try:
                await check_answers(self._place.endpoints.runtime)
                await asyncio.to_thread(register, self._place.start_file, self._place.endpoints)
                return await connect(
                    self._place.endpoints.nats,
                    name=f"script {self._place.key.source}",
                    timeout_seconds=5,
                    credentials=await asyncio.to_thread(self._place.find_user),
                )
            except (Unavailable, LogUnavailable) as error:
                where = self._place.directory.parent.parent
                self._warn(
                    "server", f"{error}; training goes on, its record waits in {where} (`milepost sync` sends it)"
                )
                self._away.set()
                await asyncio.sleep(RETRY_SECONDS)
                self._away.clear()
            except MilepostError as error:
                self._tried.set()
                self._warn("refused", f"the runtime service refuses this run: {error}")
                return None

    def _obey(self, state: domain.Trial, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        active = state.active
        if active is None or active.attempt != self._place.key.attempt:
            return
        if active.snapshot_requests > self._snapshot_requests:
            self._snapshot_requests = active.snapshot_requests
            on_instruction(InstanceInstruction(snapshot=SnapshotInstruction(requested=True)))
        if active.evaluation_requests > self._evaluation_requests:
            self._evaluation_requests = active.evaluation_requests
            on_instruction(InstanceInstruction(evaluate=EvaluateInstruction()))
        if active.stalls.requests > self._stacks_requests:
            self._stacks_requests = active.stalls.requests
            on_instruction(InstanceInstruction(stacks=StacksInstruction()))
        for request in state.steering.waiting:
            if request.number > self._steered:
                self._steered = request.number
                on_instruction(InstanceInstruction(steer=steering.instruction(request)))
        if active.stop in (None, self._stop):
            return
        self._stop = active.stop
        assert active.stop is not None
        deadline = int(active.stop.deadline_time.timestamp() * 1000)
        on_instruction(InstanceInstruction(stop=StopInstruction(deadline_ms=deadline)))

    async def _watch(self, connection: Connection, journal: AttemptJournal) -> None:
        key = self._place.key
        subscription = await connection.subscribe(f"committed.{control_subject(key.runtime_id, key.trial)}")
        while True:
            with suppress(EventLogError):
                await journal.reload()
            await subscription.next_batch(_WATCH_SECONDS)

    async def send(self, report: InstanceReport) -> None:
        time = datetime.fromtimestamp(report.time_ms / 1000, UTC)
        if report.WhichOneof("report") == "event":
            name = report.event.WhichOneof("payload")
            if name is not None:
                self._record(with_attempt(getattr(report.event, name), self._place.key.attempt), time)
        elif report.WhichOneof("report") == "finished":
            for fact in facts_of_end(report.finished, self._place.key.attempt):
                self._record(fact, time)

    def _record(self, payload: Message, time: datetime) -> None:
        if self._given_up:
            return
        if self._journal is not None:
            self._journal.record(payload, time=time)
        else:
            self._spool.put_event(spooled(payload, time))

    async def close(self, seconds: float) -> None:
        """Have everything appended; what cannot be is in the spool. May be cancelled: then it leaves at once."""
        try:
            await self._settle(seconds)
        finally:
            self.left = len(self._spool.events())
            self._spool.close()
            if self._connection is not None:
                await self._connection.close()

    async def _settle(self, seconds: float) -> None:
        # A short script may end before it is known whether there is a server.
        known = [asyncio.ensure_future(event.wait()) for event in (self._tried, self._away)]
        try:
            await asyncio.wait(known, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in known:
                task.cancel()
        if self._journal is not None:
            await self._journal.wait_appended(seconds)


def spooled(payload: Message, time: datetime) -> SpooledEvent:
    ce_type, body = encode(payload)
    return SpooledEvent(new_event_id(), ce_type, body, format_time(time), "")

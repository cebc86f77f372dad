"""Writes what MLflow clients report into EVENTS and TELEMETRY, as the attempt that each of their runs is.

What a client was told is recorded lies in a spool on disk, from which it goes on its way: events through the decider
and the check of every attempt, points in numbered batches until the metric writer has stored them. A gateway that is
killed goes on with both when it is back. A run lives in one gateway: behind several, a client must stay with one.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from array import array
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat, Sender
from milepost.domain import trial as domain
from milepost.errors import FailedPrecondition, ResourceExhausted, Unavailable
from milepost.eventlog import EventLogError, LogUnavailable, RecordedEvent
from milepost.eventlog.codec import decode, encode, format_time
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.jetstream import JetStreamLog
from milepost.eventlog.telemetry import heartbeat_subject
from milepost.ids import is_runtime_id, new_event_id
from milepost.training.batches import FINISHING, TRAINING, Position, prepare
from milepost.training.buffer import Columns, clean_key
from milepost.training.journal import AttemptJournal, AttemptKey, Fenced, driver_sender, driver_spool_path
from milepost.training.sender import TelemetrySender
from milepost.training.spool import STEPS, Spool, SpooledEvent

log = logging.getLogger(__name__)

# A client that says nothing for longer looks unhealthy; what is lost after how long is in the configuration.
NEXT_BEAT_SECONDS = 3_600
BEAT_SECONDS = 2.0
# How long an answer waits until it can contain what was written before.
SETTLE_SECONDS = 15.0
RETRY_SECONDS = 2.0
WATCH_SECONDS = 2.0
MAXIMUM_OPEN_RUNS = 2_000
# How long a run is kept after its end, for what is read right afterwards.
CONCLUDE_SECONDS = 10.0
# Points that a repeated request is recognised by.
REMEMBERED_POINTS = 200_000


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one series. `time_ms`: milliseconds since 1970."""

    key: str
    step: int
    time_ms: int
    value: float

    @property
    def identity(self) -> int:
        # NaN differs from itself; its text does not.
        return hash((self.key, self.step, self.time_ms, repr(self.value)))


class OpenRun:
    """One run that a client may still write to: its spools, and the tasks that empty them."""

    def __init__(self, directory: Path, runtime_id: str, connection: Connection) -> None:
        self.key = AttemptKey(runtime_id, 1, 1)
        self.directory = directory
        self.parameters: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.ended = False
        # What the client said at its end, as an outcome; unspecified before.
        self.outcome = facts.ATTEMPT_OUTCOME_UNSPECIFIED
        self._ended_at = 0.0
        # Set when the run was there before this process: what was recorded is not known yet.
        self.forgetful = False
        self._connection = connection
        self._position = Position(phase=TRAINING)
        self._sender_name = Sender(runtime_id=runtime_id, trial=1, attempt=1, source="rank-0")
        self._events = Spool(driver_spool_path(directory), driver_sender(self.key))
        self._points = Spool(directory / "spool-rank-0.sqlite", self._sender_name)
        for waiting in self._events.events():
            self._take_note(decode(waiting.type, waiting.body))
        self._journal = AttemptJournal(JetStreamLog(connection), self.key, self._events, self._on_change)
        self._sender = TelemetrySender(self._points)
        self._seen: dict[int, None] = {}
        self._beaten = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        for work in (self._append(), self._sender.run(self._connection), self._watch()):
            self._tasks.append(asyncio.create_task(work))

    async def _append(self) -> None:
        try:
            await self._journal.run()
        except Fenced:
            self.ended = True

    async def _watch(self) -> None:
        """Learn of a stop or a fence. An MLflow client cannot be told: its next call is refused."""
        while not self.ended:
            with suppress(EventLogError):
                await self._journal.reload()
            if self._journal.fenced.is_set():
                self.ended = True
            await asyncio.sleep(WATCH_SECONDS)

    def _on_change(self, state: domain.Trial, event: RecordedEvent) -> None:
        self._take_note(decode(event.type, event.body))
        active = state.active
        if active is not None and active.stop is not None and active.may_write and not self.ended:
            self.end(facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED, "stopped by request")

    def _take_note(self, payload: Message) -> None:
        if isinstance(payload, facts.ParametersDeclared):
            self.parameters.update(payload.parameters)
            for key in payload.removed_labels:
                self.labels.pop(key, None)
            self.labels.update(payload.labels)
        elif isinstance(payload, facts.AttemptEnded):
            self.ended, self.outcome = True, payload.outcome

    # --- what a client reports

    def _check_open(self) -> None:
        if self.ended:
            raise FailedPrecondition("the run has ended, or was stopped in Milepost; it takes nothing more")
        if self._events.failure or self._points.failure:
            raise ResourceExhausted(f"the gateway cannot write to its disk: {self._points.failure}")

    def declare(
        self, parameters: Mapping[str, str], labels: Mapping[str, str], removed_labels: Iterable[str] = ()
    ) -> None:
        """Record parameters (JSON scalars as text) and labels.

        Raises:
            FailedPrecondition: the run has ended.
            ResourceExhausted: the disk is full.
        """
        self._check_open()
        said = facts.ParametersDeclared(
            attempt=1, parameters=parameters, labels=labels, removed_labels=list(removed_labels)
        )
        self._journal.record(said)
        self._take_note(said)

    def log(self, points: Iterable[Point]) -> None:
        """Record points; those that were recorded before are passed over, so a request may be repeated.

        Raises: as `declare`.
        """
        self._check_open()
        fresh = {point.identity: point for point in points if point.identity not in self._seen}
        if not fresh:
            return
        by_key: dict[str, list[Point]] = {}
        for point in fresh.values():
            by_key.setdefault(clean_key(point.key), []).append(point)
            self._position.step = max(self._position.step, point.step)
        columns = [_columns(key, sorted(group, key=lambda p: (p.step, p.time_ms))) for key, group in by_key.items()]
        now = time.time_ns() // 1_000_000
        for batch in prepare(self._sender_name, columns, self._position.headers(), now, 0):
            self._points.put(STEPS, batch.encode, batch.points, batch.first_step, batch.last_step)
        self.remember(fresh.values())
        self._sender.wake()

    def remember(self, points: Iterable[Point]) -> None:
        """Know points that are recorded already."""
        for point in points:
            self._seen[point.identity] = None
            self._position.step = max(self._position.step, point.step)
        while len(self._seen) > REMEMBERED_POINTS:
            del self._seen[next(iter(self._seen))]

    def end(self, outcome: facts.AttemptOutcome, cause: common.ExitCause, detail: str) -> None:
        """Record how the run ended. It takes nothing more."""
        self._check_open()
        self.ended, self.outcome, self._ended_at = True, outcome, time.monotonic()
        self._position.phase = FINISHING
        step = self._position.step
        self._journal.record(facts.InstanceExited(attempt=1, cause=cause, detail=detail))
        self._journal.record(facts.AttemptEnded(attempt=1, outcome=outcome, cause=cause, detail=detail, last_step=step))

    async def beat(self) -> None:
        """Show that the client lives. Costs nothing when it was shown a moment ago."""
        now = time.monotonic()
        if now - self._beaten < BEAT_SECONDS or not self._connection.is_connected:
            return
        self._beaten = now
        beat = Heartbeat(
            rank=0, step=self._position.step, next_beat_ms=1000 * NEXT_BEAT_SECONDS, phase=self._position.phase
        )
        with suppress(LogUnavailable):
            await self._connection.publish(heartbeat_subject(self.key.runtime_id, 1, 1, 0), beat.SerializeToString())

    # --- reading one's own writes, and the end

    async def settle(self) -> int:
        """Wait until everything that was recorded can be read. Returns the position in EVENTS.

        Raises:
            Unavailable: it took too long; everything is safe in the spool.
        """
        until = {STEPS: self._points.last_number(STEPS)}
        if not await self._journal.wait_appended(SETTLE_SECONDS) and not self._journal.fenced.is_set():
            raise Unavailable("the event log does not answer; what was logged is kept and will be sent")
        self._sender.wake()
        if not await self._sender.wait_stored(until, SETTLE_SECONDS):
            raise Unavailable("the metric service does not answer; what was logged is kept and will be stored")
        return self._journal.head.sequence

    @property
    def done(self) -> bool:
        """Whether it has ended, nothing of it waits any more, and the runtime service has had time to conclude it."""
        if time.monotonic() - self._ended_at < CONCLUDE_SECONDS:
            return False
        return self.ended and self._points.count == 0 and (not self._journal.waiting or self._journal.fenced.is_set())

    async def close(self) -> None:
        """Stop sending. What waits stays on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._events.close()
        self._points.close()


def _columns(key: str, points: list[Point]) -> Columns:
    return Columns(
        (key,),
        array("q", [point.step for point in points]),
        # In the middle of its millisecond, so that none is lost on the way to whole ones.
        array("d", [(point.time_ms + 0.5) / 1000 for point in points]),
        (array("d", [point.value for point in points]),),
    )


class Recorder:
    """All runs of this gateway that are not done.

    Args:
        directory: where their spools are.
        nats_url: the server of the event log.
        credentials: as whom to connect; None: it asks for nobody.
    """

    def __init__(self, directory: Path, nats_url: str, credentials: Path | None) -> None:
        self.directory = directory
        self._nats_url = nats_url
        self._credentials = credentials
        self._connection: Connection | None = None
        self._runs: dict[str, OpenRun] = {}

    async def run(self) -> None:
        """Connect, go on with what an earlier process left, and tidy up, until cancelled."""
        try:
            self._connection = await self._connect()
            for folder in sorted(self.directory.glob("rt-*")):
                if is_runtime_id(folder.name):
                    self._open(folder.name).forgetful = True
            while True:
                await asyncio.sleep(RETRY_SECONDS)
                await self._tidy()
        finally:
            await asyncio.gather(*(run.close() for run in self._runs.values()))
            if self._connection is not None:
                await self._connection.close()

    async def _connect(self) -> Connection:
        said = False
        while True:
            try:
                return await connect(self._nats_url, name="gateway", timeout_seconds=5, credentials=self._credentials)
            except EventLogError as error:
                if not said:
                    log.warning("mlflow.waits", extra={"error": str(error)})
                said = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _tidy(self) -> None:
        for runtime_id, run in list(self._runs.items()):
            if run.done:
                del self._runs[runtime_id]
                await run.close()
                shutil.rmtree(run.directory, ignore_errors=True)

    def _open(self, runtime_id: str) -> OpenRun:
        assert self._connection is not None
        run = self._runs[runtime_id] = OpenRun(self.directory / runtime_id, runtime_id, self._connection)
        run.start()
        return run

    def prepare(self, runtime_id: str, first: Iterable[Message]) -> None:
        """Write down what a run begins with, before the runtime service hears of it: a crash leaves no half run.

        Raises:
            Unavailable: there is no connection to the event log yet, or the disk is full.
            ResourceExhausted: there are too many runs.
        """
        if self._connection is None:
            raise Unavailable("the gateway has no connection to the event log: MLflow runs cannot be recorded now")
        if len(self._runs) >= MAXIMUM_OPEN_RUNS:
            raise ResourceExhausted(f"{MAXIMUM_OPEN_RUNS} MLflow runs are open; end some of them")
        spool = Spool(driver_spool_path(self.directory / runtime_id), driver_sender(AttemptKey(runtime_id, 1, 1)))
        try:
            for payload in first:
                ce_type, body = encode(payload)
                if not spool.put_event(SpooledEvent(new_event_id(), ce_type, body, format_time(_now()), "")):
                    raise Unavailable(f"the gateway cannot write to its disk: {spool.failure}")
        finally:
            spool.close()

    def open(self, runtime_id: str) -> OpenRun:
        """Begin to record a run that was prepared and is known to the runtime service."""
        return self._open(runtime_id)

    def discard(self, runtime_id: str) -> None:
        """Forget a run that the runtime service refused."""
        shutil.rmtree(self.directory / runtime_id, ignore_errors=True)

    def find(self, runtime_id: str) -> OpenRun | None:
        """Return a run that is not done; None: there is none of that id here."""
        return self._runs.get(runtime_id)


def _now() -> datetime:
    return datetime.now(UTC)

"""Writes what MLflow clients report into EVENTS and TELEMETRY, as the attempt that each of their runs is.

A run that has ended and is written to again has a new attempt for it, which takes no step from the first: all points of
a run are those of its first attempt.

What a client was told is recorded lies in a spool on disk, from which it goes on its way: events through the decider
and the check of every attempt, points in numbered batches until the metric writer has stored them. A process that is
killed goes on with both when it is back. A run lives in one process: there is one, whatever gateways stand before it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakValueDictionary

from google.protobuf.message import Message

from milepost import files, series_names
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import LOG_LEVEL_WARNING, LOG_STREAM_LOGGER, Heartbeat, LogLine, Sender
from milepost.domain import trial as domain
from milepost.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable, Violation
from milepost.eventlog import EventLogError, LogUnavailable, RecordedEvent, telemetry_headers
from milepost.eventlog.bounds import MAX_COUNT
from milepost.eventlog.codec import UnknownEventType, decode, encode, format_time
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.telemetry import heartbeat_subject
from milepost.ids import is_runtime_id, new_event_id
from milepost.training.loop.said.declared import Declared
from milepost.training.spooling.journal import (
    ACTOR,
    AttemptJournal,
    AttemptKey,
    Fenced,
    driver_sender,
    driver_spool_path,
)
from milepost.training.spooling.log_batches import LogBatcher
from milepost.training.spooling.sender import TelemetrySender
from milepost.training.spooling.spool import LOGS, STEPS, Spool, SpooledEvent
from milepost.training.telemetry.batches import FINISHING, TRAINING, LastValues, Position, prepare
from milepost.training.telemetry.buffer import Columns

log = logging.getLogger(__name__)

# A client that says nothing for longer looks unhealthy; what is lost after how long is in the configuration.
NEXT_BEAT_SECONDS = 3_600
BEAT_SECONDS = 2.0
# How long an answer waits until it can contain what was written before.
SETTLE_SECONDS = 15.0
RETRY_SECONDS = 2.0
WATCH_SECONDS = 2.0
MAX_OPEN_RUNS = 2_000
# So often what sends for a run is started again after an error that nobody thought of.
MAX_DEATHS = 5
# How long a run is kept after its end, for what is read right afterwards.
CONCLUDE_SECONDS = 10.0
# A run that has ended and got something more ends again when nothing came for so long.
REOPENED_SECONDS = 5.0
# What a run says at its end when a stop was asked for in Milepost: an MLflow client does not see that otherwise.
STOPPED = "stopped by request"
OUTCOMES = {
    "FINISHED": (facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED, ""),
    "FAILED": (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION, "the MLflow client reported a failure"),
    "KILLED": (facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED, "the MLflow client was killed"),
}
_OPENING_FILE = "opening.json"
# Empty; locked by the process that records in this folder.
_LOCK_FILE = "lock"
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


@dataclass(frozen=True, slots=True)
class Opening:
    """What a run is recorded as: it is kept beside the spools, for the process that comes after this one."""

    attempt: int = 1
    # Who has made the run. Empty: it is one of an earlier version.
    owner: str = ""
    # Who has started it now: its events are in their name.
    actor: str = ACTOR
    # Empty: as the owner.
    experiment: str = ""
    # Milliseconds since 1970. 0: as the log has it.
    started_ms: int = 0
    # What a run that had ended is called while it is written to, and again when nothing comes any more. Empty: it runs.
    ended_as: str = ""
    # Milliseconds since 1970.
    ended_ms: int = 0
    # The highest step so far, and the last number of each kind of batch.
    step: int = 0
    numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Opening:
        """Read it. Raises OSError and ValueError."""
        path = directory / _OPENING_FILE
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def keep(self, directory: Path) -> None:
        """Write it. Raises OSError."""
        directory.mkdir(parents=True, exist_ok=True)
        files.write(directory / _OPENING_FILE, json.dumps(asdict(self)))


def _events_path(directory: Path, attempt: int) -> Path:
    return driver_spool_path(directory) if attempt == 1 else directory / f"spool-driver-{attempt}.sqlite"


_SAID = {outcome: status for status, (outcome, _, _) in OUTCOMES.items()}


class OpenRun:
    """One run that a client may still write to: its spools, and the tasks that empty them."""

    def __init__(self, directory: Path, runtime_id: str, opening: Opening, connection: Connection) -> None:
        self.key = AttemptKey(runtime_id, 1, opening.attempt)
        self.opening = opening
        self.directory = directory
        # Who else than its owner writes to it.
        self.writers: set[str] = set()
        self._said: set[str] = set()
        self.parameters: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.ended = False
        # What the client said at its end, as an outcome; unspecified before.
        self.outcome = facts.ATTEMPT_OUTCOME_UNSPECIFIED
        self.was_stopped = False
        self._ended_at = 0.0
        # Milliseconds since 1970; 0: it is not known here.
        self.ended_ms = opening.ended_ms
        self._written_at = time.monotonic()
        # Set when the run was there before this process: what was recorded is not known yet.
        self.forgetful = False
        self._connection = connection
        self._position = Position(phase=TRAINING, step=opening.step)
        self._last = LastValues()
        # The newest point of each metric, of all that were recorded; not of what was before a `forgetful` run was opened.
        self.newest: dict[str, Point] = {}
        self._sender_name = Sender(runtime_id=runtime_id, trial=1, attempt=1, source="rank-0")
        self._events = Spool(_events_path(directory, opening.attempt), driver_sender(self.key))
        self._points = Spool(directory / "spool-rank-0.sqlite", self._sender_name)
        for kind, number in opening.numbers.items():
            self._points.continue_after(kind, number)
        # What was declared and is not known to be in the log, by event: it is newer than what comes from there.
        self._declared: dict[str, facts.ParametersDeclared] = {}
        for waiting in self._events.events():
            self._take_note(payload := decode(waiting.type, waiting.body))
            if isinstance(payload, facts.ParametersDeclared):
                self._declared[waiting.id] = payload
        self._journal = AttemptJournal(
            JetStreamLog(connection), self.key, self._events, self._on_change, actor=opening.actor
        )
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
            self._leave()

    async def _watch(self) -> None:
        """Learn of a stop or a fence. An MLflow client cannot be told: its next call is refused."""
        while not self.ended:
            with suppress(EventLogError):
                await self._journal.reload()
            if self._journal.fenced.is_set():
                self._leave()
            await asyncio.sleep(WATCH_SECONDS)

    def _leave(self) -> None:
        """It was given up, or has ended: nothing more will come of it."""
        self.ended = True
        self._points.put_last(self._progress())
        self._sender.wake()

    def _progress(self) -> dict[str, str]:
        return {**self._position.headers(), telemetry_headers.TIME: str(time.time_ns() // 1_000_000)}

    def _on_change(self, state: domain.Trial, event: RecordedEvent) -> None:
        if self._declared.pop(event.id, None) is None:
            self._take_note(decode(event.type, event.body))
            for declared in self._declared.values():
                self._take_note(declared)
        active = state.active
        if active is None or active.attempt != self.key.attempt:
            return
        if active.stop is not None and active.may_write and not self.ended:
            self.was_stopped = True
            self.end(facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED, STOPPED)

    def _take_note(self, payload: Message) -> None:
        if isinstance(payload, facts.ParametersDeclared):
            self.parameters.update(payload.parameters)
            for key in payload.removed_labels:
                self.labels.pop(key, None)
            self.labels.update(payload.labels)
        elif isinstance(payload, facts.AttemptEnded) and payload.attempt == self.key.attempt:
            self.ended, self.outcome = True, payload.outcome
            self.was_stopped = payload.detail == STOPPED

    # --- what a client reports

    def _check_open(self) -> None:
        if self.ended:
            raise FailedPrecondition("the run has ended, or was stopped in Milepost; it takes nothing more")
        if self._events.failure or self._points.failure:
            raise ResourceExhausted(f"the disk cannot be written to: {self._points.failure}")
        self.touch()

    def touch(self) -> None:
        """Note that a client is about to write."""
        self._written_at = time.monotonic()

    async def load(self) -> None:
        """Know what is recorded of the run already: parameters, labels, its state.

        Raises:
            Unavailable: the log does not answer.
        """
        try:
            await self._journal.reload()
        except EventLogError as error:
            raise Unavailable("the event log does not answer now") from error

    def go_on(self) -> None:
        """Let a run that had ended, and got something more, run again."""
        if self.opening.ended_as:
            self.opening, self.ended_ms = replace(self.opening, ended_as="", ended_ms=0), 0
            self.opening.keep(self.directory)

    @property
    def said(self) -> str:
        """What the run is called by its client now; empty: that is for others to say."""
        return self.opening.ended_as or _SAID.get(self.outcome, "")

    def end_again(self) -> None:
        """End a run once more that had ended, and got something more, when nothing came for a while."""
        if not self.ended and self.opening.ended_as and time.monotonic() - self._written_at > REOPENED_SECONDS:
            self.end(*OUTCOMES[self.opening.ended_as], time_ms=self.opening.ended_ms)

    def say_once(self, what: str, text: str) -> None:
        """Say something in the log of the run, unless it was said before."""
        if what in self._said:
            return
        self._said.add(what)
        lines = LogBatcher(self._points)
        lines.add(
            LogLine(
                time_ms=time.time_ns() // 1_000_000,
                level=LOG_LEVEL_WARNING,
                stream=LOG_STREAM_LOGGER,
                step=self._position.step,
                text=text,
                logger="milepost",
            )
        )
        lines.flush()
        self._sender.wake()

    def last_numbers(self) -> dict[str, int]:
        """Return the number of the last batch of each kind."""
        return {kind: self._points.last_number(kind) for kind in (STEPS, LOGS)}

    def declare(
        self, parameters: Mapping[str, str], labels: Mapping[str, str], removed_labels: Sequence[str] = ()
    ) -> None:
        """Record parameters (JSON scalars as text) and labels.

        Raises:
            FailedPrecondition: the run has ended.
            InvalidArgument: there would be more than are kept of one run.
            ResourceExhausted: the disk is full.
        """
        self._check_open()
        for what, known, given in (("parameters", self.parameters, parameters), ("tags", self.labels, labels)):
            if len(known.keys() | given.keys()) > MAX_COUNT:
                raise InvalidArgument([Violation(what, f"a run has at most {MAX_COUNT:,} of them")])
        said = [
            facts.ParametersDeclared(attempt=self.key.attempt, parameters=part, labels=texts)
            for part, texts in Declared(dict(parameters), dict(labels)).parts()
        ]
        if removed_labels:
            said.append(facts.ParametersDeclared(attempt=self.key.attempt, removed_labels=removed_labels))
        for payload in said:
            self._declared[self._journal.record(payload)] = payload
            self._take_note(payload)

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
            by_key.setdefault(series_names.key_of(point.key), []).append(point)
            self._position.step = max(self._position.step, point.step)
        columns = [_columns(key, sorted(group, key=lambda p: (p.step, p.time_ms))) for key, group in by_key.items()]
        self._last.take_in(columns)
        now = time.time_ns() // 1_000_000
        for batch in prepare(self._sender_name, columns, self._position.headers(), now, 0, self._last):
            self._points.put(STEPS, batch.encode, batch.points, batch.first_step, batch.last_step)
        self.remember(fresh.values())
        self._sender.wake()

    def remember(self, points: Iterable[Point]) -> None:
        """Know points that are recorded already."""
        for point in points:
            self._seen[point.identity] = None
            known = self.newest.get(point.key)
            if known is None or (point.step, point.time_ms) >= (known.step, known.time_ms):
                self.newest[point.key] = point
            self._position.step = max(self._position.step, point.step)
        while len(self._seen) > REMEMBERED_POINTS:
            del self._seen[next(iter(self._seen))]

    def end(
        self, outcome: facts.AttemptOutcome, cause: common.ExitCause, detail: str, time_ms: int | None = None
    ) -> None:
        """Record how the run ended, and when: milliseconds since 1970, or now. It takes nothing more."""
        self._check_open()
        self.outcome, self._ended_at = outcome, time.monotonic()
        self.ended_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
        self._position.phase = FINISHING
        self._leave()
        step, attempt, at = self._position.step, self.key.attempt, _time(time_ms)
        self._journal.record(facts.InstanceExited(attempt=attempt, cause=cause, detail=detail), time=at)
        ended = facts.AttemptEnded(attempt=attempt, outcome=outcome, cause=cause, detail=detail, last_step=step)
        self._journal.record(ended, time=at)

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
            subject = heartbeat_subject(self.key.runtime_id, 1, self.key.attempt, 0)
            await self._connection.publish(subject, beat.SerializeToString())

    # --- reading one's own writes, and the end

    async def settle(self) -> int:
        """Wait until everything that was recorded can be read. Returns the position in EVENTS.

        Raises:
            Unavailable: it took too long; everything is safe in the spool.
        """
        until = self.last_numbers()
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

    @property
    def died(self) -> BaseException | None:
        """What ended one of its tasks before its time; None: nothing."""
        ended = (task for task in self._tasks if task.done() and not task.cancelled())
        return next((error for task in ended if (error := task.exception()) is not None), None)

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
    """All runs that this process records and that are not done.

    Args:
        directory: where their spools are.
        nats_url: the server of the event log.
        credentials: as whom to connect; None: it asks for nobody.
    """

    def __init__(self, directory: Path, nats_url: str, credentials: Path | None) -> None:
        self.directory = directory
        self._nats_url = nats_url
        self.credentials = credentials
        self._connection: Connection | None = None
        self._runs: dict[str, OpenRun] = {}
        # How often the tasks of a run have died.
        self._deaths: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def is_connected(self) -> bool:
        """Whether the event log can be reached."""
        return self._connection is not None and self._connection.is_connected

    async def run(self) -> None:
        """Connect, go on with what an earlier process left, and tidy up, until cancelled."""
        lock = await self._hold()
        try:
            self._connection = await self._connect()
            for folder in sorted(self.directory.glob("rt-*")):
                if is_runtime_id(folder.name):
                    self._reopen(folder.name)
            while True:
                await asyncio.sleep(RETRY_SECONDS)
                await self._tidy()
        finally:
            await asyncio.gather(*(run.close() for run in self._runs.values()))
            self._runs.clear()
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
            if lock is not None:
                os.close(lock)

    async def _hold(self) -> int | None:
        """Have the folder for this process alone; where another one records in it, wait for its end.

        Returns what holds it; None: its file system has no locks.
        """
        said = False
        while True:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                lock = os.open(self.directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(lock)
                    raise
                return lock
            except BlockingIOError:
                if not said:
                    log.warning("mlflow.waits", extra={"error": f"another process records in {self.directory}"})
                said = True
                await asyncio.sleep(RETRY_SECONDS)
            except OSError as error:
                log.warning("mlflow.unlocked", extra={"error": str(error)})
                return None

    async def _connect(self) -> Connection:
        said = False
        while True:
            try:
                return await connect(self._nats_url, name="mlflow", timeout_seconds=5, credentials=self.credentials)
            except EventLogError as error:
                if not said:
                    log.warning("mlflow.waits", extra={"error": str(error)})
                said = True
                await asyncio.sleep(RETRY_SECONDS)

    def _reopen(self, runtime_id: str) -> None:
        """Go on with a run that was there before. One whose spool cannot be read stays where it is, and is said."""
        try:
            opening = Opening.read(self.directory / runtime_id)
            self.open(runtime_id, opening).forgetful = True
        except (OSError, ValueError, TypeError, sqlite3.Error, UnknownEventType) as error:
            log.error("mlflow.unreadable_spool", extra={"runtime": runtime_id, "error": str(error)})

    async def _tidy(self) -> None:
        for runtime_id, run in list(self._runs.items()):
            if run.died is None and not run.done:
                run.end_again()
                continue
            async with self.turn(runtime_id):
                if self._runs.get(runtime_id) is run:
                    await self._put_away(runtime_id, run)

    async def _put_away(self, runtime_id: str, run: OpenRun) -> None:
        """Begin again with a run whose tasks have died, or forget one that is done."""
        if run.died is not None and self._deaths[runtime_id] < MAX_DEATHS:
            self._deaths[runtime_id] += 1
            log.error("mlflow.died", exc_info=run.died, extra={"runtime": runtime_id})
            await run.close()
            self._reopen(runtime_id)
        elif run.done:
            self._deaths.pop(runtime_id, None)
            del self._runs[runtime_id]
            await run.close()
            shutil.rmtree(run.directory, ignore_errors=True)

    def turn(self, runtime_id: str) -> asyncio.Lock:
        """Return what is held by who looks whether a run is open, and opens it."""
        return self._turns.setdefault(runtime_id, asyncio.Lock())

    def prepare(self, runtime_id: str, opening: Opening, first: Iterable[Message], time_ms: int | None = None) -> None:
        """Write down what a run begins with, before the runtime service hears of it: a crash leaves no half run.

        `time_ms`: when it began, milliseconds since 1970; None: now.

        Raises:
            Unavailable: there is no connection to the event log yet, or the disk is full.
            ResourceExhausted: there are too many runs.
        """
        if self._connection is None:
            raise Unavailable("there is no connection to the event log: MLflow runs cannot be recorded now")
        if len(self._runs) >= MAX_OPEN_RUNS:
            raise ResourceExhausted(f"{MAX_OPEN_RUNS} MLflow runs are open; end some of them")
        folder = self.directory / runtime_id
        try:
            opening.keep(folder)
        except OSError as error:
            raise Unavailable(f"the disk cannot be written to: {error}") from error
        spool = Spool(_events_path(folder, opening.attempt), driver_sender(AttemptKey(runtime_id, 1, opening.attempt)))
        try:
            for payload in first:
                ce_type, body = encode(payload)
                if not spool.put_event(SpooledEvent(new_event_id(), ce_type, body, format_time(_time(time_ms)), "")):
                    raise Unavailable(f"the disk cannot be written to: {spool.failure}")
        finally:
            spool.close()

    def open(self, runtime_id: str, opening: Opening) -> OpenRun:
        """Begin to record a run that was prepared and is known to the runtime service."""
        assert self._connection is not None
        run = self._runs[runtime_id] = OpenRun(self.directory / runtime_id, runtime_id, opening, self._connection)
        run.start()
        return run

    async def leave(self, runtime_id: str) -> None:
        """Record a run no longer that has ended, so that it can be opened anew."""
        run = self._runs.pop(runtime_id, None)
        if run is not None:
            await run.close()

    def discard(self, runtime_id: str) -> None:
        """Forget a run that the runtime service refused."""
        shutil.rmtree(self.directory / runtime_id, ignore_errors=True)

    def find(self, runtime_id: str) -> OpenRun | None:
        """Return a run that is not done; None: there is none of that id here."""
        return self._runs.get(runtime_id)


def _time(time_ms: int | None) -> datetime:
    return datetime.now(UTC) if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC)

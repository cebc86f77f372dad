"""The one thread beside the training loop: cuts batches, spools and sends them, beats, and talks to the driver."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat, LogLine, Sender
from milepost.api.training.v1.training_pb2 import InstanceInstruction, InstanceReport, RankValues
from milepost.eventlog import LogUnavailable
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.telemetry import heartbeat_subject
from milepost.training.alerts import NonFiniteWatch
from milepost.training.batches import EVALUATING, LARGEST_BATCH_STEPS, SNAPSHOTTING, Position, prepare
from milepost.training.buffer import MAXIMUM_SERIES, Columns, StepBuffer
from milepost.training.log_batches import LogBatcher
from milepost.training.means import EXAMPLES, RankMeans, own_values
from milepost.training.pace import StepPace
from milepost.training.progress import ProgressLines
from milepost.training.sender import Allowance, TelemetrySender
from milepost.training.spool import STEPS, Dropped, Spool
from milepost.training.system_metrics import SystemSampler

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
WATCHED_FLUSH_SECONDS = 0.25
BEAT_SECONDS = 2.0
# Said before work that may keep the interpreter to itself for long.
BUSY_BEAT_SECONDS = 30.0
CONNECT_SECONDS = 5.0
KNOWN_SECONDS = 0.1
# How long the end waits for the other side to have every report.
CHANNEL_SECONDS = 15.0
# Between two facts about values that were not recorded.
REFUSED_SECONDS = 60.0
# How long the end waits for the last values of other ranks; of a rank that died there are none.
RANKS_SECONDS = 3.0

Result = TypeVar("Result")


class Channel(Protocol):
    """How an instance's reports get to whoever appends the events of its attempt."""

    async def run(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        """Receive instructions until cancelled, or until the other side is gone for good."""
        ...

    async def send(self, report: InstanceReport) -> None: ...

    async def close(self, seconds: float) -> None:
        """Wait until the other side has every report."""
        ...


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the telemetry of an instance goes."""

    nats_url: str
    credentials: Path | None = None
    # Set once it is known whether the server asks for credentials: a file that is not there by then is not needed.
    # None: it is known.
    known: threading.Event | None = None

    async def user(self) -> Path | None:
        """Wait until it is known which credentials are to be shown. None: the server asks for none."""
        while self.known is not None and not self.known.is_set():
            await asyncio.sleep(KNOWN_SECONDS)
        if self.known is not None and self.credentials is not None and not self.credentials.exists():
            return None
        return self.credentials


class Background:
    """Owns a daemon thread with an event loop. All public methods may be called from any thread."""

    def __init__(
        self,
        sender: Sender,
        rank: int,
        directory: Path,
        addresses: Addresses,
        channel: Channel,
        position: Position,
        world_size: int = 1,
    ) -> None:
        self.position = position
        # The last step of which everything was logged.
        self.completed: Callable[[], int] = lambda: position.step
        self._means = RankMeans(world_size) if world_size > 1 and rank == 0 else None
        self._complete_sent = -1
        self.warnings = Warnings()
        self.buffer = StepBuffer(self.warnings.say)
        self.watched = False
        # By series, as far as batches were cut.
        self.last_values: dict[str, float] = {}
        self._rank = rank
        self._identity = sender
        self._addresses = addresses
        self._channel = channel
        self._spool = Spool(directory / f"spool-{sender.source}.sqlite", sender, on_drop=self._on_drop)
        self._directory = directory
        self._system = SystemSampler(rank, directory)
        self._pace = StepPace()
        self.progress = ProgressLines(position, self._own_line)
        self._lines = LogBatcher(self._spool)
        self._alerts = NonFiniteWatch(sender.attempt, self.report)
        self._on_instruction: Callable[[InstanceInstruction], None] = lambda instruction: None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="milepost-background", daemon=True)
        self._outgoing: asyncio.Queue[InstanceReport] = asyncio.Queue()
        self._reports = 0
        self._report_lock = threading.Lock()
        self._flush_wanted = asyncio.Event()
        self._sender = TelemetrySender(self._spool, self._watch, Allowance())
        self._connection: Connection | None = None
        self._sent_position: dict[str, str] = {}
        self._sent_busy_seconds = 0.0
        self._told_refused = -REFUSED_SECONDS
        self._last_activity = time.monotonic()
        self._last_position: tuple[Any, ...] = ()
        self._closed = False
        self._process = os.getpid()

    # --- called from the training loop

    def start(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        self._on_instruction = on_instruction
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False in a process that was forked off, where the thread does not exist."""
        return self._process == os.getpid() and not self._closed

    def report(self, payload: Message) -> None:
        """Hand over one of the facts an attempt may write."""
        event = facts.TrialEvent()
        for field in facts.TrialEvent.DESCRIPTOR.oneofs_by_name["payload"].fields:
            if field.message_type is payload.DESCRIPTOR:
                getattr(event, field.name).CopyFrom(payload)
                getattr(event, field.name).SetInParent()
        self.send(InstanceReport(event=event))

    def send(self, report: InstanceReport) -> None:
        """Hand over a report; it gets its number, rank and time here."""
        if not self.alive:
            return
        with self._report_lock:
            self._reports += 1
            report.number = self._reports
            report.rank = self._rank
            report.time_ms = int(time.time() * 1000)
            self._call(self._outgoing.put_nowait, report)

    def log_line(self, line: LogLine) -> None:
        """Send a line of output with the next batch."""
        if self.alive and self._lines.add(line):
            self._call(self._flush_wanted.set)

    def _own_line(self, text: str) -> None:
        self.log_line(
            LogLine(
                time_ms=int(time.time() * 1000),
                level=telemetry.LOG_LEVEL_INFO,
                rank=self._rank,
                stream=telemetry.LOG_STREAM_MILEPOST,
                step=self.position.step,
                text=text,
                logger="milepost",
            )
        )

    def measure(self, process_id: int) -> None:
        """Measure another process with its children, in place of this one."""
        self._system = SystemSampler(self._rank, self._directory, process_id)

    def begin(self, step: int) -> None:
        """Measure speed from this step on."""
        self._system.begin(step)
        self._pace.begin(step, time.monotonic(), self.position.busy_seconds)
        if self._means is not None:
            self._call(self._means.begin, step)
        self.wake()

    def receive_values(self, values: RankValues) -> None:
        """Take in what another rank gives to a mean. Called in the background thread."""
        if self._means is not None:
            self._means.receive(values)
            self._flush_wanted.set()

    def wake(self) -> None:
        """Cut a batch now."""
        if self.alive:
            self._call(self._flush_wanted.set)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _ask(self, work: Coroutine[Any, Any, Result], seconds: float, otherwise: Result) -> Result:
        """Run something in the loop and wait for it, not longer than this."""
        if not self.alive:
            work.close()
            return otherwise
        future: Future[Result] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except FutureTimeout:
            future.cancel()
            return otherwise

    def wait_stored(self, seconds: float) -> bool:
        """Cut a batch and wait until the metric writer has stored everything that was logged so far."""
        return self._ask(self._flush_and_wait_stored(seconds), seconds + 5.0, False)

    def copy_unstored(self, path: Path) -> int:
        """Write every batch that is not known to be stored into another spool. Returns how many there are."""
        return self._ask(self._copy_unstored(path), 60.0, 0)

    def finish(self, last_report: InstanceReport, seconds: float) -> int:
        """Send what is left, not longer than this, then end the thread. Returns the batches that stay in the spool."""
        if not self.alive:
            return 0
        left = self._ask(self._drain(seconds), seconds + 5.0, -1)
        if left < 0:
            left = self._spool.count
        if left:
            self.warnings.say("left", f"{left} batches are not sent yet; they wait in {self._spool.path}")
        if last_report.WhichOneof("report") == "finished":
            last_report.finished.unsent_batch_count = left
        self.send(last_report)
        self._ask(self._close(), 3 * CHANNEL_SECONDS + 5.0, None)
        self._closed = True
        self._call(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)
        return left

    # --- in the thread

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._tasks = [
            self._loop.create_task(self._guard(work))
            for work in (self._run_channel, self._run_sender, self._run_flush, self._run_beats)
        ]
        try:
            self._loop.run_forever()
        finally:
            for task in self._tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
            self._loop.close()

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Keep one activity going: its failure is said once and must not reach the training loop."""
        while True:
            try:
                await work()
                return
            except Exception as error:
                log.debug("background.failed", exc_info=error)
                self.warnings.say(
                    f"background:{work.__name__}", f"telemetry goes on after an internal error: {error!r}"
                )
                await asyncio.sleep(FLUSH_SECONDS)

    async def _run_channel(self) -> None:
        receiving = asyncio.create_task(self._channel.run(self._on_instruction))
        try:
            while True:
                await self._channel.send(await self._outgoing.get())
                self._outgoing.task_done()
        finally:
            receiving.cancel()

    async def _run_sender(self) -> None:
        if not self._addresses.nats_url:
            return
        credentials = await self._addresses.user()
        while True:
            try:
                self._connection = await connect(
                    self._addresses.nats_url,
                    name=f"milepost {self._identity.source}",
                    timeout_seconds=CONNECT_SECONDS,
                    credentials=credentials,
                )
                break
            except LogUnavailable as error:
                self.warnings.say("server", f"{error}; training goes on, its telemetry waits in {self._spool.path}")
        await self._sender.run(self._connection)

    async def _run_flush(self) -> None:
        while True:
            try:
                seconds = WATCHED_FLUSH_SECONDS if self.watched else FLUSH_SECONDS
                async with asyncio.timeout(seconds):
                    await self._flush_wanted.wait()
            except TimeoutError:
                pass
            self._flush_wanted.clear()
            self._flush()

    def _flush(self, final: bool = False) -> None:
        """Cut what was logged into batches and spool them. Progress without points makes a batch too."""
        if self._lines.flush():
            self._sender.wake()
        used = self._system.sample(self.position.step, self.position.samples)
        if used:
            self.buffer.append(self.position.step, time.time(), used)
        progress = self.position.headers()
        busy = self.position.busy_seconds
        self._pace.look(self.position.step, time.monotonic(), busy)
        completed = self.completed()
        columns = self.buffer.take()
        self._tell_refused(final=False)
        if self._means is not None:
            columns = self._means.merge(columns, completed, final=final)
        elif self._rank != 0:
            columns = self._give_values(columns, completed)
        if not columns and (progress == self._sent_position or self._rank != 0):
            return
        for group in columns:
            self._alerts.check(group)
            self.last_values.update(zip(group.keys, (values[-1] for values in group.values), strict=True))
        if self._rank == 0:
            self.progress.tick(self.last_values)
        busy_ms = int((busy - self._sent_busy_seconds) * 1000)
        self._sent_busy_seconds += busy_ms / 1000
        for batch in prepare(self._identity, columns, progress, int(time.time() * 1000), busy_ms):
            self._spool.put(STEPS, batch.encode, batch.points, batch.first_step, batch.last_step)
        if self._spool.failure:
            self.warnings.say(
                "spool", f"the spool cannot be written ({self._spool.failure}); telemetry is kept in memory"
            )
        if self._sender.trouble:
            self.warnings.say(
                "server", f"{self._sender.trouble}; training goes on, its telemetry waits in {self._spool.path}"
            )
        self._sent_position = progress
        self._sender.wake()

    def _tell_refused(self, *, final: bool) -> None:
        """Name the values that were not recorded, not more often than it is worth."""
        now = time.monotonic()
        if not final and now - self._told_refused < REFUSED_SECONDS:
            return
        refused = self.buffer.take_refused()
        if refused is None:
            return
        self._told_refused = now
        self.report(
            facts.TelemetryDropped(
                attempt=self._identity.attempt,
                rank=self._rank,
                kind=STEPS,
                item_count=refused.values,
                first_step=refused.first_step,
                last_step=refused.last_step,
                reason=f"more than {MAXIMUM_SERIES:,} series in one trial",
            )
        )

    def _give_values(self, columns: list[Columns], completed: int) -> list[Columns]:
        """Send this rank's part of a mean to rank 0. Returns what is to be stored as it is."""
        values = own_values(self._rank, columns, completed)
        if values.steps or completed != self._complete_sent:
            self._complete_sent = completed
            self.send(InstanceReport(values=values))
        return [group for group in columns if EXAMPLES not in group.keys]

    async def _run_beats(self) -> None:
        while True:
            connection = self._connection
            if connection is not None and connection.is_connected:
                identity = self._identity
                subject = heartbeat_subject(identity.runtime_id, identity.trial, identity.attempt, self._rank)
                with suppress(LogUnavailable):
                    await connection.publish(subject, self._beat().SerializeToString())
            await asyncio.sleep(BEAT_SECONDS)

    def _beat(self) -> Heartbeat:
        position = self.position
        now = time.monotonic()
        current = (position.step, position.batch, position.eval_batch, position.skipped, position.phase)
        if current != self._last_position:
            self._last_position, self._last_activity = current, now
        busy = position.phase in (EVALUATING, SNAPSHOTTING)
        return Heartbeat(
            rank=self._rank,
            step=position.step,
            next_beat_ms=int(1000 * (BUSY_BEAT_SECONDS if busy else BEAT_SECONDS)),
            process_id=os.getpid(),
            idle_ms=int(1000 * (now - self._last_activity)),
            phase=position.phase,
            step_ms=1000 * self._pace.usual_seconds,
            spooled_batches=self._spool.count,
            spooled_bytes=self._spool.size_bytes,
        )

    def _watch(self, watched: bool) -> None:
        if watched and not self.watched:
            self._flush_wanted.set()
        self.watched = watched

    def _on_drop(self, dropped: Dropped) -> None:
        self.warnings.say(
            "dropped",
            f"{dropped.items} values of steps {dropped.first_step} to {dropped.last_step} were given up: {dropped.reason}",
        )
        self.report(dropped.fact(self._identity.attempt, self._rank))

    async def _flush_and_wait_stored(self, seconds: float) -> bool:
        await self._wait_for_connection(min(seconds, CONNECT_SECONDS))
        self._flush()
        until = {STEPS: self._spool.last_number(STEPS)}
        connected = self._connection is not None and self._connection.is_connected
        if not connected:
            return self._sender.unstored(until) == 0
        return await self._sender.wait_stored(until, seconds)

    async def _wait_for_ranks(self, seconds: float) -> None:
        """At the end: give the other ranks time to send their last values."""
        deadline = time.monotonic() + seconds
        while self._means is not None and self._means.complete_step < self.completed():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.02)

    async def _wait_for_connection(self, seconds: float) -> None:
        """In a short script it may not be known yet whether there is a server."""
        deadline = time.monotonic() + seconds
        while self._connection is None and self._addresses.nats_url and time.monotonic() < deadline:
            if self.warnings.has_said("server") or self.warnings.has_said("refused"):
                return
            await asyncio.sleep(0.02)

    async def _copy_unstored(self, path: Path) -> int:
        copy = Spool(path, self._identity)
        for number in self._spool.held(STEPS):
            entry = self._spool.get(STEPS, number)
            if entry is not None:
                copy.put_entry(entry)
        count = copy.count
        copy.close()
        return count

    async def _drain(self, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        await self._wait_for_ranks(min(seconds, RANKS_SECONDS))
        await self._wait_for_connection(min(seconds, CONNECT_SECONDS))
        self._flush(final=True)
        self._tell_refused(final=True)
        if self._connection is not None and self._connection.is_connected:
            await self._sender.drain(max(0.0, deadline - time.monotonic()))
        return self._sender.unacknowledged()

    async def _close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(10.0):
                await self._outgoing.join()
        await self._channel.close(CHANNEL_SECONDS)
        if self._connection is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    await self._connection.close()
        self._spool.close()


class Warnings:
    """Says each problem once, in one line."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._log = logging.getLogger("milepost")

    def has_said(self, problem: str) -> bool:
        return problem in self._said

    def say(self, problem: str, message: str) -> None:
        if problem not in self._said:
            self._said.add(problem)
            self._log.warning("%s", message)


def wake_step(step: int) -> int:
    """Return the step at which a batch is full."""
    return step + LARGEST_BATCH_STEPS

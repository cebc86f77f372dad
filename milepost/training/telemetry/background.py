"""The one thread beside the training loop: cuts batches, spools and sends them, beats, and talks to the driver."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat, LogLine, Sender
from milepost.api.training.v1.training_pb2 import InstanceInstruction, InstanceReport, RankValues
from milepost.eventlog import LogUnavailable, telemetry_headers
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.telemetry import heartbeat_subject
from milepost.series_names import MAX_SERIES
from milepost.training.samples.batches import prepare_rows
from milepost.training.samples.buffer import SampleBuffer
from milepost.training.spooling.log_batches import LogBatcher
from milepost.training.spooling.sender import TelemetrySender, TokenBucket
from milepost.training.spooling.spool import STEPS, Dropped, Filling, Spool
from milepost.training.telemetry.addresses import Addresses
from milepost.training.telemetry.alerts import NonFiniteWatch
from milepost.training.telemetry.batches import (
    EVALUATING,
    MAX_BATCH_STEPS,
    SNAPSHOTTING,
    STARTING,
    LastValues,
    Position,
    prepare,
)
from milepost.training.telemetry.buffer import Columns, StepBuffer
from milepost.training.telemetry.channel import Channel
from milepost.training.telemetry.marker import StepMarker
from milepost.training.telemetry.means import EXAMPLES, RankMeans, own_values
from milepost.training.telemetry.pace import StepPace
from milepost.training.telemetry.progress import ProgressLines
from milepost.training.telemetry.said_once import Warnings
from milepost.training.telemetry.stalling.waiting import WaitingLooks
from milepost.training.telemetry.stalling.watch import StallWatch
from milepost.training.telemetry.system_metrics import SystemSampler
from milepost.training.user_code.ending import (
    LEAVE_SECONDS,
    DaemonThreads,
    ServerWatch,
    end_loop,
    forget_tasks,
)
from milepost.training.user_code.forks import SharedOnce, rest_in_children

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
WATCHED_FLUSH_SECONDS = 0.25
BEAT_SECONDS = 2.0
# Said before work that may keep the interpreter to itself for long.
BUSY_BEAT_SECONDS = 30.0
CONNECT_SECONDS = 5.0
# How long the end waits for the other side to have every report.
CHANNEL_SECONDS = 15.0
# And to hand them over to it.
OUTGOING_SECONDS = 10.0
# Between two facts about values that were not recorded.
REFUSED_SECONDS = 60.0
# Between two facts about samples that were not recorded: a long run leaves some out all the time.
LEFT_OUT_SECONDS = 3600.0
# How long the end waits for the last values of other ranks; of a rank that died there are none.
RANKS_SECONDS = 3.0

Result = TypeVar("Result")


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
        marker: StepMarker | None = None,
        write_line: Callable[[str], None] | None = None,
        stall_seconds: float = 0.0,
    ) -> None:
        """Make it; `start` begins.

        Args:
            stall_seconds: a shorter pause between steps is no stall. 0: the default.
            marker: of the last step of which everything was logged. None: of that a step is complete its position tells.
            write_line: takes lines about progress. None: they are sent like other output.
        """
        self.position = position
        self._marker = marker
        self._means = RankMeans() if world_size > 1 and rank == 0 else None
        self._complete_sent = -1
        self.warnings = Warnings()
        self.buffer = StepBuffer(self.warnings.say)
        self.samples = SampleBuffer(self.warnings.say)
        self.watched = False
        # As far as batches were cut.
        self._last = LastValues()
        self.last_values = self._last.values
        self._rank = rank
        self._identity = sender
        self._addresses = addresses
        self._channel = channel
        self._spool = Spool(
            directory / f"spool-{sender.source}.sqlite", sender, on_drop=self._on_drop, on_filling=self._on_filling
        )
        self._directory = directory
        self._system = SystemSampler(rank, directory)
        self._pace = StepPace()
        self.progress = ProgressLines(position, write_line or self._own_line)
        self._lines = LogBatcher(self._spool)
        self._waiting = WaitingLooks() if world_size > 1 else None
        self._alerts = NonFiniteWatch(sender.attempt, self.report)
        self._stalls = StallWatch(sender.attempt, rank, world_size, stall_seconds, self.report)
        self._on_instruction: Callable[[InstanceInstruction], None] = lambda instruction: None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="milepost-background", daemon=True)
        self._outgoing: asyncio.Queue[InstanceReport] = asyncio.Queue()
        self._reports = 0
        self._report_lock = threading.Lock()
        self._flush_wanted = asyncio.Event()
        self._sender = TelemetrySender(self._spool, self._watch, TokenBucket())
        self._connection: Connection | None = None
        self._server = ServerWatch(addresses.answer, lambda: self._connection is not None)
        self._sent_position: dict[str, str] = {}
        self._sent_busy_seconds = 0.0
        self._told_refused = -REFUSED_SECONDS
        self._told_left_out = -LEFT_OUT_SECONDS
        self._last_activity = time.monotonic()
        self._last_position: tuple[Any, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._finishing = False
        # The last batches are cut.
        self._ended = False
        # Everything is closed.
        self._left = False
        # Of the process that records, where this is a child of it. 0: this one records.
        self._recording_process = 0
        self._process = os.getpid()
        self._told_child = SharedOnce()
        rest_in_children(self)

    # --- called from the training loop

    def start(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        self._on_instruction = on_instruction
        _open.add(self)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False after the end, and in a process that was forked off, where the thread does not exist."""
        return not self._closed

    def rest_in_child(self) -> None:
        """Have a child record nothing."""
        self._closed = True
        self._recording_process = self._process
        _open.discard(self)
        forget_tasks(self._loop)

    def ignore(self) -> None:
        """Say once, for all children, that what a child of the recording process hands over is not recorded."""
        if self._recording_process and self._told_child.is_first():
            self.warnings.say(
                "child",
                f"process {os.getpid()} was forked off process {self._recording_process}, which alone records the run: "
                "what its children log is ignored (a child may begin a run of its own with milepost.init)",
            )

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
            self.ignore()
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
        self._stalls.elsewhere = process_id
        self._system = SystemSampler(self._rank, self._directory, process_id)

    def begin(self, step: int) -> None:
        """Measure speed from this step on."""
        self._stalls.loop_thread = threading.current_thread()
        self._system.begin(step, self.position.tokens)
        self._pace.begin(step, time.monotonic(), self.position.busy_seconds)
        if self._means is not None:
            self._call(self._means.begin, step)
        self.wake()

    def record_stacks(self) -> None:
        """Record what the threads of this process are doing, because somebody asks. Does not wait for it."""
        if self.alive:
            self._call(lambda: self._keep(self._record_stacks()))

    async def _record_stacks(self) -> None:
        await self._stalls.record(self.position.step, self._idle_seconds(), requested=True)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something in the loop, and hold on to it until it is done."""
        task = self._loop.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    def receive_values(self, values: RankValues) -> None:
        """Take in what the other ranks give to a mean. Called in the background thread."""
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

    def begin_end(self) -> None:
        """Wait for a server, from now on, only while it answers: the process is to end within 2 s if none does."""
        if self.alive:
            self._call(self._server.start)

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is the thread beside the loop."""
        return threading.current_thread() is self._thread

    def finish(
        self, last_report: InstanceReport | None, seconds: float, close_seconds: float = 3 * CHANNEL_SECONDS + 5.0
    ) -> int:
        """Send what is left, not longer than this, then end the thread. Returns the batches that stay in the spool.

        Args:
            last_report: how it ended; None: that is said by somebody else.
            seconds: how long batches are sent.
            close_seconds: how long the other side is given to take in every report.
        """
        if not self.alive:
            return 0
        self._finishing = True
        left = -1
        try:
            left = self._ask(self._drain(seconds), seconds + min(seconds, 5.0), -1)
        finally:
            # Also when it is interrupted: how it ended is to be known.
            self._conclude(last_report, left if left >= 0 else self._spool.count, close_seconds)
        return left

    def _conclude(self, last_report: InstanceReport | None, left: int, close_seconds: float) -> None:
        try:
            # Where the end is short whoever asked for that says what is left.
            if left and not self._server.running:
                self.warnings.say("left", f"{left} batches are not sent yet; they wait in {self._spool.path}")
            if last_report is not None:
                if last_report.WhichOneof("report") == "finished":
                    last_report.finished.unsent_batch_count = left
                self.send(last_report)
            if self._ended:
                self._ask(self._close(), close_seconds, None)
        finally:
            self.leave()

    def leave(self) -> None:
        """End the thread, as fast as it goes. What was logged is in the spool then; what was to be sent stays there."""
        if not self.alive:
            return
        if not self._left:
            # Interrupted, or not ended at all.
            self._call(self._server.stop)
            self._ask(self._close(), LEAVE_SECONDS, None)
        self._closed = True
        _open.discard(self)
        self._call(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * LEAVE_SECONDS)

    # --- in the thread

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_default_executor(DaemonThreads())
        for work in (self._run_channel, self._run_sender, self._run_flush, self._run_beats, self._run_looks):
            self._tasks.append(self._loop.create_task(self._guard(work)))
        try:
            self._loop.run_forever()
        finally:
            end_loop(self._loop)

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
        """Cut what was logged into batches and spool them. Progress without points makes a batch too.

        `final`: then say that nothing follows.
        """
        if self._ended:
            return
        self._cut(final)
        if final:
            self._ended = True
            self._spool.put_last({**self.position.headers(), telemetry_headers.TIME: str(int(time.time() * 1000))})
            self._sender.wake()

    def _cut(self, final: bool) -> None:
        if self._lines.flush():
            self._sender.wake()
        used = self._system.sample(self.position)
        if used:
            self.buffer.append(self.position.step, time.time(), used)
        progress = self.position.headers()
        busy = self.position.busy_seconds
        self._pace.look(self.position.step, time.monotonic(), busy)
        completed = self._completed()
        columns = self.buffer.take()
        self._cut_samples(progress)
        self._tell_refused(final=False)
        self._tell_left_out(final=False)
        if self._means is not None:
            columns = self._means.merge(columns, completed, final=final)
        elif self._rank != 0:
            columns = self._give_values(columns, completed)
        if not columns and (progress == self._sent_position or self._rank != 0):
            return
        for group in columns:
            self._alerts.check(group)
        self._last.take_in(columns)
        if self._rank == 0:
            self.progress.tick(self.last_values)
        busy_ms = int((busy - self._sent_busy_seconds) * 1000)
        self._sent_busy_seconds += busy_ms / 1000
        for batch in prepare(self._identity, columns, progress, int(time.time() * 1000), busy_ms, self._last):
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

    def _cut_samples(self, progress: dict[str, str]) -> None:
        for batch in prepare_rows(self._identity, self.samples.take(), progress, int(time.time() * 1000)):
            self._spool.put(STEPS, batch.encode, len(batch.rows), batch.first_step, batch.last_step)
            self._sender.wake()
            if self._sender.writer_takes_rows is False:
                self.warnings.say(
                    "samples", "the metric service is of an earlier version, which keeps no samples: upgrade it first"
                )

    def _completed(self) -> int:
        """Return the last step of which everything was logged."""
        return self._marker.step if self._marker is not None else self.position.step

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
                reason=f"more than {MAX_SERIES:,} series in one trial",
            )
        )

    def _tell_left_out(self, *, final: bool) -> None:
        """Name the samples that were not recorded: the first at once, what follows now and then."""
        now = time.monotonic()
        if not final and now - self._told_left_out < LEFT_OUT_SECONDS:
            return
        left_out = self.samples.take_left_out()
        if left_out:
            self._told_left_out = now
        for one in left_out:
            self.report(
                facts.TelemetryDropped(
                    attempt=self._identity.attempt,
                    rank=self._rank,
                    kind="samples",
                    item_count=one.rows,
                    first_step=one.first_step,
                    last_step=one.last_step,
                    reason=one.reason,
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
            position = self.position
            idle = self._idle_seconds()
            # Not waited for: the next beat is due whatever it takes.
            self._keep(self._stalls.look(position.step, self._pace.usual_seconds, idle, position.phase))
            await asyncio.sleep(BEAT_SECONDS)

    async def _run_looks(self) -> None:
        """See how much of its time this rank waits for the others. What it does between steps is not looked at."""
        while self._waiting is not None:
            if self.position.phase not in (STARTING, EVALUATING, SNAPSHOTTING):
                self._waiting.look()
            await asyncio.sleep(self._waiting.pause())

    def _idle_seconds(self) -> float:
        """Return since when nothing has moved, as far as that was looked at."""
        position = self.position
        now = time.monotonic()
        current = (position.step, position.batch, position.eval_batch, position.skipped, position.phase)
        if current != self._last_position:
            self._last_position, self._last_activity = current, now
        return now - self._last_activity

    def _beat(self) -> Heartbeat:
        position = self.position
        busy = position.phase in (EVALUATING, SNAPSHOTTING)
        return Heartbeat(
            rank=self._rank,
            step=position.step,
            next_beat_ms=int(1000 * (BUSY_BEAT_SECONDS if busy else BEAT_SECONDS)),
            process_id=os.getpid(),
            idle_ms=int(1000 * self._idle_seconds()),
            phase=position.phase,
            step_ms=1000 * self._pace.usual_seconds,
            spooled_batches=self._spool.count,
            spooled_bytes=self._spool.size_bytes,
            looks=self._waiting.looks if self._waiting is not None else 0,
            waiting_looks=self._waiting.waiting if self._waiting is not None else 0,
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

    def _on_filling(self, filling: Filling) -> None:
        self.report(filling.fact(self._identity.attempt, self.position.step))

    async def _flush_and_wait_stored(self, seconds: float) -> bool:
        await self._server.while_answered(self._known_connection(), min(seconds, CONNECT_SECONDS))
        self._flush()
        until = {STEPS: self._spool.last_number(STEPS)}
        if self._is_connected:
            await self._server.while_answered(self._sender.wait_stored(until, seconds), seconds)
        return self._sender.unstored(until) == 0

    @property
    def _is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    async def _wait_for_ranks(self, seconds: float) -> None:
        """At the end: give the other ranks time to send their last values."""
        deadline = time.monotonic() + seconds
        while self._means is not None and self._means.complete_step < self._completed():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.02)

    async def _known_connection(self) -> None:
        """Return when there is a connection, or none is to be expected: in a short script that is not known at once."""
        while self._connection is None and self._addresses.nats_url:
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
        await self._server.while_answered(self._known_connection(), min(seconds, CONNECT_SECONDS))
        self._flush(final=True)
        self._tell_refused(final=True)
        self._tell_left_out(final=True)
        if self._is_connected:
            left = max(0.0, deadline - time.monotonic())
            await self._server.while_answered(self._sender.drain(left), left)
        return self._sender.unacknowledged()

    async def _close(self) -> None:
        if not self._ended:
            self._flush(final=self._finishing)
        with suppress(TimeoutError):
            async with asyncio.timeout(OUTGOING_SECONDS):
                await self._outgoing.join()
        await self._server.while_answered(self._channel.close(CHANNEL_SECONDS), CHANNEL_SECONDS + 1.0)
        if self._connection is not None:
            await self._server.while_answered(self._connection.close(), 5.0)
        self._spool.close()
        self._left = True


# Those that have a thread in this process.
_open: weakref.WeakSet[Background] = weakref.WeakSet()


def _leave_all() -> None:
    """At the end of the interpreter: what nobody has finished is in the spool, and nothing runs on."""
    for background in list(_open):
        with suppress(KeyboardInterrupt):
            background.leave()


atexit.register(_leave_all)


def wake_step(step: int) -> int:
    """Return the step at which a batch is full."""
    return step + MAX_BATCH_STEPS

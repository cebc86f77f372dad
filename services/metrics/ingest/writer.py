"""The writer: from TELEMETRY into ClickHouse, each batch once, whatever crashes.

Two pipelines, steps and logs, each with a position of its own. The position is in the rows it inserts, so data and
position are one atomic block; nothing else remembers anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeGuard

import pyarrow as pa

from milepost.backoff import Backoff
from milepost.errors import MilepostError, Unavailable
from milepost.eventlog import TELEMETRY, EventLogError, LogUnavailable
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.occasions import Occasions
from milepost.eventlog.telemetry import StoredMessage, Telemetry, stored_subject
from milepost.installation import observability
from services.lease import Lease
from services.metrics.ingest.live import Hub, Topic
from services.metrics.ingest.quota import DEFAULT_BYTES, Usage, admit
from services.metrics.ingest.records import read_numbers, read_sample_usage, read_series, read_usage
from services.metrics.ingest.senders import Attempt, Senders
from services.metrics.ingest.series_limit import SeriesLimit
from services.metrics.lineage import Lineages
from services.metrics.storage import samples
from services.metrics.storage.batches import (
    DUPLICATE,
    LOGS,
    PURGED,
    REJECTED,
    SETTLED,
    STEPS,
    STORED,
    TOMBSTONE,
    Batch,
    LogsBlock,
    SenderKey,
    StepsBlock,
    decode,
    stored_line,
)
from services.metrics.storage.samples import SampleUsage
from services.metrics.storage.store import SAMPLES, Store, StoreFailed
from services.readmodel.set_aside import SetAside

log = logging.getLogger(__name__)

# One insert takes at most about this much; a single message that is larger is a block of its own.
MAX_ROWS = 100_000
MAX_BYTES = 64 << 20
MAX_MESSAGES = 4_000
# Messages taken from the reader at once; between them other tasks of the process run.
TAKE_MESSAGES = 200
READER_MESSAGES = 1_024
READER_BYTES = 16 << 20
# How long rows wait for company. Shorter while somebody watches any trial.
INSERT_INTERVAL_SECONDS = 0.5
WATCHED_INSERT_INTERVAL_SECONDS = 0.15
# While rows wait, whether somebody is in a hurry for them is looked at this often; without rows, rarely.
POLL_SECONDS = 0.1
IDLE_SECONDS = 1.0
TELL_INTERVAL_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
# How often ClickHouse may refuse a block, with growing pauses, before its messages are looked at one by one.
MAX_REFUSALS = 4
# A stream that went back to an earlier position is told from the one before by a new id close to its creation time.
INCARNATIONS = 1_000

OWNERLESS = SenderKey("", 0, 0, "")


class Refused(Exception):
    """ClickHouse does not take a block, whose content must be the reason."""


class Overtaken(Exception):
    """Another process stores now. What this one has taken is for that one to store."""


class Pipeline:
    """One kind of message, from the stream into its table.

    Attributes:
        stream_id: identity of the stream that is read.
        accepted: position of the last message that was decoded and handed to live readers.
        stored: position of the last message that ClickHouse has.
    """

    def __init__(
        self,
        kind: str,
        store: Store,
        telemetry: Telemetry,
        senders: Senders,
        lineages: Lineages,
        hub: Hub,
        tell: Callable[[set[Attempt]], None],
        lease: Lease | None = None,
    ) -> None:
        self.kind = kind
        self.table = "points" if kind == STEPS else "logs"
        self.stream_id = 0
        self.accepted = 0
        self.stored = 0
        # What keeps it from storing at the moment, in words.
        self.problem: str | None = "starting"
        self._store = store
        self._telemetry = telemetry
        self._senders = senders
        self._lineages = lineages
        self._hub = hub
        self._tell = tell
        self._lease = lease
        self.set_aside = SetAside("metrics", TELEMETRY)
        self._usage: dict[str, Usage] = {}
        # Up to where rows beside the points are stored, and were when this process began: never behind the points.
        self._samples_stored = self._samples_found = 0
        self._sample_usage: dict[str, SampleUsage] = {}
        self._series = SeriesLimit()
        self._occasions = Occasions()
        self._stored_items = observability.counter("milepost.metrics.stored", "Points and log lines stored, by kind")
        self._dropped_items = observability.counter(
            "milepost.metrics.dropped",
            "Points and log lines that senders gave up, because their spools were full, by kind",
        )
        for items in (self._stored_items, self._dropped_items):
            items.add(0, {"kind": self.kind})
        self._insert_seconds = observability.histogram("milepost.metrics.insert.duration", "Time of an insert, by kind")
        self._lag = observability.gauge(
            "milepost.metrics.lag", "Messages of TELEMETRY that are not stored yet, by kind"
        )
        self._moved = asyncio.Condition()
        self._hurry = asyncio.Event()

    # --- positions --------------------------------------------------------------------------------------------------

    async def wait_stored(self, position: int) -> None:
        """Return when ClickHouse has everything up to a position of the stream."""
        if self.stored < position:
            self._hurry.set()
        async with self._moved:
            await self._moved.wait_for(lambda: self.stored >= position)

    async def _begin(self) -> None:
        """Find out where to read on."""
        state = await self._telemetry.state()
        newest = await self._store.newest_stream(self.table)
        self.stream_id = newest if state.created <= newest < state.created + INCARNATIONS else state.created
        offset = await self._store.offset(self.table, self.stream_id)
        if offset > state.last_sequence:
            # The server lost messages that we have, and numbers new ones from there.
            log.error("telemetry.regressed", extra={"kind": self.kind, "stored": offset, "stream": state.last_sequence})
            self.stream_id += 1
            offset = state.last_sequence
        elif offset and offset + 1 < state.first_sequence:
            log.warning("telemetry.expired", extra={"kind": self.kind, "stored": offset, "first": state.first_sequence})
        if offset == state.last_sequence:
            # With the first message it is known how many of its kind there are.
            self._lag.set(0, {"kind": self.kind})
        if self.kind == STEPS:
            await self._begin_samples(offset, state.last_sequence)
        self.accepted = self.stored = offset
        log.info("writer.started", extra={"kind": self.kind, "stream": self.stream_id, "position": offset})

    async def _begin_samples(self, offset: int, end: int) -> None:
        """Find out which rows are stored already of messages whose points are not."""
        found = await self._store.offset(SAMPLES, self.stream_id)
        if found > end:
            # The server lost these messages before their points were stored; their senders send them again.
            await self._store.command(
                f"ALTER TABLE {SAMPLES} DELETE WHERE stream_id = {{stream:UInt64}} AND log_seq > {{offset:UInt64}} "
                "SETTINGS mutations_sync = 2",
                {"stream": self.stream_id, "offset": offset},
            )
            found = offset
        self._samples_stored = self._samples_found = found

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def run(self, stopping: asyncio.Event) -> None:
        """Store what comes until asked to stop; then store what was taken and return."""
        if not await self._persistently(self._begin, stopping):
            return
        subject = f"telemetry.*.*.*.{self.kind}"
        reader = self._telemetry.consume(
            self.stored, [subject], buffer_messages=READER_MESSAGES, buffer_bytes=READER_BYTES
        )
        inserting: asyncio.Task[None] | None = None
        block = self._new_block()
        oldest = 0.0
        async with reader:
            while not stopping.is_set():
                # Other tasks run even if there is always another message.
                await asyncio.sleep(0)
                due = self._is_due(block, oldest)
                if inserting is not None and (inserting.done() or _is_full(block)):
                    # Taking goes on while an insert runs, for who watches must not wait for it; up to one more block.
                    await inserting
                    inserting = None
                elif due and inserting is None:
                    self._hurry.clear()
                    inserting = asyncio.create_task(self._insert(block, stopping))
                    block = self._new_block()
                else:
                    wait = IDLE_SECONDS
                    if block.batches:
                        wait = min(POLL_SECONDS, max(0.0, oldest + self._interval() - time.monotonic()))
                    if inserting is not None:
                        wait = POLL_SECONDS
                    messages = await reader.next_batch(TAKE_MESSAGES, wait)
                    if messages and not block.batches:
                        oldest = time.monotonic()
                    if messages:
                        await self._take(messages, block, stopping)
        if inserting is not None:
            await inserting
        if block.batches:
            await self._insert(block, stopping)

    def _new_block(self) -> StepsBlock | LogsBlock:
        return StepsBlock(self.stream_id) if self.kind == STEPS else LogsBlock(self.stream_id)

    def _interval(self) -> float:
        return WATCHED_INSERT_INTERVAL_SECONDS if self._hub.is_anything_watched else INSERT_INTERVAL_SECONDS

    def _is_due(self, block: StepsBlock | LogsBlock, oldest: float) -> bool:
        if not block.batches:
            return False
        return _is_full(block) or self._hurry.is_set() or time.monotonic() - oldest >= self._interval()

    async def _persistently(self, call: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> bool:
        """Call until it succeeds, with growing pauses. False: it did not, and the writer is to stop."""
        for pause in Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS):
            try:
                await call()
                self.problem = None
                return True
            except (MilepostError, StoreFailed, EventLogError) as error:
                self.problem = str(error)
                log.warning("writer.waits", extra={"kind": self.kind, "error": str(error), "seconds": pause})
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stopping.wait()
            if stopping.is_set():
                return False
        raise AssertionError("the pauses never end")

    # --- taking messages --------------------------------------------------------------------------------------------

    async def _take(
        self, messages: list[StoredMessage], block: StepsBlock | LogsBlock, stopping: asyncio.Event
    ) -> None:
        batches = [self._decoded(message) for message in messages]
        if not await self._persistently(lambda: self._load(batches), stopping):
            return
        for batch in batches:
            before = len(block)
            try:
                self._accept(batch, block)
            except Exception as error:
                # The outermost loop over the stream: whatever one message does, those after it are stored.
                kept = self._set_aside(batch, error)
                if len(block) == before:
                    block.add(kept)
        self.accepted = batches[-1].sequence
        self._lag.set(messages[-1].pending + len(block.batches), {"kind": self.kind})

    def _decoded(self, message: StoredMessage) -> Batch:
        try:
            return decode(message)
        except Exception as error:
            # As below.
            time_ms = message.time // 1_000_000
            return self._set_aside(Batch(message.sequence, time_ms, OWNERLESS, 0, REJECTED), error)

    def _set_aside(self, batch: Batch, error: BaseException) -> Batch:
        """What is kept of a message that cannot be stored: that it came, and that its number is settled."""
        sender = batch.sender
        subject = f"telemetry.{sender.runtime_id}.{sender.trial}.{sender.attempt}.{self.kind}"
        self.set_aside.add(batch.sequence, subject, error)
        kept = batch.without_content(REJECTED)
        kept.note = f"set aside: {type(error).__name__}"
        return kept

    async def _load(self, batches: list[Batch]) -> None:
        """Read from ClickHouse what is known of senders that were not heard of before."""
        attempts = ((b.sender.runtime_id, b.sender.trial, b.sender.attempt) for b in batches if b.number)
        missing = self._senders.missing(self.kind, attempts)
        if missing:
            self._senders.load(self.kind, missing, await read_numbers(self._store, self.kind, missing))
        for trial in self._series.missing(batches):
            self._series.load(trial, await read_series(self._store, *trial))
        for runtime_id in {b.sender.runtime_id for b in batches if b.rows} - self._sample_usage.keys():
            self._sample_usage[runtime_id] = await read_sample_usage(self._store, runtime_id)
        if self.kind == LOGS:
            for runtime_id in {b.sender.runtime_id for b in batches} - self._usage.keys():
                self._usage[runtime_id] = await read_usage(self._store, runtime_id)

    def _accept(self, batch: Batch, block: StepsBlock | LogsBlock) -> None:
        """Decide what becomes of a message, and put it into the block."""
        if batch.number and not self._senders.accept(self.kind, batch.sender, batch.number):
            batch = batch.without_content(DUPLICATE)
        elif self._lineages.is_deleted(batch.sender.runtime_id):
            # The number is settled, but nothing of the runtime is kept, not even that it sent something.
            self._settle_purged(batch)
            batch = batch.without_content(PURGED)
            batch.sender, batch.number, batch.items = OWNERLESS, 0, 0
        elif batch.groups and (problem := self._series.problem(batch)):
            batch = batch.without_content(REJECTED)
            batch.note = problem
        if batch.kind == REJECTED:
            if count := self._occasions.next(f"{batch.sender.runtime_id}.{batch.sender.trial}.{batch.sender.attempt}"):
                extra = {"sequence": batch.sequence, "note": batch.note, "count": count}
                log.warning("telemetry.rejected", extra=extra)
        if isinstance(block, StepsBlock):
            block.add(batch)
            if batch.rows and batch.sequence > self._samples_found:
                self._add_rows(batch, block)
        else:
            self._add_lines(batch, block)
        if batch.kind == STORED:
            self._hub.publish(batch)

    def _settle_purged(self, batch: Batch) -> None:
        if batch.number:
            self._senders.settle(self.kind, batch.sender, batch.number)
            self._tell({_attempt_of(batch.sender)})

    def _add_lines(self, batch: Batch, block: LogsBlock) -> None:
        if not batch.lines:
            block.add(batch, [])
            return
        runtime_id = batch.sender.runtime_id
        quota = self._lineages.log_quota_bytes(runtime_id) or DEFAULT_BYTES
        lines = [stored_line(index, line) for index, line in enumerate(batch.lines)]
        admitted = admit(self._usage[runtime_id], batch.sender.trial, lines, quota, batch.time_ms)
        batch.lines, batch.stored_lines = (), admitted.lines
        block.add(batch, admitted.lines, admitted.text_bytes, admitted.over_quota)

    def _add_rows(self, batch: Batch, block: StepsBlock) -> None:
        runtime_id = batch.sender.runtime_id
        quota = self._lineages.sample_quota_bytes(runtime_id) or samples.DEFAULT_QUOTA_BYTES
        rows, size = samples.admit(self._sample_usage[runtime_id], batch.rows, quota)
        block.add_rows(batch, rows, size, len(batch.rows) - len(rows))
        # What live readers are given is kept for a while: without the rows, which none of them reads.
        batch.rows = ()

    # --- inserting --------------------------------------------------------------------------------------------------

    async def _insert(self, block: StepsBlock | LogsBlock, stopping: asyncio.Event) -> None:
        """Insert a block; retry until it is there. On a stop while ClickHouse is away, it is left to the next start.

        A block that ClickHouse refuses although it answers, or that cannot be made into rows, has a message that we let
        through by mistake: then each message is inserted by itself, and one that is still refused is set aside.
        """
        try:
            await self._insert_whole(block, stopping)
        except Refused as refused:
            log.error("writer.refused", extra={"kind": self.kind, "error": str(refused), "messages": len(block)})
            for part in block.parts():
                try:
                    await self._insert_whole(part, stopping)
                except Refused as again:
                    await self._insert_without_content(part, again, stopping)

    async def _insert_without_content(
        self, part: StepsBlock | LogsBlock, refused: Refused, stopping: asyncio.Event
    ) -> None:
        """Keep of a message only that it came. If even that is refused, it is the table: wait for whoever mends it."""
        (batch,) = part.batches
        kept = batch.without_content(REJECTED)
        kept.note = "set aside: refused by ClickHouse"
        alone = self._new_block()
        alone.add(kept)
        try:
            await self._insert_whole(alone, stopping)
        except Refused:
            await self._insert_whole(part, stopping, patience=None)
            return
        self._set_aside(batch, refused.__cause__ or refused)

    async def _insert_whole(
        self, block: StepsBlock | LogsBlock, stopping: asyncio.Event, patience: int | None = MAX_REFUSALS
    ) -> None:
        """Insert a block as it is.

        Raises:
            Refused: ClickHouse refused it `patience` times in a row, though it answers. None: it is tried for ever.
        """
        last = block.batches[-1].sequence
        try:
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(None, block.table)
            beside = await loop.run_in_executor(None, block.samples.table) if _has_samples(block) else None
        except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
            raise Refused("it cannot be made into rows") from error
        tried = samples_tried = False
        refusals = 0

        async def insert_samples(content: pa.Table, end: int) -> None:
            nonlocal samples_tried
            if samples_tried:
                self._samples_stored = max(self._samples_stored, await self._store.offset(SAMPLES, self.stream_id))
            if self._samples_stored < end:
                samples_tried = True
                await self._store.insert(SAMPLES, content)
                self._samples_stored = end

        async def insert() -> None:
            nonlocal tried
            # The outcome of a failed insert is unknown. It is one block, so its last position says whether it is there.
            if tried and await self._store.offset(self.table, self.stream_id) >= last:
                return
            await self._require_lead()
            try:
                if beside is not None and _has_samples(block):
                    await insert_samples(beside, block.samples.last_sequence)
                tried = True
                await self._store.insert(self.table, rows)
            except StoreFailed as error:
                nonlocal refusals
                refusals += 1
                if patience is not None and refusals >= patience:
                    raise Refused(str(error)) from error
                raise

        began = time.monotonic()
        if not await self._persistently(insert, stopping):
            return
        self._insert_seconds.record(time.monotonic() - began, {"kind": self.kind})
        self._stored_items.add(sum(batch.items for batch in block.batches if batch.kind == STORED), {"kind": self.kind})
        dropped = sum(batch.items for batch in block.batches if batch.kind == TOMBSTONE)
        if dropped:
            self._dropped_items.add(dropped, {"kind": self.kind})
        touched = set()
        for batch in block.batches:
            if batch.number and batch.kind in SETTLED:
                self._senders.settle(self.kind, batch.sender, batch.number)
            if batch.number:
                touched.add(_attempt_of(batch.sender))
        async with self._moved:
            self.stored = last
            self._moved.notify_all()
        self._tell(touched)

    async def _require_lead(self) -> None:
        """Make sure that nobody else stores.

        Raises:
            Unavailable: the lease is lost at the moment.
            Overtaken: somebody else has stored.
        """
        if self._lease is None:
            return
        found = await self._store.offset(self.table, self.stream_id)
        if found > self.stored:
            raise Overtaken(f"{self.table} has {found}, and this process stored up to {self.stored}")
        # Last, so that as little time as can be passes between it and the insert.
        if not self._lease.is_trusted:
            raise Unavailable("the lease of the writer is lost at the moment", reason="STANDBY")


class Writer:
    """Both pipelines, and telling senders what is stored."""

    def __init__(
        self,
        store: Store,
        telemetry: Telemetry,
        connection: Connection,
        lineages: Lineages,
        lease: Lease | None = None,
    ) -> None:
        self._connection = connection
        self._stopping = asyncio.Event()
        self._senders = Senders()
        self._to_tell: set[Attempt] = set()
        self._something_to_tell = asyncio.Event()
        self.steps_hub = Hub(self._on_watched)
        self.logs_hub = Hub()
        self.steps = Pipeline(STEPS, store, telemetry, self._senders, lineages, self.steps_hub, self._tell, lease)
        self.logs = Pipeline(LOGS, store, telemetry, self._senders, lineages, self.logs_hub, self._tell, lease)

    @property
    def problem(self) -> str | None:
        """What keeps it from storing, in words; None: nothing."""
        return self.steps.problem or self.logs.problem

    async def run(self) -> None:
        """Store until stopped.

        Raises:
            Overtaken: another process stores too.
        """
        try:
            async with asyncio.TaskGroup() as group:
                telling = [group.create_task(self._tell_changes()), group.create_task(self._tell_regularly())]
                pipelines = [group.create_task(p.run(self._stopping)) for p in (self.steps, self.logs)]
                await asyncio.wait(pipelines)
                for task in telling:
                    task.cancel()
        except ExceptionGroup as errors:
            overtaken = errors.subgroup(Overtaken)
            if overtaken is None:
                raise
            raise Overtaken(str(overtaken.exceptions[0])) from errors

    def stop(self) -> None:
        """Ask it to store what it has taken, and to end."""
        self._stopping.set()

    def _tell(self, attempts: set[Attempt]) -> None:
        self._to_tell |= attempts
        if self._to_tell:
            self._something_to_tell.set()

    def _on_watched(self, topic: Topic) -> None:
        self._tell(set(self._senders.attempts_of(*topic)))

    async def _tell_changes(self) -> None:
        while True:
            await self._something_to_tell.wait()
            self._something_to_tell.clear()
            attempts, self._to_tell = self._to_tell, set()
            await self._send(attempts)

    async def _tell_regularly(self) -> None:
        while True:
            await asyncio.sleep(TELL_INTERVAL_SECONDS)
            self._senders.forget_idle(self._to_tell)
            self._tell(set(self._senders.recent()))

    async def _send(self, attempts: set[Attempt]) -> None:
        for runtime_id, trial, attempt in attempts:
            watched = self.steps_hub.is_watched(runtime_id, trial)
            message = self._senders.message((runtime_id, trial, attempt), watched)
            try:
                await self._connection.publish(stored_subject(runtime_id, trial, attempt), message.SerializeToString())
            except LogUnavailable as error:
                # It is said again within seconds.
                log.info("writer.untold", extra={"error": str(error)})
                return


def _has_samples(block: StepsBlock | LogsBlock) -> TypeGuard[StepsBlock]:
    return isinstance(block, StepsBlock) and len(block.samples) > 0


def _is_full(block: StepsBlock | LogsBlock) -> bool:
    return block.rows >= MAX_ROWS or block.bytes >= MAX_BYTES or len(block.batches) >= MAX_MESSAGES


def _attempt_of(sender: SenderKey) -> Attempt:
    return sender.runtime_id, sender.trial, sender.attempt

"""What both services stand on: the store once it is open, the writer, the lineage, and positions in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.errors import NotFound, OutOfRange, Unavailable
from milepost.eventlog import EventLogError
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.telemetry import Telemetry
from services.lease import RETRY_SECONDS, Lease
from services.metrics.checkpointing import Checkpointing
from services.metrics.ingest.writer import Overtaken, Pipeline, Writer
from services.metrics.lineage import EventFollower, Lineages
from services.metrics.queries.kept_parts import KeptParts
from services.metrics.queries.series import SeriesReader
from services.metrics.storage.owner import DirectoryHeld
from services.metrics.storage.selection import Pin, TrialRef
from services.metrics.storage.store import IMPORTED_DATABASE, LOGS, POINTS, Store, StoreUnavailable
from services.readmodel.checkpoints import CheckpointStore
from services.readmodel.moments import check_moment, past_the_end
from services.server import Role
from services.supervision import Supervision

log = logging.getLogger(__name__)

STANDBY_SECONDS = 1.0
# How long the events of what was just started may take to be read.
CATCH_UP_SECONDS = 5.0
STOP_SECONDS = 6.0


class Moment:
    """A resolved `AsOf`: what of EVENTS and of TELEMETRY counts. `events_sequence` None: all."""

    def __init__(self, events_sequence: int | None, pin: Pin) -> None:
        self.events_sequence = events_sequence
        self.pin = pin


class Engine:
    """Opens the store when it is free, runs the writer, and follows the log.

    Of several processes one leads. With the embedded engine it is the one that has the directory. With a server, which
    takes inserts from anybody, it is the one that holds `lease`; the others stand by and answer nothing.

    Args:
        checkpoints: of what is known from EVENTS. Who has the store writes them.
    """

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Store]],
        connection: Connection,
        event_log: JetStreamLog,
        checkpoints: CheckpointStore,
        lease: Lease | None = None,
    ) -> None:
        self.follower = EventFollower(event_log, self._restore)
        self._keeping = Checkpointing(checkpoints)
        self.supervision = Supervision()
        self.telemetry = Telemetry(connection)
        self.connection = connection
        self._open_store = open_store
        self._event_log = event_log
        self._lease = lease
        self._store: Store | None = None
        self._writer: Writer | None = None
        self._held_elsewhere = False
        self._imported: Store | None = None
        self._kept_parts = KeptParts()
        self._opened = asyncio.Event()
        self._standby: str | None = "the service is starting"
        self._tasks: list[asyncio.Task[None]] = []

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow the log, and to store as soon as the store is ours."""
        events = self.supervision.keep("events", self.follower.run)
        self._tasks = [asyncio.create_task(events, name="events"), asyncio.create_task(self._run(), name="writer")]

    async def _restore(self, lineages: Lineages) -> None:
        state = await self._event_log.state()
        await self._keeping.restore(lineages, state.created, state.last_sequence)

    async def _run(self) -> None:
        if self._lease is not None:
            await self._wait_for(self._lease)
        store = await self._acquire()
        # A deleted runtime must be known as such before its messages are read.
        await self._caught_up_with_events()
        writer = Writer(store, self.telemetry, self.connection, self.follower.lineages, self._lease)
        self.follower.on_cut(lambda runtime_id, trial, _: writer.steps_hub.wake(runtime_id, trial))
        self._store, self._writer, self._standby = store, writer, None
        self._opened.set()
        keeping = asyncio.create_task(
            self.supervision.keep("checkpoints", lambda: self._keeping.run(self.follower.lineages)), name="checkpoints"
        )
        try:
            await self._write(writer)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._keeping.write(self.follower.lineages)

    async def _write(self, writer: Writer) -> None:
        if self._lease is None:
            await writer.run()
            return
        leading = asyncio.create_task(self._lead(self._lease))
        writing = asyncio.create_task(writer.run())
        done, pending = await asyncio.wait({leading, writing}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()

    async def _wait_for(self, lease: Lease) -> None:
        acquiring = asyncio.create_task(lease.acquire())
        try:
            while not acquiring.done():
                self._held_elsewhere = lease.is_elsewhere
                if self._held_elsewhere:
                    self._standby = f"{lease.leader} stores; this one stands by"
                await asyncio.wait({acquiring}, timeout=RETRY_SECONDS)
        finally:
            acquiring.cancel()
        self._held_elsewhere = False
        self._standby = "the service is starting"

    async def _lead(self, lease: Lease) -> NoReturn:
        """Keep the lease. While it is lost the writer pauses; what is stored can be read.

        Raises:
            Overtaken: another process has it now. A new start stands by.
        """
        while True:
            if lease.is_held:
                await lease.keep()
            try:
                if not await lease.attempt() and lease.is_elsewhere:
                    raise Overtaken(f"{lease.leader} stores now")
            except EventLogError as error:
                log.warning("lease.not_regained", extra={"error": str(error)})
            await asyncio.sleep(RETRY_SECONDS)

    async def _acquire(self) -> Store:
        """Open the store; while another process has it, stand by."""
        while True:
            try:
                store = await self._open_store()
                # An insert of the one that led before may still be under way.
                await store.fence()
                return store
            except (DirectoryHeld, StoreUnavailable) as error:
                if self._standby != str(error):
                    log.warning("store.standby", extra={"reason": str(error)})
                self._standby = str(error)
                self._held_elsewhere = isinstance(error, DirectoryHeld)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _caught_up_with_events(self) -> None:
        while True:
            try:
                await self.follower.catch_up()
                return
            except EventLogError as error:
                self._standby = f"the event log does not answer: {error}"
                await asyncio.sleep(STANDBY_SECONDS)

    async def failed(self) -> None:
        """Return only by raising what ended one of the parts."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Store what was taken, and let go of everything."""
        if self._writer is not None:
            self._writer.stop()
        follower, running = self._tasks
        follower.cancel()
        if self._writer is None:
            running.cancel()
        await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        running.cancel()
        if self._imported is not None:
            await self._imported.close()
        if self._store is not None:
            await self._store.close()
        if self._lease is not None:
            await self._lease.release()

    async def health(self) -> str | None:
        """Say what is wrong; None: events are followed, ClickHouse answers, and telemetry is stored."""
        if self._standby is not None:
            return self._standby
        if self._lease is not None and not self._lease.is_trusted:
            return "the lease of the writer is lost at the moment"
        await self.store.check()
        await self.telemetry.state()
        return self.writer.problem or self.supervision.problem()

    @property
    def role(self) -> Role:
        """Whether this process answers calls, or another one does."""
        if self._writer is not None:
            return Role.LEADS
        return Role.STANDS_BY if self._held_elsewhere else Role.STARTS

    # --- parts ------------------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The open store. Raises `Unavailable` while it is not ours, and says who has it."""
        if self._store is None:
            raise Unavailable(f"ClickHouse is not open: {self._standby}", reason="STANDBY")
        return self._store

    async def imported_store(self) -> Store:
        """Open the database of imported runtimes, empty at first, once the store is ours."""
        await self._opened.wait()
        if self._imported is None:
            self._imported = await self.store.beside(IMPORTED_DATABASE)
        return self._imported

    @property
    def writer(self) -> Writer:
        if self._writer is None:
            raise Unavailable(f"ClickHouse is not open: {self._standby}", reason="STANDBY")
        return self._writer

    @property
    def series(self) -> SeriesReader:
        return SeriesReader(self.store)

    def series_of(self, curve: TrialRef | None) -> SeriesReader:
        """Return a reader that gives what it reads as one curve of a trial; None: as what it is."""
        return SeriesReader(self.store, curve, self._kept_parts)

    def now(self, pipeline: Pipeline) -> Pin:
        """The position up to which everything is stored."""
        return Pin(pipeline.stream_id, pipeline.stored)

    def require_lead(self) -> None:
        """Raise `Unavailable` unless this process may change what is stored."""
        if self._lease is not None and not self._lease.is_trusted:
            raise Unavailable("the lease of the writer is lost at the moment; try again", reason="STANDBY")

    async def wait_stored(self, pipeline: Pipeline, position: int) -> None:
        """Return when the messages of a pipeline up to a position of TELEMETRY are stored.

        Raises:
            OutOfRange: TELEMETRY is not that far.
        """
        if position <= pipeline.stored:
            return
        last = await self.telemetry.last_sequence(pipeline.kind)
        if position > last:
            state = await self.telemetry.state()
            if position > state.last_sequence:
                raise past_the_end("TELEMETRY", state.last_sequence, position)
            # What is behind the last message of this kind is of the other kind.
            position = last
        await pipeline.wait_stored(position)

    async def check_known(self, names: Iterable[TrialRef]) -> None:
        """Refuse what nobody has heard of. Trial 0 is the whole runtime.

        The log says what there is. What was sent counts as well: it may come before its event, and an older backup of the
        log may not know of it.

        Raises:
            NotFound: there is no such runtime, or it has no such trial.
            Unavailable: the log was not read in time.
        """
        lineages = self.follower.lineages
        unknown = [one for one in names if not lineages.knows(one)]
        if not unknown:
            return
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self.follower.catch_up()
        except (TimeoutError, EventLogError) as error:
            raise Unavailable("the event log was not read in time", reason="VIEWS_BEHIND") from error
        for one in unknown:
            if not lineages.knows(one) and not await self._was_sent(one):
                raise _not_found(one, lineages.is_known(one.runtime_id))

    async def _was_sent(self, one: TrialRef) -> bool:
        return await self.telemetry.has(one.runtime_id, one.trial) or await is_stored(self.store, one)

    async def check_cursor(self, pipeline: Pipeline, stream_id: int, sequence: int) -> None:
        """Raises OutOfRange: TELEMETRY is not that far, or not that stream yet."""
        if (stream_id, sequence) <= (pipeline.stream_id, pipeline.accepted):
            return
        last = (await self.telemetry.state()).last_sequence
        if (stream_id, sequence) > (pipeline.stream_id, last):
            raise past_the_end("TELEMETRY", last, sequence)

    async def moment(self, as_of: AsOf, pipeline: Pipeline, runtime_ids: list[str]) -> Moment:
        """Resolve a moment.

        Raises:
            InvalidArgument: it is none.
            OutOfRange: EVENTS is not that far.
        """
        check_moment(as_of)
        now = self.now(pipeline)
        if as_of.telemetry_sequence:
            pin = min(now, Pin(now.stream_id, as_of.telemetry_sequence))
            return Moment(as_of.events_sequence or None, pin)
        if as_of.events_sequence:
            time_ms = await self._time_of_event(as_of.events_sequence)
            return Moment(
                as_of.events_sequence, min(now, await self.series.position_at(runtime_ids, time_ms, pipeline.table))
            )
        if as_of.HasField("time"):
            time_ms = as_of.time.ToMilliseconds()
            pin = min(now, await self.series.position_at(runtime_ids, time_ms, pipeline.table))
            return Moment(self.follower.lineages.sequence_at(time_ms), pin)
        return Moment(None, now)

    async def _time_of_event(self, sequence: int) -> int:
        async for event in self._event_log.read(after=sequence - 1, until=sequence):
            return int(event.recorded_time.timestamp() * 1000)
        raise OutOfRange(f"EVENTS has no event {sequence}")


async def is_stored(store: Store, one: TrialRef) -> bool:
    """Return whether there is a row of a trial, or with trial 0 of a runtime."""
    condition = "runtime = {runtime:String}" + (" AND trial = {trial:UInt32}" if one.trial else "")
    parameters = {"runtime": one.runtime_id, "trial": one.trial}
    for table in (POINTS, LOGS):
        if (await store.read(f"SELECT 1 AS found FROM {table} WHERE {condition} LIMIT 1", parameters)).num_rows:
            return True
    return False


def _not_found(one: TrialRef, is_known: bool) -> NotFound:
    if is_known:
        return NotFound(f"runtime {one.runtime_id} has no trial {one.trial}", reason="TRIAL_NOT_FOUND")
    return NotFound(f"there is no runtime {one.runtime_id}", reason="RUNTIME_NOT_FOUND")

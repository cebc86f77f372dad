"""The evaluator: one leader reads both streams, plays them through the fold, and has what happened recorded.

It holds a lease, so that the work is done once. That each occurrence is one fact does not depend on it: the id follows from
what happened, and the chain of the runtime takes each id once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, suppress

from google.protobuf.message import Message

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.backoff import Backoff
from milepost.domain import firings
from milepost.errors import MilepostError
from milepost.eventlog import EVENTS, TELEMETRY, EventLog, EventLogError, LogMessage, RecordedEvent, events_of
from milepost.eventlog.telemetry import OrderedReader, StoredMessage, Telemetry, parse_telemetry_subject
from milepost.installation import observability
from services.lease import Lease
from services.readmodel.checkpoints import CheckpointStore
from services.readmodel.set_aside import SetAside
from services.rpc.telemetry import consumer_lag
from services.rules.checkpointing import Records, evaluation_of
from services.rules.decoding import Unreadable, decode
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.occurrences import Occurrence
from services.rules.ledger import Ledger
from services.rules.playing import Player, comes_first

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 30.0
# How long one round waits for something to come.
WAIT_SECONDS = 0.25
# Messages of a stream that wait to be merged; each has at most 1 MiB.
MAX_HELD = 2_000
# Time has passed for the fold when it has for this clock by so much: clocks of machines differ, and what is on its way counts.
MARGIN_MS = 2_000
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0


class Evaluator:
    """Evaluates while it holds the lease. `run` goes on for ever."""

    def __init__(
        self,
        event_log: EventLog,
        telemetry: Telemetry,
        ledger: Ledger,
        checkpoints: CheckpointStore,
        lease: Lease,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = event_log
        self._telemetry = telemetry
        self._ledger = ledger
        self._checkpoints = checkpoints
        self._lease = lease
        self._clock = clock
        self._set_aside = SetAside("rules", "TELEMETRY")
        self._fired = observability.counter("milepost.rules.recorded", "Facts about rules that were recorded")
        self._lag = consumer_lag()
        # What TELEMETRY was read up to; for tests and for people.
        self.telemetry_sequence = 0
        self.player = self._player(Evaluation(), 0)
        self._records = Records()
        self._stream_id = 0
        self._is_applying = False

    async def run(self) -> None:
        """Wait for the lease, evaluate while it is held, and again, for ever; wait for a log that does not answer."""
        pauses = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        while True:
            await self._lease.acquire()
            try:
                await self._lead(pauses)
            except EventLogError as error:
                log.warning("evaluator.waits", extra={"error": str(error)})
                await asyncio.sleep(next(pauses))

    async def _lead(self, pauses: Backoff) -> None:
        """Evaluate until the lease is lost."""
        keeping = asyncio.create_task(self._lease.keep())
        evaluating = asyncio.create_task(self._evaluate(pauses))
        try:
            done, _ = await asyncio.wait({keeping, evaluating}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (evaluating, keeping):
                task.cancel()
            await asyncio.gather(evaluating, keeping, return_exceptions=True)
            await self._lease.release()

    # --- where it begins

    async def _evaluate(self, pauses: Backoff) -> None:
        await self._begin()
        async with AsyncExitStack() as parts:
            events = _Events(self._log, self.player.events_sequence)
            parts.push_async_callback(events.close)
            reader = await parts.enter_async_context(self._telemetry.consume(self.telemetry_sequence))
            messages = _Messages(reader)
            written = time.monotonic()
            try:
                while True:
                    await self._round(events, messages)
                    pauses.reset()
                    if time.monotonic() - written > CHECKPOINT_SECONDS:
                        await self._write_checkpoint()
                        written = time.monotonic()
            finally:
                # What was applied and not recorded is applied again from the checkpoint before.
                if not self._is_applying:
                    with suppress(OSError):
                        await self._write_checkpoint()

    async def _begin(self) -> None:
        """Go on from the checkpoint; without one from where the rules that there are begin to watch."""
        self._is_applying = False
        state = await self._telemetry.state()
        self._stream_id = state.created
        end = await self._log.last_sequence()
        # One of a log that has lost its end says what is not so.
        checkpoint = await asyncio.to_thread(self._checkpoints.newest, end)
        self._records = Records()
        if checkpoint is not None:
            self.player = self._player(evaluation_of(checkpoint.records), checkpoint.sequence)
            known = checkpoint.position.get("stream_id") == state.created
            self.telemetry_sequence = int(checkpoint.position["telemetry"]) if known else 0
            return
        set_at = await self._ledger.first_of_rules()
        if set_at:
            self.player = self._player(Evaluation(), set_at - 1)
            self.telemetry_sequence = 0
        else:
            self.player = self._player(Evaluation(), end)
            self.telemetry_sequence = state.last_sequence

    def _player(self, evaluation: Evaluation, sequence: int) -> Player:
        return Player(evaluation, self._history, sequence)

    async def _history(self, runtime_id: str, until: int) -> AsyncIterator[RecordedEvent]:
        async for event in events_of(self._log.read(0, until, (f"events.{runtime_id}.>",))):
            yield event

    # --- one round

    async def _round(self, events: _Events, messages: _Messages) -> None:
        """Apply what can be ordered: what one stream has waits until it is known what the other one had before it."""
        began_ms = int(self._clock() * 1_000)
        await messages.fill(0.0 if events.held else WAIT_SECONDS)
        while events.held and messages.held:
            await self._apply_first(events, messages)
        if events.held:
            # Received before this is asked: whatever TELEMETRY had before these events is among its messages then.
            count = len(events.held)
            await messages.reach(await self._last_message())
            while count and not messages.held:
                await self._apply_event(events.held.popleft())
                count -= 1
        elif messages.held:
            await events.reach(await self._last_event())
            while messages.held and not events.held:
                await self._apply_message(messages.held.popleft())
        else:
            await events.reach(await self._last_event())
            await messages.reach(await self._last_message())
            if not events.held and not messages.held:
                self._is_applying = True
                await self._record(self.player.evaluation.advance(began_ms - MARGIN_MS))
                self._is_applying = False

    async def _last_event(self) -> int:
        last = await self._log.last_sequence()
        self._lag.set(max(0, last - self.player.events_sequence), {"consumer": "rules", "stream": EVENTS})
        return last

    async def _last_message(self) -> int:
        last = (await self._telemetry.state()).last_sequence
        self._lag.set(max(0, last - self.telemetry_sequence), {"consumer": "rules", "stream": TELEMETRY})
        return last

    async def _apply_first(self, events: _Events, messages: _Messages) -> None:
        if comes_first(events.held[0], messages.held[0].time // 1_000_000):
            await self._apply_event(events.held.popleft())
        else:
            await self._apply_message(messages.held.popleft())

    async def _apply_event(self, event: LogMessage) -> None:
        self._is_applying = True
        await self._record(await self._applied(event.sequence, event.subject, self.player.event(event)))
        self._is_applying = False

    async def _apply_message(self, message: StoredMessage) -> None:
        if self._is_watched(message):
            try:
                decoded = decode(message)
            except Unreadable as error:
                self._set_aside.add(message.sequence, message.subject, error)
                decoded = None
            if decoded is not None:
                self._is_applying = True
                applied = self._applied(message.sequence, message.subject, self.player.message(decoded))
                await self._record(await applied)
        self.telemetry_sequence = message.sequence
        self._is_applying = False

    async def _applied(
        self, sequence: int, subject: str, applying: Coroutine[object, object, list[Occurrence]]
    ) -> list[Occurrence]:
        try:
            return await applying
        except EventLogError:
            raise
        except Exception as error:
            # The outermost loop over the streams: whatever one message does, those after it are read.
            self._set_aside.add(sequence, subject, error)
            return []

    def _is_watched(self, message: StoredMessage) -> bool:
        """Tell, before it is decoded, whether any rule looks at a message."""
        evaluation = self.player.evaluation
        try:
            runtime_id, _, _, kind = parse_telemetry_subject(message.subject)
        except ValueError:
            return False
        if not evaluation.watches(runtime_id):
            return False
        run = evaluation.runs.get(runtime_id)
        if run is None:
            return True
        selected = evaluation.selected(run)
        return bool(selected.lines) if kind == "logs" else bool(selected.series or selected.paced)

    async def _record(self, occurrences: list[Occurrence]) -> None:
        """Have facts recorded, each once, however long the log is away."""
        for occurrence in occurrences:
            pauses = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
            while True:
                try:
                    recorded = await self._ledger.record(
                        occurrence.runtime_id, _command(occurrence.fact), occurrence.cause
                    )
                    break
                except (EventLogError, MilepostError) as error:
                    log.warning("firing.not_recorded", extra={"runtime": occurrence.runtime_id, "error": str(error)})
                    await asyncio.sleep(next(pauses))
            if recorded:
                self._fired.add(1)
                log.info(
                    "rule.recorded", extra={"runtime": occurrence.runtime_id, "fact": type(occurrence.fact).__name__}
                )

    # --- checkpoints

    async def _write_checkpoint(self) -> None:
        position = {"telemetry": self.telemetry_sequence, "stream_id": self._stream_id}
        records = self._records.of(self.player.evaluation)
        sequence = self.player.events_sequence
        await asyncio.to_thread(self._checkpoints.write, sequence, position, records)


def _command(fact: Message) -> object:
    return firings.RecordFiring(fact) if isinstance(fact, facts.RuleFired) else firings.RecordCleared(fact)  # type: ignore[arg-type]


class _Events:
    """Reads EVENTS into a queue of bounded length."""

    def __init__(self, event_log: EventLog, after: int) -> None:
        self.held: deque[LogMessage] = deque()
        self._log = event_log
        self._received = after
        self._moved = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._log.follow(after=self._received):
            async with self._moved:
                self.held.append(message)
                self._received = message.sequence
                self._moved.notify_all()
                await self._moved.wait_for(lambda: len(self.held) < MAX_HELD)

    async def reach(self, sequence: int) -> None:
        """Return when everything up to a position is held or was taken, or the queue is not empty."""
        async with self._moved:
            # Room may have come.
            self._moved.notify_all()
            await self._moved.wait_for(lambda: self._received >= sequence or self.held or self._task.done())
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class _Messages:
    """Reads TELEMETRY into a queue of bounded length."""

    def __init__(self, reader: OrderedReader) -> None:
        self.held: deque[StoredMessage] = deque()
        self._reader = reader

    async def fill(self, seconds: float) -> None:
        """Take what is there, and where nothing is held wait so long for something."""
        if len(self.held) < MAX_HELD:
            self.held.extend(await self._reader.next_batch(MAX_HELD, 0.0 if self.held else seconds))

    async def reach(self, sequence: int) -> None:
        """Return when everything up to a position is held or was taken, or the queue is not empty."""
        while not self.held and self._reader.last_sequence < sequence and not self._reader.is_closed:
            batch = await self._reader.next_batch(MAX_HELD, WAIT_SECONDS)
            self.held.extend(batch)
            if not batch and self._reader.pending == 0:
                # The last messages of the stream were removed since.
                return

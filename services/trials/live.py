"""The views as they are now: follows both streams, tells watchers what changed, checkpoints, and looks into the past."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any, Protocol

import orjson

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.errors import OutOfRange, Unavailable
from milepost.eventlog import EVENTS, TELEMETRY, EventLogError
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.telemetry import OrderedReader, StoredMessage, StreamState, Telemetry, parse_telemetry_subject
from services.access.authentication import current_caller
from services.readmodel.checkpoints import Checkpoint, Codec, compress, decompress
from services.readmodel.incremental import ChainLost, IncrementalStore
from services.readmodel.moments import past_the_end
from services.readmodel.waiting import Waiters
from services.rpc.limits import Turns
from services.rpc.telemetry import consumer_lag
from services.supervision import Supervision
from services.trials.queries import Scope
from services.trials.readmodel.positions import Position
from services.trials.readmodel.view import Key, RuntimeView, TrialView, nanoseconds
from services.trials.readmodel.views import CHECKPOINT_CLASSES, Changes, Views

ALL_STEPS = "telemetry.*.*.*.steps"
# Messages that are folded before others get their turn.
BATCH = 200
# Changes that are encoded for a checkpoint before others get their turn.
SLICE = 32
# How long a read waits for the views to get where the caller has been.
WAIT_SECONDS = 10.0
# Pasts that are folded at once, in all and for one caller; the others wait for their turn.
FOLDS = 4
FOLDS_PER_CALLER = 2
CHECKPOINT_SECONDS = 60.0
CHECKPOINT_EVENTS = 10_000
# Batches that are read when there is no checkpoint: older ones only say where running trials were long ago.
REBUILD_BATCHES = 200_000
RESTART_SECONDS = 1.0

log = logging.getLogger(__name__)

# Told of each change: the trial, and whether an event (not telemetry) is behind it.
Listener = Callable[[Key, bool], None]

CODEC = Codec(CHECKPOINT_CLASSES)
FORM = f"trials-{CODEC.form}"


@dataclass(frozen=True, slots=True)
class Streams:
    """Identities of the two streams: their creation times. Other ones: positions of before mean nothing."""

    events: int
    telemetry: int


class ReadableViews(Protocol):
    """What answers are made from: the views of this installation, or those of a bundle."""

    @property
    def views(self) -> Views: ...

    async def wait_for(self, events: int = 0, telemetry: int = 0) -> None: ...

    def listen(self, listener: Listener) -> Callable[[], None]: ...

    async def at(self, as_of: AsOf, scope: Scope, from_log: bool = False) -> tuple[Views, int]: ...


class LiveViews:
    """The read model of this process.

    Args:
        checkpoints: None: none are kept.
    """

    def __init__(
        self,
        event_log: JetStreamLog,
        telemetry: Telemetry,
        checkpoints: IncrementalStore | None = None,
    ) -> None:
        self.views = Views()
        self._log = event_log
        self._folds = Turns(FOLDS, FOLDS_PER_CALLER, "looks into the past")
        self._telemetry = telemetry
        self._checkpoints = checkpoints
        self.supervision = Supervision()
        self._streams = Streams(0, 0)
        self._listeners: list[Listener] = []
        self._waiters = Waiters()
        self._tasks: list[asyncio.Task[None]] = []
        self._events_ready = asyncio.Event()
        self._telemetry_ready = asyncio.Event()
        # What changed since the last checkpoint, as it is to be written.
        self._pending: dict[bytes, bytes] = {}
        self._writing = asyncio.Lock()
        self._lag = consumer_lag()

    # --- life

    async def start(self) -> None:
        """Load the newest checkpoint and follow both streams from there."""
        state = await self._telemetry.state()
        self._streams = Streams((await self._log.state()).created, state.created)
        checkpoint = await asyncio.to_thread(self._newest) if self._checkpoints is not None else None
        if checkpoint is not None:
            self._restore(checkpoint)
        elif state.last_sequence > REBUILD_BATCHES:
            self.views.telemetry_sequence = max(state.first_sequence - 1, state.last_sequence - REBUILD_BATCHES)
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "events": partial(self._forever, self._follow_events),
            "telemetry": partial(self._forever, self._follow_telemetry),
            "checkpoints": self._keep_checkpoints,
        }
        self._tasks = [
            asyncio.create_task(self.supervision.keep(name, part), name=name) for name, part in parts.items()
        ]

    async def failed(self) -> None:
        """Return only by raising what ended one of the parts for good."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Stop following, and leave a checkpoint."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._write_checkpoint()

    async def problem(self) -> str | None:
        """Say why reads would not be right; None: they are."""
        # With the log away what is here can still be read.
        with suppress(EventLogError):
            behind = await self._log.last_sequence() - self.views.events_sequence
            self._lag.set(max(0, behind), {"consumer": "trials", "stream": EVENTS})
        if not self._events_ready.is_set():
            return f"catching up with the event log, at {self.views.events_sequence}"
        if not self._telemetry_ready.is_set():
            return f"catching up with telemetry, at {self.views.telemetry_sequence}"
        return self.supervision.problem()

    async def _forever(self, follow: Callable[[], Awaitable[None]]) -> None:
        """Follow a stream, and wait for one that does not answer."""
        while True:
            try:
                await follow()
            except (EventLogError, OSError) as error:
                log.warning("trials.follower_restarts", extra={"error": str(error)})
            await asyncio.sleep(RESTART_SECONDS)

    # --- following

    async def _follow_events(self) -> None:
        last = await self._log.last_sequence()
        if self.views.events_sequence >= last:
            self._events_ready.set()
        folded = 0
        async for event in self._log.follow(self.views.events_sequence):
            for key in self.views.apply_event(event):
                self._changed(key, True)
            self._waiters.wake()
            if event.sequence >= last:
                self._events_ready.set()
            folded += 1
            if folded % BATCH == 0:
                await asyncio.sleep(0)
            if event.sequence % CHECKPOINT_EVENTS == 0:
                await self._write_checkpoint()

    async def _follow_telemetry(self) -> None:
        async with self._telemetry.consume(self.views.telemetry_sequence, (ALL_STEPS,), headers_only=True) as reader:
            await reader.open(WAIT_SECONDS)
            while True:
                if not reader.pending:
                    self._telemetry_ready.set()
                self._lag.set(reader.pending, {"consumer": "trials", "stream": TELEMETRY})
                for message in await reader.next_batch(BATCH):
                    self._take(message)
                self._waiters.wake()
                await asyncio.sleep(0)

    def _take(self, message: StoredMessage) -> None:
        key = apply_message(self.views, message)
        if key is not None:
            self._changed(key, False)

    def _changed(self, key: Key, by_event: bool) -> None:
        for listener in self._listeners:
            listener(key, by_event)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call a function at each change of a trial. Returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def wait_for(self, events: int = 0, telemetry: int = 0) -> None:
        """Wait until the views have caught up with the start and are at least here.

        Raises:
            OutOfRange: a stream does not go that far.
            Unavailable: not in time.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._events_ready.wait()
                await self._telemetry_ready.wait()
                if self._has_reached(events, telemetry):
                    return
                await self._check_ends(events, telemetry)
                await self._waiters.wait(lambda: self._has_reached(events, telemetry))
        except TimeoutError:
            reached = f"{self.views.events_sequence}/{self.views.telemetry_sequence}"
            text = f"the views are at {reached} and have not reached {events}/{telemetry}"
            raise Unavailable(text, reason="VIEWS_BEHIND") from None

    def _has_reached(self, events: int, telemetry: int) -> bool:
        return self.views.events_sequence >= events and self.views.telemetry_sequence >= telemetry

    async def _check_ends(self, events: int, telemetry: int) -> None:
        last = await self._log.last_sequence()
        if events > last:
            raise past_the_end("the log", last, events)
        last = (await self._telemetry.state()).last_sequence
        if telemetry > last:
            raise past_the_end("TELEMETRY", last, telemetry)

    # --- checkpoints

    async def _keep_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            await self._write_checkpoint()

    async def _write_checkpoint(self) -> None:
        """Write what the views hold. Only what changed is encoded anew; the disk is waited for in a thread."""
        if self._checkpoints is None or not self._events_ready.is_set():
            return
        async with self._writing:
            await self._encode_ahead()
            self._encode(self.views.changes)
            if self._pending:
                await self._store(self._checkpoints)

    async def _encode_ahead(self) -> None:
        """Encode most of what changed, a slice at a time. What changes again meanwhile is encoded again at the end."""
        for _ in range(self.views.changes.count // SLICE):
            self._encode(self.views.changes.take(SLICE))
            await asyncio.sleep(0)

    def _encode(self, changes: Changes) -> None:
        """Encode what changed, and forget that it did."""
        views = self.views
        for runtime_id in changes.runtimes:
            self._pending[_key("runtime", runtime_id)] = _record("runtime", runtime_id, views.runtimes[runtime_id])
        for key in changes.trials:
            self._pending[_key("trial", *key)] = _record("trial", key.runtime_id, views.trials[key])
        for key in changes.positions:
            content = [key.trial, views.positions[key]]
            self._pending[_key("position", *key)] = _record("position", key.runtime_id, content)
        changes.clear()

    async def _store(self, checkpoints: IncrementalStore) -> None:
        views = self.views
        position = {
            "events_stream": self._streams.events,
            "telemetry_stream": self._streams.telemetry,
            "telemetry_sequence": views.telemetry_sequence,
            "telemetry_time": views.telemetry_time,
            "events_time": views.events_time,
            "set_aside": views.set_aside.to_json(),
            "batches_set_aside": views.batches_set_aside.to_json(),
        }
        changes, self._pending = self._pending, {}
        try:
            await checkpoints.store_changes(views.events_sequence, position, changes)
            changes = {}
        except ChainLost as error:
            log.warning("checkpoint.begun_anew", extra={"error": str(error)})
            views.changes.all_of(views)
        except OSError as error:
            log.warning("checkpoint.not_written", extra={"error": str(error)})
        finally:
            # Also of a write that was cancelled nobody knows whether it is on disk.
            self._pending = {**changes, **self._pending}

    def _newest(self) -> Checkpoint | None:
        assert self._checkpoints is not None
        return self._checkpoints.resume(accept=self._is_ours)

    def _is_ours(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.position["events_stream"] == self._streams.events

    def _restore(self, checkpoint: Checkpoint) -> None:
        load(self.views, checkpoint, "")
        if checkpoint.position["telemetry_stream"] != self._streams.telemetry:
            self.views.telemetry_sequence = 0
        log.info(
            "checkpoint.restored",
            extra={"events_sequence": self.views.events_sequence, "trials": len(self.views.trials)},
        )

    # --- the past

    async def at(self, as_of: AsOf, scope: Scope, from_log: bool = False) -> tuple[Views, int]:
        """Return the views of a scope as of a moment, and that moment in nanoseconds since 1970.

        Args:
            from_log: trust no checkpoint, unless the beginning of TELEMETRY is gone.

        Raises:
            OutOfRange: the moment lies behind the end of the log.
        """
        moment = nanoseconds(as_of.time.ToDatetime(UTC)) if as_of.HasField("time") else 0
        last = await self._log.last_sequence()
        until = as_of.events_sequence or last
        if until > last:
            raise OutOfRange(f"the log ends at {last}", reason="PAST_THE_END")
        if not moment and not as_of.telemetry_sequence:
            moment_of_telemetry = await self._time_of(until)
        else:
            moment_of_telemetry = moment
        if from_log and (await self._telemetry.state()).first_sequence <= 1:
            views = Views()
        else:
            views = await asyncio.to_thread(self._nearest, until, as_of.telemetry_sequence, moment_of_telemetry, scope)
        async with self._folds.turn(current_caller().actor):
            async for event in self._log.read(views.events_sequence, until, _event_subjects(scope)):
                if moment and nanoseconds(event.recorded_time) > moment:
                    break
                views.apply_event(event)
            await self._replay_telemetry(views, as_of.telemetry_sequence, moment_of_telemetry, scope)
        return views, moment_of_telemetry or max(views.events_time, views.telemetry_time)

    async def _time_of(self, sequence: int) -> int:
        async for event in self._log.read(sequence - 1, sequence):
            return nanoseconds(event.recorded_time)
        return 0

    async def _replay_telemetry(self, views: Views, until: int, moment: int, scope: Scope) -> None:
        state: StreamState = await self._telemetry.state()
        end = min(until or state.last_sequence, state.last_sequence)
        if end <= views.telemetry_sequence:
            return
        subject = f"telemetry.{scope.runtime_id or '*'}.{scope.trial or '*'}.*.steps"
        async with self._telemetry.consume(views.telemetry_sequence, (subject,), headers_only=True) as reader:
            await reader.open(WAIT_SECONDS)
            await _replay(views, reader, end, moment)

    def _nearest(self, until: int, telemetry: int, moment: int, scope: Scope) -> Views:
        """Load the newest checkpoint that lies before a moment in both streams; empty views where there is none."""
        views = Views()
        sequences = [*self._checkpoints.sequences(), until] if self._checkpoints is not None else []
        # Each is read once: all those behind the moment lead to the same one.
        sequences = sorted({min(until, sequence) for sequence in sequences})
        while sequences and self._checkpoints is not None:
            checkpoint = self._checkpoints.newest(at_most=sequences.pop())
            if checkpoint is None:
                break
            position = checkpoint.position
            before = not telemetry or position["telemetry_sequence"] <= telemetry
            early = not moment or max(position["telemetry_time"], position["events_time"]) <= moment
            same = position["telemetry_stream"] == self._streams.telemetry
            if before and early and same and self._is_ours(checkpoint) and (telemetry or moment):
                load(views, checkpoint, scope.runtime_id)
                break
        return views


def apply_message(views: Views, message: StoredMessage) -> Key | None:
    """Fold one message of TELEMETRY. Returns the trial that it moved; None: none."""
    try:
        runtime_id, number, attempt, _ = parse_telemetry_subject(message.subject)
    except ValueError:
        views.telemetry_sequence, views.telemetry_time = message.sequence, message.time
        views.malformed_batches += 1
        return None
    return views.apply_telemetry(message.sequence, message.time, Key(runtime_id, number), attempt, message.headers)


async def _replay(views: Views, reader: OrderedReader, end: int, moment: int) -> None:
    while reader.pending:
        messages = await reader.next_batch(BATCH, WAIT_SECONDS)
        if not messages:
            raise Unavailable("telemetry cannot be read at the moment")
        for message in messages:
            if message.sequence > end or (moment and message.time > moment):
                return
            apply_message(views, message)


def _event_subjects(scope: Scope) -> tuple[str, ...]:
    return (f"events.{scope.runtime_id}.>",) if scope.runtime_id else ("events.>",)


def _record(kind: str, runtime_id: str, content: object) -> bytes:
    """One record of a checkpoint. It begins with the runtime, so that others are passed over without being decoded."""
    return orjson.dumps([runtime_id, kind]) + b"\t" + compress(CODEC.encode(content))


def _key(kind: str, runtime_id: str, trial: int = 0) -> bytes:
    """What tells a record from others in checkpoints."""
    return f"{kind} {runtime_id} {trial}".encode()


def key_of(record: bytes) -> bytes:
    """Return the key of a record that an earlier version wrote."""
    head, _, content = record.partition(b"\t")
    owner, kind = orjson.loads(head)
    if kind == "runtime":
        return _key(kind, owner)
    value: Any = CODEC.decode(decompress(content))
    return _key(kind, *value.key) if kind == "trial" else _key(kind, owner, value[0])


def load(views: Views, checkpoint: Checkpoint, runtime_id: str) -> None:
    """Fill views from a checkpoint; only with one runtime if it is named."""
    prefix = orjson.dumps([runtime_id])[:-1] + b"," if runtime_id else b""
    for record in checkpoint.records:
        if prefix and not record.startswith(prefix):
            continue
        head, _, content = record.partition(b"\t")
        owner, kind = orjson.loads(head)
        value: Any = CODEC.decode(decompress(content))
        if kind == "runtime":
            runtime: RuntimeView = value
            views.runtimes[owner] = runtime
        elif kind == "trial":
            view: TrialView = value
            views.trials[view.key] = view
            if view.state.active is not None:
                views.active.add(view.key)
        else:
            number, position = value
            assert isinstance(position, Position)
            views.positions[Key(owner, number)] = position
    views.runtimes = dict(sorted(views.runtimes.items(), key=lambda item: item[1].created_sequence))
    views.events_sequence = checkpoint.sequence
    views.telemetry_sequence = checkpoint.position["telemetry_sequence"]
    views.telemetry_time = checkpoint.position["telemetry_time"]
    views.events_time = checkpoint.position["events_time"]
    # A checkpoint of an earlier version has none.
    views.set_aside.restore(checkpoint.position.get("set_aside", {}))
    views.batches_set_aside.restore(checkpoint.position.get("batches_set_aside", {}))
    views.revision += 1

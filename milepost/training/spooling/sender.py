"""Sends the batches of a spool to TELEMETRY, and lets go of them when the metric writer has stored them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from milepost.api.telemetry.v1.telemetry_pb2 import Stored
from milepost.eventlog import EventLogError, EventRefused, LogFull, LogUnavailable, telemetry_headers
from milepost.eventlog.nats import codes
from milepost.eventlog.nats.connection import ApiError, Connection
from milepost.eventlog.telemetry import Telemetry, logs_subject, steps_subject, stored_subject
from milepost.training.spooling.spool import LOGS, STEPS, Held, Spool, kinds

log = logging.getLogger(__name__)

PUBLISH_TIMEOUT_SECONDS = 5.0
# An acknowledged batch that a living writer does not report as stored is sent again after this long, then
# after twice as long, and so on.
STORED_PATIENCE_SECONDS = 10.0
MAX_PATIENCE_SECONDS = 300.0
_RETRY_SECONDS = 1.0
# Text that one process prints: so much goes out at once, and so much each second after that, some 10,000 lines.
LOG_BURST_BYTES = 8 << 20
LOG_BYTES_PER_SECOND = 1 << 20


@dataclass(slots=True)
class TokenBucket:
    """How many bytes may go out: `burst` at once, and so many a second after that."""

    burst: float = LOG_BURST_BYTES
    per_second: float = LOG_BYTES_PER_SECOND
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.burst, time.monotonic()

    def has_room(self) -> bool:
        now = time.monotonic()
        self._left, self._at = min(self.burst, self._left + (now - self._at) * self.per_second), now
        return self._left > 0

    def spend(self, size: int) -> None:
        self._left -= size


def _is_too_large(error: EventLogError) -> bool:
    """Return whether a message can never be sent, to this server."""
    return isinstance(error, EventRefused) or (isinstance(error, ApiError) and error.err_code in codes.TOO_LARGE)


class TelemetrySender:
    """One sender (runtime, trial, attempt, source). Lives in one event loop.

    Batches go out one at a time, in order of their numbers, logs before steps. `on_watched` hears whether somebody
    looks at the trial. Logs beyond `logs` wait in the spool until there is room, or until the end is waited for: what
    one run prints is not to take the broker and the metric service from the others.
    """

    def __init__(
        self, spool: Spool, on_watched: Callable[[bool], None] | None = None, logs: TokenBucket | None = None
    ) -> None:
        self._spool = spool
        self._logs = logs or TokenBucket(burst=math.inf)
        # How many wait for everything to go out.
        self._hurried = 0
        self._on_watched = on_watched or (lambda watched: None)
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()
        sender = spool.sender
        self._subjects = {
            kind: (steps_subject if kind == STEPS else logs_subject)(sender.runtime_id, sender.trial, sender.attempt)
            for kind in kinds()
        }
        self._stored_subject = stored_subject(sender.runtime_id, sender.trial, sender.attempt)
        # The lowest number that may not have been acknowledged, per kind.
        self._cursor: dict[str, int] = dict.fromkeys(kinds(), 1)
        self._writer_seen = 0.0
        # Whether the metric service stores rows beside values; None: it has not been heard of.
        self.writer_takes_rows: bool | None = None
        self.trouble = ""

    def wake(self) -> None:
        """Say that the spool has something new."""
        self._wake.set()

    async def run(self, connection: Connection) -> None:
        """Send until cancelled."""
        stop_listening = connection.on_renewal(self._send_all_again)
        subscription = await connection.subscribe(self._stored_subject)
        reader = asyncio.create_task(self._read_stored(subscription))
        telemetry = Telemetry(connection)
        try:
            while True:
                if not await self._send_next(telemetry):
                    self._wake.clear()
                    if self._next_unsent() is None:
                        await self._pause()
        finally:
            reader.cancel()
            stop_listening()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_RETRY_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            self._lose_patience()

    async def _send_next(self, telemetry: Telemetry) -> bool:
        """Send the next batch. Returns False when there is none or the broker did not take it."""
        following = self._next_unsent()
        if following is None:
            return False
        kind, number, held = following
        entry = self._spool.get(kind, number)
        if entry is None:
            held.acknowledged = time.monotonic()
            return True
        headers = {**entry.headers, telemetry_headers.WRITTEN: str(self._spool.last_number(kind))}
        try:
            await telemetry.publish(self._subjects[kind], entry.body, headers, PUBLISH_TIMEOUT_SECONDS)
        except (LogUnavailable, LogFull) as error:
            self.trouble = str(error)
            await asyncio.sleep(_RETRY_SECONDS)
            return False
        except EventLogError as error:
            # Refused for good: it would be refused again at once.
            self.trouble = str(error)
            log.warning("telemetry.refused", extra={"kind": kind, "number": number, "error": str(error)})
            if _is_too_large(error) and self._spool.set_aside(kind, number, str(error)):
                # All that follows would wait behind it.
                return True
            await asyncio.sleep(STORED_PATIENCE_SECONDS)
            return False
        self.trouble = ""
        if kind == LOGS:
            self._logs.spend(len(entry.body))
        held.acknowledged = time.monotonic()
        await self._notify()
        return True

    def _next_unsent(self) -> tuple[str, int, Held] | None:
        for kind in kinds():
            if kind == LOGS and not self._hurried and not self._logs.has_room():
                continue
            held_by_number = self._spool.held(kind)
            last = self._spool.last_number(kind)
            if not held_by_number:
                self._cursor[kind] = last + 1
            while self._cursor[kind] <= last:
                held = held_by_number.get(self._cursor[kind])
                if held is not None and not held.acknowledged:
                    return kind, self._cursor[kind], held
                self._cursor[kind] += 1
        return None

    async def _read_stored(self, subscription: object) -> None:
        async for message in subscription:  # type: ignore[attr-defined]
            try:
                stored = Stored.FromString(message.body)
            except DecodeError:
                continue
            self._writer_seen = time.monotonic()
            self.writer_takes_rows = stored.takes_rows
            for span in stored.ranges:
                if span.source == self._spool.sender.source and span.kind in self._subjects:
                    self._spool.remove(span.kind, span.first, span.last)
            self._on_watched(stored.watched)
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _lose_patience(self) -> None:
        """Send again what a living writer should have reported as stored by now."""
        for kind in kinds():
            for number, held in self._spool.held(kind).items():
                overdue = self._writer_seen > held.acknowledged + held.patience and self.writer_alive
                if held.acknowledged and overdue:
                    held.acknowledged = 0.0
                    self._cursor[kind] = min(self._cursor[kind], number)
                    held.patience = min(2 * held.patience, MAX_PATIENCE_SECONDS)

    def _send_all_again(self) -> None:
        """The broker was away and may have lost what it acknowledged last."""
        for kind in kinds():
            for held in self._spool.held(kind).values():
                held.acknowledged = 0.0
            self._cursor[kind] = 1
        self._wake.set()

    def unacknowledged(self) -> int:
        """Count the batches that the broker has not acknowledged."""
        return sum(1 for kind in kinds() for held in self._spool.held(kind).values() if not held.acknowledged)

    def unstored(self, until: Mapping[str, int]) -> int:
        """Count the batches up to the given numbers that are not known to be stored."""
        return sum(1 for kind, last in until.items() for number in self._spool.held(kind) if number <= last)

    async def wait_stored(self, until: Mapping[str, int], seconds: float) -> bool:
        """Wait until all batches up to the given numbers are stored. Returns False when time is up."""
        return await self._wait(lambda: self.unstored(until) == 0, seconds)

    async def wait_sent(self, seconds: float) -> bool:
        """Wait until the broker has everything. Returns False when time is up."""
        self._hurried += 1
        self.wake()
        try:
            return await self._wait(lambda: self.unacknowledged() == 0, seconds)
        finally:
            self._hurried -= 1

    async def drain(self, seconds: float) -> None:
        """Wait until the broker has everything and, if the metric writer lives, until all of it is stored."""
        deadline = time.monotonic() + seconds
        if await self.wait_sent(seconds) and self.writer_alive:
            until = {kind: self._spool.last_number(kind) for kind in kinds()}
            await self.wait_stored(until, max(0.0, deadline - time.monotonic()))

    @property
    def writer_alive(self) -> bool:
        """Whether the metric writer was heard of within the last 10 s."""
        return time.monotonic() - self._writer_seen < STORED_PATIENCE_SECONDS and self._writer_seen > 0

    async def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            return condition()
        return True

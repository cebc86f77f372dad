"""Appends the events of one attempt, through the same decider and the same check as the runtime service.

What is to be appended waits in the spool, with its id and time, until it is in the log: a broker that is away, or a
crash, loses nothing. `drain` appends what a dead driver has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.domain import trial as domain
from milepost.domain.decider import Fact
from milepost.errors import FailedPrecondition, NotFound
from milepost.eventlog import (
    EventLog,
    EventLogError,
    EventRefused,
    Head,
    LogUnavailable,
    NewEvent,
    RecordedEvent,
    WrongExpectedSequence,
    parse_subject,
)
from milepost.eventlog.codec import UnknownEventType, decode, encode, format_time, parse_time
from milepost.ids import new_event_id
from milepost.names import AttemptKey
from milepost.training.spooling.owner import Owner
from milepost.training.spooling.spool import Spool, SpooledEvent, anybody, opened_left

log = logging.getLogger(__name__)

ACTOR = "trainer"
# Events of one append. What waits longer goes with the next one.
MAX_APPEND = 100
_RETRY_SECONDS = 1.0
_CONFLICTS = 20


@dataclass(frozen=True, slots=True)
class Death:
    """A process that is gone: who it was, and when it last wrote anything."""

    owner: Owner
    time: datetime


class Fenced(Exception):
    """The attempt may write nothing more. Whoever gets this leaves at once."""


class AttemptJournal:
    """The one writer of an attempt's subject. Lives in one event loop.

    `on_change` is called with the trial as the log has it, after every change that was seen, and with the event that
    changed it.
    """

    def __init__(
        self,
        log: EventLog,
        key: AttemptKey,
        spool: Spool,
        on_change: Callable[[domain.Trial, RecordedEvent], None] | None = None,
        traceparent: str = "",
        actor: str = ACTOR,
    ) -> None:
        self.key = key
        self._actor = actor
        self.traceparent = traceparent
        self.state = domain.initial
        self.head = Head(key.chain)
        self.fenced = asyncio.Event()
        # An event that this version does not know stands in the chain: another version may go on.
        self._undecidable = False
        self.trouble = ""
        self._log = log
        self._spool = spool
        self._on_change = on_change or (lambda state, event: None)
        self._waiting: list[SpooledEvent] = spool.events()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        # Reading and appending both move the head; one at a time.
        self._moving = asyncio.Lock()
        if self._waiting:
            self._work.set()
        else:
            self._idle.set()

    def record(self, payload: Message, *, cause: str = "", time: datetime | None = None) -> str:
        """Have a fact appended. It is in the spool when this returns, in the log some time later. Returns its id."""
        ce_type, body = encode(payload)
        event = SpooledEvent(new_event_id(), ce_type, body, format_time(time or datetime.now(UTC)), cause)
        self._spool.put_event(event)
        self._waiting.append(event)
        self._idle.clear()
        self._work.set()
        return event.id

    async def reload(self) -> None:
        """Read the trial's chain as far as it is not known yet.

        Raises:
            LogUnavailable: the log did not answer in time.
        """
        async with self._moving:
            head = await self._log.head(self.key.chain)
            if head.sequence <= self.head.sequence:
                return
            stored = set()
            for event in await self._log.read_chain(self.key.chain):
                if event.sequence > self.head.sequence:
                    self._apply(event)
                    stored.add(event.id)
            # Somebody else, who was lent the spool, has appended them in this attempt's name.
            for spooled in [waiting for waiting in self._waiting if waiting.id in stored]:
                self._forget(spooled)
            if head.sequence > self.head.sequence:
                # The last messages of the chain are no events; the next one comes behind them all the same.
                self.head = head
            active = self.state.active
            if active is None or active.attempt != self.key.attempt or active.fence is not None:
                self.fenced.set()

    def _apply(self, event: RecordedEvent) -> None:
        attempt = parse_subject(event.subject).attempt
        try:
            payload = decode(event.type, event.body)
        except UnknownEventType:
            log.error("journal.unknown_event", extra={"type": event.type, "sequence": event.sequence})
            self.head = event.head
            if attempt is None:
                # A newer service writes what this version cannot judge: it must not go on deciding. What an attempt
                # writes decides nothing that this version does not know of.
                self._undecidable = True
                self.fenced.set()
            return
        self.state = domain.evolve(self.state, Fact(payload, attempt))
        self.head = event.head
        self._on_change(self.state, event)

    async def run(self) -> None:
        """Append what is recorded, for ever.

        Raises:
            Fenced: the attempt may write nothing more.
        """
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                try:
                    await self._append_next()
                    self.trouble = ""
                except EventRefused as error:
                    self._give_up(self._waiting[:1], error)
                except EventLogError as error:
                    if str(error) != self.trouble:
                        log.warning("journal.append_failed", extra={"error": str(error), "waiting": len(self._waiting)})
                    self.trouble = str(error)
                    await asyncio.sleep(_RETRY_SECONDS)
            self._idle.set()

    async def _append_next(self) -> None:
        """Append the oldest events that wait, as one decision.

        Raises:
            Fenced: the attempt may write nothing more.
            EventLogError: it was not possible now.
        """
        for _ in range(_CONFLICTS):
            if self.head.sequence == 0:
                await self.reload()
            if not self._waiting:
                return
            try:
                async with self._moving:
                    await self._append_decided()
                return
            except WrongExpectedSequence:
                await self.reload()
        raise LogUnavailable(f"{self.key.chain} moved {_CONFLICTS} times in a row")

    async def _append_decided(self) -> None:
        if self.fenced.is_set():
            raise Fenced
        decided = self._decide()
        if not decided:
            return
        appended = await self._log.append([new for _, new in decided], [self.head])
        for (spooled, new), sequence in zip(decided, appended.sequences, strict=True):
            self._note(new, sequence)
            self._forget(spooled)
        self.head = appended.heads.get(self.key.chain, self.head)

    def _decide(self) -> list[tuple[SpooledEvent, NewEvent]]:
        """Decide on the events that wait, in order; drop those that say what the log says already."""
        state = self.state
        decided: list[tuple[SpooledEvent, NewEvent]] = []
        for spooled in self._waiting[:MAX_APPEND]:
            try:
                payload = decode(spooled.type, spooled.body)
                parse_time(spooled.time)
            except (UnknownEventType, ValueError) as error:
                if decided:
                    break
                self._give_up([spooled], error)
                return []
            try:
                outcome = domain.decide(state, domain.Record(self.key.attempt, payload))
            except (domain.StaleAttempt, NotFound) as error:
                if decided:
                    break
                self.fenced.set()
                raise Fenced from error
            except FailedPrecondition as error:
                if decided:
                    break
                self._give_up([spooled], error)
                return []
            if not outcome:
                if decided:
                    break
                self._forget(spooled)
                return []
            decided.append((spooled, self._new_event(spooled)))
            state = domain.evolve(state, Fact(payload, self.key.attempt))
        return decided

    def _new_event(self, spooled: SpooledEvent) -> NewEvent:
        return NewEvent(
            subject=self.key.subject,
            type=spooled.type,
            body=spooled.body,
            id=spooled.id,
            time=parse_time(spooled.time),
            source=self.key.source,
            actor=self._actor,
            cause=spooled.cause,
            traceparent=self.traceparent,
        )

    def _note(self, new: NewEvent, sequence: int) -> None:
        """Apply an event of one's own."""
        recorded = RecordedEvent(
            sequence=sequence,
            subject=new.subject,
            recorded_time=new.time,
            type=new.type,
            body=new.body,
            id=new.id,
            time=new.time,
            source=new.source,
            actor=new.actor,
            cause=new.cause,
            traceparent=new.traceparent,
            version=0,
            previous_hash="",
            hash="",
        )
        head = self.head
        self._apply(recorded)
        # The real one comes with the answer to the append.
        self.head = head

    def _forget(self, spooled: SpooledEvent) -> None:
        self._waiting.remove(spooled)
        self._spool.remove_event(spooled.id)

    def _give_up(self, spooled: list[SpooledEvent], error: Exception) -> None:
        for event in spooled:
            log.error("journal.refused", extra={"type": event.type, "error": str(error)})
            self._forget(event)

    def discard_if_fenced(self) -> int:
        """Forget what waits if the log says that the attempt may write nothing more. Returns how much that was."""
        if not self.fenced.is_set() or self._undecidable or self.state.attempt < self.key.attempt:
            return 0
        count = len(self._waiting)
        for event in list(self._waiting):
            log.warning("journal.stale", extra={"attempt": self.key.source, "type": event.type})
            self._forget(event)
        self._idle.set()
        return count

    @property
    def waiting(self) -> int:
        """How many events are not in the log yet."""
        return len(self._waiting)

    def record_death(self, death: Death) -> None:
        """Say that the process of the attempt is gone, unless the log knows how it ended, or that it did."""
        active = self.state.active
        if active is None or active.attempt != self.key.attempt or not active.may_write:
            return
        attempt, cause = self.key.attempt, common.EXIT_CAUSE_SIGNAL
        detail = f"{death.owner} is gone without a last word: it was killed, or its machine went down"
        self.record(facts.InstanceExited(attempt=attempt, cause=cause, detail=detail), time=death.time)
        ended = facts.AttemptEnded(
            attempt=attempt,
            outcome=facts.ATTEMPT_OUTCOME_FAILED,
            cause=cause,
            detail=detail,
            last_step=active.last_step,
        )
        self.record(ended, time=death.time)

    async def wait_appended(self, seconds: float) -> bool:
        """Wait until everything that was recorded is in the log. Returns False when time is up, or if it is fenced."""
        idle = asyncio.create_task(self._idle.wait())
        fenced = asyncio.create_task(self.fenced.wait())
        try:
            await asyncio.wait({idle, fenced}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            fenced.cancel()
        return self._idle.is_set()


def driver_spool_path(attempt_directory: Path) -> Path:
    return attempt_directory / "spool-driver.sqlite"


async def drain(
    log: EventLog,
    attempt_directory: Path,
    seconds: float = 10.0,
    *,
    death: Death | None = None,
    key: AttemptKey | None = None,
) -> int:
    """Append the events that a driver has left, in its name: a dead one before it is fenced, or one that lives.

    Returns how many are left; more than 0: the log did not take them in time. Nothing happens without a spool.

    Args:
        death: of the process that has owned the spool. If that did not say how it ended, its death is recorded.
        key: whose spool it has to be; None: that of whoever it says.

    Raises:
        Owned: its owner lives on another machine.
    """
    spool = await opened_left(driver_spool_path(attempt_directory), key.is_of if key is not None else anybody)
    if spool is None:
        return 0
    sender = spool.sender
    journal = AttemptJournal(log, AttemptKey(sender.runtime_id, sender.trial, sender.attempt), spool)
    running = asyncio.create_task(journal.run())
    try:
        if await journal.wait_appended(seconds) and death is not None and spool.lent_by is None:
            await journal.reload()
            journal.record_death(death)
            await journal.wait_appended(seconds)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        journal.discard_if_fenced()
        spool.close()
    return journal.waiting


def driver_sender(key: AttemptKey) -> Sender:
    """Name the driver of an attempt as a sender of telemetry."""
    return Sender(runtime_id=key.runtime_id, trial=key.trial, attempt=key.attempt, source="driver")


def with_attempt(payload: Message, attempt: int) -> Message:
    """Fill in the attempt that a fact is about."""
    if getattr(payload, "attempt", 0) != attempt:
        payload.attempt = attempt  # type: ignore[attr-defined]
    return payload

"""Decide a command on the log: load, decide, append; and again when somebody was faster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from google.protobuf.message import Message

from milepost.domain import runtime, trial
from milepost.domain.decider import decide_all
from milepost.errors import Aborted, FailedPrecondition
from milepost.eventlog import (
    EventLog,
    Head,
    LogUnavailable,
    NewEvent,
    WrongExpectedSequence,
    codec,
    control_subject,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.ids import new_event_id
from services.runtime.readmodel.view import Reference
from services.runtime.readmodel.views import Views

log = logging.getLogger(__name__)

# Tries to win against other writers before the caller is told that it lost.
MAX_ROUNDS = 8
# An append without an answer may be stored: it is sent again with the same ids this often.
MAX_SENDS = 3
MAX_BATCH = 1_000

# Commands of one decision: those of the runtime under None, those of a trial under its number.
Commands = Mapping[int | None, Sequence[object]]


@dataclass(frozen=True, slots=True)
class Cause:
    """Who and what is behind a decision."""

    actor: str
    # Id of the event or command that brought it about. Empty: none.
    cause: str = ""
    traceparent: str = ""


def because_of(actor: str, reference: Reference | None) -> Cause:
    """Return an event as a cause: what somebody does because of it belongs to its trace, too."""
    return Cause(actor, reference.event_id, reference.traceparent) if reference is not None else Cause(actor)


def behind(actor: str, last: Mapping[str, Reference], *names: str) -> Cause:
    """Return the newest of some events as a cause. None of them: nothing but the actor itself."""
    newest = max((last[name] for name in names if name in last), key=lambda r: r.sequence, default=None)
    return because_of(actor, newest)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision appended: nothing, when everything was so already."""

    events: tuple[NewEvent, ...]
    # Of the last event; 0 when there is none.
    sequence: int


class Decisions:
    """The one way by which this service appends to the log."""

    def __init__(
        self, event_log: EventLog, views: Views, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._log = event_log
        self._views = views
        self._clock = clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def decide(self, runtime_id: str, commands: Commands, behind: Cause) -> Decided:
        """Decide commands on one runtime and its trials as one decision: all of their events or none.

        Returns once the views have them.

        Raises:
            MilepostError: what the deciders raise; nothing was appended.
            Aborted: others were faster every time.
            LogUnavailable: the log did not answer; the events may be stored.
        """
        return await self.decide_together({runtime_id: commands}, behind)

    async def decide_together(self, wanted: Mapping[str, Commands], behind: Cause) -> Decided:
        """Decide commands on several runtimes as one decision: all of their events or none. Raises as `decide`.

        The events are in the order of `wanted`.
        """
        # Two decisions of this process on one runtime would only make each other decide again. In one order, so that
        # nobody waits for who waits for him.
        async with AsyncExitStack() as held:
            for runtime_id in sorted(wanted):
                await held.enter_async_context(self._alone(runtime_id))
            return await self._decide(wanted, behind)

    @asynccontextmanager
    async def _alone(self, runtime_id: str) -> AsyncIterator[None]:
        # Whoever waits for it keeps it there.
        lock = self._locks.setdefault(runtime_id, asyncio.Lock())
        async with lock:
            yield

    async def _decide(self, wanted: Mapping[str, Commands], behind: Cause) -> Decided:
        for _ in range(MAX_ROUNDS):
            events: list[NewEvent] = []
            heads: list[Head] = []
            for runtime_id, commands in wanted.items():
                of_runtime, its_heads = self._evaluate(runtime_id, commands, behind)
                events += of_runtime
                heads += its_heads
            if not events:
                return Decided((), 0)
            if len(events) > MAX_BATCH:
                raise FailedPrecondition(
                    f"a decision of {len(events)} events is too large", reason="DECISION_TOO_LARGE"
                )
            try:
                sequence = await self._append(events, heads)
            except WrongExpectedSequence as error:
                log.info("decision.conflict", extra={"chain": error.chain, "expected": error.expected})
                head = await self._log.head(error.chain)
                await self._views.wait_for(head.sequence)
                continue
            await self._views.wait_for(sequence)
            return Decided(tuple(events), sequence)
        raise Aborted(f"others changed runtime {', '.join(wanted)} faster, {MAX_ROUNDS} times; try again")

    async def _append(self, events: Sequence[NewEvent], heads: Sequence[Head]) -> int:
        for send in range(1, MAX_SENDS + 1):
            try:
                return (await self._log.append(events, heads)).sequences[-1]
            except LogUnavailable:
                if send == MAX_SENDS:
                    raise
        raise AssertionError("unreachable")

    def _evaluate(self, runtime_id: str, commands: Commands, behind: Cause) -> tuple[list[NewEvent], list[Head]]:
        events: list[NewEvent] = []
        heads: list[Head] = []
        for number, wanted in commands.items():
            head, payloads = self._payloads(runtime_id, number, wanted)
            if payloads:
                heads.append(head)
            subject = runtime_subject(runtime_id) if number is None else control_subject(runtime_id, number)
            events += [self._event(subject, payload, behind) for payload in payloads]
        return events, heads

    def _payloads(self, runtime_id: str, number: int | None, commands: Sequence[object]) -> tuple[Head, list[Message]]:
        view = self._views.runtimes.get(runtime_id)
        if number is None:
            state = view.state if view is not None else runtime.initial
            _check_decidable(view.undecidable if view is not None else "")
            decided = decide_all(runtime.decide, runtime.evolve, state, commands)
            return (view.head if view is not None else Head(runtime_chain(runtime_id))), decided
        trial_view = view.trials.get(number) if view is not None else None
        if trial_view is None:
            return Head(trial_chain(runtime_id, number)), trial.decide_all(trial.initial, list(commands))
        _check_decidable(trial_view.undecidable)
        return trial_view.head, trial.decide_all(trial_view.state, list(commands))

    def _event(self, subject: str, payload: Message, behind: Cause) -> NewEvent:
        ce_type, body = codec.encode(payload)
        return NewEvent(
            subject=subject,
            type=ce_type,
            body=body,
            id=new_event_id(),
            time=self._clock(),
            source="/services/runtime",
            actor=behind.actor,
            cause=behind.cause,
            traceparent=behind.traceparent,
        )


def _check_decidable(unknown: str) -> None:
    if unknown:
        raise FailedPrecondition(
            f"a newer version of Milepost wrote to it ({unknown}); this version cannot decide on it",
            reason="UNKNOWN_EVENT_TYPE",
        )

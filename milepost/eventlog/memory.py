"""The event log and the key-value buckets in the memory of one process, under the same rules as on JetStream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from milepost.eventlog import (
    BUCKETS,
    SUBJECTS,
    Appended,
    EventRefused,
    Head,
    LogFull,
    LogMessage,
    LogMisconfigured,
    NewEvent,
    RecordedEvent,
    WrongExpectedSequence,
    chain_of,
)
from milepost.eventlog.envelope import Envelope, appended, read_message, record_envelope, seal


class MemoryLog:
    """The log in memory. It is lost with the process: for tests of deciders and services.

    Args:
        clock: the server's clock, with a time zone.
        maximum_events: when there are this many, appends raise `LogFull`. None: no limit.
    """

    def __init__(self, clock: Callable[[], datetime] | None = None, maximum_events: int | None = None) -> None:
        self._clock = clock or (lambda: datetime.now(UTC))
        self._maximum_events = maximum_events
        self._events: list[LogMessage] = []
        self._sequences: dict[str, int] = {}
        self._heads: dict[str, Head] = {}
        self._appended = asyncio.Condition()
        self._closed = False

    async def append(self, events: Sequence[NewEvent], expected: Sequence[Head]) -> Appended:
        envelopes = seal(events, expected)
        stored = [self._sequences.get(event.id) for event in events]
        if all(stored):
            return self._repeated(envelopes)
        for head in expected:
            actual = self._heads.get(head.chain, Head(head.chain)).sequence
            if actual != head.sequence:
                raise WrongExpectedSequence(head.chain, head.sequence, actual)
        if any(stored):
            raise EventRefused("an id of this decision is in the log already, with other events")
        if self._maximum_events is not None and len(self._events) + len(events) > self._maximum_events:
            raise LogFull(f"the log holds {self._maximum_events} events at most")
        now = self._clock()
        for envelope in envelopes:
            event = record_envelope(envelope, len(self._events) + 1, now)
            self._events.append(event)
            self._sequences[event.id] = event.sequence
            self._heads[envelope.chain] = event.head
        async with self._appended:
            self._appended.notify_all()
        return appended(envelopes, len(self._events), repeated=False)

    def _repeated(self, envelopes: Sequence[Envelope]) -> Appended:
        stored = [self._events[self._sequences[envelope.headers["ce-id"]] - 1] for envelope in envelopes]
        events = [event for event in stored if isinstance(event, RecordedEvent)]
        heads = {event.head.chain: event.head for event in events}
        return Appended(tuple(event.sequence for event in events), heads, repeated=True)

    async def put(self, subject: str, headers: Mapping[str, str], body: bytes) -> LogMessage:
        """Store a message as whoever may write on a subject can: without any check."""
        message = read_message(len(self._events) + 1, subject, headers, body, self._clock())
        self._events.append(message)
        known = self._heads.get(chain_of(subject), Head(chain_of(subject)))
        after = message.head if isinstance(message, RecordedEvent) else replace(known, sequence=message.sequence)
        self._heads[after.chain] = after
        async with self._appended:
            self._appended.notify_all()
        return message

    async def head(self, chain: str) -> Head:
        return self._heads.get(chain, Head(chain))

    async def read_chain(self, chain: str) -> list[RecordedEvent]:
        events = [event for event in self._events if isinstance(event, RecordedEvent)]
        return [event for event in events if chain_of(event.subject) == chain]

    async def read(
        self, after: int = 0, until: int | None = None, subjects: Sequence[str] = (SUBJECTS,)
    ) -> AsyncIterator[LogMessage]:
        end = len(self._events) if until is None else min(until, len(self._events))
        for event in self._events[after:end]:
            if matches(event.subject, subjects):
                yield event

    async def follow(self, after: int = 0, subjects: Sequence[str] = (SUBJECTS,)) -> AsyncIterator[LogMessage]:
        position = after
        while not self._closed:
            async with self._appended:
                while len(self._events) <= position and not self._closed:
                    await self._appended.wait()
            for event in self._events[position:]:
                position = event.sequence
                if matches(event.subject, subjects):
                    yield event

    async def last_sequence(self) -> int:
        return len(self._events)

    async def close(self) -> None:
        self._closed = True
        async with self._appended:
            self._appended.notify_all()


def matches(subject: str, patterns: Sequence[str]) -> bool:
    """Return whether a subject matches one of some patterns: `*` stands for one token, a last `>` for one or more."""
    tokens = subject.split(".")
    return any(_matches(tokens, pattern.split(".")) for pattern in patterns)


def _matches(tokens: Sequence[str], pattern: Sequence[str]) -> bool:
    if pattern[-1] == ">":
        pattern = pattern[:-1]
        if len(tokens) <= len(pattern):
            return False
        tokens = tokens[: len(pattern)]
    return len(tokens) == len(pattern) and all(
        wanted in ("*", token) for token, wanted in zip(tokens, pattern, strict=True)
    )


class MemoryKeyValue:
    """The buckets in memory. Values expire as on JetStream.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._revision = 0
        # (bucket, key) -> (value, revision, time it was written)
        self._values: dict[tuple[str, str], tuple[bytes, int, float]] = {}

    async def create(self, bucket: str, key: str, value: bytes) -> int | None:
        if await self.get(bucket, key) is not None:
            return None
        return self._put(bucket, key, value)

    async def get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        if bucket not in BUCKETS:
            raise LogMisconfigured(f"there is no bucket {bucket}")
        found = self._values.get((bucket, key))
        if found is None or self._clock() - found[2] >= BUCKETS[bucket]:
            self._values.pop((bucket, key), None)
            return None
        return found[0], found[1]

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int | None:
        found = await self.get(bucket, key)
        if found is None or found[1] != revision:
            return None
        return self._put(bucket, key, value)

    async def delete(self, bucket: str, key: str) -> None:
        await self.get(bucket, key)
        self._values.pop((bucket, key), None)

    def _put(self, bucket: str, key: str, value: bytes) -> int:
        self._revision += 1
        self._values[bucket, key] = (value, self._revision, self._clock())
        return self._revision

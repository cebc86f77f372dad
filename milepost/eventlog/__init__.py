"""The append-only event log: what an event is, how it is appended, how it is read.

The protocol is here; `nats/` implements it on JetStream, `memory` in one process, under the same tests. `envelope`, `codec` and
`upcasting` lie between events and bytes, `bounds` says how much is taken in, `proof/` shows that nothing was changed,
and `verify` does so in a process of its own. `backup` copies streams. `telemetry` and `telemetry_headers` are what is not an
event: batches and beats.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Protocol

EVENTS = "EVENTS"
TELEMETRY = "TELEMETRY"
SUBJECTS = "events.>"
PLATFORM_SUBJECT = "events.platform.access"
# Which rules there are. What they found in a runtime is on `events.<runtime>.rules`.
RULES_SUBJECT = "events.platform.rules"
# The most events that one decision may have: they are one atomic batch.
MAX_EVENTS = 1000

# Buckets of `KeyValue`, and after how many seconds a value that nobody renewed is gone.
REQUESTS_BUCKET = "requests"
LEASES_BUCKET = "leases"
# Longer than any attempt runs: a launch whose claim is forgotten could be handed out twice.
LAUNCHES_BUCKET = "launches"
BUCKETS = {REQUESTS_BUCKET: 24 * 3600.0, LEASES_BUCKET: 10.0, LAUNCHES_BUCKET: 10 * 365 * 24 * 3600.0}

_SUBJECT = re.compile(
    r"^events\.(?P<runtime>[a-z0-9][a-z0-9_-]{0,62})"
    r"\.(?:runtime|(?P<rules>rules)|trial\.(?P<trial>[1-9][0-9]{0,8})\.(?:control|attempt-(?P<attempt>[1-9][0-9]{0,8})))\Z"
)


class EventLogError(Exception):
    """Base of what the log raises."""


class WrongExpectedSequence(EventLogError):
    """Somebody else appended to a chain first. Reload and decide again.

    Attributes:
        chain: the chain whose head was not the expected one.
        expected: the sequence that was expected.
        actual: the sequence of the head, where the server told it.
    """

    def __init__(self, chain: str, expected: int, actual: int | None) -> None:
        super().__init__(
            f"the head of {chain} is at {actual if actual is not None else 'another sequence'}, not {expected}"
        )
        self.chain = chain
        self.expected = expected
        self.actual = actual


class LogUnavailable(EventLogError):
    """The log did not answer in time. What was sent may be stored: retry with the same event ids."""


class LogFull(EventLogError):
    """The log refuses to grow: its size limit or its disk is reached."""


class LogMisconfigured(EventLogError):
    """The stream is missing or its configuration would lose history. The message says what to do."""


class EventRefused(EventLogError):
    """The log can never store this event as it is: too large, an id used before, a header that cannot be sent."""


class LogRegressed(EventLogError):
    """The log is behind its anchor or its hash chain is broken. Writes are refused until a person decides."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A parsed subject of the log."""

    runtime_id: str
    trial: int | None = None
    attempt: int | None = None
    # What rules found in the runtime, or of the platform which rules there are: a chain of its own.
    is_of_rules: bool = False

    @property
    def is_platform(self) -> bool:
        return self.runtime_id == "platform"


def runtime_subject(runtime_id: str) -> str:
    return f"events.{runtime_id}.runtime"


def control_subject(runtime_id: str, trial: int) -> str:
    return f"events.{runtime_id}.trial.{trial}.control"


def attempt_subject(runtime_id: str, trial: int, attempt: int) -> str:
    return f"events.{runtime_id}.trial.{trial}.attempt-{attempt}"


def firings_subject(runtime_id: str) -> str:
    return f"events.{runtime_id}.rules"


def runtime_chain(runtime_id: str) -> str:
    return f"events.{runtime_id}.runtime"


def trial_chain(runtime_id: str, trial: int) -> str:
    return f"events.{runtime_id}.trial.{trial}.*"


@lru_cache(maxsize=8192)
def parse_subject(subject: str) -> Subject:
    """Take a subject apart.

    Raises:
        ValueError: it is not a subject of the log.
    """
    if subject == PLATFORM_SUBJECT:
        return Subject("platform")
    match = _SUBJECT.match(subject)
    if match is None:
        raise ValueError(f"not a subject of the event log: {subject!r}")
    trial, attempt = match["trial"], match["attempt"]
    is_of_rules = match["rules"] is not None
    return Subject(match["runtime"], int(trial) if trial else None, int(attempt) if attempt else None, is_of_rules)


def chain_of(subject: str) -> str:
    """Name the chain a subject belongs to."""
    parsed = parse_subject(subject)
    if parsed.trial is None:
        return subject
    return trial_chain(parsed.runtime_id, parsed.trial)


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a chain. `sequence` 0: the chain is empty."""

    chain: str
    sequence: int = 0
    version: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that was decided but not yet appended.

    Attributes:
        subject: where it goes.
        type: `milepost.trial.snapshot_committed.v1`.
        body: serialized `RuntimeEvent`, `TrialEvent`, `PlatformEvent` or `RuleEvent`.
        id: uuid7; the same id is never stored twice.
        time: clock of the writer, with a time zone.
        source: the writer, for example `/services/runtime` or `/runtimes/rt-x/trials/1/attempts/2`.
        actor: who is behind it.
        cause: id of the event or command behind it; empty where there is none.
        traceparent: W3C trace context; empty where there is none.
    """

    subject: str
    type: str
    body: bytes
    id: str
    time: datetime
    source: str
    actor: str
    cause: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it stands in the log. `hash` covers the raw stored bytes, see `codec`."""

    sequence: int
    subject: str
    recorded_time: datetime
    type: str
    body: bytes
    id: str
    time: datetime
    source: str
    actor: str
    cause: str
    traceparent: str
    version: int
    previous_hash: str
    hash: str

    @property
    def head(self) -> Head:
        """The head of its chain right after this event."""
        return Head(chain_of(self.subject), self.sequence, self.version, self.hash)


@dataclass(frozen=True, slots=True)
class UnreadableMessage:
    """A message of the log that is no event: no writer of ours sent it, or it was changed beyond reading.

    It changes nothing but the position of whoever reads, and counts in the chain of its subject as if it were not there.
    `hash` is that of `codec.chain_hash` over what is there, so that it counts in the rolling digest like an event.
    """

    sequence: int
    subject: str
    recorded_time: datetime
    hash: str
    reason: str
    # Of its body.
    byte_count: int = 0


# What stands in the log. An attempt can put anything on its own subject, so every reader meets both.
LogMessage = RecordedEvent | UnreadableMessage


async def events_of(messages: AsyncIterator[LogMessage]) -> AsyncIterator[RecordedEvent]:
    """Leave out what is no event."""
    async for message in messages:
        if isinstance(message, RecordedEvent):
            yield message


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did: the sequence of each event, and the heads after it by chain."""

    sequences: tuple[int, ...]
    heads: dict[str, Head] = field(default_factory=dict)
    # True when an earlier try with the same ids had already stored them.
    repeated: bool = False


class EventLog(Protocol):
    """The log. All methods raise `LogUnavailable` when the server does not answer in time."""

    async def append(self, events: Sequence[NewEvent], expected: Sequence[Head]) -> Appended:
        """Append events of one decision: all of them or none (at most 1,000).

        `expected` has the head of every chain that the events touch. Versions, previous hashes and hashes follow
        from it. Given again with the same ids after an unknown outcome, it answers with what was stored.

        Raises:
            WrongExpectedSequence: the head of a chain moved; nothing was stored.
            LogFull: nothing was stored.
        """
        ...

    async def head(self, chain: str) -> Head:
        """Read the head of a chain from the leader, never from a stale replica.

        Version and hash are those of its last event, the sequence that of its last message, which may be no event.
        """
        ...

    async def read_chain(self, chain: str) -> list[RecordedEvent]:
        """Read the events of a whole chain, oldest first."""
        ...

    def read(
        self, after: int = 0, until: int | None = None, subjects: Sequence[str] = (SUBJECTS,)
    ) -> AsyncIterator[LogMessage]:
        """Read what has after < sequence <= until, in order; `until` None: to the end as it is at the call."""
        ...

    def follow(self, after: int = 0, subjects: Sequence[str] = (SUBJECTS,)) -> AsyncIterator[LogMessage]:
        """Read what comes after a sequence, then each new one, for ever, without gap or repeat over reconnects."""
        ...

    async def last_sequence(self) -> int:
        """Sequence of the last event of the whole log; 0 when it is empty."""
        ...

    async def close(self) -> None: ...


class KeyValue(Protocol):
    """Small shared facts with a time to live: request ids, the leader lease, who has a launch. Not history."""

    async def create(self, bucket: str, key: str, value: bytes) -> int | None:
        """Store a value if the key is absent. Returns its revision, or None when the key is there."""
        ...

    async def get(self, bucket: str, key: str) -> tuple[bytes, int] | None: ...

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int | None:
        """Replace a value if its revision is still this one. Returns the new revision, or None."""
        ...

    async def delete(self, bucket: str, key: str) -> None: ...

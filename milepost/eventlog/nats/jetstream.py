"""The event log and the key-value buckets on NATS JetStream."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from milepost.eventlog import (
    SUBJECTS,
    Appended,
    EventLogError,
    EventRefused,
    Head,
    LogFull,
    LogMessage,
    LogMisconfigured,
    LogRegressed,
    LogUnavailable,
    NewEvent,
    RecordedEvent,
    UnreadableMessage,
    WrongExpectedSequence,
    events_of,
)
from milepost.eventlog.envelope import Envelope, appended, read_message, seal, server_time
from milepost.eventlog.nats import codes
from milepost.eventlog.nats.connection import ApiError, Connection, Tries, connect, parse_answer, patiently
from milepost.eventlog.nats.keyvalue import JetStreamKeyValue
from milepost.eventlog.nats.messages import StoredMessage, get_message, read_direct
from milepost.eventlog.nats.occasions import Occasions
from milepost.eventlog.nats.ordered import OrderedReader
from milepost.eventlog.nats.streams import EVENTS, StreamSettings, StreamState, ensure_streams, stream_state
from milepost.eventlog.nats.wire import has_status
from milepost.installation import observability

__all__ = [
    "Connection",
    "JetStreamKeyValue",
    "JetStreamLog",
    "StreamSettings",
    "connect",
    "ensure_streams",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

APPEND_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 15.0
# After this silence a read asks whether there is anything left to read.
PROBE_SECONDS = 2.0
# How long one try of an append waits for its answer before it is sent again.
TRY_SECONDS = 2.0
# Events that a read takes from its buffer at once, and messages that one direct get of a chain asks for.
READ_BATCH = 1000
CHAIN_BATCH = 500
CHAIN_BYTES = 4 << 20
# A replica that is behind is asked again after this pause.
STALE_PAUSE_SECONDS = 0.02

_UNAVAILABLE = 503
_LAST_SEQUENCE = re.compile(r"wrong last sequence: (\d+)")

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"


class _Conflict(Exception):
    """The server says that a head moved, or that an id is there already."""

    def __init__(self, actual: int | None, duplicate: bool) -> None:
        self.actual = actual
        self.duplicate = duplicate


class JetStreamLog:
    """The log on the stream EVENTS. See `milepost.eventlog.EventLog` for what each method promises.

    Args:
        connection: shared with whoever else needs it; closed by whoever made it.
        direct: read heads by direct get, which is all that an attempt's permissions allow, instead of from the leader.
        append_timeout_seconds: how long an append tries before it raises `LogUnavailable`.
    """

    def __init__(
        self, connection: Connection, *, direct: bool = False, append_timeout_seconds: float = APPEND_TIMEOUT_SECONDS
    ) -> None:
        self._connection = connection
        self.direct = direct
        self._append_timeout_seconds = append_timeout_seconds
        self._append_seconds = observability.histogram(
            "milepost.eventlog.append.duration", "Time to append the events of one decision, durably"
        )
        # Sequences that heads are known to have reached: a direct get may answer from a replica that is behind.
        self._floors: dict[str, int] = {}
        self._readers: set[OrderedReader] = set()
        self._unreadable = observability.counter(
            "milepost.eventlog.unreadable", "Messages of the log that were read and are no events"
        )
        self._unreadable.add(0)
        self._occasions = Occasions()
        # While a person has to decide about a log that regressed: what every append raises. See `log_guard.LogGuard`.
        self.refusal: LogRegressed | None = None

    async def append(self, events: Sequence[NewEvent], expected: Sequence[Head]) -> Appended:
        if self.refusal is not None:
            raise LogRegressed(str(self.refusal))
        envelopes = seal(events, expected)
        began = time.monotonic()
        with observability.span(f"append {events[0].type}", events[0].traceparent, "producer"):
            result = await self._append(envelopes, {head.chain: head for head in expected})
        self._append_seconds.record(time.monotonic() - began, {"events": len(events)})
        return result

    async def _append(self, envelopes: Sequence[Envelope], heads: Mapping[str, Head]) -> Appended:
        messages = _sealed_messages(envelopes, heads)
        deadline = time.monotonic() + self._append_timeout_seconds
        tries = Tries(deadline)
        while True:
            try:
                last = await self._send(messages, deadline)
                if len(envelopes) > 1:
                    await self._check_stored(envelopes, last)
                result = appended(envelopes, last, repeated=False)
                break
            except (_Conflict, LogFull) as refusal:
                # The server checks the sequence before the id, and room before both: an earlier try may be stored.
                own = await self._find_own(envelopes, heads, refusal)
                if own is not None:
                    result = own
                    break
                if isinstance(refusal, _Conflict):
                    raise await self._lost(heads, refusal) from None
                raise
            except LogUnavailable:
                if not await tries.wait():
                    raise
        self._remember({chain: head.sequence for chain, head in result.heads.items()})
        return result

    async def _send(self, messages: Sequence[_Message], deadline: float) -> int:
        """Send one try and return the sequence of its last event."""
        await self._connection.ready(deadline - time.monotonic())
        if len(messages) > 1:
            messages = _as_batch(messages)
            for message in messages[:-1]:
                await self._connection.publish(message.subject, message.body, message.headers)
        last = messages[-1]
        patience = max(0.1, min(TRY_SECONDS, deadline - time.monotonic()))
        answer = await self._connection.request(last.subject, last.body, last.headers, patience)
        try:
            acknowledgement = parse_answer(answer.data)
        except ApiError as error:
            raise _meaning(error) from error
        if acknowledgement.get("duplicate"):
            raise _Conflict(None, duplicate=True)
        return int(acknowledgement["seq"])

    async def _check_stored(self, envelopes: Sequence[Envelope], last: int) -> None:
        """Check that a batch that was acknowledged is there.

        A server that comes to the limit of its storage in the middle of a batch stores the events before it, drops the
        others, and acknowledges them all (seen with nats-server 2.15.1). At the limit of the stream it refuses the
        whole batch, as it should: see docs/operations.md.

        Raises:
            LogFull: the last event is not there.
        """
        own = envelopes[-1].headers["ce-id"]
        found = await (self._last(envelopes[-1].subject) if self.direct else self._get({"seq": last}))
        # Others may have written on the subject since; that needs this event before theirs.
        if found is None or (found.sequence <= last and found.headers.get("ce-id") != own):
            raise LogFull("the log is full: it took a decision and did not store all of it; free disk space")

    async def _find_own(
        self, envelopes: Sequence[Envelope], heads: Mapping[str, Head], refusal: _Conflict | LogFull
    ) -> Appended | None:
        """What an earlier try has stored of these events: all of them, or None."""
        if isinstance(refusal, _Conflict) and refusal.actual is not None and len(heads) == 1:
            self._remember(dict.fromkeys(heads, refusal.actual))
        if self.direct:
            return await self._find_own_directly(envelopes)
        first = envelopes[0]
        own_id = first.headers["ce-id"]
        found = await self._get({"seq": heads[first.chain].sequence + 1, "next_by_subj": first.chain})
        if found is not None and found.headers.get("ce-id") == own_id:
            last = found.sequence + len(envelopes) - 1
            if len(envelopes) > 1:
                await self._check_stored(envelopes, last)
            return appended(envelopes, last, repeated=True)
        if not (isinstance(refusal, _Conflict) and refusal.duplicate):
            return None
        # The caller has read the heads again after an unknown outcome: its events are before those heads.
        before = [event for event in await self.read_chain(first.chain) if event.id == own_id]
        if not before:
            return None
        sequence = before[0].sequence
        events = [event async for event in events_of(self.read(sequence - 1, sequence + len(envelopes) - 1))]
        if [event.id for event in events] != [envelope.headers["ce-id"] for envelope in envelopes]:
            return None
        return Appended(tuple(e.sequence for e in events), {e.head.chain: e.head for e in events}, repeated=True)

    async def _find_own_directly(self, envelopes: Sequence[Envelope]) -> Appended | None:
        """The same by direct gets: nobody else writes on an attempt's subject, so what it stored last is last there."""
        own = envelopes[-1]
        for place in (own.chain, own.subject):
            message = await self._last(place)
            if message is None or message.headers.get("ce-id") != own.headers["ce-id"]:
                continue
            # The server keeps the number within the batch: that of its last event is the size of the decision.
            stored = _read(message)
            if message.headers.get("Nats-Batch-Sequence", "1") == str(len(envelopes)) and isinstance(
                stored, RecordedEvent
            ):
                result = appended(envelopes, message.sequence, repeated=True)
                return replace(result, heads={**result.heads, own.chain: stored.head})
        return None

    async def _lost(self, heads: Mapping[str, Head], conflict: _Conflict) -> EventLogError:
        """Say which of the heads moved."""
        for chain, expected in heads.items():
            actual = (await self.head(chain)).sequence
            if actual != expected.sequence:
                return WrongExpectedSequence(chain, expected.sequence, actual)
        if conflict.duplicate:
            return EventRefused(
                f"an id of this decision on {', '.join(heads)} is in the log already, with other events"
            )
        first = next(iter(heads.values()))
        return WrongExpectedSequence(first.chain, first.sequence, conflict.actual)

    def _remember(self, sequences: Mapping[str, int]) -> None:
        if self.direct:
            self._floors.update(sequences)

    async def head(self, chain: str) -> Head:
        message = await self._last(chain)
        if message is None:
            return Head(chain)
        last = _read(message)
        if isinstance(last, RecordedEvent):
            return Head(chain, last.sequence, last.version, last.hash)
        # The next event comes behind this message, and links to the last one before it that is an event.
        events = [event for event in await self.read_chain(chain) if event.sequence < last.sequence]
        return Head(chain, last.sequence, events[-1].version, events[-1].hash) if events else Head(chain, last.sequence)

    async def read_chain(self, chain: str) -> list[RecordedEvent]:
        asked = self.direct and ".trial." in chain
        if asked:
            messages = map(_read, await self._requested_messages(chain))
            return [message for message in messages if isinstance(message, RecordedEvent)]
        return [message async for _, message in self.chain_events(chain)]

    async def chain_events(self, chain: str, after: int = 0) -> AsyncIterator[tuple[StoredMessage, RecordedEvent]]:
        """Yield the events of a chain behind a sequence, up to its head, each also as it is stored."""
        head = await self._last(chain)
        deadline = time.monotonic() + READ_TIMEOUT_SECONDS
        while head is not None and after < head.sequence:
            messages = await self._direct_batch(chain, after + 1)
            for message in messages:
                event = _read(message)
                if isinstance(event, RecordedEvent) and message.sequence <= head.sequence:
                    yield message, event
            if messages:
                after, deadline = messages[-1].sequence, time.monotonic() + READ_TIMEOUT_SECONDS
                continue
            # A replica that is behind the leader that named the head.
            if time.monotonic() > deadline:
                raise LogUnavailable(f"{chain} could not be read up to {head.sequence}")
            await asyncio.sleep(STALE_PAUSE_SECONDS)

    async def _requested_messages(self, chain: str) -> list[StoredMessage]:
        """The same from the runtime service, for attempts, who may not read ranges themselves."""
        _, runtime_id, _, trial, _ = chain.split(".")

        async def ask() -> list[StoredMessage]:
            *answers, end = await self._connection.collect(f"chains.{runtime_id}.{trial}")
            if not has_status(end.headers) or end.headers.get("Nats-Count") != str(len(answers)):
                raise LogUnavailable(f"an answer about {chain} did not arrive whole")
            return [read_direct(answer.headers or {}, answer.data) for answer in answers]

        return await self._patiently(ask)

    async def _direct_batch(self, subject: str, sequence: int) -> list[StoredMessage]:
        """Messages of a subject from a sequence on, as many as come in one answer."""
        request = json.dumps(
            {"seq": sequence, "next_by_subj": subject, "batch": CHAIN_BATCH, "max_bytes": CHAIN_BYTES}
        ).encode()
        answers = await self._patiently(lambda: self._connection.collect(f"$JS.API.DIRECT.GET.{EVENTS}", request))
        messages = []
        previous = 0
        for answer in answers:
            headers = answer.headers or {}
            # A message that got lost on the way ends what can be used of the answer.
            if has_status(headers) or headers.get("Nats-Last-Sequence") != str(previous):
                break
            messages.append(read_direct(headers, answer.data))
            previous = messages[-1].sequence
        return messages

    async def read(
        self, after: int = 0, until: int | None = None, subjects: Sequence[str] = (SUBJECTS,)
    ) -> AsyncIterator[LogMessage]:
        async for message in self._messages(after, until, subjects):
            yield self._counted(message)

    async def _messages(self, after: int, until: int | None, subjects: Sequence[str]) -> AsyncIterator[StoredMessage]:
        last = (await self.state()).last_sequence
        end = last if until is None else min(until, last)
        if end <= after:
            return
        async with self._reader(after, subjects) as reader:
            await reader.open(READ_TIMEOUT_SECONDS)
            patience = time.monotonic() + READ_TIMEOUT_SECONDS
            while reader.pending and reader.last_sequence < end:
                messages = await reader.next_batch(READ_BATCH, PROBE_SECONDS)
                if not messages:
                    if await self._ends_unreadably(reader.last_sequence, subjects):
                        raise LogRegressed(f"the server cannot read what it has after message {reader.last_sequence}")
                    if time.monotonic() > patience:
                        raise LogUnavailable(f"no event after {reader.last_sequence} in {READ_TIMEOUT_SECONDS:g} s")
                    continue
                patience = time.monotonic() + READ_TIMEOUT_SECONDS
                for message in messages:
                    if message.sequence > end:
                        return
                    yield message

    async def _ends_unreadably(self, after: int, subjects: Sequence[str]) -> bool:
        """Tell a server that has nothing readable behind a message, though it counts some, from one that is slow."""
        for subject in subjects:
            try:
                if await self._get({"seq": after + 1, "next_by_subj": subject}) is not None:
                    return False
            except ApiError:
                continue
        return True

    async def examine(self, after: int = 0, until: int | None = None) -> AsyncIterator[LogMessage]:
        """Read a range as `read` does, and end where the server cannot read on instead of raising."""
        try:
            async for message in self._messages(after, until, (SUBJECTS,)):
                yield _read(message)
        except LogRegressed as error:
            log.error("log.unreadable", extra={"error": str(error)})

    async def follow(self, after: int = 0, subjects: Sequence[str] = (SUBJECTS,)) -> AsyncIterator[LogMessage]:
        async with self._reader(after, subjects) as reader:
            while not reader.is_closed:
                for message in await reader.next_batch(READ_BATCH):
                    yield self._counted(message)

    @asynccontextmanager
    async def _reader(self, after: int, subjects: Sequence[str]) -> AsyncIterator[OrderedReader]:
        filters = () if SUBJECTS in subjects else tuple(subjects)
        reader = OrderedReader(self._connection, EVENTS, after, filters, buffer_messages=READ_BATCH * 4)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            await reader.close()

    def _counted(self, stored: StoredMessage) -> LogMessage:
        """Read a message; one that is no event is said and counted, and `milepost audit verify` names it."""
        message = _read(stored)
        if isinstance(message, UnreadableMessage):
            self._unreadable.add(1)
            if count := self._occasions.next(message.subject):
                extra = {"sequence": message.sequence, "error": message.reason, "count": count}
                log.warning("event.unreadable", extra=extra)
        return message

    async def last_sequence(self) -> int:
        state = await self.state()
        if self.direct or (self.refusal is None and state.message_count == state.last_sequence):
            return state.last_sequence
        # A log that has lost its end counts on: nobody must wait for what cannot be read.
        last = await self._get({"last_by_subj": SUBJECTS})
        return last.sequence if last is not None else 0

    async def state(self) -> StreamState:
        """Where EVENTS stands. `created` is its identity.

        Raises:
            LogMisconfigured: there is no stream.
        """
        return await self._patiently(lambda: stream_state(self._connection, EVENTS))

    async def close(self) -> None:
        """End whoever follows. The connection stays with whoever made it."""
        for reader in list(self._readers):
            await reader.close()

    async def _last(self, subject: str) -> StoredMessage | None:
        """The last message of a subject or chain, from the leader or from a replica that is not behind."""
        if not self.direct:
            return await self._get({"last_by_subj": subject})
        deadline = time.monotonic() + READ_TIMEOUT_SECONDS
        while True:
            answer = await self._patiently(lambda: self._connection.request(f"$JS.API.DIRECT.GET.{EVENTS}.{subject}"))
            headers = answer.headers or {}
            message = None if has_status(headers) else read_direct(headers, answer.data)
            if (message.sequence if message is not None else 0) >= self._floors.get(subject, 0):
                return message
            if time.monotonic() > deadline:
                raise LogUnavailable(
                    f"the head of {subject} is behind {self._floors[subject]} on the replica that answers"
                )
            await asyncio.sleep(STALE_PAUSE_SECONDS)

    async def _get(self, request: dict[str, Any]) -> StoredMessage | None:
        """Read one message from the leader."""
        try:
            return await self._patiently(lambda: get_message(self._connection, EVENTS, request))
        except ApiError as error:
            raise _meaning(error) from error

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await patiently(self._connection, ask, READ_TIMEOUT_SECONDS)


class _Message(NamedTuple):
    subject: str
    body: bytes
    headers: dict[str, str]


def _sealed_messages(envelopes: Sequence[Envelope], heads: Mapping[str, Head]) -> list[_Message]:
    """What to send: the first event of each chain carries the check of its head."""
    messages = []
    unchecked = dict(heads)
    for envelope in envelopes:
        headers = {**envelope.headers, "Nats-Msg-Id": envelope.headers["ce-id"]}
        head = unchecked.pop(envelope.chain, None)
        if head is not None:
            headers[_EXPECTED] = str(head.sequence)
            if envelope.chain != envelope.subject:
                headers[_EXPECTED_SUBJECT] = envelope.chain
        messages.append(_Message(envelope.subject, envelope.body, headers))
    return messages


def _as_batch(messages: Sequence[_Message]) -> list[_Message]:
    """Add the headers of an atomic batch. Each try has an id of its own; the events in it keep theirs."""
    batch = uuid.uuid4().hex
    numbered = [
        message._replace(headers={**message.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)})
        for number, message in enumerate(messages, 1)
    ]
    numbered[-1].headers["Nats-Batch-Commit"] = "1"
    return numbered


def _meaning(error: ApiError) -> Exception:
    """What a refusal of JetStream means to the caller of an append."""
    if error.err_code in codes.WRONG_LAST_SEQUENCE:
        match = _LAST_SEQUENCE.search(error.description)
        return _Conflict(int(match[1]) if match else None, duplicate=False)
    if error.err_code == codes.BATCH_HAS_DUPLICATE:
        return _Conflict(None, duplicate=True)
    if error.err_code in codes.FULL:
        return LogFull(f"the log is full: {error.description}; free disk space or raise its limit")
    if error.err_code in codes.TOO_LARGE:
        return EventRefused(f"the log refuses the event: {error.description}")
    if error.err_code in (codes.BATCHES_DISABLED, codes.STREAM_NOT_FOUND):
        return LogMisconfigured(f"{error.description}; the stream {EVENTS} is not as it must be")
    if error.err_code in codes.TRY_AGAIN or error.code == _UNAVAILABLE:
        return LogUnavailable(error.description)
    return error


def _read(message: StoredMessage) -> LogMessage:
    return read_message(message.sequence, message.subject, message.headers, message.body, server_time(message.time))

"""The event log and the key-value buckets on NATS JetStream."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import nats.errors
from nats.aio.client import Client

from milepost.eventlog import (
    BUCKETS,
    SUBJECTS,
    Appended,
    EventLogError,
    EventRefused,
    Head,
    LogFull,
    LogMisconfigured,
    LogRegressed,
    LogUnavailable,
    NewEvent,
    RecordedEvent,
    WrongExpectedSequence,
)
from milepost.eventlog.connection import ApiError, Connection, connect, parse_answer
from milepost.eventlog.envelope import Envelope, NotAnEvent, appended, record, seal, server_time
from milepost.eventlog.ordered import OrderedReader, StoredMessage
from milepost.eventlog.streams import (
    EVENTS,
    StreamSettings,
    StreamState,
    ensure_streams,
    parse_nanoseconds,
    stream_state,
)

__all__ = [
    "Connection",
    "JetStreamKeyValue",
    "JetStreamLog",
    "StreamSettings",
    "connect",
    "ensure_streams",
]

log = logging.getLogger(__name__)

APPEND_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 15.0
# How long one try of an append waits for its answer before it is sent again.
TRY_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.02
MAXIMUM_PAUSE_SECONDS = 0.5

_WRONG_LAST_SEQUENCE = (10071, 10164)
_BATCH_HAS_DUPLICATE = 10201
_FULL = (10023, 10047, 10077)
_MESSAGE_NOT_FOUND = 10037
_STREAM_NOT_FOUND = 10059
_TOO_LARGE = (10054, 10097, 10199)
_BATCHES_DISABLED = 10174
# A batch that lost a message on the way, or more batches at once than the server takes: stored nothing, send again.
_TRY_BATCH_AGAIN = (10176, 10210, 10211)
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
        self._direct = direct
        self._append_timeout_seconds = append_timeout_seconds
        # Sequences that heads are known to have reached: a direct get may answer from a replica that is behind.
        self._floors: dict[str, int] = {}
        self._readers: set[OrderedReader] = set()
        # Messages of the stream that are no events, skipped by `read` and `follow`.
        self.skipped = 0

    async def append(self, events: Sequence[NewEvent], expected: Sequence[Head]) -> Appended:
        envelopes = seal(events, expected)
        heads = {head.chain: head for head in expected}
        messages = _messages(envelopes, heads)
        deadline = time.monotonic() + self._append_timeout_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                last = await self._send(messages, deadline)
                result = appended(envelopes, last, repeated=False)
                break
            except _Conflict as conflict:
                # The check of the sequence comes before that of the id: this may be our own earlier try.
                own = await self._find_own(envelopes, heads, conflict, deadline)
                if own is None:
                    raise self._lost(envelopes, heads, conflict) from None
                result = appended(envelopes, own, repeated=True)
                break
            except (LogUnavailable, LogFull) as error:
                # An earlier try may be stored although this one was not.
                if isinstance(error, LogFull) and not await self._is_stored(envelopes, heads, deadline):
                    raise
                if time.monotonic() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(MAXIMUM_PAUSE_SECONDS, pause * 2)
        if self._direct:
            self._floors |= {chain: head.sequence for chain, head in result.heads.items()}
        return result

    async def _send(self, messages: Sequence[tuple[str, bytes, dict[str, str]]], deadline: float) -> int:
        """Send one try and return the sequence of its last event."""
        if len(messages) > 1:
            messages = _as_batch(messages)
            for subject, body, headers in messages[:-1]:
                await self._connection.publish(subject, body, headers)
        subject, body, headers = messages[-1]
        patience = max(0.1, min(TRY_SECONDS, deadline - time.monotonic()))
        answer = await self._connection.request(subject, body, headers, patience)
        try:
            acknowledgement = parse_answer(answer.data)
        except ApiError as error:
            raise _meaning(error) from error
        if acknowledgement.get("duplicate"):
            raise _Conflict(None, duplicate=True)
        return int(acknowledgement["seq"])

    async def _find_own(
        self, envelopes: Sequence[Envelope], heads: Mapping[str, Head], conflict: _Conflict, deadline: float
    ) -> int | None:
        """Sequence of the last of these events if an earlier try has stored them."""
        first = envelopes[0]
        found = await self._first_after(first, heads[first.chain].sequence, conflict.actual or 0, deadline)
        if found is None and conflict.duplicate and not self._direct:
            # The caller read the head again after the unknown outcome, so its events are before that head.
            found = next((e for e in await self.read_chain(first.chain) if e.id == first.headers["ce-id"]), None)
        if found is None or found.id != first.headers["ce-id"] or found.hash != first.hash:
            if found is not None and conflict.duplicate and found.id == first.headers["ce-id"]:
                return found.sequence + len(envelopes) - 1
            return None
        return found.sequence + len(envelopes) - 1

    async def _is_stored(self, envelopes: Sequence[Envelope], heads: Mapping[str, Head], deadline: float) -> bool:
        return await self._find_own(envelopes, heads, _Conflict(None, duplicate=False), deadline) is not None

    async def _first_after(
        self, envelope: Envelope, after: int, at_least: int, deadline: float
    ) -> RecordedEvent | None:
        """The first event of a chain after a sequence; with direct gets the last one of the event's own subject."""
        if self._direct:
            # Nobody else writes there, so if the event is stored it is the last.
            message = await self._last(envelope.subject, 0, deadline)
        else:
            message = await self._get({"seq": after + 1, "next_by_subj": envelope.chain}, deadline)
        return _event(message) if message is not None else None

    def _lost(self, envelopes: Sequence[Envelope], heads: Mapping[str, Head], conflict: _Conflict) -> EventLogError:
        head = heads[envelopes[0].chain]
        if conflict.actual is None and conflict.duplicate:
            return EventRefused(f"an event of this decision on {head.chain} has an id that the log has already")
        if self._direct and conflict.actual is not None and len(heads) == 1:
            self._floors[head.chain] = conflict.actual
        return WrongExpectedSequence(head.chain, head.sequence, conflict.actual)

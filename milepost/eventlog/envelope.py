"""Between events and stored messages: CloudEvents headers, versions and the links of the hash chain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from milepost.eventlog import (
    MAX_EVENTS,
    Appended,
    EventRefused,
    Head,
    LogMessage,
    NewEvent,
    RecordedEvent,
    UnreadableMessage,
    chain_of,
)
from milepost.eventlog.codec import HASHED_HEADERS, chain_hash, format_time, hash_values, parse_time

SPECIFICATION_VERSION = "1.0"
# One message of the server's `max_payload` minus room for headers.
MAX_BODY_BYTES = 1_000_000
MAX_HEADER_CHARACTERS = 2048

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Headers are lines: what would end one, or be stripped on the way, must not be in a value.
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")
# As `format_time` writes one; whether there is such a day is for the parser.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z")
# What has none of these can be sent.
_SUSPECT = re.compile(r"[\x00-\x1f\x7f\s]")


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with its place in its chain: what is sent, byte for byte, at the first try and at each other one."""

    chain: str
    subject: str
    headers: Mapping[str, str]
    body: bytes
    version: int
    hash: str


def seal(events: Sequence[NewEvent], expected: Sequence[Head]) -> list[Envelope]:
    """Give the events of one decision their versions and link them to the heads of their chains.

    Raises:
        ValueError: no event, too many, or a chain without an expected head.
        EventRefused: an event that can never be stored.
    """
    if not 1 <= len(events) <= MAX_EVENTS:
        raise ValueError(f"a decision has 1 to {MAX_EVENTS} events, not {len(events)}")
    if len({event.id for event in events}) != len(events):
        raise EventRefused("two events of a decision have the same id")
    heads = {head.chain: head for head in expected}
    links = {chain: (head.version, head.hash) for chain, head in heads.items()}
    envelopes = []
    for event in events:
        chain = chain_of(event.subject)
        if chain not in links:
            raise ValueError(f"the expected head of {chain} is missing")
        version, previous = links[chain]
        headers = _headers(event, version + 1, previous)
        digest = chain_hash(headers, event.body)
        links[chain] = (version + 1, digest)
        envelopes.append(Envelope(chain, event.subject, headers, event.body, version + 1, digest))
    return envelopes


def _headers(event: NewEvent, version: int, previous: str) -> dict[str, str]:
    if len(event.body) > MAX_BODY_BYTES:
        raise EventRefused(f"{event.type} has {len(event.body)} bytes; the log takes {MAX_BODY_BYTES}")
    headers = {
        "ce-specversion": SPECIFICATION_VERSION,
        "ce-id": event.id,
        "ce-type": event.type,
        "ce-source": event.source,
        "ce-subject": event.subject,
        "ce-time": format_time(event.time),
        "mp-actor": event.actor,
        "mp-version": str(version),
    }
    # An empty value is sent as no header at all, and counts the same in the hash.
    headers |= {
        name: value
        for name, value in (("traceparent", event.traceparent), ("mp-cause", event.cause), ("mp-prev", previous))
        if value
    }
    for name, value in headers.items():
        if not _can_be_sent(value):
            raise EventRefused(f"{event.type}: {name} cannot be sent as a header: {value[:80]!r}")
    return headers


def _can_be_sent(value: str) -> bool:
    return len(value) <= MAX_HEADER_CHARACTERS and _UNSENDABLE.search(value) is None


def server_time(nanoseconds: int) -> datetime:
    """The server's clock as a time, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


class NotAnEvent(ValueError):
    """A message of the stream that no writer of ours has sent."""


def record(
    sequence: int, subject: str, headers: Mapping[str, str], body: bytes, recorded_time: datetime
) -> RecordedEvent:
    """Read a stored message.

    An event is only what `seal` can have made, to the letter of each header that the hash covers: so the headers of an
    event follow from what is read of it, and no reader meets times, numbers or texts that no writer of ours writes.

    Raises:
        NotAnEvent: headers that every event has are missing, or not as we write them, or it was sent for another subject.
    """
    if headers.get("ce-subject") != subject:
        raise NotAnEvent(f"it was sent for {_short(headers.get('ce-subject'))}")
    values = [headers.get(name, "") for name in HASHED_HEADERS]
    try:
        event = RecordedEvent(
            sequence=sequence,
            subject=subject,
            recorded_time=recorded_time,
            type=headers["ce-type"],
            body=body,
            id=headers["ce-id"],
            time=_own_time(headers["ce-time"]),
            source=headers["ce-source"],
            actor=headers["mp-actor"],
            cause=headers.get("mp-cause", ""),
            traceparent=headers.get("traceparent", ""),
            version=_version(headers["mp-version"], sequence),
            previous_hash=headers.get("mp-prev", ""),
            hash=hash_values(values, body),
        )
    except KeyError as error:
        raise NotAnEvent(f"it has no header {error.args[0]}") from error
    if headers.get("ce-specversion") != SPECIFICATION_VERSION:
        raise NotAnEvent(f"its specification has version {_short(headers.get('ce-specversion'))}")
    if len(body) > MAX_BODY_BYTES:
        raise NotAnEvent(f"it has {len(body):,} bytes, more than any event")
    # First all at once: a start from nothing does this for each event of the log.
    if max(map(len, values)) > MAX_HEADER_CHARACTERS or _SUSPECT.search("".join(values)):
        for name, value in zip(HASHED_HEADERS, values, strict=True):
            if not _can_be_sent(value):
                raise NotAnEvent(f"its header {name} is not as an event has it: {_short(value)}")
    return event


def read_message(
    sequence: int, subject: str, headers: Mapping[str, str], body: bytes, recorded_time: datetime
) -> LogMessage:
    """Read a stored message: as an event, or as one that is none. Never raises."""
    try:
        # Where the permissions of the broker are wider than ours, anything may stand.
        chain_of(subject)
        return record(sequence, subject, headers, body, recorded_time)
    except ValueError as error:
        reason = f"the message {sequence} on {subject} is not an event: {error}"
        return UnreadableMessage(sequence, subject, recorded_time, chain_hash(headers, body), reason, len(body))


def _own_time(text: str) -> datetime:
    if _TIME.fullmatch(text):
        with suppress(ValueError):
            return parse_time(text)
    raise NotAnEvent(f"its header ce-time is not a time as we write it: {_short(text)}")


def _version(text: str, sequence: int) -> int:
    """Read the place of an event in its chain. No chain is longer than the log."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(sequence)):
        version = int(text)
        if 1 <= version <= sequence and str(version) == text:
            return version
    raise NotAnEvent(f"its header mp-version is {_short(text)}, which cannot be at {sequence}")


def _short(value: str | None) -> str:
    """Write a value for a message to people: in quotes, without what a terminal would obey, and not too long."""
    return "nothing" if value is None else ascii(value[:80])


def headers_of(event: RecordedEvent) -> dict[str, str]:
    """The headers of an event as they stand in the log: those that its hash covers."""
    new = NewEvent(
        event.subject,
        event.type,
        event.body,
        event.id,
        event.time,
        event.source,
        event.actor,
        event.cause,
        event.traceparent,
    )
    return _headers(new, event.version, event.previous_hash)


def record_envelope(envelope: Envelope, sequence: int, recorded_time: datetime) -> RecordedEvent:
    """What a reader will see of an envelope that was stored."""
    return record(sequence, envelope.subject, envelope.headers, envelope.body, recorded_time)


def appended(envelopes: Sequence[Envelope], last_sequence: int, repeated: bool) -> Appended:
    """Describe a stored decision, whose events stand side by side in the log."""
    first = last_sequence - len(envelopes) + 1
    heads = {
        envelope.chain: Head(envelope.chain, first + index, envelope.version, envelope.hash)
        for index, envelope in enumerate(envelopes)
    }
    return Appended(tuple(range(first, last_sequence + 1)), heads, repeated)

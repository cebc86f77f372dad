"""Hostile, malformed, newer and reordered messages, as whoever holds the credentials of one attempt can send them.

Each message is what goes over the wire: the block of headers as bytes, so that it may break every rule that a client
library would keep. The same seed gives the same messages.
"""

from __future__ import annotations

import itertools
import random
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog import LogUnavailable, attempt_subject, codec
from milepost.eventlog.codec import format_time
from milepost.eventlog.nats.connection import Connection
from milepost.ids import new_event_id

TEXTS = (
    "", "runtimes/rt-a", "runtimes/-", "runtimes/*", "runtimes/>", "runtimes/..", "../../etc/passwd", "a" * 5_000,
    "runtimes/rt-00000000000000000000000000/trials/1", "runtimes/rt-00000000000000000000000000/trials/-1",
    "runtimes/rt-00000000000000000000000000/trials/99999999999999999999", "\x00", "\r\nx: y", "' OR 1=1 --",
    "{name:String}", "$(id)", "<script>alert(1)</script>", "runtimes/rt-\u0430", "\u202e", "step-000000000001-a1",
    "(a+)+$", "[", "create_time>x", "status=Failed AND AND", "page:999999", "%s%n", "null", "NaN",
    '"broken', "\x1b[2J\x1b]0;title\x07", "{}", "1e999", "9" * 400,
)  # fmt: skip
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 1_000_001)
LARGE = (*NUMBERS, 2**53, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324)
ENUMS = (0, 1, 2, 99, 2**31 - 1, -1)
TAKEN_IN_SECONDS = 60.0


def value_of(kind: Any, chance: random.Random) -> Any:
    """A hostile value of the type of a field that holds no message."""
    if kind.type == FieldDescriptor.TYPE_STRING:
        return chance.choice(TEXTS)
    if kind.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.choice((0, 1, 8, 1_000)))
    if kind.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if kind.type == FieldDescriptor.TYPE_ENUM:
        return chance.choice(ENUMS)
    if kind.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return chance.choice(FLOATS)
    if kind.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64):
        return chance.choice((0, 1, 2**32 - 1))
    if kind.type in (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64):
        return chance.choice(LARGE)
    return chance.choice(NUMBERS)


def fill(message: Any, chance: random.Random, depth: int = 0) -> None:
    """Put hostile values into about half of the fields."""
    for kind in message.DESCRIPTOR.fields:
        if chance.random() < 0.5 or depth > 4:
            continue
        if kind.message_type is not None and kind.message_type.GetOptions().map_entry:
            _fill_map(getattr(message, kind.name), kind, chance)
        elif kind.type == FieldDescriptor.TYPE_MESSAGE:
            target = getattr(message, kind.name)
            fill(target.add() if kind.is_repeated else target, chance, depth + 1)
        elif kind.is_repeated:
            getattr(message, kind.name).extend(value_of(kind, chance) for _ in range(chance.randrange(4)))
        else:
            setattr(message, kind.name, value_of(kind, chance))


def _fill_map(entries: Any, kind: Any, chance: random.Random) -> None:
    key, value = (kind.message_type.fields_by_name[name] for name in ("key", "value"))
    if value.message_type is None:
        for _ in range(chance.randrange(4)):
            entries[value_of(key, chance)] = value_of(value, chance)


@dataclass(frozen=True, slots=True)
class Sent:
    """One message.

    Attributes:
        kind: what is wrong with it, in a word.
        headers: the block as it goes over the wire. Empty: none.
        stored: the server keeps it on the subject, if it lets it in at all.
    """

    kind: str
    subject: bytes
    headers: bytes = b""
    body: bytes = b""
    reply: bytes = b""
    stored: bool = True

    def wire(self) -> bytes:
        """The message as a client sends it."""
        reply = self.reply + b" " if self.reply else b""
        size = len(self.headers) + len(self.body)
        if self.headers:
            line = b"HPUB %s %s%d %d\r\n" % (self.subject, reply, len(self.headers), size)
        else:
            line = b"PUB %s %s%d\r\n" % (self.subject, reply, size)
        return line + self.headers + self.body + b"\r\n"


def block(headers: Mapping[str, str] | Sequence[tuple[str, str | bytes]], first: bytes = b"NATS/1.0") -> bytes:
    """A block of headers. Names may come twice and values may be any bytes."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))
        for name, value in pairs
    ]
    return b"\r\n".join([first, *lines]) + b"\r\n\r\n"


async def send(connection: Connection, messages: Sequence[Sent]) -> None:
    """Send messages as they are, past the checks of the client library, and wait until the server has taken them in.

    Raises:
        LogUnavailable: it has not, for a minute.
    """
    client = connection.client
    for message in messages:
        await client._send_command(message.wire())
        await client._flush_pending()
    # The server writes each message to its disk before it takes the next one.
    deadline = time.monotonic() + TAKEN_IN_SECONDS
    while True:
        try:
            return await connection.flush()
        except LogUnavailable:
            if time.monotonic() > deadline:
                raise


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass
class Attempt:
    """Whose messages they are, and what of its chain is known: messages that link, and those that only claim to."""

    runtime_id: str
    trial: int
    attempt: int
    chance: random.Random
    # Headers and body of events that stand in the chain already, to be said again.
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def subject(self) -> str:
        return attempt_subject(self.runtime_id, self.trial, self.attempt)

    def headers(self, payload: Message | None = None, **changes: str) -> dict[str, str]:
        """Headers as an event has them, with a made-up place in the chain."""
        number = next(self.numbers)
        return {
            "ce-specversion": "1.0",
            "ce-id": new_event_id(),
            "ce-type": codec.type_of(payload) if payload is not None else "milepost.trial.epoch_completed.v1",
            "ce-source": "/hostile",
            "ce-subject": self.subject,
            "ce-time": format_time(datetime.now(UTC)),
            "mp-actor": "trainer",
            "mp-version": str(min(number + 3, 9)),
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }

    def event(self, kind: str, headers: Mapping[str, str] | Sequence[tuple[str, Any]], body: bytes) -> Sent:
        return Sent(kind, self.subject.encode(), block(headers), body)


# Those of an attempt, those of others, and everything else that an envelope can be about.
_FACTS = [
    getattr(facts, member.message_type.name)  # type: ignore[union-attr]
    for member in facts.TrialEvent.DESCRIPTOR.oneofs_by_name["payload"].fields
]
# After it nothing that the attempt says has an effect: it comes last.
_FACTS.remove(facts.AttemptEnded)


def hostile_payload(attempt: Attempt, of: type[Message] | None = None) -> Message:
    """A fact with hostile values; as its own attempt's more often than not, so that it gets further."""
    payload = (of or attempt.chance.choice(_FACTS))()
    fill(payload, attempt.chance)
    if hasattr(payload, "attempt") and attempt.chance.random() < 0.8:
        payload.attempt = attempt.attempt  # type: ignore[attr-defined]
    return payload


def _noise(attempt: Attempt) -> Sent:
    return Sent("noise", attempt.subject.encode(), b"", attempt.chance.randbytes(attempt.chance.randrange(200)))


def _noise_in_an_envelope(attempt: Attempt) -> Sent:
    return attempt.event("no body", attempt.headers(), attempt.chance.randbytes(20))


def _hostile_values(attempt: Attempt) -> Sent:
    payload = hostile_payload(attempt)
    return attempt.event("values", attempt.headers(payload), codec.encode(payload)[1])


def _newer_number(attempt: Attempt) -> Sent:
    payload = attempt.chance.choice(
        (
            facts.InstanceExited(attempt=attempt.attempt, cause=99),  # type: ignore[arg-type]
            facts.SnapshotStarted(attempt=attempt.attempt, step=3, reason=99),  # type: ignore[arg-type]
            facts.AlertRaised(attempt=attempt.attempt, kind=99, message="newer"),  # type: ignore[arg-type]
        )
    )
    return attempt.event("newer number", attempt.headers(payload), codec.encode(payload)[1])


def _newer_type(attempt: Attempt) -> Sent:
    name = attempt.chance.choice(("gradient_observed.v1", "epoch_completed.v2", "epoch_completed.v999999", "", "v1"))
    return attempt.event("newer type", attempt.headers(ce_type=f"milepost.trial.{name}"), b"\x0a\x02hi")


def _other_area(attempt: Attempt) -> Sent:
    ce_type = attempt.chance.choice([name for name in codec.TYPES if not name.startswith("milepost.trial.")])
    area, member = codec.TYPES[ce_type]
    body = codec.AREAS[area]()
    fill(getattr(body, member), attempt.chance)
    getattr(body, member).SetInParent()
    return attempt.event("other area", attempt.headers(ce_type=ce_type), body.SerializeToString())


def _odd_version(attempt: Attempt) -> Sent:
    version = attempt.chance.choice(("", "0", "-1", "1e3", "9" * 30, "9" * 5_000, "\u0663", "1_0", "+3", "NaN"))
    return attempt.event("version", attempt.headers(mp_version=version), b"")


def _odd_time(attempt: Attempt) -> Sent:
    time = attempt.chance.choice(
        (
            "", "yesterday", "2026-01-01", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00.000000+14:00", "2026-01-01T00:00:00.000000", "99999-01-01T00:00:00.000000Z", "1" * 5_000,
        )
    )  # fmt: skip
    payload = hostile_payload(attempt, facts.EvaluationStarted)
    return attempt.event("time", attempt.headers(payload, ce_time=time), codec.encode(payload)[1])


def _like_a_status(attempt: Attempt) -> Sent:
    first = attempt.chance.choice(
        (b"NATS/1.0 404 No Messages", b"NATS/1.0 204 EOB", b"NATS/1.0 \xff\xff\xff", b"NATS/1.0")
    )
    headers = [*attempt.headers().items(), ("Status", "503"), ("Description", "gone"), ("Nats-Count", "0")]
    return Sent("status", attempt.subject.encode(), block(headers, first), b"")


def _like_the_server(attempt: Attempt) -> Sent:
    name = attempt.chance.choice(
        ("Nats-Sequence", "Nats-Subject", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence", "Nats-Stream",
         "Nats-Batch-Sequence")
    )  # fmt: skip
    return attempt.event(
        "server's header", [*attempt.headers().items(), (name, attempt.chance.choice(TEXTS[1:8]))], b""
    )


def _broken_block(attempt: Attempt) -> Sent:
    raw = attempt.chance.choice(
        (b"NATS/1.0", b"NA", b"\x00\xff", b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\n:\r\n::::\r\n\r\n")
    )
    return Sent("broken headers", attempt.subject.encode(), raw, b"x")


def one_byte_of_headers(attempt: Attempt) -> Sent:
    """It ends the broker itself: nats-server 2.15.1 takes two bytes off the headers of what it publishes again."""
    return Sent("one byte of headers", attempt.subject.encode(), b"N", b"x")


def _odd_text(attempt: Attempt) -> Sent:
    name = attempt.chance.choice(("ce-id", "ce-type", "ce-source", "mp-actor", "mp-cause", "traceparent", "mp-prev"))
    value = attempt.chance.choice((b"\xff\xfe", b"\x1b[31m", "\u202e", "x" * 60_000, "\ud800", " ", "\x00\x01", "é"))
    headers = [(key, text) for key, text in attempt.headers().items() if key != name]
    return attempt.event("text", [*headers, (name, value)], b"")


def _twice(attempt: Attempt) -> Sent:
    headers = attempt.headers()
    return attempt.event("header twice", [*headers.items(), ("ce-id", "other"), ("mp-version", "2")], b"")


def _large(attempt: Attempt) -> Sent:
    payload = facts.InstanceExited(attempt=attempt.attempt, cause=common.EXIT_CAUSE_EXCEPTION, detail="x" * 900_000)
    return attempt.event("large", attempt.headers(payload), codec.encode(payload)[1])


def _again(attempt: Attempt) -> Sent:
    if not attempt.seen:
        return _hostile_values(attempt)
    headers, body = attempt.chance.choice(attempt.seen)
    return attempt.event("again", headers, body)


def _elsewhere(attempt: Attempt) -> Sent:
    subject = attempt.chance.choice(("events.rt-x.runtime", "", f"events.{attempt.runtime_id}.trial.1.control"))
    return attempt.event("other subject", attempt.headers(ce_subject=subject), b"")


def _unfinished(attempt: Attempt) -> Sent:
    headers = {**attempt.headers(), "Nats-Batch-Id": new_event_id(), "Nats-Batch-Sequence": "1"}
    return Sent("unfinished", attempt.subject.encode(), block(headers), b"", stored=False)


EVENT_KINDS: tuple[Callable[[Attempt], Sent], ...] = (
    _noise,
    _noise_in_an_envelope,
    _hostile_values,
    _newer_number,
    _newer_type,
    _other_area,
    _odd_version,
    _odd_time,
    _like_a_status,
    _like_the_server,
    _broken_block,
    _odd_text,
    _twice,
    _again,
    _elsewhere,
    _hostile_values,
    _unfinished,
    _hostile_values,
    _hostile_values,
)
# So much of each thousand is as large as a message can be.
LARGE_EVERY = 250


def last_word(attempt: Attempt) -> Sent:
    """The end of an attempt in numbers of a newer version."""
    payload = facts.AttemptEnded(attempt=attempt.attempt, outcome=77, cause=99, detail="newer")  # type: ignore[arg-type]
    return attempt.event("last word", attempt.headers(payload), codec.encode(payload)[1])


def events(attempt: Attempt, count: int) -> Iterator[Sent]:
    """Messages on the subject of an attempt, each kind in turn."""
    for number in range(count):
        yield _large(attempt) if number % LARGE_EVERY == 7 else EVENT_KINDS[number % len(EVENT_KINDS)](attempt)


# --- telemetry ------------------------------------------------------------------------------------------------------


def _step_headers(attempt: Attempt, number: int) -> dict[str, str]:
    now = datetime.now(UTC).timestamp() * 1000
    return {
        "mp-source": "rank-0",
        "mp-number": str(number),
        "mp-step": str(number),
        "mp-epoch": "0",
        "mp-batch": str(number),
        "mp-phase": "training",
        "mp-time": str(now),
    }


def _odd_header(attempt: Attempt) -> Sent:
    headers = _step_headers(attempt, next(attempt.numbers))
    for _ in range(attempt.chance.randrange(1, 4)):
        name = attempt.chance.choice(
            (*headers, "mp-epoch-batches", "mp-eval-batches", "mp-to-skip", "mp-skipped", "mp-busy-ms", "mp-step-ms",
             "mp-samples", "mp-last-", "mp-last-train.loss", "mp-last-step")
        )  # fmt: skip
        headers[name] = attempt.chance.choice(
            ("", "-1", "9" * 18, "9" * 400, "9" * 5_000, "1e308", "-1e308", "1e999", "NaN", "inf", "1e-320", "\u0663",
             "rank-99999999", "driver", "x" * 3_000)
        )  # fmt: skip
    return Sent("step header", _telemetry(attempt, "steps"), block(headers), _batch(attempt).SerializeToString())


def _batch(attempt: Attempt) -> telemetry.StepBatch:
    batch = telemetry.StepBatch()
    fill(batch, attempt.chance)
    batch.sender.runtime_id, batch.sender.trial = attempt.runtime_id, attempt.trial
    batch.sender.attempt, batch.sender.source = attempt.attempt, "rank-0"
    return batch


def _telemetry(attempt: Attempt, kind: str) -> bytes:
    return f"telemetry.{attempt.runtime_id}.{attempt.trial}.{attempt.attempt}.{kind}".encode()


def _steps_with_odd_values(attempt: Attempt) -> Sent:
    """A batch that fits the contract, of steps, times and values at the ends of what their types hold."""
    number, count = next(attempt.numbers), attempt.chance.randrange(1, 6)
    batch = _batch(attempt)
    del batch.groups[:]
    batch.ClearField("tombstone")
    batch.number = number
    steps = [attempt.chance.choice((0, 1, 2, 3, 2**53 - 1)) for _ in range(count)]
    times = [attempt.chance.choice((0, -1, 2**63 - 1, -(2**63), 1_700_000_000_000)) for _ in range(count)]
    group = batch.groups.add(steps=struct.pack(f"<{count}q", *steps), times_ms=struct.pack(f"<{count}q", *times))
    for key in attempt.chance.sample(("train/loss", "a", "eval/loss", "x" * 128), 2):
        group.columns.add(key=key, values=struct.pack(f"<{count}d", *(attempt.chance.choice(FLOATS) for _ in steps)))
    headers = _step_headers(attempt, number)
    return Sent("step values", _telemetry(attempt, "steps"), block(headers), batch.SerializeToString())


def _steps_noise(attempt: Attempt) -> Sent:
    headers = block(_step_headers(attempt, next(attempt.numbers)))
    return Sent("step noise", _telemetry(attempt, "steps"), headers, attempt.chance.randbytes(100))


def _logs(attempt: Attempt) -> Sent:
    batch = telemetry.LogBatch()
    fill(batch, attempt.chance)
    number = next(attempt.numbers)
    batch.sender.runtime_id, batch.sender.trial = attempt.runtime_id, attempt.trial
    batch.sender.attempt, batch.sender.source, batch.number = attempt.attempt, "rank-0", number
    batch.ClearField("tombstone")
    for _ in range(4):
        fill(batch.lines.add(), attempt.chance)
    headers = block({"mp-source": "rank-0", "mp-number": str(number)})
    return Sent("log lines", _telemetry(attempt, "logs"), headers, batch.SerializeToString())


def _odd_number(attempt: Attempt) -> Sent:
    """A batch that cannot be read, whose headers claim a number."""
    number = attempt.chance.choice(("9" * 5_000, "9" * 19, "0", "-1", str(2**63), "\u0663", "1.5"))
    headers = block({"mp-source": "rank-0", "mp-number": number})
    return Sent("number", _telemetry(attempt, attempt.chance.choice(("steps", "logs"))), headers, b"\xff")


def _odd_kind(attempt: Attempt) -> Sent:
    kind = attempt.chance.choice((b"x", b"steps.more", b"\xff\xfe", b"\x0b", b"STEPS"))
    return Sent("kind", _telemetry(attempt, "") + kind, b"", b"x")


def _status_in_telemetry(attempt: Attempt) -> Sent:
    first = attempt.chance.choice(
        (b"NATS/1.0 409 Consumer Deleted", b"NATS/1.0 \xff\xfe\xfd", b"NATS/1.0 100 Idle Heartbeat")
    )
    return Sent("telemetry status", _telemetry(attempt, "steps"), block({"Status": "404"}, first), b"")


def _beat(attempt: Attempt) -> Sent:
    beat = telemetry.Heartbeat()
    fill(beat, attempt.chance)
    rank = attempt.chance.choice((b"0", b"1", b"-1", b"99999999999999999999", b"\xff", b"\x0b", b"0x1"))
    subject = f"heartbeat.{attempt.runtime_id}.{attempt.trial}.{attempt.attempt}.".encode() + rank
    body = attempt.chance.choice((beat.SerializeToString(), attempt.chance.randbytes(30)))
    first = attempt.chance.choice((b"NATS/1.0", b"NATS/1.0 \xff\xff\xff"))
    return Sent(
        "beat", subject, block({}, first), body, attempt.chance.choice((b"", b"\xff", b"a\x0bb", b"_INBOX.x")), False
    )


def _chain_request(attempt: Attempt) -> Sent:
    reply = attempt.chance.choice(
        (b"", b"\xff", b"_INBOX.x", b"events.platform.access", b"_INBOX_a\rb.c", b"$JS.API.x")
    )
    return Sent("chain request", f"chains.{attempt.runtime_id}.{attempt.trial}".encode(), b"", b"x", reply, False)


TELEMETRY_KINDS: tuple[Callable[[Attempt], Sent], ...] = (
    _odd_header,
    _steps_with_odd_values,
    _steps_noise,
    _logs,
    _odd_number,
    _odd_kind,
    _status_in_telemetry,
    _beat,
    _odd_header,
    _chain_request,
)


def telemetry_messages(attempt: Attempt, count: int) -> Iterator[Sent]:
    """Telemetry, heartbeats and requests of an attempt, each kind in turn."""
    for number in range(count):
        yield TELEMETRY_KINDS[number % len(TELEMETRY_KINDS)](attempt)

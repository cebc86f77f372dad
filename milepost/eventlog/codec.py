"""Between typed payloads, stored bytes and CloudEvents headers; and the hash chain over them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError, Message

from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1.platform_events_pb2 import PlatformEvent
from milepost.api.event.v1.rule_events_pb2 import RuleEvent
from milepost.api.event.v1.runtime_events_pb2 import RuntimeEvent
from milepost.api.event.v1.trial_events_pb2 import TrialEvent
from milepost.eventlog.bounds import Bounds
from milepost.eventlog.upcasting import Upcasters

AREAS: dict[str, type[RuntimeEvent] | type[TrialEvent] | type[PlatformEvent] | type[RuleEvent]] = {
    "runtime": RuntimeEvent,
    "trial": TrialEvent,
    "platform": PlatformEvent,
    "rule": RuleEvent,
}

# Every header that the hash covers, in this order. `Nats-*` headers are never covered.
HASHED_HEADERS = (
    "ce-specversion",
    "ce-id",
    "ce-type",
    "ce-source",
    "ce-subject",
    "ce-time",
    "traceparent",
    "mp-actor",
    "mp-cause",
    "mp-version",
    "mp-prev",
)


class UnknownEventType(Exception):
    """The type is not in the contract of this version. A decider stops on it; other readers skip and count it."""


def _index() -> dict[str, tuple[str, str]]:
    types = {}
    for area, body in AREAS.items():
        for payload in body.DESCRIPTOR.oneofs_by_name["payload"].fields:
            types[f"milepost.{area}.{payload.name}.v1"] = (area, payload.name)
    return types


# ce-type -> (area, field of the oneof)
TYPES = _index()
_DESCRIPTORS: dict[str, Any] = {
    ce_type: AREAS[area].DESCRIPTOR.fields_by_name[name].message_type for ce_type, (area, name) in TYPES.items()
}
_TYPE_BY_MESSAGE = {_DESCRIPTORS[ce_type].full_name: ce_type for ce_type in TYPES}

# How old versions are read. There is none yet: every type stands at its first.
UPCASTERS = Upcasters()


def type_of(payload: Message) -> str:
    """Name the ce-type of a payload such as `SnapshotCommitted`."""
    return _TYPE_BY_MESSAGE[payload.DESCRIPTOR.full_name]


def encode(payload: Message) -> tuple[str, bytes]:
    """Return (ce-type, body) of a payload. Equal payloads give equal bytes."""
    ce_type = type_of(payload)
    area, name = TYPES[ce_type]
    body = AREAS[area]()
    getattr(body, name).CopyFrom(payload)
    # An empty payload must still select its field.
    getattr(body, name).SetInParent()
    return ce_type, body.SerializeToString(deterministic=True)


def decode(ce_type: str, body: bytes) -> Message:
    """Return the payload of an event, in the newest version of its type; what an attempt may write, within its bounds.

    Raises:
        UnknownEventType: this version does not know the type, or the body does not carry it.
    """
    try:
        newest_type, newest_body = UPCASTERS.newest(ce_type, body)
    except (DecodeError, ValueError) as error:
        raise UnknownEventType(f"{ce_type}: the body is not readable") from error
    entry = TYPES.get(newest_type)
    if entry is None:
        raise UnknownEventType(ce_type)
    area, name = entry
    try:
        event = AREAS[area].FromString(newest_body)
    except DecodeError as error:
        raise UnknownEventType(f"{ce_type}: the body is not readable") from error
    if event.WhichOneof("payload") != name:
        raise UnknownEventType(f"{ce_type}: the body carries {event.WhichOneof('payload')}")
    payload: Message = getattr(event, name)
    bounds = _BOUNDS.get(newest_type)
    if bounds is not None:
        bounds.apply(payload)
    return payload


_BOUNDS = {
    ce_type: Bounds(descriptor)
    for ce_type, descriptor in _DESCRIPTORS.items()
    if descriptor.GetOptions().Extensions[options.writer] in (options.WRITER_ATTEMPT, options.WRITER_BOTH)
}


def newest_type(ce_type: str) -> str:
    """Name the version that events of a type are read as."""
    return UPCASTERS.newest_type(ce_type)


def is_known(ce_type: str) -> bool:
    """Return whether events of a type can be read, perhaps as a newer version."""
    return newest_type(ce_type) in TYPES


def scope_of(ce_type: str) -> options.Scope:
    """Return the declared scope of a type."""
    return _DESCRIPTORS[newest_type(ce_type)].GetOptions().Extensions[options.scope]


def category_of(ce_type: str) -> options.Category:
    """Return the declared category of a type."""
    return _DESCRIPTORS[newest_type(ce_type)].GetOptions().Extensions[options.category]


def writer_of(ce_type: str) -> options.Writer:
    """Return who may append a type."""
    return _DESCRIPTORS[newest_type(ce_type)].GetOptions().Extensions[options.writer]


_ENUMS = {
    descriptor.full_name: [
        (field.name, field.enum_type)
        for field in descriptor.fields
        if field.enum_type is not None and not field.is_repeated
    ]
    for descriptor in _DESCRIPTORS.values()
}


def unknown_numbers(payload: Message) -> list[tuple[str, int]]:
    """List the members of closed sets in a payload that this version has no name for: the field, and the number."""
    return [
        (name, getattr(payload, name))
        for name, enum in _ENUMS[payload.DESCRIPTOR.full_name]
        if getattr(payload, name) not in enum.values_by_number
    ]


# The length of each name and the name, as `chain_hash` lays them down.
_NAMES = tuple(len(name).to_bytes(8, "big") + name.encode() for name in HASHED_HEADERS)
# What stands before a value of each length, as text of as many characters as bytes: for values as headers have them.
_SHORT = 256
_BEFORE = [[(name + size.to_bytes(8, "big")).decode("latin-1") for size in range(_SHORT)] for name in _NAMES]


def chain_hash(headers: Mapping[str, str], body: bytes) -> str:
    """Hash an event: SHA-256 in lower-case hex over its listed headers and its body.

    For each name of `HASHED_HEADERS`, in order: the length of the name, the name, the length of the value, the value
    (an absent header counts as empty); then the length of the body and the body. Lengths are 8 bytes, big-endian;
    text is UTF-8. `mp-prev` is among the headers, which makes the hashes of a chain depend on all that came before.
    """
    return hash_values([headers.get(name, "") for name in HASHED_HEADERS], body)


def hash_values(values: Sequence[str], body: bytes) -> str:
    """Hash an event as `chain_hash` does, by the values of its headers in the order of `HASHED_HEADERS`."""
    if "".join(values).isascii() and max(map(len, values)) < _SHORT:
        # Characters are bytes here, so that one encoding does for all: a start from nothing hashes the whole log.
        text = "".join([before[len(value)] + value for before, value in zip(_BEFORE, values, strict=True)])
        laid_down = text.encode("latin-1")
    else:
        encoded = [value.encode("utf-8", "replace") for value in values]
        pairs = zip(_NAMES, encoded, strict=True)
        laid_down = b"".join([name + len(value).to_bytes(8, "big") + value for name, value in pairs])
    return hashlib.sha256(laid_down + len(body).to_bytes(8, "big") + body).hexdigest()


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)

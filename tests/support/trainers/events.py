"""Events and ids for tests."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.event.v1 import trial_events_pb2 as trial_events
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.eventlog import Head, NewEvent, control_subject
from milepost.eventlog.codec import encode

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_numbers = itertools.count(1)
# What no read takes as a moment of the past.
NO_MOMENTS = (
    AsOf(events_sequence=-1),
    AsOf(telemetry_sequence=-1),
    AsOf(events_sequence=1, time=Timestamp(seconds=1)),
    AsOf(time=Timestamp(seconds=1 << 60)),
    AsOf(time=Timestamp(seconds=1, nanos=-1)),
)


def unique_id(prefix: str = "rt") -> str:
    """An id that no other test of this process uses."""
    return f"{prefix}-{next(_numbers):06d}"


def new_event(subject: str, payload: Message | None = None, event_id: str = "", actor: str = "local:ada") -> NewEvent:
    """An event as a decider would make it; without a payload any small one."""
    number = next(_numbers)
    ce_type, body = encode(payload or trial_events.EpochCompleted(attempt=1, epoch=number, step=number * 10))
    return NewEvent(
        subject=subject,
        type=ce_type,
        body=body,
        id=event_id or f"01890000-0000-7000-8000-{number:012d}",
        time=START + timedelta(seconds=number),
        source="/tests",
        actor=actor,
        cause="cause-1",
    )


def new_events(count: int, runtime_id: str, trial: int = 1) -> list[NewEvent]:
    return [new_event(control_subject(runtime_id, trial)) for _ in range(count)]


def empty(chain: str) -> list[Head]:
    """The expectation that a chain has no event yet."""
    return [Head(chain)]

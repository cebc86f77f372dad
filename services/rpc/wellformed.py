"""What every request must be before a handler looks at it: times and durations that exist."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.errors import InvalidArgument, Violation

# 0001-01-01 to 9999-12-31, as the contract of `google.protobuf.Timestamp` says.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
MAX_SECONDS = 315_576_000_000
NANOSECONDS = 1_000_000_000


def check_well_formed(request: Message) -> None:
    """Raise InvalidArgument with every field that holds no time or duration."""
    violations = [Violation(path, words) for path, words in _wrong(request, "")]
    if violations:
        raise InvalidArgument(violations)


def _wrong(message: Message, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(message, Timestamp):
        if not (FIRST_SECOND <= message.seconds <= LAST_SECOND and 0 <= message.nanos < NANOSECONDS):
            yield path, "is not a time between the years 1 and 9999"
        return
    if isinstance(message, Duration):
        same_sign = message.seconds == 0 or message.nanos == 0 or (message.seconds > 0) == (message.nanos > 0)
        if not (abs(message.seconds) <= MAX_SECONDS and abs(message.nanos) < NANOSECONDS and same_sign):
            yield path, "is not a duration below 10,000 years"
        return
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        inner = f"{path}.{field.name}" if path else field.name
        for number, part in enumerate(value if field.is_repeated else (value,)):
            yield from _wrong(part, f"{inner}[{number}]" if field.is_repeated else inner)

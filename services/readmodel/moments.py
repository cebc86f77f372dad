"""Moments of the past, as every read takes them: positions of the two streams, or a time; and how far a client has read."""

from __future__ import annotations

from datetime import UTC

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.errors import InvalidArgument, OutOfRange, Violation
from milepost.numbers import MAX_NUMBER

# The largest whole number that every client has, whatever its language.


def violations_of(as_of: AsOf) -> list[Violation]:
    """List what is wrong with a moment."""
    found = [
        Violation(f"as_of.{name}", "must not be negative")
        for name in ("events_sequence", "telemetry_sequence")
        if getattr(as_of, name) < 0
    ]
    if as_of.HasField("time"):
        if as_of.events_sequence or as_of.telemetry_sequence:
            found.append(Violation("as_of", "must have either sequences or a time"))
        try:
            as_of.time.ToDatetime(UTC)
        except (ValueError, OverflowError):
            found.append(Violation("as_of.time", "is no time"))
    return found


def check_moment(as_of: AsOf) -> None:
    """Raises InvalidArgument: with all that is wrong with a moment."""
    if violations := violations_of(as_of):
        raise InvalidArgument(violations)


def sequence_violations(field: str, value: int) -> list[Violation]:
    """List what is wrong with a position of a stream; 0: none is named."""
    return [] if 0 <= value <= MAX_NUMBER else [Violation(field, f"must be from 0 to {MAX_NUMBER}")]


def check_sequence(field: str, value: int) -> None:
    """Raises InvalidArgument: the value is no position of a stream."""
    if violations := sequence_violations(field, value):
        raise InvalidArgument(violations)


def past_the_end(what: str, last: int, asked: int) -> OutOfRange:
    """Say to one who has read further than a stream goes what may have happened, and how to begin again."""
    return OutOfRange(
        f"{what} ends at {last}, before {asked}: an older backup of it may have been restored. "
        "Forget what was read, and begin again without a position",
        reason="PAST_THE_END",
        metadata={"last_sequence": str(last)},
    )

"""Moments of the past, as every read takes them: positions of the two streams, or a time."""

from __future__ import annotations

from datetime import UTC

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.errors import InvalidArgument, Violation


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

"""When something happened, by the clock of who recorded it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

# A clock that shows less was never set.
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
# Clocks of two machines differ; by more than this one of them is wrong.
MAX_AHEAD = timedelta(days=1)


def own_time(recorded: datetime, received: datetime) -> datetime:
    """Return the recorded time as far as it can be true: not after it was received, and not that of a clock never set.

    Args:
        recorded: by the clock of who wrote it.
        received: by the clock of the server that got it, maybe long after.
    """
    return min(recorded, received) if recorded >= EARLIEST else received


def believable(recorded: datetime, received: datetime) -> datetime:
    """Return the recorded time as it is, unless it cannot be one: then that of the server."""
    return recorded if EARLIEST <= recorded <= received + MAX_AHEAD else received

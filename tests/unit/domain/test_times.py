"""Times by the clock of who recorded them: kept where they can be true, bounded where they cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from milepost.domain.times import believable, own_time

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("recorded", "own", "shown"),
    [
        pytest.param(NOW - timedelta(days=30), "recorded", "recorded", id="told of a month later"),
        pytest.param(NOW, "recorded", "recorded", id="told of at once"),
        pytest.param(NOW + timedelta(seconds=5), "received", "recorded", id="a clock a little ahead"),
        pytest.param(NOW + timedelta(days=2), "received", "received", id="a clock far ahead"),
        pytest.param(datetime(9999, 12, 31, tzinfo=UTC), "received", "received", id="the end of time"),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), "received", "received", id="a clock that was never set"),
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), "received", "received", id="the beginning of time"),
    ],
)
def test_a_recorded_time_is_bounded_by_what_can_be_true(recorded: datetime, own: str, shown: str) -> None:
    times = {"recorded": recorded, "received": NOW}
    assert own_time(recorded, NOW) == times[own]
    assert believable(recorded, NOW) == times[shown]

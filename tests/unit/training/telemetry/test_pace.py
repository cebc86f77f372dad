"""The usual time of a step."""

from __future__ import annotations

import pytest

from milepost.training.telemetry.pace import StepPace


def test_the_usual_step_time_is_not_that_of_a_pause_or_an_evaluation() -> None:
    """One look a second; ten steps of 50 ms in each, then a minute in which nothing happens, then an evaluation."""
    pace = StepPace()
    pace.look(5, 1.0, 0.0)
    assert pace.usual_seconds == 0.0, "nothing is measured before it begins"
    pace.begin(0, 0.0, 0.0)
    for second in range(1, 10):
        pace.look(10 * second, 0.5 * second, 0.0)
        assert (pace.usual_seconds > 0) == (second >= 3)
    pace.look(90, 60.0, 0.0)
    pace.look(100, 64.5, 0.0)
    pace.look(110, 95.0, 30.0)
    assert pace.usual_seconds == pytest.approx(0.05)


def test_the_usual_time_of_slow_steps_is_known_too() -> None:
    pace = StepPace()
    pace.begin(7, 0.0, 0.0)
    for second in range(100):
        pace.look(7 + second // 20, float(second), 0.0)
    assert pace.usual_seconds == pytest.approx(20.0)

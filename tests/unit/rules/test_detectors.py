"""Detectors against the plain form of what they compute."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from services.rules.detectors.changes import Change
from services.rules.detectors.windows import NORMAL, NORMAL_MEAN, Window

values = st.one_of(st.floats(-1e6, 1e6), st.integers(-3, 3).map(float))


def deviation(window: list[float]) -> float:
    middle = statistics.median(window)
    distances = [abs(value - middle) for value in window]
    return NORMAL * statistics.median(distances) or NORMAL_MEAN * statistics.fmean(distances)


@given(st.lists(values, min_size=1, max_size=60), st.integers(1, 20))
def test_a_window_has_the_median_and_the_deviation_of_its_newest_values(logged: list[float], size: int) -> None:
    window = Window()
    for step, value in enumerate(logged):
        window.add(step, value, size)
    assert window.values == logged[-size:]
    assert window.ordered == sorted(window.values)
    middle = statistics.median(window.values)
    assert abs(window.median() - middle) <= 1e-9 * max(1.0, abs(middle))
    expected = deviation(window.values)
    assert abs(window.deviation(window.median()) - expected) <= 1e-6 * max(1.0, expected)


@given(st.lists(values, min_size=9, max_size=80), st.sampled_from([0.5, 1.0, 3.0, 8.0]))
def test_a_change_is_what_the_formula_says(logged: list[float], deviations: float) -> None:
    """Also where the quick look at the window saves the exact one."""
    detector = Change("train/loss", 8, deviations, up=True, down=True)
    state = detector.fresh()
    for step, value in enumerate(logged):
        before = state.window
        window, full = list(before.values), len(before) >= 8
        verdict = detector.judge(state, step, value)
        if not full:
            continue
        assert verdict is not None
        distance, allowed = abs(value - Window([], [], sorted(window)).median()), deviations * deviation(window)
        if abs(distance - allowed) > 1e-6 * max(1.0, allowed):
            assert verdict.holds == (distance > allowed)


@given(st.lists(values, min_size=1, max_size=60), st.integers(0, 60))
def test_a_window_that_is_cut_is_that_of_the_steps_before(logged: list[float], step: int) -> None:
    window, before = Window(), Window()
    for number, value in enumerate(logged):
        window.add(number, value, 100)
        if number <= step:
            before.add(number, value, 100)
    assert window.cut(step) == before

"""Estimated time: what counts, what is left out, and that it never says nonsense."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trials.readmodel.eta import (
    MAX_WINDOWS,
    Observation,
    StepTimes,
    Survival,
    Work,
    observe,
    remaining,
    schedule,
    stall_seconds,
    step_seconds,
)


def times_of(*observations: Observation) -> StepTimes:
    times = StepTimes()
    for observation in observations:
        observe(times, observation)
    return times


def steady(count: int, step: float = 0.1, start: float = 0.0, first_step: int = 0) -> list[Observation]:
    """One observation a second of steps that take `step` seconds each."""
    per_second = round(1 / step)
    return [Observation(start + at, first_step + at * per_second) for at in range(count)]


def test_there_is_no_estimate_before_it_is_warm() -> None:
    assert remaining(times_of(*steady(3)), Work(steps=100)) is None
    assert remaining(times_of(*steady(4)), Work(steps=100)) is not None


def test_the_first_observation_is_only_a_baseline() -> None:
    slow_start = times_of(Observation(60.0, 1), *steady(10, start=61.0, first_step=1))
    assert step_seconds(slow_start) == pytest.approx(0.1, rel=0.05)


def test_what_is_left_is_steps_and_evaluations_and_snapshots() -> None:
    work = Work(steps=100, evaluations=2, snapshots=3, evaluation_seconds=[4.0, 5.0, 60.0], snapshot_seconds=[1.0])
    rest = remaining(times_of(*steady(20)), work)
    assert rest is not None
    assert rest.seconds == pytest.approx(100 * 0.1 + 2 * 5.0 + 3 * 1.0)
    assert rest.low < rest.seconds < rest.high


def test_the_rest_of_an_evaluation_under_way_counts_by_its_share() -> None:
    work = Work(steps=0, evaluation_seconds=[8.0], evaluation_elapsed=1.0, evaluation_share=0.25)
    rest = remaining(times_of(*steady(20)), work)
    assert rest is not None
    assert rest.seconds == pytest.approx(6.0)


def test_the_first_evaluation_is_judged_by_its_own_progress() -> None:
    work = Work(steps=0, evaluations=1, evaluation_elapsed=2.0, evaluation_share=0.25)
    rest = remaining(times_of(*steady(20)), work)
    assert rest is not None
    assert rest.seconds == pytest.approx(8.0 + 6.0)


def test_time_in_evaluations_is_no_time_of_steps() -> None:
    evaluating = [Observation(20.0 + at, 200, in_busy=True) for at in range(10)]
    after = [Observation(30.0 + at, 200 + at * 10, busy_seconds=10.0 if at == 0 else 0.0) for at in range(10)]
    times = times_of(*steady(20), Observation(20.0, 200), *evaluating, *after)
    assert step_seconds(times) == pytest.approx(0.1, rel=0.02)


def test_one_long_pause_is_left_out_and_pauses_that_recur_count() -> None:
    times = times_of(*steady(30))
    last = 290
    for count in range(1, 6):
        now = (times.last_time or 0.0) + 30.0
        observe(times, Observation(now, last))
        for at in range(1, 20):
            last += 10
            observe(times, Observation(now + at, last))
        expected = 0.1 if count < 3 else 0.1 + 30.0 / (last / count)
        assert step_seconds(times) == pytest.approx(expected, rel=0.25 if count >= 3 else 0.05)


def test_a_lasting_change_of_speed_is_followed_within_a_few_windows() -> None:
    times = times_of(*steady(40))
    for at in range(1, 6):
        observe(times, Observation(39.0 + at, 390 + at * 5))
    assert step_seconds(times) == pytest.approx(0.2, rel=0.05)


def test_a_larger_batch_is_expected_to_take_longer_at_once() -> None:
    times = times_of(*(Observation(o.time, o.step, samples=32) for o in steady(20)))
    observe(times, Observation(20.0, 195, samples=64))
    assert step_seconds(times) == pytest.approx(0.2, rel=0.05)


def test_windows_are_bounded_however_long_it_runs() -> None:
    times = times_of(*steady(5_000))
    assert len(times.windows) < MAX_WINDOWS
    assert step_seconds(times) == pytest.approx(0.1, rel=0.01)


def test_a_missing_stretch_is_not_taken_for_training() -> None:
    times = times_of(*steady(20), Observation(500.0, 150), *steady(10, start=501.0, first_step=160))
    assert step_seconds(times) == pytest.approx(0.1, rel=0.02)


def test_it_is_stalled_after_ten_usual_steps_but_not_within_half_a_minute() -> None:
    quick, slow = times_of(*steady(20)), times_of(*[Observation(at * 20.0, at) for at in range(20)])
    assert stall_seconds(quick) == 30.0
    assert 150.0 < stall_seconds(slow) < 250.0
    assert stall_seconds(quick, evaluation_seconds=30.0) == 90.0


def test_trials_that_wait_follow_when_a_slot_is_free() -> None:
    assert schedule([10.0, 30.0], [20.0, 20.0], 2) == 50.0
    assert schedule([], [5.0, 5.0, 5.0], 2) == 10.0
    assert schedule([7.0], [], 4) == 7.0
    assert schedule([], [], 1) == 0.0


_observations = st.lists(
    st.builds(
        Observation,
        time=st.floats(0, 1e6),
        step=st.integers(0, 10**6),
        busy_seconds=st.floats(0, 1e4),
        in_busy=st.booleans(),
        new_epoch=st.booleans(),
        samples=st.one_of(st.none(), st.floats(0.5, 1e4)),
    ),
    max_size=200,
)


def test_steps_that_took_next_to_nothing_leave_an_estimate() -> None:
    seen = [Observation(1e-300 * step, step) for step in range(0, 100, 10)]
    seen += [Observation(100.0 * (step - 90), step) for step in range(100, 130, 10)]
    rest = remaining(times_of(*seen), Work(steps=100))
    assert rest is not None
    assert 0 <= rest.low <= rest.seconds <= rest.high < math.inf


@settings(max_examples=200, deadline=None)
@given(seen=_observations, in_order=st.booleans(), left=st.integers(0, 10**6))
def test_whatever_is_observed_the_estimate_is_finite_and_in_its_range(
    seen: list[Observation], in_order: bool, left: int
) -> None:
    if in_order:
        times_sorted, steps_sorted = sorted(o.time for o in seen), sorted(o.step for o in seen)
        seen = [
            Observation(time, step, o.busy_seconds, o.in_busy, o.new_epoch, o.samples)
            for o, time, step in zip(seen, times_sorted, steps_sorted, strict=True)
        ]
    rest = remaining(times_of(*seen), Work(steps=left, evaluations=1, epochs=2))
    if rest is not None:
        assert math.isfinite(rest.seconds)
        assert 0 <= rest.low <= rest.seconds <= rest.high


def test_trials_last_as_long_as_those_before_them_with_those_that_still_run() -> None:
    survival = Survival([20.0, 20.0, 20.0, 100.0], [], 100.0)
    assert survival.rest()[0] == pytest.approx(40.0)
    # Whoever has outlived the first rung runs to its end.
    assert survival.rest(30.0)[0] == pytest.approx(70.0)
    assert survival.rest(150.0) == (0.0, 0.0)
    # Two that have run 50 s were not pruned at 20: of six, three were.
    assert Survival([20.0, 20.0, 20.0, 100.0], [50.0, 50.0], 100.0).rest()[0] == pytest.approx(60.0)
    # Nothing has ended yet: a whole one.
    assert Survival([], [5.0], 80.0).rest()[0] == 80.0


def test_short_trials_that_end_first_do_not_shorten_the_others() -> None:
    """Half are pruned at 10 s, half run 100 s; eight at a time: what has ended early is mostly short."""
    generator = random.Random(3)
    lengths = [10.0 if generator.random() < 0.5 else 100.0 for _ in range(400)]
    ended: list[float] = []
    running: list[float] = []
    free, now = [0.0] * 8, 150.0
    for length in lengths:
        free.sort()
        begin = free[0]
        if begin >= now:
            break
        free[0] = begin + length
        (ended if begin + length <= now else running).append(length if begin + length <= now else now - begin)
    mean, deviation = Survival(ended, running, 100.0).rest()
    plain = sum(ended) / len(ended)
    assert abs(mean - 55.0) < abs(plain - 55.0)
    assert mean == pytest.approx(55.0, rel=0.3) and 35 < deviation < 50

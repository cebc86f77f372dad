"""Ranges of batch numbers, pieces of a lineage, buckets: the arithmetic of the metric service."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from milepost.domain.trial import Segment, cut_lineage, owner_of
from milepost.numbers import MAX_NUMBER
from services.metrics.ingest.ranges import RangeSet
from services.metrics.queries.buckets import Buckets, bucket_shift, merge, rollup_shift
from services.metrics.storage.selection import (
    Pin,
    StepRange,
    TrialRef,
    after,
    before,
    clip,
    in_pieces,
    owned_pieces,
    runs,
    split,
    superseded_pieces,
)

TRIAL = TrialRef("rt-a", 1)


# --- ranges ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40)))
def test_a_range_set_is_a_set(numbers: list[int]) -> None:
    ranges, reference = RangeSet(), set[int]()
    for number in numbers:
        assert ranges.add(number) == (number not in reference)
        reference.add(number)
    assert {n for first, last in ranges for n in range(first, last + 1)} == reference
    assert all(number in ranges for number in reference)
    assert not any(number in ranges for number in set(range(45)) - reference)
    assert list(RangeSet.of(np.array(numbers, np.int64))) == list(ranges)
    # Neighbouring ranges are joined.
    flat = [bound for entry in ranges for bound in entry]
    assert all(b - a > 1 for a, b in zip(flat[1::2], flat[2::2], strict=False))


@given(st.sets(st.integers(1, 40)))
def test_gaps_are_what_is_missing_below_the_highest_number(numbers: set[int]) -> None:
    ranges = RangeSet.of(np.array(sorted(numbers), np.int64))
    missing = {n for first, last in ranges.gaps() for n in range(first, last + 1)}
    assert missing == set(range(1, max(numbers, default=0) + 1)) - numbers


@given(st.lists(st.integers(0, 30)))
def test_runs_join_neighbours(numbers: list[int]) -> None:
    found = list(runs(numbers))
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(set(numbers))
    assert all(b[0] - a[1] > 1 for a, b in pairwise(found))


# --- pieces ---------------------------------------------------------------------------------------------------------


def lineage_of(restored: list[int]) -> tuple[Segment, ...]:
    lineage: tuple[Segment, ...] = ()
    for attempt, step in enumerate(restored, 1):
        lineage = cut_lineage(lineage, attempt, step)
    return lineage


restores = st.lists(st.integers(0, 12), max_size=5).map(lambda later: [0, *later])


def restarts_of(restored: list[int]) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for attempt, step in enumerate(restored, 1):
        found = {s: attempts for s, attempts in found.items() if s <= step}
        if step:
            found[step] = (*found.get(step, ()), attempt)
    return found


def covering(pieces: list[StepRange], attempt: int, step: int) -> list[StepRange]:
    return [p for p in pieces if p.attempt == attempt and p.first <= step <= p.last]


@given(restores)
def test_each_step_of_each_attempt_is_owned_or_superseded_and_never_both(restored: list[int]) -> None:
    """Where later attempts went on from a step, it is either by series: what they logged there, and what they did not."""
    lineage, restarts = lineage_of(restored), restarts_of(restored)
    attempts = range(1, len(restored) + 1)
    owned = owned_pieces(TRIAL, lineage, restarts)
    superseded = superseded_pieces(TRIAL, lineage, attempts, restarts)
    for step in [*range(20), MAX_NUMBER]:
        owner = owner_of(lineage, step or 1) or 0
        chain = (owner, *restarts.get(step, ()))
        for index, attempt in enumerate(chain):
            (piece,) = covering(owned, attempt, step)
            assert piece.yields_to == chain[index + 1 :]
            assert not piece.yields_to or piece.first == piece.last == step
        for attempt in attempts:
            here, gone = covering(owned, attempt, step), covering(superseded, attempt, step)
            assert bool(here) == (attempt in chain)
            assert [p.yielded for p in gone] == ([True] if attempt in chain[:-1] else [False] if not here else [])
            assert [p.yields_to for p in gone if p.yielded] == [p.yields_to for p in here if gone]


@given(restores)
def test_without_restarts_each_step_belongs_to_one_attempt(restored: list[int]) -> None:
    lineage = lineage_of(restored)
    owned = owned_pieces(TRIAL, lineage)
    for step in [*range(20), MAX_NUMBER]:
        owners = [attempt for attempt in range(1, len(restored) + 1) if covering(owned, attempt, step)]
        assert owners == [owner_of(lineage, step or 1)]


@given(restores, st.integers(0, 15), st.integers(0, 15), st.sampled_from([1, 2, 7]))
def test_whole_units_and_the_rest_are_the_pieces_again(
    restored: list[int], first: int, length: int, shift: int
) -> None:
    owned = owned_pieces(TRIAL, lineage_of(restored), restarts_of(restored))
    pieces = clip(owned, first, first + length * 3)
    whole, rest = split(pieces, shift)
    for piece in whole:
        assert not piece.yields_to
        assert piece.first % (1 << shift) == 0
        assert (piece.last + 1) % (1 << shift) == 0
    for step in range(80):
        for attempt in range(1, 7):
            parts = covering(whole, attempt, step) + covering(rest, attempt, step)
            assert len(parts) == len(covering(pieces, attempt, step))


def test_an_open_piece_has_no_rest_at_its_end() -> None:
    whole, rest = split([StepRange(TRIAL, 1)], 12)
    assert (whole, rest) == ([StepRange(TRIAL, 1)], [])


def test_names_from_outside_are_only_ever_parameters() -> None:
    condition = in_pieces([StepRange(TrialRef("x' OR 1=1 --", 1), 1, 5, 9)])
    assert "OR 1=1" not in condition.sql
    assert "x' OR 1=1 --" in condition.parameters.values()


def test_positions_of_different_streams_are_ordered_by_stream_first() -> None:
    assert Pin(1, 900) < Pin(2, 3)
    assert set(before(Pin(2, 3)).parameters.values()) == set(after(Pin(2, 3)).parameters.values()) == {2, 3}


# --- buckets --------------------------------------------------------------------------------------------------------


@given(st.integers(0, MAX_NUMBER), st.integers(0, 10_000_000), st.integers(1, 10_000))
def test_buckets_are_as_narrow_as_the_count_allows(first: int, length: int, count: int) -> None:
    last = first + length
    shift = bucket_shift(first, last, count)
    assert (last >> shift) - (first >> shift) + 1 <= count
    assert shift == 0 or (last >> (shift - 1)) - (first >> (shift - 1)) + 1 > count
    assert rollup_shift(shift) <= shift


values = st.floats(allow_nan=True, allow_infinity=True, min_value=None, max_value=None).map(
    lambda v: v if abs(v) < 1e300 or v != v or v in (float("inf"), float("-inf")) else 1.0
)
points = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), values, st.integers(1, 3)), min_size=1, max_size=60)


def bucketed(rows: list[tuple[int, int, float, int]], shift: int) -> Buckets:
    """Each point as a bucket of its own, as the store answers for parts."""
    series, steps, values, attempts = (np.array(column) for column in zip(*rows, strict=True))
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    ones: np.ndarray = np.ones(len(rows), np.int64)
    return Buckets(
        series.astype(np.int64), steps >> shift, ones, steps, steps,
        np.where(finite, values, 0.0), np.where(finite, values, 0.0), np.where(finite, values, 0.0),
        np.isnan(values).astype(np.int64), (values == np.inf).astype(np.int64), (values == -np.inf).astype(np.int64),
        values, steps * 10, attempts,
    )  # fmt: skip


@given(points, st.integers(0, 4), st.integers(1, 5))
def test_merging_parts_gives_what_the_points_themselves_give(
    rows: list[tuple[int, int, float, int]], shift: int, parts: int
) -> None:
    # One point a step and series, as a lineage has it.
    rows = list({(series, step): (series, step, value, attempt) for series, step, value, attempt in rows}.values())
    size = -(-len(rows) // parts)
    merged = merge([bucketed(rows[i : i + size], shift) for i in range(0, len(rows), size)])
    expected: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for series, step, value, _ in rows:
        expected.setdefault((series, step >> shift), []).append((step, value))
    assert list(zip(merged.series.tolist(), merged.buckets.tolist(), strict=True)) == sorted(expected)
    for index, key in enumerate(sorted(expected)):
        of_bucket = sorted(expected[key])
        finite = [value for _, value in of_bucket if np.isfinite(value)]
        assert merged.counts[index] == len(of_bucket)
        assert merged.first_steps[index] == of_bucket[0][0]
        assert merged.last_steps[index] == of_bucket[-1][0]
        assert np.array(merged.lasts[index]).tobytes() == np.array(of_bucket[-1][1]).tobytes()
        assert merged.nans[index] == sum(value != value for _, value in of_bucket)
        if finite:
            assert merged.mins[index] == min(finite)
            assert merged.maxs[index] == max(finite)
            assert np.isclose(merged.means[index], np.mean(finite), rtol=1e-9, atol=1e-9 * max(map(abs, finite)))
        else:
            assert np.isnan([merged.mins[index], merged.maxs[index], merged.means[index]]).all()

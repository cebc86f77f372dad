"""Buckets of points: how wide, and joining parts of a bucket that were read apart. Pure; arrays, not single points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

# Shifts of the roll-ups that the table keeps (buckets of 128 and of 4,096 steps), widest first.
ROLLUP_SHIFTS = (12, 7)


def bucket_shift(first: int, last: int, bucket_count: int) -> int:
    """Return the smallest s such that buckets of 2**s steps, beginning at its multiples, cover a range in the count."""
    shift = 0
    while (last >> shift) - (first >> shift) + 1 > bucket_count:
        shift += 1
    return shift


def rollup_shift(shift: int) -> int:
    """Return the widest roll-up that buckets of 2**shift steps can be made of; 0: only the points themselves."""
    return next((unit for unit in ROLLUP_SHIFTS if unit <= shift), 0)


@dataclass(slots=True)
class Buckets:
    """Columns of equal length, one element per part of a bucket.

    `series` is a number that the caller gave to each series. Where `finite_counts` is 0, `mins`, `maxs` and `sums` have
    no meaning.
    """

    series: np.ndarray
    buckets: np.ndarray
    counts: np.ndarray
    first_steps: np.ndarray
    last_steps: np.ndarray
    mins: np.ndarray
    maxs: np.ndarray
    sums: np.ndarray
    nans: np.ndarray
    positive_infinities: np.ndarray
    negative_infinities: np.ndarray
    lasts: np.ndarray
    last_times_ms: np.ndarray
    attempts: np.ndarray

    def __len__(self) -> int:
        return len(self.buckets)

    def take(self, selected: np.ndarray) -> Buckets:
        """Return the elements that a mask or a list of indices selects."""
        return Buckets(*(getattr(self, f.name)[selected] for f in fields(self)))

    @property
    def finite_counts(self) -> np.ndarray:
        return self.counts - self.nans - self.positive_infinities - self.negative_infinities

    @property
    def means(self) -> np.ndarray:
        """Mean of the finite values; NaN where there are none."""
        finite = self.finite_counts
        return np.divide(self.sums, finite, out=np.full(len(self), np.nan), where=finite > 0)


def merge(parts: Sequence[Buckets]) -> Buckets:
    """Join the parts of each bucket of each series, in order of series and bucket.

    In the answer `mins` and `maxs` are NaN where a bucket has no finite value.
    """
    joined = Buckets(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Buckets)))
    if not len(joined):
        return joined
    joined = joined.take(np.lexsort((joined.attempts, joined.last_steps, joined.buckets, joined.series)))
    changed = (np.diff(joined.series) != 0) | (np.diff(joined.buckets) != 0)
    starts = np.concatenate(([0], np.flatnonzero(changed) + 1))
    ends = np.concatenate((starts[1:], [len(joined)])) - 1
    has_finite = joined.finite_counts > 0

    def total(column: np.ndarray) -> np.ndarray:
        return np.add.reduceat(column, starts)

    some_finite = np.logical_or.reduceat(has_finite, starts)
    mins = np.minimum.reduceat(np.where(has_finite, joined.mins, np.inf), starts)
    maxs = np.maximum.reduceat(np.where(has_finite, joined.maxs, -np.inf), starts)
    return Buckets(
        series=joined.series[starts],
        buckets=joined.buckets[starts],
        counts=total(joined.counts),
        first_steps=np.minimum.reduceat(joined.first_steps, starts),
        last_steps=joined.last_steps[ends],
        mins=np.where(some_finite, mins, np.nan),
        maxs=np.where(some_finite, maxs, np.nan),
        sums=total(np.where(has_finite, joined.sums, 0.0)),
        nans=total(joined.nans),
        positive_infinities=total(joined.positive_infinities),
        negative_infinities=total(joined.negative_infinities),
        lasts=joined.lasts[ends],
        last_times_ms=joined.last_times_ms[ends],
        attempts=joined.attempts[ends],
    )

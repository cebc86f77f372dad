"""Histograms over steps as one grid: steps in buckets, values in bins of equal width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from services.metrics.queries.samples import SampleQuery, Scope
from services.metrics.storage.arrays import as_numpy
from services.metrics.storage.selection import Condition, all_of
from services.metrics.storage.store import SAMPLES, Store

# Of more histograms than this so many a bucket are read, spread evenly: more would not be seen, and cost as much as all.
MOST = 2_000
PER_BUCKET = 4


@dataclass(slots=True)
class Grid:
    """Counts by bucket of steps and bin of values."""

    first_steps: list[int]
    last_steps: list[int]
    histograms: list[int]
    edges: list[float]
    # One row a bucket.
    counts: np.ndarray


EMPTY = Grid([], [], [], [], np.zeros((0, 0)))


async def read_grid(store: Store, scope: Scope, query: SampleQuery, buckets: int, bins: int) -> Grid:
    """Read the histograms of a series over a range of steps."""
    if not scope.owned:
        return EMPTY
    condition = all_of(scope.condition(), query.steps, Condition("notEmpty(counts)"))
    found = await store.read(f"SELECT step FROM {SAMPLES} WHERE {condition.sql} ORDER BY step", condition.parameters)
    steps = as_numpy(found["step"])
    if not len(steps):
        return EMPTY
    if len(steps) > MOST:
        wanted = chosen(steps, buckets).tolist()
        condition = all_of(condition, Condition("step IN {wanted:Array(Int64)}", {"wanted": wanted}))
    rows = await store.read(
        f"SELECT step, edges, counts FROM {SAMPLES} WHERE {condition.sql} ORDER BY step", condition.parameters
    )
    return grid(rows, buckets, bins, steps)


def chosen(steps: np.ndarray, buckets: int) -> np.ndarray:
    """Return the steps of at most `PER_BUCKET` histograms of each bucket, the first and the last of them and between."""
    bucket = _buckets(steps, steps, buckets)
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    sizes: np.ndarray = np.diff(np.append(starts, len(steps)))
    places = np.linspace(0, 1, PER_BUCKET)
    return np.unique(steps[(starts[:, None] + np.rint((sizes - 1)[:, None] * places)).astype(np.int64)])


def _buckets(steps: np.ndarray, everything: np.ndarray, buckets: int) -> np.ndarray:
    return (steps - everything[0]) * buckets // (everything[-1] - everything[0] + 1)


def grid(rows: pa.Table, buckets: int, bins: int, everything: np.ndarray) -> Grid:
    """Put histograms of any bins into one grid. What a bin has counted is spread evenly over the bins that it covers.

    Args:
        rows: `step`, ascending, with `edges` and `counts`.
        everything: the steps of all histograms, of which these are some in each bucket.
    """
    steps = as_numpy(rows["step"])
    joined = {name: rows[name].combine_chunks() for name in ("edges", "counts")}
    edges, sizes = _flat(joined["edges"]), _sizes(joined["edges"])
    counts, bins_of = _flat(joined["counts"]), _sizes(joined["counts"])
    # Each bin by its lower and its upper edge: all edges but the last of a histogram, and all but its first.
    ends = np.cumsum(sizes)
    lower: np.ndarray = np.ones(len(edges), bool)
    upper: np.ndarray = np.ones(len(edges), bool)
    lower[ends - 1] = False
    upper[ends - sizes] = False
    low, high = edges[lower], edges[upper]
    smallest, largest = float(low.min()), float(high.max())
    width = (largest - smallest) / bins
    found, bucket = np.unique(_buckets(steps, everything, buckets), return_inverse=True)
    row: np.ndarray = np.repeat(bucket, bins_of)
    counted = _spread(row, (low - smallest) / width, (high - smallest) / width, counts, len(found), bins)
    starts = np.flatnonzero(np.diff(_buckets(everything, everything, buckets), prepend=-1))
    per_bucket: np.ndarray = np.diff(np.append(starts, len(everything)))
    return Grid(
        everything[starts].tolist(),
        everything[np.append(starts[1:], len(everything)) - 1].tolist(),
        per_bucket.tolist(),
        np.linspace(smallest, largest, bins + 1).tolist(),
        counted,
    )


def _spread(row: np.ndarray, low: np.ndarray, high: np.ndarray, counts: np.ndarray, rows: int, bins: int) -> np.ndarray:
    """Add counts of ranges low..high, in units of bins, to the bins that they cover."""
    first = np.clip(np.floor(low).astype(np.int64), 0, bins - 1)
    last = np.clip(np.ceil(high).astype(np.int64) - 1, first, bins - 1)
    density = counts / (high - low)
    alone = first == last

    def add(weights: np.ndarray, place: np.ndarray, width: int) -> np.ndarray:
        return np.bincount(row * width + place, weights, rows * width).reshape(rows, width)

    total = add(np.where(alone, counts, density * (first + 1 - low)), first, bins)
    total += add(np.where(alone, 0.0, density * (high - last)), last, bins)
    # What is between has all of the density: it begins behind the first, and ends before the last.
    between = np.where(alone, 0.0, density)
    total += np.cumsum(add(between, first + 1, bins + 1) - add(between, last, bins + 1), axis=1)[:, :bins]
    return np.maximum(total, 0.0)


def _flat(column: pa.Array) -> np.ndarray:
    return as_numpy(pa.chunked_array([column.flatten()]))


def _sizes(column: pa.Array) -> np.ndarray:
    return np.diff(as_numpy(pa.chunked_array([column.offsets])).astype(np.int64))

"""Histograms as a grid: what is counted stays counted, and of many some of each bucket are read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from services.metrics.queries.histograms import PER_BUCKET, chosen, grid


def table(steps: list[int], histograms: list[tuple[np.ndarray, np.ndarray]]) -> pa.Table:
    columns = {
        name: pa.array([one[place].astype(float) for one in histograms])
        for place, name in enumerate(("counts", "edges"))
    }
    return pa.table({"step": pa.array(steps), **columns})


def test_histograms_of_other_bins_keep_their_counts() -> None:
    random = np.random.default_rng(1)
    steps = [1, 2, 50, 99, 100]
    histograms = [np.histogram(random.normal(0, step, 300), 5 + step % 7) for step in steps]
    found = grid(table(steps, histograms), 10, 17, np.array(steps))
    assert (found.first_steps, found.last_steps, found.histograms) == ([1, 50, 99], [2, 50, 100], [2, 1, 2])
    assert np.allclose(found.counts.sum(axis=1), [600, 300, 600])
    # Against the cumulative counts, interpolated.
    wanted = np.zeros(17)
    for counts, edges in histograms[3:]:
        wanted += np.diff(np.interp(found.edges, edges, np.append(0, np.cumsum(counts))))
    assert np.allclose(found.counts[2], wanted)


def test_of_many_some_of_each_bucket_are_chosen() -> None:
    steps: np.ndarray = np.append(np.arange(1, 9_001), [20_000])
    found = chosen(steps, 10)
    buckets: np.ndarray = (found - 1) * 10 // 20_000
    assert set(np.bincount(buckets)[:4]) == {PER_BUCKET} and found[0] == 1 and found[-1] == 20_000
    assert set(found) <= set(steps)

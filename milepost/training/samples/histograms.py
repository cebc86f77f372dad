"""Histograms of values, and those that a loop has made itself."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

DEFAULT_BINS = 64
MAX_BINS = 1_024


def binned(given: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Return edges and counts, ascending, one edge more than counts. None: it is no histogram.

    Bins are those of `numpy.histogram`: of equal width from the smallest to the largest value, the last one closed. Values
    that are not finite are left out.

    Args:
        given: `values` with `bins`, or `counts` with `edges`.
    """
    if given.get("counts") is not None:
        return _given(_flat(given["counts"]), _flat(given["edges"]))
    values = given["values"]
    bins = max(1, min(int(given.get("bins") or DEFAULT_BINS), MAX_BINS))
    if hasattr(values, "detach"):
        # A tensor of any kind; bfloat16 has no counterpart in numpy.
        values = values.detach().float().cpu().numpy()
    try:
        import numpy as np
    except ModuleNotFoundError:
        return _counted([value for value in _flat(values) if math.isfinite(value)], bins)
    array = np.asarray(values, np.float64).ravel()
    finite = array[np.isfinite(array)]
    if not finite.size:
        return None
    counts, edges = np.histogram(finite, bins)
    return edges.tolist(), counts.astype(np.float64).tolist()


def _flat(values: Any) -> list[float]:
    if hasattr(values, "detach"):
        values = values.detach().float().cpu()
    if hasattr(values, "tolist"):
        values = values.tolist()
    found: list[float] = []
    for value in values:
        if isinstance(value, list | tuple):
            found += _flat(value)
        else:
            found.append(float(value))
    return found


def _given(counts: list[float], edges: list[float]) -> tuple[list[float], list[float]] | None:
    ascending = all(low < high for low, high in pairwise(edges))
    sound = all(math.isfinite(edge) for edge in edges) and all(0 <= count < math.inf for count in counts)
    fits = 1 <= len(counts) <= MAX_BINS and len(edges) == len(counts) + 1
    return (edges, counts) if fits and ascending and sound else None


def _counted(values: list[float], bins: int) -> tuple[list[float], list[float]] | None:
    if not values:
        return None
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = [low + (high - low) * index / bins for index in range(bins)] + [high]
    counts = [0.0] * bins
    for value in values:
        counts[min(bisect_right(edges, value) - 1, bins - 1)] += 1
    return edges, counts

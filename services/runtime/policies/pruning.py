"""Which trials of a search are not worth to go on, seen from the values at their rungs. Pure.

A rung is judged once, when a trial reaches it, by what had reached it before: in the order of the log, so whoever judges
it again after a crash comes to the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from milepost.api.config.v1 import configuration_pb2 as config


@dataclass(frozen=True, slots=True)
class Verdict:
    """A trial is pruned.

    Attributes:
        cut_off: what it would have had to be as good as.
        rank: its place among those that had reached the rung, 1 = best.
        reached_count: how many these were, itself included.
    """

    cut_off: float
    rank: int
    reached_count: int


def rung_step(pruner: config.SearchPruner, rung: int) -> int:
    """Return the step from which on an evaluation is a rung, from 1. With ASHA they lie further and further apart."""
    if pruner.kind == config.PRUNER_KIND_ASHA:
        return pruner.first_step * int(pruner.reduction_factor) ** (rung - 1)
    return pruner.first_step


def judge(
    pruner: config.SearchPruner, mode: config.MetricMode, own: Sequence[float], others: Sequence[float]
) -> Verdict | None:
    """Judge a trial at its last rung; None: it goes on.

    Args:
        own: its values at all of its rungs, in order.
        others: those of other trials that reached the last one before. NaN and infinities are worse than anything.
    """
    sign = -1.0 if mode == config.METRIC_MODE_MAX else 1.0
    costs = [_cost(value, sign) for value in own]
    cost, known = costs[-1], sorted(_cost(value, sign) for value in others)
    rank = 1 + sum(1 for one in known if one < cost)
    cut_off = _cut_off(pruner, costs, known, sign)
    if cut_off is None or cost <= cut_off:
        return None
    return Verdict(sign * cut_off, rank, len(known) + 1)


def _cut_off(pruner: config.SearchPruner, costs: list[float], known: list[float], sign: float) -> float | None:
    """Return the largest cost with which a trial goes on; None: it does with any."""
    if pruner.kind == config.PRUNER_KIND_ASHA:
        going_on = max(1, (len(known) + 1) // pruner.reduction_factor)
        return sorted([*known, costs[-1]])[going_on - 1]
    if pruner.kind == config.PRUNER_KIND_MEDIAN:
        return statistics.median(known) if len(known) >= pruner.startup_trials else None
    if pruner.kind == config.PRUNER_KIND_THRESHOLD:
        return sign * pruner.bound
    earlier = costs[: -pruner.patience]
    # The best of long ago was not reached since.
    return min(earlier) if earlier and min(costs[-pruner.patience :]) >= min(earlier) else None


def _cost(value: float, sign: float) -> float:
    return sign * value if math.isfinite(value) else math.inf

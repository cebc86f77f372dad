"""Which trials of a search are not worth to go on, seen from the values at their rungs.

A rung is judged once, when a trial reaches it, by what had reached it before: in the order of the log, so whoever judges
it again after a crash comes to the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.domain import population

# Trials after which brackets repeat: as many as a search may have.
MAX_CYCLE = 10_000


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


# Those whose rungs lie further and further apart.
HALVING = (config.PRUNER_KIND_ASHA, config.PRUNER_KIND_HYPERBAND)
# Those whose rungs lie at steps that are known before; of the others each evaluation is one.
AT_STEPS = (*HALVING, config.PRUNER_KIND_PBT)


def rung_step(pruner: config.SearchPruner, trial: int, rung: int) -> int | None:
    """Return the step from which on an evaluation is a rung of a trial, both from 1; None: it has no such rung."""
    if pruner.kind == config.PRUNER_KIND_PBT:
        return population.rung_step(pruner, rung)
    if pruner.kind not in HALVING:
        return pruner.first_step
    step = int(pruner.first_step) * int(pruner.reduction_factor) ** (bracket_of(pruner, trial) + rung - 1)
    # Whoever is there has nothing left to be spared.
    return None if pruner.kind == config.PRUNER_KIND_HYPERBAND and step >= pruner.max_step else step


def bracket_of(pruner: config.SearchPruner, trial: int) -> int:
    """Return the bracket of a trial, from 0: by its number alone, so that it never depends on who asks when.

    With Hyperband (Li and others, 2018) bracket s has its first rung at `reduction_factor ** s` times the first step. Trials
    are spread such that each bracket gets about as many steps as the others; compared are only those of one bracket.
    """
    if pruner.kind != config.PRUNER_KIND_HYPERBAND:
        return 0
    cycle = _cycle(int(pruner.first_step), int(pruner.max_step), int(pruner.reduction_factor))
    return cycle[(trial - 1) % len(cycle)]


def _bracket_count(first_step: int, max_step: int, factor: int) -> int:
    count = 1
    while first_step * factor**count <= max_step:
        count += 1
    return count


@lru_cache(maxsize=100)
def _cycle(first_step: int, max_step: int, factor: int) -> tuple[int, ...]:
    """Return the brackets of as many trials in a row as it takes to serve each by its share, evenly mixed."""
    count = _bracket_count(first_step, max_step, factor)
    # As many trials as begin in a bracket: where they are given up early, more of them cost as much.
    shares = [-(-count * factor ** (count - 1 - bracket) // (count - bracket)) for bracket in range(count)]
    served, cycle = [0] * count, []
    for _ in range(min(sum(shares), MAX_CYCLE)):
        bracket = min(range(count), key=lambda one: ((served[one] + 1) / shares[one], one))
        served[bracket] += 1
        cycle.append(bracket)
    return tuple(cycle)


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
    if pruner.kind in HALVING:
        going_on = max(1, (len(known) + 1) // pruner.reduction_factor)
        return sorted([*known, costs[-1]])[going_on - 1]
    if pruner.kind == config.PRUNER_KIND_PBT:
        return population.cut_off(pruner, [*known, costs[-1]])
    if pruner.kind == config.PRUNER_KIND_MEDIAN:
        return statistics.median(known) if len(known) >= pruner.startup_trials else None
    if pruner.kind == config.PRUNER_KIND_THRESHOLD:
        return sign * pruner.bound
    earlier = costs[: -pruner.patience]
    # The best of long ago was not reached since.
    return min(earlier) if earlier and min(costs[-pruner.patience :]) >= min(earlier) else None


def _cost(value: float, sign: float) -> float:
    return sign * value if math.isfinite(value) else math.inf

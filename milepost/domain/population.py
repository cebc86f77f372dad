"""Population based training (Jaderberg and others, 2017): who is given up at a rung, and with whose weights another goes on.

Trials are compared at the same rung, by what had reached it before, in the order of the log: as all pruners here do it. So
nobody waits for the others, and whoever decides again after a crash comes to the same. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.domain import trial
from milepost.domain.search import History, Reached

_RESTING = (trial.Completed, trial.Failed, trial.Stopped)


def rung_step(pruner: config.SearchPruner, rung: int) -> int | None:
    """Return the step of a rung, from 1; None: there is none, for whoever is there has nothing left to train."""
    step = int(pruner.first_step) * rung
    return step if step < pruner.max_step else None


def share(pruner: config.SearchPruner, count: int) -> int:
    """Return how many of some trials are its quantile, rounded down."""
    # 10 times 0.3 is not 3 for a computer.
    return int(count * pruner.quantile + 1e-9)


def cut_off(pruner: config.SearchPruner, costs: Sequence[float]) -> float | None:
    """Return the largest cost with which a trial goes on, of those that have reached a rung; None: with any."""
    given_up = share(pruner, len(costs))
    return sorted(costs)[len(costs) - given_up - 1] if given_up else None


def ranked(mode: config.MetricMode, at_rung: Sequence[Reached]) -> list[Reached]:
    """List those at a rung that have a finite value, the best first, equal ones by when they came."""
    sign = -1.0 if mode == config.METRIC_MODE_MAX else 1.0
    return sorted((one for one in at_rung if math.isfinite(one.value)), key=lambda one: sign * one.value)


def donors(pruner: config.SearchPruner, mode: config.MetricMode, at_rung: Sequence[Reached]) -> list[Reached]:
    """List whose weights may be taken at a rung: the best quantile of those that reached it, if they have a snapshot there."""
    best = ranked(mode, at_rung)[: max(1, share(pruner, len(at_rung)))]
    return [one for one in best if one.snapshot_id]


def is_drawn(pruner: config.SearchPruner, history: History) -> bool:
    """Return whether the sampler has chosen all members; from then on trials only take the places of others."""
    return members(history) >= pruner.population_size


def members(history: History) -> int:
    """Return how many trials the sampler has chosen."""
    return history.suggested_count - len(history.promoted)


def has_room(search: config.Search, history: History, earlier: int = 0) -> bool:
    """Return whether one more trial may take the place of another: `max_trials` counts members that are to come too.

    Args:
        earlier: how many do it in the same decision.
    """
    to_come = max(0, search.pruner.population_size - members(history))
    return history.ended is None and history.suggested_count + earlier + to_come < search.max_trials


def is_settled(state: trial.Trial, step: int) -> bool:
    """Return whether it is known what snapshot a trial has at a step: it has a later one, or none will come."""
    return isinstance(state.situation, _RESTING) or any(record.step >= step for record in state.snapshots)


def snapshot_at(state: trial.Trial, step: int) -> trial.SnapshotRecord | None:
    """Return the snapshot of a trial at a step; None: it has none, or went back behind it."""
    return next((one for one in reversed(state.snapshots) if one.step == step and not one.superseded), None)


def unneeded(
    search: config.Search, history: History, number: int, state: trial.Trial, ended: bool = False
) -> list[trial.SnapshotRecord]:
    """List the snapshots of a trial that its runtime holds and at which nobody will begin any more.

    Kept are those at which somebody has begun, for its crash would need them; those of rungs that are still to be judged;
    and at each rung those of the best, as many as can be donors when all have reached it.

    Args:
        ended: the search ends now.
    """
    pruner, origins = search.pruner, {one.snapshot_id for one in history.promoted if one.donor == number}
    held = [one for one in state.snapshots if state.runtime_id in one.held_by and one.snapshot_id not in origins]
    if not held or ended or history.ended is not None:
        return held
    rungs = list(history.rungs())
    reached = {one.snapshot_id: one.rung for one in rungs if one.trial == number}
    last = max((one.rung for one in rungs if one.trial == number), default=history.begun_rung(number))
    over = number in history.reported
    return [one for one in held if not _is_needed(one, reached, last, over, pruner, search.objective.mode, rungs)]


def _is_needed(
    record: trial.SnapshotRecord,
    reached: dict[str, int],
    last: int,
    over: bool,
    pruner: config.SearchPruner,
    mode: config.MetricMode,
    rungs: Collection[Reached],
) -> bool:
    rung = reached.get(record.snapshot_id)
    if rung is None:
        # The rung is still to come: of one that is reported it never does.
        return not over and last * pruner.first_step < record.step < pruner.max_step
    best = ranked(mode, [one for one in rungs if one.rung == rung])[: max(1, share(pruner, pruner.population_size))]
    return any(one.snapshot_id == record.snapshot_id for one in best)

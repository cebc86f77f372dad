"""The history of a search with a sampler: which trials were suggested, and what they came to, in the order of the log.

Part of the state of a runtime; the facts are on the runtime's own chain, so that there is one order of them. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.decider import replace

GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Suggested:
    """A sampler has chosen a trial. `parameters`: names and JSON scalars as text, by name."""

    trial: int
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """What a trial came to.

    Attributes:
        values: of each objective. Empty: the sampler is told that it failed.
        violations: of each constraint, how far beyond its bound it is; 0 or less: it is kept.
    """

    trial: int
    values: tuple[float, ...]
    violations: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """A trial has reached a rung, from 1. `value` may be NaN or infinite. `snapshot_id`: its snapshot there, for others."""

    trial: int
    rung: int
    step: int
    value: float
    snapshot_id: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """A trial was given up at its last rung.

    Attributes:
        cut_off: what it would have had to be as good as.
        rank: its place among those that had reached the rung, 1 = best.
        reached_count: how many these were, itself included.
    """

    trial: int
    cut_off: float = math.nan
    rank: int = 0
    reached_count: int = 0


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a trial of another runtime came to, told before the first suggestion. As `Suggested` and `Reported` have it."""

    runtime_id: str
    trial: int
    parameters: tuple[tuple[str, str], ...]
    values: tuple[float, ...]
    violations: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Promoted:
    """A trial that was suggested begins at a rung with the weights of another: no sampler is told of it."""

    trial: int
    donor: int
    rung: int
    snapshot_id: str


Entry = Suggested | Reported | Reached | Pruned | Promoted | Earlier


@dataclass(frozen=True, slots=True)
class Ended:
    """No more trials are suggested."""

    reason: facts.SearchEndReason
    detail: str


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a sampler was asked and told."""

    entries: tuple[Entry, ...] = ()
    suggested_count: int = 0
    reported: frozenset[int] = frozenset()
    # Of a search with one objective.
    best_trial: int = 0
    best_value: float | None = None
    # Reports since the one that was the best, itself not counted.
    reports_since_best: int = 0
    ended: Ended | None = None
    # Of a search with several objectives: trials that no other one surpasses, with their values, by when they came.
    front: tuple[tuple[int, tuple[float, ...]], ...] = ()
    # What trials of other runtimes came to was told, if only that there is none.
    earlier_told: bool = False
    # Trials that began with the weights of others.
    promoted: tuple[Promoted, ...] = ()

    def tell_earlier(self, trials: Sequence[Earlier]) -> History:
        """Add what trials of other runtimes came to."""
        return replace(self, entries=(*self.entries, *trials), earlier_told=True)

    def suggest(self, trial: int, parameters: Mapping[str, str]) -> History:
        """Add a suggestion."""
        entry = Suggested(trial, tuple(sorted(parameters.items())))
        return replace(self, entries=(*self.entries, entry), suggested_count=self.suggested_count + 1)

    def report(self, report: Reported, *, best: bool, surpassed: Sequence[int] = ()) -> History:
        """Add what a trial came to.

        Args:
            surpassed: with several objectives, trials that are among the best no longer.
        """
        one = best and len(report.values) == 1
        front = tuple(known for known in self.front if known[0] not in surpassed)
        return replace(
            self,
            entries=(*self.entries, report),
            reported=self.reported | {report.trial},
            best_trial=report.trial if one else self.best_trial,
            best_value=report.values[0] if one else self.best_value,
            reports_since_best=0 if best else self.reports_since_best + 1,
            front=(*front, (report.trial, report.values)) if best and not one else front,
        )

    def reach(self, reached: Reached) -> History:
        """Add a rung that a trial has reached."""
        return replace(self, entries=(*self.entries, reached))

    def promote(self, promoted: Promoted) -> History:
        """Add that a trial is to begin with the weights of another."""
        return replace(self, entries=(*self.entries, promoted), promoted=(*self.promoted, promoted))

    def prune(self, pruned: Pruned) -> History:
        """Add that a trial was given up: nothing more is reported of it."""
        return replace(
            self,
            entries=(*self.entries, pruned),
            reported=self.reported | {pruned.trial},
            reports_since_best=self.reports_since_best + 1,
        )

    def rungs(self) -> Iterator[Reached]:
        """Yield the rungs that were reached, in order."""
        return (entry for entry in self.entries if isinstance(entry, Reached))

    def begun_rung(self, trial: int) -> int:
        """Return the rung at which a trial began; 0: with the weights of nobody."""
        return next((one.rung for one in self.promoted if one.trial == trial), 0)

    def told_to_sampler(self) -> tuple[Entry, ...]:
        """Return what a sampler was asked and told: nothing of trials that began with the weights of others."""
        if not self.promoted:
            return self.entries
        others = {one.trial for one in self.promoted}
        return tuple(one for one in self.entries if isinstance(one, Earlier) or one.trial not in others)

    def suggestions(self) -> Iterator[Suggested]:
        """Yield the suggestions, in order."""
        return (entry for entry in self.entries if isinstance(entry, Suggested))


NO_HISTORY = History()


def objectives_of(search: config.Search) -> list[config.SearchObjective]:
    """List what a search with a sampler looks for: one objective, or several."""
    return [search.objective] if search.HasField("objective") else list(search.objectives)


def metrics_of(search: config.Search) -> list[str]:
    """List the series keys whose values a sampler is told, each once."""
    metrics = [one.metric for one in objectives_of(search)] + [one.metric for one in search.constraints]
    return list(dict.fromkeys(metrics))


def is_better(value: float, than: float | None, mode: config.MetricMode) -> bool:
    """Return whether a finite value is better than the best so far; None: there is none yet."""
    if than is None:
        return True
    return value > than if mode == config.METRIC_MODE_MAX else value < than


def surpasses(values: Sequence[float], others: Sequence[float], modes: Sequence[config.MetricMode]) -> bool:
    """Return whether values are better than others in one objective at least, and worse in none."""
    pairs = list(zip(values, others, modes, strict=True))
    better = any(is_better(value, other, mode) for value, other, mode in pairs)
    return better and not any(is_better(other, value, mode) for value, other, mode in pairs)


def objective_of(search: config.Search, trial: int, values: Values) -> facts.ObjectiveReported:
    """Say what a completed trial came to, from the points of its metrics. Whether it is the best, the decider says."""
    objectives = objectives_of(search)
    report = facts.ObjectiveReported(trial=trial, metric=search.objective.metric, detail=values.detail)
    report.outcome = facts.OBJECTIVE_OUTCOME_VALUE
    found: list[tuple[str, float]] = []
    wanted = [(one.metric, *_of_objective(one, values.of(one.metric))) for one in objectives]
    wanted += [(one.metric, *_of_constraint(one, values.of(one.metric))) for one in search.constraints]
    for metric, which, value in wanted:
        if not values.of(metric).count:
            report.outcome = facts.OBJECTIVE_OUTCOME_NO_VALUE
            report.detail = _and(f"it logged no point of {metric}", values.detail)
            return report
        if value is None or not math.isfinite(value):
            report.outcome = facts.OBJECTIVE_OUTCOME_NON_FINITE
            report.detail = _and(f"{which} of {metric} is NaN or infinite", values.detail)
            return report
        found.append((metric, value))
    for constraint, (metric, value) in zip(search.constraints, found[len(objectives) :], strict=True):
        upper = constraint.HasField("at_most")
        violation = value - constraint.at_most if upper else constraint.at_least - value
        report.constraints.add(metric=metric, value=value, violation=violation)
    report.infeasible = any(one.violation > 0 for one in report.constraints)
    if len(objectives) == 1:
        report.value = found[0][1]
    else:
        report.values.extend(
            facts.MeasuredValue(metric=metric, value=value) for metric, value in found[: len(objectives)]
        )
    return report


_LAST, _EVERY = "the last value", "every value"


def _of_objective(objective: config.SearchObjective, points: Points) -> tuple[str, float | None]:
    """Say which value of a metric counts, and return it; None: there is none."""
    if objective.value == config.OBJECTIVE_VALUE_LAST:
        return _LAST, points.last
    return _EVERY, points.largest if objective.mode == config.METRIC_MODE_MAX else points.smallest


def _of_constraint(constraint: config.SearchConstraint, points: Points) -> tuple[str, float | None]:
    if constraint.value == config.CONSTRAINT_VALUE_LAST:
        return _LAST, points.last
    return _EVERY, points.largest if constraint.HasField("at_most") else points.smallest


@dataclass(frozen=True, slots=True)
class Points:
    """What is stored of one metric of one trial.

    Attributes:
        count: points, those that are not finite included.
        smallest: over finite values; None: there are none.
        last: as logged; None: there is none.
    """

    count: int = 0
    smallest: float | None = None
    largest: float | None = None
    last: float | None = None


NO_POINTS = Points()


@dataclass(frozen=True, slots=True)
class Values:
    """What is stored of the metrics of one trial.

    Attributes:
        points: by series key. One that has none may be left out.
        detail: what of the trial's points is not stored. Empty: everything is.
    """

    points: Mapping[str, Points]
    detail: str = ""

    def of(self, metric: str) -> Points:
        return self.points.get(metric, NO_POINTS)


def why_over(search: config.Search, history: History, since: datetime | None, now: datetime) -> Ended | None:
    """Return why no more trials are to be suggested while some may run; None: there is no reason.

    Args:
        since: when the first trial began to run. None: none did.
    """
    stop = search.stop_when
    best = history.best_value
    if stop.HasField("target") and best is not None and not is_better(stop.target, best, search.objective.mode):
        detail = f"trial {history.best_trial} reached {best:.6g}, the target is {stop.target:.6g}"
        return Ended(facts.SEARCH_END_REASON_TARGET, detail)
    if stop.HasField("no_gain_in_trials") and history.reports_since_best >= stop.no_gain_in_trials:
        detail = f"{history.reports_since_best} trials in a row were not better than {_best_known(history)}"
        return Ended(facts.SEARCH_END_REASON_NO_GAIN, detail)
    end = end_time(search, since)
    if end is not None and now >= end:
        return Ended(facts.SEARCH_END_REASON_HOURS, f"it has searched for {stop.hours:g} h")
    return None


def _best_known(history: History) -> str:
    if history.front:
        return "those that are the best"
    return f"trial {history.best_trial}" if history.best_trial else "no value"


def end_time(search: config.Search, since: datetime | None) -> datetime | None:
    """Return when a search ends by the clock; None: it does not."""
    if since is None or not search.stop_when.HasField("hours"):
        return None
    return since + timedelta(hours=search.stop_when.hours)


def _and(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first

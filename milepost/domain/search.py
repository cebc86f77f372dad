"""The history of a search with a sampler: which trials were suggested, and what they came to, in the order of the log.

Part of the state of a runtime; the facts are on the runtime's own chain, so that there is one order of them. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
    """What a trial came to. `value`: None where the sampler is told that it failed."""

    trial: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Reached:
    """A trial has reached a rung, from 1. `value` may be NaN or infinite."""

    trial: int
    rung: int
    step: int
    value: float


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


Entry = Suggested | Reported | Reached | Pruned


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
    best_trial: int = 0
    best_value: float | None = None
    # Reports since the one that was the best, itself not counted.
    reports_since_best: int = 0
    ended: Ended | None = None

    def suggest(self, trial: int, parameters: Mapping[str, str]) -> History:
        """Add a suggestion."""
        entry = Suggested(trial, tuple(sorted(parameters.items())))
        return replace(self, entries=(*self.entries, entry), suggested_count=self.suggested_count + 1)

    def report(self, trial: int, value: float | None, *, best: bool) -> History:
        """Add what a trial came to."""
        return replace(
            self,
            entries=(*self.entries, Reported(trial, value)),
            reported=self.reported | {trial},
            best_trial=trial if best else self.best_trial,
            best_value=value if best else self.best_value,
            reports_since_best=0 if best else self.reports_since_best + 1,
        )

    def reach(self, trial: int, rung: int, step: int, value: float) -> History:
        """Add a rung that a trial has reached."""
        return replace(self, entries=(*self.entries, Reached(trial, rung, step, value)))

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

    def suggestions(self) -> Iterator[Suggested]:
        """Yield the suggestions, in order."""
        return (entry for entry in self.entries if isinstance(entry, Suggested))


NO_HISTORY = History()


def is_better(value: float, than: float | None, mode: config.MetricMode) -> bool:
    """Return whether a finite value is better than the best so far; None: there is none yet."""
    if than is None:
        return True
    return value > than if mode == config.METRIC_MODE_MAX else value < than


def objective_of(objective: config.SearchObjective, trial: int, values: Values) -> facts.ObjectiveReported:
    """Say what a completed trial came to, from the points of its metric. Whether it is the best, the decider says."""
    report = facts.ObjectiveReported(trial=trial, metric=objective.metric, detail=values.detail)
    value = values.last
    if objective.value != config.OBJECTIVE_VALUE_LAST:
        value = values.largest if objective.mode == config.METRIC_MODE_MAX else values.smallest
    if not values.count:
        report.outcome = facts.OBJECTIVE_OUTCOME_NO_VALUE
        report.detail = _and(f"it logged no point of {objective.metric}", values.detail)
    elif value is None or not math.isfinite(value):
        which = "the last value" if objective.value == config.OBJECTIVE_VALUE_LAST else "every value"
        report.outcome = facts.OBJECTIVE_OUTCOME_NON_FINITE
        report.detail = _and(f"{which} of {objective.metric} is NaN or infinite", values.detail)
    else:
        report.outcome, report.value = facts.OBJECTIVE_OUTCOME_VALUE, value
    return report


@dataclass(frozen=True, slots=True)
class Values:
    """What is stored of the metric of one trial.

    Attributes:
        count: points, those that are not finite included.
        smallest: over finite values; None: there are none.
        last: as logged; None: there is none.
        detail: what of the trial's points is not stored. Empty: everything is.
    """

    count: int = 0
    smallest: float | None = None
    largest: float | None = None
    last: float | None = None
    detail: str = ""


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
        than = f"trial {history.best_trial}" if history.best_trial else "no value"
        detail = f"{history.reports_since_best} trials in a row were not better than {than}"
        return Ended(facts.SEARCH_END_REASON_NO_GAIN, detail)
    end = end_time(search, since)
    if end is not None and now >= end:
        return Ended(facts.SEARCH_END_REASON_HOURS, f"it has searched for {stop.hours:g} h")
    return None


def end_time(search: config.Search, since: datetime | None) -> datetime | None:
    """Return when a search ends by the clock; None: it does not."""
    if since is None or not search.stop_when.HasField("hours"):
        return None
    return since + timedelta(hours=search.stop_when.hours)


def _and(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first

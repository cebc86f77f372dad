"""What is to be done next for a search with a sampler. Pure.

As with `control`, each move follows from facts alone, so whoever is killed anywhere goes on with the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import population, runtime, trial
from milepost.domain.search import Earlier, Ended, Reported, end_time, why_over

# Values that a sampler wants to know before it does more than to draw.
STARTUP_VALUES = {"tpe": 10, "gp": 10}


@dataclass(frozen=True, slots=True)
class Report:
    """Say what a trial came to that has ended."""

    trial: int


@dataclass(frozen=True, slots=True)
class Suggest:
    """Have the next trial chosen."""

    trial: int


@dataclass(frozen=True, slots=True)
class End:
    ended: Ended


@dataclass(frozen=True, slots=True)
class TellEarlierTrials:
    """Tell the sampler what trials of other runtimes came to."""


Move = Report | Suggest | End | TellEarlierTrials


@dataclass(frozen=True, slots=True)
class Picture:
    """All that the next move of a search depends on.

    Attributes:
        trials: those whose outcome is not reported, and those that run.
        slots: trials that may run at a time with what is allocated, at least 1.
        since: when the first trial began to run. None: none did.
        to_resume: trials that a resume of the runtime takes up, and has not yet.
    """

    state: runtime.Runtime
    trials: Mapping[int, trial.Trial]
    slots: int
    since: datetime | None
    to_resume: frozenset[int] = frozenset()


def to_report(picture: Picture) -> list[int]:
    """List the trials that have ended and whose outcome is not reported, by number.

    A crash is retried and a stop can be resumed, so neither is an outcome.
    """
    reported = picture.state.history.reported
    over = (trial.Completed, trial.Failed)
    return [n for n, one in sorted(picture.trials.items()) if n not in reported and isinstance(one.situation, over)]


def next_move(picture: Picture, now: datetime) -> Suggest | End | TellEarlierTrials | None:
    """Return what is to be done beside reporting; None: nothing until a fact or the time changes."""
    state = picture.state
    configuration, history = state.configuration, state.history
    if configuration is None or not state.in_progress or state.stop is not None or history.ended is not None:
        return None
    search = configuration.search
    if search.warm_start and not history.earlier_told:
        return TellEarlierTrials()
    over = why_over(search, history, picture.since, now)
    if over is not None:
        return End(over)
    # One whose value is not known yet is under way: with one trial at a time each is chosen knowing all before it.
    moving = (trial.Queued, trial.Retrying, trial.Active)
    running = sum(1 for one in picture.trials.values() if isinstance(one.situation, moving))
    busy = running + len(to_report(picture)) + len(picture.to_resume)
    if search.pruner.kind == config.PRUNER_KIND_PBT and population.is_drawn(search.pruner, history):
        others = history.suggested_count - population.members(history)
        detail = f"{population.members(history)} members, and {others} that took the places of others"
        return End(Ended(facts.SEARCH_END_REASON_POPULATION, detail)) if not busy else None
    if history.suggested_count >= search.max_trials:
        detail = f"{history.suggested_count} trials"
        return End(Ended(facts.SEARCH_END_REASON_MAX_TRIALS, detail)) if not busy else None
    room = min(picture.slots, search.max_concurrent_trials)
    return Suggest(history.suggested_count + 1) if busy < room else None


def wake_time(picture: Picture) -> datetime | None:
    """Return when the next move may follow from the time alone; None: never."""
    state = picture.state
    if state.configuration is None or not state.in_progress or state.history.ended is not None:
        return None
    return end_time(state.configuration.search, picture.since)


def because(state: runtime.Runtime, sampler: str) -> str:
    """Say what the next trial is chosen from."""
    history, configuration = state.history, state.configuration
    assert configuration is not None, "an existing runtime has a configuration"
    points = len(configuration.search.points)
    chosen = population.members(history)
    if chosen < points:
        return f"point {chosen + 1} of {points} given by hand"
    values = sum(1 for entry in history.entries if isinstance(entry, Reported) and entry.values)
    earlier = sum(1 for entry in history.entries if isinstance(entry, Earlier))
    values += earlier
    under_way = history.suggested_count - len(history.reported)
    known = f"{values} value{'' if values == 1 else 's'} known"
    if history.best_value is not None:
        known += f", the best {history.best_value:.6g} of trial {history.best_trial}"
    if earlier:
        known += f", {earlier} of them of earlier runtimes"
    if history.front:
        known += f", {len(history.front)} of them the best"
    if under_way:
        known += f", {under_way} under way"
    wanted = configuration.search.population_size or STARTUP_VALUES.get(sampler, 0)
    return f"drawn at random before {wanted} values are known: {known}" if values < wanted else known

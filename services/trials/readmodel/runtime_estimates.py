"""When all trials of a runtime are done."""

from __future__ import annotations

import asyncio
import math

from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import trial
from services.trials.readmodel import eta
from services.trials.readmodel.progress import believable, elapsed_nanoseconds
from services.trials.readmodel.view import Key, RuntimeView, TrialView
from services.trials.readmodel.views import Views

# Trials that are looked at before others get their turn.
BATCH = 50
# Of the normal distribution, on either side: four in five.
SIGMAS = 1.28


async def estimate_in_turns(views: Views, runtime: RuntimeView, now: int) -> eta.Remaining | None:
    """Estimate as `estimate_runtime` does, a part of the trials at a time."""
    for index, number in enumerate(list(runtime.trials)):
        # It is remembered until the trial changes.
        views.estimate_of(views.trials[Key(runtime.runtime_id, number)], now)
        if index % BATCH == BATCH - 1:
            await asyncio.sleep(0)
    return estimate_runtime(views, runtime, now)


def estimate_runtime(views: Views, runtime: RuntimeView, now: int) -> eta.Remaining | None:
    """Estimate when all trials that run or wait for a launch are done, at the allowed concurrency; None: not known.

    Where that follows from what is free, it stays as it is now.

    Of a search that goes on as many trials are still to come as it may have. Where trials are pruned, those that run and
    those that come last as long as such trials did so far. Of a population another trial goes on where one was pruned, so each
    place takes as long as a whole trial.
    """
    full_steps = max(
        (views.trials[Key(runtime.runtime_id, n)].state.plan.total_steps or 0 for n in runtime.trials), default=0
    )
    running: list[eta.Remaining] = []
    unknown: list[float] = []
    waiting: list[float] = []
    # Seconds of trials that have completed, and of those that run as far as it is known.
    completed: list[float] = []
    expected: list[float] = []
    # Seconds that trials took which were pruned, and those of each that runs and may be.
    cut: list[float] = []
    so_far: list[float] = []
    for number in runtime.trials:
        view = views.trials[Key(runtime.runtime_id, number)]
        situation = view.state.situation
        if _is_pruned(runtime, number):
            # One that is about to stop takes its last snapshot.
            cut.append(elapsed_nanoseconds(view, now) / 1e9)
        elif isinstance(situation, trial.Active):
            rest = views.estimate_of(view, now)
            so_far.append(elapsed_nanoseconds(view, now) / 1e9)
            if rest is not None:
                running.append(rest)
                expected.append(_whole(view, rest.seconds, now))
            elif situation.stop is not None or views.is_stalled(view, now):
                return None
            else:
                unknown.append(elapsed_nanoseconds(view, now) / 1e9)
        elif isinstance(situation, trial.Queued | trial.Retrying):
            total = view.state.plan.total_steps or full_steps
            snapshots = trial.restorable_snapshots(view.state)
            step = snapshots[0].step if snapshots else trial.origin_step(view.state)
            waiting.append(max(0.0, 1.0 - step / total) if total else 1.0)
        elif isinstance(situation, trial.Completed):
            completed.append(view.running_nanoseconds / 1e9 / _own_share(view))
    durations = completed + expected
    # Those that a sampler has not chosen yet.
    to_come = max(0, runtime.searched_trials - len(runtime.suggestions))
    if cut and durations and not runtime.is_population:
        # Of whole ones: the middle of those that are known.
        full = sorted(durations)[len(durations) // 2]
        return _under_pruning(runtime, eta.Survival(completed + cut, so_far, full), so_far, waiting, to_come)
    waiting += [1.0] * to_come
    if ((waiting or unknown) and not durations) or not (running or unknown or waiting):
        return None
    usual = sorted(durations)[len(durations) // 2] if durations else 0.0
    # A trial that has just begun will take as long as the others did.
    for elapsed in unknown:
        rest_seconds = max(0.0, usual - elapsed)
        running.append(eta.Remaining(rest_seconds, 0.9 * rest_seconds, 1.15 * rest_seconds))
    ends = [
        eta.schedule(
            [pick(rest) for rest in running],
            [share * usual * stretch for share in waiting],
            runtime.max_concurrent_trials or max(1, len(running)),
        )
        for pick, stretch in ((_middle, 1.0), (_low, 0.9), (_high, 1.15))
    ]
    return believable(eta.Remaining(*ends))


def _is_pruned(runtime: RuntimeView, number: int) -> bool:
    suggestion = runtime.suggestions.get(number)
    return suggestion is not None and suggestion.outcome == facts.OBJECTIVE_OUTCOME_PRUNED


def _under_pruning(
    runtime: RuntimeView, survival: eta.Survival, so_far: list[float], waiting: list[float], to_come: int
) -> eta.Remaining | None:
    """Estimate when a search is done whose trials may be given up at any rung.

    Args:
        so_far: seconds of each trial that runs.
        waiting: of each trial that waits, what share of it is still to be done.
    """
    rests = [survival.rest(seconds)[0] for seconds in so_far]
    mean, deviation = survival.rest()
    coming = [share * mean for share in waiting] + [mean] * to_come
    count = len(rests) + len(coming)
    if not count:
        return None
    seconds = eta.schedule(rests, coming, runtime.max_concurrent_trials or max(1, len(rests)))
    # How far the mean of the lengths may be off, and how far those to come differ from it.
    error = deviation / mean * math.sqrt(1 / survival.ended_count + 1 / count) if mean else 0.0
    low, high = max(0.0, 1 - max(0.1, SIGMAS * error)), 1 + max(0.15, SIGMAS * error)
    return believable(eta.Remaining(seconds, seconds * low, seconds * high))


def _middle(rest: eta.Remaining) -> float:
    return rest.seconds


def _low(rest: eta.Remaining) -> float:
    return rest.low


def _high(rest: eta.Remaining) -> float:
    return rest.high


def _whole(view: TrialView, rest: float, now: int) -> float:
    return (elapsed_nanoseconds(view, now) / 1e9 + rest) / _own_share(view)


def _own_share(view: TrialView) -> float:
    """Return which part of all steps a trial does itself, above 0: others did those before it began."""
    total, begun = view.state.plan.total_steps, trial.origin_step(view.state)
    return 1 - begun / total if total and begun < total else 1.0

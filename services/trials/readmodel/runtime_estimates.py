"""When all trials of a runtime are done."""

from __future__ import annotations

import asyncio

from milepost.domain import trial
from services.trials.readmodel import eta
from services.trials.readmodel.progress import believable, elapsed_nanoseconds
from services.trials.readmodel.view import Key, RuntimeView, TrialView
from services.trials.readmodel.views import Views

# Trials that are looked at before others get their turn.
BATCH = 50


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

    Of a search that goes on as many trials are still to come as it may have.
    """
    running: list[eta.Remaining] = []
    unknown: list[float] = []
    waiting: list[float] = []
    durations: list[float] = []
    for number in runtime.trials:
        view = views.trials[Key(runtime.runtime_id, number)]
        situation = view.state.situation
        if isinstance(situation, trial.Active):
            rest = views.estimate_of(view, now)
            if rest is not None:
                running.append(rest)
                durations.append(_whole(view, rest.seconds, now))
            elif situation.stop is not None or views.is_stalled(view, now):
                return None
            else:
                unknown.append(elapsed_nanoseconds(view, now) / 1e9)
        elif isinstance(situation, trial.Queued | trial.Retrying):
            total = view.state.plan.total_steps
            snapshots = trial.restorable_snapshots(view.state)
            done = snapshots[0].step / total if snapshots and total else 0.0
            waiting.append(max(0.0, 1.0 - done))
        elif isinstance(situation, trial.Completed):
            durations.append(view.running_nanoseconds / 1e9)
    # Those that a sampler has not chosen yet.
    waiting += [1.0] * max(0, runtime.searched_trials - len(runtime.suggestions))
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
            runtime.max_concurrent_trials,
        )
        for pick, stretch in ((_middle, 1.0), (_low, 0.9), (_high, 1.15))
    ]
    return believable(eta.Remaining(*ends))


def _middle(rest: eta.Remaining) -> float:
    return rest.seconds


def _low(rest: eta.Remaining) -> float:
    return rest.low


def _high(rest: eta.Remaining) -> float:
    return rest.high


def _whole(view: TrialView, rest: float, now: int) -> float:
    return elapsed_nanoseconds(view, now) / 1e9 + rest

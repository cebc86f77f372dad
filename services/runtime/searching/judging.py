"""Rungs that trials have reached, and what comes of it: who is pruned, and of a population who takes the place.

It follows from what the log has, and not from when it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.configuration.words import PRUNERS
from milepost.domain import population as populations
from milepost.domain import pruning, runtime, sentences, trial
from milepost.domain.search import Reached
from services.runtime.readmodel.view import RuntimeView, configuration_of
from services.runtime.searching import population

_WORDS = {number: word for word, number in PRUNERS.items()}
_GOING_ON = (trial.Active, trial.Queued, trial.Retrying)


def unreported(state: runtime.Runtime) -> list[int]:
    """List the trials of which it is not said what they came to."""
    # Of ten thousand most are reported, and this is asked after each event.
    return sorted(set(range(1, state.history.suggested_count + 1)) - state.history.reported)


def next_rung(view: RuntimeView) -> Reached | None:
    """Return the next rung that a trial of a search has reached and that is not judged; None: there is none.

    The trial with the lowest number comes first, so that it does not matter when they are looked at, only what the log has.
    """
    state = view.state
    search = configuration_of(view).search
    pruner, is_population = search.pruner, population.is_population(search)
    last: dict[int, Reached] = {one.trial: one for one in state.history.rungs()}
    begun = {one.trial: one.rung for one in state.history.promoted} if is_population else {}
    for number in unreported(state):
        one = view.trials.get(number)
        if one is None or not one.evaluations or _is_being_stopped(one.state):
            continue
        rung = 1 + (last[number].rung if number in last else begun.get(number, 0))
        from_step = pruning.rung_step(pruner, number, rung)
        if from_step is None:
            continue
        if is_population and not populations.is_settled(one.state, from_step):
            # Its snapshot there is on its way.
            continue
        # Of ASHA several rungs may lie before one evaluation; of the others each evaluation is one.
        after = last[number].step if number in last and pruner.kind not in pruning.AT_STEPS else 0
        found = next(((step, value) for step, value in one.evaluations if step >= from_step and step > after), None)
        if found is not None:
            return Reached(number, rung, *found, population.snapshot_of(view, number, rung) if is_population else "")
    return None


def judge(view: RuntimeView, found: Reached, now: datetime) -> dict[int | None, list[object]]:
    """Return the commands of the one decision that a trial at a rung brings about."""
    search, history = configuration_of(view).search, view.state.history
    bracket = pruning.bracket_of(search.pruner, found.trial)
    at_rung = [one for one in history.rungs() if one.rung == found.rung]
    at_rung = [one for one in at_rung if pruning.bracket_of(search.pruner, one.trial) == bracket] + [found]
    rung = facts.RungReached(
        trial=found.trial, rung=found.rung, step=found.step, value=found.value, metric=search.objective.metric,
        snapshot_id=found.snapshot_id,
    )  # fmt: skip
    follows: list[facts.TrialPruned | facts.TrialSuggested | facts.TrialPromoted] = []
    commands: dict[int | None, list[object]] = {None: []}
    is_population = population.is_population(search)
    places = 0
    for one in population.on_trial(view, found, at_rung) if is_population else [found]:
        pruned = _verdict(view, one, at_rung)
        if pruned is None:
            continue
        promotion = population.promotion(view, one.trial, at_rung, places) if is_population else None
        if is_population and promotion is None:
            # Nobody can take its place: it goes on.
            continue
        follows.append(pruned)
        if isinstance(view.trials[one.trial].state.situation, _GOING_ON):
            commands[one.trial] = [_stop(view, pruned, now)]
        if promotion is not None:
            places += 1
            follows += [promotion.suggested, promotion.promoted]
            commands[promotion.promoted.child] = [promotion.create]
            commands.setdefault(promotion.promoted.donor, []).append(promotion.hold)
    commands[None] = [runtime.ReachRung(len(history.entries), rung, tuple(follows))]
    return commands


def _verdict(view: RuntimeView, one: Reached, at_rung: Sequence[Reached]) -> facts.TrialPruned | None:
    """Judge a trial by those that have reached its rung, itself among them; None: it goes on."""
    search = configuration_of(view).search
    own = [known.value for known in view.state.history.rungs() if known.trial == one.trial and known.rung < one.rung]
    others = [known.value for known in at_rung if known.trial != one.trial]
    verdict = pruning.judge(search.pruner, search.objective.mode, [*own, one.value], others)
    if verdict is None:
        return None
    return facts.TrialPruned(
        trial=one.trial,
        rung=one.rung,
        step=one.step,
        value=one.value,
        cut_off=verdict.cut_off,
        rank=verdict.rank,
        reached_count=verdict.reached_count,
        pruner=_WORDS[search.pruner.kind],
        metric=search.objective.metric,
    )


def _stop(view: RuntimeView, pruned: facts.TrialPruned, now: datetime) -> trial.StopTrial:
    deadline = now + timedelta(seconds=configuration_of(view).limits.stop_deadline_seconds)
    reason = f"pruned {sentences.pruning(pruned)}"
    return trial.StopTrial(common.STOP_MODE_GRACEFUL, deadline, reason, pruned=True)


def _is_being_stopped(state: trial.Trial) -> bool:
    """Return whether somebody has stopped a trial. It is judged when it goes on."""
    return isinstance(state.situation, trial.Stopped) or (state.active is not None and state.active.stop is not None)

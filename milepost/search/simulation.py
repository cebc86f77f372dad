"""Another pruner played over trials that have run: what it would have spared, and whether the winner would have survived."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.domain import pruning
from milepost.domain.search import is_better

if TYPE_CHECKING:
    from milepost.api.trial.v1 import trial_service_pb2 as trial_api
    from milepost.client import Client

PAGE_SIZE = 1_000
EVALUATED = "milepost.trial.evaluation_completed.v1"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A value of the objective. `value` may be NaN or infinite."""

    trial: int
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Where a trial would have been pruned, as `TrialPruned` says it."""

    trial: int
    rung: int
    step: int
    value: float
    cut_off: float
    rank: int
    reached_count: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would have come of it.

    Attributes:
        steps: that the trials ran.
        spent: steps that they would have run.
        rungs: how many would have been judged.
        pruned: by when it would have happened.
        winner: the trial with the best value; 0: none has one.
        left: the best of those that would have survived; 0: none of them has a value.
        cut_short: trials that had no chance to show more: they were stopped, failed, or pruned when they ran.
    """

    steps: int
    spent: int
    rungs: int
    pruned: tuple[GivenUp, ...]
    winner: int
    winner_value: float | None
    left: int
    left_value: float | None
    cut_short: int

    @property
    def saved(self) -> float:
        """The share of the steps that would have been spared, 0 to 1."""
        return 1 - self.spent / self.steps if self.steps else 0.0

    @property
    def winner_survives(self) -> bool:
        return bool(self.winner) and self.left == self.winner


def play(
    pruner: config.SearchPruner,
    mode: config.MetricMode,
    evaluations: Iterable[Evaluation],
    steps: Mapping[int, int],
    values: Mapping[int, float],
    cut_short: int = 0,
) -> Simulation:
    """Judge trials at each rung in the order in which they reached it.

    Args:
        evaluations: in the order in which they came, over all trials.
        steps: how far each trial ran.
        values: what trials came to. One without is no winner.
        cut_short: trials that did not run to their end.
    """
    reached: dict[int, list[float]] = {}
    at_rung: dict[tuple[int, int], list[float]] = {}
    last: dict[int, int] = {}
    pruned: dict[int, GivenUp] = {}
    rungs = 0
    for one in evaluations:
        # An evaluation that was done again, after a crash, was judged already.
        if one.trial in pruned or one.step <= last.get(one.trial, 0):
            continue
        last[one.trial] = one.step
        own = reached.setdefault(one.trial, [])
        bracket = pruning.bracket_of(pruner, one.trial)
        for rung in _rungs_at(pruner, one, len(own)):
            rungs += 1
            others = at_rung.setdefault((bracket, rung), [])
            verdict = pruning.judge(pruner, mode, [*own, one.value], others)
            own.append(one.value)
            others.append(one.value)
            if verdict is not None:
                place = (verdict.cut_off, verdict.rank, verdict.reached_count)
                pruned[one.trial] = GivenUp(one.trial, rung, one.step, one.value, *place)
                break
    # Where a rung was passed long after its evaluation, nothing more is spared than what was run.
    spent = {trial: min(ran, pruned[trial].step) if trial in pruned else ran for trial, ran in steps.items()}
    winner, winner_value = _best(values, mode)
    left, left_value = _best({n: value for n, value in values.items() if n not in pruned}, mode)
    return Simulation(
        sum(steps.values()), sum(spent.values()), rungs, tuple(pruned.values()), winner, winner_value, left, left_value,
        cut_short,
    )  # fmt: skip


def _rungs_at(pruner: config.SearchPruner, one: Evaluation, reached_count: int) -> Iterator[int]:
    """Yield the rungs that a trial reaches with an evaluation, from 1: several where they lie before it, else one."""
    rung = reached_count + 1
    while (step := pruning.rung_step(pruner, one.trial, rung)) is not None and one.step >= step:
        yield rung
        if pruner.kind not in pruning.HALVING:
            return
        rung += 1


def _best(values: Mapping[int, float], mode: config.MetricMode) -> tuple[int, float | None]:
    best, known = 0, None
    for trial, value in sorted(values.items()):
        if math.isfinite(value) and is_better(value, known, mode):
            best, known = trial, value
    return best, known


def value_of(values: Sequence[float], objective: config.SearchObjective) -> float | None:
    """Return which of the values of a trial stands for it; None: there is none, or the last one is not finite."""
    if objective.value == config.OBJECTIVE_VALUE_LAST:
        return values[-1] if values and math.isfinite(values[-1]) else None
    finite = [value for value in values if math.isfinite(value)]
    largest = objective.mode == config.METRIC_MODE_MAX
    return (max(finite) if largest else min(finite)) if finite else None


def check_playable(kind: str) -> None:
    """Refuse a pruner that cannot be played over trials that have run. Raises FailedPrecondition."""
    from milepost.errors import FailedPrecondition

    if kind == "pbt":
        raise FailedPrecondition(
            "population based training cannot be played over trials that have run: those that would take the places of others "
            "would train on from weights with parameters that no trial had. Start it as a search",
            reason="NOT_PLAYABLE",
        )


def simulate(
    client: Client, name: str, pruner: config.SearchPruner, objective: config.SearchObjective | None = None
) -> Simulation:
    """Play a pruner over the trials of a runtime.

    Args:
        name: `runtimes/{runtime_id}`.
        objective: instead of that of its search; a grid has none.

    Raises:
        FailedPrecondition: it has no single objective, or no evaluation has its metric.
        MilepostError: it could not be read.
    """
    from milepost.api.trial.v1 import trial_service_pb2 as trial_api
    from milepost.errors import FailedPrecondition

    if objective is None:
        search = client.get_runtime(name, show_deleted=True).configuration.search
        if not search.HasField("objective"):
            raise FailedPrecondition(
                "this runtime has no single objective: say by which metric a trial is judged", reason="NO_OBJECTIVE"
            )
        objective = search.objective
    evaluations = list(_evaluations(client, name, objective.metric))
    if not evaluations:
        raise FailedPrecondition(
            f"no evaluation of its trials has {objective.metric}: a pruner judges by evaluations alone",
            reason="NO_EVALUATIONS",
        )
    trials = list(_trials(client, name))
    series: dict[int, list[float]] = {}
    for one in evaluations:
        series.setdefault(one.trial, []).append(one.value)
    completed = [one for one in trials if one.status == trial_api.TRIAL_STATUS_COMPLETED]
    values = {one.trial: value_of(series.get(one.trial, []), objective) for one in completed}
    return play(
        pruner,
        objective.mode,
        evaluations,
        {one.trial: one.progress.step for one in trials},
        {trial: value for trial, value in values.items() if value is not None},
        len(trials) - len(completed),
    )


def _evaluations(client: Client, name: str, metric: str) -> Iterator[Evaluation]:
    from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api

    request = runtime_api.ListEventsRequest(
        parent=name, filter=runtime_api.EventFilter(types=[EVALUATED]), page_size=PAGE_SIZE
    )
    while True:
        answer = client.runtimes.ListEvents(request)
        for event in answer.events:
            fact = event.trial_event.evaluation_completed
            if metric in fact.values and not fact.interrupted:
                yield Evaluation(event.trial, fact.step, fact.values[metric])
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _trials(client: Client, name: str) -> Iterator[trial_api.Trial]:
    from milepost.api.trial.v1 import trial_service_pb2 as trial_api

    request = trial_api.ListTrialsRequest(parent=name, page_size=PAGE_SIZE, brief=True)
    while True:
        answer = client.trials.ListTrials(request)
        yield from answer.trials
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token

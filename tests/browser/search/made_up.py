"""A search of any size that nobody trained: drawn trials whose values follow from their parameters, pruned by the real policy."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from functools import lru_cache

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtimes
from milepost.api.trial.v1 import trial_service_pb2 as trials
from milepost.domain import pruning, sentences

METRIC = "eval/loss"
STEPS = 2_700
SEARCH = config.Search(
    kind=config.SEARCH_KIND_TPE,
    space={
        "learning_rate": config.SearchDimension(minimum=1e-5, maximum=1e-1, log_scale=True),
        "layers": config.SearchDimension(minimum=1, maximum=12, integer=True),
        "dropout": config.SearchDimension(minimum=0.0, maximum=0.5),
        "weight_decay": config.SearchDimension(minimum=1e-6, maximum=1e-1, log_scale=True),
        "optimizer": config.SearchDimension(values=['"adamw"', '"sgd"', '"lion"']),
    },
    objective=config.SearchObjective(metric=METRIC, mode=config.METRIC_MODE_MIN, value=config.OBJECTIVE_VALUE_BEST),
    pruner=config.SearchPruner(kind=config.PRUNER_KIND_ASHA, first_step=100, reduction_factor=3),
    max_concurrent_trials=4,
    seed=1,
)


# Donor, its step, and whose place was taken: of some, as a population has them.
BEGAN_WITH = {40: (7, 100, 12), 41: (40, 300, 13)}
# The same with a second objective, and nobody pruned.
SIZE = "model/millions"
SEVERAL = config.Search()
SEVERAL.CopyFrom(SEARCH)
SEVERAL.ClearField("objective")
SEVERAL.ClearField("pruner")
SEVERAL.objectives.extend(
    config.SearchObjective(metric=metric, mode=config.METRIC_MODE_MIN, value=config.OBJECTIVE_VALUE_BEST)
    for metric in (METRIC, SIZE)
)


@dataclass(frozen=True)
class MadeUp:
    """One trial. `pruned`: where and why it was given up; None: it ran to its end."""

    number: int
    parameters: dict[str, str]
    step: int
    value: float
    rungs: list[tuple[int, int, float]]
    pruned: facts.TrialPruned | None


@lru_cache
def search(count: int) -> list[MadeUp]:
    """Draw trials, one after the other, with ASHA."""
    generator = random.Random(7)
    made: list[MadeUp] = []
    reached: dict[int, list[float]] = {}
    for number in range(1, count + 1):
        rate, decay = 10 ** generator.uniform(-5, -1), 10 ** generator.uniform(-6, -1)
        layers, dropout = generator.randint(1, 12), round(generator.uniform(0, 0.5), 4)
        optimizer = generator.choice(["adamw", "sgd", "lion"])
        end = 1.9 + 0.35 * (math.log10(rate) + 3) ** 2 + 0.04 * abs(layers - 6) + 0.4 * abs(dropout - 0.1)
        end += {"adamw": 0.0, "sgd": 0.3, "lion": 0.05}[optimizer] + generator.gauss(0, 0.03)
        rungs: list[tuple[int, int, float]] = []
        pruned = None
        step = STEPS
        for rung in range(1, 4):
            at = pruning.rung_step(SEARCH.pruner, number, rung) or STEPS
            value = end + 2.5 * math.exp(-at / 500) + generator.gauss(0, 0.02)
            own = [one[2] for one in rungs]
            verdict = pruning.judge(SEARCH.pruner, config.METRIC_MODE_MIN, [*own, value], reached.get(rung, []))
            reached.setdefault(rung, []).append(value)
            rungs.append((rung, at, value))
            if verdict is not None:
                step = at
                pruned = facts.TrialPruned(
                    trial=number, rung=rung, step=at, value=value, cut_off=verdict.cut_off, rank=verdict.rank,
                    reached_count=verdict.reached_count, pruner="asha", metric=METRIC,
                )  # fmt: skip
                break
        values = [rate, layers, dropout, decay, optimizer]
        names = ["learning_rate", "layers", "dropout", "weight_decay", "optimizer"]
        parameters = {name: json.dumps(value) for name, value in zip(names, values, strict=True)}
        made.append(MadeUp(number, parameters, step, end, rungs, pruned))
    return made


def best(count: int) -> MadeUp:
    return min((one for one in search(count) if one.pruned is None), key=lambda one: one.value)


def size_of(one: MadeUp) -> float:
    return round(0.4 * json.loads(one.parameters["layers"]) * (1 + json.loads(one.parameters["dropout"])), 3)


@lru_cache
def front(count: int) -> frozenset[int]:
    """Return the numbers of the trials that no other one surpasses, in value and size."""
    found, least = set[int](), math.inf
    for one in sorted(search(count), key=lambda one: (one.value, size_of(one))):
        if size_of(one) < least:
            found.add(one.number)
            least = size_of(one)
    return frozenset(found)


def describe_several(message: trials.Trial, count: int, began: float) -> None:
    """Make an imagined trial that of the search with two objectives."""
    describe(message, count, began)
    one, suggestion = search(count)[message.trial - 1], message.suggestion
    message.status = trials.TRIAL_STATUS_COMPLETED
    message.waiting_reason = trials.WAITING_REASON_UNSPECIFIED
    message.progress.step = STEPS
    suggestion.ClearField("value")
    suggestion.ClearField("metric")
    suggestion.ClearField("detail")
    suggestion.rung = 0
    suggestion.outcome = facts.OBJECTIVE_OUTCOME_VALUE
    suggestion.best = one.number in front(count)
    suggestion.values.add(metric=METRIC, value=one.value)
    suggestion.values.add(metric=SIZE, value=size_of(one))


def describe(message: trials.Trial, count: int, began: float) -> None:
    """Make an imagined trial that of the search."""
    one = search(count)[message.trial - 1]
    message.ClearField("searched_parameters")
    message.searched_parameters.update(one.parameters)
    message.parameters.update(one.parameters)
    message.progress.step = one.step
    message.progress.total_steps = STEPS
    message.progress.completion_percent = math.floor(one.step / STEPS * 1000) / 10
    seconds = one.step * 0.05
    message.elapsed.FromMilliseconds(int(seconds * 1000))
    start = began + 10 * one.number
    message.start_time.FromMilliseconds(int(start * 1000))
    message.end_time.FromMilliseconds(int((start + seconds) * 1000))
    suggestion = message.suggestion
    suggestion.sampler, suggestion.metric, suggestion.rung = "tpe", METRIC, len(one.rungs)
    suggestion.because = f"{one.number - 1} values known"
    suggestion.donor, suggestion.donor_step, suggestion.replaced = BEGAN_WITH.get(one.number, (0, 0, 0))
    if one.pruned is not None:
        message.status, message.waiting_reason = trials.TRIAL_STATUS_WAITING, trials.WAITING_REASON_PRUNED
        suggestion.outcome, suggestion.detail = facts.OBJECTIVE_OUTCOME_PRUNED, sentences.pruning(one.pruned)
        return
    message.status = trials.TRIAL_STATUS_COMPLETED
    message.best.metric, message.best.value, message.best.step = METRIC, one.value, STEPS
    suggestion.outcome, suggestion.value = facts.OBJECTIVE_OUTCOME_VALUE, one.value
    suggestion.best = one is best(count)


def rungs(count: int) -> list[runtimes.Rung]:
    """List the rungs of all trials in order."""
    found = []
    for one in search(count):
        for rung, step, value in one.rungs:
            message = runtimes.Rung(trial=one.number, rung=rung, step=step, value=value)
            if one.pruned is not None and one.pruned.rung == rung:
                message.verdict.cut_off = one.pruned.cut_off
                message.verdict.rank, message.verdict.reached_count = one.pruned.rank, one.pruned.reached_count
            found.append(message)
    return found

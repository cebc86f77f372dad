"""How much of what trials came to follows from each parameter: a process computes it, and it is kept."""

from __future__ import annotations

import json
import math

import optuna
import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.domain.search import NO_HISTORY, History, Pruned, Reached, Reported
from services.runtime.readmodel.messages import rungs_of
from services.runtime.searching.importances import MIN_VALUES, ImportanceReader
from services.runtime.searching.parameters import METHOD, importances
from services.runtime.searching.sampler import SamplerFailed, definition_of

SEARCH = config.Search(
    kind=config.SEARCH_KIND_TPE,
    space={
        "rate": config.SearchDimension(minimum=1e-4, maximum=1.0, log_scale=True),
        "layers": config.SearchDimension(minimum=1, maximum=8, integer=True),
        "optimizer": config.SearchDimension(values=['"adam"', '"sgd"', "1"]),
    },
    objective=config.SearchObjective(metric="eval/loss", mode=config.METRIC_MODE_MIN),
)


def drawn(count: int) -> list[tuple[dict[str, str], float]]:
    """Points of the space, drawn by Optuna, whose value follows from the rate alone."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    points = []
    for _ in range(count):
        trial = study.ask()
        rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
        layers, optimizer = (
            trial.suggest_int("layers", 1, 8),
            trial.suggest_categorical("optimizer", ["adam", "sgd", 1]),
        )
        texts = {"rate": json.dumps(rate), "layers": json.dumps(layers), "optimizer": json.dumps(optimizer)}
        points.append((texts, abs(math.log10(rate) + 2)))
    return points


def history_of(count: int) -> History:
    history = NO_HISTORY
    for number, (parameters, value) in enumerate(drawn(count), 1):
        history = history.suggest(number, parameters).report(Reported(number, (value,)), best=False)
    return history


def test_a_parameter_that_alone_decides_comes_first() -> None:
    shares, method = importances(definition_of(SEARCH), drawn(200))
    assert shares[0][0] == "rate" and shares[0][1] > 0.8
    assert sorted(name for name, _ in shares) == ["layers", "optimizer", "rate"]
    assert math.isclose(sum(share for _, share in shares), 1.0)
    assert method == METHOD


async def test_a_process_computes_it_and_the_answer_is_kept_until_more_is_known() -> None:
    reader = ImportanceReader()
    history = history_of(MIN_VALUES)
    try:
        found = await reader.read("rt-1", SEARCH, history)
        assert found.shares[0][0] == "rate" and found.value_count == MIN_VALUES
        assert await reader.read("rt-1", SEARCH, history) is found
        more = history.suggest(MIN_VALUES + 1, drawn(1)[0][0]).report(Reported(MIN_VALUES + 1, (0.5,)), best=False)
        assert (await reader.read("rt-1", SEARCH, more)).value_count == MIN_VALUES + 1
    finally:
        await reader.close()


async def test_of_few_values_nothing_is_said_and_no_process_is_started() -> None:
    reader = ImportanceReader()
    history = (
        history_of(MIN_VALUES - 1).suggest(MIN_VALUES, drawn(1)[0][0]).report(Reported(MIN_VALUES, ()), best=False)
    )
    assert await reader.read("rt-1", SEARCH, history) == (await reader.read("rt-1", SEARCH, history))
    assert (await reader.read("rt-1", SEARCH, history)).shares == ()


async def test_what_cannot_be_computed_is_said() -> None:
    reader = ImportanceReader()
    history = history_of(MIN_VALUES)
    try:
        narrower = config.Search()
        narrower.CopyFrom(SEARCH)
        narrower.space["layers"].CopyFrom(config.SearchDimension(minimum=20, maximum=30, integer=True))
        with pytest.raises(SamplerFailed):
            await reader.read("rt-1", narrower, history)
    finally:
        await reader.close()


def test_rungs_are_told_in_the_order_in_which_they_were_judged() -> None:
    history = NO_HISTORY.suggest(1, {}).suggest(2, {}).reach(Reached(1, 1, 10, 0.5)).reach(Reached(2, 1, 10, 0.7))
    first, second = rungs_of(history.prune(Pruned(2, 0.5, 2, 2)))
    assert (first.trial, first.rung, first.step, first.value, first.HasField("verdict")) == (1, 1, 10, 0.5, False)
    assert (second.trial, second.verdict.cut_off, second.verdict.rank, second.verdict.reached_count) == (2, 0.5, 2, 2)

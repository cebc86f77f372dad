"""A study that is made again from its history proposes the very same points, for every sampler."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from milepost.configuration.words import SAMPLERS
from services.runtime.commands import preflight
from services.runtime.searching.process import Studies
from services.runtime.searching.study import Study

RANGES: dict[str, dict[str, Any]] = {
    "x": {"minimum": -5.0, "maximum": 10.0, "log_scale": False, "integer": False},
    "y": {"minimum": 1e-3, "maximum": 15.0, "log_scale": True, "integer": False},
}
MIXED: dict[str, dict[str, Any]] = {
    **RANGES,
    "layers": {"minimum": 1.0, "maximum": 9.0, "log_scale": False, "integer": True},
    "optimizer": {"values": ['"adam"', '"sgd"', "1", "true"]},
}
KINDS = {"tpe": MIXED, "gp": RANGES, "cmaes": RANGES, "qmc": MIXED, "nsga2": MIXED}


def definition(kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": kind, "seed": 7, "maximize": [False], "population_size": 6, "space": KINDS[kind], "points": [], **changes
    }  # fmt: skip


def value_of(parameters: dict[str, str]) -> float:
    """Branin's function, and a little for the other two."""
    x, y = json.loads(parameters["x"]), json.loads(parameters["y"])
    branin = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x)
    return branin + 10 + json.loads(parameters.get("layers", "0")) + len(parameters.get("optimizer", ""))


def told_of(study: Study, trial: int, parameters: dict[str, str]) -> list[Any]:
    """Say what a trial came to: a value of each objective, and a constraint where there are several."""
    value = value_of(parameters)
    if len(study.definition["maximize"]) == 1:
        return ["reported", trial, [value], []]
    return ["reported", trial, [value, -json.loads(parameters["x"])], [json.loads(parameters["y"]) - 5]]


def chosen_in(history: list[Any]) -> list[dict[str, str]]:
    return [what[0] for kind, _, *what in history if kind == "suggested"]


def played(study: Study, count: int, at_once: int, fail: Callable[[int], bool] = lambda trial: False) -> list[Any]:
    """Search with several trials under way, told out of order; return the history."""
    order = random.Random(3)
    under_way: list[tuple[int, dict[str, str]]] = []
    for trial in range(1, count + 1):
        parameters = dict(study.propose())
        study.extend([["suggested", trial, parameters]])
        under_way.append((trial, parameters))
        if len(under_way) == at_once:
            told, given = under_way.pop(order.randrange(at_once))
            study.extend([["reported", told, [], []] if fail(told) else told_of(study, told, given)])
    return list(study.entries)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("at_once", [1, 4])
def test_a_study_made_again_from_any_part_of_its_history_proposes_the_same(kind: str, at_once: int) -> None:
    """Also with trials under way and failed ones, which move what is proposed."""
    history = played(Study(definition(kind)), 18, at_once, fail=lambda trial: trial % 5 == 0)
    for end, entry in enumerate(history):
        if entry[0] == "suggested" and end % 3 == 0:
            again = Study(definition(kind))
            again.extend(history[:end])
            assert again.propose() == entry[2]
            assert again.differing == []


def test_one_at_a_time_gives_what_plain_optuna_gives_with_the_same_seed() -> None:
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("layers", 1, 9)
        trial.suggest_categorical("optimizer", MIXED["optimizer"]["values"])
        trial.suggest_float("x", -5, 10)
        trial.suggest_float("y", 1e-3, 15, log=True)
        return value_of({name: v if name == "optimizer" else json.dumps(v) for name, v in trial.params.items()})

    plain.optimize(objective, 40)
    history = played(Study(definition("tpe")), 40, 1)
    values = [what[0][0] for kind, _, *what in history if kind == "reported"]
    assert values == [trial.value for trial in plain.trials]
    assert min(values) == plain.best_value


def test_points_given_by_hand_come_first_and_the_rest_of_one_is_chosen() -> None:
    points = [{"x": "1", "y": "2"}, {"layers": "4", "optimizer": "true"}]
    history = played(Study(definition("tpe", points=points)), 3, 1)
    first, second, third = chosen_in(history)
    assert (first["x"], first["y"]) == ("1.0", "2.0") and set(first) == set(MIXED)
    assert (second["layers"], second["optimizer"]) == ("4", "true") and -5 <= json.loads(second["x"]) <= 10
    assert third["layers"] != "4" or third["x"] != second["x"]


def test_values_of_lists_stay_the_scalars_that_they_are() -> None:
    chosen = {one["optimizer"] for one in chosen_in(played(Study(definition("tpe")), 30, 1))}
    assert chosen <= {'"adam"', '"sgd"', "1", "true"} and len(chosen) > 2


def test_what_the_log_has_wins_over_what_would_be_proposed() -> None:
    """Written by another version, say. The search goes on from what is in the log."""
    history = played(Study(definition("cmaes")), 12, 1)
    other = {"x": "0.25", "y": "0.5"}
    history[2] = ["suggested", 2, other]
    again = Study(definition("cmaes"))
    again.extend(history)
    assert 2 in again.differing
    assert set(again.propose()) == {"x", "y"}


def test_a_proposal_that_did_not_reach_the_log_is_made_again_or_given_up() -> None:
    """The same question has the same answer; where the log has gone on otherwise, the study is made anew."""
    studies = Studies()

    def ask(after: int, entries: list[Any], propose: bool = True) -> dict[str, Any]:
        return studies.answer(
            {"study": "rt-1", "definition": definition("tpe"), "after": after, "entries": entries, "propose": propose}
        )

    first = ask(0, [])["parameters"]
    assert ask(0, [])["parameters"] == first
    second = ask(0, [["suggested", 1, first]])["parameters"]
    # The value of the first came to the log before the second suggestion did.
    assert ask(1, [["reported", 1, [3.5], []]]) == {"has": 0}
    both = [["suggested", 1, first], ["reported", 1, [3.5], []]]
    after = ask(0, both)["parameters"]
    undisturbed = Study(definition("tpe"))
    undisturbed.extend(both)
    assert after == undisturbed.propose()
    assert second != first


def test_pruned_trials_give_what_plain_optuna_gives_and_can_be_made_again() -> None:
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))
    history: list[Any] = []
    study = Study(definition("tpe", space=RANGES))
    for number in range(1, 31):
        asked = plain.ask(study._distributions)
        parameters = study.propose()
        assert {name: json.loads(text) for name, text in parameters.items()} == asked.params
        value = value_of(parameters)
        entries: list[Any] = [["suggested", number, dict(parameters)], ["reached", number, 10, value]]
        asked.report(value, 10)
        if value > 60:
            entries.append(["pruned", number])
            plain.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            entries.append(["reported", number, [value], []])
            plain.tell(asked, value)
        study.extend(entries)
        history += entries
    assert {"pruned", "reported"} < {kind for kind, *_ in history}, "some were pruned"
    again = Study(definition("tpe", space=RANGES))
    again.extend(history)
    assert again.propose() == study.propose() and again.differing == []


def test_seeds_may_be_any_whole_number() -> None:
    negative, other = (Study(definition("qmc", seed=seed)).propose() for seed in (-(2**63), 2**63 - 1))
    assert negative != other


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "qmc"])
def test_several_objectives_and_constraints_give_what_plain_optuna_gives(kind: str) -> None:
    samplers = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=7),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=7, population_size=6),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=7, scramble=True),
    }
    plain = optuna.create_study(directions=["minimize", "maximize"], sampler=samplers[kind]())
    wanted = definition(kind, space=RANGES, maximize=[False, True])
    study = Study(wanted)
    for number in range(1, 31):
        asked = plain.ask(study._distributions)
        parameters = study.propose()
        assert {name: json.loads(text) for name, text in parameters.items()} == asked.params
        told = told_of(study, number, parameters)
        asked.set_constraint("0", told[3][0])
        plain.tell(asked, told[2])
        study.extend([["suggested", number, dict(parameters)], told])
    again = Study(wanted)
    again.extend(study.entries)
    assert again.propose() == study.propose() and again.differing == []


def test_a_constraint_moves_what_is_proposed() -> None:
    def last(violation: float) -> dict[str, str]:
        study = Study(definition("tpe", space=RANGES))
        for number in range(1, 13):
            parameters = study.propose()
            broken = [violation if value_of(parameters) < 60 else 0.0]
            study.extend([["suggested", number, parameters], ["reported", number, [value_of(parameters)], broken]])
        return study.propose()

    assert last(5.0) != last(0.0)


CONDITIONAL: dict[str, dict[str, Any]] = {
    "depth": {"minimum": 1.0, "maximum": 3.0, "log_scale": False, "integer": True, "when": {"model": ['"tree"']}},
    "leaves": {"minimum": 2.0, "maximum": 64.0, "log_scale": True, "integer": True, "when": {"depth": ["2", "3"]}},
    "model": {"values": ['"tree"', '"linear"'], "when": {}},
    "weight": {"minimum": 1e-3, "maximum": 1.0, "log_scale": True, "integer": False, "when": {}},
}


def cost_of(parameters: dict[str, Any]) -> float:
    return float(parameters["weight"]) + abs(parameters.get("leaves", 40) - 20) / 20 + parameters.get("depth", 3) / 3


def test_a_conditional_space_gives_what_plain_optuna_gives_and_can_be_made_again() -> None:
    """Plain Optuna asks for parameters as a program runs; here the space says which ones there are."""
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))

    def objective(trial: optuna.Trial) -> float:
        model = trial.suggest_categorical("model", ['"tree"', '"linear"'])
        if model == '"tree"' and trial.suggest_int("depth", 1, 3) > 1:
            trial.suggest_int("leaves", 2, 64, log=True)
        trial.suggest_float("weight", 1e-3, 1, log=True)
        return cost_of(trial.params)

    plain.optimize(objective, 30)
    wanted = definition("tpe", space=CONDITIONAL)
    study = Study(wanted)
    for number in range(1, 31):
        parameters = dict(study.propose())
        value = cost_of({name: json.loads(text) for name, text in parameters.items()})
        study.extend([["suggested", number, parameters], ["reported", number, [value], []]])
    chosen = [
        {name: t if name == "model" else json.loads(t) for name, t in one.items()} for one in chosen_in(study.entries)
    ]
    assert {frozenset(one) for one in chosen} >= {frozenset({"model", "weight"}), frozenset(CONDITIONAL)}
    assert chosen == [trial.params for trial in plain.trials]
    again = Study(wanted)
    again.extend(study.entries)
    assert again.propose() == study.propose() and again.differing == []
    other = [["suggested", 1, {"model": '"linear"', "weight": "0.5"}], *study.entries[1:]]
    again = Study(wanted)
    again.extend(other)
    assert 1 in again.differing, "what the log has wins"


def earlier(count: int = 20) -> list[Any]:
    chance = random.Random(5)
    entries: list[Any] = []
    for number in range(1, count + 1):
        point = {"x": json.dumps(chance.uniform(-5, 10)), "y": json.dumps(chance.uniform(0.01, 15))}
        entries.append(["earlier", number, point, [value_of(point)], []])
    return entries


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_earlier_trials_are_told_first_as_with_plain_optuna_and_the_study_can_be_made_again(kind: str) -> None:
    distributions = Study(definition(kind, space=RANGES))._distributions
    known = [
        optuna.trial.create_trial(
            params={name: json.loads(text) for name, text in point.items()},
            distributions=distributions,
            value=values[0],
        )
        for _, _, point, values, _ in earlier()
    ]
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))
    if kind == "cmaes":
        plain = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=7, source_trials=known))
    else:
        plain.add_trials(known)
    study = Study(definition(kind, space=RANGES))
    study.extend(earlier())
    for number in range(1, 16):
        asked, parameters = plain.ask(distributions), dict(study.propose())
        assert {name: json.loads(text) for name, text in parameters.items()} == asked.params
        plain.tell(asked, value_of(parameters))
        study.extend([["suggested", number, parameters], ["reported", number, [value_of(parameters)], []]])
    again = Study(definition(kind, space=RANGES))
    again.extend(study.entries)
    assert again.propose() == study.propose() and again.differing == []
    cold = Study(definition(kind, space=RANGES))
    cold.extend(study.entries[20:])
    assert cold.differing, "what was known before moves what is proposed"


def test_what_a_sampler_needs_is_looked_for_before_a_search_is_accepted() -> None:
    assert set(preflight._NEEDED) == set(SAMPLERS.values())
    assert all("optuna" in packages for packages in preflight._NEEDED.values())

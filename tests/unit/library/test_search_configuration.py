"""What a search with a sampler may say, and what is wrong with one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.errors import InvalidArgument

X = {"minimum": 0, "maximum": 1}
OBJECTIVE = {"metric": "eval/loss", "mode": "min"}
SEVERAL: dict[str, Any] = {"objective": None, "objectives": [OBJECTIVE, {"metric": "gb"}]}
EARLIER = "rt-" + "0" * 26
KEPT = {"metric": "gb", "at_most": 1}
PBT = {"kind": "pbt", "max_step": 9}
SCHEMA = Draft202012Validator(configurations.schema())


def plain(**search: Any) -> dict[str, Any]:
    return {"entrypoint": "a:b", "search": {"kind": "tpe", "space": {"x": X}, "objective": OBJECTIVE, **search}}


def violations(**search: Any) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as raised:
        configurations.resolve(plain(**search))
    return {violation.field: violation.description for violation in raised.value.violations}


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes", "qmc"])
def test_a_search_with_a_sampler_is_resolved_shown_and_read_again(kind: str) -> None:
    given = plain(
        kind=kind,
        space={"x": X, "y": {"minimum": 1, "maximum": 100, "log_scale": True, "integer": True}},
        points=[{"x": 0.5}, {"x": 1, "y": 10}],
        stop_when={"target": 0.1, "no_gain_in_trials": 20, "hours": 1.5},
        max_trials=60,
    )
    SCHEMA.validate(given)
    resolved = configurations.resolve(given)
    assert resolved.search.objective.value == config.OBJECTIVE_VALUE_BEST
    assert dict(resolved.search.points[1].parameters) == {"x": "1", "y": "10"}
    assert resolved.search.stop_when.hours == 1.5
    assert configurations.resolve_text(configurations.to_text(resolved)) == resolved
    assert configurations.resolve_message(resolved) == resolved
    assert configurations.has_sampler(resolved)
    assert configurations.expand(resolved) == [], "they are chosen one by one"
    assert (configurations.trial_count(resolved), configurations.left_out(resolved)) == (60, 0)


@pytest.mark.parametrize("kind", ["asha", "median", "threshold", "patience"])
def test_a_pruner_is_resolved_shown_and_read_again(kind: str) -> None:
    given = plain(pruner={"kind": kind, "first_step": 100, "bound": 0.0})
    SCHEMA.validate(given)
    resolved = configurations.resolve(given)
    pruner = resolved.search.pruner
    assert (pruner.first_step, pruner.reduction_factor, pruner.startup_trials, pruner.patience) == (100, 3, 5, 5)
    assert pruner.HasField("bound")
    assert configurations.resolve_text(configurations.to_text(resolved)) == resolved
    assert configurations.resolve_message(resolved) == resolved
    assert not configurations.resolve(plain()).search.HasField("pruner")


def test_several_objectives_and_constraints_are_resolved_shown_and_read_again() -> None:
    size = {"metric": "gb", "mode": "max", "value": "last"}
    given = plain(
        kind="nsga2",
        objective=None,
        objectives=[OBJECTIVE, size],
        constraints=[{"metric": "gb", "at_most": 8}, {"metric": "eval/loss", "at_least": 0, "value": "worst"}],
        stop_when={"no_gain_in_trials": 5},
    )
    SCHEMA.validate(given)
    resolved = configurations.resolve(given)
    assert not resolved.search.HasField("objective") and resolved.search.population_size == 50
    assert [one.metric for one in resolved.search.objectives] == ["eval/loss", "gb"]
    assert resolved.search.constraints[0].value == config.CONSTRAINT_VALUE_LAST
    assert configurations.resolve_text(configurations.to_text(resolved)) == resolved
    assert configurations.resolve_message(resolved) == resolved
    one = configurations.resolve(plain(objective=None, objectives=[OBJECTIVE]))
    assert one == configurations.resolve(plain()), "a list of one is the same search"


CONDITIONAL: dict[str, Any] = {
    "optimizer": ["sgd", "adam", "lion"],
    "momentum": {**X, "when": {"optimizer": "sgd"}},
    "nesterov": {"values": [True, False], "when": {"optimizer": ["sgd"]}},
    "warmup": {"minimum": 1, "maximum": 9, "integer": True},
    "slope": {**X, "when": {"warmup": [2.0, 3], "nesterov": True}},
}


def test_a_space_with_conditions_is_resolved_shown_and_read_again() -> None:
    given = plain(space=CONDITIONAL, points=[{"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "adam"}])
    SCHEMA.validate(given)
    resolved = configurations.resolve(given)
    space = resolved.search.space
    assert list(space["momentum"].when["optimizer"].values) == ['"sgd"']
    assert list(space["slope"].when["warmup"].values) == ["2", "3"]
    shown = json.loads(configurations.to_text(resolved))["search"]["space"]
    assert shown["nesterov"] == {"values": [True, False], "when": {"optimizer": ["sgd"]}}
    assert shown["optimizer"] == ["sgd", "adam", "lion"] and "when" not in shown["warmup"]
    assert configurations.resolve_text(configurations.to_text(resolved)) == resolved
    assert configurations.resolve_message(resolved) == resolved
    plainly = configurations.resolve(plain(space={"x": {"values": [1, 2]}}))
    assert plainly == configurations.resolve(plain(space={"x": [1, 2]}))


def test_a_random_search_draws_a_parameter_only_where_its_condition_holds() -> None:
    drawn = plain(kind="random", objective=None, space=CONDITIONAL, max_trials=200)
    points = [one.searched for one in configurations.expand(configurations.resolve(drawn))]
    assert len(points) == 200
    for point in points:
        sgd = point["optimizer"] == '"sgd"'
        assert ("momentum" in point) == ("nesterov" in point) == sgd
        assert ("slope" in point) == (sgd and point["nesterov"] == "true" and point["warmup"] in "23")
    assert any("slope" in point for point in points)


def test_hyperband_is_resolved_shown_and_read_again() -> None:
    resolved = configurations.resolve(plain(pruner={"kind": "hyperband", "first_step": 10, "max_step": 900}))
    assert resolved.search.pruner.max_step == 900
    assert configurations.resolve_text(configurations.to_text(resolved)) == resolved
    assert configurations.resolve_message(resolved) == resolved


def test_a_population_is_resolved_shown_and_read_again() -> None:
    given = plain(pruner={"kind": "pbt", "first_step": 10, "max_step": 900})
    SCHEMA.validate(given)
    pruner = configurations.resolve(given).search.pruner
    assert (pruner.population_size, pruner.quantile, pruner.resample_probability) == (8, 0.25, 0.25)
    assert list(pruner.perturbation_factors) == [0.8, 1.2]
    fields = {
        "population_size": 4, "quantile": 0.5, "perturbation_factors": [0.5, 2.0], "resample_probability": 0.0,
        "keep_parameters": ["width"],
    }  # fmt: skip
    resolved = configurations.resolve(
        plain(space={"x": X, "width": [1, 2]}, pruner={"kind": "pbt", "max_step": 9, **fields})
    )
    shown = configurations.to_plain(resolved)["search"]["pruner"]
    assert {name: shown[name] for name in fields} == fields
    for one in (resolved, configurations.resolve(given)):
        assert configurations.resolve_text(configurations.to_text(one)) == one
        assert configurations.resolve_message(one) == one


def test_a_warm_start_is_resolved_shown_and_read_again() -> None:
    given = plain(warm_start=[EARLIER])
    SCHEMA.validate(given)
    resolved = configurations.resolve(given)
    assert list(resolved.search.warm_start) == [EARLIER]
    assert configurations.resolve_text(configurations.to_text(resolved)) == resolved
    assert configurations.resolve_message(resolved) == resolved


@pytest.mark.parametrize(
    ("given", "point"),
    [
        (
            {"optimizer": '"adam"', "warmup": "3", "momentum": "0.5", "other": "1"},
            {"optimizer": '"adam"', "warmup": "3"},
        ),
        ({"optimizer": '"sgd"', "warmup": "1", "momentum": "0.5", "nesterov": "true"}, "all"),
        ({"optimizer": '"sgd"', "warmup": "1", "nesterov": "true"}, None),
        ({"optimizer": '"lamb"', "warmup": "1"}, None),
        ({"optimizer": '"adam"', "warmup": "10"}, None),
        ({"optimizer": '"adam"', "warmup": "1.5"}, None),
        ({"optimizer": '"adam"', "warmup": "true"}, None),
    ],
)
def test_parameters_of_another_run_are_a_point_where_they_lie_in_the_space(given: dict[str, str], point: Any) -> None:
    search = configurations.resolve(plain(space=CONDITIONAL)).search
    assert configurations.point_of(search, given) == (given if point == "all" else point)


def test_other_searches_stay_what_they_were() -> None:
    """Nothing new is named in them, so their digests are those that are in logs already."""
    grid = configurations.resolve({"entrypoint": "a:b", "search": {"space": {"x": [1, 2]}}})
    shown = json.loads(configurations.canonical_json(grid))["search"]
    assert set(shown) == {"kind", "space", "seed", "max_trials", "max_concurrent_trials", "on_trial_failure"}
    assert configurations.digest(grid) == "sha256:9adc1fedb209ddd2067d7bd9be01def4dd23576f00234a19b1865a8e88608b56"
    assert not configurations.has_sampler(grid)
    assert configurations.trial_count(grid) == 2


@pytest.mark.parametrize(
    ("search", "field", "said"),
    [
        ({"objective": None}, "search.objective", "is required with kind: tpe"),
        ({"objective": {"mode": "min"}}, "search.objective.metric", "is required"),
        ({"objective": {**OBJECTIVE, "value": "mean"}}, "search.objective.value", "must be one of best, last"),
        ({"kind": "grid", "space": {"x": [1]}}, "search.objective", "is for kind: tpe, gp, cmaes, qmc, nsga2"),
        ({"kind": "random", "objective": None, "points": [{"x": 1}]}, "search.points", "is for kind: tpe"),
        ({"kind": "random", "objective": None, "stop_when": {"hours": 1}}, "search.stop_when", "is for kind: tpe"),
        ({"kind": "cmaes", "space": {"x": X, "y": X, "z": [1, 2]}}, "search.space.z", "cmaes knows no lists"),
        ({"kind": "cmaes"}, "search.space", "at least two ranges"),
        ({"kind": "asha"}, "search.kind", "must be one of grid, random, tpe, gp, cmaes, qmc, nsga2"),
        ({"points": [{"z": 1}]}, "search.points[0].z", "is not in search.space"),
        ({"points": [{"x": 2}]}, "search.points[0].x", "must be from 0 to 1"),
        ({"points": [{"x": "a"}]}, "search.points[0].x", "must be a number"),
        ({"points": [{}]}, "search.points[0]", "must name at least one parameter"),
        ({"points": [{"x": 1}] * 3, "max_trials": 2}, "search.points", "more than max_trials"),
        ({"space": {"x": [1, 2]}, "points": [{"x": 3}]}, "search.points[0].x", "must be one of the list"),
        (
            {"space": {"x": {**X, "integer": True}}, "points": [{"x": 0.5}]},
            "search.points[0].x",
            "must be whole",
        ),
        (
            {"space": {"x": {"minimum": 0, "maximum": 1e20, "integer": True}}},
            "search.space.x",
            "must lie within -9,007,199,254,740,992 and 9,007,199,254,740,992",
        ),
        ({"objectives": [OBJECTIVE]}, "search.objectives", "leave one of them out"),
        ({**SEVERAL, "pruner": {}}, "search.pruner", "needs one objective"),
        ({**SEVERAL, "stop_when": {"target": 1}}, "search.stop_when.target", "needs one objective"),
        (
            {**SEVERAL, "kind": "cmaes", "space": {"x": X, "y": X}},
            "search.objectives",
            "tpe, gp, qmc, nsga2 know several",
        ),
        ({"objective": None, "objectives": [OBJECTIVE, OBJECTIVE]}, "search.objectives[1].metric", "is named twice"),
        ({"objective": None, "objectives": [{"mode": "max"}]}, "search.objectives[0].metric", "is required"),
        ({"constraints": [{"metric": "gb"}]}, "search.constraints[0]", "one of at_most and at_least"),
        ({"constraints": [{"metric": "gb", "at_most": 1, "at_least": 0}]}, "search.constraints[0]", "one of at_most"),
        (
            {"kind": "cmaes", "space": {"x": X, "y": X}, "constraints": [KEPT]},
            "search.constraints",
            "knows no constraints",
        ),
        (
            {"kind": "grid", "objective": None, "space": {"x": [1]}, "constraints": [KEPT]},
            "search.constraints",
            "is for kind",
        ),
        ({"population_size": 9}, "search.population_size", "is for kind: nsga2"),
        (
            {"space": {**CONDITIONAL, "y": {**X, "when": {"optimiser": "sgd"}}}},
            "search.space.y.when.optimiser",
            "is not in search.space",
        ),
        (
            {"space": {**CONDITIONAL, "y": {**X, "when": {"optimizer": "adamw"}}}},
            "search.space.y.when.optimizer",
            'is never "adamw"; it is one of "sgd", "adam", "lion"',
        ),
        (
            {"space": {**CONDITIONAL, "y": {**X, "when": {"warmup": 10}}}},
            "search.space.y.when.warmup",
            "it is from 1 to 9",
        ),
        (
            {"space": {"x": X, "y": {**X, "when": {"x": 0.5}}}},
            "search.space.y.when.x",
            "must be a list or a range of whole numbers",
        ),
        (
            {"space": {"a": {"values": [1], "when": {"b": 1}}, "b": {"values": [1], "when": {"a": 1}}}},
            "search.space",
            "has conditions in a circle: a, b, a",
        ),
        (
            {"space": {**CONDITIONAL, "y": {**X, "when": {"nesterov": True, "optimizer": "adam"}}}},
            "search.space.y.when",
            "can never hold: no value of optimizer",
        ),
        (
            {"kind": "gp", "space": CONDITIONAL},
            "search.space.momentum.when",
            "is for kind: random and tpe; gp needs all parameters in every trial",
        ),
        (
            {"kind": "grid", "objective": None, "space": {"a": [1], "b": {"values": [1], "when": {"a": 1}}}},
            "search.space.b.when",
            "is for kind: random and tpe",
        ),
        (
            {"space": CONDITIONAL, "points": [{"optimizer": "adam", "momentum": 0.5}]},
            "search.points[0].momentum",
            'is there only with optimizer: "sgd"',
        ),
        ({"warm_start": ["which-rate"]}, "search.warm_start[0]", "must be the id of a runtime"),
        ({"warm_start": [EARLIER, EARLIER]}, "search.warm_start", "names a runtime twice"),
        ({"kind": "qmc", "warm_start": [EARLIER]}, "search.warm_start", "qmc ignores what it did not choose"),
        ({"pruner": {"kind": "threshold"}}, "search.pruner.bound", "is required with kind: threshold"),
        (
            {"pruner": {"kind": "none"}},
            "search.pruner.kind",
            "one of asha, median, threshold, patience, hyperband, pbt",
        ),
        ({"pruner": {"kind": "hyperband"}}, "search.pruner.max_step", "is required with kind: hyperband"),
        (
            {"pruner": {"kind": "hyperband", "first_step": 9, "max_step": 9}},
            "search.pruner.max_step",
            "above first_step",
        ),
        ({"pruner": {"max_step": 9}}, "search.pruner.max_step", "is for kind: hyperband, pbt"),
        ({"pruner": {"kind": "pbt"}}, "search.pruner.max_step", "is required with kind: pbt"),
        ({"pruner": {"quantile": 0.2}}, "search.pruner.quantile", "is for kind: pbt"),
        ({"pruner": {**PBT, "quantile": 0.6}}, "search.pruner.quantile", "at most 0.5"),
        ({"pruner": {**PBT, "quantile": 0.1}}, "search.pruner.quantile", "of a population of 8 is less than one trial"),
        ({"pruner": PBT, "max_trials": 7}, "search.max_trials", "at least search.pruner.population_size"),
        ({"pruner": {**PBT, "keep_parameters": ["z"]}}, "search.pruner.keep_parameters[0]", "is not in search.space"),
        ({"pruner": {**PBT, "keep_parameters": ["x"]}}, "search.pruner.keep_parameters", "nothing would be tried"),
        ({"kind": "random", "objective": None, "pruner": {}}, "search.pruner", "is for kind: tpe"),
        ({"stop_when": {"no_gain_in_trials": 0}}, "search.stop_when.no_gain_in_trials", "at least 1"),
        ({"stop_when": {"budget": 1}}, "search.stop_when.budget", "is not a known key"),
        ({"space": {"x": {"minimum": 1}}}, "search.space.x.maximum", "is required"),
    ],
)
def test_what_is_wrong_with_a_search_is_said_with_its_field(search: dict[str, Any], field: str, said: str) -> None:
    assert said in violations(**search)[field]


@pytest.mark.parametrize("search", [{"objective": None}, {"kind": "cmaes", "space": {"x": [1], "y": X}}])
def test_the_schema_refuses_it_too(search: dict[str, Any]) -> None:
    assert not SCHEMA.is_valid(plain(**search))
    assert not SCHEMA.is_valid(plain(kind="grid", space={"x": [1]}))
    assert SCHEMA.is_valid(plain(kind="grid", space={"x": [1]}, objective=None, points=[], stop_when=None))


def test_a_resume_cannot_change_a_search_and_a_branch_can() -> None:
    resolved = configurations.resolve(plain())
    with pytest.raises(Exception, match="may not change search"):
        configurations.continue_with(resolved, {"search": {"max_trials": 20}})
    branched = configurations.branch_with(resolved, {"x": "0.5"}, {}, {"search": plain(seed=3)["search"]})
    assert branched.configuration.search.seed == 3


def test_a_search_may_take_what_is_free() -> None:
    given: dict[str, Any] = {"entrypoint": "a:b", "search": {"space": {"x": [1, 2]}}}
    fixed = configurations.resolve(given)
    assert (fixed.search.concurrency, fixed.search.max_concurrent_trials, configurations.adapts(fixed)) == (0, 1, False)
    assert "concurrency" not in configurations.to_plain(fixed)["search"], "digests from before it stay what they are"
    given["search"]["concurrency"] = "fixed"
    assert configurations.resolve(given) == fixed
    given["search"]["concurrency"] = "auto"
    free = configurations.resolve(given)
    assert (free.search.max_concurrent_trials, configurations.adapts(free)) == (1_000, True)
    assert configurations.resolve_text(configurations.to_text(free)) == free == configurations.resolve_message(free)
    given["search"]["max_concurrent_trials"] = 3
    assert configurations.resolve(given).search.max_concurrent_trials == 3

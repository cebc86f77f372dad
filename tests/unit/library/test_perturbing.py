"""Parameters near those of another trial."""

from __future__ import annotations

import json
import random
from typing import Any

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config

SPACE: dict[str, Any] = {
    "rate": {"minimum": 0.001, "maximum": 1, "log_scale": True},
    "layers": {"minimum": 1, "maximum": 9, "integer": True},
    "batch": [16, 64, 32],
    "optimizer": ["sgd", "adam"],
    "momentum": {"minimum": 0, "maximum": 0.99, "when": {"optimizer": "sgd"}},
}
GIVEN = {"rate": "0.1", "layers": "2", "batch": "32", "optimizer": '"sgd"', "momentum": "0.5"}


def search(**pruner: Any) -> config.Search:
    wanted = {"kind": "pbt", "max_step": 9, **pruner}
    objective = {"metric": "eval/loss", "mode": "min"}
    given = {"kind": "tpe", "space": SPACE, "objective": objective, "pruner": wanted}
    return configurations.resolve({"entrypoint": "a:b", "search": given}).search


def points(wanted: config.Search, given: dict[str, str] = GIVEN, count: int = 60) -> list[dict[str, Any]]:
    found = [configurations.perturb(wanted, given, random.Random(seed)) for seed in range(count)]
    return [{name: json.loads(text) for name, text in point.items()} for point in found]


def test_numbers_are_multiplied_within_their_range_or_become_neighbours_and_texts_stay() -> None:
    found = points(search(resample_probability=0))
    assert {round(point["rate"], 9) for point in found} == {0.08, 0.12}
    assert {point["layers"] for point in found} == {1, 3}, "a small number moves too"
    assert {point["batch"] for point in found} == {16, 64}, "the neighbours of 32 by size"
    assert {round(point["momentum"], 9) for point in found} == {0.4, 0.6}
    assert {point["optimizer"] for point in found} == {"sgd"}
    at_edge = points(search(resample_probability=0), {**GIVEN, "rate": "1.0", "layers": "9", "batch": "64"})
    assert {round(point["rate"], 9) for point in at_edge} == {0.8, 1.0}
    assert {point["layers"] for point in at_edge} == {7, 9} and {point["batch"] for point in at_edge} == {32, 64}


def test_some_are_drawn_anew_and_what_goes_with_the_weights_stays() -> None:
    found = points(search(resample_probability=1, keep_parameters=["layers"]))
    assert len({point["rate"] for point in found}) == len(found) and all(0.001 <= point["rate"] <= 1 for point in found)
    assert {point["layers"] for point in found} == {2}
    assert {point["optimizer"] for point in found} == {"sgd", "adam"}
    assert all(("momentum" in point) == (point["optimizer"] == "sgd") for point in found)
    some = points(search(resample_probability=0.5), count=400)
    near = sum(1 for point in some if round(point["rate"], 9) in (0.08, 0.12))
    assert 150 < near < 250


def test_a_parameter_whose_condition_holds_now_is_drawn_and_the_same_seed_gives_the_same() -> None:
    given = {name: text for name, text in GIVEN.items() if name != "momentum"} | {"optimizer": '"adam"'}
    found = points(search(resample_probability=1), given)
    drawn = [point["momentum"] for point in found if point["optimizer"] == "sgd"]
    assert len(set(drawn)) == len(drawn) > 10
    assert found == points(search(resample_probability=1), given)

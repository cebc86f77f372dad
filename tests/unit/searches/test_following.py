"""A search from a notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from milepost import search
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.configuration import resolve
from milepost.errors import FailedPrecondition, NotFound
from tests.unit.searches.stack import ID, Stack

WANTED = {"entrypoint": "a:b", "search": {"kind": "tpe", "space": {"x": [1, 2]}, "objective": {"metric": "eval/loss"}}}
RUNNING, ENDED = runtime_api.RUNTIME_PHASE_RUNNING, runtime_api.RUNTIME_PHASE_ENDED


def trial(number: int, value: float | None, **more: Any) -> api.Trial:
    told: dict[str, Any] = {"outcome": facts.OBJECTIVE_OUTCOME_VALUE, "value": value} if value is not None else {}
    return api.Trial(
        trial=number,
        status=api.TRIAL_STATUS_COMPLETED if value is not None else api.TRIAL_STATUS_RUNNING,
        searched_parameters={"x": str(number), "optimizer": '"sgd"'},
        suggestion=api.Suggestion(sampler="tpe", metric="eval/loss", **told, **more),
        progress=api.Progress(step=10 * number),
    )


def test_a_table_has_a_row_for_each_trial_and_the_best_are_those_that_none_surpasses() -> None:
    stack = Stack(resolve(WANTED), [trial(1, 0.5), trial(2, 0.25, best=True, rung=2), trial(3, None)])
    found = search.attach(ID, stack)  # type: ignore[arg-type]
    assert found.table()[0] == {
        "trial": 1, "status": "Completed", "step": 10, "best": False, "outcome": "value", "rung": 0, "infeasible": False,
        "donor": 0, "eval/loss": 0.5, "parameters.optimizer": "sgd", "parameters.x": 1,
    }  # fmt: skip
    assert [row["eval/loss"] for row in found.table()] == [0.5, 0.25, None]
    assert [row["trial"] for row in found.best()] == [2]
    frame = found.frame()
    assert frame.loc[2, "eval/loss"] == 0.25 and list(frame.index) == [1, 2, 3]


def test_a_population_is_not_played_over_trials_that_have_run() -> None:
    found = search.attach(ID, Stack(resolve(WANTED), [trial(1, 0.5)]))  # type: ignore[arg-type]
    with pytest.raises(FailedPrecondition, match="cannot be played over trials that have run"):
        found.simulate(kind="pbt")


def test_several_objectives_and_constraints_stand_by_their_metrics() -> None:
    values = [facts.MeasuredValue(metric="eval/loss", value=0.5), facts.MeasuredValue(metric="speed", value=9)]
    kept = [facts.MeasuredConstraint(metric="gb", value=8, violation=-1)]
    one = api.Trial(
        trial=1, suggestion=api.Suggestion(outcome=facts.OBJECTIVE_OUTCOME_VALUE, values=values, constraints=kept)
    )
    row = search.attach(ID, Stack(resolve(WANTED), [one])).table()[0]  # type: ignore[arg-type]
    assert (row["eval/loss"], row["speed"], row["gb"]) == (0.5, 9, 8)


def test_following_yields_each_trial_once_when_it_has_come_to_something() -> None:
    stack = Stack(resolve(WANTED), [trial(1, 0.5), trial(2, None)], phases=[RUNNING] * 4 + [ENDED])
    found, seen = search.attach(ID, stack), []  # type: ignore[arg-type]
    for row in found.follow(poll_seconds=0):
        seen.append(row["trial"])
        stack.rows[1] = trial(2, 0.25)
    assert seen == [1, 2]
    assert found.wait().is_over()


def test_a_search_is_started_from_a_mapping_a_path_or_a_text(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text("entrypoint: a:b\nsearch: {}\n")
    stack = Stack(resolve(WANTED), [])
    for given in (WANTED, file, str(file), file.read_text()):
        assert search.start(given, stack).runtime_id == ID  # type: ignore[arg-type]
    assert stack.started[1:] == [file.read_text()] * 3 and stack.started[0].startswith('{"entrypoint"')
    with pytest.raises(FileNotFoundError):
        search.start("missing.yaml", stack)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        search.attach("rt-0", stack)  # type: ignore[arg-type]


def test_it_imports_nothing_that_is_not_used() -> None:
    code = "import sys, milepost.search; print([m for m in ('grpc', 'pandas', 'google.protobuf', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

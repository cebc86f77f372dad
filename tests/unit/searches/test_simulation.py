"""Another pruner played over trials that have run."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from click.testing import CliRunner

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.cli.searching import simulate as command
from milepost.configuration import resolve, resolve_pruner
from milepost.errors import FailedPrecondition, InvalidArgument
from milepost.search.simulation import Evaluation, Simulation, play, simulate
from tests.unit.searches.stack import ID, Stack

MIN = config.METRIC_MODE_MIN
# As in tests/integration/runtime/test_searches.py, where the service itself has pruned them.
ENDS = {1: 1.0, 2: 3.0, 3: 0.5, 4: 4.0}
EVALUATIONS = [(trial, step, {"eval/loss": value}) for trial, value in ENDS.items() for step in range(2, 13, 2)]


def played(pruner: dict[str, Any], evaluations: list[Evaluation], values: dict[int, float] = ENDS) -> Simulation:
    return play(resolve_pruner(pruner), MIN, evaluations, dict.fromkeys(ENDS, 12), values)


def one_by_one() -> list[Evaluation]:
    return [Evaluation(trial, step, values["eval/loss"]) for trial, step, values in EVALUATIONS]


def test_asha_prunes_what_the_service_has_pruned_with_the_same_values() -> None:
    found = played({"kind": "asha", "first_step": 2, "reduction_factor": 2}, one_by_one())
    assert [(one.trial, one.rung, one.step, one.value, one.cut_off, one.rank) for one in found.pruned] == [
        (2, 1, 2, 3.0, 1.0, 2), (4, 1, 2, 4.0, 1.0, 4),
    ]  # fmt: skip
    assert (found.rungs, found.steps, found.spent) == (8, 48, 12 + 2 + 12 + 2)
    assert (found.winner, found.left, found.winner_survives) == (3, 3, True)
    assert found.saved == pytest.approx(20 / 48)


def test_a_winner_that_begins_slowly_is_given_up() -> None:
    slow = [Evaluation(1, step, 1.0) for step in (1, 2, 3)] + [Evaluation(2, step, 9.0 / step**3) for step in (1, 2, 3)]
    found = play(resolve_pruner({"kind": "asha"}), MIN, slow, {1: 3, 2: 3}, {1: 1.0, 2: 1 / 3}, cut_short=1)
    assert (found.winner, found.left, found.winner_survives) == (2, 1, False)
    assert (found.winner_value, found.left_value, found.cut_short) == (1 / 3, 1.0, 1)


def test_others_than_asha_take_each_evaluation_as_a_rung_and_one_done_again_is_none() -> None:
    again = [Evaluation(1, step, value) for step, value in ((1, 5.0), (2, 6.0), (1, 1.0), (2, 1.0), (3, 7.0), (4, 8.0))]
    found = played({"kind": "patience", "patience": 2}, again)
    assert [(one.rung, one.step) for one in found.pruned] == [(3, 3)]
    found = played({"kind": "threshold", "bound": 5.5}, again)
    assert [(one.rung, one.step) for one in found.pruned] == [(2, 2)]


def test_without_values_there_is_no_winner_and_nan_is_worse_than_anything() -> None:
    nan = [Evaluation(1, 1, 1.0), Evaluation(2, 1, math.nan)]
    found = play(resolve_pruner({"kind": "asha"}), MIN, nan, {1: 1, 2: 1}, {})
    assert [one.trial for one in found.pruned] == [2]
    assert (found.winner, found.winner_value, found.winner_survives) == (0, None, False)
    assert json.loads(json.dumps(command.as_plain(found), allow_nan=False))["pruned"][0]["value"] == "NaN"
    nothing = play(resolve_pruner({"kind": "asha"}), MIN, [], {}, {})
    assert (nothing.saved, nothing.pruned) == (0.0, ())


def stack(**search: Any) -> Stack:
    wanted = {"kind": "tpe", "space": {"x": [1, 2]}, "objective": {"metric": "eval/loss"}, **search}
    trials = [
        api.Trial(trial=n, status=api.TRIAL_STATUS_COMPLETED, progress=api.Progress(step=12)) for n in ENDS
    ]  # fmt: skip
    return Stack(resolve({"entrypoint": "a:b", "search": wanted}), trials, EVALUATIONS)


def test_what_is_stored_of_a_runtime_is_read_page_by_page() -> None:
    pruner = resolve_pruner({"kind": "asha", "first_step": 2, "reduction_factor": 2})
    found = simulate(stack(), f"runtimes/{ID}", pruner)  # type: ignore[arg-type]
    assert found == played({"kind": "asha", "first_step": 2, "reduction_factor": 2}, one_by_one())
    stopped = stack()
    stopped.rows[2].status = api.TRIAL_STATUS_WAITING
    found = simulate(stopped, f"runtimes/{ID}", pruner)  # type: ignore[arg-type]
    assert (found.winner, found.cut_short) == (1, 1), "one that did not complete is no winner"


def test_without_an_objective_or_an_evaluation_that_has_it_it_is_said_what_to_do() -> None:
    pruner = resolve_pruner({"kind": "asha"})
    grid = stack(kind="grid", objective=None)
    with pytest.raises(FailedPrecondition, match="say by which metric"):
        simulate(grid, f"runtimes/{ID}", pruner)  # type: ignore[arg-type]
    by = config.SearchObjective(metric="eval/loss", mode=MIN)
    assert simulate(grid, f"runtimes/{ID}", pruner, by).winner == 3  # type: ignore[arg-type]
    other = config.SearchObjective(metric="train/loss", mode=MIN)
    with pytest.raises(FailedPrecondition, match="no evaluation of its trials has train/loss"):
        simulate(grid, f"runtimes/{ID}", pruner, other)  # type: ignore[arg-type]


def test_the_command_prints_a_table_and_the_outcome_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.cli.connection.open_client", lambda data_dir: Opened())
    monkeypatch.setattr(command, "runtime_name", lambda client, name: f"runtimes/{ID}")
    arguments = ["simulate", ID, "--pruner", "asha", "--first-step", "2", "--reduction-factor", "2"]
    shown = CliRunner().invoke(command.search, arguments)
    assert shown.exit_code == 0, shown.output
    assert "2 trials pruned: 28 of 48 steps, 42% spared; the winner, trial 3 with 0.5, survives" in shown.output
    answered = CliRunner().invoke(command.search, [*arguments, "-o", "json"])
    assert json.loads(answered.stdout)["pruned"][0] == {
        "trial": 2, "rung": 1, "step": 2, "value": 3.0, "cut_off": 1.0, "rank": 2, "reached_count": 2,
    }  # fmt: skip
    wrong = CliRunner().invoke(command.search, ["simulate", ID, "--pruner", "hyperband"])
    assert isinstance(wrong.exception, InvalidArgument)
    assert "pruner.max_step" in str(wrong.exception)


class Opened:
    def __enter__(self) -> Stack:
        return stack()

    def __exit__(self, *error: object) -> None:
        return None

"""A population whose worst member gives its place to a trial with the weights of the best, in a real process each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.cli.exits import Exit
from tests.e2e.stack import StackProcess

STEPS, RUNG = 20, 10
RATES = [0.5, 0.01]
PROGRAM = """
def train(trial, rate, steps):
    state = trial.restore() or {"x": 1.0}

    def evaluate():
        with trial.evaluation() as evaluation:
            evaluation.log({"eval/loss": state["x"]})

    trial.plan(steps)
    for _ in range(trial.step, steps):
        state["x"] *= 1 - rate
        trial.log({"train/loss": state["x"]})
        trial.maybe_snapshot(lambda: dict(state))
        if trial.step % RUNG == 0:
            evaluate()
"""


def configuration(folder: Path) -> str:
    (folder / "population.py").write_text(PROGRAM.replace("RUNG", str(RUNG)))
    return json.dumps(
        {
            "name": "population",
            "entrypoint": "population.py:train",
            "working_directory": str(folder),
            "parameters": {"steps": STEPS},
            "resources": {"cpus_per_worker": 0.5},
            "snapshots": {"every_steps": 7, "keep_last": 1},
            "search": {
                "kind": "qmc",
                "space": {"rate": {"minimum": 0.001, "maximum": 0.9}},
                "objective": {"metric": "eval/loss", "mode": "min"},
                "points": [{"rate": rate} for rate in RATES],
                "max_trials": 3,
                "pruner": {
                    "kind": "pbt", "population_size": 2, "quantile": 0.5, "first_step": RUNG, "max_step": STEPS,
                    "resample_probability": 0,
                },
            },
        }
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_a_trial_goes_on_from_the_weights_of_the_best_exactly(stack: StackProcess, tmp_path: Path) -> None:
    name = stack.client.start_runtime(configuration(tmp_path)).name
    ended = stack.wait_for_end(name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    trials = list(stack.client.trials.ListTrials(api.ListTrialsRequest(parent=name)).trials)
    child = trials[2].suggestion
    assert (child.sampler, child.donor, child.donor_step, child.replaced) == ("pbt", 1, RUNG, 2)
    rate = json.loads(trials[2].parameters["rate"])
    assert rate == pytest.approx(0.4) or rate == pytest.approx(0.6)

    expected, x = {}, 1.0
    for step in range(1, STEPS + 1):
        x *= 1 - (RATES[0] if step <= RUNG else rate)
        expected[step] = x
    query = stack.client.query_series([f"{name}/trials/3"], ["train/loss"], bucket_count=10_000, ancestry=True)
    (series,) = query.series
    assert dict(zip(series.last_steps, series.lasts, strict=True)) == expected, "to the bit, without a gap"
    assert series.branch_step == RUNG
    assert child.value == expected[STEPS], "its own value, not one of its donor"

    listed = stack.milepost("runtime", "snapshots", f"{ended.runtime_id}/1").stdout
    assert "kept for other trials of its population" in listed, "whatever keep_last says"
    shown = stack.milepost("trial", "get", f"{ended.runtime_id}/3")
    assert "the weights of trial 1 at step 10, in the place of trial 2" in shown.stdout, shown.stderr
    refused = stack.milepost("search", "simulate", ended.runtime_id, "--pruner", "pbt")
    assert refused.returncode == Exit.PRECONDITION and "cannot be played over trials" in refused.stderr
    stack.client.runtimes.DeleteRuntime(runtime_api.DeleteRuntimeRequest(name=name))

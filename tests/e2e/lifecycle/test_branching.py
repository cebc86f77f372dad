"""Going back to a snapshot and trying again: what a branch computes, and how its curve, its tree and its parent are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from tests.e2e.stack import StackProcess
from tests.support.programs.guides import block

pytestmark = pytest.mark.timeout(300)

PAGE = "docs/guides/branching.md"


def the_guides_run(folder: Path) -> str:
    """The configuration of the guide, with its program beside it."""
    (folder / "again.py").write_text(block(PAGE, "python", "def train"))
    return f"{block(PAGE, 'yaml', 'entrypoint:')}\nworking_directory: {json.dumps(str(folder))}\n"


def branch(stack: StackProcess, *arguments: str) -> str:
    """Branch by the command line and wait for the end; returns the name."""
    done = stack.milepost("runtime", "branch", *arguments)
    assert done.returncode == Exit.OK, done.stderr
    name = f"runtimes/{done.stdout.strip()}"
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    return name


def curve(stack: StackProcess, name: str) -> dict[int, float]:
    """The whole curve of a trial, from step 1."""
    answer = stack.client.query_series([f"{name}/trials/1"], ["train/loss"], bucket_count=10_000, ancestry=True)
    (series,) = answer.series
    assert series.raw
    return dict(zip(series.last_steps, series.lasts, strict=True))


def test_a_branch_goes_on_bit_for_bit_and_with_another_rate_otherwise(stack: StackProcess, tmp_path: Path) -> None:
    parent = stack.client.start_runtime(the_guides_run(tmp_path))
    assert stack.wait_for_end(parent.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    whole = stack.series(parent.name, "train/loss")
    # A snapshot that is due while the one before is being committed is passed over, so its steps are not known before.
    listed = stack.client.runtimes.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=parent.name)).snapshots
    at = min((snapshot.step for snapshot in listed), key=lambda step: abs(step - 40))

    pinned = stack.milepost("runtime", "pin", parent.runtime_id, "--at", str(at), "--reason", "to try again")
    assert pinned.returncode == Exit.OK and f"step {at} is pinned" in pinned.stderr, pinned.stderr
    listed_again = stack.milepost("runtime", "snapshots", parent.runtime_id)
    assert [": to try again" in line for line in listed_again.stdout.splitlines()].count(True) == 1
    none = stack.milepost("runtime", "pin", parent.runtime_id, "--at", str(at + 1))
    assert none.returncode == Exit.NOT_FOUND and "the nearest are at" in none.stderr, none.stderr

    same = branch(stack, f"{parent.runtime_id}/1", "--at", str(at))
    other = branch(stack, f"{parent.runtime_id}/1", "--at", str(at), "-p", "learning_rate=0.002")

    assert stack.series(same, "train/loss") == {step: value for step, value in whole.items() if step > at}
    assert curve(stack, same) == whole
    tried = stack.series(other, "train/loss")
    assert list(tried) == list(range(at + 1, 61))
    assert tried[at + 1] == whole[at + 1], "the weights and the data are those of the parent"
    assert all(tried[step] != whole[step] for step in range(at + 2, 61)), "the rate is not"
    assert curve(stack, other) == {step: tried.get(step, whole[step]) for step in range(1, 61)}
    drawn = stack.milepost("runtime", "tree", other.removeprefix("runtimes/"))
    assert f"from step {at}, learning_rate 0.002" in drawn.stdout, drawn.stderr
    assert len(drawn.stdout.splitlines()) == 3
    refused = stack.milepost("runtime", "delete", "--yes", parent.runtime_id)
    assert refused.returncode != Exit.OK
    assert same.removeprefix("runtimes/") in refused.stderr


WIDE = """
import torch

def train(trial, width=2, steps=4):
    model = torch.nn.Linear(width, 1)
    saved = trial.restore()
    if saved:
        model.load_state_dict(saved["model"])
    trial.plan(steps)
    for _ in range(trial.step, steps):
        trial.log({"train/loss": model(torch.ones(width)).square().mean()})
        trial.maybe_snapshot(lambda: {"model": model.state_dict()})
"""


def test_a_snapshot_of_another_architecture_fails_as_the_program_says_it(stack: StackProcess, tmp_path: Path) -> None:
    """What a model can load only its code knows: its own error is the reason of the branch, and nothing is tried again."""
    (tmp_path / "wide.py").write_text(WIDE)
    configuration = {
        "name": "wide",
        "entrypoint": "wide.py:train",
        "working_directory": str(tmp_path),
        "parameters": {"width": 2, "steps": 4},
        "snapshots": {"every_steps": 2},
        "retries": {"max_retries": 0},
    }
    parent = stack.client.start_runtime(json.dumps(configuration))
    assert stack.wait_for_end(parent.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    listed = stack.client.runtimes.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=parent.name)).snapshots
    at = min(snapshot.step for snapshot in listed)
    done = stack.milepost("runtime", "branch", parent.runtime_id, "--at", str(at), "-p", "width=3")
    assert done.returncode == Exit.OK, done.stderr
    failed = stack.wait_for_end(f"runtimes/{done.stdout.strip()}")
    assert failed.status == runtime_api.RUNTIME_STATUS_FAILED
    assert "size mismatch for weight" in failed.reason, failed.reason
    stack.client.runtimes.DeleteRuntime(runtime_api.DeleteRuntimeRequest(name=failed.name))


def test_a_run_that_is_extended_twice_is_one_run_with_the_curve_of_one_that_was_that_long(
    stack: StackProcess, tmp_path: Path
) -> None:
    text = the_guides_run(tmp_path)
    whole = stack.client.start_runtime(text.replace("steps: 60", "steps: 90"))
    extended = stack.client.start_runtime(text)
    for steps in (75, 90):
        assert stack.wait_for_end(extended.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
        changes = f"parameters: {{steps: {steps}}}"
        stack.client.runtimes.ResumeRuntime(
            runtime_api.ResumeRuntimeRequest(name=extended.name, configuration_changes_text=changes)
        )
    assert stack.wait_for_end(extended.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    assert stack.wait_for_end(whole.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    longer = stack.trial(extended.name)
    assert (longer.progress.total_steps, longer.attempt_count) == (90, 3)
    assert [(part.attempt, part.first_step) for part in longer.lineage] == [(1, 1), (2, 61), (3, 76)]
    curve_of_both = stack.series(extended.name, "train/loss")
    assert list(curve_of_both) == list(range(1, 91))
    assert curve_of_both == stack.series(whole.name, "train/loss")
    nodes = stack.client.runtimes.ListLineage(runtime_api.ListLineageRequest(name=extended.name)).nodes
    assert [node.name for node in nodes] == [extended.name], "an extension is no branch"

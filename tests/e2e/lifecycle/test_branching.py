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

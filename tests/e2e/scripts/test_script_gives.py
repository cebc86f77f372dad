"""What scripts hand over, as the services have it in the end; and scripts that have no place to write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.scripts.test_guides import NOWHERE, completed, name_in
from tests.e2e.stack import ROOT, StackProcess, until

SECONDS = 120.0
EVERYTHING = """
import argparse, pathlib
import numpy as np
import milepost

args = argparse.Namespace(lr=1e-3, layers=[64, 64], data=pathlib.Path("/data"), resume=None, seed=2**64 - 1, nested={"a b": 1})
trial = milepost.init("x" * 300, total_steps=3.0, parameters=args, labels={"fold": 3, "Team Name": "nlp"}, data_dir="file/below")
for step in np.arange(1, 4):
    milepost.log({"train/loss": 1.0 / step}, step=step)
for _ in range(2):
    milepost.log({"odd": 1.0}, step=3.5)
milepost.declare({"more": np.float32(0.1)})
with milepost.evaluation() as evaluation:
    evaluation.log({"eval/loss": np.float64(2.0)})
print("trained to the end", trial.parameters["layers"], trial.parameters["nested.a b"])
"""
ONLY_EVALUATES = """
import milepost

milepost.init("evaluates")
with milepost.evaluation(batch_count=2.0) as evaluation:
    evaluation.log({"eval/accuracy": 0.93})
"""
NO_PLACE = """
import pwd, tempfile
import milepost

def nobody(number):
    raise KeyError(number)

pwd.getpwuid = nobody
tempfile.tempdir = "/dev/null/no"
trial = milepost.init("nowhere", data_dir="/dev/null/below")
for step in range(3):
    trial.log({"train/loss": 1.0})
print("trained to the end", trial.step)
"""


def run(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "MILEPOST_DATA_DIR")}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def addresses(stack: StackProcess) -> dict[str, str]:
    found = stack.endpoints
    return {
        "MILEPOST_RUNTIME_ADDRESS": found.runtime, "MILEPOST_NATS_URL": found.nats,
        "MILEPOST_GATEWAY_ADDRESS": found.gateway, "MILEPOST_KEYS_DIR": str(stack.data_dir / "keys"),
    }  # fmt: skip


def test_what_a_script_gives_is_stored_also_where_its_data_folder_cannot_be_made(
    stack: StackProcess, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run(EVERYTHING, tmp_path, {**addresses(stack), "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained to the end [64, 64] 1\n"
    assert done.stderr.count("cannot be written") == 1 and f"--data-dir {tmp_path}" in done.stderr
    assert done.stderr.count("is no whole number") == 1
    name = name_in(done.stderr)
    ended = completed(stack, name)
    assert ended.display_name == "x" * 200
    assert dict(ended.labels) == {"fold": "3", "Team Name": "nlp"}
    trial = stack.trial(name)
    assert trial.progress.total_steps == 3
    assert {key: json.loads(text) for key, text in trial.parameters.items()} == {
        "lr": 0.001, "layers": "[64, 64]", "data": "/data", "resume": None, "seed": 2**64 - 1, "nested.a b": 1, "more": 0.1,
    }  # fmt: skip
    until(lambda: stack.series(name, "eval/loss") == {5: 2.0}, "what it logged last is stored")
    assert stack.series(name, "train/loss") == {1: 1.0, 2: 0.5, 3: 1.0 / 3}
    assert stack.series(name, "odd") == {4: 1.0, 5: 1.0}


def test_a_script_that_only_evaluates_is_recorded(stack: StackProcess, tmp_path: Path) -> None:
    done = run(ONLY_EVALUATES, tmp_path, {**addresses(stack), "MILEPOST_DATA_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    name = name_in(done.stderr)
    completed(stack, name)
    until(lambda: stack.series(name, "eval/accuracy") == {0: 0.93}, "what it logged is stored")
    kinds = [event.type for event in stack.events(name) if "evaluation" in event.type]
    assert kinds == ["milepost.trial.evaluation_started.v1", "milepost.trial.evaluation_completed.v1"]


def test_a_script_without_any_place_to_write_trains_all_the_same(tmp_path: Path) -> None:
    """No home, no user, no data folder, no temporary folder: it says that nothing is recorded."""
    done = run(NO_PLACE, tmp_path, NOWHERE)
    assert (done.returncode, done.stdout) == (0, "trained to the end 3\n"), done.stderr
    assert done.stderr.count("nothing of this run is recorded") == 1

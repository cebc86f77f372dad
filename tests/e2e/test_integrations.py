"""Other people's training libraries at their current versions, on real small models, against a real stack.

Run by `make test-integrations`, which makes the environment they live in.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from tests.e2e.stack import ROOT, StackProcess, until
from tests.e2e.test_guides import completed, name_in
from tests.guides import read_guide, run_program

PYTHON = ROOT / ".venv-integrations" / "bin" / "python"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
# A trainer of two processes takes as long as the machine lets it.
pytestmark = [pytest.mark.integrations, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _environment_is_there() -> None:
    assert PYTHON.exists(), "make test-integrations makes the environment of the libraries"


def run(stack: StackProcess, program: str, folder: Path, launch: tuple[str, ...] = (), **environment: str) -> str:
    """Run a program with the libraries. Returns what it wrote on stderr."""
    variables = {"MILEPOST_DATA_DIR": str(stack.data_dir), "CUDA_VISIBLE_DEVICES": "", **environment}
    done = run_program(program, folder, variables, str(PYTHON), launch)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stderr


def marks(stack: StackProcess, name: str, kind: int) -> list[int]:
    """Steps of the markers of a kind that happened."""
    trial = stack.trial(name)
    return [marker.step for marker in trial.markers if marker.kind == kind and not marker.planned]


def snapshot_steps(stack: StackProcess, name: str) -> list[int]:
    answer = stack.client.runtimes.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=f"{name}/trials/1"))
    return sorted(s.step for s in answer.snapshots if s.state == runtime_api.SNAPSHOT_STATE_COMMITTED)


def stop_in_training(stack: StackProcess, program: str, folder: Path) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Run a program, stop its run from outside once it trains, and wait for both."""
    (folder / "train.py").write_text(program)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MILEPOST_DATA_DIR": str(stack.data_dir),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([str(PYTHON), "train.py"], cwd=folder, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    name = until(lambda: _newest(stack), "the run begins")
    stack.wait_for_step(name, 2)
    stack.client.stop_runtime(name)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-6000:]
    assert name_in(err) == name
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_ABORTED
    return name, subprocess.CompletedProcess([], process.returncode, out, err)


def _newest(stack: StackProcess) -> str | None:
    request = runtime_api.ListRuntimesRequest(filter="status=Started", page_size=1)
    found = stack.client.runtimes.ListRuntimes(request).runtimes
    return found[0].name if found else None


# --- Transformers


def test_the_trainer_of_transformers(stack: StackProcess, tmp_path: Path) -> None:
    """Plan, every step and batch, what the Trainer logs, evaluations, checkpoints as snapshots."""
    guide = read_guide("transformers", tmp_path)
    plain = run_program(guide.before, tmp_path, {}, str(PYTHON))
    assert plain.returncode == 0, plain.stderr
    name = name_in(run(stack, guide.after, tmp_path))
    completed(stack, name)
    trial = stack.trial(name)
    assert (trial.progress.step, trial.progress.total_steps) == (20, 20)
    losses = stack.series(name, "train/loss")
    assert list(losses) == list(range(1, 21))
    logged = [float(value) for value in re.findall(r"'loss': '?([0-9.]+)", plain.stdout)]
    assert list(losses.values()) == pytest.approx(logged, rel=1e-3), "the numbers are those of a run without Milepost"
    assert list(stack.series(name, "train/grad_norm")) == list(range(1, 21))
    assert list(stack.series(name, "eval/loss")) == [10, 20]
    assert marks(stack, name, trial_api.MARKER_KIND_EVALUATION) == [10, 20]
    assert snapshot_steps(stack, name) == [10, 20]
    assert trial.parameters["gradient_accumulation_steps"] == "2"
    assert trial.parameters["model.n_embd"] == "32"
    assert stack.completeness(name).gap_count == 0


CALLBACK = "from milepost.integrations.transformers import MilepostCallback\n"


def test_a_stop_of_the_trainer_saves_and_a_resume_goes_on(stack: StackProcess, tmp_path: Path) -> None:
    program = read_guide("transformers", tmp_path).after
    long = program.replace("max_steps=20", "max_steps=4000").replace("eval_steps=10", "eval_steps=100000").replace(
        "save_steps=10", "save_steps=100000"
    )  # fmt: skip
    name, _ = stop_in_training(stack, long, tmp_path)
    (saved,) = snapshot_steps(stack, name)
    assert saved == stack.trial(name).progress.step
    runtime_id = name.removeprefix("runtimes/")
    callback = f'MilepostCallback(resume="{runtime_id}")'
    again = (
        program.replace("import milepost.integrations.transformers\n", CALLBACK)
        .replace('report_to="milepost"', 'report_to="none"')
        .replace("max_steps=20", f"max_steps={saved + 10}")
        .replace("trainer = Trainer(", f"callback = {callback}\ntrainer = Trainer(\n    callbacks=[callback],")
        .replace("trainer.train()", "trainer.train(resume_from_checkpoint=callback.checkpoint())")
    )
    run(stack, again, tmp_path)
    completed(stack, name)
    assert list(stack.series(name, "train/loss")) == list(range(1, saved + 11)), "one lineage"
    assert stack.trial(name).attempt_count == 2


def test_the_trainer_under_torchrun(stack: StackProcess, tmp_path: Path) -> None:
    errors = run(stack, read_guide("transformers", tmp_path).after, tmp_path, TORCHRUN)
    assert errors.count("milepost: recording") == 1
    completed(stack, name_in(errors))
    assert list(stack.series(name_in(errors), "train/loss")) == list(range(1, 21))


# --- Lightning


def test_lightning(stack: StackProcess, tmp_path: Path) -> None:
    """Steps with accumulation, the loss of each, gradient norm before clipping, evaluations, checkpoints."""
    guide = read_guide("lightning", tmp_path)
    plain = run_program(guide.before, tmp_path, {}, str(PYTHON))
    assert plain.returncode == 0, plain.stderr
    name = name_in(run(stack, guide.after, tmp_path))
    completed(stack, name)
    trial = stack.trial(name)
    assert (trial.progress.step, trial.progress.total_steps) == (16, 16)
    for key in ("train/loss", "train/learning_rate", "train/grad_norm"):
        assert list(stack.series(name, key)) == list(range(1, 17)), key
    assert list(stack.series(name, "eval/loss")) == [8, 16]
    assert marks(stack, name, trial_api.MARKER_KIND_EVALUATION) == [8, 16]
    assert marks(stack, name, trial_api.MARKER_KIND_EPOCH_END) == [8, 16]
    assert snapshot_steps(stack, name), "its checkpoints are snapshots"
    computed = run_program(LIGHTNING_BY_HAND, tmp_path, {}, str(PYTHON))
    assert computed.returncode == 0, computed.stderr
    expected = [[float(word) for word in line.split()] for line in computed.stdout.splitlines()]
    assert list(stack.series(name, "train/loss").values()) == pytest.approx([row[0] for row in expected], rel=1e-4)
    assert list(stack.series(name, "train/grad_norm").values()) == pytest.approx([row[1] for row in expected], rel=1e-4)


# The guide's model and data, in a loop of eight lines: the order of the loader is that of the same seed.
LIGHTNING_BY_HAND = """
import pytorch_lightning as pl, torch
from torch.utils.data import DataLoader, TensorDataset
pl.seed_everything(0, verbose=False)
inputs = torch.randn(320, 8)
data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
train, held_out = torch.utils.data.random_split(data, [256, 64])
net = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for epoch in range(2):
    batches = list(DataLoader(train, batch_size=16))
    for first, second in zip(batches[::2], batches[1::2]):
        x, y = torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])
        loss = torch.nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        print(loss.item(), norm.item())
"""


def test_a_stop_of_lightning_saves_and_a_resume_goes_on(stack: StackProcess, tmp_path: Path) -> None:
    program = read_guide("lightning", tmp_path).after
    name, _ = stop_in_training(stack, program.replace("max_epochs=2", "max_epochs=10000"), tmp_path)
    steps = snapshot_steps(stack, name)
    last = stack.trial(name).progress.step
    assert last in steps
    runtime_id = name.removeprefix("runtimes/")
    epochs = last // 8 + 2
    again = (
        program.replace(
            "trainer = pl.Trainer(", f'callback = MilepostCallback(resume="{runtime_id}")\ntrainer = pl.Trainer('
        )
        .replace("callbacks=[MilepostCallback()]", "callbacks=[callback]")
        .replace('logger=MilepostLogger(name="mine")', "logger=False")
        .replace("max_epochs=2", f"max_epochs={epochs}")
        .replace("batch_size=16))", "batch_size=16), ckpt_path=callback.checkpoint(), weights_only=False)")
    )
    run(stack, again, tmp_path)
    completed(stack, name)
    assert list(stack.series(name, "train/loss")) == list(range(1, 8 * epochs + 1)), "one lineage"


# --- Accelerate


def test_the_tracker_of_accelerate(stack: StackProcess, tmp_path: Path) -> None:
    guide = read_guide("accelerate", tmp_path)
    plain = run_program(guide.before, tmp_path, {}, str(PYTHON))
    assert plain.returncode == 0, plain.stderr
    name = name_in(run(stack, guide.after, tmp_path))
    completed(stack, name)
    trial = stack.trial(name)
    assert trial.parameters["learning_rate"] == "0.05"
    assert (trial.progress.step, trial.progress.batch) == (16, 16)
    assert list(stack.series(name, "train/loss")) == list(range(1, 17))


# --- MLflow


def test_a_stock_client_of_mlflow(stack: StackProcess, tmp_path: Path) -> None:
    """A run is a runtime; what the client reads back through its own API is what it wrote."""
    guide = read_guide("mlflow", tmp_path)
    address = f"{stack.endpoints.gateway}/mlflow"
    program = guide.after.replace("http://127.0.0.1:8470/mlflow", address) + MLFLOW_READS
    done = run_program(program, tmp_path, {"GIT_PYTHON_REFRESH": "quiet"}, str(PYTHON))
    assert done.returncode == 0, done.stdout + done.stderr
    request = runtime_api.ListRuntimesRequest(filter='name="from mlflow"')
    (found,) = stack.client.runtimes.ListRuntimes(request).runtimes
    ended = completed(stack, found.name)
    assert ended.labels["experiment"] == "guide"
    assert ended.labels["team"] == "nlp"
    assert list(stack.series(found.name, "train/loss")) == list(range(1, 51))
    assert stack.series(found.name, "eval/accuracy") == {50: 0.9}
    assert stack.trial(found.name).parameters["learning_rate"] == "0.01"
    assert stack.completeness(found.name).gap_count == 0


MLFLOW_READS = """
from mlflow import MlflowClient
client = MlflowClient()
experiment = client.get_experiment_by_name("guide")
runs = client.search_runs([experiment.experiment_id], "params.layers = '2' and metrics.`eval/loss` < 0.2")
assert len(runs) == 1, runs
run = client.get_run(runs[0].info.run_id)
assert run.info.status == "FINISHED", run.info
assert run.data.params == {"learning_rate": "0.01", "layers": "2"}, run.data.params
assert run.data.metrics["eval/accuracy"] == 0.9 and run.data.metrics["train/loss"] == math.exp(-50 / 20)
assert run.data.tags["team"] == "nlp" and run.data.tags["mlflow.runName"] == "from mlflow"
history = client.get_metric_history(run.info.run_id, "train/loss")
assert [(m.step, m.value) for m in history] == [(s, math.exp(-s / 20)) for s in range(1, 51)]
frame = mlflow.search_runs(["%s" % experiment.experiment_id])
assert list(frame["params.layers"]) == ["2"], frame
failed = client.create_run(experiment.experiment_id, run_name="fails")
client.log_batch(failed.info.run_id, metrics=[mlflow.entities.Metric("x", float("nan"), 1, 0)])
client.set_terminated(failed.info.run_id, "FAILED")
assert client.get_run(failed.info.run_id).info.status == "FAILED"
assert math.isnan(client.get_run(failed.info.run_id).data.metrics["x"])
"""


# --- none of it costs anything where its library is missing


def test_nothing_is_imported_that_is_not_used() -> None:
    code = (
        "import sys, milepost, milepost.integrations, milepost.training.external\n"
        "libraries = {'transformers', 'accelerate', 'pytorch_lightning', 'mlflow', 'tensorboardX', 'torch', 'pandas'}\n"
        "assert not libraries & set(sys.modules), libraries & set(sys.modules)"
    )
    done = subprocess.run([str(PYTHON), "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_data_frame_on_request(stack: StackProcess, tmp_path: Path) -> None:
    program = (
        "import milepost\ntrial = milepost.init(name='frame')\nfor step in range(3):\n    trial.log({'train/loss': 1.0})\n"
        "frame = trial.series('train/loss', form='pandas')\nassert list(frame['step']) == [1, 2, 3], frame\n"
    )
    run(stack, program, tmp_path)


@pytest.mark.parametrize("page", ["transformers", "lightning", "accelerate"])
def test_without_a_server_the_libraries_train_all_the_same(page: str, tmp_path: Path) -> None:
    nowhere: dict[str, Any] = {
        "MILEPOST_RUNTIME_ADDRESS": "127.0.0.1:9", "MILEPOST_NATS_URL": "nats://127.0.0.1:9",
        "MILEPOST_DATA_DIR": str(tmp_path / "data"),
    }  # fmt: skip
    done = run_program(read_guide(page, tmp_path).after, tmp_path, nowhere, str(PYTHON))
    assert done.returncode == 0, done.stderr[-4000:]
    assert "milepost sync" in done.stderr

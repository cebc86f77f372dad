"""Other people's training libraries at their current versions, on real small models, against a real stack.

Run by `make test-integrations`, which makes the environment they live in.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.domain.trial import Plan
from services.trials.readmodel.progress import planned_evaluations
from tests.e2e.scripts.test_guides import completed, name_in
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.guides import read_guide, run_program
from tests.support.servers.ports import free_ports

PYTHON = ROOT / ".venv-integrations" / "bin" / "python"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
# A trainer of two processes takes as long as the machine lets it.
pytestmark = [pytest.mark.integrations, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _environment_is_there() -> None:
    assert PYTHON.exists(), "make test-integrations makes the environment of the libraries"


def run(
    stack: StackProcess,
    program: str,
    folder: Path,
    launch: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
    **environment: str,
) -> str:
    """Run a program with the libraries. Returns what it wrote on stderr."""
    variables = {"MILEPOST_DATA_DIR": str(stack.data_dir), "CUDA_VISIBLE_DEVICES": "", **environment}
    done = run_program(program, folder, variables, str(PYTHON), launch, arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stderr


def marks(stack: StackProcess, name: str, kind: int) -> list[int]:
    """Steps of the markers of a kind that happened."""
    trial = stack.trial(name)
    return [marker.step for marker in trial.markers if marker.kind == kind and not marker.planned]


def snapshot_steps(stack: StackProcess, name: str) -> list[int]:
    answer = stack.client.runtimes.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=f"{name}/trials/1"))
    return sorted(s.step for s in answer.snapshots if s.state == runtime_api.SNAPSHOT_STATE_COMMITTED)


def stop_in_training(
    stack: StackProcess, program: str, folder: Path, *arguments: str
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Run a program, stop its run from outside once it trains, and wait for both."""
    (folder / "train.py").write_text(program)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MILEPOST_DATA_DIR": str(stack.data_dir),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([str(PYTHON), "train.py", *arguments], cwd=folder, env=environment, text=True,
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


NOT_READ_BACK = """
import enum, torch, milepost, pytorch_lightning as pl
import milepost.integrations.transformers
from milepost.integrations.lightning import MilepostCallback, MilepostLogger
from torch.utils.data import DataLoader, TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
class Mode(enum.IntEnum):
    EAGER = 1
class Changes(TrainerCallback):
    def on_step_end(self, args, state, control, optimizer=None, **more):
        for values in optimizer.state.values():
            values["mode"] = Mode.EAGER if state.global_step == 2 else 1
examples = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (16, 8))]
model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=8, n_embd=16, n_layer=1, n_head=2))
Trainer(model=model, args=TrainingArguments(output_dir="out", max_steps=4, save_steps=2, use_cpu=True, report_to="milepost",
        logging_steps=1, disable_tqdm=True), train_dataset=examples, callbacks=[Changes()]).train()
milepost.finish()
class Module(pl.LightningModule):
    def __init__(self, mode):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(2, 1)
    def training_step(self, batch, index):
        return self.net(batch[0]).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)
trainer = pl.Trainer(max_epochs=1, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
                     logger=MilepostLogger(name="with a class"), callbacks=[MilepostCallback()])
trainer.fit(Module(Mode.EAGER), DataLoader(TensorDataset(torch.randn(40, 2)), batch_size=10))
"""


def test_what_a_library_would_not_read_back_is_known_when_it_is_saved(stack: StackProcess, tmp_path: Path) -> None:
    """The Trainer reads its optimizer with `weights_only`; of Lightning whoever resumes decides how."""
    errors = run(stack, NOT_READ_BACK, tmp_path)
    of_trainer, of_lightning = (f"runtimes/{one}" for one in re.findall(r"recording .*/runtimes/(rt-\S+)", errors))
    completed(stack, of_trainer)
    completed(stack, of_lightning)
    assert snapshot_steps(stack, of_trainer) == [4]
    (failed,) = [event for event in stack.events(of_trainer) if "snapshot_failed" in event.type]
    detail = failed.trial_event.snapshot_failed.detail
    assert detail.startswith("StateNotSavable: optimizer.pt: holds __main__.Mode, at ['state'][0]['mode']"), detail
    assert snapshot_steps(stack, of_lightning) == [4]
    assert errors.count("read back with weights_only=False only, for it holds __main__.Mode") == 1, errors


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


def changes_of(stack: StackProcess, name: str) -> dict[str, int]:
    """What was changed, and after which step."""
    return {
        change.name: event.trial_event.parameters_changed.step
        for event in stack.events(name)
        if "parameters_changed" in event.type
        for change in event.trial_event.parameters_changed.changes
    }


def steer(stack: StackProcess, name: str, **values: Any) -> dict[str, int]:
    """Change values of a run that trains, and wait until they are. Returns after which step each of them was."""
    request = runtime_api.SteerTrialRequest(name=f"{name}/trials/1", parameters_text=json.dumps(values))
    stack.client.runtimes.SteerTrial(request)
    return until(lambda: found if (found := changes_of(stack, name)).keys() >= values.keys() else None, "it changes")


def steer_in_training(
    stack: StackProcess, program: str, folder: Path, **values: Any
) -> tuple[str, dict[str, int], str]:
    """Run a program, change values once it trains, and end it by `early_stop` when each interval has come.

    Returns the name, after which step each value was changed, and why the run ended.
    """
    (folder / "train.py").write_text(program)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MILEPOST_DATA_DIR": str(stack.data_dir),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([str(PYTHON), "train.py"], cwd=folder, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    try:
        name = until(lambda: _newest(stack), "the run begins")
        stack.wait_for_step(name, 2)
        changed = steer(stack, name, **values)
        last = max(changed.values())
        for kind in (trial_api.MARKER_KIND_EVALUATION, trial_api.MARKER_KIND_SNAPSHOT):
            until(lambda kind=kind: sum(step > last + 8 for step in marks(stack, name, kind)) > 1, "it comes sooner")  # type: ignore[misc]
        changed = steer(stack, name, early_stop=True)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err[-6000:]
    return name, changed, completed(stack, name).reason


def test_the_trainer_is_steered(stack: StackProcess, tmp_path: Path) -> None:
    """Its schedule goes on from the new rate; evaluations, checkpoints and the end come when they are asked for."""
    program = read_guide("transformers", tmp_path).after.replace("max_steps=20", "max_steps=4000").replace(
        "eval_steps=10", "eval_steps=100000"
    ).replace("save_steps=10", "save_steps=100000")  # fmt: skip
    name, changed, reason = steer_in_training(
        stack, program, tmp_path, learning_rate=1e-3, evaluation_interval=20, snapshot_interval=30
    )
    at, end = changed["learning_rate"], stack.trial(name).progress.step
    assert changed["early_stop"] == end
    assert reason == f"Completed: ended early by the script at {end:,} of 4,000: early stop asked for"
    rates = stack.series(name, "train/learning_rate")
    wanted = {step: (5e-5 if step <= at else 1e-3) * (1 - (step - 1) / 4000) for step in range(1, end + 1)}
    assert rates == pytest.approx(wanted)
    evaluations = marks(stack, name, trial_api.MARKER_KIND_EVALUATION)
    assert evaluations and all(step % 20 == 0 and step > at for step in evaluations)
    snapshots = snapshot_steps(stack, name)
    assert snapshots[-1] == end and all(step % 30 == 0 for step in snapshots[:-1])


def test_a_trainer_that_was_steered_and_killed_goes_on_with_what_it_was_steered_to(
    stack: StackProcess, tmp_path: Path
) -> None:
    """The rate of every step is that of a schedule that was changed once, whichever attempt did it."""
    program = read_guide("transformers", tmp_path).after.replace("max_steps=20", "max_steps=800").replace(
        "eval_steps=10", "eval_steps=100000"
    ).replace("save_steps=10", "save_steps=100000")  # fmt: skip
    (tmp_path / "train.py").write_text(program)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MILEPOST_DATA_DIR": str(stack.data_dir),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen([str(PYTHON), "train.py"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        name = until(lambda: _newest(stack), "the run begins")
        stack.wait_for_step(name, 2)
        at = max(steer(stack, name, learning_rate=1e-3, snapshot_interval=15).values())
        until(lambda: [step for step in snapshot_steps(stack, name) if step > at], "a checkpoint has it")
    finally:
        process.kill()
        process.wait()
    again = (
        program.replace("import milepost.integrations.transformers\n", CALLBACK)
        .replace('report_to="milepost"', 'report_to="none"')
        .replace("trainer = Trainer(", f'callback = MilepostCallback(resume="{name.removeprefix("runtimes/")}")\n'
                 "trainer = Trainer(\n    callbacks=[callback],")
        .replace("trainer.train()", "trainer.train(resume_from_checkpoint=callback.checkpoint())")
    )  # fmt: skip
    run(stack, again, tmp_path)
    completed(stack, name)
    assert stack.trial(name).attempt_count == 2
    assert len([event for event in stack.events(name) if "parameters_changed" in event.type]) == 1
    wanted = {step: (5e-5 if step <= at else 1e-3) * (1 - (step - 1) / 800) for step in range(1, 801)}
    assert stack.series(name, "train/learning_rate") == pytest.approx(wanted)
    assert all(step % 15 == 0 for step in snapshot_steps(stack, name) if step != 800)


def test_lightning_is_steered(stack: StackProcess, tmp_path: Path) -> None:
    program = (
        read_guide("lightning", tmp_path)
        .after.replace("max_epochs=2", "max_epochs=10000")
        .replace("callbacks=[MilepostCallback()]", "callbacks=[MilepostCallback(), SAVER]")
        .replace("trainer = pl.Trainer(", "SAVER = pl.callbacks.ModelCheckpoint('kept', every_n_train_steps=100000)\n"
                 "trainer = pl.Trainer(")
    )  # fmt: skip
    name, changed, reason = steer_in_training(
        stack, program, tmp_path, learning_rate=1e-3, evaluation_interval=4, snapshot_interval=30
    )
    at, end = changed["learning_rate"], stack.trial(name).progress.step
    assert reason.startswith(f"Completed: ended early by the script at {end:,} of 80,000: early stop asked for")
    rates = stack.series(name, "train/learning_rate")
    assert {rate for step, rate in rates.items() if step > at} == {1e-3}
    assert len({rate for step, rate in rates.items() if step <= at} - {1e-3}) == 1
    evaluations = marks(stack, name, trial_api.MARKER_KIND_EVALUATION)
    # Lightning evaluates once more where it is told to end.
    assert {step % 8 for step in evaluations if at + 8 < step < end} == {0, 4}

    snapshots = snapshot_steps(stack, name)
    assert snapshots[-1] == end and all(step % 30 == 0 for step in snapshots[:-1])


def test_the_trainer_under_torchrun(stack: StackProcess, tmp_path: Path) -> None:
    errors = run(stack, read_guide("transformers", tmp_path).after, tmp_path, TORCHRUN)
    assert errors.count("milepost: recording") == 1
    completed(stack, name_in(errors))
    assert list(stack.series(name_in(errors), "train/loss")) == list(range(1, 21))


ODD = """
import os, sys, torch, milepost
from milepost.integrations.transformers import MilepostCallback
from torch.utils.data import IterableDataset
from transformers import (EarlyStoppingCallback, GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments)
torch.manual_seed(0)
tokens = torch.randint(0, 64, (48, 8))
examples = [{"input_ids": row, "labels": row} for row in tokens]
class Stream(IterableDataset):
    def __iter__(self):
        return iter(examples)
class LeavesEpochs(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        control.should_epoch_stop = state.global_step % 12 == 5
def trainer(name, train=examples, held_out=examples[:8], callbacks=(), **more):
    arguments = dict(output_dir="out", per_device_train_batch_size=4, logging_steps=1, report_to="none", use_cpu=True,
                     save_strategy="no", disable_tqdm=True, eval_steps=5)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=8, n_embd=16, n_layer=1, n_head=2))
    return Trainer(model=model, args=TrainingArguments(**{**arguments, **more}), train_dataset=train,
                   eval_dataset=held_out, callbacks=[MilepostCallback(name=name), *callbacks])
CASES = {
    "stream": lambda name: trainer(name, Stream(), max_steps=20).train(),
    "before": lambda name: trainer(name, max_steps=10, eval_on_start=True, eval_strategy="steps").train(),
    "around": lambda name: around(trainer(name, max_steps=10)),
    "only": lambda name: trainer(name, max_steps=10).evaluate(),
    "two sets": lambda name: trainer(name, max_steps=10, eval_strategy="steps",
                                     held_out={"a": examples[:8], "b": examples[8:16]}).train(),
    "half": lambda name: trainer(name, num_train_epochs=0.5).train(),
    "accumulated": lambda name: trainer(name, num_train_epochs=2, gradient_accumulation_steps=5).train(),
    "left": lambda name: trainer(name, max_steps=17, callbacks=[LeavesEpochs()]).train(),
    "early": lambda name: trainer(
        name, max_steps=100, eval_strategy="steps", save_strategy="best", metric_for_best_model="loss", learning_rate=0.0,
        load_best_model_at_end=True, callbacks=[EarlyStoppingCallback(early_stopping_patience=2)]).train(),
}
def around(one):
    one.evaluate(), one.train(), one.evaluate()
for name, case in CASES.items():
    case("odd " + name)
    milepost.finish()
# The folds of a cross-validation, that nobody has finished.
for fold in range(2):
    trainer("folds", max_steps=6).train()
"""
EPOCHS, EVALUATIONS = trial_api.MARKER_KIND_EPOCH_END, trial_api.MARKER_KIND_EVALUATION


def test_units_of_the_trainer_where_its_numbers_are_odd(stack: StackProcess, tmp_path: Path) -> None:
    """A stream, half an epoch, accumulation that leaves a rest, evaluations before, after and without training."""
    errors = run(stack, ODD, tmp_path)
    names = [
        "stream",
        "before",
        "around",
        "only",
        "two sets",
        "half",
        "accumulated",
        "left",
        "early",
        "folds",
        "folds #2",
    ]
    ids = re.findall(r"recording .*/runtimes/(rt-\S+)", errors)
    assert len(ids) == len(names), errors
    runs = {name: f"runtimes/{one}" for name, one in zip(names, ids, strict=True)}
    ended = {name: completed(stack, one) for name, one in runs.items()}
    trials = {name: stack.trial(one) for name, one in runs.items()}
    steps = {name: (one.progress.step, one.progress.total_steps) for name, one in trials.items()}
    assert steps == {
        "stream": (20, 20), "before": (10, 10), "around": (10, 10), "only": (0, 0), "two sets": (10, 10), "half": (6, 6),
        "accumulated": (6, 6), "left": (17, 17), "early": (15, 100), "folds": (6, 6), "folds #2": (6, 6),
    }  # fmt: skip
    assert not trials["stream"].progress.HasField("epochs"), "nobody knows how many epochs a stream has"
    assert (trials["accumulated"].progress.epochs, trials["accumulated"].progress.steps_per_epoch) == (2, 3)
    ends = {name: marks(stack, one, EPOCHS) for name, one in runs.items() if marks(stack, one, EPOCHS)}
    assert ends == {"stream": [12], "accumulated": [3, 6], "left": [5, 17], "early": [12]}
    assert [event.message for event in stack.events(runs["left"]) if "epoch_completed" in event.type] == [
        "Epoch 0 left by the script after batch 5 of 12, at step 5", "Epoch 1 completed at step 17",
    ]  # fmt: skip
    evaluated = {name: marks(stack, one, EVALUATIONS) for name, one in runs.items()}
    assert evaluated["before"] == [0, 5, 10] and evaluated["around"] == [0, 10] and evaluated["only"] == [0]
    assert evaluated["two sets"] == [5, 5, 10, 10]
    assert list(stack.series(runs["two sets"], "eval/b_loss")) == [5, 10]
    assert ended["early"].reason == "Completed: ended early by the script at 15 of 100"
    assert [ended[name].display_name for name in ("folds", "folds #2")] == ["folds", "folds #2"]
    for name in ("folds", "folds #2"):
        assert list(stack.series(runs[name], "train/loss")) == list(range(1, 7)), "no step has two values"


SLOW_EVALUATION = """
import time, torch, milepost.integrations.transformers
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
torch.manual_seed(0)
examples = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (16, 8))]
class Slow(Trainer):
    def prediction_step(self, *arguments, **more):
        time.sleep(0.5)
        return super().prediction_step(*arguments, **more)
model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=8, n_embd=16, n_layer=1, n_head=2))
Slow(model=model, args=TrainingArguments(output_dir="out", max_steps=2, eval_strategy="steps", eval_steps=2, use_cpu=True,
     save_strategy="no", report_to="milepost", per_device_eval_batch_size=8),
     train_dataset=examples, eval_dataset=examples).train()
"""


def test_an_evaluation_is_as_long_as_the_trainer_took(stack: StackProcess, tmp_path: Path) -> None:
    """Its callback first hears of it when a batch is done: here the first of two."""
    name = name_in(run(stack, SLOW_EVALUATION, tmp_path))
    completed(stack, name)
    (event,) = [event for event in stack.events(name) if "evaluation_completed" in event.type]
    took = event.trial_event.evaluation_completed.duration_seconds
    assert took == pytest.approx(stack.series(name, "eval/runtime")[2], abs=0.05)
    assert took >= 1.0


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


LIGHTNING_STEP_AND_EPOCH = """
import torch, pytorch_lightning as pl
from torch.utils.data import DataLoader, TensorDataset
from milepost.integrations.lightning import MilepostCallback, MilepostLogger

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(2, 1)
    def training_step(self, batch, index):
        loss = self.net(batch[0]).square().mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("acc@1", loss, on_step=True, on_epoch=True)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)

trainer = pl.Trainer(max_epochs=2, log_every_n_steps=1, enable_progress_bar=False, enable_checkpointing=False,
    enable_model_summary=False, accelerator="cpu", logger=MilepostLogger(name="both"), callbacks=[MilepostCallback()])
trainer.fit(Model(), DataLoader(TensorDataset(torch.randn(40, 2)), batch_size=10))
"""


def test_what_lightning_logs_by_step_and_by_epoch_is_two_series(stack: StackProcess, tmp_path: Path) -> None:
    name = name_in(run(stack, LIGHTNING_STEP_AND_EPOCH, tmp_path))
    completed(stack, name)
    for key in ("train/loss", "acc@1"):
        assert list(stack.series(name, f"{key}_step")) == list(range(1, 9))
        assert list(stack.series(name, f"{key}_epoch")) == [4, 8]


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


ODD_LIGHTNING = """
import torch, milepost, pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from milepost.integrations.lightning import MilepostCallback, MilepostLogger
data = TensorDataset(torch.randn(80, 4))
held_out = DataLoader(TensorDataset(torch.randn(8, 4)), batch_size=8)
class Stream(IterableDataset):
    def __iter__(self):
        return iter([[torch.randn(4)]] * 80)
class Plain(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        return self.net(batch[0]).square().mean()
    def validation_step(self, batch, index):
        self.log("val_loss", 1.0)
    def test_step(self, batch, index):
        self.log("test_loss", 2.0)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)
class Gan(Plain):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.other = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        for optimizer, net in zip(self.optimizers(), (self.net, self.other)):
            optimizer.zero_grad()
            self.manual_backward(net(batch[0]).square().mean())
            optimizer.step()
    def configure_optimizers(self):
        return [torch.optim.SGD(net.parameters(), 0.01) for net in (self.net, self.other)], []
def trainer(name, callbacks=(), **more):
    return pl.Trainer(**{**dict(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        max_epochs=2, enable_checkpointing=False, logger=MilepostLogger(name=name), callbacks=[MilepostCallback(), *callbacks],
    ), **more})
def fit(name, module=Plain, loader=DataLoader(data, batch_size=8), **more):
    trainer(name, **more).fit(module(), loader, held_out)
    milepost.finish()
fit("gan", Gan)
fit("gan of 10 updates", Gan, max_steps=10)
fit("four times", val_check_interval=0.25)
fit("every 4", val_check_interval=4)
fit("every 3 of all", val_check_interval=3, check_val_every_n_epoch=None)
fit("every 2nd epoch", check_val_every_n_epoch=2, max_epochs=4)
fit("accumulated", accumulate_grad_batches=4)
fit("ends in an epoch", max_steps=14, max_epochs=-1)
fit("stream", loader=DataLoader(Stream(), batch_size=8), max_steps=14, max_epochs=-1)
fit("early", max_epochs=50, callbacks=[EarlyStopping("val_loss", patience=2)])
trainer("only").validate(Plain(), held_out)
milepost.finish()
trainer("tested").test(Plain(), held_out)
milepost.finish()
for fold in range(2):
    trainer("folds").fit(Plain(), DataLoader(data, batch_size=8))
"""


def test_units_of_lightning_where_its_numbers_are_odd(stack: StackProcess, tmp_path: Path) -> None:
    """Evaluations come where the plan has them, and steps are of one kind with their total."""
    errors = run(stack, ODD_LIGHTNING, tmp_path)
    names = ["gan", "gan of 10 updates", "four times", "every 4", "every 3 of all", "every 2nd epoch", "accumulated",
             "ends in an epoch", "stream", "early", "only", "tested", "folds", "folds #2"]  # fmt: skip
    ids = re.findall(r"recording .*/runtimes/(rt-\S+)", errors)
    assert len(ids) == len(names), errors
    runs = {name: f"runtimes/{one}" for name, one in zip(names, ids, strict=True)}
    ended = {name: completed(stack, one) for name, one in runs.items()}
    trials = {name: stack.trial(one) for name, one in runs.items()}
    steps = {name: (one.progress.step, one.progress.total_steps) for name, one in trials.items()}
    assert steps == {
        "gan": (20, 20), "gan of 10 updates": (5, 5), "four times": (20, 20), "every 4": (20, 20), "every 3 of all": (20, 20),
        "every 2nd epoch": (40, 40), "accumulated": (6, 6), "ends in an epoch": (14, 14), "stream": (14, 14),
        "early": (30, 500), "only": (0, 0), "tested": (0, 0), "folds": (20, 20), "folds #2": (20, 20),
    }  # fmt: skip
    evaluated = {name: marks(stack, one, EVALUATIONS) for name, one in runs.items()}
    assert evaluated["every 4"] == [4, 8, 14, 18] and evaluated["every 3 of all"] == [3, 6, 9, 12, 15, 18]
    assert evaluated["every 2nd epoch"] == [20, 40] and evaluated["accumulated"] == [3, 6]
    assert evaluated["only"] == evaluated["tested"] == [0]
    for name, one in runs.items():
        planned = planned_of(stack, one)
        assert planned in ([], evaluated[name]) or name == "early", (name, planned)
    assert planned_of(stack, runs["four times"]) == evaluated["four times"] != []
    assert marks(stack, runs["ends in an epoch"], EPOCHS) == marks(stack, runs["stream"], EPOCHS) == [10]
    assert ended["early"].reason.startswith(
        "Completed: ended early by the script at 30 of 500: early stopping: Monitored"
    )
    assert list(stack.series(runs["tested"], "test/loss").items()) == [(0, 2.0)]
    for name in ("gan", "folds", "folds #2"):
        assert list(stack.series(runs[name], "train/grad_norm")) == list(range(1, 21))


GROUP = """
import os, sys, torch, pytorch_lightning as pl
from torch.utils.data import DataLoader, TensorDataset
from milepost.integrations.lightning import MilepostCallback, MilepostLogger

class Gan(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.one, self.other = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        total = self.one(batch[0]).square().mean() + self.other(batch[0]).square().mean()
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(total)
        for optimizer in self.optimizers():
            optimizer.step()
        self.log("g_loss", total)
    def configure_optimizers(self):
        return [torch.optim.SGD(net.parameters(), 0.01) for net in (self.one, self.other)], []

if __name__ == "__main__":
    strategy, epochs, run = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""
    callback = MilepostCallback(name="group", resume=run)
    checkpoint = callback.checkpoint() if run else None
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", devices=2, strategy=strategy, enable_progress_bar=False,
                         enable_model_summary=False, log_every_n_steps=1, enable_checkpointing=False,
                         logger=False if run else MilepostLogger(name="group"), callbacks=[callback])
    trainer.fit(Gan(), DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=8), ckpt_path=checkpoint)
    print("rank", trainer.global_rank, "ended at", trainer.fit_loop.total_batch_idx + 1, flush=True)
"""


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_a_group_of_lightning_with_two_optimizers_is_one_run(
    stack: StackProcess, tmp_path: Path, strategy: str
) -> None:
    errors = run(stack, GROUP, tmp_path, arguments=(strategy, "2"))
    assert errors.count("milepost: recording") == 1, errors
    name = name_in(errors)
    completed(stack, name)
    assert (stack.trial(name).progress.step, stack.trial(name).progress.total_steps) == (8, 8)
    for key in ("train/grad_norm", "train/optimizer_1/grad_norm", "g_loss"):
        assert list(stack.series(name, key)) == list(range(1, 9)), key
    assert marks(stack, name, EPOCHS) == [4, 8]


def test_a_stop_ends_a_group_of_lightning_at_one_step_and_a_resume_goes_on(stack: StackProcess, tmp_path: Path) -> None:
    name, done = stop_in_training(stack, GROUP, tmp_path, "ddp", "100000")
    ended = re.findall(r"rank (\d) ended at (\d+)", done.stdout)
    assert sorted(rank for rank, _ in ended) == ["0", "1"], done.stdout + done.stderr
    (last,) = {int(step) for _, step in ended}
    assert snapshot_steps(stack, name) == [last]
    epochs = last // 4 + 2
    run(stack, GROUP, tmp_path, arguments=("ddp", str(epochs), name.removeprefix("runtimes/")))
    completed(stack, name)
    assert list(stack.series(name, "train/grad_norm")) == list(range(1, 4 * epochs + 1)), "one lineage"


def planned_of(stack: StackProcess, name: str) -> list[int]:
    """Steps of the evaluations that the last plan had."""
    plans = [event.trial_event.plan_declared for event in stack.events(name) if "plan_declared" in event.type]
    if not plans:
        return []
    fields = ("total_steps", "steps_per_epoch", "eval_every_steps", "eval_every_epochs")
    known = {field: getattr(plans[-1], field) for field in fields if plans[-1].HasField(field)}
    return list(planned_evaluations(Plan(**known), 0, known.get("total_steps", 0)))


# --- a stream, and fine-tuning with TRL

STREAM = """
import os, sys, datasets, milepost
from torchdata.stateful_dataloader import StatefulDataLoader
def examples():
    for number in range(200):
        yield {"number": number}
shuffled = sys.argv[1] == "shuffled"
stream = datasets.IterableDataset.from_generator(examples)
if shuffled:
    stream = stream.shuffle(seed=1, buffer_size=32)
trial = milepost.init(name="stream", resume=sys.argv[3], total_steps=100)
done = (trial.restore() or {"done": 0})["done"]
for epoch in range(done // 50, 2):
    for batch in trial.track(StatefulDataLoader(stream, batch_size=4)):
        done += 1
        print("read", done, batch["number"].tolist(), flush=True)
        trial.log({"train/loss": 1.0})
        if done in (30, 70):
            trial.snapshot(lambda: {"done": done})
            trial.wait_for_snapshot()
        if done == int(sys.argv[2]):
            os.abort()
"""


@pytest.mark.parametrize("kind", ["shuffled", "in order"])
def test_a_stream_loses_no_example_at_a_resume(stack: StackProcess, tmp_path: Path, kind: str) -> None:
    """Its own state leaves out what waits in the shuffle buffer: it is read again instead, and that is said."""

    def play(crash_at: int, resume: str) -> tuple[dict[int, str], str]:
        arguments = (kind, str(crash_at), resume)
        data = {"MILEPOST_DATA_DIR": str(stack.data_dir)}
        done = run_program(STREAM, tmp_path, data, str(PYTHON), arguments=arguments)
        assert done.returncode == (-signal.SIGABRT if crash_at else 0), done.stderr[-4000:]
        return {int(step): batch for step, batch in re.findall(r"read (\d+) (.*)", done.stdout)}, done.stderr

    whole, _ = play(0, "")
    assert len(whole) == 100
    before, errors = play(73, "")
    after, _ = play(0, name_in(errors).removeprefix("runtimes/"))
    assert min(after) == 71, "it goes on from the last snapshot"
    assert {**before, **after} == whole
    assert errors.count("leaves out the shuffle buffer of its stream, up to 32 examples") == (kind == "shuffled")


TRAINER_OF_A_STREAM = """
import sys, datasets, torch
from milepost.integrations.transformers import MilepostCallback
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
torch.manual_seed(0)
rows = torch.randint(0, 64, (48, 8)).tolist()
def examples():
    for row in rows:
        yield {"input_ids": row, "labels": row}
callback = MilepostCallback(name="stream of the trainer", resume=sys.argv[2])
model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=8, n_embd=16, n_layer=1, n_head=2))
trainer = Trainer(model=model, args=TrainingArguments(
    output_dir="out", max_steps=int(sys.argv[1]), per_device_train_batch_size=4, logging_steps=1, report_to="none",
    use_cpu=True, save_strategy="no", disable_tqdm=True), callbacks=[callback],
    train_dataset=datasets.IterableDataset.from_generator(examples).shuffle(seed=1, buffer_size=16))
trainer.train(resume_from_checkpoint=callback.checkpoint())
"""
# A model from a configuration and a tokenizer that is trained here: nothing is fetched.
FINE_TUNING = """
import sys, datasets, torch, transformers
from milepost.integrations.transformers import MilepostCallback
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from trl import SFTConfig, SFTTrainer
texts = [f"the number after {number} is {number + 1}" for number in range(64)]
words = Tokenizer(models.WordLevel(unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["<unk>", "<pad>", "<eos>"]))
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>")
torch.manual_seed(0)
model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
    vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=2))
data = datasets.Dataset.from_list([{"text": text} for text in texts])
callback = MilepostCallback(name="fine-tuning", resume=sys.argv[2])
trainer = SFTTrainer(model=model, args=SFTConfig(
    output_dir="out", max_steps=int(sys.argv[1]), per_device_train_batch_size=4, gradient_accumulation_steps=2,
    logging_steps=1, use_cpu=True, bf16=False, eval_strategy="steps", eval_steps=10, save_strategy="no", report_to="none",
    max_length=16, disable_tqdm=True), train_dataset=data.select(range(48)), eval_dataset=data.select(range(48, 64)),
    processing_class=tokenizer, callbacks=[callback])
trainer.train(resume_from_checkpoint=callback.checkpoint())
"""


@pytest.mark.parametrize(("program", "per_epoch"), [(TRAINER_OF_A_STREAM, 0), (FINE_TUNING, 6)])
def test_a_stream_and_fine_tuning_have_right_units_and_go_on_after_a_stop(
    stack: StackProcess, tmp_path: Path, program: str, per_epoch: int
) -> None:
    name, _ = stop_in_training(stack, program, tmp_path, "100000", "")
    (saved,) = snapshot_steps(stack, name)
    total = saved + 20
    run(stack, program, tmp_path, arguments=(str(total), name.removeprefix("runtimes/")))
    completed(stack, name)
    trial = stack.trial(name)
    assert (trial.progress.step, trial.progress.total_steps, trial.attempt_count) == (total, total, 2)
    assert list(stack.series(name, "train/loss")) == list(range(1, total + 1)), "one lineage"
    assert trial.progress.steps_per_epoch == per_epoch
    if per_epoch:
        assert marks(stack, name, EPOCHS) == list(range(per_epoch, total + 1, per_epoch))
        evaluated = [*range(10, total + 1, 10), *([total] if total % 10 else [])]
        for key in ("eval/loss", "eval/mean_token_accuracy", "eval/entropy"):
            assert list(stack.series(name, key)) == evaluated, "also what TRL logs beside the metrics that it returns"
    else:
        assert not trial.progress.HasField("epochs")


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


LAUNCHED = """
import sys, torch
from accelerate import Accelerator, debug_launcher
from torch.utils.data import DataLoader, TensorDataset
from milepost.integrations.accelerate import MilepostTracker

def train(steps):
    tracker = MilepostTracker("launched")
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers("launched", config={"learning_rate": 0.05})
    trial = tracker.trial
    torch.manual_seed(0)
    inputs = torch.randn(256, 8)
    loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=16)
    model = torch.nn.Linear(8, 1)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.05), loader)
    trial.watch(optimizer)
    trial.plan(steps)
    step = 0
    while step < steps and not trial.should_stop():
        for x, y in trial.track(loader):
            loss = torch.nn.functional.mse_loss(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            tracker.log({"train/loss": loss.item()}, step=step)
            if trial.should_stop():
                break
    sys.stdout.write(f"rank {accelerator.process_index} ended at {step} of {trial.runtime_id}\\n")
    sys.stdout.flush()
    accelerator.end_training()

if __name__ == "__main__":
    if sys.argv[2] == "launcher":
        debug_launcher(train, (int(sys.argv[1]),), 2)
    else:
        train(int(sys.argv[1]))
"""


def test_processes_that_accelerate_starts_are_one_run_and_stop_at_one_step(stack: StackProcess, tmp_path: Path) -> None:
    """Its launcher forks them, as in a notebook; torchrun has no part in it."""
    name, done = stop_in_training(stack, LAUNCHED, tmp_path, "100000", "launcher")
    ended = re.findall(r"rank (\d) ended at (\d+) of (\S+)", done.stdout)
    assert sorted(rank for rank, *_ in ended) == ["0", "1"], done.stdout + done.stderr
    ((last, runtime_id),) = {(int(step), one) for _, step, one in ended}
    assert runtime_id == name.removeprefix("runtimes/")
    for key in ("train/loss", "train/grad_norm"):
        assert list(stack.series(name, key)) == list(range(1, last + 1)), key
    assert stack.trial(name).parameters["learning_rate"] == "0.05"
    assert done.stderr.count("milepost: recording") == 1


def test_processes_of_accelerate_without_any_launcher_are_one_run(stack: StackProcess, tmp_path: Path) -> None:
    """As a job scheduler starts them: each by itself, with what PyTorch reads from the environment."""
    (tmp_path / "train.py").write_text(LAUNCHED)
    (port,) = free_ports(1)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir), "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    processes = [
        subprocess.Popen([str(PYTHON), "train.py", "16", "alone"], cwd=tmp_path, text=True, stderr=subprocess.PIPE,
                         env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    name = name_in("".join(errors))
    completed(stack, name)
    assert "".join(errors).count("milepost: recording") == 1, errors
    assert (stack.trial(name).progress.step, stack.trial(name).progress.total_steps) == (16, 16)
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
        "import sys, milepost, milepost.integrations, milepost.training.script.external\n"
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

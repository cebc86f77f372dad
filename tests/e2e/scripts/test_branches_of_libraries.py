"""Branches of runs whose loop is that of another library, at its current version: what goes on bit for bit, and what not.

Run by `make test-integrations`, which makes the environment the libraries live in.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from tests.e2e.stack import ROOT, StackProcess

SITE = ROOT / ".venv-integrations" / "lib"
pytestmark = [pytest.mark.integrations, pytest.mark.timeout(600)]
STEPS = 24

# What is installed for the trainer comes first; the libraries are found behind it.
FOUND = "import sys, tempfile, torch\nsys.path.append({site!r})\n"

TRANSFORMERS = """
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from milepost.integrations.transformers import MilepostCallback

def train(trial, learning_rate=0.01, steps=24):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=1, n_head=2))
    tokens = torch.randint(0, 64, (64, 16))
    examples = [{"input_ids": row, "labels": row} for row in tokens]
    callback = MilepostCallback(trial)
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), max_steps=steps, per_device_train_batch_size=8, learning_rate=learning_rate,
        logging_steps=1, save_steps=10, report_to="none", use_cpu=True, disable_tqdm=True)
    trainer = Trainer(model=model, args=arguments, train_dataset=examples, callbacks=[callback])
    trainer.train(resume_from_checkpoint=callback.checkpoint())
"""

LIGHTNING = """
import pytorch_lightning as pl
from torch.utils.data import DataLoader, TensorDataset
from milepost.integrations.lightning import MilepostCallback, MilepostLogger

class Model(pl.LightningModule):
    def __init__(self, learning_rate, dropout):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(dropout), torch.nn.Linear(16, 1))
        self.learning_rate = learning_rate

    def training_step(self, batch, index):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)

def train(trial, learning_rate=0.01, steps=24, dropout=0.0, save_every=8):
    pl.seed_everything(0)
    inputs = torch.randn(64, 8)
    data = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=8)
    callback = MilepostCallback(trial)
    folder = tempfile.mkdtemp()
    saving = pl.callbacks.ModelCheckpoint(dirpath=folder, every_n_train_steps=save_every, save_top_k=-1)
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", enable_progress_bar=False, logger=MilepostLogger(trial), log_every_n_steps=1,
        callbacks=[callback, saving], default_root_dir=folder)
    trainer.fit(Model(learning_rate, dropout), data, ckpt_path=callback.checkpoint())
"""


def parent_of(stack: StackProcess, folder: Path, program: str, **parameters: object) -> tuple[str, dict[int, float]]:
    """Run a program as Milepost starts it. Returns its name and its curve."""
    (site,) = SITE.glob("python3*/site-packages")
    (folder / "loop.py").write_text(FOUND.format(site=str(site)) + program)
    configuration = {
        "name": "library",
        "entrypoint": "loop.py:train",
        "working_directory": str(folder),
        "parameters": {"steps": STEPS, "learning_rate": 0.01, **parameters},
        "snapshots": {"keep_last": 5},
        "retries": {"max_retries": 0},
    }
    run = stack.client.start_runtime(json.dumps(configuration))
    ended = stack.wait_for_end(run.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    curve = stack.series(run.name, "train/loss")
    assert list(curve) == list(range(1, STEPS + 1))
    return run.name, curve


def branch(stack: StackProcess, parent: str, at: int, *arguments: str) -> dict[int, float]:
    """Branch at a step. Returns the curve."""
    done = stack.milepost("runtime", "branch", parent.removeprefix("runtimes/"), "--at", str(at), *arguments)
    assert done.returncode == Exit.OK, done.stderr
    ended = stack.wait_for_end(f"runtimes/{done.stdout.strip()}")
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    return stack.series(ended.name, "train/loss")


def test_a_branch_of_the_trainer_of_transformers_goes_on_bit_for_bit(stack: StackProcess, tmp_path: Path) -> None:
    """With drop-out and shuffled data, whose random state its checkpoint has. It has the rate too, so that stays."""
    parent, whole = parent_of(stack, tmp_path, TRANSFORMERS)
    rest = {step: value for step, value in whole.items() if step > 10}
    assert branch(stack, parent, 10) == rest
    changed = branch(stack, parent, 10, "-p", "learning_rate=0.1")
    assert changed[11] == rest[11]
    assert changed == rest, "what its checkpoint has wins over the arguments"


def test_a_branch_of_lightning_goes_on_bit_for_bit_at_the_end_of_an_epoch(stack: StackProcess, tmp_path: Path) -> None:
    """Within an epoch, which has 8 steps here, Lightning begins the data anew. Random state its checkpoint has none."""
    parent, whole = parent_of(stack, tmp_path, LIGHTNING)
    assert branch(stack, parent, 8) == {step: value for step, value in whole.items() if step > 8}
    for parameters, at in (({"save_every": 10}, 10), ({"dropout": 0.5}, 8)):
        parent, whole = parent_of(stack, tmp_path, LIGHTNING, **parameters)
        other = branch(stack, parent, at)
        assert list(other) == list(range(at + 1, STEPS + 1))
        assert other != {step: value for step, value in whole.items() if step > at}, parameters

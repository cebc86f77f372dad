"""TRL with LoRA at tiny size, killed, stopped and resumed: SFT and DPO as scripts, GRPO from the configuration of its guide.

Run by `make test-integrations`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.series.samples import read_samples
from tests.e2e.language.test_fine_tuning import LIBRARIES, PYTHON, completed, kill_training, make
from tests.e2e.scripts.test_guides import name_in
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.guides import block

pytestmark = [pytest.mark.integrations, pytest.mark.timeout(600)]

# Arguments: method, steps, the step to be killed at, the step to wait for a stop at, the run to go on with.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from milepost.integrations.transformers import MilepostCallback
method, steps, kill_at, stop_at, resume = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
callback = MilepostCallback(name=method, resume=resume)
read = []
class Around(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == kill_at:
            callback._run.trial.wait_for_snapshot()
            os.abort()
        while state.global_step == stop_at and not callback._run.trial.stop_requested:
            time.sleep(0.05)
tokenizer = AutoTokenizer.from_pretrained("model")
lines = [json.loads(line)["messages"] for line in Path("train.jsonl").read_text().splitlines()]
if method == "sft":
    rows = [{"messages": line} for line in lines]
else:
    wrong = {"role": "assistant", "content": "I do not know."}
    rows = [{"prompt": line[:1], "chosen": line[1:], "rejected": [wrong]} for line in lines]
common = dict(output_dir=sys.argv[6], max_steps=steps, per_device_train_batch_size=4, gradient_accumulation_steps=2,
    logging_steps=1, save_steps=5, use_cpu=True, bf16=False, report_to="none", max_length=64, disable_tqdm=True,
    learning_rate=1e-3)
trainer_class, config = (SFTTrainer, SFTConfig) if method == "sft" else (DPOTrainer, DPOConfig)
torch.manual_seed(0)
trainer = trainer_class(model=AutoModelForCausalLM.from_pretrained("model"), args=config(**common),
    train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[callback, Around()],
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
collate = trainer.data_collator
def counted(examples):
    batch = collate(examples)
    read.append(int(batch["attention_mask"].sum()))
    return batch
trainer.data_collator = counted
trainer.train(resume_from_checkpoint=callback.checkpoint())
print(json.dumps(read))
"""
STEPS = 16


def play(
    stack: StackProcess, folder: Path, method: str, kill_at: int = 0, stop_at: int = 0, resume: str = ""
) -> tuple[str, str]:
    """Run the program to its end. Return the name of its run, and what it printed."""
    (folder / "train.py").write_text(PROGRAM)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir), "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    arguments = [method, STEPS, kill_at, stop_at, resume, f"out-{resume or kill_at}"]
    process = subprocess.Popen(
        [str(PYTHON), "train.py", *map(str, arguments)], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if stop_at:
        name = f"runtimes/{resume}"
        waits = until(lambda: stack.trial(name).progress.step >= stop_at or process.poll() is not None, "it waits")
        assert waits and process.poll() is None, process.communicate()[1][-4000:]
        stack.client.stop_runtime(name)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == (-signal.SIGABRT if kill_at else 0), errors[-4000:]
    return name_in(errors), out


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_run_that_is_killed_and_stopped_has_the_curve_of_one_that_is_not(
    stack: StackProcess, tmp_path: Path, method: str
) -> None:
    """With TRL 1.16 on one CPU to the bit. Tokens go on, which TRL counts from 0 again."""
    folder = make(tmp_path)
    whole, printed = play(stack, folder, method)
    completed(stack, whole)

    name, _ = play(stack, folder, method, kill_at=7)
    identifier = name.removeprefix("runtimes/")
    play(stack, folder, method, stop_at=9, resume=identifier)
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_ABORTED
    play(stack, folder, method, resume=identifier)
    completed(stack, name)

    assert stack.trial(name).attempt_count == 3
    keys = ["train/loss", "train/learning_rate", "train/grad_norm", "train/tokens"]
    keys += ["entropy"] if method == "sft" else ["rewards/chosen", "rewards/margins"]
    for key in keys:
        found = stack.series(name, key)
        assert list(found) == list(range(1, STEPS + 1)), key
        assert found == stack.series(whole, key), key
    assert stack.completeness(name).gap_count == 0
    read = json.loads(printed.splitlines()[-1])[: 2 * STEPS]
    counts = [sum(read[: 2 * step]) for step in range(1, STEPS + 1)]
    assert list(stack.series(whole, "train/tokens").values()) == counts, "as counted where batches are made"


def start_grpo(stack: StackProcess, folder: Path, name: str, **parameters: Any) -> str:
    """Start the run of the guide. Return its name."""
    page = "docs/guides/reinforcement.md"
    configuration = yaml.safe_load(block(page, "yaml", "reinforcement"))
    configuration["name"] = name
    configuration["parameters"] |= parameters
    configuration["environment"] = {"PYTHONPATH": f"{ROOT}{os.pathsep}{LIBRARIES}", "CUDA_VISIBLE_DEVICES": ""}
    configuration["retries"] = {"backoff_seconds": 0.5}
    (folder / "rewards.py").write_text(block(page, "python", "def is_right"))
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    done = stack.milepost("runtime", "start", str(folder / "config.yaml"))
    assert done.returncode == 0, done.stderr
    return f"runtimes/{done.stdout.split()[0]}"


def test_grpo_of_one_configuration_that_is_killed_and_stopped_equals_one_that_is_not(
    stack: StackProcess, tmp_path: Path
) -> None:
    folder = make(tmp_path)
    lines = [json.loads(line)["messages"] for line in (folder / "train.jsonl").read_text().splitlines()]
    prompts = [{"prompt": line[:1], "answer": line[1]["content"].split()[-1]} for line in lines]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in prompts))
    whole = start_grpo(stack, folder, "whole")
    completed(stack, whole)

    name = start_grpo(stack, folder, "interrupted")
    until(lambda: stack.trial(name).newest_snapshot_step >= 4, "a snapshot")
    kill_training(stack, name)
    until(lambda: stack.trial(name).attempt_count == 2 and stack.trial(name).progress.step >= 5, "it goes on")
    stack.client.stop_runtime(name)
    ended = stack.wait_for_end(name)
    if ended.status == runtime_api.RUNTIME_STATUS_ABORTED:
        assert stack.milepost("runtime", "resume", name.removeprefix("runtimes/")).returncode == 0
    completed(stack, name)

    keys = ["train/loss", "train/tokens", "reward", "reward_std", "rewards/is_right/mean", "rewards/is_short/mean", "kl",
            "entropy", "completions/mean_length"]  # fmt: skip
    for key in keys:
        curve = stack.series(name, key)
        assert list(curve) == list(range(1, 13)), key
        assert curve == stack.series(whole, key), key
    for key in ("train/rollout_time", "train/update_time"):
        times = stack.series(name, key)
        assert list(times) == list(range(1, 13)) and all(0 < value < 60 for value in times.values()), key

    found = list(read_samples(stack.client, f"{name}/trials/1"))
    assert Counter(one.row.step for one in found) == dict.fromkeys(range(1, 13), 8), "exactly once"
    assert set(Counter((one.row.step, one.row.group) for one in found).values()) == {4}, "groups of one prompt"
    for step, reward in stack.series(name, "reward").items():
        scores = [
            score.value for one in found if one.row.step == step for score in one.row.scores if score.name == "reward"
        ]
        assert sum(scores) / len(scores) == pytest.approx(reward, abs=1e-6), "as TRL reckons it"

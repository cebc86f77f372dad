"""The recipe that fine-tunes a language model, with the real libraries and a model that is made here.

Run by `make test-integrations`. Runs are started from the configuration of the guide.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.series.samples import read_samples
from tests.e2e.scripts.test_guides import name_in
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.guides import block, run_program

PYTHON = ROOT / ".venv-integrations" / "bin" / "python"
LIBRARIES = next((ROOT / ".venv-integrations" / "lib").glob("python3*/site-packages"), ROOT)
MAKER = ROOT / "tests" / "assets" / "small_language_model.py"
pytestmark = [pytest.mark.integrations, pytest.mark.timeout(600)]


def make(folder: Path, *kind: str) -> Path:
    """Write a model, its tokenizer and examples into a folder."""
    done = subprocess.run([str(PYTHON), str(MAKER), str(folder), *kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def start(stack: StackProcess, folder: Path, name: str, **parameters: Any) -> str:
    """Start the run of the guide with the environment of the libraries. Return its name."""
    configuration = yaml.safe_load(block("docs/guides/language-models.md", "yaml", "fine_tuning"))
    configuration["name"] = name
    configuration["parameters"] |= parameters
    configuration["environment"] = {"PYTHONPATH": f"{ROOT}{os.pathsep}{LIBRARIES}", "CUDA_VISIBLE_DEVICES": ""}
    configuration["retries"] = {"backoff_seconds": 0.5}
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    done = stack.milepost("runtime", "start", str(folder / "config.yaml"))
    assert done.returncode == 0, done.stderr
    return f"runtimes/{done.stdout.split()[0]}"


def completed(stack: StackProcess, name: str) -> None:
    ended = stack.wait_for_end(name, 200)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason


def kill_training(stack: StackProcess, name: str) -> None:
    """Kill the process that trains a run."""
    part = f"{name.removeprefix('runtimes/')}/trial-1/"
    found = [
        trainer
        for trainer in stack.trainers()
        if "milepost.training.process.worker" in trainer.cmdline() and part in trainer.environ()["MILEPOST_LAUNCH"]
    ]
    assert found
    for trainer in found:
        trainer.send_signal(signal.SIGKILL)


def last_snapshot(stack: StackProcess, name: str) -> Path:
    """Return the folder of what the snapshot of the last step has."""
    request = runtime_api.ListSnapshotsRequest(parent=f"{name}/trials/1")
    newest = max(stack.client.runtimes.ListSnapshots(request).snapshots, key=lambda one: one.step)
    assert newest.state == runtime_api.SNAPSHOT_STATE_COMMITTED
    return Path(newest.uri.removeprefix("file://")) / "checkpoint"


ASKED = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
if len(sys.argv) > 2:
    model = PeftModel.from_pretrained(model, sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[-1])
lines = [json.loads(line)["messages"] for line in Path("train.jsonl").read_text().splitlines()]
tokens = [len(tokenizer.apply_chat_template(line, return_dict=True)["input_ids"]) for line in lines]
with torch.no_grad():
    logits = model(torch.arange(40)[None]).logits
print(json.dumps({"tokens": tokens, "logits": logits[0, -1].tolist()}))
"""


def ask(folder: Path, *models: Path) -> dict[str, Any]:
    """Load a model as anybody would. Return its last logits, and the number of tokens of each example."""
    done = run_program(ASKED, folder, {}, str(PYTHON), arguments=tuple(map(str, models)))
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_run_of_one_configuration_that_is_stopped_and_killed_equals_one_that_is_not(
    stack: StackProcess, tmp_path: Path
) -> None:
    """To the bit; samples exactly once; tokens go on; the last snapshot is a model that anybody loads."""
    folder = make(tmp_path / "sums")
    # A row for each example, so that an epoch reads every token.
    plain = {"packing": False, "epochs": 2, "eval_every": 20}
    whole = start(stack, folder, "whole", **plain, keep="adapter")
    completed(stack, whole)

    name = start(stack, folder, "interrupted", **plain, keep="merged")
    until(lambda: stack.trial(name).newest_snapshot_step >= 10, "a snapshot")
    stack.client.stop_runtime(name)
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_ABORTED
    stopped = stack.trial(name).progress.step
    assert 10 <= stopped < 80
    assert stack.milepost("runtime", "resume", name.removeprefix("runtimes/")).returncode == 0
    until(lambda: stack.trial(name).progress.step >= stopped + 12, "it trains again")
    kill_training(stack, name)
    completed(stack, name)

    assert stack.trial(name).attempt_count == 3
    for key in ("train/loss", "train/grad_norm", "train/learning_rate", "train/tokens", "eval/loss"):
        assert stack.series(name, key) == stack.series(whole, key), key
    assert list(stack.series(name, "train/loss")) == list(range(1, 81))
    assert list(stack.series(name, "eval/loss")) == [20, 40, 60, 80]
    losses = stack.series(name, "train/loss")
    assert max(losses[step] for step in range(71, 81)) < min(losses[step] for step in range(1, 11)), "it learns"
    assert stack.completeness(name).gap_count == 0

    found = list(read_samples(stack.client, f"{name}/trials/1"))
    assert Counter(row.row.step for row in found) == {20: 4, 40: 4, 60: 4, 80: 4}
    said = {
        (row.row.step, row.row.prompt): row.row.completion for row in read_samples(stack.client, f"{whole}/trials/1")
    }
    assert {(row.row.step, row.row.prompt): row.row.completion for row in found} == said
    assert all(row.row.prompt.endswith("?<|end|><|assistant|>") for row in found)

    merged = ask(folder, last_snapshot(stack, name))
    adapted = ask(folder, folder / "model", last_snapshot(stack, whole))
    assert merged["logits"] == pytest.approx(adapted["logits"], abs=1e-3)
    assert merged["logits"] != pytest.approx(ask(folder, folder / "model")["logits"], abs=1e-2)
    assert stack.series(name, "train/tokens")[80] == 2 * sum(merged["tokens"]), "as counted here"
    assert stack.series(name, "train/tokens")[40] == sum(merged["tokens"])


SHARING = """
import milepost
from milepost.recipes.fine_tuning import train
for packing, rows, size in ((True, 4, 4), (True, 1, 4), (False, 16, 16)):
    trial = milepost.init(name=f"{packing} {rows}")
    train(trial, model="model", data="train.jsonl", evaluation_data="held-out.jsonl", context=96, packing=packing,
          rows_at_once=rows, batch_size=size, learning_rate=0.0, samples=0, eval_every=1000, keep="state")
    milepost.finish()
"""


def test_packing_and_parts_change_no_loss(stack: StackProcess, tmp_path: Path) -> None:
    """Weights that stay as they are, so losses differ by how they are computed alone."""
    folder = make(tmp_path / "sums")
    done = run_program(SHARING, folder, {"MILEPOST_DATA_DIR": str(stack.data_dir)}, str(PYTHON))
    assert done.returncode == 0, done.stderr[-3000:]
    names = [f"runtimes/{found}" for found in re.findall(r"/runtimes/(rt-[0-9a-v]{26})", done.stderr)]
    assert len(names) == 3
    for name in names:
        completed(stack, name)
    at_once, one_by_one, _ = (stack.series(name, "train/loss") for name in names)
    assert list(at_once.values()) == pytest.approx(list(one_by_one.values()), rel=1e-5)
    assert 4 <= len(at_once) <= 8, "160 examples in some 20 rows"
    packed, _, apart = (list(stack.series(name, "eval/loss").values()) for name in names)
    assert packed == pytest.approx(apart, rel=1e-5)


DOUBLE = """
import json, sys, torch
from pathlib import Path
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from milepost.recipes.fine_tuning.adapters import write_merged
found = {}
for kind, more in (("tied", {"target_modules": ["embed_tokens"], "ensure_weight_tying": True}),
                   ("linear", {"target_modules": "all-linear"})):
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained("model"), LoraConfig(task_type="CAUSAL_LM", r=4, **more))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_" in name:
                weights.normal_(std=0.3)
    merge = write_merged(model, Path(kind))
    found[kind] = [merge.difference, merge.effect, merge.is_faithful]
print(json.dumps(found))
"""


def test_a_merge_that_adds_an_adapter_twice_is_noticed(tmp_path: Path) -> None:
    """As PEFT 0.21.2 does with tied embeddings."""
    folder = make(tmp_path, "tied")
    done = run_program(DOUBLE, folder, {}, str(PYTHON))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    difference, effect, is_faithful = found["tied"]
    assert difference > effect / 4 and not is_faithful
    difference, effect, is_faithful = found["linear"]
    assert difference < effect / 1000 and is_faithful


WRONG = """
import milepost
from milepost.recipes.fine_tuning import train
right = {"model": "model", "data": "train.jsonl", "context": 96, "samples": 0}
for wrong in ({"model": "elsewhere"}, {"data": "held-out.jsonl", "context": 4}, {"modules": "attention"},
              {"keep": "both"}, {"batch_size": 1000}, {"precision": "half"}, {"epochs": 0}):
    try:
        train(milepost.init(name="wrong"), **{**right, **wrong})
    except milepost.BadParameter as error:
        print(error)
"""


def test_what_cannot_work_is_said(tmp_path: Path) -> None:
    done = run_program(WRONG, make(tmp_path), {"MILEPOST_DATA_DIR": str(tmp_path / "data")}, str(PYTHON))
    assert done.returncode == 0, done.stderr[-3000:]
    for said, line in zip(
        ("is no folder", "no example has anything to be learnt", "the adapter cannot be made", "keep is one of adapter",
         "fewer than batch_size", "precision is one of auto", "at least 1"),
        done.stdout.splitlines(), strict=True,
    ):  # fmt: skip
        assert said in line


STRICT = """
import milepost
from milepost.recipes.fine_tuning import adapters, train
adapters._ALLOWED_SHARE, adapters._ALLOWED_ROUNDING = -1.0, 0
train(milepost.init(name="strict"), model="model", data="train.jsonl", context=96, batch_size=4, keep="merged")
"""


def test_a_merge_that_is_not_faithful_leaves_the_adapter_and_an_alert(stack: StackProcess, tmp_path: Path) -> None:
    folder = make(tmp_path)
    done = run_program(STRICT, folder, {"MILEPOST_DATA_DIR": str(stack.data_dir)}, str(PYTHON))
    assert done.returncode == 0, done.stderr[-3000:]
    name = name_in(done.stderr)
    completed(stack, name)
    alerts = [event.trial_event.alert_raised for event in stack.events(name) if event.type.endswith("alert_raised.v1")]
    assert [alert.title for alert in alerts] == ["the adapter was not merged"]
    kept = last_snapshot(stack, name)
    assert (kept / "adapter_config.json").exists() and not (kept / "model.safetensors").exists()
    ask(folder, folder / "model", kept)


KEYS = ("train/loss", "train/grad_norm", "train/tokens", "eval/loss")
RANKS = """
import os, sys, milepost
from torch import distributed
from milepost.recipes.fine_tuning import train
if "RANK" in os.environ:
    distributed.init_process_group("gloo")
trial = milepost.init(name=sys.argv[1])
train(trial, model="model", data="train.jsonl", evaluation_data="held-out.jsonl", context=96, batch_size=4, rows_at_once=1,
      samples=2, completion_tokens=4, eval_every=2, keep="state", learning_rate=1e-3)
milepost.finish()
"""


def test_two_ranks_train_as_one_does(stack: StackProcess, tmp_path: Path) -> None:
    """Losses but for rounding, although ranks have rows with unequal numbers of tokens; tokens of both are counted."""
    folder = make(tmp_path)
    data = {"MILEPOST_DATA_DIR": str(stack.data_dir)}
    names = []
    for launch in ((), ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")):
        done = run_program(RANKS, folder, data, str(PYTHON), launch=launch, arguments=(f"ranks {len(launch)}",))
        assert done.returncode == 0, done.stderr[-4000:]
        names.append(name_in(done.stderr))
        completed(stack, names[-1])
    one, two = ({key: stack.series(name, key) for key in KEYS} for name in names)
    for key in KEYS:
        assert list(one[key]) == list(two[key])
        assert list(one[key].values()) == pytest.approx(list(two[key].values()), rel=1e-3), key
    assert one["train/tokens"] == two["train/tokens"]
    samples = [list(read_samples(stack.client, f"{name}/trials/1")) for name in names]
    assert [len(found) for found in samples] == [2 * len(one["eval/loss"])] * 2, "of rank 0 alone"

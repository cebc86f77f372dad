"""Reinforcement learning of a causal language model: GRPO through TRL, with rewards that are functions.

    entrypoint: milepost.recipes.reinforcement:train
    parameters: {model: models/small, data: prompts.jsonl, rewards: "rewards.py:is_right, rewards.py:is_short"}

A line of the data has a `prompt`, a text or the messages of a conversation, and whatever else the rewards look at. A reward
is a function of TRL's form: `is_right(prompts, completions, answer, **more) -> list[float]`, where `answer` is a field of the
lines. It needs `pip install 'milepost[trainer,reinforcement]'`; `docs/guides/reinforcement.md` has an example.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from milepost.integrations.transformers import MilepostCallback
from milepost.recipes.examples.prompts import read_prompts
from milepost.recipes.fine_tuning.adapters import load_model
from milepost.recipes.fine_tuning.entrypoint import load_tokenizer, model_folder
from milepost.training.loop.parameters import BadParameter
from milepost.training.loop.trial import Trial
from milepost.training.user_code.entrypoint import EntrypointError, load_entrypoint

SAMPLES = "train/samples"
Reward = Callable[..., Sequence[float | None]]


def train(
    trial: Trial,
    *,
    model: str,
    data: str,
    rewards: str,
    chat_template: str = "",
    steps: int = 500,
    prompts: int = 8,
    group: int = 8,
    completion_tokens: int = 256,
    temperature: float = 1.0,
    learning_rate: float = 1e-5,
    beta: float = 0.0,
    rows_at_once: int = 8,
    lora_rank: int = 16,
    lora_alpha: float = 32.0,
    snapshot_every: int = 50,
    threads: int = 1,
    seed: int = 1,
) -> None:
    """Train a model to say what is rewarded.

    Args:
        trial: given by Milepost.
        model: folder of the model and its tokenizer. Nothing is fetched.
        data: file of JSON lines with prompts.
        rewards: functions by `file.py:function` or `package.module:function`, joined by commas. They are added up.
        chat_template: file with one, in place of the tokenizer's.
        steps: of the whole training.
        prompts: of a step, of all ranks together.
        group: completions of each prompt, which are compared with each other.
        completion_tokens: the longest completion.
        temperature: of sampling.
        learning_rate: the highest one.
        beta: what the KL divergence from the model that was given costs. 0: it is not reckoned.
        rows_at_once: completions that a rank learns from at once; divides those of a step.
        lora_rank, lora_alpha: of the adapter.
        snapshot_every: steps between snapshots; there is one at the last step too.
        threads: of PyTorch.
        seed: of the adapter, of order and of sampling.

    Raises:
        BadParameter: a value cannot work, or a file or a function cannot be read.
    """
    if min(steps, prompts, completion_tokens, rows_at_once, lora_rank, snapshot_every, threads) < 1 or group < 2:
        raise BadParameter("sizes must be at least 1, and group 2")
    parts, rest = divmod(prompts * group, rows_at_once * trial.world_size)
    if rest:
        raise BadParameter("prompts x group must be a multiple of rows_at_once, times the ranks")
    torch.set_num_threads(threads)
    functions = [_reward(name.strip()) for name in rewards.split(",")]
    examples = Dataset.from_list(read_prompts(Path(data)))
    folder = model_folder(model)
    tokenizer = load_tokenizer(folder, chat_template)
    on_gpu = torch.cuda.is_available()
    callback = MilepostCallback(trial)
    rollouts = Rollouts(trial, functions)
    with tempfile.TemporaryDirectory(prefix="milepost-") as checkpoints:
        trainer = GRPOTrainer(
            model=load_model(folder, None, torch.device("cpu")),
            processing_class=tokenizer,
            reward_funcs=rollouts.functions,
            train_dataset=examples,
            peft_config=LoraConfig(
                task_type="CAUSAL_LM", r=lora_rank, lora_alpha=lora_alpha, target_modules="all-linear"
            ),
            callbacks=[callback, rollouts],
            args=GRPOConfig(
                output_dir=checkpoints,
                max_steps=steps,
                per_device_train_batch_size=rows_at_once,
                # Whole steps are sampled anew, so that a resume between two of them has nothing to remember.
                gradient_accumulation_steps=parts,
                steps_per_generation=parts,
                num_generations=group,
                max_completion_length=completion_tokens,
                temperature=temperature,
                learning_rate=learning_rate,
                beta=beta,
                logging_steps=1,
                save_steps=snapshot_every,
                save_total_limit=2,
                report_to="none",
                seed=seed,
                use_cpu=not on_gpu,
                bf16=on_gpu and torch.cuda.is_bf16_supported(),
                disable_tqdm=True,
            ),
        )
        trainer.train(resume_from_checkpoint=callback.checkpoint())
        trial.wait_for_snapshot()


class Rollouts(TrainerCallback):
    """Logs what the model says, with its rewards, and how long saying and learning take."""

    def __init__(self, trial: Trial, functions: Sequence[Reward]) -> None:
        self._trial = trial
        self._found: list[tuple[str, Sequence[float | None]]] = []
        self._count = len(functions)
        self._begin = self._rolled_out = 0.0
        #: The functions, heard.
        self.functions = [self._heard(function) for function in functions]

    def _heard(self, function: Reward) -> Reward:
        @functools.wraps(function)
        def heard(*, prompts: Sequence[Any], completions: Sequence[Any], **more: Any) -> Sequence[float | None]:
            if not self._found:
                self._rolled_out = time.monotonic()
            rewards = function(prompts=prompts, completions=completions, **more)
            self._found.append((function.__name__, rewards))
            if len(self._found) == self._count:
                self._log(prompts, completions, more["trainer_state"].global_step + 1)
            return rewards

        return heard

    def _log(self, prompts: Sequence[Any], completions: Sequence[Any], step: int) -> None:
        found, self._found = self._found, []
        rows = []
        for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            scores = {name: rewards[index] for name, rewards in found}
            scores["reward"] = sum(value for value in scores.values() if value is not None)
            text = completion if isinstance(completion, str) else completion[-1]["content"]
            asked = json.dumps(prompt, sort_keys=True)
            rows.append({"prompt": prompt, "completion": text, "scores": scores, "group": asked[:200]})
        self._trial.samples(SAMPLES, rows, step=step)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note when a step begins, with its completions."""
        self._begin = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log how long the completions took, and what followed them."""
        now = time.monotonic()
        times = {"rollout_time": self._rolled_out - self._begin, "update_time": now - self._rolled_out}
        self._trial.log({f"train/{name}": seconds for name, seconds in times.items()}, step=state.global_step)


def _reward(name: str) -> Reward:
    try:
        return load_entrypoint(name, None)
    except EntrypointError as error:
        raise BadParameter(f"rewards: {error}") from error

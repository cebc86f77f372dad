"""A training loop without a model: what it logs is a function of the step, its pace a parameter. For browser tests.

Parameters: steps, steps_per_epoch, eval_every, step_seconds, eval_batches, nan_from (0: never), fail_at (0: never),
fall (40: how many steps the loss takes to halve, about).
"""

from __future__ import annotations

import math
import time
from functools import partial

import milepost


def loss(step: int, nan_from: int = 0, fall: int = 40) -> float:
    """What the loop logs as train/loss."""
    return math.nan if nan_from and step >= nan_from else 0.5 + 4 / (1 + step / fall) + 0.05 * math.sin(step * 1.7)


def state_of(step: int) -> dict[str, int]:
    """What a snapshot holds."""
    return {"step": step}


def train(trial: milepost.Trial) -> None:
    """Go through the epochs, evaluate, take snapshots."""
    read = trial.parameters
    steps, per_epoch, every = read["steps"], read["steps_per_epoch"], read["eval_every"]
    pace, nan_from, fail_at = read["step_seconds"], read.get("nan_from", 0), read.get("fail_at", 0)
    fall = read.get("fall", 40)
    trial.plan(total_steps=steps, steps_per_epoch=per_epoch, epochs=steps // per_epoch, eval_every=every)
    trial.restore()
    for _ in trial.epochs(steps // per_epoch):
        for _ in trial.batches(range(per_epoch)):
            time.sleep(pace)
            step = trial.step + 1
            if fail_at and step == fail_at:
                raise FloatingPointError("train/loss is not finite")
            rate = 0.003 * min(1.0, step / 50)
            trial.log(
                {"train/loss": loss(step, nan_from, fall), "train/learning_rate": rate, "train/grad_norm": 1 + 1 / step}
            )
            if step % 10 == 0:
                print(f"step {step} loss {loss(step, nan_from, fall):.4f}", flush=True)
            if step % every == 0:
                evaluate(trial, step, read.get("eval_batches", 5), pace, fall)
            trial.maybe_snapshot(partial(state_of, step))


def evaluate(trial: milepost.Trial, step: int, batches: int, pace: float, fall: int) -> None:
    """An evaluation of some batches."""
    with trial.evaluation() as evaluation:
        for _ in evaluation.batches(range(batches)):
            time.sleep(pace)
        evaluation.log({"eval/loss": loss(step, fall=fall) + 0.1})

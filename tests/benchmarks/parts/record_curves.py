"""Record the curves of a grid of the demo's language model: `python -m tests.benchmarks.parts.record_curves`; minutes.

Real trainings of the recipe at a tiny size, one after the other: what each evaluation came to is written to
`recorded/language_model_grid.json`, for `searching/bench_sampling.py` to play pruners over.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import milepost
from milepost.recipes.language_model import train

PATH = Path(__file__).parent / "recorded" / "language_model_grid.json"
STEPS, EVERY = 243, 9
SIZE: dict[str, Any] = {
    "layers": 1, "heads": 2, "context": 32, "batch_size": 16, "epochs": 1, "steps_per_epoch": STEPS, "warmup_steps": 10,
    "eval_every": EVERY,
}  # fmt: skip
GRID: dict[str, list[Any]] = {
    "learning_rate": [0.0003, 0.0006, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03],
    "dropout": [0.0, 0.2],
    "width": [16, 32],
}


class Curve:
    """As much of a trial as the recipe needs: it keeps the validation loss at each evaluation."""

    rank, world_size = 0, 1

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self._step = 0
        self._evaluate: Callable[[], None] = lambda: None

    def shard(self, loader: object, seed: int) -> object:
        return loader

    def restore(self) -> None:
        return None

    def plan(self, total_steps: int, **rest: object) -> None:
        return None

    def evaluate_every(self, steps: int, evaluate: Callable[[], None]) -> None:
        self._every, self._evaluate = steps, evaluate

    def epochs(self, count: int) -> Iterable[int]:
        return range(count)

    def batches(self, loader: Iterable[Any]) -> Iterable[Any]:
        return loader

    def log(self, values: dict[str, Any]) -> None:
        self._step += 1
        if self._step % self._every == 0:
            self._evaluate()

    def maybe_snapshot(self, state: object) -> None:
        return None

    @contextmanager
    def evaluation(self, batches: int) -> Iterator[Evaluation]:
        yield Evaluation(self)

    def add(self, loss: float) -> None:
        self.points.append((self._step, round(loss, 5)))


class Evaluation:
    def __init__(self, curve: Curve) -> None:
        self._curve = curve

    def batches(self, loader: Iterable[Any]) -> Iterable[Any]:
        return loader

    def log(self, values: dict[str, float]) -> None:
        self._curve.add(values["eval/loss"])


def main() -> None:
    trials = []
    for values in itertools.product(*GRID.values()):
        parameters, curve = dict(zip(GRID, values, strict=True)), Curve()
        train(cast(milepost.Trial, curve), **SIZE, **parameters)
        trials.append({"parameters": parameters, "losses": [loss for _, loss in curve.points]})
        print(parameters, curve.points[-1], flush=True)
    head = {"recipe": "milepost.recipes.language_model:train", "parameters": SIZE, "steps": STEPS, "every": EVERY}
    lines = ",\n".join(json.dumps(trial) for trial in trials)
    PATH.write_text(f'{{"made_with": {json.dumps(head)},\n"trials": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()

"""The configurations that the end-to-end tests run."""

from __future__ import annotations

import json
from pathlib import Path

ENTRYPOINT = "milepost.recipes.language_model:train"


# Some seconds on two cores.
TINY = {
    "width": 32,
    "layers": 1,
    "heads": 2,
    "context": 32,
    "batch_size": 16,
    "steps_per_epoch": 120,
    "eval_every": 100,
}


def small(**changes: object) -> str:
    """The ten-second size of the recipe, as configuration text; `changes` replace top-level fields."""
    configuration: dict[str, object] = {
        "name": "small",
        "entrypoint": ENTRYPOINT,
        "parameters": TINY,
        "snapshots": {"every_steps": 50, "keep_last": 3},
        **changes,
    }
    return json.dumps(configuration)


# Of `paced`.
PACED_STEPS = 48


def paced(name: str, step_seconds: float) -> str:
    """A run of 48 steps that take so long each, without a model to speak of, as configuration text."""
    return json.dumps(
        {
            "name": name,
            "entrypoint": "loops.py:plain",
            "working_directory": str(Path(__file__).resolve().parents[1] / "assets"),
            "parameters": {"step_seconds": step_seconds},
            "snapshots": {"every_steps": 10},
            "retries": {"max_retries": 0},
        }
    )


# Of `diverging`.
DIVERGES_AT = 80


def diverging(name: str) -> str:
    """A linear model whose learning rate is too high from a step on, as configuration text."""
    return json.dumps(
        {
            "name": name,
            "entrypoint": "loops.py:diverges",
            "working_directory": str(Path(__file__).resolve().parents[1] / "assets"),
            "parameters": {"at": DIVERGES_AT, "steps": DIVERGES_AT + 15},
            "retries": {"max_retries": 0},
        }
    )

"""The configurations that the end-to-end tests run."""

from __future__ import annotations

import json

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

"""The configurations that the end-to-end tests run."""

from __future__ import annotations

import json

ENTRYPOINT = "milepost.recipes.language_model:train"


def small(**changes: object) -> str:
    """The ten-second size of the recipe, as configuration text; `changes` replace top-level fields."""
    configuration: dict[str, object] = {
        "name": "small",
        "entrypoint": ENTRYPOINT,
        "parameters": {"size": "tiny"},
        "snapshots": {"every_steps": 20, "keep_last": 3},
        **changes,
    }
    return json.dumps(configuration)

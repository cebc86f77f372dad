"""How other libraries name their series, and how they are named here. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What a library says of speed and totals once, at the end, is no series of the loss chart.
_TRAIN = {"loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate"}
_PREFIX = re.compile(r"^(train|val|valid|validation|eval|test)[_/](.+)$")
_HOMES = {"val": "eval", "valid": "eval", "validation": "eval"}


def series_key(name: str) -> str:
    """Return the series of a value: `eval_loss` and `val_loss` are `eval/loss`, `loss` is `train/loss`."""
    if name in _TRAIN:
        return _TRAIN[name]
    match = _PREFIX.match(name)
    if match is None:
        return name
    return f"{_HOMES.get(match[1], match[1])}/{match[2].removesuffix('_step').removesuffix('_epoch')}"


def series(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rename all values. What is no number is left to the trial, which says so once."""
    return {series_key(str(name)): value for name, value in values.items()}

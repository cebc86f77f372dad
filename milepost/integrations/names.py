"""How other libraries name their series, and how they are named here. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from milepost.series_names import text_of

# What a library says of speed and totals once, at the end, is no series of the loss chart.
_TRAIN = {"loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate"}
_PREFIX = re.compile(r"^(train|val|valid|validation|eval|test)[_/](.+)$")
_HOMES = {"val": "eval", "valid": "eval", "validation": "eval"}


def series_key(name: str) -> str:
    """Return the series of a value: `eval_loss` and `val_loss` are `eval/loss`, `loss` is `train/loss`.

    What else a name says stays: `train_loss_step` and `train_loss_epoch` of Lightning are two series.
    """
    if name in _TRAIN:
        return _TRAIN[name]
    match = _PREFIX.match(name)
    if match is None:
        return name
    return f"{_HOMES.get(match[1], match[1])}/{match[2]}"


class SeriesNames:
    """The names of one run: no two of a library become one series."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def series(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Rename all values. What is no number is left to the trial, which says so once.

        The first name that is a series is it; another one that would be the same keeps its own.
        """
        found = {}
        for given, value in values.items():
            name = text_of(given)
            key = series_key(name)
            found[key if self._names.setdefault(key, name) == name else name] = value
        return found

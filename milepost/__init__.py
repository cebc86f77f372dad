"""Milepost: run training and fine-tuning jobs, and remember everything that happened to them.

    import milepost

    def train(trial: milepost.Trial) -> None:
        ...

This module holds the names that training code uses. They are loaded on first use, so `import milepost` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milepost.snapshots import SnapshotInvalid
    from milepost.training.evaluation import Evaluation
    from milepost.training.external import current, finish, init, sync
    from milepost.training.external import log_values as log
    from milepost.training.parameters import BadParameter
    from milepost.training.snapshots import StateNotSavable
    from milepost.training.stop import Stopped
    from milepost.training.trial import Trial
    from milepost.training.twins import (
        accumulate,
        declare,
        evaluation,
        maybe_snapshot,
        mean,
        plan,
        should_stop,
        track,
        watch,
    )

__version__ = "0.1.0"

_NAMES = {
    "BadParameter": "milepost.training.parameters",
    "Evaluation": "milepost.training.evaluation",
    "SnapshotInvalid": "milepost.snapshots",
    "StateNotSavable": "milepost.training.snapshots",
    "Stopped": "milepost.training.stop",
    "Trial": "milepost.training.trial",
    "accumulate": "milepost.training.twins",
    "current": "milepost.training.external",
    "declare": "milepost.training.twins",
    "evaluation": "milepost.training.twins",
    "finish": "milepost.training.external",
    "init": "milepost.training.external",
    "log": "milepost.training.external",
    "maybe_snapshot": "milepost.training.twins",
    "mean": "milepost.training.twins",
    "plan": "milepost.training.twins",
    "should_stop": "milepost.training.twins",
    "sync": "milepost.training.external",
    "track": "milepost.training.twins",
    "watch": "milepost.training.twins",
}
_RENAMED = {"log": "log_values"}

__all__ = [
    "BadParameter",
    "Evaluation",
    "SnapshotInvalid",
    "StateNotSavable",
    "Stopped",
    "Trial",
    "__version__",
    "accumulate",
    "current",
    "declare",
    "evaluation",
    "finish",
    "init",
    "log",
    "maybe_snapshot",
    "mean",
    "plan",
    "should_stop",
    "sync",
    "track",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})

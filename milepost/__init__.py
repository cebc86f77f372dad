"""Milepost: run training and fine-tuning jobs, and remember everything that happened to them.

    import milepost

    def train(trial: milepost.Trial) -> None:
        ...

- `training/`: what runs beside a training loop; `recipes/`, `integrations/`: loops that are there, and those of others.
- `client` speaks to the services, over `api/`, the generated stubs; `cli/` is the `milepost` command. `search`, `series/`: for
  notebooks. `installation/`: the stack on a machine.
- `domain/`: what may happen, pure. `configuration/`, `rules/`: what a run and a rule may say. `eventlog/`: where it is kept.
- `bundle`, `code_archive`, `snapshots`: a run, its code and its state as files; `storage`, `files`: where these lie, for good.
- `names`, `ids`, `series_names`, `numbers`, `log_text`, `errors`: words that all parts share. `protojson`: messages as JSON.
  `security/`: tokens, secrets, addresses. `backoff`: pauses between tries.

This module holds the names that training code uses. They are loaded on first use, so `import milepost` is cheap: 21 ms on a
busy machine, where `Trial` takes 280 and `init` 620. The six lines of `__getattr__` are ours: lazy_loader adds 2 ms to all of
these and a stub file, which would be one more list of the names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milepost.snapshots import SnapshotInvalid
    from milepost.training.loop.evaluation import Evaluation
    from milepost.training.loop.parameters import BadParameter
    from milepost.training.loop.steering.steerable import Steerable
    from milepost.training.loop.stop import Stopped
    from milepost.training.loop.trial import Trial
    from milepost.training.saving.savable import StateNotSavable
    from milepost.training.script.external import current, finish, init
    from milepost.training.script.external import log_values as log
    from milepost.training.script.module_api import (
        accumulate,
        alert,
        declare,
        evaluation,
        flops,
        histogram,
        maybe_snapshot,
        mean,
        plan,
        samples,
        should_stop,
        steerable,
        table,
        text,
        tokens,
        track,
        watch,
    )
    from milepost.training.script.syncing import sync

__version__ = "0.1.0"

_NAMES = {
    "BadParameter": "milepost.training.loop.parameters",
    "Evaluation": "milepost.training.loop.evaluation",
    "SnapshotInvalid": "milepost.snapshots",
    "StateNotSavable": "milepost.training.saving.savable",
    "Steerable": "milepost.training.loop.steering.steerable",
    "Stopped": "milepost.training.loop.stop",
    "Trial": "milepost.training.loop.trial",
    "accumulate": "milepost.training.script.module_api",
    "alert": "milepost.training.script.module_api",
    "current": "milepost.training.script.external",
    "declare": "milepost.training.script.module_api",
    "evaluation": "milepost.training.script.module_api",
    "finish": "milepost.training.script.external",
    "flops": "milepost.training.script.module_api",
    "histogram": "milepost.training.script.module_api",
    "init": "milepost.training.script.external",
    "log": "milepost.training.script.external",
    "maybe_snapshot": "milepost.training.script.module_api",
    "mean": "milepost.training.script.module_api",
    "plan": "milepost.training.script.module_api",
    "samples": "milepost.training.script.module_api",
    "should_stop": "milepost.training.script.module_api",
    "steerable": "milepost.training.script.module_api",
    "sync": "milepost.training.script.syncing",
    "table": "milepost.training.script.module_api",
    "text": "milepost.training.script.module_api",
    "tokens": "milepost.training.script.module_api",
    "track": "milepost.training.script.module_api",
    "watch": "milepost.training.script.module_api",
}
_RENAMED = {"log": "log_values"}

__all__ = [
    "BadParameter",
    "Evaluation",
    "SnapshotInvalid",
    "StateNotSavable",
    "Steerable",
    "Stopped",
    "Trial",
    "__version__",
    "accumulate",
    "alert",
    "current",
    "declare",
    "evaluation",
    "finish",
    "flops",
    "histogram",
    "init",
    "log",
    "maybe_snapshot",
    "mean",
    "plan",
    "samples",
    "should_stop",
    "steerable",
    "sync",
    "table",
    "text",
    "tokens",
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

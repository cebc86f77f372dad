"""Ray Train's local mode around the user's loop, from the moment in which the loop imports Ray Train.

To import Ray Train takes a second of a start, and most loops never do: nothing of Milepost needs it. A loop that does
finds what local mode gives, as under `ScalingConfig(num_workers=0)`: `ray.train.get_context()`, `ray.train.report`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_RAY_TRAIN = "ray.train"


class _Finder(MetaPathFinder):
    """Has this process enter local mode when Ray Train has been imported, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _RAY_TRAIN:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_enter(module: ModuleType) -> None:
                execute(module)
                # As the import does next: what is imported now counts on it.
                sys.modules["ray"].train = module  # type: ignore[attr-defined]
                _enter()

            spec.loader.exec_module = execute_and_enter  # type: ignore[method-assign]
        return spec


def enter_with_ray_train() -> None:
    """Have this process be in Ray Train's local mode, now or as soon as Ray Train is imported."""
    if _RAY_TRAIN in sys.modules:
        _enter()
    else:
        sys.meta_path.insert(0, _Finder())


def _enter() -> None:
    # Says on every start that it runs in this mode, in a line that looks like a problem.
    logging.getLogger(_RAY_TRAIN).setLevel(logging.WARNING)
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    # What a run in local mode sets for its function stays set after it.
    trainer = TorchTrainer(
        lambda: None, scaling_config=ScalingConfig(num_workers=0), run_config=RunConfig(name="milepost")
    )
    trainer.fit()

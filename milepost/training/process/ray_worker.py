"""What Ray's workers are given in place of Ray Train's own parts, so that a worker group starts sooner.

Imported by name in the workers. It reaches into Ray's internals; `trainer.on_ray.lean_trainer` checks that they are as expected
before it uses this, and says what it buys. With a Ray that lacks them nothing here is imported: workers and barriers are
Ray Train's own, and a start takes some 6 s longer.
"""

from __future__ import annotations

import os
from typing import Any

from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker

# Read by Ray Train in its workers. By way of Ray's `runtime_env`, each worker would be a new process with an agent's help;
# without one the workers that Ray keeps ready are used.
WORKER_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}


class RankWorker(RayTrainWorker):  # type: ignore[misc]
    """The actor in which Ray Train runs a rank."""

    def __init__(self) -> None:
        for name, value in WORKER_SETTINGS.items():
            os.environ.setdefault(name, value)
        super().__init__()


class LazySynchronization:
    """Stands for Ray Train's actor for barriers, which is started when somebody first asks it something.

    That is when user code calls `ray.train.report` or `ray.train.collective`; with us it need not.
    """

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        self._name = name
        self._arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return LazySynchronization, (self._name, self._arguments)

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        from ray.train.v2._internal.execution.checkpoint.sync_actor import SynchronizationActor

        actor = SynchronizationActor.options(name=self._name, get_if_exists=True).remote(**self._arguments)
        return getattr(actor, method)

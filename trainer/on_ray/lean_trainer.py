"""Ray Train's `TorchTrainer` without the helper processes that a run of ours does not need.

`TorchTrainer.fit` starts, beside the workers, an actor for its controller, one for barriers, one that cleans up placement
groups, one for data sets and one for autoscaling requests. Each is a Python process that imports Ray Train, which on a
small machine takes longer than the training's own start. Here the controller runs in this process, which exists for
nothing else (when it dies, its placement group goes with its Ray job), barriers come when somebody asks for one, and the
workers are those that Ray keeps ready, because nothing is asked of their environment.

It buys some 6 s of each start: 7.6 s to the first step of two ranks on two quiet cores instead of 13.9
(docs/worker-groups.md), 25 and 27 instead of 34 and 44 on busy ones.

That reaches into Ray's internals. `LEAN` tells whether this version of Ray has them as they are expected; where it has
not, the plain `TorchTrainer` is used, and everything works, only slower. A contract test says so for each version.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from typing import Any

from ray.runtime_context import RuntimeContext
from ray.train.torch import TorchTrainer

log = logging.getLogger(__name__)

_NOT_NEEDED = frozenset({"PlacementGroupCleanerCallback", "DatasetsCallback", "WorkingDirectorySetupCallback"})


def _supported() -> bool:
    """Check that Ray's internals are those that this module replaces."""
    try:
        from ray.train.v2._internal.execution.checkpoint.sync_actor import SynchronizationActor
        from ray.train.v2._internal.execution.controller import TrainController
        from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
        from ray.train.v2._internal.execution.worker_group import state, worker_group
        from ray.train.v2._internal.execution.worker_group.worker import RayTrainWorker
    except ImportError:
        return False
    expected = {"train_fn_ref", "train_run_context", "scaling_policy", "failure_policy", "callbacks"}
    group = worker_group.WorkerGroup
    return (
        expected <= set(inspect.signature(TrainController.__init__).parameters)
        and inspect.iscoroutinefunction(TrainController.run)
        and hasattr(TrainController, "get_result")
        and TrainController.worker_group_cls is group
        and group._worker_cls is RayTrainWorker
        and isinstance(inspect.getattr_static(group, "_get_worker_runtime_env", None), staticmethod)
        and worker_group.SynchronizationActor is SynchronizationActor
        and list(inspect.signature(state._shutdown_sync_actor).parameters) == ["sync_actor"]
        and all(
            hasattr(FixedScalingPolicy, name)
            for name in ("after_controller_start", "_maybe_send_resource_request", "_cancel_resource_request")
        )
        and hasattr(TorchTrainer, "_initialize_and_run_controller")
        and hasattr(TorchTrainer, "_create_default_callbacks")
        and isinstance(inspect.getattr_static(RuntimeContext, "current_actor", None), property)
    )


LEAN = _supported()


class LeanTrainer(TorchTrainer):  # type: ignore[misc]
    """Runs the controller in this process, and starts no actor but the workers'."""

    def _create_default_callbacks(self) -> list[Any]:
        return [c for c in super()._create_default_callbacks() if type(c).__name__ not in _NOT_NEEDED]

    def _initialize_and_run_controller(self, **given: Any) -> Any:
        from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

        class SilentScalingPolicy(FixedScalingPolicy):  # type: ignore[misc]
            """A fixed size. Asks no autoscaler: the placement group does that."""

            def after_controller_start(self, train_run_context: Any) -> None:
                return

            def _maybe_send_resource_request(self) -> None:
                return

            def _cancel_resource_request(self) -> None:
                return

        # Ray Train hands it to the workers, for `ray.train.get_all_reported_checkpoints`, of which there are none.
        RuntimeContext.current_actor = property(lambda context: None)
        controller = _controller_class()(**{**given, "scaling_policy": SilentScalingPolicy(self.scaling_config)})
        asyncio.run(controller.run())
        return controller.get_result()


def _controller_class() -> Any:
    """Make Ray Train's controller with workers and barriers of our own. Changes Ray Train in this process."""
    from ray.train.v2._internal.execution.controller import TrainController
    from ray.train.v2._internal.execution.worker_group import state, worker_group

    from milepost.training.process.ray_worker import LazySynchronization, RankWorker

    class Synchronization:
        """Makes the stand-in where Ray Train would start the actor."""

        @staticmethod
        def options(**options: Any) -> type[Synchronization]:
            return Synchronization

        @staticmethod
        def remote(**arguments: Any) -> LazySynchronization:
            return LazySynchronization(f"milepost-synchronization-{secrets.token_hex(8)}", arguments)

    class LeanWorkerGroup(worker_group.WorkerGroup):  # type: ignore[misc, name-defined]
        _worker_cls = RankWorker

        @staticmethod
        def _get_worker_runtime_env(custom_runtime_env: Any) -> dict[str, Any]:
            return dict(custom_runtime_env or {})

    class LeanController(TrainController):  # type: ignore[misc]
        worker_group_cls = LeanWorkerGroup

    worker_group.SynchronizationActor = Synchronization
    # It ends with the workers that own it.
    state._shutdown_sync_actor = lambda sync_actor: None
    return LeanController

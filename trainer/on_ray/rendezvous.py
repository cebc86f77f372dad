"""Ray Train's set-up of PyTorch's process group, kept to the loopback interface where all workers are on one host.

The base class is one of Ray's internal ones. Where a version of Ray lacks it, the group is set up in Ray Train's own
way, which listens on every interface; a contract test says so for each version.
"""

from __future__ import annotations

import socket
from typing import Any

import ray
from ray.train.torch import TorchConfig

from milepost.training.process.rendezvous import listen, meet

try:
    from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend

    AVAILABLE = True
except ImportError:
    _TorchBackend = object
    AVAILABLE = False


class OneHostBackend(_TorchBackend):  # type: ignore[misc]
    """Has ranks on one host meet on loopback, and ranks on several hosts as Ray Train does."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Set the process group up. Called by Ray Train when every worker is there."""
        if len(set(worker_group.execute(socket.gethostname))) > 1:
            super().on_start(worker_group, backend_config)
            return
        worker_group.execute(_set_torch_distributed_env_vars)
        port, size = worker_group.execute_single(0, listen), len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(rank, meet, backend_config.backend, rank, size, port)
                for rank in range(size)
            ]
        )


class OneHostConfig(TorchConfig):  # type: ignore[misc]
    """A `TorchConfig` with that set-up."""

    @property
    def backend_cls(self) -> type[Any]:
        return OneHostBackend if AVAILABLE else super().backend_cls  # type: ignore[no-any-return]

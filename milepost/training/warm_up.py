"""Imports in a worker of Ray that waits for something to do. Light itself: the process that asks for it is in a hurry."""

from __future__ import annotations

import importlib

# What a rank needs before its first step; the last one comes with the first optimizer.
MODULES = (
    "torch",
    "torch.distributed",
    "ray.train.torch",
    "milepost.training.meeting",
    "milepost.training.ray_worker",
    "milepost.training.rank",
    "torch._dynamo",
)


def warm_up() -> None:
    """Import what a rank needs."""
    for module in MODULES:
        importlib.import_module(module)

"""Sharded state in a snapshot: each rank writes and reads its own part, by `torch.distributed.checkpoint`.

    snapshots/step-000000000200-a1/
        shards/.metadata, shards/__0_0.distcp, ...

PyTorch keeps the description of the parts as a pickle, and reads plain values with one too. A snapshot must not be able
to run code, so both are read here with nothing allowed but what such a description is made of.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint import DefaultLoadPlanner, FileSystemReader, FileSystemWriter

FOLDER = "shards"

# Modules whose classes a description may hold, and single names of others.
_MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
_NAMES = frozenset(
    {
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        ("collections", "OrderedDict"),
        ("pathlib", "PosixPath"),
        ("torch.distributed.checkpoint.planner", "WriteItemType"),
    }
)


class ShardsUnreadable(RuntimeError):
    """The description of a sharded state holds something that does not belong there."""


class _Description(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = getattr(torch, name, None) if module == "torch" else None
        allowed = module in _MODULES and not name.startswith("__") and "." not in name
        if allowed or (module, name) in _NAMES or isinstance(found, torch.dtype | torch.layout):
            return super().find_class(module, name)
        raise ShardsUnreadable(f"the description of the shards names {module}.{name}")


class _Reader(FileSystemReader):
    def read_metadata(self, *arguments: Any, **named: Any) -> Any:
        description = _Description(io.BytesIO((Path(self.path) / ".metadata").read_bytes())).load()
        description.storage_meta = (
            checkpoint.StorageMeta() if description.storage_meta is None else description.storage_meta
        )
        description.storage_meta.load_id = self.load_id
        return description


class _Planner(DefaultLoadPlanner):
    def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
        # Refuses whatever is no plain value; what passes is safe for the planner to read again.
        torch.load(value, weights_only=True)
        value.seek(0)
        super().load_bytes(read_item, value)


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a state, each rank its part. All ranks must call it; those of one host share the folder."""
    checkpoint.save(
        dict(state), storage_writer=FileSystemWriter(folder / FOLDER), no_dist=not distributed.is_initialized()
    )


def load(folder: Path, into: dict[str, Any]) -> None:
    """Read a state into tensors that are there, each rank what it holds. All ranks must call it.

    The number of ranks, and how they divide the state, may differ from those that wrote it.

    Raises:
        ShardsUnreadable: it holds something that a snapshot may not hold.
    """
    reader = _Reader(folder / FOLDER)
    # Once more below, where PyTorch would wrap what is wrong with it.
    reader.read_metadata()
    checkpoint.load(
        into,
        storage_reader=reader,
        planner=_Planner(),
        no_dist=not distributed.is_initialized(),
    )

"""Means over the examples of a step, where the loop asks for them: over micro-batches, and over processes of torchrun.

The ranks of a worker group need none of it: their driver carries values to rank 0 beside the loop (`means.py`). Processes
of torchrun have no driver, so theirs is a collective.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from milepost.training.user_code import given


class Averages:
    """Sums of values times examples since the last step. Tensors stay on their device until somebody reads them."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._examples: dict[str, float] = {}

    def add(self, values: Mapping[str, Any], examples: Any) -> list[str]:
        """Add the values of one micro-batch, each a mean over so many examples.

        Returns what was left out: what is no number, or has no examples behind it.
        """
        examples = given.single(examples)
        counted = examples is not None and (hasattr(examples, "device") or examples > 0)
        left_out = []
        for key, value in values.items():
            value = given.single(value)
            if value is None or not counted:
                left_out.append(given.text(key))
                continue
            self._sums[key] = self._sums.get(key, 0.0) + value * examples
            self._examples[key] = self._examples.get(key, 0.0) + examples
        return left_out

    def take(self, alone: bool = False) -> dict[str, Any]:
        """Return the means by key, over all processes of torch.distributed, and begin anew.

        With several processes it is a collective: each of them must call it, after adding the same keys. `alone`: over
        this process only.
        """
        keys = list(self._sums)
        sums, counts = [self._sums[key] for key in keys], [self._examples[key] for key in keys]
        self._sums, self._examples = {}, {}
        group = None if alone else process_group()
        if group is not None and keys:
            return _over_processes(group, keys, sums, counts)
        return {key: total / count for key, total, count in zip(keys, sums, counts, strict=True)}


def process_group() -> Any | None:
    """Return torch.distributed where it is in use by more than one process."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed if distributed.get_world_size() > 1 else None


def _over_processes(group: Any, keys: list[str], sums: list[Any], counts: list[float]) -> dict[str, Any]:
    torch = sys.modules["torch"]
    device = next((value.device for value in sums if isinstance(value, torch.Tensor)), torch.device("cpu"))
    if device.type == "cpu" and "nccl" in str(group.get_backend()) and "gloo" not in str(group.get_backend()):
        device = torch.device("cuda", torch.cuda.current_device())
    with torch.no_grad():
        pairs = [torch.as_tensor(value, dtype=torch.float64, device=device).reshape(()) for value in (*sums, *counts)]
        total = torch.stack(pairs)
        group.all_reduce(total)
        means = total[: len(keys)] / total[len(keys) :]
    return {key: means[index] for index, key in enumerate(keys)}

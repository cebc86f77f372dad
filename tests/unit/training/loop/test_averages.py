"""Means over micro batches."""

from __future__ import annotations

import torch

from milepost.training.loop.values.averages import Averages


def test_a_mean_weighs_micro_batches_by_their_examples() -> None:
    averages = Averages()
    averages.add({"train/loss": torch.tensor(1.0, requires_grad=True)}, 3)
    averages.add({"train/loss": 5.0, "extra": 2.0}, 1)
    found = averages.take()
    assert float(found["train/loss"]) == 2.0
    assert found["extra"] == 2.0
    assert averages.take() == {}

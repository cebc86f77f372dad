"""Norms and rates read from optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from milepost.training.loop.values.optimizer_watch import OptimizerWatch


def watched(optimizer: Any) -> tuple[OptimizerWatch, dict[str, Any]]:
    values: dict[str, Any] = {}
    return OptimizerWatch(optimizer, values.update), values


def backward(model: torch.nn.Module, scale: float = 1.0) -> float:
    (model(torch.ones(1, 2)).sum() * scale).backward()
    return float(torch.linalg.vector_norm(torch.cat([p.grad.reshape(-1) for p in model.parameters()])))  # type: ignore[union-attr]


def test_a_norm_left_by_a_skipped_step_is_not_taken_for_that_of_the_next() -> None:
    """A gradient scaler that finds an overflow clips and does not step."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    _watch, values = watched(optimizer)
    backward(model, 1000.0)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.zero_grad()
    norm = backward(model)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    assert float(values["train/grad_norm"]) == pytest.approx(norm)


@pytest.mark.parametrize("fused", [False, True])
def test_the_norm_is_that_of_unscaled_gradients(fused: bool) -> None:
    """Whoever scales back: the scaler, or a fused optimizer that it hands the scale to."""
    model = torch.nn.Linear(2, 1)
    norm = backward(model)
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    _watch, values = watched(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)  # type: ignore[attr-defined]
    scaler.scale(model(torch.ones(1, 2)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert float(values["train/grad_norm"]) == pytest.approx(norm)


@pytest.mark.parametrize("clipped", [False, True])
def test_a_step_with_a_closure_logs_the_norm_of_what_the_closure_computed(clipped: bool) -> None:
    """Not what gradients there were before it, nor the norm of the step before."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    _watch, values = watched(optimizer)
    for scale in (3.0, 7.0):
        optimizer.zero_grad()
        backward(model)
        expected = 0.0

        def closure(scale: float = scale) -> float:
            nonlocal expected
            expected = backward(model, scale)
            if clipped:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            return 0.0

        optimizer.step(closure)
        assert float(values["train/grad_norm"]) == pytest.approx(expected)


def test_a_second_optimizer_has_a_prefix_of_its_own() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    values: dict[str, Any] = {}
    _watch = OptimizerWatch(optimizer, values.update, "generator")
    backward(model)
    optimizer.step()
    assert values["generator/learning_rate"] == 0.1

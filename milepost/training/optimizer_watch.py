"""Learning rate, weight decay and gradient norm of an optimizer, logged with each step without a line in the loop."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

# The norm that clipping measured last, with the parameters it was measured over.
_clipped: list[tuple[frozenset[int], Any]] = []
_patched = False


def _listen_to_clipping() -> None:
    """Note each norm that `clip_grad_norm_` computes, before it scales. Works for `from ... import` users too."""
    global _patched
    if _patched:
        return
    from torch.nn.utils import clip_grad

    if not hasattr(clip_grad, "_clip_grads_with_norm_"):
        return
    _patched = True
    plain = clip_grad._clip_grads_with_norm_

    def noting(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
        parameters = [parameters] if hasattr(parameters, "grad") else list(parameters)
        _clipped.append((frozenset(map(id, parameters)), total_norm.detach()))
        del _clipped[:-8]
        plain(parameters, max_norm, total_norm, foreach)

    clip_grad._clip_grads_with_norm_ = noting


class OptimizerWatch:
    """Adds the values of one optimizer to the step that is being done.

    The gradient norm is the one before clipping: where `clip_grad_norm_` ran it is that function's own, otherwise it is
    computed from the gradients as the optimizer finds them. A step with a closure, as frameworks make it, has its
    gradients only once the closure has run: there the look is after the step.
    """

    def __init__(self, optimizer: Any, add: Callable[[Mapping[str, Any]], None], prefix: str = "train") -> None:
        _listen_to_clipping()
        self._optimizer = weakref.ref(optimizer)
        self._add = add
        self._prefix = prefix
        self._handles = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )

    def _before_step(self, optimizer: Any, arguments: Any, keywords: Any) -> None:
        if not _has_closure(arguments, keywords):
            self._look(optimizer)

    def _after_step(self, optimizer: Any, arguments: Any, keywords: Any) -> None:
        if _has_closure(arguments, keywords):
            self._look(optimizer)

    def _look(self, optimizer: Any) -> None:
        values: dict[str, Any] = {}
        groups = optimizer.param_groups
        for index, group in enumerate(groups):
            suffix = "" if index == 0 else f"_{index}"
            values[f"{self._prefix}/learning_rate{suffix}"] = group["lr"]
            if "weight_decay" in group:
                values[f"{self._prefix}/weight_decay{suffix}"] = group["weight_decay"]
        norm = self._norm([p for group in groups for p in group["params"] if p.grad is not None])
        # A gradient scaler leaves it to a fused optimizer to scale back.
        scale = getattr(optimizer, "grad_scale", None)
        if norm is not None and scale is not None:
            norm = norm / scale
        if norm is not None:
            values[f"{self._prefix}/grad_norm"] = norm
        self._add(values)

    def _norm(self, parameters: list[Any]) -> Any | None:
        ids = frozenset(map(id, parameters))
        mine = [entry for entry in _clipped if entry[0] & ids]
        if mine:
            # Older ones are of steps that a gradient scaler has skipped.
            _clipped[:] = [entry for entry in _clipped if not entry[0] & ids]
            if mine[-1][0] >= ids:
                return mine[-1][1]
        if not parameters:
            return None
        import torch

        with torch.no_grad():
            norms = torch._foreach_norm([p.grad for p in parameters])
            return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()


def _has_closure(arguments: Any, keywords: Any) -> bool:
    """Tell whether `step` was given a closure. Its first argument is the optimizer itself."""
    return keywords.get("closure") is not None or (len(arguments) > 1 and arguments[1] is not None)

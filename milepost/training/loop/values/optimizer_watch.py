"""Learning rate, weight decay and gradient norm of an optimizer, logged with each step without a line in the loop."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from milepost.training.user_code import given

# The norm that clipping measured last, with the parameters it was measured over.
_clipped: list[tuple[frozenset[int], Any]] = []
_patched = False
# Optimizers within optimizers that are looked through.
_DEEPEST = 8


class NotWatchable(TypeError):
    """It is no optimizer that can be watched; the text says why."""


def _listen_to_clipping() -> None:
    """Note each norm that `clip_grad_norm_` computes, before it scales. Works for `from ... import` users too."""
    global _patched
    if _patched or "torch" not in sys.modules:
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
    gradients only once the closure has run: there the look is after the step. What stands around an optimizer, such as
    that of `accelerator.prepare`, of Apex or of DeepSpeed, is looked through.

    A look that fails, whatever the optimizer is made of, is the last one: `warn` is told, and the step goes on.

    Raises:
        NotWatchable: there is no optimizer of PyTorch in it.
    """

    def __init__(
        self,
        optimizer: Any,
        add: Callable[[Mapping[str, Any]], None],
        prefix: str = "train",
        warn: Callable[[str, str], None] = lambda problem, text: None,
    ) -> None:
        _listen_to_clipping()
        self._add = add
        self.prefix = prefix
        self._warn = warn
        self._handles: tuple[Any, ...] = ()
        self._failed = False
        within: Any = optimizer
        for _ in range(_DEEPEST):
            # One that only passes on to another was never initialized: it has hooks by its class, and takes none.
            self._handles = given.ask(partial(self._hook_into, within), ())
            if self._handles:
                self._optimizer = weakref.ref(within)
                return
            within = given.ask(partial(getattr, within, "optimizer"), None)
        raise NotWatchable(f"{type(optimizer).__name__} is no optimizer of PyTorch, and has none as `.optimizer`")

    @property
    def optimizer(self) -> Any | None:
        """The optimizer that is looked at; None: it is gone."""
        return self._optimizer()

    def _hook_into(self, optimizer: Any) -> tuple[Any, ...]:
        return (
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
        if self._failed:
            return
        try:
            values = self._values(optimizer)
        except Exception as error:
            # An optimizer of a kind that nobody foresaw must not end the step. Its hooks are in use right now, and stay.
            self._failed = True
            self._warn("watch", f"the optimizer is watched no longer: {type(error).__name__}: {error}")
        else:
            self._add(values)

    def _values(self, optimizer: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        groups = optimizer.param_groups
        for index, group in enumerate(groups):
            suffix = "" if index == 0 else f"_{index}"
            if "lr" in group:
                values[f"{self.prefix}/learning_rate{suffix}"] = group["lr"]
            if "weight_decay" in group:
                values[f"{self.prefix}/weight_decay{suffix}"] = group["weight_decay"]
        norm = self._norm([p for group in groups for p in group["params"] if p.grad is not None])
        # A gradient scaler leaves it to a fused optimizer to scale back.
        scale = getattr(optimizer, "grad_scale", None)
        if norm is not None and scale is not None:
            norm = norm / scale
        if norm is not None:
            values[f"{self.prefix}/grad_norm"] = norm
        return values

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
            norms = torch._foreach_norm([_entries(p.grad) for p in parameters])
            return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()


class OptimizerWatches:
    """Those of one loop, each under a prefix of its own.

    Args:
        add: takes the values of a step.
        warn: says a problem, once.
    """

    def __init__(self, add: Callable[[Mapping[str, Any]], None], warn: Callable[[str, str], None]) -> None:
        self._add = add
        self._warn = warn
        self._watches: list[OptimizerWatch] = []

    def add(self, optimizer: Any, prefix: str) -> None:
        """Watch an optimizer, unless it is watched; see `Trial.watch`."""
        try:
            watch = OptimizerWatch(optimizer, self._add, prefix, self._warn)
        except NotWatchable as error:
            self._warn("watch", f"watch: {error}; log its learning rate yourself")
            return
        others = {other.prefix: other.optimizer for other in self._watches if other.optimizer is not None}
        if others.get(prefix) is watch.optimizer:
            watch.close()
            return
        number = 2
        while watch.prefix in others:
            watch.prefix, number = f"{prefix}_{number}", number + 1
        if watch.prefix != prefix:
            self._warn(
                f"watch {watch.prefix}",
                f"another optimizer is watched as {prefix}; this one is {watch.prefix}: watch(optimizer, prefix) names it",
            )
        self._watches.append(watch)


def _entries(gradient: Any) -> Any:
    """Return the entries of a gradient; of a sparse one those that it has."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _has_closure(arguments: Any, keywords: Any) -> bool:
    """Return whether `step` was given a closure. Its first argument is the optimizer itself."""
    return keywords.get("closure") is not None or (len(arguments) > 1 and arguments[1] is not None)

"""The loop: a step is a batch of rows, read in parts that fit on a device, of all ranks together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from milepost.recipes.fine_tuning.adapters import adapter_weights, load_adapter
from milepost.recipes.fine_tuning.evaluation import learnt_in, summed_loss
from milepost.recipes.language_model import learning_rate_factor, parallel
from milepost.training.loop.trial import Trial


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model is changed.

    Attributes:
        learning_rate: the highest one, after the warm-up.
        total_steps: of the whole training.
        part: rows that are read at once.
    """

    learning_rate: float
    weight_decay: float
    warmup_steps: int
    clip_norm: float
    total_steps: int
    part: int


class Training:
    """A model with an adapter, and what trains the adapter."""

    def __init__(self, model: Any, pace: Pace, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.pace = pace
        self._weights = [one for one in model.parameters() if one.requires_grad]
        self._optimizer = torch.optim.AdamW(self._weights, lr=pace.learning_rate, weight_decay=pace.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_factor(step, pace.warmup_steps, pace.total_steps)
        )

    def state(self) -> dict[str, Any]:
        """Return what a resume needs: the adapter alone, not the model that it belongs to."""
        return {
            "adapter": adapter_weights(self.model),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot.

        Raises:
            BadParameter: it is of another adapter.
        """
        load_adapter(self.model, state["adapter"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])

    def run(self, trial: Trial, loader: Any, epochs: int, evaluate: Callable[[], None] | None, every: int) -> None:
        """Train from where the trial is. The snapshot at the last step is left to the caller."""
        trial.plan(
            self.pace.total_steps,
            steps_per_epoch=len(loader),
            epochs=epochs,
            eval_every=every if evaluate is not None else None,
            batches_per_epoch=len(loader),
        )
        if evaluate is not None:
            trial.evaluate_every(every, evaluate)
        whole = parallel(self.model, self.device) if trial.world_size > 1 else self.model
        trial.flops(per_token=flops_per_token(self.model))
        self.model.train()
        for _ in trial.epochs(epochs):
            for batch in trial.batches(loader):
                values, tokens = self._step(whole, batch)
                trial.tokens(tokens)
                trial.log(values)
                if trial.step < self.pace.total_steps:
                    trial.maybe_snapshot(self.state)

    def _step(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[dict[str, Any], int]:
        """Change the adapter once. Return the values of the step, and the tokens that all ranks have read."""
        parts = [{name: one.to(self.device) for name, one in part.items()} for part in _parts(batch, self.pace.part)]
        counts = torch.stack([sum(learnt_in(part) for part in parts), sum(part["real"].sum() for part in parts)])  # type: ignore[call-overload]
        ranks = _summed(counts)
        learnt, tokens = counts.tolist()
        total = torch.zeros((), device=self.device)
        self._optimizer.zero_grad(set_to_none=True)
        for number, part in enumerate(parts, start=1):
            together = number == len(parts) or ranks == 1
            with nullcontext() if together else model.no_sync():  # type: ignore[operator]
                loss = summed_loss(model, part)
                # Gradients are averaged over ranks, and this is a mean over the tokens of all of them.
                (loss * (ranks / learnt)).backward()
            total += loss.detach()
        _summed(total)
        norm = nn.utils.clip_grad_norm_(self._weights, self.pace.clip_norm)
        rate = self._optimizer.param_groups[0]["lr"]
        self._optimizer.step()
        self._schedule.step()
        return {"train/loss": total / learnt, "train/learning_rate": rate, "train/grad_norm": norm}, tokens


def flops_per_token(model: nn.Module) -> int:
    """Return what a token takes: two operations for each parameter forwards, two backwards, two more if it is trained."""
    sizes = [(one.numel(), one.requires_grad) for one in model.parameters()]
    return sum(4 * size + 2 * size * is_trained for size, is_trained in sizes)


def _parts(batch: dict[str, Tensor], rows: int) -> list[dict[str, Tensor]]:
    split = {name: one.split(rows) for name, one in batch.items()}
    return [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]


def _summed(values: Tensor) -> int:
    """Add up values over the ranks, in place. Return how many ranks there are."""
    if not distributed.is_initialized():
        return 1
    distributed.all_reduce(values)
    return distributed.get_world_size()

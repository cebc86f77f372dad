"""Whatever a loop looks like: recorded it computes what it computes alone, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Sampler, TensorDataset

from milepost.training.loop.trial import Trial
from milepost.training.script.opening import open_run
from tests.e2e.stack import StackProcess

EXAMPLES = 10
NEVER = -1


class Order(Sampler[int]):
    """As a distributed sampler: an order that depends on the epoch that it is told."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 24

    def __iter__(self) -> Iterator[int]:
        order = list(range(24))
        random.Random(self.epoch).shuffle(order)
        return iter(order)


@dataclass(frozen=True)
class Style:
    """What a loop does."""

    way: str
    # The first epoch that the sampler is told; None: the loader shuffles. NEVER: it could be told, and is not.
    first_epoch: int | None
    accumulated: int
    evaluates: bool
    keeps: bool
    watches: bool
    leaves_after: int | None
    looks_first: bool
    second_loader: bool
    log_every: int


STYLES = st.builds(
    Style,
    way=st.sampled_from(["track", "batches", "iterator", "own"]),
    first_epoch=st.sampled_from([None, 1, 5, NEVER]),
    accumulated=st.sampled_from([1, 3]),
    evaluates=st.booleans(),
    keeps=st.booleans(),
    watches=st.booleans(),
    leaves_after=st.sampled_from([None, 4]),
    looks_first=st.booleans(),
    second_loader=st.booleans(),
    log_every=st.sampled_from([1, 2]),
)


class Loop:
    """One training; without a trial it is the plain program."""

    def __init__(self, style: Style, trial: Trial | None) -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        self.style, self.trial = style, trial
        self.sampler = Order() if style.first_epoch is not None else None
        data = TensorDataset(torch.randn(24, 4), torch.randn(24, 1))
        self.loader = DataLoader(data, batch_size=2, sampler=self.sampler, shuffle=self.sampler is None)
        self.other = DataLoader(torch.arange(24), batch_size=2, shuffle=True)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.step = 0

    def batches(self) -> Iterable[Any]:
        if self.trial is None or self.style.way == "own":
            return self.loader
        return self.trial.batches(self.loader) if self.style.way == "batches" else self.trial.track(self.loader)

    def run(self) -> bytes:
        if self.trial is not None and self.style.watches:
            self.trial.watch(self.optimizer)
        if self.style.looks_first:
            next(iter(self.batches()))
        for epoch in range(3):
            if self.sampler is not None and self.style.first_epoch not in (None, NEVER):
                self.sampler.set_epoch(self.style.first_epoch + epoch)
            self.epoch()
        return b"".join(p.detach().numpy().tobytes() for p in self.model.parameters())

    def epoch(self) -> None:
        given = iter(self.batches()) if self.style.way == "iterator" else self.batches()
        # Between the iterator and its first batch, as a GAN draws its noise.
        noise = torch.rand(1).item() + random.random() + np.random.rand()
        pairs: Iterable[Any] = (
            zip(given, self.other, strict=True) if self.style.second_loader else ((b, 0) for b in given)
        )
        for number, ((x, y), more) in enumerate(pairs, start=1):
            scale = noise + (float(more.sum()) if self.style.second_loader else 0.0)
            loss = torch.nn.functional.mse_loss(self.model(x + 0.01 * scale * torch.randn_like(x)), y)
            loss.backward()
            if number % self.style.accumulated == 0:
                self.update(loss)
            if number == self.style.leaves_after:
                break
        if self.style.evaluates:
            self.evaluate()

    def update(self, loss: torch.Tensor) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.trial is not None and self.step % self.style.log_every == 0:
            self.trial.log({"train/loss": loss, "lr": 0.01}, step=self.step)
        if self.trial is not None and self.style.keeps:
            self.trial.maybe_snapshot(self.state)

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def evaluate(self) -> None:
        with self.trial.evaluation() if self.trial is not None else nullcontext() as evaluation:
            # A loader draws a seed of the generators, and so may a model.
            drawn = [
                self.model(x).mean().item() for x, _ in DataLoader(self.loader.dataset, batch_size=8, shuffle=True)
            ]
            if evaluation is not None:
                evaluation.log({"eval/mean": sum(drawn), "noise": random.random()})
            else:
                random.random()


def test_a_recorded_loop_computes_what_the_plain_one_computes(stack: StackProcess) -> None:
    # What fails is named with all that it does; to look for less takes minutes.
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(STYLES)
    def compare(style: Style) -> None:
        alone = Loop(style, None).run()
        run = open_run({"name": "same", "snapshots": {"every_steps": 3}}, data_dir=stack.data_dir)
        try:
            assert Loop(style, run.trial).run() == alone, style
        finally:
            run.finish()

    compare()

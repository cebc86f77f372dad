"""What a trial does, as functions of the module `milepost`: they act on the trial of this process.

A script that called `milepost.init` needs not hand its trial around. Each raises FailedPrecondition without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from milepost.training.loop.data.tracked import TrackedLoader
from milepost.training.loop.evaluation import Evaluation
from milepost.training.loop.steering.steerable import Steerable, Value
from milepost.training.script.external import current


def plan(total_steps: float | None = None, **more: float | None) -> None:
    """Say how long training will take; see `Trial.plan`."""
    current().plan(total_steps, **more)


def declare(parameters: Any = None, labels: Any = None) -> None:
    """Say what else this run was given; see `Trial.declare`."""
    current().declare(parameters, labels)


def alert(title: str, text: str = "", level: str = "warning") -> None:
    """Say something that somebody should know of; see `Trial.alert`."""
    current().alert(title, text, level)


def samples(name: str, rows: Any, step: int | None = None) -> None:
    """Log what a model was asked and what it said; see `Trial.samples`."""
    current().samples(name, rows, step)


def text(name: str, text: str | list[str], step: int | None = None) -> None:
    """Log a text, or several; see `Trial.text`."""
    current().text(name, text, step)


def table(name: str, table: Any, step: int | None = None) -> None:
    """Log a table; see `Trial.table`."""
    current().table(name, table, step)


def histogram(name: str, values: Any = None, **more: Any) -> None:
    """Log how values are distributed; see `Trial.histogram`."""
    current().histogram(name, values, **more)


def tokens(count: int) -> None:
    """Count tokens that the step under way reads; see `Trial.tokens`."""
    current().tokens(count)


def flops(parameters: Any = None, **more: float | None) -> None:
    """Say what a token takes; see `Trial.flops`."""
    current().flops(parameters, **more)


def steerable(name: str, value: Value, **bounds: Any) -> Steerable[Value]:
    """Declare a value that people may change while training runs; see `Trial.steerable`."""
    return current().steerable(name, value, **bounds)


def watch(optimizer: Any, prefix: str = "train") -> None:
    """Log an optimizer's learning rate, weight decay and gradient norm; see `Trial.watch`."""
    current().watch(optimizer, prefix)


def track(loader: Iterable[Any]) -> TrackedLoader:
    """Wrap the loader of the training loop; see `Trial.track`."""
    return current().track(loader)


def accumulate(values: Mapping[str, Any], examples: float = 1) -> None:
    """Add the values of a micro-batch; see `Trial.accumulate`."""
    current().accumulate(values, examples)


def mean() -> dict[str, Any]:
    """Return the means over micro-batches and processes; see `Trial.mean`."""
    return current().mean()


def evaluation(batch_count: float | None = None, keep_random: bool | None = None) -> Evaluation:
    """Open an evaluation at the current step; see `Trial.evaluation`."""
    return current().evaluation(batch_count, keep_random)


def should_stop() -> bool:
    """Return whether a stop was asked for; see `Trial.should_stop`."""
    return current().should_stop()


def maybe_snapshot(state: Callable[[], Mapping[str, Any]]) -> None:
    """Take a snapshot if the interval says so; see `Trial.maybe_snapshot`."""
    current().maybe_snapshot(state)

"""The mean of a series over the examples of the global batch: over ranks, and over micro-batches of one rank.

Nothing of it is done in the training loop. Each rank's background reads its own values, tensors on a device included,
and sends them to rank 0 with the number of examples behind each; rank 0's background holds a step back until the values
of all ranks are there. So there is no device sync, no collective, and no wait in `log`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from milepost.api.training.v1.training_pb2 import RankValues
from milepost.training.telemetry.batches import little_endian
from milepost.training.telemetry.buffer import Columns
from milepost.training.user_code import given

# The series that is averaged.
AVERAGED = "train/loss"
# A column that never leaves the process: how many examples are behind a step.
EXAMPLES = "milepost/examples"


def examples_in(batch: Any) -> int:
    """Count the examples of a batch: the length of its first tensor. 1 where that cannot be told, whatever it is."""
    return given.ask(partial(_examples_in, batch), 1)


def _examples_in(batch: Any) -> int:
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 1
    if isinstance(batch, Mapping):
        return _examples_in(next(iter(batch.values()))) if batch else 1
    if isinstance(batch, list | tuple) and batch:
        return _examples_in(batch[0]) if not isinstance(batch[0], int | float | str | bytes) else len(batch)
    return 1


def add_to_mean(mean: Any, examples: int, value: Any, more: int) -> Any:
    """Take a value over `more` examples into a mean over `examples`. Tensors stay where they are."""
    total = examples + more
    return mean * (examples / total) + value * (more / total)


def own_values(rank: int, columns: Sequence[Columns], complete_step: int) -> RankValues:
    """Gather what this rank gives to the mean, up to a step."""
    steps, values, examples = array("q"), array("d"), array("d")
    for group in columns:
        if AVERAGED in group.keys and EXAMPLES in group.keys:
            steps.extend(group.steps)
            values.extend(group.values[group.keys.index(AVERAGED)])
            examples.extend(group.values[group.keys.index(EXAMPLES)])
    return RankValues(
        rank=rank,
        key=AVERAGED,
        steps=little_endian(steps),
        values=little_endian(values),
        examples=little_endian(examples),
        complete_step=complete_step,
    )


class RankMeans:
    """On rank 0: holds its own steps back until the other ranks' values for them have come."""

    def __init__(self, world_size: int) -> None:
        self._others: dict[int, dict[int, tuple[float, float]]] = {rank: {} for rank in range(1, world_size)}
        self._complete = dict.fromkeys(self._others, 0)
        self._waiting: list[Columns] = []

    def receive(self, values: RankValues) -> None:
        """Take in what another rank gives."""
        known = self._others.get(values.rank)
        if known is None:
            return
        numbers = (_array("q", values.steps), _array("d", values.values), _array("d", values.examples))
        for step, value, examples in zip(*numbers, strict=True):
            known[step] = (value, examples)
        self._complete[values.rank] = max(self._complete[values.rank], values.complete_step)

    @property
    def complete_step(self) -> int:
        """The step up to which every other rank has given its values."""
        return min(self._complete.values(), default=sys.maxsize)

    def begin(self, step: int) -> None:
        """Go on after a step: what is before it belongs to earlier attempts."""
        self._complete = {rank: max(step, done) for rank, done in self._complete.items()}

    def merge(self, columns: Sequence[Columns], own_step: int, *, final: bool = False) -> list[Columns]:
        """Return the rows that are complete, with their means in place of this rank's values.

        Args:
            columns: what was logged since the last call.
            own_step: this rank has logged all it will up to this step, in this call or before.
            final: give out all there is; a rank that did not speak up to the end is left out of the mean.
        """
        ready: list[Columns] = []
        for group in [*self._waiting, *columns]:
            if EXAMPLES not in group.keys:
                ready.append(group)
        groups = [group for group in [*self._waiting, *columns] if EXAMPLES in group.keys]
        self._waiting = []
        until = sys.maxsize if final else self.complete_step
        for group in groups:
            count = sum(1 for step in group.steps if step <= until)
            now, later = _split(group, count)
            if now.rows:
                ready.append(self._mean(now))
            if later.rows:
                self._waiting.append(later)
        self._forget(min(until, own_step))
        return ready

    def _mean(self, group: Columns) -> Columns:
        weights = group.values[group.keys.index(EXAMPLES)]
        kept = [index for index, key in enumerate(group.keys) if key != EXAMPLES]
        columns = []
        for index in kept:
            column = group.values[index]
            if group.keys[index] == AVERAGED:
                column = array("d", map(self._over_ranks, group.steps, column, weights))
            columns.append(column)
        return Columns(tuple(group.keys[index] for index in kept), group.steps, group.times, tuple(columns))

    def _over_ranks(self, step: int, value: float, examples: float) -> float:
        """Sum in the order of the ranks, so that the same values always give the same mean."""
        total, count = value * examples, examples
        for rank in sorted(self._others):
            other = self._others[rank].get(step)
            if other is not None:
                total += other[0] * other[1]
                count += other[1]
        return total / count if count else value

    def _forget(self, until: int) -> None:
        """Let go of values that no row will ask for: their steps have gone out, or this rank had no value there."""
        waiting = min((group.steps[0] for group in self._waiting), default=until + 1)
        for known in self._others.values():
            for step in [step for step in known if step <= until and step < waiting]:
                del known[step]


def _split(group: Columns, count: int) -> tuple[Columns, Columns]:
    if count == group.rows:
        return group, Columns(group.keys, array("q"), array("d"), tuple(array("d") for _ in group.keys))
    return (
        Columns(group.keys, group.steps[:count], group.times[:count], tuple(v[:count] for v in group.values)),
        Columns(group.keys, group.steps[count:], group.times[count:], tuple(v[count:] for v in group.values)),
    )


def _array(kind: str, data: bytes) -> array[Any]:
    numbers = array(kind)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers

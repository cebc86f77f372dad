"""The mean of a series over the examples of the global batch: over ranks, and over micro-batches of one rank.

Nothing of it is done in the training loop. Each rank's background reads its own values, tensors on a device included,
and sends them to the driver with the number of examples behind each. The driver passes one mean over them all on to
rank 0, whose background holds a step back until it is there: what rank 0 does is the same for any number of ranks. So
there is no device sync, no collective, and no wait in `log`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
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
    """On rank 0: holds its own steps back until the other ranks' values for them have come.

    The driver gathers these (`trainer.means`), so what comes is one mean over all other ranks, however many there are. A
    step may come again, with the values of more ranks.
    """

    def __init__(self) -> None:
        # The mean over the other ranks and the examples behind it, by step.
        self._others: dict[int, tuple[float, float]] = {}
        # The step up to which every other rank has given its values.
        self.complete_step = 0
        self._waiting: list[Columns] = []

    def receive(self, values: RankValues) -> None:
        """Take in what the other ranks give.

        Raises:
            ValueError: its columns are not equally long.
        """
        for step, value, examples in numbers_in(values):
            self._others[step] = (value, examples)
        self.complete_step = max(self.complete_step, values.complete_step)

    def begin(self, step: int) -> None:
        """Go on after a step: what is before it belongs to earlier attempts."""
        self.complete_step = max(self.complete_step, step)

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
        other = self._others.get(step)
        if other is None:
            return value
        count = examples + other[1]
        return (value * examples + other[0] * other[1]) / count if count else value

    def _forget(self, until: int) -> None:
        """Let go of values that no row will ask for: their steps have gone out, or this rank had no value there."""
        waiting = min((group.steps[0] for group in self._waiting), default=until + 1)
        for step in [step for step in self._others if step <= until and step < waiting]:
            del self._others[step]


def numbers_in(values: RankValues) -> Iterator[tuple[int, float, float]]:
    """Read the values that ranks give: step, value, examples behind it.

    Raises:
        ValueError: the columns are not equally long.
    """
    return zip(_array("q", values.steps), _array("d", values.values), _array("d", values.examples), strict=True)


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

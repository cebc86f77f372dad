"""The driver's part in the mean over ranks: gathers what the ranks give, and passes one mean over them on to rank 0."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from milepost.api.training.v1.training_pb2 import RankValues
from milepost.numbers import MAX_NUMBER
from milepost.training.telemetry.batches import little_endian
from milepost.training.telemetry.means import AVERAGED, numbers_in

# How often rank 0 hears of it at most.
PASS_ON_SECONDS = 0.25
# A step that some rank does not give by then is passed on without it, and again when more have come: should rank 0 end
# now, it has what there is. Less than rank 0 waits at its end (`RANKS_SECONDS`).
INCOMPLETE_SECONDS = 2.0
# In one message, which has 24 bytes for each.
MAX_STEPS = 50_000


@dataclass(slots=True)
class Step:
    """What ranks have given for one step."""

    # When the first of them did.
    began: float
    sums: list[float] = field(default_factory=list)
    examples: list[float] = field(default_factory=list)
    # How many of them rank 0 knows.
    told: int = 0

    def tell(self) -> tuple[float, float]:
        """Return the mean, and the examples behind it. The order in which ranks have spoken does not matter."""
        self.told = len(self.sums)
        examples = _sum(self.examples)
        return (_sum(self.sums) / examples if examples else 0.0), examples


class GroupMeans:
    """Gathers the values of the ranks from 1 on. Pure: it is told the time, in seconds."""

    def __init__(self, world_size: int) -> None:
        # The step up to which each rank that goes on has given its values.
        self._complete = dict.fromkeys(range(1, world_size), 0)
        self._steps: dict[int, Step] = {}
        self._passed_on = 0

    @property
    def is_waiting(self) -> bool:
        """Whether there are steps that some rank has not given yet."""
        return bool(self._steps)

    def receive(self, rank: int, values: RankValues, now: float) -> None:
        """Take in what a rank gives.

        Raises:
            ValueError: its columns are not equally long.
        """
        if rank not in self._complete:
            return
        for number, value, examples in numbers_in(values):
            step = self._steps.get(number)
            if step is None:
                step = self._steps[number] = Step(now)
            step.sums.append(value * examples)
            step.examples.append(examples)
        self._complete[rank] = max(self._complete[rank], values.complete_step)

    def leave(self, rank: int) -> None:
        """Let nobody wait for a rank that has ended: nothing more comes from it."""
        self._complete.pop(rank, None)

    def due(self, now: float) -> RankValues | None:
        """Return what rank 0 has to hear now: steps that are complete, and what has come of those that are late."""
        complete = min(self._complete.values(), default=MAX_NUMBER)
        ready = sorted(n for n, step in self._steps.items() if n <= complete or _is_late(step, now))
        if len(ready) > MAX_STEPS:
            ready = ready[:MAX_STEPS]
            complete = min(complete, ready[-1])
        if not ready and complete == self._passed_on:
            return None
        self._passed_on = complete
        means = [self._steps[number].tell() for number in ready]
        for number in ready:
            if number <= complete:
                del self._steps[number]
        return RankValues(
            key=AVERAGED,
            steps=little_endian(array("q", ready)),
            values=little_endian(array("d", [mean for mean, _ in means])),
            examples=little_endian(array("d", [examples for _, examples in means])),
            complete_step=complete,
        )


class MeansRelay:
    """Passes the means over the ranks on to rank 0: at once, or a moment after it did so last."""

    def __init__(self, world_size: int, send: Callable[[RankValues], None]) -> None:
        self._group = GroupMeans(world_size)
        self._send = send
        self._timer: asyncio.TimerHandle | None = None
        self._passed_on = -PASS_ON_SECONDS

    def receive(self, rank: int, values: RankValues) -> None:
        """Take in what a rank gives.

        Raises:
            ValueError: its columns are not equally long.
        """
        self._group.receive(rank, values, asyncio.get_running_loop().time())
        self._arm()

    def leave(self, rank: int) -> None:
        """A rank has ended."""
        self._group.leave(rank)
        self._arm()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait = self._passed_on + PASS_ON_SECONDS - loop.time()
            self._timer = loop.call_later(max(0.0, wait), self._pass_on)

    def _pass_on(self) -> None:
        self._timer = None
        self._passed_on = asyncio.get_running_loop().time()
        values = self._group.due(self._passed_on)
        if values is not None:
            self._send(values)
        if self._group.is_waiting:
            self._arm()


def _is_late(step: Step, now: float) -> bool:
    return now - step.began > INCOMPLETE_SECONDS and step.told < len(step.sums)


def _sum(numbers: Iterable[float]) -> float:
    """Add up without rounding in between, so that the order does not matter; as IEEE has it where that is impossible."""
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):
        return sum(numbers)

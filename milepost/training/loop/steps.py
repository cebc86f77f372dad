"""The end of a step: its values become a row, and what was waiting for the step goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from milepost.numbers import MAX_NUMBER
from milepost.training.loop.beginning import Beginning
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.steering.steering import Steering
from milepost.training.loop.stopping import Stopping
from milepost.training.loop.values.step_values import StepValues
from milepost.training.user_code import given


class Steps:
    """Counts the steps of one loop. What it does at each of them is paid by training."""

    def __init__(
        self,
        host: Host,
        progress: Progress,
        beginning: Beginning,
        values: StepValues,
        stopping: Stopping,
        steering: Steering,
    ) -> None:
        self._host = host
        self._position = progress.position
        self._progress = progress
        self._beginning = beginning
        self._values = values
        self._pending = values.pending
        self._stopping = stopping
        self._steering = steering

    def log(self, values: Mapping[str, Any], step: int | None, commit: bool) -> None:
        """Log values and end the step; see `Trial.log`."""
        if type(values) is not dict:
            values = self._values.named(values)
        position, host = self._position, self._host
        ends = commit and not self._pending
        if ends and step is None:
            number = position.step + 1
        elif ends and type(step) is int and position.step < step <= MAX_NUMBER:
            number = step
        else:
            combined = self._values.combine(values, step, commit)
            if combined is None:
                return
            values, number = combined
        if self._beginning.is_awaited:
            self._beginning.attend(number)
        position.step = number
        host.rows.append(number, time.time(), values)
        host.marker[0] = number
        position.examples = 0
        if number >= self._progress.full_step:
            self._progress.pass_on(number)
        if self._stopping.order is not None or host.agreement is not None or number >= self._steering.next_step:
            self._stopping.stop_in_log()

    def advance(self, step: int, epoch: int | None, batch: int | None) -> None:
        """Note that a framework has done this step; see `Trial.advance`."""
        step = self._values.read_step(step) or 0
        if self._beginning.is_awaited:
            self._beginning.attend(step + 1)
        position = self._position
        if epoch is not None:
            position.epoch = given.count(epoch)
        if batch is not None:
            position.batch = given.count(batch)
        if step <= position.step:
            return
        position.step = step
        self._host.marker[0] = step
        if self._pending:
            self._values.append_pending(step)
        if step >= self._progress.full_step:
            self._progress.pass_on(step)

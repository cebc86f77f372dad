"""Values that do not simply end the next step: of one that has ended, that is named, or that is still under way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from milepost import series_names
from milepost.numbers import MAX_NUMBER
from milepost.training.loop.beginning import Beginning
from milepost.training.loop.host import Host
from milepost.training.telemetry.means import AVERAGED, add_to_mean
from milepost.training.user_code import given


class StepValues:
    """The values of the step that is under way, and where others belong."""

    def __init__(self, host: Host, beginning: Beginning) -> None:
        self._host = host
        self._position = host.position
        self._beginning = beginning
        # What is held back until the step ends. It stays the same object.
        self.pending: dict[str, Any] = {}
        # The step that they were held back for, if one was named.
        self._pending_step = 0
        # Of the examples of this step, those behind a pending mean.
        self._pending_examples = 0
        # The script counts its steps from 0.
        self.count_from_zero = False

    def named(self, values: Any) -> Mapping[str, Any]:
        """Return values by name, of whatever holds some."""
        found = values if type(values) is dict else given.group(values)
        if found is None:
            text = f'log takes numbers by name, such as {{"train/loss": 0.5}}, not {type(values).__name__}'
            self._host.warn("values", text)
        return found or {}

    def read_step(self, step: Any) -> int | None:
        """Read the number of a step. None: there is none, and the values belong to the step under way."""
        if step is None:
            return None
        found = given.whole(step)
        if found is not None and 0 <= found <= MAX_NUMBER:
            return found
        self._host.warn(
            "step",
            f"step={given.line(step)[:60]} is no whole number from 0 to {MAX_NUMBER}: such values are recorded as if no "
            "step was named, at the one after the last; a fraction of an epoch can be logged as a value of its own",
        )
        return None

    def combine(
        self, values: Mapping[str, Any], step: int | None, commit: bool
    ) -> tuple[Mapping[str, Any], int] | None:
        """Handle the rarer forms of `log`. None: the step does not end."""
        current = self._position.step
        named = self.read_step(step)
        values = series_names.flat(values)
        step = named if named is not None else current + 1
        if step <= current:
            # Late values for a step that has ended already.
            self.count_from_zero = self.count_from_zero or not current
            if self._beginning.is_awaited:
                self._beginning.attend(step)
            self._append(step, values)
            return None
        if not commit and step > current + 1:
            # Of a step that is not under way yet, or of another way to count.
            self._append(step, values)
            return None
        if not commit:
            self.pending.update(self._with_mean(values))
            self._pending_step = named or self._pending_step
            return None
        if self._pending_step and self._pending_step < step:
            self.append_pending(step)
        if self.pending:
            values = {**self.pending, **self._with_mean(values)}
            self._clear()
        return values, step

    def append_pending(self, step: int) -> None:
        """Write what was held back, at this step unless another was named for it."""
        self._append(self._pending_step or step, self.pending)
        self._clear()

    def at_current_step(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Log values for the step that was done last. Returns those that are numbers."""
        values = series_names.flat(self.named(values))
        self._append(self._position.step, values)
        numbers = {series_names.key_of(key): given.number(value) for key, value in values.items()}
        return {key: value for key, value in numbers.items() if value is not None}

    def end(self) -> None:
        """Write what was held back for a step that does not end any more."""
        if self.pending:
            step = self._pending_step or self._position.step + 1
            if self._beginning.is_awaited:
                self._beginning.attend(step)
            self.append_pending(step)

    def _append(self, step: int, values: Mapping[str, Any]) -> None:
        self._host.rows.append(step, time.time(), values)

    def _clear(self) -> None:
        self.pending.clear()
        self._pending_step = self._pending_examples = 0

    def _with_mean(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take the loss of a micro-batch into the mean over those of the step before it."""
        if AVERAGED not in values:
            return values
        before, self._pending_examples = self._pending_examples, max(1, self._position.examples)
        if AVERAGED not in self.pending or self._pending_examples <= before:
            return values
        mean = add_to_mean(self.pending[AVERAGED], before, values[AVERAGED], self._pending_examples - before)
        return {**values, AVERAGED: mean}

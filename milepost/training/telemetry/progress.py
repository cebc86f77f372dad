"""Lines about progress in a trial's own log: at least one every 30 s, and one at each milestone."""

from __future__ import annotations

import time
from collections.abc import Callable

from milepost.training.telemetry.batches import Position, format_number

PROGRESS_SECONDS = 30.0


class ProgressLines:
    """Says where training is, in words. `write` takes the lines."""

    def __init__(self, position: Position, write: Callable[[str], None]) -> None:
        self._position = position
        self._write = write
        self._said = time.monotonic()
        self._said_step = 0
        self.total_steps: int | None = None

    def tick(self, values: dict[str, float]) -> None:
        """Say something if the last line is 30 s old."""
        if time.monotonic() - self._said >= PROGRESS_SECONDS:
            self.say("", values)

    def say(self, what: str, values: dict[str, float]) -> None:
        """Say where training is; `what` is what has just happened."""
        now, position = time.monotonic(), self._position
        speed = (position.step - self._said_step) / (now - self._said) if now > self._said else 0.0
        total = f"/{self.total_steps:,}" if self.total_steps else ""
        parts = [f"step {position.step:,}{total}", f"epoch {position.epoch}"]
        if position.epoch_batches:
            parts.append(f"batch {position.batch:,}/{position.epoch_batches:,}")
        parts += [
            f"{key} {format_number(float(f'{values[key]:.5g}'))}"
            for key in ("train/loss", "eval/loss")
            if key in values
        ]
        if not what:
            parts.append(f"{speed:.3g} steps/s")
        self._said, self._said_step = now, position.step
        self._write((f"{what}: " if what else "") + ", ".join(parts))

"""Alerts that the sender raises from the values it sends."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.training.telemetry.buffer import Columns


class NonFiniteWatch:
    """Raises one alert per series, at its first value that is NaN or infinite, and another one if it comes back."""

    def __init__(self, attempt: int, report: Callable[[Message], None]) -> None:
        self._attempt = attempt
        self._report = report
        self._ill: set[str] = set()

    def check(self, columns: Columns) -> None:
        for key, values in zip(columns.keys, columns.values, strict=True):
            # A sum is finite only if every value is, or nearly always: it may also overflow.
            if math.isfinite(sum(values)):
                self._ill.discard(key)
                continue
            index = first_non_finite(values)
            if index is None:
                self._ill.discard(key)
            elif key not in self._ill:
                self._ill.add(key)
                self._raise(key, columns.steps[index], values[index])

    def _raise(self, key: str, step: int, value: float) -> None:
        word = "NaN" if math.isnan(value) else "infinite"
        message = f"{key} is {word} since step {step:,}"
        self._report(
            facts.AlertRaised(
                attempt=self._attempt, kind=facts.ALERT_KIND_NON_FINITE, series=key, step=step, message=message
            )
        )


def first_non_finite(values: array[float]) -> int | None:
    return next((index for index, value in enumerate(values) if not math.isfinite(value)), None)

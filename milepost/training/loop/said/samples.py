"""What training code logs beside values: samples of a model, texts, tables, histograms."""

from __future__ import annotations

import time
from typing import Any

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import RowForm
from milepost.numbers import MAX_NUMBER
from milepost.training.loop.host import Host
from milepost.training.user_code import given


class SaidSamples:
    """Hands rows of one loop to its host, with the step that they belong to."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def samples(self, name: object, rows: Any, step: Any) -> None:
        """Log samples; see `Trial.samples`."""
        self._append(telemetry.ROW_FORM_SAMPLE, name, rows, step)

    def text(self, name: object, text: Any, step: Any) -> None:
        """Log texts; see `Trial.text`."""
        self._append(telemetry.ROW_FORM_TEXT, name, text, step)

    def table(self, name: object, table: Any, step: Any) -> None:
        """Log a table; see `Trial.table`."""
        self._append(telemetry.ROW_FORM_TABLE, name, table, step)

    def histogram(self, name: object, values: Any, bins: int, counts: Any, edges: Any, step: Any) -> None:
        """Log a histogram; see `Trial.histogram`."""
        given = {"values": values, "bins": bins} if counts is None else {"counts": counts, "edges": edges}
        self._append(telemetry.ROW_FORM_HISTOGRAM, name, given, step)

    def _append(self, form: RowForm, name: object, given: Any, step: Any) -> None:
        self._host.samples.append(self._step(step), time.time(), name, form, given)

    def _step(self, step: Any) -> int:
        if step is None:
            return self._host.position.step
        found = given.whole(step)
        if found is not None and 0 <= found <= MAX_NUMBER:
            return found
        self._host.warn(
            "sample step",
            f"step={given.line(step)[:60]} is no whole number from 0 to {MAX_NUMBER}: samples are recorded at the last step done",
        )
        return self._host.position.step

"""Rows as messages for TELEMETRY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from milepost.api.telemetry.v1.telemetry_pb2 import Row, Sender, StepBatch
from milepost.eventlog import telemetry_headers

MAX_BATCH_BYTES = 384 << 10


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """A batch of rows that only lacks its number."""

    sender: Sender
    rows: tuple[Row, ...]
    headers: dict[str, str]

    @property
    def first_step(self) -> int:
        return min(row.step for row in self.rows)

    @property
    def last_step(self) -> int:
        return max(row.step for row in self.rows)

    def encode(self, number: int) -> tuple[dict[str, str], bytes]:
        """Give headers and body of the batch with this number."""
        body = StepBatch(sender=self.sender, number=number, rows=self.rows).SerializeToString()
        return {**self.headers, telemetry_headers.NUMBER: str(number)}, body


def prepare_rows(sender: Sender, rows: Iterable[Row], progress: dict[str, str], time_ms: int) -> Iterator[PreparedRows]:
    """Cut rows into batches of bounded size. They say how far the trial is, as every batch does."""
    headers = {
        **progress,
        telemetry_headers.SOURCE: sender.source,
        telemetry_headers.TIME: str(time_ms),
        telemetry_headers.POINTS: "0",
        telemetry_headers.BUSY_MS: "0",
    }
    current: list[Row] = []
    size = 0
    for row in rows:
        needed = row.ByteSize() + 4
        if current and size + needed > MAX_BATCH_BYTES:
            yield PreparedRows(sender, tuple(current), headers)
            current, size = [], 0
        current.append(row)
        size += needed
    if current:
        yield PreparedRows(sender, tuple(current), headers)

"""Log lines on their way to TELEMETRY: collected, cut into batches, spooled."""

from __future__ import annotations

from collections import deque
from functools import partial

from milepost.api.telemetry.v1.telemetry_pb2 import LogBatch, LogLine
from milepost.eventlog import telemetry_headers
from milepost.training.spooling.spool import LOGS, Spool

MAX_BATCH_LINES = 2000
MAX_BATCH_BYTES = 384 << 10


class LogBatcher:
    """Collects the lines of one sender."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lines: deque[LogLine] = deque()

    def add(self, line: LogLine) -> bool:
        """Add a line. Returns whether there is a whole batch, so that it is time to flush."""
        self._lines.append(line)
        return len(self._lines) >= MAX_BATCH_LINES

    @property
    def pending(self) -> int:
        return len(self._lines)

    def flush(self) -> int:
        """Put all lines into the spool. Returns how many batches they made."""
        batches = 0
        while self._lines:
            lines = self._take()
            build = partial(self._encode, lines)
            self._spool.put(LOGS, build, len(lines), lines[0].step, lines[-1].step)
            batches += 1
        return batches

    def _take(self) -> list[LogLine]:
        lines: list[LogLine] = []
        size = 0
        while self._lines and len(lines) < MAX_BATCH_LINES and size < MAX_BATCH_BYTES:
            line = self._lines.popleft()
            size += line.ByteSize() + 4
            lines.append(line)
        return lines

    def _encode(self, lines: list[LogLine], number: int) -> tuple[dict[str, str], bytes]:
        sender = self._spool.sender
        headers = {
            telemetry_headers.NUMBER: str(number),
            telemetry_headers.SOURCE: sender.source,
            telemetry_headers.LINES: str(len(lines)),
        }
        return headers, LogBatch(sender=sender, number=number, lines=lines).SerializeToString()

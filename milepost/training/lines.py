"""Output as lines: cutting, folding of progress bars, levels."""

from __future__ import annotations

import logging

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry

LARGEST_TEXT = 64 << 10
_CUT = " ... [line cut: {count} bytes more]"


def level_of(number: int) -> telemetry.LogLevel:
    """Name the level of a record of Python's `logging`."""
    if number >= logging.CRITICAL:
        return telemetry.LOG_LEVEL_CRITICAL
    if number >= logging.ERROR:
        return telemetry.LOG_LEVEL_ERROR
    if number >= logging.WARNING:
        return telemetry.LOG_LEVEL_WARNING
    return telemetry.LOG_LEVEL_INFO if number >= logging.INFO else telemetry.LOG_LEVEL_DEBUG


class LineFolder:
    """Cuts a byte stream into lines. Of what a carriage return writes over, only the last state is kept."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipped = 0

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the lines that are complete."""
        parts = (self._rest + data).split(b"\n")
        self._rest = parts.pop()
        lines = [self._finish(part) for part in parts]
        self._bound_rest()
        return lines

    def _bound_rest(self) -> None:
        if len(self._rest) <= 2 * LARGEST_TEXT:
            return
        folded = self._rest.rpartition(b"\r")[2]
        self._skipped += max(0, len(folded) - LARGEST_TEXT)
        self._rest = folded[:LARGEST_TEXT]

    def _finish(self, part: bytes) -> str:
        text = part.removesuffix(b"\r").rpartition(b"\r")[2]
        beyond = self._skipped + max(0, len(text) - LARGEST_TEXT)
        self._skipped = 0
        decoded = text[:LARGEST_TEXT].decode("utf-8", "replace")
        return decoded + _CUT.format(count=beyond) if beyond else decoded

    def end(self) -> list[str]:
        """Return what was begun and not ended by a line feed."""
        rest, self._rest = self._rest, b""
        return [self._finish(rest)] if rest.strip(b"\r") else []

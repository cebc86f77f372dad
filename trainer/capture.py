"""Lines of the instances' output, as they come through pipes, made into log lines.

Read outside the process that writes, so what it said last is kept whatever kills it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine

LARGEST_TEXT = 64 << 10
_CUT = " ... [line cut: {count} bytes more]"
_READ_BYTES = 256 << 10


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


class LineSource:
    """Where the lines of one instance come from, and what is known about each."""

    def __init__(self, rank: int, step: Callable[[], int], sink: Callable[[LogLine], None]) -> None:
        self._rank = rank
        self._step = step
        self._sink = sink

    async def read_output(self, reader: asyncio.StreamReader, stream: telemetry.LogStream) -> None:
        """Take lines of stdout or stderr until it ends."""
        folder = LineFolder()
        while data := await reader.read(_READ_BYTES):
            for text in folder.feed(data):
                self._emit(stream, telemetry.LOG_LEVEL_UNSPECIFIED, text)
        for text in folder.end():
            self._emit(stream, telemetry.LOG_LEVEL_UNSPECIFIED, text)

    async def read_records(self, reader: asyncio.StreamReader) -> None:
        """Take records of the logging pipe until it ends."""
        rest = b""
        while data := await reader.read(_READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._emit_record(line)

    def _emit_record(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            stream = telemetry.LOG_STREAM_MILEPOST if record["own"] else telemetry.LOG_STREAM_LOGGER
            folder = LineFolder()
            texts = [*folder.feed(record["text"].encode("utf-8", "replace")), *folder.end()]
            for text in texts or [""]:
                self._emit(stream, level_of(record["level"]), text, record["logger"], record["time"])
        except (ValueError, KeyError, TypeError):
            self._emit(telemetry.LOG_STREAM_LOGGER, telemetry.LOG_LEVEL_UNSPECIFIED, line.decode("utf-8", "replace"))

    def _emit(
        self, stream: telemetry.LogStream, level: telemetry.LogLevel, text: str, logger: str = "", time_ms: int = 0
    ) -> None:
        self._sink(
            LogLine(
                time_ms=time_ms or int(time.time() * 1000),
                level=level,
                rank=self._rank,
                stream=stream,
                step=self._step(),
                text=text,
                logger=logger,
            )
        )

"""Lines of the instances' output, as they come through pipes, made into log lines.

Read outside the process that writes, so what it said last is kept whatever kills it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.training.output.screen import TICK_SECONDS, Line, Screen, folded
from milepost.training.spooling.lines import level_of

_READ_BYTES = 256 << 10


class LineSource:
    """Where the lines of one instance come from, and what is known about each."""

    def __init__(self, rank: int, step: Callable[[], int], sink: Callable[[LogLine], None]) -> None:
        self._rank = rank
        self._step = step
        self._sink = sink

    async def read_output(self, reader: asyncio.StreamReader, stream: telemetry.LogStream) -> None:
        """Take lines of stdout or stderr until it ends."""
        screen = Screen()
        while True:
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    data = await reader.read(_READ_BYTES)
            except TimeoutError:
                self._emit_lines(stream, screen.tick(time.time()))
                continue
            if not data:
                break
            now = time.time()
            self._emit_lines(stream, [*screen.feed(data, now), *screen.tick(now)])
        self._emit_lines(stream, screen.end(time.time()))

    def _emit_lines(self, stream: telemetry.LogStream, lines: Iterable[Line]) -> None:
        for seconds, text in lines:
            self._emit(stream, telemetry.LOG_LEVEL_UNSPECIFIED, text, time_ms=int(seconds * 1000))

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
            for text in folded(record["text"]):
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

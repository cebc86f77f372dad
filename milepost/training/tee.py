"""Copies what a script of one's own prints and logs, while it goes on to the terminal as before."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.training.lines import LineFolder, level_of

_copying = threading.local()


class _Tee:
    """A text stream that writes to another one, and hands a copy on."""

    def __init__(self, stream: TextIO, kind: telemetry.LogStream, capture: ConsoleCapture) -> None:
        self._stream = stream
        self._kind = kind
        self._capture = capture
        self._folder = LineFolder()
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        count = self._stream.write(text)
        if not getattr(_copying, "paused", False):
            with self._lock:
                lines = self._folder.feed(text.encode("utf-8", "replace"))
            for line in lines:
                self._capture.add(self._kind, telemetry.LOG_LEVEL_UNSPECIFIED, line)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class ConsoleCapture:
    """Hands every line that is printed or logged to a function, until `close`."""

    def __init__(self, rank: int, step: Callable[[], int], sink: Callable[[LogLine], None]) -> None:
        self._rank = rank
        self._step = step
        self._sink = sink
        self._streams = (sys.stdout, sys.stderr)
        self._emit = logging.StreamHandler.emit
        sys.stdout = _Tee(sys.stdout, telemetry.LOG_STREAM_STDOUT, self)  # type: ignore[assignment]
        sys.stderr = _Tee(sys.stderr, telemetry.LOG_STREAM_STDERR, self)  # type: ignore[assignment]
        self._own = (sys.stdout, sys.stderr)
        logging.StreamHandler.emit = self._handler()  # type: ignore[method-assign,assignment]

    def _handler(self) -> Callable[[Any, logging.LogRecord], None]:
        """Replace `StreamHandler.emit`: print as before, and keep level and logger with the copy."""
        plain, consoles = self._emit, {id(stream) for stream in (*self._streams, *self._own)}

        def emit(handler: Any, record: logging.LogRecord) -> None:
            if id(handler.stream) not in consoles:
                plain(handler, record)
                return
            _copying.paused = True
            try:
                plain(handler, record)
            finally:
                _copying.paused = False
            for text in handler.format(record).split("\n"):
                self.add(telemetry.LOG_STREAM_LOGGER, level_of(record.levelno), text, record.name)

        return emit

    def add(self, stream: telemetry.LogStream, level: telemetry.LogLevel, text: str, logger: str = "") -> None:
        """Hand on one line."""
        now = int(time.time() * 1000)
        step = self._step()
        line = LogLine(time_ms=now, level=level, rank=self._rank, stream=stream, step=step, text=text, logger=logger)
        self._sink(line)

    def close(self) -> None:
        """Give the streams back, unless somebody else has replaced them meanwhile."""
        if sys.stdout is self._own[0]:
            sys.stdout = self._streams[0]
        if sys.stderr is self._own[1]:
            sys.stderr = self._streams[1]
        logging.StreamHandler.emit = self._emit  # type: ignore[method-assign]

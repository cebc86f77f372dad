"""Lines of a worker with their level, for the driver that reads its output.

Everything that handlers of Python's `logging` would print on stdout or stderr goes through a pipe of its own, as JSON
lines with level and logger; the user's own formatting, levels and filters stay as they are. Whatever else is printed
goes through stdout and stderr as it is. All of it leaves the process at once, so the last line before a crash is kept.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable

# The file descriptor of the pipe, given by the driver.
PIPE_VARIABLE = "MILEPOST_LOG_PIPE"
# Names of the loggers whose lines are Milepost's own.
OWN_LOGGER = "milepost"


class LogPipe:
    """The writing end. Lines are written whole, so those of several threads do not mix."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, level: int, logger: str, text: str, own: bool = False) -> bool:
        """Send one record; several lines stay together. Returns False when nobody reads any more."""
        record = {"time": int(time.time() * 1000), "level": level, "logger": logger, "text": text, "own": own}
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        try:
            os.write(self._descriptor, line)
        except OSError:
            return False
        return True


def divert_handlers(pipe: LogPipe) -> None:
    """Send what stream handlers would print on stdout or stderr through the pipe instead."""
    plain: Callable[[logging.StreamHandler, logging.LogRecord], None] = logging.StreamHandler.emit  # type: ignore[type-arg]

    def emit(handler: logging.StreamHandler, record: logging.LogRecord) -> None:  # type: ignore[type-arg]
        if handler.stream not in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            plain(handler, record)
            return
        try:
            text = handler.format(record)
        except Exception:
            handler.handleError(record)
            return
        own = record.name.partition(".")[0] == OWN_LOGGER
        if not pipe.write(record.levelno, record.name, text, own):
            plain(handler, record)

    logging.StreamHandler.emit = emit  # type: ignore[assignment,method-assign]


def pipe_from_environment() -> LogPipe | None:
    """Return the pipe the driver gave; None when there is none."""
    descriptor = os.environ.get(PIPE_VARIABLE)
    return LogPipe(int(descriptor)) if descriptor else None

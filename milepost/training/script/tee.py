"""Copies what a script of one's own prints and logs, while it goes on to the terminal as before."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.training.output.descriptors import (
    STDERR,
    STDOUT,
    Descriptor,
    OwnStream,
    flush_c,
    groups,
    reason_not_to_hear,
)
from milepost.training.output.screen import Line, Screen
from milepost.training.spooling.lines import level_of
from milepost.training.user_code.forks import rest_in_children

_copying = threading.local()

_END_SECONDS = 0.5
_BEFORE = "this log begins at milepost.init: what was printed before is not in it"
_NOT_COPIED = (
    "what other programs, C code and workers print on {streams} is not copied to this log, because {reason}; "
    "`milepost run -- python SCRIPT` records all that a script prints"
)
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_KINDS = {STDOUT: telemetry.LOG_STREAM_STDOUT, STDERR: telemetry.LOG_STREAM_STDERR}


class _Copy:
    """The lines of one writer. Nobody who prints waits for another one, or for itself: a signal handler may print."""

    def __init__(self, kind: telemetry.LogStream, capture: ConsoleCapture) -> None:
        self._kind = kind
        self._capture = capture
        self._screen = Screen()
        self._pieces: deque[bytes] = deque()
        self._lock = threading.Lock()

    def feed(self, data: bytes) -> None:
        """Take what was printed."""
        if not self._capture.closed and not getattr(_copying, "paused", False):
            self._pieces.append(data)
            self.tick()

    def tick(self) -> None:
        """Hand on what is finished by now. Whoever does so already does it for all."""
        while self._lock.acquire(blocking=False):
            try:
                now = time.time()
                lines: list[Line] = []
                while self._pieces:
                    lines += self._screen.feed(self._pieces.popleft(), now)
                self._hand_on([*lines, *self._screen.tick(now)])
            finally:
                self._lock.release()
            if not self._pieces:
                return

    def end(self) -> None:
        """Hand on what was begun and not ended by a line feed."""
        self.tick()
        # Not where it is this thread that prints, in a signal handler.
        if self._lock.acquire(timeout=_END_SECONDS):
            self._hand_on(self._screen.end(time.time()))
            self._lock.release()

    def _hand_on(self, lines: list[Line]) -> None:
        for _, line in lines:
            self._capture.add(self._kind, telemetry.LOG_LEVEL_UNSPECIFIED, line)


class _Tee:
    """A text stream that writes to another one, and hands a copy on."""

    def __init__(self, stream: TextIO | OwnStream, copy: _Copy) -> None:
        self._stream = stream
        self._copy = copy

    def write(self, text: str) -> int:
        count = self._stream.write(text)
        self._copy.feed(text.encode("utf-8", "replace"))
        return count

    def writelines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class ConsoleCapture:
    """Hands every line that is printed or logged to a function, until `close`.

    What other programs and C code print is copied where `output/descriptors.py` can do that; otherwise the log says so.
    """

    def __init__(self, rank: int, step: Callable[[], int], sink: Callable[[LogLine], None]) -> None:
        # Others may hold the streams that copy for longer than they are wanted.
        self.closed = False
        self._rank = rank
        self._step = step
        self._sink = sink
        self._copies: list[_Copy] = []
        self._emit = logging.StreamHandler.emit
        self._streams = {STDOUT: sys.stdout, STDERR: sys.stderr}
        # What is not copied, with the reason.
        self._missing: dict[int, str] = {}
        self._descriptors: list[Descriptor] = []
        self._printing: list[OwnStream] = []
        self._own: dict[int, Any] = {}
        self._listen()
        for number, stream in self._streams.items():
            # Without a place to print to Python has no stream.
            if stream is not None and number not in self._own:
                self._own[number] = _Tee(stream, self._copy(_KINDS[number]))
        sys.stdout, sys.stderr = (self._own.get(number, stream) for number, stream in self._streams.items())
        logging.StreamHandler.emit = self._handler()  # type: ignore[method-assign,assignment]
        rest_in_children(self)
        self._say(_BEFORE)
        self._say_missing()

    def _copy(self, kind: telemetry.LogStream) -> _Copy:
        self._copies.append(_Copy(kind, self))
        return self._copies[-1]

    def _listen(self) -> None:
        """Listen to the descriptors themselves, where that does no harm."""
        for number, stream in self._streams.items():
            if reason := reason_not_to_hear(number, stream):
                self._missing[number] = reason
        for stream in self._streams.values():
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        flush_c()
        starting: list[tuple[tuple[int, ...], Descriptor]] = []
        for numbers in groups([number for number in self._streams if number not in self._missing]):
            copy = self._copy(_KINDS[numbers[0]])
            with self._missing_if_refused(numbers):
                starting.append((numbers, Descriptor(numbers, copy.feed, copy.tick, self._say)))
        for numbers, descriptor in starting:
            with self._missing_if_refused(numbers):
                descriptor.begin()
                self._descriptors.append(descriptor)
                for number in numbers:
                    stream = cast(io.TextIOWrapper, self._streams[number])
                    self._printing.append(OwnStream(stream, descriptor))
                    self._own[number] = _Tee(self._printing[-1], self._copy(_KINDS[number]))

    @contextmanager
    def _missing_if_refused(self, numbers: tuple[int, ...]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._missing |= dict.fromkeys(numbers, f"no process can be started for it ({error})")

    def _say(self, text: str) -> None:
        self.add(telemetry.LOG_STREAM_MILEPOST, telemetry.LOG_LEVEL_INFO, text, "milepost")

    def _say_missing(self) -> None:
        for reason in dict.fromkeys(self._missing.values()):
            streams = " and ".join(_NAMES[number] for number, why in self._missing.items() if why == reason)
            self._say(_NOT_COPIED.format(streams=streams, reason=reason))

    def rest_in_child(self) -> None:
        """Leave the streams of a child alone. Another thread may have had a lock of a copy when it was forked off."""
        self._give_back()

    def _handler(self) -> Callable[[Any, logging.LogRecord], None]:
        """Replace `StreamHandler.emit`: print as before, and keep level and logger with the copy."""
        plain = self._emit
        # A handler that was made before would print on a descriptor that is listened to.
        instead = {id(self._streams[number]): stream for number, stream in self._own.items()}
        consoles = {*instead, *map(id, self._own.values())}

        def emit(handler: Any, record: logging.LogRecord) -> None:
            stream = handler.stream
            if id(stream) not in consoles:
                plain(handler, record)
                return
            try:
                text = handler.format(record)
            except Exception:
                # A wrong call: `logging` complains in its own way, and training goes on.
                plain(handler, record)
                return
            _copying.paused = True
            # The last resort of `logging` finds its stream anew each time.
            other = instead.get(id(stream)) if "stream" in vars(handler) else None
            try:
                if other is not None:
                    handler.stream = other
                plain(handler, record)
            finally:
                _copying.paused = False
                if other is not None:
                    handler.stream = stream
            for line in text.split("\n"):
                self.add(telemetry.LOG_STREAM_LOGGER, level_of(record.levelno), line, record.name)

        return emit

    def add(self, stream: telemetry.LogStream, level: telemetry.LogLevel, text: str, logger: str = "") -> None:
        """Hand on one line."""
        now = int(time.time() * 1000)
        step = self._step()
        line = LogLine(time_ms=now, level=level, rank=self._rank, stream=stream, step=step, text=text, logger=logger)
        self._sink(line)

    def close(self, at_once: bool = False) -> None:
        """Give the streams back, and hand on what was begun and not ended by a line feed. Takes a bounded time.

        Args:
            at_once: another thread may be held up in printing: what it has not flushed is not waited for.
        """
        if not at_once:
            flush_c()
            for stream in self._printing:
                stream.finish()
        for descriptor in self._descriptors:
            descriptor.begin_close()
        for descriptor in self._descriptors:
            descriptor.close()
        self._give_back()
        for copy in self._copies:
            copy.end()

    def _give_back(self) -> None:
        """Put the streams back, unless somebody else has replaced them meanwhile."""
        self.closed = True
        if sys.stdout is self._own.get(STDOUT):
            sys.stdout = self._streams[STDOUT]
        if sys.stderr is self._own.get(STDERR):
            sys.stderr = self._streams[STDERR]
        logging.StreamHandler.emit = self._emit  # type: ignore[method-assign]

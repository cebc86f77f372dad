"""Hears what is written to a file descriptor by whatever there is: other programs, C code, workers, `os.write`.

A pipe takes the place of the descriptor, and `relay.py`, a process of its own, carries on what comes. What Python's own
streams print does not go that way: it is written to where the descriptor led before, so nothing that this process prints
hangs on another one. It waits, a moment at most, for what others have printed before.

Only where it can do no harm: not on a terminal, which tells those who print how wide it is, and not in the first process
of a container, whose end kills the relay too.
"""

from __future__ import annotations

import ctypes
import fcntl
import io
import mmap
import os
import select
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from milepost.training.output import relay
from milepost.training.output.screen import TICK_SECONDS
from milepost.training.user_code.forks import rest_in_children

STDOUT, STDERR = 1, 2
_START_SECONDS = 5.0
# How long the end waits for what others have printed, who may go on for ever.
_END_SECONDS = 0.5
# How long a line of this process waits for what others printed before it; and how long none does, if that was too short.
_SETTLE_SECONDS = 0.02
_SETTLE_AGAIN_SECONDS = 1.0
_MAX_MESSAGE = relay.CHUNK + 1


def reason_not_to_hear(number: int, stream: TextIO | None) -> str:
    """Say why a descriptor, and Python's stream on it, are left alone. Empty: they need not be."""
    if sys.platform != "linux":
        return "this system is not Linux"
    if not sys.executable or not Path(relay.__file__).is_file():
        return "no process can be started for it"
    if os.getpid() == 1:
        return "this is the first process of a container"
    try:
        if os.isatty(number):
            return "this is a terminal"
        os.fstat(number)
    except OSError:
        return "it is closed"
    return "" if _is_plain(stream, number) else "Python prints to a stream of somebody else"


def _is_plain(stream: TextIO | None, number: int) -> bool:
    """Return whether a stream is the one that Python has made."""
    if type(stream) is not io.TextIOWrapper or type(stream.buffer) not in (io.BufferedWriter, io.FileIO):
        return False
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False


def groups(numbers: list[int]) -> list[tuple[int, ...]]:
    """Put together the descriptors that lead to the same place, where one order is to be kept."""
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for number in numbers:
        status = os.fstat(number)
        place = (status.st_dev, status.st_ino)
        found[place] = (*found.get(place, ()), number)
    return list(found.values())


class Descriptor:
    """One place, and the descriptors that lead to it. They are listened to from `begin` to `close`.

    `hear` gets what others write there, `tick` is called now and then, both in a thread of their own.
    """

    def __init__(
        self,
        numbers: tuple[int, ...],
        hear: Callable[[bytes], None],
        tick: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """Start the relay.

        Raises:
            OSError: it could not be started.
        """
        self._numbers = numbers
        self._hear = hear
        self._tick = tick
        self._say = say
        # Whether the descriptors lead to where they led before.
        self._closed = True
        self._settle_after = 0.0
        # The thread has taken something that it has not handed on yet.
        self._hearing = False
        self._ending = threading.Lock()
        with ExitStack() as until_started, ExitStack() as if_refused:
            source, self._pipe = map(_above_standard, os.pipe())
            until_started.callback(os.close, source)
            if_refused.callback(os.close, self._pipe)
            # Where it leads.
            self.target = _keep(numbers[0])
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._run, others = (socket.socket(fileno=_above_standard(end.detach())) for end in pair)
            until_started.callback(others.close)
            if_refused.callback(self._run.close)
            memory = _above_standard(_shared_byte())
            until_started.callback(os.close, memory)
            self._busy = mmap.mmap(memory, 1)
            self._starting = _start_relay(source, self.target, others.fileno(), memory)
            if_refused.pop_all()
        self._pipe_status, self._target_status = os.fstat(self._pipe), os.fstat(self.target)
        self._thread = threading.Thread(target=self._listen, name="milepost-output", daemon=True)

    def begin(self) -> None:
        """Put the pipe in the place of the descriptors.

        Raises:
            OSError: the relay did not start.
        """
        try:
            if self._starting.wait(_START_SECONDS):
                raise OSError(f"{sys.executable} ended with status {self._starting.returncode}")
        except (OSError, subprocess.TimeoutExpired) as error:
            self._run.close()
            raise OSError(str(error)) from error
        else:
            for number in self._numbers:
                os.dup2(self._pipe, number, inheritable=True)
        finally:
            os.close(self._pipe)
        self._closed = False
        self._thread.start()
        rest_in_children(self)

    def rest_in_child(self) -> None:
        """Let go of everything but the pipe: what a child prints arrives, and it holds nothing open for long."""
        self._closed = True
        self._run.close()
        self._busy.close()

    def listens(self, number: int) -> bool:
        """Return whether what is written to a descriptor goes into the pipe, and `target` is where it led before."""
        return not self._closed and self._is_ours(number) and _is_same(self.target, self._target_status)

    def _is_ours(self, number: int) -> bool:
        return _is_same(number, self._pipe_status)

    def settle(self, number: int) -> None:
        """Wait until what others have printed has arrived and was heard, but not for long."""
        if not self._is_on_its_way(number):
            return
        now = time.monotonic()
        if now < self._settle_after:
            return
        while self._is_on_its_way(number):
            if time.monotonic() - now > _SETTLE_SECONDS:
                self._settle_after = time.monotonic() + _SETTLE_AGAIN_SECONDS
                return
            time.sleep(0.0002)

    def _is_on_its_way(self, number: int) -> bool:
        if self._closed:
            return False
        try:
            # In this order: whoever takes something is busy before it is gone.
            return _has_data(number) or self._busy[0] != 0 or _has_data(self._run.fileno()) or self._hearing
        except (OSError, ValueError):
            # Another thread has just ended it.
            return False

    def _listen(self) -> None:
        ready = select.poll()
        ready.register(self._run, select.POLLIN)
        while True:
            self._hearing = False
            if ready.poll(1000 * TICK_SECONDS):
                self._hearing = True
                try:
                    message = self._run.recv(_MAX_MESSAGE)
                except ConnectionResetError:
                    # The relay has ended without having read all; what it sent is still to come.
                    continue
                except OSError:
                    message = b""
                kind, rest = message[:1], message[1:]
                if kind in (b"", relay.DRAINED):
                    break
                if kind == relay.COPY:
                    self._hear(rest)
                else:
                    self._say(f"{int(rest):,} bytes of output came too fast to be copied, and are not in this log")
            self._tick()
        if self._give_back():
            self._say("from here on the output of other programs, C code and workers is not in this log")

    def _give_back(self) -> bool:
        """Have the descriptors lead to where they led, unless somebody has led them elsewhere. False: it was done."""
        with self._ending:
            if self._closed:
                return False
            self._closed = True
        for number in self._numbers:
            # A script may have closed whatever was open, and opened something else.
            if self._is_ours(number) and _is_same(self.target, self._target_status):
                os.dup2(self.target, number, inheritable=True)
        return True

    def begin_close(self) -> None:
        """Let the descriptors be as they were. Children go on printing by way of the relay."""
        if not self._closed:
            for number in self._numbers:
                if self._is_ours(number):
                    self.settle(number)
            self._give_back()
        with suppress(OSError):
            self._run.send(relay.DRAIN)

    def close(self) -> None:
        """Hear what others have printed so far, within a bounded time, and no more. To be called after `begin_close`."""
        self._thread.join(_END_SECONDS)
        with suppress(OSError):
            self._run.shutdown(socket.SHUT_RDWR)
        self._thread.join(_END_SECONDS)
        with suppress(OSError):
            self._run.close()


# Where descriptors lead, by their number. They stay open, for threads may be about to write there, and are used again.
_kept: dict[int, int] = {}


def _keep(number: int) -> int:
    """Return another descriptor of the same place."""
    place, kept = os.fstat(number), _kept.get(number, -1)
    if _is_same(kept, place):
        return kept
    _kept[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    return _kept[number]


def _above_standard(descriptor: int) -> int:
    """Move a descriptor away from those of the standard streams, of which one may have been closed."""
    if descriptor > STDERR:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    os.close(descriptor)
    return moved


def _has_data(descriptor: int) -> bool:
    return fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0") != b"\0\0\0\0"


def _is_same(number: int, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(number), status)
    except OSError:
        return False


def _shared_byte() -> int:
    """Return a descriptor of a byte of memory that two processes may share."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("milepost-output")
    else:
        # Python that was built for older systems.
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.ftruncate(memory, 1)
    return memory


def _let_go_in_child() -> None:
    """Hold nothing open in a child, and have what its parent has not written yet written by its parent only."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for kept in _kept.values():
            os.dup2(nowhere, kept, inheritable=False)
        os.close(nowhere)
    _kept.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def _start_relay(*descriptors: int) -> subprocess.Popen[bytes]:
    """Start the relay. The process that this returns ends at once; the one that stays is no child of this one."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", relay.__file__, *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C, and a terminal that goes away, are not for it.
        start_new_session=True,
    )


class OwnStream:
    """A stream of this process in the place of Python's own, on a descriptor that is listened to.

    It writes to where the descriptor led before, as long as it is listened to and nobody has led it elsewhere. All that
    holds a lock is of the C library of Python: a signal handler may print while something is printed.
    """

    def __init__(self, plain: io.TextIOWrapper, descriptor: Descriptor) -> None:
        self._plain = plain
        self._number = plain.fileno()
        self._descriptor = descriptor
        buffering = -1 if isinstance(plain.buffer, io.BufferedWriter) else 0
        binary = open(descriptor.target, "wb", buffering, closefd=False)  # noqa: SIM115
        self._direct = io.TextIOWrapper(
            cast(io.BufferedWriter, binary),
            encoding=plain.encoding,
            errors=plain.errors,
            newline="\n",
            line_buffering=plain.line_buffering,
            write_through=plain.write_through,
        )
        # Bytes are printed too, by way of Python's own stream.
        self._mixed = False
        self._last = ""

    def write(self, text: str) -> int:
        if not self._descriptor.listens(self._number):
            return self._plain.write(text)
        if self._mixed:
            self._plain.flush()
        self._descriptor.settle(self._number)
        self._last = text
        count = self._direct.write(text)
        if self._mixed:
            self._direct.flush()
        return count

    def flush(self) -> None:
        if not self._plain.closed:
            self._plain.flush()
        if self._descriptor.listens(self._number):
            self._descriptor.settle(self._number)
        self._direct.flush()

    def reconfigure(self, **settings: Any) -> None:
        self._plain.reconfigure(**settings)
        self._direct.reconfigure(**settings)

    def detach(self) -> Any:
        self._direct.flush()
        return self._plain.detach()

    def close(self) -> None:
        self._direct.flush()
        self._plain.close()

    @property
    def buffer(self) -> Any:
        """For bytes: they are heard like those of others. From now on all is written at once, in its order."""
        self._mixed = True
        self._direct.flush()
        return self._plain.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def finish(self) -> None:
        """Write what is left. Those who hold the stream may go on printing."""
        try:
            self.flush()
        except ValueError:
            # Somebody has closed it, or taken its buffer.
            return
        except OSError:
            # Python is to say so at its end, also by its exit status: it tries once more then.
            with suppress(OSError):
                self._plain.write(self._last)


def flush_c() -> None:
    """Write what C code has printed and not flushed."""
    library = ctypes.CDLL(None)
    with suppress(ValueError):
        library.fflush(ctypes.c_void_p.in_dll(library, "stdout"))

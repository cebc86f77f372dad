"""Carries what is written to a descriptor on to where it belongs, and hands a copy to the run. A program of its own.

`descriptors.py` starts it. It lives as long as anybody can write to the pipe, so what a script, its children or C code
have printed arrives also when the script is killed, and a child that outlives the script prints on. It is no child of the
script: that may wait for its children.
Imports the standard library only, and little of it: a script waits until this runs.

Arguments are descriptors: the pipe, where it goes, a socket to the run, and shared memory whose first byte is 1 while
something was taken from the pipe that has not arrived yet, or whose copy was not handed over.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import sys
from collections import deque

CHUNK = 32 << 10
# Of copies that the run has not taken yet; what is beyond is counted.
MAX_BACKLOG = 4 << 20
# What is carried on before the run is told that nothing is left: others may go on writing.
MAX_DRAIN = 1 << 20
# How long its end waits for the run to take the last copies.
HAND_OVER_SECONDS = 1.0
# The kinds of messages to the run: a copy, the number of bytes that were not copied, and that nothing is left.
COPY, LOST, DRAINED = b"c", b"l", b"d"
# The only message from the run: carry on what there is, then say DRAINED.
DRAIN = b"d"


class Copies:
    """The run's end of it. It never keeps output from being carried on."""

    def __init__(self, run: socket.socket) -> None:
        self._run: socket.socket | None = run
        self._backlog: deque[bytes] = deque()
        self._size = self._lost = 0

    @property
    def run(self) -> socket.socket | None:
        """None: the run is over."""
        return self._run

    @property
    def waiting(self) -> bool:
        return bool(self._backlog)

    def add(self, data: bytes) -> None:
        if self._size + len(data) > MAX_BACKLOG:
            self._lost += len(data)
        elif self._run is not None:
            self._put(COPY + data)

    def say_drained(self) -> None:
        self._put(DRAINED)

    def _put(self, message: bytes) -> None:
        self._backlog.append(message)
        self._size += len(message)
        self.flush()

    def flush(self) -> None:
        """Hand over what the run takes now."""
        try:
            while self._backlog and self._run is not None:
                self._run.send(self._backlog[0])
                self._size -= len(self._backlog.popleft())
                if self._lost and not self._backlog:
                    self._backlog.append(LOST + b"%d" % self._lost)
                    self._size += len(self._backlog[0])
                    self._lost = 0
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            self.close()

    def hand_over(self) -> None:
        """Hand over the rest, if the run takes it soon."""
        if self._run is not None:
            self._run.settimeout(HAND_OVER_SECONDS)
            self.flush()

    def close(self) -> None:
        if self._run is not None:
            self._run.close()
        self._run = None
        self._backlog.clear()
        self._size = 0


class Relay:
    """One descriptor."""

    def __init__(self, source: int, target: int, copies: Copies, busy: mmap.mmap) -> None:
        self._source = source
        self._target = target
        self._copies = copies
        self._busy = busy

    def run(self) -> None:
        """Carry on until nobody can write any more, or nobody reads."""
        while True:
            ready = select.poll()
            ready.register(self._source, select.POLLIN)
            run = self._copies.run
            if run is not None:
                ready.register(run, select.POLLIN | (select.POLLOUT if self._copies.waiting else 0))
            events = dict(ready.poll())
            if self._source in events and not self._carry():
                return
            if run is not None and run.fileno() in events:
                self._copies.flush()
                if not self._obey(run):
                    return

    def _obey(self, run: socket.socket) -> bool:
        try:
            message = run.recv(len(DRAIN))
        except BlockingIOError:
            return True
        except OSError:
            message = b""
        if not message:
            self._copies.close()
            return True
        goes_on = self._drain()
        self._copies.say_drained()
        return goes_on

    def _drain(self) -> bool:
        carried = 0
        while carried < MAX_DRAIN and select.select([self._source], [], [], 0)[0]:
            if not self._carry():
                return False
            carried += CHUNK
        return True

    def _carry(self) -> bool:
        """Carry on what there is. Returns False when nothing more can come or go."""
        self._busy[0] = 1
        data = os.read(self._source, CHUNK)
        open_still = bool(data) and self._write(data)
        if data:
            self._copies.add(data)
        self._busy[0] = 0
        return open_still

    def _write(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self._target, data) :]
            except BlockingIOError:
                select.select([], [self._target], [])
            except BrokenPipeError:
                # Whoever writes next is told.
                return False
            except OSError:
                # A full disk, for example. Those who print see it seldom, and none of them is to end because of it.
                break
        return True


def main() -> None:
    """Leave the script's family, and carry on."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    os.chdir("/")
    source, target, run, busy = map(int, sys.argv[1:])
    copies = Copies(socket.socket(fileno=run))
    if copies.run is not None:
        copies.run.setblocking(False)
    Relay(source, target, copies, mmap.mmap(busy, 1)).run()
    os.close(source)
    copies.hand_over()


if __name__ == "__main__":
    main()

"""The output of a rank that is no child of its driver, over connections in place of pipes.

What a process has written to such a connection arrives also when the process is killed right after.
"""

from __future__ import annotations

import io
import os
import socket
import sys
from contextlib import suppress

from milepost.api.training.v1.training_pb2 import Hello, InstanceReport
from milepost.training.process.frames import frame

STDOUT, STDERR, RECORDS = "stdout", "stderr", "records"
CONNECT_SECONDS = 30.0


class OutputStreams:
    """Sends stdout, stderr and log records of this process to the driver, until `close`."""

    def __init__(self, driver: str, token: str, rank: int) -> None:
        """Connect, and put the connections in the place of this process's file descriptors 1 and 2.

        Raises:
            OSError: the driver cannot be reached.
        """
        host, _, port = driver.rpartition(":")
        self._sockets = {name: _connect(host, int(port), token, rank, name) for name in (STDOUT, STDERR, RECORDS)}
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os.dup2(self._sockets[STDOUT].fileno(), 1)
        os.dup2(self._sockets[STDERR].fileno(), 2)
        sys.stdout = sys.__stdout__ = _text(1)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = _text(2)  # type: ignore[misc]

    @property
    def records(self) -> int:
        """The file descriptor for records of `logging`."""
        return self._sockets[RECORDS].fileno()

    def close(self) -> None:
        """Say that nothing more comes. What is still written to the descriptors is lost."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        for connection in self._sockets.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)


def _connect(host: str, port: int, token: str, rank: int, stream: str) -> socket.socket:
    connection = socket.create_connection((host, port), CONNECT_SECONDS)
    connection.settimeout(None)
    hello = Hello(token=token, process_id=os.getpid(), host=socket.gethostname(), stream=stream)
    connection.sendall(frame(InstanceReport(rank=rank, hello=hello)))
    return connection


def _text(descriptor: int) -> io.TextIOWrapper:
    """Open a descriptor for text that leaves at once."""
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]

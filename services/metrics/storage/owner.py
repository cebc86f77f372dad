"""Who holds an embedded ClickHouse directory: one process, and a lock that says which."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

FILE = "owner.lock"


class DirectoryHeld(Exception):
    """Another process has the directory; the message says which and since when."""


class Ownership:
    """The lock on a directory. It ends with the process, however that ends."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            DirectoryHeld: somebody has it.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / FILE
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise DirectoryHeld(f"{directory} is in use by {self._holder()}") from error
        os.ftruncate(self._descriptor, 0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        os.pwrite(
            self._descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}).encode(), 0
        )

    def _holder(self) -> str:
        try:
            holder = json.loads(self._path.read_text())
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def release(self) -> None:
        os.close(self._descriptor)

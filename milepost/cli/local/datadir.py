"""The data directory of a local stack: one instance owns it at a time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self


class DataDirectoryInUse(Exception):
    """Another instance owns the directory; the message says which."""


class DataDirectoryUnusable(Exception):
    """The directory cannot be made or written; the message says why."""


class DataDirectory:
    """A data directory, made where necessary and locked while this object is open.

    The lock is the operating system's: it is gone with the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = (path / "lock").open("a+")
        except OSError as error:
            raise DataDirectoryUnusable(f"the data directory {path} is not usable: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            self._file.close()
            raise DataDirectoryInUse(
                f"the data directory {path} is in use by another instance ({holder}); "
                "stop that one, or give another --data-dir"
            ) from error
        self._file.truncate(0)
        self._file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        self._file.flush()

    def _holder(self) -> str:
        try:
            self._file.seek(0)
            held = json.loads(self._file.read())
            return f"process {held['pid']} on {held['host']}"
        except (ValueError, KeyError, TypeError):
            return "which has not said who it is"

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

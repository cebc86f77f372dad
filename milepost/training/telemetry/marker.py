"""The last step an instance has done, in a page of shared memory, so that it outlives a `kill -9`."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from milepost import files

_BYTES = 8


class StepMarker:
    """The writing side. Setting `cell[0]` costs less than 100 ns. Without a path nobody reads it."""

    def __init__(self, path: Path | None) -> None:
        if path is None:
            self._memory = mmap.mmap(-1, _BYTES)
        else:
            path.write_bytes(bytes(_BYTES))
            with path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), _BYTES)
        self.cell = memoryview(self._memory).cast("q")

    @property
    def step(self) -> int:
        """The last step that was marked."""
        return self.cell[0]


def marker_path(directory: Path, rank: int) -> Path:
    return directory / f"step-rank-{rank}"


def read_marker(path: Path) -> int:
    """Return the last step; 0 when there is none."""
    try:
        return int(struct.unpack("=q", files.read_regular(path, _BYTES))[0])
    except (OSError, struct.error):
        return 0

"""How far an attempt is, to the step."""

from __future__ import annotations

from pathlib import Path

from milepost.names import AttemptKey
from milepost.training.telemetry.marker import marker_path, read_marker
from services.runtime.scheduling.liveness import Liveness


class Steps:
    """The last step of attempts: what their heartbeats told and, of those on this host, what is in shared memory.

    A heartbeat is up to some seconds old. The marker of an attempt is as new as its last step, and outlives the process.
    """

    def __init__(self, liveness: Liveness, data_dir: Path) -> None:
        self._liveness = liveness
        self._data_dir = data_dir

    def last(self, key: AttemptKey) -> int:
        """Return the last step an attempt has done; 0: none, or none is known."""
        marked = read_marker(marker_path(key.directory(self._data_dir), 0))
        return max(self._liveness.step(key), marked)

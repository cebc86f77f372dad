"""Remove what a deleted runtime left: snapshots, metrics, logs, and its folder. The audit trail stays."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime
from milepost.errors import MilepostError
from milepost.names import AttemptKey
from milepost.snapshots import SnapshotInvalid
from services.runtime.launchers import Launcher
from services.runtime.readmodel.view import RuntimeView, configuration_of
from services.runtime.snapshots import Place, SnapshotStorage

log = logging.getLogger(__name__)

# Removes points and log lines of a runtime; returns how many of each.
PurgeMetrics = Callable[[str], Awaitable[tuple[int, int]]]


# Of what remains: lines that are told, and characters of each. An event has no room for ten thousand snapshots.
MAX_TOLD = 50
MAX_TOLD_CHARACTERS = 500


class Purger:
    """Removes everything it can, and says what it could not. Given again it goes on with the rest."""

    def __init__(
        self,
        data_dir: Path,
        storage: SnapshotStorage,
        purge_metrics: PurgeMetrics,
        launchers: Mapping[config.Launcher, Launcher],
    ) -> None:
        self._data_dir = data_dir
        self._storage = storage
        self._purge_metrics = purge_metrics
        self._launchers = launchers

    async def purge(self, view: RuntimeView) -> runtime.ReportPurged:
        """Remove what is left of a runtime and report on it."""
        configuration = configuration_of(view)
        remaining: list[str] = []
        snapshot_count = snapshot_bytes = point_count = line_count = 0
        for one in view.trials.values():
            for snapshot in one.snapshots.values():
                if snapshot.state == api.SNAPSHOT_STATE_DELETED:
                    continue
                others = [holder for holder in snapshot.held_by if holder != view.runtime_id]
                if others:
                    remaining.append(f"{snapshot.name}: {', '.join(others)} began there")
                    continue
                try:
                    await self._storage.remove(configuration, Place.of(view.runtime_id, one.number, snapshot))
                    snapshot_count += 1
                    snapshot_bytes += snapshot.byte_count
                except SnapshotInvalid as error:
                    # Not its own, so there is nothing of it that could be removed, now or later.
                    log.warning("snapshot.elsewhere", extra={"runtime": view.runtime_id, "error": error.message})
                except (OSError, MilepostError) as error:
                    remaining.append(f"{snapshot.name}: {error}")
        remaining += await self._purge_attempts(view)
        try:
            point_count, line_count = await self._purge_metrics(view.runtime_id)
        except MilepostError as error:
            remaining.append(f"metrics and logs: {error.message}")
        if not remaining:
            folder = self._data_dir / "runtimes" / view.runtime_id
            try:
                await asyncio.to_thread(shutil.rmtree, folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                remaining.append(f"{folder}: {error.strerror}")
        log.info("runtime.purged", extra={"runtime": view.runtime_id, "remaining": remaining})
        return runtime.ReportPurged(snapshot_count, snapshot_bytes, point_count, line_count, _told(remaining))

    async def _purge_attempts(self, view: RuntimeView) -> list[str]:
        """Have the launcher remove what it keeps of the attempts. Returns what remains."""
        configuration = view.state.configuration
        launcher = self._launchers.get(configuration.launcher) if configuration is not None else None
        remaining = []
        for one in view.trials.values():
            for attempt in range(1, one.state.attempt + 1):
                try:
                    if launcher is not None:
                        await launcher.purge(AttemptKey(view.runtime_id, one.number, attempt))
                except MilepostError as error:
                    remaining.append(f"attempt {attempt} of trial {one.number}: {error.message}")
        return remaining


def _told(remaining: list[str]) -> tuple[str, ...]:
    """Say what remains, within bounds."""
    told = [line[:MAX_TOLD_CHARACTERS] for line in remaining[:MAX_TOLD]]
    more = len(remaining) - len(told)
    return (*told, *([f"{more:,} more"] if more else []))

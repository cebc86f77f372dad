"""Where snapshots are, whether they are whole, and which one an attempt goes on from."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from milepost import snapshots as files
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.domain import trial
from milepost.snapshots import SnapshotInvalid
from milepost.storage import below, folder_of


@dataclass(frozen=True, slots=True)
class Rejected:
    """A snapshot that did not verify."""

    snapshot_id: str
    step: int
    detail: str


@dataclass(frozen=True, slots=True)
class SnapshotChoice:
    """What an attempt goes on from."""

    # None: from the beginning, or not at all.
    snapshot: trial.SnapshotRecord | None
    rejected: tuple[Rejected, ...] = ()
    # Why it cannot go on at all. Empty: it can.
    refused: str = ""


class SnapshotStorage:
    """The snapshots of all runtimes, below the data directory unless a configuration names another storage."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def uri(self, configuration: RuntimeConfiguration, runtime_id: str, number: int) -> str:
        """Return where the snapshots of a trial go."""
        root = configuration.snapshots.storage or str(self.data_dir.absolute())
        return below(root, f"runtimes/{runtime_id}/trial-{number}/snapshots")

    async def verify(self, record: trial.SnapshotRecord) -> str:
        """Check every file of a snapshot. Returns what is wrong with it; empty: it is whole.

        Raises:
            StorageUnavailable: the storage does not answer, so nothing is known.
        """
        return await self.verify_files(record.uri, record.manifest_sha256)

    async def verify_files(self, uri: str, manifest_sha256: str) -> str:
        """Check every file below an address. Returns what is wrong; empty: nothing. Raises as `verify`."""
        try:
            await asyncio.to_thread(files.verify, uri, manifest_sha256)
        except SnapshotInvalid as error:
            return error.message
        return ""

    async def choose(self, state: trial.Trial) -> SnapshotChoice:
        """Choose what the next attempt of a waiting trial goes on from: the newest that is whole, or the one named."""
        named = state.situation.snapshot_id if isinstance(state.situation, trial.Queued) else ""
        candidates = trial.restorable_snapshots(state)
        if named:
            candidates = [record for record in candidates if record.snapshot_id == named]
            if not candidates:
                return SnapshotChoice(None, refused=f"the snapshot {named} is not there any more")
        rejected: list[Rejected] = []
        for record in candidates:
            problem = await self.verify(record)
            if not problem:
                return SnapshotChoice(record, tuple(rejected))
            rejected.append(Rejected(record.snapshot_id, record.step, problem))
        if rejected:
            return SnapshotChoice(
                None, tuple(rejected), "no snapshot is valid: " + "; ".join(r.detail for r in rejected)
            )
        return SnapshotChoice(None)

    async def remove(self, uri: str) -> None:
        """Remove the files of a snapshot. One that is gone already is fine.

        Raises:
            OSError, StorageUnavailable: they cannot be removed.
        """
        await asyncio.to_thread(lambda: folder_of(uri).remove())

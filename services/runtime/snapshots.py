"""Where snapshots are, whether they are whole, and which one an attempt goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from milepost import code_archive
from milepost import snapshots as files
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import trial
from milepost.security.egress import AddressRefused, Egress
from milepost.snapshots import SnapshotInvalid
from milepost.storage import Folder, StorageUnavailable, StorageUnsupported, below, check_writable
from services.rpc.threads import Threads

# Accesses to storages at once, in all and for one run.
ACCESSES = 64
ACCESSES_PER_RUN = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a snapshot is, as its attempt wrote it, and whose it is."""

    runtime_id: str
    number: int
    snapshot_id: str
    uri: str
    manifest_sha256: str

    @classmethod
    def of(cls, runtime_id: str, number: int, snapshot: trial.SnapshotRecord | api.Snapshot) -> Place:
        """Make it of what is known about a snapshot of a trial."""
        return cls(runtime_id, number, snapshot.snapshot_id, snapshot.uri, snapshot.manifest_sha256)


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


def restorable(state: trial.Trial) -> list[trial.SnapshotRecord]:
    """List what a trial may go on from, best first: its own snapshots, then the one at which it began."""
    origin = trial.origin_record(state)
    return [*trial.restorable_snapshots(state), *([origin] if origin is not None else [])]


class SnapshotStorage:
    """The snapshots of all runtimes, below the data directory unless a configuration names another storage.

    Where a snapshot is, its attempt has said. Nothing is read or removed that does not lie where its trial keeps
    snapshots (`milepost.snapshots.confined`).
    """

    def __init__(self, data_dir: Path, egress: Egress) -> None:
        self.data_dir = data_dir
        self._egress = egress
        # Storages of different runs, of which one may hang.
        self.threads = Threads(ACCESSES, ACCESSES_PER_RUN, "the access to a storage")

    def uri(self, configuration: RuntimeConfiguration, runtime_id: str, number: int) -> str:
        """Return where the snapshots of a trial go."""
        root = configuration.snapshots.storage or str(self.data_dir.absolute())
        return below(root, *files.storage_parts(runtime_id, number))

    def check_writable(self, uri: str) -> None:
        """Write something to a storage and take it away again. Blocks. Raises as `storage.check_writable`, and:

        Raises:
            AddressRefused: this installation does not connect there.
        """
        self._egress.check_uri(uri)
        check_writable(uri)

    def folder(self, configuration: RuntimeConfiguration, at: Place) -> Folder:
        """Return the folder of a snapshot. Blocks.

        Raises:
            SnapshotInvalid: it is said to be where its trial keeps none.
            StorageUnsupported: no adapter reaches it.
            StorageUnavailable: its host is not known, or not allowed, at the moment.
        """
        try:
            self._egress.check_uri(configuration.snapshots.storage)
        except AddressRefused as error:
            # The snapshot may be whole, and the setting may change.
            raise StorageUnavailable(error.message) from error
        # A script keeps what it saves in a data folder of its own.
        by_script = configuration.launcher == config.LAUNCHER_EXTERNAL
        own = None if by_script else self.uri(configuration, at.runtime_id, at.number)
        return files.confined(at.uri, at.snapshot_id, at.runtime_id, at.number, own)

    async def verify(self, configuration: RuntimeConfiguration, at: Place) -> str:
        """Check every file of a snapshot. Returns what is wrong with it; empty: it is whole.

        Raises:
            StorageUnavailable: the storage does not answer, so nothing is known.
        """
        try:
            await self.threads.run(at.runtime_id, None, self._verify, configuration, at)
        except (SnapshotInvalid, StorageUnsupported) as error:
            return error.message
        return ""

    def _verify(self, configuration: RuntimeConfiguration, at: Place) -> None:
        if not at.manifest_sha256:
            raise SnapshotInvalid(f"{at.snapshot_id}: its attempt has not said the checksum of its manifest")
        files.verify(self.folder(configuration, at).uri, at.manifest_sha256)

    async def choose(
        self, configuration: RuntimeConfiguration, state: trial.Trial, of_origin: RuntimeConfiguration | None = None
    ) -> SnapshotChoice:
        """Choose what the next attempt of a waiting trial goes on from: the newest that is whole, or the one named.

        Args:
            of_origin: of a branch, the configuration of its parent; what it began at comes behind what it saved itself.
        """
        named = state.situation.snapshot_id if isinstance(state.situation, trial.Queued) else ""
        candidates = restorable(state)
        if named:
            candidates = [record for record in candidates if record.snapshot_id == named]
            if not candidates:
                return SnapshotChoice(None, refused=f"the snapshot {named} is not there any more")
        rejected: list[Rejected] = []
        for record in candidates:
            problem = await self.verify_of(configuration, state, record, of_origin)
            if not problem:
                return SnapshotChoice(record, tuple(rejected))
            rejected.append(Rejected(record.snapshot_id, record.step, problem))
        if rejected:
            return SnapshotChoice(
                None, tuple(rejected), "no snapshot is valid: " + "; ".join(r.detail for r in rejected)
            )
        return SnapshotChoice(None)

    async def verify_of(
        self,
        configuration: RuntimeConfiguration,
        state: trial.Trial,
        record: trial.SnapshotRecord,
        of_origin: RuntimeConfiguration | None,
    ) -> str:
        """Check a snapshot that a trial may go on from: one of its own, or the one at which it began. As `verify`."""
        origin = state.origin
        if origin is None or record.snapshot_id != origin.snapshot_id or record.uri != origin.uri:
            return await self.verify(configuration, Place.of(state.runtime_id, state.number, record))
        if of_origin is None:
            return f"{record.snapshot_id}: nothing is known of {origin.runtime_id}, at which it began"
        return await self.verify(of_origin, Place.of(origin.runtime_id, origin.trial, record))

    async def remove(self, configuration: RuntimeConfiguration, at: Place) -> None:
        """Remove the files of a snapshot. One that is gone already is fine.

        Raises:
            SnapshotInvalid: it is said to be where its trial keeps none; nothing was removed.
            OSError, StorageUnavailable, StorageUnsupported: they cannot be removed.
        """
        await self.threads.run(at.runtime_id, None, lambda: self.folder(configuration, at).remove())

    def code_folder(self, code: config.Code) -> Path:
        """Return a folder with the content of an archive of code. Blocks. Raises as `code_archive.fetch`, and:

        Raises:
            AddressRefused: this installation does not connect to where it is.
        """
        self._egress.check_uri(code.uri)
        return code_archive.fetch(code, self.data_dir / "code")

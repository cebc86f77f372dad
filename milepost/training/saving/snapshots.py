"""Snapshots: saved training state in a folder of its own, committed in two phases.

    snapshots/step-000000000200-a1/
        state.pt             what the training code gave: tensors and plain values
        shards/              or, of a sharded state, the part of each rank
        rank-0.pt            random generators and data position of each rank
        telemetry-rank-0.sqlite   points up to this step that were not stored yet; only where there are any
        manifest.json        step, position, world size, and SHA-256 and size of every other file

It is written under a temporary name, synced, and renamed; one that is stored elsewhere is written on this machine and
copied, the manifest last. Only `SnapshotCommitted` in the log makes it restorable.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from milepost import files
from milepost.errors import InvalidArgument, Violation
from milepost.files import sync
from milepost.snapshots import MANIFEST, Manifest, fetch, hash_file, read_manifest
from milepost.storage import below, folder_of, local_path
from milepost.training.saving import rng
from milepost.training.saving.adopted import copy_unchanged
from milepost.training.saving.rng import RandomState
from milepost.training.saving.savable import check_savable, check_saved

STATE = "state.pt"
# A checkpoint that another library wrote, in place of the state.
ADOPTED = "checkpoint"


@dataclass(frozen=True, slots=True)
class Boundary:
    """A point between two steps, from which training can go on."""

    step: int
    epoch: int = 0
    # Batches of the epoch that are done.
    batch: int = 0
    random: RandomState | None = None
    # The evaluation that belongs here has not run to its end.
    evaluation_due: bool = False
    # The last step of which samples were kept, by series.
    sample_steps: Mapping[str, int] | None = None
    # Tokens that were read up to here.
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class DataState:
    """How the loader of the current epoch was when it began, so that its order comes again."""

    # None, where `known`: it has not begun, and begins with the random generators of the boundary.
    random: RandomState | None = None
    # Of the loader's own generators, in the order in which they are found.
    generators: tuple[Any, ...] = ()
    # What `loader.state_dict()` gave, where it has one.
    loader: Any | None = None
    # False: which examples the loop has read is not known here. Either it does not read them through `trial.batches` or
    # `trial.track`, or it reads several loaders in one epoch.
    known: bool = True
    # A digest of what the order of a shuffled stream comes from; empty: there is no such stream.
    order: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a snapshot gave back."""

    state: dict[str, Any]
    boundary: Boundary
    data: DataState
    manifest: Manifest


class SnapshotDraft:
    """A snapshot that is being written. Nobody takes it for one until `publish`.

    Args:
        storage_uri: the folder that gets the snapshot as a folder of its own.
        staging: a folder of this machine, for a storage that is elsewhere.
        shared: several ranks write into it, and rank 0 publishes it.
    """

    def __init__(self, storage_uri: str, identifier: str, staging: Path, *, shared: bool = False) -> None:
        self.snapshot_id = identifier
        self._final = folder_of(below(storage_uri, identifier))
        self._local = local_path(self._final.uri)
        near = staging if self._local is None else self._local.parent
        self.folder = near / f".{identifier}.{'ranks' if shared else os.getpid()}.partial"
        if not shared:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=shared)

    @property
    def uri(self) -> str:
        """Where the snapshot is when it is published."""
        return self._final.uri

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state of the training code.

        Raises:
            StateNotSavable: it could not be read back.
        """
        content = dict(state)
        check_savable(content)
        _save(content, self.folder / STATE)
        check_saved(self.folder / STATE)

    def save_shards(self, state: Mapping[str, Any]) -> None:
        """Write this rank's part of the state. All ranks must call it.

        Raises:
            StateNotSavable: it could not be read back.
        """
        from milepost.training.saving import shards

        check_savable(dict(state))
        shards.save(self.folder, state)

    def save_rank(self, rank: int, boundary: Boundary, data: DataState) -> None:
        """Write the random generators and the data position of one rank."""

        content: dict[str, Any] = {"generators": list(data.generators), "loader": data.loader, "known": data.known}
        content["order"] = data.order
        if boundary.sample_steps:
            content["sample_steps"] = dict(boundary.sample_steps)
        if boundary.random is not None:
            content["random"] = rng.to_plain(boundary.random)
        if data.random is not None:
            content["epoch_random"] = rng.to_plain(data.random)
        _save(content, self.folder / f"rank-{rank}.pt")

    def copy(self, source: Path) -> Path:
        """Take a copy of a checkpoint that another library has written, a file or a folder. Returns the copy's folder.

        Raises:
            OSError: something of it cannot be read, or not be written here.
            CheckpointDamaged: it was changed meanwhile.
        """
        target = self.folder / ADOPTED
        if source.is_dir():
            shutil.copytree(source, target, copy_function=copy_unchanged)
        else:
            target.mkdir()
            copy_unchanged(str(source), str(target / source.name))
        return target

    def publish(self, manifest: Manifest) -> tuple[str, int, int]:
        """Sync, write the manifest, and put all of it where it belongs.

        Returns the manifest's SHA-256, the bytes and the number of files.

        Raises:
            OSError, StorageUnavailable: it is not there, or not as a whole.
        """
        total = 0
        for path in sorted(self.folder.rglob("*")):
            if path != self.folder / MANIFEST and path.is_file():
                manifest.files[path.relative_to(self.folder).as_posix()] = [hash_file(path), path.stat().st_size]
                total += path.stat().st_size
            sync(path)
        encoded = manifest.encode()
        files.write(self.folder / MANIFEST, encoded)
        # Left by a try of this attempt that was never committed.
        self._final.remove()
        if self._local is None:
            self._upload(manifest)
        else:
            self._rename(self._local)
        return hashlib.sha256(encoded).hexdigest(), total + len(encoded), len(manifest.files) + 1

    def _rename(self, final: Path) -> None:
        sync(self.folder)
        self.folder.rename(final)
        sync(final.parent)

    def _upload(self, manifest: Manifest) -> None:
        """Copy the files, the manifest last."""
        for name in (*manifest.files, MANIFEST):
            self._final.put(self.folder / name, name)
        self.discard()

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _save(content: dict[str, Any], path: Path) -> None:
    """Write a file with `torch.save`.

    Raises:
        OSError: the disk is full or broken. PyTorch says so in words of its own, which name neither.
    """
    import torch

    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def load(
    uri: str,
    rank: int,
    staging: Path,
    manifest_sha256: str = "",
    map_location: Any = "cpu",
    into: Callable[[], dict[str, Any]] | None = None,
) -> Restored:
    """Verify a snapshot and load it for one rank.

    Args:
        staging: a folder of this machine; what is stored elsewhere is copied there for as long as this takes.
        into: gives a state of the right shape, which a sharded one is read into.

    Raises:
        SnapshotInvalid: it does not verify.
        StorageUnavailable: the storage does not answer.
        InvalidArgument: it is sharded, and there is nothing to read it into.
    """
    import torch

    with _fetched(uri, staging, manifest_sha256) as folder:
        manifest = read_manifest(folder_of(str(folder)), manifest_sha256)
        state = _load_state(folder, map_location, into)
        own = folder / f"rank-{rank}.pt"
        content = torch.load(own, map_location="cpu", weights_only=True) if own.exists() else {}
    random_state = rng.from_plain(content["random"]) if "random" in content else None
    epoch_random = rng.from_plain(content["epoch_random"]) if "epoch_random" in content else None
    boundary = Boundary(manifest.step, manifest.epoch, manifest.batch, random_state, manifest.evaluation_due)
    boundary = replace(boundary, sample_steps=content.get("sample_steps"), tokens=manifest.tokens)
    generators = tuple(content.get("generators", ()))
    data = DataState(
        epoch_random, generators, content.get("loader"), content.get("known", True), content.get("order", "")
    )
    return Restored(state, boundary, data, manifest)


def load_weights(
    uri: str,
    staging: Path,
    manifest_sha256: str,
    map_location: Any = "cpu",
    into: Callable[[], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Load only the state of a snapshot, to start another run from its weights.

    Args:
        manifest_sha256: of the manifest that was committed.

    Raises:
        SnapshotInvalid: it does not verify.
        StorageUnavailable: the storage does not answer.
        InvalidArgument: it is sharded, and there is nothing to read it into.
    """
    with _fetched(uri, staging, manifest_sha256) as folder:
        return _load_state(folder, map_location, into)


def _load_state(folder: Path, map_location: Any, into: Callable[[], dict[str, Any]] | None) -> dict[str, Any]:
    import torch

    if (folder / STATE).exists():
        return dict(torch.load(folder / STATE, map_location=map_location, weights_only=True))
    if into is None:
        problem = "the snapshot is sharded: give a state to read it into, restore(into=...)"
        raise InvalidArgument([Violation("into", problem)])
    from milepost.training.saving import shards

    state = into()
    shards.load(folder, state)
    return state


@contextmanager
def _fetched(uri: str, staging: Path, manifest_sha256: str = "") -> Iterator[Path]:
    """Have a snapshot on this machine for the length of a block."""
    folder = fetch(uri, staging, manifest_sha256)
    try:
        yield folder
    finally:
        if folder.is_relative_to(staging):
            shutil.rmtree(folder, ignore_errors=True)

"""What a snapshot is on disk, and whether it is whole. Light: no training library is needed to check one.

    <storage>/step-000000000200-a1/
        manifest.json    step, position, world size, and SHA-256 and size of every other file
        ...              what the attempt wrote

Only `SnapshotCommitted` in the log makes a snapshot restorable; it carries the SHA-256 of the manifest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from milepost.errors import FailedPrecondition
from milepost.ids import SNAPSHOT_ID
from milepost.storage import (
    Folder,
    NameOutside,
    StorageUnsupported,
    below,
    download,
    folder_of,
    inside,
    is_inner_name,
    local_path,
)

MANIFEST = "manifest.json"
FORMAT = 1
# A manifest names some files of each rank.
MAX_MANIFEST_BYTES = 64 << 20
_CHUNK = 1 << 20


class SnapshotInvalid(FailedPrecondition):
    """A snapshot is missing, incomplete or changed. It must not be restored."""

    reason = "SNAPSHOT_INVALID"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is and what is in it."""

    runtime_id: str
    trial: int
    attempt: int
    snapshot_id: str
    step: int
    epoch: int
    batch: int
    world_size: int
    # name -> [sha256, bytes]
    files: dict[str, list[Any]] = field(default_factory=dict)
    evaluation_due: bool = False
    # Tokens that were read up to here. Not written where none were counted: earlier versions do not know of it.
    tokens: int = 0
    format: int = FORMAT

    def encode(self) -> bytes:
        content = asdict(self)
        if not self.tokens:
            del content["tokens"]
        return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def snapshot_id(step: int, attempt: int) -> str:
    return f"step-{step:012d}-a{attempt}"


def storage_parts(runtime_id: str, trial: int) -> tuple[str, ...]:
    """Return the folders below a storage in which the snapshots of a trial are."""
    return ("runtimes", runtime_id, f"trial-{trial}", "snapshots")


def confined(uri: str, identifier: str, runtime_id: str, trial: int, own: str | None) -> Folder:
    """Return the folder of a snapshot, if it is where its trial keeps snapshots: the address is what an attempt wrote.

    Args:
        identifier: the id of the snapshot, as the attempt wrote it.
        own: the URI of the folder with the snapshots of the trial. None: it is in any data folder of this machine, as
            for the run of a script.

    Raises:
        SnapshotInvalid: it is somewhere else. Nothing was looked at there.
        StorageUnsupported: no adapter reaches it.
    """
    if SNAPSHOT_ID.fullmatch(identifier) and "\0" not in uri:
        path, own_path = local_path(uri), local_path(own) if own is not None else None
        if path is None and own is not None and own_path is None and uri == below(own, identifier):
            return folder_of(uri)
        if path is not None and path.is_absolute() and (own is None or own_path is not None):
            # As the system follows it: the attempt may have put a link in the place of one of its folders. `runtimes` may
            # be one, to a larger disk.
            parent = path.parent.resolve()
            is_own = own_path is None or parent == own_path.resolve()
            of_trial = parent.parts[-3:] == storage_parts(runtime_id, trial)[1:]
            if path.name == identifier and is_own and of_trial and not (parent / identifier).is_symlink():
                return folder_of(str(parent / identifier))
    raise SnapshotInvalid(
        f"the snapshot {identifier[:100]!r} is said to be at {uri[:300]!r}, which lies outside of the storage of its run"
    )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hash_stream(file)


def hash_stream(file: IO[bytes]) -> str:
    """Return the SHA-256 of what is left in a stream in lower-case hex."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def verify(uri: str, manifest_sha256: str = "") -> Manifest:
    """Check every file of a snapshot against its manifest, and the manifest against the event that committed it.

    Raises:
        SnapshotInvalid: says what is missing or different.
        StorageUnavailable: the storage does not answer, so nothing is known.
    """
    folder = _folder(uri)
    manifest = read_manifest(folder, manifest_sha256)
    for name, (digest, size) in manifest.files.items():
        _verify_file(folder, name, digest, size)
    return manifest


def fetch(uri: str, into: Path, manifest_sha256: str = "") -> Path:
    """Return a folder of this machine with a snapshot that verifies: its own, or a copy below `into`.

    Raises:
        SnapshotInvalid: says what is missing or different.
        StorageUnavailable: the storage does not answer.
        OSError: there is no room for a copy.
    """
    path = local_path(uri)
    if path is not None:
        verify(uri, manifest_sha256)
        return path
    folder = _folder(uri)
    copy = into / folder.name
    copy.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder, manifest_sha256)
    for name in (MANIFEST, *manifest.files):
        try:
            download(folder, name, inside(copy, name))
        except (FileNotFoundError, NameOutside) as error:
            raise SnapshotInvalid(f"{folder.name}: {name} is not readable: {error.strerror}") from error
    verify(str(copy), manifest_sha256)
    return copy


def read_manifest(folder: Folder, manifest_sha256: str = "") -> Manifest:
    """Read what a snapshot says of itself, and check that it is what was committed. Raises SnapshotInvalid."""
    try:
        with folder.open(MANIFEST) as file:
            encoded = file.read(MAX_MANIFEST_BYTES)
    except OSError as error:
        raise SnapshotInvalid(f"{folder.name}: the manifest is not readable: {error.strerror}") from error
    if manifest_sha256 and hashlib.sha256(encoded).hexdigest() != manifest_sha256:
        raise SnapshotInvalid(f"{folder.name}: the manifest is not the one that was committed")
    try:
        manifest = Manifest(**json.loads(encoded))
    except (ValueError, TypeError) as error:
        raise SnapshotInvalid(f"{folder.name}: the manifest is not readable: {error}") from error
    if not isinstance(manifest.format, int) or manifest.format > FORMAT:
        raise SnapshotInvalid(f"{folder.name}: written by a newer version (format {manifest.format})")
    _check_files(folder, manifest)
    return manifest


def _check_files(folder: Folder, manifest: Manifest) -> None:
    """Refuse a manifest that names what cannot be a file below its folder. Raises SnapshotInvalid."""
    if not isinstance(manifest.files, dict):
        raise SnapshotInvalid(f"{folder.name}: the manifest is not readable: files is no mapping")
    for name, entry in manifest.files.items():
        if not is_inner_name(name) or name == MANIFEST:
            raise SnapshotInvalid(
                f"{folder.name}: the manifest names {name[:200]!r}, which is no file below the snapshot"
            )
        if not (
            isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], int)
        ):
            raise SnapshotInvalid(f"{folder.name}: the manifest does not say the checksum and the size of {name[:200]}")


def _folder(uri: str) -> Folder:
    try:
        return folder_of(uri)
    except StorageUnsupported as error:
        raise SnapshotInvalid(error.message, reason=StorageUnsupported.reason) from error


def _verify_file(folder: Folder, name: str, digest: str, size: int) -> None:
    try:
        found = folder.size(name)
        if found != size:
            raise SnapshotInvalid(f"{folder.name}: {name} has {found} bytes, not {size}")
        with folder.open(name) as file:
            if hash_stream(file) != digest:
                raise SnapshotInvalid(f"{folder.name}: {name} has another checksum")
    except OSError as error:
        raise SnapshotInvalid(f"{folder.name}: {name} is not readable: {error.strerror}") from error

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
from milepost.storage import Folder, StorageUnsupported, download, folder_of, local_path

MANIFEST = "manifest.json"
FORMAT = 1
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
    format: int = FORMAT

    def encode(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


def snapshot_id(step: int, attempt: int) -> str:
    return f"step-{step:012d}-a{attempt}"


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
            download(folder, name, copy / name)
        except FileNotFoundError as error:
            raise SnapshotInvalid(f"{folder.name}: {name} is not readable: {error.strerror}") from error
    verify(str(copy), manifest_sha256)
    return copy


def read_manifest(folder: Folder, manifest_sha256: str = "") -> Manifest:
    """Read what a snapshot says of itself, and check that it is what was committed. Raises SnapshotInvalid."""
    try:
        with folder.open(MANIFEST) as file:
            encoded = file.read()
    except OSError as error:
        raise SnapshotInvalid(f"{folder.name}: the manifest is not readable: {error.strerror}") from error
    if manifest_sha256 and hashlib.sha256(encoded).hexdigest() != manifest_sha256:
        raise SnapshotInvalid(f"{folder.name}: the manifest is not the one that was committed")
    try:
        manifest = Manifest(**json.loads(encoded))
    except (ValueError, TypeError) as error:
        raise SnapshotInvalid(f"{folder.name}: the manifest is not readable: {error}") from error
    if manifest.format > FORMAT:
        raise SnapshotInvalid(f"{folder.name}: written by a newer version (format {manifest.format})")
    return manifest


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

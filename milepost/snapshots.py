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
from typing import Any
from urllib.parse import unquote, urlparse

from milepost.errors import FailedPrecondition

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


def local_path(uri: str) -> Path:
    """Return the folder that a `file:` URI or a plain path names."""
    parsed = urlparse(uri)
    if parsed.scheme in ("", "file"):
        return Path(unquote(parsed.path if parsed.scheme else uri))
    raise SnapshotInvalid(f"storage {parsed.scheme}: is not reachable as a folder", reason="STORAGE_UNSUPPORTED")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify(uri: str, manifest_sha256: str = "") -> Manifest:
    """Check every file of a snapshot against its manifest, and the manifest against the event that committed it.

    Raises:
        SnapshotInvalid: says what is missing or different.
    """
    folder = local_path(uri)
    try:
        encoded = (folder / MANIFEST).read_bytes()
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
    for name, (digest, size) in manifest.files.items():
        _verify_file(folder, name, digest, size)
    return manifest


def _verify_file(folder: Path, name: str, digest: str, size: int) -> None:
    path = folder / name
    try:
        found = path.stat().st_size
        if found != size:
            raise SnapshotInvalid(f"{folder.name}: {name} has {found} bytes, not {size}")
        if hash_file(path) != digest:
            raise SnapshotInvalid(f"{folder.name}: {name} has another checksum")
    except OSError as error:
        raise SnapshotInvalid(f"{folder.name}: {name} is not readable: {error.strerror}") from error

"""A folder of code as an archive that runs elsewhere, and again on a resume: made, stored, fetched and checked.

Archives are named by their content, `<sha256>.tar.gz`, and equal folders give equal archives: times, owners and the
order of files do not count.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlparse, urlunparse

from milepost import files
from milepost.api.config.v1.configuration_pb2 import Code
from milepost.errors import FailedPrecondition, InvalidArgument, Violation
from milepost.snapshots import hash_file
from milepost.storage import Folder, StorageUnavailable, StorageUnsupported, below, download, folder_of, local_path

log = logging.getLogger(__name__)

MAX_FILES = 10_000
# Of all files together, before compression.
MAX_BYTES = 512 * 1024 * 1024
# `tarfile` copies files in smaller pieces.
_MAX_HEADER = 1 << 20
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "venv", "env", "dist", "build"})


class CodeInvalid(FailedPrecondition):
    """An archive of code is missing, changed, or holds what no archive of code may hold."""

    reason = "CODE_INVALID"


def pack(folder: Path, storage: Path | str) -> Code:
    """Store an archive of a folder below `storage`. What begins with a dot, caches and environments are left out.

    Args:
        storage: a folder, or the URI of one.

    Raises:
        InvalidArgument: it is no folder, it is too large, or a link in it leads out of it.
        OSError, StorageUnavailable, StorageUnsupported: the storage cannot be written to.
    """
    if not folder.is_dir():
        raise InvalidArgument([Violation("code", f"there is no folder {folder}")])
    content = _archive(folder.resolve())
    digest = hashlib.sha256(content).hexdigest()
    name = f"{digest}.tar.gz"
    here = local_path(str(storage))
    if here is None:
        return Code(uri=_upload(content, str(storage), name), digest=f"sha256:{digest}")
    here.mkdir(parents=True, exist_ok=True)
    path = here / name
    if not path.exists() or hash_file(path) != digest:
        files.write(path, content)
    return Code(uri=path.resolve().as_uri(), digest=f"sha256:{digest}")


def _upload(content: bytes, storage: str, name: str) -> str:
    """Put an archive into an object store. Returns its URI."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        folder_of(storage).put(Path(file.name), name)
    return below(storage, name)


def _archive(folder: Path) -> bytes:
    buffer = io.BytesIO()
    total = count = 0
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path in _files(folder):
            size = path.stat().st_size
            total, count = total + size, count + 1
            if total > MAX_BYTES or count > MAX_FILES:
                limit = f"{MAX_BYTES >> 20} MiB or {MAX_FILES:,} files"
                raise InvalidArgument([Violation("code", f"{folder} has more than {limit}; keep data elsewhere")])
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size, entry.mode = size, 0o755 if os.access(path, os.X_OK) else 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    """List the files of a folder in a fixed order."""
    for root, directories, names in os.walk(folder):
        directories[:] = sorted(d for d in directories if not d.startswith(".") and d not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(root) / name
            if name.startswith(".") or name.endswith(".pyc") or not path.is_file():
                continue
            if not path.resolve().is_relative_to(folder):
                raise InvalidArgument([Violation("code", f"{path} is a link that leads out of {folder}")])
            yield path


def fetch(code: Code, storage: Path) -> Path:
    """Return a folder with the content of an archive, unpacked below `storage` once for each digest.

    Beside it stands `<digest>.json`: the SHA-256 of each of its files. A folder with a damaged file is set aside, and
    unpacked again. One that an earlier version has unpacked has no such list, and is compared with its archive once; where
    that is gone, it is taken as it is.

    Raises:
        CodeInvalid: it is missing, has another digest, or holds links, devices or paths that lead out.
        OSError: the storage cannot be written to.
    """
    digest = code.digest.removeprefix("sha256:")
    folder = storage / digest
    listing = storage / f"{digest}.json"
    if folder.is_dir() and listing.exists() and not _difference(folder, _read_listing(listing)):
        return folder
    try:
        return _fetch(code, folder, listing)
    except (CodeInvalid, StorageUnavailable) as error:
        if not folder.is_dir() or listing.exists():
            raise
        log.warning("code.unchecked", extra={"path": str(folder), "error": error.message})
        return folder


def _fetch(code: Code, folder: Path, listing: Path) -> Path:
    """Unpack an archive into a folder, and write the list of its files. A folder that is there and differs is set aside."""
    source, name = _source(code)
    storage = folder.parent
    storage.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=storage))
    try:
        archive = _copy(code, source, name, partial / "archive.tar.gz")
        (partial / "content").mkdir()
        _unpack(archive, partial / "content")
        files.sync_tree(partial / "content")
        listed = _listed(partial / "content")
        files.write(listing, json.dumps(listed))
        if folder.is_dir():
            difference = _difference(folder, listed)
            if not difference:
                return folder
            files.set_aside(folder, difference)
        (partial / "content").rename(folder)
        files.sync(storage)
    except OSError:
        # Another one may have been faster; then it is the same content.
        if not folder.is_dir() or _difference(folder, _read_listing(listing)):
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _listed(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder, by name."""
    names = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in names}


def _read_listing(path: Path) -> dict[str, str] | None:
    """Read a list of files. None: it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _difference(folder: Path, listed: dict[str, str] | None) -> str:
    """Say in what a folder is not as it was unpacked. Empty: in nothing; what came to be in it since does not count."""
    if listed is None:
        return "the list of its files is damaged"
    for name, digest in listed.items():
        try:
            if hash_file(folder / name) != digest:
                return f"{name} has another checksum"
        except OSError as error:
            return f"{name} is not readable: {error.strerror}"
    return ""


def _source(code: Code) -> tuple[Folder, str]:
    """Return where an archive is, once it is known to be a file: nothing is made here for what is none."""
    parent, _, name = urlparse(code.uri).path.rpartition("/")
    try:
        folder = folder_of(urlunparse(urlparse(code.uri)._replace(path=parent or "/")))
        folder.open(unquote(name)).close()
    except StorageUnsupported as error:
        raise CodeInvalid(f"code: {error.message}") from error
    except OSError as error:
        raise CodeInvalid(f"the archive {code.uri} is not readable: {error.strerror}") from error
    return folder, unquote(name)


def _copy(code: Code, folder: Folder, name: str, target: Path) -> Path:
    """Copy an archive to this machine, and check that it is the one that is named."""
    try:
        download(folder, name, target, MAX_BYTES)
    except OSError as error:
        raise CodeInvalid(f"the archive {code.uri} is not readable: {error.strerror}") from error
    found = hash_file(target)
    if found != code.digest.removeprefix("sha256:"):
        raise CodeInvalid(f"the archive {code.uri} has the digest sha256:{found}, not {code.digest}")
    return target


def _unpack(archive: Path, folder: Path) -> None:
    total = 0
    try:
        with gzip.open(archive) as zipped, tarfile.open(fileobj=cast(Any, _Careful(zipped)), mode="r:") as opened:
            for count, entry in enumerate(opened, 1):
                total += entry.size
                if total > MAX_BYTES or count > MAX_FILES:
                    raise CodeInvalid(f"the archive {archive.name} is too large")
                if not (entry.isfile() or entry.isdir()):
                    raise CodeInvalid(
                        f"the archive {archive.name} holds {entry.name}, which is neither file nor folder"
                    )
                opened.extract(entry, folder, filter="data")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CodeInvalid(f"the archive {archive.name} cannot be unpacked: {error}") from error


class _Careful:
    """The content of an archive for `tarfile`, which reads a whole header at once, as large as the archive says it is."""

    def __init__(self, content: gzip.GzipFile) -> None:
        self._content = content

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._content.read(size)

    def seek(self, position: int) -> int:
        if position > 2 * MAX_BYTES:
            raise tarfile.ReadError("it is too large")
        return self._content.seek(position)

    def tell(self) -> int:
        return self._content.tell()

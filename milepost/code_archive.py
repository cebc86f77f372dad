"""A folder of code as an archive that runs elsewhere, and again on a resume: made, stored, fetched and checked.

Archives are named by their content, `<sha256>.tar.gz`, and equal folders give equal archives: times, owners and the
order of files do not count.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse, urlunparse

from milepost.api.config.v1.configuration_pb2 import Code
from milepost.errors import FailedPrecondition, InvalidArgument, Violation
from milepost.snapshots import hash_file
from milepost.storage import StorageUnsupported, below, download, folder_of, local_path

MAXIMUM_FILES = 10_000
# Of all files together, before compression.
MAXIMUM_BYTES = 512 * 1024 * 1024
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
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(path)
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
            if total > MAXIMUM_BYTES or count > MAXIMUM_FILES:
                limit = f"{MAXIMUM_BYTES >> 20} MiB or {MAXIMUM_FILES:,} files"
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

    Raises:
        CodeInvalid: it is missing, has another digest, or holds links, devices or paths that lead out.
        OSError: the storage cannot be written to.
    """
    digest = code.digest.removeprefix("sha256:")
    folder = storage / digest
    if folder.is_dir():
        return folder
    storage.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=storage))
    try:
        archive = _copy(code, partial / "archive.tar.gz")
        (partial / "content").mkdir()
        _unpack(archive, partial / "content")
        (partial / "content").rename(folder)
    except OSError:
        # Another one was faster; it is the same content.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _copy(code: Code, target: Path) -> Path:
    """Copy an archive to this machine, and check that it is the one that is named."""
    parent, _, name = urlparse(code.uri).path.rpartition("/")
    try:
        download(folder_of(urlunparse(urlparse(code.uri)._replace(path=parent or "/"))), unquote(name), target)
    except StorageUnsupported as error:
        raise CodeInvalid(f"code: {error.message}") from error
    except OSError as error:
        raise CodeInvalid(f"the archive {code.uri} is not readable: {error.strerror}") from error
    found = hash_file(target)
    if found != code.digest.removeprefix("sha256:"):
        raise CodeInvalid(f"the archive {code.uri} has the digest sha256:{found}, not {code.digest}")
    return target


def _unpack(archive: Path, folder: Path) -> None:
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for count, entry in enumerate(opened, 1):
                total += entry.size
                if total > MAXIMUM_BYTES or count > MAXIMUM_FILES:
                    raise CodeInvalid(f"the archive {archive.name} is too large")
                if not (entry.isfile() or entry.isdir()):
                    raise CodeInvalid(
                        f"the archive {archive.name} holds {entry.name}, which is neither file nor folder"
                    )
                opened.extract(entry, folder, filter="data")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise CodeInvalid(f"the archive {archive.name} cannot be unpacked: {error}") from error

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
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
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
# How what was packed is written down, and how coarse the times of files may be.
_PACKED_FORM = 1
_COARSE_NS = 3_000_000_000
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "venv", "env", "dist", "build"})


class CodeInvalid(FailedPrecondition):
    """An archive of code is missing, changed, or holds what no archive of code may hold."""

    reason = "CODE_INVALID"


def pack(folder: Path, storage: Path | str, memory: Path | None = None) -> Code:
    """Store an archive of a folder below `storage`. What begins with a dot, caches and environments are left out.

    Args:
        storage: a folder, or the URI of one.
        memory: a folder of this machine in which is kept what was packed of which folder. Where nothing has changed since,
            and the archive is still there, none is made. None: one is made each time.

    Raises:
        InvalidArgument: it is no folder, it is too large, or a link in it leads out of it.
        OSError, StorageUnavailable, StorageUnsupported: the storage cannot be written to.
    """
    if not folder.is_dir():
        raise InvalidArgument([Violation("code", f"there is no folder {folder}")])
    folder = folder.resolve()
    known = None if memory is None else memory / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()}.json"
    began = time.time_ns()
    found = _stats(folder)
    packed = None if known is None else _unchanged(folder, found, _read_packed(known))
    if packed is not None and (code := _stored(packed, str(storage))) is not None:
        _remember(known, Packed(packed.digest, packed.bytes, began, found, packed.hashes))
        return code
    content, hashes = _archive(folder, found)
    packed = Packed(hashlib.sha256(content).hexdigest(), len(content), began, found, hashes)
    code = _store(content, packed, str(storage))
    if _stats(folder) == found:
        _remember(known, packed)
    return code


def _store(content: bytes, packed: Packed, storage: str) -> Code:
    name = f"{packed.digest}.tar.gz"
    here = local_path(storage)
    if here is None:
        return Code(uri=_upload(content, storage, name), digest=f"sha256:{packed.digest}")
    here.mkdir(parents=True, exist_ok=True)
    path = here / name
    if not path.exists() or hash_file(path) != packed.digest:
        files.write(path, content)
    return Code(uri=path.resolve().as_uri(), digest=f"sha256:{packed.digest}")


def _stored(packed: Packed, storage: str) -> Code | None:
    """Return the archive that was made before, where it still is what it was: by its checksum here, by its size elsewhere."""
    name = f"{packed.digest}.tar.gz"
    here = local_path(storage)
    try:
        if here is not None:
            whole = hash_file(here / name) == packed.digest
        else:
            whole = folder_of(storage).size(name) == packed.bytes
    except (OSError, StorageUnavailable):
        return None
    uri = (here / name).resolve().as_uri() if here is not None else below(storage, name)
    return Code(uri=uri, digest=f"sha256:{packed.digest}") if whole else None


# --- what was packed before

# What is known of a file without reading it: its size, when it and its entry changed, which file it is, and whether it may
# be run. Times are in ns.
Stat = tuple[int, int, int, int, int, bool]


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that was made of a folder: what makes it, by the names of the files in their order.

    Attributes:
        began: before the files were looked at, in ns since 1970. What changed at about that time may have changed again
            without any trace in the times of files, and is compared by its SHA-256.
    """

    digest: str
    bytes: int
    began: int
    stats: dict[str, Stat]
    hashes: dict[str, str]


def _stats(folder: Path) -> dict[str, Stat]:
    """Look at each file of a folder."""
    found: dict[str, Stat] = {}
    total = 0
    for path in _files(folder):
        stat = path.stat()
        runs = os.access(path, os.X_OK)
        total += stat.st_size
        if total > MAX_BYTES or len(found) >= MAX_FILES:
            limit = f"{MAX_BYTES >> 20} MiB or {MAX_FILES:,} files"
            raise InvalidArgument([Violation("code", f"{folder} has more than {limit}; keep data elsewhere")])
        name = path.relative_to(folder).as_posix()
        found[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev, runs)
    return found


def _unchanged(folder: Path, found: Mapping[str, Stat], packed: Packed | None) -> Packed | None:
    """Return what was packed before, if it would be packed again. Reads the files whose times do not prove that."""
    if packed is None or list(found) != list(packed.stats):
        return None
    for name, stat in found.items():
        before = packed.stats[name]
        if (stat[0], stat[-1]) != (before[0], before[-1]):
            return None
        if stat == before and max(stat[1], stat[2]) < packed.began - _COARSE_NS:
            continue
        try:
            if hash_file(folder / name) != packed.hashes[name]:
                return None
        except OSError:
            return None
    return packed


def _read_packed(path: Path) -> Packed | None:
    """Read what was remembered. None: nothing, or nothing that is readable."""
    try:
        form, digest, size, began, entries = json.loads(path.read_bytes())
        if form != _PACKED_FORM:
            return None
        stats = {str(name): (*map(int, stat[:-1]), bool(stat[-1])) for name, stat, _ in entries}
        return Packed(digest, int(size), int(began), cast(Any, stats), {name: str(h) for name, _, h in entries})
    except (OSError, ValueError, TypeError):
        return None


def _remember(path: Path | None, packed: Packed) -> None:
    """Keep what was packed. Without it the next archive takes longer, and nothing else."""
    if path is None:
        return
    entries = [[name, stat, packed.hashes[name]] for name, stat in packed.stats.items()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps([_PACKED_FORM, packed.digest, packed.bytes, packed.began, entries]))
    except OSError as error:
        log.debug("code.not_remembered", extra={"path": str(path), "error": str(error)})


# --- making an archive


def _upload(content: bytes, storage: str, name: str) -> str:
    """Put an archive into an object store. Returns its URI."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        folder_of(storage).put(Path(file.name), name)
    return below(storage, name)


def _archive(folder: Path, found: Mapping[str, Stat]) -> tuple[bytes, dict[str, str]]:
    """Return the archive of files, and the SHA-256 of each as it is in there."""
    buffer = io.BytesIO()
    hashes: dict[str, str] = {}
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, stat in found.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = stat[0], 0o755 if stat[-1] else 0o644
            with (folder / name).open("rb") as file:
                reader = _Hashing(file)
                archive.addfile(entry, cast(Any, reader))
            hashes[name] = reader.digest.hexdigest()
    return buffer.getvalue(), hashes


class _Hashing:
    """A file for `tarfile`, whose content is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


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

"""Folders under a URI: on this machine (`file:`), or in an object store that `pyarrow.fs` reaches (`s3:` and others).

    s3://bucket/prefix?region=eu-central-1
    s3://bucket/prefix?scheme=http&endpoint_override=127.0.0.1:9000

Credentials never stand in a URI, which is in the log for ever: the object store's own variables hold them, such as
`AWS_ACCESS_KEY_ID`, or the machine's role.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlparse, urlunparse

from milepost.errors import FailedPrecondition, Unavailable
from milepost.files import create_regular, open_regular, sync

_CHUNK = 1 << 20
_PROBE = ".milepost-probe"


class StorageUnsupported(FailedPrecondition):
    """No adapter for this kind of storage is installed, or the URI is none."""

    reason = "STORAGE_UNSUPPORTED"


class StorageUnavailable(Unavailable):
    """The storage does not answer, or refuses. What is in it is as it was; try again later."""

    reason = "STORAGE_UNAVAILABLE"


class NameOutside(OSError):
    """The name of a file leads out of the folder in which it was looked for."""


class Folder(Protocol):
    """One folder with files in it. Files that are not there raise FileNotFoundError, everywhere.

    Names are relative, with `/` between their parts; one that leads out of the folder, by `..` or by a link, raises
    NameOutside.
    """

    uri: str
    name: str

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read."""
        ...

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        ...

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine into the folder, making the folder. It is durable when this returns."""
        ...

    def remove(self) -> None:
        """Remove the folder with all that is in it. One that is gone already is fine."""
        ...

    def folders(self) -> list[str]:
        """List the names of the folders in it; none where there is no such folder."""
        ...


def folder_of(uri: str) -> Folder:
    """Return the folder that a URI or an absolute path names, there or not.

    Raises:
        StorageUnsupported: no adapter reaches it.
    """
    path = local_path(uri)
    return LocalFolder(path) if path is not None else ObjectFolder(uri)


def local_path(uri: str) -> Path | None:
    """Return the folder of this machine that a `file:` URI or a plain path names; None: it is elsewhere."""
    parsed = urlparse(uri)
    if parsed.scheme in ("", "file"):
        return Path(unquote(parsed.path if parsed.scheme else uri))
    return None


def below(uri: str, *parts: str) -> str:
    """Return the URI of something below a folder. What follows a `?` stays at the end."""
    if uri.startswith("/"):
        uri = Path(uri).as_uri()
    parsed = urlparse(uri)
    return urlunparse(parsed._replace(path="/".join([parsed.path.rstrip("/"), *parts])))


def check_writable(uri: str) -> None:
    """Write something and take it away again.

    Raises:
        StorageUnsupported: no adapter reaches it.
        OSError, StorageUnavailable: it cannot be written to.
    """
    probe = folder_of(below(uri, _PROBE))
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"Written to see whether snapshots can be. It may be removed.\n")
        file.flush()
        probe.put(Path(file.name), "probe")
    probe.remove()


def is_inner_name(name: str) -> bool:
    """Return whether a name is that of a file below a folder: relative, and without `..`."""
    return "\0" not in name and "\\" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def download(folder: Folder, name: str, target: Path, most: int | None = None) -> None:
    """Copy a file of a folder to this machine.

    Args:
        most: bytes that it may have. None: as many as it has.

    Raises:
        OSError: it is larger (EFBIG), is not there, or there is no room for it.
    """
    if most is not None and folder.size(name) > most:
        raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB", name)
    target.parent.mkdir(parents=True, exist_ok=True)
    copied = 0
    with folder.open(name) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            copied += len(chunk)
            if most is not None and copied > most:
                raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB", name)
            file.write(chunk)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file below a folder, there or not.

    Raises:
        NameOutside: the name leads out of it, by `..` or by a link on the way.
    """
    path = folder / name
    if not is_inner_name(name) or not path.resolve().is_relative_to(folder.resolve()):
        raise NameOutside(errno.EPERM, f"it leads out of {folder}", name)
    return path


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.uri = path.absolute().as_uri()
        self.name = path.name

    def open(self, name: str) -> IO[bytes]:
        return open_regular(inside(self._path, name))

    def size(self, name: str) -> int:
        return inside(self._path, name).stat().st_size

    def put(self, source: Path, name: str) -> None:
        path = inside(self._path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file, create_regular(path) as target:
            shutil.copyfileobj(file, target, _CHUNK)
            target.flush()
            os.fsync(target.fileno())
        sync(path.parent)

    def remove(self) -> None:
        try:
            shutil.rmtree(self._path)
        except FileNotFoundError:
            return

    def folders(self) -> list[str]:
        try:
            return sorted(path.name for path in self._path.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []


class ObjectFolder:
    """A prefix of an object store, whose folders exist as long as something is in them."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            from pyarrow import fs
        except ImportError as error:
            raise StorageUnsupported(
                f"storage {urlparse(uri).scheme}: needs pyarrow, which is not installed here"
            ) from error
        self._fs: Any = fs
        with _typed(uri):
            try:
                self._store, self._prefix = fs.FileSystem.from_uri(uri)
            except (ValueError, NotImplementedError) as error:
                raise StorageUnsupported(f"storage {urlparse(uri).scheme}: {error}") from error
        self.name = self._prefix.rpartition("/")[2]

    def open(self, name: str) -> IO[bytes]:
        with _typed(self.uri):
            opened: IO[bytes] = self._store.open_input_file(f"{self._prefix}/{name}")
        return opened

    def size(self, name: str) -> int:
        with _typed(self.uri):
            found = self._store.get_file_info(f"{self._prefix}/{name}")
        if found.type != self._fs.FileType.File:
            raise FileNotFoundError(2, "No such file", f"{self.uri}/{name}")
        return int(found.size)

    def put(self, source: Path, name: str) -> None:
        with _typed(self.uri), source.open("rb") as file:
            # As it is: by default names like `x.gz` would be compressed once more.
            with self._store.open_output_stream(f"{self._prefix}/{name}", compression=None) as target:
                shutil.copyfileobj(file, target, _CHUNK)

    def remove(self) -> None:
        with _typed(self.uri):
            try:
                self._store.delete_dir(self._prefix)
            except FileNotFoundError:
                return

    def folders(self) -> list[str]:
        with _typed(self.uri):
            found = self._store.get_file_info(self._fs.FileSelector(self._prefix, allow_not_found=True))
        return sorted(one.base_name for one in found if one.type == self._fs.FileType.Directory)


@contextmanager
def _typed(uri: str) -> Iterator[None]:
    """Tell a store that fails from a file that is not there: only the latter says anything about what was stored."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        parsed = urlparse(uri)
        raise StorageUnavailable(f"the storage {parsed.scheme}://{parsed.hostname or ''}: {error}") from error

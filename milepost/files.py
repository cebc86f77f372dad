"""Files that outlast a power cut, what becomes of those that did not, and files that are nothing else.

Every file that is read again later is written by `write`: after a power cut it is the old one or the new one. A file that is
damaged all the same is set aside by whoever reads it: it gets the ending `.damaged`, and what it held is made anew where
that can be. `milepost doctor` names what lies there.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, TypeVar

DAMAGED = ".damaged"

Filled = TypeVar("Filled")

log = logging.getLogger(__name__)


def sync(path: Path) -> None:
    """Have the system put on disk what was written to a file, or which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Replace a file, as a whole or not at all.

    Args:
        mode: what it is made with; the umask applies.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.
    """
    encoded = content.encode() if isinstance(content, str) else content
    _replace(path, mode, lambda file: file.write(encoded))


def write_pieces(path: Path, pieces: Iterable[bytes], *, mode: int = 0o644) -> int:
    """Replace a file by what comes in pieces. Returns the number of bytes. As `write`."""
    return _replace(path, mode, lambda file: sum(map(file.write, pieces)))


def copy(source: Path, path: Path, *, mode: int = 0o644) -> None:
    """Replace a file by a copy of another one. As `write`."""
    with source.open("rb") as opened:
        _replace(path, mode, lambda file: shutil.copyfileobj(opened, file))


def _replace(path: Path, mode: int, fill: Callable[[IO[bytes]], Filled]) -> Filled:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            filled = fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)
    return filled


def sync_tree(folder: Path) -> None:
    """Have the system put on disk everything below a folder."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            sync(path)
    for path in (*(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), folder):
        sync(path)


def set_aside(path: Path, why: str, into: Path | None = None) -> Path | None:
    """Take a file, or a folder, that is damaged out of the way, and say so in the log. Returns where it is now.

    None: somebody else was faster. `into`: another folder of the same disk, for one that takes no strange names.

    Raises:
        OSError: it cannot be renamed.
    """
    folder = path.parent if into is None else into
    aside = folder / (path.name + DAMAGED)
    while os.path.lexists(aside):
        aside = folder / f"{path.name}.{secrets.token_hex(3)}{DAMAGED}"
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    log.error("file.damaged", extra={"path": str(path), "error": why[:300], "set_aside": str(aside)})
    return aside


# Where something is set aside in a data directory.
_PLACES = ("", "anchors", "clickhouse", "code", "imports", "keys", "runtimes/*", "runtimes/*/trial-*/attempt-*")


def damaged_below(data_dir: Path) -> list[Path]:
    """List what was set aside in a data directory."""
    found = (path for place in _PLACES for path in data_dir.glob(f"{place}/*{DAMAGED}".lstrip("/")))
    return sorted(found)


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read, at a path that somebody else named.

    Raises:
        OSError: it is not there, or no regular file: opening a pipe would wait for who writes to it, for ever.
    """
    return os.fdopen(_regular(path, os.O_RDONLY), "rb")


def read_regular(path: Path, limit: int, *, from_end: bool = False) -> bytes:
    """Read a file in a folder to which somebody else writes: its first bytes, or its last ones.

    Args:
        limit: bytes that are read at most, however many there are.

    Raises:
        OSError: it is not there, no regular file, or a link to another one.
    """
    with os.fdopen(_regular(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        if from_end:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)


def open_confined(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file in a folder to which somebody else writes. Returns its descriptor.

    Raises:
        OSError: it is not there, no regular file, or a link to another one.
    """
    return _regular(path, flags | os.O_NOFOLLOW, mode)


def is_irregular(path: Path) -> bool:
    """Return whether something else than a regular file is there: a folder, a pipe, a link."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_confined(folder: Path, below: Path) -> bool:
    """Return whether a folder is where its path says, below another one: no part of the way is a link to elsewhere."""
    try:
        return folder.resolve() == below.resolve() / folder.relative_to(below)
    except (OSError, ValueError, RuntimeError):
        return False


def parse_json(content: bytes | str) -> Any:
    """Read JSON that somebody else has written.

    Raises:
        ValueError: it is none, or nested so deeply that it cannot be read.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def create_regular(path: Path) -> IO[bytes]:
    """Make a file at a path that somebody else named, or write over the one that is there. Raises as `open_regular`."""
    return os.fdopen(_regular(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")


def _regular(path: Path, flags: int, mode: int = 0o666) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))

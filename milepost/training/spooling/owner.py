"""Who owns a file that one process writes: a lock that ends with that process, and a word on who it is.

The lock is the kernel's (`flock`) on an open file. It is gone when its process is, however that ended, and a process
that is suspended still has it. Children do not keep it: one that is forked off closes its copy at once, one that runs
another program never gets it. The file says who the owner is, so that on the same machine a lock that is kept by
something else than its owner (a child that C code forked off) is seen through, and an owner is known where a file
system has no locks.

Where locks say nothing of other machines, and the owner is on one, nobody can tell: that is `Life.UNKNOWN`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from milepost import files

# Somebody who only looks whether a lock is held has it for some microseconds.
_TRIES = 20
_BETWEEN_TRIES_SECONDS = 0.01
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

FileLock = Callable[[int, int], None]


def owner_file(spool: Path) -> Path:
    """Return where the owner of a spool stands. That of an attempt is the owner of its driver's spool."""
    return spool.with_suffix(".owner")


class Life(Enum):
    """What is known of the owner of a file."""

    NOBODY = "nobody"
    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, named so that no other process of any machine has the same name."""

    host: str
    # Of the running kernel: another one after each boot, and on each machine.
    boot_id: str
    # Process ids are those of this namespace.
    pid_namespace: str
    process_id: int
    # Clock ticks from the boot to the start of the process. A later process with the same id has another.
    process_start: int
    since: str
    # Whether the file system has locks.
    locks: bool
    # Of the file: a copy of it has another.
    inode: int

    def __str__(self) -> str:
        return f"process {self.process_id} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine since its last boot."""
        return self.boot_id != "" and self.boot_id == _boot_id()

    def is_running(self) -> bool | None:
        """Return whether the process exists. None: it cannot be seen from here."""
        if not self.is_here or self.pid_namespace != _pid_namespace() or self.process_start == 0:
            return None
        start = _process_start(self.process_id)
        # Where processes of other users are hidden, one that exists cannot be told from a later one.
        return start == self.process_start if start or not _is_hidden(self.process_id) else None


class Owned(Exception):
    """Another process has it; the message says which."""

    def __init__(self, path: Path, owner: Owner | None) -> None:
        super().__init__(f"{path} is written by {owner or 'another process'}")
        self.path = path
        self.owner = owner


class OwnerLock:
    """The right to write something, held until it is released or the process ends."""

    def __init__(self, path: Path, lock: FileLock = fcntl.flock) -> None:
        """Take the lock.

        Raises:
            Owned: a living process has it, or it cannot be told whether the one that has it lives.
            OSError: the file cannot be made or written.
        """
        self.path = path
        self._descriptor = _take(path, lock)
        _held.add(self)

    @property
    def held(self) -> bool:
        """False after the release, and in a process that was forked off."""
        return self._descriptor >= 0

    def release(self) -> None:
        """Remove the file and give the lock up. Repeats, and a child of the owner, do nothing."""
        if not self.held:
            return
        # While it is locked: nobody takes a file that is about to go.
        if _is_at(self._descriptor, self.path):
            self.path.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        _held.discard(self)
        if descriptor >= 0:
            # The lock is that of the open file, which the owner still has when a child closes its copy.
            os.close(descriptor)


_held: weakref.WeakSet[OwnerLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_forget_all)


def look(path: Path, lock: FileLock = fcntl.flock) -> tuple[Life, Owner | None]:
    """Return what is known of the owner of a lock file, and who it is or was. Changes nothing."""
    try:
        descriptor = files.open_confined(path, os.O_RDONLY)
    except FileNotFoundError:
        return Life.NOBODY, None
    except OSError:
        # It is no file, or not to be read: by it nobody can be told to be dead.
        return Life.UNKNOWN, None
    try:
        free = _try_lock(descriptor, fcntl.LOCK_SH, lock)
        return _judge_file(descriptor, free), _read(descriptor)
    finally:
        os.close(descriptor)


def is_alive(path: Path) -> bool:
    """Return whether the owner of a lock file is known to live."""
    return look(path)[0] is Life.ALIVE


def judge(owner: Owner | None, *, free: bool | None, running: bool | None, same_file: bool, local: bool) -> Life:
    """Conclude from what was seen.

    Args:
        owner: what the file says; None: its owner has not written it yet, or could not.
        free: whether the lock can be had; None: there are no locks.
        running: whether the process exists; None: it cannot be seen from here.
        same_file: whether the file is the one that its owner made, and no copy.
        local: whether locks here say nothing of other machines.
    """
    if owner is not None and not same_file:
        return Life.DEAD
    if free is None or (owner is not None and not owner.locks):
        return {True: Life.ALIVE, False: Life.DEAD, None: Life.UNKNOWN}[running]
    if not free:
        return Life.DEAD if running is False else Life.ALIVE
    if local and owner is not None and not owner.is_here:
        return Life.UNKNOWN
    return Life.DEAD


def _take(path: Path, lock: FileLock) -> int:
    for _ in range(_TRIES):
        descriptor = files.open_confined(path, os.O_RDWR | os.O_CREAT)
        try:
            free = _try_lock(descriptor, fcntl.LOCK_EX, lock)
            vacant = _judge_file(descriptor, free) is Life.DEAD or os.fstat(descriptor).st_size == 0
            # Not one that its last owner has just removed.
            if free is not False and vacant and _is_at(descriptor, path):
                _write(descriptor, locks=free is True)
                return descriptor
            owner = _read(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        time.sleep(_BETWEEN_TRIES_SECONDS)
    raise Owned(path, owner)


def _try_lock(descriptor: int, how: int, lock: FileLock) -> bool | None:
    """Try to have the lock. None: the file system has none."""
    try:
        lock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def _judge_file(descriptor: int, free: bool | None) -> Life:
    owner, status = _read(descriptor), os.fstat(descriptor)
    return judge(
        owner,
        free=free,
        running=owner.is_running() if owner is not None else None,
        same_file=owner is not None and owner.inode == status.st_ino,
        local=_locks_are_local(_mounts(), f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"),
    )


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def this_process(*, locks: bool = False, inode: int = 0) -> Owner:
    """Name this process, as the owner of a file if that is given."""
    return Owner(
        host=socket.gethostname(),
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        process_id=os.getpid(),
        process_start=_process_start(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        locks=locks,
        inode=inode,
    )


def _write(descriptor: int, *, locks: bool) -> None:
    content = json.dumps(asdict(this_process(locks=locks, inode=os.fstat(descriptor).st_ino))).encode()
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))


def _read(descriptor: int) -> Owner | None:
    try:
        content = files.parse_json(os.pread(descriptor, 4096, 0))
        owner = Owner(**{field.name: content[field.name] for field in fields(Owner)})
    except (ValueError, KeyError, TypeError):
        return None
    return owner if _is_sound(owner) else None


def _is_sound(owner: Owner) -> bool:
    """Return whether what a file says can be the name of a process: it becomes part of paths, and is shown to people."""
    texts = (owner.host, owner.boot_id, owner.pid_namespace, owner.since)
    numbers = (owner.process_id, owner.process_start, owner.inode)
    return (
        all(isinstance(text, str) and text.isprintable() for text in texts)
        and all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
        and 0 < owner.process_id < 1 << 31
        and isinstance(owner.locks, bool)
    )


def _boot_id() -> str:
    return _read_text("/proc/sys/kernel/random/boot_id")


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _process_start(process_id: int) -> int:
    """Return the clock ticks from the boot to the start of a process; 0: there is none, or it is a zombie."""
    # The name of the program, in brackets, may have anything in it.
    state, *values = _read_text(f"/proc/{process_id}/stat").rpartition(")")[2].split() or ["X"]
    return 0 if state in "ZX" else int(values[18])


def _is_hidden(process_id: int) -> bool:
    """Return whether a process exists that `/proc` does not show."""
    if _read_text(f"/proc/{process_id}/stat"):
        return False
    try:
        os.kill(process_id, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _mounts() -> str:
    return _read_text("/proc/self/mountinfo")


def _locks_are_local(mounts: str, device: str) -> bool:
    """Return whether a network file system was mounted so that locks are this machine's alone."""
    for line in mounts.splitlines():
        place, _, kind = line.partition(" - ")
        if place.split()[2:3] == [device]:
            name, *_, options = kind.split()
            nfs = name.startswith("nfs") and {"nolock", "local_lock=all", "local_lock=flock"} & set(options.split(","))
            return bool(nfs) or (name == "lustre" and "localflock" in options.split(","))
    return False


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""

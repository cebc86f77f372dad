"""Who owns a spool: the lock ends with its process, and with nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from milepost.training.spooling import owner as owners
from milepost.training.spooling.owner import Life, Owned, Owner, OwnerLock, is_alive, judge, look

OWNER = """
import ctypes, os, signal, sys
from pathlib import Path
from milepost.training.spooling.owner import OwnerLock
lock = OwnerLock(Path(sys.argv[1]))
child = 0
if sys.argv[2] == "fork":
    child = os.fork()
elif sys.argv[2] == "fork in C":
    # As a library does it, past the interpreter.
    child = ctypes.PyDLL(None).fork()
elif sys.argv[2] == "release in a child":
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
if child == 0 and sys.argv[2].startswith("fork"):
    os.write(1, b"%d\\n" % os.getpid())
    signal.pause()
elif not sys.argv[2].startswith("fork"):
    print(0, flush=True)
signal.pause()
"""


@contextmanager
def _owner(path: Path, what: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has the lock, and the id of its child, if it has one."""
    command = [sys.executable, "-c", OWNER, str(path), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)


def test_a_spool_is_owned_until_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "spool.owner"
    assert look(path) == (Life.NOBODY, None)
    with _owner(path) as (process, _):
        life, owner = look(path)
        assert life is Life.ALIVE and owner is not None and owner.process_id == process.pid
        with pytest.raises(Owned, match=f"process {process.pid} on "):
            OwnerLock(path)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert is_alive(path), "one that is suspended lives"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert look(path)[0] is Life.DEAD, "also before its parent has looked after it"
        taken = OwnerLock(path)
        assert look(path)[0] is Life.ALIVE
        taken.release()
        assert not path.exists()


@pytest.mark.parametrize("how", ["fork", "fork in C"])
def test_a_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path: Path, how: str) -> None:
    path = tmp_path / "spool.owner"
    with _owner(path, how) as (process, _):
        assert is_alive(path)
        process.kill()
        process.wait()
        assert look(path)[0] is Life.DEAD


def test_a_child_does_not_release_the_lock_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "spool.owner"
    with _owner(path, "release in a child"):
        assert is_alive(path)


def test_of_many_who_want_a_lock_one_has_it(tmp_path: Path) -> None:
    """Also while the file goes and comes, and while others look at it."""
    path = tmp_path / "spool.owner"
    inside, most = 0, 0

    def take(_: int) -> None:
        nonlocal inside, most
        try:
            lock = OwnerLock(path)
        except Owned:
            return
        inside += 1
        most = max(most, inside)
        look(path)
        inside -= 1
        lock.release()

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(take, range(200)))
    assert most == 1
    assert not path.exists()


def test_the_copy_of_an_owned_folder_is_not_owned(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path / "spool.owner")
    copy = Path(shutil.copy(tmp_path / "spool.owner", tmp_path / "copy.owner"))
    assert look(copy)[0] is Life.DEAD
    lock.release()


def test_without_locks_an_owner_is_known_by_its_process(tmp_path: Path) -> None:
    def without_locks(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    path = tmp_path / "spool.owner"
    lock = OwnerLock(path, without_locks)
    assert look(path, without_locks)[0] is Life.ALIVE
    with pytest.raises(Owned):
        OwnerLock(path, without_locks)
    lock.release()
    assert look(path, without_locks)[0] is Life.NOBODY


def _named(**changed: object) -> Owner:
    facts: dict[str, object] = {
        "host": "node", "boot_id": "another", "pid_namespace": "pid:[1]", "process_id": 1, "process_start": 1,
        "since": "", "locks": True, "inode": 1,
    }  # fmt: skip
    return Owner(**{**facts, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("owner", "free", "running", "same_file", "local", "life"),
    [
        pytest.param(_named(), False, None, True, False, Life.ALIVE, id="the lock is held, on another machine"),
        pytest.param(_named(), True, None, True, False, Life.DEAD, id="the lock of another machine is free"),
        pytest.param(_named(), True, None, True, True, Life.UNKNOWN, id="locks say nothing of other machines"),
        pytest.param(_named(), True, None, False, True, Life.DEAD, id="a copy from another machine"),
        pytest.param(_named(), False, False, True, False, Life.DEAD, id="something else than its owner keeps the lock"),
        pytest.param(_named(), True, True, True, False, Life.DEAD, id="its owner has released it"),
        pytest.param(_named(locks=False), None, None, True, False, Life.UNKNOWN, id="no locks, another machine"),
        pytest.param(_named(locks=False), None, False, True, False, Life.DEAD, id="no locks, the process is gone"),
        pytest.param(None, False, None, False, False, Life.ALIVE, id="held by one that has not said who it is"),
    ],
)
def test_life_is_concluded_from_what_is_seen(
    owner: Owner | None, free: bool | None, running: bool | None, same_file: bool, local: bool, life: Life
) -> None:
    assert judge(owner, free=free, running=running, same_file=same_file, local=local) is life


@pytest.mark.parametrize(
    ("mount", "local"),
    [
        ("24 1 0:52 / /data rw,relatime - nfs4 server:/data rw,vers=4.2,hard,local_lock=none", False),
        ("24 1 0:52 / /data rw,relatime - nfs server:/data rw,vers=3,hard,local_lock=flock", True),
        ("24 1 0:52 / /data rw,relatime shared:7 - nfs server:/data rw,vers=3,nolock,local_lock=all", True),
        ("24 1 0:52 / /scratch rw - lustre mds@tcp:/scratch rw,flock,lazystatfs", False),
        ("24 1 0:52 / /scratch rw - lustre mds@tcp:/scratch rw,localflock,lazystatfs", True),
        ("24 1 0:53 / /other rw - nfs server:/other rw,nolock", False),
    ],
)
def test_a_mount_says_whether_its_locks_are_this_machines_alone(mount: str, local: bool) -> None:
    assert owners._locks_are_local(f"23 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mount}\n", "0:52") is local

"""The user of the operating system as which attempts run on this machine, so that the keys of the installation are not theirs.

Whoever starts a run says what code it executes. As the user of the services that code could read their keys, and make
itself admin. As a user of its own it reads what is open to everybody, and what it is given:

    runtimes/<run>/trial-<n>/snapshots   it writes here, and removes what it wrote
    runtimes/<run>/trial-<n>/attempt-<m> the same; what the launcher writes there it can read, and not change

All attempts of an installation are one user: they are kept from the services, not from each other.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# What attempts get into below a data directory. Everything else there is closed to them.
OPEN = frozenset({"runtimes", "code"})
# Writes of the group, and the sticky bit: nobody removes or replaces what is somebody else's.
SHARED = 0o1770
ENTERED = 0o711
READ_BY_GROUP = 0o640

_READABLE = 'for file; do if [ -r "$file" ] || [ -w "$file" ]; then printf "%s\\0" "$file"; fi; done'
_UNREACHABLE = 'for file; do if ! [ -x "$file" ]; then printf "%s\\0" "$file"; fi; done'


@dataclass(frozen=True, slots=True)
class AttemptUser:
    """A user that is neither root nor that of the services."""

    name: str
    uid: int
    gid: int
    home: Path

    @classmethod
    def of(cls, text: str) -> AttemptUser:
        """Find a user by name or number.

        Raises:
            ValueError: there is none, it may do too much, or this process cannot become it; the message says which.
        """
        try:
            found = pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
        except (KeyError, OverflowError) as error:
            raise ValueError(f"there is no user {text} on this machine; make one: useradd --system {text}") from error
        if found.pw_uid == 0:
            raise ValueError(f"{text} is root: take a user that can do nothing")
        if os.geteuid() != 0:
            raise ValueError("only root can start programs as another user, and this process is not root")
        return cls(found.pw_name, found.pw_uid, found.pw_gid, Path(found.pw_dir))

    def readable(self, paths: Iterable[Path]) -> list[Path]:
        """Return those files and folders that the user can read or write."""
        return self._told(_READABLE, paths)

    def unreachable(self, paths: Iterable[Path]) -> list[Path]:
        """Return those folders that the user cannot enter, and programs that it cannot run."""
        return self._told(_UNREACHABLE, paths)

    def _told(self, script: str, paths: Iterable[Path]) -> list[Path]:
        command = ["/bin/sh", "-c", script, "sh", *map(str, paths)]
        told = subprocess.run(
            command, cwd="/", env={}, user=self.uid, group=self.gid, extra_groups=[], capture_output=True, check=True
        )
        return [Path(os.fsdecode(name)) for name in told.stdout.split(b"\0") if name]

    def prepare(self, data_dir: Path) -> None:
        """Let the user into a data directory, to what is meant for attempts and nothing else."""
        data_dir.chmod(ENTERED)
        for name in OPEN:
            folder = data_dir / name
            folder.mkdir(exist_ok=True)
            folder.chmod(ENTERED)
        for entry in data_dir.iterdir():
            if entry.name not in OPEN and not entry.is_symlink():
                entry.chmod(entry.stat().st_mode & 0o700)

    def share(self, folder: Path, below: Path) -> None:
        """Make a folder in which the user may write, and let it reach it from `below`."""
        folder.mkdir(parents=True, exist_ok=True)
        for parent in folder.parents:
            if parent == below:
                break
            parent.chmod(ENTERED)
        os.chown(folder, 0, self.gid, follow_symlinks=False)
        folder.chmod(SHARED)

    def show(self, path: Path) -> None:
        """Let the user read a file that the launcher has written."""
        os.chown(path, 0, self.gid, follow_symlinks=False)
        path.chmod(READ_BY_GROUP)

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what the environment says of the user; without a home of its own it is at home in a folder."""
        try:
            at_home = self.home.stat().st_uid == self.uid
        except OSError:
            at_home = False
        return {"HOME": str(self.home if at_home else folder), "USER": self.name, "LOGNAME": self.name}

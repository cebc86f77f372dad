"""Disks for tests: small file systems that can be filled, and whose power can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """An ext4 file system in an image file, mounted at `path`."""

    image: Path
    path: Path

    @contextmanager
    def after_power_cut(self, directory: Path) -> Iterator[Path]:
        """Mount what a power cut at this instant would leave: what reached the device, not what only the kernel has.

        Whoever writes to the disk should be stopped meanwhile.
        """
        copy = directory / "after.img"
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        with _mounted(copy, directory / "after") as path:
            yield path
        copy.unlink()


@contextmanager
def disk(directory: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of some size, for the length of a block. The test is skipped where nothing may be mounted."""
    image = directory / "disk.img"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting a file system needs root and mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    with _mounted(image, directory / "disk") as path:
        yield Disk(image, path)
    image.unlink()


@contextmanager
def _mounted(image: Path, path: Path) -> Iterator[Path]:
    path.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, path], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path, leave_bytes: int) -> Path:
    """Fill a disk with one file up to some free bytes; returns the file, whose removal makes room again."""
    ballast = path / "ballast"
    free = shutil.disk_usage(path).free
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(0, free - leave_bytes))
    return ballast

"""What this machine offers to attempts, and the secrets it keeps for them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from services.runtime.policies.placement import Capacity

_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


def capacity(cpus: str = "", gpus: str = "", memory_gigabytes: str = "") -> Capacity:
    """Measure this machine; what is given as text is taken instead.

    Raises:
        SystemExit: a given value is not a number.
    """
    try:
        return Capacity(
            host=socket.gethostname(),
            cpus=float(cpus) if cpus else float(len(os.sched_getaffinity(0))),
            memory_gigabytes=float(memory_gigabytes) if memory_gigabytes else _memory_bytes() / 1e9,
            gpus=tuple(range(int(gpus))) if gpus else _gpus(),
        )
    except ValueError as error:
        raise SystemExit(f"the capacity of this host must be given in numbers: {error}") from error


def _memory_bytes() -> float:
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, float(limit)) if limit.isdigit() else total


def _gpus() -> tuple[int, ...]:
    """List the GPUs of this machine that this process may use."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        listed = subprocess.run(
            [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = tuple(int(line) for line in listed.stdout.split() if line.isdigit())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    allowed = {int(part) for part in visible.split(",") if part.strip().isdigit()}
    return tuple(index for index in found if index in allowed)


def secrets(data_dir: Path, environment: Mapping[str, str] = os.environ) -> Callable[[str], str | None]:
    """Return what looks up a secret: `MILEPOST_SECRET_<NAME>` of this process, then the file `secrets/<NAME>`."""

    def look_up(name: str) -> str | None:
        if _SECRET.fullmatch(name) is None:
            return None
        value = environment.get(f"MILEPOST_SECRET_{name}")
        if value is not None:
            return value
        try:
            return (data_dir / "secrets" / name).read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError):
            return None

    return look_up

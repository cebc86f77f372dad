"""The memory that user code may use: what its configuration asked for.

Linux counts private writable memory against `RLIMIT_DATA`, touched or not. Libraries reserve far more than they touch, so
what is reserved and untouched when user code begins is added to the limit.
"""

from __future__ import annotations

import errno
import resource
import sys
from pathlib import Path

# What remains beyond the limit for telling how an attempt ended.
RESERVE_BYTES = 256 * 2**20
# Words of errors by which PyTorch tells that there is no memory, without a type of their own for it.
_WORDS = ("can't allocate memory", "out of memory")


def limit_memory(gigabytes: float) -> None:
    """Limit what this process may use, shared memory and page cache apart; processes that it starts begin with the limit too.

    Args:
        gigabytes: in units of 10^9 bytes. 0: no limit.
    """
    if not gigabytes or sys.platform != "linux":
        return
    reserved, touched = _reserved_and_touched()
    allowed = int(gigabytes * 1e9) + max(0, reserved - touched)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    highest = allowed + RESERVE_BYTES
    if hard != resource.RLIM_INFINITY:
        highest = min(highest, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed, highest), highest))


def release_reserve() -> None:
    """Let this process use the reserve too: what comes now tells how it ended."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def tells_of_memory(error: BaseException) -> bool:
    """Return whether an error means that there was no memory, in main memory or on a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def _reserved_and_touched() -> tuple[int, int]:
    """Return the private writable memory of this process, and how much of it is in use, in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return _bytes(status["VmData"]), _bytes(status["RssAnon"])


def _bytes(text: str) -> int:
    return int(text.split()[0]) * 1024

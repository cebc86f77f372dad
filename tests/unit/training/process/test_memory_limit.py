"""The limit of memory for user code: what counts, what is kept for the end, and how its errors are known."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import pytest

from milepost.training.process.memory import tells_of_memory

PROGRAM = """
import json, mmap
from milepost.training.process.memory import limit_memory, release_reserve

untouched = mmap.mmap(-1, 2**30, flags=mmap.MAP_PRIVATE)  # reserved as libraries do
limit_memory(0.3)
kept, told = [], []
def take(megabytes):
    try:
        kept.append(bytearray(megabytes * 10**6))
        told.append(True)
    except MemoryError:
        told.append(False)
take(150)
take(200)
release_reserve()
take(200)
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only")
def test_what_is_reserved_and_untouched_does_not_count_and_the_reserve_is_for_the_end() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(result.stdout) == [True, False, True]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3000000000 bytes."), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("the loss went away"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_for_want_of_memory_are_known(error: Exception, expected: bool) -> None:
    assert tells_of_memory(error) is expected

"""Growth 28: `--code` with a folder of 4, 40 and 400 MB that did not change since the last start, and the first time."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from milepost.code_archive import pack
from tests.benchmarks.parts.figures import report
from tests.benchmarks.parts.growth import report_growth

SIZES = (4, 40, 400)
FILE_BYTES = 1 << 20
TURNS = 5


def seconds_to_pack(megabytes: int) -> tuple[float, float]:
    """Return how long the first archive of a folder takes, and a later one."""
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        code, store, memory = (Path(folder) / name for name in ("code", "store", "memory"))
        code.mkdir()
        for number in range(megabytes):
            path = code / f"weights-{number}.bin"
            # As code and data are: half of it can be made smaller.
            path.write_bytes(os.urandom(FILE_BYTES // 2) + bytes(FILE_BYTES // 2))
            os.utime(path, (1, 1))
        began = time.perf_counter()
        first = pack(code, store, memory)
        once = time.perf_counter() - began
        later = []
        for _ in range(TURNS):
            began = time.perf_counter()
            assert pack(code, store, memory) == first
            later.append(time.perf_counter() - began)
        return once, statistics.median(later)


def main() -> None:
    """Print the rows."""
    measured = {size: seconds_to_pack(size) for size in SIZES}
    report_growth(
        "growth.28.code that did not change", {s: later for s, (_, later) in measured.items()}, "s", "<= 0.1x"
    )
    once, later = measured[SIZES[-1]]
    report("28.code that did not change", later, "s", "<= 0.1x", peer="the first time", peer_values=once)


if __name__ == "__main__":
    main()

"""Run every benchmark, each in a process of its own: `make bench`; with `--soak` the long ones: `make bench-soak`.

A benchmark is a module `bench_<topic>.py` (or `soak_<topic>.py`) that prints its figures through `figures.report`.
Arguments choose topics: `python -m tests.benchmarks eventlog`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    prefix = "soak" if "--soak" in arguments else "bench"
    topics = [argument for argument in arguments if not argument.startswith("--")]
    failed = 0
    for path in sorted(Path(__file__).parent.glob(f"{prefix}_*.py")):
        if topics and path.stem.removeprefix(f"{prefix}_") not in topics:
            continue
        print(f"measuring: {path.stem}", file=sys.stderr, flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.benchmarks.{path.stem}"], check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

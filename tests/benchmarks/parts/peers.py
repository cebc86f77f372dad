"""Other trackers, measured in an environment of their own: `.venv-peers/bin/python tests/benchmarks/parts/peers.py NAME FOLDER`.

Prints one JSON object: what three floats a step cost its caller, how fast they are readable, what they take on disk. Each
is used as its own documentation has it, in its fastest form that stores on this machine.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
# name -> steps: a server that takes 57 ms a step need not do 20,000.
STEPS = {"tensorboardX": 20_000, "trackio": 20_000, "mlflow": 500}
SECONDS = 240.0


def _values(step: int) -> dict[str, float]:
    return {"train/loss": 1.0 / (step + 1), "train/accuracy": step * 0.5, "train/rate": 0.001}


def _tensorboardx(folder: Path, steps: int) -> tuple[float, float]:
    writer = importlib.import_module("tensorboardX").SummaryWriter(str(folder))
    began = time.perf_counter()
    for step in range(steps):
        for key, value in _values(step).items():
            writer.add_scalar(key, value, step)
    logged = time.perf_counter() - began
    writer.close()
    return logged, time.perf_counter() - began


def _trackio(folder: Path, steps: int) -> tuple[float, float]:
    os.environ["TRACKIO_DIR"] = str(folder)
    trackio = importlib.import_module("trackio")
    trackio.init(project="bench", name="run")
    began = time.perf_counter()
    for step in range(steps):
        trackio.log(_values(step))
    logged = time.perf_counter() - began
    trackio.finish()
    readable = time.perf_counter() - began
    stored = 0
    for path in folder.rglob("*.db"):
        with sqlite3.connect(path) as database:
            stored += database.execute("SELECT count(*) FROM metrics").fetchone()[0]
    if stored < steps:
        raise SystemExit(f"trackio stored {stored} of {steps} steps")
    return logged, readable


def _mlflow(folder: Path, steps: int) -> tuple[float, float]:
    mlflow = importlib.import_module("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with mlflow.start_run():
        mlflow.log_metrics(_values(0), step=0)
        began = time.perf_counter()
        for step in range(1, steps + 1):
            mlflow.log_metrics(_values(step), step=step)
        # Each call returns when its rows are committed.
        seconds = time.perf_counter() - began
    return seconds, seconds


_PEERS = {"tensorboardX": _tensorboardx, "trackio": _trackio, "mlflow": _mlflow}


def main(name: str, folder: Path) -> None:
    steps = STEPS[name]
    logged, readable = _PEERS[name](folder, steps)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    figures = {
        "name": f"{name} {version(name)}",
        "microseconds": 1e6 * logged / steps,
        "points_per_second": 3 * steps / readable,
        "bytes_per_point": size / (3 * steps),
    }
    print(json.dumps(figures))


def measure() -> list[dict[str, float | str]]:
    """Measure each peer that is installed, in processes of their own. Called from benchmarks."""
    found: list[dict[str, float | str]] = []
    for name in STEPS if PYTHON.exists() else ():
        with tempfile.TemporaryDirectory(prefix="mp-peer-") as folder:
            command = [str(PYTHON), str(Path(__file__)), name, folder]
            environment = {**os.environ, "PYTHONPATH": "", "HOME": folder, "HF_HUB_OFFLINE": "1"}
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=True, cwd=folder
                )
                found.append(json.loads(done.stdout.splitlines()[-1]))
            except (subprocess.SubprocessError, ValueError, IndexError) as error:
                detail = getattr(error, "stderr", "") or str(error)
                print(f"peer {name} was not measured: {str(detail).strip()[-300:]}", file=sys.stderr)
    return found


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

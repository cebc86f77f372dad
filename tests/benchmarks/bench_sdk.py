"""Targets 1 to 3: what `log` costs its caller, with floats and with tensors, and what telemetry costs a loop; also its memory.

Real parts: a nats-server, a driver and a worker; a writer that says what is stored. tensorboardX stands beside it where
it is installed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import tempfile
import time
from pathlib import Path

from milepost.eventlog.connection import connect
from milepost.eventlog.streams import ensure_streams
from tests.attempts import TrialOnTest, Writer
from tests.benchmarks.figures import report
from tests.servers import running_nats

ASSETS = Path(__file__).resolve().parent.parent / "assets"
RUNS = 3
PEER_STEPS = 5000


def peer_microseconds(folder: Path) -> float | None:
    """Return the mean time that tensorboardX takes for three floats; None: it is not installed."""
    try:
        writer_class = importlib.import_module("tensorboardX").SummaryWriter
    except ImportError:
        return None
    writer = writer_class(str(folder))
    began = time.perf_counter()
    for step in range(PEER_STEPS):
        for key in ("train/loss", "train/accuracy", "train/rate"):
            writer.add_scalar(key, 1.0 / (step + 1), step)
    seconds = time.perf_counter() - began
    writer.close()
    return 1e6 * seconds / PEER_STEPS


async def main() -> None:
    runs = []
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as name, running_nats(Path(name) / "nats") as nats:
        folder = Path(name)
        async with await connect(nats.url, name="bench") as connection:
            await ensure_streams(connection)
            for number in range(RUNS):
                trial, result = TrialOnTest(connection, nats.url, folder), folder / f"figures-{number}.json"
                await trial.create({})
                async with Writer(connection, trial.runtime_id):
                    attempt = await trial.launch("logging_cost.py:measure", {"result": str(result)}, code=ASSETS)
                    attempt.start()
                    if await attempt.wait() != 0:
                        raise SystemExit(attempt.driver_log)
                runs.append(json.loads(result.read_text()))
        peer = peer_microseconds(folder / "peer")
    beside = {"peer": "tensorboardX", "peer_values": peer} if peer is not None else {}
    means = [run["flat_out"]["mean_us"] for run in runs]
    report("1.log of 3 floats, flat out, mean", means, "us", "<= 5", **beside)  # type: ignore[arg-type]
    report("1.log of 3 floats, flat out, p99", [run["flat_out"]["p99_us"] for run in runs], "us", "<= 25")
    report("1.log of 3 floats, 1k steps/s, mean", [run["paced"]["mean_us"] for run in runs], "us", "<= 5")
    report("1.log of 3 floats, 1k steps/s, p99", [run["paced"]["p99_us"] for run in runs], "us", "<= 25")
    report("2.log of 3 CPU tensors, mean", [run["tensors"]["mean_us"] for run in runs], "us", "<= 10")
    slowdowns = [value for run in runs for value in run["slowdown_percent"]]
    report("3.slowdown of 1 ms steps with 5 values, CPU of the loop's thread", slowdowns, "%", "<= 1")
    report("3.memory gained over 42,100 steps", [run["memory_mib"] for run in runs], "MiB", "")


if __name__ == "__main__":
    asyncio.run(main())

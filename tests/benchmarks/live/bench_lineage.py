"""A curve through ten ancestors against an own curve of the same length: `QuerySeries` of each, in turns.

A chain of ten branches, each of which began in the middle of its parent, and a run that did all the steps by itself. Two
lengths: one that is answered in buckets, and one that is short enough to be answered point by point. `MILEPOST_BENCH_SCALE`
shrinks both; figures count at 1 only.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.ids import new_runtime_id
from tests.benchmarks.bench_metrics import SCALE, STEPS_PER_BATCH, is_readable, publish_all
from tests.benchmarks.parts.figures import report
from tests.support.servers.metrics_service import MetricsClient, MetricsProcess, metrics_client, step_batch
from tests.support.servers.servers import running_nats
from tests.support.trainers.writer import Writer

ANCESTORS = 10
LENGTHS = {"1M points, in buckets": int(1_000_000 * SCALE), "8,000 points, each of them": 8_000}
KEY = "train/loss"
QUERIES = 60
WARM = 10
BUCKETS = {"1M points, in buckets": 1_000, "8,000 points, each of them": 10_000}
MERGE_SECONDS = 5.0


def noise(first: int, last: int) -> np.ndarray:
    """Return what is logged at steps first..last; whoever logs at a step logs the same."""
    steps = np.arange(first, last + 1)
    return (np.exp(-steps / 1e5) + 0.05 * np.sin(steps * 1.7)).astype("f4")


async def log_steps(connection: Connection, runtime_id: str, first: int, last: int) -> int:
    """Publish one value for each of the steps first..last. Returns the last position."""
    begins = range(first, last + 1, STEPS_PER_BATCH)
    batches = []
    for number, begin in enumerate(begins, 1):
        end = min(last, begin + STEPS_PER_BATCH - 1)
        batches.append(step_batch(runtime_id, number, np.arange(begin, end + 1), {KEY: noise(begin, end)}))
    return await publish_all(connection, batches)


async def single(connection: Connection, steps: int) -> tuple[str, int]:
    """Write a run that does all the steps. Returns its id, and the last position of its points."""
    writer = Writer(connection, new_runtime_id())
    await writer.request()
    await writer.run(total_steps=steps)
    return writer.runtime_id, await log_steps(connection, writer.runtime_id, 1, steps)


async def chain(connection: Connection, steps: int) -> tuple[str, int]:
    """Write a run and ten branches, one of the other. Returns the id of the last, and the last position of its points."""
    own = steps // (ANCESTORS + 1)
    trunk: list[common.AncestorSteps] = []
    position = 0
    for generation in range(ANCESTORS + 1):
        writer = Writer(connection, new_runtime_id())
        begin = generation * own
        created = facts.TrialCreated(runtime_id=writer.runtime_id, trial=1)
        started = facts.AttemptStarted(attempt=1, world_size=1)
        if trunk:
            snapshot = f"step-{begin:012d}-a1"
            created.origin.CopyFrom(
                common.SnapshotOrigin(
                    runtime_id=trunk[-1].runtime_id, trial=1, attempt=1, snapshot_id=snapshot, step=begin, trunk=trunk
                )
            )
            started.restored_snapshot_id, started.restored_step = snapshot, begin
        await writer.control(created, facts.AttemptLaunched(attempt=1))
        await writer.attempt(1, started)
        # Its child begins in the middle of it; the last one goes on to the end.
        last = min(steps, begin + 2 * own) if generation < ANCESTORS else steps
        position = max(position, await log_steps(connection, writer.runtime_id, begin + 1, last))
        trunk.append(
            common.AncestorSteps(
                runtime_id=writer.runtime_id, trial=1, attempt=1, first_step=begin + 1, last_step=begin + own
            )
        )
    return trunk[-1].runtime_id, position


async def measure(client: MetricsClient, name: str, alone: str, branch: str, steps: int) -> None:
    """Ask for both curves in turns, and report how long each took."""
    asked = {
        which: pb.QuerySeriesRequest(
            parents=[f"runtimes/{runtime_id}/trials/1"], keys=[KEY], bucket_count=BUCKETS[name], ancestry=True
        )
        for which, runtime_id in (("own", alone), ("through ten ancestors", branch))
    }
    times: dict[str, list[float]] = {which: [] for which in asked}
    for _ in range(QUERIES + WARM):
        curves = {}
        for which, request in asked.items():
            started = time.perf_counter()
            (curve,) = (await client.metrics.QuerySeries(request)).series
            times[which].append((time.perf_counter() - started) * 1000)
            curves[which] = curve
        own, inherited = curves.values()
        assert sum(own.counts) == sum(inherited.counts) == steps, "both curves have every step once"
        assert list(own.lasts) == list(inherited.lasts), "both curves are the same"
    medians = {which: float(np.median(taken[WARM:])) for which, taken in times.items()}
    for which, taken in times.items():
        report(f"22.query of {name}: {which}, median", medians[which], "ms", "")
        report(f"22.query of {name}: {which}, p95", float(np.quantile(taken[WARM:], 0.95)), "ms", "")
    report(
        f"22.query of {name}: ancestors to own", medians["through ten ancestors"] / medians["own"], "times", "<= 1.3"
    )


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder, running_nats(Path(folder) / "nats") as nats:
        process = MetricsProcess(Path(folder) / "data", nats.url)
        process.start()
        try:
            async with await connect(nats.url, name="bench") as connection:
                await ensure_streams(connection)
                async with metrics_client(process.address) as client:
                    for name, steps in LENGTHS.items():
                        alone, position = await single(connection, steps)
                        branch, end = await chain(connection, steps)
                        await is_readable(client, alone, KEY, max(position, end))
                        await asyncio.sleep(MERGE_SECONDS)
                        await measure(client, name, alone, branch, steps)
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(main())

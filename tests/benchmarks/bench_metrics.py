"""Targets 4, 7, 8 and 9: how fast points and lines become readable, are answered, and what they take on disk.

Real parts: a nats-server that syncs always, the metric service as a process, publishers and gRPC clients. SCALE (0 to 1,
`MILEPOST_BENCH_SCALE`) shrinks the amounts for a quick look; figures count at 1 only.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from tests.benchmarks.parts.figures import report
from tests.benchmarks.parts.peers import measure
from tests.support.servers.metrics_service import (
    MetricsClient,
    MetricsProcess,
    log_batch,
    metrics_client,
    send,
    step_batch,
)
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.attempts import TrialOnTest

SCALE = float(os.environ.get("MILEPOST_BENCH_SCALE", "1"))
KEYS = ("train/loss", "train/learning_rate", "train/grad_norm")
STEPS_PER_BATCH = 4096
PUBLISHES_IN_FLIGHT = 8
QUERIES = 40
SEARCHES = 60
MERGE_SECONDS = 30.0
SPIKE, SPIKE_STEP = 1000.0, int(7_654_321 * SCALE)
# What `logging_cost.py` logs.
LOGGED_KEYS = ["train/loss", "train/accuracy", "train/rate"]
ASSETS = Path(__file__).resolve().parent.parent / "assets"
_PART = re.compile(r"all_(\d+)_(\d+)_(\d+)$")


def training_curve(steps: int) -> dict[str, np.ndarray]:
    """Loss, learning rate and gradient norm of a real little training: logistic regression by SGD, in float32."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(4096, 32)).astype(np.float32)
    truth = generator.normal(size=32).astype(np.float32)
    labels = (inputs @ truth + generator.normal(size=4096).astype(np.float32) > 0).astype(np.float32)
    weights: np.ndarray = np.zeros(32, np.float32)
    curves: dict[str, np.ndarray] = {key: np.zeros(steps, np.float32) for key in KEYS}
    for step in range(steps):
        picked = generator.integers(0, 4096, 32)
        x, y = inputs[picked], labels[picked]
        p = 1 / (1 + np.exp(-(x @ weights)))
        gradient = x.T @ (p - y) / np.float32(32)
        rate = np.float32(0.05 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        weights -= rate * gradient
        curves["train/loss"][step] = -np.mean(y * np.log(p + 1e-7) + (1 - y) * np.log(1 - p + 1e-7))
        curves["train/learning_rate"][step] = rate
        curves["train/grad_norm"][step] = np.linalg.norm(gradient)
    return curves


async def publish_all(connection: Connection, batches: list[telemetry.StepBatch] | list[telemetry.LogBatch]) -> int:
    """Publish with a bounded number in flight; returns the last position."""
    slots = asyncio.Semaphore(PUBLISHES_IN_FLIGHT)
    positions: list[int] = []

    async def one(batch: telemetry.StepBatch | telemetry.LogBatch) -> None:
        async with slots:
            positions.append(await send(connection, batch))

    await asyncio.gather(*(one(batch) for batch in batches))
    return max(positions)


def batches_of(runtime_id: str, curves: dict[str, np.ndarray], trial: int = 1) -> list[telemetry.StepBatch]:
    """Cut curves into batches, with times as a trainer of 7 ms a step and some jitter has them."""
    steps = len(next(iter(curves.values())))
    times = 1_760_000_000_000 + np.cumsum(np.random.default_rng(trial).integers(6, 9, steps))
    return [
        step_batch(
            runtime_id,
            number,
            np.arange(first + 1, min(steps, first + STEPS_PER_BATCH) + 1),
            {key: values[first : first + STEPS_PER_BATCH] for key, values in curves.items()},
            trial=trial,
            times_ms=times[first : first + STEPS_PER_BATCH],
        )
        for number, first in enumerate(range(0, steps, STEPS_PER_BATCH), 1)
    ]


async def is_readable(client: MetricsClient, runtime_id: str, key: str, position: int) -> None:
    await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(
            parents=[f"runtimes/{runtime_id}/trials/1"], keys=[key], bucket_count=1, min_telemetry_sequence=position
        )
    )


async def throughput_and_size(connection: Connection, client: MetricsClient, process: MetricsProcess) -> None:
    steps = int(300_000 * SCALE)
    curves = training_curve(min(steps, 100_000))
    repeated: dict[str, np.ndarray] = {key: np.resize(values, steps) for key, values in curves.items()}
    rates = []
    for run in range(3):
        batches = batches_of(f"flat-out-{run}", repeated)
        started = time.perf_counter()
        position = await publish_all(connection, batches)
        await is_readable(client, f"flat-out-{run}", KEYS[0], position)
        rates.append(steps * 3 / (time.perf_counter() - started))
    report("4.points_published_until_readable", rates, "points/s", "")
    await asyncio.sleep(5)  # merges
    folder = process.data_dir / "clickhouse" / "data" / "store"
    merged_away, points = merged_away_in(folder), 3 * steps * 3
    gone = sum(size_of(part) for part in merged_away)
    report("8.bytes_per_point", (size_of(folder) - gone) / points, "bytes", "<= 6")
    report("8.the same, of parts merged away, deleted after 8 minutes", gone / points, "bytes", "")


async def from_log_to_query(
    connection: Connection, client: MetricsClient, nats: NatsServer, process: MetricsProcess, folder: Path
) -> None:
    """A real training process that logs flat out, until QuerySeries has every point; and what uses the CPUs meanwhile."""
    steps = int(300_000 * SCALE)
    rates, logging = [], []
    spent: dict[str, list[float]] = {}
    assert nats.process is not None
    assert process.process is not None
    services = {"nats-server": nats.process.pid, "the metric service": process.process.pid}
    for run in range(3):
        result = folder / f"flat-out-{run}.json"
        trial = TrialOnTest(connection, nats.url, folder)
        await trial.create({})
        parameters = {"result": str(result), "steps": steps}
        attempt = await trial.launch("logging_cost.py:flat_out", parameters, code=ASSETS)
        before = {name: cpu_seconds(pid) for name, pid in services.items()}
        attempt.start()
        request = pb.QuerySeriesRequest(
            parents=[f"runtimes/{trial.runtime_id}/trials/1"], keys=LOGGED_KEYS, bucket_count=1
        )
        while True:
            answer = await client.metrics.QuerySeries(request)
            now = time.time()
            if sum(sum(series.counts) for series in answer.series) >= 3 * steps:
                break
            await asyncio.sleep(0.05)
        for name, pid in services.items():
            spent.setdefault(name, []).append(cpu_seconds(pid) - before[name])
        if await attempt.wait() != 0:
            raise SystemExit(attempt.driver_log)
        told = json.loads(result.read_text())
        rates.append(3 * steps / (now - told["began"]))
        logging.append(told["ended"] - told["began"])
        spent.setdefault("the training process", []).append(told["cpu_seconds"])
    for peer in measure() or [{}]:
        beside = {"peer": peer["name"], "peer_values": peer["points_per_second"]} if peer else {}
        report("4.points from log to readable, one process", rates, "points/s", ">= 300000; ratio >= 10", **beside)  # type: ignore[arg-type]
    report("4.of it, until the last call of log", logging, "s", "")
    for name, seconds in spent.items():
        report(f"4.CPU of {name}", [1e9 * used / (3 * steps) for used in seconds], "us of 1,000 points", "")


def cpu_seconds(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def size_of(folder: Path) -> int:
    """Bytes of files, each counted once however many links it has."""
    found = {}
    for path in folder.rglob("*"):
        try:
            entry = path.stat()
        except FileNotFoundError:
            continue  # a merge has just removed it
        if path.is_file():
            found[entry.st_ino] = entry.st_size
    return sum(found.values())


def merged_away_in(folder: Path) -> list[Path]:
    """Folders of parts whose rows are in a larger part too: `all_<first>_<last>_<level>`, and one of a wider range."""
    parts: list[tuple[Path, int, int, int]] = []
    for path in folder.rglob("all_*"):
        if found := _PART.match(path.name):
            first, last, level = map(int, found.groups())
            parts.append((path, first, last, level))
    return [
        path
        for path, first, last, level in parts
        if any(o.parent == path.parent and a <= first and last <= b and level < above for o, a, b, above in parts)
    ]


async def queries(connection: Connection, client: MetricsClient) -> None:
    generator = np.random.default_rng(1)

    def noise(steps: int) -> dict[str, np.ndarray]:
        return {"train/loss": (np.exp(-np.arange(steps) / (steps / 3)) + generator.normal(0, 0.05, steps)).astype("f4")}

    cases = (
        ("1_series_of_1M", "one", [int(1_000_000 * SCALE)], "40"),
        ("1_series_of_10M", "ten", [int(10_000_000 * SCALE)], "60"),
        ("20_trials_of_100k", "many", [int(100_000 * SCALE)] * 20, "150"),
    )
    for name, runtime_id, trials, target in cases:
        position = 0
        for trial, steps in enumerate(trials, 1):
            curves = noise(steps)
            if runtime_id == "ten":
                curves["train/loss"][SPIKE_STEP - 1] = SPIKE
            position = max(position, await publish_all(connection, batches_of(runtime_id, curves, trial)))
        await is_readable(client, runtime_id, "train/loss", position)
        await asyncio.sleep(5)  # merges
        request = pb.QuerySeriesRequest(
            parents=[f"runtimes/{runtime_id}/trials/{n}" for n in range(1, len(trials) + 1)],
            keys=["train/loss"],
            bucket_count=1000,
        )
        times = []
        for _ in range(QUERIES):
            started = time.perf_counter()
            await client.metrics.QuerySeries(request)
            times.append((time.perf_counter() - started) * 1000)
        report(f"7.query_{name}_p95", float(np.quantile(times[5:], 0.95)), "ms", f"<= {target}")
        report(f"7.query_{name}_median", float(np.median(times[5:])), "ms", "")
        if runtime_id == "ten":
            await zooms(client)


async def zooms(client: MetricsClient) -> None:
    """Zoom from all steps to the one with the spike, and look for it each time."""
    visible = total = 0
    last = int(10_000_000 * SCALE)
    for bucket_count in (1, 10, 100, 1000, 10_000):
        first, end = 1, last
        while True:
            request = pb.QuerySeriesRequest(
                parents=["runtimes/ten/trials/1"], keys=["train/loss"], bucket_count=bucket_count,
                first_step=first, last_step=end,
            )  # fmt: skip
            (series,) = (await client.metrics.QuerySeries(request)).series
            at = int(np.argmax(series.maxs))
            within = series.first_steps[at] <= SPIKE_STEP <= series.last_steps[at]
            total, visible = total + 1, visible + (series.maxs[at] == SPIKE and within)
            if first == end:
                break
            half = (end - first) // 4
            first, end = max(first, SPIKE_STEP - half), min(end, SPIKE_STEP + half)
    report(f"a spike in {last:,} steps, zooms it is visible in", visible, "zooms", f"= {total}")


async def log_search(connection: Connection, client: MetricsClient) -> None:
    lines = int(10_000_000 * SCALE)
    per_batch = 4000
    generator = np.random.default_rng(2)
    words = [f"word{n:05d}" for n in range(20_000)]
    started = time.perf_counter()
    position = 0
    for number in range(1, max(1, lines // per_batch) + 1):
        picked = generator.integers(0, len(words), per_batch)
        text = [
            f"epoch 3 step {number * per_batch + i} loss 0.{w:05d} {words[w]} tokens/s" for i, w in enumerate(picked)
        ]
        position = await send(connection, log_batch("search", number, text))
    await client.logs.QueryLogs(log_pb.QueryLogsRequest(parent="runtimes/search", min_telemetry_sequence=position))
    report("9.lines_sent_until_readable", lines / (time.perf_counter() - started), "lines/s", "")
    report("9.search_for_a_word_p95, right after", await searches(client, words[: len(words) // 2]), "ms", "")
    # ClickHouse goes on merging what has come.
    await asyncio.sleep(MERGE_SECONDS)
    report("9.search_for_a_word_p95", await searches(client, words[len(words) // 2 :]), "ms", "<= 300")


async def searches(client: MetricsClient, words: list[str]) -> float:
    """Return the p95 of searches, each for another word, in milliseconds."""
    times = []
    for index in range(SEARCHES):
        text = words[index * 97 % len(words)]
        request = log_pb.QueryLogsRequest(parent="runtimes/search", filter=log_pb.LogFilter(text=text))
        started = time.perf_counter()
        await client.logs.QueryLogs(request)
        times.append((time.perf_counter() - started) * 1_000)
    return float(np.quantile(times, 0.95))


async def main(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder, running_nats(Path(folder) / "nats") as nats:
        process = MetricsProcess(Path(folder) / "data", nats.url)
        process.start()
        try:
            async with await connect(nats.url, name="bench") as connection:
                await ensure_streams(connection)
                async with metrics_client(process.address) as client:
                    for part in parts or PARTS:
                        if part == "throughput":
                            await throughput_and_size(connection, client, process)
                        elif part == "logging":
                            await from_log_to_query(connection, client, nats, process, Path(folder))
                        else:
                            await {"queries": queries, "search": log_search}[part](connection, client)
        finally:
            process.kill()


# Arguments choose among them.
PARTS = ("throughput", "logging", "queries", "search")

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))

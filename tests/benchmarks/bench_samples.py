"""Targets 3, 23 and 24: what samples cost the loop, how fast a million is searched, how fast histograms are drawn.

Real parts: a nats-server, a driver and a worker; the metric service as a process. `MILEPOST_BENCH_SCALE` (0 to 1) shrinks
the amounts for a quick look. Arguments choose parts: `python -m tests.benchmarks.bench_samples search`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import Row
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.training.samples.thinning import is_kept
from tests.benchmarks.bench_sdk import ASSETS, run_attempt
from tests.benchmarks.parts.figures import report
from tests.support.servers.metrics_service import MetricsClient, MetricsProcess, metrics_client, send
from tests.support.servers.servers import NatsServer, running_nats

SCALE = float(os.environ.get("MILEPOST_BENCH_SCALE", "1"))
TURNS, TURN_STEPS = 400, 100
SAMPLES, ROWS_PER_BATCH, ROWS_PER_STEP = int(1_000_000 * SCALE), 150, 64
IN_FLIGHT = 8
QUERIES = 60
HISTOGRAM_STEPS, BINS = int(1_000_000 * SCALE), 64
WORDS = 20_000


async def slowdown(nats: NatsServer, connection: Connection, folder: Path) -> None:
    """A loop that logs 5 values a step and 64 samples of 2 kB every 10 steps, and the same loop that does not, in turns."""
    rounds = int(subprocess.run([sys.executable, str(ASSETS / "turns.py")], capture_output=True, check=True).stdout)
    turns = max(20, int(TURNS * SCALE))
    taken: dict[str, list[dict[str, float]]] = {"on": [], "off": []}

    async def alternate() -> None:
        for turn in range(turns):
            for side in ("on", "off") if turn % 2 else ("off", "on"):
                (folder / f"{side}-{turn}").touch()
                done = folder / f"{side}-{turn}.json"
                while not done.exists():
                    await asyncio.sleep(0.002)
                taken[side].append(json.loads(done.read_text()))

    parameters = {"turns": str(folder), "rounds": rounds, "steps": TURN_STEPS, "count": turns}
    await run_attempt(nats, connection, folder, "take_turns_saying", parameters, alternate())
    percent = [100 * (on["thread"] / off["thread"] - 1) for on, off in zip(taken["on"], taken["off"], strict=True)]
    report("3.slowdown of 1 ms steps by 64 samples of 2 kB every 10", statistics.median(percent), "%", "<= 1")
    quartiles = statistics.quantiles(percent, n=4)
    report("3.the same, standard error", 1.25 * (quartiles[2] - quartiles[0]) / 1.35 / math.sqrt(turns), "%", "")
    spent, calls = json.loads((folder / "spent.json").read_text())
    report("3.samples of 64 rows, time in the caller", spent / calls / 1000, "us", "")
    beside = sum(one["process"] - one["thread"] for one in taken["on"])
    share = 100 * beside / sum(one["clock"] for one in taken["on"])
    report("3.CPU of all other threads while it logs them", share, "% of a core", "")


def text_of(chance: random.Random, length: int) -> str:
    """Words as rare as those of a language are: the n-th is 1/n as common as the first."""
    return " ".join(f"w{int(WORDS ** chance.random())}" for _ in range(length))


async def search(nats: NatsServer, connection: Connection, folder: Path) -> None:
    process = MetricsProcess(folder / "data", nats.url)
    process.start()
    try:
        chance, position, waiting = random.Random(1), 0, set()
        pool = [text_of(chance, 250) for _ in range(2_000)]
        began = time.monotonic()
        for number, first in enumerate(range(0, SAMPLES, ROWS_PER_BATCH), start=1):
            batch = telemetry.StepBatch(
                sender=telemetry.Sender(runtime_id="rt-bench", trial=1, attempt=1, source="rank-0"), number=number
            )
            for index in range(first, min(first + ROWS_PER_BATCH, SAMPLES)):
                half = chance.choice(pool)[:600]
                completion = f"id{index} {half} {chance.choice(pool)[:700]}"
                row = Row(
                    key="eval/samples",
                    step=index // ROWS_PER_STEP * 10,
                    form=telemetry.ROW_FORM_SAMPLE,
                    prompt=pool[index % 256][:600],
                    completion=completion,
                    group=f"g{index % 8}",
                )
                row.scores.add(name="reward", value=chance.random())
                batch.rows.append(row)
            waiting.add(asyncio.ensure_future(send(connection, batch)))
            if len(waiting) >= IN_FLIGHT:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                position = max(position, *(one.result() for one in done))
        position = max([position, *(await asyncio.gather(*waiting))])
        async with metrics_client(process.address) as client:
            asked = pb.ListSamplesRequest(
                parents=["runtimes/rt-bench/trials/1"], min_telemetry_sequence=position, page_size=1
            )
            await client.metrics.ListSamples(asked)
            report("23.samples stored", SAMPLES / (time.monotonic() - began), "rows/s", "")
            await asyncio.sleep(30 * SCALE)
            await searches(client)
        size = sum(path.stat().st_size for path in (folder / "data" / "clickhouse").rglob("*") if path.is_file())
        report("23.bytes on disk a sample of 2 kB", size / SAMPLES, "bytes", "")
    finally:
        process.kill()


async def searches(client: MetricsClient) -> None:
    chance = random.Random(2)
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "a word of one sample": lambda: {"text": f"id{chance.randrange(SAMPLES)} "},
        "a rare word": lambda: {"text": f"w{chance.randrange(WORDS // 2, WORDS)} "},
        "a common word": lambda: {"text": f"w{chance.randrange(1, 50)} "},
        "a word of none": lambda: {"text": f"zebra{chance.random()}"},
        "a score": lambda: {"scores": ["reward >= 0.999"]},
        "a group": lambda: {"group": f"g{chance.randrange(8)}"},
        "the newest": lambda: {"latest": True, "last_step": chance.randrange(SAMPLES // ROWS_PER_STEP * 10)},
    }
    for name, make in kinds.items():
        times = []
        for _ in range(QUERIES // 3):
            request = pb.ListSamplesRequest(
                parents=["runtimes/rt-bench/trials/1"], keys=["eval/samples"], page_size=50, **make()
            )
            before = time.perf_counter()
            await client.metrics.ListSamples(request)
            times.append(1000 * (time.perf_counter() - before))
        p95 = statistics.quantiles(times, n=20)[-1]
        report(f"23.{name} among {SAMPLES:,} samples of one runtime, 50 rows, p95", p95, "ms", "<= 300")


async def histograms(nats: NatsServer, connection: Connection, folder: Path) -> None:
    process = MetricsProcess(folder / "histograms", nats.url)
    process.start()
    try:
        generator, last, rows, position, number = np.random.default_rng(0), None, [], 0, 0
        kept = 0
        for step in range(1, HISTOGRAM_STEPS + 1):
            if not is_kept(step, last):
                continue
            last, kept = step, kept + 1
            counts, edges = np.histogram(generator.normal(step / HISTOGRAM_STEPS, 1, 200), BINS)
            rows.append(Row(key="weights", step=step, form=telemetry.ROW_FORM_HISTOGRAM, edges=edges, counts=counts))
            if len(rows) == 250:
                number, position, rows = number + 1, await send_histograms(connection, number + 1, rows), []
        if rows:
            position = await send_histograms(connection, number + 1, rows)
        async with metrics_client(process.address) as client:
            asked = pb.ListSamplesRequest(
                parents=["runtimes/rt-heat/trials/1"], min_telemetry_sequence=position, page_size=1
            )
            await client.metrics.ListSamples(asked)
            request = pb.QueryHistogramsRequest(parent="runtimes/rt-heat/trials/1", key="weights", bucket_count=300)
            times = []
            for _ in range(QUERIES // 3):
                before = time.perf_counter()
                await client.metrics.QueryHistograms(request)
                times.append(1000 * (time.perf_counter() - before))
        what = f"24.histograms of {BINS} bins over {HISTOGRAM_STEPS:,} steps ({kept:,} kept) as 300 x 64"
        report(f"{what}, p95", statistics.quantiles(times, n=20)[-1], "ms", "<= 200")
        report(f"{what}, median", times, "ms", "")
    finally:
        process.kill()


async def send_histograms(connection: Connection, number: int, rows: list[Row]) -> int:
    sender = telemetry.Sender(runtime_id="rt-heat", trial=1, attempt=1, source="rank-0")
    return await send(connection, telemetry.StepBatch(sender=sender, number=number, rows=rows))


PARTS = {"slowdown": slowdown, "search": search, "histograms": histograms}


async def main(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as name, running_nats(Path(name) / "nats") as nats:
        for part in parts or PARTS:
            async with await connect(nats.url, name="bench") as connection:
                await ensure_streams(connection)
                await PARTS[part](nats, connection, Path(name))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))

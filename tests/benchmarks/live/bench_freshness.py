"""Figure 5: from `log` to `QuerySeries` and to a page that watches, at 50,000 points a second over 100 trials.

Every part is real: nats-server, the four services as processes, ten pages as clients of the gateway's live streams.
Senders send as the SDK does: every second, and every 250 ms where somebody watches. Each point carries the time at
which it was logged; it is compared with the time at which it is first seen. The target counts the slowest in a hundred
points. `MILEPOST_BENCH_SCALE` below 1 makes the run shorter.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import grpc.aio
import httpx
import numpy as np

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.telemetry import Telemetry, steps_subject
from milepost.ids import new_runtime_id
from tests.benchmarks.parts.figures import report
from tests.support.servers.gateway import read_events
from tests.support.servers.metrics_service import step_batch
from tests.support.servers.processes import running_services
from tests.support.servers.servers import running_nats
from tests.support.trainers.writer import Writer

SCALE = float(os.environ.get("MILEPOST_BENCH_SCALE", "1"))
TRIALS, WATCHED, ASKED = 100, 10, 2
STEPS_PER_SECOND = 100
KEYS = ("train/loss", "train/learning_rate", "train/grad_norm", "eval/a", "eval/b")
SENT_EVERY, SENT_EVERY_WATCHED = 1.0, 0.25
ASKED_EVERY = 0.2
# Figures count once everything runs steadily.
WARM_SECONDS, MEASURED_SECONDS = 5.0, max(5.0, 30 * SCALE)


class Load:
    """What is sent and what is seen, with the milliseconds between.

    Attributes:
        trials: runtime and number of each trial; the first ones are watched, those after them asked for.
    """

    def __init__(self, connection: Connection, trials: list[tuple[str, int]]) -> None:
        self.trials = trials
        self.on_page: list[float] = []
        self.in_query: list[float] = []
        self.sent = 0
        self.counts = False
        self._telemetry = Telemetry(connection)

    async def send(self, index: int) -> None:
        """Log steady steps of one trial for ever."""
        runtime_id, trial = self.trials[index]
        interval = SENT_EVERY_WATCHED if index < WATCHED else SENT_EVERY
        count = round(STEPS_PER_SECOND * interval)
        # Trials did not begin together.
        await asyncio.sleep(interval * index / TRIALS)
        begin, number = time.time(), 0
        values = np.random.default_rng(index).normal(size=(len(KEYS), count))
        while True:
            number += 1
            end = begin + number * interval
            await asyncio.sleep(max(0.0, end - time.time()))
            first = (number - 1) * count + 1
            logged_ms = np.round(1_000 * (end - interval + (np.arange(count) + 1) / STEPS_PER_SECOND)).astype("<i8")
            batch = step_batch(
                runtime_id,
                number,
                np.arange(first, first + count),
                dict(zip(KEYS, values, strict=True)),
                trial=trial,
                times_ms=logged_ms,
            )
            subject = steps_subject(runtime_id, trial, 1)
            await self._telemetry.publish(subject, batch.SerializeToString(), _headers(number, first + count - 1))
            self.sent += count * len(KEYS) if self.counts else 0

    async def watch(self, base: str, index: int) -> None:
        """Be the page of a trial: its progress and its charts, live."""
        runtime_id, trial = self.trials[index]
        query = {"topics": "trial,metrics", "trial": str(trial), "keys": list(KEYS[:3])}
        async with (
            httpx.AsyncClient(base_url=base, timeout=httpx.Timeout(60.0)) as client,
            client.stream("GET", f"/api/v1/runtimes/{runtime_id}/stream", params=query) as response,
        ):
            assert response.status_code == 200, response.status_code
            async for event in read_events(response):
                now = time.time() * 1_000
                if event.topic == "metrics" and self.counts:
                    self.on_page += [now - at for block in event.data["blocks"] for at in block["times_ms"]]

    async def ask(self, stub: metric_service_pb2_grpc.MetricServiceStub, index: int) -> None:
        """Ask again and again for what came after the last step known."""
        runtime_id, trial = self.trials[index]
        known = 0
        while True:
            request = pb.QuerySeriesRequest(
                parents=[f"runtimes/{runtime_id}/trials/{trial}"],
                keys=[KEYS[0]],
                first_step=known + 1,
                bucket_count=10_000,
            )
            answer = await stub.QuerySeries(request)
            now = time.time() * 1_000
            for series in answer.series:
                known = max([known, *series.last_steps])
                if self.counts:
                    self.in_query += [now - at for at in series.last_times_ms]
            await asyncio.sleep(ASKED_EVERY)


def _headers(number: int, step: int) -> dict[str, str]:
    return {
        "mp-number": str(number),
        "mp-source": "rank-0",
        "mp-step": str(step),
        "mp-epoch": "0",
        "mp-batch": str(step),
        "mp-phase": "training",
        "mp-time": str(time.time_ns() // 1_000_000),
    }


async def trials_of_one_runtime(connection: Connection) -> list[tuple[str, int]]:
    """Begin trials of one search."""
    writer = Writer(connection, new_runtime_id())
    await writer.request(trials=TRIALS)
    for trial in range(1, TRIALS + 1):
        await writer.run(trial=trial, total_steps=1_000_000)
    return [(writer.runtime_id, trial) for trial in range(1, TRIALS + 1)]


async def measure(load: Load, gateway: str, metrics: str) -> None:
    """Send, watch and ask for as long as is measured."""
    async with grpc.aio.insecure_channel(metrics) as channel:
        stub = metric_service_pb2_grpc.MetricServiceStub(channel)
        tasks = [
            *(load.send(index) for index in range(TRIALS)),
            *(load.watch(gateway, index) for index in range(WATCHED)),
            *(load.ask(stub, index) for index in range(WATCHED, WATCHED + ASKED)),
        ]
        running = [asyncio.ensure_future(task) for task in tasks]
        await asyncio.sleep(WARM_SECONDS)
        load.counts = True
        done, _ = await asyncio.wait(running, timeout=MEASURED_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        load.counts = False
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in done:
            task.result()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder, running_nats(Path(folder) / "nats") as nats:
        async with await connect(nats.url, name="bench") as connection:
            await ensure_streams(connection)
            names = ("runtime", "trials", "metrics", "gateway")
            with running_services(Path(folder) / "data", nats.url, names) as services:
                gateway = f"http://{services['gateway'].address}"
                load = Load(connection, await trials_of_one_runtime(connection))
                await measure(load, gateway, services["metrics"].address)
    report("5.points sent", load.sent / MEASURED_SECONDS, "points/s", ">= 50000")
    for name, taken, target in (
        ("5.log to an SSE client of a watched trial", load.on_page, "<= 600"),
        ("5.log to QuerySeries", load.in_query, "<= 2000"),
    ):
        assert taken, f"{name}: nothing was seen"
        report(f"{name}, p99", float(np.quantile(taken, 0.99)), "ms", target)
        report(f"{name}, median", float(np.quantile(taken, 0.5)), "ms", "")


if __name__ == "__main__":
    asyncio.run(main())

"""Figure 6: 500 trials x 10 steps/s x 5 series, 200 live streams of pages, ten minutes: nothing grows, nothing is lost.

Every part is real: nats-server, the four services as processes, senders that send what the SDK sends, clients of the
gateway's live streams. `MILEPOST_SOAK_SECONDS` makes it shorter; figures count at 600.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.telemetry import Telemetry, steps_subject
from milepost.ids import new_runtime_id
from tests.benchmarks.parts.figures import report
from tests.support.servers.gateway import read_events
from tests.support.servers.metrics_service import MetricsClient, metrics_client, step_batch
from tests.support.servers.processes import ServiceProcess, running_services
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.writer import Writer

SECONDS = float(os.environ.get("MILEPOST_SOAK_SECONDS", "600"))
TRIALS, STEPS_PER_SECOND, CLIENTS = 500, 10, 200
KEYS = ("train/loss", "train/learning_rate", "train/grad_norm", "eval/a", "eval/b")
SAMPLE_SECONDS = 5.0
# Of each, so many clients keep what they got, to be compared with what was sent.
EXACT_CLIENTS = 20
SETTLE_SECONDS = 60.0


@dataclass
class Soak:
    """What was sent, what was seen, and how the parts did meanwhile."""

    runtime_id: str
    sent_steps: dict[int, int] = field(default_factory=dict)
    late_seconds: list[float] = field(default_factory=list)
    events_seen: int = 0
    steps_seen: dict[int, list[int]] = field(default_factory=dict)
    # (seconds since the start, messages that were not stored yet)
    lags: list[tuple[float, int]] = field(default_factory=list)
    # process -> (seconds since the start, MiB)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    async def send(self, telemetry: Telemetry, trial: int, end: float) -> None:
        """Log steady steps, a batch every second."""
        await asyncio.sleep(trial / TRIALS)
        values = np.random.default_rng(trial).normal(size=(len(KEYS), STEPS_PER_SECOND))
        subject, number, due = steps_subject(self.runtime_id, trial, 1), 0, time.monotonic()
        while time.monotonic() < end:
            number += 1
            due += 1.0
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.late_seconds.append(max(0.0, time.monotonic() - due))
            first = (number - 1) * STEPS_PER_SECOND + 1
            last = first + STEPS_PER_SECOND - 1
            now = time.time_ns() // 1_000_000
            times: np.ndarray = now - 100 * np.arange(STEPS_PER_SECOND)[::-1]
            columns = dict(zip(KEYS, values, strict=True))
            batch = step_batch(self.runtime_id, number, range(first, last + 1), columns, trial=trial, times_ms=times)
            await telemetry.publish(subject, batch.SerializeToString(), _headers(number, last, now))
            self.sent_steps[trial] = last

    async def watch(self, base: str, client: int) -> None:
        """Be a page that shows one trial."""
        trial = 1 + client * TRIALS // CLIENTS
        query = {"topics": "trial,metrics", "trial": str(trial), "keys": "train/loss"}
        kept = self.steps_seen.setdefault(client, []) if client < EXACT_CLIENTS else None
        async with (
            httpx.AsyncClient(base_url=base, timeout=httpx.Timeout(120.0)) as http,
            http.stream("GET", f"/api/v1/runtimes/{self.runtime_id}/stream", params=query) as response,
        ):
            assert response.status_code == 200, response.status_code
            if kept is None:
                async for chunk in response.aiter_raw():
                    self.events_seen += chunk.count(b"\nevent: metrics")
                return
            async for event in read_events(response):
                if event.topic == "metrics":
                    self.events_seen += 1
                    for block in event.data["blocks"]:
                        kept.extend(block["steps"])

    async def sample(self, telemetry: Telemetry, client: MetricsClient, parts: dict[str, int]) -> None:
        """Note again and again how far storing is behind and what memory is used."""
        began = time.monotonic()
        request = pb.QuerySeriesRequest(
            parents=[f"runtimes/{self.runtime_id}/trials/1"], keys=["train/loss"], bucket_count=1
        )
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            stored = (await client.metrics.QuerySeries(request)).telemetry_sequence
            behind = (await telemetry.state()).last_sequence - stored
            self.lags.append((time.monotonic() - began, behind))
            for name, pid in parts.items():
                used = psutil.Process(pid).memory_info().rss / 2**20
                self.memory.setdefault(name, []).append((time.monotonic() - began, used))


def _headers(number: int, step: int, now: int) -> dict[str, str]:
    told = {"number": number, "step": step, "epoch": 0, "batch": step, "phase": "training", "time": now, "step-ms": 100}
    return {"mp-source": "rank-0", **{f"mp-{name}": str(value) for name, value in told.items()}}


def growth(samples: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the median of the second fifth and of the last: what is before has not warmed up yet."""
    fifth = max(1, len(samples) // 5)
    values = [value for _, value in samples]
    return statistics.median(values[fifth : 2 * fifth]), statistics.median(values[-fifth:])


async def run(connection: Connection, nats: NatsServer, services: dict[str, ServiceProcess]) -> Soak:
    writer = Writer(connection, new_runtime_id())
    await writer.request(trials=TRIALS)
    for trial in range(1, TRIALS + 1):
        await writer.run(trial=trial, total_steps=1_000_000)
    soak = Soak(writer.runtime_id)
    telemetry = Telemetry(connection)
    parts = {name: service.process.pid for name, service in services.items() if service.process is not None}
    assert nats.process is not None
    parts["nats"] = nats.process.pid
    base = f"http://{services['gateway'].address}"
    async with metrics_client(services["metrics"].address) as client:
        beside = [asyncio.create_task(soak.watch(base, number)) for number in range(CLIENTS)]
        beside.append(asyncio.create_task(soak.sample(telemetry, client, parts)))
        end = time.monotonic() + SECONDS
        sending = [asyncio.create_task(soak.send(telemetry, trial, end)) for trial in range(1, TRIALS + 1)]
        done, waiting = await asyncio.wait([*sending, *beside], return_when=asyncio.FIRST_COMPLETED)
        while not done & set(beside) and waiting & set(sending):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in [*done, *sending]:
            await task
        await settle(soak, telemetry, client)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await check(soak, client)
    return soak


async def settle(soak: Soak, telemetry: Telemetry, client: MetricsClient) -> None:
    """Wait until everything is stored and the clients have what was sent."""
    position = (await telemetry.state()).last_sequence
    request = pb.QuerySeriesRequest(
        parents=[f"runtimes/{soak.runtime_id}/trials/1"], keys=["train/loss"], min_telemetry_sequence=position
    )
    await client.metrics.QuerySeries(request)
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if all(len(seen) >= soak.sent_steps[1 + c * TRIALS // CLIENTS] for c, seen in soak.steps_seen.items()):
            return
        await asyncio.sleep(0.2)


async def check(soak: Soak, client: MetricsClient) -> None:
    request = pb.GetCompletenessRequest(parent=f"runtimes/{soak.runtime_id}")
    answer = await client.metrics.GetCompleteness(request)
    sent = sum(soak.sent_steps.values()) * len(KEYS)
    report("6.points sent", sent, "points", "")
    report("6.points lost", sent - answer.stored_points, "points", "= 0")
    report(
        "6.batches missing or doubled", answer.gap_count + sum(s.duplicate_batches for s in answer.senders), "", "= 0"
    )
    wrong = 0
    for number, seen in soak.steps_seen.items():
        wrong += seen != list(range(1, soak.sent_steps[1 + number * TRIALS // CLIENTS] + 1))
    report(f"6.of {EXACT_CLIENTS} pages, with a point missing or doubled", wrong, "", "= 0")


def tell(soak: Soak) -> None:
    early, late = growth([(at, float(lag)) for at, lag in soak.lags])
    report("6.messages not stored yet, second fifth of the run", early, "messages", "")
    report("6.messages not stored yet, last fifth of the run", late, "messages", "not growing")
    for name, samples in soak.memory.items():
        early, late = growth(samples)
        report(f"6.memory of {name}, second fifth", early, "MiB", "")
        report(f"6.memory of {name}, last fifth", late, "MiB", "not growing")
    report("6.batches sent late by, p99", 1000 * float(np.quantile(soak.late_seconds, 0.99)), "ms", "")
    report("6.events of charts at pages", soak.events_seen / SECONDS, "events/s", "")


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mp-soak-") as folder, running_nats(Path(folder) / "nats") as nats:
        async with await connect(nats.url, name="soak") as connection:
            await ensure_streams(connection)
            names = ("runtime", "trials", "metrics", "gateway")
            with running_services(Path(folder) / "data", nats.url, names) as services:
                tell(await run(connection, nats, services))


if __name__ == "__main__":
    asyncio.run(main())

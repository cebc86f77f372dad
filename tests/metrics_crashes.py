"""Senders with a spool, as trainers have one, while the writer and NATS are killed: stored must be sent."""

from __future__ import annotations

import asyncio
import io
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog import EventLogError
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.streams import ensure_streams
from milepost.eventlog.telemetry import stored_subject
from tests.metrics_service import MetricsClient, MetricsProcess, log_batch, metrics_client, send, step_batch
from tests.servers import running_nats

TRIALS = 20
STEPS_PER_BATCH = 40
BATCH_SECONDS = 0.3
RESEND_SECONDS = 6.0
DRAIN_SECONDS = 300.0


@dataclass
class SpoolingSender:
    """One trial: sends numbered batches, keeps each until it is stored, and sends again what is not."""

    runtime_id: str
    trial: int
    seed: int
    sent_points: int = 0
    sent_lines: int = 0
    values: list[np.ndarray] = field(default_factory=list)
    spool: dict[tuple[str, int], tuple[telemetry.StepBatch | telemetry.LogBatch, float]] = field(default_factory=dict)

    async def run(self, connection: Connection, finished: asyncio.Event) -> None:
        """Send until told to finish, then until everything is stored."""
        subscription = await connection.subscribe(stored_subject(self.runtime_id, self.trial, 1))
        generator = np.random.default_rng(self.seed)
        number = 0
        while not finished.is_set() or self.spool:
            if not finished.is_set():
                number += 1
                self._log(number, generator)
            for key, (batch, sent_at) in list(self.spool.items()):
                if time.monotonic() - sent_at >= RESEND_SECONDS:
                    self.spool[key] = (batch, time.monotonic())
                    with suppress(EventLogError):
                        await send(connection, batch)
            for message in await subscription.next_batch(BATCH_SECONDS):
                self._release(telemetry.Stored.FromString(message.body))

    def _log(self, number: int, generator: np.random.Generator) -> None:
        values = generator.normal(size=STEPS_PER_BATCH)
        values[generator.integers(0, STEPS_PER_BATCH, 3)] = generator.choice([np.nan, np.inf, -np.inf], 3)
        self.values.append(values)
        first = (number - 1) * STEPS_PER_BATCH + 1
        steps = np.arange(first, first + STEPS_PER_BATCH)
        columns = {"train/loss": values, "train/grad_norm": -values}
        self.spool["steps", number] = (step_batch(self.runtime_id, number, steps, columns, trial=self.trial), 0.0)
        lines = [f"step {step}" for step in steps[::10]]
        self.spool["logs", number] = (
            log_batch(self.runtime_id, number, lines, trial=self.trial, source="rank-0"),
            0.0,
        )
        self.sent_points += 2 * STEPS_PER_BATCH
        self.sent_lines += len(lines)

    def _release(self, stored: telemetry.Stored) -> None:
        for kind, number in list(self.spool):
            if any(r.kind == kind and r.first <= number <= r.last for r in stored.ranges):
                del self.spool[kind, number]


async def crash_rounds(folder: Path, rounds: int, seed: int) -> str:
    """Kill the writer (and every third time NATS) `rounds` times, then compare what is stored with what was sent."""
    chance = random.Random(seed)
    with running_nats(folder / "nats") as nats:
        process = MetricsProcess(folder / "data", nats.url)
        process.start()
        try:
            async with await connect(nats.url, name="senders") as connection:
                await ensure_streams(connection)
                senders = [SpoolingSender("rt-crash", trial, seed * 1000 + trial) for trial in range(1, TRIALS + 1)]
                finished = asyncio.Event()
                async with asyncio.TaskGroup() as group:
                    for sender in senders:
                        group.create_task(sender.run(connection, finished))
                    for number in range(rounds):
                        await asyncio.sleep(chance.uniform(0.05, 1.5))
                        await asyncio.to_thread(process.kill)
                        if number % 3 == 2:
                            await asyncio.to_thread(nats.kill)
                            await asyncio.to_thread(nats.restart)
                        await asyncio.to_thread(process.start, wait_serving=False)
                        # Half of the time it is killed again before it has caught up.
                        if chance.random() < 0.5:
                            await asyncio.to_thread(_wait_serving, process)
                    await asyncio.to_thread(_wait_serving, process)
                    finished.set()
                    async with asyncio.timeout(DRAIN_SECONDS):
                        while any(sender.spool for sender in senders):
                            await asyncio.sleep(0.1)
                async with metrics_client(process.address) as client:
                    return await _compare(client, senders)
        finally:
            process.kill()


def _wait_serving(process: MetricsProcess) -> None:
    deadline = time.monotonic() + 60
    while not process.is_serving():
        assert time.monotonic() < deadline, process.log_path.read_text()[-4000:]
        time.sleep(0.1)


async def _compare(client: MetricsClient, senders: list[SpoolingSender]) -> str:
    for sender in senders:
        parent = f"runtimes/{sender.runtime_id}/trials/{sender.trial}"
        chunks = [m.arrow async for m in client.metrics.ExportSeries(pb.ExportSeriesRequest(parents=[parent]))]
        rows = pa.ipc.open_stream(io.BytesIO(b"".join(chunks))).read_all()
        expected = np.concatenate(sender.values)
        for key, values in (("train/grad_norm", -expected), ("train/loss", expected)):
            of_key = rows.filter(pc.equal(rows["key"], key))
            assert of_key["step"].to_pylist() == list(range(1, len(expected) + 1)), f"{parent} {key}"
            assert of_key["value"].to_numpy().tobytes() == values.tobytes(), f"{parent} {key}"
        texts: list[str] = []
        async for response in client.logs.StreamLogs(log_pb.StreamLogsRequest(parent=parent)):
            texts += [entry.text for entry in response.entries]
            if response.caught_up:
                break
        wanted = {f"step {step}" for step in range(1, len(expected) + 1, 10)}
        assert len(texts) == len(wanted) and set(texts) == wanted, parent
    runtime = f"runtimes/{senders[0].runtime_id}"
    completeness = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=runtime))
    assert completeness.sent_points == completeness.stored_points == sum(sender.sent_points for sender in senders)
    assert completeness.gap_count == 0
    assert sum(s.stored_items for s in completeness.senders if s.kind == "logs") == sum(s.sent_lines for s in senders)
    verified = await client.metrics.VerifyStored(pb.VerifyStoredRequest())
    assert verified.difference_count == 0, list(verified.differences)
    duplicates = sum(s.duplicate_batches for s in completeness.senders)
    return f"{completeness.message}; {duplicates} repeated batches dropped"

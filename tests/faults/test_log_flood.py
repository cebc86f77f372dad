"""A million lines in a minute from one trainer: found, followed, limited, and in bounded memory."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.telemetry import Telemetry
from tests.integration.metrics.test_metrics_lifecycle import request_runtime
from tests.support.servers.metrics_service import MetricsClient, MetricsProcess, metrics_client
from tests.support.servers.servers import running_nats
from tests.support.trainers.attempts import Attempt, TrialOnTest

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

ASSETS = Path(__file__).resolve().parent.parent / "assets"
LINES, SECONDS = 1_000_000, 60
# 41 bytes a line: the quota takes about three quarters of them.
QUOTA_MEGABYTES = 30
# What a process may gain: its buffers are bounded, ClickHouse keeps caches.
DRIVER_MEBIBYTES, SERVICE_MEBIBYTES = 256, 1_536


@dataclass
class Memory:
    """The largest resident memory that processes had, in MiB."""

    largest: dict[str, float] = field(default_factory=dict)

    async def watch(self, attempt: Attempt, process: MetricsProcess) -> None:
        assert attempt.process is not None and process.process is not None
        while True:
            for name, pid in (("driver", attempt.process.pid), ("metrics", process.process.pid)):
                if psutil.pid_exists(pid):
                    used = psutil.Process(pid).memory_info().rss / 2**20
                    self.largest[name] = max(self.largest.get(name, 0.0), used)
            await asyncio.sleep(0.5)


async def follow(client: MetricsClient, parent: str) -> list[str]:
    """Follow the lines of a trial from the first on, until the quota ends them."""
    texts: list[str] = []
    async for response in client.logs.StreamLogs(log_pb.StreamLogsRequest(parent=parent)):
        for entry in response.entries:
            if entry.logger == "milepost.quota":
                return texts
            if entry.text.startswith("line "):
                texts.append(entry.text)
    return texts


async def found(client: MetricsClient, parent: str, **wanted: str) -> list[str]:
    request = log_pb.QueryLogsRequest(parent=parent, filter=log_pb.LogFilter(**wanted))  # type: ignore[arg-type]
    return [entry.text for entry in (await client.logs.QueryLogs(request)).entries]


async def test_a_million_lines_in_a_minute(tmp_path: Path) -> None:
    """Each stored line is followed once and in order, a word is found while they come, and N lines dropped is exact."""
    with running_nats(tmp_path / "nats") as nats, ExitStack() as ending:
        process = MetricsProcess(tmp_path / "data", nats.url)
        process.start()
        memory = Memory()
        try:
            async with await connect(nats.url, name="flood") as connection, metrics_client(process.address) as client:
                await ensure_streams(connection)
                trial = TrialOnTest(connection, nats.url, tmp_path)
                parent = f"runtimes/{trial.runtime_id}/trials/1"
                await request_runtime(connection, trial.runtime_id, QUOTA_MEGABYTES)
                await trial.create({})
                parameters = {"lines": LINES, "seconds": SECONDS}
                attempt = await trial.launch("loops.py:floods", parameters, code=ASSETS)
                attempt.start()
                ending.callback(attempt.kill)
                following = asyncio.create_task(follow(client, parent))
                watching = asyncio.create_task(memory.watch(attempt, process))
                await attempt.wait_for(facts.AttemptStarted)
                while not await found(client, parent, text="needle-1"):
                    await asyncio.sleep(0.5)
                assert attempt.process is not None and attempt.process.poll() is None, "it was over before"
                assert await attempt.wait(600) == 0, attempt.driver_log
                position = (await Telemetry(connection).state()).last_sequence
                waited = log_pb.QueryLogsRequest(parent=parent, page_size=1, min_telemetry_sequence=position)
                await client.logs.QueryLogs(waited)
                followed = await asyncio.wait_for(following, 120)
                watching.cancel()
                await check(client, parent, followed)
                (telling,) = await found(client, parent, text="lines dropped")
                print(f"{len(followed):,} lines followed; {telling}; largest memory {memory.largest}")
                assert memory.largest["driver"] < DRIVER_MEBIBYTES
                assert memory.largest["metrics"] < SERVICE_MEBIBYTES
        finally:
            process.kill()


async def check(client: MetricsClient, parent: str, followed: list[str]) -> None:
    """Every line has been sent, and is either there, once and in order, or counted as dropped."""
    assert [int(text.split()[1]) for text in followed] == list(range(len(followed)))
    assert len(followed) > LINES // 2
    assert await found(client, parent, text="NEEDLE-3") == [followed[300_077]]
    assert await found(client, parent, regular_expression=r"needle-[45] 0\.\d+") == [
        followed[400_077], followed[500_077],
    ]  # fmt: skip
    completeness = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=parent))
    logs = [sender for sender in completeness.senders if sender.kind == "logs"]
    assert sum(sender.sent_items for sender in logs) == sum(sender.stored_items for sender in logs) >= LINES
    assert completeness.gap_count == 0

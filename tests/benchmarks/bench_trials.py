"""Figures 14 and 15: restart of the read models, and their reads, with 10,000 runtimes and 200,000 events.

With the name of a folder the log is kept there, and found there the next time. The log is anchored before anything is
measured, as one is that grew under a running service.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio

from milepost.api.runtime.v1 import runtime_service_pb2, runtime_service_pb2_grpc
from milepost.api.trial.v1 import trial_service_pb2, trial_service_pb2_grpc
from milepost.eventlog import parse_subject, runtime_subject
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.proof.anchor import AnchorFile, anchors_path
from tests.benchmarks.parts.figures import report
from tests.benchmarks.parts.filled_log import EVENTS_PER_RUNTIME, fill
from tests.support.servers.processes import ServiceProcess
from tests.support.servers.servers import running_nats, wait_until

RUNTIMES = int(os.environ.get("BENCH_RUNTIMES", "10000"))
ROUNDS = 3
CALLS = 3_000
CALLS_PER_SECOND = 300
ANCHOR_SECONDS = 300.0


def _start(service: ServiceProcess) -> float:
    """Start a service and return the seconds until it is healthy, its Python included."""
    began = time.monotonic()
    service.start()
    return time.monotonic() - began


def measure_starts(name: str, data_dir: Path, nats_url: str) -> ServiceProcess:
    """Report starts from nothing and from a checkpoint. Returns the service, running."""
    service = ServiceProcess(name, data_dir, {"nats_url": nats_url})
    shutil.rmtree(data_dir / "checkpoints" / name, ignore_errors=True)
    nothing = _start(service)
    service.stop()
    checkpoint = []
    for _ in range(ROUNDS):
        checkpoint.append(_start(service))
        service.stop()
    label = f"14.{name} service ready with {RUNTIMES:,} runtimes, {RUNTIMES * EVENTS_PER_RUNTIME:,} events"
    report(f"{label}, from the checkpoint", checkpoint, "s", "<= 3")
    report(f"{label}, from nothing", nothing, "s", "<= 25")
    service.start()
    return service


def anchor(data_dir: Path, nats_url: str) -> None:
    """Let the runtime service anchor the log, which it does behind the scenes."""
    service = ServiceProcess("runtime", data_dir, {"nats_url": nats_url})
    service.start()
    anchors = AnchorFile(anchors_path(data_dir))
    end = RUNTIMES * EVENTS_PER_RUNTIME
    wait_until(lambda: any(a.sequence >= end for a in anchors.read()), "the log is anchored", ANCHOR_SECONDS)
    service.stop()


async def _latencies(call: Callable[[], Awaitable[object]]) -> list[float]:
    """Call at a steady rate, whatever the answers take, and return the milliseconds of each."""
    taken: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        await call()
        taken.append(1_000 * (time.perf_counter() - began))

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for index in range(CALLS):
            pause = begin + index / CALLS_PER_SECOND - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            group.create_task(one())
    return taken


async def report_reads(name: str, call: Callable[[], Awaitable[object]], target: str) -> None:
    for _ in range(50):
        await call()
    taken = await _latencies(call)
    label = f"15.{name} among {RUNTIMES:,} at {CALLS_PER_SECOND} calls/s"
    report(f"{label}, p99", statistics.quantiles(taken, n=100)[98], "ms", target)
    report(f"{label}, median", statistics.median(taken), "ms", "")


async def prepare(nats_url: str) -> list[str]:
    """Fill the log unless it is. Returns the ids of its runtimes."""
    async with await connect(nats_url, name="bench") as connection:
        await ensure_streams(connection)
        event_log = JetStreamLog(connection)
        if not await event_log.last_sequence():
            return await fill(connection, RUNTIMES)
        subjects = (runtime_subject("*"),)
        return list(
            {parse_subject(event.subject).runtime_id: None async for event in event_log.read(subjects=subjects)}
        )


async def main(folder: str | None) -> None:
    with tempfile.TemporaryDirectory() as directory, running_nats(Path(folder or directory)) as nats:
        ids = await prepare(nats.url)
        data_dir = Path(directory) / "data"
        await asyncio.to_thread(anchor, data_dir, nats.url)
        trials = await asyncio.to_thread(measure_starts, "trials", data_dir, nats.url)
        async with grpc.aio.insecure_channel(trials.address) as channel:
            stub = trial_service_pb2_grpc.TrialServiceStub(channel)
            get = trial_service_pb2.GetTrialRequest
            listing = trial_service_pb2.ListTrialsRequest(parent="runtimes/-", page_size=50, brief=True)
            await report_reads(
                "GetTrial", lambda: stub.GetTrial(get(name=f"runtimes/{random.choice(ids)}/trials/1")), "<= 5"
            )
            await report_reads("ListTrials page of 50", lambda: stub.ListTrials(listing), "<= 20")
        await asyncio.to_thread(trials.stop)
        runtime = await asyncio.to_thread(measure_starts, "runtime", data_dir, nats.url)
        async with grpc.aio.insecure_channel(runtime.address) as channel:
            runtimes = runtime_service_pb2_grpc.RuntimeServiceStub(channel)
            name = runtime_service_pb2.GetRuntimeRequest
            page = runtime_service_pb2.ListRuntimesRequest(page_size=50)
            await report_reads(
                "GetRuntime", lambda: runtimes.GetRuntime(name(name=f"runtimes/{random.choice(ids)}")), "<= 5"
            )
            await report_reads("ListRuntimes page of 50", lambda: runtimes.ListRuntimes(page), "<= 20")
        await asyncio.to_thread(runtime.stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))

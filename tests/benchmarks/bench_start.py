"""Figures 10, 18, 19 and 20: how long until the page shows a step, and what a stack takes that does nothing.

From `milepost runtime start`, beside the same loop as a bare script; from the moment that a killed trainer is noticed to
the first step of its next attempt, whose curve must be that of a run that nobody killed; from `make demo`. What the page
is told counts: the live stream of the gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any

import httpx

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.installation import endpoints
from tests.benchmarks.parts.figures import report
from tests.e2e.stack import ROOT, StackProcess
from tests.support.servers.gateway import read_events

ASSETS = Path(__file__).resolve().parents[1] / "assets"
# Until a stack that has just started is at rest.
REST_SECONDS = 30.0
PARTS = ("gateway", "runtime", "trials", "metrics", "rules", "nats")
RUNS = 5
DEMO_RUNS = 3
SECONDS = 180.0
DEMO_SECONDS = 60.0
KEY = "train/loss"


def configuration(**changes: object) -> str:
    return json.dumps(
        {
            "name": "first step",
            "entrypoint": "first_step.py:train",
            "working_directory": str(ASSETS),
            "snapshots": {"every_steps": 10, "keep_last": 2},
            **changes,
        }
    )


async def told(gateway: str, path: str, **query: str) -> AsyncIterator[tuple[float, dict[str, Any]]]:
    """Be a page: yield each trial that the stream tells, with the time it came at."""
    async with (
        httpx.AsyncClient(base_url=gateway, timeout=SECONDS) as client,
        client.stream("GET", path, params=query) as response,
    ):
        response.raise_for_status()
        async for event in read_events(response):
            trial = event.data.get("trial")
            if isinstance(trial, dict):
                yield time.time(), trial


async def when_at(stream: AsyncIterator[tuple[float, dict[str, Any]]], steps: int, attempt: int = 1) -> float:
    """Return when an attempt was told to have done so many steps of its own."""
    async for moment, trial in stream:
        done = int(trial.get("progress", {}).get("step", 0))
        # A list of trials tells no lineage; the first attempt begins at 1.
        firsts = [int(part["first_step"]) for part in trial.get("lineage", []) if part["attempt"] >= attempt]
        if any(done >= first + steps - 1 for first in ([1] if attempt == 1 else firsts)):
            return moment
    raise SystemExit("the stream ended before that step")


def of_runtime(stack: StackProcess, runtime_id: str) -> AsyncIterator[tuple[float, dict[str, Any]]]:
    return told(stack.endpoints.gateway, f"/api/v1/runtimes/{runtime_id}/stream", topics="trial", trial="1")


def bare_seconds() -> float:
    """Return the seconds from the start of the bare script to its first step."""
    began = time.time()
    with subprocess.Popen([sys.executable, str(ASSETS / "first_step.py")], stdout=subprocess.PIPE) as script:
        assert script.stdout is not None
        script.stdout.readline()
        return time.time() - began


async def started_seconds(stack: StackProcess, file: Path) -> float:
    """Return the seconds from the command to the first step on the page."""
    began = time.time()
    started = await asyncio.to_thread(stack.milepost, "runtime", "start", str(file))
    if started.returncode != 0:
        raise SystemExit(started.stderr)
    runtime_id = started.stdout.strip()
    seconds = await when_at(of_runtime(stack, runtime_id), 1) - began
    stack.client.stop_runtime(f"runtimes/{runtime_id}")
    await asyncio.to_thread(stack.wait_for_end, f"runtimes/{runtime_id}")
    return seconds


async def resumed_seconds(stack: StackProcess, name: str) -> tuple[float, float]:
    """Kill the trainer of a run. Returns the seconds to its next step, from the kill and from when it was noticed."""
    runtime_id = name.removeprefix("runtimes/")
    await when_at(of_runtime(stack, runtime_id), 25)
    killed = time.time()
    for trainer in stack.trainers():
        trainer.send_signal(signal.SIGKILL)
    first = await when_at(of_runtime(stack, runtime_id), 1, attempt=2)
    # With the driver dead it is the scheduler that notices.
    noticed = next(event for event in stack.events(name) if event.type == "milepost.trial.attempt_fenced.v1")
    return first - killed, first - noticed.event_time.ToDatetime(UTC).timestamp()


async def demo_seconds(data_dir: Path) -> float:
    """Return the seconds from `make demo` until its bar has moved."""
    began = time.time()
    with subprocess.Popen(
        ["make", "demo", f"DATA_DIR={data_dir}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    ) as demo:
        try:
            while (found := endpoints.read(data_dir)) is None:
                if demo.poll() is not None or time.time() > began + DEMO_SECONDS:
                    raise SystemExit("make demo did not start")
                await asyncio.sleep(0.02)
            return await when_at(told(found.gateway, "/api/v1/stream", topics="trials"), 2) - began
        finally:
            os.killpg(demo.pid, signal.SIGINT)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mp-start-") as folder:
        file = Path(folder) / "run.json"
        file.write_text(configuration())
        stack = StackProcess(Path(folder) / "data")
        try:
            stack.start()
            await asyncio.sleep(REST_SECONDS)
            resting = sum(stack.part(name).memory_info().rss for name in PARTS) / 2**20
            report("20.memory at rest of five services and nats-server", resting, "MiB", "<= 900")
            beyond, bare = [], []
            for number in range(RUNS + 1):
                alone = await asyncio.to_thread(bare_seconds)
                shown = await started_seconds(stack, file)
                # The first run of each warms the file cache.
                if number:
                    bare.append(alone)
                    beyond.append(shown - alone)
            report("10.start, bare script", bare, "s", "")
            report("10.start to first step on the page, beyond the bare script", beyond, "s", "<= 2")
            await measure_resume(stack)
        finally:
            stack.end()
        await asyncio.sleep(2)
        demos = [await demo_seconds(Path(folder) / f"demo-{number}") for number in range(DEMO_RUNS)]
        report("19.make demo to first moving bar on the page", demos, "s", "<= 15")


async def measure_resume(stack: StackProcess) -> None:
    loop = configuration(entrypoint="loops.py:plain", parameters={"step_seconds": 0.1})
    left = stack.client.start_runtime(loop).name
    await asyncio.to_thread(stack.wait_for_end, left)
    whole = await asyncio.to_thread(stack.series, left, KEY)
    since_kill, since_noticed, different = [], [], 0
    for _ in range(RUNS):
        name = stack.client.start_runtime(loop).name
        kill, noticed = await resumed_seconds(stack, name)
        since_kill.append(kill)
        since_noticed.append(noticed)
        ended = await asyncio.to_thread(stack.wait_for_end, name)
        if ended.status != api.RUNTIME_STATUS_COMPLETED:
            raise SystemExit(f"{name}: {ended.reason}")
        different += (await asyncio.to_thread(stack.series, name, KEY)) != whole
    report("18.kill of the trainer to first new step", since_kill, "s", "")
    report("18.detection to first new step", since_noticed, "s", "<= 10")
    report("18.curves that differ from an uninterrupted run", different, f"of {RUNS}", "0")


if __name__ == "__main__":
    asyncio.run(main())

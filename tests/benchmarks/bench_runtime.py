"""Figure 12, the command: p99 of `StopRuntime`, durable, one after the other, with the scheduler carrying each out."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.benchmarks.parts.figures import report
from tests.integration.runtime.harness import running
from tests.support.servers.servers import running_nats

STOPS = 300
CONFIGURATION = "{name: bench, launcher: external}"


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory, running_nats(Path(directory)) as nats:
        async with running(nats, Path(directory) / "data") as stack:
            request = api.StartRuntimeRequest(configuration_text=CONFIGURATION)
            starts, names = [], []
            for _ in range(STOPS):
                began = time.perf_counter()
                names.append((await stack.stub.StartRuntime(request)).runtime.name)
                starts.append((time.perf_counter() - began) * 1_000)
            stops = []
            for name in names:
                began = time.perf_counter()
                await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name))
                stops.append((time.perf_counter() - began) * 1_000)
            report("12.StopRuntime, p99", statistics.quantiles(stops, n=100)[98], "ms", "<= 50")
            report("12.StopRuntime, median", statistics.median(stops), "ms", "")
            report("12.StartRuntime of a script, p99", statistics.quantiles(starts, n=100)[98], "ms", "")


if __name__ == "__main__":
    asyncio.run(main())

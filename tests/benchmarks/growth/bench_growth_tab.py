"""Growth 25: one tab on a search of 1, 10 and 100 running trials: what it takes of the wire, and of other callers.

nats-server, the services and the gateway are real; each trial sends its progress once a second. The tab asks for what
the page of a runtime asks for. Beside it somebody else calls `GetTrial` again and again, with the tab and without.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import grpc.aio
import httpx

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.api.trial.v1 import trial_service_pb2_grpc as rpc
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.ids import new_runtime_id
from tests.benchmarks.parts.growth import report_growth
from tests.support.servers.processes import running_services
from tests.support.servers.servers import running_nats
from tests.support.trainers.writer import Writer

SIZES = (1, 10, 100)
# Some hundred markers of each kind are planned.
PLAN = {"total_steps": 100_000, "eval_every_steps": 50, "steps_per_epoch": 60, "snapshot_every_steps": 70}
STEPS_PER_SECOND = 10
WARM_SECONDS, MEASURED_SECONDS = 8.0, 8.0
ASKED_EVERY = 0.02
# As the page asks.
QUERY = {"topics": "runtime,trials,events", "brief": "true"}


async def began(connection: Connection, trials: int) -> Writer:
    """Begin a search."""
    writer = Writer(connection, new_runtime_id())
    await writer.request(trials=trials)
    for trial in range(1, trials + 1):
        await writer.control(facts.AttemptLaunched(attempt=1), trial=trial)
        plan = facts.PlanDeclared(**PLAN)  # type: ignore[arg-type]
        await writer.attempt(1, facts.AttemptStarted(world_size=1), plan, trial=trial)
    return writer


async def go_on(writer: Writer, trials: int) -> None:
    """Have every trial send its progress once a second, for ever."""
    begin, number = time.monotonic(), 0
    while True:
        number += 1
        for trial in range(1, trials + 1):
            await asyncio.sleep(max(0.0, begin + number - 1 + trial / trials - time.monotonic()))
            await writer.batch(number * STEPS_PER_SECOND, trial=trial)


async def latency(stub: rpc.TrialServiceStub, name: str) -> float:
    """Return the median milliseconds of `GetTrial`."""
    taken = []
    end = time.monotonic() + MEASURED_SECONDS
    while time.monotonic() < end:
        asked = time.perf_counter()
        await stub.GetTrial(api.GetTrialRequest(name=name))
        taken.append(1_000 * (time.perf_counter() - asked))
        await asyncio.sleep(ASKED_EVERY)
    return statistics.median(taken)


class Tab:
    """A client of the live stream of a runtime that counts its bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    async def open(self, base: str, runtime_id: str) -> None:
        async with (
            httpx.AsyncClient(base_url=base, timeout=httpx.Timeout(60.0)) as client,
            client.stream("GET", f"/api/v1/runtimes/{runtime_id}/stream", params=QUERY) as response,
        ):
            assert response.status_code == 200, response.status_code
            async for chunk in response.aiter_raw():
                self.bytes += len(chunk)


async def measure(connection: Connection, gateway: str, trials_address: str, size: int) -> tuple[float, float]:
    """Return the bytes a second of a tab, and how many times as long others wait while it is open."""
    writer = await began(connection, size)
    going = asyncio.create_task(go_on(writer, size))
    async with grpc.aio.insecure_channel(trials_address) as channel:
        stub = rpc.TrialServiceStub(channel)
        name = f"runtimes/{writer.runtime_id}/trials/1"
        await asyncio.sleep(WARM_SECONDS)
        without = await latency(stub, name)
        tab = Tab()
        opened = asyncio.create_task(tab.open(gateway, writer.runtime_id))
        # The state as it is comes once.
        await asyncio.sleep(3.0)
        first = tab.bytes
        beside = await latency(stub, name)
        rate = (tab.bytes - first) / MEASURED_SECONDS
    assert tab.bytes > 0, "the tab was told of nothing"
    for task in (opened, going):
        task.cancel()
    await asyncio.gather(opened, going, return_exceptions=True)
    return rate, beside / without


async def main() -> None:
    rates, waits = {}, {}
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder, running_nats(Path(folder) / "nats") as nats:
        async with await connect(nats.url, name="bench") as connection:
            await ensure_streams(connection)
            names = ("runtime", "trials", "gateway")
            with running_services(Path(folder) / "data", nats.url, names) as services:
                gateway, trials = f"http://{services['gateway'].address}", services["trials"].address
                for size in SIZES:
                    rates[size], waits[size] = await measure(connection, gateway, trials, size)
    name = "growth.25.one tab on a search of running trials"
    report_growth(f"{name}: bytes to it", rates, "bytes/s", "<= 127000", "12.7 MB/s")
    report_growth(f"{name}: GetTrial of others, median against without it", waits, "times", "<= 1.2", "110")


if __name__ == "__main__":
    asyncio.run(main())

"""Growth 14 and 15: the stop of a search of 20, 200 and 2,000 trials, and the head of a queue of 6, 60 and 600.

A runtime service in this process, on a real nats-server. One trial of the search runs, the others wait. While it is
stopped, somebody else reads and stops other runtimes; the same without a search beside. The queue waits behind a runtime
that holds everything; when its head leaves it is counted what that writes into the log.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from services.runtime.policies.placement import Capacity
from tests.benchmarks.parts.growth import report_growth
from tests.integration.runtime.harness import Stack, running
from tests.support.servers.servers import running_nats

SEARCHES, QUEUES = (20, 200, 2_000), (6, 60, 600)
SECONDS = 300.0
CAPACITY = Capacity("bench", 1_000.0, 1_000.0)
EVERYTHING = {"cpus_per_worker": CAPACITY.cpus}
SCRIPT = api.StartRuntimeRequest(configuration_text="{name: bench, launcher: external}")
ENDLESS = {"steps": 1_000_000, "step_seconds": 0.1, "snapshot_every": 1_000_000}
# Beside the stop of a search.
ASKED_EVERY = 0.02
QUIET_SECONDS = 5.0


def p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98] if len(taken) > 1 else taken[0]


class Others:
    """Somebody who reads a runtime and stops runtimes, with the milliseconds of each."""

    def __init__(self, stack: Stack, names: list[str]) -> None:
        self.reads: list[float] = []
        self.stops: list[float] = []
        self._stack = stack
        self._names = names

    async def ask(self) -> None:
        """Ask for ever."""
        stub = self._stack.stub
        while True:
            name = self._names.pop()
            await _timed(lambda name=name: stub.GetRuntime(api.GetRuntimeRequest(name=name)), self.reads)  # type: ignore[misc]
            await _timed(lambda name=name: stub.StopRuntime(api.StopRuntimeRequest(name=name)), self.stops)  # type: ignore[misc]
            await asyncio.sleep(ASKED_EVERY)


async def _timed(call: Callable[[], Awaitable[Any]], taken: list[float]) -> None:
    began = time.perf_counter()
    await call()
    taken.append(1_000 * (time.perf_counter() - began))


async def others_while(stack: Stack, work: Awaitable[object], count: int) -> Others:
    """Have others ask while something is done."""
    names = [(await stack.stub.StartRuntime(SCRIPT)).runtime.name for _ in range(count)]
    others = Others(stack, names)
    asking = asyncio.create_task(others.ask())
    await work
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert others.stops, "nobody asked for anything"
    return others


async def stop_of_a_search(stack: Stack, trials: int) -> tuple[float, float, float]:
    """Return the seconds until a search is Aborted, and how many times as long others' reads and commands take."""
    quiet = await others_while(stack, asyncio.sleep(QUIET_SECONDS), 250)
    search = {"space": {"x": list(range(trials))}, "max_concurrent_trials": 1, "max_trials": trials}
    name = (await stack.start(search=search, parameters=ENDLESS)).name
    await stack.wait_phase(name, api.RUNTIME_PHASE_RUNNING, SECONDS)
    view = stack.application.views.runtimes[name.removeprefix("runtimes/")]
    while len(view.trials) < trials:
        await asyncio.sleep(0.1)
    seconds = 0.0

    async def stop() -> None:
        nonlocal seconds
        began = time.perf_counter()
        await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name, mode=common.STOP_MODE_ABRUPT))
        while (await stack.get(name)).phase != api.RUNTIME_PHASE_ENDED:
            assert time.perf_counter() - began < SECONDS, "the search does not end"
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began

    beside = await others_while(stack, stop(), 1_000)
    return seconds, p99(beside.reads) / p99(quiet.reads), p99(beside.stops) / p99(quiet.stops)


async def events_when_the_head_leaves(stack: Stack, waiting: int) -> int:
    """Return how many events a queue writes because its head is stopped, beyond those of the head itself."""
    first = (await stack.start(parameters=ENDLESS, resources=EVERYTHING)).name
    await stack.wait_phase(first, api.RUNTIME_PHASE_RUNNING, SECONDS)
    names = [(await stack.start(resources=EVERYTHING)).name for _ in range(waiting)]
    last = await stack.wait(names[-1], lambda one: one.queue_position == waiting, "the queue is there", SECONDS)
    before = stack.application.views.sequence
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=names[0]))
    await stack.wait(names[-1], lambda one: one.queue_position == last.queue_position - 1, "it moves up", SECONDS)
    await stack.wait_ended(names[0])
    # What follows from it is there by then.
    await asyncio.sleep(2.0)
    written = stack.application.views.sequence - before
    own = sum(event.sequence > before for event in await stack.events(names[0]))
    for name in (*reversed(names[1:]), first):
        await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(first, SECONDS)
    return written - own


async def main() -> None:
    seconds, reads, commands, events = {}, {}, {}, {}
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder, running_nats(Path(folder)) as nats:
        async with running(nats, Path(folder) / "data", capacity=CAPACITY) as stack:
            for size in SEARCHES:
                seconds[size], reads[size], commands[size] = await stop_of_a_search(stack, size)
            for size in QUEUES:
                events[size] = float(await events_when_the_head_leaves(stack, size))
    name = "growth.14.stop of a search"
    report_growth(name, seconds, "s", "<= 5.9", "19.5")
    report_growth(f"{name}: reads of others, p99 against without it", reads, "times", "<= 2")
    report_growth(f"{name}: commands of others, p99 against without it", commands, "times", "<= 2")
    report_growth("growth.15.events when the head of a queue leaves", events, "events", "<= 1", "598")


if __name__ == "__main__":
    asyncio.run(main())

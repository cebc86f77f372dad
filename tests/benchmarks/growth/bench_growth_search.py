"""Growth 13: a search of 10, 100 and 1,000 running trials, for one who watches it and one who asks for a page.

The views are those of the trial service, filled with events and headers of telemetry; each trial plans evaluations,
epochs and snapshots. What is blocked is the longest time in which the event loop served nobody else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import grpc.aio

from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.api.trial.v1 import trial_service_pb2_grpc as rpc
from services.trials.queries import Scope
from services.trials.service import TrialService
from services.trials.watches import Watch
from tests.benchmarks.parts.growth import pauses, report_growth
from tests.support.trainers.running_search import RunningSearch
from tests.support.trainers.trial_history import RUNTIME

SIZES = (10, 100, 1_000)
PARENT = f"runtimes/{RUNTIME}"


@asynccontextmanager
async def served(search: RunningSearch) -> AsyncIterator[rpc.TrialServiceStub]:
    """The trial service on these views, over a socket."""
    server = grpc.aio.server()
    rpc.add_TrialServiceServicer_to_server(TrialService(search, search.now), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield rpc.TrialServiceStub(channel)
    await server.stop(None)


async def blocked_by_a_tick(search: RunningSearch) -> float:
    """Return the milliseconds for which others wait while one watcher is told that every trial has moved."""
    watch = Watch(search, Scope(RUNTIME), None, True, search.now)
    async with aclosing(watch.responses()) as responses:  # type: ignore[type-var]
        async for response in responses:
            if response.caught_up:
                break
        search.advance()
        told: set[int] = set()
        async with pauses() as found:
            while len(told) < search.trials:
                told.add((await anext(responses)).trial.trial)
        return 1_000 * found.longest


async def until_caught_up(stub: rpc.TrialServiceStub) -> float:
    """Return the seconds until a new watcher has everything."""
    began = time.perf_counter()
    call = stub.WatchTrials(api.WatchTrialsRequest(parent=PARENT, brief=True))
    async for response in call:
        if response.caught_up:
            break
    call.cancel()
    return time.perf_counter() - began


async def page(stub: rpc.TrialServiceStub) -> float:
    """Return the seconds of the list that the page of a runtime asks for at first."""
    began = time.perf_counter()
    answer = await stub.ListTrials(api.ListTrialsRequest(parent=PARENT, page_size=1_000, brief=True))
    assert answer.total_size == len(answer.trials)
    return time.perf_counter() - began


async def main() -> None:
    tick, caught_up, listed = {}, {}, {}
    for size in SIZES:
        search = RunningSearch(size)
        tick[size] = await blocked_by_a_tick(search)
        async with served(search) as stub:
            search.advance()
            caught_up[size] = await until_caught_up(stub)
            search.advance()
            listed[size] = await page(stub)
    name = "growth.13.a search of running trials"
    report_growth(f"{name}: blocked by one tick of one watcher", tick, "ms", "<= 50")
    report_growth(f"{name}: WatchTrials until caught up", caught_up, "s", "<= 0.5")
    report_growth(f"{name}: a page of all", listed, "s", "<= 0.2")


if __name__ == "__main__":
    asyncio.run(main())

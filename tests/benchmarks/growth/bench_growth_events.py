"""Growth 17: events by a filter that nothing meets, and all runtimes as of a moment, among 600 and 6,000 events.

The log is in memory: what NATS takes to hand out the events comes on top, some 24 us each.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.eventlog import Head, runtime_chain, trial_chain
from milepost.eventlog.memory import MemoryLog
from milepost.ids import new_runtime_id
from services.runtime.readmodel.checkpointing import Checkpointing
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.views import Views
from tests.benchmarks.parts.filled_log import life
from tests.benchmarks.parts.growth import report_growth

SIZES = (30, 300)
TURNS = 3


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    taken = []
    for _ in range(TURNS):
        began = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def measure(runtimes: int) -> tuple[int, float, float]:
    """Return how many events there are, and the seconds of both."""
    log, views = MemoryLog(), Views()
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        checkpointing = Checkpointing(Path(folder), views, 1)
        for _ in range(runtimes):
            runtime_id = new_runtime_id()
            await log.append(life(runtime_id), [Head(runtime_chain(runtime_id)), Head(trial_chain(runtime_id, 1))])
        last = await log.last_sequence()
        async for message in log.read(0):
            views.apply(message)
            if message.sequence == last * 95 // 100:
                await checkpointing.write()
        events = Events(log, views, *([checkpointing.before] if hasattr(checkpointing, "before") else []))
        nothing = api.ListEventsRequest(parent="runtimes/-", newest_first=True)
        nothing.filter.actor = "nobody"
        found = await seconds(lambda: events.page(nothing))
        moved = await seconds(lambda: events.views_as_of(AsOf(events_sequence=views.sequence - 1)))
        return views.sequence, found, moved


async def main() -> None:
    """Print the rows."""
    measured = [await measure(size) for size in SIZES]
    report_growth("growth.17.events by a filter that nothing meets", {n: s for n, s, _ in measured}, "s", "<= 2")
    report_growth("growth.17.runtimes as of a moment", {n: s for n, _, s in measured}, "s", "<= 0.5")


if __name__ == "__main__":
    asyncio.run(main())

"""Growth 18: a checkpoint after one of 200, 2,000, 20,000 runtimes changed: bytes written, and for how long others wait."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path

from milepost.eventlog import Head, runtime_chain, trial_chain
from milepost.eventlog.memory import MemoryLog
from milepost.ids import new_runtime_id
from services.readmodel.checkpoints import compress
from services.runtime.readmodel.checkpointing import CODEC, Checkpointing, open_record, to_record
from services.runtime.readmodel.lazy_index import Written
from services.runtime.readmodel.views import Views, summarize
from tests.benchmarks.parts.filled_log import life
from tests.benchmarks.parts.growth import pauses, report_growth

SIZES = (200, 2_000, 20_000)
TURNS = 5


async def happen(log: MemoryLog, views: Views, runtime_id: str) -> None:
    """Let a runtime live and end."""
    await log.append(life(runtime_id), [Head(runtime_chain(runtime_id)), Head(trial_chain(runtime_id, 1))])
    async for message in log.read(views.sequence):
        views.apply(message)


async def views_of(log: MemoryLog, runtimes: int) -> Views:
    """Return views of so many runtimes, all of them open."""
    views, first = Views(), new_runtime_id()
    await happen(log, views, first)
    head, _, _ = to_record(views.runtimes[first]).partition(b"\t")
    content = CODEC.encode(views.runtimes[first])
    for _ in range(runtimes - 1):
        runtime_id = new_runtime_id()
        before, after = first.encode(), runtime_id.encode()
        record = head.replace(before, after) + b"\t" + compress(content.replace(before, after))
        views.lay(Written(summarize(open_record(record)), record), open_record)
        assert views.runtimes[runtime_id].runtime_id == runtime_id
    return views


async def measure(runtimes: int) -> tuple[float, float]:
    """Return the bytes on disk of a checkpoint after one runtime more, and the milliseconds that others waited."""
    log = MemoryLog()
    views = await views_of(log, runtimes)
    if hasattr(views, "changed"):
        views.changed = dict.fromkeys(views.runtimes)
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        checkpointing = Checkpointing(Path(folder), views, 1)
        await checkpointing.write()
        written, blocked = [], []
        for _ in range(TURNS):
            await happen(log, views, new_runtime_id())
            known = {path: path.stat() for path in Path(folder).iterdir()}
            async with pauses() as found:
                await checkpointing.write()
            blocked.append(1_000 * found.longest)
            written.append(
                sum(
                    path.stat().st_size - (known[path].st_size if path in known else 0)
                    for path in Path(folder).iterdir()
                    if path not in known or path.stat().st_size != known[path].st_size
                )
            )
    return statistics.median(written), statistics.median(blocked)


async def main() -> None:
    """Print the rows."""
    measured = {size: await measure(size) for size in SIZES}
    bytes_written = {size: float(found) for size, (found, _) in measured.items()}
    report_growth("growth.18.written by a checkpoint", bytes_written, "bytes", "flat", "29 MB")
    blocked = {size: found for size, (_, found) in measured.items()}
    report_growth("growth.18.blocked by a checkpoint", blocked, "ms", "<= 5", "487 ms")


if __name__ == "__main__":
    asyncio.run(main())

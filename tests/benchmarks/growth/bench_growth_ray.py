"""Growth 20: the Ray launcher's look each second, after 40, 400 and 4,000 attempts since its start, one of which runs."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from milepost.eventlog.memory import MemoryKeyValue
from milepost.names import AttemptKey
from services.runtime.launchers.claims import Claims
from services.runtime.launchers.ray import RayLauncher, RayOptions, job_id
from services.runtime.launchers.ray_jobs import Job, JobServer, Use
from services.runtime.policies.control import Process
from services.runtime.policies.placement import Node
from tests.benchmarks.parts.growth import pauses, report_growth

SIZES = (40, 400, 4_000)
ADDRESS = "http://cluster:8265"
# Two looks, and a look at the cluster.
SECONDS = 2.5
RUNNING = AttemptKey("rt-runs", 1, 1)


class Cluster(JobServer):
    """Knows one job, and answers at once."""

    def __init__(self) -> None:
        super().__init__(ADDRESS)
        self.asked = 0

    async def find(self, job_id_: str) -> Job | None:
        self.asked += 1
        return Job("RUNNING") if job_id_ == job_id(RUNNING) else None

    async def submit(self, job_id_: str, request: Mapping[str, Any]) -> bool:
        raise NotImplementedError("nothing is launched here")

    async def nodes(self) -> list[Node]:
        return [Node(8.0, 32.0)]

    async def use(self) -> Use | None:
        return None


async def longest_look(folder: Path, attempts: int) -> float:
    """Return the milliseconds for which the looks of a launcher that has seen so many attempts block others."""
    cluster = Cluster()
    launcher = RayLauncher(
        RayOptions(ADDRESS), folder, Claims(MemoryKeyValue()), lambda key: "ticket", lambda: "127.0.0.1:1", cluster
    )
    keys = [AttemptKey(f"rt-{number}", 1, 1) for number in range(attempts)]
    for key in (*keys, RUNNING):
        launcher.observe(key)
    launcher.start()
    await launcher.looked()
    while any(launcher.observe(key)[0] is Process.UNSEEN for key in keys):
        await asyncio.sleep(0.1)
    before = cluster.asked
    async with pauses() as found:
        await asyncio.sleep(SECONDS)
    await launcher.close()
    assert 1 <= cluster.asked - before <= 4, "it looks at the one that runs"
    return 1_000 * found.longest


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        blocked = {size: await longest_look(Path(folder), size) for size in SIZES}
    report_growth("growth.20.blocked by a look of the Ray launcher", blocked, "ms", "<= 10, flat", "1.4 s")


if __name__ == "__main__":
    asyncio.run(main())

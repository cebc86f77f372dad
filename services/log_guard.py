"""Every service checks the end of the log before it writes to it, and again while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from milepost.eventlog.anchor import AnchorFile, LogGuard, anchors_path
from milepost.eventlog.jetstream import JetStreamLog


@asynccontextmanager
async def guarded(event_log: JetStreamLog, data_dir: Path) -> AsyncIterator[None]:
    """Let this process write to the log only while its end is the one that was anchored; reads always work.

    For services that write no anchors. One without a data directory in common with the service that does checks the
    newest events by their own chain.
    """
    guard = LogGuard(event_log, AnchorFile(anchors_path(data_dir)), writes=False)
    await guard.check()
    watching = asyncio.create_task(guard.run(), name="log guard")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

"""Every service checks the end of the log before it writes to it, and again while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.proof.anchor import AnchorFile, anchors_path
from milepost.eventlog.proof.log_guard import LogGuard
from services.supervision import Supervision


@asynccontextmanager
async def guarded(event_log: JetStreamLog, data_dir: Path, supervision: Supervision) -> AsyncIterator[None]:
    """Let this process write to the log only while its end is the one that was anchored; reads always work.

    For services that write no anchors. One without a data directory in common with the service that does checks the
    newest events by their own chain.
    """
    guard = LogGuard(event_log, AnchorFile(anchors_path(data_dir)), writes=False)
    await guard.check()
    async with supervision.running("log guard", guard.run):
        yield

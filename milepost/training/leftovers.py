"""Sends what earlier attempts on this machine, and the attempt whose snapshot was restored, could not send."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from milepost.errors import MilepostError
from milepost.eventlog.connection import Connection
from milepost.snapshots import read_manifest
from milepost.storage import download, folder_of
from milepost.training.sender import Allowance, TelemetrySender
from milepost.training.spool import Spool, read_sender

log = logging.getLogger(__name__)

# A spool whose batches nobody reports as stored is kept for the next attempt after this long.
SEND_SECONDS = 600.0
_RESTORED = "spool-restored-"


def adopt_snapshot_telemetry(attempt_directory: Path, snapshot_uri: str) -> None:
    """Copy the unsent points that a snapshot carries into spools of this attempt's folder."""
    if not snapshot_uri:
        return
    try:
        folder = folder_of(snapshot_uri)
        carried = [name for name in read_manifest(folder).files if name.startswith("telemetry-")]
        for name in carried:
            target = attempt_directory / f"{_RESTORED}{name}"
            if not target.exists():
                temporary = target.with_suffix(".copy")
                download(folder, name, temporary)
                temporary.rename(target)
    except (MilepostError, OSError) as error:
        log.warning("snapshot.telemetry_not_read", extra={"uri": snapshot_uri, "error": str(error)})


def leftover_spools(attempt_directory: Path) -> list[Path]:
    """List the spools of earlier attempts of the same trial, and those that came with a snapshot."""
    found = list(attempt_directory.glob(f"{_RESTORED}*.sqlite"))
    for other in sorted(attempt_directory.parent.glob("attempt-*")):
        if other != attempt_directory and _number(other) < _number(attempt_directory):
            found += sorted(other.glob("spool-*.sqlite"))
    return found


def _number(directory: Path) -> int:
    return int(directory.name.rpartition("-")[2]) if directory.name.rpartition("-")[2].isdigit() else 0


async def send_leftovers(connection: Connection, attempt_directory: Path, snapshot_uri: str = "") -> None:
    """Send what is left, in the name of those who left it. The writer drops what it has already."""
    await asyncio.to_thread(adopt_snapshot_telemetry, attempt_directory, snapshot_uri)
    for path in leftover_spools(attempt_directory):
        await send_spool(connection, path, SEND_SECONDS)


async def send_spool(connection: Connection, path: Path, seconds: float, logs: Allowance | None = None) -> int:
    """Send the batches of one spool. Returns how many are not known to be stored; the file goes when there are none.

    `logs`: how fast lines may go out; None: as fast as they are taken.
    """
    sender = read_sender(path)
    if sender is None:
        return 0
    spool = Spool(path, sender)
    count = spool.count
    if count:
        log.info("spool.leftover", extra={"path": str(path), "batches": count})
    telemetry = TelemetrySender(spool, logs=logs)
    running = asyncio.create_task(telemetry.run(connection))
    try:
        await telemetry.wait_stored({kind: spool.last_number(kind) for kind in ("steps", "logs")}, seconds)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        count = spool.count
        spool.close()
    return count

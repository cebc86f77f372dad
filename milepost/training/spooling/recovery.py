"""Sends what earlier attempts on this machine, and the attempt whose snapshot was restored, could not send."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.errors import MilepostError
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.credentials import MAX_PREDECESSORS
from milepost.snapshots import read_manifest
from milepost.storage import download, folder_of
from milepost.training.spooling.owner import Owned
from milepost.training.spooling.sender import TelemetrySender, TokenBucket
from milepost.training.spooling.spool import anybody, opened_left

log = logging.getLogger(__name__)

# A spool whose batches nobody reports as stored is kept for the next attempt after this long.
SEND_SECONDS = 600.0
_RESTORED = "spool-restored-"
_ATTEMPT = re.compile(r"attempt-([1-9][0-9]{0,8})")


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


def earlier_spools(attempt_directory: Path) -> list[Path]:
    """List the spools of earlier attempts that this one may send, newest first, and those that came with a snapshot."""
    found, own = list(attempt_directory.glob(f"{_RESTORED}*.sqlite")), attempt_number(attempt_directory)
    for other in sorted(attempt_directory.parent.glob("attempt-*"), key=attempt_number, reverse=True):
        if own - MAX_PREDECESSORS <= attempt_number(other) < own and not other.is_symlink():
            found += sorted(other.glob("spool-*.sqlite"))
    return found


def attempt_number(directory: Path) -> int:
    """Return which attempt a folder is of by its name; 0: of none."""
    found = _ATTEMPT.fullmatch(directory.name)
    return int(found[1]) if found is not None else 0


async def send_earlier_attempts(connection: Connection, attempt_directory: Path, snapshot_uri: str = "") -> None:
    """Send what is left, in the name of those who left it. The writer drops what it has already."""
    await asyncio.to_thread(adopt_snapshot_telemetry, attempt_directory, snapshot_uri)
    for path in earlier_spools(attempt_directory):
        try:
            await send_spool(connection, path, SEND_SECONDS)
        except Owned as error:
            log.info("spool.owned", extra={"path": str(path), "error": str(error)})
        except (OSError, sqlite3.Error) as error:
            # One that cannot be read does not keep the others back.
            log.warning("spool.unreadable", extra={"path": str(path), "error": str(error)})


async def send_spool(
    connection: Connection,
    path: Path,
    seconds: float,
    logs: TokenBucket | None = None,
    belongs: Callable[[Sender], bool] = anybody,
) -> int:
    """Send the batches of one spool. Returns how many are not known to be stored.

    The file goes when there are none, unless its owner lives: then it stays, and what is complete by now is sent.
    `logs`: how fast lines may go out; None: as fast as they are taken. `belongs`: as for `open_left`.

    Raises:
        Owned: its owner lives on another machine.
    """
    spool = await opened_left(path, belongs)
    if spool is None:
        return 0
    if spool.lent_by is None:
        spool.put_last()
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

"""What a dead driver left on this machine: events that wait in its spool, and telemetry that was not stored.

Events are appended in the name of their attempt before it is fenced: a committed snapshot may be among them. Telemetry
is sent in the background; what cannot be sent now, the next attempt of the trial sends.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from milepost.eventlog import EventLogError
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.jetstream import JetStreamLog
from milepost.training.journal import drain, driver_spool_path
from milepost.training.leftovers import send_spool
from milepost.training.sender import LOG_BYTES_PER_SECOND, Allowance
from services.runtime.launchers import AttemptKey
from services.runtime.launchers.local import CREDENTIALS

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0
# Time for a whole spool of lines at the pace at which they go out.
SEND_SECONDS = 600.0
CONNECT_SECONDS = 5.0


class Leftovers:
    """Takes in what attempts of this host left behind."""

    def __init__(self, data_dir: Path, nats_url: str) -> None:
        self._data_dir = data_dir
        self._nats_url = nats_url
        self._sending: dict[AttemptKey, asyncio.Task[None]] = {}

    async def take_events(self, key: AttemptKey) -> None:
        """Append the events of a dead driver that are not in the log yet."""
        folder = key.directory(self._data_dir)
        if not driver_spool_path(folder).exists():
            return
        try:
            async with self._connection(folder) as connection:
                left = await drain(JetStreamLog(connection, direct=True), folder, DRAIN_SECONDS)
        except (EventLogError, OSError, sqlite3.Error) as error:
            log.warning("leftovers.events_failed", extra={"attempt": str(key), "error": str(error)})
            return
        if left:
            log.warning("leftovers.events_left", extra={"attempt": str(key), "count": left})

    def send_telemetry(self, key: AttemptKey) -> None:
        """Send the telemetry of a dead attempt in the background."""
        folder = key.directory(self._data_dir)
        if key in self._sending or not any(folder.glob("spool-*.sqlite")):
            return
        task = asyncio.get_running_loop().create_task(self._send(key, folder))
        self._sending[key] = task
        task.add_done_callback(lambda _: self._sending.pop(key, None))

    async def _send(self, key: AttemptKey, folder: Path) -> None:
        try:
            async with self._connection(folder) as connection:
                for path in sorted(folder.glob("spool-*.sqlite")):
                    left = await send_spool(connection, path, SEND_SECONDS, Allowance(burst=LOG_BYTES_PER_SECOND))
                    if left:
                        log.info(
                            "leftovers.telemetry_left", extra={"attempt": str(key), "path": path.name, "batches": left}
                        )
        except (EventLogError, OSError, sqlite3.Error) as error:
            log.warning("leftovers.telemetry_failed", extra={"attempt": str(key), "error": str(error)})

    async def cancel(self, runtime_id: str, trial: int) -> None:
        """Leave the spools of a trial alone: its next attempt takes them."""
        tasks = [task for key, task in self._sending.items() if (key.runtime_id, key.trial) == (runtime_id, trial)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _connection(self, folder: Path) -> AsyncIterator[Connection]:
        """Connect as the attempt itself: nobody else may write its subjects."""
        credentials = folder / CREDENTIALS
        connection = await connect(
            self._nats_url,
            name="milepost runtime service, leftovers",
            timeout_seconds=CONNECT_SECONDS,
            credentials=credentials if credentials.exists() else None,
        )
        try:
            yield connection
        finally:
            await connection.close()

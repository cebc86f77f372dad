"""What a dead driver left on this machine: events that wait in its spool, and telemetry that was not stored.

Events are appended in the name of their attempt before it is fenced: a committed snapshot may be among them. Telemetry
is sent in the background; what cannot be sent now, the next attempt of the trial sends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from milepost import files
from milepost.eventlog import EventLogError
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.names import AttemptKey
from milepost.security.tokens import write_private
from milepost.training.spooling.journal import drain, driver_spool_path
from milepost.training.spooling.owner import Owned
from milepost.training.spooling.recovery import attempt_number, send_spool
from milepost.training.spooling.sender import LOG_BYTES_PER_SECOND, TokenBucket
from services.runtime.launchers.local import CREDENTIALS

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0
# Time for a whole spool of lines at the pace at which they go out.
SEND_SECONDS = 600.0
CONNECT_SECONDS = 5.0


class Recovery:
    """Takes in what attempts of this host left behind."""

    def __init__(self, data_dir: Path, nats_url: str, credentials: Callable[[AttemptKey], str | None]) -> None:
        self._data_dir = data_dir
        self._nats_url = nats_url
        self._credentials = credentials
        self._sending: dict[AttemptKey, asyncio.Task[None]] = {}

    async def take_events(self, key: AttemptKey) -> None:
        """Append the events of a dead driver that are not in the log yet."""
        folder = key.directory(self._data_dir)
        if not os.path.lexists(driver_spool_path(folder)) or not self._is_own(key, folder):
            return
        try:
            async with self._connection(key, folder) as connection:
                left = await drain(JetStreamLog(connection, direct=True), folder, DRAIN_SECONDS, key=key)
        except (EventLogError, OSError, sqlite3.Error, Owned) as error:
            log.warning("leftovers.events_failed", extra={"attempt": str(key), "error": str(error)})
            return
        if left:
            log.warning("leftovers.events_left", extra={"attempt": str(key), "count": left})

    def send_telemetry(self, key: AttemptKey) -> None:
        """Send the telemetry of a trial's last attempt in the background, then what earlier ones have left.

        An attempt sends what those before it have left. Where several were killed soon, the oldest were never sent.
        """
        if key in self._sending and not self._sending[key].done():
            return
        left = [one for one in self._with_spools(key) if self._is_own(one, one.directory(self._data_dir))]
        if not left:
            return
        task = asyncio.get_running_loop().create_task(self._send_each(left))
        self._sending[key] = task
        task.add_done_callback(partial(self._note_sent, key))

    def _note_sent(self, key: AttemptKey, task: asyncio.Task[None]) -> None:
        if self._sending.get(key) is task:
            del self._sending[key]

    def _with_spools(self, key: AttemptKey) -> list[AttemptKey]:
        """List an attempt and those before it that have spools here, newest first."""
        trial = key.directory(self._data_dir).parent
        numbers = {attempt_number(spool.parent) for spool in trial.glob("attempt-*/spool-*.sqlite")}
        return [replace(key, attempt=number) for number in sorted(numbers, reverse=True) if 0 < number <= key.attempt]

    async def _send_each(self, keys: Sequence[AttemptKey]) -> None:
        for key in keys:
            await self._send(key, key.directory(self._data_dir))

    async def _send(self, key: AttemptKey, folder: Path) -> None:
        try:
            async with self._connection(key, folder) as connection:
                for path in sorted(folder.glob("spool-*.sqlite")):
                    lines = TokenBucket(burst=LOG_BYTES_PER_SECOND)
                    left = await send_spool(connection, path, SEND_SECONDS, lines, key.may_send)
                    if left:
                        log.info(
                            "leftovers.telemetry_left", extra={"attempt": str(key), "path": path.name, "batches": left}
                        )
        except (EventLogError, OSError, sqlite3.Error, Owned) as error:
            log.warning("leftovers.telemetry_failed", extra={"attempt": str(key), "error": str(error)})

    def _is_own(self, key: AttemptKey, folder: Path) -> bool:
        """Return whether the folder of an attempt is where it should be, and no link to elsewhere."""
        if files.is_confined(folder, self._data_dir):
            return True
        log.warning("leftovers.elsewhere", extra={"attempt": str(key), "path": str(folder)})
        return False

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
    async def _connection(self, key: AttemptKey, folder: Path) -> AsyncIterator[Connection]:
        """Connect as the attempt itself: nobody else may write its subjects."""
        credentials, made = folder / CREDENTIALS, self._credentials(key)
        if made is not None:
            # Those of the attempt may be damaged, or too old.
            if files.is_irregular(credentials):
                files.set_aside(credentials, "it is no regular file")
            await asyncio.to_thread(write_private, credentials, made.encode())
        connection = await connect(
            self._nats_url,
            name="milepost runtime service, recovery",
            timeout_seconds=CONNECT_SECONDS,
            credentials=credentials if credentials.exists() and not files.is_irregular(credentials) else None,
        )
        try:
            yield connection
        finally:
            await connection.close()

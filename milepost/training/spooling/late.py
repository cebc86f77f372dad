"""What comes after a run has ended: nothing of it is recorded, and that is said, to whoever runs it and on the page.

The attempt has had its last word, so it is no event: it is a line of its log, from its driver, which no script has as a
sender otherwise. Where it cannot be sent it waits for `milepost sync`, like everything else.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from milepost.api.telemetry.v1.telemetry_pb2 import LOG_LEVEL_WARNING, LOG_STREAM_MILEPOST, LogLine
from milepost.errors import MilepostError
from milepost.eventlog import EventLogError
from milepost.eventlog.nats.connection import connect
from milepost.names import AttemptKey
from milepost.training.spooling.journal import driver_sender, driver_spool_path
from milepost.training.spooling.log_batches import LogBatcher
from milepost.training.spooling.owner import Owned
from milepost.training.spooling.recovery import send_spool
from milepost.training.spooling.spool import Spool

log = logging.getLogger("milepost")

# For a connection, and for the line to be stored.
SEND_SECONDS = 1.0
NAMED = 3


class Late:
    """Hears of the values and snapshots that come after the end of one run, and speaks of the first of each."""

    def __init__(self, key: AttemptKey, directory: Path, nats_url: str, credentials: Path) -> None:
        self._key = key
        self._directory = directory
        self._nats_url = nats_url
        self._credentials = credentials
        self._said: set[str] = set()

    def refuse_snapshot(self, step: int) -> None:
        """Take no snapshot that is asked for at a step."""
        text = f"a snapshot that is asked for after the run has ended is not taken (the first: at step {step})"
        self._say("snapshot", step, text)

    def refuse_samples(self) -> None:
        """Record no samples that are logged."""
        text = "samples that are logged after the run has ended are not recorded; call milepost.finish() later"
        self._say("samples", 0, text)

    def append(self, step: int, seconds: float, values: Mapping[str, Any], /) -> None:
        """Take values that are not recorded, in place of the buffer of an open run."""
        names = ", ".join(list(values)[:NAMED]) + (", ..." if len(values) > NAMED else "")
        text = (
            f"values that are logged after the run has ended are not recorded (the first: {names} at step {step}); "
            "call milepost.finish() later, or milepost.init() for another run"
        )
        self._say("values", step, text)

    def _say(self, what: str, step: int, text: str) -> None:
        if what in self._said:
            return
        self._said.add(what)
        log.warning("%s", text)
        line = LogLine(
            time_ms=int(time.time() * 1000),
            level=LOG_LEVEL_WARNING,
            stream=LOG_STREAM_MILEPOST,
            step=step,
            text=text,
            logger="milepost",
        )
        sending = threading.Thread(target=self._record, args=(line,), name="milepost-late", daemon=True)
        # At the very end of the interpreter there are no more threads: then it was said above.
        with suppress(RuntimeError):
            sending.start()
            # The interpreter waits for no daemon: this one is given its two seconds.
            getattr(threading, "_register_atexit", atexit.register)(sending.join, 2 * SEND_SECONDS)

    def _record(self, line: LogLine) -> None:
        try:
            spool = Spool(driver_spool_path(self._directory), driver_sender(self._key))
        except Owned as error:
            log.debug("late.owned", extra={"error": str(error)})
            return
        lines = LogBatcher(spool)
        lines.add(line)
        lines.flush()
        spool.close()
        asyncio.run(self._send())

    async def _send(self) -> None:
        credentials = self._credentials if self._credentials.exists() else None
        try:
            async with await connect(
                self._nats_url, name="milepost late", timeout_seconds=SEND_SECONDS, credentials=credentials
            ) as connection:
                await send_spool(connection, driver_spool_path(self._directory), SEND_SECONDS)
        except (EventLogError, MilepostError, Owned, OSError) as error:
            log.debug("late.not_sent", extra={"error": str(error)})

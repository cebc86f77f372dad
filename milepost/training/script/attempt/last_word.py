"""The last word of a run whose process says its exit status only to the C library, after Python is gone.

That is so when some code raises `SystemExit` by itself. The C library then hands the status to functions that were
registered for the exit: here `fputc`, which writes it, as a byte, to a pipe. A process at the other end records it and
sends what is left; until it has done so, for a bounded time, the exit waits (`fgetc`), for in a container nothing lives
longer than the first process. Where the C library has no `on_exit`, nothing of this is possible.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from google.protobuf import json_format

from milepost.api.event.v1.trial_events_pb2 import ATTEMPT_OUTCOME_COMPLETED
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.errors import Unavailable
from milepost.eventlog import LogUnavailable
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation import endpoints as endpoints_module
from milepost.names import AttemptKey
from milepost.training.process.process_end import Ending
from milepost.training.script.attempt.channel import spooled
from milepost.training.script.attempt.outcome import facts_of_end, outcome_of
from milepost.training.script.attempt.place import Place
from milepost.training.script.attempt.registration import check_answers, register
from milepost.training.spooling.journal import drain, driver_sender, driver_spool_path
from milepost.training.spooling.spool import Spool

# The folder that `milepost` is in.
ROOT = Path(__file__).parents[4]
# How long the exit waits for the word to be sent, and how long it is tried. What is not sent by then waits in the spool.
WAIT_SECONDS = 5.0
SEND_SECONDS = 30.0
_UNBUFFERED = 2


@dataclass(frozen=True, slots=True)
class Left:
    """What a process leaves to be said of it."""

    directory: Path
    last_step: int
    unsent_batch_count: int
    # Of the run, if it turns out to be completed.
    detail: str


def is_possible() -> bool:
    """Return whether the C library tells of exit statuses."""
    return hasattr(ctypes.CDLL(None), "on_exit")


def leave(left: Left) -> None:
    """Have another process record how this one ends, once it has."""
    folders = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    other = subprocess.Popen(
        [sys.executable, "-m", __name__, *(str(value) for value in astuple(left))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # It may live longer than whoever reads this.
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
        # Ctrl-C is not for it.
        start_new_session=True,
    )
    assert other.stdin is not None and other.stdout is not None
    library = ctypes.CDLL(None)
    # The last that is registered is called first.
    getattr(library, "__cxa_atexit")(library.fgetc, _file(other.stdout, b"r"), None)
    library.on_exit(library.fputc, _file(other.stdin, b"w"))


def _file(pipe: IO[bytes], mode: bytes) -> ctypes.c_void_p:
    """Open a pipe for the C library, which may use it when Python has closed its own."""
    library = ctypes.CDLL(None)
    library.fdopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(library.fdopen(os.dup(pipe.fileno()), mode))
    library.setvbuf(file, None, _UNBUFFERED, ctypes.c_size_t(0))
    return file


def main() -> int:
    """Wait for the status of the process that started this one, and say it. No status: it was ended otherwise."""
    directory, last_step, unsent, detail = sys.argv[1:]
    left = Left(Path(directory), int(last_step), int(unsent), detail)
    status = sys.stdin.buffer.read(1)
    if status:
        record_end(left, status[0])
        # The process that waits reads the end of this.
        release = threading.Timer(WAIT_SECONDS, os.close, (sys.stdout.fileno(),))
        release.start()
        asyncio.run(send_end(left.directory))
        release.cancel()
    return 0


def record_end(left: Left, status: int) -> None:
    """Put down in the spool of a process that has nothing more to say how it ends."""
    launch = _read_launch(left.directory)
    said = outcome_of(Ending(status))
    said.last_step, said.unsent_batch_count = left.last_step, left.unsent_batch_count
    if said.outcome == ATTEMPT_OUTCOME_COMPLETED:
        said.detail = left.detail
    spool = Spool(driver_spool_path(left.directory), driver_sender(_key(launch)))
    for fact in facts_of_end(said, launch.attempt):
        spool.put_event(spooled(fact, datetime.now(UTC)))
    spool.close()


async def send_end(directory: Path) -> None:
    """Send the events that it has left, if a server is there."""
    endpoints = endpoints_module.find(directory.parents[3])
    place = Place(_key(_read_launch(directory)), directory, endpoints)
    with suppress(Unavailable, LogUnavailable, TimeoutError):
        await check_answers(endpoints.runtime)
        await asyncio.to_thread(register, place.start_file, endpoints)
        credentials = await asyncio.to_thread(place.find_user)
        async with await connect(
            endpoints.nats, name="milepost last word", timeout_seconds=SEND_SECONDS, credentials=credentials
        ) as connection:
            await drain(JetStreamLog(connection, direct=credentials is not None), directory, SEND_SECONDS)


def _read_launch(directory: Path) -> AttemptLaunch:
    return json_format.Parse((directory / "attempt.json").read_text(), AttemptLaunch(), ignore_unknown_fields=True)


def _key(launch: AttemptLaunch) -> AttemptKey:
    return AttemptKey(launch.runtime_id, launch.trial, launch.attempt)


if __name__ == "__main__":
    sys.exit(main())

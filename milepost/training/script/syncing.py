"""`sync`: sends what scripts have left on this machine, and what those that still run have written so far.

A script that runs owns its spools: they stay as they are, and the script goes on; what it had written is sent. Those of
a process that is gone are sent whole and removed, and if it had no last word its end is recorded in its name.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from milepost import files
from milepost.errors import FailedPrecondition, MilepostError, Unavailable
from milepost.eventlog import LogUnavailable
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import ADMIN, find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation import endpoints as endpoints_module
from milepost.installation.endpoints import Endpoints
from milepost.names import AttemptKey
from milepost.training.script.attempt.place import Place, keys_dir
from milepost.training.script.attempt.registration import MAX_FILE_BYTES, check_answers, register
from milepost.training.spooling.journal import Death, drain, driver_spool_path
from milepost.training.spooling.owner import Life, Owned, look, owner_file
from milepost.training.spooling.recovery import attempt_number, earlier_spools, send_spool


@dataclass(frozen=True, slots=True)
class Writing:
    """A run that a process still writes."""

    runtime_id: str
    # In words.
    owner: str
    # Whether what it has written so far was sent. False: its files can only be read on its own machine.
    sent: bool


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync` did: runs looked at, what of them is still not stored, those that are still being written, and which files
    were found to be damaged, as they are called now.
    """

    runs: int
    events_left: int
    batches_left: int
    writing: tuple[Writing, ...] = ()
    damaged: tuple[Path, ...] = ()


def sync(data_dir: str | Path | None = None, seconds: float = 60.0) -> Synced:
    """Send what runs of scripts have left in the data directory. May be repeated, also while they run.

    Raises:
        Unavailable: no server answers.
    """
    endpoints = endpoints_module.find(data_dir)
    return _in_own_loop(lambda: _sync(Path(endpoints.data_dir), endpoints, seconds))


async def _sync(folder: Path, endpoints: Endpoints, seconds: float) -> Synced:
    attempts = [
        path.parent
        for path in sorted(folder.glob("runtimes/*/trial-1/attempt-*/attempt.json"))
        if attempt_number(path.parent) and files.is_confined(path.parent, folder) and _is_external(path)
    ]
    runs = events = batches = 0
    writing: list[Writing] = []
    refused: MilepostError | None = None
    damaged_before = files.damaged_below(folder)
    await check_answers(endpoints.runtime)
    for directory in attempts:
        life, owner = look(owner_file(driver_spool_path(directory)))
        runtime_id = directory.parent.parent.name
        try:
            events_here, batches_here = await _sync_attempt(directory, endpoints, seconds)
        except Owned as error:
            writing.append(Writing(runtime_id, str(error.owner or "another process"), sent=False))
            continue
        except LogUnavailable as error:
            raise Unavailable(str(error)) from error
        except Unavailable:
            raise
        except MilepostError as error:
            # Of somebody else, given up, or not taken as it is: the others are sent all the same.
            refused = error
            continue
        except (OSError, sqlite3.Error) as error:
            refused = FailedPrecondition(f"{directory} cannot be read: {error}", reason="FILE_UNREADABLE")
            continue
        runs, events, batches = runs + 1, events + events_here, batches + batches_here
        if life is Life.ALIVE:
            writing.append(Writing(runtime_id, str(owner or "another process"), sent=True))
    if refused is not None:
        raise refused
    damaged = tuple(path for path in files.damaged_below(folder) if path not in damaged_before)
    return Synced(runs, events, batches, tuple(writing), damaged)


async def _sync_attempt(directory: Path, endpoints: Endpoints, seconds: float) -> tuple[int, int]:
    """Send what one attempt has left. Returns how many events and batches are still not stored.

    Raises:
        Owned: a process on another machine writes it, or may do so.
    """
    # By its folder: what lies in its file may be damaged.
    key = AttemptKey(directory.parent.parent.name, 1, attempt_number(directory))
    place = Place(key, directory, endpoints)
    await asyncio.to_thread(register, place.start_file, endpoints)
    credentials = find_credentials(keys_dir(endpoints), ADMIN) or await asyncio.to_thread(place.find_user)
    death = _death(directory)
    batches = 0
    async with await connect(
        endpoints.nats, name="milepost sync", timeout_seconds=10, credentials=credentials
    ) as connection:
        for path in [*directory.glob("spool-*.sqlite"), *earlier_spools(directory)]:
            batches += await send_spool(connection, path, seconds, belongs=key.may_send)
        log = JetStreamLog(connection, direct=place.credentials == credentials)
        events = await drain(log, directory, seconds, death=death, key=key)
    return events, batches


def _death(directory: Path) -> Death | None:
    """Tell who has left the spools of an attempt by dying, and when it last wrote. None: nobody."""
    life, owner = look(owner_file(driver_spool_path(directory)))
    if life is not Life.DEAD or owner is None:
        return None
    written = [path.lstat().st_mtime for path in directory.glob("spool-*.sqlite*")]
    return Death(owner, datetime.fromtimestamp(max(written), UTC)) if written else None


def _is_external(attempt_file: Path) -> bool:
    """Return whether a script has made the folder of an attempt."""
    try:
        content = files.read_regular(attempt_file, MAX_FILE_BYTES)
        return files.parse_json(content)["configuration"]["launcher"] == "LAUNCHER_EXTERNAL"  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError, TypeError):
        # Damaged: a launcher locks the attempts that it starts, and a script does not.
        return not (attempt_file.parent / "attempt.lock").exists()


def _in_own_loop(work: Callable[[], Any]) -> Any:
    """Run something asynchronous, also from a notebook, whose thread has a loop already."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(work())).result()

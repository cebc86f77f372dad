"""How a script goes on with a run that another process began: that one is known to be dead, or it is refused.

What is known of the process before is, in this order: the lock on its spool, where that lies in this data directory;
the process itself, where it ran on this machine; and what the runtime service has heard of it. A process that was just
killed somewhere else still counts as running there for a while, so that is waited for as long as nothing is heard.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import time
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost.api.event.v1.common_pb2 import ProcessIdentity
from milepost.api.runtime.v1.runtime_service_pb2 import ListSnapshotsRequest
from milepost.api.training.v1.launch_service_pb2 import BeginAttemptRequest, BeginAttemptResponse
from milepost.errors import Aborted, FailedPrecondition, InvalidArgument, MilepostError, Violation
from milepost.ids import is_runtime_id
from milepost.installation.endpoints import Endpoints
from milepost.names import trial_name
from milepost.numbers import MAX_NUMBER
from milepost.security.terminal import visible
from milepost.snapshots import SnapshotInvalid, confined, verify
from milepost.training.process.process_identity import is_running, own_identity
from milepost.training.spooling.journal import driver_spool_path
from milepost.training.spooling.owner import Life, look, owner_file
from milepost.training.spooling.recovery import attempt_number
from milepost.training.user_code import given

if TYPE_CHECKING:
    # It takes a while to import, and most scripts do not need it here.
    from milepost.client import Client

MAX_ID = 128
# How long the silence of a process elsewhere is waited for until it counts as dead.
MAX_WAIT_SECONDS = 120.0
_POLL_SECONDS = 1.0


class Mode(Enum):
    """What `init` does about a run that exists."""

    # There must be none.
    NEVER = "never"
    # Go on with it; without one, begin it.
    ALLOW = "allow"
    # Go on with it; there must be one.
    MUST = "must"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which run a script wants to be, and from where it goes on."""

    # As the script names it.
    name: str
    runtime_id: str
    mode: Mode
    # The step of a checkpoint of the script's own. None: a snapshot, or what the first logged step says.
    step: int | None = None


def wanted(name: str, resume: str, step: Any) -> Wanted | None:
    """Read what `init` was told. None: a new run.

    Raises:
        InvalidArgument: it makes no sense.
    """
    violations = []
    if len(name) > MAX_ID or not name.isprintable() or name != name.strip():
        violations.append(Violation("id", f"must be printable text of at most {MAX_ID} characters"))
    modes = {mode.value: mode for mode in Mode}
    if resume and resume not in modes and not is_runtime_id(resume):
        violations.append(
            Violation("resume", f"must be {', '.join(modes)} or the id of a run (rt-...), not {resume!r}")
        )
    if resume in ("allow", "must") and not name:
        violations.append(Violation("id", f"is required with resume={resume!r}: it says which run is gone on with"))
    if is_runtime_id(resume) and name not in ("", resume):
        violations.append(Violation("id", f"names another run than resume={resume!r}"))
    if step is not None and resume in ("", "never"):
        violations.append(Violation("step", "is that of a checkpoint to go on from: it needs resume="))
    at = given.whole(step) if step is not None else None
    if step is not None and (at is None or not 0 <= at <= MAX_NUMBER):
        violations.append(Violation("step", f"must be a whole number from 0 to {MAX_NUMBER}, not {step!r}"))
    if violations:
        raise InvalidArgument(violations)
    if is_runtime_id(resume):
        return Wanted(resume, resume, Mode.MUST, at)
    if not name:
        return None
    return Wanted(name, runtime_id_of(name), modes[resume or "never"], at)


def runtime_id_of(name: str) -> str:
    """Return the id of the run that scripts call so: the same everywhere."""
    if is_runtime_id(name):
        return name
    digest = hashlib.sha256(b"milepost.run.v1:" + unicodedata.normalize("NFC", name).encode()).digest()[:16]
    return "rt-" + base64.b32hexencode(digest).decode().rstrip("=").lower()


def begin_attempt(
    endpoints: Endpoints,
    run: Wanted,
    trial_folder: Path,
    total_steps: int | None,
    take_in: Callable[[Path], None],
) -> BeginAttemptResponse:
    """Have the next attempt of a run launched for this process.

    Args:
        trial_folder: where attempts of this data directory lie.
        take_in: appends the events that a dead attempt has left in its folder.

    Raises:
        NotFound: there is no such run.
        FailedPrecondition: a process runs it that is not known to be dead, or it cannot go on. Nothing has changed.
        PermissionDenied: somebody else started it.
        Unavailable: no server answers.
    """
    from milepost.client import Client

    dead = _take_in_the_dead(trial_folder, run, take_in)
    request = BeginAttemptRequest(
        name=trial_name(run.runtime_id, 1),
        request_id=str(uuid.uuid4()),
        process=own_identity(),
        step=run.step,
        total_steps=total_steps,
    )
    if dead:
        request.dead_attempt = max(dead)
        request.dead_detail = f"{dead[request.dead_attempt]} is gone without having said why"
    waiting = _Waiting()
    with Client(endpoints) as client:
        while True:
            try:
                return client.launches.BeginAttempt(request)  # type: ignore[no-any-return]
            except Aborted as error:
                if error.reason != "NEWER_SNAPSHOT":
                    raise
                _choose_snapshot(client, run, request)
            except FailedPrecondition as error:
                if error.reason != "ATTEMPT_RUNNING":
                    raise
                attempt, alive = int(error.metadata["attempt"]), is_running(_process(error))
                if alive or request.dead_attempt == attempt:
                    raise
                if alive is False:
                    request.dead_attempt = attempt
                    request.dead_detail = f"its process was seen to be gone by {_name(request.process)}"
                else:
                    waiting.wait(error)


def _choose_snapshot(client: Client, run: Wanted, request: BeginAttemptRequest) -> None:
    """Name the newest snapshot that is whole, as it is seen from here.

    Raises:
        FailedPrecondition: there are some, and none is.
        Unavailable: a storage does not answer.
    """
    listed = client.runtimes.ListSnapshots(ListSnapshotsRequest(parent=request.name)).snapshots
    problems = {}
    for snapshot in sorted(listed, key=lambda one: (one.step, one.attempt), reverse=True):
        if snapshot.superseded:
            continue
        try:
            folder = confined(snapshot.uri, snapshot.snapshot_id, run.runtime_id, 1, None)
            verify(folder.uri, snapshot.manifest_sha256)
        except SnapshotInvalid as error:
            problems[snapshot.snapshot_id] = error.message
        else:
            break
    else:
        raise FailedPrecondition(
            f"no snapshot of {run.name} is whole here: {'; '.join(problems.values())}. Go on where their files are, or name "
            "the step of a checkpoint of your own: init(resume=..., step=...), 0 for the beginning",
            reason="NO_VALID_SNAPSHOT",
        )
    request.snapshot_id = snapshot.snapshot_id
    request.rejected_snapshot_ids[:] = list(problems)


class _Waiting:
    """Waits for the silence of a process elsewhere. One that is heard again lives."""

    def __init__(self) -> None:
        self._contact: str | None = None
        self._deadline = 0.0

    def wait(self, error: FailedPrecondition) -> None:
        """Wait a moment. Raises the error where waiting is of no use, or has been long enough."""
        contact, left = error.metadata["contact_time"], float(error.metadata["gone_after_seconds"])
        now = time.monotonic()
        if self._contact is None:
            if left > MAX_WAIT_SECONDS:
                raise error
            self._contact, self._deadline = contact, now + MAX_WAIT_SECONDS
            print(f"milepost: {visible(error.message)}; waiting", file=sys.stderr)  # noqa: T201
        elif contact != self._contact or now > self._deadline:
            raise error
        time.sleep(min(_POLL_SECONDS, left + 0.1))


def _take_in_the_dead(trial_folder: Path, run: Wanted, take_in: Callable[[Path], None]) -> dict[int, str]:
    """Take in what dead attempts have left here. Returns who they were, by number.

    Raises:
        FailedPrecondition: one lives.
    """
    dead = {}
    for folder in sorted(trial_folder.glob("attempt-*")):
        number = attempt_number(folder)
        if not number or folder.is_symlink():
            continue
        spool = driver_spool_path(folder)
        life, owner = look(owner_file(spool))
        if life is Life.ALIVE:
            kill = f"end it (kill {owner.process_id})" if owner is not None else "end it"
            raise FailedPrecondition(
                f"attempt {number} of {run.name} is run by {owner or 'another process'}, which lives; nothing was changed: "
                f"{kill}, or wait until it has ended",
                reason="ATTEMPT_RUNNING",
            )
        if life is Life.DEAD:
            dead[number] = str(owner or "its process")
        if life is not Life.UNKNOWN and spool.exists():
            take_in(folder)
    return dead


def _process(error: MilepostError) -> ProcessIdentity:
    told = error.metadata
    return ProcessIdentity(
        host=told.get("host", ""),
        process_id=int(told.get("process_id", 0)),
        boot_id=told.get("boot_id", ""),
        process_start=int(told.get("process_start", 0)),
        pid_namespace=told.get("pid_namespace", ""),
    )


def _name(process: ProcessIdentity) -> str:
    return f"process {process.process_id} on {process.host}"

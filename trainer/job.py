"""`python -m trainer.job`: the job of one attempt on a cluster. Submitted by the launchers `ray` and `slurm`, never by hand.

It does on its node what the local launcher does on its host: fetches the launch with the ticket it was given, unpacks
the code, starts the driver, takes in what a dead driver left, ends everything the driver started, and says how it ended
in the last line it prints, which the runtime service reads from the logs of the job.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc
import psutil
from google.protobuf import json_format

from milepost import code_archive
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1 import launch_service_pb2 as launch_api
from milepost.api.training.v1.launch_service_pb2_grpc import LaunchServiceStub
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.eventlog import EventLogError
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation.json_logs import JsonFormatter
from milepost.security.tokens import write_private
from milepost.security.transport import ClientTls, open_channel
from milepost.storage import StorageUnavailable, StorageUnsupported, check_writable, local_path
from milepost.training.spooling.journal import drain
from milepost.training.spooling.owner import Owned
from milepost.training.spooling.recovery import send_spool
from trainer.exits import TERMINATED, signal_name
from trainer.isolation import JOB_PROCESS_VARIABLE

log = logging.getLogger(__name__)

TICKET_VARIABLE = "MILEPOST_LAUNCH_TICKET"
ADDRESS_VARIABLE = "MILEPOST_RUNTIME_ADDRESS"
WORK_VARIABLE = "MILEPOST_WORK_DIR"
# `slurm`: there the job is told by signals what is to come. Empty: a cluster of Ray.
CLUSTER_VARIABLE = "MILEPOST_JOB_CLUSTER"
# The same mark as on the host of the runtime service.
MARK = "MILEPOST_ATTEMPT_DIRECTORY"
# Where Ray hands the description of the job to its command; it names the ticket.
RAY_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
LAST_WORD = "milepost-attempt-ended "
CLAIM_SECONDS = 600.0
CLAIM_TRY_SECONDS = 10.0
PAUSE_SECONDS = 1.0
# How often it is looked whether Ray still runs the job.
PARENT_SECONDS = 1.0
DRAIN_SECONDS = 10.0
# Ray gives a job that it ends ten seconds.
DRAIN_KILLED_SECONDS = 4.0
SEND_SECONDS = 15.0
CONNECT_SECONDS = 5.0
# Folders of attempts that nobody came back for.
KEEP_SECONDS = 14 * 86_400.0
_PR_SET_CHILD_SUBREAPER = 36
_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class CannotBegin(Exception):
    """The attempt cannot begin on this node. `cause` says whether another try could do better."""

    def __init__(self, cause: common.ExitCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Claimed:
    """What an attempt needs, as it came from the runtime service."""

    launch: AttemptLaunch
    environment: dict[str, str]
    nats_credentials: str


def claim_id() -> str:
    """Make the id of a claim. On Slurm it begins with the job, so that the launcher knows which of two has the launch."""
    job = os.environ.get("SLURM_JOB_ID", "") if os.environ.get(CLUSTER_VARIABLE) == "slurm" else ""
    return (f"slurm{job}x" if job.isdigit() else "") + secrets.token_hex(16)


def claim(address: str, ticket: str, tls: ClientTls, seconds: float = CLAIM_SECONDS) -> Claimed:
    """Fetch the launch that a ticket is for. A runtime service that is away is waited for.

    Raises:
        CannotBegin: it is not to be had.
    """
    request = launch_api.ClaimLaunchRequest(claim_id=claim_id(), host=socket.gethostname())
    deadline = time.monotonic() + seconds
    with open_channel(address, tls, [("grpc.max_receive_message_length", 16 << 20)]) as channel:
        stub: Any = LaunchServiceStub(channel)
        while True:
            try:
                answer = stub.ClaimLaunch(
                    request, timeout=CLAIM_TRY_SECONDS, metadata=[("authorization", f"Bearer {ticket}")]
                )
                return Claimed(answer.launch, dict(answer.environment), answer.nats_credentials)
            except grpc.RpcError as error:
                code, details = error.code(), error.details()  # type: ignore[attr-defined]
                if code not in _RETRIED or time.monotonic() > deadline:
                    detail = f"the runtime service at {address} did not hand over the launch: {details}"
                    raise CannotBegin(common.EXIT_CAUSE_LAUNCH_FAILED, detail) from error
                log.warning("launch.not_claimed", extra={"address": address, "error": details})
                time.sleep(PAUSE_SECONDS)


def prepare(claimed: Claimed, work_dir: Path) -> Path:
    """Make the folder of an attempt below a private folder of this node. Returns its `attempt.json`.

    Raises:
        CannotBegin: something the attempt needs is not here.
    """
    launch = claimed.launch
    _make_private(work_dir)
    _check_storage(launch.snapshot_storage_uri)
    trial = f"runtimes/{launch.runtime_id}/trial-{launch.trial}"
    folder = work_dir / trial / f"attempt-{launch.attempt}"
    folder.mkdir(parents=True, exist_ok=True)
    launch.attempt_directory = str(folder)
    if launch.configuration.HasField("code"):
        launch.code_directory = str(_unpack(launch, work_dir / "code"))
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    launch.gpus.extend(int(part) for part in devices.split(",") if part.strip().isdigit())
    if claimed.nats_credentials:
        launch.nats_credentials_file = str(folder / "nats.creds")
        write_private(folder / "nats.creds", claimed.nats_credentials.encode())
    text = json_format.MessageToJson(launch, preserving_proto_field_name=True)
    write_private(folder / "attempt.json", text.encode())
    return folder / "attempt.json"


def _make_private(folder: Path) -> None:
    """Make a folder that nobody else can enter, or refuse one that somebody else made."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        detail = (
            f"{folder} on {socket.gethostname()} is not this user's alone; set MILEPOST_{_cluster().upper()}_WORK_DIR"
        )
        raise CannotBegin(common.EXIT_CAUSE_DETERMINISTIC, detail)


def _cluster() -> str:
    return os.environ.get(CLUSTER_VARIABLE) or "ray"


def _check_storage(uri: str) -> None:
    """Check that snapshots can be written where the runtime service will look for them."""
    folder = local_path(uri)
    try:
        if folder is None:
            check_writable(uri)
            return
        # Made by the runtime service: if it is not here, this is another folder of the same name.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except StorageUnavailable as error:
        raise CannotBegin(common.EXIT_CAUSE_LAUNCH_FAILED, error.message) from error
    except (OSError, StorageUnsupported) as error:
        detail = (
            f"the storage for snapshots {uri} cannot be written to on {socket.gethostname()}: "
            f"{getattr(error, 'strerror', None) or error}; mount it at the same path on every node of the cluster "
            "and where the runtime service runs, or set snapshots.storage"
        )
        raise CannotBegin(common.EXIT_CAUSE_DETERMINISTIC, detail) from error


def _unpack(launch: AttemptLaunch, storage: Path) -> Path:
    try:
        return code_archive.fetch(launch.configuration.code, storage)
    except code_archive.CodeInvalid as error:
        detail = f"{error.message} (on {socket.gethostname()})"
        raise CannotBegin(common.EXIT_CAUSE_DETERMINISTIC, detail) from error
    except (OSError, StorageUnavailable) as error:
        detail = f"the code could not be unpacked on {socket.gethostname()}: {error}"
        raise CannotBegin(common.EXIT_CAUSE_LAUNCH_FAILED, detail) from error


class DriverProcess:
    """The driver, and what it prints."""

    def __init__(self, launch_file: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer", "--launch", str(launch_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=launch_file.parent,
            env=environment,
        )
        self.last_line = ""
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._pass_on, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _pass_on(self, output: IO[bytes]) -> None:
        for line in output:
            text = line.decode(errors="replace").rstrip("\n")
            self.last_line = text or self.last_line
            print(text, flush=True)  # noqa: T201 - the log of the job

    def wait(self) -> int:
        """Wait until it has ended. Returns its exit code, negative for a signal."""
        code = self._process.wait()
        self._reader.join(2.0)
        return code

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    def tell(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)


class Job:
    """One attempt on this node, from its ticket to its end."""

    def __init__(self) -> None:
        self._driver: DriverProcess | None = None
        self._terminated = False
        # The signal by which the cluster said that it will end the job soon. 0: none came.
        self._notice = 0

    def terminate(self, number: int, frame: object) -> None:
        """The cluster ends the job, or Milepost does on Slurm."""
        self._terminated = True
        if self._driver is not None:
            self._driver.kill()

    def interrupt(self, number: int, frame: object) -> None:
        """The cluster will end the job soon: the driver takes a snapshot and ends before."""
        self._notice = self._notice or number
        if self._driver is not None:
            self._driver.tell(number)

    def _told(self) -> int:
        # It changes between any two looks.
        return self._notice

    def run(self, address: str, ticket: str, work_dir: Path) -> int:
        """Run the attempt. Returns the exit status of the job."""
        try:
            claimed = claim(address, ticket, ClientTls.from_environment())
            launch_file = prepare(claimed, work_dir)
        except CannotBegin as error:
            log.error("attempt.cannot_begin", extra={"detail": error.detail})
            say_last_word(
                facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=error.cause, detail=error.detail)
            )
            return 1
        if self._terminated or self._told():
            return 128 + signal.SIGTERM
        folder = launch_file.parent
        environment = {**os.environ, **claimed.environment, MARK: str(folder), JOB_PROCESS_VARIABLE: str(os.getpid())}
        self._driver = DriverProcess(launch_file, environment)
        if self._told():
            self._driver.tell(self._told())
        code = self._driver.wait()
        end_descendants()
        left = asyncio.run(recover(claimed.launch, killed=self._terminated))
        # What became of a job that SIGTERM has ended the cluster knows, and not the driver.
        told = code == TERMINATED and self._told() == signal.SIGTERM
        word = last_word(folder, code, self._driver.last_line) if not told else None
        clean(folder, keep=left > 0)
        if word is not None:
            say_last_word(word)
        return code if code >= 0 else 128 - code


def end_descendants() -> None:
    """Kill what the driver started and left behind."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


async def recover(launch: AttemptLaunch, *, killed: bool) -> int:
    """Append the events and send the telemetry that a driver left. Returns how much is left still.

    Args:
        killed: there is little time, and telemetry goes with the next attempt on this node.
    """
    folder = Path(launch.attempt_directory)
    spools = sorted(folder.glob("spool-*.sqlite"))
    if not spools:
        return 0
    credentials = Path(launch.nats_credentials_file) if launch.nats_credentials_file else None
    left = 0
    try:
        connection = await connect(
            launch.nats_url, name="milepost job, recovery", timeout_seconds=CONNECT_SECONDS, credentials=credentials
        )
    except (EventLogError, OSError) as error:
        log.warning("leftovers.no_connection", extra={"error": str(error)})
        return len(spools)
    try:
        seconds = DRAIN_KILLED_SECONDS if killed else DRAIN_SECONDS
        left += await drain(JetStreamLog(connection, direct=credentials is not None), folder, seconds)
        for path in spools:
            left += await send_spool(connection, path, DRAIN_KILLED_SECONDS / 2 if killed else SEND_SECONDS)
    except (EventLogError, OSError, Owned) as error:
        log.warning("leftovers.failed", extra={"error": str(error)})
        left += 1
    finally:
        await connection.close()
    return left


def last_word(folder: Path, code: int, last_line: str) -> facts.AttemptEnded:
    """Say how an attempt ended: in the driver's own words where it left any."""
    try:
        return json_format.Parse((folder / "exit.json").read_text(), facts.AttemptEnded(), ignore_unknown_fields=True)
    except (OSError, json_format.ParseError, UnicodeDecodeError):
        pass
    if code < 0:
        cause, detail = common.EXIT_CAUSE_SIGNAL, f"the driver was killed by {signal_name(-code)}"
    else:
        cause, detail = common.EXIT_CAUSE_EXCEPTION, f"the driver left with exit code {code}: {last_line[:300]}"
    return facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=cause, detail=detail)


def say_last_word(ended: facts.AttemptEnded) -> None:
    text = json.dumps(json_format.MessageToDict(ended, preserving_proto_field_name=True))
    print(LAST_WORD + text, flush=True)  # noqa: T201 - the log of the job


def clean(folder: Path, *, keep: bool) -> None:
    """Remove the folder of an attempt, or only its credentials where something waits in it for the next one."""
    (folder / "nats.creds").unlink(missing_ok=True)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    for old in folder.parents[2].glob("*/trial-*/attempt-*"):
        with suppress(OSError):
            if time.time() - max(path.stat().st_mtime for path in (old, *old.iterdir())) > KEEP_SECONDS:
                shutil.rmtree(old, ignore_errors=True)


def end_with_parent() -> None:
    """Have this process terminated once its parent is gone: Ray has lost the job then, with the node or its raylet.

    Ray ends a job whose supervisor died by a watcher beside it, which dies with the supervisor when a raylet is killed;
    what is left would train on, seen by nobody. Asks again and again: a signal at the death of a parent comes at the end
    of the thread that forked, too.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        log.error("job.orphaned", extra={"detail": "the cluster has lost this job; its driver is ended"})
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="milepost-parent", daemon=True).start()


def forget_ticket() -> str:
    """Return the ticket, and take it out of what the driver and its workers would inherit."""
    ticket = os.environ.pop(TICKET_VARIABLE, "")
    described = os.environ.get(RAY_JOB_VARIABLE)
    if described is not None:
        with suppress(ValueError):
            # Without an environment of its own the driver finds workers that run already.
            os.environ[RAY_JOB_VARIABLE] = json.dumps({**json.loads(described), "runtime_env": {}})
    return ticket


def main() -> int:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter("job"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    ticket, address = forget_ticket(), os.environ.pop(ADDRESS_VARIABLE, "")
    if not ticket or not address:
        log.error("job.by_hand", extra={"detail": "this is started by the launchers of Milepost"})
        return 2
    if sys.platform == "linux":
        # What the driver leaves behind becomes a child of this process.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    job = Job()
    if _cluster() == "slurm":
        # Before the time limit it asks the script by SIGUSR1. SIGTERM comes to all processes, some time before SIGKILL.
        signal.signal(signal.SIGUSR1, job.interrupt)
        signal.signal(signal.SIGTERM, job.interrupt)
        signal.signal(signal.SIGUSR2, job.terminate)
    else:
        signal.signal(signal.SIGTERM, job.terminate)
    end_with_parent()
    work_dir = Path(f"{os.environ.pop(WORK_VARIABLE, '/tmp/milepost')}-{os.geteuid()}")
    return job.run(address, ticket, work_dir)


if __name__ == "__main__":
    sys.exit(main())

"""Attempts as processes of this machine: one driver in a session and process group of its own for each.

What is known of an attempt lies in its folder, so a service that starts again sees what an earlier one started:

    attempt.json   `AttemptLaunch`, what the driver is told
    nats.creds     its credentials for NATS, mode 0600; only where the server asks for any
    attempt.lock   locked (flock) by the driver from before it begins until it and all that inherited the lock are gone
    process.json   pid and start time of the driver
    exit.json      `AttemptEnded`, the last word of a driver that ended by itself
    driver.log     what the driver printed
    ray-folder     the folder of its Ray instance, while there is one

The lock is taken before the process exists and handed to it, so at no instant can a second one be started.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from milepost import files
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.names import AttemptKey
from milepost.storage import local_path
from services.runtime.launchers import LaunchFailed, Outage, last_word, log_fields, processes
from services.runtime.launchers.attempt_user import AttemptUser
from services.runtime.policies.control import Exit, Process
from services.runtime.policies.placement import Capacity

log = logging.getLogger(__name__)

MARK = "MILEPOST_ATTEMPT_DIRECTORY"
CREDENTIALS = "nats.creds"
KILL_SECONDS = 10.0
POLL_SECONDS = 0.25
# Of what an attempt leaves to be read here. User code writes there too: a longer file is not what it should be.
WORD_BYTES = 1 << 20
# The kernel gives no larger ones.
MAX_PID = 1 << 22

# What of the environment of the service a driver gets; everything else is kept from it.
_PASSED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        # Where traces go; not the headers, which may hold a key.
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "TEMP",
        "TMP",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
    }
    | {
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    }
)
_PASSED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "RAY_", "HF_HOME", "TORCH_", "XDG_")


@dataclass(slots=True)
class _Known:
    """A process that runs, or that ran."""

    pid: int
    start: int
    # Only of a child of this service.
    child: subprocess.Popen[bytes] | None = None
    watched: bool = False
    # Set when it is gone.
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """Whether attempts are started on this machine, and as whom.

    Attributes:
        off: why none is, and what to do, for people; empty: they are.
        user: as whom they run; None: as the user of this service, who can read its keys.
    """

    off: str = ""
    user: AttemptUser | None = None


WITHOUT_LIMITS = LocalPolicy()


class LocalLauncher:
    """Starts drivers on this machine."""

    takes_over = True

    def __init__(
        self,
        data_dir: Path,
        capacity: Capacity,
        command: tuple[str, ...] | None = None,
        credentials: Callable[[AttemptKey], str | None] = lambda key: None,
        policy: LocalPolicy = WITHOUT_LIMITS,
    ) -> None:
        """Look at the attempts below a data directory.

        Args:
            credentials: makes the credentials for NATS of an attempt; None: it needs none.
            command: what to run, before `--launch <file>`; by default the trainer of this installation.
            policy: whether anything is started, and as whom. What runs already is seen and ended whatever it says.
        """
        self._data_dir = data_dir
        self._capacity = capacity
        self._credentials = credentials
        self._policy = policy
        # Without the current folder on the path: a user's own `trainer.py` must not take our place.
        self._command = command or (sys.executable, "-P", "-m", "trainer")
        self._known: dict[AttemptKey, _Known] = {}
        self._listeners: list[Callable[[AttemptKey], None]] = []
        self._watchers: set[asyncio.Task[None]] = set()

    async def looked(self) -> None:
        return

    def outage(self) -> Outage | None:
        return Outage("LAUNCHER_OFF", self._policy.off, passes=False) if self._policy.off else None

    def capacity(self) -> Capacity | None:
        return self._capacity

    def waits(self, key: AttemptKey) -> str:
        # Nothing is ever pending.
        return ""

    async def refusal(self, configuration: RuntimeConfiguration) -> str:
        # What the host has, the caller has compared.
        return ""

    def on_change(self, listener: Callable[[AttemptKey], None]) -> None:
        self._listeners.append(listener)

    def on_room(self, listener: Callable[[], None]) -> None:
        # What the host has is measured once; what is free of it follows from the log.
        return

    async def purge(self, key: AttemptKey) -> None:
        # All there is lies in the data directory.
        return

    async def close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    # --- seeing

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        known = self._known.get(key)
        if known is None:
            known = self._find(key)
            if known is None:
                return Process.ABSENT, Exit()
            self._known[key] = known
            log.info("attempt.adopted", extra=log_fields(key, pid=known.pid, gone=known.exit is not None))
        if known.exit is not None:
            return Process.GONE, known.exit
        self._watch(key, known)
        return Process.RUNNING, Exit()

    def _find(self, key: AttemptKey) -> _Known | None:
        """Find what an earlier service left of an attempt."""
        folder = key.directory(self._data_dir)
        recorded = _read_process(folder)
        if _is_locked(folder):
            pid = recorded[0] if recorded else _holder(folder)
            found = processes.info(pid) if pid else None
            if found is not None and (recorded is None or found.start == recorded[1]):
                return _Known(found.pid, found.start)
            # The driver is gone, something it started holds on: `kill` ends it.
            return _Known(recorded[0] if recorded else 0, recorded[1] if recorded else 0)
        if recorded is None and not (folder / "exit.json").exists():
            return None
        pid, start = recorded or (0, 0)
        return _Known(pid, start, exit=_exit_of(folder, None))

    def _watch(self, key: AttemptKey, known: _Known) -> None:
        if known.watched:
            return
        known.watched = True
        watcher = asyncio.get_running_loop().create_task(self._wait(key, known))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _wait(self, key: AttemptKey, known: _Known) -> None:
        """Wait until a driver is gone, then say so."""
        folder = key.directory(self._data_dir)
        await _wait_for_exit(known)
        # What it started may outlive it; the attempt is over all the same.
        code = await asyncio.to_thread(known.child.wait) if known.child is not None else None
        known.exit = known.exit or _exit_of(folder, code)
        log.info(
            "attempt.exited",
            extra=log_fields(key, pid=known.pid, code=code, cause=common.ExitCause.Name(known.exit.cause)),
        )
        for listener in self._listeners:
            listener(key)

    # --- starting

    async def launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        if self._policy.off:
            raise LaunchFailed(self._policy.off)
        try:
            await asyncio.to_thread(self._launch, key, launch, environment)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            message = "the disk of the data directory is full" if full else f"{error.strerror or error}"
            raise LaunchFailed(f"the process could not be started: {message}") from error
        process, _ = self.observe(key)
        log.info("attempt.launched", extra=log_fields(key, pid=self._known[key].pid, state=process.value))

    def _launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        folder = key.directory(self._data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        lock = files.open_confined(folder / "attempt.lock", os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if _read_process(folder) is not None:
                return
            credentials = self._credentials(key)
            if credentials is not None:
                _write(folder / CREDENTIALS, credentials.encode())
                launch.nats_credentials_file = str(folder / CREDENTIALS)
            text = json_format.MessageToJson(launch, preserving_proto_field_name=True)
            _write(folder / "attempt.json", text.encode())
            os.close(_open_log(folder))
            if self._policy.user is not None:
                self._hand_over(self._policy.user, folder, launch)
            child = self._spawn(folder, lock, environment)
            found = processes.info(child.pid)
            start = found.start if found is not None else 0
            _write(folder / "process.json", json.dumps({"pid": child.pid, "start": start}).encode())
            self._known[key] = _Known(child.pid, start, child)
        finally:
            os.close(lock)

    def _hand_over(self, user: AttemptUser, folder: Path, launch: AttemptLaunch) -> None:
        """Give an attempt what it needs, when everything that is not its own to change is there."""
        for name in ("attempt.json", CREDENTIALS):
            if (folder / name).exists():
                user.show(folder / name)
        snapshots = local_path(launch.snapshot_storage_uri) if launch.snapshot_storage_uri else None
        if snapshots is not None and snapshots.is_relative_to(folder.parent):
            user.share(snapshots, self._data_dir)
        user.share(folder, self._data_dir)

    def _spawn(self, folder: Path, lock: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        user = self._policy.user
        own = _clean_environment()
        if user is not None:
            own = {name: value for name, value in own.items() if not name.startswith("XDG_")} | user.environment(folder)
        with os.fdopen(_open_log(folder), "ab") as output:
            return subprocess.Popen(
                [*self._command, "--launch", str(folder / "attempt.json")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**own, **environment, MARK: str(folder)},
                start_new_session=True,
                pass_fds=(lock,),
                user=user.uid if user is not None else None,
                group=user.gid if user is not None else None,
                extra_groups=[] if user is not None else None,
            )

    # --- ending

    async def kill(self, key: AttemptKey) -> None:
        folder = key.directory(self._data_dir)
        known = self._known.get(key) or self._find(key)
        if known is None:
            return
        deadline = time.monotonic() + KILL_SECONDS
        while members := await asyncio.to_thread(self._members, folder, known):
            for pid in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                log.error("attempt.kill_failed", extra=log_fields(key, pids=sorted(members)))
                return
            await asyncio.sleep(0.02)
        if known.child is not None:
            await asyncio.to_thread(known.child.wait)
        await asyncio.to_thread(_remove_ray_folder, folder)
        if known.exit is None:
            known.exit = Exit(common.EXIT_CAUSE_KILLED, "killed by Milepost")
        self._known[key] = known

    def _members(self, folder: Path, known: _Known) -> set[int]:
        leader = processes.info(known.pid) if known.pid else None
        same = leader is not None and leader.start == known.start and leader.alive
        return processes.family(known.pid if same else None, f"{MARK}={folder}")


def _remove_ray_folder(folder: Path) -> None:
    """Remove the files of a Ray instance whose driver was killed before it could."""
    record = folder / "ray-folder"
    try:
        named = Path(files.read_regular(record, WORD_BYTES).decode().strip())
    except (OSError, UnicodeDecodeError):
        return
    # Nothing else, whatever the file says: the attempt has written it.
    if named.name.startswith("mp-ray-") and named.is_absolute() and ".." not in named.parts and not named.is_symlink():
        shutil.rmtree(named, ignore_errors=True)
    record.unlink(missing_ok=True)


def _clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    root = str(Path(__file__).resolve().parents[3])
    if not root.endswith("site-packages"):
        # A checkout that is not installed.
        kept["PYTHONPATH"] = root
    kept["PYTHONUNBUFFERED"] = "1"
    return kept


async def _wait_for_exit(known: _Known) -> None:
    """Return when a process is gone, child or not."""
    if known.pid == 0:
        return
    try:
        descriptor = os.pidfd_open(known.pid)
    except (AttributeError, OSError):
        await _poll_for_exit(known)
        return
    try:
        found = processes.info(known.pid)
        if found is None or found.start != known.start:
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


async def _poll_for_exit(known: _Known) -> None:
    while True:
        found = processes.info(known.pid)
        if found is None or found.start != known.start or not found.alive:
            return
        await asyncio.sleep(POLL_SECONDS)


def _exit_of(folder: Path, code: int | None) -> Exit:
    """Read how a driver ended: its own word first, then its exit code."""
    try:
        said = last_word(files.read_regular(folder / "exit.json", WORD_BYTES).decode(errors="replace"))
    except OSError:
        said = None
    if said is not None:
        return said
    if code is None:
        return Exit()
    if code < 0:
        return Exit(common.EXIT_CAUSE_SIGNAL, f"the driver was killed by {_signal_name(-code)}")
    return Exit(
        common.EXIT_CAUSE_EXCEPTION, f"the driver left with exit code {code}{_last_line(folder / 'driver.log')}"
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(path: Path) -> str:
    try:
        lines = files.read_regular(path, 4096, from_end=True).decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f": {lines[-1][:300]}" if lines else ""


def _open_log(folder: Path) -> int:
    return files.open_confined(folder / "driver.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def _is_locked(folder: Path) -> bool:
    try:
        descriptor = files.open_confined(folder / "attempt.lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holder(folder: Path) -> int | None:
    """Find a driver whose start was not recorded because the service died at that instant."""
    file = f"{folder / 'attempt.json'}".encode()
    for process in processes.all_processes():
        with contextlib.suppress(OSError):
            if (
                file in (processes.PROC / str(process.pid) / "cmdline").read_bytes().split(b"\0")
                and process.session == process.pid
            ):
                return process.pid
    return None


def _read_process(folder: Path) -> tuple[int, int] | None:
    try:
        recorded = files.parse_json(files.read_regular(folder / "process.json", WORD_BYTES))
        pid, start = recorded["pid"], recorded["start"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The attempt can write it too.
    is_process = type(pid) is int and type(start) is int and 0 < pid <= MAX_PID and start >= 0
    return (pid, start) if is_process else None


def _write(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, as a whole or not at all."""
    files.write(path, content, mode=0o600)

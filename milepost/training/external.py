"""Trials of scripts of one's own: `milepost.init()`, without a runtime started beforehand and without Ray.

The script registers a runtime with launcher `external` and appends its own events. When no server can be reached,
everything waits in the data directory, under the id that the script has chosen; `sync` sends it later.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost import configuration as configurations
from milepost import endpoints as endpoints_module
from milepost.api.config.v1.configuration_pb2 import SnapshotPolicy
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine, Sender
from milepost.api.training.v1.launch_service_pb2 import TakeUpAttemptRequest, TakeUpAttemptResponse
from milepost.api.training.v1.training_pb2 import (
    AttemptLaunch,
    Finished,
    InstanceInstruction,
    InstanceReport,
    StopInstruction,
)
from milepost.domain import trial as domain
from milepost.endpoints import Endpoints
from milepost.errors import AlreadyExists, FailedPrecondition, MilepostError, PermissionDenied, Unavailable
from milepost.eventlog import EventLogError, LogUnavailable, RecordedEvent, control_subject
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.credentials import ADMIN, find_authority, find_credentials
from milepost.eventlog.jetstream import JetStreamLog
from milepost.ids import new_event_id, new_runtime_id
from milepost.tokens import write_private
from milepost.training.background import Addresses, Background
from milepost.training.batches import Position
from milepost.training.group import GroupLink, open_store, place_of_this_process
from milepost.training.group import Place as GroupPlace
from milepost.training.journal import AttemptJournal, AttemptKey, Fenced, driver_sender, driver_spool_path, with_attempt
from milepost.training.leftovers import leftover_spools, send_spool
from milepost.training.member import SilentRun, leave_quietly
from milepost.training.retention import Retention
from milepost.training.spool import Spool, SpooledEvent
from milepost.training.stop import Stopped
from milepost.training.tee import ConsoleCapture
from milepost.training.trial import Rank, Trial
from milepost.training.worker import classify, quiet_libraries
from milepost.transport import replicas_of

log = logging.getLogger(__name__)

START_FILE = "start.json"
CREDENTIALS = "nats.creds"
# Between two tries to register, while no server answers.
RETRY_SECONDS = 5.0
# How long the end of a script waits for the broker and for the log.
DRAIN_SECONDS = 10.0
_WATCH_SECONDS = 15.0


def register(start_file: Path, endpoints: Endpoints) -> None:
    """Make the runtime known to the runtime service, if it is not.

    Raises:
        Unavailable: no server answers.
        MilepostError: it was refused.
    """
    from milepost.client import Client

    if not start_file.exists():
        return
    request = json_format.Parse(start_file.read_text(), StartRuntimeRequest())
    with Client(endpoints) as client, suppress(AlreadyExists):
        client.runtimes.StartRuntime(request)
    start_file.unlink()


def take_up(endpoints: Endpoints, runtime_id: str, attempt: int = 0) -> TakeUpAttemptResponse:
    """Ask the runtime service what an attempt is told, and for its credentials. `attempt` 0: the one in progress.

    Raises:
        PermissionDenied: somebody else started the runtime.
        FailedPrecondition: the attempt is over.
        Unavailable: no server answers, or the attempt is not launched yet.
    """
    from milepost.client import Client

    with Client(endpoints) as client:
        request = TakeUpAttemptRequest(name=f"runtimes/{runtime_id}/trials/1", attempt=attempt)
        return client.launches.TakeUpAttempt(request)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one attempt of a script lies, and which servers it looks for."""

    key: AttemptKey
    directory: Path
    endpoints: Endpoints
    # Set when it is known which user of the NATS server this is.
    known: threading.Event = field(default_factory=threading.Event)

    @property
    def credentials(self) -> Path:
        return self.directory / CREDENTIALS

    def find_user(self) -> Path | None:
        """Return the credentials of the attempt. None: the server asks for none.

        Who may read the keys of the installation makes them; others are handed them by the runtime service, which
        must know the runtime by then. They are kept, for what is sent later.

        Raises: as `take_up`.
        """
        if not self.known.is_set() and not self.credentials.exists():
            key, authority = self.key, find_authority(_keys_dir(self.endpoints))
            if authority is not None:
                content = authority.attempt_credentials(key.runtime_id, key.trial, key.attempt)
            else:
                content = take_up(self.endpoints, key.runtime_id, key.attempt).nats_credentials
            if content:
                write_private(self.credentials, content.encode())
        self.known.set()
        return self.credentials if self.credentials.exists() else None

    @property
    def start_file(self) -> Path:
        return self.directory.parent.parent / START_FILE


class ExternalChannel:
    """Appends the events of its own attempt, as the driver does for managed ones."""

    def __init__(self, place: Place, policy: SnapshotPolicy, warn: Callable[[str, str], None]) -> None:
        self._place = place
        self._policy = policy
        self._warn = warn
        self._spool = Spool(driver_spool_path(place.directory), driver_sender(place.key))
        self._journal: AttemptJournal | None = None
        self._connection: Connection | None = None
        self._stop: domain.StopOrder | None = None
        # Set when it is known whether a server answers.
        self._tried = asyncio.Event()

    async def run(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        connection = self._connection = await self._reach()
        if connection is None:
            return

        def on_change(state: domain.Trial, event: RecordedEvent) -> None:
            self._obey(state, on_instruction)
            retention.apply(event)

        def record(payload: Message) -> None:
            self._record(payload, datetime.now(UTC))

        key = self._place.key
        retention = Retention(self._policy, key.attempt, "", record)
        event_log = JetStreamLog(connection, direct=self._place.credentials.exists())
        self._journal = AttemptJournal(event_log, self._place.key, self._spool, on_change)
        self._tried.set()
        watching = asyncio.create_task(self._watch(connection, self._journal))
        try:
            await self._journal.run()
        except Fenced:
            self._warn("fenced", "this run was given up by the runtime service; nothing more of it is recorded")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _reach(self) -> Connection | None:
        """Register, and connect to the log, however long that takes."""
        while True:
            try:
                await _check_answers(self._place.endpoints.runtime)
                await asyncio.to_thread(register, self._place.start_file, self._place.endpoints)
                return await connect(
                    self._place.endpoints.nats,
                    name=f"script {self._place.key.source}",
                    timeout_seconds=5,
                    credentials=await asyncio.to_thread(self._place.find_user),
                )
            except (Unavailable, LogUnavailable) as error:
                where = self._place.directory.parent.parent
                self._warn(
                    "server", f"{error}; training goes on, its record waits in {where} (`milepost sync` sends it)"
                )
                await asyncio.sleep(RETRY_SECONDS)
            except MilepostError as error:
                self._tried.set()
                self._warn("refused", f"the runtime service refuses this run: {error}")
                return None

    def _obey(self, state: domain.Trial, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        active = state.active
        if active is None or active.attempt != self._place.key.attempt or active.stop in (None, self._stop):
            return
        self._stop = active.stop
        assert active.stop is not None
        deadline = int(active.stop.deadline_time.timestamp() * 1000)
        on_instruction(InstanceInstruction(stop=StopInstruction(deadline_ms=deadline)))

    async def _watch(self, connection: Connection, journal: AttemptJournal) -> None:
        key = self._place.key
        subscription = await connection.subscribe(f"committed.{control_subject(key.runtime_id, key.trial)}")
        while True:
            with suppress(EventLogError):
                await journal.reload()
            await subscription.next_batch(_WATCH_SECONDS)

    async def send(self, report: InstanceReport) -> None:
        time = datetime.fromtimestamp(report.time_ms / 1000, UTC)
        if report.WhichOneof("report") == "event":
            name = report.event.WhichOneof("payload")
            if name is not None:
                self._record(with_attempt(getattr(report.event, name), self._place.key.attempt), time)
        elif report.WhichOneof("report") == "finished":
            said, attempt = report.finished, self._place.key.attempt
            self._record(facts.InstanceExited(attempt=attempt, cause=said.cause, detail=said.detail), time)
            self._record(
                facts.AttemptEnded(
                    attempt=attempt,
                    outcome=said.outcome,
                    cause=said.cause,
                    detail=said.detail,
                    last_step=said.last_step,
                    unsent_batch_count=said.unsent_batch_count,
                ),
                time,
            )

    def _record(self, payload: Message, time: datetime) -> None:
        if self._journal is not None:
            self._journal.record(payload, time=time)
        else:
            self._spool.put_event(_spooled(payload, time))

    async def close(self, seconds: float) -> None:
        # A short script may end before it is known whether there is a server.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._tried.wait()
        if self._journal is not None:
            await self._journal.wait_appended(seconds)
        if self._connection is not None:
            await self._connection.close()
        self._spool.close()


async def _check_answers(address: str) -> None:
    """Knock, at each replica. The client would go on knocking for long, and a script may end at any moment.

    Raises:
        Unavailable: nobody opens.
    """
    problem: Exception | None = None
    for replica in replicas_of(address):
        host, _, port = replica.rpartition(":")
        try:
            async with asyncio.timeout(5.0):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, ValueError, TimeoutError) as error:
            problem = error
        else:
            writer.close()
            return
    raise Unavailable(f"nothing answers at {address}") from problem


def _spooled(payload: Message, time: datetime) -> SpooledEvent:
    from milepost.eventlog.codec import encode, format_time

    ce_type, body = encode(payload)
    return SpooledEvent(new_event_id(), ce_type, body, format_time(time), "")


class Terminated(Exception):
    """The process was told to end by a signal."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that were started together, and how they talk. Without torchrun a process is alone."""

    place: GroupPlace
    link: GroupLink | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A run that is that of the whole process: it ends with it, and with the errors that end it."""

    # Whether what is printed and logged is copied.
    capture: bool
    group: Group


class ExternalRun:
    """A trial of a process of one's own, from `init` to `finish`."""

    def __init__(self, place: Place, launch: AttemptLaunch, script: Script | None) -> None:
        sender = Sender(runtime_id=launch.runtime_id, trial=1, attempt=launch.attempt, source="rank-0")
        self._place = place
        self._launch = launch
        group = self._group = script.group if script is not None else Group(GroupPlace(), None)
        self.finished = False
        self._error: BaseException | None = None
        self._failure: Finished | None = None
        channel = ExternalChannel(place, launch.configuration.snapshots, self._warn)
        addresses = Addresses(place.endpoints.nats, place.credentials, place.known)
        self._background = Background(sender, 0, place.directory, addresses, channel, Position())
        self.trial = Trial(launch, Rank(0, group.place.world_size, led=False), self._background)
        self.trial.on_finish = self.finish
        if group.link is not None:
            self.trial.agree_to_stop = group.link.agree_to_stop
        self._background.start(self.trial.on_instruction)
        self._capture: ConsoleCapture | None = None
        self._previous_hook = sys.excepthook
        if script is not None:
            self._belong_to_process(script)
        self._background.report(
            facts.InstanceStarted(
                attempt=launch.attempt,
                host=socket.gethostname(),
                process_id=os.getpid(),
                devices=["cpu"],
                software=f"Python {platform.python_version()}",
            )
        )

    def _belong_to_process(self, script: Script) -> None:
        """Copy its output, hear of the errors that end it, and end with it."""
        if script.capture:
            self._capture = ConsoleCapture(0, lambda: self.trial.step, self._background.log_line)
        sys.excepthook = self._on_error
        self._handle_termination()
        # Before `atexit`, by when no thread may be given work any more: a snapshot, a call to a server.
        getattr(threading, "_register_atexit", atexit.register)(self.finish)

    def log_line(self, line: LogLine) -> None:
        """Record a line of output that somebody else has printed."""
        self._background.log_line(line)

    def log_at(self, step: int, seconds: float, values: Mapping[str, Any]) -> None:
        """Record values that were logged elsewhere, at a time in seconds since 1970."""
        self._background.buffer.append(step, seconds, values)

    def measure(self, process_id: int) -> None:
        """Measure another process with its children, in place of this one."""
        self._background.measure(process_id)

    def ended_by(self, cause: common.ExitCause, detail: str, exited: facts.InstanceExited | None = None) -> None:
        """Say that what is recorded has failed; `finish` ends the run so."""
        self._failure = Finished(outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=cause, detail=detail)
        if exited is not None:
            self._background.report(exited)

    def stopped_by_user(self) -> None:
        """Say that somebody has stopped what is recorded; `finish` ends the run so."""
        self._error = self._error or Stopped("stopped")

    def _warn(self, problem: str, text: str) -> None:
        self._background.warnings.say(problem, text)

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self._error = error
        if not isinstance(error, Stopped):
            self._previous_hook(kind, error, trace)
        elif self._group.place.world_size > 1:
            self.finish()
            leave_quietly()

    def _handle_termination(self) -> None:
        """Take SIGTERM for an error of the script, unless the script has its own mind about it."""

        def terminate(number: int, frame: Any) -> None:
            if os.getpid() != self._process or self.finished:
                # A process that was forked off, or an end that is under way and bounded.
                return
            self._error = self._error or Terminated(signal.Signals(number).name)
            raise SystemExit(128 + number)

        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, terminate)

    def finish(self) -> None:
        """Send what is left, within a bounded time, and say how it ended. Repeats do nothing."""
        if self.finished or not self._background.alive:
            return
        self.finished = True
        if sys.excepthook == self._on_error:
            sys.excepthook = self._previous_hook
        outcome = self._outcome()
        if outcome.outcome == facts.ATTEMPT_OUTCOME_COMPLETED:
            self.trial.complete()
        elif isinstance(self._error, Stopped):
            self.trial.save_for_stop()
        self.trial.end()
        # Also where the loop left by itself, or failed: what it has saved is not to be lost.
        self.trial.wait_for_snapshot()
        if self._capture is not None:
            self._capture.close()
        left = self._background.finish(InstanceReport(finished=outcome), DRAIN_SECONDS)
        if left:
            print(f"milepost: {left} batches are not sent yet; `milepost sync` sends them", file=sys.stderr)  # noqa: T201

    def _outcome(self) -> Finished:
        if self._failure is not None:
            self._failure.last_step = self.trial.step
            return self._failure
        if self._error is not None and not isinstance(self._error, KeyboardInterrupt | Stopped):
            typed = classify(self._error)
            cause, detail = typed.cause, typed.detail
            if isinstance(self._error, Terminated):
                cause, detail = common.EXIT_CAUSE_SIGNAL, f"the process was ended by {self._error}"
            # What ended another process is why this one ended.
            for rank, text in (self._group.link.errors() if self._group.link is not None else {}).items():
                detail = f"rank {rank}: {text}"
            return Finished(outcome=typed.outcome, cause=cause, detail=detail, last_step=self.trial.step)
        if self._error is not None or (self.trial.stop_requested and self.trial.left_for_stop):
            return Finished(
                outcome=facts.ATTEMPT_OUTCOME_STOPPED, cause=common.EXIT_CAUSE_STOPPED, last_step=self.trial.step
            )
        return Finished(
            outcome=facts.ATTEMPT_OUTCOME_COMPLETED, cause=common.EXIT_CAUSE_FINISHED, last_step=self.trial.step
        )


_run: ExternalRun | SilentRun | None = None


def init(
    name: str = "",
    *,
    total_steps: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    snapshots: Mapping[str, Any] | None = None,
    resume: str = "",
    data_dir: str | Path | None = None,
    capture: bool = True,
) -> Trial:
    """Record this script as a runtime of its own.

    Works whether a server can be reached or not, now or later. The run ends with the script, or with `finish`.
    Under torchrun every process calls it: that of rank 0 records, the others count along and stop with it.

    Args:
        name: shown in lists. Default: the name of the script.
        total_steps: optimizer updates in the whole training, if known; the same as `trial.plan(total_steps)`.
        parameters: numbers, texts and booleans to show with the run, and in `trial.parameters`.
        labels: short texts to filter by.
        snapshots: when to take them and which to keep, as in a configuration.
        resume: id of a run of this kind that has ended, to go on with. Needs its server.
        data_dir: where the record waits until it is stored. Default: that of the stack that is found.
        capture: copy what is printed and logged.

    Raises:
        InvalidArgument: a name, parameter, label or snapshot setting is wrong.
        FailedPrecondition: the run to resume is in progress, or a run of this script is.
        PermissionDenied: somebody else started the run to resume.
        Unavailable: a run is to be resumed and its server does not answer.
    """
    global _run
    if _run is not None and not _run.finished:
        raise FailedPrecondition("this process has a run already: finish it first", reason="RUN_OPEN")
    quiet_libraries()
    group = _find_group()
    if group.place.rank > 0:
        _run = SilentRun(group.place, group.link)
        return _run.trial
    configuration = {
        "name": name or Path(sys.argv[0]).name or "script",
        "parameters": dict(parameters or {}),
        "labels": dict(labels or {}),
        **({"snapshots": dict(snapshots)} if snapshots else {}),
    }
    _run = open_run(configuration, resume=resume, data_dir=data_dir, script=Script(capture, group))
    where = f"{_run.trial.configuration.name} at {_run.trial.page}"
    print(f"milepost: recording {where}", file=sys.stderr)  # noqa: T201
    if total_steps is not None:
        _run.trial.plan(total_steps)
    return _run.trial


def open_run(
    configuration: Mapping[str, Any],
    *,
    runtime_id: str = "",
    resume: str = "",
    data_dir: str | Path | None = None,
    script: Script | None = None,
) -> ExternalRun:
    """Begin to record a runtime of this process, which may have others.

    Args:
        configuration: fields of a configuration; the launcher is `external`.
        runtime_id: that of a new one; empty: a new id.
        resume: id of one that has ended, to go on with.
        data_dir: where the record waits until it is stored.
        script: None: the run is not that of the whole process, and ends with `finish` only.

    Raises: as `init`.
    """
    endpoints = endpoints_module.find(data_dir)
    folder = _data_folder(data_dir, endpoints)
    resolved = configurations.resolve({**configuration, "launcher": "external"})
    runtime_id = resume or runtime_id or new_runtime_id()
    launch = AttemptLaunch(
        runtime_id=runtime_id,
        trial=1,
        attempt=1,
        configuration=resolved,
        parameters=dict(resolved.parameters),
        nats_url=endpoints.nats,
    )
    if resume:
        _take_up(launch, endpoints)
    trial_folder = folder / "runtimes" / runtime_id / "trial-1"
    directory = trial_folder / f"attempt-{launch.attempt}"
    directory.mkdir(parents=True, exist_ok=True)
    launch.attempt_directory = str(directory)
    launch.snapshot_storage_uri = (trial_folder / "snapshots").as_uri()
    key = AttemptKey(runtime_id, 1, launch.attempt)
    place = Place(key, directory, replace(endpoints, data_dir=str(folder)))
    if find_authority(_keys_dir(endpoints)) is not None:
        place.find_user()
    if not resume:
        request = StartRuntimeRequest(configuration=resolved, runtime_id=runtime_id, request_id=runtime_id)
        place.start_file.write_text(json_format.MessageToJson(request, preserving_proto_field_name=True))
    (directory / "attempt.json").write_text(json_format.MessageToJson(launch, preserving_proto_field_name=True))
    if script is not None and script.group.link is not None:
        script.group.link.announce(launch)
    run = ExternalRun(place, launch, script)
    run.trial.page = f"{endpoints.gateway}/runtimes/{runtime_id}"
    run.trial.endpoints = place.endpoints
    return run


def _find_group() -> Group:
    place = place_of_this_process()
    store = open_store() if place.world_size > 1 else None
    return Group(place, GroupLink(store, place) if store is not None else None)


def _data_folder(data_dir: str | Path | None, endpoints: Endpoints) -> Path:
    named = data_dir or os.environ.get("MILEPOST_DATA_DIR") or endpoints.data_dir or endpoints_module.USER_DATA_DIR
    return Path(named).expanduser().absolute()


def _take_up(launch: AttemptLaunch, endpoints: Endpoints) -> None:
    """Resume a run: have its next attempt made, and learn its number and its snapshot."""
    from milepost.client import Client

    with Client(endpoints) as client:
        runtime = client.resume_runtime(f"runtimes/{launch.runtime_id}")
    launch.configuration.CopyFrom(runtime.configuration)
    told = take_up(endpoints, launch.runtime_id).launch
    launch.attempt = told.attempt
    launch.snapshot_id, launch.snapshot_step = told.snapshot_id, told.snapshot_step
    launch.snapshot_uri, launch.manifest_sha256 = told.snapshot_uri, told.manifest_sha256


def _keys_dir(endpoints: Endpoints) -> Path:
    named = os.environ.get("MILEPOST_KEYS_DIR")
    return Path(named) if named else Path(endpoints.data_dir or endpoints_module.USER_DATA_DIR).expanduser() / "keys"


def _in_own_loop(work: Callable[[], Any]) -> Any:
    """Run something asynchronous, also from a notebook, whose thread has a loop already."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(work())).result()


def current() -> Trial:
    """Return the trial of this process.

    Raises:
        FailedPrecondition: `init` was not called.
    """
    if _run is None:
        raise FailedPrecondition("call milepost.init first", reason="NO_RUN")
    return _run.trial


def is_finished() -> bool:
    """Tell whether this process has no trial that is open."""
    return _run is None or _run.finished


def log_values(values: Mapping[str, Any], step: int | None = None, commit: bool = True) -> None:
    """Log values of this process's trial; see `Trial.log`."""
    current().log(values, step, commit)


def finish() -> None:
    """End this process's trial. Without a run, and repeated, it does nothing."""
    if _run is not None:
        _run.finish()


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync` did: runs looked at, and events and batches that are still not stored."""

    runs: int
    events_left: int
    batches_left: int


def sync(data_dir: str | Path | None = None, seconds: float = 60.0) -> Synced:
    """Send what runs of scripts have left in the data directory.

    Raises:
        Unavailable: no server answers.
    """
    endpoints = endpoints_module.find(data_dir)
    folder = _data_folder(data_dir, endpoints)
    return _in_own_loop(lambda: _sync(folder, endpoints, seconds))


async def _sync(folder: Path, endpoints: Endpoints, seconds: float) -> Synced:
    attempts = [
        path.parent for path in sorted(folder.glob("runtimes/*/trial-1/attempt-*/attempt.json")) if _is_external(path)
    ]
    runs = events = batches = 0
    refused: MilepostError | None = None
    await _check_answers(endpoints.runtime)
    for directory in attempts:
        try:
            events_here, batches_here = await _sync_attempt(directory, endpoints, seconds)
        except LogUnavailable as error:
            raise Unavailable(str(error)) from error
        except (PermissionDenied, FailedPrecondition) as error:
            # Of somebody else, or given up: the others are sent all the same.
            refused = error
            continue
        runs, events, batches = runs + 1, events + events_here, batches + batches_here
    if refused is not None:
        raise refused
    return Synced(runs, events, batches)


async def _sync_attempt(directory: Path, endpoints: Endpoints, seconds: float) -> tuple[int, int]:
    """Send what one attempt has left. Returns how many events and batches are still not stored."""
    from milepost.training.journal import drain

    launch = json_format.Parse((directory / "attempt.json").read_text(), AttemptLaunch(), ignore_unknown_fields=True)
    place = Place(AttemptKey(launch.runtime_id, 1, launch.attempt), directory, endpoints)
    await asyncio.to_thread(register, place.start_file, endpoints)
    credentials = find_credentials(_keys_dir(endpoints), ADMIN) or await asyncio.to_thread(place.find_user)
    batches = 0
    async with await connect(
        endpoints.nats, name="milepost sync", timeout_seconds=10, credentials=credentials
    ) as connection:
        for path in [*directory.glob("spool-rank-*.sqlite"), *leftover_spools(directory)]:
            batches += await send_spool(connection, path, seconds)
        direct = place.credentials == credentials
        events = await drain(JetStreamLog(connection, direct=direct), directory, seconds)
    return events, batches


def _is_external(attempt_file: Path) -> bool:
    try:
        content = json.loads(attempt_file.read_text())
    except (OSError, ValueError):
        return False
    return content.get("configuration", {}).get("launcher") == "LAUNCHER_EXTERNAL"

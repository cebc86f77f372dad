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
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost import configuration as configurations
from milepost import endpoints as endpoints_module
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.api.training.v1.training_pb2 import (
    AttemptLaunch,
    Finished,
    InstanceInstruction,
    InstanceReport,
    StopInstruction,
)
from milepost.domain import trial as domain
from milepost.endpoints import Endpoints
from milepost.errors import AlreadyExists, FailedPrecondition, MilepostError, Unavailable
from milepost.eventlog import EventLogError, LogUnavailable, RecordedEvent, control_subject
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.credentials import ADMIN, find_authority, find_credentials
from milepost.eventlog.jetstream import JetStreamLog
from milepost.ids import new_event_id, new_runtime_id
from milepost.tokens import write_private
from milepost.training.background import Addresses, Background
from milepost.training.batches import Position
from milepost.training.journal import AttemptJournal, AttemptKey, Fenced, driver_sender, driver_spool_path, with_attempt
from milepost.training.leftovers import leftover_spools, send_spool
from milepost.training.spool import Spool, SpooledEvent
from milepost.training.stop import Stopped
from milepost.training.tee import ConsoleCapture
from milepost.training.trial import Rank, Trial
from milepost.training.worker import classify, quiet_libraries

log = logging.getLogger(__name__)

START_FILE = "start.json"
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where one attempt of a script lies, and which servers it looks for."""

    key: AttemptKey
    directory: Path
    endpoints: Endpoints
    # As which user of the NATS server. None: it asks for none.
    credentials: Path | None = None

    @property
    def start_file(self) -> Path:
        return self.directory.parent.parent / START_FILE


class ExternalChannel:
    """Appends the events of its own attempt, as the driver does for managed ones."""

    def __init__(self, place: Place, warn: Callable[[str, str], None]) -> None:
        self._place = place
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

        event_log = JetStreamLog(connection, direct=self._place.credentials is not None)
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
                    credentials=self._place.credentials,
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
    """Knock. The client would go on knocking for long, and a script may end at any moment.

    Raises:
        Unavailable: nobody opens.
    """
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(5.0):
            _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
    except (OSError, ValueError, TimeoutError) as error:
        raise Unavailable(f"nothing answers at {address}") from error


def _spooled(payload: Message, time: datetime) -> SpooledEvent:
    from milepost.eventlog.codec import encode, format_time

    ce_type, body = encode(payload)
    return SpooledEvent(new_event_id(), ce_type, body, format_time(time), "")


class ExternalRun:
    """A script's trial, from `init` to `finish`."""

    def __init__(self, place: Place, launch: AttemptLaunch, capture: bool) -> None:
        sender = Sender(runtime_id=launch.runtime_id, trial=1, attempt=launch.attempt, source="rank-0")
        self._place = place
        self._launch = launch
        self._finished = False
        self._error: BaseException | None = None
        channel = ExternalChannel(place, self._warn)
        addresses = Addresses(place.endpoints.nats, place.credentials)
        self._background = Background(sender, 0, place.directory, addresses, channel, Position())
        self.trial = Trial(launch, Rank(), self._background)
        self.trial.on_finish = self.finish
        self._background.start(self.trial.on_instruction)
        self._capture: ConsoleCapture | None = None
        if capture:
            self._capture = ConsoleCapture(0, lambda: self.trial.step, self._background.log_line)
        self._previous_hook = sys.excepthook
        sys.excepthook = self._on_error
        # Before `atexit`, by when no thread may be given work any more: a snapshot, a call to a server.
        getattr(threading, "_register_atexit", atexit.register)(self.finish)
        self._background.report(
            facts.InstanceStarted(
                attempt=launch.attempt,
                host=socket.gethostname(),
                process_id=os.getpid(),
                devices=["cpu"],
                software=f"Python {platform.python_version()}",
            )
        )

    def _warn(self, problem: str, text: str) -> None:
        self._background.warnings.say(problem, text)

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self._error = error
        if not isinstance(error, Stopped):
            self._previous_hook(kind, error, trace)

    def finish(self) -> None:
        """Send what is left, within a bounded time, and say how it ended. Repeats do nothing."""
        if self._finished or not self._background.alive:
            return
        self._finished = True
        if sys.excepthook == self._on_error:
            sys.excepthook = self._previous_hook
        outcome = self._outcome()
        if outcome.outcome == facts.ATTEMPT_OUTCOME_COMPLETED:
            self.trial.complete()
        elif isinstance(self._error, Stopped):
            self.trial.save_for_stop()
        self.trial.end()
        if self._capture is not None:
            self._capture.close()
        left = self._background.finish(InstanceReport(finished=outcome), DRAIN_SECONDS)
        if left:
            print(f"milepost: {left} batches are not sent yet; `milepost sync` sends them", file=sys.stderr)  # noqa: T201

    def _outcome(self) -> Finished:
        if self._error is not None and not isinstance(self._error, KeyboardInterrupt | Stopped):
            typed = classify(self._error)
            return Finished(outcome=typed.outcome, cause=typed.cause, detail=typed.detail, last_step=self.trial.step)
        if self._error is not None or (self.trial.stop_requested and self.trial.left_for_stop):
            return Finished(
                outcome=facts.ATTEMPT_OUTCOME_STOPPED, cause=common.EXIT_CAUSE_STOPPED, last_step=self.trial.step
            )
        return Finished(
            outcome=facts.ATTEMPT_OUTCOME_COMPLETED, cause=common.EXIT_CAUSE_FINISHED, last_step=self.trial.step
        )


_run: ExternalRun | None = None


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
        Unavailable: a run is to be resumed and its server does not answer.
    """
    global _run
    if _run is not None and not _run._finished:
        raise FailedPrecondition("this process has a run already: finish it first", reason="RUN_OPEN")
    quiet_libraries()
    endpoints = endpoints_module.find(data_dir)
    folder = _data_folder(data_dir, endpoints)
    configuration = configurations.resolve(
        {
            "name": name or Path(sys.argv[0]).name or "script",
            "launcher": "external",
            "parameters": dict(parameters or {}),
            "labels": dict(labels or {}),
            **({"snapshots": dict(snapshots)} if snapshots else {}),
        }
    )
    runtime_id = resume or new_runtime_id()
    launch = AttemptLaunch(
        runtime_id=runtime_id,
        trial=1,
        attempt=1,
        configuration=configuration,
        parameters=dict(configuration.parameters),
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
    credentials = _own_credentials(endpoints, key, directory)
    place = Place(key, directory, replace(endpoints, data_dir=str(folder)), credentials)
    if not resume:
        request = StartRuntimeRequest(configuration=configuration, runtime_id=runtime_id, request_id=runtime_id)
        place.start_file.write_text(json_format.MessageToJson(request, preserving_proto_field_name=True))
    (directory / "attempt.json").write_text(json_format.MessageToJson(launch, preserving_proto_field_name=True))
    _run = ExternalRun(place, launch, capture)
    print(f"milepost: recording {configuration.name} at {endpoints.gateway}/runtimes/{runtime_id}", file=sys.stderr)  # noqa: T201
    if total_steps is not None:
        _run.trial.plan(total_steps)
    return _run.trial


def _data_folder(data_dir: str | Path | None, endpoints: Endpoints) -> Path:
    named = data_dir or os.environ.get("MILEPOST_DATA_DIR") or endpoints.data_dir or endpoints_module.USER_DATA_DIR
    return Path(named).expanduser().absolute()


def _take_up(launch: AttemptLaunch, endpoints: Endpoints) -> None:
    """Resume a run: have its next attempt made, and learn its number and its snapshot."""
    from milepost.client import Client

    with Client(endpoints) as client:
        runtime = client.resume_runtime(f"runtimes/{launch.runtime_id}")
    launch.configuration.CopyFrom(runtime.configuration)
    state = _in_own_loop(lambda: _read_trial(endpoints, launch.runtime_id))
    active = state.active
    if active is None or active.started:
        raise FailedPrecondition(
            f"{launch.runtime_id} is {domain.describe(state)} and cannot be taken up", reason="NOT_RESUMABLE"
        )
    launch.attempt = active.attempt
    launch.snapshot_id, launch.snapshot_step = active.launch.snapshot_id, active.launch.snapshot_step
    launch.snapshot_uri = active.launch.snapshot_uri
    launch.manifest_sha256 = next(
        (s.manifest_sha256 for s in state.snapshots if s.snapshot_id == launch.snapshot_id), ""
    )


def _keys_dir(endpoints: Endpoints) -> Path:
    named = os.environ.get("MILEPOST_KEYS_DIR")
    return Path(named) if named else Path(endpoints.data_dir or endpoints_module.USER_DATA_DIR).expanduser() / "keys"


def _own_credentials(endpoints: Endpoints, key: AttemptKey, directory: Path) -> Path | None:
    """Make this script the user that its attempt is. None: the server asks for no users, or never ran here.

    Who may read the keys of the installation may do so; on other machines the file is handed out.
    """
    authority = find_authority(_keys_dir(endpoints))
    if authority is None:
        return None
    path = directory / "nats.creds"
    write_private(path, authority.attempt_credentials(key.runtime_id, key.trial, key.attempt).encode())
    return path


async def _read_trial(endpoints: Endpoints, runtime_id: str) -> domain.Trial:
    from milepost.domain.decider import Fact, fold
    from milepost.eventlog import parse_subject
    from milepost.eventlog.codec import decode

    key = AttemptKey(runtime_id, 1, 1)
    credentials = find_credentials(_keys_dir(endpoints), ADMIN)
    async with await connect(
        endpoints.nats, name="milepost init", timeout_seconds=10, credentials=credentials
    ) as connection:
        events = await JetStreamLog(connection).read_chain(key.chain)
    pairs = (Fact(decode(e.type, e.body), parse_subject(e.subject).attempt) for e in events)
    return fold(domain.evolve, domain.initial, pairs)


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
    from milepost.training.journal import drain

    attempts = [
        path.parent for path in sorted(folder.glob("runtimes/*/trial-1/attempt-*/attempt.json")) if _is_external(path)
    ]
    runs = events = batches = 0
    try:
        credentials = find_credentials(_keys_dir(endpoints), ADMIN)
        connection = await connect(endpoints.nats, name="milepost sync", timeout_seconds=10, credentials=credentials)
    except LogUnavailable as error:
        raise Unavailable(str(error)) from error
    async with connection:
        for directory in attempts:
            await asyncio.to_thread(register, directory.parent.parent / START_FILE, endpoints)
            batches_here = 0
            for path in [*directory.glob("spool-rank-*.sqlite"), *leftover_spools(directory)]:
                batches_here += await send_spool(connection, path, seconds)
            events += await drain(JetStreamLog(connection), directory, seconds)
            batches += batches_here
            runs += 1
    return Synced(runs, events, batches)


def _is_external(attempt_file: Path) -> bool:
    try:
        content = json.loads(attempt_file.read_text())
    except (OSError, ValueError):
        return False
    return content.get("configuration", {}).get("launcher") == "LAUNCHER_EXTERNAL"

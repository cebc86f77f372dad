"""Trials of scripts of one's own: `milepost.init()`, without a runtime started beforehand and without Ray.

The script registers a runtime with launcher `external` and appends its own events. When no server can be reached,
everything waits in the data directory, under the id that the script has chosen; `sync` sends it later.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost import client as client_module
from milepost import configuration as configurations
from milepost import files
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine, Sender
from milepost.api.training.v1.launch_service_pb2 import (
    BeginAttemptResponse,
    TakeUpAttemptRequest,
    TakeUpAttemptResponse,
)
from milepost.api.training.v1.training_pb2 import (
    AttemptLaunch,
    Finished,
    InstanceInstruction,
    InstanceReport,
    StopInstruction,
)
from milepost.client import Client
from milepost.domain import trial as domain
from milepost.errors import AlreadyExists, FailedPrecondition, MilepostError, Unavailable
from milepost.eventlog import EventLogError, LogUnavailable, RecordedEvent, control_subject
from milepost.eventlog.codec import decode, encode, format_time
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.credentials import find_authority
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.ids import new_event_id, new_runtime_id
from milepost.installation import endpoints as endpoints_module
from milepost.installation.endpoints import Endpoints
from milepost.names import trial_name
from milepost.security.redaction import Redactor
from milepost.security.terminal import visible
from milepost.security.tokens import write_private
from milepost.security.transport import replicas_of
from milepost.snapshots import confined
from milepost.storage import Folder
from milepost.training.loop.host import Rank
from milepost.training.loop.said.declared import Declared
from milepost.training.loop.stop import Stopped
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.process.environment import EnvironmentRecord, code_folder, command_of_this_process
from milepost.training.process.process_end import Ending, end_by_signal, ending_of, process_end
from milepost.training.process.process_identity import own_identity
from milepost.training.process.worker import classify, quiet_libraries
from milepost.training.saving.retention import Retention
from milepost.training.script import configured, last_word
from milepost.training.script.command_name import name_of_this_script
from milepost.training.script.group import LEADER_VARIABLE, GroupLink, find_link, place_of_this_process
from milepost.training.script.group import Place as GroupPlace
from milepost.training.script.host import ScriptHost
from milepost.training.script.resume import Wanted, wanted
from milepost.training.script.signals import ending_signals
from milepost.training.script.silent_rank import SilentRun, leave_quietly
from milepost.training.script.tee import ConsoleCapture
from milepost.training.script.verdict import Verdict
from milepost.training.spooling.journal import (
    AttemptJournal,
    AttemptKey,
    Fenced,
    driver_sender,
    driver_spool_path,
    with_attempt,
)
from milepost.training.spooling.late import Late
from milepost.training.spooling.leftovers import send_leftovers
from milepost.training.spooling.spool import Spool, SpooledEvent
from milepost.training.telemetry.background import KNOWN_SECONDS, Addresses, Background
from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.marker import StepMarker, marker_path
from milepost.training.user_code import given
from milepost.training.user_code.forks import rest_in_children

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)

START_FILE = "start.json"
# Of what a run begins with. A configuration has much less.
MAX_FILE_BYTES = 16 << 20
CREDENTIALS = "nats.creds"
# Between two tries to register, while no server answers.
RETRY_SECONDS = 5.0
# How long the end of a script waits for the broker and for the log.
DRAIN_SECONDS = 10.0
# How long an end that cannot wait waits for a snapshot that is being committed.
AT_ONCE_SECONDS = 2.0
_WATCH_SECONDS = 15.0


def register(start_file: Path, endpoints: Endpoints) -> None:
    """Make the runtime known to the runtime service, if it is not.

    Raises:
        Unavailable: no server answers.
        MilepostError: it was refused.
    """
    try:
        request = _read_start(start_file)
    except FileNotFoundError:
        return
    with Client(endpoints) as client, suppress(AlreadyExists):
        client.runtimes.StartRuntime(request)
    # The script and `sync` may register it at the same time.
    start_file.unlink(missing_ok=True)


def _read_start(start_file: Path) -> StartRuntimeRequest:
    """Read what a run begins with. A file that is damaged is set aside, and made again of what its first attempt is told.

    Raises:
        FileNotFoundError: there is none, because the runtime is known already.
        FailedPrecondition: it is damaged, and so is the file of the attempt.
    """
    try:
        return _read_message(start_file, StartRuntimeRequest())
    except FileNotFoundError:
        raise
    except (OSError, json_format.ParseError) as error:
        damage = str(error)
    runtime_id = start_file.parent.name
    attempt_file = start_file.parent / "trial-1" / "attempt-1" / "attempt.json"
    try:
        launch = _read_message(attempt_file, AttemptLaunch())
        if launch.runtime_id != runtime_id:
            raise json_format.ParseError("it is of another run")
    except (OSError, json_format.ParseError) as error:
        raise FailedPrecondition(
            f"{start_file} is damaged ({damage}), and {attempt_file}, of which it could be made again, too: nothing says what "
            f"run {runtime_id} is. Put one of the two back from a backup; what it recorded stays in {start_file.parent}",
            reason="FILE_DAMAGED",
        ) from error
    request = StartRuntimeRequest(
        configuration=launch.configuration, runtime_id=launch.runtime_id, request_id=launch.runtime_id
    )
    files.set_aside(start_file, damage)
    files.write(start_file, json_format.MessageToJson(request, preserving_proto_field_name=True))
    return request


def _read_message(path: Path, message: M) -> M:
    """Read a message from a file of its own, which may be anything by now.

    Raises:
        OSError: it cannot be read, or is no file of its own.
        ParseError: what is in it is no such message.
    """
    try:
        content = files.read_regular(path, MAX_FILE_BYTES).decode()
        return json_format.Parse(content, message, ignore_unknown_fields=True)
    except (UnicodeDecodeError, RecursionError) as error:
        raise json_format.ParseError(str(error)) from error


def take_up(endpoints: Endpoints, runtime_id: str, attempt: int = 0) -> TakeUpAttemptResponse:
    """Ask the runtime service what an attempt is told, and for its credentials. `attempt` 0: the one in progress.

    Raises:
        PermissionDenied: somebody else started the runtime.
        FailedPrecondition: the attempt is over.
        Unavailable: no server answers, or the attempt is not launched yet.
    """
    with Client(endpoints) as client:
        request = TakeUpAttemptRequest(name=trial_name(runtime_id, 1), attempt=attempt)
        return client.launches.TakeUpAttempt(request)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one attempt of a script lies, and which servers it looks for."""

    key: AttemptKey
    directory: Path
    endpoints: Endpoints
    # Set when it is known which user of the NATS server this is.
    known: threading.Event = field(default_factory=threading.Event)
    # Set when it is known that this is a run of its own, and not part of that of another process.
    decided: threading.Event = field(default_factory=threading.Event)

    @property
    def credentials(self) -> Path:
        return self.directory / CREDENTIALS

    def find_user(self) -> Path | None:
        """Return the credentials of the attempt. None: the server asks for none.

        Who may read the keys of the installation makes them; others are handed them by the runtime service, which
        must know the runtime by then. They are kept, for what is sent later.

        Raises: as `take_up`.
        """
        if files.is_irregular(self.credentials):
            files.set_aside(self.credentials, "it is no regular file")
        if not self.known.is_set() and not self.credentials.exists():
            key, authority = self.key, find_authority(keys_dir(self.endpoints))
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

    def __init__(
        self,
        place: Place,
        launch: AttemptLaunch,
        warn: Callable[[str, str], None],
        on_given_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._policy = launch.configuration.snapshots
        self._snapshot_uri = launch.snapshot_uri
        self._warn = warn
        self._on_given_up = on_given_up
        # Others have ended the attempt: what it says has no place any more.
        self._given_up = False
        self._spool = Spool(driver_spool_path(place.directory), driver_sender(place.key))
        self._journal: AttemptJournal | None = None
        self._connection: Connection | None = None
        self._stop: domain.StopOrder | None = None
        # Set when it is known whether a server answers.
        self._tried = asyncio.Event()
        # Since when none does: the last try has failed, and the next one has not begun.
        self._away = asyncio.Event()
        # Events that were not appended when it was closed.
        self.left = 0

    async def run(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        connection = self._connection = await self._reach()
        if connection is None:
            return

        def on_change(state: domain.Trial, event: RecordedEvent) -> None:
            verdict.note(decode(event.type, event.body))
            self._obey(state, on_instruction)
            retention.apply(event)

        def record(payload: Message) -> None:
            self._record(payload, datetime.now(UTC))

        key = self._place.key
        retention, verdict = Retention(self._policy, key.attempt, "", record, self._confine), Verdict(key.attempt)
        event_log = JetStreamLog(connection, direct=self._place.credentials.exists())
        self._journal = AttemptJournal(event_log, self._place.key, self._spool, on_change)
        self._tried.set()
        watching = asyncio.create_task(self._watch(connection, self._journal))
        sending = asyncio.create_task(send_leftovers(connection, self._place.directory, self._snapshot_uri))
        try:
            await self._append_until_fenced(self._journal)
            if verdict.is_given_up:
                self._given_up = True
                self._journal.discard_if_fenced()
                self._warn("fenced", verdict.words())
                self._on_given_up()
        finally:
            for task in (watching, sending):
                task.cancel()
            await asyncio.gather(watching, sending, return_exceptions=True)

    def _confine(self, uri: str, snapshot_id: str) -> Folder:
        # An earlier attempt may have had another data folder.
        return confined(uri, snapshot_id, self._place.key.runtime_id, self._place.key.trial, None)

    async def _append_until_fenced(self, journal: AttemptJournal) -> None:
        """Append what is recorded, until nothing may be."""
        appending, fenced = asyncio.create_task(journal.run()), asyncio.create_task(journal.fenced.wait())
        try:
            await asyncio.wait({appending, fenced}, return_when=asyncio.FIRST_COMPLETED)
            if appending.done():
                with suppress(Fenced):
                    appending.result()
        finally:
            appending.cancel()
            fenced.cancel()
            await asyncio.gather(appending, fenced, return_exceptions=True)

    async def _reach(self) -> Connection | None:
        """Register, and connect to the log, however long that takes."""
        while not self._place.decided.is_set():
            await asyncio.sleep(KNOWN_SECONDS)
        while True:
            try:
                await check_answers(self._place.endpoints.runtime)
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
                self._away.set()
                await asyncio.sleep(RETRY_SECONDS)
                self._away.clear()
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
            for fact in facts_of_end(report.finished, self._place.key.attempt):
                self._record(fact, time)

    def _record(self, payload: Message, time: datetime) -> None:
        if self._given_up:
            return
        if self._journal is not None:
            self._journal.record(payload, time=time)
        else:
            self._spool.put_event(spooled(payload, time))

    async def close(self, seconds: float) -> None:
        """Have everything appended; what cannot be is in the spool. May be cancelled: then it leaves at once."""
        try:
            await self._settle(seconds)
        finally:
            self.left = len(self._spool.events())
            self._spool.close()
            if self._connection is not None:
                await self._connection.close()

    async def _settle(self, seconds: float) -> None:
        # A short script may end before it is known whether there is a server.
        known = [asyncio.ensure_future(event.wait()) for event in (self._tried, self._away)]
        try:
            await asyncio.wait(known, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in known:
                task.cancel()
        if self._journal is not None:
            await self._journal.wait_appended(seconds)


async def check_answers(address: str) -> None:
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


def facts_of_end(said: Finished, attempt: int) -> tuple[Message, Message]:
    """State how an attempt has ended."""
    exited = facts.InstanceExited(attempt=attempt, cause=said.cause, detail=said.detail)
    if said.HasField("signal"):
        exited.signal = said.signal
    elif said.HasField("exit_code"):
        exited.exit_code = said.exit_code
    ended = facts.AttemptEnded(
        attempt=attempt,
        outcome=said.outcome,
        cause=said.cause,
        detail=said.detail,
        last_step=said.last_step,
        unsent_batch_count=said.unsent_batch_count,
    )
    return exited, ended


def spooled(payload: Message, time: datetime) -> SpooledEvent:
    ce_type, body = encode(payload)
    return SpooledEvent(new_event_id(), ce_type, body, format_time(time), "")


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
        # Whether it is that of the whole process, which may turn out to be one of several.
        self._is_of_process = script is not None
        # What has taken its place, because another process of the group records it.
        self._silent: SilentRun | None = None
        self.finished = False
        # `finish` was called while a generator was being closed; how the run ends shows later.
        self.deferred = False
        self._ending = threading.RLock()
        self._failure: Finished | None = None
        # An error that is being handled now has nothing to do with the end.
        self._handled_before = sys.exc_info()[1]
        channel = self._channel = ExternalChannel(place, launch, self.warn, self._on_given_up)
        addresses = Addresses(place.endpoints.nats, place.credentials, place.known, place.endpoints.runtime)
        marker = StepMarker(marker_path(place.directory, 0))
        self._background = Background(sender, 0, place.directory, addresses, channel, Position(), marker=marker)
        rank = Rank(0, group.place.world_size, led=False)
        self._host = ScriptHost(launch, rank, self._background, marker, place.endpoints, self.finish, self._join)
        if group.link is not None:
            self._host.lead(group.link)
        self._loop = TrainingLoop(self._host)
        self.trial = Trial(self._loop)
        client_module.load()
        self._background.start(self._loop.on_instruction)
        self._capture: ConsoleCapture | None = None
        if script is not None:
            self._belong_to_process(script)
        self._background.report(
            facts.InstanceStarted(
                attempt=launch.attempt,
                host=socket.gethostname(),
                process_id=os.getpid(),
                devices=["cpu"],
                software=f"Python {platform.python_version()}",
                process=own_identity(),
            )
        )
        # Of a command the folder that it runs in is the one that tells.
        folder = code_folder() if script is not None else Path.cwd()
        self._environment = EnvironmentRecord(
            launch.attempt, folder, self._background.report, command=command_of_this_process()
        )

    def _belong_to_process(self, script: Script) -> None:
        """Copy its output, and end with it."""
        if script.capture:
            self._capture = ConsoleCapture(0, lambda: self.trial.step, self._background.log_line)
        process_end.attach(self._on_process_end, self._is_loop_busy)
        ending_signals.attach(lambda number: self._end(end_by_signal(number)))
        rest_in_children(self)

    def rest_in_child(self) -> None:
        """Be over, in a child that was forked off."""
        self.finished = True

    def _join(self, at_step: bool) -> bool:
        """Find the processes that train with this one, whose group may have been made after the run."""
        if not self._is_of_process:
            return True
        link = find_link() if self._group.link is None else None
        if link is not None and link.place.rank > 0:
            self._leave_to_first(link)
        elif link is not None:
            self._group = Group(link.place, link)
            link.announce(self._launch)
            self._host.lead(link)
        if at_step:
            self._place.decided.set()
        return self._group.link is not None

    def _leave_to_first(self, link: GroupLink) -> None:
        """Leave the record to the process of rank 0: as if there had been no run here, or, if it is known, side by side."""
        global _run
        self._group = Group(link.place, link)
        if self._place.decided.is_set():
            self.warn(
                "group",
                f"this process is rank {link.place.rank} of a group and has a run of its own, because milepost.init was "
                "called before init_process_group: call it after, then the group has one run",
            )
            self._host.stop_by(self._refuse_to_stop)
            return
        self.finished = True
        process_end.detach()
        ending_signals.detach()
        self._close_capture()
        self._background.leave()
        shutil.rmtree(self._place.directory.parent.parent, ignore_errors=True)
        self._host.leave_record()
        self._silent = SilentRun(link.place, link, left=(self._host, self._loop, self.trial))
        _run = self._silent
        text = f"milepost: rank {link.place.rank} of a group: recorded with rank 0, as {self.trial.runtime_id}"
        print(visible(text), file=sys.stderr)  # noqa: T201

    def _refuse_to_stop(self, step: int) -> bool:
        self.warn("group_stop", "the processes of this group stop together: stop the run of rank 0 instead of this one")
        return False

    def begin(self, besides: Declared, step: int | None) -> None:
        """Say what the script was given besides its configuration, and go on after a step if this is a later attempt."""
        self._loop.declare_read(besides)
        if self._launch.attempt > 1:
            self._loop.go_on_after(step)

    @property
    def left_for_stop(self) -> bool:
        """Whether the loop was told of a stop, and has left."""
        return self._loop.left_for_stop

    def log_line(self, line: LogLine) -> None:
        """Record a line of output that somebody else has printed."""
        self._background.log_line(line)

    def log_at(self, step: int, seconds: float, values: Mapping[str, Any]) -> None:
        """Record values that were logged elsewhere, at a time in seconds since 1970."""
        self._background.buffer.append(step, seconds, values)

    def measure(self, process_id: int) -> None:
        """Measure another process with its children, in place of this one."""
        self._background.measure(process_id)

    def ended_by(self, said: Finished) -> None:
        """Say how what is recorded has ended; `finish` ends the run so."""
        self._failure = said

    def stopped_by_user(self) -> None:
        """Say that somebody has stopped what is recorded; `finish` ends the run so."""
        self.ended_by(Finished(outcome=facts.ATTEMPT_OUTCOME_STOPPED, cause=common.EXIT_CAUSE_STOPPED))

    def _on_given_up(self) -> None:
        self._loop.take_no_more_snapshots()

    def warn(self, problem: str, text: str) -> None:
        """Say a problem, once."""
        self._background.warnings.say(problem, text)

    def finish(self, exit_code: int | None = None) -> None:
        """Send what is left, within a bounded time, and say how it ended. Repeats do nothing.

        Args:
            exit_code: 0 is Completed, any other Failed. None: Completed, unless an error is being handled.
        """
        if self._silent is not None:
            self._silent.finish(exit_code)
            return
        error = sys.exc_info()[1]
        if exit_code is not None:
            self._end(Ending(exit_code))
        elif isinstance(error, GeneratorExit):
            self.deferred = True
        else:
            self._end(ending_of(error if error is not self._handled_before else None))

    def _on_process_end(self, ending: Ending) -> None:
        if self._background.is_this_thread:
            # It leaves the process because nothing it does counts any more.
            return
        ending_signals.yield_to_signal()
        # Whoever interrupts the end of the interpreter wants it to be over, not to read a traceback.
        with suppress(KeyboardInterrupt):
            self._end(ending)
        if self._group.place.world_size > 1 and isinstance(ending.error, Stopped):
            leave_quietly()

    def _is_loop_busy(self) -> bool:
        """Tell whether the loop runs in a thread of its own that the interpreter waits for before it ends."""
        thread = self._loop.thread
        return thread is not None and thread.is_alive() and not thread.daemon and thread is not threading.main_thread()

    def _end(self, ending: Ending) -> None:
        # A signal may come while the process ends by itself: the second waits for the first.
        if not self._ending.acquire(timeout=AT_ONCE_SECONDS if ending.at_once else -1):
            return
        try:
            if not self.finished and self._background.alive:
                self.finished = True
                self._end_once(ending)
        finally:
            self._ending.release()

    def _end_once(self, ending: Ending) -> None:
        self._place.decided.set()
        if os.environ.get(LEADER_VARIABLE) == str(self._place.directory):
            del os.environ[LEADER_VARIABLE]
        word = self._word(ending) if ending.status is not None or not last_word.is_possible() else None
        try:
            self._background.begin_end()
            self._end_loop(ending, word)
        except Exception as error:
            word = self._word(ending_of(error))
            raise
        finally:
            # Also when somebody does not want to wait: how it ended is to be known.
            self._end_record(ending, word)
            process_end.detach()
            ending_signals.detach()

    def _end_record(self, ending: Ending, word: Finished | None) -> None:
        """Send what is left, and the word on how it ended; None: leave that to another process."""
        seconds = (AT_ONCE_SECONDS, AT_ONCE_SECONDS) if ending.at_once else (DRAIN_SECONDS,)
        left = 0
        try:
            left = self._background.finish(InstanceReport(finished=word) if word else None, *seconds)
        finally:
            place = self._place
            late = Late(place.key, place.directory, place.endpoints.nats, place.credentials)
            self._host.end(late)
            self._say_left(left)
            if word is None:
                last_word.leave(last_word.Left(self._place.directory, self.trial.step, left, self._loop.early_end()))

    def _end_loop(self, ending: Ending, word: Finished | None) -> None:
        """Take the last snapshot, and wait for it."""
        if ending.at_once:
            self._loop.end()
            with suppress(TimeoutError):
                self.trial.wait_for_snapshot(AT_ONCE_SECONDS)
            self._close_capture(at_once=True)
            return
        if word is None or word.outcome == facts.ATTEMPT_OUTCOME_COMPLETED:
            self._loop.complete()
        elif isinstance(ending.error, Stopped):
            self._loop.save_for_stop()
        self._loop.end()
        self._environment.wait()
        # Also where the loop left by itself, or failed: what it has saved is not to be lost.
        self.trial.wait_for_snapshot()
        self._close_capture()

    def _close_capture(self, at_once: bool = False) -> None:
        if self._capture is not None:
            self._capture.close(at_once)

    def _say_left(self, batches: int) -> None:
        counts = [
            f"{count} {word}{'' if count == 1 else ending}"
            for count, word, ending in ((batches, "batch", "es"), (self._channel.left, "event", "s"))
            if count
        ]
        if counts:
            where = self._place.directory.parent.parent
            text = f"milepost: {' and '.join(counts)} not sent yet, kept in {where}: `milepost sync` sends them"
            print(visible(text), file=sys.stderr)  # noqa: T201

    def _word(self, ending: Ending) -> Finished:
        said = self._failure or outcome_of(ending)
        if self._failure is None and self._loop.is_stopped and (not ending.failed or ending.cause is None):
            said = Finished(outcome=facts.ATTEMPT_OUTCOME_STOPPED, cause=common.EXIT_CAUSE_STOPPED)
        if said.outcome == facts.ATTEMPT_OUTCOME_FAILED and self._group.link is not None:
            # What ended another process is why this one ended.
            for rank, text in self._group.link.errors().items():
                said.detail = f"rank {rank}: {text}"
        if said.outcome == facts.ATTEMPT_OUTCOME_COMPLETED:
            said.detail = self._loop.early_end()
        said.last_step = self.trial.step
        return said


def outcome_of(ending: Ending) -> Finished:
    """Tell what the end of a process means for what it did: Completed is what ends with status 0, nothing else."""
    said = Finished(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, cause=common.EXIT_CAUSE_FINISHED)
    if ending.status is None:
        said.outcome, said.cause = facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION
        said.detail = "left by a SystemExit whose status cannot be known on this system; leave with sys.exit instead"
        return said
    if ending.interrupted:
        said.outcome, said.cause = facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED
    elif ending.failed:
        said.outcome, said.detail = facts.ATTEMPT_OUTCOME_FAILED, ending.words()
        said.cause = common.EXIT_CAUSE_SIGNAL if ending.signal else _cause_of(ending.cause)
    if ending.signal:
        said.signal = ending.signal
    else:
        said.exit_code = ending.status
    return said


def _cause_of(error: BaseException | None) -> common.ExitCause:
    return common.EXIT_CAUSE_EXCEPTION if error is None else classify(error).cause


_IN_CHILD = (
    "process {process} was started to work for the script, whose lines it has run again: what it logs is ignored (a child "
    "may begin a run of its own with milepost.init in the function that it is given)"
)
_run: ExternalRun | SilentRun | None = None


def init(
    name: str = "",
    *,
    total_steps: float | None = None,
    parameters: Any = None,
    labels: Any = None,
    snapshots: Mapping[str, Any] | None = None,
    id: str = "",
    resume: str = "",
    step: int | None = None,
    data_dir: str | Path | None = None,
    capture: bool = True,
    not_secret: Collection[str] = (),
) -> Trial:
    """Record this script as a runtime of its own.

    Works whether a server can be reached or not, now or later. The run ends with the script, or with `finish`; another
    `init`, as when a cell of a notebook is run again, ends it too, and says so.
    Under torchrun every process calls it: that of rank 0 records, the others count along and stop with it. A child that
    imports the script to work for it, as `spawn` makes them, records nothing.

    Args:
        name: shown in lists. Default: the name of the script.
        total_steps: optimizer updates in the whole training, if known; the same as `trial.plan(total_steps)`.
        parameters: settings to show with the run, and in `trial.parameters`; of any shape, see `Trial.declare`.
        labels: short texts to filter by.
        snapshots: when to take them and which to keep, as in a configuration.
        id: what this run is called by whoever starts it again, the same at each start: the name of a job, for example.
        resume: what to do about a run with this `id`: "allow" goes on with it, or begins it if there is none; "must"
            wants one; "never" (the default) wants none. Or the id of a run of this kind (rt-...), to go on with.
            Going on is a new attempt, from the newest snapshot (`Trial.restore`), and needs the run's server.
        step: of a checkpoint of the script's own that it goes on from; later steps of earlier attempts are superseded.
            Without one, and without a restored snapshot, the first step that is logged says it.
        data_dir: where the record waits until it is stored. Default: that of the stack that is found.
        capture: copy what is printed and logged from now on, by other programs and C code too unless that goes to a
            terminal, a notebook, or out of the first process of a container; the log says what it lacks.
        not_secret: names of parameters and labels that look like secrets and are none. What looks like a secret is
            recorded as `[redacted: looks like a secret]`; `trial.parameters` has it as it was given.

    Raises:
        InvalidArgument: a snapshot setting is unknown or cannot work, or `id`, `resume` and `step` make no sense.
        FailedPrecondition: a process runs the run to resume that is not known to be dead.
        NotFound: there is no run to resume.
        PermissionDenied: somebody else started the run to resume.
        Unavailable: a run must be resumed and its server does not answer.
    """
    global _run
    if isinstance(_run, ExternalRun) and _run.deferred:
        # The script goes on after it: that was no failure.
        _run.finish(0)
    if isinstance(_run, SilentRun) and _run.gives_way:
        _run.finish()
    which = wanted(id, resume, step)
    if _run is not None and not _run.finished:
        _finish_for_another(_run)
    quiet_libraries()
    fields = {
        "name": name or name_of_this_script(),
        "parameters": parameters,
        "labels": labels,
        "not_secret": not_secret,
        "snapshots": snapshots,
    }
    if _is_import_in_child():
        ignored = _IN_CHILD.format(process=os.getpid())
        _run = SilentRun(GroupPlace(), None, configured.read(fields), ignored=ignored)
        return _run.trial
    group = _find_group()
    if group.place.rank > 0:
        _run = SilentRun(group.place, group.link, configured.read(fields), resumes=resume not in ("", "never"))
        return _run.trial
    try:
        script, total = Script(capture, group), given.total(total_steps)
        _run = open_run(fields, which=which, total_steps=total, data_dir=data_dir, script=script)
    except OSError as error:
        print(f"milepost: nothing of this run is recorded: {error}; training goes on", file=sys.stderr)  # noqa: T201
        _run = SilentRun(group.place, group.link, configured.read(fields))
        return _run.trial
    where = f"{_run.trial.configuration.name} at {_run.trial.page}"
    print(f"milepost: recording {where}", file=sys.stderr)  # noqa: T201
    if total_steps is not None:
        _run.trial.plan(total_steps)
    return _run.trial


def _finish_for_another(open_one: ExternalRun | SilentRun) -> None:
    """End the run of this process, because the next one begins."""
    trial = open_one.trial
    if trial.rank == 0:
        name = trial.configuration.name or trial.runtime_id
        print(  # noqa: T201
            f"milepost: init is called again: {name} is finished at step {trial.step:,}, and another run begins",
            file=sys.stderr,
        )
    open_one.finish()


def _is_import_in_child() -> bool:
    """Tell whether a child of multiprocessing imports the script, to find in it what it is to do."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and getattr(processes.current_process(), "_inheriting", False)


def open_run(
    fields: Mapping[str, Any],
    *,
    runtime_id: str = "",
    which: Wanted | None = None,
    total_steps: int | None = None,
    data_dir: str | Path | None = None,
    script: Script | None = None,
) -> ExternalRun:
    """Begin to record a runtime of this process, which may have others.

    Args:
        fields: `name`, `parameters`, `labels` and `snapshots`, of any shape; see `configured.read`.
        runtime_id: that of a new one; empty: a new id.
        which: one that may be there already. None: a new one.
        total_steps: of the whole training; lets a run that is complete go on.
        data_dir: where the record waits until it is stored.
        script: None: the run is not that of the whole process, and ends with `finish` only.

    Raises: as `init`.
    """
    endpoints = endpoints_module.find(data_dir)
    read = configured.read(fields)
    redactor = Redactor(read.configuration.not_secret)
    recorded = configurations.redact(read.configuration, redactor)
    if which is not None and which.name != which.runtime_id and "id" not in recorded.labels:
        recorded.labels["id"] = which.name
    begun = _begin(which, recorded, total_steps, endpoints) if which is not None else None
    launch = AttemptLaunch(
        runtime_id=runtime_id or new_runtime_id(),
        trial=1,
        attempt=1,
        configuration=recorded,
        parameters=read.said.parameters,
        nats_url=endpoints.nats,
    )
    besides = read.besides
    if begun is not None:
        _take_over(launch, begun.launch)
        besides = read.new_to(launch.configuration) if launch.attempt > 1 else besides
    try:
        place = _lay_out(launch, Path(endpoints.data_dir), endpoints, begun)
    except OSError as error:
        place = _lay_out(launch, Path(tempfile.mkdtemp(prefix="milepost-")), endpoints, begun)
        other = place.endpoints.data_dir
        besides.notes["data folder"] = (
            f"the data folder {endpoints.data_dir} cannot be written ({error}); what is not sent waits in {other}, which "
            f"may be gone after a restart of this machine: `milepost sync --data-dir {other}` sends it"
        )
    if script is None or begun is not None or script.group.link is not None or not _is_child_of_multiprocessing():
        # A child may turn out to be a process of a group: torch.multiprocessing starts them, and the group comes later.
        place.decided.set()
    if script is not None:
        os.environ[LEADER_VARIABLE] = str(place.directory)
        if script.group.link is not None:
            script.group.link.announce(launch)
    run = ExternalRun(place, launch, script)
    if redactor.found:
        run.warn("redacted", redactor.said)
    run.begin(besides, which.step if which is not None else None)
    return run


def _begin(
    which: Wanted, configuration: RuntimeConfiguration, total_steps: int | None, endpoints: Endpoints
) -> BeginAttemptResponse | None:
    """See `beginning.begin`, which takes a client of the services to import."""
    from milepost.training.script.beginning import begin

    return begin(which, configuration, total_steps, endpoints)


def _take_over(launch: AttemptLaunch, told: AttemptLaunch) -> None:
    """Learn what the attempt is that this process runs. Parameters that were given now stay as they were given."""
    launch.runtime_id, launch.attempt = told.runtime_id, told.attempt
    launch.configuration.CopyFrom(told.configuration)
    given_now = dict(launch.parameters)
    launch.parameters.update({**told.parameters, **given_now})
    launch.snapshot_id, launch.snapshot_step = told.snapshot_id, told.snapshot_step
    launch.snapshot_uri, launch.manifest_sha256 = told.snapshot_uri, told.manifest_sha256


def _lay_out(launch: AttemptLaunch, folder: Path, endpoints: Endpoints, begun: BeginAttemptResponse | None) -> Place:
    """Write down in a data folder what is to be recorded.

    Raises:
        OSError: the folder cannot be made, or not be written.
    """
    trial_folder = folder / "runtimes" / launch.runtime_id / "trial-1"
    directory = trial_folder / f"attempt-{launch.attempt}"
    directory.mkdir(parents=True, exist_ok=True)
    launch.attempt_directory = str(directory)
    launch.snapshot_storage_uri = (trial_folder / "snapshots").as_uri()
    key = AttemptKey(launch.runtime_id, 1, launch.attempt)
    place = Place(key, directory, replace(endpoints, data_dir=str(folder)))
    if begun is not None and begun.nats_credentials:
        write_private(place.credentials, begun.nats_credentials.encode())
        place.known.set()
    elif find_authority(keys_dir(endpoints)) is not None:
        place.find_user()
    if begun is None:
        request = StartRuntimeRequest(
            configuration=launch.configuration,
            runtime_id=launch.runtime_id,
            request_id=launch.runtime_id,
            process=own_identity(),
        )
        files.write(place.start_file, json_format.MessageToJson(request, preserving_proto_field_name=True))
    kept = _without_secrets(launch)
    files.write(directory / "attempt.json", json_format.MessageToJson(kept, preserving_proto_field_name=True))
    return place


def _without_secrets(launch: AttemptLaunch) -> AttemptLaunch:
    """Return what may be written to disk of what the script is told."""
    kept = AttemptLaunch()
    kept.CopyFrom(launch)
    kept.parameters.update(Redactor(launch.configuration.not_secret).scalars(launch.parameters))
    return kept


def _find_group() -> Group:
    link = find_link()
    return Group(link.place if link is not None else place_of_this_process(), link)


def _is_child_of_multiprocessing() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def keys_dir(endpoints: Endpoints) -> Path:
    named = os.environ.get("MILEPOST_KEYS_DIR")
    return Path(named) if named else Path(endpoints.data_dir) / "keys"


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
    return _run is None or _run.finished or (isinstance(_run, ExternalRun) and _run.deferred)


def log_values(values: Mapping[str, Any], step: int | None = None, commit: bool = True) -> None:
    """Log values of this process's trial; see `Trial.log`."""
    current().log(values, step, commit)


def finish(exit_code: int | None = None) -> None:
    """End this process's trial. Without a run, and repeated, it does nothing.

    What the process does afterwards is not the run's any more, also if it fails.

    Args:
        exit_code: 0: Completed; any other: Failed. Default: Completed, unless an error is being handled: that is how
            the run ended then.
    """
    if _run is not None:
        _run.finish(exit_code)

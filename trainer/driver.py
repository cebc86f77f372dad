"""The driver: the one process that appends the events of its attempt.

It starts the instances at once and connects to the log beside that, so a broker that is away delays nothing. What it
has to append, and the log lines it collects, wait in its spool meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost import files
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.api.training.v1.training_pb2 import (
    AttemptLaunch,
    EvaluateInstruction,
    InstanceInstruction,
    InstanceReport,
    RankValues,
    SnapshotInstruction,
    StacksInstruction,
    SteerInstruction,
    StopInstruction,
)
from milepost.domain import steering
from milepost.domain import trial as domain
from milepost.eventlog import EventLogError, LogUnavailable, RecordedEvent, control_subject
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation import observability
from milepost.snapshots import confined
from milepost.storage import Folder
from milepost.training.saving.retention import Retention
from milepost.training.spooling.journal import (
    AttemptJournal,
    AttemptKey,
    Fenced,
    driver_sender,
    driver_spool_path,
    with_attempt,
)
from milepost.training.spooling.log_batches import LogBatcher
from milepost.training.spooling.recovery import send_earlier_attempts
from milepost.training.spooling.sender import TelemetrySender, TokenBucket
from milepost.training.spooling.spool import Dropped, Filling, Spool
from trainer.abandoned import remove_abandoned
from trainer.addresses import own_address
from trainer.coordinator import AgreementCoordinator
from trainer.exits import TERMINATED, Ending, memory_kills
from trainer.group import LocalWorker, Workers
from trainer.instances import InstanceServer
from trainer.isolation import redact_payload, redactor
from trainer.means import MeansRelay
from trainer.on_ray.announcer import GROUP_RANK
from trainer.on_ray.ray_group import RayGroup

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
LOG_FLUSH_SECONDS = 0.25
FIRST_STEP_POLL_SECONDS = 0.05
# The heads are read again at least this often, should a message about them have been lost.
WATCH_SECONDS = 15.0
# How long the end waits for the broker to take the last logs, and for the last events to be in the log. Events wait
# longer: nobody else knows how the attempt ended. What is left then is in the spool and in `exit.json`.
LOG_DRAIN_SECONDS = 15.0
EVENT_DRAIN_SECONDS = 3600.0
# Exit status of a driver whose attempt may write nothing more.
STALE = 3
# Where it is set, signals are the notice of a cluster that will end the job; so long before it does it sends SIGUSR1.
NOTICE_VARIABLE = "MILEPOST_NOTICE_SECONDS"
# Of them for what follows the stop, and what SIGTERM gives in all: Slurm's KillWait is 30 s, if nobody changed it.
CLOSING_SECONDS = 10.0
TERMINATION_SECONDS = 25.0


def own_snapshot_uri(launch: AttemptLaunch) -> str:
    """Return where the snapshot is that an attempt goes on from; empty: it is none of its trial.

    What a branch begins at may carry points that its parent has not sent. These only its parent may send.
    """
    return "" if launch.origin_step and launch.snapshot_step == launch.origin_step else launch.snapshot_uri


class Driver:
    """Drives one attempt from its start to its end."""

    def __init__(self, launch: AttemptLaunch, launch_file: Path) -> None:
        self._launch = launch
        self._launch_file = launch_file
        self._directory = Path(launch.attempt_directory)
        self._key = AttemptKey(launch.runtime_id, launch.trial, launch.attempt)
        self._spool = Spool(
            driver_spool_path(self._directory),
            driver_sender(self._key),
            on_drop=self._on_drop,
            on_filling=self._on_filling,
        )
        self._logs = LogBatcher(self._spool)
        self._sender = TelemetrySender(self._spool, logs=TokenBucket())
        self._redact = redactor(launch.configuration, os.environ)
        workers = launch.configuration.resources.workers
        self._ranks = max(1, workers)
        self._workers: Workers = (
            RayGroup(self._directory, workers, self._add_line)
            if workers
            else LocalWorker(self._directory, self._add_line)
        )
        self._instances = InstanceServer(self._on_report, self._on_gone, self._workers.read_output)
        self._coordinator = AgreementCoordinator(workers, self._instances.send_to) if workers > 1 else None
        self._means = MeansRelay(workers, self._send_means) if workers > 1 else None
        self._retention = Retention(
            launch.configuration.snapshots, launch.attempt, launch.snapshot_id, self._record, self._confine
        )
        self._journal: AttemptJournal | None = None
        self._early: list[tuple[Message, datetime, str]] = []
        self._connection: Connection | None = None
        self._stop: domain.StopOrder | None = None
        self._stop_event_id = ""
        # Snapshots that were asked for until now, and the event that did so last.
        self._snapshot_requests = 0
        self._snapshot_event_id = ""
        # The same of evaluations.
        self._evaluation_requests = 0
        self._evaluation_event_id = ""
        # And of stacks.
        self._stacks_requests = 0
        self._stacks_event_id = ""
        # The number of the last request for other values that was passed on, or that the attempt was launched with; and
        # the events that asked, by number.
        self._steered = max((order.number for order in launch.steers), default=0)
        self._steer_events: dict[int, str] = {}
        self._killed = False
        # The signal by which the cluster said that it will end the job. 0: none came.
        self._notice = 0
        self._memory_kills = memory_kills()

    async def run(self) -> int:
        """Run the attempt. Returns the exit status of this process."""
        address = await self._instances.start(own_address(os.environ.get("RAY_ADDRESS", "")))
        self._heed_notices()
        log_ready = asyncio.Event()
        activities = [asyncio.create_task(work) for work in (self._run_log(log_ready), self._run_logs())]
        if observability.is_tracing():
            activities.append(asyncio.create_task(self._trace_first_step()))
        try:
            ending = await self._run_worker(address)
            return await self._conclude(self._as_interrupted(ending), log_ready)
        except Fenced:
            self._leave_fenced()
            return STALE
        finally:
            await self._workers.close()
            for activity in activities:
                activity.cancel()
            await asyncio.gather(*activities, return_exceptions=True)
            await self._instances.close()
            if self._means is not None:
                self._means.close()
            if self._connection is not None:
                await self._connection.close()
            self._spool.close()

    # --- notices of a cluster

    def _heed_notices(self) -> None:
        """Have signals be the word of a cluster that will end this job."""
        if NOTICE_VARIABLE not in os.environ:
            return
        for number in (signal.SIGUSR1, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_notice, number)

    def _on_notice(self, number: signal.Signals) -> None:
        """Have the loop stop as on request, with a snapshot: the run goes on from it in another job."""
        if self._notice:
            return
        self._notice = number
        given = float(os.environ[NOTICE_VARIABLE]) if number == signal.SIGUSR1 else TERMINATION_SECONDS
        log.warning("attempt.notice", extra={"signal": number.name, "seconds": given})
        if self._stop is None:
            deadline = time.time() + max(given - CLOSING_SECONDS, CLOSING_SECONDS)
            self._order_stop(StopInstruction(deadline_ms=int(deadline * 1000)))

    def _as_interrupted(self, ending: Ending) -> Ending:
        """Say of a stop that nobody has asked for but the cluster what it is."""
        if not self._notice or self._stop is not None or ending.outcome != facts.ATTEMPT_OUTCOME_STOPPED:
            return ending
        detail = f"its job came to its time limit; stopped before, after step {ending.last_step:,}"
        return replace(ending, outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=common.EXIT_CAUSE_TIME_LIMIT, detail=detail)

    async def _trace_first_step(self) -> None:
        """Close the trace of a start with its last hop: from the driver's begin to the end of the first step."""
        began, first = time.time_ns(), self._launch.snapshot_step
        while self._workers.last_step() <= first:
            await asyncio.sleep(FIRST_STEP_POLL_SECONDS)
        observability.record_span("attempt.first_step", self._launch.traceparent, began)

    # --- the worker

    async def _run_worker(self, address: str) -> Ending:
        """Start the instance and wait for its end."""
        try:
            await self._workers.start(self._environment(address), self._folder())
        except OSError as error:
            detail = f"the process could not be started: {error}"
            return Ending(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_LAUNCH_FAILED, detail, 0)
        exited = asyncio.create_task(self._workers.wait())
        fenced = asyncio.create_task(self._wait_fenced())
        await asyncio.wait({exited, fenced}, return_when=asyncio.FIRST_COMPLETED)
        if not exited.done():
            exited.cancel()
            raise Fenced
        fenced.cancel()
        exited.result()
        memory_killed = memory_kills() > self._memory_kills
        self._workers.kill()
        await self._instances.wait_read(5.0)
        ending, exits = self._workers.conclude(memory_killed=memory_killed, ordered_kill=self._killed)
        for one in exits:
            one.attempt = self._key.attempt
            self._record(one)
        return ending

    def _environment(self, address: str) -> dict[str, str]:
        given = {
            name: value.value
            for name, value in self._launch.configuration.environment.items()
            if value.HasField("value")
        }
        return {
            **given,
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "MILEPOST_LAUNCH": str(self._launch_file),
            "MILEPOST_DRIVER": address,
            "MILEPOST_DRIVER_TOKEN": self._instances.token,
        }

    def _folder(self) -> Path:
        """Return the folder that relative paths of the user's code start from."""
        for place in (self._launch.code_directory, self._launch.configuration.working_directory):
            if place and Path(place).is_dir():
                return Path(place)
        return self._directory

    # --- reports of instances

    def _on_report(self, report: InstanceReport) -> None:
        kind = report.WhichOneof("report")
        if kind == "event":
            name = report.event.WhichOneof("payload")
            if name is None:
                log.warning("instance.unknown_event", extra={"rank": report.rank})
                return
            payload = with_attempt(getattr(report.event, name), self._key.attempt)
            self._record(payload, datetime.fromtimestamp(report.time_ms / 1000, UTC))
        elif kind == "finished" and self._is_rank(report.rank):
            redact_payload(report.finished, self._redact)
            self._workers.finished(report.rank, report.finished)
            if self._coordinator is not None:
                self._coordinator.leave(report.rank)
        elif kind == "hello":
            log.info("instance.connected", extra={"rank": report.rank, "pid": report.hello.process_id})
            if self._is_rank(report.rank):
                self._workers.connected(report.rank, report.hello)
                if self._coordinator is not None:
                    self._coordinator.join(report.rank)
        elif kind == "group_ended" and report.rank == GROUP_RANK:
            redact_payload(report.group_ended, self._redact)
            self._workers.ended(report.group_ended)
        elif kind == "values":
            if self._means is not None:
                self._means.receive(report.rank, report.values)
        elif kind == "snapshot_part":
            self._instances.send_to(0, InstanceInstruction(snapshot_part=report.snapshot_part))
        elif self._coordinator is not None and kind == "stop_proposal":
            self._coordinator.offer(report.rank, report.stop_proposal)
        elif self._coordinator is not None and kind == "snapshot_wanted":
            self._coordinator.snapshot()

    def _is_rank(self, rank: int) -> bool:
        return 0 <= rank < self._ranks

    def _on_gone(self, rank: int) -> None:
        if self._is_rank(rank):
            self._workers.gone(rank)
            if self._coordinator is not None:
                self._coordinator.leave(rank)
            if self._means is not None:
                self._means.leave(rank)

    def _send_means(self, values: RankValues) -> None:
        self._instances.send_to(0, InstanceInstruction(values=values))

    def _add_line(self, line: LogLine) -> None:
        line.text = self._redact(line.text)
        if self._logs.add(line):
            self._flush_logs()

    def _record(self, payload: Message, time: datetime | None = None) -> None:
        """Have a fact appended, with what is behind it."""
        redact_payload(payload, self._redact)
        moment = time or datetime.now(UTC)
        if self._journal is None:
            self._early.append((payload, moment, self._cause_of(payload)))
        else:
            self._journal.record(payload, cause=self._cause_of(payload), time=moment)

    def _cause_of(self, payload: Message) -> str:
        stopping = (
            isinstance(payload, facts.SnapshotStarted | facts.SnapshotCommitted)
            and payload.reason == facts.SNAPSHOT_REASON_STOP
        )
        ending = isinstance(payload, facts.AttemptEnded) and payload.outcome == facts.ATTEMPT_OUTCOME_STOPPED
        exiting = isinstance(payload, facts.InstanceExited) and payload.cause in (
            common.EXIT_CAUSE_STOPPED,
            common.EXIT_CAUSE_KILLED,
        )
        if self._stop_event_id and (stopping or ending or exiting):
            return self._stop_event_id
        if isinstance(payload, facts.ParametersChanged | facts.ParametersNotChanged):
            return self._steer_events.get(payload.number, self._launch.launch_event_id)
        answers = (facts.SnapshotStarted, facts.SnapshotCommitted)
        if isinstance(payload, answers) and payload.reason == facts.SNAPSHOT_REASON_REQUEST:
            return self._snapshot_event_id or self._launch.launch_event_id
        evaluated = isinstance(payload, facts.EvaluationStarted | facts.EvaluationCompleted) and payload.requested
        if evaluated or isinstance(payload, facts.EvaluationRefused):
            return self._evaluation_event_id or self._launch.launch_event_id
        if isinstance(payload, facts.StacksRecorded) and payload.requested:
            return self._stacks_event_id or self._launch.launch_event_id
        return self._launch.launch_event_id

    def _on_drop(self, dropped: Dropped) -> None:
        self._record(dropped.fact(self._key.attempt))

    def _on_filling(self, filling: Filling) -> None:
        self._record(filling.fact(self._key.attempt, 0))

    # --- the log

    async def _run_log(self, ready: asyncio.Event) -> None:
        """Connect, append and watch until cancelled."""
        self._connection = connection = await self._connect()
        self._journal = AttemptJournal(
            JetStreamLog(connection, direct=bool(self._launch.nats_credentials_file)),
            self._key,
            self._spool,
            self._on_change,
            self._launch.traceparent,
        )
        for payload, moment, cause in self._early:
            self._journal.record(payload, cause=cause, time=moment)
        self._early.clear()
        ready.set()
        background: list[Coroutine[Any, Any, None]] = [
            self._watch(connection, self._journal),
            self._sender.run(connection),
            send_earlier_attempts(connection, self._directory, own_snapshot_uri(self._launch)),
        ]
        tasks = [asyncio.create_task(work) for work in background]
        try:
            await self._journal.run()
        except Fenced:
            log.info("attempt.fenced", extra={"attempt": self._key.source})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self) -> Connection:
        said = False
        credentials = self._launch.nats_credentials_file
        while True:
            try:
                return await connect(
                    self._launch.nats_url,
                    name=f"trainer {self._key.source}",
                    timeout_seconds=CONNECT_SECONDS,
                    credentials=Path(credentials) if credentials else None,
                )
            except LogUnavailable as error:
                if not said:
                    log.warning("log.unavailable", extra={"error": str(error)})
                said = True

    async def _watch(self, connection: Connection, journal: AttemptJournal) -> None:
        """See every event that others write about this trial."""
        moved = asyncio.Event()
        connection.on_renewal(moved.set)
        subject = f"committed.{control_subject(self._key.runtime_id, self._key.trial)}"
        subscription = await connection.subscribe(subject)
        removal: asyncio.Task[None] | None = None
        while True:
            try:
                await journal.reload()
                removal = removal or asyncio.create_task(self._remove_abandoned())
            except EventLogError as error:
                log.warning("log.unreadable", extra={"error": str(error)})
            await subscription.next_batch(1.0 if journal.trouble else WATCH_SECONDS)

    def _confine(self, uri: str, snapshot_id: str) -> Folder:
        launch = self._launch
        return confined(uri, snapshot_id, launch.runtime_id, launch.trial, launch.snapshot_storage_uri)

    async def _remove_abandoned(self) -> None:
        """Once the whole history of the trial is known: make room of what earlier attempts did not finish."""
        uri, committed = self._launch.snapshot_storage_uri, frozenset(self._retention.committed)
        await asyncio.to_thread(remove_abandoned, uri, self._key.attempt, committed)

    def _on_change(self, state: domain.Trial, event: RecordedEvent) -> None:
        self._retention.apply(event)
        self._steer_events.setdefault(state.steering.count, event.id)
        active = state.active
        if active is None or active.attempt != self._key.attempt:
            return
        if active.snapshot_requests > self._snapshot_requests:
            self._snapshot_requests, self._snapshot_event_id = active.snapshot_requests, event.id
            self._order_snapshot()
        if active.evaluation_requests > self._evaluation_requests:
            self._evaluation_requests, self._evaluation_event_id = active.evaluation_requests, event.id
            self._order_evaluation()
        if active.stalls.requests > self._stacks_requests:
            self._stacks_requests, self._stacks_event_id = active.stalls.requests, event.id
            # Each for itself: ranks that hang agree on nothing.
            self._instances.send(InstanceInstruction(stacks=StacksInstruction()))
        for request in state.steering.waiting:
            if request.number > self._steered:
                self._steered = request.number
                self._order_change(steering.instruction(request))
        if active.stop is None or active.stop == self._stop:
            return
        self._stop, self._stop_event_id = active.stop, event.id
        if active.stop.mode == common.STOP_MODE_ABRUPT:
            self._killed = True
            self._workers.kill()
        else:
            self._order_stop(StopInstruction(deadline_ms=int(active.stop.deadline_time.timestamp() * 1000)))

    def _order_stop(self, order: StopInstruction) -> None:
        if self._coordinator is not None:
            self._coordinator.stop(order)
        else:
            self._instances.send(InstanceInstruction(stop=order))

    def _order_snapshot(self) -> None:
        if self._coordinator is not None:
            self._coordinator.snapshot(requested=True)
        else:
            self._instances.send(InstanceInstruction(snapshot=SnapshotInstruction(requested=True)))

    def _order_evaluation(self) -> None:
        if self._coordinator is not None:
            self._coordinator.evaluate()
        else:
            self._instances.send(InstanceInstruction(evaluate=EvaluateInstruction()))

    def _order_change(self, order: SteerInstruction) -> None:
        if self._coordinator is not None:
            self._coordinator.steer(order)
        else:
            self._instances.send(InstanceInstruction(steer=order))

    async def _wait_fenced(self) -> None:
        while self._journal is None:
            await asyncio.sleep(0.1)
        await self._journal.fenced.wait()

    # --- logs

    async def _run_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_FLUSH_SECONDS)
            self._flush_logs()

    def _flush_logs(self) -> None:
        if self._logs.flush():
            self._sender.wake()

    # --- the end

    async def _conclude(self, ending: Ending, log_ready: asyncio.Event) -> int:
        """Drain the logs, append the last word, and leave it in a file too."""
        self._flush_logs()
        if log_ready.is_set():
            await self._sender.drain(LOG_DRAIN_SECONDS)
            assert self._journal is not None
            # What follows from the last events, such as the deletion of a snapshot, comes before the end.
            await self._journal.wait_appended(LOG_DRAIN_SECONDS)
        if self._notice == signal.SIGTERM and self._stop is None and ending.outcome == facts.ATTEMPT_OUTCOME_FAILED:
            # Preempted, cancelled, or at its time limit: the cluster knows, and the scheduler asks it. The signal came to
            # every process, so an error of the loop is its consequence.
            return TERMINATED
        ended = facts.AttemptEnded(
            attempt=self._key.attempt,
            outcome=ending.outcome,
            cause=ending.cause,
            detail=ending.detail,
            last_step=ending.last_step,
            unsent_batch_count=ending.unsent_batch_count,
        )
        self._record(ended)
        self._write_exit(ended)
        async with asyncio.timeout(EVENT_DRAIN_SECONDS):
            await log_ready.wait()
        assert self._journal is not None
        if not await self._journal.wait_appended(EVENT_DRAIN_SECONDS) and self._journal.fenced.is_set():
            raise Fenced
        await self._sender.drain(LOG_DRAIN_SECONDS)
        await self._retention.carry_out()
        return 0

    def _write_exit(self, ended: facts.AttemptEnded) -> None:
        text = json.dumps(json_format.MessageToDict(ended, preserving_proto_field_name=True), indent=1)
        files.write(self._directory / "exit.json", text + "\n")

    def _leave_fenced(self) -> None:
        self._workers.kill()
        if not (self._directory / "exit.json").exists():
            ended = facts.AttemptEnded(
                attempt=self._key.attempt,
                outcome=facts.ATTEMPT_OUTCOME_FAILED,
                cause=common.EXIT_CAUSE_FENCED,
                detail=f"the attempt was fenced; its process on {socket.gethostname()} left",
                last_step=self._workers.last_step(),
            )
            self._write_exit(ended)

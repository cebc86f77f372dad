"""Attempts for tests: a trial in a real log, and a real driver on it, without the services.

The test plays the runtime service (it appends what that would append) and, where it asks for it, the metric writer
(it keeps every batch and says that it is stored).
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost.api.config.v1 import configuration_pb2 as configuration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import LogBatch, LogLine, StepBatch, Stored, StoredRange
from milepost.api.training.v1.training_pb2 import AttemptLaunch, SteeredValue
from milepost.domain import steering
from milepost.domain import trial as domain
from milepost.domain.decider import Fact, fold
from milepost.domain.steering import Change
from milepost.eventlog import NewEvent, RecordedEvent, control_subject, parse_subject, trial_chain
from milepost.eventlog.codec import decode, encode
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.telemetry import Telemetry, stored_subject
from milepost.ids import new_event_id, new_runtime_id

ROOT = Path(__file__).resolve().parent.parent.parent.parent
SECONDS = 60.0


@dataclass
class Writer:
    """Keeps what arrives on TELEMETRY for one runtime (`*`: the only one), and says so, as the metric writer does."""

    connection: Connection
    runtime_id: str
    step_batches: list[StepBatch] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lines: list[LogLine] = field(default_factory=list)
    numbers: dict[tuple[int, str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    duplicates: int = 0
    watched: bool = False
    # The runtime that sent last.
    seen: str = ""
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Writer:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async with Telemetry(self.connection).consume(subjects=[f"telemetry.{self.runtime_id}.>"]) as reader:
            while True:
                for message in await reader.next_batch(1000, 0.2):
                    _, self.seen, _, attempt, kind = message.subject.split(".")
                    self._keep(kind, int(attempt), message.headers, message.body)
                await self._say_stored()

    def _keep(self, kind: str, attempt: int, headers: Any, body: bytes) -> None:
        numbers = self.numbers[attempt, headers["mp-source"], kind]
        number = int(headers["mp-number"])
        if number in numbers:
            self.duplicates += 1
            return
        numbers.add(number)
        if kind == "steps":
            self.step_batches.append(StepBatch.FromString(body))
            self.headers.append(dict(headers))
        else:
            self.lines += LogBatch.FromString(body).lines

    async def _say_stored(self) -> None:
        by_attempt: dict[int, Stored] = defaultdict(lambda: Stored(watched=self.watched))
        for (attempt, source, kind), numbers in self.numbers.items():
            for number in numbers:
                by_attempt[attempt].ranges.append(StoredRange(source=source, kind=kind, first=number, last=number))
        for attempt, stored in by_attempt.items():
            await self.connection.publish(stored_subject(self.seen, 1, attempt), stored.SerializeToString())

    def points(self, key: str) -> dict[int, dict[int, float]]:
        """attempt -> step -> value of a series."""
        found: dict[int, dict[int, float]] = defaultdict(dict)
        for batch in self.step_batches:
            for group in batch.groups:
                steps = array("q", group.steps)
                for column in group.columns:
                    if column.key == key:
                        for step, value in zip(steps, array("d", column.values), strict=True):
                            assert step not in found[batch.sender.attempt], f"step {step} twice"
                            found[batch.sender.attempt][step] = value
        return found

    def lineage(self, key: str, state: domain.Trial) -> dict[int, float]:
        """step -> value, from the attempt that owns each step."""
        return {
            step: value
            for attempt, values in sorted(self.points(key).items())
            for step, value in sorted(values.items())
            if domain.owner_of(state.lineage, step) == attempt
        }

    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


class TrialOnTest:
    """One trial in the log, and its attempts on disk."""

    def __init__(self, connection: Connection, nats_url: str, folder: Path) -> None:
        self.connection = connection
        self.log = JetStreamLog(connection)
        self.nats_url = nats_url
        self.folder = folder
        self.runtime_id = new_runtime_id()
        self.chain = trial_chain(self.runtime_id, 1)

    async def append(self, *payloads: Message) -> None:
        """Append facts of the runtime service, whatever the trial says to them."""
        while True:
            events = [self._event(payload) for payload in payloads]
            try:
                await self.log.append(events, [await self.log.head(self.chain)])
                return
            except Exception as error:
                if type(error).__name__ != "WrongExpectedSequence":
                    raise

    def _event(self, payload: Message) -> NewEvent:
        ce_type, body = encode(payload)
        return NewEvent(
            subject=control_subject(self.runtime_id, 1),
            type=ce_type,
            body=body,
            id=new_event_id(),
            time=datetime.now(UTC),
            source="/tests",
            actor="test",
        )

    async def create(self, parameters: dict[str, Any], origin: common.SnapshotOrigin | None = None) -> None:
        """Create the trial; with an origin it is a branch."""
        texts = {name: json.dumps(value) for name, value in parameters.items()}
        await self.append(facts.TrialCreated(runtime_id=self.runtime_id, trial=1, parameters=texts, origin=origin))

    async def launch(
        self,
        entrypoint: str,
        parameters: dict[str, Any],
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        code: Path | None = None,
        workers: int = 0,
        gpus: Sequence[int] = (),
        keep_last: int = 3,
        memory_gigabytes: float | None = None,
        changes: Sequence[Change] | None = None,
        stall_seconds: float = 0.0,
    ) -> Attempt:
        """Launch the next attempt, from the newest snapshot if there is one.

        Args:
            changes: of steerable values. None: those that attempts of this trial have made.
        """
        state = await self.state()
        number = state.attempt + 1
        snapshot = next(iter(domain.restorable_snapshots(state)), domain.origin_record(state))
        launched = facts.AttemptLaunched(attempt=number)
        directory = self.folder / self.runtime_id / "trial-1" / f"attempt-{number}"
        launch = AttemptLaunch(
            runtime_id=self.runtime_id,
            trial=1,
            attempt=number,
            configuration=configuration.RuntimeConfiguration(
                name="test",
                entrypoint=entrypoint,
                resources=configuration.Resources(
                    workers=workers,
                    cpus_per_worker=1,
                    gpus_per_worker=len(gpus) / max(1, workers),
                    memory_gigabytes_per_worker=memory_gigabytes,
                ),
                limits=configuration.Limits(stall_seconds=stall_seconds),
                snapshots=configuration.SnapshotPolicy(
                    every_steps=every_steps, every_minutes=every_minutes, keep_last=keep_last
                ),
            ),
            parameters={name: json.dumps(value) for name, value in parameters.items()},
            nats_url=self.nats_url,
            attempt_directory=str(directory),
            snapshot_storage_uri=(directory.parent / "snapshots").as_uri(),
            code_directory=str(code) if code else "",
            launch_event_id="launch",
            origin_step=domain.origin_step(state),
            gpus=gpus,
            steered=[
                SteeredValue(step=change.step, name=change.name, value=change.value)
                for change in (state.steering.changes if changes is None else changes)
            ],
            steers=[steering.instruction(request) for request in state.steering.waiting],
        )
        if snapshot is not None:
            launched.snapshot_id = launch.snapshot_id = snapshot.snapshot_id
            launched.snapshot_step = launch.snapshot_step = snapshot.step
            launched.snapshot_uri = launch.snapshot_uri = snapshot.uri
            launch.manifest_sha256 = snapshot.manifest_sha256
        await self.append(launched)
        directory.mkdir(parents=True)
        (directory / "attempt.json").write_text(json_format.MessageToJson(launch, preserving_proto_field_name=True))
        return Attempt(self, number, directory)

    async def events(self) -> list[RecordedEvent]:
        return await self.log.read_chain(self.chain)

    async def payloads(self, kind: type[Message]) -> list[Any]:
        found = [decode(event.type, event.body) for event in await self.events()]
        return [payload for payload in found if isinstance(payload, kind)]

    async def state(self) -> domain.Trial:
        events = await self.events()
        return fold(
            domain.evolve,
            domain.initial,
            (Fact(decode(e.type, e.body), parse_subject(e.subject).attempt) for e in events),
        )

    async def order_stop(self, mode: common.StopMode = common.STOP_MODE_GRACEFUL, seconds: float = 60) -> None:
        deadline = datetime.now(UTC) + timedelta(seconds=seconds)
        order = facts.TrialStopRequested(mode=mode)
        order.deadline_time.FromDatetime(deadline)
        await self.append(order)

    async def steer(self, **values: Any) -> None:
        """Ask for other values of steerables."""
        state = await self.state()
        (asked,) = domain.decide(state, domain.SteerTrial(values, "user:ada"))
        await self.append(asked)

    async def crash(self, attempt: Attempt) -> None:
        """Kill an attempt with all that it started, and do what the runtime service does then."""
        attempt.kill()
        fenced = facts.AttemptFenced(attempt=attempt.number, reason=facts.FENCE_REASON_EXITED)
        await self.append(fenced)
        await self.conclude(facts.TrialStopped(attempt=attempt.number))

    async def conclude(self, payload: Message) -> None:
        """Do what the runtime service does when an attempt is over, and ask for a resume."""
        await self.append(payload, facts.TrialResumeRequested())


class Attempt:
    """One attempt and the process of its driver."""

    def __init__(self, trial: TrialOnTest, number: int, directory: Path) -> None:
        self.trial = trial
        self.number = number
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, module: str = "trainer", **environment: str) -> None:
        with (self.directory / "driver.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, "--launch", str(self.directory / "attempt.json")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
                start_new_session=True,
            )

    @property
    def driver_log(self) -> str:
        return (self.directory / "driver.log").read_text()

    async def wait(self, seconds: float = SECONDS) -> int:
        """Wait until the driver has ended. Returns its exit status."""
        assert self.process is not None
        deadline = asyncio.get_running_loop().time() + seconds
        while self.process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                self.kill()
                raise AssertionError(f"the driver did not end within {seconds:g} s: {self.driver_log}")
            await asyncio.sleep(0.05)
        return self.process.returncode

    async def wait_for(self, kind: type[Message], seconds: float = SECONDS, count: int = 1) -> list[Any]:
        """Wait until the log has so many facts of a kind by this attempt."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            found = [p for p in await self.trial.payloads(kind) if getattr(p, "attempt", 0) == self.number]
            if len(found) >= count:
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"no {kind.__name__} within {seconds:g} s: {self.driver_log}")
            await asyncio.sleep(0.05)

    async def ended(self) -> facts.AttemptEnded:
        ends = [e for e in await self.trial.payloads(facts.AttemptEnded) if e.attempt == self.number]
        assert len(ends) == 1, self.driver_log
        return ends[0]

    def kill(self) -> None:
        """End the driver and all that it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait(10)


def same_bits(one: dict[int, float], other: dict[int, float]) -> bool:
    """Compare two curves bit for bit, NaN included."""
    return one.keys() == other.keys() and all(
        array("d", [one[step]]) == array("d", [other[step]]) or (math.isnan(one[step]) and math.isnan(other[step]))
        for step in one
    )

"""A driver without a model: plays the trainer's part through the real log, for tests of the runtime service.

`python tests/support/trainers/scripted_trainer.py --launch attempt.json`. Parameters: steps, step_seconds,
snapshot_every, fail_at (step), fail_attempts (how many attempts fail), how (exception, deterministic, exit, kill,
silent), stop_seconds, beat_seconds, claims (where it says that its snapshots are), evaluate_every (steps; the value is x).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost import ids, snapshots
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.domain import trial
from milepost.domain.decider import Fact
from milepost.eventlog import (
    Head,
    NewEvent,
    WrongExpectedSequence,
    attempt_subject,
    codec,
    control_subject,
    events_of,
    parse_subject,
    trial_chain,
)
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.storage import local_path


class Driver:
    def __init__(self, launch: AttemptLaunch) -> None:
        self.launch = launch
        self.parameters = {name: json.loads(text) for name, text in launch.parameters.items()}
        self.folder = Path(launch.attempt_directory)
        self.stop: facts.TrialStopRequested | None = None
        self.step = launch.snapshot_step

    def parameter(self, name: str, default: Any) -> Any:
        return self.parameters.get(name, default)

    async def run(self) -> int:
        self.connection = await connect(self.launch.nats_url, name="scripted trainer")
        self.log = JetStreamLog(self.connection)
        listener = asyncio.create_task(self.listen())
        beats = asyncio.create_task(self.beat())
        try:
            return await self.train()
        except trial.StaleAttempt:
            self.leave(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_FENCED, "fenced")
            return 3
        finally:
            listener.cancel()
            beats.cancel()
            await self.log.close()
            await self.connection.close()

    async def record(self, payload: Message) -> None:
        """Decide on the trial's chain as an attempt does, and append."""
        while True:
            chain = trial_chain(self.launch.runtime_id, self.launch.trial)
            state, head = trial.initial, Head(chain)
            for event in await self.log.read_chain(chain):
                attempt = parse_subject(event.subject).attempt
                state = trial.evolve(state, Fact(codec.decode(event.type, event.body), attempt))
                head = event.head
            payloads = trial.decide(state, trial.Record(self.launch.attempt, payload))
            if not payloads:
                return
            ce_type, body = codec.encode(payloads[0])
            subject = attempt_subject(self.launch.runtime_id, self.launch.trial, self.launch.attempt)
            event_ = NewEvent(
                subject,
                ce_type,
                body,
                ids.new_event_id(),
                datetime.now(UTC),
                "/test",
                "service:trainer",
                self.launch.launch_event_id,
            )
            try:
                await self.log.append([event_], [head])
                return
            except WrongExpectedSequence:
                continue

    async def listen(self) -> None:
        control = control_subject(self.launch.runtime_id, self.launch.trial)
        async for event in events_of(self.log.follow(0, [control])):
            payload = codec.decode(event.type, event.body)
            if isinstance(payload, facts.AttemptLaunched) and payload.attempt == self.launch.attempt:
                self.stop = None
            if isinstance(payload, facts.TrialStopRequested):
                self.stop = payload

    async def beat(self) -> None:
        seconds = float(self.parameter("beat_seconds", 0.2))
        subject = f"heartbeat.{self.launch.runtime_id}.{self.launch.trial}.{self.launch.attempt}.0"
        while seconds:
            message = Heartbeat(
                rank=0, step=self.step, next_beat_ms=int(seconds * 1000), process_id=os.getpid(), phase="training"
            )
            await self.connection.publish(subject, message.SerializeToString())
            await asyncio.sleep(seconds)

    async def train(self) -> int:
        attempt = self.launch.attempt
        steps = int(self.parameter("steps", 10))
        await self.record(
            facts.AttemptStarted(
                attempt=attempt,
                restored_snapshot_id=self.launch.snapshot_id,
                restored_step=self.launch.snapshot_step,
                world_size=1,
            )
        )
        await self.record(
            facts.InstanceStarted(attempt=attempt, rank=0, host=socket.gethostname(), process_id=os.getpid())
        )
        await self.record(facts.InstanceReadinessChanged(attempt=attempt, rank=0, ready=True))
        await self.record(facts.PlanDeclared(attempt=attempt, total_steps=steps))
        while self.step < steps:
            await asyncio.sleep(float(self.parameter("step_seconds", 0.01)))
            if self.stop is not None and self.stop.mode != common.STOP_MODE_ABRUPT:
                return await self.obey()
            self.step += 1
            every = int(self.parameter("snapshot_every", 0))
            if every and self.step % every == 0:
                await self.snapshot(facts.SNAPSHOT_REASON_INTERVAL)
            every = int(self.parameter("evaluate_every", 0))
            if every and self.step % every == 0:
                await self.record(facts.EvaluationStarted(attempt=attempt, step=self.step))
                values = {"eval/loss": float(self.parameter("x", 0.0))}
                await self.record(facts.EvaluationCompleted(attempt=attempt, step=self.step, values=values))
            if self.step == self.parameter("fail_at", 0) and attempt <= self.parameter("fail_attempts", 1):
                return await self.fail()
        await self.end(facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED, "")
        return 0

    async def obey(self) -> int:
        await asyncio.sleep(float(self.parameter("stop_seconds", 0.0)))
        await self.snapshot(facts.SNAPSHOT_REASON_STOP)
        await self.end(facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED, "")
        return 0

    async def fail(self) -> int:
        how = self.parameter("how", "exception")
        if how == "exit":
            return 7
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "silent":
            os.kill(os.getpid(), signal.SIGSTOP)
        cause = common.EXIT_CAUSE_DETERMINISTIC if how == "deterministic" else common.EXIT_CAUSE_EXCEPTION
        await self.end(facts.ATTEMPT_OUTCOME_FAILED, cause, f"ValueError at step {self.step}")
        return 1

    async def snapshot(self, reason: facts.SnapshotReason) -> None:
        identifier = snapshots.snapshot_id(self.step, self.launch.attempt)
        storage = local_path(self.launch.snapshot_storage_uri)
        assert storage is not None, "it writes to this machine only"
        folder = storage / identifier
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.pt").write_text(f"state at {self.step}")
        files = {"state.pt": [snapshots.hash_file(folder / "state.pt"), (folder / "state.pt").stat().st_size]}
        manifest = snapshots.Manifest(
            self.launch.runtime_id,
            self.launch.trial,
            self.launch.attempt,
            identifier,
            self.step,
            0,
            self.step,
            1,
            files,
        ).encode()
        (folder / snapshots.MANIFEST).write_bytes(manifest)
        await self.record(
            facts.SnapshotCommitted(
                attempt=self.launch.attempt,
                snapshot_id=identifier,
                step=self.step,
                uri=self.parameter("claims", folder.as_uri()),
                manifest_sha256=hashlib.sha256(manifest).hexdigest(),
                byte_count=100,
                file_count=2,
                reason=reason,
            )
        )

    async def end(self, outcome: facts.AttemptOutcome, cause: common.ExitCause, detail: str) -> None:
        await self.record(facts.InstanceExited(attempt=self.launch.attempt, rank=0, cause=cause, detail=detail))
        ended = facts.AttemptEnded(
            attempt=self.launch.attempt, outcome=outcome, cause=cause, detail=detail, last_step=self.step
        )
        await self.record(ended)
        self.leave(outcome, cause, detail)

    def leave(self, outcome: facts.AttemptOutcome, cause: common.ExitCause, detail: str) -> None:
        ended = facts.AttemptEnded(
            attempt=self.launch.attempt, outcome=outcome, cause=cause, detail=detail, last_step=self.step
        )
        (self.folder / "exit.json").write_text(json_format.MessageToJson(ended, preserving_proto_field_name=True))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--launch", required=True)
    launch = json_format.Parse(Path(parser.parse_args().launch).read_text(), AttemptLaunch())
    # One line a start: a test counts them.
    with (Path(launch.attempt_directory) / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    return asyncio.run(Driver(launch).run())


if __name__ == "__main__":
    sys.exit(main())

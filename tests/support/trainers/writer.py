"""Writes real events and step batches, as the runtime service and an attempt would, to a real log."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog import (
    Head,
    NewEvent,
    attempt_subject,
    chain_of,
    codec,
    control_subject,
    runtime_subject,
)
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.telemetry import Telemetry, steps_subject
from milepost.ids import new_event_id


class Writer:
    """One runtime and its trials."""

    def __init__(self, connection: Connection, runtime_id: str) -> None:
        self.runtime_id = runtime_id
        self._log = JetStreamLog(connection)
        self._telemetry = Telemetry(connection)
        self._heads: dict[str, Head] = {}
        self._numbers: dict[tuple[int, int], int] = {}

    async def append(self, subject: str, *payloads: Message) -> int:
        """Append facts as one decision and return the sequence of the last."""
        chain = chain_of(subject)
        events = []
        for payload in payloads:
            kind, body = codec.encode(payload)
            events.append(NewEvent(subject, kind, body, new_event_id(), datetime.now(UTC), "/tests", "tester"))
        appended = await self._log.append(events, [self._heads.get(chain, Head(chain))])
        self._heads.update(appended.heads)
        return appended.sequences[-1]

    async def request(self, trials: int = 1, configuration: RuntimeConfiguration | None = None) -> int:
        requested = runtime_facts.RuntimeRequested(
            runtime_id=self.runtime_id, configuration=configuration, trial_count=trials
        )
        last = await self.append(runtime_subject(self.runtime_id), requested)
        for number in range(1, trials + 1):
            created = facts.TrialCreated(
                runtime_id=self.runtime_id,
                trial=number,
                parameters={"learning_rate": str(number / 1000), "batch": "32"},
            )
            last = await self.control(created, trial=number)
        return last

    async def control(self, *payloads: Message, trial: int = 1) -> int:
        return await self.append(control_subject(self.runtime_id, trial), *payloads)

    async def attempt(self, number: int, *payloads: Message, trial: int = 1) -> int:
        for payload in payloads:
            payload.attempt = number  # type: ignore[attr-defined]
        return await self.append(attempt_subject(self.runtime_id, trial, number), *payloads)

    async def run(self, number: int = 1, trial: int = 1, total_steps: int = 1_000) -> int:
        """Launch and start an attempt that declares a plan."""
        await self.control(facts.AttemptLaunched(attempt=number), trial=trial)
        return await self.attempt(
            number, facts.AttemptStarted(world_size=1), facts.PlanDeclared(total_steps=total_steps), trial=trial
        )

    async def batch(self, step: int, trial: int = 1, attempt: int = 1) -> int:
        """Publish a step batch without points and return its sequence in TELEMETRY."""
        number = self._numbers.get((trial, attempt), 0) + 1
        self._numbers[trial, attempt] = number
        headers = {
            "mp-number": str(number),
            "mp-source": "rank-0",
            "mp-step": str(step),
            "mp-epoch": "0",
            "mp-batch": str(step),
            "mp-phase": "training",
            "mp-time": str(time.time_ns() // 1_000_000),
        }
        return await self._telemetry.publish(steps_subject(self.runtime_id, trial, attempt), b"", headers)

    async def points(
        self, values: Mapping[int, float], key: str = "train/loss", trial: int = 1, attempt: int = 1
    ) -> int:
        """Publish a step batch with one value a step and return its sequence in TELEMETRY."""
        number = self._numbers.get((trial, attempt), 0) + 1
        self._numbers[trial, attempt] = number
        now = time.time_ns() // 1_000_000
        group = telemetry.StepGroup(
            steps=array("q", values).tobytes(),
            times_ms=array("q", [now] * len(values)).tobytes(),
            columns=[telemetry.SeriesColumn(key=key, values=array("d", values.values()).tobytes())],
        )
        sender = telemetry.Sender(runtime_id=self.runtime_id, trial=trial, attempt=attempt, source="rank-0")
        batch = telemetry.StepBatch(sender=sender, number=number, groups=[group])
        headers = {"mp-number": str(number), "mp-source": "rank-0", "mp-step": str(max(values))}
        subject = steps_subject(self.runtime_id, trial, attempt)
        return await self._telemetry.publish(subject, batch.SerializeToString(), headers)

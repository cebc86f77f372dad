"""A log with the history of many runtimes, each of which ran to its end in twenty events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog import (
    Head,
    NewEvent,
    attempt_subject,
    codec,
    control_subject,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.ids import new_event_id, new_runtime_id

EVENTS_PER_RUNTIME = 20
WRITERS = 16


def life(runtime_id: str) -> list[NewEvent]:
    """Return the events of a runtime that was requested, ran for 1,000 steps and completed."""
    runtime, control = runtime_subject(runtime_id), control_subject(runtime_id, 1)
    attempt = attempt_subject(runtime_id, 1, 1)
    configuration = RuntimeConfiguration(name="bench", entrypoint="a.b:c", parameters={"learning_rate": "0.001"})
    requested = runtime_facts.RuntimeRequested(
        runtime_id=runtime_id, configuration=configuration, configuration_digest="sha256:0", trial_count=1
    )
    told: list[tuple[str, Message]] = [
        (runtime, requested),
        (control, facts.TrialCreated(runtime_id=runtime_id, trial=1, parameters={"learning_rate": "0.001"})),
        (runtime, runtime_facts.ResourcesAllocated(cpus=1)),
        (control, facts.AttemptLaunched(attempt=1, reason=facts.LAUNCH_REASON_FIRST)),
        (attempt, facts.InstanceStarted(attempt=1, rank=0, host="bench", process_id=1)),
        (attempt, facts.AttemptStarted(attempt=1, world_size=1)),
        (attempt, facts.InstanceReadinessChanged(attempt=1, rank=0, ready=True)),
        (runtime, runtime_facts.RuntimeStarted()),
        (attempt, facts.PlanDeclared(attempt=1, total_steps=1_000, eval_every_steps=500)),
    ]
    for step in (500, 1_000):
        snapshot = f"step-{step:012d}-a1"
        told += [
            (attempt, facts.EvaluationStarted(attempt=1, step=step)),
            (attempt, facts.EvaluationCompleted(attempt=1, step=step, values={"eval/loss": 1.0}, duration_seconds=1)),
            (attempt, facts.SnapshotCommitted(attempt=1, snapshot_id=snapshot, step=step, duration_seconds=0.1)),
        ]
    ended = facts.AttemptEnded(
        attempt=1, outcome=facts.ATTEMPT_OUTCOME_COMPLETED, cause=common.EXIT_CAUSE_FINISHED, last_step=1_000
    )
    told += [
        (attempt, facts.InstanceExited(attempt=1, rank=0, cause=common.EXIT_CAUSE_FINISHED)),
        (attempt, ended),
        (control, facts.TrialCompleted(attempt=1, last_step=1_000)),
        (runtime, runtime_facts.RuntimeCompleted()),
        (runtime, runtime_facts.ResourcesReleased()),
    ]
    assert len(told) == EVENTS_PER_RUNTIME
    now = datetime.now(UTC)
    return [
        NewEvent(subject, *codec.encode(payload), new_event_id(), now, "/bench", "local:bench")
        for subject, payload in told
    ]


async def fill(connection: Connection, runtimes: int) -> list[str]:
    """Append the histories of so many runtimes. Returns their ids."""
    event_log = JetStreamLog(connection)
    ids = [new_runtime_id() for _ in range(runtimes)]
    waiting = iter(ids)

    async def write() -> None:
        for runtime_id in waiting:
            heads = [Head(runtime_chain(runtime_id)), Head(trial_chain(runtime_id, 1))]
            await event_log.append(life(runtime_id), heads)

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return ids

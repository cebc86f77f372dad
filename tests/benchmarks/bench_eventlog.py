"""Figures 12 and 13: durable appends, and replay against a bare ordered consumer."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nats
from google.protobuf.message import Message
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

from milepost.api.event.v1 import trial_events_pb2 as trial_events
from milepost.domain import trial as trial_domain
from milepost.domain.decider import Fact
from milepost.eventlog import (
    Head,
    NewEvent,
    RecordedEvent,
    attempt_subject,
    control_subject,
    events_of,
    parse_subject,
    trial_chain,
)
from milepost.eventlog.codec import decode
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from tests.benchmarks.parts.figures import report
from tests.support.servers.servers import running_nats
from tests.support.trainers.events import new_event

ROUNDS = 5
SINGLE_APPENDS = 1000
BATCHES = 40
BATCH_SIZE = 100
HISTORY = 30_000


def history(trial: int, count: int) -> list[NewEvent]:
    """What a long trial writes, a thousandth evaluation included."""
    attempt, control = attempt_subject("rt-bench", trial, 1), control_subject("rt-bench", trial)
    events = [
        new_event(control, trial_events.TrialCreated(runtime_id="rt-bench", trial=trial, parameters={"seed": "1"})),
        new_event(control, trial_events.AttemptLaunched(attempt=1, reason=trial_events.LAUNCH_REASON_FIRST)),
        new_event(attempt, trial_events.AttemptStarted(attempt=1, world_size=1)),
        new_event(attempt, trial_events.PlanDeclared(attempt=1, total_steps=10**6, eval_every_steps=200)),
    ]
    step = 0
    while len(events) < count:
        step += 200
        name = f"step-{step:012d}-a1"
        cycle: list[Message] = [
            trial_events.EvaluationStarted(attempt=1, step=step, batch_count=20),
            trial_events.EvaluationCompleted(attempt=1, step=step, values={"eval/loss": 1.5}, duration_seconds=2.5),
            trial_events.SnapshotStarted(attempt=1, snapshot_id=name, step=step),
            trial_events.SnapshotCommitted(
                attempt=1, snapshot_id=name, step=step, uri=f"file:///data/{name}", manifest_sha256="ab" * 32,
                byte_count=10**7, file_count=4, metrics={"eval/loss": 1.5}, world_size=1,
            ),
            trial_events.SnapshotDeleted(attempt=1, snapshot_id=name, step=step),
        ]  # fmt: skip
        events += [new_event(attempt, payload) for payload in cycle]
    return events[:count]


async def append_singly(log: JetStreamLog, trial: int, events: list[NewEvent]) -> list[float]:
    """Append events one by one; returns the seconds of each append."""
    head = Head(trial_chain("rt-bench", trial))
    seconds = []
    for event in events:
        started = time.perf_counter()
        head = (await log.append([event], [head])).heads[head.chain]
        seconds.append(time.perf_counter() - started)
    return seconds


async def append_in_batches(log: JetStreamLog, trial: int, events: list[NewEvent], size: int = BATCH_SIZE) -> float:
    """Append events in atomic batches; returns events a second."""
    head = Head(trial_chain("rt-bench", trial))
    started = time.perf_counter()
    for first in range(0, len(events), size):
        head = (await log.append(events[first : first + size], [head])).heads[head.chain]
    return len(events) / (time.perf_counter() - started)


async def measure_appends(log: JetStreamLog) -> None:
    single, batched, latencies = [], [], []
    for number in range(ROUNDS):
        seconds = await append_singly(log, 100 + number, history(100 + number, SINGLE_APPENDS))
        latencies += seconds
        single.append(len(seconds) / sum(seconds))
        events = history(200 + number, BATCHES * BATCH_SIZE)
        batched.append(await append_in_batches(log, 200 + number, events))
    report("12.append_single_durable", single, "events/s", ">= 500")
    report("12.append_single_p99", statistics.quantiles(latencies, n=100)[98] * 1000, "ms", "")
    report("12.append_batch_of_100_durable", batched, "events/s", ">= 5000")


async def bare_consumer(client: Client, after: int, count: int) -> float:
    """Messages a second of the client library's own ordered consumer, which only counts them."""
    done = asyncio.Event()
    seen = 0

    async def receive(_: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    configuration = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1)
    started = time.perf_counter()
    subscription = await client.jetstream().subscribe(
        "events.>", stream="EVENTS", cb=receive, ordered_consumer=True, config=configuration
    )
    await done.wait()
    rate = count / (time.perf_counter() - started)
    await subscription.unsubscribe()
    return rate


async def replay(log: JetStreamLog, after: int, count: int) -> tuple[float, list[RecordedEvent]]:
    """Events a second through `read`: envelopes taken apart, hashes computed."""
    events = []
    started = time.perf_counter()
    async for event in events_of(log.read(after)):
        events.append(event)
    assert len(events) == count
    return count / (time.perf_counter() - started), events


def timed(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


async def measure_replay(log: JetStreamLog, client: Client) -> None:
    after = await log.last_sequence()
    await append_in_batches(log, 300, history(300, HISTORY), size=1000)
    ours, bare, folds, decodes = [], [], [], []
    for _ in range(ROUNDS):
        bare.append(await bare_consumer(client, after, HISTORY))
        rate, events = await replay(log, after, HISTORY)
        ours.append(rate)
        facts: list[Fact] = []

        def decode_all(events: list[RecordedEvent] = events, facts: list[Fact] = facts) -> None:
            facts += (Fact(decode(event.type, event.body), parse_subject(event.subject).attempt) for event in events)

        def fold_all(facts: list[Fact] = facts) -> None:
            state = trial_domain.initial
            for fact in facts:
                state = trial_domain.evolve(state, fact)

        decodes.append(timed(HISTORY, decode_all))
        folds.append(timed(HISTORY, fold_all))
    report("13.replay", ours, "events/s", ">= 0.8x", peer="bare ordered consumer of nats-py", peer_values=bare)
    report("13.fold", folds, "events/s", ">= 100000")
    report("13.decode", decodes, "events/s", "")


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory, running_nats(Path(directory)) as server:
        async with await connect(server.url, name="bench") as connection:
            await ensure_streams(connection)
            log = JetStreamLog(connection)
            await measure_appends(log)
            client = await nats.connect(server.url)
            await measure_replay(log, client)
            await client.close()


if __name__ == "__main__":
    asyncio.run(main())

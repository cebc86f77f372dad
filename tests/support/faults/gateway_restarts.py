"""The gateway is killed and started again, and again, under clients of its live streams: none misses or repeats anything."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.eventlog import runtime_subject
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.telemetry import heartbeat_subject
from milepost.ids import new_runtime_id
from tests.support.servers.gateway import read_events
from tests.support.servers.metrics_service import log_batch, send, step_batch
from tests.support.servers.processes import ServiceProcess, running_services
from tests.support.servers.servers import running_nats
from tests.support.trainers.writer import Writer

TOPICS = ("trials", "events", "metrics", "logs")
# The time everything may need to arrive after the last restart.
SETTLE_SECONDS = 60.0
STEPS_PER_BATCH = 5


@dataclass
class Client:
    """What one browser has got. It comes back with its last id whenever the stream ends, as a browser does."""

    base: str
    runtime_id: str
    token: str = ""
    reconnects: int = 0
    events: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    # (trial, events sequence, telemetry sequence)
    trials: list[tuple[int, int, int]] = field(default_factory=list)
    newest: dict[int, Any] = field(default_factory=dict)
    problems: list[Any] = field(default_factory=list)

    async def watch(self) -> None:
        path = f"/api/v1/runtimes/{self.runtime_id}/stream"
        async with httpx.AsyncClient(base_url=self.base, timeout=httpx.Timeout(30.0)) as client:
            while True:
                headers = {"last-event-id": self.token} if self.token else {}
                try:
                    async with client.stream(
                        "GET", path, params={"topics": ",".join(TOPICS)}, headers=headers
                    ) as response:
                        if response.status_code == 200:
                            async for event in read_events(response):
                                self._take(event.topic, event.data)
                                # A browser keeps the id of the last event it has seen in full.
                                self.token = event.token or self.token
                except httpx.HTTPError:
                    pass
                self.reconnects += 1
                await asyncio.sleep(0.05)

    def _take(self, topic: str, data: Any) -> None:
        if topic == "events" and data["event"] is not None:
            self.events.append(data["sequence"])
        elif topic == "metrics":
            for block in data["blocks"]:
                self.steps += block["steps"]
        elif topic == "logs":
            self.lines += [entry["text"] for entry in data["entries"]]
        elif topic == "trials" and data["trial"] is not None:
            trial = data["trial"]
            self.trials.append((trial["trial"], trial["events_sequence"], trial["telemetry_sequence"]))
            self.newest[trial["trial"]] = trial
        elif topic == "problem":
            self.problems.append(data)


@dataclass
class Written:
    """What there is to be seen."""

    events: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


async def _write(connection: Connection, writer: Writer, written: Written, stop: asyncio.Event) -> None:
    """Write events, points and log lines until it is told to stop."""
    round_ = 0
    while not stop.is_set():
        round_ += 1
        first = len(written.steps) + 1
        steps = list(range(first, first + STEPS_PER_BATCH))
        await send(
            connection, step_batch(writer.runtime_id, round_, steps, {"train/loss": [1 / step for step in steps]})
        )
        written.steps += steps
        lines = [f"line {round_}.{index}" for index in range(3)]
        await send(connection, log_batch(writer.runtime_id, round_, lines))
        written.lines += lines
        if round_ % 4 == 0:
            done = facts.EpochCompleted(epoch=round_, step=steps[-1])
            written.events.append(await writer.attempt(1, done))
            written.events.append(await writer.control(facts.TrialResumeRequested(), trial=2))
        await asyncio.sleep(0.1)


async def _live(connection: Connection, runtime_id: str) -> None:
    """Beat for the attempt, however long it takes: the runtime service is not to give it up, which would be events too."""
    beat = Heartbeat(step=1, next_beat_ms=10_000).SerializeToString()
    while True:
        await connection.publish(heartbeat_subject(runtime_id, 1, 1, 0), beat)
        await asyncio.sleep(0.5)


async def check_restarts(directory: Path, clients: int, kills: int, seconds_between: float) -> list[Client]:
    """Kill the gateway `kills` times under `clients` clients, and assert that each has seen everything once.

    Returns the clients, for whoever wants to know more.
    """
    random_ = random.Random(5)
    with running_nats(directory) as nats:
        async with await connect(nats.url, name="test") as connection:
            await ensure_streams(connection)
            # Before there is a service that finds out the same by itself.
            writer, written = Writer(connection, new_runtime_id()), Written()
            # Of a script, whose process nobody looks for.
            external = config.RuntimeConfiguration(name="restarts", launcher=config.LAUNCHER_EXTERNAL)
            await writer.request(trials=2, configuration=external)
            await writer.run()
            well = facts.InstanceHealthChanged(attempt=1, health=common.HEALTH_HEALTHY)
            await writer.control(well)
            found = (runtime_facts.HealthChanged(health=common.HEALTH_HEALTHY), runtime_facts.RuntimeStarted())
            before = await writer.append(runtime_subject(writer.runtime_id), *found)
            with running_services(
                directory / "data", nats.url, ("runtime", "trials", "metrics", "gateway")
            ) as services:
                living = asyncio.create_task(_live(connection, writer.runtime_id))
                base = f"http://{services['gateway'].address}"
                watching = [Client(base, writer.runtime_id) for _ in range(clients)]
                stop = asyncio.Event()
                tasks = [asyncio.create_task(client.watch()) for client in watching]
                writing = asyncio.create_task(_write(connection, writer, written, stop))
                try:
                    for _ in range(kills):
                        await asyncio.sleep(random_.uniform(0.3, 1.0) * seconds_between)
                        await asyncio.to_thread(_restart, services["gateway"])
                    stop.set()
                    await writing
                    await _settle(watching, written)
                finally:
                    for task in (*tasks, writing, living):
                        task.cancel()
                    await asyncio.gather(*tasks, writing, living, return_exceptions=True)
    for client in watching:
        _check(client, written, before, kills)
    return watching


def _restart(gateway: ServiceProcess) -> None:
    gateway.kill()
    gateway.start(wait_serving=False)


async def _settle(clients: list[Client], written: Written) -> None:
    """Wait until each client has the last of everything."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_SECONDS
    last_event = written.events[-1]

    def done(client: Client) -> bool:
        return (
            client.steps[-1:] == written.steps[-1:]
            and client.lines[-1:] == written.lines[-1:]
            and client.events[-1:] == [last_event]
            and max((t[1] for t in client.trials), default=0) >= last_event
        )

    while not all(done(client) for client in clients):
        assert loop.time() < deadline, [
            (c.steps[-1:], c.lines[-1:], c.events[-1:], c.trials[-1:], c.problems) for c in clients if not done(c)
        ][:3]
        await asyncio.sleep(0.1)


def _check(client: Client, written: Written, before: int, kills: int) -> None:
    assert client.problems == []
    assert client.reconnects >= kills
    assert client.steps == written.steps
    assert client.lines == written.lines
    assert [sequence for sequence in client.events if sequence > before] == written.events
    assert len(set(client.events)) == len(client.events)
    # Each state of a trial once: nothing of a stream that was interrupted comes again.
    assert len(set(client.trials)) == len(client.trials)
    by_trial: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for trial, events, telemetry in client.trials:
        by_trial[trial].append((events, telemetry))
    for places in by_trial.values():
        assert places == sorted(places)

"""A client that watches a run from its beginning and writes down what it is told, with the positions it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.client import Client, ClientClosed
from milepost.installation.endpoints import Endpoints

Moment = tuple[int, int]


@dataclass
class Recording:
    """What was told, in the order in which it came.

    Attributes:
        runtimes: (position in EVENTS, runtime).
        trials: (positions in EVENTS and TELEMETRY, trial).
        events: positions of events.
        types: what they are, without area and version, such as `snapshot_committed`.
        blocks: (position in TELEMETRY, attempt, steps, values) of one series.
        cuts: (position in EVENTS, attempt, step it went on from).
        lines: (position in TELEMETRY, cursor).
    """

    runtimes: list[tuple[int, runtime_api.Runtime]] = field(default_factory=list)
    trials: list[tuple[Moment, trial_api.Trial]] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    types: dict[int, str] = field(default_factory=dict)
    blocks: list[tuple[int, int, list[int], list[float]]] = field(default_factory=list)
    cuts: list[tuple[int, int, int]] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)

    def runtime_at(self, sequence: int) -> runtime_api.Runtime | None:
        """The runtime as it was told last at or before a position."""
        told = [runtime for position, runtime in self.runtimes if position <= sequence]
        return told[-1] if told else None

    def points_at(self, moment: Moment) -> dict[int, tuple[int, float]]:
        """Step -> attempt and value, of what was told until a moment, with the lineage of that moment."""
        events, telemetry = moment
        cuts = [(attempt, step) for position, attempt, step in self.cuts if position <= events]
        known: dict[int, dict[int, float]] = {}
        for position, attempt, steps, values in self.blocks:
            if position <= telemetry:
                for step, value in zip(steps, values, strict=True):
                    known.setdefault(step, {})[attempt] = value
        found = {}
        for step, by_attempt in known.items():
            owner = [attempt for attempt, restored in cuts if restored < step][-1:]
            if owner and owner[0] in by_attempt:
                found[step] = (owner[0], by_attempt[owner[0]])
        return found


@contextmanager
def recording(endpoints: Endpoints, name: str, key: str) -> Iterator[Recording]:
    """Watch a runtime for the length of a block: itself, its first trial, its events, one series, its log lines."""
    made = Recording()
    trial = f"{name}/trials/1"
    client = Client(endpoints)
    threads = []

    def follow(stream: Any, take: Callable[[Any], None]) -> None:
        thread = threading.Thread(target=_drain, args=(stream, take), daemon=True)
        threads.append(thread)
        thread.start()

    follow(client.runtimes.WatchRuntimes(runtime_api.WatchRuntimesRequest(name=name)), lambda m: _runtime(made, m))
    follow(client.trials.WatchTrials(trial_api.WatchTrialsRequest(parent=trial)), lambda m: _trial(made, m))
    follow(client.runtimes.WatchEvents(runtime_api.WatchEventsRequest(parent=name)), lambda m: _event(made, m))
    series = metric_api.StreamSeriesRequest(parents=[trial], keys=[key])
    follow(client.metrics.StreamSeries(series), lambda m: _series(made, m))
    request = log_api.StreamLogsRequest(parent=trial)
    request.filter.include_superseded = True
    follow(client.logs.StreamLogs(request), lambda m: _lines(made, m))
    try:
        yield made
    finally:
        client.close()
        for thread in threads:
            thread.join(10)


def _drain(stream: Iterable[Any], take: Callable[[Any], None]) -> None:
    with suppress(ClientClosed):
        for message in stream:
            take(message)


def _runtime(made: Recording, message: runtime_api.WatchRuntimesResponse) -> None:
    if message.HasField("runtime"):
        made.runtimes.append((message.sequence, message.runtime))


def _trial(made: Recording, message: trial_api.WatchTrialsResponse) -> None:
    # The first picture has no position; what comes behind it has.
    if message.HasField("trial") and message.events_sequence and message.telemetry_sequence:
        made.trials.append(((message.events_sequence, message.telemetry_sequence), message.trial))


def _event(made: Recording, message: runtime_api.WatchEventsResponse) -> None:
    if message.HasField("event"):
        made.events.append(message.sequence)
        made.types[message.sequence] = message.event.type.split(".")[2]


def _series(made: Recording, message: metric_api.StreamSeriesResponse) -> None:
    if message.HasField("cut"):
        made.cuts.append((message.cut.events_sequence, message.cut.attempt, message.cut.restored_step))
    for block in message.blocks:
        made.blocks.append((message.telemetry_sequence, block.attempt, list(block.steps), list(block.values)))


def _lines(made: Recording, message: log_api.StreamLogsResponse) -> None:
    # A cursor holds the position of its message: 16 digits of the stream, then 12 of the sequence.
    made.lines += [(int(entry.cursor.split("-")[1], 16), entry.cursor) for entry in message.entries]

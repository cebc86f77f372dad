"""Answers of QuerySeries against a model that looks at every point: any lineage, range, width and moment."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.domain.trial import Segment, cut_lineage, owner_of
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from services.metrics.queries.buckets import bucket_shift
from tests.support.servers.metrics_service import (
    INTERFACES,
    MetricsClient,
    MetricsProcess,
    clickhouse_environment,
    metrics_client,
    send,
    start_attempt,
    step_batch,
)
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.events import unique_id

SCENARIOS = 6
QUESTIONS = 12


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def process(
    request: pytest.FixtureRequest, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MetricsProcess]:
    with clickhouse_environment(request.param, tmp_path_factory.mktemp("clickhouse")) as environment:
        running = MetricsProcess(tmp_path_factory.mktemp("data"), nats.url, environment=environment)
        running.start()
        yield running
        running.kill()


@pytest.fixture
async def connection(nats: NatsServer) -> AsyncIterator[Connection]:
    async with await connect(nats.url, name="test") as connection:
        await ensure_streams(connection)
        yield connection


@dataclass
class Sent:
    """Every point of one trial: attempt, step, value, position in TELEMETRY; and the cuts with their positions.

    Points are in the order in which they were logged.
    """

    runtime_id: str
    points: list[tuple[int, int, float, int]]
    cuts: list[tuple[int, int, int]]

    def lineage(self, events_sequence: int | None) -> tuple[Segment, ...]:
        lineage: tuple[Segment, ...] = ()
        for attempt, restored_step, sequence in self.cuts:
            if events_sequence is None or sequence <= events_sequence:
                lineage = cut_lineage(lineage, attempt, restored_step)
        return lineage

    def of(self, events_sequence: int | None, position: int, superseded_attempt: int | None) -> list[tuple[int, float]]:
        """The points of the lineage, or of the abandoned tail of one attempt, up to a position."""
        known = [point for point in self.points if point[3] <= position]
        lineage = self.lineage(events_sequence)
        # Who did each step, or went on from it and logged there again: the last of them counts.
        owners: dict[int, int] = {}
        cuts = [cut for cut in self.cuts if events_sequence is None or cut[2] <= events_sequence]
        for attempt, step, _, _ in known:
            later = [restored for a, restored, _ in cuts if a > attempt]
            went_on = (
                any((a, restored) == (attempt, step) for a, restored, _ in cuts) and min(later, default=step) >= step
            )
            if owner_of(lineage, step) == attempt or went_on:
                owners[step] = max(owners.get(step, 0), attempt)
        found = [
            (step, value)
            for attempt, step, value, _ in known
            if superseded_attempt in (None, attempt) and (owners.get(step) == attempt) == (superseded_attempt is None)
        ]
        # Of several values of a step the newest is the last.
        return sorted(found, key=lambda point: point[0])


async def send_trial(connection: Connection, chance: random.Random) -> Sent:
    """Send a trial with resumes; steps come out of order and several times, and values are of every kind."""
    sent = Sent(unique_id(), [], [])
    log = JetStreamLog(connection)
    reached = restored = 0
    for attempt in range(1, chance.randint(1, 4) + 1):
        restored = (
            chance.choice([0, chance.randint(0, reached), reached, reached - reached % 128, restored])
            if attempt > 1
            else 0
        )
        sequence = await start_attempt(log, sent.runtime_id, attempt, restored)
        sent.cuts.append((attempt, restored, sequence))
        # Half of them log at the step they went on from once more.
        again = 1 if restored and chance.random() < 0.5 else 0
        steps = np.arange(restored + 1 - again, restored + 1 + chance.choice([5, 300, 5000, 9000]))
        reached = int(steps[-1])
        if chance.random() < 0.5:
            chance.shuffle(shuffled := steps.tolist())
            steps = np.array(shuffled)
        # Some steps twice or more, the last of a bucket among them.
        if chance.random() < 0.6:
            more = chance.choices(steps.tolist(), k=len(steps) // 20 + 2) + [int(steps.max())] * 2
            steps = np.append(steps, more)
        generator = np.random.default_rng(chance.randint(0, 1 << 30))
        values = generator.normal(size=len(steps))
        strange = generator.integers(0, len(steps), len(steps) // 50 + 1)
        values[strange] = generator.choice([np.nan, np.inf, -np.inf], len(strange))
        for number, (of_steps, of_values) in enumerate(
            zip(np.array_split(steps, 4), np.array_split(values, 4), strict=True), 1
        ):
            order = np.argsort(of_steps, kind="stable")
            of_steps, of_values = of_steps[order], of_values[order]
            position = await send(
                connection, step_batch(sent.runtime_id, number, of_steps, {"x": of_values}, attempt=attempt)
            )
            sent.points += [
                (attempt, step, value, position)
                for step, value in zip(of_steps.tolist(), of_values.tolist(), strict=True)
            ]
    return sent


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("process", "seed"),
    [(interface, seed) for interface in INTERFACES for seed in range(SCENARIOS if interface == "embedded" else 1)],
    indirect=["process"],
)
async def test_answers_are_those_of_the_points(connection: Connection, process: MetricsProcess, seed: int) -> None:
    chance = random.Random(seed)
    sent = await send_trial(connection, chance)
    last_position = max(position for *_, position in sent.points)
    highest = max(step for _, step, _, _ in sent.points)
    async with metrics_client(process.address) as client:
        for _ in range(QUESTIONS):
            request = pb.QuerySeriesRequest(
                parents=[f"runtimes/{sent.runtime_id}/trials/1"],
                keys=["x"],
                min_telemetry_sequence=last_position,
                bucket_count=chance.choice([1, 2, 7, 40, 300, 10_000]),
                first_step=chance.choice([0, 0, chance.randint(0, highest)]),
                include_superseded=chance.random() < 0.5,
            )
            if chance.random() < 0.4:
                request.last_step = chance.randint(max(1, request.first_step), highest + 100)
            if chance.random() < 0.5:
                request.as_of.telemetry_sequence = chance.choice(sent.points)[3]
                request.as_of.events_sequence = chance.choice(sent.cuts)[2] if chance.random() < 0.5 else 0
            await compare(client, sent, request, last_position)


async def compare(client: MetricsClient, sent: Sent, request: pb.QuerySeriesRequest, last_position: int) -> None:
    answer = await client.metrics.QuerySeries(request)
    position = request.as_of.telemetry_sequence or last_position
    events = request.as_of.events_sequence or None
    assert answer.telemetry_sequence == position
    by_attempt = {series.attempt: series for series in answer.series}
    assert len(by_attempt) == len(answer.series)
    wanted: dict[int, list[tuple[int, float]]] = {0: sent.of(events, position, None)}
    if request.include_superseded:
        known = [attempt for attempt, _, sequence in sent.cuts if events is None or sequence <= events]
        wanted |= {attempt: sent.of(events, position, attempt) for attempt in known}
    for attempt, points in wanted.items():
        last = request.last_step or 1 << 60
        points = [(step, value) for step, value in points if request.first_step <= step <= last]
        if not points:
            assert attempt not in by_attempt
            continue
        series = by_attempt.pop(attempt)
        assert series.superseded == (attempt != 0)
        check_series(series, points, request.bucket_count)
    assert not by_attempt


def check_series(series: pb.SeriesData, points: list[tuple[int, float]], bucket_count: int) -> None:
    assert sum(series.counts) == len(points)
    if len(points) <= bucket_count:
        assert series.raw
        assert list(series.first_steps) == [step for step, _ in points]
        assert np.array(series.lasts).tobytes() == np.array([value for _, value in points]).tobytes()
        return
    assert not series.raw
    width = series.bucket_width
    # What was logged elsewhere in the trial may have made buckets wider than this series alone needs, never narrower.
    assert width >= 1 << bucket_shift(points[0][0], points[-1][0], bucket_count)
    groups: dict[int, list[tuple[int, float]]] = {}
    for step, value in points:
        groups.setdefault(step // width, []).append((step, value))
    assert [step // width for step in series.first_steps] == sorted(groups)
    for index, bucket in enumerate(sorted(groups)):
        of_bucket = groups[bucket]
        values = np.array([value for _, value in of_bucket])
        finite = values[np.isfinite(values)]
        assert (series.first_steps[index], series.last_steps[index]) == (of_bucket[0][0], of_bucket[-1][0])
        assert series.counts[index] == len(of_bucket)
        assert np.array(series.lasts[index]).tobytes() == values[-1:].tobytes()
        if series.nan_counts:
            assert series.nan_counts[index] == np.isnan(values).sum()
            assert series.positive_infinity_counts[index] == (values == np.inf).sum()
            assert series.negative_infinity_counts[index] == (values == -np.inf).sum()
        else:
            assert len(finite) == len(values)
        if len(finite):
            assert (series.mins[index], series.maxs[index]) == (finite.min(), finite.max())
            assert np.isclose(series.means[index], finite.mean(), atol=1e-9)
        else:
            assert np.isnan([series.mins[index], series.maxs[index], series.means[index]]).all()

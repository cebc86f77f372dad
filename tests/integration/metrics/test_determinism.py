"""Steps that ran twice are compared, bit by bit, and the first difference is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from tests.support.servers.metrics_service import MetricsProcess, metrics_client, send, start_attempt, step_batch
from tests.support.servers.servers import NatsServer
from tests.support.trainers.events import unique_id

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def process(shared_nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsProcess]:
    running = MetricsProcess(tmp_path_factory.mktemp("metrics") / "data", shared_nats.url)
    yield running
    running.kill()


@pytest.fixture
async def service(connection: Connection, process: MetricsProcess) -> MetricsProcess:
    if process.process is None:
        await asyncio.to_thread(process.start)
    return process


async def checked(
    service: MetricsProcess, connection: Connection, runtime_id: str, keys: list[str] | None = None
) -> pb.CheckDeterminismResponse:
    parent = f"runtimes/{runtime_id}/trials/1"
    position = await send(connection, step_batch(runtime_id, 1_000, [1], {"mark": [0.0]}, attempt=9))
    async with metrics_client(service.address) as client:
        await client.metrics.QuerySeries(
            pb.QuerySeriesRequest(parents=[parent], keys=["x"], min_telemetry_sequence=position), wait_for_ready=True
        )
        answer: pb.CheckDeterminismResponse = await client.metrics.CheckDeterminism(
            pb.CheckDeterminismRequest(parent=parent, keys=keys or [])
        )
        return answer


async def run_twice(connection: Connection, runtime_id: str, second: list[float], **more: list[float]) -> None:
    """Attempt 1 does steps 1 to 9; attempt 2 goes on from the snapshot at 5 and does 6 to 12."""
    log = JetStreamLog(connection)
    await start_attempt(log, runtime_id, 1)
    values = {"train/loss": [1 / step for step in range(1, 10)], "system/cpu": [1.0] * 9}
    await send(connection, step_batch(runtime_id, 1, range(1, 10), {**values, **{k: [1.0] * 9 for k in more}}))
    await start_attempt(log, runtime_id, 2, restored_step=5)
    values = {"train/loss": second, "system/cpu": [2.0] * 7}
    await send(connection, step_batch(runtime_id, 1, range(6, 13), {**values, **more}, attempt=2))


async def test_the_same_values_again_are_bit_exact(connection: Connection, service: MetricsProcess) -> None:
    runtime_id = unique_id()
    await run_twice(connection, runtime_id, [1 / step for step in range(6, 13)])
    answer = await checked(service, connection, runtime_id)
    assert answer.bit_exact
    assert answer.message == "4 steps ran twice, bit-exact"
    (repetition,) = answer.repetitions
    assert (repetition.attempt, list(repetition.repeated_by)) == (1, [2])
    assert (repetition.first_step, repetition.last_step) == (6, 9)
    # What the machine did is no result of the training.
    assert [(s.key, s.compared_points, s.different_points) for s in repetition.series] == [("train/loss", 4, 0)]


async def test_the_first_step_that_differs_in_its_last_bit_is_named(
    connection: Connection, service: MetricsProcess
) -> None:
    runtime_id = unique_id()
    second = [1 / step for step in range(6, 13)]
    second[2] = float.fromhex("0x1.0000000000001p-3")
    second[3] += 1
    await run_twice(connection, runtime_id, second, other=[1.0] * 7)
    answer = await checked(service, connection, runtime_id)
    assert not answer.bit_exact
    assert answer.message.startswith("not bit-exact from step 8: train/loss was 0.125, then 0.125")
    (repetition,) = answer.repetitions
    series = {s.key: s for s in repetition.series}
    assert (series["train/loss"].first_different_step, series["train/loss"].different_points) == (8, 2)
    assert (series["train/loss"].before, series["train/loss"].after) == (0.125, second[2])
    assert series["other"].different_points == 0
    only = await checked(service, connection, runtime_id, ["other"])
    assert only.message == "4 steps ran twice, bit-exact"


async def test_nan_is_equal_to_the_same_nan(connection: Connection, service: MetricsProcess) -> None:
    runtime_id = unique_id()
    log = JetStreamLog(connection)
    await start_attempt(log, runtime_id, 1)
    await send(connection, step_batch(runtime_id, 1, range(1, 5), {"x": [1.0, float("nan"), float("inf"), 0.0]}))
    await start_attempt(log, runtime_id, 2, restored_step=1)
    again = [float("nan"), float("inf"), -0.0]
    await send(connection, step_batch(runtime_id, 1, range(2, 5), {"x": again}, attempt=2))
    answer = await checked(service, connection, runtime_id)
    # Zero and minus zero are two values.
    assert answer.message == "not bit-exact from step 4: x was 0, then -0"


async def test_without_a_repeated_step_there_is_nothing_to_compare(
    connection: Connection, service: MetricsProcess
) -> None:
    runtime_id = unique_id()
    await start_attempt(JetStreamLog(connection), runtime_id, 1)
    await send(connection, step_batch(runtime_id, 1, range(1, 5), {"x": [1.0] * 4}))
    answer = await checked(service, connection, runtime_id)
    assert (answer.bit_exact, answer.message, len(answer.repetitions)) == (True, "no step ran twice", 0)

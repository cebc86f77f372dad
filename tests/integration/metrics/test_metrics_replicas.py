"""Two metric services on one ClickHouse server: one stores and answers, the other stands by."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import grpc.aio
import pytest

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.security.transport import ClientTls, open_aio_channel
from services.health import Target, serving
from services.metrics.storage.store import schema_statements
from tests.support.servers.clickhouse_server import ClickHouseServer, running_clickhouse
from tests.support.servers.metrics_service import MetricsProcess, metrics_client, send, step_batch
from tests.support.servers.servers import NatsServer, wait_until
from tests.support.trainers.events import unique_id

pytestmark = pytest.mark.timeout(300)

TAKEOVER_SECONDS = 60.0


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with await connect(nats_server.url, name="test") as connection:
        await ensure_streams(connection)
        yield connection


@pytest.fixture
async def clickhouse(tmp_path: Path) -> AsyncIterator[ClickHouseServer]:
    with running_clickhouse(tmp_path / "clickhouse") as server:
        yield server


@pytest.fixture
async def replicas(
    connection: Connection, nats_server: NatsServer, clickhouse: ClickHouseServer, tmp_path: Path
) -> AsyncIterator[tuple[MetricsProcess, MetricsProcess]]:
    """The one that leads, and the one that stands by."""
    environment = {"MILEPOST_CLICKHOUSE_URL": f"{clickhouse.url}/steps"}
    first, second = (
        MetricsProcess(tmp_path / name, nats_server.url, environment=environment) for name in ("first", "second")
    )
    try:
        await asyncio.to_thread(first.start)
        await asyncio.to_thread(second.start, wait_serving=False)
        await asyncio.to_thread(wait_until, lambda: is_standing_by(second), "it stands by", TAKEOVER_SECONDS)
        yield first, second
    finally:
        for process in (first, second):
            await asyncio.to_thread(process.kill)


def is_standing_by(process: MetricsProcess) -> bool:
    target = Target(process.address)
    return serving(target, standby=True) and not serving(target)


async def stored_values(stub: metric_service_pb2_grpc.MetricServiceStub, runtime_id: str, position: int) -> list[float]:
    request = pb.QuerySeriesRequest(
        parents=[f"runtimes/{runtime_id}/trials/1"], keys=["x"], min_telemetry_sequence=position, bucket_count=10_000
    )
    answer = await stub.QuerySeries(request, wait_for_ready=True, timeout=TAKEOVER_SECONDS)
    return [value for series in answer.series for value in series.lasts]


async def assert_stored_once(process: MetricsProcess, runtime_id: str, batches: int) -> None:
    async with metrics_client(process.address) as client:
        request = pb.GetCompletenessRequest(parent=f"runtimes/{runtime_id}")
        answer = await client.metrics.GetCompleteness(request)
        (sender,) = answer.senders
        assert (sender.stored_batches, sender.duplicate_batches, answer.gap_count) == (batches, 0, 0)
        assert answer.sent_points == answer.stored_points
        assert not (await client.metrics.VerifyStored(pb.VerifyStoredRequest())).differences


async def test_a_killed_writer_is_followed_by_the_one_that_stood_by(
    connection: Connection, replicas: tuple[MetricsProcess, MetricsProcess]
) -> None:
    """Nothing is lost, nothing is stored twice, and an address of both finds the one that answers."""
    first, second = replicas
    runtime_id = unique_id()
    async with metrics_client(second.address) as client:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.metrics.ListSeries(pb.ListSeriesRequest(parent=f"runtimes/{runtime_id}/trials/1"))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert first.process is not None
        assert f"process {first.process.pid} on" in str(refused.value.details())
    both = f"ipv4:{second.address},{first.address}"
    async with open_aio_channel(both, ClientTls(), ()) as channel:
        stub = metric_service_pb2_grpc.MetricServiceStub(channel)
        position = 0
        for number in range(1, 41):
            if number == 20:
                await asyncio.to_thread(first.kill)
            position = await send(connection, step_batch(runtime_id, number, [number], {"x": [float(number)]}))
            await asyncio.sleep(0.02)
        await asyncio.to_thread(wait_until, second.is_serving, "the other one takes over", TAKEOVER_SECONDS)
        assert await stored_values(stub, runtime_id, position) == [float(n) for n in range(1, 41)]
    await assert_stored_once(second, runtime_id, 40)


async def test_a_writer_that_slept_through_the_end_of_its_lease_stores_nothing_more(
    connection: Connection, replicas: tuple[MetricsProcess, MetricsProcess]
) -> None:
    """It finds out who stores now, and ends; a new start stands by."""
    first, second = replicas
    runtime_id = unique_id()
    for number in range(1, 11):
        await send(connection, step_batch(runtime_id, number, [number], {"x": [float(number)]}))
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    position = await send(connection, step_batch(runtime_id, 11, [11], {"x": [11.0]}))
    await asyncio.to_thread(wait_until, second.is_serving, "the other one takes over", TAKEOVER_SECONDS)
    async with metrics_client(second.address) as client:
        assert len(await stored_values(client.metrics, runtime_id, position)) == 11
    first.process.send_signal(signal.SIGCONT)
    status = await asyncio.to_thread(first.process.wait, TAKEOVER_SECONDS)
    assert status == 1
    assert "started again, this process stands by" in first.log_path.read_text()
    await assert_stored_once(second, runtime_id, 11)
    await asyncio.to_thread(first.start, wait_serving=False)
    await asyncio.to_thread(wait_until, lambda: is_standing_by(first), "it stands by now", TAKEOVER_SECONDS)


async def test_a_writer_that_ends_in_order_is_followed_at_once_and_a_lost_lease_is_regained(
    connection: Connection,
    nats_server: NatsServer,
    clickhouse: ClickHouseServer,
    replicas: tuple[MetricsProcess, MetricsProcess],
) -> None:
    """While NATS or ClickHouse is away nothing ends; afterwards the same one goes on."""
    first, second = replicas
    runtime_id = unique_id()
    await asyncio.to_thread(first.stop)
    await asyncio.to_thread(wait_until, second.is_serving, "the other one takes over", TAKEOVER_SECONDS)
    await send(connection, step_batch(runtime_id, 1, [1], {"x": [1.0]}))
    await asyncio.to_thread(nats_server.kill)
    await asyncio.to_thread(
        wait_until, lambda: "lease.lost" in second.log_path.read_text(), "the lease is lost", TAKEOVER_SECONDS
    )
    await asyncio.to_thread(clickhouse.kill)
    await asyncio.to_thread(nats_server.restart)
    await asyncio.to_thread(clickhouse.start)
    position = await send(connection, step_batch(runtime_id, 2, [2], {"x": [2.0]}))
    async with metrics_client(second.address) as client:
        assert await stored_values(client.metrics, runtime_id, position) == [1.0, 2.0]
    await assert_stored_once(second, runtime_id, 2)


def test_on_a_cluster_the_same_tables_are_replicated() -> None:
    """Only the engine and where the statement runs differ. Never run against a cluster; ClickHouse parses it."""
    # The embedded engine blocks a signal in the thread that loads it: not in the one that starts other tests' programs.
    with ThreadPoolExecutor(max_workers=1) as other:
        other.submit(_assert_same_tables).result()


def _assert_same_tables() -> None:
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb")
    try:
        for plain, replicated in zip(schema_statements(), schema_statements("steps", "main"), strict=True):
            client.command(f"EXPLAIN AST {replicated}")
            assert "ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/steps/" in replicated
            assert plain.count("\n") == replicated.count("\n")
            assert " ON CLUSTER main\n" in replicated
    finally:
        client.close()

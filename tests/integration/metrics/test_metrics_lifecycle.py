"""What happens to stored telemetry beside being asked for: rebuilt, purged, limited; and who may store it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from milepost.api.config.v1 import configuration_pb2 as configuration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_events
from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog import runtime_chain, runtime_subject
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.series_names import MAX_SERIES
from tests.support.servers.metrics_service import (
    MetricsProcess,
    log_batch,
    metrics_client,
    send,
    start_attempt,
    step_batch,
)
from tests.support.servers.servers import NatsServer, wait_until
from tests.support.trainers.events import new_event, unique_id


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with await connect(nats_server.url, name="test") as connection:
        await ensure_streams(connection)
        yield connection


@pytest.fixture
async def process(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[MetricsProcess]:
    running = MetricsProcess(tmp_path / "data", nats_server.url)
    await asyncio.to_thread(running.start)
    yield running
    await asyncio.to_thread(running.kill)


async def request_runtime(connection: Connection, runtime_id: str, log_megabytes: int) -> None:
    log = JetStreamLog(connection)
    requested = runtime_events.RuntimeRequested(
        runtime_id=runtime_id,
        configuration=configuration.RuntimeConfiguration(limits=configuration.Limits(log_megabytes=log_megabytes)),
    )
    chain = runtime_chain(runtime_id)
    await log.append([new_event(runtime_subject(runtime_id), requested)], [await log.head(chain)])


async def delete_runtime(connection: Connection, runtime_id: str) -> None:
    log = JetStreamLog(connection)
    deletion = runtime_events.DeleteRequested(reason="test")
    chain = runtime_chain(runtime_id)
    await log.append([new_event(runtime_subject(runtime_id), deletion)], [await log.head(chain)])


async def points_of(process: MetricsProcess, runtime_id: str, position: int) -> int:
    async with metrics_client(process.address) as client:
        answer = await client.metrics.QuerySeries(
            pb.QuerySeriesRequest(
                parents=[f"runtimes/{runtime_id}/trials/1"], keys=["x"], min_telemetry_sequence=position
            ),
            wait_for_ready=True,
        )
        return sum(sum(series.counts) for series in answer.series)


@pytest.mark.timeout(300)
async def test_a_lost_clickhouse_directory_is_rebuilt_from_telemetry(
    connection: Connection, process: MetricsProcess
) -> None:
    runtime_id = unique_id()
    for number in range(1, 6):
        position = await send(
            connection, step_batch(runtime_id, number, range(number * 10, number * 10 + 10), {"x": range(10)})
        )
    assert await points_of(process, runtime_id, position) == 50
    seconds = await asyncio.to_thread(process.stop)
    assert seconds < 10
    shutil.rmtree(process.data_dir / "clickhouse")
    await asyncio.to_thread(process.start)
    assert await points_of(process, runtime_id, position) == 50


@pytest.mark.timeout(300)
async def test_a_restart_begins_from_a_checkpoint_of_what_events_say(
    connection: Connection, process: MetricsProcess
) -> None:
    """The cut is known again without the events before it; it was stopped in order, so nothing is left to read."""
    runtime_id = unique_id()
    log = JetStreamLog(connection)
    await start_attempt(log, runtime_id, 1)
    await send(connection, step_batch(runtime_id, 1, range(1, 11), {"x": range(10)}))
    await start_attempt(log, runtime_id, 2, restored_step=4)
    position = await send(connection, step_batch(runtime_id, 1, [5], {"x": [1.0]}, attempt=2))
    assert await points_of(process, runtime_id, position) == 5
    end = await log.last_sequence()
    await asyncio.to_thread(process.stop)
    await asyncio.to_thread(process.start)
    lines = [json.loads(line) for line in process.log_path.read_text().splitlines()]
    assert [line["sequence"] for line in lines if line["event"] == "checkpoint.restored"] == [end]
    assert await points_of(process, runtime_id, position) == 5


@pytest.mark.timeout(300)
async def test_a_purged_runtime_stays_gone_and_the_position_stays(
    connection: Connection, process: MetricsProcess
) -> None:
    gone, kept = unique_id(), unique_id()
    await request_runtime(connection, gone, 512)
    await send(connection, step_batch(kept, 1, [1, 2], {"x": [1.0, 2.0]}))
    await send(connection, log_batch(gone, 1, ["a line"]))
    position = await send(connection, step_batch(gone, 1, [1, 2, 3], {"x": [1.0, 2.0, 3.0]}))
    assert await points_of(process, gone, position) == 3
    async with metrics_client(process.address) as client:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.metrics.PurgeRuntime(pb.PurgeRuntimeRequest(name=f"runtimes/{gone}"))
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        await delete_runtime(connection, gone)
        purged = await client.metrics.PurgeRuntime(pb.PurgeRuntimeRequest(name=f"runtimes/{gone}"))
        assert (purged.point_count, purged.log_line_count) == (3, 1)
        again = await client.metrics.PurgeRuntime(pb.PurgeRuntimeRequest(name=f"runtimes/{gone}"))
        assert (again.point_count, again.log_line_count) == (0, 0)
    position = await send(connection, step_batch(gone, 2, [4], {"x": [4.0]}))
    await asyncio.to_thread(process.kill)
    await asyncio.to_thread(process.start)
    assert await points_of(process, gone, position) == 0
    assert await points_of(process, kept, position) == 2
    async with metrics_client(process.address) as client:
        verified = await client.metrics.VerifyStored(pb.VerifyStoredRequest())
        assert list(verified.differences) == []


@pytest.mark.timeout(300)
async def test_a_used_up_log_quota_ends_in_a_line_that_says_how_many_are_missing(
    connection: Connection, process: MetricsProcess
) -> None:
    runtime_id = unique_id()
    await request_runtime(connection, runtime_id, 1)
    for number in range(1, 13):
        position = await send(connection, log_batch(runtime_id, number, ["x" * 1000] * 100))
    async with metrics_client(process.address) as client:
        answer = await client.logs.QueryLogs(
            log_pb.QueryLogsRequest(parent=f"runtimes/{runtime_id}", page_size=5000, min_telemetry_sequence=position)
        )
        *lines, marker = answer.entries
        assert len(lines) == 1000
        assert marker.text == "200 lines dropped: the log quota of 1 MB of this runtime is used up"
        search = log_pb.LogFilter(text="lines dropped")
        found = await client.logs.QueryLogs(log_pb.QueryLogsRequest(parent=f"runtimes/{runtime_id}", filter=search))
        assert [entry.text for entry in found.entries] == [marker.text]
        completeness = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=f"runtimes/{runtime_id}"))
        (sender,) = completeness.senders
        assert (sender.sent_items, sender.stored_items) == (1200, 1200)


@pytest.mark.timeout(300)
async def test_a_batch_with_too_many_series_is_refused_and_said_to_be(
    connection: Connection, process: MetricsProcess
) -> None:
    """Also after a restart, which knows from ClickHouse what series there are."""
    runtime_id = unique_id()
    names = [f"s{number}" for number in range(MAX_SERIES - 1)]
    for number, start in enumerate(range(0, len(names), 1_000), start=1):
        await send(
            connection, step_batch(runtime_id, number, [1], {key: [0.0] for key in names[start : start + 1_000]})
        )
    position = await send(connection, step_batch(runtime_id, 11, [1], {"x": [1.0]}))
    assert await points_of(process, runtime_id, position) == 1
    await asyncio.to_thread(process.stop)
    await asyncio.to_thread(process.start)
    await send(connection, step_batch(runtime_id, 12, [2], {"x": [1.0], "one-too-many": [1.0]}))
    position = await send(connection, step_batch(runtime_id, 13, [3], {"x": [1.0]}))
    assert await points_of(process, runtime_id, position) == 2
    async with metrics_client(process.address) as client:
        answer = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=f"runtimes/{runtime_id}"))
    (sender,) = answer.senders
    assert (sender.dropped_batches, answer.dropped_points) == (1, 2), answer


@pytest.mark.timeout(300)
async def test_a_second_writer_says_who_holds_the_directory_and_takes_over(
    connection: Connection, process: MetricsProcess
) -> None:
    runtime_id = unique_id()
    second = MetricsProcess(process.data_dir, process.nats_url)
    assert process.process is not None
    holder = process.process.pid
    try:
        await asyncio.to_thread(second.start, wait_serving=False)
        async with metrics_client(second.address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.metrics.ListSeries(pb.ListSeriesRequest(parent=f"runtimes/{runtime_id}/trials/1"))
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        await asyncio.to_thread(
            wait_until, lambda: f"is in use by process {holder} on" in process.log_path.read_text(), "it says who", 60.0
        )
        position = await send(connection, step_batch(runtime_id, 1, [1], {"x": [1.0]}))
        assert await points_of(process, runtime_id, position) == 1
        await asyncio.to_thread(process.kill)
        await asyncio.to_thread(wait_until, second.is_serving, "the second takes over", 60.0)
        position = await send(connection, step_batch(runtime_id, 2, [2], {"x": [2.0]}))
        assert await points_of(second, runtime_id, position) == 2
    finally:
        await asyncio.to_thread(second.kill)

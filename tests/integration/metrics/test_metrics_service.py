"""The metric service as users meet it: a process, fed through TELEMETRY, asked over gRPC."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pyarrow as pa
import pytest

from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.telemetry import Telemetry, steps_subject, stored_subject
from services.metrics.serving.series_stream import HOLD_SECONDS
from tests.support.servers.metrics_service import (
    INTERFACES,
    START_MS,
    MetricsClient,
    MetricsProcess,
    clickhouse_environment,
    log_batch,
    metrics_client,
    send,
    start_attempt,
    step_batch,
)
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.events import NO_MOMENTS, unique_id


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module", params=INTERFACES)
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


@pytest.fixture
async def client(process: MetricsProcess) -> AsyncIterator[MetricsClient]:
    async with metrics_client(process.address) as client:
        yield client


def trial_of(runtime_id: str, trial: int = 1) -> str:
    return f"runtimes/{runtime_id}/trials/{trial}"


async def test_what_was_logged_is_answered_bit_for_bit(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    values = np.random.default_rng(1).normal(size=500)
    values[[3, 4, 5]] = np.nan, np.inf, -np.inf
    sequence = await send(connection, step_batch(runtime_id, 1, range(1, 501), {"train/loss": values}))
    answer = await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(
            parents=[trial_of(runtime_id)], keys=["train/loss"], min_telemetry_sequence=sequence, bucket_count=1000
        )
    )
    (series,) = answer.series
    assert series.raw
    assert list(series.first_steps) == list(range(1, 501))
    assert np.array(series.lasts).tobytes() == values.tobytes()
    assert (series.nan_counts[3], series.positive_infinity_counts[4], series.negative_infinity_counts[5]) == (1, 1, 1)


async def test_rows_that_were_sent_just_before_are_exported(connection: Connection, client: MetricsClient) -> None:
    """Whoever tries a rule on a run that has just ended sees it whole."""
    runtime_id = unique_id()
    sequence = await send(connection, step_batch(runtime_id, 1, range(1, 301), {"train/loss": np.ones(300)}))
    request = pb.ExportRowsRequest(name=f"runtimes/{runtime_id}", table="points", min_telemetry_sequence=sequence)
    content = b"".join([piece.arrow async for piece in client.metrics.ExportRows(request)])
    with pa.ipc.open_stream(content) as reader:
        assert reader.read_all()["kind"].to_pylist().count("point") == 300
    request.min_telemetry_sequence = sequence + 1_000
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.metrics.ExportRows(request).read()
    assert refused.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_a_spike_is_in_the_buckets_at_every_zoom(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    values = np.zeros(20_000)
    values[12_345 - 1] = 99.0
    sequence = 0
    for number in range(5):
        part = slice(number * 4000, (number + 1) * 4000)
        steps = np.arange(part.start + 1, part.stop + 1)
        sequence = await send(connection, step_batch(runtime_id, number + 1, steps, {"x": values[part]}))
    for bucket_count in (1, 2, 5, 16, 150, 3000, 10_000):
        answer = await client.metrics.QuerySeries(
            pb.QuerySeriesRequest(
                parents=[trial_of(runtime_id)], keys=["x"], bucket_count=bucket_count, min_telemetry_sequence=sequence
            )
        )
        (series,) = answer.series
        assert len(series.first_steps) <= max(bucket_count, 1)
        assert max(series.maxs) == 99.0
        assert sum(series.counts) == 20_000
        at = list(series.maxs).index(99.0)
        assert series.first_steps[at] <= 12_345 <= series.last_steps[at]
        if series.bucket_width > 1:
            assert {first // series.bucket_width for first in series.first_steps} == {
                last // series.bucket_width for last in series.last_steps
            }


async def test_a_resumed_attempt_cuts_the_curve_and_keeps_the_abandoned_tail(
    connection: Connection, client: MetricsClient
) -> None:
    runtime_id = unique_id()
    log = JetStreamLog(connection)
    await start_attempt(log, runtime_id, 1)
    await send(connection, step_batch(runtime_id, 1, range(1, 1001), {"x": np.full(1000, 1.0)}))
    sequence = await start_attempt(log, runtime_id, 2, restored_step=600)
    position = await send(connection, step_batch(runtime_id, 1, range(601, 801), {"x": np.full(200, 2.0)}, attempt=2))
    for bucket_count in (3, 20, 1000):
        request = pb.QuerySeriesRequest(
            parents=[trial_of(runtime_id)],
            keys=["x"],
            bucket_count=bucket_count,
            min_telemetry_sequence=position,
            include_superseded=True,
        )
        answer = await client.metrics.QuerySeries(request)
        assert answer.events_sequence >= sequence
        owned, tail = answer.series
        assert (owned.superseded, tail.superseded, tail.attempt) == (False, True, 1)
        assert sum(owned.counts) == 800
        assert sum(count * mean for count, mean in zip(owned.counts, owned.means, strict=True)) == 600 + 200 * 2
        assert (min(tail.first_steps), max(tail.last_steps), sum(tail.counts)) == (601, 1000, 400)
    before = pb.QuerySeriesRequest(parents=[trial_of(runtime_id)], keys=["x"], bucket_count=4)
    before.as_of.events_sequence = sequence - 1
    (series,) = (await client.metrics.QuerySeries(before)).series
    assert sum(series.counts) == 1000


async def series_in_pages(client: Any, whole: Sequence[pb.SeriesSummary], parents: list[str]) -> list[int]:
    """Read series two at a time, and prove that they are those of the whole. Returns how many each page had."""
    pages: list[list[pb.SeriesSummary]] = []
    token = last = ""
    while token or not pages:
        request = pb.ListSeriesRequest(parents=parents, page_size=2, page_token=token)
        answer = await client.metrics.ListSeries(request)
        pages.append(list(answer.series))
        token, last = answer.next_page_token, token or answer.next_page_token
    assert [one for page in pages for one in page] == list(whole)
    with pytest.raises(grpc.aio.AioRpcError, match="page_token: is not one that was given for this query"):
        await client.metrics.ListSeries(pb.ListSeriesRequest(parents=parents[:1], page_token=last))
    return [len(page) for page in pages]


async def test_an_evaluation_that_runs_again_after_a_resume_counts_instead_of_the_one_before(
    connection: Connection, client: MetricsClient
) -> None:
    """At the step an attempt went on from, what it logs counts, series by series; what gave way is superseded."""
    runtime_id = unique_id()
    log = JetStreamLog(connection)
    await start_attempt(log, runtime_id, 1)
    await send(connection, step_batch(runtime_id, 1, range(1, 1025), {"train/loss": np.full(1024, 1.0)}))
    # The first attempt was stopped within its evaluation at step 1,023, after one of two results.
    await send(connection, step_batch(runtime_id, 2, [1023], {"eval/loss": [9.0]}))
    await start_attempt(log, runtime_id, 2, restored_step=1023)
    again = {"eval/loss": [0.5], "eval/accuracy": [0.75]}
    await send(connection, step_batch(runtime_id, 1, [1023], again, attempt=2))
    position = await send(connection, step_batch(runtime_id, 2, [1024], {"train/loss": [2.0]}, attempt=2))
    keys = ["eval/accuracy", "eval/loss", "train/loss"]
    for bucket_count in (4, 2000):
        request = pb.QuerySeriesRequest(
            parents=[trial_of(runtime_id)], keys=keys, bucket_count=bucket_count,
            min_telemetry_sequence=position, include_superseded=True,
        )  # fmt: skip
        answer = await client.metrics.QuerySeries(request)
        owned = {series.key: series for series in answer.series if not series.superseded}
        assert {key: (sum(owned[key].counts), owned[key].lasts[-1]) for key in keys} == {
            "eval/accuracy": (1, 0.75), "eval/loss": (1, 0.5), "train/loss": (1024, 2.0),
        }  # fmt: skip
        gone = {(series.key, series.attempt): list(series.lasts) for series in answer.series if series.superseded}
        assert gone == {("eval/loss", 1): [9.0], ("train/loss", 1): [1.0]}
    listed = await client.metrics.ListSeries(pb.ListSeriesRequest(parent=trial_of(runtime_id)))
    summaries = {one.key: (one.point_count, one.last, one.best) for one in listed.series}
    assert summaries == {
        "eval/accuracy": (1, 0.75, 0.75), "eval/loss": (1, 0.5, 0.5), "train/loss": (1024, 2.0, 1.0),
    }  # fmt: skip
    other = unique_id()
    later = await send(connection, step_batch(other, 1, [1, 7], {"eval/loss": [4.0, 3.0]}))
    await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(parents=[trial_of(other)], keys=["eval/loss"], min_telemetry_sequence=later)
    )
    both = await client.metrics.ListSeries(pb.ListSeriesRequest(parents=[trial_of(runtime_id), trial_of(other)]))
    of_each = {(one.parent, one.key): (one.point_count, one.last) for one in both.series}
    assert of_each == {
        **{(trial_of(runtime_id), key): value[:2] for key, value in summaries.items()},
        (trial_of(other), "eval/loss"): (2, 3.0),
    }
    assert all(one.last_time_ms > 0 for one in both.series)
    assert await series_in_pages(client, both.series, [trial_of(runtime_id), trial_of(other)]) == [2, 2]
    export = pb.ExportSeriesRequest(parents=[trial_of(runtime_id)], keys=["eval/loss"], include_superseded=True)
    data = b"".join([response.arrow async for response in client.metrics.ExportSeries(export)])
    rows = pa.ipc.open_stream(io.BytesIO(data)).read_all().select(["attempt", "superseded", "value"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(2, False, 0.5), (1, True, 9.0)]
    streamed: list[tuple[str, int, float]] = []
    async for response in client.metrics.StreamSeries(pb.StreamSeriesRequest(parents=[trial_of(runtime_id)])):
        streamed += [
            (block.key, block.attempt, value)
            for block in response.blocks
            for step, value in zip(block.steps, block.values, strict=True)
            if step == 1023
        ]
        if response.caught_up:
            break
    assert sorted(streamed) == [("eval/accuracy", 2, 0.75), ("eval/loss", 2, 0.5), ("train/loss", 1, 1.0)]


async def test_repeated_batches_are_dropped_and_missing_ones_named(
    connection: Connection, client: MetricsClient
) -> None:
    runtime_id = unique_id()
    subscription = await connection.subscribe(stored_subject(runtime_id, 1, 1))
    for number in (1, 2, 2, 5, 1):
        sequence = await send(connection, step_batch(runtime_id, number, [number], {"x": [1.0]}))
    tombstone = telemetry.StepBatch(
        sender=telemetry.Sender(runtime_id=runtime_id, trial=1, attempt=1, source="rank-0"),
        number=4,
        tombstone=telemetry.Tombstone(point_count=7, first_step=4, last_step=4, reason="the spool was full"),
    )
    sequence = await send(connection, tombstone)
    await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(parents=[trial_of(runtime_id)], keys=["x"], min_telemetry_sequence=sequence)
    )
    answer = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=trial_of(runtime_id)))
    (sender,) = answer.senders
    assert (sender.sent_batches, sender.stored_batches, sender.duplicate_batches, sender.dropped_batches) == (
        5,
        3,
        2,
        1,
    )
    assert [(gap.first, gap.last) for gap in sender.gaps] == [(3, 3)]
    assert (answer.sent_points, answer.stored_points, answer.dropped_points) == (10, 3, 7)
    told = telemetry.Stored()
    async with asyncio.timeout(20):
        while [(r.first, r.last) for r in told.ranges] != [(1, 2), (4, 5)]:
            for message in await subscription.next_batch(1.0):
                told = telemetry.Stored.FromString(message.body)
    assert all((r.source, r.kind) == ("rank-0", "steps") for r in told.ranges)


async def test_unreadable_batches_of_nobody_do_not_hide_who_has_gaps(
    connection: Connection, client: MetricsClient
) -> None:
    """Messages that no batch can be read from, and that no header gives a number, beside a sender whose second is missing."""
    runtime_id = unique_id()
    for body in (b"\xff", b"\xfe"):
        await Telemetry(connection).publish(steps_subject(runtime_id, 1, 1), body, {})
    await send(connection, step_batch(runtime_id, 1, range(1, 11), {"x": np.zeros(10)}))
    sequence = await send(connection, step_batch(runtime_id, 3, range(21, 31), {"x": np.zeros(10)}))
    await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(parents=[trial_of(runtime_id)], keys=["x"], min_telemetry_sequence=sequence)
    )
    answer = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=trial_of(runtime_id)))
    assert answer.gap_count == 1
    assert [(sender.source, [(gap.first, gap.last) for gap in sender.gaps]) for sender in answer.senders] == [
        ("rank-0", [(2, 2)])
    ]


async def test_a_stream_goes_from_stored_to_live_points_without_a_seam(
    connection: Connection, client: MetricsClient
) -> None:
    runtime_id = unique_id()
    received: list[int] = []
    await start_attempt(JetStreamLog(connection), runtime_id, 1)
    sending = asyncio.create_task(_send_steadily(connection, runtime_id, 60))
    async with asyncio.timeout(60):
        async for response in client.metrics.StreamSeries(pb.StreamSeriesRequest(parents=[trial_of(runtime_id)])):
            for block in response.blocks:
                received += block.steps
            if len(received) >= 600:
                break
    await sending
    assert received == list(range(1, 601))


async def _send_steadily(connection: Connection, runtime_id: str, batches: int) -> None:
    for number in range(batches):
        steps = range(number * 10 + 1, number * 10 + 11)
        await send(connection, step_batch(runtime_id, number + 1, steps, {"x": [float(s) for s in steps]}))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("seconds", [0.5, HOLD_SECONDS + 1.0], ids=["soon", "late"])
async def test_points_that_come_before_the_event_of_their_attempt_are_streamed_too(
    connection: Connection, client: MetricsClient, seconds: float
) -> None:
    """Events go through the driver of an attempt, points do not: either may be first."""
    runtime_id = unique_id()
    log = JetStreamLog(connection)
    await start_attempt(log, runtime_id, 1)
    await send(connection, step_batch(runtime_id, 1, range(1, 11), {"x": [1.0] * 10}))
    received: list[tuple[int, int]] = []

    async def resume() -> None:
        for number in (1, 2):
            await send(connection, step_batch(runtime_id, number, [5 + number], {"x": [2.0]}, attempt=2))
        await asyncio.sleep(seconds)
        await start_attempt(log, runtime_id, 2, restored_step=5)
        await send(connection, step_batch(runtime_id, 3, [8], {"x": [2.0]}, attempt=2))

    positions = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as others:
        async for response in client.metrics.StreamSeries(pb.StreamSeriesRequest(parents=[trial_of(runtime_id)])):
            if response.caught_up:
                others.create_task(resume())
            if response.blocks:
                positions.append(response.telemetry_sequence)
            received += [(block.attempt, step) for block in response.blocks for step in block.steps]
            if (2, 8) in received:
                break
    assert received == [*((1, step) for step in range(1, 11)), (2, 6), (2, 7), (2, 8)]
    assert positions == sorted(positions)


async def test_a_stream_goes_on_after_the_position_it_had(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    await _send_steadily(connection, runtime_id, 5)
    position = await send(connection, step_batch(runtime_id, 6, [51], {"x": [51.0]}))
    await send(connection, step_batch(runtime_id, 7, [52], {"x": [52.0]}))
    request = pb.StreamSeriesRequest(parents=[trial_of(runtime_id)], after_telemetry_sequence=position)
    received: list[int] = []
    async with asyncio.timeout(30):
        async for response in client.metrics.StreamSeries(request, wait_for_ready=True):
            for block in response.blocks:
                received += block.steps
            if response.caught_up:
                break
    assert received == [52]


async def test_an_export_is_one_arrow_stream_with_every_point(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    position = await send(connection, step_batch(runtime_id, 1, range(1, 301), {"a": range(300), "b": range(300)}))
    await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(parents=[trial_of(runtime_id)], keys=["a"], min_telemetry_sequence=position)
    )
    request = pb.ExportSeriesRequest(parents=[trial_of(runtime_id)])
    data = b"".join([response.arrow async for response in client.metrics.ExportSeries(request)])
    rows = pa.ipc.open_stream(io.BytesIO(data)).read_all()
    assert rows.column_names == ["runtime", "trial", "attempt", "superseded", "key", "step", "time", "value"]
    assert rows["step"].to_pylist() == list(range(1, 301)) * 2
    assert rows["key"].to_pylist() == ["a"] * 300 + ["b"] * 300


@pytest.mark.parametrize("limit", [0, 100_000])
async def test_an_export_comes_in_pieces_that_clients_take(
    connection: Connection, client: MetricsClient, limit: int
) -> None:
    """Of a series with a long name, each of whose points carries it."""
    runtime_id = unique_id()
    key = f"train/{'long/' * 40}name"
    position = await send(connection, step_batch(runtime_id, 1, range(1, 20_001), {key: np.arange(20_000)}))
    await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(parents=[trial_of(runtime_id)], keys=[key], min_telemetry_sequence=position)
    )
    request = pb.ExportSeriesRequest(parents=[trial_of(runtime_id)], limit=limit)
    pieces = [response.arrow async for response in client.metrics.ExportSeries(request)]
    assert len(pieces) > 1 and max(len(piece) for piece in pieces) < 3 << 20
    rows = pa.ipc.open_stream(io.BytesIO(b"".join(pieces))).read_all()
    assert rows["step"].to_pylist() == list(range(1, 20_001))


async def test_a_part_of_an_export_is_all_that_is_read(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    position = await send(connection, step_batch(runtime_id, 1, range(1, 301), {"a": range(300), "b": range(300)}))
    await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(parents=[trial_of(runtime_id)], keys=["a"], min_telemetry_sequence=position)
    )

    async def part(**wanted: Any) -> pa.Table:
        request = pb.ExportSeriesRequest(parents=[trial_of(runtime_id)], **wanted)
        data = b"".join([response.arrow async for response in client.metrics.ExportSeries(request)])
        return pa.ipc.open_stream(io.BytesIO(data)).read_all()

    parts = [await part(keys=["a"], skip=skip, limit=128) for skip in range(0, 512, 128)]
    assert [rows.num_rows for rows in parts] == [128, 128, 44, 0]
    steps = [step for rows in parts for step in rows["step"].to_pylist()]
    assert steps == list(range(1, 301))
    first = await part(limit=4)
    assert first["step"].to_pylist() == [1, 1, 2, 2], "of all series, in order of time"
    assert first.column_names == ["runtime", "trial", "attempt", "superseded", "key", "step", "time", "value"]
    for wanted in ({"limit": 100_001}, {"limit": -1}, {"skip": 1}, {"limit": 1, "include_superseded": True}):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await part(**wanted)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, wanted


async def test_log_lines_are_folded_searched_and_followed(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    lines = ["starting", "10%\r50%\r100% done", "\x1b[31mError: \x1b[0mout of memory", "50%_off", "naïve"]
    await send(connection, log_batch(runtime_id, 1, lines))
    request = log_pb.StreamLogsRequest(parent=trial_of(runtime_id))
    texts: list[str] = []
    position = 0
    async with asyncio.timeout(30):
        async for response in client.logs.StreamLogs(request):
            texts += [entry.text for entry in response.entries]
            position = response.telemetry_sequence
            if response.caught_up:
                await send(connection, log_batch(runtime_id, 2, ["last"]))
            if texts and texts[-1] == "last":
                break
    assert texts == ["starting", "100% done", "\x1b[31mError: \x1b[0mout of memory", "50%_off", "naïve", "last"]

    async def found(**wanted: object) -> list[str]:
        answer = await client.logs.QueryLogs(
            log_pb.QueryLogsRequest(
                parent=trial_of(runtime_id),
                filter=log_pb.LogFilter(**wanted),  # type: ignore[arg-type]
                min_telemetry_sequence=position,
            )
        )
        assert answer.total_size == len(answer.entries)
        return [entry.text for entry in answer.entries]

    assert await found(text="error: OUT") == ["\x1b[31mError: \x1b[0mout of memory"]
    assert await found(text="0%_o") == ["50%_off"]
    assert await found(text="NAÏVE") == ["naïve"]
    assert await found(regular_expression=r"^\d+%") == ["100% done", "50%_off"]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await found(regular_expression="(")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_search_is_paged_from_both_ends_and_says_where_each_page_stands(
    connection: Connection, client: MetricsClient
) -> None:
    """Over trials too; whether text, a regular expression, or nothing is searched for."""
    runtime_id = unique_id()
    texts = [f"step {n} " + ("Needle-" if n % 3 == 0 else "straw-") + str(n) for n in range(120)]
    lines = [telemetry.LogLine(time_ms=START_MS + n, text=text) for n, text in enumerate(texts)]
    for part, (trial, number) in enumerate(((1, 1), (2, 1), (1, 2))):
        batch = log_batch(runtime_id, number, lines[40 * part : 40 * part + 40], trial=trial)
        position = await send(connection, batch)

    async def page(filter: log_pb.LogFilter, **wanted: Any) -> log_pb.QueryLogsResponse:
        request = log_pb.QueryLogsRequest(
            parent=f"runtimes/{runtime_id}", filter=filter, page_size=15, min_telemetry_sequence=position, **wanted
        )
        return await client.logs.QueryLogs(request)

    async def walk(filter: log_pb.LogFilter, expected: list[str], backwards: bool) -> None:
        seen: list[str] = []
        cursor = ""
        while True:
            answer = await page(filter, cursor=cursor, backwards=backwards)
            found = [entry.text for entry in answer.entries]
            assert answer.total_size == len(expected)
            assert answer.first_index == (len(expected) - len(seen) - len(found) if backwards else len(seen))
            seen = found + seen if backwards else seen + found
            cursor = answer.next_cursor
            if not cursor:
                break
        assert seen == expected

    needles = [text for text in texts if "Needle" in text]
    filters: tuple[tuple[log_pb.LogFilter, list[str]], ...] = (
        (log_pb.LogFilter(), texts),
        (log_pb.LogFilter(text="needle-"), needles),
        (log_pb.LogFilter(regular_expression="Needle-[0-9]+$"), needles),
        (log_pb.LogFilter(text="nowhere to be found"), []),
    )
    for filter, expected in filters:
        await walk(filter, expected, backwards=False)
        await walk(filter, expected, backwards=True)
        skipped = await page(filter, skip=10)
        assert [entry.text for entry in skipped.entries] == expected[10:25]
        assert skipped.first_index == (10 if expected else 0)
        skipped = await page(filter, skip=10, backwards=True)
        assert [entry.text for entry in skipped.entries] == expected[-25:-10]
        assert skipped.first_index == max(0, len(expected) - 25)


async def test_lines_are_counted_by_what_they_are(connection: Connection, client: MetricsClient) -> None:
    """By level, rank, attempt and stream, of those that a filter leaves."""
    runtime_id = unique_id()
    error, info = telemetry.LOG_LEVEL_ERROR, telemetry.LOG_LEVEL_INFO
    out, err = telemetry.LOG_STREAM_STDOUT, telemetry.LOG_STREAM_STDERR
    kinds = [(info, 0, out)] * 5 + [(info, 1, out)] * 3 + [(error, 1, err)] * 2
    lines = [
        telemetry.LogLine(time_ms=START_MS + n, level=level, rank=rank, stream=stream, text=f"line {n}")
        for n, (level, rank, stream) in enumerate(kinds)
    ]
    position = await send(connection, log_batch(runtime_id, 1, lines))
    stored = log_pb.QueryLogsRequest(parent=trial_of(runtime_id), min_telemetry_sequence=position)
    await client.logs.QueryLogs(stored)

    async def counted(**wanted: Any) -> list[dict[str, int]]:
        filter = log_pb.LogFilter(**wanted)
        request = log_pb.ListLogFacetsRequest(parent=trial_of(runtime_id), filter=filter)
        facets = await client.logs.ListLogFacets(request)
        return [
            {facet.value: facet.count for facet in of_kind}
            for of_kind in (facets.levels, facets.ranks, facets.attempts, facets.streams)
        ]

    assert await counted() == [{"INFO": 8, "ERROR": 2}, {"0": 5, "1": 5}, {"1": 10}, {"STDOUT": 8, "STDERR": 2}]
    assert await counted(ranks=[1], text="line") == [
        {"INFO": 3, "ERROR": 2},
        {"1": 5},
        {"1": 5},
        {"STDOUT": 3, "STDERR": 2},
    ]
    assert await counted(text="nowhere") == [{}, {}, {}, {}]


async def test_a_query_that_failed_leaves_nothing_in_the_answers_of_later_ones(
    connection: Connection, client: MetricsClient
) -> None:
    runtime_id = unique_id()
    await send(connection, log_batch(runtime_id, 1, ["a line"]))
    position = await send(connection, step_batch(runtime_id, 1, range(1, 4001), {"x": range(4000)}))
    broken = log_pb.QueryLogsRequest(
        parent=trial_of(runtime_id), filter=log_pb.LogFilter(regular_expression="("), min_telemetry_sequence=position
    )
    sound = pb.QuerySeriesRequest(
        parents=[trial_of(runtime_id)], keys=["x"], bucket_count=10, min_telemetry_sequence=position
    )
    for _ in range(8):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.logs.QueryLogs(broken)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        answers = await asyncio.gather(*(client.metrics.QuerySeries(sound) for _ in range(4)))
        assert all(sum(answer.series[0].counts) == 4000 for answer in answers)


async def test_several_trials_are_answered_in_one_call(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    sizes = {1: 10, 2: 3000, 3: 5000}
    for trial, size in sizes.items():
        position = await send(
            connection, step_batch(runtime_id, 1, range(1, size + 1), {"x": range(size), "y": range(size)}, trial=trial)
        )
    answer = await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(
            parents=[trial_of(runtime_id, trial) for trial in sizes],
            keys=["x", "y"],
            bucket_count=100,
            min_telemetry_sequence=position,
            axis=pb.AXIS_RELATIVE_TIME,
        )
    )
    found = {(series.parent, series.key): series for series in answer.series}
    assert len(found) == 6
    for trial, size in sizes.items():
        for key in ("x", "y"):
            series = found[trial_of(runtime_id, trial), key]
            assert (sum(series.counts), series.raw) == (size, size <= 100)
            assert series.positions[-1] == pytest.approx((size - 1) * 0.01)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.QuerySeriesRequest(), {"parents", "keys"}),
        (pb.QuerySeriesRequest(parents=["runtimes/../trials/1"], keys=["a\nb"]), {"parents[0]", "keys[0]"}),
        (
            pb.QuerySeriesRequest(parents=["runtimes/a/trials/1"], keys=["a"], bucket_count=10_001, first_step=-1),
            {"bucket_count", "first_step"},
        ),
        *(
            (pb.QuerySeriesRequest(parents=["runtimes/a/trials/1"], keys=["a"], as_of=moment), {"as_of"})
            for moment in NO_MOMENTS
        ),
    ],
)
async def test_bad_queries_are_refused_with_every_violation(
    client: MetricsClient, request_: pb.QuerySeriesRequest, fields: set[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.metrics.QuerySeries(request_)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert all(field in (refused.value.details() or "") for field in fields)


async def test_what_nobody_has_heard_of_is_not_found(connection: Connection, client: MetricsClient) -> None:
    """By every query, and not as nothing: a mistyped id would have `0 sent = 0 stored, 0 gaps`."""
    known = unique_id()
    await start_attempt(JetStreamLog(connection), known, 1)
    for parent in (trial_of(unique_id()), trial_of(known, 2)):
        calls = [
            client.metrics.ListSeries(pb.ListSeriesRequest(parent=parent)),
            client.metrics.QuerySeries(pb.QuerySeriesRequest(parents=[trial_of(known), parent], keys=["a"])),
            client.metrics.StreamSeries(pb.StreamSeriesRequest(parents=[parent])).read(),
            client.metrics.ExportSeries(pb.ExportSeriesRequest(parents=[parent])).read(),
            client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=parent)),
            client.metrics.CheckDeterminism(pb.CheckDeterminismRequest(parent=parent)),
            client.metrics.VerifyStored(pb.VerifyStoredRequest(parent=parent)),
            client.logs.QueryLogs(log_pb.QueryLogsRequest(parent=parent)),
            client.logs.StreamLogs(log_pb.StreamLogsRequest(parent=parent)).read(),
            client.logs.ListLogFacets(log_pb.ListLogFacetsRequest(parent=parent)),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    answer = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=f"runtimes/{known}"))
    assert answer.message.endswith("0 known, 0 stored")


async def test_a_follower_ahead_of_telemetry_is_told_to_begin_again(
    connection: Connection, client: MetricsClient
) -> None:
    runtime_id = unique_id()
    sequence = await send(connection, log_batch(runtime_id, 1, ["a line"]))
    query = log_pb.QueryLogsRequest(parent=trial_of(runtime_id), min_telemetry_sequence=sequence)
    cursor = (await client.logs.QueryLogs(query)).entries[0].cursor
    stream_id = cursor.partition("-")[0]
    calls = [
        client.metrics.StreamSeries(
            pb.StreamSeriesRequest(parents=[trial_of(runtime_id)], after_telemetry_sequence=2**40)
        ).read(),
        *(
            client.logs.StreamLogs(log_pb.StreamLogsRequest(parent=trial_of(runtime_id), cursor=ahead)).read()
            for ahead in (f"{stream_id}-{2**40:012x}-00000", f"{int(stream_id, 16) + 1:016x}-000000000001-00000")
        ),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError, match="begin again without a position") as refused:
            await call
        assert refused.value.code() == grpc.StatusCode.OUT_OF_RANGE


async def test_an_answer_with_many_series_fits_into_what_clients_take(
    connection: Connection, client: MetricsClient
) -> None:
    """With fewer buckets; a series that has few points keeps all of them."""
    runtime_id = unique_id()
    keys = [f"series/{number}" for number in range(100)]
    for number in range(2):
        values = {key: np.arange(1_000) for key in keys}
        steps = range(number * 1_000 + 1, number * 1_000 + 1_001)
        position = await send(connection, step_batch(runtime_id, number + 1, steps, values))
    position = await send(connection, step_batch(runtime_id, 3, range(1, 51), {"short": np.arange(50)}))
    answer = await client.metrics.QuerySeries(
        pb.QuerySeriesRequest(
            parents=[trial_of(runtime_id)],
            keys=["short", *keys[1:]],
            bucket_count=10_000,
            min_telemetry_sequence=position,
            axis=pb.AXIS_WALL_TIME,
        )
    )
    assert 1 << 20 < answer.ByteSize() < 4 << 20
    assert {series.key: sum(series.counts) for series in answer.series} == {
        **dict.fromkeys(keys[1:], 2_000),
        "short": 50,
    }
    assert next(series for series in answer.series if series.key == "short").raw

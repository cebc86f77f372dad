"""Samples as users meet them: sent through TELEMETRY, asked for over gRPC, cut by resumes, removed with their runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio
import numpy as np
import pytest

from milepost.api.config.v1 import configuration_pb2 as configuration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_events
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import Row
from milepost.eventlog import runtime_chain, runtime_subject
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from tests.support.servers.metrics_service import (
    MetricsClient,
    MetricsProcess,
    metrics_client,
    send,
    start_attempt,
    step_batch,
)
from tests.support.servers.servers import NatsServer
from tests.support.trainers.events import new_event, unique_id

SAMPLE = telemetry.ROW_FORM_SAMPLE


@pytest.fixture(scope="module")
def process(shared_nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsProcess]:
    running = MetricsProcess(tmp_path_factory.mktemp("data"), shared_nats.url)
    running.start()
    yield running
    running.kill()


@pytest.fixture
async def client(process: MetricsProcess) -> AsyncIterator[MetricsClient]:
    async with metrics_client(process.address) as client:
        yield client


def trial_of(runtime_id: str) -> str:
    return f"runtimes/{runtime_id}/trials/1"


def sample(step: int, prompt: str, completion: str, **more: object) -> Row:
    scores = more.pop("scores", {})
    row = Row(key="eval/samples", step=step, time_ms=step, form=SAMPLE, prompt=prompt, completion=completion, **more)  # type: ignore[arg-type]
    for name, value in dict(scores).items():  # type: ignore[call-overload]
        row.scores.add(name=name, value=value)
    return row


async def send_rows(
    connection: Connection, runtime_id: str, number: int, rows: list[Row], attempt: int = 1, copies: int = 1
) -> int:
    """Send rows beside a point, as a trainer does. Returns the position of the last copy."""
    batch = step_batch(runtime_id, number, [rows[-1].step], {"x": [0.0]}, attempt=attempt)
    batch.rows.extend(rows)
    return [await send(connection, batch) for _ in range(copies)][-1]


async def samples(client: MetricsClient, runtime_id: str, **more: object) -> list[pb.Sample]:
    answer = await client.metrics.ListSamples(pb.ListSamplesRequest(parents=[trial_of(runtime_id)], **more))  # type: ignore[arg-type]
    return list(answer.samples)


async def test_what_was_logged_is_answered_once_and_can_be_searched(
    connection: Connection, client: MetricsClient
) -> None:
    runtime_id = unique_id()
    rows = [
        sample(step, f"What is {member // 2}?", f"Answer {step}: {'Zebra ß' if step == 20 and member == 3 else 'horse'}",
               group=f"g{member // 2}", tags=["odd"] if member % 2 else [], scores={"reward": member / 10 + step, "kl": -1.0})
        for step in (10, 20)
        for member in range(4)
    ]  # fmt: skip
    position = await send_rows(connection, runtime_id, 1, rows, copies=2)
    found = await samples(client, runtime_id, min_telemetry_sequence=position)
    assert [one.row for one in found] == rows[4:] + rows[:4]
    assert {one.attempt for one in found} == {1}
    assert len({one.prompt_id for one in found}) == 2

    async def steps_and_groups(**filters: object) -> list[tuple[int, str]]:
        return [(one.row.step, one.row.group) for one in await samples(client, runtime_id, **filters)]

    assert [one.row.step for one in await samples(client, runtime_id, oldest_first=True)] == [10] * 4 + [20] * 4
    assert await steps_and_groups(latest=True, last_step=19) == [(10, g) for g in ("g0", "g0", "g1", "g1")]
    assert await steps_and_groups(text="zEBRA") == [(20, "g1")]
    assert await steps_and_groups(text="ß") == [(20, "g1")]
    assert await steps_and_groups(prompt_text="zebra") == []
    assert len(await samples(client, runtime_id, prompt_text="what is 1")) == 4
    assert await samples(client, runtime_id, text="100%_") == []
    assert await steps_and_groups(group="g1", tag="odd") == [(20, "g1"), (10, "g1")]
    assert await steps_and_groups(scores=["reward >= 20.1", "reward<20.3", "kl = -1"]) == [(20, "g0"), (20, "g1")]
    of_prompt = await samples(client, runtime_id, prompt_id=found[0].prompt_id)
    assert {one.row.prompt for one in of_prompt} == {"What is 0?"} and len(of_prompt) == 4
    with pytest.raises(grpc.aio.AioRpcError, match="one of < <= = >= >"):
        await samples(client, runtime_id, scores=["reward above 3"])


async def test_pages_have_every_row_once_in_either_order(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    for number in range(1, 4):
        rows = [sample(step, "p", f"{number} {step}") for step in (5, 5, 5, 7)]
        position = await send_rows(connection, runtime_id, number, rows)
    whole = await samples(client, runtime_id, min_telemetry_sequence=position)
    for oldest_first in (False, True):
        request = pb.ListSamplesRequest(parents=[trial_of(runtime_id)], page_size=5, oldest_first=oldest_first)
        found, sizes = [], []
        while True:
            answer = await client.metrics.ListSamples(request)
            found += [one.row.completion for one in answer.samples]
            sizes.append(len(answer.samples))
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        assert sizes == [5, 5, 2]
        assert sorted(found) == sorted(one.row.completion for one in whole)
    request.oldest_first = False
    with pytest.raises(grpc.aio.AioRpcError, match="page_token"):
        await client.metrics.ListSamples(request)


async def test_a_resume_cuts_samples_where_it_cuts_the_curves(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    log = JetStreamLog(connection)
    await start_attempt(log, runtime_id, 1)
    first = [sample(step, "p", f"first {step}") for step in (10, 20, 30, 40)]
    await send_rows(connection, runtime_id, 1, first)
    await start_attempt(log, runtime_id, 2, restored_step=20)
    # An evaluation that was interrupted runs again at the step that was restored.
    second = [sample(step, "p", f"second {step}") for step in (20, 30)]
    position = await send_rows(connection, runtime_id, 1, second, attempt=2)
    counted = await samples(client, runtime_id, oldest_first=True, min_telemetry_sequence=position)
    assert [one.row.completion for one in counted] == ["first 10", "second 20", "second 30"]
    everything = await samples(client, runtime_id, oldest_first=True, include_superseded=True)
    assert [one.row.completion for one in everything if one.superseded] == ["first 20", "first 30", "first 40"]
    assert len(everything) == 6
    (series,) = (await client.metrics.ListSampleSeries(pb.ListSampleSeriesRequest(parent=trial_of(runtime_id)))).series
    assert (series.row_count, series.first_step, series.last_step, series.step_count) == (3, 10, 30, 3)


async def test_what_the_quota_leaves_out_is_counted(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    log, chain = JetStreamLog(connection), runtime_chain(runtime_id)
    limits = configuration.Limits(sample_megabytes=1)
    requested = runtime_events.RuntimeRequested(
        runtime_id=runtime_id, configuration=configuration.RuntimeConfiguration(limits=limits)
    )
    await log.append([new_event(runtime_subject(runtime_id), requested)], [await log.head(chain)])
    await start_attempt(log, runtime_id, 1)
    for number in range(1, 5):
        rows = [sample(10 * number + place, "p", "x" * 30_000) for place in range(10)]
        position = await send_rows(connection, runtime_id, number, rows)
    await samples(client, runtime_id, min_telemetry_sequence=position, page_size=1)
    listed = await client.metrics.ListSampleSeries(pb.ListSampleSeriesRequest(parent=trial_of(runtime_id)))
    assert (listed.series[0].row_count, listed.over_quota_count, listed.quota_bytes) == (33, 7, 1_000_000)


async def test_histograms_over_steps_are_those_of_numpy(connection: Connection, client: MetricsClient) -> None:
    runtime_id = unique_id()
    random = np.random.default_rng(3)
    rows, everything = [], []
    for step in range(1, 101):
        counts, edges = np.histogram(random.normal(step / 50, 1, 500), 64, (-8.0, 8.0))
        everything.append(counts)
        rows.append(Row(key="grad", step=step, form=telemetry.ROW_FORM_HISTOGRAM, edges=edges, counts=counts))
    position = await send_rows(connection, runtime_id, 1, rows)
    await samples(client, runtime_id, min_telemetry_sequence=position, page_size=1)
    request = pb.QueryHistogramsRequest(parent=trial_of(runtime_id), key="grad", bucket_count=10, bin_count=16)
    answer = await client.metrics.QueryHistograms(request)
    wanted = np.array(everything).reshape(10, 10, 16, 4).sum(axis=(1, 3))
    assert np.allclose(np.array(answer.counts).reshape(10, 16), wanted)
    assert list(answer.histogram_counts) == [10] * 10 and list(answer.first_steps) == list(range(1, 101, 10))
    assert np.allclose(answer.edges, np.linspace(-8, 8, 17))

"""Whatever is altered in ClickHouse behind the back of the metric service, a comparison with TELEMETRY finds it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from tests.support.servers.metrics_service import ROOT, MetricsProcess, log_batch, metrics_client, send, step_batch
from tests.support.servers.servers import NatsServer

pytestmark = pytest.mark.timeout(300)

# Runs in a process of its own: the database has one owner at a time, and is open for as long as its process lives.
ALTER = """
import asyncio, json, sys
from pathlib import Path
from services.metrics.storage.store import open_embedded
async def main():
    store = await open_embedded(Path(sys.argv[1]))
    for statement in json.loads(sys.argv[2]):
        await store.command(statement)
    await store.close()
asyncio.run(main())
"""
AT_ONCE = "SETTINGS mutations_sync = 1"
POINT = "runtime, trial, key, attempt, step, time_ms, value, source, number, kind, items, note, stream_id, log_seq, log_time_ms"


def copy(runtime_id: str, column: str = "", value: str = "") -> str:
    """The point of step 3 once more, perhaps with another value in a column."""
    columns = ", ".join(value if name == column else name for name in POINT.split(", "))
    return (
        f"INSERT INTO points ({POINT}) SELECT {columns} FROM points "
        f"WHERE runtime = '{runtime_id}' AND key = 'x' AND step = 3"
    )


# By runtime: what is done to its rows, and what is said of it.
ALTERED: dict[str, tuple[list[str], str]] = {
    "value": (
        [
            f"ALTER TABLE points UPDATE value = value + 1e-9 WHERE runtime = 'value' AND key = 'x' AND step = 3 {AT_ONCE}"
        ],
        "8 points sent, 8 stored, or other values",
    ),
    "time": (
        [
            f"ALTER TABLE points UPDATE time_ms = time_ms + 1 WHERE runtime = 'time' AND key = 'x' AND step = 3 {AT_ONCE}"
        ],
        "8 points sent, 8 stored, or other values",
    ),
    "point": (["DELETE FROM points WHERE runtime = 'point' AND key = 'x' AND step = 3"], "8 points sent, 7 stored"),
    "message": (["DELETE FROM points WHERE runtime = 'message' AND log_seq > 0"], "is not in ClickHouse"),
    "outcome": (
        [f"ALTER TABLE points UPDATE kind = 'duplicate' WHERE runtime = 'outcome' AND key = '' {AT_ONCE}"],
        "0 points sent, 8 stored",
    ),
    "again": ([copy("again")], "8 points sent, 9 stored"),
    "attempt": (
        [
            copy("attempt", "attempt", "2"),
            "DELETE FROM points WHERE runtime = 'attempt' AND key = 'x' AND step = 3 AND attempt = 1",
        ],
        "is stored as sent by rank-0 as batch 1 of attempt 2",
    ),
    "made-up": (
        [copy("made-up", "log_seq", "log_seq + 1")],
        "1 row of points of made-up came by no message of TELEMETRY",
    ),
    "text": (
        [
            f"ALTER TABLE logs UPDATE text = 'all is well' WHERE runtime = 'text' AND line = 1 AND kind = 'line' {AT_ONCE}"
        ],
        "3 lines sent, 3 stored, or other values",
    ),
    "line": (["DELETE FROM logs WHERE runtime = 'line' AND line = 1 AND kind = 'line'"], "3 lines sent, 2 stored"),
}


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


async def test_each_row_that_was_altered_removed_or_added_is_found(
    connection: Connection, process: MetricsProcess
) -> None:
    for runtime_id in (*ALTERED, "untouched"):
        steps = range(1, 5)
        await send(connection, step_batch(runtime_id, 1, steps, {"x": [1.0, 2.0, 3.0, float("nan")], "y": [0.5] * 4}))
        position = await send(connection, log_batch(runtime_id, 1, ["one", "two \x1b[1mbold\x1b[0m", "three\rfour"]))
    async with metrics_client(process.address) as client:
        trial = "runtimes/untouched/trials/1"
        query = pb.QuerySeriesRequest(parents=[trial], keys=["x"], min_telemetry_sequence=position)
        await client.metrics.QuerySeries(query, wait_for_ready=True)
        await client.logs.QueryLogs(log_pb.QueryLogsRequest(parent=trial, min_telemetry_sequence=position))
        whole = await client.metrics.VerifyStored(pb.VerifyStoredRequest())
    runtimes = len(ALTERED) + 1
    assert (whole.difference_count, list(whole.differences)) == (0, [])
    assert (whole.compared_batches, whole.compared_points, whole.compared_lines) == (
        2 * runtimes,
        8 * runtimes,
        3 * runtimes,
    )
    await asyncio.to_thread(process.stop)
    statements = [statement for done, _ in ALTERED.values() for statement in done]
    altered = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", ALTER, str(process.data_dir / "clickhouse"), json.dumps(statements)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert altered.returncode == 0, altered.stderr
    await asyncio.to_thread(process.start)
    async with metrics_client(process.address) as client:
        for runtime_id, (_, said) in ALTERED.items():
            found = await client.metrics.VerifyStored(pb.VerifyStoredRequest(parent=f"runtimes/{runtime_id}"))
            assert found.difference_count == 1, (runtime_id, list(found.differences))
            assert said in found.differences[0]
        rest = await client.metrics.VerifyStored(pb.VerifyStoredRequest(parent="runtimes/untouched"))
        assert list(rest.differences) == []
        everything = await client.metrics.VerifyStored(pb.VerifyStoredRequest())
        assert everything.difference_count == len(ALTERED)

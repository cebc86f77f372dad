"""The rows of a runtime as they are stored: out of the tables for a bundle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pyarrow as pa

from services.metrics.queries.exports import Collector
from services.metrics.storage.store import LOGS, POINTS, Store

# Positions of a stream read at once, and about as many rows.
WINDOW_ROWS = 100_000
_COLUMNS = {
    POINTS: "runtime, trial, attempt, key, step, time_ms, value, toString(kind) AS kind, source, number, items, note, "
    "stream_id, log_seq, log_time_ms",
    LOGS: "runtime, trial, attempt, toString(kind) AS kind, stream_id, log_seq, line, log_time_ms, source, number, "
    "time_ms, level, rank, stream, step, logger, text, display, items, bytes, over_quota, note",
}
TABLES = tuple(_COLUMNS)


async def export_rows(store: Store, runtime_id: str, table: str) -> AsyncIterator[bytes]:
    """Yield the bytes of an Arrow IPC stream with every row of a runtime, in the order of the stream they came by."""
    collector = Collector()
    writer: Any = None
    for first, last in await _windows(store, runtime_id, table):
        rows = await store.read(
            f"SELECT {_COLUMNS[table]} FROM {table} WHERE runtime = {{runtime:String}} "
            "AND (stream_id, log_seq) > ({first_stream:UInt64}, {first:UInt64}) "
            "AND (stream_id, log_seq) <= ({last_stream:UInt64}, {last:UInt64}) ORDER BY "
            + ("trial, key, attempt, step, log_seq, items" if table == POINTS else "stream_id, log_seq, line"),
            {
                "runtime": runtime_id,
                "first_stream": first[0],
                "first": first[1],
                "last_stream": last[0],
                "last": last[1],
            },
        )
        plain = await asyncio.to_thread(_plain, rows)
        writer = writer or pa.ipc.new_stream(collector, plain.schema)
        await asyncio.to_thread(writer.write_table, plain)
        yield collector.take()
    writer.close()
    yield collector.take()


async def _windows(store: Store, runtime_id: str, table: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Cut what a runtime has into ranges of positions; at least one, which may be empty."""
    rows = await store.read(
        f"SELECT stream_id, log_seq, count() AS rows FROM {table} WHERE runtime = {{runtime:String}} "
        "GROUP BY stream_id, log_seq ORDER BY stream_id, log_seq",
        {"runtime": runtime_id},
    )
    return await asyncio.to_thread(_cut, rows)


def _cut(rows: pa.Table) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    bounds, waiting = [(0, 0)], 0
    for row in rows.to_pylist():
        waiting += row["rows"]
        position = (row["stream_id"], row["log_seq"])
        if waiting >= WINDOW_ROWS:
            bounds.append(position)
            waiting = 0
    if waiting or len(bounds) == 1:
        bounds.append((1 << 63, 0))
    return list(pairwise(bounds))


def _plain(rows: pa.Table) -> pa.Table:
    """Without dictionaries: their contents differ between blocks, which one stream may not have."""
    fields = [
        pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))

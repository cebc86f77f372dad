"""The rows of the tables as they are stored: read for a backup, and put back from the files of one.

A file is a series of blocks: eight bytes of length, little-endian, and an Arrow IPC stream. Blocks are in order of
position, so what a restore that was cut short has put back is a beginning, and the writer would go on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from services.metrics.ingest.writer import INCARNATIONS
from services.metrics.storage.arrays import as_numpy
from services.metrics.storage.selection import Pin
from services.metrics.storage.store import LOGS, POINTS, SAMPLES, Store

# About so many rows are read, sent and put back at once; one message is never split.
BLOCK_ROWS = 50_000
LENGTH_BYTES = 8
# So many bytes of samples count as one row.
SAMPLE_BYTES = 256


class NotEmpty(Exception):
    """The tables hold rows already. The message says how many."""


async def table_rows(store: Store, table: str, end: Pin) -> AsyncIterator[tuple[pa.Table, Pin]]:
    """Yield all rows of a table up to a position, some at a time, each part with the position of its last row."""
    where = "(stream_id, log_seq) > ({s:UInt64}, {f:UInt64}) AND (stream_id, log_seq) <= ({t:UInt64}, {l:UInt64})"
    for first, last in await _windows(store, table, end):
        parameters = {"s": first.stream_id, "f": first.sequence, "t": last.stream_id, "l": last.sequence}
        rows = await store.read(
            f"SELECT * REPLACE (toString(kind) AS kind) FROM {table} WHERE {where} ORDER BY {_ORDER[table]}", parameters
        )
        if rows.num_rows:
            yield rows, last


# Within a message too, so that two backups of one state are equal.
_ORDER = {
    POINTS: "stream_id, log_seq, runtime, trial, attempt, source, kind, key, step, time_ms",
    LOGS: "stream_id, log_seq, runtime, trial, attempt, source, kind, line",
    SAMPLES: "stream_id, log_seq, runtime, trial, attempt, source, kind, place",
}
# How much the rows of a message count: those of samples are large, and their message says how large.
_WEIGHTS = {SAMPLES: f"count() + intDiv(sum(bytes), {SAMPLE_BYTES})"}


async def _windows(store: Store, table: str, end: Pin) -> list[tuple[Pin, Pin]]:
    rows = await store.read(
        f"SELECT stream_id, log_seq, toInt64({_WEIGHTS.get(table, 'count()')}) AS rows FROM {table} GROUP BY stream_id, log_seq "
        "ORDER BY stream_id, log_seq"
    )
    windows, first, taken, last = [], Pin(0, 0), 0, Pin(0, 0)
    columns = (as_numpy(rows[name]).astype(np.uint64).tolist() for name in ("stream_id", "log_seq", "rows"))
    for stream_id, sequence, count in zip(*columns, strict=True):
        if Pin(stream_id, sequence) > end:
            break
        if taken and taken + count > BLOCK_ROWS:
            windows.append((first, last))
            first, taken = last, 0
        last, taken = Pin(stream_id, sequence), taken + count
    if taken:
        windows.append((first, last))
    return windows


def as_stream(rows: pa.Table) -> bytes:
    """The bytes of an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue().to_pybytes())


def blocks(path: Path) -> Iterator[pa.Table]:
    """Read the blocks of a file."""
    with path.open("rb") as file:
        while length := file.read(LENGTH_BYTES):
            yield pa.ipc.open_stream(file.read(int.from_bytes(length, "little"))).read_all()


async def restore(store: Store, folder: Path, old_stream: int, new_stream: int) -> dict[str, int]:
    """Put the files of a folder into empty tables. Returns the rows of each.

    What was stored from the stream `old_stream` has positions in `new_stream` now: the same messages, under a new identity.

    Raises:
        NotEmpty: a table holds rows.
    """
    # Samples before points, as the writer stores them. A backup of an earlier version has none.
    counts = dict.fromkeys((SAMPLES, POINTS, LOGS) if (folder / f"{SAMPLES}.arrows").exists() else (POINTS, LOGS), 0)
    for table in counts:
        found = int((await store.read(f"SELECT count() AS rows FROM {table}"))["rows"][0].as_py())
        if found:
            raise NotEmpty(f"the table {table} holds {found:,} rows: restore into an empty ClickHouse")
    for table in counts:
        for rows in blocks(folder / f"{table}.arrows"):
            await store.insert(table, _moved(rows, old_stream, new_stream))
            counts[table] += rows.num_rows
    return counts


def _moved(rows: pa.Table, old_stream: int, new_stream: int) -> pa.Table:
    """A stream that went back is read on under an id close to its first one, and keeps its distance."""
    found: np.ndarray = as_numpy(rows["stream_id"]).astype(np.uint64)
    of_stream = (found >= old_stream) & (found < old_stream + INCARNATIONS)
    moved = np.where(of_stream, found - np.uint64(old_stream) + np.uint64(new_stream), found)
    return rows.set_column(rows.schema.get_field_index("stream_id"), "stream_id", pa.array(moved, pa.uint64()))

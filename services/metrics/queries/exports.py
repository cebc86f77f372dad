"""All points of series as one Arrow IPC stream, in pieces of bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from services.metrics.queries.series import Points, SeriesReader, SeriesRef
from services.metrics.storage.arrays import flags, numbers, texts
from services.metrics.storage.selection import Pin, StepRange, clip

SCHEMA = pa.schema(
    [
        ("runtime", pa.string()),
        ("trial", pa.int32()),
        ("attempt", pa.int32()),
        ("superseded", pa.bool_()),
        ("key", pa.string()),
        ("step", pa.int64()),
        ("time", pa.timestamp("ms", "UTC")),
        ("value", pa.float64()),
    ]
)
# Points read and sent at once.
CHUNK_POINTS = 50_000
# What one answer may have: gRPC clients take 4 MiB unless they are told otherwise.
PIECE_BYTES = 2 << 20


async def export_chunks(
    reader: SeriesReader, owned: Sequence[StepRange], superseded: Sequence[StepRange], keys: Sequence[str], pin: Pin
) -> AsyncIterator[bytes]:
    """Yield the bytes of an Arrow IPC stream: series after series, each in order of step."""
    collector = Collector()
    writer = pa.ipc.new_stream(collector, SCHEMA)
    for pieces, is_superseded in ((owned, False), (superseded, True)):
        for ref, window in await _windows(reader, pieces, keys):
            for found, points in (await reader.points(window, [ref.key], pin, by_attempt=False)).items():
                writer.write_batch(await asyncio.to_thread(_batch, found, points, is_superseded))
                for piece in _pieces(collector.take()):
                    yield piece
    writer.close()
    for piece in _pieces(collector.take()):
        yield piece


async def export_page(
    reader: SeriesReader, owned: Sequence[StepRange], keys: Sequence[str], pin: Pin, skip: int, limit: int
) -> AsyncIterator[bytes]:
    """Yield the bytes of an Arrow IPC stream with some of the points, in order of time and step."""
    rows = await reader.page(owned, keys, pin, skip, limit) if owned else SCHEMA.empty_table()
    for piece in _pieces(await asyncio.to_thread(_page, rows)):
        yield piece


def _pieces(content: bytes) -> Iterator[bytes]:
    """Cut bytes of a stream where they are too many for one answer: the stream goes on in the next."""
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


def _page(rows: pa.Table) -> bytes:
    columns = {name: rows[name] for name in rows.schema.names}
    if "time_ms" in columns:
        columns["time"] = columns.pop("time_ms")
    columns["superseded"] = pa.chunked_array([flags(np.zeros(rows.num_rows, bool))])
    collector = Collector()
    with pa.ipc.new_stream(collector, SCHEMA) as writer:
        writer.write_table(pa.table([columns[field.name].cast(field.type) for field in SCHEMA], schema=SCHEMA))
    return collector.take()


async def _windows(
    reader: SeriesReader, pieces: Sequence[StepRange], keys: Sequence[str]
) -> list[tuple[SeriesRef, list[StepRange]]]:
    """Cut series into ranges of steps with about `CHUNK_POINTS` points each."""
    windows = []
    for ref, extent in sorted((await reader.extents(pieces, keys, by_attempt=False)).items()):
        own = [piece for piece in pieces if piece.trial == ref.trial]
        count = -(-extent.points // CHUNK_POINTS)
        bounds = np.linspace(extent.first_step, extent.last_step + 1, count + 1).astype(np.int64).tolist()
        for first, end in pairwise(bounds):
            clipped = clip(own, first, end - 1)
            if clipped:
                windows.append((ref, clipped))
    return windows


def _batch(ref: SeriesRef, points: Points, superseded: bool) -> pa.RecordBatch:
    count = len(points.steps)
    return pa.record_batch(
        [
            texts([ref.trial.runtime_id] * count).cast(pa.string()),
            numbers(np.full(count, ref.trial.trial, np.int32)),
            numbers(points.attempts.astype(np.int32)),
            flags(np.full(count, superseded)),
            texts([ref.key] * count).cast(pa.string()),
            numbers(points.steps),
            numbers(points.times_ms).cast(pa.timestamp("ms", "UTC")),
            numbers(points.values),
        ],
        schema=SCHEMA,
    )


class Collector:
    """A file that is only written to, and whose content is taken out as it grows."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Keep what was written: the end of the stream is still to be taken."""

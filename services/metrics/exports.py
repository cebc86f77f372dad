"""All points of series as one Arrow IPC stream, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from services.metrics.arrays import flags, numbers, texts
from services.metrics.selection import Piece, Pin, clip
from services.metrics.series import Points, SeriesReader, SeriesRef

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


async def export_chunks(
    reader: SeriesReader, owned: Sequence[Piece], superseded: Sequence[Piece], keys: Sequence[str], pin: Pin
) -> AsyncIterator[bytes]:
    """Yield the bytes of an Arrow IPC stream: series after series, each in order of step."""
    collector = Collector()
    writer = pa.ipc.new_stream(collector, SCHEMA)
    for pieces, is_superseded in ((owned, False), (superseded, True)):
        for ref, window in await _windows(reader, pieces, keys):
            for found, points in (await reader.points(window, [ref.key], pin, by_attempt=False)).items():
                writer.write_batch(_batch(found, points, is_superseded))
                yield collector.take()
    writer.close()
    yield collector.take()


async def _windows(
    reader: SeriesReader, pieces: Sequence[Piece], keys: Sequence[str]
) -> list[tuple[SeriesRef, list[Piece]]]:
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

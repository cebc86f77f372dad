"""Exports of series: an Arrow IPC stream from the metric service as Arrow, Parquet, CSV or lines of JSON, piece by piece."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from milepost.protojson import to_json_number

# format -> (media type, file ending)
FORMATS = {
    "arrow": ("application/vnd.apache.arrow.stream", "arrows"),
    "parquet": ("application/vnd.apache.parquet", "parquet"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "ndjson": ("application/x-ndjson", "ndjson"),
}


class ChunkReader(io.RawIOBase):
    """A readable file over a function that returns the next piece; empty: the end."""

    def __init__(self, next_chunk: Callable[[], bytes]) -> None:
        self._next_chunk = next_chunk
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = self._next_chunk()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _Drain(io.RawIOBase):
    """A writable file whose content is taken out while it grows."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, piece: Any) -> int:
        copy = bytes(piece)
        self._pieces.append(copy)
        self._position += len(copy)
        return len(copy)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def convert(next_chunk: Callable[[], bytes], form: str) -> Iterator[bytes]:
    """Yield the pieces of an export in one of `FORMATS`. Blocks: to be run in a thread."""
    if form == "arrow":
        while chunk := next_chunk():
            yield chunk
        return
    reader = pa.ipc.open_stream(io.BufferedReader(ChunkReader(next_chunk), 1 << 20))
    if form == "csv":
        yield from _csv(reader)
    elif form == "parquet":
        yield from _parquet(reader)
    else:
        yield from _lines(reader)


def _csv(reader: Any) -> Iterator[bytes]:
    drain = _Drain()
    with pa_csv.CSVWriter(pa.PythonFile(drain, mode="w"), reader.schema) as writer:
        yield drain.take()
        for batch in reader:
            writer.write_batch(batch)
            yield drain.take()
    yield drain.take()


def _parquet(reader: Any) -> Iterator[bytes]:
    drain = _Drain()
    with pa_parquet.ParquetWriter(pa.PythonFile(drain, mode="w"), reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            yield drain.take()
    yield drain.take()


def _lines(reader: Any) -> Iterator[bytes]:
    for batch in reader:
        rows = batch.to_pylist()
        for row in rows:
            if isinstance(row.get("value"), float):
                row["value"] = to_json_number(row["value"])
        yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z) for row in rows)

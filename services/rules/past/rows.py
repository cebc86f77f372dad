"""Messages of TELEMETRY put together again from the rows that the metric service has of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from services.rules.decoding import lines, points
from services.rules.evaluation.inputs import Lines, Points

_ORDER = [(name, "ascending") for name in ("stream_id", "log_seq")]
_POINTS = ("stream_id", "log_seq", "log_time_ms", "trial", "attempt", "key", "step", "time_ms", "value")
_LINES = ("stream_id", "log_seq", "log_time_ms", "trial", "attempt", "source", "number", "line", "step", "text")


def _rows(content: bytes, kind: str, columns: tuple[str, ...]) -> pa.Table:
    """Read the rows of a kind out of an Arrow IPC stream."""
    with pa.ipc.open_stream(pa.BufferReader(content)) as reader:
        rows = reader.read_all()
    return rows.filter(pc.equal(rows["kind"], kind)).select(columns)


def points_of(content: bytes, wants: Callable[[str], bool]) -> Iterator[Points]:
    """Put messages with points together again, in the order in which they came; of the series that are wanted."""
    rows = _rows(content, "point", _POINTS)
    wanted = [key for key in pc.unique(rows["key"]).to_pylist() if wants(key)]
    rows = rows.filter(pc.is_in(rows["key"], value_set=pa.array(wanted, pa.string()))).sort_by(_ORDER)
    return _messages_of_points(rows)


def lines_of(content: bytes) -> Iterator[Lines]:
    """Put messages with lines together again, in the order in which they came."""
    rows = _rows(content, "line", _LINES).sort_by([*_ORDER, ("line", "ascending")])
    return _messages_of_lines(rows)


def _messages_of_points(rows: pa.Table) -> Iterator[Points]:
    """Put the rows of a message together again."""
    columns = zip(*(rows[name].to_pylist() for name in _POINTS), strict=True)
    for (_, sequence, time_ms, trial, attempt), group in groupby(columns, key=lambda row: row[:5]):
        series: dict[str, list[tuple[int, int, float]]] = {}
        for row in group:
            series.setdefault(row[5], []).append(row[6:])
        yield points(("", trial, attempt), sequence, time_ms, series)


def _messages_of_lines(rows: pa.Table) -> Iterator[Lines]:
    columns = zip(*(rows[name].to_pylist() for name in _LINES), strict=True)
    for (_, sequence, time_ms, trial, attempt, source, number), group in groupby(columns, key=lambda row: row[:7]):
        made = lines(("", trial, attempt), source, number, sequence, time_ms, [row[7:] for row in group])
        if made is not None:
            yield made

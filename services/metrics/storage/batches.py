"""From messages of TELEMETRY to columns, without touching single points, and from columns to Arrow blocks.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from milepost import series_names
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog import telemetry_headers
from milepost.eventlog.telemetry import StoredMessage, parse_telemetry_subject
from milepost.log_text import fold_line, plain
from milepost.numbers import MAX_NUMBER
from services.metrics.storage import arrays
from services.metrics.storage.samples import SamplesBlock

STEPS = "steps"
LOGS = "logs"
MAX_BATCH_NUMBER = (1 << 63) - 1
MAX_NOTE = 200
MAX_KEY_IN_NOTE = 100
# Senders cut lines before that; this holds for those that do not.
MAX_TEXT = 64 << 10

# What became of a message; the names are those of the column `kind`.
STORED = "stored"
DUPLICATE = "duplicate"
TOMBSTONE = "tombstone"
REJECTED = "rejected"
PURGED = "purged"
OFFSET = "offset"
# The note of a stored message that says that none follows it.
LAST = "last"
# A number under one of these needs not be sent again.
SETTLED = (STORED, TOMBSTONE, REJECTED)
KINDS = ("point", STORED, DUPLICATE, TOMBSTONE, REJECTED, PURGED, OFFSET)
LINE_KINDS = ("line", *KINDS[1:])

_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_SOURCE = re.compile(r"rank-(0|[1-9][0-9]{0,5})|driver")


@dataclass(frozen=True, slots=True)
class SenderKey:
    """Who numbers batches: `source` of one attempt."""

    runtime_id: str
    trial: int
    attempt: int
    source: str


@dataclass(slots=True)
class Group:
    """Points of the same steps: `values[i]` belongs to `keys[i]`, all arrays have one element per step."""

    steps: np.ndarray
    times_ms: np.ndarray
    keys: list[str]
    values: list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Line:
    """A log line as it is stored. `index` is its number within its message."""

    index: int
    time_ms: int
    level: int
    rank: int
    stream: int
    step: int
    logger: str
    text: str
    display: str


@dataclass(slots=True)
class Batch:
    """One message of TELEMETRY, decoded.

    Attributes:
        sequence: its position in the stream.
        time_ms: the server's clock when it was stored there.
        number: its number among those of its sender and kind.
        kind: what is to become of it, see `KINDS`.
        items: points or lines in it; of a tombstone, those given up.
        note: why it was given up or rejected; `LAST`.
        written: the highest number that its sender had written when it was sent; 0: not said.
    """

    sequence: int
    time_ms: int
    sender: SenderKey
    number: int
    kind: str
    items: int = 0
    note: str = ""
    written: int = 0
    groups: list[Group] = field(default_factory=list)
    # Rows beside the values, and how many came.
    rows: Sequence[telemetry.Row] = ()
    row_count: int = 0
    lines: Sequence[telemetry.LogLine] = ()
    # Those of them that are stored, once that is decided.
    stored_lines: Sequence[Line] = ()

    def without_content(self, kind: str) -> Batch:
        """The same message, of which only the fact that it came is kept."""
        return Batch(self.sequence, self.time_ms, self.sender, self.number, kind, self.items, written=self.written)


class _Unreadable(Exception):
    """The message breaks the contract; the text says how."""


def decode(message: StoredMessage) -> Batch:
    """Decode a message. One that breaks the contract becomes a batch of kind `rejected`; it never raises."""
    time_ms = message.time // 1_000_000
    try:
        runtime_id, trial, attempt, kind = parse_telemetry_subject(message.subject)
    except ValueError:
        return Batch(message.sequence, time_ms, SenderKey("", 0, 0, ""), 0, REJECTED, note="not a subject of telemetry")
    sender = SenderKey(runtime_id, trial, attempt, "")
    try:
        if trial < 1 or attempt < 1 or max(trial, attempt) >= 1 << 31:
            raise _Unreadable("trial and attempt count from 1")
        parse = _decode_steps if kind == STEPS else _decode_logs
        batch = parse(message.body, sender)
    except (_Unreadable, DecodeError) as error:
        source, number = _claimed(message.headers)
        note = str(error)[:MAX_NOTE] if isinstance(error, _Unreadable) else "not a protobuf message of this kind"
        batch = Batch(0, 0, SenderKey(runtime_id, trial, attempt, source), number, REJECTED, note=note)
    batch.sequence, batch.time_ms, batch.written = message.sequence, time_ms, _written(message.headers)
    return batch


def _written(headers: Mapping[str, str]) -> int:
    # Kept as a number with a fraction.
    text = headers.get(telemetry_headers.WRITTEN, "")
    return min(int(text), MAX_NUMBER) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _claimed(headers: Mapping[str, str]) -> tuple[str, int]:
    """Source and number as the headers say, so that a batch that cannot be read is not sent for ever."""
    source, number = headers.get(telemetry_headers.SOURCE, ""), headers.get(telemetry_headers.NUMBER, "")
    if _SOURCE.fullmatch(source) and _NUMBER.fullmatch(number) and int(number) <= MAX_BATCH_NUMBER:
        return source, int(number)
    return "", 0


def _sender(claimed: telemetry.Sender, number: int, subject: SenderKey) -> SenderKey:
    if (claimed.runtime_id, claimed.trial, claimed.attempt) != (subject.runtime_id, subject.trial, subject.attempt):
        raise _Unreadable("the sender is not the one of the subject")
    if not _SOURCE.fullmatch(claimed.source):
        raise _Unreadable("the source is neither rank-<n> nor driver")
    if number < 1:
        raise _Unreadable("batches are numbered from 1")
    return SenderKey(subject.runtime_id, subject.trial, subject.attempt, claimed.source)


def _tombstone(sender: SenderKey, number: int, tombstone: telemetry.Tombstone) -> Batch:
    return Batch(
        0,
        0,
        sender,
        number,
        TOMBSTONE,
        min(max(0, tombstone.point_count), MAX_NUMBER),
        tombstone.reason[:MAX_NOTE],
    )


def _decode_steps(body: bytes, subject: SenderKey) -> Batch:
    message = telemetry.StepBatch.FromString(body)
    sender = _sender(message.sender, message.number, subject)
    if message.HasField("tombstone"):
        return _tombstone(sender, message.number, message.tombstone)
    groups = [_decode_group(group) for group in message.groups]
    items = sum(len(group.steps) * len(group.keys) for group in groups)
    rows = [_checked_row(row) for row in message.rows]
    note = LAST if message.last else ""
    return Batch(0, 0, sender, message.number, STORED, items, note, groups=groups, rows=rows, row_count=len(rows))


def _checked_row(row: telemetry.Row) -> telemetry.Row:
    _key(row.key)
    for score in row.scores:
        _key(score.name)
    if not 0 <= row.step <= MAX_NUMBER:
        raise _Unreadable("a row of a step outside 0..2^53-1")
    if row.counts and len(row.edges) != len(row.counts) + 1:
        raise _Unreadable("a histogram whose edges do not fit its counts")
    if row.form not in telemetry.RowForm.values():
        row.form = telemetry.ROW_FORM_UNSPECIFIED
    return row


def _decode_group(group: telemetry.StepGroup) -> Group:
    steps = _column(group.steps, "<i8")
    times = _column(group.times_ms, "<i8")
    keys = [_key(column.key) for column in group.columns]
    values = [_column(column.values, "<f8") for column in group.columns]
    if len(times) != len(steps) or any(len(column) != len(steps) for column in values):
        raise _Unreadable("columns of different length")
    if len(steps) and (int(steps.min()) < 0 or int(steps.max()) > MAX_NUMBER):
        raise _Unreadable("a step outside 0..2^53-1")
    return Group(steps, times, keys, values)


@lru_cache(10_000)
def _key(text: str) -> str:
    try:
        return series_names.parse(text)
    except series_names.BadName as error:
        raise _Unreadable(f"not a series key: {text[:MAX_KEY_IN_NOTE]!r}, {error}") from error


def _column(data: bytes, dtype: str) -> np.ndarray:
    if len(data) % 8:
        raise _Unreadable("a column is not a multiple of 8 bytes")
    return np.frombuffer(data, dtype)


def _decode_logs(body: bytes, subject: SenderKey) -> Batch:
    message = telemetry.LogBatch.FromString(body)
    sender = _sender(message.sender, message.number, subject)
    if message.HasField("tombstone"):
        return _tombstone(sender, message.number, message.tombstone)
    note = LAST if message.last else ""
    return Batch(0, 0, sender, message.number, STORED, len(message.lines), note, lines=message.lines)


# --- blocks ---------------------------------------------------------------------------------------------------------


def _table(columns: dict[str, np.ndarray | pa.Array]) -> pa.Table:
    handed = [c if isinstance(c, pa.Array) else arrays.numbers(c) for c in columns.values()]
    return pa.Table.from_arrays(handed, names=list(columns))


class _Names:
    """The dictionary of a dictionary-encoded column."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self.index.setdefault(name, len(self.index))

    def column(self, indices: np.ndarray) -> pa.DictionaryArray:
        return arrays.named(indices, list(self.index))


def places(groups: list[Group]) -> list[np.ndarray | None]:
    """Say for each group of a message where its values stand among those of the message.

    Returns one number a value, column after column; None: each series has one value a step, so there is nothing to say.
    """
    found: list[np.ndarray | None] = []
    seen: set[str] = set()
    before = 1
    for group in groups:
        steps, keys = len(group.steps), len(group.keys)
        fresh = len(seen) + keys
        seen.update(group.keys)
        alone = len(seen) == fresh and bool((np.diff(group.steps) > 0).all())
        # Row after row, as they were logged; the columns are put one after the other.
        found.append(None if alone else before + np.arange(steps * keys).reshape(steps, keys).T.ravel())
        before += steps * keys
    return found


class StepsBlock:
    """Points of many messages on their way into one insert."""

    def __init__(self, stream_id: int) -> None:
        self.batches: list[Batch] = []
        self.rows = 0
        self.bytes = 0
        self._stream_id = stream_id
        # What came beside the points; it has a table of its own.
        self.samples = SamplesBlock(stream_id)
        self._names = _Names()
        self._columns: list[tuple[np.ndarray, ...]] = []
        self._rows_per_batch: list[int] = []

    def __len__(self) -> int:
        return len(self.batches)

    def add(self, batch: Batch) -> None:
        rows = 0
        for group, placed in zip(batch.groups, places(batch.groups), strict=True):
            steps, keys = len(group.steps), len(group.keys)
            if not steps or not keys:
                continue
            indices = np.fromiter((self._names[key] for key in group.keys), np.int32, keys)
            self._columns.append(
                (
                    np.repeat(indices, steps),
                    np.tile(group.steps, keys) if keys > 1 else group.steps,
                    np.tile(group.times_ms, keys) if keys > 1 else group.times_ms,
                    np.concatenate(group.values) if keys > 1 else group.values[0],
                    np.zeros(steps * keys, np.int64) if placed is None else placed,
                )
            )
            rows += steps * keys
        self.batches.append(batch)
        self._rows_per_batch.append(rows)
        self.rows += rows + 1
        self.bytes += (rows + 1) * 96

    def add_rows(self, batch: Batch, rows: list[telemetry.Row], size: int, over_quota: int) -> None:
        """Add those rows of a message that are stored, their bytes, and how many the quota leaves out."""
        self.samples.add(batch, rows, size, over_quota)
        self.rows += len(rows)
        self.bytes += size

    def parts(self) -> Iterator[StepsBlock]:
        """Yield a block for each message."""
        for batch in self.batches:
            part = StepsBlock(self._stream_id)
            part.add(batch)
            part.samples = self.samples.between(batch.sequence, batch.sequence)
            yield part

    def table(self) -> pa.Table:
        """The rows: all points, then one row per message."""
        batches, names = self.batches, self._names
        empty = names[""]
        repeats = np.concatenate([np.array(self._rows_per_batch, np.int64), np.ones(len(batches), np.int64)])
        points = sum(self._rows_per_batch)
        numbers = np.array([b.number for b in batches], np.int64)
        keys, steps, times, values, placed = (
            (np.concatenate(parts) for parts in zip(*self._columns, strict=True))
            if self._columns
            else (np.zeros(0, dtype) for dtype in (np.int32, np.int64, np.int64, np.float64, np.int64))
        )
        count = len(batches)
        log_times = np.array([b.time_ms for b in batches], np.int64)

        def spread(column: np.ndarray) -> np.ndarray:
            return np.repeat(np.concatenate([column, column]), repeats)

        def named(texts: list[str]) -> pa.DictionaryArray:
            own = _Names()
            return own.column(spread(np.fromiter((own[text] for text in texts), np.int32, count)))

        def only_messages(column: np.ndarray) -> np.ndarray:
            return np.concatenate([np.zeros(points, column.dtype), column])

        notes = _Names()
        blank = notes[""]
        note_indices = np.fromiter((notes[b.note] for b in batches), np.int32, count)
        return _table(
            {
                "runtime": named([b.sender.runtime_id for b in batches]),
                "trial": spread(np.array([b.sender.trial for b in batches], np.uint32)),
                "key": names.column(np.concatenate([keys, np.full(count, empty, np.int32)])),
                "attempt": spread(np.array([b.sender.attempt for b in batches], np.uint32)),
                "step": np.concatenate([steps, numbers]),
                "time_ms": np.concatenate([times, log_times]),
                "value": np.concatenate([values, np.array([b.written for b in batches], np.float64)]),
                "source": named([b.sender.source for b in batches]),
                "number": spread(numbers.astype(np.uint64)),
                "kind": only_messages(np.array([KINDS.index(b.kind) for b in batches], np.int8)),
                "items": np.concatenate([placed, np.array([b.items for b in batches], np.int64)]),
                "note": notes.column(np.concatenate([np.full(points, blank, np.int32), note_indices])),
                "stream_id": np.full(points + count, self._stream_id, np.uint64),
                "log_seq": spread(np.array([b.sequence for b in batches], np.uint64)),
                "log_time_ms": spread(log_times),
            }
        )


def stored_line(index: int, line: telemetry.LogLine) -> Line:
    """Fold a line and take it apart into what is searched and what is displayed."""
    shown = fold_line(line.text)[:MAX_TEXT]
    searched = plain(shown)
    return Line(
        index,
        line.time_ms,
        line.level if line.level in telemetry.LogLevel.values() else 0,
        max(0, line.rank),
        line.stream if line.stream in telemetry.LogStream.values() else 0,
        min(max(0, line.step), MAX_NUMBER),
        line.logger[:MAX_NOTE],
        searched,
        "" if shown == searched else shown,
    )


class LogsBlock:
    """Lines of many messages on their way into one insert."""

    def __init__(self, stream_id: int) -> None:
        self.batches: list[Batch] = []
        self.rows = 0
        self.bytes = 0
        self._stream_id = stream_id
        self._lines: list[Line] = []
        self._lines_per_batch: list[int] = []
        self._text_bytes: list[int] = []
        self._over_quota: list[int] = []

    def __len__(self) -> int:
        return len(self.batches)

    def add(self, batch: Batch, lines: Sequence[Line] = (), text_bytes: int = 0, over_quota: int = 0) -> None:
        """Add a message with those of its lines that are stored."""
        self.batches.append(batch)
        self._lines.extend(lines)
        self._lines_per_batch.append(len(lines))
        self._text_bytes.append(text_bytes)
        self._over_quota.append(over_quota)
        self.rows += len(lines) + 1
        self.bytes += text_bytes + 64 * (len(lines) + 1)

    def parts(self) -> Iterator[LogsBlock]:
        """Yield a block for each message."""
        start = 0
        counted = zip(self.batches, self._lines_per_batch, self._text_bytes, self._over_quota, strict=True)
        for batch, count, text_bytes, over_quota in counted:
            part = LogsBlock(self._stream_id)
            part.add(batch, self._lines[start : start + count], text_bytes, over_quota)
            start += count
            yield part

    def table(self) -> pa.Table:
        """The rows: all lines, then one row per message."""
        batches, lines = self.batches, self._lines
        count = len(batches)
        repeats = np.concatenate([np.array(self._lines_per_batch, np.int64), np.ones(count, np.int64)])
        log_times = np.array([b.time_ms for b in batches], np.int64)

        def spread(column: np.ndarray) -> np.ndarray:
            return np.repeat(np.concatenate([column, column]), repeats)

        def named(texts: list[str]) -> pa.DictionaryArray:
            own = _Names()
            return own.column(spread(np.fromiter((own[text] for text in texts), np.int32, count)))

        def of_lines(values: list[int], dtype: type) -> np.ndarray:
            return np.concatenate([np.array(values, dtype), np.zeros(count, dtype)])

        def of_messages(values: list[int], dtype: type) -> np.ndarray:
            return np.concatenate([np.zeros(len(lines), dtype), np.array(values, dtype)])

        def named_rows(names: list[str]) -> pa.DictionaryArray:
            own = _Names()
            return own.column(np.fromiter((own[name] for name in names), np.int32, len(names)))

        blanks = [""] * count
        return _table(
            {
                "runtime": named([b.sender.runtime_id for b in batches]),
                "trial": spread(np.array([b.sender.trial for b in batches], np.uint32)),
                "kind": of_messages([LINE_KINDS.index(b.kind) for b in batches], np.int8),
                "stream_id": np.full(len(lines) + count, self._stream_id, np.uint64),
                "log_seq": spread(np.array([b.sequence for b in batches], np.uint64)),
                "line": of_lines([line.index for line in lines], np.uint32),
                "log_time_ms": spread(log_times),
                "attempt": spread(np.array([b.sender.attempt for b in batches], np.uint32)),
                "source": named([b.sender.source for b in batches]),
                "number": spread(np.array([b.number for b in batches], np.uint64)),
                "time_ms": np.concatenate([np.array([line.time_ms for line in lines], np.int64), log_times]),
                "level": of_lines([line.level for line in lines], np.uint8),
                "rank": of_lines([line.rank for line in lines], np.uint32),
                "stream": of_lines([line.stream for line in lines], np.uint8),
                "step": np.array([line.step for line in lines] + [b.written for b in batches], np.int64),
                "logger": named_rows([line.logger for line in lines] + blanks),
                "text": arrays.texts([line.text for line in lines] + blanks),
                "display": arrays.texts([line.display for line in lines] + blanks),
                "items": of_messages([b.items for b in batches], np.int64),
                "bytes": of_messages(self._text_bytes, np.int64),
                "over_quota": of_messages(self._over_quota, np.int64),
                "note": named_rows([""] * len(lines) + [b.note for b in batches]),
            }
        )

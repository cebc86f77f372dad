"""Messages of TELEMETRY as the fold takes them in. What breaks the contract is no message, as for the metric service."""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterable
from itertools import pairwise

from google.protobuf.message import DecodeError

from milepost import series_names
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog.telemetry import StoredMessage, parse_telemetry_subject
from milepost.log_text import fold_line, plain
from milepost.numbers import MAX_NUMBER
from milepost.series_names import BadName
from services.rules.evaluation.inputs import Column, Lines, Points

# Who sends: the same as for the metric service.
_SOURCE = re.compile(r"rank-(0|[1-9][0-9]{0,5})|driver")
# Step, time in ms, value.
Row = tuple[int, int, float]


class Unreadable(ValueError):
    """The message breaks the contract."""


def decode(message: StoredMessage) -> Points | Lines | None:
    """Decode a message; None: it carries neither points nor lines.

    Raises:
        Unreadable: it breaks the contract.
    """
    try:
        runtime_id, trial, attempt, kind = parse_telemetry_subject(message.subject)
        place = (runtime_id, trial, attempt)
        if trial < 1 or attempt < 1 or max(trial, attempt) >= 1 << 31:
            raise Unreadable("trial and attempt count from 1")
        return _points(message, place) if kind == "steps" else _lines(message, place)
    except (DecodeError, ValueError) as error:
        raise Unreadable(str(error)[:200]) from error


def _points(message: StoredMessage, place: tuple[str, int, int]) -> Points | None:
    batch = telemetry.StepBatch.FromString(message.body)
    _check_sender(batch.sender, batch.number, place)
    if batch.HasField("tombstone"):
        return None
    rows: dict[str, list[Row]] = {}
    for group in batch.groups:
        steps, times = _column("q", group.steps), _column("q", group.times_ms)
        if len(times) != len(steps) or (steps and not 0 <= min(steps) <= max(steps) <= MAX_NUMBER):
            raise Unreadable("columns of different length, or a step outside 0..2^53-1")
        for column in group.columns:
            values = _column("d", column.values)
            if len(values) != len(steps):
                raise Unreadable("columns of different length")
            rows.setdefault(_key(column.key), []).extend(zip(steps, times, values, strict=True))
    return points(place, message.sequence, message.time // 1_000_000, rows) if rows else None


def points(place: tuple[str, int, int], sequence: int, time_ms: int, rows: dict[str, list[Row]]) -> Points:
    """Make a message of the points of each series, in whatever order they came."""
    return Points(*place, sequence, time_ms, tuple(_sorted(key, rows[key]) for key in sorted(rows) if rows[key]))


def _sorted(key: str, rows: list[Row]) -> Column:
    if any(first[0] > second[0] for first, second in pairwise(rows)):
        rows = sorted(rows, key=lambda row: row[0])
    steps, times, values = zip(*rows, strict=True)
    return Column(key, steps, times, values)


def _lines(message: StoredMessage, place: tuple[str, int, int]) -> Lines | None:
    batch = telemetry.LogBatch.FromString(message.body)
    _check_sender(batch.sender, batch.number, place)
    if batch.HasField("tombstone"):
        return None
    texts = ((number, line.step, plain(fold_line(line.text))) for number, line in enumerate(batch.lines))
    return lines(place, batch.sender.source, batch.number, message.sequence, message.time // 1_000_000, texts)


def lines(
    place: tuple[str, int, int],
    source: str,
    number: int,
    sequence: int,
    time_ms: int,
    texts: Iterable[tuple[int, int, str]],
) -> Lines | None:
    """Make a message of lines: the number of each in its message, its step, its text."""
    kept = tuple(texts)
    return Lines(*place, source, number, sequence, time_ms, kept) if kept else None


def _check_sender(claimed: telemetry.Sender, number: int, place: tuple[str, int, int]) -> None:
    if (claimed.runtime_id, claimed.trial, claimed.attempt) != place:
        raise Unreadable("the sender is not the one of the subject")
    if _SOURCE.fullmatch(claimed.source) is None or number < 1:
        raise Unreadable("the source is neither rank-<n> nor driver, or the number is below 1")


def _key(text: str) -> str:
    try:
        return series_names.parse(text)
    except BadName as error:
        raise Unreadable(f"not a series key: {error}") from error


def _column(kind: str, data: bytes) -> array:  # type: ignore[type-arg]
    column = array(kind)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column

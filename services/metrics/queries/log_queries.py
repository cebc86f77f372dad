"""Reading log lines: filters as SQL and as tests of live lines; pages, counts, facets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost.api.log.v1 import log_service_pb2 as pb
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.numbers import MAX_NUMBER
from services.metrics.queries.names import Checker
from services.metrics.storage.batches import Line
from services.metrics.storage.selection import Condition, Pin, StepRange, TrialRef, all_of, before, in_trials
from services.metrics.storage.store import Store

MAX_TEXT = 1_000
# As far as cursors count lines within a message; messages are limited to 1 MB.
MAX_LINE = 0xFFFFF
_CURSOR = re.compile(r"([0-9a-f]{16})-([0-9a-f]{12})-([0-9a-f]{5})")

_COLUMNS = (
    "trial, stream_id, log_seq, line, log_time_ms, time_ms, level, rank, stream, step, attempt, logger, text, display"
)


@dataclass(frozen=True, slots=True, order=True)
class LinePosition:
    """Where a line stands: message and number within it. Ordered as the lines came."""

    stream_id: int
    sequence: int
    line: int

    @property
    def cursor(self) -> str:
        return f"{self.stream_id:016x}-{self.sequence:012x}-{self.line:05x}"

    @classmethod
    def parse(cls, cursor: str) -> LinePosition | None:
        """Read a cursor; None: it is not one."""
        match = _CURSOR.fullmatch(cursor)
        return cls(*(int(part, 16) for part in match.groups())) if match else None


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A checked filter.

    `superseded_after`: (trial, attempt) -> the step after which its lines are superseded; attempts without an entry
    are not cut.
    """

    parent: TrialRef
    levels: frozenset[int] = frozenset()
    ranks: frozenset[int] = frozenset()
    attempts: frozenset[int] = frozenset()
    streams: frozenset[int] = frozenset()
    text: str = ""
    regular_expression: str = ""
    start_ms: int | None = None
    end_ms: int | None = None
    first_step: int = 0
    last_step: int = MAX_NUMBER
    include_superseded: bool = False
    superseded_after: dict[tuple[int, int], int] = field(default_factory=dict)

    def is_superseded(self, trial: int, attempt: int, step: int) -> bool:
        return step > self.superseded_after.get((trial, attempt), MAX_NUMBER)


def checked_filter(check: Checker, parent: TrialRef, wanted: pb.LogFilter) -> LogQuery:
    """Check a filter; what is wrong is said to the checker."""
    for name in ("text", "regular_expression"):
        if len(getattr(wanted, name)) > MAX_TEXT:
            check.refuse(f"filter.{name}", f"must have at most {MAX_TEXT:,} characters")
    known = {"levels": telemetry.LogLevel.values(), "streams": telemetry.LogStream.values()}
    for name, values in known.items():
        if any(value not in values for value in getattr(wanted, name)):
            check.refuse(f"filter.{name}", "has an unknown value")
    first = check.number("filter.first_step", wanted.first_step, 0, MAX_NUMBER)
    last = check.number("filter.last_step", wanted.last_step, 0, MAX_NUMBER) or MAX_NUMBER
    return LogQuery(
        parent,
        frozenset(wanted.levels),
        frozenset(wanted.ranks),
        frozenset(wanted.attempts),
        frozenset(wanted.streams),
        wanted.text,
        wanted.regular_expression,
        wanted.start_time.ToMilliseconds() if wanted.HasField("start_time") else None,
        wanted.end_time.ToMilliseconds() if wanted.HasField("end_time") else None,
        first,
        last,
        wanted.include_superseded,
    )


def ends_of_attempts(trial: int, pieces: Sequence[StepRange], attempts: Sequence[int]) -> dict[tuple[int, int], int]:
    """Say up to which step the lines of each attempt belong to the lineage; -1: none of them."""
    ends = {(trial, attempt): -1 for attempt in attempts}
    for piece in pieces:
        ends[trial, piece.attempt] = max(ends.get((trial, piece.attempt), -1), piece.last)
    return {key: end for key, end in ends.items() if end < MAX_NUMBER}


def as_condition(query: LogQuery) -> Condition:
    """Express a filter in SQL."""
    conditions = [in_trials([query.parent]), Condition("kind = 'line'")]
    for name, column in (("levels", "level"), ("ranks", "rank"), ("attempts", "attempt"), ("streams", "stream")):
        values = getattr(query, name)
        if values:
            parameter = {f"only_{name}": sorted(max(0, v) for v in values)}
            conditions.append(Condition(f"{column} IN {{only_{name}:Array(UInt32)}}", parameter))
    if query.text:
        conditions.append(_has_text(query.text))
    if query.regular_expression:
        conditions.append(Condition("match(text, {expression:String})", {"expression": query.regular_expression}))
    if query.start_ms is not None:
        conditions.append(Condition("time_ms >= {start:Int64}", {"start": query.start_ms}))
    if query.end_ms is not None:
        conditions.append(Condition("time_ms < {end:Int64}", {"end": query.end_ms}))
    if query.first_step > 0:
        conditions.append(Condition("step >= {first_step:Int64}", {"first_step": query.first_step}))
    if query.last_step < MAX_NUMBER:
        conditions.append(Condition("step <= {last_step:Int64}", {"last_step": query.last_step}))
    if not query.include_superseded:
        conditions += [_not_superseded(i, key, end) for i, (key, end) in enumerate(query.superseded_after.items())]
    return all_of(*conditions)


def _not_superseded(index: int, key: tuple[int, int], end: int) -> Condition:
    trial, attempt = key
    name = f"s{index}"
    return Condition(
        f"NOT (trial = {{{name}t:UInt32}} AND attempt = {{{name}a:UInt32}} AND step > {{{name}e:Int64}})",
        {f"{name}t": trial, f"{name}a": attempt, f"{name}e": end},
    )


def _has_text(text: str) -> Condition:
    # The index is over lower(text), which knows the case of ASCII letters only.
    if text.isascii():
        return Condition("lower(text) LIKE {text:String}", {"text": f"%{_like(text.lower())}%"})
    return Condition("text ILIKE {text:String}", {"text": f"%{_like(text)}%"})


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def as_predicate(query: LogQuery) -> Callable[[Line, int, int], bool] | None:
    """Express a filter as a test of (line, trial, attempt); None: only ClickHouse can, because of its expressions."""
    if query.regular_expression:
        return None
    text = query.text.lower()

    def matches(line: Line, trial: int, attempt: int) -> bool:
        return (
            (not query.levels or line.level in query.levels)
            and (not query.ranks or line.rank in query.ranks)
            and (not query.attempts or attempt in query.attempts)
            and (not query.streams or line.stream in query.streams)
            and (not text or text in line.text.lower())
            and (query.start_ms is None or line.time_ms >= query.start_ms)
            and (query.end_ms is None or line.time_ms < query.end_ms)
            and query.first_step <= line.step <= query.last_step
            and (query.include_superseded or not query.is_superseded(trial, attempt, line.step))
        )

    return matches


def is_behind(position: LinePosition) -> Condition:
    """Select the lines behind a position."""
    return Condition(
        "(stream_id, log_seq, line) > ({c_stream:UInt64}, {c_sequence:UInt64}, {c_line:UInt32})",
        {"c_stream": position.stream_id, "c_sequence": position.sequence, "c_line": position.line},
    )


def is_ahead_of(position: LinePosition) -> Condition:
    """Select the lines before a position."""
    return Condition(
        "(stream_id, log_seq, line) < ({c_stream:UInt64}, {c_sequence:UInt64}, {c_line:UInt32})",
        {"c_stream": position.stream_id, "c_sequence": position.sequence, "c_line": position.line},
    )


async def read_lines(
    store: Store, query: LogQuery, where: Condition, count: int, skip: int = 0, backwards: bool = False
) -> list[dict[str, Any]]:
    """Read lines that match, in the order in which they came."""
    condition = all_of(as_condition(query), where)
    order = "DESC" if backwards else "ASC"
    rows = await store.read(
        f"SELECT {_COLUMNS} FROM logs WHERE {condition.sql} "
        f"ORDER BY stream_id {order}, log_seq {order}, line {order} LIMIT {int(count)} OFFSET {int(skip)}",
        condition.parameters,
    )
    found = rows.to_pylist()
    return found[::-1] if backwards else found


async def count_lines(store: Store, query: LogQuery, pin: Pin, first: LinePosition | None) -> tuple[int, int]:
    """Count the lines that match, and those of them before a position."""
    condition = all_of(as_condition(query), before(pin))
    position = is_ahead_of(first) if first else Condition("0")
    rows = await store.read(
        f"SELECT count() AS total, countIf({position.sql}) AS ahead FROM logs WHERE {condition.sql}",
        {**condition.parameters, **position.parameters},
    )
    return int(rows["total"][0].as_py()), int(rows["ahead"][0].as_py())


async def read_facets(store: Store, query: LogQuery, pin: Pin) -> dict[str, list[tuple[int, int]]]:
    """Count the lines that match by level, rank, attempt and stream."""
    condition = all_of(as_condition(query), before(pin))
    rows = await store.read(
        f"SELECT level, rank, attempt, stream, count() AS count FROM logs WHERE {condition.sql} "
        "GROUP BY level, rank, attempt, stream",
        condition.parameters,
    )
    facets: dict[str, dict[int, int]] = {"level": {}, "rank": {}, "attempt": {}, "stream": {}}
    for row in rows.to_pylist():
        for name, counts in facets.items():
            counts[row[name]] = counts.get(row[name], 0) + row["count"]
    return {name: sorted(counts.items()) for name, counts in facets.items()}


async def lines_over_quota(store: Store, runtime_id: str, trial: int) -> int:
    """Count the lines of a trial that the quota left out."""
    rows = await store.read(
        "SELECT sum(over_quota) AS lines FROM logs "
        "WHERE runtime = {runtime:String} AND trial = {trial:UInt32} AND kind != 'line'",
        {"runtime": runtime_id, "trial": trial},
    )
    return int(rows["lines"][0].as_py() or 0)

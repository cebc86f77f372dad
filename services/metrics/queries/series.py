"""Reading series: buckets from the roll-ups where they fit, from the points where a lineage or a position cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from milepost.numbers import MAX_NUMBER
from services.metrics.queries.buckets import Buckets, bucket_shift, merge, rollup_shift
from services.metrics.queries.kept_parts import KeptParts, Mark, Marks, question
from services.metrics.storage.arrays import as_numpy, flags
from services.metrics.storage.order import NEWEST_TIME_MS, NEWEST_VALUE, ORDER
from services.metrics.storage.selection import (
    Pin,
    StepRange,
    TrialRef,
    all_of,
    before,
    clip,
    in_keys,
    in_pieces,
    runs,
    settled,
    split,
)
from services.metrics.storage.store import Store

# The aggregates of the roll-ups, written exactly as in schema/1_points.sql, or they are not used.
_AGGREGATES = f"""
    count() AS counts, min(step) AS first_steps, max(step) AS last_steps,
    minIf(value, isFinite(value)) AS mins, maxIf(value, isFinite(value)) AS maxs,
    sumIf(value, isFinite(value)) AS sums, countIf(isNaN(value)) AS nans,
    countIf(value = inf) AS positive_infinities, countIf(value = -inf) AS negative_infinities,
    {NEWEST_VALUE} AS lasts, {NEWEST_TIME_MS} AS last_times_ms
"""
_POSITIONS = """,
    min(log_seq) AS min_sequence, max(log_seq) AS max_sequence,
    min(stream_id) AS min_stream, max(stream_id) AS max_stream
"""
_EXTREMES = """,
    argMinIf(step, value, isFinite(value)) AS min_steps, argMaxIf(step, value, isFinite(value)) AS max_steps,
    minIf(step, NOT isFinite(value)) AS non_finite_steps
"""
# Beyond so many separate ranges, everything between the first and the last is read from points.
_MAX_RANGES = 100
# Larger answers are taken apart beside the event loop.
GROUPED_IN_LOOP = 5_000


@dataclass(frozen=True, slots=True, order=True)
class SeriesRef:
    """One series of one trial; `attempt` 0: of its lineage."""

    trial: TrialRef
    key: str
    attempt: int = 0


@dataclass(slots=True)
class Points:
    """Points of one series in order of step."""

    steps: np.ndarray
    values: np.ndarray
    times_ms: np.ndarray
    attempts: np.ndarray


@dataclass(slots=True)
class Extent:
    """What a series has at most: how many points, and between which steps."""

    points: int
    first_step: int
    last_step: int


@dataclass(slots=True)
class Survey:
    """The series of pieces; pieces that select the same for less; and what there is of each attempt, series by series."""

    extents: dict[SeriesRef, Extent]
    pieces: list[StepRange]
    marks: Marks


class SeriesReader:
    """Reads series out of the store. All reads of one answer stop at the same position, so they fit together."""

    def __init__(self, store: Store, curve: TrialRef | None = None, kept: KeptParts | None = None) -> None:
        """Read from a store.

        Args:
            curve: everything that is read is given as one curve of this trial.
            kept: what other readers of the same store have read already.
        """
        self._store = store
        self._curve = curve
        self._kept = kept or KeptParts()

    async def extents(
        self, pieces: Sequence[StepRange], keys: Sequence[str], by_attempt: bool
    ) -> dict[SeriesRef, Extent]:
        """Find the series of pieces, with an upper bound of what they have."""
        return (await self.survey(pieces, keys, by_attempt)).extents

    async def survey(self, pieces: Sequence[StepRange], keys: Sequence[str], by_attempt: bool) -> Survey:
        """Find the series of pieces as `extents` does, and whom the pieces have to yield to.

        Each attempt that a piece yields to is one more query within each that reads points. Most logged nothing there.
        """
        if not pieces:
            return Survey({}, [], {})
        condition = all_of(in_pieces(pieces, 12), in_keys(keys))
        rows = await self._store.read(
            "SELECT runtime, trial, key, attempt, count() AS points, min(step) AS first_step, max(step) AS last_step, "
            "max(log_seq) AS max_sequence, max(stream_id) AS max_stream "
            f"FROM points WHERE {condition.sql} GROUP BY runtime, trial, key, attempt ORDER BY key",
            condition.parameters,
        )
        found: dict[SeriesRef, Extent] = {}
        of_writers: dict[tuple[TrialRef, int], tuple[int, int]] = {}
        marks: dict[tuple[TrialRef, int], tuple[Mark, ...]] = {}
        for row in rows.to_pylist():
            logger = TrialRef(row["runtime"], row["trial"])
            first, last = row["first_step"], row["last_step"]
            before_it, behind_it = of_writers.get((logger, row["attempt"]), (first, last))
            of_writers[logger, row["attempt"]] = min(first, before_it), max(last, behind_it)
            mark = Mark(row["points"], Pin(row["max_stream"], row["max_sequence"]))
            marks[logger, row["attempt"]] = (*marks.get((logger, row["attempt"]), ()), mark)
            trial = self._curve or logger
            ref = SeriesRef(trial, row["key"], row["attempt"] if by_attempt else 0)
            known = found.get(ref)
            if known is None:
                found[ref] = Extent(row["points"], row["first_step"], row["last_step"])
                continue
            known.points += row["points"]
            known.first_step = min(known.first_step, row["first_step"])
            known.last_step = max(known.last_step, row["last_step"])
        return Survey(found, settled(pieces, of_writers, 12), marks)

    async def points(
        self,
        pieces: Sequence[StepRange],
        keys: Sequence[str],
        pin: Pin | None,
        by_attempt: bool,
        marks: Marks | None = None,
    ) -> dict[SeriesRef, Points]:
        """Read every point of pieces, in order of step, of equal steps the newest last.

        Args:
            marks: of a survey of these series. With it, what is kept is not read again.
        """
        if not pieces:
            return {}
        inherited, own = self._apart(pieces)
        asked = None if marks is None or pin is None or not inherited else question(inherited, keys, None, pin, marks)
        if asked is None:
            (rows,) = await self._in_order(pieces, keys, pin)
        else:
            # Its own steps are behind those of all ancestors.
            known = await self._kept.answer(asked, lambda: self._in_order(inherited, keys, pin))
            tables = [*known, *(await self._in_order(own, keys, pin) if own else ())]
            rows = pa.concat_tables(tables).unify_dictionaries()
        rows = self._as_curve(rows)
        if rows.num_rows < GROUPED_IN_LOOP:
            return group_points(rows, by_attempt)
        return await asyncio.to_thread(group_points, rows, by_attempt)

    async def _in_order(self, pieces: Sequence[StepRange], keys: Sequence[str], pin: Pin | None) -> list[pa.Table]:
        condition = all_of(in_pieces(pieces, pin=pin), in_keys(keys), before(pin))
        rows = await self._store.read(
            "SELECT runtime, trial, key, attempt, step, value, time_ms "
            f"FROM points WHERE {condition.sql} ORDER BY {'' if self._curve else 'runtime, trial, '}key, {ORDER}",
            condition.parameters,
        )
        return [rows]

    async def page(self, pieces: Sequence[StepRange], keys: Sequence[str], pin: Pin, skip: int, limit: int) -> pa.Table:
        """Read some points of pieces, in order of time and step: those behind the first `skip`, at most `limit`.

        However long the series are, no more than `skip + limit` rows are held, and `limit` are returned.
        """
        condition = all_of(in_pieces(pieces, pin=pin), in_keys(keys), before(pin))
        return await self._store.read(
            "SELECT runtime, trial, attempt, key, step, time_ms, value "
            f"FROM points WHERE {condition.sql} ORDER BY time_ms, {ORDER}, key, trial "
            "LIMIT {limit:UInt64} OFFSET {skip:UInt64}",
            {**condition.parameters, "limit": limit, "skip": skip},
        )

    async def buckets(
        self,
        pieces: Sequence[StepRange],
        keys: Sequence[str],
        shift: int,
        pin: Pin,
        by_attempt: bool,
        marks: Marks | None = None,
    ) -> dict[SeriesRef, Buckets]:
        """Read buckets of 2**shift steps of pieces.

        Args:
            marks: of a survey of these series. With it, what is kept is not read again.
        """
        inherited, own = self._apart(pieces)
        asked = question(inherited, keys, shift, pin, marks) if inherited and marks is not None else None
        if asked is None:
            tables = await self._bucketed(pieces, keys, shift, pin, marks)
        else:
            known = self._kept.answer(asked, lambda: self._bucketed(inherited, keys, shift, pin, marks))
            reads = await asyncio.gather(self._bucketed(own, keys, shift, pin, marks), known)
            tables = [rows for read in reads for rows in read]
        return _merged([self._as_curve(rows) for rows in tables], by_attempt)

    def _apart(self, pieces: Sequence[StepRange]) -> tuple[list[StepRange], list[StepRange]]:
        """Take what a curve has of its ancestors, if it is one, and what is its own apart."""
        if self._curve is None:
            return [], list(pieces)
        return [p for p in pieces if p.trial != self._curve], [p for p in pieces if p.trial == self._curve]

    async def _bucketed(
        self, pieces: Sequence[StepRange], keys: Sequence[str], shift: int, pin: Pin, marks: Marks | None
    ) -> list[pa.Table]:
        """Read buckets: of whole units from the roll-ups, of the rest from the points."""
        unit = rollup_shift(shift)
        whole, rest = split(pieces, unit) if unit else ([], list(pieces))
        reads = [self._from_rollups(whole, keys, unit, shift, pin)] if whole else []
        if rest:
            asked = question(rest, keys, shift, pin, marks) if unit and marks is not None else None
            reads.append(self._kept.answer(asked, lambda: self._from_points(rest, keys, shift, pin)))
        return [rows for read in await asyncio.gather(*reads) for rows in read]

    async def _from_rollups(
        self, pieces: Sequence[StepRange], keys: Sequence[str], unit: int, shift: int, pin: Pin
    ) -> Sequence[pa.Table]:
        """Read whole buckets from the roll-ups, and those that a position cuts from the points."""
        kept, uncertain = _settle(await self._rolled_up(pieces, keys, unit, shift), pieces, shift, pin)
        return [kept, *(await self._from_points(uncertain, keys, shift, pin) if uncertain else ())]

    def _as_curve(self, rows: pa.Table) -> pa.Table:
        """Give rows of several trials as those of one."""
        if self._curve is None or not rows.num_rows:
            return rows
        for name, value in (("runtime", self._curve.runtime_id), ("trial", self._curve.trial)):
            column = pa.repeat(pa.scalar(value, pa.string() if name == "runtime" else rows[name].type), rows.num_rows)
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return rows

    async def _rolled_up(self, pieces: Sequence[StepRange], keys: Sequence[str], unit: int, shift: int) -> pa.Table:
        condition = all_of(in_pieces(pieces, unit), in_keys(keys))
        bucket = f"bitShiftRight(bitShiftRight(step, {unit}), {shift - unit})"
        return await self._store.read(
            f"SELECT runtime, trial, key, attempt, {bucket} AS bucket, {_AGGREGATES} {_POSITIONS} "
            f"FROM points WHERE {condition.sql} GROUP BY runtime, trial, key, attempt, bucket",
            condition.parameters,
        )

    async def _from_points(
        self, pieces: Sequence[StepRange], keys: Sequence[str], shift: int, pin: Pin
    ) -> list[pa.Table]:
        condition = all_of(in_pieces(pieces, pin=pin), in_keys(keys), before(pin))
        rows = await self._store.read(
            f"SELECT runtime, trial, key, attempt, bitShiftRight(step, {shift}) AS bucket, {_AGGREGATES} "
            f"FROM points WHERE {condition.sql} GROUP BY runtime, trial, key, attempt, bucket",
            condition.parameters,
        )
        return [rows]

    async def summaries(
        self, pieces: Sequence[StepRange], keys: Sequence[str], pin: Pin | None
    ) -> list[dict[str, Any]]:
        """Summarize series of pieces, by trial and key. Without keys: all. Without a position: with what came meanwhile."""
        if not pieces:
            return []
        whole, rest = split(pieces, 12) if pin is None else ([], list(pieces))
        rows: list[dict[str, Any]] = []
        for part, unit in ((whole, 12), (rest, 0)):
            if part:
                condition = all_of(in_pieces(part, unit, pin), in_keys(keys), before(pin))
                table = await self._store.read(
                    f"SELECT runtime, trial, key, {_AGGREGATES} {_EXTREMES} FROM points WHERE {condition.sql} "
                    "GROUP BY runtime, trial, key",
                    condition.parameters,
                )
                rows += table.to_pylist()
        return _summarized(rows)

    async def first_times(self, trials: Iterable[TrialRef]) -> dict[TrialRef, int]:
        """Read when the first point of each trial was logged, ms since 1970."""
        found = {}
        by_runtime: dict[str, list[int]] = {}
        for trial in trials:
            by_runtime.setdefault(trial.runtime_id, []).append(trial.trial)
        for runtime_id, numbers in by_runtime.items():
            rows = await self._store.read(
                "SELECT trial, min(time_ms) AS first FROM points "
                "WHERE runtime = {runtime:String} AND trial IN {trials:Array(UInt32)} AND key != '' GROUP BY trial",
                {"runtime": runtime_id, "trials": numbers},
            )
            for row in rows.to_pylist():
                found[TrialRef(runtime_id, row["trial"])] = row["first"]
        return found

    async def position_at(self, runtime_ids: Sequence[str], time_ms: int, table: str = "points") -> Pin:
        """Find the last position whose message was in the stream at a time, by the server's clock."""
        rows = await self._store.read(
            f"SELECT stream_id, max(log_seq) AS sequence FROM {table} "
            "WHERE runtime IN {runtimes:Array(String)} AND log_time_ms <= {time:Int64} GROUP BY stream_id",
            {"runtimes": list(runtime_ids), "time": time_ms},
        )
        return max((Pin(row["stream_id"], row["sequence"]) for row in rows.to_pylist()), default=Pin(0, 0))


def choose_shift(extents: Iterable[Extent], first: int, last: int, bucket_count: int) -> int:
    """Choose the bucket width for a range of steps, as far as there is data in it. last 0: to the end."""
    extents = list(extents)
    if not extents:
        return 0
    start = max(first, min(e.first_step for e in extents))
    end = min(last or MAX_NUMBER, max(e.last_step for e in extents))
    return bucket_shift(start, end, bucket_count) if end >= start else 0


def group_points(rows: pa.Table, by_attempt: bool) -> dict[SeriesRef, Points]:
    """Take rows with runtime, trial, key, attempt, step, value, time_ms apart into series; their order is kept."""
    codes, refs = _codes(rows, by_attempt)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    columns = [_array(rows, name)[order] for name in ("step", "value", "time_ms", "attempt")]
    starts: Any = np.searchsorted(codes, np.arange(len(refs) + 1)).tolist()
    return {
        ref: Points(*(column[starts[i] : starts[i + 1]] for column in columns))
        for i, ref in enumerate(refs)
        if starts[i] < starts[i + 1]
    }


def _array(rows: pa.Table, name: str) -> np.ndarray:
    return as_numpy(rows[name])


def _codes(rows: pa.Table, by_attempt: bool) -> tuple[np.ndarray, list[SeriesRef]]:
    """Number the series of rows."""
    if not rows.num_rows:
        return np.zeros(0, np.int64), []
    columns = [rows[name].combine_chunks() for name in ("runtime", "key")]
    encoded = [column if pa.types.is_dictionary(column.type) else column.dictionary_encode() for column in columns]
    numbers = [as_numpy(pa.chunked_array([c.indices])) for c in encoded] + [_array(rows, "trial")]
    if by_attempt:
        numbers.append(_array(rows, "attempt"))
    stacked = np.stack([n.astype(np.int64) for n in numbers], axis=1)
    distinct, inverse = np.unique(stacked, axis=0, return_inverse=True)
    runtimes, keys = (c.dictionary.to_pylist() for c in encoded)
    refs = [
        SeriesRef(TrialRef(runtimes[row[0]], int(row[2])), keys[row[1]], int(row[3]) if by_attempt else 0)
        for row in distinct.tolist()
    ]
    return inverse.reshape(-1), refs


def _merged(tables: Sequence[pa.Table], by_attempt: bool) -> dict[SeriesRef, Buckets]:
    numbers: dict[SeriesRef, int] = {}
    parts = []
    for rows in tables:
        codes, refs = _codes(rows, by_attempt)
        mapping = np.array([numbers.setdefault(ref, len(numbers)) for ref in refs], np.int64)
        parts.append(
            Buckets(
                mapping[codes] if len(codes) else codes,
                *(
                    _array(rows, name)
                    for name in (
                        "bucket", "counts", "first_steps", "last_steps", "mins", "maxs", "sums", "nans",
                        "positive_infinities", "negative_infinities", "lasts", "last_times_ms", "attempt",
                    )
                ),
            )
        )  # fmt: skip
    if not parts:
        return {}
    merged = merge([_signed(part) for part in parts])
    starts: Any = np.searchsorted(merged.series, np.arange(len(numbers) + 1)).tolist()
    return {
        ref: merged.take(np.arange(starts[number], starts[number + 1]))
        for ref, number in numbers.items()
        if starts[number] < starts[number + 1]
    }


def _signed(part: Buckets) -> Buckets:
    """Counts come unsigned; differences of them must not wrap around."""
    names = ("counts", "nans", "positive_infinities", "negative_infinities")
    return replace(part, **{name: getattr(part, name).astype(np.int64) for name in names})


def _settle(rows: pa.Table, pieces: Sequence[StepRange], shift: int, pin: Pin) -> tuple[pa.Table, list[StepRange]]:
    """Keep the buckets that a position does not cut; name the pieces of the others, to be read from points."""
    streams, sequences = _array(rows, "max_stream"), _array(rows, "max_sequence")
    first_streams, first_sequences = _array(rows, "min_stream"), _array(rows, "min_sequence")
    complete = (streams < pin.stream_id) | ((streams == pin.stream_id) & (sequences <= pin.sequence))
    outside = (first_streams > pin.stream_id) | (
        (first_streams == pin.stream_id) & (streams == pin.stream_id) & (first_sequences > pin.sequence)
    )
    cut = ~complete & ~outside
    if not cut.any():
        return rows.filter(flags(complete)), []
    attempts = np.stack(
        [_array(rows, "trial").astype(np.int64), _array(rows, "attempt").astype(np.int64), _array(rows, "bucket")],
        axis=1,
    )
    runtimes = rows["runtime"].to_pylist()
    cut_buckets: dict[tuple[str, int, int], set[int]] = {}
    for index in np.flatnonzero(cut):
        trial, attempt, bucket = (int(n) for n in attempts[index])
        cut_buckets.setdefault((runtimes[index], trial, attempt), set()).add(bucket)
    reread: list[StepRange] = []
    dropped: np.ndarray = np.zeros(len(cut), bool)
    for (runtime_id, trial, attempt), buckets in cut_buckets.items():
        ranges = list(runs(buckets))
        if len(ranges) > _MAX_RANGES:
            ranges = [(min(buckets), max(buckets))]
        of_attempt = (
            (attempts[:, 0] == trial) & (attempts[:, 1] == attempt) & np.array([r == runtime_id for r in runtimes])
        )
        own = [p for p in pieces if p.trial == TrialRef(runtime_id, trial) and p.attempt == attempt]
        for first, last in ranges:
            dropped |= of_attempt & (attempts[:, 2] >= first) & (attempts[:, 2] <= last)
            reread += clip(own, first << shift, ((last + 1) << shift) - 1)
    return rows.filter(flags(complete & ~dropped)), reread


def _summarized(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join summaries of parts of a series."""
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for part in rows:
        row = dict(part)
        place = (row["runtime"], row["trial"], row["key"])
        row["finite"] = row["counts"] - row["nans"] - row["positive_infinities"] - row["negative_infinities"]
        known = found.get(place)
        if known is None:
            found[place] = row
            continue
        if row["finite"] and (not known["finite"] or row["mins"] < known["mins"]):
            known["mins"], known["min_steps"] = row["mins"], row["min_steps"]
        if row["finite"] and (not known["finite"] or row["maxs"] > known["maxs"]):
            known["maxs"], known["max_steps"] = row["maxs"], row["max_steps"]
        if row["last_steps"] >= known["last_steps"]:
            known["lasts"], known["last_times_ms"] = row["lasts"], row["last_times_ms"]
        non_finite = [r["non_finite_steps"] for r in (known, row) if r["counts"] > r["finite"]]
        known["non_finite_steps"] = min(non_finite, default=0)
        known["first_steps"] = min(known["first_steps"], row["first_steps"])
        known["last_steps"] = max(known["last_steps"], row["last_steps"])
        for name in ("counts", "nans", "positive_infinities", "negative_infinities", "finite"):
            known[name] += row[name]
    return [found[place] for place in sorted(found)]

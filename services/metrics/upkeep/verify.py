"""Comparing ClickHouse with TELEMETRY, message by message, where both still have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.proof.chain import as_ranges, ranges_in_words, ranges_of_each
from milepost.eventlog.telemetry import StoredMessage
from services.metrics.engine import Engine
from services.metrics.ingest.quota import MARKER_LOGGER
from services.metrics.storage.arrays import as_numpy
from services.metrics.storage.batches import DUPLICATE, PURGED, REJECTED, STEPS, TOMBSTONE, Batch, decode, stored_line
from services.metrics.storage.selection import Condition, TrialRef, all_of, in_trials

MAX_DIFFERENCES = 20
MESSAGES_AT_ONCE = 100
# Of a message of these only the fact that it came is kept.
WITHOUT_CONTENT = (DUPLICATE, PURGED, REJECTED, TOMBSTONE)


@dataclass(slots=True)
class _Rows:
    """What a table has of one message.

    Attributes:
        outcome: what became of it; empty: nothing is known of it.
        senders: who sent it as its rows say, with its number: one, if all is well.
        content: its points with the bits of their values, or its lines.
        over_quota: lines that the quota left out.
    """

    outcome: str = ""
    senders: list[tuple[Any, ...]] = field(default_factory=list)
    content: list[tuple[Any, ...]] = field(default_factory=list)
    over_quota: int = 0
    count: int = 0


async def verify_stored(engine: Engine, parent: TrialRef) -> pb.VerifyStoredResponse:
    """Compare every value and every line of every stored batch, bit by bit. An empty parent: everything."""
    response = pb.VerifyStoredResponse()
    for pipeline in (engine.writer.steps, engine.writer.logs):
        await _Comparison(engine, parent, pipeline.kind, pipeline.stream_id, pipeline.stored, response).run()
        response.oddities.extend(pipeline.set_aside.sentences(parent.runtime_id))
    response.oddities.extend(engine.follower.lineages.set_aside.sentences(parent.runtime_id))
    return response


class _Comparison:
    """One of the two tables against its part of TELEMETRY, up to a position."""

    def __init__(
        self, engine: Engine, parent: TrialRef, kind: str, stream_id: int, end: int, response: pb.VerifyStoredResponse
    ) -> None:
        self._engine = engine
        self._parent = parent
        self._kind = kind
        self._table = "points" if kind == STEPS else "logs"
        self._stream_id = stream_id
        self._end = end
        self._response = response
        # Rows that belong to a message, by runtime.
        self._explained: Counter[str] = Counter()
        # Sequences of rejected messages and the first reason, by attempt.
        self._rejected: dict[tuple[str, int, int], tuple[list[int], str]] = {}

    async def run(self) -> None:
        first = 0
        async for messages in self._messages():
            first = first or messages[0].sequence
            batches = [decode(message) for message in messages]
            stored = await self._rows(batches)
            for batch in batches:
                if batch.kind == REJECTED:
                    attempt = (batch.sender.runtime_id, batch.sender.trial, batch.sender.attempt)
                    self._rejected.setdefault(attempt, ([], batch.note))[0].append(batch.sequence)
                rows = stored.get(batch.sequence, _Rows())
                self._explained[batch.sender.runtime_id] += rows.count
                if not self._is_deleted(batch.sender.runtime_id):
                    self._compare(batch, rows)
        if first:
            await self._find_unexplained(first)
        most = ranges_of_each(len(self._rejected))
        for (runtime_id, trial, number), (sequences, note) in self._rejected.items():
            self._response.oddities.append(
                f"{len(sequences):,} messages of {self._kind} of attempt {number} of trial {trial} of {runtime_id} were "
                f"rejected: {ranges_in_words(as_ranges(sequences), most)}; the first: {note}"
            )

    def _is_deleted(self, runtime_id: str) -> bool:
        """Of a deleted runtime nothing is kept, on purpose."""
        return self._engine.follower.lineages.is_deleted(runtime_id)

    async def _messages(self) -> AsyncIterator[list[StoredMessage]]:
        telemetry = self._engine.telemetry
        subject = f"telemetry.{self._parent.runtime_id or '*'}.{self._parent.trial or '*'}.*.{self._kind}"
        state = await telemetry.state()
        if not state.message_count or state.first_sequence > self._end:
            return
        async with telemetry.consume(state.first_sequence - 1, [subject]) as reader:
            while True:
                batch = await reader.next_batch(MESSAGES_AT_ONCE, wait_seconds=2.0)
                messages = [message for message in batch if message.sequence <= self._end]
                if not messages:
                    return
                yield messages
                if messages[-1].pending == 0:
                    return

    async def _rows(self, batches: Sequence[Batch]) -> dict[int, _Rows]:
        """Read what the table has of messages."""
        where = all_of(
            in_trials({TrialRef(batch.sender.runtime_id, batch.sender.trial) for batch in batches}),
            Condition(
                "stream_id = {stream:UInt64} AND log_seq IN {sequences:Array(UInt64)}",
                {"stream": self._stream_id, "sequences": [batch.sequence for batch in batches]},
            ),
        )
        found: dict[int, _Rows] = {}
        senders = await self._engine.store.read(
            f"SELECT log_seq, runtime, trial, attempt, source, number, count() AS count FROM {self._table} "
            f"WHERE {where.sql} GROUP BY log_seq, runtime, trial, attempt, source, number",
            where.parameters,
        )
        for row in senders.to_pylist():
            rows = found.setdefault(row["log_seq"], _Rows())
            rows.senders.append(tuple(row[name] for name in ("runtime", "trial", "attempt", "source", "number")))
            rows.count += row["count"]
        await (self._read_points if self._kind == STEPS else self._read_lines)(where, found)
        return found

    async def _read_points(self, where: Condition, found: dict[int, _Rows]) -> None:
        rows = await self._engine.store.read(
            f"SELECT log_seq, toString(kind) AS outcome, key, step, time_ms, value FROM points WHERE {where.sql}",
            where.parameters,
        )
        bits = as_numpy(rows["value"]).view("V8").tolist() if rows.num_rows else []
        columns = (rows[name].to_pylist() for name in ("log_seq", "outcome", "key", "step", "time_ms"))
        for (sequence, outcome, *point), value in zip(zip(*columns, strict=True), bits, strict=True):
            if outcome == "point":
                found.setdefault(sequence, _Rows()).content.append((*point, bytes(value)))
            else:
                found.setdefault(sequence, _Rows()).outcome = outcome

    async def _read_lines(self, where: Condition, found: dict[int, _Rows]) -> None:
        rows = await self._engine.store.read(
            "SELECT log_seq, toString(kind) AS outcome, over_quota, line, time_ms, level, rank, stream, step, logger,"
            f" text, display FROM logs WHERE {where.sql}",
            where.parameters,
        )
        for row in rows.to_pylist():
            of_message = found.setdefault(row.pop("log_seq"), _Rows())
            outcome, over_quota = row.pop("outcome"), row.pop("over_quota")
            if outcome != "line":
                of_message.outcome, of_message.over_quota = outcome, over_quota
            # The quota's marker is a line of ours, not one that was sent.
            elif row["logger"] != MARKER_LOGGER:
                of_message.content.append(tuple(row.values()))

    def _compare(self, batch: Batch, rows: _Rows) -> None:
        sent = [] if rows.outcome in WITHOUT_CONTENT else _content(batch)
        self._response.compared_batches += 1
        if self._kind == STEPS:
            self._response.compared_points += len(sent)
        else:
            self._response.compared_lines += len(sent)
        where = (
            f"message {batch.sequence} (batch {batch.number} of {batch.sender.source}, attempt {batch.sender.attempt})"
        )
        what = "points" if self._kind == STEPS else "lines"
        sender = (*astuple(batch.sender), batch.number)
        if not rows.outcome:
            self._differ(f"{where} is not in ClickHouse")
        elif rows.senders != [sender]:
            self._differ(f"{where} is stored as sent by {_other(rows.senders, sender)}")
        elif not _same(sent, rows):
            self._differ(f"{where}: {len(sent)} {what} sent, {len(rows.content)} stored, or other values")

    async def _find_unexplained(self, first: int) -> None:
        """Rows of the range that was read which no message has carried."""
        where = Condition(
            "stream_id = {stream:UInt64} AND log_seq BETWEEN {first:UInt64} AND {end:UInt64}"
            " AND kind NOT IN ('offset', 'purged')",
            {"stream": self._stream_id, "first": first, "end": self._end},
        )
        if self._parent.runtime_id:
            where = all_of(where, Condition("runtime = {runtime:String}", {"runtime": self._parent.runtime_id}))
        if self._parent.trial:
            where = all_of(where, Condition("trial = {trial:UInt32}", {"trial": self._parent.trial}))
        rows = await self._engine.store.read(
            f"SELECT runtime, count() AS count FROM {self._table} WHERE {where.sql} GROUP BY runtime", where.parameters
        )
        for row in rows.to_pylist():
            more = row["count"] - self._explained[row["runtime"]]
            if more > 0 and not self._is_deleted(row["runtime"]):
                what = f"{more} row{'' if more == 1 else 's'} of {self._table}"
                self._differ(f"{what} of {row['runtime']} came by no message of TELEMETRY")

    def _differ(self, text: str) -> None:
        self._response.difference_count += 1
        if len(self._response.differences) < MAX_DIFFERENCES:
            self._response.differences.append(text)


def _content(batch: Batch) -> list[tuple[Any, ...]]:
    """What a message carries, as the rows of its table have it."""
    if batch.lines:
        return [astuple(stored_line(index, line)) for index, line in enumerate(batch.lines)]
    return [
        (key, step, time_ms, bytes(value))
        for group in batch.groups
        for key, values in zip(group.keys, group.values, strict=True)
        for step, time_ms, value in zip(
            group.steps.tolist(), group.times_ms.tolist(), values.view("V8").tolist(), strict=True
        )
    ]


def _same(sent: list[tuple[Any, ...]], rows: _Rows) -> bool:
    """Return whether a table has what was sent; of lines, all but those that the quota left out."""
    if not rows.over_quota:
        return sorted(sent) == sorted(rows.content)
    kept = Counter(rows.content)
    return kept <= Counter(sent) and kept.total() == len(sent) - rows.over_quota


def _other(senders: Sequence[tuple[Any, ...]], sender: tuple[Any, ...]) -> str:
    runtime_id, trial, attempt, source, number = next(one for one in senders if one != sender)
    return f"{source} as batch {number} of attempt {attempt} of trial {trial} of {runtime_id}"

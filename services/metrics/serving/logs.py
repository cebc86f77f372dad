"""LogService: pages of log lines, and following them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import grpc.aio

from milepost.api.log.v1 import log_service_pb2 as pb
from milepost.api.log.v1 import log_service_pb2_grpc as pb_grpc
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.numbers import MAX_NUMBER
from services.metrics.engine import Engine
from services.metrics.ingest.quota import DEFAULT_BYTES, MARKER_LOGGER, marker_text
from services.metrics.queries.log_queries import (
    MAX_LINE,
    LinePosition,
    LogQuery,
    as_predicate,
    checked_filter,
    count_lines,
    ends_of_attempts,
    is_ahead_of,
    is_behind,
    lines_over_quota,
    read_facets,
    read_lines,
)
from services.metrics.queries.names import Checker
from services.metrics.storage.batches import Batch, Line
from services.metrics.storage.selection import Condition, Pin, TrialRef, all_of, before, owned_pieces

DEFAULT_PAGE = 200
MAX_PAGE = 5_000
MAX_SKIP = 100_000_000
# Lines in one message of a stream.
CHUNK_LINES = 2_000
# Answers stay below the limit of clients.
CHUNK_BYTES = 2 << 20


class LogService(pb_grpc.LogServiceServicer):
    """Queries of log lines."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def QueryLogs(self, request: pb.QueryLogsRequest, context: grpc.aio.ServicerContext) -> pb.QueryLogsResponse:
        check = Checker()
        parent = check.runtime_or_trial("parent", request.parent)
        query = checked_filter(check, parent, request.filter)
        size = check.number("page_size", request.page_size, 0, MAX_PAGE) or DEFAULT_PAGE
        skip = check.number("skip", request.skip, 0, MAX_SKIP)
        check.number("min_telemetry_sequence", request.min_telemetry_sequence, 0, MAX_NUMBER)
        position = _position(check, request.cursor)
        check.finish()
        engine = self._engine
        await engine.wait_stored(engine.writer.logs, request.min_telemetry_sequence)
        moment = await engine.moment(request.as_of, engine.writer.logs, [parent.runtime_id])
        await engine.check_known([parent])
        query = self._with_lineage(query, moment.events_sequence)
        where = Condition()
        if position is not None:
            where = is_ahead_of(position) if request.backwards else is_behind(position)
        where = all_of(where, before(moment.pin))
        rows = await read_lines(engine.store, query, where, size, skip, request.backwards)
        rows = _within_bytes(rows, request.backwards)
        positions = [_position_of(row) for row in rows]
        response = pb.QueryLogsResponse(telemetry_sequence=moment.pin.sequence)
        first = min(positions, default=None)
        response.total_size, response.first_index = await count_lines(engine.store, query, moment.pin, first)
        if rows:
            edge = positions[0] if request.backwards else positions[-1]
            remaining = (
                response.first_index if request.backwards else response.total_size - response.first_index - len(rows)
            )
            response.next_cursor = edge.cursor if remaining > 0 else ""
        rows.sort(key=lambda row: (row["time_ms"], _position_of(row)))
        response.entries.extend(await self._entries(query, rows))
        return response

    async def StreamLogs(
        self, request: pb.StreamLogsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        check = Checker()
        parent = check.runtime_or_trial("parent", request.parent)
        query = checked_filter(check, parent, request.filter)
        position = _position(check, request.cursor)
        check.finish()
        engine = self._engine
        pipeline = engine.writer.logs
        await engine.check_known([parent])
        if position is not None:
            await engine.check_cursor(pipeline, position.stream_id, position.sequence)
        predicate = as_predicate(query)
        subscription = engine.writer.logs_hub.subscribe([(parent.runtime_id, parent.trial)])
        position = position or LinePosition(0, 0, 0)
        caught_up = False
        try:
            while True:
                target = Pin(pipeline.stream_id, pipeline.accepted)
                await pipeline.wait_stored(target.sequence)
                query = self._with_lineage(query, None)
                async for response in self._stored(query, position, target):
                    position = LinePosition.parse(response.cursor) or position
                    yield response
                # What does not match need not be looked at again.
                position = max(position, LinePosition(target.stream_id, target.sequence, MAX_LINE))
                if not caught_up:
                    caught_up = True
                    yield pb.StreamLogsResponse(
                        cursor=position.cursor, telemetry_sequence=target.sequence, caught_up=True
                    )
                while not subscription.overflowed:
                    batches = await subscription.take()
                    if subscription.overflowed:
                        break
                    if predicate is None:
                        # Only ClickHouse knows its regular expressions: read what has come from there.
                        break
                    query = self._with_lineage(query, None)
                    predicate = as_predicate(query)
                    assert predicate is not None
                    for response in _live(pipeline.stream_id, batches, target.sequence, position, query, predicate):
                        position = LinePosition.parse(response.cursor) or position
                        yield response
                    if batches:
                        target = Pin(pipeline.stream_id, max(target.sequence, batches[-1].sequence))
                subscription.restart()
        finally:
            subscription.close()

    async def ListLogFacets(
        self, request: pb.ListLogFacetsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListLogFacetsResponse:
        check = Checker()
        parent = check.runtime_or_trial("parent", request.parent)
        query = checked_filter(check, parent, request.filter)
        check.finish()
        engine = self._engine
        moment = await engine.moment(request.as_of, engine.writer.logs, [parent.runtime_id])
        await engine.check_known([parent])
        query = self._with_lineage(query, moment.events_sequence)
        facets = await read_facets(engine.store, query, moment.pin)
        return pb.ListLogFacetsResponse(
            levels=[pb.Facet(value=_level(value), count=count) for value, count in facets["level"]],
            ranks=[pb.Facet(value=str(value), count=count) for value, count in facets["rank"]],
            attempts=[pb.Facet(value=str(value), count=count) for value, count in facets["attempt"]],
            streams=[pb.Facet(value=_stream(value), count=count) for value, count in facets["stream"]],
        )

    # --- parts ------------------------------------------------------------------------------------------------------

    def _with_lineage(self, query: LogQuery, events_sequence: int | None) -> LogQuery:
        lineages = self._engine.follower.lineages
        runtime_id = query.parent.runtime_id
        ends: dict[tuple[int, int], int] = {}
        for trial in [query.parent.trial] if query.parent.trial else lineages.trials(runtime_id):
            pieces = owned_pieces(TrialRef(runtime_id, trial), lineages.lineage(runtime_id, trial, events_sequence))
            ends |= ends_of_attempts(trial, pieces, lineages.attempts(runtime_id, trial, events_sequence))
        return query if ends == query.superseded_after else replace(query, superseded_after=ends)

    async def _stored(
        self, query: LogQuery, position: LinePosition, target: Pin
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        while True:
            where = all_of(is_behind(position), before(target))
            rows = _within_bytes(await read_lines(self._engine.store, query, where, CHUNK_LINES), False)
            if not rows:
                return
            position = _position_of(rows[-1])
            yield pb.StreamLogsResponse(
                entries=await self._entries(query, rows), cursor=position.cursor, telemetry_sequence=position.sequence
            )

    async def _entries(self, query: LogQuery, rows: list[dict[str, Any]]) -> list[pb.LogEntry]:
        runtime_id = query.parent.runtime_id
        entries = []
        for row in rows:
            entry = _entry(
                _position_of(row), row["trial"], row["attempt"], _line_of(row),
                query.is_superseded(row["trial"], row["attempt"], row["step"]), row["log_time_ms"],
            )  # fmt: skip
            if entry.logger == MARKER_LOGGER:
                quota = self._engine.follower.lineages.log_quota_bytes(runtime_id) or DEFAULT_BYTES
                left_out = await lines_over_quota(self._engine.store, runtime_id, row["trial"])
                entry.text = marker_text(quota, left_out)
            entries.append(entry)
        return entries


def _live(
    stream_id: int,
    batches: Iterable[Batch],
    after_sequence: int,
    position: LinePosition,
    query: LogQuery,
    matches: Any,
) -> list[pb.StreamLogsResponse]:
    """Put live lines that match into messages of bounded size."""
    responses = []
    response, size = pb.StreamLogsResponse(), 0
    for batch in batches:
        trial, attempt = batch.sender.trial, batch.sender.attempt
        for line in batch.stored_lines if batch.sequence > after_sequence else ():
            where = LinePosition(stream_id, batch.sequence, line.index)
            if where <= position or not matches(line, trial, attempt):
                continue
            superseded = query.is_superseded(trial, attempt, line.step)
            response.entries.append(_entry(where, trial, attempt, line, superseded, batch.time_ms))
            response.cursor, response.telemetry_sequence = where.cursor, batch.sequence
            size += response.entries[-1].ByteSize()
            if len(response.entries) >= CHUNK_LINES or size >= CHUNK_BYTES:
                responses.append(response)
                response, size = pb.StreamLogsResponse(), 0
    if response.entries:
        responses.append(response)
    return responses


def _entry(
    position: LinePosition, trial: int, attempt: int, line: Line, superseded: bool, received_ms: int
) -> pb.LogEntry:
    entry = pb.LogEntry(
        cursor=position.cursor,
        level=line.level,  # type: ignore[arg-type]
        rank=line.rank,
        stream=line.stream,  # type: ignore[arg-type]
        step=line.step,
        trial=trial,
        attempt=attempt,
        text=line.display or line.text,
        superseded=superseded,
        logger=line.logger,
    )
    entry.time.FromMilliseconds(min(max(line.time_ms, _FIRST_MS), _LAST_MS))
    entry.receive_time.FromMilliseconds(received_ms)
    return entry


# What a protobuf timestamp can hold.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def _line_of(row: dict[str, Any]) -> Line:
    names = ("time_ms", "level", "rank", "stream", "step", "logger", "text", "display")
    return Line(row["line"], *(row[name] for name in names))


def _position_of(row: dict[str, Any]) -> LinePosition:
    return LinePosition(row["stream_id"], row["log_seq"], row["line"])


def _position(check: Checker, cursor: str) -> LinePosition | None:
    if not cursor:
        return None
    position = LinePosition.parse(cursor)
    if position is None:
        check.refuse("cursor", "is not a cursor of this service")
    return position


def _within_bytes(rows: list[dict[str, Any]], backwards: bool) -> list[dict[str, Any]]:
    """Keep as many lines as fit into one answer, at least one."""
    total = 0
    ordered = rows[::-1] if backwards else rows
    for index, row in enumerate(ordered):
        total += len(row["text"]) + len(row["display"]) + 64
        if total > CHUNK_BYTES and index:
            ordered = ordered[:index]
            break
    return ordered[::-1] if backwards else ordered


def _level(value: int) -> str:
    return telemetry.LogLevel.Name(value).removeprefix("LOG_LEVEL_")


def _stream(value: int) -> str:
    return telemetry.LogStream.Name(value).removeprefix("LOG_STREAM_")

"""MetricService: from requests to reads of the store, and back. No SQL here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import grpc.aio
import numpy as np

from milepost.api.config.v1.configuration_pb2 import METRIC_MODE_MAX, METRIC_MODE_MIN, KeepBest
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.metric.v1 import metric_service_pb2_grpc as pb_grpc
from services.metrics.backup import as_stream, table_rows
from services.metrics.batches import LOGS, MAXIMUM_STEP, STEPS
from services.metrics.best import direction
from services.metrics.buckets import Buckets
from services.metrics.determinism import check_determinism
from services.metrics.engine import Engine, Moment
from services.metrics.exports import export_chunks
from services.metrics.names import Checker
from services.metrics.purge import purge
from services.metrics.records import SenderRecord, read_records
from services.metrics.rows import TABLES, export_rows
from services.metrics.selection import Piece, TrialRef, clip
from services.metrics.series import Extent, Points, SeriesRef, choose_shift
from services.metrics.series_stream import stream_series
from services.metrics.verify import verify_stored

DEFAULT_BUCKETS = 1_000
MAXIMUM_BUCKETS = 10_000


class MetricService(pb_grpc.MetricServiceServicer):
    """Queries of step metrics."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ListSeries(
        self, request: pb.ListSeriesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListSeriesResponse:
        check = Checker()
        trial = check.trial("parent", request.parent)
        check.finish()
        engine = self._engine
        pipeline = engine.writer.steps
        moment = await engine.moment(request.as_of, pipeline, [trial.runtime_id])
        pieces = engine.follower.lineages.owned(trial, moment.events_sequence)
        pin = None if moment.pin == engine.now(pipeline) else moment.pin
        response = pb.ListSeriesResponse(telemetry_sequence=moment.pin.sequence)
        for row in await engine.series.summaries(pieces, pin):
            response.series.append(_summary(row, engine.follower.lineages.keep_best(trial.runtime_id)))
        return response

    async def QuerySeries(
        self, request: pb.QuerySeriesRequest, context: grpc.aio.ServicerContext
    ) -> pb.QuerySeriesResponse:
        query = _checked_query(request)
        engine = self._engine
        pipeline = engine.writer.steps
        await engine.wait_stored(pipeline, request.min_telemetry_sequence)
        moment = await engine.moment(request.as_of, pipeline, sorted({t.runtime_id for t in query.trials}))
        response = pb.QuerySeriesResponse(telemetry_sequence=moment.pin.sequence)
        owned: list[Piece] = []
        superseded: list[Piece] = []
        lineages, sequence = engine.follower.lineages, moment.events_sequence
        for trial in query.trials:
            owned += lineages.owned(trial, sequence)
            if request.include_superseded:
                superseded += lineages.superseded(trial, sequence)
        response.events_sequence = lineages.sequence if sequence is None else sequence
        await self._fill(response, query, clip(owned, query.first, query.last), moment, by_attempt=False)
        if superseded:
            await self._fill(response, query, clip(superseded, query.first, query.last), moment, by_attempt=True)
        await self._place(response, request.axis)
        return response

    async def _fill(
        self, response: pb.QuerySeriesResponse, query: _Query, pieces: list[Piece], moment: Moment, by_attempt: bool
    ) -> None:
        """Add the series of pieces: raw where the points are no more than the buckets asked for."""
        reader = self._engine.series
        extents = await reader.extents(pieces, query.keys, by_attempt)
        small = {ref for ref, extent in extents.items() if extent.points <= query.bucket_count}
        large = {ref: extent for ref, extent in extents.items() if ref not in small}
        data: dict[SeriesRef, pb.SeriesData] = {}
        if large:
            shift = choose_shift(large.values(), query.first, query.last, query.bucket_count)
            for trials, keys in _together(large):
                of_trials = [p for p in pieces if p.trial in trials]
                for ref, buckets in (await reader.buckets(of_trials, keys, shift, moment.pin, by_attempt)).items():
                    if ref in large and int(buckets.counts.sum()) <= query.bucket_count:
                        small.add(ref)
                    elif ref in large:
                        data[ref] = _bucket_data(ref, buckets, shift, by_attempt)
        for trials, keys in _together({ref: extents[ref] for ref in small}):
            of_trials = [p for p in pieces if p.trial in trials]
            for ref, points in (await reader.points(of_trials, keys, moment.pin, by_attempt)).items():
                if ref in small:
                    data[ref] = _point_data(ref, points, by_attempt)
        response.series.extend(data[ref] for ref in sorted(data))

    async def _place(self, response: pb.QuerySeriesResponse, axis: pb.Axis) -> None:
        """Say where each element lies on a time axis."""
        if axis not in (pb.AXIS_RELATIVE_TIME, pb.AXIS_WALL_TIME):
            return
        check = Checker()
        trials = {series.parent: check.trial("parent", series.parent) for series in response.series}
        origins = await self._engine.series.first_times(trials.values()) if axis == pb.AXIS_RELATIVE_TIME else {}
        for series in response.series:
            series.origin_time_ms = origins.get(trials[series.parent], 0)
            times = np.array(series.last_times_ms, np.float64)
            series.positions.extend(((times - series.origin_time_ms) / 1000.0).tolist())

    async def StreamSeries(
        self, request: pb.StreamSeriesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.StreamSeriesResponse]:
        check = Checker()
        trials = check.trials("parents", request.parents)
        keys = check.keys("keys", request.keys, required=False)
        after = check.number("after_telemetry_sequence", request.after_telemetry_sequence, 0, MAXIMUM_STEP)
        check.finish()
        async for response in stream_series(self._engine, trials, keys, after):
            yield response

    async def ExportSeries(
        self, request: pb.ExportSeriesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ExportSeriesResponse]:
        check = Checker()
        trials = check.trials("parents", request.parents)
        keys = check.keys("keys", request.keys, required=False)
        check.finish()
        engine = self._engine
        moment = await engine.moment(request.as_of, engine.writer.steps, sorted({t.runtime_id for t in trials}))
        owned: list[Piece] = []
        superseded: list[Piece] = []
        lineages, sequence = engine.follower.lineages, moment.events_sequence
        for trial in trials:
            owned += lineages.owned(trial, sequence)
            superseded += lineages.superseded(trial, sequence) if request.include_superseded else []
        async for chunk in export_chunks(engine.series, owned, superseded, keys, moment.pin):
            yield pb.ExportSeriesResponse(arrow=chunk)

    async def GetCompleteness(
        self, request: pb.GetCompletenessRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetCompletenessResponse:
        check = Checker()
        parent = check.runtime_or_trial("parent", request.parent)
        check.finish()
        store = self._engine.store
        response = pb.GetCompletenessResponse()
        for kind in (STEPS, LOGS):
            for record in await read_records(store, kind, parent.runtime_id, parent.trial):
                _add_sender(response, record)
        response.message = (
            f"{response.sent_points:,} sent = {response.stored_points:,} stored"
            if response.sent_points == response.stored_points
            else f"{response.sent_points:,} sent, {response.stored_points:,} stored"
        ) + f", {response.gap_count} gap{'' if response.gap_count == 1 else 's'}"
        if response.dropped_points:
            response.message += f", {response.dropped_points:,} dropped by the sender"
        return response

    async def CheckDeterminism(
        self, request: pb.CheckDeterminismRequest, context: grpc.aio.ServicerContext
    ) -> pb.CheckDeterminismResponse:
        check = Checker()
        trial = check.trial("parent", request.parent)
        keys = check.keys("keys", request.keys, required=False)
        check.finish()
        lineages = self._engine.follower.lineages
        return await check_determinism(self._engine.store, lineages.owned(trial), lineages.superseded(trial), keys)

    async def VerifyStored(
        self, request: pb.VerifyStoredRequest, context: grpc.aio.ServicerContext
    ) -> pb.VerifyStoredResponse:
        check = Checker()
        parent = check.runtime_or_trial("parent", request.parent) if request.parent else TrialRef("", 0)
        check.finish()
        return await verify_stored(self._engine, parent)

    async def ExportRows(
        self, request: pb.ExportRowsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ExportRowsResponse]:
        check = Checker()
        runtime_id = check.runtime("name", request.name)
        if request.table not in TABLES:
            check.refuse("table", f"must be one of {', '.join(TABLES)}")
        check.finish()
        async for piece in export_rows(self._engine.store, runtime_id, request.table):
            yield pb.ExportRowsResponse(arrow=piece)

    async def PurgeRuntime(
        self, request: pb.PurgeRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> pb.PurgeRuntimeResponse:
        check = Checker()
        runtime_id = check.runtime("name", request.name)
        check.finish()
        points, lines = await purge(self._engine, runtime_id)
        return pb.PurgeRuntimeResponse(point_count=points, log_line_count=lines)

    async def ExportTables(
        self, request: pb.ExportTablesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ExportTablesResponse]:
        engine = self._engine
        for pipeline in (engine.writer.steps, engine.writer.logs):
            async for rows, last in table_rows(engine.store, pipeline.table, engine.now(pipeline)):
                yield pb.ExportTablesResponse(
                    table=pipeline.table,
                    arrow=as_stream(rows),
                    row_count=rows.num_rows,
                    stream_id=last.stream_id,
                    telemetry_sequence=last.sequence,
                )

    def _lineage(self, trial: TrialRef, moment: Moment) -> Any:
        return self._engine.follower.lineages.lineage(trial.runtime_id, trial.trial, moment.events_sequence)


class _Query:
    def __init__(self, trials: list[TrialRef], keys: list[str], first: int, last: int, bucket_count: int) -> None:
        self.trials = trials
        self.keys = keys
        self.first = first
        self.last = last
        self.bucket_count = bucket_count


def _checked_query(request: pb.QuerySeriesRequest) -> _Query:
    check = Checker()
    trials = check.trials("parents", request.parents)
    keys = check.keys("keys", request.keys, required=True)
    first = check.number("first_step", request.first_step, 0, MAXIMUM_STEP)
    last = check.number("last_step", request.last_step, 0, MAXIMUM_STEP) or MAXIMUM_STEP
    if first > last:
        check.refuse("last_step", "must not be before first_step")
    bucket_count = check.number("bucket_count", request.bucket_count, 0, MAXIMUM_BUCKETS) or DEFAULT_BUCKETS
    check.number("min_telemetry_sequence", request.min_telemetry_sequence, 0, MAXIMUM_STEP)
    if request.axis not in pb.Axis.values():
        check.refuse("axis", "must be a known axis")
    check.finish()
    return _Query(trials, keys, first, last, bucket_count)


def _together(extents: dict[SeriesRef, Extent]) -> list[tuple[set[TrialRef], list[str]]]:
    """Group series so that a query for trials and keys reads no others."""
    trials_by_key: dict[str, set[TrialRef]] = {}
    for ref in extents:
        trials_by_key.setdefault(ref.key, set()).add(ref.trial)
    by_trials = sorted(trials_by_key.items(), key=lambda item: sorted(item[1]))
    return [
        (set(trials), [key for key, _ in items])
        for trials, items in groupby(by_trials, key=lambda item: sorted(item[1]))
    ]


def _bucket_data(ref: SeriesRef, buckets: Buckets, shift: int, superseded: bool) -> pb.SeriesData:
    data = pb.SeriesData(
        parent=ref.trial.name,
        key=ref.key,
        attempt=ref.attempt,
        superseded=superseded,
        bucket_width=1 << shift,
        first_steps=buckets.first_steps.tolist(),
        last_steps=buckets.last_steps.tolist(),
        mins=buckets.mins.tolist(),
        maxs=buckets.maxs.tolist(),
        means=buckets.means.tolist(),
        lasts=buckets.lasts.tolist(),
        counts=buckets.counts.tolist(),
        last_times_ms=buckets.last_times_ms.tolist(),
        attempts=buckets.attempts.tolist(),
    )
    if buckets.nans.any() or buckets.positive_infinities.any() or buckets.negative_infinities.any():
        data.nan_counts.extend(buckets.nans.tolist())
        data.positive_infinity_counts.extend(buckets.positive_infinities.tolist())
        data.negative_infinity_counts.extend(buckets.negative_infinities.tolist())
    return data


def _point_data(ref: SeriesRef, points: Points, superseded: bool) -> pb.SeriesData:
    steps, values = points.steps.tolist(), points.values.tolist()
    finite = np.isfinite(points.values)
    only_finite = values if finite.all() else np.where(finite, points.values, np.nan).tolist()
    data = pb.SeriesData(
        parent=ref.trial.name,
        key=ref.key,
        attempt=ref.attempt,
        superseded=superseded,
        raw=True,
        bucket_width=1,
        first_steps=steps,
        last_steps=steps,
        mins=only_finite,
        maxs=only_finite,
        means=only_finite,
        lasts=values,
        counts=[1] * len(steps),
        last_times_ms=points.times_ms.tolist(),
        attempts=points.attempts.tolist(),
    )
    if not finite.all():
        data.nan_counts.extend(np.isnan(points.values).astype(int).tolist())
        data.positive_infinity_counts.extend((points.values == np.inf).astype(int).tolist())
        data.negative_infinity_counts.extend((points.values == -np.inf).astype(int).tolist())
    return data


def _summary(row: dict[str, Any], keep_best: KeepBest | None) -> pb.SeriesSummary:
    summary = pb.SeriesSummary(
        key=row["key"],
        point_count=row["counts"],
        first_step=row["first_steps"],
        last_step=row["last_steps"],
        last=row["lasts"],
        nan_count=row["nans"],
        positive_infinity_count=row["positive_infinities"],
        negative_infinity_count=row["negative_infinities"],
        first_non_finite_step=row["non_finite_steps"],
    )
    if row["finite"]:
        summary.min, summary.min_step = row["mins"], row["min_steps"]
        summary.max, summary.max_step = row["maxs"], row["max_steps"]
        better = direction(summary.key, keep_best)
        if better == METRIC_MODE_MIN:
            summary.best, summary.best_step = summary.min, summary.min_step
        elif better == METRIC_MODE_MAX:
            summary.best, summary.best_step = summary.max, summary.max_step
    return summary


def _add_sender(response: pb.GetCompletenessResponse, record: SenderRecord) -> None:
    response.senders.add(
        trial=record.sender.trial,
        attempt=record.sender.attempt,
        source=record.sender.source,
        kind=record.kind,
        sent_batches=record.highest,
        stored_batches=record.stored,
        sent_items=record.sent_items,
        stored_items=record.stored_items,
        duplicate_batches=record.duplicates,
        dropped_batches=record.dropped,
        gaps=[pb.NumberRange(first=first, last=last) for first, last in record.gaps],
    )
    response.gap_count += len(record.gaps)
    if record.kind == STEPS:
        response.sent_points += record.sent_items + record.dropped_items
        response.stored_points += record.stored_items
        response.dropped_points += record.dropped_items

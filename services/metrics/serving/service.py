"""MetricService: from requests to reads of the store, and back. No SQL here."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import groupby
from typing import Any

import grpc.aio
import numpy as np

from milepost.api.config.v1.configuration_pb2 import METRIC_MODE_MAX, METRIC_MODE_MIN, KeepBest
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.api.metric.v1 import metric_service_pb2_grpc as pb_grpc
from milepost.errors import Unavailable
from milepost.numbers import MAX_NUMBER
from services.metrics.engine import Engine, Moment
from services.metrics.ingest.records import read_records
from services.metrics.queries.best import direction
from services.metrics.queries.buckets import Buckets
from services.metrics.queries.completeness import judge
from services.metrics.queries.determinism import check_determinism
from services.metrics.queries.exports import export_chunks, export_page
from services.metrics.queries.names import Checker
from services.metrics.queries.rows import TABLES, export_rows
from services.metrics.queries.series import Extent, Points, SeriesRef, choose_shift
from services.metrics.serving.samples import list_sample_series, list_samples, query_histograms
from services.metrics.serving.series_stream import stream_series
from services.metrics.storage.batches import LOGS, STEPS
from services.metrics.storage.selection import StepRange, TrialRef, clip
from services.metrics.storage.store import LOGS as LOG_LINES
from services.metrics.storage.store import POINTS, SAMPLES
from services.metrics.upkeep.backup import as_stream, table_rows
from services.metrics.upkeep.purge import purge
from services.metrics.upkeep.verify import verify_stored
from services.pages import page_size, read_token, write_token
from services.rpc.limits import fitting

DEFAULT_BUCKETS = 1_000
MAX_BUCKETS = 10_000
# What the series of an answer may have together: gRPC clients take 4 MiB unless they are told otherwise. There are fewer
# buckets where they would have more.
SERIES_BYTES = 3_800_000
# Of an element: its values, its count, its time, its attempt; and what a series has beside its name.
ELEMENT_BYTES = 4 * 8 + 3 + 6 + 2
FRAME_BYTES = 60
# So many times as many points as buckets are read to see whether they are no more than these.
NEARLY = 4
# How long rows that are exported are waited for.
STORED_SECONDS = 20.0
# Series that a page may have.
MAX_LIST = 10_000
# Points that a part of an export may have.
MAX_PAGE = 100_000


class MetricService(pb_grpc.MetricServiceServicer):
    """Queries of step metrics."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ListSeries(
        self, request: pb.ListSeriesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListSeriesResponse:
        check = Checker()
        trials = check.trials("parents", request.parents) if request.parents else []
        if request.parent or not trials:
            trials = [check.trial("parent", request.parent), *trials]
        keys = check.keys("keys", request.keys, required=False)
        size = page_size(request.page_size, MAX_LIST, MAX_LIST, check.violations)
        query = [_digest(trials), sorted(keys), request.as_of.SerializeToString(deterministic=True).hex()]
        after = read_token(request.page_token, query, check.violations)
        check.finish()
        engine = self._engine
        pipeline = engine.writer.steps
        moment = await engine.moment(request.as_of, pipeline, sorted({trial.runtime_id for trial in trials}))
        await engine.check_known(trials)
        lineages = engine.follower.lineages
        pieces = [piece for trial in dict.fromkeys(trials) for piece in lineages.owned(trial, moment.events_sequence)]
        pin = None if moment.pin == engine.now(pipeline) else moment.pin
        response = pb.ListSeriesResponse(telemetry_sequence=moment.pin.sequence)
        rows = await engine.series.summaries(pieces, keys, pin)
        rest = rows if after is None else [row for row in rows if _sorted_by(row) > after]
        shown = fitting(_summary(row, lineages.keep_best(row["runtime"])) for row in rest[:size])
        response.series.extend(shown)
        if len(shown) < len(rest):
            response.next_page_token = write_token(query, _sorted_by(rest[len(shown) - 1]))
        return response

    async def QuerySeries(
        self, request: pb.QuerySeriesRequest, context: grpc.aio.ServicerContext
    ) -> pb.QuerySeriesResponse:
        query = _checked_query(request)
        engine = self._engine
        pipeline = engine.writer.steps
        await engine.wait_stored(pipeline, request.min_telemetry_sequence)
        moment = await engine.moment(request.as_of, pipeline, sorted({t.runtime_id for t in query.trials}))
        await engine.check_known(query.trials)
        response = pb.QuerySeriesResponse(telemetry_sequence=moment.pin.sequence)
        owned: list[StepRange] = []
        superseded: list[StepRange] = []
        curves: dict[TrialRef, list[StepRange]] = {}
        lineages, sequence = engine.follower.lineages, moment.events_sequence
        for trial in query.trials:
            inherited = lineages.inherited(trial, sequence) if request.ancestry else []
            if inherited:
                curves[trial] = inherited + lineages.owned(trial, sequence)
            else:
                owned += lineages.owned(trial, sequence)
            if request.include_superseded:
                superseded += lineages.superseded(trial, sequence)
        response.events_sequence = lineages.sequence if sequence is None else sequence
        await self._fill(response, query, clip(owned, query.first, query.last), moment, by_attempt=False)
        for trial, pieces in curves.items():
            clipped = clip(pieces, query.first, query.last)
            await self._fill(response, query, clipped, moment, by_attempt=False, curve=trial)
        if superseded:
            await self._fill(response, query, clip(superseded, query.first, query.last), moment, by_attempt=True)
        await self._place(response, request.axis)
        return response

    async def _fill(
        self, response: pb.QuerySeriesResponse, query: _Query, pieces: list[StepRange], moment: Moment, by_attempt: bool,
        curve: TrialRef | None = None,
    ) -> None:  # fmt: skip
        """Add the series of pieces: raw where the points are no more than the buckets asked for.

        `curve`: the pieces are those of one curve, that of this trial, whoever logged them.
        """
        reader = self._engine.series_of(curve)
        survey = await reader.survey(pieces, query.keys, by_attempt)
        extents = survey.extents
        bucket_count = affordable(extents, query.bucket_count, SERIES_BYTES - response.ByteSize())
        large = {ref: extent for ref, extent in extents.items() if extent.points > bucket_count}
        shift = choose_shift(large.values(), query.first, query.last, bucket_count)
        data: dict[SeriesRef, pb.SeriesData] = {}

        async def read_points(refs: Iterable[SeriesRef]) -> None:
            for trials, keys in _together(refs):
                of_trials = [p for p in survey.pieces if curve is not None or p.trial in trials]
                found = await reader.points(of_trials, keys, moment.pin, by_attempt, survey.marks)
                for ref, points in found.items():
                    if ref in wanted and len(points.steps) <= bucket_count:
                        data[ref] = _point_data(ref, points, by_attempt)

        # Where a bucket has one step, there are hardly more points than buckets: an extent counts those of others too.
        wanted = {
            ref for ref in extents if ref not in large or (not shift and large[ref].points <= NEARLY * bucket_count)
        }
        await read_points(wanted)
        wanted = set()
        for trials, keys in _together(ref for ref in large if ref not in data):
            of_trials = [p for p in survey.pieces if curve is not None or p.trial in trials]
            found = await reader.buckets(of_trials, keys, shift, moment.pin, by_attempt, survey.marks)
            for ref, buckets in found.items():
                if ref in large and ref not in data and int(buckets.counts.sum()) <= bucket_count:
                    wanted.add(ref)
                elif ref in large and ref not in data:
                    data[ref] = _bucket_data(ref, buckets, shift, by_attempt)
        await read_points(wanted)
        branch_step = self._engine.follower.lineages.branch_step(curve) if curve is not None else 0
        for ref in sorted(data):
            data[ref].branch_step = branch_step
            response.series.append(data[ref])

    async def _place(self, response: pb.QuerySeriesResponse, axis: pb.Axis) -> None:
        """Say where each element lies on a time axis."""
        if axis not in (pb.AXIS_RELATIVE_TIME, pb.AXIS_WALL_TIME):
            return
        check = Checker()
        lineages = self._engine.follower.lineages
        trials = {series.parent: check.trial("parent", series.parent) for series in response.series}
        for series in response.series:
            if series.branch_step:
                trials[series.parent] = lineages.eldest(trials[series.parent])
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
        after = check.number("after_telemetry_sequence", request.after_telemetry_sequence, 0, MAX_NUMBER)
        check.finish()
        await self._engine.check_known(trials)
        async for response in stream_series(self._engine, trials, keys, after):
            yield response

    async def ListSampleSeries(
        self, request: pb.ListSampleSeriesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListSampleSeriesResponse:
        return await list_sample_series(self._engine, request)

    async def ListSamples(
        self, request: pb.ListSamplesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListSamplesResponse:
        return await list_samples(self._engine, request)

    async def QueryHistograms(
        self, request: pb.QueryHistogramsRequest, context: grpc.aio.ServicerContext
    ) -> pb.QueryHistogramsResponse:
        return await query_histograms(self._engine, request)

    async def ExportSeries(
        self, request: pb.ExportSeriesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ExportSeriesResponse]:
        check = Checker()
        trials = check.trials("parents", request.parents)
        keys = check.keys("keys", request.keys, required=False)
        skip = check.number("skip", request.skip, 0, MAX_NUMBER)
        limit = check.number("limit", request.limit, 0, MAX_PAGE)
        if request.include_superseded and limit:
            check.refuse("limit", "must not be given with include_superseded")
        if skip and not limit:
            check.refuse("skip", "must not be given without limit")
        check.finish()
        engine = self._engine
        moment = await engine.moment(request.as_of, engine.writer.steps, sorted({t.runtime_id for t in trials}))
        await engine.check_known(trials)
        owned: list[StepRange] = []
        superseded: list[StepRange] = []
        lineages, sequence = engine.follower.lineages, moment.events_sequence
        for trial in trials:
            owned += lineages.inherited(trial, sequence) if request.ancestry else []
            owned += lineages.owned(trial, sequence)
            superseded += lineages.superseded(trial, sequence) if request.include_superseded else []
        # What several branches have of the same ancestors is given once.
        owned = list(dict.fromkeys(owned))
        if limit:
            pieces = export_page(engine.series, owned, keys, moment.pin, skip, limit)
        else:
            pieces = export_chunks(engine.series, owned, superseded, keys, moment.pin)
        async for piece in pieces:
            yield pb.ExportSeriesResponse(arrow=piece)

    async def GetCompleteness(
        self, request: pb.GetCompletenessRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetCompletenessResponse:
        check = Checker()
        parent = check.runtime_or_trial("parent", request.parent)
        check.finish()
        await self._engine.check_known([parent])
        # Before the rows are read: an attempt that ends between the two has not ended yet.
        writing = self._engine.follower.lineages.writing(parent.runtime_id)
        records = [
            record
            for kind in (STEPS, LOGS)
            for record in await read_records(self._engine.store, kind, parent.runtime_id, parent.trial)
        ]
        return judge(records, {one for one in writing if parent.trial in (0, one[0])})

    async def CheckDeterminism(
        self, request: pb.CheckDeterminismRequest, context: grpc.aio.ServicerContext
    ) -> pb.CheckDeterminismResponse:
        check = Checker()
        trial = check.trial("parent", request.parent)
        keys = check.keys("keys", request.keys, required=False)
        check.finish()
        await self._engine.check_known([trial])
        lineages = self._engine.follower.lineages
        return await check_determinism(self._engine.store, lineages.owned(trial), lineages.superseded(trial), keys)

    async def VerifyStored(
        self, request: pb.VerifyStoredRequest, context: grpc.aio.ServicerContext
    ) -> pb.VerifyStoredResponse:
        check = Checker()
        parent = check.runtime_or_trial("parent", request.parent) if request.parent else TrialRef("", 0)
        check.finish()
        if request.parent:
            await self._engine.check_known([parent])
        return await verify_stored(self._engine, parent)

    async def ExportRows(
        self, request: pb.ExportRowsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ExportRowsResponse]:
        check = Checker()
        runtime_id = check.runtime("name", request.name)
        if request.table not in TABLES:
            check.refuse("table", f"must be one of {', '.join(TABLES)}")
        check.number("min_telemetry_sequence", request.min_telemetry_sequence, 0, MAX_NUMBER)
        check.finish()
        writer = self._engine.writer
        try:
            async with asyncio.timeout(STORED_SECONDS):
                pipeline = writer.steps if request.table == "points" else writer.logs
                await self._engine.wait_stored(pipeline, request.min_telemetry_sequence)
        except TimeoutError as error:
            raise Unavailable("what was sent last is not stored yet; try again") from error
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
        # Samples after points: the writer that goes on from there stores none of what is here again.
        steps, logs = engine.writer.steps, engine.writer.logs
        for pipeline, table in ((steps, POINTS), (steps, SAMPLES), (logs, LOG_LINES)):
            async for rows, last in table_rows(engine.store, table, engine.now(pipeline)):
                yield pb.ExportTablesResponse(
                    table=table,
                    arrow=as_stream(rows),
                    row_count=rows.num_rows,
                    stream_id=last.stream_id,
                    telemetry_sequence=last.sequence,
                )


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
    first = check.number("first_step", request.first_step, 0, MAX_NUMBER)
    last = check.number("last_step", request.last_step, 0, MAX_NUMBER) or MAX_NUMBER
    if first > last:
        check.refuse("last_step", "must not be before first_step")
    bucket_count = check.number("bucket_count", request.bucket_count, 0, MAX_BUCKETS) or DEFAULT_BUCKETS
    check.number("min_telemetry_sequence", request.min_telemetry_sequence, 0, MAX_NUMBER)
    if request.axis not in pb.Axis.values():
        check.refuse("axis", "must be a known axis")
    check.finish()
    return _Query(trials, keys, first, last, bucket_count)


def affordable(extents: Mapping[SeriesRef, Extent], wanted: int, most_bytes: int) -> int:
    """Return how many buckets each of some series may have so that all of them fit into an answer; at least 1."""
    left = most_bytes - sum(len(ref.key.encode()) + len(ref.trial.name) + FRAME_BYTES for ref in extents)
    # The place on a time axis has as many bytes as a value.
    last = max((extent.last_step for extent in extents.values()), default=0)
    elements = left // (ELEMENT_BYTES + 8 + 2 * (last.bit_length() // 7 + 1))
    points = sorted(extent.points for extent in extents.values())
    for index, count in enumerate(points):
        share = elements // (len(points) - index)
        if count > share:
            return max(1, min(wanted, share))
        elements -= min(count, wanted)
    return wanted


def _together(refs: Iterable[SeriesRef]) -> list[tuple[set[TrialRef], list[str]]]:
    """Group series so that a query for trials and keys reads no others."""
    trials_by_key: dict[str, set[TrialRef]] = {}
    for ref in refs:
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


def _digest(trials: Iterable[TrialRef]) -> str:
    names = sorted({trial.name for trial in trials})
    return hashlib.blake2b("\n".join(names).encode(), digest_size=16).hexdigest()


def _sorted_by(row: dict[str, Any]) -> list[Any]:
    return [row["runtime"], row["trial"], row["key"]]


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
        parent=TrialRef(row["runtime"], row["trial"]).name,
        last_time_ms=row["last_times_ms"],
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

"""The reads of samples: from requests to queries, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.numbers import MAX_NUMBER
from services.metrics.engine import Engine, Moment
from services.metrics.queries.histograms import read_grid
from services.metrics.queries.names import Checker
from services.metrics.queries.samples import (
    SampleQuery,
    Scope,
    checked,
    read_sample_series,
    read_samples,
    rows_over_quota,
)
from services.metrics.storage.samples import DEFAULT_QUOTA_BYTES
from services.metrics.storage.selection import Condition, StepRange, TrialRef
from services.pages import page_size, read_token, write_token

DEFAULT_PAGE = 100
MAX_PAGE = 1_000
DEFAULT_BUCKETS, MAX_BUCKETS = 300, 1_000
DEFAULT_BINS, MAX_BINS = 64, 256
TOKEN_PARTS = 7


async def list_sample_series(engine: Engine, request: pb.ListSampleSeriesRequest) -> pb.ListSampleSeriesResponse:
    """List the series of rows of a trial."""
    check = Checker()
    trial = check.trial("parent", request.parent)
    check.finish()
    moment = await engine.moment(request.as_of, engine.writer.steps, [trial.runtime_id])
    await engine.check_known([trial])
    scope = Scope([trial], _owned(engine, [trial], moment, request.ancestry), [], moment.pin)
    quota = engine.follower.lineages.sample_quota_bytes(trial.runtime_id) or DEFAULT_QUOTA_BYTES
    return pb.ListSampleSeriesResponse(
        series=await read_sample_series(engine.store, scope),
        telemetry_sequence=moment.pin.sequence,
        over_quota_count=await rows_over_quota(engine.store, trial.runtime_id, trial.trial),
        quota_bytes=quota,
    )


async def list_samples(engine: Engine, request: pb.ListSamplesRequest) -> pb.ListSamplesResponse:
    """List the rows that match."""
    check = Checker()
    trials = check.trials("parents", request.parents)
    keys = check.keys("keys", request.keys, required=False)
    query = checked(check, request)
    size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, check.violations)
    check.number("min_telemetry_sequence", request.min_telemetry_sequence, 0, MAX_NUMBER)
    after = read_token(request.page_token, _same(request), check.violations)
    if after is not None and len(after) != TOKEN_PARTS:
        check.refuse("page_token", "is not one that was given for this query")
    check.finish()
    pipeline = engine.writer.steps
    await engine.wait_stored(pipeline, request.min_telemetry_sequence)
    moment = await engine.moment(request.as_of, pipeline, sorted({trial.runtime_id for trial in trials}))
    await engine.check_known(trials)
    owned = _owned(engine, trials, moment, request.ancestry)
    response = pb.ListSamplesResponse(telemetry_sequence=moment.pin.sequence)
    if not owned and not request.include_superseded:
        return response
    scope = Scope(trials, owned, keys, moment.pin, request.include_superseded)
    samples, following = await read_samples(engine.store, scope, query, after, size)
    response.samples.extend(samples)
    if following is not None:
        response.next_page_token = write_token(_same(request), following)
    return response


async def query_histograms(engine: Engine, request: pb.QueryHistogramsRequest) -> pb.QueryHistogramsResponse:
    """Read the histograms of a series as one grid."""
    check = Checker()
    trial = check.trial("parent", request.parent)
    keys = check.keys("key", [request.key], required=True)
    first = check.number("first_step", request.first_step, 0, MAX_NUMBER)
    last = check.number("last_step", request.last_step, 0, MAX_NUMBER) or MAX_NUMBER
    buckets = check.number("bucket_count", request.bucket_count, 0, MAX_BUCKETS) or DEFAULT_BUCKETS
    bins = check.number("bin_count", request.bin_count, 0, MAX_BINS) or DEFAULT_BINS
    check.finish()
    moment = await engine.moment(request.as_of, engine.writer.steps, [trial.runtime_id])
    await engine.check_known([trial])
    scope = Scope([trial], _owned(engine, [trial], moment, request.ancestry), keys, moment.pin)
    found = await read_grid(engine.store, scope, SampleQuery(Condition(), first, last, False, True), buckets, bins)
    return pb.QueryHistogramsResponse(
        first_steps=found.first_steps,
        last_steps=found.last_steps,
        histogram_counts=found.histograms,
        edges=found.edges,
        counts=found.counts.ravel().tolist(),
        telemetry_sequence=moment.pin.sequence,
    )


def _owned(engine: Engine, trials: Iterable[TrialRef], moment: Moment, ancestry: bool) -> Sequence[StepRange]:
    lineages, sequence = engine.follower.lineages, moment.events_sequence
    pieces: list[StepRange] = []
    for trial in trials:
        pieces += lineages.inherited(trial, sequence) if ancestry else []
        pieces += lineages.owned(trial, sequence)
    # What several branches have of the same ancestors is given once.
    return list(dict.fromkeys(pieces))


def _same(request: pb.ListSamplesRequest) -> list[str]:
    """Return what tells a query from others: all of it but the page."""
    asked = pb.ListSamplesRequest()
    asked.CopyFrom(request)
    asked.ClearField("page_token")
    asked.ClearField("page_size")
    asked.ClearField("min_telemetry_sequence")
    return [asked.SerializeToString(deterministic=True).hex()]

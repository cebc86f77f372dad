"""The values of a trial, read once everything that it sent is stored."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc.aio

from milepost.api.metric.v1 import metric_service_pb2 as api
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.backoff import Backoff
from milepost.domain.search import Points, Values
from milepost.errors import Unavailable
from milepost.eventlog.nats.streams import StreamState
from milepost.names import trial_name
from services.rpc.telemetry import trace_metadata

# What has not come so long after the end of a trial lies on a machine that may never come back.
COMPLETE_SECONDS = 120.0
CALL_SECONDS = 60.0
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 2.0


class Stream(Protocol):
    """Where `TELEMETRY` stands."""

    async def state(self) -> StreamState: ...


class TrialValues:
    """Reads from the metric service.

    Args:
        metadata: who asks.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        metrics: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str]],
        telemetry: Stream,
        complete_seconds: float = COMPLETE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metric_service_pb2_grpc.MetricServiceStub(metrics)
        self._metadata = tuple(metadata)
        self._telemetry = telemetry
        self._complete_seconds = complete_seconds
        self._clock = clock

    async def read(self, runtime_id: str, number: int, attempt: int, metrics: Sequence[str], sequence: int) -> Values:
        """Read what a trial logged of some metrics, over its lineage.

        Waits until everything that it sent is stored, at most `complete_seconds`; what is missing then is said.

        Args:
            attempt: the last one.
            sequence: of the event with which the trial ended.

        Raises:
            Unavailable: the metric service does not answer, or does not know of the end of the trial in time.
            EventLogError: the log does not answer.
        """
        parent = trial_name(runtime_id, number)
        missing = await self._wait_for_all(parent, attempt)
        # What was sent before its end is before this.
        sent = (await self._telemetry.state()).last_sequence
        request = api.QuerySeriesRequest(parents=[parent], keys=metrics, bucket_count=1, min_telemetry_sequence=sent)
        pauses, deadline = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS), self._clock() + self._complete_seconds
        while True:
            answer = await self._call(self._metrics.QuerySeries, request)
            if answer.events_sequence >= sequence:
                return values_of(answer.series, missing)
            if self._clock() >= deadline:
                raise Unavailable(f"the metric service stands at event {answer.events_sequence}, before {sequence}")
            await asyncio.sleep(next(pauses))

    async def _wait_for_all(self, parent: str, attempt: int) -> str:
        """Wait until nothing is on its way. Returns what is still missing when that takes too long."""
        pauses, deadline = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS), self._clock() + self._complete_seconds
        while True:
            answer = await self._call(self._metrics.GetCompleteness, api.GetCompletenessRequest(parent=parent))
            silent = any(one.attempt == attempt for one in answer.unfinished)
            if not (answer.still_writing or answer.waiting_batches or answer.gap_count or silent):
                return ""
            if self._clock() >= deadline:
                return f"not everything it sent is stored: {answer.message}"
            await asyncio.sleep(next(pauses))

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=CALL_SECONDS, metadata=self._metadata + trace_metadata())
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"the metric service: {error.code().name}: {error.details()}") from error


def values_of(series: Sequence[api.SeriesData], missing: str) -> Values:
    """Summarise the buckets of each series that has points."""
    return Values({one.key: _points_of(one) for one in series if not one.superseded and one.counts}, missing)


def _points_of(found: api.SeriesData) -> Points:
    smallest = min((value for value in found.mins if math.isfinite(value)), default=None)
    largest = max((value for value in found.maxs if math.isfinite(value)), default=None)
    return Points(sum(found.counts), smallest, largest, found.lasts[-1])

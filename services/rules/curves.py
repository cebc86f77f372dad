"""Stored points, as the metric service gives them."""

from __future__ import annotations

import math

import grpc.aio

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.errors import InvalidArgument, Unavailable, Violation
from services.rpc.telemetry import trace_metadata

TIMEOUT_SECONDS = 30.0
BASELINE_BUCKETS = 1_000

Metadata = tuple[tuple[str, str], ...]


class StoredCurves:
    """Asks the metric service. All raise `Unavailable` when it does not answer."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._metrics = metric_service_pb2_grpc.MetricServiceStub(channel)
        self._metadata = metadata

    async def baseline(self, trial: str, series: str) -> tuple[list[int], list[float]]:
        """Read the curve of a trial: the last step of each bucket, and its mean over finite values.

        Raises:
            InvalidArgument: there is no such trial, or it has no such series.
        """
        request = metric_api.QuerySeriesRequest(parents=[trial], keys=[series], bucket_count=BASELINE_BUCKETS)
        try:
            answer = await self._metrics.QuerySeries(
                request, timeout=TIMEOUT_SECONDS, metadata=self._metadata + trace_metadata()
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise _refused("trial", f"there is no {trial}") from error
            raise Unavailable(f"the metric service did not answer: {error.code().name}") from error
        found = [
            (step, value)
            for data in answer.series
            for step, value in zip(data.last_steps, data.means, strict=True)
            if math.isfinite(value)
        ]
        if not found:
            raise _refused("series", f"{trial} has no finite value of {series}")
        return [step for step, _ in found], [value for _, value in found]


def _refused(field: str, description: str) -> InvalidArgument:
    return InvalidArgument([Violation(f"rule.detector.baseline.{field}", description)])

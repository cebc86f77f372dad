"""The other services, as the runtime service asks them: for trials, points and log lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.api.trial.v1 import trial_service_pb2_grpc
from milepost.errors import Unavailable
from services.rpc.telemetry import trace_metadata

TIMEOUT_SECONDS = 60.0
EXPORT_SECONDS = 600.0
PAGE = 1_000

Metadata = tuple[tuple[str, str], ...]


class ServiceClients:
    """Calls of the trial service and the metric service. All raise `Unavailable` when one does not answer."""

    def __init__(self, trials: grpc.aio.Channel, metrics: grpc.aio.Channel, metadata: Metadata) -> None:
        self._trials = trial_service_pb2_grpc.TrialServiceStub(trials)
        self._metrics = metric_service_pb2_grpc.MetricServiceStub(metrics)
        self._metadata = metadata

    async def trials(
        self, runtime_id: str, as_of: events_api.AsOf | None = None, from_log: bool = False
    ) -> tuple[list[trial_api.Trial], events_api.AsOf]:
        """All trials of a runtime, and the pair of positions they stand at."""
        found, at, _ = await self.trials_and_oddities(runtime_id, as_of, from_log)
        return found, at

    async def trials_and_oddities(
        self, runtime_id: str, as_of: events_api.AsOf | None = None, from_log: bool = False
    ) -> tuple[list[trial_api.Trial], events_api.AsOf, list[str]]:
        """The same, and what of the runtime the trial service could not take in."""
        found: list[trial_api.Trial] = []
        token = ""
        while True:
            request = trial_api.ListTrialsRequest(parent=f"runtimes/{runtime_id}", page_size=PAGE, page_token=token)
            request.from_log = from_log
            if as_of is not None:
                request.as_of.CopyFrom(as_of)
            answer = await self._call("the trial service", self._trials.ListTrials, request)
            found += answer.trials
            token = answer.next_page_token
            if not token:
                at = events_api.AsOf(
                    events_sequence=answer.events_sequence, telemetry_sequence=answer.telemetry_sequence
                )
                return found, at, list(answer.set_aside)

    async def estimates(self, trial: str) -> trial_api.ListEstimatesResponse:
        """The estimates of the end of a trial, as they were given."""
        request = trial_api.ListEstimatesRequest(parent=trial)
        answer: trial_api.ListEstimatesResponse = await self._call(
            "the trial service", self._trials.ListEstimates, request
        )
        return answer

    async def verify_stored(self, parent: str) -> metric_api.VerifyStoredResponse:
        """Compare ClickHouse with what TELEMETRY still has."""
        request = metric_api.VerifyStoredRequest(parent=parent)
        answer: metric_api.VerifyStoredResponse = await self._call(
            "the metric service", self._metrics.VerifyStored, request, EXPORT_SECONDS
        )
        return answer

    async def purge(self, runtime_id: str) -> tuple[int, int]:
        """Remove points and log lines of a runtime. Returns how many."""
        request = metric_api.PurgeRuntimeRequest(name=f"runtimes/{runtime_id}")
        answer = await self._call("the metric service", self._metrics.PurgeRuntime, request)
        return answer.point_count, answer.log_line_count

    async def rows(self, runtime_id: str, table: str) -> AsyncIterator[bytes]:
        """Every stored row of a runtime, `points` or `logs`, as pieces of an Arrow IPC stream."""
        request = metric_api.ExportRowsRequest(name=f"runtimes/{runtime_id}", table=table)
        try:
            async for piece in self._metrics.ExportRows(
                request, timeout=EXPORT_SECONDS, metadata=self._metadata + trace_metadata()
            ):
                yield piece.arrow
        except grpc.aio.AioRpcError as error:
            raise _unavailable("the metric service", error) from error

    async def _call(self, who: str, method: Any, request: Any, seconds: float = TIMEOUT_SECONDS) -> Any:
        try:
            return await method(request, timeout=seconds, metadata=self._metadata + trace_metadata())
        except grpc.aio.AioRpcError as error:
            raise _unavailable(who, error) from error


def _unavailable(who: str, error: grpc.aio.AioRpcError) -> Unavailable:
    return Unavailable(f"{who}: {error.code().name}: {error.details()}")

"""Runs as they are stored, for a rule that is tried on the past."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from importlib import import_module
from types import ModuleType

import grpc.aio

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.runtime.v1 import runtime_service_pb2_grpc
from milepost.errors import Unavailable
from milepost.eventlog.codec import format_time
from milepost.eventlog.telemetry import Telemetry
from services.rpc.telemetry import trace_metadata
from services.rules.evaluation.inputs import Lines, Points

TIMEOUT_SECONDS = 30.0
EXPORT_SECONDS = 600.0
PAGE = 500
Metadata = tuple[tuple[str, str], ...]


class StoredRuns:
    """Asks the runtime service which runs there are, and the metric service for what they logged.

    All raise `Unavailable` when one does not answer.
    """

    def __init__(
        self, runtimes: grpc.aio.Channel, metrics: grpc.aio.Channel, telemetry: Telemetry, metadata: Metadata
    ) -> None:
        self._runtimes = runtime_service_pb2_grpc.RuntimeServiceStub(runtimes)
        self._metrics = metric_service_pb2_grpc.MetricServiceStub(metrics)
        self._telemetry = telemetry
        self._metadata = metadata

    async def since(self, start: datetime) -> AsyncIterator[runtime_api.Runtime]:
        """Yield the runs that were made at a time or later, newest first."""
        request = runtime_api.ListRuntimesRequest(
            page_size=PAGE, order_by="create_time desc", filter=f"create_time>={format_time(start)[:19]}Z"
        )
        while True:
            try:
                answer = await self._runtimes.ListRuntimes(request, timeout=TIMEOUT_SECONDS, metadata=self._shown)
            except grpc.aio.AioRpcError as error:
                raise Unavailable(f"the runtime service did not answer: {error.code().name}") from error
            for runtime in answer.runtimes:
                yield runtime
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def series(self, runtime_id: str) -> list[str]:
        """List the keys of the series of a run, of its first trial."""
        request = metric_api.ListSeriesRequest(parent=f"runtimes/{runtime_id}/trials/1")
        try:
            answer = await self._metrics.ListSeries(request, timeout=TIMEOUT_SECONDS, metadata=self._shown)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return []
            raise Unavailable(f"the metric service did not answer: {error.code().name}") from error
        return [one.key for one in answer.series]

    async def points(self, runtime_id: str, wants: Callable[[str], bool]) -> Iterator[Points]:
        """Read the messages with points of a run, in the order in which they came; of the series that are wanted."""
        content = await self._content(runtime_id, "points")
        return await asyncio.to_thread(_rows().points_of, content, wants)

    async def lines(self, runtime_id: str) -> Iterator[Lines]:
        """Read the messages with lines of a run, in the order in which they came."""
        content = await self._content(runtime_id, "logs")
        return await asyncio.to_thread(_rows().lines_of, content)

    async def _content(self, runtime_id: str, table: str) -> bytes:
        # A run that has just ended counts whole.
        sent = (await self._telemetry.state()).last_sequence
        request = metric_api.ExportRowsRequest(name=f"runtimes/{runtime_id}", table=table, min_telemetry_sequence=sent)
        content = io.BytesIO()
        try:
            async for piece in self._metrics.ExportRows(request, timeout=EXPORT_SECONDS, metadata=self._shown):
                content.write(piece.arrow)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"the metric service did not answer: {error.details() or error.code().name}") from error
        return content.getvalue()

    @property
    def _shown(self) -> Metadata:
        return self._metadata + trace_metadata()


def _rows() -> ModuleType:
    """Load what reads rows: it takes 45 MiB, which nobody needs who tries no rule on the past."""
    return import_module("services.rules.past.rows")

"""AuditService: replay of the log. What proves that the log is whole comes with the audit issue."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from milepost.api.audit.v1 import audit_service_pb2 as api
from milepost.api.audit.v1 import audit_service_pb2_grpc
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.errors import OutOfRange, Unimplemented
from services.runtime.events import Events
from services.runtime.views import Views

# Events in one message of a replay.
CHUNK = 200


class AuditService(audit_service_pb2_grpc.AuditServiceServicer):
    """Any past moment of any run."""

    def __init__(self, views: Views, events: Events) -> None:
        self._views = views
        self._events = events

    async def ReplayEvents(
        self, request: api.ReplayEventsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.ReplayEventsResponse]:
        end = self._views.sequence
        if max(request.after_sequence, request.until_sequence) > end and not request.follow:
            raise OutOfRange(f"the log ends at {end}", reason="PAST_THE_END")
        watch = runtime_api.WatchEventsRequest(
            parent=request.parent, filter=request.filter, after_sequence=request.after_sequence
        )
        chunk = api.ReplayEventsResponse()
        async for update in self._events.watch(watch):
            over = bool(request.until_sequence) and update.sequence > request.until_sequence
            if update.HasField("event") and not over:
                chunk.events.append(update.event)
                chunk.sequence = update.sequence
            if chunk.events and (len(chunk.events) >= CHUNK or update.caught_up or over or request.follow):
                yield chunk
                chunk = api.ReplayEventsResponse()
            if over or (update.caught_up and not request.follow):
                return

    async def GetStateAt(
        self, request: api.GetStateAtRequest, context: grpc.aio.ServicerContext
    ) -> api.GetStateAtResponse:
        raise Unimplemented("GetStateAt is not built yet")

    async def DiffStates(
        self, request: api.DiffStatesRequest, context: grpc.aio.ServicerContext
    ) -> api.DiffStatesResponse:
        raise Unimplemented("DiffStates is not built yet")

    async def VerifyLog(
        self, request: api.VerifyLogRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.VerifyLogResponse]:
        raise Unimplemented("VerifyLog is not built yet")
        yield api.VerifyLogResponse()

    async def ExportBundle(
        self, request: api.ExportBundleRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.ExportBundleResponse]:
        raise Unimplemented("ExportBundle is not built yet")
        yield api.ExportBundleResponse()

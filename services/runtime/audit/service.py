"""AuditService: replay of the log, any past moment, and proof that the log is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio

from milepost import names
from milepost.api.audit.v1 import audit_service_pb2 as api
from milepost.api.audit.v1 import audit_service_pb2_grpc
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.errors import NotFound
from milepost.protojson import to_json
from milepost.security.signing import BundleKey
from services.access.authentication import current_caller
from services.rpc.limits import Slots, Turns
from services.rpc.threads import Threads
from services.runtime.audit.bundles import Origin, export_bundle
from services.runtime.audit.verification import Sources, changes_between, verify
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.messages import runtime_message

# Events in one message of a replay, and about so many bytes: an event may have a megabyte.
CHUNK = 200
CHUNK_BYTES = 1 << 20
# Exports that are packed at once, in all and for one caller.
PACKED = 4
PACKED_PER_CALLER = 1
# Verifications at once: each reads the whole log in a process of its own.
VERIFIED = 4
VERIFIED_PER_CALLER = 2


class AuditService(audit_service_pb2_grpc.AuditServiceServicer):
    """Any past moment of any run."""

    def __init__(self, events: Events, sources: Sources, folder: Path, key: BundleKey | None = None) -> None:
        self._views = sources.views
        # Signs bundles. None: they are not signed.
        self._key = key
        self._events = events
        self._sources = sources
        # Where bundles are made before they are sent.
        self._folder = folder
        self._packing = Turns(PACKED, PACKED_PER_CALLER, "exports")
        # For what is being packed, and for what is being sent.
        self._threads = Threads(4 * PACKED, PACKED, "the export")
        self._verifications = Slots(VERIFIED, VERIFIED_PER_CALLER, "verifications")

    async def ReplayEvents(
        self, request: api.ReplayEventsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.ReplayEventsResponse]:
        if not request.follow:
            await self._events.wait_for("until_sequence", request.until_sequence)
        watch = runtime_api.WatchEventsRequest(
            parent=request.parent, filter=request.filter, after_sequence=request.after_sequence
        )
        chunk, size = api.ReplayEventsResponse(), 0
        async for update in self._events.watch(watch):
            over = bool(request.until_sequence) and update.sequence > request.until_sequence
            if update.HasField("event") and not over:
                chunk.events.append(update.event)
                chunk.sequence = update.sequence
                size += update.event.ByteSize()
            full = len(chunk.events) >= CHUNK or size >= CHUNK_BYTES
            if chunk.events and (full or update.caught_up or over or request.follow):
                yield chunk
                chunk, size = api.ReplayEventsResponse(), 0
            if over or (update.caught_up and not request.follow):
                return

    async def GetStateAt(
        self, request: api.GetStateAtRequest, context: grpc.aio.ServicerContext
    ) -> api.GetStateAtResponse:
        runtime_id = names.parse_runtime(request.name)
        return await self._state_at(runtime_id, request.as_of)

    async def _state_at(self, runtime_id: str, as_of: events_api.AsOf) -> api.GetStateAtResponse:
        if not as_of.ByteSize():
            as_of = events_api.AsOf(events_sequence=self._views.sequence)
        view = await self._events.runtime_as_of(runtime_id, as_of)
        trials, moment = await self._sources.clients.trials(runtime_id, as_of)
        return api.GetStateAtResponse(runtime=runtime_message(view), trials=trials, as_of=moment)

    async def DiffStates(
        self, request: api.DiffStatesRequest, context: grpc.aio.ServicerContext
    ) -> api.DiffStatesResponse:
        runtime_id = names.parse_runtime(request.name)
        # `from` is a keyword of Python.
        try:
            before = await self._state_at(runtime_id, getattr(request, "from"))
        except NotFound:
            # It was not there yet: everything came between.
            before = api.GetStateAtResponse()
        after = await self._state_at(runtime_id, request.to)
        return api.DiffStatesResponse(changes=changes_between(_comparable(before), _comparable(after)))

    async def VerifyLog(
        self, request: api.VerifyLogRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.VerifyLogResponse]:
        runtime_id = names.parse_runtime_or_all(request.parent) if request.parent else ""
        if runtime_id and runtime_id not in self._views.runtimes:
            raise NotFound(f"there is no runtime {runtime_id}", reason="RUNTIME_NOT_FOUND")
        with self._verifications.taken(current_caller().actor):
            async for verdict in verify(self._sources, runtime_id, request.include_read_models):
                yield verdict

    async def ExportBundle(
        self, request: api.ExportBundleRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.ExportBundleResponse]:
        runtime_id = names.parse_runtime(request.name)
        until = self._views.sequence
        view = await self._events.runtime_as_of(runtime_id, events_api.AsOf(events_sequence=until))
        sources = self._sources
        origin = Origin(
            sources.event_log,
            sources.stream_created,
            sources.telemetry,
            sources.clients,
            self._packing,
            self._threads,
            current_caller().actor,
            self._key,
        )
        async for piece in export_bundle(view, until, origin, self._folder):
            yield api.ExportBundleResponse(chunk=piece)


def _comparable(state: api.GetStateAtResponse) -> dict[str, Any]:
    """A state as JSON, with its trials by number."""
    return {
        "runtime": to_json(state.runtime) if state.HasField("runtime") else {},
        "trials": {str(trial.trial): to_json(trial) for trial in state.trials},
    }

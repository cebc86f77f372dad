"""What can be asked of runtimes: of those of this installation, and in the same way of an imported one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1 import runtime_service_pb2_grpc
from milepost.errors import NotFound
from services.runtime import listing, names
from services.runtime.events import Events
from services.runtime.messages import runtime_message
from services.runtime.views import RuntimeView, Views


class RuntimeQueries(runtime_service_pb2_grpc.RuntimeServiceServicer):
    """The queries on the runtimes of some views."""

    def __init__(self, views: Views, events: Events) -> None:
        self._views = views
        self._events = events
        self._lists = listing.Lists(views)

    async def GetRuntime(
        self, request: api.GetRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.GetRuntimeResponse:
        runtime_id = names.runtime_id(request.name)
        if request.HasField("as_of") and request.as_of.ByteSize():
            view = await self._events.runtime_as_of(runtime_id, request.as_of)
            return api.GetRuntimeResponse(runtime=runtime_message(view, with_text=True))
        await self._views.wait_for(request.min_sequence)
        view = self._known(runtime_id, request.show_deleted)
        return api.GetRuntimeResponse(runtime=runtime_message(view, with_text=True))

    async def ListRuntimes(
        self, request: api.ListRuntimesRequest, context: grpc.aio.ServicerContext
    ) -> api.ListRuntimesResponse:
        if request.HasField("as_of") and request.as_of.ByteSize():
            views = await self._events.views_as_of(request.as_of)
            return listing.Lists(views).page(request)
        await self._views.wait_for(request.min_sequence)
        return self._lists.page(request)

    async def WatchRuntimes(
        self, request: api.WatchRuntimesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.WatchRuntimesResponse]:
        wanted = names.runtime_id(request.name) if request.name else ""
        if wanted:
            self._known(wanted, show_deleted=True)
        async for response in listing.watch(self._views, wanted, request.filter, request.after_sequence):
            yield response

    async def ListSnapshots(
        self, request: api.ListSnapshotsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListSnapshotsResponse:
        runtime_id, number = names.runtime_or_trial(request.parent)
        if request.as_of.ByteSize():
            view = await self._events.runtime_as_of(runtime_id, request.as_of)
        else:
            view = self._known(runtime_id)
        _check_trial(view, number)
        shown = [
            snapshot
            for one in view.trials.values()
            if number in (0, one.number)
            for snapshot in one.snapshots.values()
            if request.show_deleted or snapshot.state == api.SNAPSHOT_STATE_COMMITTED
        ]
        shown.sort(key=lambda s: (s.commit_time.ToNanoseconds(), s.step), reverse=True)
        return api.ListSnapshotsResponse(snapshots=shown, sequence=view.sequence)

    async def ListEvents(
        self, request: api.ListEventsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListEventsResponse:
        return await self._events.page(request)

    async def WatchEvents(
        self, request: api.WatchEventsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.WatchEventsResponse]:
        async for response in self._events.watch(request):
            yield response

    # --- finding

    def _known(self, runtime_id: str, show_deleted: bool = False) -> RuntimeView:
        view = self._views.runtimes.get(runtime_id)
        if view is None or not view.state.exists:
            raise NotFound(f"there is no runtime {runtime_id}", reason="RUNTIME_NOT_FOUND")
        if view.state.deleting and not show_deleted:
            raise NotFound(f"runtime {runtime_id} is deleted", reason="RUNTIME_DELETED")
        return view

    def _known_trial(self, runtime_id: str, number: int) -> RuntimeView:
        view = self._known(runtime_id)
        _check_trial(view, number)
        return view


def _check_trial(view: RuntimeView, number: int) -> None:
    """Raises NotFound: the runtime has no such trial; 0 means all."""
    if number and number not in view.trials:
        raise NotFound(f"runtime {view.runtime_id} has no trial {number}", reason="TRIAL_NOT_FOUND")

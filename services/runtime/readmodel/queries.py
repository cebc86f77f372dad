"""What can be asked of runtimes: of those of this installation, and in the same way of an imported one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import grpc.aio

from milepost import names
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1 import runtime_service_pb2_grpc
from milepost.errors import InvalidArgument, NotFound, Violation
from services import pages
from services.rpc.limits import fitting
from services.runtime.readmodel import family, listing
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.messages import rungs_of, runtime_message
from services.runtime.readmodel.view import RuntimeView
from services.runtime.readmodel.views import Views

# Snapshots of a page.
MAX_PAGE = 10_000


async def no_importances(view: RuntimeView) -> api.GetImportancesResponse:
    """Say that nothing is known of parameters: where there is no process that computes it."""
    return api.GetImportancesResponse(sequence=view.sequence)


class RuntimeQueries(runtime_service_pb2_grpc.RuntimeServiceServicer):
    """The queries on the runtimes of some views."""

    def __init__(
        self,
        views: Views,
        events: Events,
        position: Callable[[str], int] = lambda runtime_id: 0,
        importances: Callable[[RuntimeView], Awaitable[api.GetImportancesResponse]] = no_importances,
    ) -> None:
        self._views = views
        self._importances = importances
        # Where a runtime stands in the queue. One that was imported stands in none.
        self._position = position
        self._events = events
        self._lists = listing.Lists(views)

    async def GetRuntime(
        self, request: api.GetRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.GetRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        if request.HasField("as_of") and request.as_of.ByteSize():
            view = await self._events.runtime_as_of(runtime_id, request.as_of)
            return api.GetRuntimeResponse(runtime=runtime_message(view, with_text=True))
        await self._events.wait_for("min_sequence", request.min_sequence)
        view = self._known(runtime_id, request.show_deleted)
        message = runtime_message(view, with_text=True, position=self._position(runtime_id))
        if view.state.branch is not None:
            now = datetime.now(UTC)
            message.spent.CopyFrom(family.spent(view, now))
            in_all = family.spent_with_ancestors(view, now)
            if in_all is not None:
                message.spent_with_ancestors.CopyFrom(in_all)
        return api.GetRuntimeResponse(runtime=message)

    async def ListRuntimes(
        self, request: api.ListRuntimesRequest, context: grpc.aio.ServicerContext
    ) -> api.ListRuntimesResponse:
        if request.HasField("as_of") and request.as_of.ByteSize():
            views = await self._events.views_as_of(request.as_of)
            return listing.Lists(views).page(request)
        await self._events.wait_for("min_sequence", request.min_sequence)
        return self._lists.page(request)

    async def WatchRuntimes(
        self, request: api.WatchRuntimesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.WatchRuntimesResponse]:
        wanted = names.parse_runtime(request.name) if request.name else ""
        # Behind the first event everything is told, also of runtimes that are deleted; there may be none yet.
        await self._events.wait_for("after_sequence", request.after_sequence if request.after_sequence != 1 else 0)
        if wanted:
            self._known(wanted, show_deleted=True)
        async for response in listing.watch(self._views, wanted, request.filter, request.after_sequence):
            yield response

    async def ListSnapshots(
        self, request: api.ListSnapshotsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListSnapshotsResponse:
        runtime_id, number = names.parse_runtime_or_trial(request.parent)
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
        shown.sort(key=_age, reverse=True)
        page, token = _snapshot_page(request, shown)
        return api.ListSnapshotsResponse(snapshots=page, sequence=view.sequence, next_page_token=token)

    async def ListLineage(
        self, request: api.ListLineageRequest, context: grpc.aio.ServicerContext
    ) -> api.ListLineageResponse:
        runtime_id = names.parse_runtime(request.name)
        await self._events.wait_for("min_sequence", request.min_sequence)
        nodes, truncated = family.tree(self._views, self._known(runtime_id, show_deleted=True), datetime.now(UTC))
        return api.ListLineageResponse(nodes=nodes, truncated=truncated, sequence=self._views.sequence)

    async def ListRungs(
        self, request: api.ListRungsRequest, context: grpc.aio.ServicerContext
    ) -> api.ListRungsResponse:
        runtime_id = names.parse_runtime(request.parent, "parent")
        if request.as_of.ByteSize():
            view = await self._events.runtime_as_of(runtime_id, request.as_of)
        else:
            await self._events.wait_for("min_sequence", request.min_sequence)
            view = self._known(runtime_id)
        violations: list[Violation] = []
        size = pages.page_size(request.page_size, MAX_PAGE, MAX_PAGE, violations)
        query = [request.parent, request.as_of.SerializeToString(deterministic=True).hex()]
        last = pages.read_token(request.page_token, query, violations)
        if violations:
            raise InvalidArgument(violations)
        rest = rungs_of(view.state.history)[int(last[0]) if last is not None else 0 :]
        page = fitting(rest[:size])
        at = (int(last[0]) if last is not None else 0) + len(page)
        token = pages.write_token(query, [at]) if len(page) < len(rest) else ""
        return api.ListRungsResponse(rungs=page, next_page_token=token, sequence=view.sequence)

    async def GetImportances(
        self, request: api.GetImportancesRequest, context: grpc.aio.ServicerContext
    ) -> api.GetImportancesResponse:
        await self._events.wait_for("min_sequence", request.min_sequence)
        view = self._known(names.parse_runtime(request.name))
        return await self._importances(view)

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
            raise NotFound(f"runtime {runtime_id} is deleted{_what_is_left(view)}", reason="RUNTIME_DELETED")
        return view

    def _known_trial(self, runtime_id: str, number: int) -> RuntimeView:
        view = self._known(runtime_id)
        _check_trial(view, number)
        return view


def _what_is_left(view: RuntimeView) -> str:
    """Say whether a deleted runtime can be brought back."""
    if view.state.purging or view.state.purge_time is None:
        return " and purged: its snapshots, metrics and logs are removed"
    return f"; it can be undeleted until {view.state.purge_time:%Y-%m-%d %H:%M} UTC"


def _age(snapshot: api.Snapshot) -> tuple[int, int, str]:
    return snapshot.commit_time.ToNanoseconds(), snapshot.step, snapshot.name


def _snapshot_page(
    request: api.ListSnapshotsRequest, newest_first: list[api.Snapshot]
) -> tuple[list[api.Snapshot], str]:
    """Return a page of snapshots, and the token of the next one."""
    violations: list[Violation] = []
    size = pages.page_size(request.page_size, MAX_PAGE, MAX_PAGE, violations)
    query = [request.parent, request.show_deleted, request.as_of.SerializeToString(deterministic=True).hex()]
    last = pages.read_token(request.page_token, query, violations)
    if violations:
        raise InvalidArgument(violations)
    rest = newest_first if last is None else [one for one in newest_first if [*_age(one)] < last]
    page = fitting(rest[:size])
    return page, pages.write_token(query, [*_age(page[-1])]) if len(page) < len(rest) else ""


def _check_trial(view: RuntimeView, number: int) -> None:
    """Raises NotFound: the runtime has no such trial; 0 means all."""
    if number and number not in view.trials:
        raise NotFound(f"runtime {view.runtime_id} has no trial {number}", reason="TRIAL_NOT_FOUND")

"""RPCs that delete a runtime, and take that back."""

from __future__ import annotations

import grpc.aio

from milepost import names
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime
from milepost.errors import FailedPrecondition
from services.runtime.commands.base import RuntimeCommands, check_etag, checked_reason
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.view import RuntimeView


class DeleteCommands(RuntimeCommands):
    """Delete and undelete."""

    async def DeleteRuntime(
        self, request: api.DeleteRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.DeleteRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id, show_deleted=True)
        if not view.state.deleting:
            check_etag(view, request.etag)
            if not request.force:
                self._check_not_needed(view)
                _check_not_pinned(view)

        now, window = self._clock(), self._restore_window
        purge_time = now + window if window and not request.purge else None
        command = runtime.DeleteRuntime(now, request.force, purge_time=purge_time)
        await self._decide_once(request, runtime_id, {None: [command]})
        return api.DeleteRuntimeResponse(runtime=runtime_message(view))

    async def UndeleteRuntime(
        self, request: api.UndeleteRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.UndeleteRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id, show_deleted=True)
        command = runtime.UndeleteRuntime(checked_reason(request.reason))
        await self._decide_once(request, runtime_id, {None: [command]})
        return api.UndeleteRuntimeResponse(runtime=runtime_message(view))

    def _check_not_needed(self, view: RuntimeView) -> None:
        """Refuse to delete what others began at."""
        holders = {holder for one in view.trials.values() for s in one.state.snapshots for holder in s.held_by}
        # What its own trials began at goes with them.
        living = [one for one in sorted(holders - {view.runtime_id}) if not self._is_deleted(one)]
        if living:
            shown = f"{', '.join(living[:10])}{f' and {len(living) - 10:,} more' if len(living) > 10 else ''}"
            raise FailedPrecondition(
                f"runtime {view.runtime_id} has snapshots at which others began: {shown}. Delete these first, or delete with "
                "force: then its snapshots at which they began are kept until they are deleted too, and its curves are not",
                reason="SNAPSHOTS_NEEDED",
            )

    def _is_deleted(self, runtime_id: str) -> bool:
        view = self._views.runtimes.get(runtime_id)
        return view is None or view.state.deleting


def _check_not_pinned(view: RuntimeView) -> None:
    """Refuse to delete what somebody wants kept."""
    pinned = [(s.step, one.number) for one in view.trials.values() for s in one.state.snapshots if s.pinned]
    if pinned:
        several = len(view.trials) > 1
        shown = [f"{step:,}{f' of trial {number}' if several else ''}" for step, number in sorted(pinned)]
        more = f" and {len(shown) - 10:,} more" if len(shown) > 10 else ""
        raise FailedPrecondition(
            f"runtime {view.runtime_id} has pinned snapshots, at step {', '.join(shown[:10])}{more}. Unpin them first, or "
            "delete with force: then they go too",
            reason="SNAPSHOTS_PINNED",
        )

"""Commands are not refused because of what this replica has not read yet.

Calls go round the replicas, so a command may come to another one than the command before it. What is wrong in the eyes
of a replica that is behind (no such runtime, not in that state, another etag) may be right by the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from milepost.errors import Aborted, FailedPrecondition, NotFound
from milepost.eventlog import EventLog
from services.access.authorization import RULES, Kind
from services.rpc.handlers import wrap
from services.runtime.readmodel.views import Views


class CatchUpInterceptor(grpc.aio.ServerInterceptor):
    """Innermost: a command that is refused by views that are behind the log is decided again when they are not.

    Reads say themselves how much must be known: `min_sequence`.
    """

    def __init__(self, event_log: EventLog, views: Views) -> None:
        self._log = event_log
        self._views = views

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        rule = RULES.get(handler_call_details.method)
        if handler is None or rule is None or rule.kind is not Kind.COMMAND:
            return handler
        return wrap(handler, unary=self._decided_on_the_whole_log, stream=lambda behaviour: behaviour)

    def _decided_on_the_whole_log(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                return await behaviour(request, context)
            except (NotFound, FailedPrecondition, Aborted):
                end = await self._log.last_sequence()
                if self._views.sequence >= end:
                    raise
            await self._views.wait_for(end)
            return await behaviour(request, context)

        return call

"""The AccessService: who a caller is, and what other services saw of theirs."""

from __future__ import annotations

from typing import Any

import grpc.aio

from milepost.api.access.v1 import access_service_pb2 as api
from milepost.api.access.v1 import access_service_pb2_grpc
from milepost.errors import InvalidArgument, Violation
from services.access.access_log import AccessCollector, observation_of
from services.access.authentication import current_caller

NAME = api.DESCRIPTOR.services_by_name["AccessService"].full_name
MAX_OBSERVED = 256


class AccessService(access_service_pb2_grpc.AccessServiceServicer):
    """Served beside the runtime service, which has the log."""

    def __init__(self, access_log: AccessCollector) -> None:
        self._access_log = access_log

    async def GetCaller(self, request: api.GetCallerRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        caller = current_caller()
        return api.GetCallerResponse(actor=caller.actor, role=caller.role, verified=caller.verified)

    async def ReportAccess(self, request: api.ReportAccessRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if len(request.observed) > MAX_OBSERVED:
            raise InvalidArgument([Violation("observed", f"at most {MAX_OBSERVED}")])
        for observation, counted in [observation_of(reported) for reported in request.observed]:
            self._access_log.add(observation, counted.count, counted.first_time)
        return api.ReportAccessResponse()

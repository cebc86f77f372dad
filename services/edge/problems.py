"""Problem details (RFC 9457): what is refused, in one shape, made from `google.rpc` details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from milepost.errors import InvalidArgument, Violation

# gRPC code -> (HTTP status, title). Every code has an entry.
STATUSES: dict[grpc.StatusCode, tuple[int, str]] = {
    grpc.StatusCode.OK: (500, "Internal error"),
    grpc.StatusCode.CANCELLED: (499, "The client went away"),
    grpc.StatusCode.UNKNOWN: (500, "Internal error"),
    grpc.StatusCode.INVALID_ARGUMENT: (400, "Bad input"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, "No answer in time"),
    grpc.StatusCode.NOT_FOUND: (404, "Not found"),
    grpc.StatusCode.ALREADY_EXISTS: (409, "Exists already"),
    grpc.StatusCode.PERMISSION_DENIED: (403, "Not allowed"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, "A limit is reached"),
    grpc.StatusCode.FAILED_PRECONDITION: (409, "Not possible in this state"),
    grpc.StatusCode.ABORTED: (409, "Somebody else was faster"),
    grpc.StatusCode.OUT_OF_RANGE: (400, "Out of range"),
    grpc.StatusCode.UNIMPLEMENTED: (501, "Not built yet"),
    grpc.StatusCode.INTERNAL: (500, "Internal error"),
    grpc.StatusCode.UNAVAILABLE: (503, "Not available now"),
    grpc.StatusCode.DATA_LOSS: (500, "Data is lost"),
    grpc.StatusCode.UNAUTHENTICATED: (401, "Who are you?"),
}


@dataclass(slots=True)
class Problem(Exception):
    """An error as the client gets it.

    Attributes:
        code: canonical gRPC code by name, also where the gateway itself refuses.
        reason: stable, UPPER_SNAKE_CASE.
        violations: what is wrong with the input, by field or parameter.
    """

    status: int
    title: str
    detail: str
    code: str
    reason: str
    metadata: dict[str, str] = field(default_factory=dict)
    violations: Sequence[Violation] = ()

    def content(self, instance: str = "") -> dict[str, Any]:
        content: dict[str, Any] = {
            "type": f"urn:milepost:problem:{self.reason.lower().replace('_', '-')}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "reason": self.reason,
            "metadata": self.metadata,
            "violations": [{"field": v.field, "description": v.description} for v in self.violations],
        }
        if instance:
            content["instance"] = instance
        return content


def refusal(code: grpc.StatusCode, detail: str, reason: str, status: int | None = None) -> Problem:
    """Make a problem that the gateway found itself. `status`: where HTTP has a more exact one."""
    default, title = STATUSES[code]
    if status is not None and status != default:
        title = HTTPStatus(status).phrase
    return Problem(status or default, title, detail, code.name, reason)


def bad_input(error: InvalidArgument) -> Problem:
    problem = refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error), error.reason)
    problem.violations = error.violations
    return problem


def from_rpc_error(error: grpc.aio.AioRpcError) -> Problem:
    """Translate what a service answered: code, ErrorInfo, BadRequest."""
    code = error.code()
    status, title = STATUSES[code]
    problem = Problem(status, title, error.details() or title, code.name, code.name)
    rich = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in rich.details if rich is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            problem.reason = info.reason or problem.reason
            problem.metadata = dict(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad_request = error_details_pb2.BadRequest()
            detail.Unpack(bad_request)
            problem.violations = tuple(Violation(v.field, v.description) for v in bad_request.field_violations)
    if code == grpc.StatusCode.UNAVAILABLE and rich is None:
        # The text of the transport names addresses and is of no use to the reader of a page.
        problem.detail = "the service behind this address does not answer; it may be starting"
        problem.reason = "SERVICE_UNAVAILABLE"
    return problem

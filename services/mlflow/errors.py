"""Errors as an MLflow client expects them: a code of its vocabulary and a message."""

from __future__ import annotations

import orjson
from starlette.responses import Response

from milepost import errors
from services.edge.problems import Problem

# MLflow's code -> HTTP status.
STATUSES = {
    "INVALID_PARAMETER_VALUE": 400,
    "BAD_REQUEST": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_ALREADY_EXISTS": 400,
    "INVALID_STATE": 400,
    "RESOURCE_EXHAUSTED": 429,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    "INTERNAL_ERROR": 500,
}


class BadRequest(errors.InvalidArgument):
    """What MLflow's own server calls BAD_REQUEST."""

    def __init__(self, message: str) -> None:
        super().__init__([errors.Violation("body", message)])


class NotOffered(errors.NotFound):
    """There is no such call here."""


_CODES: dict[type[errors.MilepostError], str] = {
    BadRequest: "BAD_REQUEST",
    NotOffered: "ENDPOINT_NOT_FOUND",
    errors.InvalidArgument: "INVALID_PARAMETER_VALUE",
    errors.NotFound: "RESOURCE_DOES_NOT_EXIST",
    errors.AlreadyExists: "RESOURCE_ALREADY_EXISTS",
    errors.FailedPrecondition: "INVALID_STATE",
    errors.Aborted: "TEMPORARILY_UNAVAILABLE",
    errors.OutOfRange: "INVALID_PARAMETER_VALUE",
    errors.ResourceExhausted: "RESOURCE_EXHAUSTED",
    errors.Unauthenticated: "UNAUTHENTICATED",
    errors.PermissionDenied: "PERMISSION_DENIED",
    errors.Unavailable: "TEMPORARILY_UNAVAILABLE",
    errors.DeadlineExceeded: "TEMPORARILY_UNAVAILABLE",
    errors.Unimplemented: "NOT_IMPLEMENTED",
}
# Canonical codes of gRPC -> MLflow's.
_OF_GRPC = {
    "NOT_FOUND": "RESOURCE_DOES_NOT_EXIST",
    "INVALID_ARGUMENT": "INVALID_PARAMETER_VALUE",
    "OUT_OF_RANGE": "INVALID_PARAMETER_VALUE",
    "PERMISSION_DENIED": "PERMISSION_DENIED",
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "ALREADY_EXISTS": "RESOURCE_ALREADY_EXISTS",
    "FAILED_PRECONDITION": "INVALID_STATE",
    "RESOURCE_EXHAUSTED": "RESOURCE_EXHAUSTED",
    "UNAVAILABLE": "TEMPORARILY_UNAVAILABLE",
    "DEADLINE_EXCEEDED": "TEMPORARILY_UNAVAILABLE",
    "ABORTED": "TEMPORARILY_UNAVAILABLE",
    "UNIMPLEMENTED": "NOT_IMPLEMENTED",
}


def code_of(error: errors.MilepostError) -> str:
    """Return MLflow's code of an error."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return "INTERNAL_ERROR"


def error_response(code: str, message: str, status: int = 0) -> Response:
    """Answer with an error. `status` of HTTP; 0: that of the code."""
    headers = {"cache-control": "no-store"}
    status = status or STATUSES[code]
    if status in (429, 503):
        headers["retry-after"] = "1"
    return Response(orjson.dumps({"error_code": code, "message": message}), status, headers, "application/json")


def of_problem(problem: Problem) -> Response:
    """Answer with a problem, whoever found it."""
    code = _OF_GRPC.get(problem.code, "INTERNAL_ERROR")
    detail = "; ".join(f"{v.field}: {v.description}" for v in problem.violations) or problem.detail
    return error_response(code, detail, problem.status)


def invalid(field: str, description: str) -> errors.InvalidArgument:
    """Make the error of one wrong field."""
    return errors.InvalidArgument([errors.Violation(field, description)])

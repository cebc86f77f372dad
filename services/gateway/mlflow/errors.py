"""Errors as an MLflow client expects them: a code of its vocabulary and a message."""

from __future__ import annotations

import orjson
from starlette.responses import Response

from milepost import errors

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
_CODES: dict[type[errors.MilepostError], str] = {
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


def code_of(error: errors.MilepostError) -> str:
    """Return MLflow's code of an error."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return "INTERNAL_ERROR"


def error_response(code: str, message: str) -> Response:
    """Answer with an error."""
    headers = {"cache-control": "no-store"}
    if STATUSES[code] in (429, 503):
        headers["retry-after"] = "1"
    content = orjson.dumps({"error_code": code, "message": message})
    return Response(content, STATUSES[code], headers, "application/json")


def invalid(field: str, description: str) -> errors.InvalidArgument:
    """Make the error of one wrong field."""
    return errors.InvalidArgument([errors.Violation(field, description)])

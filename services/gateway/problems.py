"""Answers of HTTP to what is refused: problem details (RFC 9457), one shape for every error of the HTTP API."""

from __future__ import annotations

import logging
import uuid

import grpc
import orjson
from starlette.requests import Request
from starlette.responses import Response

from services.edge.problems import Problem, refusal
from services.gateway.mlflow import PROGRAMS_PREFIX, response_to

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


def problem_response(problem: Problem, instance: str = "") -> Response:
    """Answer with an error, to the path that was asked for: clients of MLflow expect its form."""
    if instance.startswith(PROGRAMS_PREFIX):
        return response_to(problem)
    headers = {"cache-control": "no-store"}
    if problem.status in (429, 503):
        headers["retry-after"] = "1"
    return Response(orjson.dumps(problem.content(instance)), problem.status, headers, MEDIA_TYPE)


def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error, request.url.path)


def on_unknown_error(request: Request, error: Exception) -> Response:
    """Answer a bug of ours: logged with an incident number, never shown."""
    incident = uuid.uuid4().hex
    log.error("http.failed", extra={"path": request.url.path, "incident": incident}, exc_info=error)
    text = f"internal error; the log of the gateway has it under incident {incident}"
    return problem_response(refusal(grpc.StatusCode.INTERNAL, text, "INTERNAL"), request.url.path)


def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what routing refuses: no such path, no such method."""
    status = getattr(error, "status_code", 500)
    if status == 405:
        problem = refusal(
            grpc.StatusCode.UNIMPLEMENTED, f"{request.method} is not offered here", "METHOD_NOT_ALLOWED", 405
        )
    elif status == 404:
        problem = refusal(grpc.StatusCode.NOT_FOUND, f"there is nothing at {request.url.path}", "NO_SUCH_PATH")
    else:
        problem = refusal(grpc.StatusCode.INVALID_ARGUMENT, str(getattr(error, "detail", error)), "BAD_REQUEST", status)
    response = problem_response(problem, request.url.path)
    for name, value in (getattr(error, "headers", None) or {}).items():
        response.headers[name] = value
    return response

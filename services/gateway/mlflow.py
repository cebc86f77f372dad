"""The one place of the gateway that knows of MLflow: its addresses, the form of its errors, and who answers its clients.

Where `mlflow_address` names a process of its own (`python -m services.mlflow`), requests are passed on to it with the token
of who has sent them, as calls to the other services show it. Else the same parts are mounted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from milepost.api.mlflow.v1 import mlflow_service_pb2 as api
from milepost.api.mlflow.v1.mlflow_service_pb2_grpc import MlflowServiceStub
from services.access.authentication import Caller, Observer
from services.edge.bodies import pieces_of
from services.edge.calls import Calls, call_metadata
from services.edge.problems import Problem, from_rpc_error
from services.edge.spread import Spread
from services.mlflow.errors import of_problem

PREFIX = "/mlflow"
# Called by programs only, which know nothing of the header against forgery.
PROGRAMS_PREFIX = PREFIX + "/"
FILES_PREFIX = PREFIX + "/api/2.0/mlflow-artifacts/artifacts/"
# Of all calls that clients make: those that are not offered get an answer that says so.
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Mlflow(Protocol):
    """Answers clients of MLflow."""

    async def answer(self, request: Request, caller: Caller) -> Response:
        """Answer one request below `/mlflow`, whatever becomes of it. `caller`: who has sent it."""

    async def run(self) -> None:
        """Do what is to be done beside requests, until cancelled."""


def mounted(calls: Calls, observer: Observer, data_dir: Path, nats_url: str, keys_dir: Path | None) -> Mlflow:
    """Have clients of MLflow answered in this process. Arguments: as `services.mlflow.application.Tracking` has them."""
    # A gateway that passes on has no use for it.
    from services.mlflow.application import Tracking

    return Tracking(calls, observer, data_dir, nats_url, keys_dir)


class Forwarded:
    """Has another process answer.

    Args:
        open_channel: opens one more connection to it.
    """

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel]) -> None:
        self._first = open_channel()
        self._spread = Spread(self._first, open_channel)

    async def answer(self, request: Request, caller: Caller) -> Response:
        """Pass a request on as it comes, and answer with what comes back."""
        call = self._spread.begin("Answer", _answer_over, _messages_of(request), metadata=call_metadata())
        head, body = api.ResponseHead(), b""
        try:
            async for part in call:
                head = part.head if part.HasField("head") else head
                body += part.body
        except grpc.aio.AioRpcError as error:
            return of_problem(from_rpc_error(error))
        return Response(body, head.status, dict(head.headers))

    async def run(self) -> None:
        """Keep the connections until cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._spread.close()
            await self._first.close(None)


def _answer_over(channel: grpc.aio.Channel) -> Any:
    return MlflowServiceStub(channel).Answer


async def _messages_of(request: Request) -> AsyncIterator[api.AnswerRequest]:
    """Read a request as messages. One whose client went away ends without its last piece."""
    head = api.RequestHead(method=request.method, path=request.scope["path"], query=request.scope["query_string"])
    yield api.AnswerRequest(head=head)
    with suppress(ClientDisconnect):
        async for content in request.stream():
            for piece in pieces_of(content):
                yield api.AnswerRequest(body=piece)
        yield api.AnswerRequest(is_last=True)


def mlflow_routes(mlflow: Mlflow) -> list[Route]:
    """Make the routes of everything below `/mlflow`."""

    async def answer(request: Request) -> Response:
        return await mlflow.answer(request, request.scope["milepost.visitor"].caller)

    # What a client prints as the place of its run: the page reads the rest of the address, which only the browser has.
    places = [Route(place, _to_the_page, methods=["GET"]) for place in (PREFIX, PROGRAMS_PREFIX)]
    return [*places, Route(PREFIX + "/{path:path}", answer, methods=METHODS)]


async def _to_the_page(request: Request) -> Response:
    return RedirectResponse("/", 303)


def response_to(problem: Problem) -> Response:
    """Say an error as a client of MLflow expects it."""
    return of_problem(problem)

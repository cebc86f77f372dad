"""MlflowService: requests of HTTP that the gateway passes on, answered here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from milepost.api.mlflow.v1 import mlflow_service_pb2 as api
from milepost.api.mlflow.v1 import mlflow_service_pb2_grpc
from milepost.errors import Aborted, DeadlineExceeded, InvalidArgument, Violation
from services.access.authentication import Caller, current_caller
from services.edge.bodies import pieces_of
from services.edge.calls import Metadata, on_behalf_of

HEAD_SECONDS = 10.0
# What calls in the name of a caller show, as they have shown it here.
SHOWN = ("authorization", "mp-peer")

Answer = Callable[[Request, Caller], Awaitable[Response]]


class MlflowService(mlflow_service_pb2_grpc.MlflowServiceServicer):
    """Hands each request to `answer`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._under_way: set[asyncio.Task[Response]] = set()

    async def Answer(
        self, requests: AsyncIterator[api.AnswerRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[api.AnswerResponse]:
        requests = aiter(requests)
        first = await _first_of(requests)
        with on_behalf_of(_shown(context)):
            work = self._carry_out(Request(_scope(first.head), _receiver(first, requests)))
            task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._note_end)
        # A run that was begun half, because a gateway went away meanwhile, would be nobody's.
        response = await asyncio.shield(task)
        head = api.ResponseHead(status=response.status_code, headers=dict(response.headers))
        pieces = pieces_of(bytes(response.body))
        yield api.AnswerResponse(head=head, body=next(pieces, b""))
        for piece in pieces:
            yield api.AnswerResponse(body=piece)

    async def _carry_out(self, request: Request) -> Response:
        try:
            return await self._answer(request, current_caller())
        except ClientDisconnect as error:
            raise Aborted("the request ended before its body did") from error

    def _note_end(self, task: asyncio.Task[Response]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Whoever has given up the call does not hear of it.
            task.exception()

    async def close(self) -> None:
        """Carry what was begun to its end."""
        await asyncio.gather(*self._under_way, return_exceptions=True)


async def _first_of(requests: AsyncIterator[Any]) -> api.AnswerRequest:
    """Wait for the first message of a call.

    Raises:
        DeadlineExceeded: it did not come.
        InvalidArgument: it has no head.
    """
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            first = await anext(requests, None)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"the request did not come within {HEAD_SECONDS:g} s", reason="REQUEST_TOO_SLOW"
        ) from error
    if not isinstance(first, api.AnswerRequest) or not first.HasField("head"):
        raise InvalidArgument([Violation("head", "must be in the first message")])
    return first


def _scope(head: api.RequestHead) -> Scope:
    return {"type": "http", "method": head.method, "path": head.path, "query_string": head.query, "headers": []}


def _receiver(first: api.AnswerRequest, requests: AsyncIterator[Any]) -> Receive:
    """Make what reads the body of a request, as ASGI has it."""
    waiting: list[Any] = [first]

    async def receive() -> Message:
        part = waiting.pop() if waiting else await anext(requests, None)
        # Without its last piece a body is no body, whatever it looks like.
        if not isinstance(part, api.AnswerRequest):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part.body, "more_body": not part.is_last}

    return receive


def _shown(context: grpc.aio.ServicerContext) -> Metadata:
    given = dict(context.invocation_metadata() or ())
    return tuple((name, str(given[name])) for name in SHOWN if name in given)

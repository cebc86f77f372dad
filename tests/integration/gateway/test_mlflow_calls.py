"""What the gateway passes on to the MLflow service: whole requests, answered whole, and carried to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from milepost.api.mlflow.v1 import mlflow_service_pb2 as api
from milepost.api.mlflow.v1.mlflow_service_pb2_grpc import MlflowServiceStub, add_MlflowServiceServicer_to_server
from services.access.authentication import Caller, anonymous
from services.access.authorization import MLFLOW
from services.edge.bodies import read_body
from services.edge.calls import call_metadata, on_behalf_of
from services.gateway.mlflow import Forwarded
from services.mlflow.application import NAME
from services.mlflow.service import MlflowService
from services.server import Server

Answer = Callable[[Request, Caller], Awaitable[Response]]
SIZE = 3 << 20
PATIENCE_SECONDS = 20.0


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[grpc.aio.Channel]:
    service = MlflowService(answer)

    async def healthy() -> str | None:
        return None

    server = Server("127.0.0.1:0", partial(add_MlflowServiceServicer_to_server, service), [NAME], healthy)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await server.start()}") as channel:
        yield channel
    await server.stop()
    await service.close()


def request_of(body: list[bytes], leaves: bool = False, **scope: Any) -> Request:
    """A request of HTTP whose body comes in pieces; one that `leaves` does so before the last."""
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": leaves or index + 1 < len(body)}
        for index, piece in enumerate(body)
    ]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    given = {"type": "http", "method": "POST", "path": "/mlflow/x", "query_string": b"", "headers": [], **scope}
    return Request(given, receive)


async def test_a_request_and_its_answer_come_through_as_they_are() -> None:
    seen: dict[str, Any] = {}

    async def answer(request: Request, caller: Caller) -> Response:
        content = await read_body(request, 2 * SIZE)
        seen.update(method=request.method, path=request.scope["path"], caller=caller, shown=dict(call_metadata()))
        seen["query"] = request.query_params.multi_items()
        return Response(content[::-1], 207, {"x-mine": "1"}, "application/json")

    body = [b"first", bytes(SIZE), b"last"]
    async with serving(answer) as channel:
        with on_behalf_of((("mp-peer", "10.0.0.7"),)):
            forwarded = Forwarded(lambda: channel)
            given = request_of(body, path="/mlflow/a b/ü?#", query_string=b"k=1&k=%20")
            response = await forwarded.answer(given, anonymous())
    assert response.body == b"".join(body)[::-1]
    assert (response.status_code, response.headers["x-mine"]) == (207, "1")
    assert (response.headers["content-type"], response.headers["content-length"]) == (
        "application/json",
        str(len(response.body)),
    )
    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/mlflow/a b/ü?#", [("k", "1"), ("k", " ")])
    assert seen["caller"].peer == "127.0.0.1 for 10.0.0.7" and seen["shown"]["mp-peer"] == "10.0.0.7"


async def test_a_body_without_its_end_is_no_body() -> None:
    """What came of it may look like a whole one."""
    read: list[bytes] = []

    async def answer(request: Request, caller: Caller) -> Response:
        read.append(await read_body(request, SIZE))
        return Response()

    async with serving(answer) as channel:
        response = await Forwarded(lambda: channel).answer(request_of([b"{}"], leaves=True), anonymous())
    assert response.status_code == 409 and not read


async def test_what_was_begun_is_carried_to_its_end_when_nobody_waits_any_more() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(request: Request, caller: Caller) -> Response:
        begun.set()
        await may_end.wait()
        ended.set()
        return Response()

    async with serving(answer) as channel:
        call = MlflowServiceStub(channel).Answer(whole_request())
        reading = asyncio.create_task(anext(aiter(call)))
        await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        may_end.set()
        await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)


async def whole_request() -> AsyncIterator[api.AnswerRequest]:
    yield api.AnswerRequest(head=api.RequestHead(method="GET", path="/mlflow/x"), is_last=True)


async def test_what_is_no_request_is_refused_and_an_unknown_error_is_not_shown() -> None:
    async def answer(request: Request, caller: Caller) -> Response:
        raise RuntimeError("a secret of ours")

    async with serving(answer) as channel:
        raw: Any = channel.stream_stream(f"{MLFLOW}Answer", bytes, bytes)
        for content in ([], [b""], [b"\xff\xff"], [api.AnswerRequest(body=b"x").SerializeToString()]):
            assert await refusal(raw(iter(content))) is grpc.StatusCode.INVALID_ARGUMENT
        response = await Forwarded(lambda: channel).answer(request_of([b""]), anonymous())
    assert response.status_code == 500 and b"secret" not in response.body and b"incident" in response.body


async def refusal(call: Any) -> grpc.StatusCode:
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK

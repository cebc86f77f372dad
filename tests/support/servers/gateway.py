"""A gateway for tests: in the loop of the test or as a process, and a client of its live streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx

from milepost.protojson import message_class_of
from services.edge.contract import SERVICES
from services.gateway.application import Application, Options

CSRF = {"x-milepost-csrf": "1"}
# Nothing listens here.
NOWHERE = "127.0.0.1:9"


@asynccontextmanager
async def running_gateway(addresses: Mapping[str, str], web: Path = Path("/nonexistent")) -> AsyncIterator[str]:
    """A gateway before these services; those that are not named are unreachable. Yields its base address."""
    known = {name: addresses.get(name, NOWHERE) for name in ("runtime", "trials", "metrics", "rules")}
    gateway = Application(Options("127.0.0.1:0", known, web=web))
    await gateway.start()
    try:
        yield f"http://127.0.0.1:{gateway.port}"
    finally:
        await gateway.stop()


@dataclass
class Answers:
    """A gRPC server that answers every RPC as it is told, and records what it was asked.

    `answers` maps `Service.Method` to a function of the request: a message, or for streams an async iterator. It may
    raise `grpc.RpcError` through `abort`.
    """

    answers: dict[str, Callable[[Any, grpc.aio.ServicerContext], Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        made = []
        for name, service in SERVICES.items():
            methods: dict[str, grpc.RpcMethodHandler] = {}
            for method in service.methods:
                request: Any = message_class_of(method.input_type)
                make = (
                    grpc.unary_stream_rpc_method_handler
                    if method.server_streaming
                    else grpc.unary_unary_rpc_method_handler
                )
                behaviour = self._stream if method.server_streaming else self._unary
                methods[method.name] = make(
                    behaviour(f"{name}.{method.name}"),
                    request_deserializer=request.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
            made.append(grpc.method_handlers_generic_handler(service.full_name, methods))
        return made

    def _unary(self, rpc: str) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            self.asked.append((rpc, request))
            return await self.answers[rpc](request, context)

        return call

    def _stream(self, rpc: str) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            self.asked.append((rpc, request))
            async for response in self.answers[rpc](request, context):
                yield response

        return call

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on a port; 0: a free one. Yields the address."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(self.handlers())
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    topic: str
    data: Any
    token: str


async def read_events(response: httpx.Response) -> AsyncIterator[Event]:
    """Yield the events of a live stream until it ends."""
    topic = token = ""
    data: list[str] = []
    async for line in response.aiter_lines():
        if line == "":
            if data:
                yield Event(topic, json.loads("\n".join(data)), token)
            topic, token, data = "", "", []
        elif line.startswith("event: "):
            topic = line[7:]
        elif line.startswith("id: "):
            token = line[4:]
        elif line.startswith("data: "):
            data.append(line[6:])

"""Calls to the other services by the names of their RPCs, on behalf of whoever sent the request that is being handled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import grpc.aio

from milepost.protojson import message_class_of
from services.edge.contract import PROCESSES, method_of
from services.edge.spread import Spread
from services.rpc.telemetry import trace_metadata

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]

Metadata = tuple[tuple[str, str], ...]

# What the request being handled shows to the services behind: they decide what its caller may do.
_shown: ContextVar[Metadata] = ContextVar("shown", default=())


@contextmanager
def on_behalf_of(shown: Metadata) -> Iterator[None]:
    """Have calls, for the length of a block, show what their caller has shown."""
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


def call_metadata() -> Metadata:
    """Metadata of calls on behalf of the request being handled."""
    return _shown.get() + trace_metadata()


class Calls:
    """Calls any RPC of the contract.

    Args:
        channels: process -> channel.
        another: opens a further channel to a process, for more calls than go over one; `close` closes it.
    """

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], another: Callable[[str], grpc.aio.Channel] | None = None
    ) -> None:
        self.channels = channels
        self._spread = {
            name: Spread(channel, partial(another, name) if another is not None else None)
            for name, channel in channels.items()
        }

    def begin(self, rpc: str, request: Any, **options: Any) -> Any:
        """Begin a call by `Service.Method`. Returns it as gRPC does. `options`: of the call."""
        spread = self._spread[PROCESSES[rpc.partition(".")[0]]]
        return spread.begin(rpc, partial(_callable, rpc), request, wait_for_ready=False, **options)

    async def call(self, rpc: str, request: Any, seconds: float) -> Any:
        return await self.begin(rpc, request, timeout=seconds, metadata=call_metadata())

    def stream(self, rpc: str, request: Any, seconds: float | None = None) -> AsyncIterator[Any]:
        stream: AsyncIterator[Any] = self.begin(rpc, request, timeout=seconds, metadata=call_metadata())
        return stream

    async def close(self) -> None:
        """Close the channels that were opened besides those that were given."""
        await asyncio.gather(*(spread.close() for spread in self._spread.values()))


def _callable(rpc: str, channel: grpc.aio.Channel) -> Any:
    method = method_of(rpc)
    make: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    answer: Any = message_class_of(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    return make(path, request_serializer=_serialize, response_deserializer=answer.FromString)


def _serialize(message: Any) -> bytes:
    return message.SerializeToString()

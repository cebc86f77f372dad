"""Handlers of RPCs, with something around what they do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import grpc

Behaviour = Callable[..., Any]
Wrapper = Callable[[Behaviour], Behaviour]


def wrap(
    handler: grpc.RpcMethodHandler, unary: Wrapper, stream: Wrapper, both_ways: bool = False
) -> grpc.RpcMethodHandler:
    """Return the same handler with its behaviour wrapped. What is neither unary nor a generator stays as it is.

    `both_ways`: so is one whose requests come as a stream too.
    """
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(
            unary(handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )
    # Watching health is no generator, and needs nothing of this.
    if handler.unary_stream is not None and inspect.isasyncgenfunction(handler.unary_stream):
        return grpc.unary_stream_rpc_method_handler(
            stream(handler.unary_stream), handler.request_deserializer, handler.response_serializer
        )
    if both_ways and handler.stream_stream is not None and inspect.isasyncgenfunction(handler.stream_stream):
        return grpc.stream_stream_rpc_method_handler(
            stream(handler.stream_stream), handler.request_deserializer, handler.response_serializer
        )
    return handler

"""Every RPC of the contract is served by a running stack: none answers UNIMPLEMENTED."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from milepost.protojson import message_class_of
from services.edge.contract import PROCESSES, SERVICES
from tests.e2e.stack import StackProcess

# Streams that wait for news are left after this long.
PATIENCE_SECONDS = 3.0
METHODS = [
    pytest.param(method, id=f"{service.name}.{method.name}")
    for service in SERVICES.values()
    for method in service.methods
]


def code_of(channel: grpc.Channel, method: MethodDescriptor) -> grpc.StatusCode:
    """Call a method with an empty request, and return what it answers."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = message_class_of(method.input_type)()
    codec: dict[str, Any] = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": message_class_of(method.output_type).FromString,
    }
    try:
        if method.server_streaming:
            for _ in channel.unary_stream(path, **codec)(request, timeout=PATIENCE_SECONDS):
                break
        else:
            channel.unary_unary(path, **codec)(request, timeout=10 * PATIENCE_SECONDS)
    except grpc.RpcError as error:
        return error.code()  # type: ignore[no-any-return, attr-defined]
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", METHODS)
def test_no_rpc_answers_unimplemented(stack: StackProcess, method: MethodDescriptor) -> None:
    address = getattr(stack.endpoints, PROCESSES[method.containing_service.name])
    with grpc.insecure_channel(address) as channel:
        code = code_of(channel, method)
    assert code not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


def test_a_method_that_is_not_there_would_be_found(stack: StackProcess) -> None:
    wrong = f"/{SERVICES['RuntimeService'].full_name}/NoSuchMethod"
    with grpc.insecure_channel(stack.endpoints.runtime) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(wrong, None, None)(b"", timeout=10 * PATIENCE_SECONDS)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED

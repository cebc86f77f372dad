"""From our errors to gRPC: one table, one interceptor. Unknown errors are INTERNAL, logged, and never shown."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from milepost import errors
from milepost.eventlog import (
    EventLogError,
    LogFull,
    LogMisconfigured,
    LogRegressed,
    LogUnavailable,
    WrongExpectedSequence,
)
from services.rpc.handlers import wrap

DOMAIN = "milepost"

log = logging.getLogger(__name__)

CODES: dict[type[Exception], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    WrongExpectedSequence: grpc.StatusCode.ABORTED,
    LogUnavailable: grpc.StatusCode.UNAVAILABLE,
    LogFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LogRegressed: grpc.StatusCode.FAILED_PRECONDITION,
    LogMisconfigured: grpc.StatusCode.FAILED_PRECONDITION,
}

LOG_REASONS: dict[type[Exception], str] = {
    WrongExpectedSequence: "CONCURRENT_UPDATE",
    LogUnavailable: "EVENT_LOG_UNAVAILABLE",
    LogFull: "EVENT_LOG_FULL",
    LogRegressed: "EVENT_LOG_REGRESSED",
    LogMisconfigured: "EVENT_LOG_MISCONFIGURED",
}

# In bytes. A status travels in the metadata: above 8 KiB clients refuse it by chance, above 16 KiB always, and see
# RESOURCE_EXHAUSTED in its place.
MAX_STATUS = 7_000
MAX_MESSAGE = 2_000
MAX_FIELD = 200
MAX_DESCRIPTION = 600
MAX_VIOLATIONS = 4_000
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def code_of(error: Exception) -> grpc.StatusCode:
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return grpc.StatusCode.INTERNAL


def status_of(error: Exception) -> status_pb2.Status:
    """Describe an error of ours as `google.rpc.Status` with ErrorInfo and, for bad input, BadRequest.

    Texts are shortened until it fits into the metadata of an answer.
    """
    for share in (1.0, 0.5, 0.25, 0.125):
        status = _status_of(error, share)
        # The message is sent twice, once in percent encoding; the rest in base64.
        if len(quote(status.message, safe=_PLAIN)) + 4 * status.ByteSize() / 3 <= MAX_STATUS:
            break
    return status


def _status_of(error: Exception, share: float) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(domain=DOMAIN)
    details: list[AnyMessage] = []
    if isinstance(error, errors.MilepostError):
        info.reason = error.reason
        info.metadata.update(error.metadata)
    else:
        info.reason = LOG_REASONS.get(type(error), "EVENT_LOG_ERROR")
    details.append(_pack(info))
    if isinstance(error, errors.InvalidArgument):
        bad_request = error_details_pb2.BadRequest()
        _add_violations(bad_request, error.violations, int(share * MAX_VIOLATIONS))
        details.append(_pack(bad_request))
    message = _cut(str(error), int(share * MAX_MESSAGE))
    return status_pb2.Status(code=code_of(error).value[0], message=message, details=details)


def _add_violations(
    bad_request: error_details_pb2.BadRequest, violations: Sequence[errors.Violation], room: int
) -> None:
    """Name every violation for which there is room, and how many there are besides."""
    for number, violation in enumerate(violations):
        field, description = _cut(violation.field, MAX_FIELD), _cut(violation.description, MAX_DESCRIPTION)
        room -= len(field.encode()) + len(description.encode())
        if room < 0:
            left = len(violations) - number
            bad_request.field_violations.add(field="...", description=f"and {left} more")
            return
        bad_request.field_violations.add(field=field, description=description)


def _cut(text: str, largest: int) -> str:
    """Shorten a text to so many bytes."""
    encoded = text.encode()
    return text if len(encoded) <= largest else encoded[: largest - 3].decode(errors="ignore") + "..."


def _pack(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Map what handlers raise to a status. Raw exception text never reaches a client."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        return wrap(
            handler,
            unary=lambda behaviour: self._unary(behaviour, method),
            stream=lambda behaviour: self._stream(behaviour, method),
            both_ways=True,
        )

    def _unary(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                return await behaviour(request, context)
            except Exception as error:
                await _abort(context, error, method)

        return call

    def _stream(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                async for response in behaviour(request, context):
                    yield response
            except Exception as error:
                await _abort(context, error, method)

        return call


async def _abort(context: grpc.aio.ServicerContext, error: Exception, method: str) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, grpc.aio.BaseError | NotImplementedError) and context.code() not in (
        None,
        0,
        grpc.StatusCode.OK,
    ):
        raise error
    if isinstance(error, errors.MilepostError | EventLogError):
        await context.abort_with_status(rpc_status.to_status(status_of(error)))  # type: ignore[attr-defined]
    incident = uuid.uuid4().hex
    log.error("rpc.failed", extra={"method": method, "incident": incident}, exc_info=error)
    await context.abort(
        grpc.StatusCode.INTERNAL, f"internal error; the log of the service has it under incident {incident}"
    )

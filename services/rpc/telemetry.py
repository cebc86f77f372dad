"""What the services tell of themselves: JSON logs on stderr, spans and timings of every RPC, a page for Prometheus."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from prometheus_client import start_http_server

from milepost.installation import observability
from milepost.installation.json_logs import JsonFormatter
from services.rpc.handlers import wrap


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send all logging of this process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def start_observing(service: str, listen: str = "") -> Callable[[], None]:
    """Set up traces and metrics of this process; with `listen` (host:port) serve `/metrics` there.

    Returns what sends the rest at the end. Raises SystemExit when the address cannot be had.
    """
    shutdown = observability.configure(service, prometheus=bool(listen))
    if listen:
        host, _, port = listen.rpartition(":")
        try:
            start_http_server(int(port), host.strip("[]"))
        except (OSError, ValueError, OverflowError) as error:
            raise SystemExit(f"cannot serve metrics on {listen}: {error}") from error
    return shutdown


def consumer_lag() -> Any:
    """Make the gauge of how many messages of a stream a read model has not taken in yet, by consumer and stream."""
    return observability.gauge("milepost.consumer.lag", "Messages of a stream that a read model has not taken in yet")


# Codes by which a service says that it failed itself. All others say something of the call, or of when it came.
FAULTS = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
# As the conventions of OpenTelemetry have it for servers of gRPC.
FAILED_SPANS = FAULTS | {"DEADLINE_EXCEEDED", "UNIMPLEMENTED", "UNAVAILABLE"}


class ObservingInterceptor(grpc.aio.ServerInterceptor):
    """One span and one timing for each RPC; the span goes on from the caller's `traceparent`.

    Args:
        names: the services that are served; faults of their methods are counted from 0.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._seconds = observability.histogram("milepost.rpc.duration", "Time to answer an RPC, by method and code")
        self._faults = observability.counter(
            "milepost.rpc.faults", "RPCs that a service answered with a fault of its own, by method and code"
        )
        for method in _methods_of(names):
            for code in FAULTS:
                self._faults.add(0, {"method": _name_of(method), "code": code})
        self._both_ways = {_name_of(method) for method in _methods_of(names) if method.client_streaming}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method.lstrip("/")
        parent = dict(handler_call_details.invocation_metadata or ()).get("traceparent", "")
        return wrap(
            handler,
            unary=lambda behaviour: self._unary(behaviour, method, str(parent)),
            stream=lambda behaviour: self._stream(behaviour, method, str(parent)),
            # Of others this is a call whose request is awaited, or a refusal, under a name that may be anything.
            both_ways=method in self._both_ways,
        )

    def _unary(self, behaviour: Callable[..., Any], method: str, parent: str) -> Callable[..., Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            began = time.perf_counter()
            with observability.span(method, parent, "server", _attributes(method), raising_fails=False) as span:
                try:
                    return await behaviour(request, context)
                finally:
                    self._record(method, context, began, span)

        return call

    def _stream(self, behaviour: Callable[..., Any], method: str, parent: str) -> Callable[..., Any]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            began = time.perf_counter()
            # A span is for the opening only: a stream may stay open for days.
            with observability.span(method, parent, "server", _attributes(method), raising_fails=False):
                responses = behaviour(request, context)
            try:
                async for response in responses:
                    yield response
            finally:
                self._record(method, context, began)

        return call

    def _record(
        self, method: str, context: grpc.aio.ServicerContext, began: float, span: observability.Span | None = None
    ) -> None:
        code = context.code()
        word = code.name if isinstance(code, grpc.StatusCode) else "OK" if not code else str(code)
        self._seconds.record(time.perf_counter() - began, {"method": method, "code": word})
        if word in FAULTS:
            self._faults.add(1, {"method": method, "code": word})
        if span is not None:
            span.set({"rpc.response.status_code": word})
            if word in FAILED_SPANS:
                span.fail(word)


def _attributes(method: str) -> observability.Attributes:
    return {"rpc.system.name": "grpc", "rpc.method": method}


def _methods_of(names: Sequence[str]) -> Iterator[MethodDescriptor]:
    """Find every method of these services."""
    for name in names:
        yield from descriptor_pool.Default().FindServiceByName(name).methods


def _name_of(method: MethodDescriptor) -> str:
    return f"{method.containing_service.full_name}/{method.name}"


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Metadata that hands the trace under way to the next service."""
    traceparent = observability.current_traceparent()
    return (("traceparent", traceparent),) if traceparent else ()

"""What the spans of the gateway and of a service say of an answer: an error is only what is the server's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.installation import observability
from tests.integration.security.web import running_web

RUNTIMES = "milepost.api.runtime.v1.RuntimeService/"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(observability, "_tracing", True)
    monkeypatch.setattr(observability.trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


async def get(self: Any, request: Any, context: grpc.aio.ServicerContext) -> runtime_api.GetRuntimeResponse:
    if request.name.endswith("missing"):
        await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
    return runtime_api.GetRuntimeResponse(runtime=runtime_api.Runtime(name=request.name))


async def fail(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
    raise ValueError("a fault of ours")


async def test_a_call_that_is_refused_is_no_error_and_a_fault_of_ours_is_one(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    async with (
        running_web(tmp_path, behaviours={"GetRuntime": get, "ListRuntimes": fail}) as web,
        web.client(headers={"user-agent": "a test"}) as client,
    ):
        for path in ("runtimes/rt-here", "runtimes/rt-missing", "runtimes?page_size=2", "runtimes/NO"):
            await client.get(f"/api/v1/{path}")
    port = int(web.base.rpartition(":")[2])
    http = [s for s in spans.get_finished_spans() if s.kind is SpanKind.SERVER and s.name.startswith("GET ")]
    assert [told_of_http(span) for span in http] == [
        ("GET /api/v1/runtimes/{runtime}", 200, StatusCode.UNSET, None),
        ("GET /api/v1/runtimes/{runtime}", 404, StatusCode.UNSET, None),
        ("GET /api/v1/runtimes", 500, StatusCode.ERROR, "INTERNAL"),
        ("GET /api/v1/runtimes/{runtime}", 400, StatusCode.UNSET, None),
    ]
    assert not any(span.events for span in http), "an answer is no exception"
    assert dict(http[2].attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/api/v1/runtimes",
        "http.response.status_code": 500,
        "url.scheme": "http",
        "url.path": "/api/v1/runtimes",
        "url.query": "page_size=2",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "127.0.0.1",
        "server.port": port,
        "user_agent.original": "a test",
        "error.type": "INTERNAL",
    }
    rpcs = [s for s in spans.get_finished_spans() if s.name.startswith(RUNTIMES)]
    assert [told_of_rpc(span) for span in rpcs] == [
        ("GetRuntime", "OK", StatusCode.UNSET, None),
        ("GetRuntime", "NOT_FOUND", StatusCode.UNSET, None),
        ("ListRuntimes", "INTERNAL", StatusCode.ERROR, "INTERNAL"),
    ]


def told_of_http(span: ReadableSpan) -> tuple[str, Any, StatusCode, Any]:
    attributes = span.attributes or {}
    assert span.name == f"{attributes['http.request.method']} {attributes['http.route']}"
    return span.name, attributes["http.response.status_code"], span.status.status_code, attributes.get("error.type")


def told_of_rpc(span: ReadableSpan) -> tuple[str, Any, StatusCode, Any]:
    attributes = span.attributes or {}
    assert (attributes["rpc.system.name"], attributes["rpc.method"]) == ("grpc", span.name)
    method = span.name.removeprefix(RUNTIMES)
    return method, attributes["rpc.response.status_code"], span.status.status_code, attributes.get("error.type")

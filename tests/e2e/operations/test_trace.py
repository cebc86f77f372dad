"""One trace from the click to the first step, as a collector of OpenTelemetry gets it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.e2e.runs import small
from tests.e2e.stack import StackProcess, until

pytestmark = pytest.mark.timeout(300)

HOPS = {
    "POST /api/v1/runtimes": "milepost-gateway",
    "milepost.api.runtime.v1.RuntimeService/StartRuntime": "milepost-runtime",
    "append milepost.runtime.runtime_requested.v1": "milepost-runtime",
    "scheduler.launch": "milepost-runtime",
    "launcher.launch": "milepost-runtime",
    "attempt.drive": "milepost-trainer",
    "append milepost.trial.instance_started.v1": "milepost-trainer",
    "attempt.first_step": "milepost-trainer",
}
# What docs/observability.md lists, but for what only counts failures.
METRICS = {
    "milepost.rpc.duration": "milepost-runtime",
    "milepost.eventlog.append.duration": "milepost-runtime",
    "milepost.runtimes": "milepost-runtime",
    "milepost.spool.batches": "milepost-runtime",
    "milepost.spool.size": "milepost-runtime",
    "milepost.consumer.lag": "milepost-trials",
    "milepost.metrics.stored": "milepost-metrics",
    "milepost.metrics.insert.duration": "milepost-metrics",
    "milepost.metrics.lag": "milepost-metrics",
}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(ThreadingHTTPServer):
    """Takes spans and metrics by OTLP over HTTP: the names of one trace with the service of each, and of all metrics."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.hops: dict[str, str] = {}
        self.metrics: set[tuple[str, str]] = set()


class CollectorHandler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/metrics":
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))
        else:
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            service = service_of(resource)
            for scope in resource.scope_spans:
                self.server.hops.update({s.name: service for s in scope.spans if s.trace_id.hex() == TRACE_ID})

    def _take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        for resource in request.resource_metrics:
            service = service_of(resource)
            for scope in resource.scope_metrics:
                self.server.metrics |= {(metric.name, service) for metric in scope.metrics}

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


def service_of(resource: Any) -> str:
    attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
    return str(attributes["service.name"])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_one_trace_has_every_hop_from_the_click_to_the_first_step(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log lines of the services carry the id of the trace, and the same collector gets every metric."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_address[1]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "1000")
    stack = StackProcess(tmp_path / "data")
    try:
        stack.start()
        request = urllib.request.Request(
            f"{stack.endpoints.gateway}/api/v1/runtimes",
            data=json.dumps({"configuration_text": small(name="traced")}).encode(),
            headers={
                "content-type": "application/json",
                "x-milepost-csrf": "1",
                "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            name = json.load(answer)["runtime"]["name"]
        stack.wait_for_end(name)
        try:
            until(lambda: collector.hops.keys() >= HOPS.keys(), "all hops arrive", 30)
        finally:
            assert {hop: collector.hops.get(hop) for hop in HOPS} == HOPS
        until(lambda: collector.metrics >= set(METRICS.items()), f"of the metrics {METRICS.keys()} all arrive", 30)
        lines = stack.output.read_text().splitlines()
        assert any("access.allowed" in line and TRACE_ID in line for line in lines), stack.tail()
        events = [event for event in stack.events(name) if event.traceparent]
        assert {event.traceparent.split("-")[1] for event in events} == {TRACE_ID}
        assert {"milepost.runtime.runtime_requested.v1", "milepost.trial.attempt_launched.v1"} <= {
            e.type for e in events
        }
    finally:
        stack.end()

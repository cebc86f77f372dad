"""Traces and metrics of Milepost's own processes, through OpenTelemetry. Off unless configured.

Traces and metrics go out by OTLP over HTTP when the standard variables of OpenTelemetry say where to:
`OTEL_EXPORTER_OTLP_ENDPOINT`, or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
Without them, and where the packages of OpenTelemetry are not installed, every function here does nothing.

The trace context travels as W3C `traceparent`: in gRPC metadata, in the header of every event, in `attempt.json`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # a light installation
    INSTALLED = False
else:
    INSTALLED = True

SCOPE = "milepost"

# Of times. Those that the SDK takes by itself are for milliseconds: below 5 s they tell nothing apart.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)

# Set by `configure`. A span costs nothing until then.
_tracing = False

Attributes = Mapping[str, str | int | float | bool]


def traces_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment names a receiver of traces."""
    return _wanted(environment, "TRACES")


def metrics_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment names a receiver of metrics."""
    return _wanted(environment, "METRICS")


def _wanted(environment: Mapping[str, str], signal: str) -> bool:
    if not INSTALLED or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(
        environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


def configure(service: str, *, attributes: Attributes | None = None, prometheus: bool = False) -> Callable[[], None]:
    """Set up the SDK for this process as the environment asks. Returns what sends the rest and shuts down.

    With `prometheus` the metrics are kept for `prometheus_client` too, whatever the environment says.
    """
    if not (traces_wanted() or metrics_wanted() or (prometheus and INSTALLED)):
        return lambda: None
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": f"milepost-{service}", **(attributes or {})})
    shutdowns: list[Callable[[], None]] = []
    if traces_wanted():
        shutdowns.append(_configure_traces(resource))
    if metrics_wanted() or prometheus:
        shutdowns.append(_configure_metrics(resource, prometheus))

    def shutdown() -> None:
        for stop in shutdowns:
            stop()

    return shutdown


def _configure_traces(resource: Any) -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global _tracing
    _tracing = True
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _configure_metrics(resource: Any, prometheus: bool) -> Callable[[], None]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    readers: list[MetricReader] = []
    if prometheus:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        readers.append(PrometheusMetricReader())
    if metrics_wanted():
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    provider = MeterProvider(metric_readers=readers, resource=resource)
    metrics.set_meter_provider(provider)
    return provider.shutdown


class Span:
    """A piece of work that is timed. Where nothing is traced it takes everything and does nothing with it."""

    def __init__(self, recorded: Any = None) -> None:
        self._recorded = recorded

    def set(self, attributes: Attributes) -> None:
        """Say more of the work, as far as it is known now."""
        if self._recorded is not None:
            self._recorded.set_attributes(dict(attributes))

    def fail(self, kind: str) -> None:
        """Say that the work failed, and of what kind the failure is: a status, a code or the name of an exception."""
        if self._recorded is not None:
            self._recorded.set_attribute("error.type", kind)
            self._recorded.set_status(trace.StatusCode.ERROR)


_UNRECORDED = Span()


@contextmanager
def span(
    name: str,
    parent: str = "",
    kind: str = "internal",
    attributes: Attributes | None = None,
    *,
    raising_fails: bool = True,
) -> Iterator[Span]:
    """Time a piece of work as a span.

    Args:
        parent: a traceparent, for work that an event or a file handed over; empty: the span around it.
        kind: `internal`, `server`, `client`, `producer` or `consumer`.
        raising_fails: an exception says that the work failed. If not, who does the work says so: it may be an answer.
    """
    if not _tracing:
        yield _UNRECORDED
        return
    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    tracer = trace.get_tracer(SCOPE)
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=trace.SpanKind[kind.upper()],
        attributes=dict(attributes or {}),
        record_exception=raising_fails,
        set_status_on_exception=raising_fails,
    ) as recorded:
        yield Span(recorded)


def is_tracing() -> bool:
    """Return whether spans go anywhere."""
    return _tracing


def record_span(name: str, parent: str, began_ns: int, attributes: Attributes | None = None) -> None:
    """Record a span that ends now. `began_ns` is nanoseconds since 1970; `parent` is a traceparent."""
    if not _tracing:
        return
    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    started = trace.get_tracer(SCOPE).start_span(
        name, context=context, start_time=began_ns, attributes=dict(attributes or {})
    )
    started.end()


def current_traceparent() -> str:
    """Return the trace context of the work under way, to hand it on; empty where there is none."""
    if not _tracing or not trace.get_current_span().get_span_context().is_valid:
        return ""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def current_trace_id() -> str:
    """Return the id of the trace under way in hexadecimal, for logs; empty where there is none."""
    if not _tracing:
        return ""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else ""


class _Nothing:
    """Takes every measurement and does nothing with it."""

    def add(self, amount: float, attributes: Attributes | None = None) -> None:
        """Count nothing."""

    def record(self, amount: float, attributes: Attributes | None = None) -> None:
        """Record nothing."""

    set = record


def counter(name: str, description: str, unit: str = "1") -> Any:
    """Make something that only grows: `.add(amount, attributes)`.

    Add 0 with the attributes that are known from the start: a counter that begins with its first event has grown by
    nothing in the eyes of whoever compares two readings, so no rule notices that event.
    """
    return metrics.get_meter(SCOPE).create_counter(name, unit, description) if INSTALLED else _Nothing()


def histogram(name: str, description: str, unit: str = "s", buckets: tuple[float, ...] = SECONDS) -> Any:
    """Make a distribution: `.record(value, attributes)`.

    Args:
        buckets: their upper bounds, in the unit. A quantile of it is no finer than they are.
    """
    if not INSTALLED:
        return _Nothing()
    return metrics.get_meter(SCOPE).create_histogram(
        name, unit, description, explicit_bucket_boundaries_advisory=list(buckets)
    )


def gauge(name: str, description: str, unit: str = "1") -> Any:
    """Make a value that goes up and down: `.set(value, attributes)`."""
    return metrics.get_meter(SCOPE).create_gauge(name, unit, description) if INSTALLED else _Nothing()

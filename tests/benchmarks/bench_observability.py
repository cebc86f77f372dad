"""What OpenTelemetry costs: time an RPC takes in the service with it off, with metrics kept for Prometheus, and with all.

Each setting runs in a process of its own, because a process is configured once. The handler does nothing, so what is
measured is the interceptor with its span and timing, and one append-like span inside.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from milepost.installation import observability
from services.rpc.telemetry import ObservingInterceptor
from tests.benchmarks.parts.figures import report

CALLS = 20_000
ROUNDS = 5
SETTINGS = ("off", "metrics", "metrics and traces")


class Receiver(BaseHTTPRequestHandler):
    """A collector that takes everything and looks at nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


class Context:
    """What the interceptor asks of the context of a call."""

    def code(self) -> Any:
        return grpc.StatusCode.OK


async def handle(request: Any, context: Any) -> Any:
    with observability.span("append", "", "producer"):
        return request


async def measure() -> float:
    """Return microseconds for one call."""
    call = ObservingInterceptor()._unary(handle, "milepost.api.runtime.v1.RuntimeService/GetRuntime", "")
    context = Context()
    began = time.perf_counter()
    for _ in range(CALLS):
        await call(None, context)
    return (time.perf_counter() - began) / CALLS * 1e6


def child(setting: str) -> None:
    shutdown = observability.configure("bench", prometheus=setting != "off")
    print(asyncio.run(measure()), flush=True)
    shutdown()


def run(setting: str, address: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if "traces" in setting:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = address
    command = [sys.executable, "-m", "tests.benchmarks.bench_observability", setting]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return float(result.stdout.split()[0])


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{receiver.server_address[1]}"
        figures: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
        for _ in range(ROUNDS):
            for setting in SETTINGS:
                figures[setting].append(run(setting, address))
        receiver.shutdown()
    for setting in SETTINGS:
        report(f"observability.{setting}", figures[setting], "us/call", "", peer="off", peer_values=figures["off"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1])
    else:
        main()

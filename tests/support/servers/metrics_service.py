"""The metric service as a process of its own, and senders that speak the contract directly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from milepost.api.event.v1 import trial_events_pb2 as trial_events
from milepost.api.log.v1 import log_service_pb2_grpc
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog import EventLog, attempt_subject, control_subject, trial_chain
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.telemetry import Telemetry, logs_subject, steps_subject
from tests.support.servers.clickhouse_server import running_clickhouse
from tests.support.servers.servers import wait_until
from tests.support.trainers.events import new_event

ROOT = Path(__file__).resolve().parent.parent.parent.parent
START_SECONDS = 60.0
START_MS = 1_760_000_000_000


@dataclass
class MetricsProcess:
    """`python -m services.metrics` on a data directory. It can be killed and started again, on the same port."""

    data_dir: Path
    nats_url: str
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def log_path(self) -> Path:
        return self.data_dir / "metrics.log"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *, wait_serving: bool = True) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "services.metrics", "--data-dir", str(self.data_dir),
                    "--nats-url", self.nats_url, "--metrics-listen", f"127.0.0.1:{self.port}",
                ],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
                stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        wait_until(lambda: self._has_port(offset), "the metric service listens", START_SECONDS)
        if wait_serving:
            wait_until(self.is_serving, "the metric service is healthy", START_SECONDS)

    def _has_port(self, offset: int) -> bool:
        assert self.process is not None
        with self.log_path.open("rb") as log:
            log.seek(offset)
            text = log.read().decode()
        assert self.process.poll() is None, text[-4000:]
        for line in text.splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == "server.started":
                    self.port = entry["port"]
                    return True
        return False

    def is_serving(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log_path.read_text()[-4000:]
        with grpc.insecure_channel(self.address) as channel, suppress(grpc.RpcError):
            stub = health_pb2_grpc.HealthStub(channel)
            return (
                stub.Check(health_pb2.HealthCheckRequest(), timeout=2.0).status
                == health_pb2.HealthCheckResponse.SERVING
            )
        return False

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """Ask it to end in order, and wait until it is gone. Returns the seconds it took."""
        started = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - started

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        self.process = None


# The embedded engine, and the HTTP interface of a server.
INTERFACES = ("embedded", "server")


@contextmanager
def clickhouse_environment(interface: str, directory: Path) -> Iterator[dict[str, str]]:
    """What tells a metric service to use one of `INTERFACES`; the server runs for the length of the block."""
    if interface == "embedded":
        yield {}
        return
    with running_clickhouse(directory) as server:
        yield {"MILEPOST_CLICKHOUSE_URL": server.url}


@dataclass
class MetricsClient:
    """Stubs of both services."""

    metrics: metric_service_pb2_grpc.MetricServiceStub
    logs: log_service_pb2_grpc.LogServiceStub


@asynccontextmanager
async def metrics_client(address: str) -> AsyncIterator[MetricsClient]:
    """Connect to the metric service."""
    options = [
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield MetricsClient(
            metric_service_pb2_grpc.MetricServiceStub(channel), log_service_pb2_grpc.LogServiceStub(channel)
        )


def step_batch(
    runtime_id: str,
    number: int,
    steps: Sequence[int] | np.ndarray,
    values: Mapping[str, Sequence[float] | np.ndarray],
    *,
    trial: int = 1,
    attempt: int = 1,
    source: str = "rank-0",
    times_ms: Sequence[int] | np.ndarray | None = None,
) -> telemetry.StepBatch:
    """A batch with one group: the same steps for every series."""
    batch = telemetry.StepBatch(
        sender=telemetry.Sender(runtime_id=runtime_id, trial=trial, attempt=attempt, source=source), number=number
    )
    column = np.asarray(steps, "<i8")
    times = np.asarray(times_ms, "<i8") if times_ms is not None else START_MS + column * 10
    group = batch.groups.add(steps=column.tobytes(), times_ms=times.astype("<i8").tobytes())
    for key, series in values.items():
        group.columns.add(key=key, values=np.asarray(series, "<f8").tobytes())
    return batch


def log_batch(
    runtime_id: str,
    number: int,
    lines: Sequence[telemetry.LogLine | str],
    *,
    trial: int = 1,
    attempt: int = 1,
    source: str = "driver",
) -> telemetry.LogBatch:
    """A batch of lines; text alone becomes a line of stdout."""
    batch = telemetry.LogBatch(
        sender=telemetry.Sender(runtime_id=runtime_id, trial=trial, attempt=attempt, source=source), number=number
    )
    for index, line in enumerate(lines):
        if isinstance(line, str):
            line = telemetry.LogLine(
                time_ms=START_MS + number * 1000 + index,
                level=telemetry.LOG_LEVEL_INFO,
                stream=telemetry.LOG_STREAM_STDOUT,
                text=line,
            )
        batch.lines.append(line)
    return batch


async def send(connection: Connection, batch: telemetry.StepBatch | telemetry.LogBatch) -> int:
    """Publish a batch as an instance does; returns its position in TELEMETRY."""
    sender = batch.sender
    subject = steps_subject if isinstance(batch, telemetry.StepBatch) else logs_subject
    return await Telemetry(connection).publish(
        subject(sender.runtime_id, sender.trial, sender.attempt),
        batch.SerializeToString(),
        {"mp-number": str(batch.number), "mp-source": sender.source},
    )


async def start_attempt(
    event_log: EventLog, runtime_id: str, attempt: int, restored_step: int = 0, trial: int = 1
) -> int:
    """Append the facts of a launched and started attempt; returns the sequence of the last one."""
    chain = trial_chain(runtime_id, trial)
    control = control_subject(runtime_id, trial)
    facts: list[tuple[str, Message]] = (
        [] if attempt > 1 else [(control, trial_events.TrialCreated(runtime_id=runtime_id, trial=trial))]
    )
    own = attempt_subject(runtime_id, trial, attempt)
    facts.append((control, trial_events.AttemptLaunched(attempt=attempt)))
    facts.append((own, trial_events.AttemptStarted(attempt=attempt, restored_step=restored_step)))
    appended = await event_log.append([new_event(s, fact) for s, fact in facts], [await event_log.head(chain)])
    return appended.sequences[-1]

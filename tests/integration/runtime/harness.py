"""A runtime service in this process, on a real nats-server, with scripted trainers in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from grpc_status import rpc_status

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from milepost.domain.runtime import Phase
from milepost.eventlog.nats.connection import connect
from services.runtime.application import Application, Options
from services.runtime.launchers import processes
from services.runtime.launchers.local import MARK
from services.runtime.policies.placement import Capacity
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Writer

TRAINER = (sys.executable, str(Path(__file__).resolve().parents[2] / "support" / "trainers" / "scripted_trainer.py"))
ROOT = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 60.0
ACTIVE = {Phase.QUEUED, Phase.ALLOCATING, Phase.STARTING, Phase.RUNNING}


def plain(**changes: Any) -> dict[str, Any]:
    """A configuration for a scripted trainer, in its plain form."""
    configuration: dict[str, Any] = {
        "name": "scripted",
        "entrypoint": "tests.support.trainers.scripted_trainer:main",
        "parameters": {"steps": 20, "step_seconds": 0.01, "snapshot_every": 5},
        "retries": {"max_retries": 2, "backoff_seconds": 0.1},
    }
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(configuration.get(key), dict):
            configuration[key] = {**configuration[key], **value}
        else:
            configuration[key] = value
    return configuration


def text(**changes: Any) -> str:
    return json.dumps(plain(**changes))


class Metrics(metric_service_pb2_grpc.MetricServiceServicer):
    """A metric service that has a count of what was purged, and the points that a test says of trials, for every series.

    Attributes:
        points: what is stored of the series that is asked for, by the name of a trial.
        late: trials of which something is still on its way, and how often that is answered.
    """

    def __init__(self) -> None:
        self.purged: list[str] = []
        self.asked = 0
        self.down = False
        self.points: Callable[[str], Sequence[float]] = lambda name: ()
        self.late: dict[str, int] = {}

    async def GetCompleteness(
        self, request: metric_api.GetCompletenessRequest, context: grpc.aio.ServicerContext
    ) -> metric_api.GetCompletenessResponse:
        left = self.late.get(request.parent, 0)
        self.late[request.parent] = max(0, left - 1)
        return metric_api.GetCompletenessResponse(waiting_batches=1 if left else 0, message="1 batch not sent yet")

    async def QuerySeries(
        self, request: metric_api.QuerySeriesRequest, context: grpc.aio.ServicerContext
    ) -> metric_api.QuerySeriesResponse:
        assert not self.late.get(request.parents[0]), "asked before everything is stored"
        answer = metric_api.QuerySeriesResponse(events_sequence=1 << 50)
        values = self.points(request.parents[0])
        if values:
            nan = [value if math.isfinite(value) else math.nan for value in values]
            for key in request.keys:
                answer.series.add(
                    parent=request.parents[0], key=key, raw=True, mins=nan, maxs=nan, lasts=values,
                    counts=[1] * len(values),
                )  # fmt: skip
        return answer

    async def PurgeRuntime(self, request: Any, context: grpc.aio.ServicerContext) -> metric_api.PurgeRuntimeResponse:
        self.asked += 1
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the metric service is down")
        self.purged.append(request.name)
        return metric_api.PurgeRuntimeResponse(point_count=5, log_line_count=7)


@dataclass
class Stack:
    """What a test talks to."""

    application: Application
    stub: Any
    data_dir: Path
    metrics: Metrics

    async def start(self, **changes: Any) -> api.Runtime:
        answer = await self.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=text(**changes)))
        return answer.runtime

    async def stop_all(self) -> None:
        """Ask every run to end that still goes on: in the next test, on the same log, it would hold its resources."""
        for runtime_id, view in list(self.application.views.runtimes.items()):
            if view.state.phase in ACTIVE:
                request = api.StopRuntimeRequest(name=f"runtimes/{runtime_id}", mode=common.STOP_MODE_ABRUPT)
                # One that has ended meanwhile has nothing to stop.
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await self.stub.StopRuntime(request)

    async def get(self, name: str) -> api.Runtime:
        answer = await self.stub.GetRuntime(api.GetRuntimeRequest(name=name, show_deleted=True))
        return answer.runtime

    async def wait(
        self, name: str, condition: Callable[[api.Runtime], bool], what: str, seconds: float = DEADLINE_SECONDS
    ) -> api.Runtime:
        deadline = time.monotonic() + seconds
        while True:
            runtime = await self.get(name)
            if condition(runtime):
                return runtime
            assert time.monotonic() < deadline, f"{what}; instead:\n{runtime}\n" + "\n".join(await self.story(name))
            await asyncio.sleep(0.02)

    async def wait_phase(self, name: str, phase: api.RuntimePhase, seconds: float = DEADLINE_SECONDS) -> api.Runtime:
        return await self.wait(name, lambda r: r.phase == phase, f"phase {api.RuntimePhase.Name(phase)}", seconds)

    async def wait_ended(self, name: str, seconds: float = DEADLINE_SECONDS) -> api.Runtime:
        return await self.wait_phase(name, api.RUNTIME_PHASE_ENDED, seconds)

    async def events(self, name: str) -> list[events_api.RecordedEvent]:
        answer = await self.stub.ListEvents(api.ListEventsRequest(parent=name, page_size=1000))
        return list(answer.events)

    async def types(self, name: str) -> list[str]:
        return [event.type.split(".")[2] for event in await self.events(name)]

    async def wait_event(self, name: str, kind: str, count: int = 1) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (await self.types(name)).count(kind) < count:
            assert time.monotonic() < deadline, f"{count} x {kind}; instead:\n" + "\n".join(await self.story(name))
            await asyncio.sleep(0.02)

    async def story(self, name: str) -> list[str]:
        return [f"{e.sequence} {e.trial or '-'} {e.actor} {e.message}" for e in await self.events(name)]

    def attempt_folder(self, runtime_id: str, trial: int = 1, attempt: int = 1) -> Path:
        return self.data_dir / "runtimes" / runtime_id / f"trial-{trial}" / f"attempt-{attempt}"

    def starts(self, runtime_id: str) -> dict[str, int]:
        """How often the process of each attempt was started."""
        folder = self.data_dir / "runtimes" / runtime_id
        return {
            str(p.parent.relative_to(folder)): len(p.read_text().split())
            for p in folder.glob("trial-*/attempt-*/starts")
        }

    def trainer_pid(self, runtime_id: str, trial: int = 1, attempt: int = 1) -> int:
        return int(json.loads((self.attempt_folder(runtime_id, trial, attempt) / "process.json").read_text())["pid"])


def trainers_below(data_dir: Path) -> list[int]:
    """Every process that carries the mark of an attempt below a data directory."""
    mark = f"{MARK}={data_dir}".encode()
    found = []
    for process in processes.all_processes():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(entry.startswith(mark) for entry in environment):
            found.append(process.pid)
    return found


def kill_trainers(data_dir: Path) -> None:
    for pid in trainers_below(data_dir):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue


def options(nats: NatsServer, data_dir: Path, **changes: Any) -> Options:
    settings: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "data_dir": data_dir,
        "nats_url": nats.url,
        "metrics_address": "127.0.0.1:1",
        "trials_address": "127.0.0.1:1",
        "capacity": Capacity("test-host", 8.0, 32.0, (0, 1)),
        "trainer_command": TRAINER,
    }
    return Options(**{**settings, **changes})


@asynccontextmanager
async def running(nats: NatsServer, data_dir: Path, **changes: Any) -> AsyncIterator[Stack]:
    """A runtime service for the length of a block. Trainers that are left are killed.

    Args:
        changes: options; `application`: the class of the service.
    """
    kind = changes.pop("application", Application)
    metrics = Metrics()
    server = grpc.aio.server()
    metric_service_pb2_grpc.add_MetricServiceServicer_to_server(metrics, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    application = kind(options(nats, data_dir, metrics_address=f"127.0.0.1:{port}", **changes))
    await application.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{application.port}")
    stopping = application.stop
    stopped = False

    async def stop_once() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            await stopping()

    application.stop = stop_once  # type: ignore[method-assign]
    try:
        yield Stack(application, RuntimeServiceStub(channel), data_dir, metrics)
    finally:
        await channel.close(None)
        await application.stop()
        await server.stop(None)
        kill_trainers(data_dir)


@asynccontextmanager
async def storing(nats: NatsServer, runtime_id: str) -> AsyncIterator[None]:
    """Say of the telemetry of a runtime that it is stored, as the metric writer does: its snapshots wait for that."""
    async with await connect(nats.url) as connection, Writer(connection, runtime_id):
        yield


def refusal(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """Return the code and the reason of an error."""
    from google.rpc import error_details_pb2

    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            break
    return error.code().name, info.reason

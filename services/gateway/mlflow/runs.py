"""Runs as MLflow's clients read them, put together from what the services say."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.errors import NotFound
from services.gateway.mlflow.filters import Candidate
from services.gateway.mlflow.names import (
    DEFAULT_EXPERIMENT_ID,
    EXPERIMENT_LABEL,
    METRIC_NAME_LABEL,
    number_text,
    parameter_value,
    run_id_of,
    runtime_id_of,
)
from services.gateway.mlflow.recorder import OpenRun, Point, Recorder

CALL_SECONDS = 30.0
KEYS_A_QUERY = 100
PAGE = 1_000
# Runs that are read at the same time.
READ_AT_ONCE = 16

RUNNING, FINISHED, FAILED, KILLED, SCHEDULED = "RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED"
_ENDED = {
    runtime_api.RUNTIME_STATUS_COMPLETED: FINISHED,
    runtime_api.RUNTIME_STATUS_FAILED: FAILED,
    runtime_api.RUNTIME_STATUS_ABORTED: KILLED,
}
_SAID = {
    facts.ATTEMPT_OUTCOME_COMPLETED: FINISHED,
    facts.ATTEMPT_OUTCOME_FAILED: FAILED,
    facts.ATTEMPT_OUTCOME_STOPPED: KILLED,
}


class Caller(Protocol):
    """Calls RPCs of the services by name, for whoever sent the request."""

    async def call(self, rpc: str, request: Any, seconds: float) -> Any: ...

    def stream(self, rpc: str, request: Any, seconds: float | None = None) -> AsyncIterator[Any]: ...


@dataclass(frozen=True, slots=True)
class Run:
    """A run with everything that MLflow tells of one."""

    runtime_id: str
    name: str
    experiment_id: str
    user: str
    status: str
    # Milliseconds since 1970; 0: not yet.
    start_ms: int
    end_ms: int
    deleted: bool
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    # The newest point of each series.
    metrics: list[Point] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        """Describe it without its data."""
        run_id = run_id_of(self.runtime_id)
        info = {
            "run_id": run_id,
            "run_uuid": run_id,
            "run_name": self.name,
            "experiment_id": self.experiment_id,
            "user_id": self.user,
            "status": self.status,
            "start_time": self.start_ms,
            # Files stay where the client keeps them: Milepost takes none.
            "artifact_uri": f"milepost:/{run_id}",
            "lifecycle_stage": "deleted" if self.deleted else "active",
        }
        return {**info, "end_time": self.end_ms} if self.end_ms else info

    def content(self) -> dict[str, Any]:
        """Describe it with its data."""
        return {
            "info": self.info(),
            "data": {
                "metrics": [metric(point) for point in self.metrics],
                "params": [{"key": key, "value": value} for key, value in self.params.items()],
                "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
            },
            "inputs": {},
        }

    def candidate(self) -> Candidate:
        """Return it as searches see it."""
        info = self.info()
        attributes = {name: info.get(name) for name in ("run_id", "run_name", "status", "start_time", "end_time")}
        attributes |= {"user_id": self.user, "experiment_id": self.experiment_id}
        metrics = {point.key: point.value for point in self.metrics}
        return Candidate(attributes, self.params, self.tags, metrics)


def metric(point: Point) -> dict[str, Any]:
    """Write a point as MLflow does."""
    return {
        "key": point.key, "value": number_text(point.value), "timestamp": point.time_ms, "step": point.step
    }  # fmt: skip


class RunReader:
    """Reads runs. Every answer contains what was written through this gateway before."""

    def __init__(self, services: Caller, recorder: Recorder) -> None:
        self._services = services
        self._recorder = recorder

    async def read(self, runtime_id: str, with_data: bool = True) -> Run:
        """Read one run.

        Raises:
            NotFound: there is none.
            Unavailable: what was written before cannot be read yet.
        """
        mine = self._recorder.find(runtime_id)
        sequence = await mine.settle() if mine is not None else 0
        name = f"runtimes/{runtime_id}"
        request = runtime_api.GetRuntimeRequest(name=name, show_deleted=True)
        runtime = (await self._services.call("RuntimeService.GetRuntime", request, CALL_SECONDS)).runtime
        trial_request = trial_api.GetTrialRequest(name=f"{name}/trials/1", min_sequence=sequence)
        trial = (await self._services.call("TrialService.GetTrial", trial_request, CALL_SECONDS)).trial
        original = _originals(trial.labels)
        metrics = await self._newest(trial.name, original) if with_data else []
        return _run(runtime, trial, mine, metrics)

    async def _newest(self, trial: str, original: Mapping[str, str]) -> list[Point]:
        listed = await self._services.call(
            "MetricService.ListSeries", metric_api.ListSeriesRequest(parent=trial), CALL_SECONDS
        )
        keys = [series.key for series in listed.series]
        found = []
        for start in range(0, len(keys), KEYS_A_QUERY):
            request = metric_api.QuerySeriesRequest(
                parents=[trial], keys=keys[start : start + KEYS_A_QUERY], bucket_count=1
            )
            answer = await self._services.call("MetricService.QuerySeries", request, CALL_SECONDS)
            for series in answer.series:
                if series.last_steps:
                    point = Point(
                        original.get(series.key, series.key),
                        series.last_steps[-1],
                        series.last_times_ms[-1],
                        series.lasts[-1],
                    )
                    found.append(point)
        return found

    async def history(self, runtime_id: str, key: str | None = None) -> list[Point]:
        """Read every point of a series, or of all, by step and time.

        Raises: as `read`.
        """
        run = await self.read(runtime_id, with_data=False)
        name = f"runtimes/{run.runtime_id}/trials/1"
        trial = (await self._services.call(
            "TrialService.GetTrial", trial_api.GetTrialRequest(name=name), CALL_SECONDS
        )).trial  # fmt: skip
        original = _originals(trial.labels)
        wanted = [clean for clean, said in original.items() if said == key] or ([key] if key else [])
        request = metric_api.ExportSeriesRequest(parents=[name], keys=wanted)
        content = io.BytesIO()
        async for response in self._services.stream("MetricService.ExportSeries", request, 10 * CALL_SECONDS):
            content.write(response.arrow)
        return await asyncio.to_thread(_points, content.getvalue(), original)

    async def search(
        self, experiment_ids: list[str], accepts: Callable[[Candidate], bool], states: frozenset[bool]
    ) -> list[Run]:
        """Read all runs of experiments that a filter accepts. `states`: of deleted and not deleted, those wanted."""
        names: list[str] = []
        for experiment_id in experiment_ids:
            names += await self._list(experiment_id, True in states)
        limit = asyncio.Semaphore(READ_AT_ONCE)

        async def read(name: str) -> Run | None:
            async with limit:
                try:
                    return await self.read(name.rpartition("/")[2])
                except NotFound:
                    return None

        found = await asyncio.gather(*(read(name) for name in names))
        return [run for run in found if run is not None and run.deleted in states and accepts(run.candidate())]

    async def _list(self, experiment_id: str, show_deleted: bool) -> list[str]:
        names: list[str] = []
        token = ""
        while True:
            request = runtime_api.ListRuntimesRequest(
                filter=f'label.{EXPERIMENT_LABEL}="{experiment_id}"',
                page_size=PAGE,
                page_token=token,
                show_deleted=show_deleted,
            )
            answer = await self._services.call("RuntimeService.ListRuntimes", request, CALL_SECONDS)
            names += [runtime.name for runtime in answer.runtimes]
            token = answer.next_page_token
            if not token:
                return names


def _originals(labels: Mapping[str, str]) -> dict[str, str]:
    """Return what the client calls its series, by the key they are stored under, where that differs."""
    return {
        key.removeprefix(METRIC_NAME_LABEL): name for key, name in labels.items() if key.startswith(METRIC_NAME_LABEL)
    }


def _run(runtime: runtime_api.Runtime, trial: trial_api.Trial, mine: OpenRun | None, metrics: list[Point]) -> Run:
    tags = {key: value for key, value in trial.labels.items() if not key.startswith(METRIC_NAME_LABEL)}
    status = _ENDED.get(runtime.status) or (_SAID.get(mine.outcome) if mine is not None else None)
    if status is None:
        status = SCHEDULED if runtime.phase == runtime_api.RUNTIME_PHASE_QUEUED else RUNNING
    return Run(
        runtime_id=runtime.runtime_id,
        name=tags.get("mlflow.runName") or runtime.display_name,
        experiment_id=runtime.labels.get(EXPERIMENT_LABEL, DEFAULT_EXPERIMENT_ID),
        user=tags.get("mlflow.user") or runtime.created_by,
        status=status,
        start_ms=runtime.create_time.ToMilliseconds(),
        end_ms=(trial.end_time.ToMilliseconds() or runtime.end_time.ToMilliseconds())
        if status in _SAID.values()
        else 0,
        deleted=runtime.deleted,
        params={key: parameter_value(text) for key, text in trial.parameters.items()},
        tags=tags,
        metrics=metrics,
    )


def _points(content: bytes, original: Mapping[str, str]) -> list[Point]:
    """Read an Arrow stream of points."""
    if not content:
        return []
    table = pa.ipc.open_stream(content).read_all()
    times = table.column("time").cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_pylist()
    rows = zip(
        table.column("key").to_pylist(), table.column("step").to_pylist(), times, table.column("value").to_pylist(),
        strict=True,
    )  # fmt: skip
    return sorted((Point(original.get(k, k), s, t, v) for k, s, t, v in rows), key=lambda p: (p.key, p.step, p.time_ms))


def parse_run_id(body: Mapping[str, Any]) -> str:
    """Return the runtime that a request names.

    Raises:
        InvalidArgument: it names none.
    """
    return runtime_id_of(body.get("run_id") or body.get("run_uuid") or "")

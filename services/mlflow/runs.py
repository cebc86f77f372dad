"""Runs as MLflow's clients read them, put together from what the services say."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import grpc
import pyarrow as pa

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from services.mlflow.catalog import Catalog
from services.mlflow.experiments import ARTIFACTS
from services.mlflow.filters import Candidate
from services.mlflow.names import (
    DEFAULT_EXPERIMENT_ID,
    EXPERIMENT_LABEL,
    METRIC_NAME_LABEL,
    USER_LABEL,
    is_ours,
    number_text,
    parameter_value,
    run_id_of,
    runtime_id_of,
)
from services.mlflow.recorder import OUTCOMES, OpenRun, Point, Recorder

CALL_SECONDS = 30.0
# What the metric service answers about at once.
TRIALS_A_QUERY = 50
# Of runs that have ended so much is remembered: characters of their texts, and something for each metric.
MAX_REMEMBERED = 64_000_000
WEIGHT_OF_A_METRIC = 200
PAGE = 1_000
# Runs that are read at the same time.
READ_AT_ONCE = 16

RUNNING, FINISHED, FAILED, KILLED, SCHEDULED = "RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED"
_ENDED = {
    runtime_api.RUNTIME_STATUS_COMPLETED: FINISHED,
    runtime_api.RUNTIME_STATUS_FAILED: FAILED,
    runtime_api.RUNTIME_STATUS_ABORTED: KILLED,
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
    # Who has started it, as Milepost knows them.
    owner: str
    status: str
    # Milliseconds since 1970; 0: not yet.
    start_ms: int
    end_ms: int
    deleted: bool
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    # The newest point of each series.
    metrics: list[Point] = field(default_factory=list)

    @property
    def artifact_uri(self) -> str:
        """Where clients send files. None is kept."""
        return f"{ARTIFACTS}{self.experiment_id}/{run_id_of(self.runtime_id)}/artifacts"

    @property
    def run_id(self) -> str:
        """Its id as MLflow writes it."""
        return run_id_of(self.runtime_id)

    @property
    def weight(self) -> int:
        """About how much memory it takes."""
        texts = sum(len(key) + len(value) for group in (self.params, self.tags) for key, value in group.items())
        return texts + WEIGHT_OF_A_METRIC * (1 + len(self.metrics))

    def info(self) -> dict[str, Any]:
        """Describe it without its data."""
        run_id = self.run_id
        info = {
            "run_id": run_id,
            "run_uuid": run_id,
            "run_name": self.name,
            "experiment_id": self.experiment_id,
            "user_id": self.user,
            "status": self.status,
            "start_time": self.start_ms,
            "artifact_uri": self.artifact_uri,
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
        attributes |= {"user_id": self.user, "experiment_id": self.experiment_id, "artifact_uri": self.artifact_uri}
        metrics = {point.key: point.value for point in self.metrics}
        return Candidate(attributes, self.params, self.tags, metrics)


def metric(point: Point) -> dict[str, Any]:
    """Write a point as MLflow does."""
    return {
        "key": point.key, "value": number_text(point.value), "timestamp": point.time_ms, "step": point.step
    }  # fmt: skip


class RunReader:
    """Reads runs. Every answer contains what was written through this process before.

    What is recorded here is known here; of others what has ended and not changed since it was last read is remembered.
    """

    def __init__(self, services: Caller, recorder: Recorder, catalog: Catalog) -> None:
        self._services = services
        self._catalog = catalog
        self._recorder = recorder
        # Runtime id -> position of its last event, and the run as of there. The oldest go first.
        self._remembered: dict[str, tuple[int, Run]] = {}
        self._weight = 0

    async def read(self, runtime_id: str, with_data: bool = True) -> Run:
        """Read one run.

        Raises:
            NotFound: there is none.
            Unavailable: what was written before cannot be read yet.
        """
        request = runtime_api.GetRuntimeRequest(name=f"runtimes/{runtime_id}", show_deleted=True)
        runtime = (await self._call("RuntimeService.GetRuntime", request)).runtime
        (run,) = await self._read([runtime], with_data)
        return run

    async def of_experiments(self, experiment_ids: Sequence[str], states: frozenset[bool]) -> list[Run]:
        """Read all runs of experiments. `states`: of deleted and not deleted, those wanted."""
        runtimes: list[runtime_api.Runtime] = []
        for experiment_id in dict.fromkeys(experiment_ids):
            runtimes += await self._list(experiment_id, True in states)
        return [run for run in await self._read(runtimes) if run.deleted in states]

    async def _read(self, runtimes: Sequence[runtime_api.Runtime], with_data: bool = True) -> list[Run]:
        """Put runs together. Those that nobody here knows are read from the services, as many at a time as there are."""
        found: dict[str, Run] = {}
        missing: list[runtime_api.Runtime] = []
        for runtime in runtimes:
            run = self._known(runtime)
            if run is None:
                missing.append(runtime)
            else:
                found[runtime.runtime_id] = run
        trials = await self._trials(missing)
        imported = {runtime.runtime_id for runtime in missing if runtime.HasField("imported")}
        metrics = await self._newest(list(trials.values()), imported) if with_data else {}
        for runtime in missing:
            trial = trials.get(runtime.runtime_id)
            if trial is None:
                continue
            mine = self._recorder.find(runtime.runtime_id)
            run = _run(runtime, trial.labels, trial.parameters, mine, metrics.get(trial.name, []))
            run = replace(run, end_ms=_end_ms(runtime, trial, mine) if run.status in OUTCOMES else 0)
            found[runtime.runtime_id] = run
            if with_data and mine is None and runtime.phase == runtime_api.RUNTIME_PHASE_ENDED:
                self._remember(runtime, run)
        runs = [found[runtime.runtime_id] for runtime in runtimes if runtime.runtime_id in found]
        return [
            replace(run, deleted=True) if self._catalog.is_deleted(run.runtime_id, run.experiment_id) else run
            for run in runs
        ]

    def _known(self, runtime: runtime_api.Runtime) -> Run | None:
        """Return a run that is recorded here, or has not changed since it was last read."""
        mine = self._recorder.find(runtime.runtime_id)
        if mine is None:
            sequence, run = self._remembered.get(runtime.runtime_id, (0, None))
            return run if sequence == runtime.sequence else None
        if mine.forgetful:
            return None
        run = _run(runtime, mine.labels, mine.parameters, mine, list(mine.newest.values()))
        return replace(run, end_ms=mine.ended_ms if run.status in OUTCOMES else 0)

    def _remember(self, runtime: runtime_api.Runtime, run: Run) -> None:
        self._forget(runtime.runtime_id)
        self._remembered[runtime.runtime_id] = (runtime.sequence, run)
        self._weight += run.weight
        while self._weight > MAX_REMEMBERED:
            self._forget(next(iter(self._remembered)))

    def _forget(self, runtime_id: str) -> None:
        _, run = self._remembered.pop(runtime_id, (0, None))
        self._weight -= run.weight if run is not None else 0

    async def _trials(self, runtimes: Sequence[runtime_api.Runtime]) -> dict[str, trial_api.Trial]:
        limit = asyncio.Semaphore(READ_AT_ONCE)

        async def read(runtime: runtime_api.Runtime) -> trial_api.Trial | None:
            mine = self._recorder.find(runtime.runtime_id)
            async with limit:
                sequence = await mine.settle() if mine is not None else runtime.sequence
                request = trial_api.GetTrialRequest(name=f"{runtime.name}/trials/1", min_sequence=sequence)
                try:
                    trial: trial_api.Trial = (await self._call("TrialService.GetTrial", request)).trial
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.NOT_FOUND and len(runtimes) > 1:
                        return None
                    raise
                return trial

        found = await asyncio.gather(*(read(runtime) for runtime in runtimes))
        return {trial.runtime_id: trial for trial in found if trial is not None}

    async def _newest(self, trials: Sequence[trial_api.Trial], imported: Collection[str]) -> dict[str, list[Point]]:
        """Read the newest point of each metric, by the names of trials."""
        originals = {trial.name: _originals(trial.labels) for trial in trials}
        found: dict[str, dict[str, Point]] = {name: {} for name in originals}
        names = [trial.name for trial in trials if trial.runtime_id not in imported]
        requests = [
            metric_api.ListSeriesRequest(parents=names[start : start + TRIALS_A_QUERY])
            for start in range(0, len(names), TRIALS_A_QUERY)
        ]
        # Each bundle has an engine of its own.
        requests += [
            metric_api.ListSeriesRequest(parent=trial.name) for trial in trials if trial.runtime_id in imported
        ]
        for series in [one for request in requests for one in await self._series(request)]:
            name = originals[series.parent].get(series.key, series.key)
            point = Point(name, series.last_step, series.last_time_ms, series.last)
            # A run that began under an older version has what follows under another key.
            of_run = found[series.parent]
            of_run[name] = max(of_run.get(name, point), point, key=lambda p: (p.step, p.time_ms))
        return {name: list(points.values()) for name, points in found.items()}

    async def _series(self, request: metric_api.ListSeriesRequest) -> list[metric_api.SeriesSummary]:
        """Read the series of trials, page by page."""
        found: list[metric_api.SeriesSummary] = []
        while True:
            answer = await self._call("MetricService.ListSeries", request)
            found += answer.series
            request.page_token = answer.next_page_token
            if not request.page_token:
                return found

    async def history(self, runtime_id: str, key: str | None = None, skip: int = 0, limit: int = 0) -> list[Point]:
        """Read every point of a series, or of all, by time and step; with a limit only so many.

        Raises: as `read`.
        """
        mine = self._recorder.find(runtime_id)
        if mine is not None:
            await mine.settle()
        name = f"runtimes/{runtime_id}/trials/1"
        if mine is not None and not mine.forgetful:
            labels: Mapping[str, str] = mine.labels
        else:
            labels = (await self._call("TrialService.GetTrial", trial_api.GetTrialRequest(name=name))).trial.labels
        original = _originals(labels)
        wanted = [stored for stored, said in original.items() if said == key] + ([key] if key else [])
        request = metric_api.ExportSeriesRequest(parents=[name], keys=wanted, skip=skip, limit=limit)
        content = io.BytesIO()
        async for response in self._services.stream("MetricService.ExportSeries", request, 10 * CALL_SECONDS):
            content.write(response.arrow)
        return await asyncio.to_thread(_points, content.getvalue(), original)

    async def _list(self, experiment_id: str, show_deleted: bool) -> list[runtime_api.Runtime]:
        runtimes: list[runtime_api.Runtime] = []
        token = ""
        while True:
            request = runtime_api.ListRuntimesRequest(
                filter=f'label.{EXPERIMENT_LABEL}="{experiment_id}"',
                page_size=PAGE,
                page_token=token,
                show_deleted=show_deleted,
            )
            answer = await self._call("RuntimeService.ListRuntimes", request)
            runtimes += answer.runtimes
            token = answer.next_page_token
            if not token:
                return runtimes

    async def _call(self, rpc: str, request: Any) -> Any:
        return await self._services.call(rpc, request, CALL_SECONDS)


def _originals(labels: Mapping[str, str]) -> dict[str, str]:
    """Return what the client calls its series, by the key they are stored under, where that differs."""
    return {
        key.removeprefix(METRIC_NAME_LABEL): name for key, name in labels.items() if key.startswith(METRIC_NAME_LABEL)
    }


def _run(
    runtime: runtime_api.Runtime,
    labels: Mapping[str, str],
    parameters: Mapping[str, str],
    mine: OpenRun | None,
    metrics: list[Point],
) -> Run:
    tags = {key: value for key, value in labels.items() if not is_ours(key)}
    if mine is not None:
        status = mine.said or RUNNING
    elif runtime.phase == runtime_api.RUNTIME_PHASE_QUEUED:
        status = SCHEDULED
    else:
        status = _ENDED.get(runtime.status, RUNNING)
    return Run(
        runtime_id=runtime.runtime_id,
        name=tags.get("mlflow.runName") or runtime.display_name,
        experiment_id=runtime.labels.get(EXPERIMENT_LABEL, DEFAULT_EXPERIMENT_ID),
        user=labels.get(USER_LABEL) or tags.get("mlflow.user") or runtime.created_by,
        owner=runtime.created_by,
        status=status,
        start_ms=(mine.opening.started_ms if mine is not None else 0) or runtime.create_time.ToMilliseconds(),
        end_ms=0,
        deleted=runtime.deleted,
        params={key: parameter_value(text) for key, text in parameters.items()},
        tags=tags,
        metrics=metrics,
    )


def _end_ms(runtime: runtime_api.Runtime, trial: trial_api.Trial, mine: OpenRun | None) -> int:
    if mine is not None and mine.ended_ms:
        return mine.ended_ms
    return trial.end_time.ToMilliseconds() or runtime.end_time.ToMilliseconds()


def _points(content: bytes, original: Mapping[str, str]) -> list[Point]:
    """Read an Arrow stream of points, by their times. Of several values of a moment the newest stays the last."""
    if not content:
        return []
    table = pa.ipc.open_stream(content).read_all()
    times = table.column("time").cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_pylist()
    rows = zip(
        table.column("key").to_pylist(), table.column("step").to_pylist(), times, table.column("value").to_pylist(),
        strict=True,
    )  # fmt: skip
    return sorted((Point(original.get(k, k), s, t, v) for k, s, t, v in rows), key=lambda p: (p.key, p.time_ms, p.step))


def parse_run_id(body: Mapping[str, Any]) -> str:
    """Return the runtime that a request names.

    Raises:
        InvalidArgument: it names none.
    """
    return runtime_id_of(body.get("run_id") or body.get("run_uuid") or "")

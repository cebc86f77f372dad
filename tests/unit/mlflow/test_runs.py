"""Reading runs for clients of MLflow, and how much is asked of the services for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.errors import InvalidArgument, Violation
from milepost.ids import new_runtime_id
from services.mlflow.catalog import Catalog
from services.mlflow.recorder import Point, Recorder
from services.mlflow.runs import RunReader

RUNTIME = new_runtime_id()


class Services:
    """One ended run in the services, and what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sequence = 7

    async def call(self, rpc: str, request: Any, seconds: float) -> Any:
        self.asked.append(rpc.partition(".")[2])
        runtime = runtime_api.Runtime(
            name="runtimes/rt-1", runtime_id=RUNTIME, status=runtime_api.RUNTIME_STATUS_COMPLETED,
            phase=runtime_api.RUNTIME_PHASE_ENDED, sequence=self.sequence,
        )  # fmt: skip
        trial = trial_api.Trial(name="runtimes/rt-1/trials/1", runtime_id=RUNTIME, parameters={"lr": "0.1"})
        series = metric_api.SeriesSummary(parent=trial.name, key="loss", last=0.5, last_step=9, last_time_ms=5)
        answers = {
            "GetRuntime": runtime_api.GetRuntimeResponse(runtime=runtime),
            "ListRuntimes": runtime_api.ListRuntimesResponse(runtimes=[runtime]),
            "GetTrial": trial_api.GetTrialResponse(trial=trial),
            "ListSeries": metric_api.ListSeriesResponse(series=[series]),
        }
        return answers[self.asked[-1]]

    def stream(self, rpc: str, request: Any, seconds: float | None = None) -> AsyncIterator[Any]:
        raise AssertionError(rpc)


async def test_a_run_that_has_ended_is_read_once_until_it_changes(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services()
    reader = RunReader(services, Recorder(tmp_path, "", None), Catalog(tmp_path / "experiments.sqlite"))
    active = frozenset({False})
    for _ in range(3):
        (found,) = await reader.of_experiments(["0"], active)
        assert (found.status, found.params, found.metrics) == ("FINISHED", {"lr": "0.1"}, [Point("loss", 9, 5, 0.5)])
    assert await reader.read(RUNTIME) == found
    assert services.asked.count("GetTrial") == services.asked.count("ListSeries") == 1
    services.sequence = 8
    await reader.of_experiments(["0"], active)
    assert services.asked.count("GetTrial") == 2
    monkeypatch.setattr("services.mlflow.runs.MAX_REMEMBERED", 10)
    for services.sequence in (9, 9, 9):
        await reader.of_experiments(["0"], active)
    assert services.asked.count("GetTrial") == 5, "there is no room to remember it"


async def test_of_a_long_series_no_more_is_read_than_a_page_of_its_history(tmp_path: Any) -> None:
    services, asked = Services(), []

    async def stream(rpc: str, request: Any, seconds: float | None = None) -> AsyncIterator[Any]:
        asked.append((rpc, list(request.keys), request.skip, request.limit))
        raise InvalidArgument([Violation("parents", "there is nothing here")])
        yield

    services.stream = stream  # type: ignore[method-assign]
    reader = RunReader(services, Recorder(tmp_path, "", None), Catalog(tmp_path / "experiments.sqlite"))
    with pytest.raises(InvalidArgument):
        await reader.history(RUNTIME, "loss", 40, 2)
    assert asked == [("MetricService.ExportSeries", ["loss"], 40, 2)]

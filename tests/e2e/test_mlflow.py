"""MLflow's REST interface, as a client of it uses it: what is logged is a runtime, and what is read back is right."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.stack import StackProcess, broken_links, until

RUNTIMES = "runtimes/"


class Mlflow:
    """The calls of a client."""

    def __init__(self, stack: StackProcess) -> None:
        self.stack = stack
        self.http = httpx.Client(timeout=60.0)

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        url = f"{self.stack.endpoints.gateway}/mlflow/api/2.0/mlflow/{path}"
        return self.http.get(url, params=body) if method == "GET" else self.http.post(url, json=body)

    def get(self, path: str, **body: Any) -> Any:
        answer = self.ask("GET", path, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.ask("POST", path, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, name: str = "from mlflow", experiment: str = "0", **body: Any) -> str:
        made = self.post("runs/create", experiment_id=experiment, run_name=name, start_time=_now(), **body)
        return str(made["run"]["info"]["run_id"])

    def run(self, run_id: str) -> Any:
        return self.get("runs/get", run_id=run_id)["run"]


def _now() -> int:
    return time.time_ns() // 1_000_000


def pairs(entries: Any) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in entries}


@pytest.fixture
def mlflow(stack: StackProcess) -> Iterator[Mlflow]:
    client = Mlflow(stack)
    yield client
    client.http.close()


def runtime_of(mlflow: Mlflow, name: str) -> runtime_api.Runtime:
    """Find the runtime that a run is, by its name."""
    request = runtime_api.ListRuntimesRequest(filter=f'name="{name}"')
    (found,) = mlflow.stack.client.runtimes.ListRuntimes(request).runtimes
    return found  # type: ignore[no-any-return]


def test_a_run_is_a_runtime_with_series_parameters_tags_and_status(mlflow: Mlflow) -> None:
    run_id = mlflow.start("whole", tags=[{"key": "mlflow.user", "value": "ada"}])
    begun = _now()
    metrics = [
        {"key": "train/loss", "value": 1.0 / step, "timestamp": begun + step, "step": step} for step in range(1, 101)
    ]
    mlflow.post("runs/log-batch", run_id=run_id, metrics=metrics, params=[{"key": "lr", "value": "1e-3"}], tags=[])
    mlflow.post("runs/log-metric", run_id=run_id, key="val acc @1", value=0.5, timestamp=begun, step=7)
    mlflow.post("runs/log-parameter", run_id=run_id, key="optimizer", value="Adam")
    mlflow.post("runs/set-tag", run_id=run_id, key="team", value="nlp")
    run = mlflow.run(run_id)
    assert run["info"]["status"] == "RUNNING"
    assert pairs(run["data"]["params"]) == {"lr": "1e-3", "optimizer": "Adam"}
    assert pairs(run["data"]["tags"]) == {"mlflow.runName": "whole", "mlflow.user": "ada", "team": "nlp"}
    newest = {entry["key"]: entry for entry in run["data"]["metrics"]}
    assert newest["train/loss"] == {"key": "train/loss", "value": 0.01, "timestamp": begun + 100, "step": 100}
    assert newest["val acc @1"]["value"] == 0.5
    history = mlflow.get("metrics/get-history", run_id=run_id, metric_key="train/loss")["metrics"]
    assert history == metrics

    mlflow.post("runs/update", run_id=run_id, status="FINISHED", end_time=_now())
    assert mlflow.run(run_id)["info"]["status"] == "FINISHED"
    runtime = runtime_of(mlflow, "whole")
    ended = mlflow.stack.wait_for_end(runtime.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED
    assert ended.labels["team"] == "nlp"
    trial = mlflow.stack.trial(runtime.name)
    assert dict(trial.parameters) == {"lr": "1e-3", "optimizer": '"Adam"'}
    assert mlflow.stack.series(runtime.name, "train/loss") == {step: 1.0 / step for step in range(1, 101)}
    assert mlflow.stack.completeness(runtime.name).message == "101 sent = 101 stored, 0 gaps"
    assert broken_links(mlflow.stack.events(runtime.name)) == []
    assert mlflow.run(run_id)["info"]["end_time"] > 0


def test_what_is_repeated_is_recorded_once(mlflow: Mlflow) -> None:
    """A client sends a request again when it did not see the answer."""
    run_id = mlflow.start("repeated")
    batch = [{"key": "loss", "value": value, "timestamp": 1_700_000_000_123, "step": 0} for value in (3.0, 2.0)]
    for _ in range(3):
        mlflow.post("runs/log-batch", run_id=run_id, metrics=batch)
        mlflow.post("runs/log-parameter", run_id=run_id, key="seed", value="1")
    history = mlflow.get("metrics/get-history", run_id=run_id, metric_key="loss")["metrics"]
    assert sorted(entry["value"] for entry in history) == [2.0, 3.0], "both values of one step, each once"
    assert {entry["timestamp"] for entry in history} == {1_700_000_000_123}
    assert len([e for e in mlflow.stack.events(runtime_of(mlflow, "repeated").name) if "parameters" in e.type]) == 2
    changed = mlflow.ask("POST", "runs/log-parameter", run_id=run_id, key="seed", value="2")
    assert (changed.status_code, changed.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    mlflow.post("runs/update", run_id=run_id, status="KILLED")
    assert mlflow.stack.wait_for_end(runtime_of(mlflow, "repeated").name).status == runtime_api.RUNTIME_STATUS_ABORTED


def test_nothing_is_lost_when_the_gateway_is_killed(mlflow: Mlflow) -> None:
    """What it has answered to is on its disk; the run goes on in the next process, without gap or repeat."""
    run_id = mlflow.start("killed")
    for step in range(1, 21):
        mlflow.post("runs/log-metric", run_id=run_id, key="loss", value=1.0 / step, timestamp=step, step=step)
        if step in (5, 15):
            mlflow.stack.kill("gateway")
            until(lambda: _answers(mlflow), "the gateway is back")
            mlflow.post("runs/log-metric", run_id=run_id, key="loss", value=1.0 / step, timestamp=step, step=step)
    mlflow.post("runs/update", run_id=run_id, status="FAILED")
    runtime = runtime_of(mlflow, "killed")
    assert mlflow.stack.wait_for_end(runtime.name).status == runtime_api.RUNTIME_STATUS_FAILED
    assert mlflow.run(run_id)["info"]["status"] == "FAILED"
    assert mlflow.stack.series(runtime.name, "loss") == {step: 1.0 / step for step in range(1, 21)}
    assert mlflow.stack.completeness(runtime.name).message == "20 sent = 20 stored, 0 gaps"


def _answers(mlflow: Mlflow) -> bool:
    try:
        answer = mlflow.ask("GET", "experiments/get", experiment_id="0")
        probe = mlflow.ask("POST", "runs/create", experiment_id="0", run_name="probe")
    except httpx.TransportError:
        return False
    if probe.status_code == 200:
        mlflow.post("runs/update", run_id=probe.json()["run"]["info"]["run_id"], status="FINISHED")
    return answer.status_code == probe.status_code == 200


def test_experiments_and_searches(mlflow: Mlflow) -> None:
    made = mlflow.post("experiments/create", name="sweep", tags=[{"key": "owner", "value": "ada"}])["experiment_id"]
    again = mlflow.ask("POST", "experiments/create", name="sweep")
    assert (again.status_code, again.json()["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    assert mlflow.get("experiments/get-by-name", experiment_name="sweep")["experiment"]["experiment_id"] == made
    assert mlflow.get("experiments/get", experiment_id="0")["experiment"]["name"] == "Default"
    names = [e["name"] for e in mlflow.post("experiments/search", max_results=100)["experiments"]]
    assert {"sweep", "Default"} <= set(names)
    missing = mlflow.ask("GET", "experiments/get-by-name", experiment_name="none")
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    runs = {}
    for index, loss in enumerate((0.3, 0.1, math.nan)):
        run_id = runs[index] = mlflow.start(f"sweep {index}", made)
        value: Any = "NaN" if math.isnan(loss) else loss
        mlflow.post("runs/log-batch", run_id=run_id, metrics=[{"key": "loss", "value": value, "timestamp": 1, "step": 1}],
                    params=[{"key": "n", "value": str(index)}])  # fmt: skip
        mlflow.post("runs/update", run_id=run_id, status="FINISHED")

    def search(text: str = "", *clauses: str) -> list[str]:
        found = mlflow.post("runs/search", experiment_ids=[made], filter=text, order_by=list(clauses), max_results=10)
        return [run["info"]["run_id"] for run in found["runs"]]

    assert search("", "params.n ASC") == [runs[0], runs[1], runs[2]]
    assert search("metrics.loss < 0.2 and params.n = '1'") == [runs[1]]
    assert search("attributes.status = 'FINISHED' AND tags.mlflow.runName LIKE 'sweep%'", "metrics.loss") [:2] == [
        runs[1], runs[0],
    ]  # fmt: skip
    assert search("params.n IN ('0', '2')", "params.n DESC") == [runs[2], runs[0]]
    assert mlflow.run(runs[2])["data"]["metrics"][0]["value"] == "NaN"
    wrong = mlflow.ask("POST", "runs/search", experiment_ids=[made], filter="loss ~ 3")
    assert (wrong.status_code, wrong.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("runs/log-metric", {"key": "x", "value": "many", "timestamp": 1}, 400, "INVALID_PARAMETER_VALUE"),
        ("runs/log-metric", {"key": "x", "value": 1, "timestamp": 1, "step": -1}, 400, "INVALID_PARAMETER_VALUE"),
        (
            "runs/log-batch",
            {"metrics": [{"key": "x", "value": 1, "timestamp": 1}] * 1001},
            400,
            "INVALID_PARAMETER_VALUE",
        ),
        ("runs/log-batch", {"metrics": "x"}, 400, "INVALID_PARAMETER_VALUE"),
        ("runs/update", {"status": "DANCING"}, 400, "INVALID_PARAMETER_VALUE"),
        ("runs/log-inputs", {}, 404, "ENDPOINT_NOT_FOUND"),
    ],
)
def test_bad_input_changes_nothing(mlflow: Mlflow, path: str, body: dict[str, Any], status: int, code: str) -> None:
    run_id = mlflow.start("bad")
    before = mlflow.run(run_id)
    answer = mlflow.ask("POST", path, run_id=run_id, **body)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert mlflow.run(run_id) == before
    mlflow.post("runs/update", run_id=run_id, status="FINISHED")
    until(lambda: mlflow.run(run_id)["info"]["status"] == "FINISHED", "it ends")


def test_unknown_runs_and_ended_ones_take_nothing(mlflow: Mlflow) -> None:
    for run_id, status in (("0" * 32, 404), ("x", 400)):
        answer = mlflow.ask("POST", "runs/log-metric", run_id=run_id, key="x", value=1, timestamp=1)
        assert answer.status_code == status, answer.text
    run_id = mlflow.start("over")
    mlflow.post("runs/update", run_id=run_id, status="FINISHED")
    answer = mlflow.ask("POST", "runs/log-metric", run_id=run_id, key="x", value=1, timestamp=1)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_STATE")


def test_a_browser_cannot_be_made_to_call_it(mlflow: Mlflow) -> None:
    url = f"{mlflow.stack.endpoints.gateway}/mlflow/api/2.0/mlflow/experiments/create"
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert mlflow.http.post(url, json={"name": "forged"}, headers=headers).status_code == 403
    assert mlflow.http.post(url, content="{}", headers={"content-type": "text/plain"}).status_code == 415

"""MLflow's REST interface, as a client of it uses it: what is logged is a runtime, and what is read back is right."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.security.redaction import REDACTED
from tests.e2e.stack import StackProcess, broken_links, until
from tests.support.programs.mlflow_calls import DIFFERENCES, asking, differing, play

RUNTIMES = "runtimes/"
ROOT = Path(__file__).resolve().parents[3]
MLFLOW_ANSWERS = ROOT / "tests" / "golden" / "mlflow_answers.json"


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


def stored(mlflow: Mlflow, name: str, proof: str) -> None:
    """Wait until everything is stored. What a client was told is safe before."""
    until(lambda: mlflow.stack.completeness(name).message == proof, proof)


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
    wanted = {"run_id": run_id, "metric_key": "train/loss", "max_results": 30}
    pages = [mlflow.get("metrics/get-history", **wanted)]
    while "next_page_token" in pages[-1]:
        pages.append(mlflow.get("metrics/get-history", **wanted, page_token=pages[-1]["next_page_token"]))
    assert [len(page["metrics"]) for page in pages] == [30, 30, 30, 10]
    assert [entry for page in pages for entry in page["metrics"]] == metrics

    mlflow.post("runs/update", run_id=run_id, status="FINISHED", end_time=_now())
    assert mlflow.run(run_id)["info"]["status"] == "FINISHED"
    runtime = runtime_of(mlflow, "whole")
    ended = mlflow.stack.wait_for_end(runtime.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED
    assert ended.labels["team"] == "nlp"
    trial = mlflow.stack.trial(runtime.name)
    assert dict(trial.parameters) == {"lr": "1e-3", "optimizer": '"Adam"'}
    stored(mlflow, runtime.name, "101 sent = 101 stored, 0 gaps")
    assert mlflow.stack.series(runtime.name, "train/loss") == {step: 1.0 / step for step in range(1, 101)}
    assert broken_links(mlflow.stack.events(runtime.name)) == []
    assert mlflow.run(run_id)["info"]["end_time"] > 0


def test_secrets_among_parameters_and_tags_are_not_recorded(mlflow: Mlflow) -> None:
    run = mlflow.start(
        tags=[{"key": "milepost.not_secret", "value": "my_token"}, {"key": "password", "value": "s3cret"}]
    )
    for _ in range(2):
        mlflow.post("runs/log-parameter", run_id=run, key="api_key", value="s3cret")
    params = [{"key": "max_tokens", "value": "12"}, {"key": "my_token", "value": "shown"}]
    mlflow.post("runs/log-batch", run_id=run, params=params, tags=[{"key": "hub_token", "value": "s3cret"}])
    data = mlflow.run(run)["data"]
    assert pairs(data["params"]) == {"api_key": REDACTED, "max_tokens": "12", "my_token": "shown"}
    assert "s3cret" not in str(data)
    assert pairs(data["tags"])["hub_token"] == REDACTED


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


def test_several_values_at_one_step_stay_in_order_and_the_newest_is_the_metric(mlflow: Mlflow) -> None:
    """A client that logs without a step puts all values at step 0; also within one millisecond, and in one request."""
    run_id = mlflow.start("no steps")
    now = _now()
    for index in range(10):
        mlflow.post(
            "runs/log-metric", run_id=run_id, key="rmse", value=10.0 - index, timestamp=now + index // 2, step=0
        )
    same = [{"key": "mae", "value": value, "timestamp": now, "step": 0} for value in (3.0, 1.0, 2.0)]
    mlflow.post("runs/log-batch", run_id=run_id, metrics=same)
    assert {m["key"]: m["value"] for m in mlflow.run(run_id)["data"]["metrics"]} == {"rmse": 1.0, "mae": 2.0}
    for key, values in (("rmse", [10.0 - index for index in range(10)]), ("mae", [3.0, 1.0, 2.0])):
        history = mlflow.get("metrics/get-history", run_id=run_id, metric_key=key)["metrics"]
        assert [entry["value"] for entry in history] == values
    found = mlflow.post("runs/search", experiment_ids=["0"], filter="metrics.rmse = 1.0")["runs"]
    assert [run["info"]["run_id"] for run in found] == [run_id]
    mlflow.post("runs/update", run_id=run_id, status="FINISHED")


def test_long_values_are_cut_as_the_server_of_mlflow_cuts_them(mlflow: Mlflow) -> None:
    """Its limits are 6,000 characters of a parameter and 8,000 of a tag; longer keys are refused."""
    run_id = mlflow.start("long", tags=[{"key": "first", "value": "f" * 9000}])
    for _ in range(2):
        mlflow.post("runs/log-parameter", run_id=run_id, key="p", value="p" * 7000)
    mlflow.post("runs/set-tag", run_id=run_id, key="t", value="t" * 9000)
    data = mlflow.run(run_id)["data"]
    assert pairs(data["params"]) == {"p": "p" * 6000}
    assert {key: len(value) for key, value in pairs(data["tags"]).items() if len(key) < 6} == {"first": 8000, "t": 8000}
    # More than a message of the event log may have; control characters are written as six.
    many = [{"key": f"many {index:02}", "value": "\x01" * 6000} for index in range(100)]
    mlflow.post("runs/log-batch", run_id=run_id, params=many)
    assert len(pairs(mlflow.run(run_id)["data"]["params"])) == 101
    for path, body in (("log-parameter", {"value": "x"}), ("set-tag", {"value": "x"}), ("log-metric", {"value": 1})):
        refused = mlflow.ask("POST", f"runs/{path}", run_id=run_id, key="k" * 251, timestamp=1, **body)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    mlflow.post("runs/update", run_id=run_id, status="FINISHED")


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
    stored(mlflow, runtime.name, "20 sent = 20 stored, 0 gaps")
    assert mlflow.stack.series(runtime.name, "loss") == {step: 1.0 / step for step in range(1, 21)}
    mlflow.post("runs/update", run_id=run_id, status="RUNNING")
    mlflow.post("runs/log-metric", run_id=run_id, key="loss", value=0.5, timestamp=2, step=2)
    mlflow.post("runs/log-metric", run_id=run_id, key="test", value=1.0, timestamp=21, step=0)
    mlflow.post("runs/update", run_id=run_id, status="FINISHED")
    assert [m["step"] for m in mlflow.get("metrics/get-history", run_id=run_id, metric_key="test")["metrics"]] == [0]
    stored(mlflow, runtime.name, "21 sent = 21 stored, 0 gaps")


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
        ("registered-models/create", {}, 404, "ENDPOINT_NOT_FOUND"),
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


def test_answers_are_those_of_a_stock_server_but_for_those_that_the_guide_names(mlflow: Mlflow) -> None:
    """What a stock server of the pinned version answers is recorded; `make test-integrations` proves the record."""
    theirs = json.loads(MLFLOW_ANSWERS.read_text())
    named = {check for checks in DIFFERENCES.values() for check in checks}
    ours = play(asking(mlflow.http, f"{mlflow.stack.endpoints.gateway}/mlflow"))
    assert len(theirs) >= 120
    for check in sorted(differing(ours, theirs) ^ named):
        print(check, ours.get(check), theirs.get(check), sep="\n    ")
    assert differing(ours, theirs) == named
    guide = (ROOT / "docs" / "guides" / "mlflow.md").read_text()
    assert [reason for reason in DIFFERENCES if reason not in guide] == []


def test_what_is_not_kept_is_accepted_and_the_log_says_so_once(mlflow: Mlflow) -> None:
    """Autologging sends data sets, models and files of any size beside its metrics."""
    run_id = mlflow.start("unkept")
    api = f"{mlflow.stack.endpoints.gateway}/mlflow/api/2.0"
    for _ in range(2):
        mlflow.post("runs/log-inputs", run_id=run_id, datasets=[])
        model = mlflow.post("logged-models", experiment_id="0", source_run_id=run_id, name="m")["model"]["info"]
        for path in (f"0/{run_id}/artifacts/a.txt", f"0/models/{model['model_id']}/artifacts/model.pkl"):
            file = f"{api}/mlflow-artifacts/artifacts/{path}"
            sent = mlflow.http.put(
                file, content=b"x" * (10 << 20), headers={"content-type": "application/octet-stream"}
            )
            assert sent.status_code == 200, sent.text
            assert mlflow.http.get(file).json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
        ready = mlflow.http.patch(
            f"{api}/mlflow/logged-models/{model['model_id']}", json={"status": "LOGGED_MODEL_READY"}
        )
        assert ready.json()["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    mlflow.post("runs/log-metric", run_id=run_id, key="x", value=1, timestamp=1)
    mlflow.post("runs/update", run_id=run_id, status="FINISHED")
    assert pairs(mlflow.run(run_id)["data"]["metrics"]) == {"x": 1.0}
    request = log_api.QueryLogsRequest(parent=f"{runtime_of(mlflow, 'unkept').name}/trials/1")
    until(lambda: len(mlflow.stack.client.logs.QueryLogs(request).entries) >= 3, "it is said")
    said = [one.text.partition(" of ")[0] for one in mlflow.stack.client.logs.QueryLogs(request).entries]
    assert said == ["data sets", "models", "artifacts"]


def test_unknown_runs_take_nothing(mlflow: Mlflow) -> None:
    for run_id, status in (("0" * 32, 404), ("x", 400)):
        answer = mlflow.ask("POST", "runs/log-metric", run_id=run_id, key="x", value=1, timestamp=1)
        assert answer.status_code == status, answer.text


def test_a_run_that_has_ended_is_started_again_and_nothing_of_it_is_hidden(mlflow: Mlflow) -> None:
    """As `mlflow.start_run(run_id=...)` does it for `fit` and then `test`; steps may be smaller than before."""
    run_id = mlflow.start("fit then test")
    begun = _now()
    for round_, status in enumerate(("FINISHED", "FAILED", "KILLED", "FINISHED")):
        if round_:
            mlflow.post("runs/update", run_id=run_id, status="RUNNING")
            assert mlflow.run(run_id)["info"]["status"] == "RUNNING"
        metrics = [
            {"key": f"round {round_}", "value": 1.0, "timestamp": begun, "step": 0},
            {"key": "loss", "value": float(round_), "timestamp": begun + round_, "step": 10 - round_},
        ]
        mlflow.post("runs/log-batch", run_id=run_id, metrics=metrics, params=[{"key": f"p{round_}", "value": "1"}])
        changed = mlflow.ask("POST", "runs/log-parameter", run_id=run_id, key="p0", value="2")
        assert changed.status_code == 400, "parameters of before are known"
        mlflow.post("runs/set-tag", run_id=run_id, key="round", value=str(round_))
        mlflow.post("runs/update", run_id=run_id, status=status)
        assert mlflow.run(run_id)["info"]["status"] == status
    run = mlflow.run(run_id)
    assert pairs(run["data"]["params"]) == {f"p{round_}": "1" for round_ in range(4)}
    assert {m["key"]: m["value"] for m in run["data"]["metrics"]} == {
        **{f"round {round_}": 1.0 for round_ in range(4)}, "loss": 0.0,
    }  # fmt: skip
    history = mlflow.get("metrics/get-history", run_id=run_id, metric_key="loss")["metrics"]
    assert sorted(m["step"] for m in history) == [7, 8, 9, 10]
    runtime = runtime_of(mlflow, "fit then test")
    until(lambda: runtime_of(mlflow, "fit then test").status == runtime_api.RUNTIME_STATUS_COMPLETED, "it is complete")
    trial = mlflow.stack.trial(runtime.name)
    assert not trial.redone and trial.attempt_count == 4
    stored(mlflow, runtime.name, "8 sent = 8 stored, 0 gaps")
    assert mlflow.stack.series(runtime.name, "loss") == {10 - round_: float(round_) for round_ in range(4)}
    assert broken_links(mlflow.stack.events(runtime.name)) == []


def test_what_is_written_to_a_run_that_has_ended_is_kept_and_it_stays_ended(mlflow: Mlflow) -> None:
    run_id = mlflow.start("late")
    mlflow.post("runs/log-metric", run_id=run_id, key="x", value=1, timestamp=1, step=5)
    mlflow.post("runs/update", run_id=run_id, status="FINISHED", end_time=_now())
    ended = mlflow.run(run_id)["info"]
    mlflow.post("runs/log-metric", run_id=run_id, key="test", value=2, timestamp=2, step=0)
    mlflow.post("runs/set-tag", run_id=run_id, key="best", value="yes")
    late = mlflow.run(run_id)
    assert late["info"] == ended and pairs(late["data"]["tags"])["best"] == "yes"
    assert {m["key"]: m["value"] for m in late["data"]["metrics"]} == {"x": 1.0, "test": 2.0}
    until(lambda: runtime_of(mlflow, "late").status == runtime_api.RUNTIME_STATUS_COMPLETED, "it is complete", 40.0)
    assert mlflow.run(run_id)["info"] == ended


def test_a_stop_in_milepost_holds_until_the_run_is_started_again(mlflow: Mlflow) -> None:
    run_id = mlflow.start("stopped")
    name = runtime_of(mlflow, "stopped").name
    mlflow.stack.client.runtimes.StopRuntime(runtime_api.StopRuntimeRequest(name=name))
    assert mlflow.stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_ABORTED
    assert mlflow.run(run_id)["info"]["status"] == "KILLED"
    answer = mlflow.ask("POST", "runs/log-metric", run_id=run_id, key="x", value=1, timestamp=1)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_STATE")
    mlflow.post("runs/update", run_id=run_id, status="RUNNING")
    mlflow.post("runs/log-metric", run_id=run_id, key="x", value=1, timestamp=1)
    mlflow.post("runs/update", run_id=run_id, status="FINISHED")
    assert mlflow.stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_COMPLETED


def test_a_browser_cannot_be_made_to_call_it(mlflow: Mlflow) -> None:
    url = f"{mlflow.stack.endpoints.gateway}/mlflow/api/2.0/mlflow/experiments/create"
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert mlflow.http.post(url, json={"name": "forged"}, headers=headers).status_code == 403
    assert mlflow.http.post(url, content="{}", headers={"content-type": "text/plain"}).status_code == 415

"""Calls of MLflow's REST interface, played against any server of it: what it answers, without ids and the time of day.

The same calls go to a stock server of MLflow and to Milepost; `tests/golden/mlflow_answers.json` has what the stock
server of the pinned version says, so that Milepost can be compared with it where there is none. `python -m
tests.support.programs.mlflow_calls ADDRESS` prints what a server answers.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

# A moment of 2023 that runs are given, milliseconds since 1970.
THEN = 1_700_000_000_000
DAY_MS = 86_400_000
# What a server may word and place as it likes.
_LEFT_OUT = frozenset(
    {
        "message",
        "error_class",
        "sqlstate",
        "stack_trace",
        "text",
        "workspace",
        "artifact_uri",
        "artifact_location",
        "root_uri",
        "inputs",
        "outputs",
        "run_uuid",
    }
)
_USERS = frozenset({"ada", "eve"})
_BY_KEY = frozenset({"params", "tags", "metrics"})

# Longer texts are told by their beginning and their length.
_LONGEST = 1_000

# Method, path below /api/2.0/mlflow/ and body -> status and content.
Ask = Callable[[str, str, Mapping[str, Any]], tuple[int, Any]]


def asking(http: httpx.Client, address: str) -> Ask:
    """Return what asks a server. An answer that is no JSON has no content."""

    def ask(method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        url = f"{address}/api/2.0/mlflow/{path}"
        answer = http.get(url, params=dict(body)) if method == "GET" else http.request(method, url, json=body)
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.status_code, answer.json() if is_json else {}

    return ask


class Play:
    """One series of calls. `answers`: name of a check -> status and content."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._mark = f"play-{uuid.uuid4().hex[:12]}"
        self._names: dict[str, str] = {self._mark: "<play>"}
        self.answers: dict[str, Any] = {}

    def name(self, text: str) -> str:
        """Make a name that no other series of calls has."""
        return f"{self._mark} {text}"

    def check(self, said: str, method: str, path: str, /, **body: Any) -> Any:
        """Call, note the answer under a name, and return it as it came."""
        assert said not in self.answers, said
        status, content = self._ask(method, path, body)
        if path == "experiments/create" and status == 200:
            self._names[content["experiment_id"]] = f"<experiment {body['name'].removeprefix(self._mark).strip()}>"
        self._learn(content)
        self.answers[said] = [status, self._plain(content)]
        return content

    def get(self, said: str, path: str, /, **body: Any) -> Any:
        return self.check(said, "GET", path, **body)

    def post(self, said: str, path: str, /, **body: Any) -> Any:
        return self.check(said, "POST", path, **body)

    def quietly(self, path: str, /, **body: Any) -> Any:
        """Call what must succeed, and note nothing."""
        status, content = self._ask("POST", path, body)
        assert status == 200, (path, body, content)
        self._learn(content)
        return content

    def _learn(self, content: Any) -> None:
        """Know ids by the names of what they are ids of."""
        if isinstance(content, Mapping):
            run, experiment = content.get("run"), content.get("experiment")
            if isinstance(run, Mapping) and isinstance(run.get("info"), Mapping):
                info = run["info"]
                self._names.setdefault(
                    info["run_id"], f"<run {info.get('run_name', '').removeprefix(self._mark).strip()}>"
                )
            if isinstance(experiment, Mapping) and experiment.get("name", "").startswith(self._mark):
                name = experiment["name"].removeprefix(self._mark).strip()
                self._names.setdefault(experiment["experiment_id"], f"<experiment {name}>")

    def run(self, experiment: str, name: str, **body: Any) -> str:
        """Make a run, and return its id."""
        made = self.quietly("runs/create", experiment_id=experiment, run_name=name, **body)
        return str(made["run"]["info"]["run_id"])

    def experiment(self, name: str, **body: Any) -> str:
        """Make an experiment, and return its id."""
        made: str = self.quietly("experiments/create", name=self.name(name), **body)["experiment_id"]
        self._names[made] = f"<experiment {name}>"
        return made

    def _plain(self, content: Any, key: str = "") -> Any:
        if isinstance(content, Mapping):
            kept = {k: self._plain(v, k) for k, v in sorted(content.items()) if k not in _LEFT_OUT}
            # Protobuf leaves out what is empty. Who has made a run is told where a client has said it.
            return {k: v for k, v in kept.items() if v not in ([], {}, None) and (k != "user_id" or v in _USERS)}
        if isinstance(content, list):
            plain = [self._plain(entry) for entry in content]
            in_order = key not in _BY_KEY or len({str(entry["key"]) for entry in plain}) < len(plain)
            return plain if in_order else sorted(plain, key=lambda entry: str(entry["key"]))
        if key == "next_page_token":
            return "<token>"
        if isinstance(content, int) and abs(content - time.time() * 1000) < DAY_MS:
            return "<now>"
        if isinstance(content, str):
            if key == "experiment_id":
                return self._names.get(content, content)
            if len(content) > _LONGEST:
                return f"{content[:20]}... {len(content)}"
            for found, name in self._names.items():
                content = content.replace(found, name) if len(found) == 32 or found == self._mark else content
        return content


def metric(key: str, value: Any, step: int = 0, timestamp: int = THEN) -> dict[str, Any]:
    return {"key": key, "value": value, "step": step, "timestamp": timestamp}


def pair(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


# Where Milepost answers otherwise, as the page of the guide says.
DIFFERENCES = {
    "more is accepted": (
        "experiments without a limit", "the key of a parameter is odd", "a metric without a time",
        "the name of a metric is odd", "runs with params.n IN ('1')", "runs with params.n NOT IN ('1')",
        "runs with status IN ('RUNNING')", "runs by ['`run name`']",
    ),
    "what means nothing is refused": (
        "an unknown status", "runs with params.n = '1' params.m = '2'", "runs with AND", "runs with metrics.loss > 0 AND",
        "a status that is a number", "a metric at a negative step", "tags that are no list", "a metric of a run with an odd id",
    ),
    "infinity stays infinity": ("the metric inf", "the metric -inf"),
    "of several values of one step and one millisecond the last counts": ("values of one moment", "the newest of one moment"),
    "an unknown run has no history": ("the history of no run",),
    "a run that goes on has no end": tuple(f"a run goes on after {status}" for status in ("FINISHED", "FAILED", "KILLED")),
    "what is not offered is said as an error of MLflow": ("an unknown call", "a call by the wrong method"),
}  # fmt: skip


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> set[str]:
    """Return the checks that two servers answer differently, or that one of them was not asked."""
    return {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}


def play(ask: Ask) -> dict[str, Any]:
    """Play all calls. Returns name of a check -> status and content."""
    calls = Play(ask)
    for part in (
        experiments, runs, ends, parameters, tags, metrics, histories, batches, deletions, searches, orders, pages, mistakes,
    ):  # fmt: skip
        part(calls)
    return calls.answers


def experiments(calls: Play) -> None:
    made = calls.experiment("first", tags=[pair("owner", "ada")])
    calls.get("an experiment by its id", "experiments/get", experiment_id=made)
    calls.get("an experiment by its name", "experiments/get-by-name", experiment_name=calls.name("first"))
    calls.get("the default experiment", "experiments/get", experiment_id="0")
    calls.post("an experiment that exists", "experiments/create", name=calls.name("first"))
    calls.post("an experiment without a name", "experiments/create", name="")
    calls.post("an experiment with a long name", "experiments/create", name="n" * 501)
    calls.get("an unknown experiment by its id", "experiments/get", experiment_id="99999999")
    calls.get("an unknown experiment by its name", "experiments/get-by-name", experiment_name=calls.name("none"))
    calls.post("a tag of an experiment", "experiments/set-experiment-tag", experiment_id=made, key="team", value="nlp")
    calls.post("a tag of no experiment", "experiments/set-experiment-tag", experiment_id="99999999", key="a", value="b")
    calls.get("tags of an experiment", "experiments/get", experiment_id=made)
    calls.post("a tag is taken off", "experiments/delete-experiment-tag", experiment_id=made, key="team")
    calls.get("an experiment without the tag", "experiments/get", experiment_id=made)
    calls.post(
        "an experiment gets another name", "experiments/update", experiment_id=made, new_name=calls.name("renamed")
    )
    calls.get("an experiment by its new name", "experiments/get-by-name", experiment_name=calls.name("renamed"))
    calls.get("nothing by the old name", "experiments/get-by-name", experiment_name=calls.name("first"))
    calls.post("an experiment under the old name", "experiments/create", name=calls.name("again"))
    other = calls.experiment("other")
    calls.post("a name that another has", "experiments/update", experiment_id=other, new_name=calls.name("renamed"))
    calls.post("an experiment is deleted", "experiments/delete", experiment_id=other)
    calls.get("a deleted experiment", "experiments/get", experiment_id=other)
    calls.post("a run in a deleted experiment", "runs/create", experiment_id=other, run_name="x", start_time=THEN)
    calls.post("a deleted experiment is deleted again", "experiments/delete", experiment_id=other)
    like = f"name LIKE '{calls.name('')}%'"
    for name, view in (("active", "ACTIVE_ONLY"), ("deleted", "DELETED_ONLY"), ("all", "ALL")):
        calls.post(
            f"{name} experiments",
            "experiments/search",
            filter=like,
            view_type=view,
            max_results=100,
            order_by=["name ASC"],
        )
    calls.post("an experiment is restored", "experiments/restore", experiment_id=other)
    calls.get("a restored experiment", "experiments/get", experiment_id=other)
    calls.post("an experiment that is there is restored", "experiments/restore", experiment_id=made)
    for operator in ("=", "!=", "LIKE", "ILIKE"):
        text = f"name {operator} '{calls.name('other')}' AND {like}"
        calls.post(
            f"experiments by {operator}", "experiments/search", filter=text, max_results=10, order_by=["name DESC"]
        )
    calls.post("experiments by a tag", "experiments/search", filter=f"tags.owner = 'ada' AND {like}", max_results=10)
    calls.post("experiments by nonsense", "experiments/search", filter="name ~ 'x'", max_results=10)
    calls.post("a page of experiments", "experiments/search", filter=like, max_results=2, order_by=["name"])
    calls.post("experiments without a limit", "experiments/search", filter=like)
    calls.get("experiments by GET", "experiments/search", filter=like, max_results=1, order_by="name")


def runs(calls: Play) -> None:
    home = calls.experiment("runs")
    made = calls.post(
        "a run is made", "runs/create", experiment_id=home, run_name="whole", start_time=THEN, user_id="ada",
        tags=[pair("team", "nlp"), pair("mlflow.source.name", "train.py")],
    )  # fmt: skip
    run_id = made["run"]["info"]["run_id"]
    calls.get("a run that has nothing", "runs/get", run_id=run_id)
    calls.post("a run gets another name", "runs/update", run_id=run_id, run_name="better")
    calls.get("a run by its other name", "runs/get", run_id=run_id)
    calls.post("the name by its tag", "runs/set-tag", run_id=run_id, key="mlflow.runName", value="by tag")
    calls.get("a run that was named by its tag", "runs/get", run_id=run_id)
    calls.post("a run with a name and a tag", "runs/create", experiment_id=home, run_name="same", start_time=THEN,
               tags=[pair("mlflow.runName", "same")])  # fmt: skip
    calls.post("a run with two names", "runs/create", experiment_id=home, run_name="one", start_time=THEN,
               tags=[pair("mlflow.runName", "two")])  # fmt: skip
    calls.get("an unknown run", "runs/get", run_id="0" * 32)
    calls.post("a run in no experiment", "runs/create", experiment_id="99999999", start_time=THEN)
    child = calls.run(home, "child", start_time=THEN, tags=[pair("mlflow.parentRunId", run_id)])
    calls.get("a child", "runs/get", run_id=child)
    calls.post(
        "children", "runs/search", experiment_ids=[home], filter=f"tags.mlflow.parentRunId = '{run_id}'", max_results=10
    )
    calls.get("artifacts of a run that has none", "artifacts/list", run_id=run_id)


def ends(calls: Play) -> None:
    home = calls.experiment("ends")
    for status in ("FINISHED", "FAILED", "KILLED"):
        run_id = calls.run(home, f"ends {status}", start_time=THEN)
        calls.post(f"a run is {status}", "runs/update", run_id=run_id, status=status, end_time=THEN + 5_000)
        calls.get(f"a run that is {status}", "runs/get", run_id=run_id)
        calls.post(f"{status} again", "runs/update", run_id=run_id, status=status, end_time=THEN + 5_000)
        calls.post(f"a metric after {status}", "runs/log-metric", run_id=run_id, **metric("late", 1.0))
        calls.post(f"a parameter after {status}", "runs/log-parameter", run_id=run_id, **pair("late", "1"))
        calls.post(f"a tag after {status}", "runs/set-tag", run_id=run_id, **pair("late", "1"))
        calls.get(f"a run with more after {status}", "runs/get", run_id=run_id)
        calls.post(f"a run goes on after {status}", "runs/update", run_id=run_id, status="RUNNING")
        calls.post(
            f"a metric when it goes on after {status}", "runs/log-metric", run_id=run_id, **metric("late", 2.0, 1)
        )
        calls.post(
            f"the end after {status} and more", "runs/update", run_id=run_id, status="FINISHED", end_time=THEN + 9_000
        )
        calls.get(f"a run that ended twice, first {status}", "runs/get", run_id=run_id)
    calls.post("an unknown status", "runs/update", run_id=run_id, status="DANCING")
    calls.post("an end of no run", "runs/update", run_id="0" * 32, status="FINISHED")


def parameters(calls: Play) -> None:
    run_id = calls.run(calls.experiment("parameters"), "parameters", start_time=THEN)
    values = {
        "number": "1e-3", "word": "Adam", "empty": "", "none": "None", "yes": "True", "json": '{"a": [1, 2]}',
            "quoted": '"x"',
        "spaces": "  x  ", "lines": "a\nb", "unicode": "\u635f\u5931 \U0001f600", "nan": "NaN", "large": "9" * 400,
        "with space": "1", "with/slash": "1", "with.dot": "1", "with-dash": "1", "x" * 250: "1",
    }  # fmt: skip
    for key, value in values.items():
        calls.post(f"the parameter {key[:20]}", "runs/log-parameter", run_id=run_id, key=key, value=value)
    calls.post("the same parameter again", "runs/log-parameter", run_id=run_id, key="word", value="Adam")
    calls.post("a parameter is changed", "runs/log-parameter", run_id=run_id, key="word", value="SGD")
    calls.post("a parameter is too long", "runs/log-parameter", run_id=run_id, key="long", value="p" * 7_000)
    calls.post("the key of a parameter is too long", "runs/log-parameter", run_id=run_id, key="k" * 251, value="1")
    calls.post("a parameter without a key", "runs/log-parameter", run_id=run_id, value="1")
    calls.get("a run with parameters", "runs/get", run_id=run_id)
    other = calls.run(calls.experiment("odd parameters"), "odd", start_time=THEN)
    calls.post("the key of a parameter is odd", "runs/log-parameter", run_id=other, key="a;b", value="1")


def tags(calls: Play) -> None:
    run_id = calls.run(calls.experiment("tags"), "tags", start_time=THEN)
    for key, value in {"word": "x", "empty": "", "lines": "a\nb", "a b/c.d-e": "1", "k" * 250: "1"}.items():
        calls.post(f"the tag {key[:20]}", "runs/set-tag", run_id=run_id, key=key, value=value)
    calls.post("a tag is changed", "runs/set-tag", run_id=run_id, key="word", value="y")
    calls.post("a tag is too long", "runs/set-tag", run_id=run_id, key="long", value="t" * 9_000)
    calls.post("the key of a tag is too long", "runs/set-tag", run_id=run_id, key="k" * 251, value="1")
    calls.post("a tag is deleted", "runs/delete-tag", run_id=run_id, key="empty")
    calls.post("a tag that is not there is deleted", "runs/delete-tag", run_id=run_id, key="empty")
    calls.get("a run with tags", "runs/get", run_id=run_id)


def metrics(calls: Play) -> None:
    run_id = calls.run(calls.experiment("metrics"), "metrics", start_time=THEN)
    values = {
        "plain": 0.5, "negative": -1.5, "whole": 3, "zero": 0.0, "tiny": 5e-324, "huge": 1e308, "nan": "NaN",
            "train/loss": 0.2, "recall-at.5": 0.3, "m" * 250: 0.4,
    }  # fmt: skip
    for key, value in values.items():
        calls.post(f"the metric {key[:20]}", "runs/log-metric", run_id=run_id, **metric(key, value, 3))
    calls.post("a metric without a step", "runs/log-metric", run_id=run_id, key="no step", value=1.0, timestamp=THEN)
    calls.post("a metric with text as value", "runs/log-metric", run_id=run_id, **metric("text", "0.25"))
    calls.post("a metric that is no number", "runs/log-metric", run_id=run_id, **metric("bad", "many"))
    calls.post("a metric without a value", "runs/log-metric", run_id=run_id, key="bad", timestamp=THEN)
    calls.post("a metric without a key", "runs/log-metric", run_id=run_id, value=1.0, timestamp=THEN)
    calls.post("the key of a metric is too long", "runs/log-metric", run_id=run_id, **metric("k" * 251, 1.0))
    calls.post("a metric at a large step", "runs/log-metric", run_id=run_id, **metric("far", 1.0, 2**40))
    calls.get("a run with metrics", "runs/get", run_id=run_id)
    other = calls.run(calls.experiment("odd metrics"), "odd", start_time=THEN)
    calls.post("a metric without a time", "runs/log-metric", run_id=other, key="timeless", value=1.0)
    calls.post("a metric at a negative step", "runs/log-metric", run_id=other, **metric("negative", 1.0, -1))
    calls.post("the name of a metric is odd", "runs/log-metric", run_id=other, **metric("acc @1", 0.1))
    for key, value in {"inf": "Infinity", "-inf": "-Infinity"}.items():
        calls.quietly("runs/log-metric", run_id=other, **metric(key, value))
        calls.get(f"the metric {key}", "metrics/get-history", run_id=other, metric_key=key)


def histories(calls: Play) -> None:
    home = calls.experiment("histories")
    run_id, other = calls.run(home, "histories", start_time=THEN), calls.run(home, "one moment", start_time=THEN)
    plays = {
        "in order": [(1.0, 1, 1), (2.0, 2, 2), (3.0, 3, 3)],
        "one step": [(3.0, 0, 1), (1.0, 0, 2), (2.0, 0, 3)],
        "one step going down": [(3.0, 0, 3), (1.0, 0, 2), (2.0, 0, 1)],
        "backwards": [(1.0, 5, 1), (2.0, 3, 2), (3.0, 1, 3)],
        "repeated": [(1.0, 1, 1), (1.0, 1, 1), (1.0, 1, 1)],
    }
    for key, points in plays.items():
        for value, step, at in points:
            calls.quietly("runs/log-metric", run_id=run_id, **metric(key, value, step, THEN + at))
    for key in plays:
        calls.get(f"the history of {key}", "metrics/get-history", run_id=run_id, metric_key=key)
    calls.get("the newest of each history", "runs/get", run_id=run_id)
    for value in (1.0, 3.0, 2.0):
        calls.quietly("runs/log-metric", run_id=other, **metric("one moment", value))
    calls.get("values of one moment", "metrics/get-history", run_id=other, metric_key="one moment")
    calls.get("the newest of one moment", "runs/get", run_id=other)
    calls.get("the history of nothing", "metrics/get-history", run_id=run_id, metric_key="nothing")
    calls.get("the history of no run", "metrics/get-history", run_id="0" * 32, metric_key="loss")
    page = calls.get("a page of a history", "metrics/get-history", run_id=run_id, metric_key="in order", max_results=2)
    calls.get(
        "the next page of a history", "metrics/get-history", run_id=run_id, metric_key="in order", max_results=2,
        page_token=page.get("next_page_token", ""),
    )  # fmt: skip


def batches(calls: Play) -> None:
    run_id = calls.run(calls.experiment("batches"), "batches", start_time=THEN)
    many = [metric(f"m{index % 50}", float(index), index // 50) for index in range(1_000)]
    calls.post(
        "a batch", "runs/log-batch", run_id=run_id, metrics=many[:800], params=[pair(f"p{i}", str(i)) for i in range(100)],
        tags=[pair(f"t{i}", str(i)) for i in range(100)],
    )  # fmt: skip
    calls.get("a run with a batch", "runs/get", run_id=run_id)
    calls.post("a batch with nothing", "runs/log-batch", run_id=run_id)
    calls.post("too many metrics", "runs/log-batch", run_id=run_id, metrics=[*many, many[0]])
    calls.post("too many parameters", "runs/log-batch", run_id=run_id, params=[pair(f"q{i}", "1") for i in range(101)])
    calls.post("too many tags", "runs/log-batch", run_id=run_id, tags=[pair(f"q{i}", "1") for i in range(101)])
    calls.post(
        "a batch with a changed parameter", "runs/log-batch", run_id=run_id, metrics=[metric("kept", 1.0)],
        params=[pair("p1", "other")],
    )  # fmt: skip
    calls.post("a parameter twice", "runs/log-batch", run_id=run_id, params=[pair("d", "1"), pair("d", "1")])
    calls.post(
        "a parameter twice, differently", "runs/log-batch", run_id=run_id, params=[pair("e", "1"), pair("e", "2")]
    )
    calls.post("a tag twice", "runs/log-batch", run_id=run_id, tags=[pair("twice", "1"), pair("twice", "2")])
    calls.post(
        "a batch with a bad metric", "runs/log-batch", run_id=run_id, metrics=[metric("ok", 1.0), {"key": "bad"}]
    )
    calls.post("a batch for no run", "runs/log-batch", run_id="0" * 32, metrics=[metric("x", 1.0)])
    long = [pair("long", "v" * 7_000)]
    calls.post("a batch with a long parameter", "runs/log-batch", run_id=run_id, params=long)
    calls.post("a batch with a long tag", "runs/log-batch", run_id=run_id, tags=[pair("long", "v" * 9_000)])
    calls.get("a run after batches", "runs/get", run_id=run_id)


def deletions(calls: Play) -> None:
    home = calls.experiment("deletions")
    run_id, other = calls.run(home, "gone", start_time=THEN), calls.run(home, "kept", start_time=THEN)
    calls.quietly("runs/log-metric", run_id=run_id, **metric("x", 1.0))
    calls.post("a run is deleted", "runs/delete", run_id=run_id)
    calls.get("a deleted run", "runs/get", run_id=run_id)
    calls.post("a metric of a deleted run", "runs/log-metric", run_id=run_id, **metric("x", 1.0))
    calls.post("a tag of a deleted run", "runs/set-tag", run_id=run_id, **pair("x", "1"))
    calls.post("an end of a deleted run", "runs/update", run_id=run_id, status="FINISHED", end_time=THEN + 1)
    calls.post("a deleted run is deleted again", "runs/delete", run_id=run_id)
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL"):
        calls.post(f"runs, {view}", "runs/search", experiment_ids=[home], run_view_type=view, order_by=["run_name"])
    calls.post("a run is restored", "runs/restore", run_id=run_id)
    calls.get("a restored run", "runs/get", run_id=run_id)
    calls.post("a run that is there is restored", "runs/restore", run_id=other)
    calls.post("a metric of a restored run", "runs/log-metric", run_id=run_id, **metric("x", 2.0, 1))
    calls.post("no run is deleted", "runs/delete", run_id="0" * 32)
    calls.post("no run is restored", "runs/restore", run_id="0" * 32)
    calls.post("an experiment with runs is deleted", "experiments/delete", experiment_id=home)
    calls.get("a run of a deleted experiment", "runs/get", run_id=other)
    calls.post("runs of a deleted experiment", "runs/search", experiment_ids=[home], max_results=10)
    calls.post("an experiment with runs is restored", "experiments/restore", experiment_id=home)
    calls.get("a run of a restored experiment", "runs/get", run_id=other)


FILTERS = (
    "", "metrics.loss > 0.2", "metrics.loss >= 0.2", "metrics.loss < 0.2", "metrics.loss <= 0.2", "metrics.loss = 0.2",
    "metrics.loss != 0.2", "metrics.`val acc` > 0.5", 'metrics."val acc" > 0.5', "metric.loss > 0.2",
    "metrics.loss > -1e-3",
    "params.n = '1'", "params.n != '1'", "params.n LIKE '%1%'", "params.n ILIKE 'A%'", "params.n LIKE 'A%'",
    "param.n = \"1\"",
    "params.`with space` = 'x'", "parameters.n = '1'", "params.n IS NULL", "params.n IS NOT NULL", "tags.team IS NULL",
    "tags.team = 'nlp'", "tags.team != 'nlp'", "tags.team LIKE 'n_p'", "tags.`a.b` = '1'", "tags.a.b = '1'",
    "tag.team = 'nlp'",
    "tags.mlflow.runName = 'one'", "attributes.status = 'FINISHED'", "attributes.status != 'FINISHED'",
    "status = 'RUNNING'",
    "attribute.run_name = 'one'", "run_name LIKE 't%'", "run_name ILIKE 'T%'", "attributes.`Run name` = 'one'",
    "`run name` = 'one'",
    f"start_time > {THEN + 1}", f"attributes.start_time >= {THEN + 1}", f"start_time = {THEN}",
    f"end_time <= {THEN + 100}",
    "created > 0", "attributes.user_id = 'ada'", "user_id != 'ada'", "artifact_uri LIKE '%'",
    "metrics.loss > 0 AND params.n = '1'",
    "metrics.loss > 0 and params.n = '1'", "  metrics.loss>0   AND   params.n='1'  ",
    "status = 'FINISHED' AND metrics.loss < 1",
    # What is refused.
    "params.n > '1'", "metrics.loss = 'a'", "params.n = 1", "metrics.loss LIKE '1'", "loss > 1", "things.a = 'b'",
    "metrics.loss",
    "metrics.loss > 0 OR params.n = '1'", "params.n = '1' params.m = '2'", "status > 'RUNNING'", "params.n IN ('1')",
    "start_time = 'x'",
    "tags.team = nlp", "run_id IN ()", "(metrics.loss > 0)", "AND", "metrics.loss > 0 AND", "'1' = params.n",
    "metrics.nan != 1",
    "status IN ('RUNNING')", "attributes.lifecycle_stage = 'active'", "dataset.name = 'x'", "params.n NOT IN ('1')",
)  # fmt: skip
ORDERS: tuple[list[str], ...] = (
    [], ["metrics.loss"], ["metrics.loss ASC"], ["metrics.loss DESC"], ["metrics.`val acc` DESC"], ["params.n"],
    ["params.n DESC"],
    ["tags.team"], ["tags.team DESC", "run_name"], ["attributes.start_time"], ["start_time DESC"],
    ["attribute.run_name"],
    ["run_name DESC"], ["status", "start_time"], ["end_time DESC"], ["created"], ["`run name`"],
    ["metrics.loss desc", "params.n asc"],
    ["user_id"], ["attributes.status DESC", "metrics.loss ASC", "run_name"], ["metrics.nan"], ["metrics.nan DESC"],
    ["run_id"],
    ["loss"], ["metrics.loss UP"], ["things.a"], [""], ["metrics.loss ASC DESC"],
)  # fmt: skip


def _searched(calls: Play, name: str) -> str:
    """Make an experiment with runs that filters and orders tell apart."""
    home = calls.experiment(name)
    made: tuple[tuple[str, dict[str, Any], dict[str, str], dict[str, str], str], ...] = (
        ("one", {"loss": 0.1, "val acc": 0.9, "nan": "NaN"}, {"n": "1", "with space": "x"}, {"team": "nlp",
            "a.b": "1"}, "FINISHED"),
        ("two", {"loss": 0.2, "nan": 1.0}, {"n": "10"}, {"team": "vision"}, "FAILED"),
        ("three", {"loss": 0.3, "val acc": 0.4, "nan": "Infinity"}, {"n": "apple"}, {}, ""),
        ("four", {"nan": "-Infinity"}, {}, {"team": "NLP"}, "KILLED"),
        ("five", {"loss": -1.0}, {"n": "2"}, {}, "FINISHED"),
    )  # fmt: skip
    for index, (run, values, params, labels, status) in enumerate(made):
        run_id = calls.run(home, run, start_time=THEN + index, user_id="ada" if index % 2 else "eve")
        calls.quietly(
            "runs/log-batch", run_id=run_id, metrics=[metric(key, value) for key, value in values.items()],
            params=[pair(*item) for item in params.items()], tags=[pair(*item) for item in labels.items()],
        )  # fmt: skip
        if status:
            calls.quietly("runs/update", run_id=run_id, status=status, end_time=THEN + 100 * index)
    return home


def _names_of(calls: Play, name: str, body: dict[str, Any]) -> None:
    """Search, and note the names of what is found."""
    status, content = calls._ask("POST", "runs/search", body)
    found = [run["info"]["run_name"] for run in content.get("runs", [])] if status == 200 else content["error_code"]
    calls.answers[name] = [status, found]


def searches(calls: Play) -> None:
    home = _searched(calls, "searches")
    for text in FILTERS:
        _names_of(calls, f"runs with {text}", {"experiment_ids": [home], "filter": text, "max_results": 10})
    run_id = calls.run(home, "by id", start_time=THEN + 50)
    for text in (
        f"run_id = '{run_id}'",
        f"attributes.run_id = '{run_id}'",
        f"run_id IN ('{run_id}')",
        f"run_id NOT IN ('{run_id}')",
    ):
        name = f"runs with {text.replace(run_id, 'an id')}"
        _names_of(calls, name, {"experiment_ids": [home], "filter": text, "max_results": 10})
    other = calls.experiment("empty")
    _names_of(calls, "runs of two experiments", {"experiment_ids": [home, other], "max_results": 10})
    _names_of(calls, "runs of no experiment", {"experiment_ids": [], "max_results": 10})
    _names_of(calls, "runs of an unknown experiment", {"experiment_ids": ["99999999"], "max_results": 10})
    calls.post(
        "a whole run that is found", "runs/search", experiment_ids=[home], filter="run_name = 'one'", max_results=10
    )


def orders(calls: Play) -> None:
    home = _searched(calls, "orders")
    for clauses in ORDERS:
        body = {"experiment_ids": [home], "order_by": clauses, "max_results": 10}
        if clauses == ["run_id"]:
            status, content = calls._ask("POST", "runs/search", body)
            ids = [run["info"]["run_id"] for run in content.get("runs", [])]
            calls.answers["runs by run_id"] = [status, ids == sorted(ids) and len(ids)]
            continue
        _names_of(calls, f"runs by {clauses}", body)


def pages(calls: Play) -> None:
    home = calls.experiment("pages")
    for index in range(7):
        calls.run(home, f"page {index}", start_time=THEN + index)
    token, found = "", []
    for number in itertools.count(1):
        content = calls.post(
            f"page {number} of runs",
            "runs/search",
            experiment_ids=[home],
            max_results=3,
            order_by=["run_name"],
            page_token=token,
        )
        found += [run["info"]["run_name"] for run in content["runs"]]
        token = content.get("next_page_token", "")
        if not token:
            break
    assert found == [f"page {index}" for index in range(7)]
    calls.post("a page without a size", "runs/search", experiment_ids=[home], order_by=["run_name"])
    calls.post("a page of none", "runs/search", experiment_ids=[home], max_results=0)
    calls.post("a page that is too large", "runs/search", experiment_ids=[home], max_results=50_001)
    calls.post("a page after nonsense", "runs/search", experiment_ids=[home], page_token="nonsense")


def mistakes(calls: Play) -> None:
    calls.post("an unknown call", "runs/dance")
    calls.get("a call by the wrong method", "runs/create")
    calls.post("a metric of no run", "runs/log-metric", run_id="0" * 32, **metric("x", 1.0))
    calls.post("a parameter of no run", "runs/log-parameter", run_id="0" * 32, **pair("x", "1"))
    calls.post("a tag of no run", "runs/set-tag", run_id="0" * 32, **pair("x", "1"))
    calls.post("a metric of a run without an id", "runs/log-metric", **metric("x", 1.0))
    calls.get("a run without an id", "runs/get")
    calls.post("a metric of a run with an odd id", "runs/log-metric", run_id="x", **metric("x", 1.0))
    calls.get("an experiment without an id", "experiments/get")
    calls.post("a status that is a number", "runs/update", run_id="0" * 32, status=3)
    calls.post("experiments that are no list", "runs/search", experiment_ids="0")
    calls.post("a filter that is a number", "runs/search", experiment_ids=["0"], filter=3)
    calls.post("tags that are no list", "runs/create", experiment_id="0", run_name="x", tags="x", start_time=THEN)


if __name__ == "__main__":
    with httpx.Client(timeout=60.0) as client:
        print(json.dumps(play(asking(client, sys.argv[1])), indent=1, ensure_ascii=False))

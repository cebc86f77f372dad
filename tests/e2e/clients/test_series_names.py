"""Names of series on their whole way: what a script logs is found under that name by every way of reading."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import httpx
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.integrations.tensorboard import EventFile, Scalar, export_trial, runtime_id_of
from milepost.series import read_series
from milepost.series_names import LONGEST, key_of
from tests.e2e.stack import ROOT, StackProcess, until

# Names that something on the way may take for something else: quotes, escapes, separators, wild cards, looks.
KNOWN = [
    "recall@iou>0.5", "recall@iou<0.5", "损失", "精度", "acc@1", "acc_1", "größe", "grüße", "gro\u0308ße 2", "loss, mean",
    'a "b" c', "it's", "back\\slash", "tab\\t", "%41", "100 %", "a+b", "a&b=c", "#1", "?q", "a;b", "{x}", "{keys:String}",
    "key IN ('x')", "__proto__", "constructor/x", "-rf", "*", "a.b", "a/b", "a//b", "/a", "=1+1", "lоss", "loss", "👩‍🚀",
    "\u202eoppo", "zero\u200bwidth", "two  spaces", "层" * LONGEST, "x" * 249 + "y", "x" * 249 + "z", "NaN", "null",
]  # fmt: skip
PRINTABLE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=60).filter(
    lambda text: bool(unicodedata.normalize("NFC", text).strip())
)
# A request has at most so many.
KEYS_AT_ONCE = 100


@settings(
    max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PRINTABLE, min_size=20, max_size=100 - len(KNOWN), unique_by=key_of))
def test_a_name_is_the_same_wherever_it_is_read(stack: StackProcess, names: list[str]) -> None:
    wanted = {key_of(name): float(place) for place, name in enumerate([*KNOWN, *names])}
    assert len(wanted) > len(KNOWN)
    with tempfile.TemporaryDirectory() as folder:
        name = run_script(stack, LOG_ALL, len(wanted), list(wanted.items()))
        trial = f"{name}/trials/1"
        assert by_grpc(stack, trial, list(wanted)) == wanted
        assert by_http(stack, trial, list(wanted)) == wanted
        assert by_file(stack, trial) == wanted
        exported, count = export_trial(stack.client, trial, Path(folder))
        assert count == len(wanted)
        assert {item.tag: item.value for item in EventFile(exported).read() if isinstance(item, Scalar)} == wanted
        done = stack.milepost("import", "tensorboard", folder)
        assert done.returncode == 0, done.stderr
        imported = f"runtimes/{runtime_id_of(exported)}"
        wait_stored(stack, imported, len(wanted), done.stderr)
        assert by_grpc(stack, f"{imported}/trials/1", list(wanted)) == wanted
    assert by_mlflow(stack, wanted) == wanted


def run_script(stack: StackProcess, source: str, points: int, given: object = None) -> str:
    """Run a script of a user's own. Returns the name of its run, once that has ended and its points are stored."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir)}
    done = subprocess.run(
        [sys.executable, "-c", source],
        input=json.dumps(given),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[-1]
    stack.wait_for_end(name)
    wait_stored(stack, name, points, done.stderr)
    return name


def wait_stored(stack: StackProcess, name: str, points: int, said: str) -> None:
    """Wait until so many points are stored; first send what the end says that it has left, as on a busy machine."""
    if "milepost sync" in said:
        stack.milepost("sync", "--data-dir", str(stack.data_dir))
    until(lambda: stack.completeness(name).stored_points >= points, "all is stored")


LOG_ALL = """
import json, sys, milepost
trial = milepost.init("names")
trial.log(dict(json.load(sys.stdin)))
milepost.finish()
print(f"runtimes/{trial.runtime_id}")
"""


def by_grpc(stack: StackProcess, trial: str, keys: list[str]) -> dict[str, float]:
    """Read the last values by ListSeries and by QuerySeries, which must agree."""
    request = metric_api.QuerySeriesRequest(parents=[trial], keys=keys, bucket_count=1)
    listed = stack.client.metrics.ListSeries(metric_api.ListSeriesRequest(parent=trial)).series
    found = {series.key: series.lasts[-1] for series in stack.client.metrics.QuerySeries(request).series}
    assert {series.key: series.last for series in listed if not series.key.startswith("system/")} == found
    return found


def by_http(stack: StackProcess, trial: str, keys: list[str]) -> dict[str, float]:
    """Read them as the page does: names in the query, and in JSON."""
    found: dict[str, float] = {}
    parts: list[list[str]] = [[]]
    for key in keys:
        if sum(len(other.encode()) for other in parts[-1]) > 4000:
            parts.append([])
        parts[-1].append(key)
    with httpx.Client(base_url=f"{stack.endpoints.gateway}/api/v1", timeout=60) as http:
        for part in parts:
            answer = http.get("/series:query", params={"parents": trial, "bucket_count": 1, "keys": part})
            assert answer.status_code == 200, answer.text
            found |= {series["key"]: series["lasts"][-1] for series in answer.json()["series"]}
    return found


def by_file(stack: StackProcess, trial: str) -> dict[str, float]:
    """Read them from an export as CSV, as Arrow and as lines of JSON, which must agree."""
    url = f"{stack.endpoints.gateway}/api/v1/series:export"
    texts = {form: httpx.get(url, params={"parents": trial, "format": form}).content for form in ("csv", "ndjson")}
    rows = list(csv.DictReader(io.StringIO(texts["csv"].decode(), newline="")))
    lines = [json.loads(line) for line in texts["ndjson"].splitlines()]
    table: pa.Table = read_series(stack.client, trial)
    found = dict(zip(table["key"].to_pylist(), table["value"].to_pylist(), strict=True))
    assert {row["key"]: float(row["value"]) for row in rows} == {row["key"]: row["value"] for row in lines} == found
    return {key: value for key, value in found.items() if not key.startswith("system/")}


def by_mlflow(stack: StackProcess, values: dict[str, float]) -> dict[str, float]:
    """Log them as an MLflow client does, and read its run, its histories, and the run by its metrics."""
    with httpx.Client(base_url=f"{stack.endpoints.gateway}/mlflow/api/2.0/mlflow", timeout=60) as http:
        made = http.post("/runs/create", json={"experiment_id": "0", "run_name": "names"}).json()["run"]["info"]
        now = time.time_ns() // 1_000_000
        metrics = [{"key": key, "value": value, "timestamp": now, "step": 0} for key, value in values.items()]
        answer = http.post("/runs/log-batch", json={"run_id": made["run_id"], "metrics": metrics})
        assert answer.status_code == 200, answer.text
        run = http.get("/runs/get", params={"run_id": made["run_id"]}).json()["run"]
        for key in list(values)[:: len(values) // 5]:
            history = http.get("/metrics/get-history", params={"run_id": made["run_id"], "metric_key": key}).json()
            assert [(point["key"], point["value"]) for point in history["metrics"]] == [(key, values[key])]
        search = {"experiment_ids": ["0"], "filter": "metrics.`recall@iou>0.5` = 0 and metrics.损失 = 2"}
        assert made["run_id"] in [r["info"]["run_id"] for r in http.post("/runs/search", json=search).json()["runs"]]
        http.post("/runs/update", json={"run_id": made["run_id"], "status": "FINISHED"})
    return {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}


FACTS = """
import milepost
trial = milepost.init("facts", snapshots={"keep_best": {"metric": "eval/gro\\u0308ße", "mode": "max"}})
for step in range(1, 4):
    trial.log({"train": {"loss": 1.0 / step, "损失": float("nan")}, 7: step})
    with trial.evaluation() as evaluation:
        evaluation.log({"eval": {"größe": step}, "e\\u0301": 0.5})
trial.log({"train/loss": 9.0}, step=2)
trial.log({"train/loss": 8.0, "x\\ny": 1.0}, step=3)
milepost.finish()
print(f"runtimes/{trial.runtime_id}")
"""


def test_names_in_the_facts_of_a_run_are_those_of_its_series(stack: StackProcess) -> None:
    """The metric of `keep_best` in another form, values of an evaluation and nested ones, an alert, a late value."""
    name = run_script(stack, FACTS, 18)
    assert stack.runtime(name).configuration.snapshots.keep_best.metric == "eval/größe"
    until(lambda: stack.trial(name).HasField("best"), "the best value is known")
    told = stack.trial(name)
    assert (told.best.metric, told.best.value, told.best.step) == ("eval/größe", 3.0, 3)
    assert told.last_values["train/loss"] == 8.0, "the newest value of the last step"
    listed = stack.client.metrics.ListSeries(metric_api.ListSeriesRequest(parent=f"{name}/trials/1")).series
    lasts = {series.key: series.last for series in listed if not series.key.startswith("system/")}
    assert lasts == {
        "train/loss": 8.0, "train/损失": lasts["train/损失"], "7": 3.0, "eval/größe": 3.0, "é": 0.5, key_of("x\ny"): 1.0,
    }  # fmt: skip
    alerts = [event.trial_event.alert_raised.series for event in stack.events(name) if "alert" in event.type.lower()]
    assert alerts == ["train/损失"], sorted({event.type for event in stack.events(name)})

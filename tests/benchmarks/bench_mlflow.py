"""`runs/search` of 150 runs through MLflow's calls here, and with a stock server on SQLite: the same runs, the same client."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.parts.figures import report
from tests.benchmarks.parts.peers import PYTHON, ROOT
from tests.e2e.stack import StackProcess, until
from tests.support.servers.mlflow_server import running_mlflow

RUNS = 150
# The environment of `make test-integrations` has the same version.
BINARIES = PYTHON.parent if PYTHON.exists() else ROOT / ".venv-integrations" / "bin"
SEARCHES = 15
TARGET = "at most 2x of a stock server"


def make(http: httpx.Client) -> str:
    """Make an experiment with runs that have ended. Returns its id."""

    def post(path: str, **body: Any) -> Any:
        answer = http.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    experiment: str = post("experiments/create", name=f"bench {time.time_ns()}")["experiment_id"]
    for index in range(RUNS):
        made = post(
            "runs/create", experiment_id=experiment, run_name=f"run {index}", start_time=1_700_000_000_000 + index
        )
        run_id = made["run"]["info"]["run_id"]
        metrics = [
            {"key": f"metric {key}", "value": index / (key + 1), "step": step, "timestamp": 1_700_000_000_000 + step}
            for key in range(10)
            for step in range(10)
        ]
        params = [{"key": f"parameter {key}", "value": str(index * key)} for key in range(10)]
        post("runs/log-batch", run_id=run_id, metrics=metrics, params=params)
        post("runs/update", run_id=run_id, status="FINISHED", end_time=1_700_000_100_000)
    return experiment


def search(http: httpx.Client, experiment: str) -> float:
    """Search once. Returns milliseconds."""
    began = time.perf_counter()
    order = ["metrics.`metric 1` DESC"]
    answer = http.post("runs/search", json={"experiment_ids": [experiment], "max_results": 1_000, "order_by": order})
    seconds = time.perf_counter() - began
    runs = answer.json()["runs"]
    assert len(runs) == RUNS and len(runs[0]["data"]["metrics"]) == 10, answer.text[:500]
    return 1_000 * seconds


def measure(address: str) -> tuple[float, list[float], httpx.Client, str]:
    """Make runs, and search. Returns milliseconds to make one, those of the searches, the client, and the experiment."""
    http = httpx.Client(base_url=f"{address}/api/2.0/mlflow/", timeout=120.0)
    began = time.perf_counter()
    experiment = make(http)
    making = 1_000 * (time.perf_counter() - began) / RUNS
    search(http, experiment)
    return making, [search(http, experiment) for _ in range(SEARCHES)], http, experiment


def main() -> int:
    if not (BINARIES / "mlflow").exists():
        print("MLflow is not installed (make .venv-peers): nothing to compare with", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        with running_mlflow(BINARIES, Path(folder)) as address:
            their_making, theirs, http, _ = measure(address)
            http.close()
        stack = StackProcess(Path(folder) / "data").start()
        try:
            making, ours, http, experiment = measure(f"{stack.endpoints.gateway}/mlflow")
            report("mlflow.search_150_runs", ours, "ms", TARGET, peer="mlflow 3.17", peer_values=theirs)
            stack.kill("gateway")
            until(lambda: _answers(stack), "the gateway is back")
            cold = search(http, experiment)
            report(
                "mlflow.first_search_of_a_gateway",
                cold,
                "ms",
                "",
                peer="mlflow 3.17",
                peer_values=statistics.median(theirs),
            )
            report("mlflow.make_a_run", making, "ms", "", peer="mlflow 3.17", peer_values=their_making)
            http.close()
        finally:
            stack.stop()
    return 0


def _answers(stack: StackProcess) -> bool:
    try:
        return httpx.get(f"{stack.endpoints.gateway}/readyz").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main())

"""`kill -9` of the trainer and of the metric service while a run logs samples: each once, as in a run that nobody disturbs."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.cli.runs.following import ENDED
from milepost.errors import MilepostError, Unavailable
from tests.e2e.stack import FREE_PORTS, StackProcess, until
from tests.support.servers.ports import free_ports

SEED = 27
KILLS = 6
STEPS = 150
SETTLE_SECONDS = 180.0
LOOP = """
import random, time

def train(trial, seconds):
    saved = trial.restore() or {"sum": 0.0}
    trial.plan(total_steps=150)
    for step in range(trial.step + 1, 151):
        time.sleep(seconds)
        saved["sum"] += random.Random(step).random()
        trial.log({"train/loss": saved["sum"]})
        if step % 3 == 0:
            rows = [{"prompt": f"p{n}", "completion": f"{step}: {saved['sum']!r} " + "x" * 2000, "reward": saved["sum"] * n,
                     "group": "g"} for n in range(8)]
            trial.samples("eval/samples", rows)
        trial.histogram("sums", [saved["sum"] * n for n in range(20)], bins=8)
        trial.maybe_snapshot(lambda: dict(saved))
"""


def started(stack: StackProcess, folder: Path, name: str, seconds: float) -> str:
    (folder / "loop.py").write_text(LOOP)
    configuration = {
        "name": name,
        "entrypoint": "loop.py:train",
        "working_directory": str(folder),
        "parameters": {"seconds": seconds},
        "snapshots": {"every_steps": 7},
        "retries": {"max_retries": 50, "backoff_seconds": 0.1},
    }
    return stack.client.start_runtime(json.dumps(configuration)).name


def rows_of(stack: StackProcess, name: str) -> list[tuple[object, ...]]:
    """Read everything that counts, by series and step, as it was logged; without who logged it when."""
    request = metric_api.ListSamplesRequest(parents=[f"{name}/trials/1"], page_size=100, oldest_first=True)
    found = []
    while True:
        answer = stack.client.metrics.ListSamples(request)
        for one in answer.samples:
            row = one.row
            scores = tuple((score.name, score.value) for score in row.scores)
            found.append((row.key, row.step, row.prompt, row.completion, scores, tuple(row.edges), tuple(row.counts)))
        if not answer.next_page_token:
            return sorted(found)
        request.page_token = answer.next_page_token


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_samples_are_there_once_whatever_is_killed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    # Ports of their own: those that are usual would go to another stack of this machine while a service is dead.
    runtime_port, metrics_port = free_ports(2)
    ports = [f"--runtime-listen=127.0.0.1:{runtime_port}", f"--metrics-listen=127.0.0.1:{metrics_port}"]
    stack = StackProcess(tmp_path / "data", [*FREE_PORTS, *ports])
    killed: Counter[str] = Counter()
    try:
        stack.start()
        whole = started(stack, tmp_path, "undisturbed", 0.0)
        assert stack.wait_for_end(whole).status == api.RUNTIME_STATUS_COMPLETED
        name = started(stack, tmp_path, "killed", 0.1)
        for number in range(KILLS):
            stack.wait_for_step(name, 20 * number + 15)
            time.sleep(chance.uniform(0.0, 1.0))
            if number % 2:
                for trainer in stack.trainers():
                    with suppress(psutil.NoSuchProcess):
                        trainer.kill()
                        killed["trainer"] += 1
            with suppress(psutil.NoSuchProcess, StopIteration):
                stack.kill("metrics")
                killed["metrics"] += 1

        def end() -> api.Runtime | None:
            with suppress(MilepostError):
                found = stack.client.runtimes.GetRuntime(api.GetRuntimeRequest(name=name), timeout=5).runtime
                return found if found.phase in ENDED else None
            return None

        assert until(end, "the run ends", SETTLE_SECONDS).status == api.RUNTIME_STATUS_COMPLETED
        wanted = rows_of(stack, whole)
        assert Counter(row[0] for row in wanted) == {"eval/samples": 8 * STEPS // 3, "sums": STEPS}

        def everything() -> list[tuple[object, ...]] | None:
            with suppress(Unavailable):
                found = rows_of(stack, name)
                return found if len(found) >= len(wanted) else None
            return None

        assert until(everything, "everything is stored", SETTLE_SECONDS) == wanted
        attempts = {one.attempt for one in stack.client.metrics.ListSamples(
            metric_api.ListSamplesRequest(parents=[f"{name}/trials/1"], page_size=1000, keys=["sums"])
        ).samples}  # fmt: skip
        assert killed["metrics"] >= 3 and killed["trainer"] >= 2 and len(attempts) >= 2, (killed, attempts)
        print(dict(killed), f"{len(wanted):,} rows of {len(attempts)} attempts are those of an undisturbed run")
    finally:
        stack.end()

"""The runtime service is killed in each phase of a run on Slurm: one job for each attempt, and every step once."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.cli.exits import Exit
from milepost.errors import Unavailable
from tests.e2e.stack import FREE_PORTS, ROOT, StackProcess, broken_links, until
from tests.support.clusters.slurm_cluster import SlurmCluster, need_slurm, running_slurm

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
PROJECT = ROOT / "tests" / "assets" / "contract_project"
STEPS = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    need_slurm()
    with running_slurm(nodes=1, cpus=2) as cluster:
        yield cluster


@pytest.fixture
def stack(cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StackProcess]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    setup = tmp_path / "setup.sh"
    setup.write_text(f"export PYTHONPATH={ROOT} OMP_NUM_THREADS=1\n")
    flags = [
        "--slurm-command=local",
        f"--slurm-python={sys.executable}",
        f"--slurm-work-dir={tmp_path / 'node'}",
        f"--slurm-setup={setup}",
    ]
    made = StackProcess(tmp_path / "data", [*FREE_PORTS, *flags])
    try:
        yield made.start()
    finally:
        cluster.try_run("scancel", "--me")
        made.end()


def start(stack: StackProcess, folder: Path, **changes: Any) -> str:
    configuration = {
        "name": "killed",
        "entrypoint": "trainer.py:train",
        "launcher": "slurm",
        "parameters": {"steps": STEPS, "step_seconds": 0.1},
        "snapshots": {"every_steps": 20},
        **changes,
    }
    file = folder / "run.json"
    file.write_text(json.dumps(configuration))
    started = stack.milepost("runtime", "start", str(file), "--code", str(PROJECT), "-o", "json")
    assert started.returncode == Exit.OK, started.stderr
    return str(json.loads(started.stdout)["name"])


def kill(stack: StackProcess, name: str) -> None:
    """Kill the runtime service, and wait until the next one answers."""
    stack.kill("runtime")

    def answers() -> bool:
        try:
            stack.runtime(name)
        except Unavailable:
            return False
        return True

    until(answers, "the runtime service is started again")


def launched(stack: StackProcess, name: str) -> list[Any]:
    events = stack.events(name)
    return [e.trial_event.attempt_launched for e in events if e.trial_event.HasField("attempt_launched")]


def each_step_once(stack: StackProcess, name: str) -> bool:
    return sorted(stack.series(name, "train/total")) == list(range(1, STEPS + 1))


def test_killed_at_every_instant_of_a_start_it_submits_one_job(
    stack: StackProcess, cluster: SlurmCluster, tmp_path: Path
) -> None:
    for pause in (0.0, 0.05, 0.15, 0.4, 1.0):
        name = start(stack, tmp_path)
        time.sleep(pause)
        kill(stack, name)
        ended = stack.wait_for_end(name, 300)
        assert ended.status == api.RUNTIME_STATUS_COMPLETED, ended.reason
        assert len(launched(stack, name)) == 1
        named = f"milepost-{name.partition('/')[2]}-trial-1-attempt-1"
        assert len(cluster.job_ids(named)) == 1
        until(partial(each_step_once, stack, name), "each step is there once")
        assert broken_links(stack.events(name)) == []


def test_killed_while_a_job_waits_runs_and_stops_it_forgets_nothing(
    stack: StackProcess, cluster: SlurmCluster, tmp_path: Path
) -> None:
    cluster.run("scontrol", "update", "partitionname=main", "state=down")
    name = start(stack, tmp_path, parameters={"steps": 100_000, "step_seconds": 0.05})
    until(lambda: "starts none" in stack.runtime(name).reason, "it waits, and says for what")
    kill(stack, name)
    cluster.run("scontrol", "update", "partitionname=main", "state=up")
    stack.wait_for_step(name, 5)
    kill(stack, name)
    stack.wait_for_step(name, 40)
    assert stack.milepost("runtime", "stop", name, "--reason", "lunch").returncode == Exit.OK
    kill(stack, name)
    stopped = stack.wait_for_end(name, 300)
    assert stopped.status == api.RUNTIME_STATUS_ABORTED, stopped.reason
    assert stack.milepost("runtime", "resume", name).returncode == Exit.OK
    until(lambda: len(launched(stack, name)) == 2 or None, "it goes on")
    assert launched(stack, name)[1].snapshot_step >= 40
    assert stack.milepost("runtime", "stop", name, "--abrupt").returncode == Exit.OK
    kill(stack, name)
    stack.wait_for_end(name, 300)
    until(lambda: not cluster.run("squeue", "--noheader", "--format=%A"), "no job is left in Slurm")
    assert broken_links(stack.events(name)) == []

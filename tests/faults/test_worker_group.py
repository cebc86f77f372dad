"""Parts of a worker group that die: the attempt ends with a cause, the scheduler alone retries, and nothing is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.runs import TINY, small
from tests.e2e.stack import StackProcess, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

STEPS = 360
GROUP_SECONDS = 400.0
# docs/reliability.md, faults to survive.
FENCED_SECONDS = 45.0
ORPHAN_SECONDS = 75.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    running = StackProcess(tmp_path_factory.mktemp("stack") / "data")
    try:
        yield running.start()
    finally:
        running.end()


def group(name: str) -> str:
    return small(
        name=name,
        parameters=TINY,
        resources={"workers": 2, "cpus_per_worker": 1},
        snapshots={"every_steps": 40, "keep_last": 5},
        retries={"max_retries": 3, "backoff_seconds": 1},
    )


@pytest.fixture(scope="module")
def undisturbed(stack: StackProcess) -> dict[int, float]:
    """The loss of a run that nothing interrupted."""
    started = stack.client.start_runtime(group("undisturbed"))
    ended = stack.wait_for_end(started.name, GROUP_SECONDS)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    return until(lambda: _complete(stack, started.name), "all steps are stored")


def _complete(stack: StackProcess, name: str) -> dict[int, float] | None:
    points = stack.series(name, "train/loss")
    return points if sorted(points) == list(range(1, STEPS + 1)) else None


def processes_of(folder: Path) -> list[psutil.Process]:
    """Everything that an attempt started, its driver included."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MILEPOST_ATTEMPT_DIRECTORY") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def victim(folder: Path, kind: str, ranks: dict[int, int]) -> psutil.Process:
    if kind.startswith("rank"):
        return psutil.Process(ranks[int(kind[-1])])
    mark = {"driver": "trainer", "host": "trainer.on_ray.ray_host"}.get(kind)
    for process in processes_of(folder):
        if (mark and mark in process.cmdline()) or process.name() == kind:
            return process
    raise AssertionError(f"no {kind} among {[p.cmdline()[:4] for p in processes_of(folder)]}")


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("rank0", "rank 0: its process was killed or crashed"),
        ("rank1", "rank 1: its process was killed or crashed"),
        ("driver", "the driver was killed by SIGKILL"),
        ("host", "the process that drives Ray was killed by SIGKILL"),
        ("raylet", "Ray's raylet was killed by SIGKILL"),
        ("gcs_server", "Ray's GCS was killed by SIGKILL"),
    ],
)
def test_whatever_is_killed_the_run_goes_on_from_its_snapshot(
    stack: StackProcess, undisturbed: dict[int, float], kind: str, detail: str
) -> None:
    runtime = stack.client.start_runtime(group(f"without {kind}"))
    folder = stack.data_dir / "runtimes" / runtime.runtime_id / "trial-1" / "attempt-1"

    def facts(field: str) -> list[object]:
        found = [event.trial_event for event in stack.events(runtime.name) if event.HasField("trial_event")]
        return [getattr(event, field) for event in found if event.HasField(field)]

    until(lambda: facts("snapshot_committed") or None, "a snapshot is committed", GROUP_SECONDS)
    ranks = {one.rank: one.process_id for one in facts("instance_started")}  # type: ignore[attr-defined]
    victim(folder, kind, ranks).kill()
    began = time.monotonic()
    retry = until(lambda: facts("retry_scheduled") or None, "a retry is scheduled", FENCED_SECONDS)[0]
    assert (retry.cause, retry.retry) == (common.EXIT_CAUSE_SIGNAL, 1), retry  # type: ignore[attr-defined]
    assert detail in retry.detail  # type: ignore[attr-defined]
    until(lambda: not processes_of(folder), "nothing of it is left", ORPHAN_SECONDS - (time.monotonic() - began))

    ended = stack.wait_for_end(runtime.name, GROUP_SECONDS)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    launches = facts("attempt_launched")
    assert len(launches) == 2
    assert launches[1].snapshot_step > 0  # type: ignore[attr-defined]
    assert until(lambda: _complete(stack, runtime.name), "all steps are stored") == undisturbed


def test_a_group_stops_at_one_step_and_is_resumed(stack: StackProcess, undisturbed: dict[int, float]) -> None:
    runtime = stack.client.start_runtime(group("stopped"))
    stack.wait_for_step(runtime.name, 60)
    stopped = stack.milepost("runtime", "stop", "--wait", runtime.runtime_id)
    assert stopped.returncode == 0, stopped.stderr
    assert stack.runtime(runtime.name).status == runtime_api.RUNTIME_STATUS_ABORTED
    assert stack.milepost("runtime", "resume", runtime.runtime_id).returncode == 0
    ended = stack.wait_for_end(runtime.name, GROUP_SECONDS)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    assert until(lambda: _complete(stack, runtime.name), "all steps are stored") == undisturbed

"""A run on a Ray cluster that asks for its token, from a folder of the client's, through everything that may happen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.training.v1 import launch_service_pb2 as launch_api
from milepost.api.training.v1.launch_service_pb2_grpc import LaunchServiceStub
from milepost.cli.exits import Exit
from tests.e2e.stack import FREE_PORTS, ROOT, StackProcess, broken_links, until
from tests.support.servers.listening import beyond_loopback, listening
from tests.support.servers.ray_cluster import RayCluster, running_cluster

PROJECT = ROOT / "tests" / "assets" / "cluster_project"
SECRET = "correct-horse-battery"
STEPS = 130
LOOPS = ROOT / "tests" / "assets" / "loops.py"
EPOCHS = 40
# A group takes 15 to 30 s to start on two busy cores.
GROUP_SECONDS = 300.0

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def stack(cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StackProcess]:
    monkeypatch.setenv("MILEPOST_SECRET_PASSWORD", SECRET)
    flags = [
        f"--ray-address={cluster.address}",
        f"--ray-token-file={cluster.token_file}",
        f"--ray-python={sys.executable}",
        f"--ray-work-dir={tmp_path / 'node'}",
    ]
    made = StackProcess(tmp_path / "data", [*FREE_PORTS, *flags])
    try:
        yield made.start()
    finally:
        made.end()


def start(stack: StackProcess, folder: Path, code: Path = PROJECT, **changes: Any) -> str:
    configuration = {
        "name": "on a cluster",
        "entrypoint": "trainer.py:train",
        "launcher": "ray",
        "parameters": {"steps": STEPS, "step_seconds": 0.1},
        "snapshots": {"every_steps": 20},
        "environment": {"PASSWORD": {"secret": "PASSWORD"}},
        **changes,
    }
    file = folder / "run.json"
    file.write_text(json.dumps(configuration))
    started = stack.milepost("runtime", "start", str(file), "--code", str(code), "-o", "json")
    assert started.returncode == Exit.OK, started.stderr
    return str(json.loads(started.stdout)["name"])


def expected_losses() -> dict[int, float]:
    """The same training, without anything around it."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = {}
    for step in range(1, STEPS + 1):
        loss = model(torch.randn(4, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[step] = loss.item()
    return losses


def claim_again(address: str, job: dict[str, Any]) -> grpc.StatusCode:
    """Try to get a launch with the ticket that everybody who looks at the job can see."""
    ticket = job["runtime_env"]["env_vars"]["MILEPOST_LAUNCH_TICKET"]
    with grpc.insecure_channel(address) as channel:
        stub: Any = LaunchServiceStub(channel)
        request = launch_api.ClaimLaunchRequest(claim_id="0" * 32)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ClaimLaunch(request, metadata=[("authorization", f"Bearer {ticket}")], timeout=20)
    return refused.value.code()  # type: ignore[attr-defined]


def test_a_run_on_a_cluster_is_adopted_stopped_resumed_and_completed(
    stack: StackProcess, cluster: RayCluster, tmp_path: Path
) -> None:
    name = start(stack, tmp_path)
    stack.wait_for_step(name, 5)

    stack.kill("runtime")
    until(lambda: stack.part("runtime"), "the runtime service is started again")
    stack.wait_for_step(name, 25)
    [running] = cluster.ask("/api/jobs/")
    assert running["status"] == "RUNNING"
    assert claim_again(stack.endpoints.runtime, running) is grpc.StatusCode.FAILED_PRECONDITION

    assert stack.milepost("runtime", "stop", name, "--reason", "lunch").returncode == Exit.OK
    stopped = stack.wait_for_end(name)
    assert stopped.status == runtime_api.RUNTIME_STATUS_ABORTED, stopped.reason
    assert stack.milepost("runtime", "resume", name).returncode == Exit.OK
    ended = stack.wait_for_end(name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason

    events = stack.events(name)
    assert broken_links(events) == []
    launches = [e.trial_event.attempt_launched for e in events if e.trial_event.HasField("attempt_launched")]
    assert [launched.attempt for launched in launches] == [1, 2]
    assert launches[1].snapshot_step >= 25, "the graceful stop lost nothing"
    jobs = cluster.ask("/api/jobs/")
    assert {job["submission_id"].rpartition("-trial-")[2] for job in jobs} == {"1-attempt-1", "1-attempt-2"}
    assert {job["status"] for job in jobs} == {"SUCCEEDED"}

    def all_stored() -> bool:
        complete = stack.completeness(name)
        # A run of more than 10 s tells of its machine too.
        return complete.sent_points == complete.stored_points >= STEPS

    until(all_stored, "sent = stored")
    assert stack.series(name, "train/loss") == expected_losses(), "bit-identical to the loop by itself"
    logs = stack.client.logs.QueryLogs(log_api.QueryLogsRequest(parent=name, page_size=1_000))
    assert "the secret is [secret PASSWORD]" in [entry.text for entry in logs.entries]
    shown = json.dumps(jobs) + "".join(p.read_text(errors="replace") for p in cluster.directory.rglob("job-driver-*"))
    assert SECRET not in shown
    assert "NKEY" not in shown
    assert not list((tmp_path).glob("node-*/runtimes/*/*/*")), "nothing is left on the node"


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_worker_group_on_a_cluster_loses_a_rank_is_stopped_and_resumed(
    stack: StackProcess, cluster: RayCluster, tmp_path: Path
) -> None:
    """The job joins its cluster; the workers are the cluster's, and what they do is as on one machine."""

    def facts(field: str) -> list[Any]:
        found = [event.trial_event for event in stack.events(name) if event.HasField("trial_event")]
        return [getattr(event, field) for event in found if event.HasField(field)]

    name = start(
        stack,
        tmp_path,
        LOOPS.parent,
        entrypoint=f"{LOOPS.name}:ddp",
        parameters={"step_seconds": 0.05, "epochs": EPOCHS},
        resources={"workers": 2, "cpus_per_worker": 1},
        retries={"max_retries": 2, "backoff_seconds": 0.1},
    )
    until(lambda: facts("snapshot_committed") or None, "a snapshot is committed", GROUP_SECONDS)
    assert not beyond_loopback(listening(cluster.processes()))
    ranks = {one.rank: one.process_id for one in facts("instance_started")}
    psutil.Process(ranks[1]).kill()
    retry = until(lambda: facts("retry_scheduled") or None, "a retry is scheduled", GROUP_SECONDS)[0]
    assert (retry.cause, retry.retry) == (common.EXIT_CAUSE_SIGNAL, 1), retry
    assert "rank 1: its process was killed" in retry.detail
    until(lambda: not psutil.pid_exists(ranks[0]), "the other rank is gone too", 75)
    second = until(lambda: facts("attempt_launched")[1:] or None, "it goes on", GROUP_SECONDS)[0]
    until(
        lambda: stack.trial(name).progress.step >= second.snapshot_step + 30, "the second attempt trains", GROUP_SECONDS
    )

    assert stack.milepost("runtime", "stop", name, "--reason", "lunch").returncode == Exit.OK
    stopped = stack.wait_for_end(name)
    assert stopped.status == runtime_api.RUNTIME_STATUS_ABORTED, stopped.reason
    assert stack.milepost("runtime", "resume", name).returncode == Exit.OK
    ended = stack.wait_for_end(name, GROUP_SECONDS)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    assert [launched.attempt for launched in facts("attempt_launched")] == [1, 2, 3]
    assert facts("attempt_launched")[2].snapshot_step > second.snapshot_step, "the graceful stop lost nothing"
    assert {one.world_size for one in facts("attempt_started")} == {2}
    assert broken_links(stack.events(name)) == []
    # The loop has 8 steps in an epoch.
    steps = list(range(1, 8 * EPOCHS + 1))
    until(lambda: sorted(stack.series(name, "train/loss")) == steps, "each step is there once")
    left = [p.cmdline() for p in cluster.processes() if "trainer.on_ray.ray_host" in p.cmdline()]
    assert not left
    assert not list(tmp_path.glob("node-*/runtimes/*/*/*")), "nothing is left on the node"

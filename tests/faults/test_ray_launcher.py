"""Deaths on a real Ray cluster: of a driver, of a job, of the whole cluster; and a token that is wrong."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
import pytest

from milepost import code_archive
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.installation.settings import collect
from services.access.guard import open_access
from services.runtime.launchers.ray import RayOptions
from tests.integration.runtime.harness import Stack, refusal, running
from tests.support.servers.ray_cluster import RayCluster, running_cluster
from tests.support.servers.servers import NatsServer, running_nats

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
PROJECT = Path(__file__).resolve().parents[1] / "assets" / "cluster_project"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path / "nats") as nats:
        yield nats


@asynccontextmanager
async def serving(nats: NatsServer, cluster: RayCluster, folder: Path, token_file: Path) -> AsyncIterator[Stack]:
    data_dir = folder / "data"
    settings = collect({"data_dir": str(data_dir), "runtime_listen": "127.0.0.1:0"}, {})
    options = RayOptions(cluster.address, token_file, python=sys.executable, work_dir=str(folder / "node"))
    changes = {"ray": options, "keys_dir": data_dir / "keys", "open_access": partial(open_access, settings, "runtime")}
    async with running(nats, data_dir, **changes) as stack:
        yield stack


@pytest.fixture
async def stack(nats: NatsServer, cluster: RayCluster, tmp_path: Path) -> AsyncIterator[Stack]:
    async with serving(nats, cluster, tmp_path, cluster.token_file) as stack:
        yield stack


async def start(stack: Stack, **changes: Any) -> api.Runtime:
    code = code_archive.pack(PROJECT, stack.data_dir / "code")
    configuration = {
        "name": "on a cluster",
        "entrypoint": "trainer.py:train",
        "launcher": "ray",
        "code": {"uri": code.uri, "digest": code.digest},
        "parameters": {"steps": 100_000, "step_seconds": 0.05},
        "snapshots": {"every_steps": 10},
        "retries": {"max_retries": 2, "backoff_seconds": 0.1},
        **changes,
    }
    answer = await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=json.dumps(configuration)))
    return answer.runtime


async def wait_for_snapshots(stack: Stack, name: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while (await stack.types(name)).count("snapshot_committed") < count:
        assert time.monotonic() < deadline, "\n".join(await stack.story(name))
        await asyncio.sleep(0.1)


def processes_of(cluster: RayCluster, module: str) -> list[psutil.Process]:
    """Processes of the cluster's jobs that run a module."""
    found = []
    for process in cluster.processes():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if module in words and words[0] != "/bin/sh":
            found.append(process)
    return found


async def fences(stack: Stack, name: str) -> list[Any]:
    events = await stack.events(name)
    return [e.trial_event.attempt_fenced for e in events if e.trial_event.HasField("attempt_fenced")]


async def launches(stack: Stack, name: str) -> list[Any]:
    events = await stack.events(name)
    return [e.trial_event.attempt_launched for e in events if e.trial_event.HasField("attempt_launched")]


async def end(stack: Stack, name: str) -> None:
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(name)


def ask_to_stop(cluster: RayCluster, job: str) -> None:
    """What `ray job stop` does."""
    headers = {"Authorization": f"Bearer {cluster.token_file.read_text()}"}
    request = urllib.request.Request(f"{cluster.address}/api/jobs/{job}/stop", b"", headers, method="POST")
    urllib.request.urlopen(request, timeout=20).close()


@pytest.mark.parametrize("victim", ["trainer", "trainer.job", "job stop"])
async def test_a_death_on_the_cluster_is_typed_and_goes_on_from_the_last_snapshot(
    stack: Stack, cluster: RayCluster, victim: str
) -> None:
    runtime = await start(stack)
    await wait_for_snapshots(stack, runtime.name, 2)
    if victim == "job stop":
        ask_to_stop(cluster, f"milepost-{runtime.runtime_id}-trial-1-attempt-1")
    else:
        [process] = processes_of(cluster, victim)
        process.kill()
    await stack.wait_event(runtime.name, "attempt_launched", 2)
    [fence] = await fences(stack, runtime.name)
    assert fence.cause == common.EXIT_CAUSE_SIGNAL, fence.detail
    second = (await launches(stack, runtime.name))[1]
    assert second.snapshot_step >= 20
    await wait_for_snapshots(stack, runtime.name, 4)
    assert len(processes_of(cluster, "trainer")) == len(processes_of(cluster, "milepost.training.process.worker")) == 1
    await end(stack, runtime.name)
    assert processes_of(cluster, "milepost.training.process.worker") == []


async def test_an_abrupt_stop_and_a_deletion_reach_the_cluster(stack: Stack, cluster: RayCluster) -> None:
    runtime = await start(stack)
    await wait_for_snapshots(stack, runtime.name, 1)
    await end(stack, runtime.name)
    assert processes_of(cluster, "trainer.job") == processes_of(cluster, "trainer") == []
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name))
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
    assert runtime.runtime_id not in str(cluster.ask("/api/jobs/"))


async def test_an_entrypoint_that_fails_says_why(stack: Stack) -> None:
    runtime = await start(stack, parameters={"no_such_parameter": 1})
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_FAILED
    assert "no_such_parameter" in ended.reason


async def test_what_does_not_fit_waits_or_is_refused(stack: Stack) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await start(stack, resources={"cpus_per_worker": 3})
    assert refusal(error.value) == ("RESOURCE_EXHAUSTED", "INFEASIBLE_RESOURCES")
    first = await start(stack, resources={"cpus_per_worker": 2})
    await wait_for_snapshots(stack, first.name, 1)
    second = await start(stack)
    await stack.wait(second.name, lambda r: r.queue_position == 1 and "CPU" in r.reason, "it waits")
    await end(stack, first.name)
    await wait_for_snapshots(stack, second.name, 1)
    await end(stack, second.name)


async def test_a_wrong_token_is_said_to_be_wrong(nats: NatsServer, cluster: RayCluster, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.touch(mode=0o600)
    token_file.write_text("not the token of this cluster")
    async with serving(nats, cluster, tmp_path, token_file) as stack:
        with pytest.raises(grpc.aio.AioRpcError, match="refuses the token") as error:
            await start(stack)
        assert refusal(error.value) == ("FAILED_PRECONDITION", "RAY_TOKEN_REFUSED")


@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
async def test_a_cluster_that_dies_leaves_no_orphan_and_the_run_ends_typed(
    nats: NatsServer, tmp_path: Path, victim: str
) -> None:
    """One machine is the whole cluster here, so nothing can go on; what matters is that nothing runs wild."""
    with running_cluster() as cluster:
        async with serving(nats, cluster, tmp_path, cluster.token_file) as stack:
            runtime = await start(stack, retries={"max_retries": 0})
            await wait_for_snapshots(stack, runtime.name, 1)
            family = cluster.processes()
            job = [p for module in ("trainer.job", "trainer") for p in processes_of(cluster, module)]
            next(p for p in family if p.name() == victim).kill()
            if victim == "gcs_server":
                # Without it the job lives on until its raylet gives up; Milepost needs neither to stop it.
                await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, reason="the cluster is gone"))
            # Two snapshots wait ten seconds each for a metric service that is not here, and the end of the job is waited for.
            ended = await stack.wait_ended(runtime.name, 150.0)
            if victim == "raylet":
                assert ended.status == api.RUNTIME_STATUS_FAILED
                [fence] = await fences(stack, runtime.name)
                assert fence.cause == common.EXIT_CAUSE_LOST, fence.detail
            else:
                assert ended.status == api.RUNTIME_STATUS_ABORTED
            deadline = time.monotonic() + 75
            while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in job):
                assert time.monotonic() < deadline, [p.cmdline() for p in job if p.is_running()]
                await asyncio.sleep(0.2)

"""The runtime service with a cluster: what is submitted, who gets a launch, and what happens while it is away.

The cluster is played; runs on a real one are in tests/e2e/lifecycle/test_ray_launcher.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.training.v1 import launch_service_pb2 as launch_api
from milepost.api.training.v1.launch_service_pb2_grpc import LaunchServiceStub
from milepost.installation.settings import collect
from services.access.guard import open_access
from services.runtime.launchers.ray import RayOptions
from tests.integration.runtime.harness import Stack, refusal, running
from tests.support.servers.job_server import JobServerOnTest, answering
from tests.support.servers.servers import NatsServer

CLAIM = "a" * 32
SECRET = "correct-horse-battery"


@pytest.fixture
def cluster() -> Iterator[JobServerOnTest]:
    with answering() as cluster:
        yield cluster


@asynccontextmanager
async def serving(nats: NatsServer, cluster: JobServerOnTest, folder: Path, **changes: Any) -> AsyncIterator[Stack]:
    data_dir = folder / "data"
    settings = collect({"data_dir": str(data_dir), "runtime_listen": "127.0.0.1:0"}, {})
    options = {
        "ray": RayOptions(cluster.address, nats_url="nats://seen-by-the-nodes:4222"),
        "keys_dir": data_dir / "keys",
        "open_access": partial(open_access, settings, "runtime"),
        "secrets": {"PASSWORD": SECRET}.get,
    }
    async with running(nats, data_dir, **{**options, **changes}) as stack:
        yield stack
        # The log is shared: what goes on would wait for the cluster of the next test.
        for runtime in (await stack.stub.ListRuntimes(api.ListRuntimesRequest(filter="status=Started"))).runtimes:
            await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
            await stack.wait_ended(runtime.name)


@pytest.fixture
async def stack(shared_nats: NatsServer, cluster: JobServerOnTest, tmp_path: Path) -> AsyncIterator[Stack]:
    async with serving(shared_nats, cluster, tmp_path) as stack:
        yield stack


async def start(stack: Stack, **changes: Any) -> api.Runtime:
    environment = {"PASSWORD": {"secret": "PASSWORD"}, "PLAIN": "yes"}
    return await stack.start(**{"launcher": "ray", "environment": environment, **changes})


async def submitted(stack: Stack, cluster: JobServerOnTest, runtime: api.Runtime) -> dict[str, Any]:
    """Wait for the job of the first attempt."""
    wanted = f"milepost-{runtime.runtime_id}-trial-1-attempt-1"
    await stack.wait(runtime.name, lambda _: wanted in cluster.jobs, "its job is submitted")
    return cluster.jobs[wanted]


async def claim(stack: Stack, ticket: str, claim_id: str = CLAIM) -> launch_api.ClaimLaunchResponse:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.application.port}") as channel:
        stub: Any = LaunchServiceStub(channel)
        metadata = [("authorization", f"Bearer {ticket}")] if ticket else []
        return await stub.ClaimLaunch(launch_api.ClaimLaunchRequest(claim_id=claim_id), metadata=metadata, timeout=20)


async def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value)


def ticket_of(job: dict[str, Any]) -> str:
    return str(job["runtime_env"]["env_vars"]["MILEPOST_LAUNCH_TICKET"])


async def test_a_job_carries_no_secret_and_its_ticket_is_good_for_one_claim(
    stack: Stack, cluster: JobServerOnTest
) -> None:
    runtime = await start(stack, resources={"cpus_per_worker": 2})
    job = await submitted(stack, cluster, runtime)
    assert SECRET not in str(job)
    assert (job["entrypoint"], job["entrypoint_num_cpus"]) == ("python -P -m trainer.job", 2)

    answer = await claim(stack, ticket_of(job))
    assert dict(answer.environment) == {"PASSWORD": SECRET, "PLAIN": "yes"}
    assert (answer.launch.runtime_id, answer.launch.attempt) == (runtime.runtime_id, 1)
    assert answer.launch.nats_url == "nats://seen-by-the-nodes:4222"
    assert (await claim(stack, ticket_of(job))).launch == answer.launch, "an answer that was lost is given again"
    assert await refused(claim(stack, ticket_of(job), "b" * 32)) == ("FAILED_PRECONDITION", "LAUNCH_CLAIMED")
    assert (await refused(claim(stack, ticket_of(job), "no!")))[0] == "INVALID_ARGUMENT"
    assert (await refused(claim(stack, ticket_of(job)[:-1])))[0] == "UNAUTHENTICATED"
    assert await refused(claim(stack, "")) == ("PERMISSION_DENIED", "TICKET_MISSING")

    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    assert job["status"] == "STOPPED"
    assert await refused(claim(stack, ticket_of(job))) == ("FAILED_PRECONDITION", "STALE_ATTEMPT")


async def test_a_deleted_runtime_leaves_nothing_on_the_cluster(stack: Stack, cluster: JobServerOnTest) -> None:
    runtime = await start(stack)
    await submitted(stack, cluster, runtime)
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name, force=True))
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
    deleted = f"/api/jobs/milepost-{runtime.runtime_id}-trial-1-attempt-1"
    assert ("DELETE", deleted, None) in cluster.seen


async def test_a_job_that_dies_is_retried_with_its_cause(stack: Stack, cluster: JobServerOnTest) -> None:
    runtime = await start(stack, retries={"max_retries": 1, "backoff_seconds": 0.1})
    job = await submitted(stack, cluster, runtime)
    await claim(stack, ticket_of(job))
    job.update(status="FAILED", message="the node went away", error_type="JOB_SUPERVISOR_ACTOR_DIED")
    await stack.wait_event(runtime.name, "retry_scheduled")
    events = await stack.events(runtime.name)
    [fenced] = [e.trial_event.attempt_fenced for e in events if e.trial_event.HasField("attempt_fenced")]
    assert (fenced.cause, "the node went away" in fenced.detail) == (common.EXIT_CAUSE_LOST, True)
    await stack.wait(runtime.name, lambda _: len(cluster.jobs) == 2, "the retry is submitted")


async def test_what_can_never_run_is_refused_at_once(stack: Stack, cluster: JobServerOnTest) -> None:
    await submitted(stack, cluster, await start(stack))
    for resources in ({"cpus_per_worker": 3}, {"gpus_per_worker": 1}, {"memory_gigabytes_per_worker": 9}):
        assert await refused(start(stack, resources=resources)) == ("RESOURCE_EXHAUSTED", "INFEASIBLE_RESOURCES")


async def test_a_refused_token_is_said_at_the_start_of_a_runtime(
    shared_nats: NatsServer, cluster: JobServerOnTest, tmp_path: Path
) -> None:
    cluster.used_cpus = 2.0
    async with serving(shared_nats, cluster, tmp_path) as stack:
        # The token is changed while a runtime waits for room.
        first = await start(stack)
        cluster.table["GET", "/api/v0/nodes?detail=1&limit=10000"] = (403, "Forbidden: Invalid authentication token")
        pending = await stack.wait(first.name, lambda r: "refuses" in r.reason, "it says why it waits")
        assert pending.pending_reason == facts.PENDING_REASON_LAUNCHER_UNAVAILABLE
        assert await refused(start(stack)) == ("FAILED_PRECONDITION", "RAY_TOKEN_REFUSED")
        del cluster.table["GET", "/api/v0/nodes?detail=1&limit=10000"]
        cluster.used_cpus = 0.0
        await submitted(stack, cluster, first)


async def test_while_others_use_the_cluster_a_runtime_waits_and_says_so(stack: Stack, cluster: JobServerOnTest) -> None:
    cluster.used_cpus = 2.0
    runtime = await start(stack)
    waits = await stack.wait(runtime.name, lambda r: r.queue_position == 1 and "CPU" in r.reason, "it waits for a CPU")
    assert waits.phase == api.RUNTIME_PHASE_QUEUED
    cluster.used_cpus = 0.0
    await submitted(stack, cluster, runtime)


async def test_a_service_that_has_lost_its_cluster_runs_what_needs_none(
    shared_nats: NatsServer, cluster: JobServerOnTest, tmp_path: Path
) -> None:
    cluster.used_cpus = 2.0
    data_dir = tmp_path / "data"
    ray = RayOptions(cluster.address, nats_url="nats://seen-by-the-nodes:4222")
    async with running(shared_nats, data_dir, ray=ray, keys_dir=data_dir / "keys") as stack:
        waits = await stack.start(launcher="ray")
        await stack.wait(waits.name, lambda r: "CPU" in r.reason, "it waits for a CPU")
    async with running(shared_nats, data_dir) as stack:
        local = await stack.start(parameters={"steps": 5})
        assert (await stack.wait_ended(local.name)).status == api.RUNTIME_STATUS_COMPLETED
        still = await stack.wait(waits.name, lambda r: "no launcher ray" in r.reason, "it says what is missing")
        assert still.pending_reason == facts.PENDING_REASON_LAUNCHER_UNAVAILABLE
        await stack.stub.StopRuntime(api.StopRuntimeRequest(name=waits.name))
        assert (await stack.wait_ended(waits.name)).status == api.RUNTIME_STATUS_ABORTED

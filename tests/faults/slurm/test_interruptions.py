"""Time limits, preemption, lost nodes, a controller that dies: on a real Slurm of two nodes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.names import AttemptKey
from services.runtime.launchers.jobs import job_id
from tests.integration.launchers.grounds import Slurm
from tests.integration.launchers.test_contract import alone, facts, nothing_runs, refusal, serving, start, stop
from tests.integration.runtime.harness import Stack
from tests.support.clusters.slurm_cluster import need_slurm, running_slurm
from tests.support.servers.servers import NatsServer, running_nats

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
SECONDS = 240.0


@pytest.fixture(scope="module")
def place() -> Iterator[Slurm]:
    need_slurm()
    with running_slurm(nodes=2, cpus=2) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        yield Slurm(cluster)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path / "nats") as nats:
        yield nats


@pytest.fixture
async def stack(nats: NatsServer, place: Slurm, tmp_path: Path) -> AsyncIterator[Stack]:
    async with serving(nats, place, tmp_path / "data") as stack:
        yield stack
        await stack.stop_all()


def slurm_id(place: Slurm, runtime: api.Runtime, attempt: int = 1) -> str:
    [found] = place.cluster.job_ids(job_id(AttemptKey(runtime.runtime_id, 1, attempt)))
    return found


async def happened(stack: Stack, name: str, kind: str, count: int = 1) -> list[Any]:
    deadline = time.monotonic() + SECONDS
    while len(found := await facts(stack, name, kind)) < count:
        assert time.monotonic() < deadline, "\n".join(await stack.story(name))
        await asyncio.sleep(0.2)
    return found


async def test_a_time_limit_takes_a_snapshot_first_and_the_run_goes_on_behind_it(stack: Stack, place: Slurm) -> None:
    limit = {"time_limit_minutes": 1, "notice_seconds": 15}
    runtime = await start(stack, place, slurm=limit, retries={"max_retries": 0})
    [retry] = await happened(stack, runtime.name, "retry_scheduled")
    assert (retry.cause, retry.interruption, retry.retry) == (common.EXIT_CAUSE_TIME_LIMIT, 1, 0), retry
    [ended] = await facts(stack, runtime.name, "attempt_ended")
    second = (await happened(stack, runtime.name, "attempt_launched", 2))[1]
    assert second.snapshot_step == ended.last_step > 0, "not one step is lost"
    await happened(stack, runtime.name, "attempt_started", 2)
    assert place.cluster.job(slurm_id(place, runtime))["JobState"] in ("COMPLETED", "FAILED"), "before the limit"
    await stop(stack, runtime.name)
    await nothing_runs(stack, place)


async def test_a_preempted_run_waits_says_for_what_and_goes_on(stack: Stack, place: Slurm) -> None:
    runtime = await start(stack, place, slurm={"partition": "main"}, retries={"max_retries": 0})
    await happened(stack, runtime.name, "snapshot_committed", 1)
    urgent = ("sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null")
    other = place.cluster.run(*urgent, text="#!/bin/bash\nexec sleep 600\n")
    [retry] = await happened(stack, runtime.name, "retry_scheduled")
    assert (retry.cause, retry.interruption) == (common.EXIT_CAUSE_PREEMPTED, 1), retry

    def waits(shown: api.Runtime) -> bool:
        return shown.pending_reason == runtime_facts.PENDING_REASON_CLUSTER_QUEUE and "(main)" in shown.reason

    await stack.wait(runtime.name, waits, "it says what its job waits for")
    place.cluster.run("scancel", other)
    await happened(stack, runtime.name, "attempt_started", 2)
    assert not waits(await stack.get(runtime.name))
    await stop(stack, runtime.name)


async def test_a_stop_takes_a_job_out_of_the_queue(stack: Stack, place: Slurm) -> None:
    place.cluster.run("scontrol", "update", "partitionname=main", "state=down")
    try:
        runtime = await start(stack, place)
        await stack.wait(runtime.name, lambda r: "takes jobs and starts none" in r.reason, "it says why it waits")
        stopped = await stop(stack, runtime.name, common.STOP_MODE_GRACEFUL)
        assert stopped.status == api.RUNTIME_STATUS_ABORTED
        assert place.cluster.job(slurm_id(place, runtime))["JobState"] == "CANCELLED"
    finally:
        place.cluster.run("scontrol", "update", "partitionname=main", "state=up")


async def test_what_slurm_would_not_take_is_refused_in_its_words(stack: Stack, place: Slurm) -> None:
    for slurm in ({"partition": "nowhere"}, {"constraint": "a100"}, {"gres": "gpu:h100:4"}, {"reservation": "none"}):
        with pytest.raises(grpc.aio.AioRpcError, match="Slurm refuses the job") as error:
            await start(stack, place, slurm=slurm)
        assert refusal(error.value) == ("FAILED_PRECONDITION", "JOB_REFUSED")


async def test_a_controller_that_dies_and_comes_back_disturbs_nothing(stack: Stack, place: Slurm) -> None:
    runtime = await start(stack, place)
    await happened(stack, runtime.name, "snapshot_committed", 1)
    # One that is killed before it has saved that a job began begins it again. A change has it save.
    place.cluster.run("scontrol", "update", f"jobid={slurm_id(place, runtime)}", "comment=saved")
    await asyncio.sleep(10)
    place.cluster.kill("slurmctld")
    try:
        second = await start(stack, place)
        await stack.wait(second.name, lambda r: "does not answer" in r.reason, "it says who is away")
        count = len(await facts(stack, runtime.name, "snapshot_committed"))
        await happened(stack, runtime.name, "snapshot_committed", count + 1)
    finally:
        place.cluster.start_controller()
    await happened(stack, second.name, "attempt_started")
    for one in (runtime, second):
        assert len(await facts(stack, one.name, "attempt_launched")) == 1, "\n".join(await stack.story(one.name))
        await stop(stack, one.name)
    await nothing_runs(stack, place)


async def test_a_requeue_by_hand_never_doubles_an_attempt(stack: Stack, place: Slurm) -> None:
    runtime = await start(stack, place)
    await happened(stack, runtime.name, "snapshot_committed", 1)
    number = slurm_id(place, runtime)
    refused = place.cluster.try_run("scontrol", "requeue", number)
    assert refused.returncode != 0, "--no-requeue"
    # What it was told is changed, too.
    place.cluster.run("scontrol", "update", f"jobid={number}", "requeue=1")
    place.cluster.run("scontrol", "requeue", number)
    await happened(stack, runtime.name, "attempt_started", 2)
    alone(stack, place)
    assert place.cluster.job(number)["JobState"] == "CANCELLED"
    await stop(stack, runtime.name)


async def test_a_node_that_goes_down_is_left_for_another(stack: Stack, place: Slurm) -> None:
    runtime = await start(stack, place)
    await happened(stack, runtime.name, "snapshot_committed", 1)
    node = place.cluster.job(slurm_id(place, runtime))["NodeList"].removeprefix("n")
    place.cluster.kill(f"slurmd-{node}")
    try:
        await happened(stack, runtime.name, "attempt_started", 2)
        [fence] = await facts(stack, runtime.name, "attempt_fenced")
        assert fence.cause in (common.EXIT_CAUSE_NODE_FAILED, common.EXIT_CAUSE_LOST), fence
        assert place.cluster.job(slurm_id(place, runtime, 2))["NodeList"] != f"n{node}"
        alone(stack, place)
    finally:
        place.cluster.start_node(int(node))
    await stop(stack, runtime.name)

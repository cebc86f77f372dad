"""What every launcher keeps, whatever it runs attempts on. One that is new is another `Ground`, and no other test."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost import code_archive
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.names import AttemptKey
from services.runtime.policies.control import Process
from tests.integration.launchers.grounds import CPUS, Ground, ground
from tests.integration.runtime.harness import Stack, refusal, running, storing
from tests.support.clusters.slurm_cluster import need_slurm
from tests.support.servers.servers import NatsServer, running_nats

pytestmark = pytest.mark.timeout(300)
PROJECT = Path(__file__).resolve().parents[2] / "assets" / "contract_project"
WORKER = "milepost.training.process.worker"
SECONDS = 120.0


@pytest.fixture(
    scope="module",
    params=["local", *(pytest.param(one, marks=pytest.mark.faults) for one in ("slurm", "ray"))],
)
def place(request: pytest.FixtureRequest) -> Iterator[Ground]:
    if request.param == "slurm":
        need_slurm()
    with ground(request.param) as made:
        yield made


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    # One for each test: what plays the metric writer tells one runtime from no other.
    with running_nats(tmp_path / "nats") as nats:
        yield nats


@asynccontextmanager
async def serving(nats: NatsServer, place: Ground, data_dir: Path) -> AsyncIterator[Stack]:
    """A runtime service, and the writer of telemetry, for which snapshots wait."""
    async with running(nats, data_dir, **place.options(data_dir)) as stack, storing(nats, "*"):
        yield stack


@pytest.fixture
async def stack(nats: NatsServer, place: Ground, tmp_path: Path) -> AsyncIterator[Stack]:
    async with serving(nats, place, tmp_path / "data") as stack:
        yield stack
        await stack.stop_all()


async def start(stack: Stack, place: Ground, **changes: Any) -> api.Runtime:
    code = code_archive.pack(PROJECT, stack.data_dir / "code")
    configuration = {
        "name": "contract",
        "entrypoint": "trainer.py:train",
        "launcher": place.name,
        "code": {"uri": code.uri, "digest": code.digest},
        "snapshots": {"every_steps": 10},
        "retries": {"max_retries": 2, "backoff_seconds": 0.1},
        **changes,
    }
    answer = await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=json.dumps(configuration)))
    return answer.runtime


async def facts(stack: Stack, name: str, kind: str) -> list[Any]:
    events = [e.trial_event for e in await stack.events(name) if e.HasField("trial_event")]
    return [getattr(event, kind) for event in events if event.HasField(kind)]


async def until(ask: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def stop(stack: Stack, name: str, mode: common.StopMode = common.STOP_MODE_ABRUPT) -> api.Runtime:
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name, mode=mode, reason="lunch"))
    return await stack.wait_ended(name)


def alone(stack: Stack, place: Ground) -> None:
    """One attempt runs, and nothing else."""
    counts = {module: len(place.processes(stack.data_dir, module)) for module in ("trainer", WORKER)}
    assert counts == {"trainer": 1, WORKER: 1}


async def nothing_runs(stack: Stack, place: Ground) -> None:
    modules = ("trainer", "trainer.job", WORKER)
    await until(lambda: not any(place.processes(stack.data_dir, m) for m in modules), "nothing runs any more")


async def test_an_attempt_is_started_once_adopted_stopped_and_goes_on(
    nats: NatsServer, place: Ground, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    async with serving(nats, place, data_dir) as stack:
        # The end of the block kills what runs on this host; a service that ends does not.
        runtime = await start(stack, place)
        await stack.wait_event(runtime.name, "snapshot_committed")
        key = AttemptKey(runtime.runtime_id, 1, 1)
        view = stack.application.views.runtimes[runtime.runtime_id]
        launcher = stack.application.scheduler._launcher(view)
        launch = await stack.application.scheduler._launches.launch(view, view.trials[1])
        await launcher.launch(key, launch, {})
        alone(stack, place)

        await stack.application.stop()
        async with serving(nats, place, data_dir) as again:
            count = (await again.types(runtime.name)).count("snapshot_committed")
            await again.wait_event(runtime.name, "snapshot_committed", count + 1)
            alone(again, place)
            stopped = await stop(again, runtime.name, common.STOP_MODE_GRACEFUL)
            assert stopped.status == api.RUNTIME_STATUS_ABORTED
            await nothing_runs(again, place)
            await again.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name))
            await again.wait_event(runtime.name, "attempt_started", 2)
            launched = await facts(again, runtime.name, "attempt_launched")
            assert [one.attempt for one in launched] == [1, 2]
            [ended] = await facts(again, runtime.name, "attempt_ended")
            assert (ended.cause, launched[1].snapshot_step) == (common.EXIT_CAUSE_STOPPED, ended.last_step)
            alone(again, place)
            await stop(again, runtime.name)
            await nothing_runs(again, place)
            log = again.attempt_folder(runtime.runtime_id) / "driver.log"
            assert "instance.connected" in log.read_text(), "what the driver printed came home"


@pytest.mark.parametrize("victim", ["trainer", WORKER, "from outside"])
async def test_a_death_is_typed_and_the_run_goes_on_from_its_last_snapshot(
    stack: Stack, place: Ground, victim: str
) -> None:
    runtime = await start(stack, place)
    await stack.wait_event(runtime.name, "snapshot_committed", 2)
    if victim == "from outside":
        place.end_from_outside(stack.data_dir, AttemptKey(runtime.runtime_id, 1, 1))
    else:
        [process] = place.processes(stack.data_dir, victim)
        process.kill()
    await stack.wait_event(runtime.name, "attempt_started", 2)
    ends = await facts(stack, runtime.name, "attempt_fenced") + await facts(stack, runtime.name, "attempt_ended")
    assert [end.cause for end in ends] == [common.EXIT_CAUSE_SIGNAL], ends
    assert (await facts(stack, runtime.name, "attempt_launched"))[1].snapshot_step >= 20
    alone(stack, place)
    await stop(stack, runtime.name)
    await nothing_runs(stack, place)


async def test_an_attempt_that_is_not_heard_of_is_fenced_ended_and_followed_by_another(
    stack: Stack, place: Ground
) -> None:
    runtime = await start(stack, place, limits={"heartbeat_grace_seconds": 3})
    await stack.wait_event(runtime.name, "snapshot_committed", 1)
    key = AttemptKey(runtime.runtime_id, 1, 1)
    # One that was never heard has longer than this test.
    await until(lambda: stack.application.scheduler._liveness.contact(key) is not None, "it was heard")
    modules = ("trainer.job", "trainer", WORKER)
    frozen = [process for module in modules for process in place.processes(stack.data_dir, module)]
    for process in frozen:
        process.suspend()
    # The job is asked to end what it runs, and cannot answer: each of these takes half a minute on a cluster.
    await stack.wait_event(runtime.name, "attempt_launched", 2)
    await stack.wait_event(runtime.name, "attempt_started", 2)
    [fence] = await facts(stack, runtime.name, "attempt_fenced")
    assert fence.cause == common.EXIT_CAUSE_LOST, fence.detail
    await until(lambda: not any(process.is_running() for process in frozen), "the zombie is gone")
    alone(stack, place)
    await stop(stack, runtime.name)
    await nothing_runs(stack, place)


async def test_a_stop_that_comes_before_anything_runs_leaves_nothing(stack: Stack, place: Ground) -> None:
    for mode in (common.STOP_MODE_GRACEFUL, common.STOP_MODE_ABRUPT):
        runtime = await start(stack, place)
        await stack.wait_event(runtime.name, "attempt_launched")
        stopped = await stop(stack, runtime.name, mode)
        assert stopped.status == api.RUNTIME_STATUS_ABORTED
        assert len(await facts(stack, runtime.name, "attempt_launched")) == 1
    await nothing_runs(stack, place)


@pytest.mark.parametrize(
    ("parameters", "cause", "says"),
    [
        ({"no_such": 1}, common.EXIT_CAUSE_DETERMINISTIC, "no_such"),
        ({"fail_at": 3}, common.EXIT_CAUSE_EXCEPTION, "as it was told to"),
        ({"fail_at": 3, "how": "kill"}, common.EXIT_CAUSE_SIGNAL, "SIGKILL"),
    ],
)
async def test_how_it_ended_is_said_by_cause(
    stack: Stack, place: Ground, parameters: dict[str, Any], cause: common.ExitCause, says: str
) -> None:
    if place.name != "local" and cause != common.EXIT_CAUSE_EXCEPTION:
        pytest.skip("the driver says it, and is the same on every launcher")
    if "no_such" in parameters:
        # What can be read of the code is judged before anything starts.
        with pytest.raises(grpc.aio.AioRpcError, match=says):
            await start(stack, place, parameters=parameters)
        return
    runtime = await start(stack, place, parameters=parameters, retries={"max_retries": 0})
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_FAILED
    assert says in ended.reason
    [end] = await facts(stack, runtime.name, "attempt_ended")
    assert end.cause == cause


async def test_what_can_never_fit_is_refused_and_what_there_is_is_known(stack: Stack, place: Ground) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await start(stack, place, resources={"cpus_per_worker": 64})
    assert refusal(error.value) == ("RESOURCE_EXHAUSTED", "INFEASIBLE_RESOURCES")
    launcher = stack.application.scheduler._launchers[place.kind]
    capacity = launcher.capacity()
    assert capacity is not None
    assert capacity.cpus == (8 if place.name == "local" else CPUS)
    assert launcher.outage() is None
    unknown = launcher.observe(AttemptKey("never", 1, 1))[0]
    assert unknown in (Process.ABSENT, Process.UNSEEN), "not asked yet, at most"

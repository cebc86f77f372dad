"""Promise 13, seen through the service: disks without room refuse cleanly, training goes on, nothing needs repair."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import StreamSettings
from milepost.eventlog.proof.anchor import AnchorFile
from milepost.eventlog.proof.examination import verify_tail
from tests.integration.runtime.harness import Stack, refusal, running, storing
from tests.support.faults.disks import disk, fill
from tests.support.servers.servers import NatsServer, running_nats

pytestmark = pytest.mark.timeout(300)

ASSETS = Path(__file__).resolve().parents[1] / "assets"
SECONDS = 90.0
MEGABYTE = 1 << 20
SMALL_STREAMS = StreamSettings(telemetry_max_bytes=8 * MEGABYTE)


def heavy(**changes: Any) -> str:
    """A run whose snapshots have 4 MB each."""
    configuration = {
        "name": "heavy",
        "entrypoint": "loops.py:heavy",
        "working_directory": str(ASSETS),
        "parameters": {"step_seconds": 0.05},
        "snapshots": {},
        **changes,
    }
    return json.dumps(configuration)


@asynccontextmanager
async def run_on(nats: NatsServer, data_dir: Path, storage: Path | None = None) -> AsyncIterator[tuple[Stack, str]]:
    """A service with a run of the real trainer; gives the name of the run."""
    async with running(nats, data_dir, trainer_command=(), streams=SMALL_STREAMS) as stack:
        policy = {"every_steps": 20, "keep_last": 100, **({"storage": str(storage)} if storage else {})}
        request = api.StartRuntimeRequest(configuration_text=heavy(snapshots=policy))
        runtime = (await stack.stub.StartRuntime(request)).runtime
        async with storing(nats, runtime.runtime_id):
            await stack.wait_event(runtime.name, "snapshot_committed")
            yield stack, runtime.name


async def until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.1)


async def nothing_of(folder: Path) -> bool:
    """Return whether no snapshot lies there in part."""
    return not list(folder.rglob("*.partial"))


async def current_step(stack: Stack, name: str) -> int:
    losses = (await stack.stub.PreviewStop(api.PreviewStopRequest(name=name))).losses
    return int(losses[0].current_step) if losses else 0


async def trains_on(stack: Stack, name: str) -> None:
    begun = await current_step(stack, name)

    async def further() -> bool:
        return await current_step(stack, name) >= begun + 20

    await until(further, f"{name} trains on after step {begun}")


async def snapshots(stack: Stack, name: str) -> list[int]:
    """Steps of the snapshots that are committed, oldest first."""
    events = await stack.events(name)
    return [e.trial_event.snapshot_committed.step for e in events if "snapshot_committed" in e.type]


async def test_a_full_snapshot_disk_costs_snapshots_and_no_step(tmp_path: Path) -> None:
    """Training goes on, the log says what failed and why, and with room again the next snapshot is committed."""
    with disk(tmp_path, megabytes=64) as device, running_nats(tmp_path / "nats") as nats:
        async with run_on(nats, tmp_path / "data", device.path / "snapshots") as (stack, name):
            ballast = fill(device.path, leave_bytes=2 * MEGABYTE)
            await stack.wait_event(name, "snapshot_failed", 2)
            failed = [e.trial_event.snapshot_failed for e in await stack.events(name) if "snapshot_failed" in e.type]
            assert "No space left on device" in failed[0].detail
            await trains_on(stack, name)
            # The next one may be under way.
            await until(lambda: nothing_of(device.path), "what could not be finished takes no room")
            ballast.unlink()
            before = len(await snapshots(stack, name))
            await stack.wait_event(name, "snapshot_committed", before + 1)
            assert (await snapshots(stack, name))[-1] > failed[-1].step
            assert (await stack.types(name)).count("attempt_launched") == 1


async def test_a_graceful_stop_waits_for_room_for_its_snapshot(tmp_path: Path) -> None:
    """Until its deadline: whoever makes room in time loses no step."""
    with disk(tmp_path, megabytes=64) as device, running_nats(tmp_path / "nats") as nats:
        async with run_on(nats, tmp_path / "data", device.path / "snapshots") as (stack, name):
            ballast = fill(device.path, leave_bytes=2 * MEGABYTE)
            await stack.wait_event(name, "snapshot_failed")
            failures = (await stack.types(name)).count("snapshot_failed")
            await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name))
            await stack.wait_event(name, "snapshot_failed", failures + 2)
            ballast.unlink()
            ended = await stack.wait_ended(name)
            assert ended.status == api.RUNTIME_STATUS_ABORTED
            stopped = [e.trial_event.trial_stopped for e in await stack.events(name) if "trial_stopped" in e.type]
            assert [fact.lost_steps for fact in stopped] == [0]


async def fill_the_log(stack: Stack) -> tuple[str, str]:
    """Start runtimes with long configurations until one is refused. Returns its code and reason."""
    for number in range(2_000):
        # External ones: no process is started for them.
        configuration = json.dumps({"name": f"filler {number}", "launcher": "external"})
        request = api.StartRuntimeRequest(configuration_text=f"# {'x' * 200_000}\n{configuration}")
        try:
            await stack.stub.StartRuntime(request, timeout=60)
        except grpc.aio.AioRpcError as error:
            return refusal(error)
    raise AssertionError("the log takes everything")


async def code_of(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value)


@pytest.mark.faults
async def test_a_full_log_refuses_commands_reads_on_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """The server's own limit, 80 % of the disk, is reached before the disk is full."""
    with disk(tmp_path, megabytes=64) as device, running_nats(device.path / "nats") as nats:
        async with run_on(nats, tmp_path / "data") as (stack, name):
            assert await fill_the_log(stack) == ("RESOURCE_EXHAUSTED", "EVENT_LOG_FULL")
            last = stack.application.views.sequence
            stop = api.StopRuntimeRequest(name=name, request_id="stop-once")
            # A stop is small: there may be room for it, so the rest is filled too.
            while True:
                filler = api.StartRuntimeRequest(configuration_text='{"name": "small", "launcher": "external"}')
                try:
                    await stack.stub.StartRuntime(filler)
                except grpc.aio.AioRpcError:
                    break
            assert await code_of(stack.stub.StopRuntime(stop)) == ("RESOURCE_EXHAUSTED", "EVENT_LOG_FULL")
            assert (await stack.get(name)).phase == api.RUNTIME_PHASE_RUNNING
            assert (await stack.stub.ListRuntimes(api.ListRuntimesRequest())).total_size > 10
            assert len(await stack.events(name)) > 5
            await trains_on(stack, name)
            assert stack.application.views.sequence >= last
            await self_heals(stack, nats, name, stop, tmp_path)


async def self_heals(stack: Stack, nats: Any, name: str, stop: api.StopRuntimeRequest, tmp_path: Path) -> None:
    """Give the log room; the same command is taken, and what waited is in the log once."""
    nats.kill()
    nats.config["maximum_store_bytes"] = 60 * MEGABYTE
    nats.restart()

    async def stopped() -> bool:
        try:
            await stack.stub.StopRuntime(stop, timeout=10)
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(stopped, "the stop is taken")
    ended = await stack.wait_ended(name)
    assert ended.status == api.RUNTIME_STATUS_ABORTED
    kinds = await stack.types(name)
    assert kinds.count("stop_requested") == 1
    steps = await snapshots(stack, name)
    assert steps == sorted(set(steps)), "each snapshot of the time without room is in the log once"
    async with await connect(nats.url) as connection:
        await verify_tail(JetStreamLog(connection), AnchorFile(tmp_path / "none.jsonl"))


@pytest.mark.faults
async def test_a_disk_full_beneath_the_log_is_survived_with_a_restart_of_its_server(tmp_path: Path) -> None:
    """Something else takes the room that the server's limit counted on: it does not answer until it is started again."""
    with (
        disk(tmp_path, megabytes=64) as device,
        running_nats(device.path / "nats", maximum_store_bytes=1 << 30) as nats,
    ):
        async with run_on(nats, tmp_path / "data") as (stack, name):
            ballast = fill(device.path, leave_bytes=2 * MEGABYTE)
            code, reason = await fill_the_log(stack)
            assert (code, reason) in (
                ("RESOURCE_EXHAUSTED", "EVENT_LOG_FULL"),
                ("UNAVAILABLE", "EVENT_LOG_UNAVAILABLE"),
            )
            assert (await stack.get(name)).status == api.RUNTIME_STATUS_STARTED
            await trains_on(stack, name)
            ballast.unlink()
            await self_heals(stack, nats, name, api.StopRuntimeRequest(name=name, request_id="stop-once"), tmp_path)

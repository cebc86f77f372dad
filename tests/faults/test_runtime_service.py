"""`kill -9` of the runtime service, and of trainers, at random instants, while runtimes start, stop, resume, branch and fail.

Afterwards every acknowledged command is in the log once, each runtime ended as commanded, no process is left, and no
attempt was started twice. A few kills in every test run, twenty of each in `make test-faults`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost import ids
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from tests.integration.runtime.harness import kill_trainers, text, trainers_below
from tests.support.faults.steering import check_steering
from tests.support.servers.ports import free_ports
from tests.support.servers.servers import NatsServer, running_nats

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 150.0
SEED = 20_261_122


class Service:
    """The runtime service as a process, on one port for all of its lives."""

    def __init__(self, nats: NatsServer, data_dir: Path, metrics: str = "127.0.0.1:1") -> None:
        self.data_dir = data_dir
        self._metrics = metrics
        (self.port,) = free_ports(1)
        self._nats = nats
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "service.log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    str(ROOT / "tests" / "support" / "trainers" / "scripted_service.py"),
                    str(self.data_dir),
                    self._nats.url,
                    str(self.port),
                    self._metrics,
                ],
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class User:
    """Gives commands until they are acknowledged, each with a request id of its own."""

    def __init__(self, service: Service) -> None:
        self.acknowledged: list[str] = []
        # Runs that others are branches of.
        self.parents: list[str] = []
        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{service.port}",
            [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)],
        )
        self._stub: Any = RuntimeServiceStub(self._channel)

    async def call(self, method: str, request: Any) -> Any:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return await getattr(self._stub, method)(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                passing = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED)
                if error.code() not in passing or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def command(self, method: str, request: Any) -> Any:
        request.request_id = ids.new_event_id()
        answer = await self.call(method, request)
        self.acknowledged.append(request.request_id)
        return answer

    async def wait(self, name: str, condition: Callable[[api.Runtime], bool], seconds: float = SECONDS) -> api.Runtime:
        deadline = time.monotonic() + seconds
        while True:
            runtime: api.Runtime = (await self.call("GetRuntime", api.GetRuntimeRequest(name=name))).runtime
            if condition(runtime):
                return runtime
            assert time.monotonic() < deadline, runtime
            await asyncio.sleep(0.1)

    async def events(self, name: str) -> list[events_api.RecordedEvent]:
        request = api.ListEventsRequest(parent=name, page_size=1_000)
        events: list[events_api.RecordedEvent] = []
        while True:
            answer = await self.call("ListEvents", request)
            events += answer.events
            if not answer.next_page_token:
                return events
            request.page_token = answer.next_page_token

    async def close(self) -> None:
        await self._channel.close(None)

    # --- what the runtimes go through

    async def start(self, **parameters: Any) -> str:
        configuration = text(
            parameters={"step_seconds": 0.05, "snapshot_every": 10, **parameters},
            retries={"max_retries": 50, "backoff_seconds": 0.1},
        )
        answer = await self.command("StartRuntime", api.StartRuntimeRequest(configuration_text=configuration))
        return str(answer.runtime.name)

    async def ended(self, name: str) -> api.Runtime:
        return await self.wait(name, lambda r: r.phase == api.RUNTIME_PHASE_ENDED)

    async def stop(self, name: str, mode: common.StopMode) -> api.Runtime:
        deadline = time.monotonic() + SECONDS
        while not any("snapshot_committed" in event.type for event in await self.events(name)):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        await self.command("StopRuntime", api.StopRuntimeRequest(name=name, mode=mode))
        return await self.ended(name)

    async def completes(self) -> tuple[str, int, int]:
        name = await self.start(steps=120)
        return name, (await self.ended(name)).status, api.RUNTIME_STATUS_COMPLETED

    async def crashes_and_completes(self) -> tuple[str, int, int]:
        name = await self.start(steps=120, fail_at=60, how="kill")
        return name, (await self.ended(name)).status, api.RUNTIME_STATUS_COMPLETED

    async def fails(self) -> tuple[str, int, int]:
        name = await self.start(steps=120, fail_at=50, fail_attempts=99, how="deterministic")
        return name, (await self.ended(name)).status, api.RUNTIME_STATUS_FAILED

    async def is_stopped(self) -> tuple[str, int, int]:
        name = await self.start(steps=1_000_000)
        return name, (await self.stop(name, common.STOP_MODE_GRACEFUL)).status, api.RUNTIME_STATUS_ABORTED

    async def is_stopped_and_resumed(self) -> tuple[str, int, int]:
        name = await self.start(steps=1_000_000)
        await self.stop(name, common.STOP_MODE_ABRUPT)
        newest = (await self.call("ListSnapshots", api.ListSnapshotsRequest(parent=name))).snapshots[0]
        changes = f"parameters: {{steps: {newest.step + 40}}}"
        await self.command("ResumeRuntime", api.ResumeRuntimeRequest(name=name, configuration_changes_text=changes))
        return name, (await self.ended(name)).status, api.RUNTIME_STATUS_COMPLETED

    async def is_branched(self) -> tuple[str, int, int]:
        """Asked for while the service dies, there is one branch, and its snapshot is held for that one."""
        parent = await self.start(steps=40)
        await self.ended(parent)
        request = api.BranchTrialRequest(name=f"{parent}/trials/1", step=20)
        name = str((await self.command("BranchTrial", request)).runtime.name)
        ended = await self.ended(name)
        nodes = (await self.call("ListLineage", api.ListLineageRequest(name=name))).nodes
        assert [node.name for node in nodes] == [parent, name]
        self.parents.append(parent)
        return name, ended.status, api.RUNTIME_STATUS_COMPLETED


def kill_service(service: Service, chance: random.Random) -> bool:
    service.kill()
    service.start()
    return True


def kill_a_trainer(service: Service, chance: random.Random) -> bool:
    """Kill one of the processes of attempts. False: there is none at the moment."""
    found = trainers_below(service.data_dir)
    if not found:
        return False
    with suppress(ProcessLookupError):
        os.kill(chance.choice(found), signal.SIGKILL)
    return True


@asynccontextmanager
async def runtimes_under_fire(
    tmp_path: Path, kills: int, pause: float, kill: Callable[[Service, random.Random], bool]
) -> AsyncIterator[tuple[User, Service, list[Any]]]:
    """Kill again and again while six runtimes live, and what they are branches of; then let them end."""
    chance = random.Random(SEED)
    with running_nats(tmp_path / "nats") as nats:
        service = Service(nats, tmp_path / "data")
        service.start()
        user = User(service)
        try:
            lives = [
                user.completes,
                user.crashes_and_completes,
                user.fails,
                user.is_stopped,
                user.is_stopped_and_resumed,
                user.is_branched,
            ]
            tasks = [asyncio.create_task(life()) for life in lives]
            hits = 0
            for _ in range(kills):
                await asyncio.sleep(chance.uniform(0.1, pause))
                hits += await asyncio.to_thread(kill, service, chance)
            print(f"{hits} of {kills} kills hit a process")
            assert hits > 0
            yield user, service, await asyncio.gather(*tasks)
        finally:
            await user.close()
            service.kill()
            kill_trainers(service.data_dir)


async def check(
    tmp_path: Path, kills: int, pause: float, kill: Callable[[Service, random.Random], bool] = kill_service
) -> None:
    async with runtimes_under_fire(tmp_path, kills, pause, kill) as (user, service, outcomes):
        commands: Counter[str] = Counter()
        completed = api.RUNTIME_STATUS_COMPLETED
        for name, status, expected in [*outcomes, *((parent, completed, completed) for parent in user.parents)]:
            events = await user.events(name)
            story = "\n".join(f"{e.sequence} {e.trial} {e.actor} {e.message}" for e in events)
            assert status == expected, story
            # A start is one decision of two events: the runtime's own counts.
            commands.update(
                e.cause.removeprefix("request:") for e in events if e.cause.startswith("request:") and not e.trial
            )
            launches = [e.trial_event.attempt_launched.attempt for e in events if "attempt_launched" in e.type]
            assert launches == list(range(1, len(launches) + 1)), story
        assert commands == Counter(user.acknowledged)
        listed = await user.call("ListRuntimes", api.ListRuntimesRequest())
        assert listed.total_size == len(outcomes) + len(user.parents), "none was started twice"
        starts = {
            str(p): len(p.read_text().split()) for p in service.data_dir.glob("runtimes/*/trial-*/attempt-*/starts")
        }
        assert set(starts.values()) == {1}, starts
        assert trainers_below(service.data_dir) == []


@pytest.mark.timeout(240)
async def test_three_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    await check(tmp_path, kills=3, pause=4.0)


@pytest.mark.faults
@pytest.mark.timeout(1_200)
async def test_twenty_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    await check(tmp_path, kills=20, pause=6.0)


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_twenty_kills_of_trainers_change_no_ending(tmp_path: Path) -> None:
    await check(tmp_path, kills=20, pause=1.0, kill=kill_a_trainer)


@pytest.mark.timeout(180)
async def test_a_second_service_stands_by_and_takes_over_when_the_first_dies(tmp_path: Path) -> None:
    with running_nats(tmp_path / "nats") as nats:
        first, second = Service(nats, tmp_path / "data"), Service(nats, tmp_path / "data")
        first.start()
        user = User(first)
        watcher = User(second)
        try:
            name = await user.start(steps=1_000_000)
            second.start()
            await user.wait(name, lambda r: r.phase == api.RUNTIME_PHASE_RUNNING)
            await watcher.wait(name, lambda r: r.phase == api.RUNTIME_PHASE_RUNNING)
            await asyncio.to_thread(first.kill)
            # Commands go to any of them; this one acts on them only because it leads now.
            stopped = await watcher.stop(name, common.STOP_MODE_ABRUPT)
            assert stopped.status == api.RUNTIME_STATUS_ABORTED
            assert "lease.standing_by" in (first.data_dir / "service.log").read_text()
        finally:
            await user.close()
            await watcher.close()
            first.kill()
            second.kill()
            kill_trainers(first.data_dir)


@pytest.mark.timeout(240)
async def test_two_kills_lose_and_repeat_no_change_of_a_steered_run(tmp_path: Path) -> None:
    """Of the service, of a trainer, or of both, around each request; the curve is that of an undisturbed run."""
    await check_steering(tmp_path, kills=2)


@pytest.mark.faults
@pytest.mark.timeout(1_200)
async def test_twenty_kills_lose_and_repeat_no_change_of_a_steered_run(tmp_path: Path) -> None:
    await check_steering(tmp_path, kills=20)

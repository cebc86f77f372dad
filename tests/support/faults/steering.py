"""`kill -9` of the runtime service and of trainers at random instants, while a run is steered.

Afterwards every acknowledged request is carried out once, and the curve is that of an undisturbed run, in every bit, which
makes the same changes after the same steps.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio

from milepost import ids
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from milepost.eventlog import trial_chain
from milepost.eventlog.nats.connection import connect
from tests.integration.runtime.harness import kill_trainers, trainers_below
from tests.support.servers.processes import ServiceProcess
from tests.support.servers.servers import running_nats
from tests.support.trainers.attempts import TrialOnTest, Writer, same_bits

ASSETS = Path(__file__).resolve().parents[2] / "assets"
SECONDS = 120.0
SEED = 20_261_130
EPOCHS = 1_000
CONFIGURATION = {
    "name": "steered",
    "entrypoint": "loops.py:steered",
    "working_directory": str(ASSETS),
    "parameters": {"step_seconds": 0.02, "epochs": EPOCHS},
    "snapshots": {"every_steps": 20, "keep_last": 3},
    "retries": {"max_retries": 100, "backoff_seconds": 0.1},
    "resources": {"cpus_per_worker": 0.5},
}


class User:
    """Asks until it is acknowledged, whatever is killed meanwhile."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service

    async def call(self, method: str, request: Any) -> Any:
        deadline = time.monotonic() + SECONDS
        while True:
            async with grpc.aio.insecure_channel(self._service.address) as channel:
                try:
                    return await getattr(RuntimeServiceStub(channel), method)(request, timeout=10)
                except grpc.aio.AioRpcError as error:
                    passing = (
                        grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED,
                        grpc.StatusCode.CANCELLED,
                    )  # fmt: skip
                    if error.code() not in passing or time.monotonic() > deadline:
                        raise
            await asyncio.sleep(0.1)

    async def steer(self, name: str, rate: float) -> str:
        request_id = ids.new_event_id()
        request = api.SteerTrialRequest(name=f"{name}/trials/1", parameters_text=f"rate: {rate}", request_id=request_id)
        await self.call("SteerTrial", request)
        return request_id


def kill_trainer(data_dir: Path, chance: random.Random) -> None:
    """Kill one of the processes of attempts, if there is one at the moment."""
    found = trainers_below(data_dir)
    if found:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)


async def until(trial: TrialOnTest, kind: type[Any], count: int) -> list[Any]:
    deadline = time.monotonic() + SECONDS
    while len(found := await trial.payloads(kind)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} {kind.__name__}"
        await asyncio.sleep(0.1)
    return found


async def check_steering(tmp_path: Path, kills: int) -> None:
    """Steer a run as often as something is killed, and look at what came of it."""
    chance = random.Random(SEED)
    data_dir = tmp_path / "data"
    with running_nats(tmp_path / "nats") as nats:
        service = ServiceProcess("runtime", data_dir, {"nats_url": nats.url})
        user = User(service)
        try:
            await asyncio.to_thread(service.start)
            start = api.StartRuntimeRequest(configuration_text=json.dumps(CONFIGURATION))
            name = (await user.call("StartRuntime", start)).runtime.name
            async with await connect(nats.url, name="test") as connection:
                trial = TrialOnTest(connection, nats.url, tmp_path / "again")
                trial.runtime_id = name.removeprefix("runtimes/")
                trial.chain = trial_chain(trial.runtime_id, 1)
                async with Writer(connection, trial.runtime_id) as writer:
                    asked = await under_fire(user, service, writer, trial, name, kills, chance)
                    changed = await until(trial, facts.ParametersChanged, kills)
                    await trained(writer, max(fact.step for fact in changed) + 30)
                    await user.call("StopRuntime", api.StopRuntimeRequest(name=name))
                    await until(trial, facts.TrialStopped, 1)
                state = await trial.state()
                requests = await trial.payloads(facts.TrialSteerRequested)
                assert Counter(fact.request_id for fact in requests) == Counter(asked)
                changed = await trial.payloads(facts.ParametersChanged)
                assert sorted(fact.number for fact in changed) == list(range(1, kills + 1))
                assert state.steering.waiting == ()
                curve = writer.lineage("train/loss", state)
                assert list(curve) == list(range(1, len(curve) + 1))
                again = await undisturbed(trial)
                assert same_bits(curve, {step: again[step] for step in curve})
                print(
                    f"{kills} kills, {state.attempt} attempts, {len(curve)} steps, {len(state.steering.changes)} changes"
                )
        finally:
            await asyncio.to_thread(service.kill)
            kill_trainers(data_dir)


async def trained(writer: Writer, step: int) -> None:
    """Wait until the newest attempt that has sent anything has done a step."""
    deadline = time.monotonic() + SECONDS
    while max(max(writer.points("train/loss").items(), default=(0, [0]))[1]) < step:
        assert time.monotonic() < deadline, f"no step {step}"
        await asyncio.sleep(0.05)


async def under_fire(
    user: User,
    service: ServiceProcess,
    writer: Writer,
    trial: TrialOnTest,
    name: str,
    kills: int,
    chance: random.Random,
) -> list[str]:
    """Kill the service, a trainer, or both, around each request. Returns the ids of the requests."""
    asked: list[str] = []
    await until(trial, facts.SteerableDeclared, 1)
    for number in range(kills):
        if number % 2 == 0:
            # Every second time it has come further than its newest snapshot; else it may just be beginning.
            before = (await trial.state()).snapshots
            await trained(writer, (before[-1].step if before else 0) + chance.randint(20, 45))
        request = asyncio.create_task(user.steer(name, round(chance.random(), 3)))
        await asyncio.sleep(chance.choice([0.0, 0.02, 0.1, chance.uniform(0.0, 1.0)]))
        which = chance.choice(["service", "trainer", "both"]) if number > 1 else ("both", "trainer")[number]
        if which != "trainer":
            await asyncio.to_thread(service.kill)
        if which != "service":
            await asyncio.to_thread(kill_trainer, service.data_dir, chance)
        if which != "trainer":
            await asyncio.to_thread(service.start)
        asked.append(await request)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
    return asked


async def undisturbed(trial: TrialOnTest) -> dict[int, float]:
    """Run the loop again with the changes of a trial. Returns its loss by step."""
    other = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    parameters = {"epochs": EPOCHS}
    await other.create(parameters)
    async with Writer(other.connection, other.runtime_id) as writer:
        changes = (await trial.state()).steering.changes
        attempt = await other.launch("loops.py:steered", parameters, code=ASSETS, changes=changes)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    return writer.lineage("train/loss", await other.state())

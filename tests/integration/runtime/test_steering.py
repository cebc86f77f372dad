"""Steering through the runtime service, with real trainers: what is asked for, refused, passed on and branched."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.integration.runtime.harness import Stack, refusal, running, storing, trainers_below
from tests.support.servers.servers import NatsServer

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
TRAINER = (sys.executable, "-P", "-m", "trainer")
CONFIGURATION = {
    "name": "steered",
    "entrypoint": "loops.py:steered",
    "working_directory": str(ASSETS),
    "parameters": {"step_seconds": 0.05, "epochs": 100},
    "snapshots": {"every_steps": 10, "keep_last": 100},
    "retries": {"max_retries": 3, "backoff_seconds": 0.1},
    "resources": {"cpus_per_worker": 0.5},
}


@pytest.fixture
async def stack(shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(shared_nats, tmp_path / "data", trainer_command=TRAINER) as stack:
        yield stack
        await stack.stop_all()


async def start(stack: Stack) -> api.Runtime:
    runtime = (
        await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=json.dumps(CONFIGURATION)))
    ).runtime
    await stack.wait_event(runtime.name, "attempt_started")
    return runtime


async def steer(stack: Stack, runtime: api.Runtime, text: str, **more: Any) -> api.SteerTrialResponse:
    request = api.SteerTrialRequest(name=f"{runtime.name}/trials/1", parameters_text=text, **more)
    return await stack.stub.SteerTrial(request)


async def refused(call: Any) -> tuple[tuple[str, str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value), error.value.details() or ""


async def of_kind(stack: Stack, runtime: api.Runtime, kind: str) -> list[events_api.RecordedEvent]:
    return [event for event in await stack.events(runtime.name) if event.type.split(".")[2] == kind]


async def changes(stack: Stack, runtime: api.Runtime) -> list[tuple[int, int, str, str]]:
    """Number, attempt, old and new of every change that is a fact."""
    found = [event.trial_event.parameters_changed for event in await of_kind(stack, runtime, "parameters_changed")]
    return [(fact.number, fact.attempt, one.old, one.new) for fact in found for one in fact.changes]


def told(stack: Stack, runtime: api.Runtime, attempt: int) -> Any:
    """Read what an attempt was launched with."""
    return json.loads((stack.attempt_folder(runtime.runtime_id, attempt=attempt) / "attempt.json").read_text())


async def test_a_value_is_changed_once_for_a_request_id_and_the_change_says_why(stack: Stack) -> None:
    runtime = await start(stack)
    dry = await steer(stack, runtime, "rate: 0.5", validate_only=True)
    assert dry.number == 0
    answers = [await steer(stack, runtime, "rate: 5e-1", reason="too fast", request_id="one") for _ in range(2)]
    assert [answer.number for answer in answers] == [1, 1]
    await stack.wait_event(runtime.name, "parameters_changed")
    assert await changes(stack, runtime) == [(1, 1, "0.9", "0.5")]
    (asked,), (changed,) = [await of_kind(stack, runtime, k) for k in ("trial_steer_requested", "parameters_changed")]
    assert changed.cause == asked.event_id
    assert changed.trial_event.parameters_changed.actor == asked.actor == asked.trial_event.trial_steer_requested.actor
    assert asked.message == "Change of rate to 0.5 requested: too fast"
    step = changed.trial_event.parameters_changed.step
    assert changed.message == f"Changed after step {step:,}: rate from 0.9 to 0.5, asked for by {asked.actor}"


async def test_what_cannot_be_steered_is_refused_with_what_can(stack: Stack) -> None:
    runtime = await start(stack)
    for text, words in (
        ("speed: 1", "parameters.speed: is not steerable; there is rate (a number from 0.0 to 1.0)"),
        ("rate: 2", "parameters.rate: must be a number from 0.0 to 1.0, not 2"),
        ("rate: fast", 'parameters.rate: must be a number from 0.0 to 1.0, not "fast"'),
        ("rate: [0.1]", "must be a number from 0.0 to 1.0"),
        ("rate: null", "must be a number from 0.0 to 1.0, not null"),
        ("", "parameters_text: must give 1 to 100 values by name"),
        ("rate", "parameters_text: "),
        ("rate: ghp_0123456789abcdefghij0123456789abcdef", "looks like a secret"),
    ):
        (code, _), message = await refused(steer(stack, runtime, text))
        assert code == "INVALID_ARGUMENT" and words in message, (text, message)
    assert (await refused(steer(stack, runtime, "rate: 2", validate_only=True)))[0][0] == "INVALID_ARGUMENT"
    assert await of_kind(stack, runtime, "trial_steer_requested") == []
    unknown = api.SteerTrialRequest(name=f"{runtime.name}/trials/7", parameters_text="rate: 0.5")
    assert (await refused(stack.stub.SteerTrial(unknown)))[0] == ("NOT_FOUND", "TRIAL_NOT_FOUND")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    # It waits for a resume, which makes the change.
    assert (await steer(stack, runtime, "rate: 0.5")).number == 1
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name))
    assert (await refused(steer(stack, runtime, "rate: 0.5")))[0][0] == "NOT_FOUND"


async def test_changes_go_on_through_a_kill_a_stop_and_a_resume(stack: Stack, shared_nats: NatsServer) -> None:
    """One by an attempt that is killed, one asked for while nothing runs: each is one fact."""
    runtime = await start(stack)
    async with storing(shared_nats, runtime.runtime_id):
        await stack.wait_event(runtime.name, "snapshot_committed")
        await steer(stack, runtime, "rate: 0.5")
        await stack.wait_event(runtime.name, "parameters_changed")
        for process in trainers_below(stack.data_dir):
            os.kill(process, 9)
        await stack.wait_event(runtime.name, "attempt_started", 2)
        (one,) = told(stack, runtime, 2)["steered"]
        step = (await of_kind(stack, runtime, "parameters_changed"))[0].trial_event.parameters_changed.step
        assert (int(one["step"]), one["name"], one["value"]) == (step, "rate", "0.5")
        state = stack.application.views.runtimes[runtime.runtime_id].trials[1]
        await stack.wait(runtime.name, lambda _: state.state.snapshots[-1].step > step, "it comes past the change")
        await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name))
        await stack.wait_ended(runtime.name)
        await steer(stack, runtime, "rate: 0.25")
        assert len(await changes(stack, runtime)) == 1
        await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name))
        await stack.wait_event(runtime.name, "parameters_changed", 2)
        assert await changes(stack, runtime) == [(1, 1, "0.9", "0.5"), (2, 3, "0.5", "0.25")]
        started = (await of_kind(stack, runtime, "attempt_started"))[-1].trial_event.attempt_started
        changed = (await of_kind(stack, runtime, "parameters_changed"))[-1].trial_event.parameters_changed
        assert changed.step == started.restored_step > 0


async def test_a_branch_takes_over_what_holds_there_unless_it_says_it_anew(
    stack: Stack, shared_nats: NatsServer
) -> None:
    runtime = await start(stack)
    async with storing(shared_nats, runtime.runtime_id):
        await steer(stack, runtime, "rate: 0.5")
        await stack.wait_event(runtime.name, "parameters_changed")
        await stack.wait_event(runtime.name, "snapshot_committed", 2)
        record = stack.application.views.runtimes[runtime.runtime_id].trials[1].state.snapshots[1]
        await steer(stack, runtime, "rate: 0.1")
        await stack.wait_event(runtime.name, "parameters_changed", 2)
        for text, steered in (("step_seconds: 0.06", {"rate": "0.5"}), ("rate: 0.7", {})):
            request = api.BranchTrialRequest(
                name=f"{runtime.name}/trials/1", snapshot_id=record.snapshot_id, parameters_text=text
            )
            child = (await stack.stub.BranchTrial(request)).runtime
            assert dict(child.branch.origin.steered) == steered
            await stack.wait_event(child.name, "attempt_started")
            at = [(int(one["step"]), one["value"]) for one in told(stack, child, 1).get("steered", [])]
            assert at == [(record.step, value) for value in steered.values()]

"""Branches: what they begin at, what may be other in them, what is kept for them, and that none is made twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf import duration_pb2

from milepost import ids
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from services.runtime.decisions import Decisions
from services.runtime.scheduling import scheduler
from tests.integration.runtime.harness import Stack, refusal, running
from tests.support.servers.servers import NatsServer


@pytest.fixture
async def stack(shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(shared_nats, tmp_path / "data") as stack:
        yield stack
        await stack.stop_all()


async def a_parent(stack: Stack, **changes: Any) -> api.Runtime:
    parent = await stack.start(**changes)
    return await stack.wait_ended(parent.name)


def at(runtime: api.Runtime, step: int, **more: Any) -> api.BranchTrialRequest:
    return api.BranchTrialRequest(name=f"{runtime.name}/trials/1", step=step, **more)


async def branched(stack: Stack, request: api.BranchTrialRequest) -> api.Runtime:
    made = (await stack.stub.BranchTrial(request)).runtime
    return await stack.wait_ended(made.name)


async def refused(call: Any) -> tuple[tuple[str, str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value), error.value.details() or ""


async def payload(stack: Stack, name: str, kind: str) -> Any:
    (event,) = [event for event in await stack.events(name) if event.type.split(".")[2] == kind]
    area = event.type.split(".")[1]
    return getattr(getattr(event, f"{area}_event"), kind)


async def held(stack: Stack, runtime: api.Runtime) -> dict[int, list[str]]:
    listed = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=runtime.name))).snapshots
    return {snapshot.step: list(snapshot.held_by) for snapshot in listed if snapshot.held_by}


async def test_a_branch_begins_behind_the_snapshot_of_its_parent_and_says_so(stack: Stack) -> None:
    parent = await a_parent(stack)
    child = await branched(stack, at(parent, 10, parameters_text="step_seconds: 0.02"))

    assert child.status == api.RUNTIME_STATUS_COMPLETED
    requested = await payload(stack, child.name, "runtime_requested")
    origin = requested.branch.origin
    assert (origin.runtime_id, origin.trial, origin.step, origin.attempt) == (parent.runtime_id, 1, 10, 1)
    assert [(c.field, c.before, c.after) for c in requested.branch.changes] == [
        ("parameters.step_seconds", "0.01", "0.02")
    ]
    assert [(p.runtime_id, p.attempt, p.first_step, p.last_step) for p in origin.trunk] == [
        (parent.runtime_id, 1, 1, 10)
    ]
    assert timedelta(seconds=0.1) < origin.elapsed.ToTimedelta() < timedelta(seconds=30), (
        "ten steps of 10 ms, and snapshots"
    )
    started = await payload(stack, child.name, "attempt_started")
    assert (started.restored_snapshot_id, started.restored_step) == (origin.snapshot_id, 10)
    state = stack.application.views.runtimes[child.runtime_id].trials[1].state
    assert [segment.first_step for segment in state.lineage] == [11]
    assert [record.step for record in state.snapshots] == [15, 20]
    assert await held(stack, parent) == {10: [child.runtime_id]}

    grandchild = await branched(stack, at(child, 15))
    second = (await payload(stack, grandchild.name, "runtime_requested")).branch.origin
    trunk = second.trunk
    own = second.elapsed.ToTimedelta() - origin.elapsed.ToTimedelta()
    assert timedelta(seconds=0.1) < own < timedelta(seconds=30), "five steps of 20 ms more"
    assert [(p.runtime_id, p.first_step, p.last_step) for p in trunk] == [
        (parent.runtime_id, 1, 10),
        (child.runtime_id, 11, 15),
    ]
    nodes = (await stack.stub.ListLineage(api.ListLineageRequest(name=grandchild.name))).nodes
    assert [(node.runtime_id, node.child_count) for node in nodes] == [
        (parent.runtime_id, 1),
        (child.runtime_id, 1),
        (grandchild.runtime_id, 0),
    ]
    spent = [node.spent.elapsed.ToTimedelta() for node in nodes]
    assert all(timedelta(seconds=0.05) < one < timedelta(seconds=30) for one in spent), spent
    assert nodes[0].spent.core_seconds == pytest.approx(spent[0].total_seconds(), abs=0.01), "on one core"
    assert not nodes[0].HasField("spent_with_ancestors"), "the root has none"
    for node, before in zip(nodes[1:], (origin, second), strict=True):
        in_all = node.spent.elapsed.ToTimedelta() + before.elapsed.ToTimedelta()
        assert node.spent_with_ancestors.elapsed.ToTimedelta() == in_all
    told = await stack.get(grandchild.name)
    assert (told.spent, told.spent_with_ancestors) == (nodes[2].spent, nodes[2].spent_with_ancestors)
    assert not (await stack.get(parent.name)).HasField("spent")


async def test_a_search_begins_at_the_snapshot_in_every_trial(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in those that the scheduler creates later."""
    monkeypatch.setattr("services.runtime.commands.starts.CREATED_WITH_RUNTIME", 1)
    parent = await a_parent(stack)
    search = {"search": {"space": {"step_seconds": [0.01, 0.02]}, "max_concurrent_trials": 2}}
    child = await branched(stack, at(parent, 15, configuration_changes_text=json.dumps(search)))
    trials = stack.application.views.runtimes[child.runtime_id].trials
    assert [one.searched["step_seconds"] for one in trials.values()] == ["0.01", "0.02"]
    assert [one.state.lineage[0].first_step for one in trials.values()] == [16, 16]


async def test_a_superseded_snapshot_can_be_branched_with_the_steps_that_led_to_it(stack: Stack) -> None:
    parent = await a_parent(stack, parameters={"fail_at": 13, "how": "deterministic"})
    first = f"step-{5:012d}-a1"
    await stack.stub.ResumeTrial(api.ResumeTrialRequest(name=f"{parent.name}/trials/1", snapshot_id=first))
    await stack.wait_event(parent.name, "attempt_started", 2)
    await stack.wait_ended(parent.name)
    listed = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=parent.name))).snapshots
    left = next(snapshot for snapshot in listed if snapshot.superseded)
    assert (left.step, left.attempt) == (10, 1)

    request = api.BranchTrialRequest(name=f"{parent.name}/trials/1", snapshot_id=left.snapshot_id)
    child = await branched(stack, request)

    trunk = (await payload(stack, child.name, "runtime_requested")).branch.origin.trunk
    assert [(part.attempt, part.first_step, part.last_step) for part in trunk] == [(1, 1, 10)]


async def test_a_branch_behind_a_roll_back_has_the_parameters_of_then(stack: Stack) -> None:
    parent = await a_parent(stack)
    back = api.RollBackTrialRequest(
        name=f"{parent.name}/trials/1", snapshot_id=f"step-{10:012d}-a1", parameters_text="step_seconds: 0.02"
    )
    await stack.stub.RollBackTrial(back)
    await stack.wait_event(parent.name, "attempt_started", 2)
    await stack.wait_ended(parent.name)

    child = await branched(stack, at(parent, 15))

    branch = (await payload(stack, child.name, "runtime_requested")).branch
    assert [(part.attempt, part.first_step, part.last_step) for part in branch.origin.trunk] == [
        (1, 1, 10),
        (2, 11, 15),
    ]
    assert (child.configuration.parameters["step_seconds"], list(branch.changes)) == ("0.02", [])


async def test_what_cannot_be_branched_is_refused_with_what_could(stack: Stack) -> None:
    parent = await a_parent(stack)
    branch = stack.stub.BranchTrial
    code, words = await refused(branch(at(parent, 12)))
    assert code == ("NOT_FOUND", "SNAPSHOT_NOT_FOUND")
    assert "the nearest are at 5, 10, 15, 20" in words
    code, words = await refused(branch(at(parent, 10, parameters_text="step_second: 1")))
    assert code[0] == "INVALID_ARGUMENT" and "did you mean step_seconds?" in words
    code, words = await refused(branch(at(parent, 10, parameters_text="step_seconds: fast")))
    assert code[0] == "INVALID_ARGUMENT" and "must be a number, as before, not text" in words
    code, words = await refused(branch(at(parent, 10, configuration_changes_text="resources: {workers: 2}")))
    assert code == ("FAILED_PRECONDITION", "NOT_A_BRANCH") and "resources" in words
    code, words = await refused(branch(at(parent, 10, configuration_changes_text="nonsense: 1")))
    assert code[0] == "INVALID_ARGUMENT" and "nonsense" in words
    code, words = await refused(branch(api.BranchTrialRequest(name=f"{parent.name}/trials/1")))
    assert code[0] == "INVALID_ARGUMENT" and "snapshot_id" in words
    damaged = next((stack.data_dir / "runtimes" / parent.runtime_id).glob("**/step-000000000010-a1/state.pt"))
    damaged.write_text("other")
    assert (await refused(branch(at(parent, 10))))[0] == ("FAILED_PRECONDITION", "SNAPSHOT_INVALID")
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=parent.name))
    await stack.wait_phase(parent.name, api.RUNTIME_PHASE_DELETED)
    assert (await refused(branch(at(parent, 5))))[0] == ("NOT_FOUND", "RUNTIME_DELETED")


async def test_a_script_that_milepost_did_not_start_cannot_be_branched(stack: Stack) -> None:
    """Whether it has a snapshot there or not: what to do instead is said."""
    configuration = json.dumps({"name": "mine", "launcher": "external"})
    script = (await stack.stub.StartRuntime(api.StartRuntimeRequest(configuration_text=configuration))).runtime
    code, words = await refused(stack.stub.BranchTrial(at(script, 10)))
    assert code == ("FAILED_PRECONDITION", "EXTERNAL_LAUNCHER")
    assert "load the snapshot there" in words
    await stack.stub.StopRuntime(
        api.StopRuntimeRequest(name=script.name, deadline=duration_pb2.Duration(nanos=200_000_000))
    )
    await stack.wait_ended(script.name)


async def test_a_parent_is_not_deleted_unseen_and_what_a_branch_needs_stays(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "PURGE_RETRY_SECONDS", 3_600.0)
    parent = await a_parent(stack)
    child = await branched(stack, at(parent, 10))

    code, words = await refused(stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=parent.name)))
    assert code == ("FAILED_PRECONDITION", "SNAPSHOTS_NEEDED")
    assert child.runtime_id in words

    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=parent.name, force=True))
    hidden = await stack.wait(parent.name, lambda r: bool(r.purge_remaining), "the rest of the purge is told")
    assert [line.partition(": ")[2] for line in hidden.purge_remaining] == [f"{child.runtime_id} began there"]
    kept = {path.parent.name for path in (stack.data_dir / "runtimes" / parent.runtime_id).glob("**/state.pt")}
    assert kept == {f"step-{10:012d}-a1"}

    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=child.name))
    await stack.wait_phase(child.name, api.RUNTIME_PHASE_DELETED)
    await stack.wait_phase(parent.name, api.RUNTIME_PHASE_DELETED)
    assert not list((stack.data_dir / "runtimes").glob(f"{parent.runtime_id}/**/state.pt"))


async def test_however_often_it_is_asked_for_and_wherever_it_breaks_off_there_is_one_branch(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = await a_parent(stack)
    request = at(parent, 10, request_id=ids.new_event_id())
    decide = Decisions.decide_together

    async def before(self: Decisions, wanted: Any, behind: Any) -> Any:
        raise RuntimeError("it dies before it has written")

    async def behind_it(self: Decisions, wanted: Any, behind: Any) -> Any:
        await decide(self, wanted, behind)
        raise RuntimeError("it dies before it has answered")

    for death in (before, behind_it):
        with monkeypatch.context() as dying:
            dying.setattr(Decisions, "decide_together", death)
            await refused(stack.stub.BranchTrial(request))
    answers = await asyncio.gather(*(stack.stub.BranchTrial(request) for _ in range(4)))

    (child,) = {answer.runtime.runtime_id for answer in answers}
    assert await held(stack, parent) == {10: [child]}
    await stack.wait_ended(f"runtimes/{child}")
    other = at(parent, 5, request_id=request.request_id)
    assert (await refused(stack.stub.BranchTrial(other)))[0] == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")

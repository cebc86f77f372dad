"""Commands that reactions are made of, by hand: labels, snapshots on request, roll backs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.integration.runtime.harness import Stack, refusal, running
from tests.support.servers.servers import NatsServer

LONG = {"parameters": {"steps": 100_000, "rate": 0.5}, "snapshots": {"keep_last": 100}}


@pytest.fixture
async def stack(shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(shared_nats, tmp_path / "data") as stack:
        yield stack
        await stack.stop_all()


async def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value)


async def snapshots(stack: Stack, name: str) -> list[api.Snapshot]:
    """List the snapshots, oldest first."""
    listed = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=name))).snapshots
    return list(reversed(listed))


async def launches(stack: Stack, name: str) -> list[facts.AttemptLaunched]:
    events = await stack.events(name)
    return [e.trial_event.attempt_launched for e in events if e.trial_event.HasField("attempt_launched")]


async def test_a_trial_goes_back_to_the_newest_whole_snapshot_before_a_step(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    await stack.wait_event(runtime.name, "snapshot_committed", 4)
    first, second, third, *_ = await snapshots(stack, runtime.name)
    (Path(second.uri.removeprefix("file://")) / "state.pt").write_text("torn")
    back = api.RollBackTrialRequest(
        name=f"{runtime.name}/trials/1", before_step=third.step, attempt=1, skip_batches=7,
        factors={"rate": 0.5}, parameters_text="momentum: 0.9", reason="it diverges", request_id="one",
    )  # fmt: skip
    answer = await stack.stub.RollBackTrial(back)
    assert (answer.snapshot_id, answer.snapshot_step) == (first.snapshot_id, first.step)
    assert (await stack.stub.RollBackTrial(back)).snapshot_id == first.snapshot_id
    await stack.wait_event(runtime.name, "attempt_started", 2)
    _, second_launch = await launches(stack, runtime.name)
    assert (second_launch.snapshot_id, second_launch.skip_batches) == (first.snapshot_id, 7)
    assert second_launch.reason == facts.LAUNCH_REASON_ROLL_BACK
    told = (stack.attempt_folder(runtime.runtime_id, attempt=2) / "attempt.json").read_text()
    assert '"rate": "0.25"' in told and '"momentum": "0.9"' in told
    given_up = [s for s in await snapshots(stack, runtime.name) if s.step > first.step and s.attempt == 1]
    assert given_up and all(s.superseded and s.state == api.SNAPSHOT_STATE_COMMITTED for s in given_up)
    # Whoever looks at what the second attempt is, finds why.
    events = await stack.events(runtime.name)
    launched = [e for e in events if e.trial_event.HasField("attempt_launched")][-1]
    behind = api.ListEventsRequest(parent=runtime.name, behind_event_id=launched.event_id)
    story = [e.type.split(".")[2] for e in (await stack.stub.ListEvents(behind)).events]
    assert story == ["attempt_launched", "trial_resume_requested", "attempt_fenced", "trial_roll_back_requested"]
    back.request_id = "two"
    assert await refused(stack.stub.RollBackTrial(back)) == ("FAILED_PRECONDITION", "STEPS_ABANDONED")


async def test_a_completed_run_is_rolled_back_and_completes_again(stack: Stack) -> None:
    runtime = await stack.start()
    await stack.wait_ended(runtime.name)
    chosen = (await snapshots(stack, runtime.name))[-2]
    back = api.RollBackTrialRequest(name=f"{runtime.name}/trials/1", snapshot_id=chosen.snapshot_id)
    await stack.stub.RollBackTrial(back)
    await stack.wait(
        runtime.name, lambda r: r.status == api.RUNTIME_STATUS_STARTED or r.end_time.seconds > 0, "it goes on"
    )
    await stack.wait_event(runtime.name, "runtime_completed", 2)
    assert [one.snapshot_id for one in await launches(stack, runtime.name)] == ["", chosen.snapshot_id]


async def test_a_roll_back_that_cannot_be_is_refused(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    name = f"{runtime.name}/trials/1"
    await stack.wait_event(runtime.name, "snapshot_committed", 1)
    (first, *_) = await snapshots(stack, runtime.name)

    def back(**more: Any) -> Any:
        return stack.stub.RollBackTrial(api.RollBackTrialRequest(name=name, **more))

    assert await refused(back(before_step=first.step)) == ("FAILED_PRECONDITION", "NO_EARLIER_SNAPSHOT")
    assert await refused(back(snapshot_id="s-nothing")) == ("NOT_FOUND", "SNAPSHOT_NOT_FOUND")
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"before_step": 5, "parameters_text": "steps: 7"},
        {"before_step": 5, "factors": {"nothing": 2.0}},
        {"before_step": 5, "factors": {"rate": -1.0}},
        {"before_step": 5, "parameters_text": "rate: ["},
        {"before_step": 2**53},
        {"before_step": 5, "skip_batches": -1},
        {"snapshot_id": ""},
    )
    for request in wrong:
        assert (await refused(back(**request)))[0] == "INVALID_ARGUMENT", request
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    assert len(await launches(stack, runtime.name)) == 1


async def test_a_runtime_is_labelled_and_found_by_it(stack: Stack) -> None:
    runtime = await stack.start(**LONG, labels={"team": "nlp", "old": "yes"})
    mark = runtime.runtime_id[-12:]
    request = api.LabelRuntimeRequest(name=runtime.name, labels={"spike": mark}, removed_labels=["old"])
    answer = await stack.stub.LabelRuntime(request)
    assert dict(answer.runtime.labels) == {"team": "nlp", "spike": mark}
    found = await stack.stub.ListRuntimes(api.ListRuntimesRequest(filter=f"label.spike={mark}"))
    assert [one.runtime_id for one in found.runtimes] == [runtime.runtime_id]
    assert (await stack.types(runtime.name)).count("labels_changed") == 1
    await stack.stub.LabelRuntime(request)
    assert (await stack.types(runtime.name)).count("labels_changed") == 1
    for labels in ({"a key": "x"}, {"token": "ghp_0123456789abcdefghij0123456789abcdef"}):
        wrong = api.LabelRuntimeRequest(name=runtime.name, labels=labels)
        assert (await refused(stack.stub.LabelRuntime(wrong)))[0] == "INVALID_ARGUMENT"


async def test_an_evaluation_is_asked_of_what_trains_only(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    request = api.EvaluateTrialRequest(name=f"{runtime.name}/trials/1", reason="how good is it?", request_id="one")
    await stack.wait_event(runtime.name, "attempt_started", 1)
    await stack.stub.EvaluateTrial(request)
    await stack.stub.EvaluateTrial(request)
    assert (await stack.types(runtime.name)).count("trial_evaluation_requested") == 1
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    again = api.EvaluateTrialRequest(name=request.name)
    assert await refused(stack.stub.EvaluateTrial(again)) == ("FAILED_PRECONDITION", "NOT_TRAINING")


async def test_a_snapshot_is_asked_for_once_until_it_comes(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    name = f"{runtime.name}/trials/1"
    await stack.wait_event(runtime.name, "attempt_started", 1)
    request = api.SnapshotTrialRequest(name=name, reason="before lunch")
    await asyncio.gather(*(stack.stub.SnapshotTrial(request) for _ in range(3)))
    assert (await stack.types(runtime.name)).count("trial_snapshot_requested") >= 1
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
    await stack.wait_ended(runtime.name)
    assert await refused(stack.stub.SnapshotTrial(request)) == ("FAILED_PRECONDITION", "NOT_TRAINING")

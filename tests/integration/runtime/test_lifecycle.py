"""Runtimes from request to end, on a real log with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.proof.anchor import AnchorFile, anchors_path
from services.runtime.policies import control
from services.runtime.scheduling import scheduler
from tests.integration.runtime.harness import Stack, refusal, running, trainers_below
from tests.support.servers.servers import NatsServer

LONG = {"parameters": {"steps": 100_000}}


@pytest.fixture
async def stack(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(nats_server, tmp_path / "data") as stack:
        yield stack


async def test_a_runtime_is_started_trains_and_completes(stack: Stack) -> None:
    started = await stack.start()
    assert started.status == api.RUNTIME_STATUS_STARTED
    assert started.phase == api.RUNTIME_PHASE_QUEUED
    ended = await stack.wait_ended(started.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(started.name)
    assert ended.trials.completed == 1
    types = await stack.types(started.name)
    control = ["runtime_requested", "trial_created", "resources_allocated", "attempt_launched"]
    assert types[:4] == control
    assert types[-3:] == ["trial_completed", "runtime_completed", "resources_released"]
    assert types.count("snapshot_committed") == 4
    assert stack.starts(started.runtime_id) == {"trial-1/attempt-1": 1}


async def test_an_abrupt_stop_ends_as_aborted_and_a_resume_goes_on_from_the_snapshot(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    await stack.wait_event(runtime.name, "snapshot_committed", 2)
    stopped = await stack.stub.StopRuntime(
        api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT, reason="enough")
    )
    assert stopped.runtime.phase == api.RUNTIME_PHASE_STOPPING
    aborted = await stack.wait_ended(runtime.name)
    assert aborted.status == api.RUNTIME_STATUS_ABORTED
    assert aborted.trials.waiting == 1
    assert trainers_below(stack.data_dir) == []
    newest = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=runtime.name))).snapshots[0]

    changes = json.dumps({"parameters": {"steps": newest.step + 10}})
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name, configuration_changes_text=changes))
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(runtime.name)
    launches = [
        e.trial_event.attempt_launched
        for e in await stack.events(runtime.name)
        if e.type.endswith("attempt_launched.v1")
    ]
    assert [launch.snapshot_step for launch in launches] == [0, newest.step]


async def test_a_graceful_stop_saves_everything(stack: Stack) -> None:
    runtime = await stack.start(parameters={"steps": 100_000, "snapshot_every": 0})
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_RUNNING)
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name))
    aborted = await stack.wait_ended(runtime.name)
    assert aborted.status == api.RUNTIME_STATUS_ABORTED, await stack.story(runtime.name)
    stopped = [e.trial_event.trial_stopped for e in await stack.events(runtime.name) if "trial_stopped" in e.type]
    assert [fact.lost_steps for fact in stopped] == [0]


async def test_what_made_a_runtime_what_it_is_is_how_it_ended_not_that_its_resources_are_free(stack: Stack) -> None:
    runtime = await stack.start(parameters={"steps": 5})
    ended = await stack.wait(runtime.name, lambda r: r.phase == api.RUNTIME_PHASE_ENDED, "its resources are free")
    events = await stack.events(runtime.name)
    assert any(e.type.endswith("resources_released.v1") for e in events)
    change = next(e for e in events if e.event_id == ended.change_event_id)
    assert change.type == "milepost.runtime.runtime_completed.v1"


async def test_a_killed_trainer_is_retried_from_its_snapshot(stack: Stack) -> None:
    runtime = await stack.start(parameters={"steps": 30, "fail_at": 12, "how": "kill"})
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(runtime.name)
    events = await stack.events(runtime.name)
    retry = next(e.trial_event.retry_scheduled for e in events if "retry_scheduled" in e.type)
    assert retry.cause == common.EXIT_CAUSE_SIGNAL
    launches = [e.trial_event.attempt_launched for e in events if "attempt_launched" in e.type]
    assert [launch.snapshot_step for launch in launches] == [0, 10]


async def test_a_runtime_says_that_it_is_retried_and_then_that_it_went_on(stack: Stack) -> None:
    """Not what it said when its first attempt began."""
    crashing = {"steps": 100_000, "fail_at": 12, "how": "kill"}
    runtime = await stack.start(parameters=crashing, retries={"backoff_seconds": 1.0})
    retried = await stack.wait(runtime.name, lambda r: "Retry 1 of 2 scheduled" in r.reason, "a retry")
    assert (retried.status, retried.phase) == (api.RUNTIME_STATUS_STARTED, api.RUNTIME_PHASE_STARTING)
    assert "killed by SIGKILL" in retried.reason
    runs = await stack.wait(runtime.name, lambda r: r.phase == api.RUNTIME_PHASE_RUNNING, "it runs again")
    assert runs.reason == "Attempt 2 went on from step 10"
    change = next(e for e in await stack.events(runtime.name) if e.event_id == runs.change_event_id)
    assert change.trial_event.attempt_started.attempt == 2


async def test_a_trainer_that_keeps_dying_makes_the_runtime_fail(stack: Stack) -> None:
    """It has saved nothing: a resume begins again at the first step, and says so."""
    runtime = await stack.start(
        parameters={"steps": 30, "fail_at": 3, "how": "kill", "fail_attempts": 3, "snapshot_every": 0}
    )
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_FAILED
    assert ended.failure_reason == common.FAILURE_REASON_CRASHED
    assert stack.starts(runtime.runtime_id) == {f"trial-1/attempt-{n}": 1 for n in (1, 2, 3)}
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name))
    ended = await stack.wait(runtime.name, lambda r: r.status == api.RUNTIME_STATUS_COMPLETED, "it completes")
    launches = [e for e in await stack.events(runtime.name) if "attempt_launched" in e.type]
    assert launches[-1].message.startswith("Attempt 4 launched on resume from the beginning")
    started = [e.trial_event.attempt_started for e in await stack.events(runtime.name) if "attempt_started" in e.type]
    assert started[-1].attempt == 4


async def test_a_deterministic_failure_is_not_retried(stack: Stack) -> None:
    runtime = await stack.start(parameters={"fail_at": 2, "how": "deterministic"})
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_FAILED
    assert ended.failure_reason == common.FAILURE_REASON_DETERMINISTIC_ERROR
    assert "attempt_launched" in await stack.types(runtime.name)
    assert "retry_scheduled" not in await stack.types(runtime.name)


async def test_a_trainer_that_writes_more_than_an_attempt_may_is_ended(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_MESSAGES", 20)
    runtime = await stack.start(parameters={"steps": 100_000, "snapshot_every": 1})
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_FAILED
    assert "an attempt may write 20" in ended.reason
    assert "retry_scheduled" not in await stack.types(runtime.name)


async def test_a_silent_trainer_is_lost_after_the_grace_and_replaced(stack: Stack) -> None:
    runtime = await stack.start(
        parameters={"steps": 30, "fail_at": 7, "how": "silent"}, limits={"heartbeat_grace_seconds": 1}
    )
    ended = await stack.wait_ended(runtime.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, await stack.story(runtime.name)
    fence = next(e.trial_event.attempt_fenced for e in await stack.events(runtime.name) if "attempt_fenced" in e.type)
    assert fence.cause == common.EXIT_CAUSE_LOST


async def test_a_long_queue_moves_up_without_an_event_of_those_that_wait(stack: Stack) -> None:
    """Each says once why it waits, and once more when it is the next one."""
    all_of_it = {"resources": {"cpus_per_worker": 8}}
    first = await stack.start(**LONG, **all_of_it)
    await stack.wait_phase(first.name, api.RUNTIME_PHASE_RUNNING)
    queued = [(await stack.start(**LONG, **all_of_it)).name for _ in range(4)]
    last = await stack.wait(queued[-1], lambda r: r.queue_position == 4, "the last place in the queue")
    assert last.pending_reason == facts.PENDING_REASON_BEHIND_OTHERS
    for position, name in zip((3, 2, 1), queued, strict=False):
        await stack.stub.StopRuntime(api.StopRuntimeRequest(name=name))
        await stack.wait(queued[-1], lambda r, at=position: r.queue_position == at, "it moves up")  # type: ignore[misc]
    listed = (await stack.stub.ListRuntimes(api.ListRuntimesRequest(filter="phase=QUEUED"))).runtimes
    assert [(one.name, one.queue_position) for one in listed] == [(queued[-1], 1)]
    next_one = await stack.wait(queued[-1], lambda r: "number 1 in the queue" in r.reason, "why it waits")
    assert next_one.pending_reason == facts.PENDING_REASON_INSUFFICIENT_CPU
    counts = [(await stack.types(name)).count("resources_pending") for name in queued]
    assert counts[0] == 1 and counts[-1] == 2 and max(counts) == 2, await stack.story(queued[-1])


async def test_a_stop_while_queued_needs_no_process(stack: Stack) -> None:
    first = await stack.start(**LONG, resources={"cpus_per_worker": 8})
    await stack.wait_phase(first.name, api.RUNTIME_PHASE_RUNNING)
    second = await stack.start(**LONG, resources={"cpus_per_worker": 8})
    waiting = await stack.wait(second.name, lambda r: r.queue_position == 1, "a place in the queue")
    assert waiting.phase == api.RUNTIME_PHASE_QUEUED
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=second.name))
    ended = await stack.wait_ended(second.name)
    assert ended.status == api.RUNTIME_STATUS_ABORTED
    assert stack.starts(second.runtime_id) == {}


async def test_a_deleted_runtime_is_purged_and_its_trail_stays(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    await stack.wait_event(runtime.name, "snapshot_committed")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name))
    assert refusal(error.value) == ("FAILED_PRECONDITION", "RUNTIME_IN_PROGRESS")
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name, force=True))
    deleted = await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
    assert deleted.deleted
    assert not (stack.data_dir / "runtimes" / runtime.runtime_id).exists()
    assert stack.metrics.purged == [runtime.name]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stack.stub.GetRuntime(api.GetRuntimeRequest(name=runtime.name))
    assert refusal(error.value) == ("NOT_FOUND", "RUNTIME_DELETED")
    purged = next(e.runtime_event.runtime_purged for e in await stack.events(runtime.name) if "purged" in e.type)
    assert (purged.point_count, purged.log_line_count, list(purged.remaining)) == (5, 7, [])


async def test_what_a_delete_could_not_remove_is_listed_and_removed_after_a_restart(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The metric service is down at first; the runtime service ends in between. Given again, the delete does nothing."""
    async with running(nats_server, tmp_path / "data") as stack:
        runtime = await stack.start()
        await stack.wait_ended(runtime.name)
        stack.metrics.down = True
        await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name))
        left = await stack.wait(runtime.name, lambda r: bool(r.purge_remaining), "what remains is listed")
        assert left.phase == api.RUNTIME_PHASE_DELETING
        assert any(line.startswith("metrics and logs: ") for line in left.purge_remaining)
    async with running(nats_server, tmp_path / "data") as again:
        await again.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
        assert again.metrics.purged == [runtime.name]
        reports = [e.runtime_event.runtime_purged for e in await again.events(runtime.name) if "purged" in e.type]
        assert [bool(report.remaining) for report in reports] == [True, False]
        before = await again.types(runtime.name)
        repeated = (await again.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name))).runtime
        assert repeated.phase == api.RUNTIME_PHASE_DELETED
        assert await again.types(runtime.name) == before
        assert before.count("delete_requested") == 1
        assert before[0] == "runtime_requested", "the trail stays"


async def test_a_purge_that_keeps_failing_is_tried_ever_less_often_and_told_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "PURGE_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(scheduler, "MAX_PURGE_RETRY_SECONDS", 0.4)
    runtime = await stack.start()
    await stack.wait_ended(runtime.name)
    stack.metrics.down = True
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name))
    async with asyncio.timeout(60):
        while stack.metrics.asked < 6:
            await asyncio.sleep(0.05)
    assert (await stack.types(runtime.name)).count("runtime_purged") == 1
    pauses = stack.application.scheduler._purge_pauses
    assert {runtime_id: next(pause) for runtime_id, pause in pauses.items()} == {runtime.runtime_id: 0.4}
    stack.metrics.down = False
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
    assert pauses == {}


async def test_a_stop_works_while_a_run_starts_waits_for_a_retry_or_is_being_resumed(stack: Stack) -> None:
    crashing = {"steps": 100_000, "fail_at": 7, "how": "kill"}
    starting = await stack.start(**LONG)
    retrying = await stack.start(parameters=crashing, retries={"backoff_seconds": 60.0})
    resuming = await stack.start(**LONG)

    await stack.wait_event(starting.name, "attempt_launched")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=starting.name))
    await stack.wait_event(retrying.name, "retry_scheduled")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=retrying.name))
    await stack.wait_event(resuming.name, "snapshot_committed")
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=resuming.name))
    await stack.wait_ended(resuming.name)
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=resuming.name))
    await stack.stub.StopRuntime(api.StopRuntimeRequest(name=resuming.name, mode=common.STOP_MODE_ABRUPT))

    for runtime in (starting, retrying, resuming):
        ended = await stack.wait_ended(runtime.name)
        assert ended.status == api.RUNTIME_STATUS_ABORTED, await stack.story(runtime.name)
        assert (await stack.types(runtime.name))[-1] == "resources_released"
    assert stack.starts(retrying.runtime_id) == {"trial-1/attempt-1": 1}, "the retry was not made"
    assert trainers_below(stack.data_dir) == []


async def test_trainers_survive_a_restart_of_the_service(nats_server: NatsServer, tmp_path: Path) -> None:
    async with running(nats_server, tmp_path / "data") as stack:
        runtime = await stack.start(**LONG)
        await stack.wait_event(runtime.name, "snapshot_committed")
        pid = stack.trainer_pid(runtime.runtime_id)
        await stack.application.stop()
        async with running(nats_server, tmp_path / "data") as again:
            await again.wait_event(runtime.name, "snapshot_committed", 4)
            assert again.trainer_pid(runtime.runtime_id) == pid
            os.kill(pid, signal.SIGKILL)
            await again.wait_event(runtime.name, "attempt_launched", 2)
            assert again.starts(runtime.runtime_id)["trial-1/attempt-1"] == 1
            await again.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT))
            ended = await again.wait_ended(runtime.name)
            assert ended.status == api.RUNTIME_STATUS_ABORTED


async def test_a_restart_goes_on_anchoring_where_the_last_anchor_is(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would read the whole log again otherwise, and hold up every call meanwhile."""
    data_dir = tmp_path / "data"
    async with running(nats_server, data_dir) as stack:
        for _ in range(2):
            await stack.wait_ended((await stack.start()).name)
            await stack.application.anchoring.anchor_growth()
    anchored = AnchorFile(anchors_path(data_dir)).read()[-1].sequence
    read_after: list[int] = []
    examine = JetStreamLog.examine

    def examine_and_tell(log: JetStreamLog, after: int = 0, until: int | None = None) -> Any:
        read_after.append(after)
        return examine(log, after, until)

    async with running(nats_server, data_dir) as stack:
        await stack.wait_ended((await stack.start()).name)
        monkeypatch.setattr(JetStreamLog, "examine", examine_and_tell)
        await stack.application.anchoring.anchor_growth()
    assert read_after
    assert min(read_after) >= anchored

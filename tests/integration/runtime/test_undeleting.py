"""Deletions in two steps: hidden at once and brought back, or purged when the restore window is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.integration.runtime.harness import Stack, refusal, running
from tests.support.servers.servers import NatsServer

WEEK = timedelta(days=7)
RESTORABLE = api.RUNTIME_PHASE_RESTORABLE


@pytest.fixture
async def stack(shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(shared_nats, tmp_path / "data", restore_window=WEEK) as stack:
        yield stack
        await stack.stop_all()


async def refused(call: Any) -> tuple[tuple[str, str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value), error.value.details() or ""


async def ended(stack: Stack, **changes: Any) -> api.Runtime:
    return await stack.wait_ended((await stack.start(**changes)).name)


async def deleted(stack: Stack, name: str, **more: Any) -> api.Runtime:
    return (await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=name, **more))).runtime


async def undelete(stack: Stack, name: str, **more: Any) -> api.Runtime:
    return (await stack.stub.UndeleteRuntime(api.UndeleteRuntimeRequest(name=name, **more))).runtime


async def listed(stack: Stack, **more: Any) -> list[str]:
    answer = await stack.stub.ListRuntimes(api.ListRuntimesRequest(page_size=1_000, **more))
    return [one.runtime_id for one in answer.runtimes]


def saved(stack: Stack, runtime: api.Runtime) -> int:
    return len(list((stack.data_dir / "runtimes" / runtime.runtime_id).glob("**/state.pt")))


async def test_a_deleted_run_is_hidden_at_once_and_comes_back_as_it_was(stack: Stack) -> None:
    runtime = await ended(stack)
    hidden = await deleted(stack, runtime.name)
    assert (hidden.phase, hidden.deleted) == (RESTORABLE, True)
    left = hidden.purge_time.ToDatetime(UTC) - datetime.now(UTC)
    assert WEEK - timedelta(minutes=5) < left <= WEEK
    assert runtime.runtime_id not in await listed(stack)
    assert runtime.runtime_id in await listed(stack, show_deleted=True, filter="phase=RESTORABLE")
    code, words = await refused(stack.stub.GetRuntime(api.GetRuntimeRequest(name=runtime.name)))
    assert code == ("NOT_FOUND", "RUNTIME_DELETED") and "it can be undeleted until" in words
    branch = api.BranchTrialRequest(name=f"{runtime.name}/trials/1", step=10)
    code, words = await refused(stack.stub.BranchTrial(branch))
    assert code == ("NOT_FOUND", "RUNTIME_DELETED") and "it can be undeleted until" in words
    assert (saved(stack, runtime), stack.metrics.purged) == (4, [])

    back = await undelete(stack, runtime.name, reason="the wrong one", request_id="once")
    assert await undelete(stack, runtime.name, reason="the wrong one", request_id="once") == back
    same = ("status", "phase", "reason", "change_time", "changed_by", "end_time", "deleted")
    assert [getattr(back, field) for field in same] == [getattr(runtime, field) for field in same]
    assert not back.HasField("purge_time") and not back.HasField("delete_time")
    assert runtime.runtime_id in await listed(stack)
    child = (await stack.stub.BranchTrial(branch)).runtime
    assert (await stack.wait_ended(child.name)).status == api.RUNTIME_STATUS_COMPLETED
    types = await stack.types(runtime.name)
    assert (types.count("delete_requested"), types.count("runtime_undeleted")) == (1, 1)


async def test_what_is_purged_is_not_brought_back_or_branched(stack: Stack) -> None:
    runtime = await ended(stack)
    await deleted(stack, runtime.name)
    # Who needs the disk does not wait for the window.
    await deleted(stack, runtime.name, purge=True)
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
    assert (saved(stack, runtime), stack.metrics.purged) == (0, [runtime.name])
    code, words = await refused(stack.stub.UndeleteRuntime(api.UndeleteRuntimeRequest(name=runtime.name)))
    assert code == ("FAILED_PRECONDITION", "RUNTIME_PURGED") and "its snapshots, metrics and logs are gone" in words
    branch = api.BranchTrialRequest(name=f"{runtime.name}/trials/1", step=10)
    code, words = await refused(stack.stub.BranchTrial(branch))
    assert code == ("NOT_FOUND", "RUNTIME_DELETED") and "purged" in words
    unknown = api.UndeleteRuntimeRequest(name="runtimes/rt-00000000000000000000000000")
    assert (await refused(stack.stub.UndeleteRuntime(unknown)))[0] == ("NOT_FOUND", "RUNTIME_NOT_FOUND")


async def test_a_run_that_was_deleted_while_it_trained_goes_on_when_it_is_brought_back(stack: Stack) -> None:
    runtime = await stack.start(parameters={"steps": 60, "step_seconds": 0.05})
    await stack.wait_event(runtime.name, "snapshot_committed")
    await deleted(stack, runtime.name, force=True)
    await stack.wait_phase(runtime.name, RESTORABLE)
    back = await undelete(stack, runtime.name)
    assert (back.status, back.phase) == (api.RUNTIME_STATUS_ABORTED, api.RUNTIME_PHASE_ENDED)
    await stack.stub.ResumeRuntime(api.ResumeRuntimeRequest(name=runtime.name))
    assert (await stack.wait_ended(runtime.name)).status == api.RUNTIME_STATUS_COMPLETED


async def test_the_window_goes_on_over_a_restart_and_ends_with_the_purge(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A run that the checkpoint of the service tells of is purged in time too; it is opened only for that."""
    window = timedelta(seconds=6)
    async with running(nats_server, tmp_path / "data", restore_window=window) as stack:
        runtime, kept = await ended(stack), await ended(stack)
        await deleted(stack, kept.name)
        hidden = await deleted(stack, runtime.name)
        await undelete(stack, kept.name)
        await stack.application.checkpointing.write()
    async with running(nats_server, tmp_path / "data", restore_window=WEEK) as again:
        assert (await again.get(runtime.name)).purge_time == hidden.purge_time, "a new setting changes no deletion"
        assert saved(again, runtime) == 4
        await again.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
        assert datetime.now(UTC) >= hidden.purge_time.ToDatetime(UTC)
        types = await again.types(runtime.name)
        assert types[-4:] == ["delete_requested", "purge_started", "trial_purge_started", "runtime_purged"]
        await asyncio.sleep(1.5)
        assert again.metrics.purged == [runtime.name] and saved(again, kept) == 4

"""Snapshots that somebody wants kept: for whom and why, and what they stand in the way of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.integration.runtime.harness import Stack, refusal, running
from tests.support.servers.servers import NatsServer

ALICE = (("mp-actor", "user:alice"),)


@pytest.fixture
async def stack(shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(shared_nats, tmp_path / "data") as stack:
        yield stack
        await stack.stop_all()


async def refused(call: Any) -> tuple[tuple[str, str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal(error.value), error.value.details() or ""


async def snapshots(stack: Stack, name: str) -> dict[int, api.Snapshot]:
    listed = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=name))).snapshots
    return {snapshot.step: snapshot for snapshot in listed}


async def test_a_pin_says_who_wants_it_and_why_and_a_missing_snapshot_is_refused_with_those_there_are(
    stack: Stack,
) -> None:
    runtime = await stack.start()
    await stack.wait_ended(runtime.name)
    trial = f"{runtime.name}/trials/1"
    pin = api.PinSnapshotRequest(name=trial, step=10, reason="before the spike", request_id="once")
    pinned = (await stack.stub.PinSnapshot(pin, metadata=ALICE)).snapshot
    assert (pinned.step, pinned.pin.actor, pinned.pin.reason) == (10, "unverified:user:alice", "before the spike")
    assert pinned.pin.HasField("time")
    await stack.stub.PinSnapshot(pin, metadata=ALICE)
    await stack.stub.PinSnapshot(api.PinSnapshotRequest(name=trial, snapshot_id=pinned.snapshot_id))
    assert (await stack.types(runtime.name)).count("snapshot_pinned") == 1
    listed = await snapshots(stack, runtime.name)
    assert [step for step, snapshot in listed.items() if snapshot.HasField("pin")] == [10]
    assert listed[10].pin == pinned.pin

    for command, request in (
        (stack.stub.PinSnapshot, api.PinSnapshotRequest),
        (stack.stub.UnpinSnapshot, api.UnpinSnapshotRequest),
    ):
        code, words = await refused(command(request(name=trial, step=12)))
        assert code == ("NOT_FOUND", "SNAPSHOT_NOT_FOUND") and "the nearest are at 5, 10, 15, 20" in words
        for wrong in (request(name=trial), request(name=trial, step=-1)):
            assert (await refused(command(wrong)))[0][0] == "INVALID_ARGUMENT"

    unpin = api.UnpinSnapshotRequest(name=trial, snapshot_id=pinned.snapshot_id)
    assert not (await stack.stub.UnpinSnapshot(unpin)).snapshot.HasField("pin")
    assert not (await snapshots(stack, runtime.name))[10].HasField("pin")


async def test_a_run_with_pinned_snapshots_is_not_deleted_unseen(stack: Stack) -> None:
    runtime = await stack.start()
    await stack.wait_ended(runtime.name)
    trial = f"{runtime.name}/trials/1"
    await stack.stub.PinSnapshot(api.PinSnapshotRequest(name=trial, step=10))
    await stack.stub.PinSnapshot(api.PinSnapshotRequest(name=trial, step=15))
    await stack.stub.UnpinSnapshot(api.UnpinSnapshotRequest(name=trial, step=15))
    code, words = await refused(stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name)))
    assert code == ("FAILED_PRECONDITION", "SNAPSHOTS_PINNED") and "at step 10. Unpin" in words
    await stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name, force=True))
    await stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
    assert (await refused(stack.stub.PinSnapshot(api.PinSnapshotRequest(name=trial, step=10))))[0] == (
        "NOT_FOUND",
        "RUNTIME_DELETED",
    )

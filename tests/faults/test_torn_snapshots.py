"""A trainer that is killed while it saves: the snapshot before is used, and nothing of the torn one is left."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.integration.runtime.harness import Stack, running, storing
from tests.support.servers.servers import NatsServer, running_nats

ASSETS = Path(__file__).resolve().parents[1] / "assets"
POINTS = ("created", "state", "rank", "synced", "before rename", "after rename", "driver")
AT_A_TIME = 3


async def survive(stack: Stack, nats: NatsServer, point: str) -> None:
    """Run a trainer that dies at one point of its second snapshot, and check what came of it."""
    configuration = {
        "name": point,
        "entrypoint": "loops.py:dies_saving",
        "working_directory": str(ASSETS),
        "parameters": {"point": point},
        "snapshots": {"every_steps": 10, "keep_last": 10},
        "retries": {"max_retries": 1, "backoff_seconds": 0.1},
    }
    request = api.StartRuntimeRequest(configuration_text=json.dumps(configuration))
    runtime = (await stack.stub.StartRuntime(request)).runtime
    async with storing(nats, runtime.runtime_id):
        ended = await stack.wait_ended(runtime.name)
    story = f"{point}:\n" + "\n".join(await stack.story(runtime.name))
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, story
    events = await stack.events(runtime.name)
    committed = [e.trial_event.snapshot_committed for e in events if "snapshot_committed" in e.type]
    launched = [e.trial_event.attempt_launched for e in events if "attempt_launched" in e.type]
    first = [fact.step for fact in committed if fact.attempt == 1]
    assert len(launched) == 2, story
    assert first == [launched[1].snapshot_step], f"only what was committed is gone on from; {story}"
    assert not launched[1].rejected_snapshot_ids, story
    folder = stack.data_dir / "runtimes" / runtime.runtime_id / "trial-1" / "snapshots"
    assert sorted(path.name for path in folder.iterdir()) == sorted(fact.snapshot_id for fact in committed), story


async def survive_all(tmp_path: Path, points: tuple[str, ...]) -> None:
    with running_nats(tmp_path / "nats") as nats:
        async with running(nats, tmp_path / "data", trainer_command=()) as stack:
            # Some at a time: each is a real trainer.
            for start in range(0, len(points), AT_A_TIME):
                await asyncio.gather(*(survive(stack, nats, point) for point in points[start : start + AT_A_TIME]))


@pytest.mark.timeout(180)
async def test_two_kills_while_saving_leave_the_snapshot_before(tmp_path: Path) -> None:
    await survive_all(tmp_path, ("state", "after rename"))


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_a_kill_at_any_point_of_saving_leaves_the_snapshot_before(tmp_path: Path) -> None:
    await survive_all(tmp_path, POINTS)

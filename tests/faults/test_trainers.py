"""Trainers that die, freeze and come back: fenced, replaced, and never two at a time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration

from milepost import ids
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from services.runtime.policies import liveness
from tests.integration.runtime.harness import ROOT, TRAINER, Stack, running, trainers_below
from tests.support.servers.servers import NatsServer, running_nats

ASSETS = ROOT / "tests" / "assets"
LONG = {"parameters": {"steps": 1_000_000, "snapshot_every": 5}}


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    with running_nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def stack(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(nats, tmp_path / "data") as stack:
        yield stack


async def until_gone(process: subprocess.Popen[bytes], seconds: float = 60.0) -> int:
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        assert time.monotonic() < deadline, "the process is still there"
        await asyncio.sleep(0.05)
    return int(process.returncode)


@pytest.mark.parametrize(
    ("silent_seconds", "frozen_seconds"),
    [(0.5, 0.0), pytest.param(None, 45.0, marks=[pytest.mark.faults, pytest.mark.timeout(240)])],
)
async def test_a_zombie_that_nobody_can_kill_is_waited_for_and_writes_nothing_once_it_is_stopped(
    stack: Stack,
    nats: NatsServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    silent_seconds: float | None,
    frozen_seconds: float,
) -> None:
    """As on another host: it freezes, looks unhealthy, thaws and is well; freezes again, is stopped, and finds out."""
    if silent_seconds is not None:
        for name in ("LATE_SECONDS", "SILENT_SECONDS", "STEADY_SECONDS"):
            monkeypatch.setattr(liveness, name, silent_seconds)
    own = ids.new_runtime_id()
    configuration = {"name": "elsewhere", "launcher": "external", "limits": {"heartbeat_grace_seconds": 1.0}}
    request = api.StartRuntimeRequest(configuration_text=json.dumps(configuration), runtime_id=own)
    runtime = (await stack.stub.StartRuntime(request)).runtime
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    launch = AttemptLaunch(
        runtime_id=own,
        trial=1,
        attempt=1,
        parameters={"steps": "1000000", "snapshot_every": "5", "step_seconds": "0.01"},
        nats_url=nats.url,
        attempt_directory=str(folder),
        snapshot_storage_uri=(folder / "snapshots").as_uri(),
    )
    (folder / "attempt.json").write_text(json_format.MessageToJson(launch))
    command = [*TRAINER, "--launch", str(folder / "attempt.json")]
    zombie = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        await stack.wait_event(runtime.name, "snapshot_committed", 2)
        zombie.send_signal(signal.SIGSTOP)
        thaw = asyncio.create_task(asyncio.sleep(frozen_seconds))
        silent = await stack.wait(runtime.name, lambda r: r.health == common.HEALTH_UNHEALTHY, "it looks unhealthy")
        assert "no contact since " in silent.health_reason
        await thaw
        assert "attempt_fenced" not in await stack.types(runtime.name)
        zombie.send_signal(signal.SIGCONT)
        await stack.wait(runtime.name, lambda r: r.health == common.HEALTH_HEALTHY, "it is well again")
        zombie.send_signal(signal.SIGSTOP)
        await stack.wait(runtime.name, lambda r: r.health == common.HEALTH_UNHEALTHY, "it looks unhealthy again")
        await stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, deadline=Duration(nanos=200_000_000)))
        ended = await stack.wait_ended(runtime.name)
        zombie.send_signal(signal.SIGCONT)
        assert await until_gone(zombie) == 3
    finally:
        zombie.kill()
        zombie.wait()
    assert ended.status == api.RUNTIME_STATUS_ABORTED
    assert "it did not stop before the deadline: no contact since " in ended.reason
    events = await stack.events(runtime.name)
    fence = next(event.sequence for event in events if "attempt_fenced" in event.type)
    assert not [event for event in events if event.sequence > fence and "attempt-" in event.subject]


async def test_a_killed_trainer_leaves_no_orphan_and_goes_on_from_its_snapshot(stack: Stack) -> None:
    runtime = await stack.start(**LONG, retries={"max_retries": 10, "backoff_seconds": 0.1})
    for attempt in (1, 2, 3):
        await stack.wait_event(runtime.name, "attempt_started", attempt)
        await stack.wait_event(runtime.name, "snapshot_committed", 2 * attempt)
        os.kill(stack.trainer_pid(runtime.runtime_id, attempt=attempt), signal.SIGKILL)
    await stack.wait_event(runtime.name, "attempt_started", 4)
    assert len(trainers_below(stack.data_dir)) == 1
    launches = [
        e.trial_event.attempt_launched for e in await stack.events(runtime.name) if "attempt_launched" in e.type
    ]
    steps = [launch.snapshot_step for launch in launches]
    assert steps == sorted(steps)
    assert steps[1] > 0
    assert set(stack.starts(runtime.runtime_id).values()) == {1}


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_a_trainer_that_freezes_is_marked_lost_within_45_seconds(stack: Stack) -> None:
    runtime = await stack.start(**LONG)
    await stack.wait_event(runtime.name, "snapshot_committed", 2)
    frozen = stack.trainer_pid(runtime.runtime_id)
    began = time.monotonic()
    os.kill(frozen, signal.SIGSTOP)
    await stack.wait_event(runtime.name, "attempt_fenced")
    assert time.monotonic() - began <= 45
    await stack.wait_event(runtime.name, "attempt_started", 2)
    assert frozen not in trainers_below(stack.data_dir)
    changes = [
        e.trial_event.instance_health_changed.health
        for e in await stack.events(runtime.name)
        if "instance_health" in e.type
    ]
    assert changes[:3] == [common.HEALTH_HEALTHY, common.HEALTH_DEGRADED, common.HEALTH_UNHEALTHY]


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_a_trainer_that_hangs_is_reported_while_it_is_alive(nats: NatsServer, tmp_path: Path) -> None:
    """With the real trainer: no step for ten times the usual time (at least 30 s), and heartbeats all the while."""
    async with running(nats, tmp_path / "real", trainer_command=()) as stack:
        configuration = {"name": "hangs", "entrypoint": "loops.py:hangs", "working_directory": str(ASSETS)}
        request = api.StartRuntimeRequest(configuration_text=json.dumps(configuration))
        runtime = (await stack.stub.StartRuntime(request)).runtime
        await stack.wait_event(runtime.name, "attempt_started")
        await stack.wait_event(runtime.name, "alert_raised")
        alert = next(e.trial_event.alert_raised for e in await stack.events(runtime.name) if "alert" in e.type)
        assert (alert.kind, alert.step) == (facts.ALERT_KIND_NO_PROGRESS, 100)
        assert "alive, but no step for" in alert.message
        await stack.wait(runtime.name, lambda r: r.health == common.HEALTH_DEGRADED, "it is degraded")
        assert "attempt_fenced" not in await stack.types(runtime.name), "it is not lost"
        stop = api.StopRuntimeRequest(name=runtime.name, mode=common.STOP_MODE_ABRUPT)
        await stack.stub.StopRuntime(stop)
        await stack.wait_ended(runtime.name)


@pytest.mark.parametrize("damage", ["state.pt", "manifest.json", "folder"])
async def test_a_torn_snapshot_is_passed_over_on_a_retry(stack: Stack, damage: str) -> None:
    runtime = await stack.start(**LONG, retries={"max_retries": 3, "backoff_seconds": 4.0})
    await stack.wait_event(runtime.name, "snapshot_committed", 3)
    os.kill(stack.trainer_pid(runtime.runtime_id), signal.SIGKILL)
    await stack.wait_event(runtime.name, "retry_scheduled")
    newest = (await stack.stub.ListSnapshots(api.ListSnapshotsRequest(parent=runtime.name))).snapshots[0]
    folder = Path(newest.uri.removeprefix("file://"))
    if damage == "folder":
        folder.rename(folder.with_name("gone"))
    else:
        (folder / damage).write_bytes((folder / damage).read_bytes()[:-3])
    await stack.wait_event(runtime.name, "attempt_launched", 2)
    launches = [
        e.trial_event.attempt_launched for e in await stack.events(runtime.name) if "attempt_launched" in e.type
    ]
    assert list(launches[1].rejected_snapshot_ids) == [newest.snapshot_id]
    assert 0 < launches[1].snapshot_step < newest.step

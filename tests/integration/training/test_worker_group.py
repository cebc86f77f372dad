"""Attempts with a worker group: a real driver, a real Ray instance, two real workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog.nats.connection import Connection
from tests.support.servers.listening import beyond_loopback, listening
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Attempt, TrialOnTest, Writer, same_bits

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
LOOP = "loops.py:ddp"
STEPS = 48
# A group takes 15 to 30 s to start on two busy cores.
SECONDS = 400.0
# Two ranks add up the same numbers in another order than one: float32 has 24 bits, and what differs in the last of them
# goes through 48 steps of AdamW.
ROUNDING = 1e-4


@pytest.fixture
async def trial(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> TrialOnTest:
    return TrialOnTest(connection, shared_nats.url, tmp_path)


async def whole(trial: TrialOnTest, workers: int) -> dict[int, float]:
    """Run the loop without interruption in a trial of its own. Returns its loss by step.

    Its ranks are plain processes, which gives the same numbers sooner; tests/faults compares with a group of Ray.
    """
    other = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    await other.create({})
    async with Writer(other.connection, other.runtime_id) as writer:
        attempt = await other.launch(LOOP, {}, every_steps=10, code=ASSETS, workers=workers)
        attempt.start("tests.support.trainers.plain_host" if workers else "trainer")
        assert await attempt.wait(SECONDS) == 0, attempt.driver_log
    return writer.lineage("train/loss", await other.state())


async def launch(trial: TrialOnTest, parameters: dict[str, Any]) -> Attempt:
    attempt = await trial.launch(LOOP, parameters, every_steps=10, code=ASSETS, workers=2)
    attempt.start()
    return attempt


def processes_of(attempt: Attempt) -> list[psutil.Process]:
    """Everything that was started for an attempt: Ray's daemons and workers inherit the environment of its driver."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MILEPOST_LAUNCH", "").startswith(str(attempt.directory)):
                found.append(process)
        except psutil.Error:
            continue
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


async def assert_nothing_runs(attempt: Attempt, seconds: float = 75.0) -> None:
    deadline = time.monotonic() + seconds
    while left := processes_of(attempt):
        assert time.monotonic() < deadline, [p.cmdline()[:4] for p in left]
        await asyncio.sleep(0.1)


def by_rank(exits: Sequence[facts.InstanceExited]) -> dict[int, common.ExitCause]:
    return {one.rank: one.cause for one in exits}


@pytest.mark.timeout(1500)
async def test_two_workers_stopped_and_killed_give_the_curve_of_an_uninterrupted_run_and_of_one_worker(
    trial: TrialOnTest,
) -> None:
    """Every rank stops, snapshots and goes on at the same step; snapshots of the interrupted run are sharded."""
    parameters = {"step_seconds": 0.1, "sharded": True}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        stopped = await launch(trial, parameters)
        await stopped.wait_for(facts.SnapshotCommitted, SECONDS)
        group = processes_of(stopped)
        assert {"raylet", "gcs_server"} <= {process.name() for process in group}
        found = listening(group)
        assert len(found) >= 6, "driver, GCS, raylet, its agents, two workers"
        assert not beyond_loopback(found)
        await trial.order_stop()
        assert await stopped.wait(SECONDS) == 0, stopped.driver_log
        ended = await stopped.ended()
        assert (ended.outcome, ended.cause) == (facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED), ended
        assert (await trial.payloads(facts.SnapshotCommitted))[-1].step == ended.last_step < STEPS
        await assert_nothing_runs(stopped)
        await trial.conclude(facts.TrialStopped(attempt=1))

        killed = await launch(trial, parameters)
        await killed.wait_for(facts.SnapshotCommitted, SECONDS)
        instances = {one.rank: one for one in await killed.wait_for(facts.InstanceStarted, count=2)}
        psutil.Process(instances[1].process_id).kill()
        assert await killed.wait(SECONDS) == 0, killed.driver_log
        ended = await killed.ended()
        assert (ended.outcome, ended.cause) == (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_SIGNAL), ended
        assert ended.detail.startswith("rank 1: its process was killed"), ended
        exits = [one for one in await trial.payloads(facts.InstanceExited) if one.attempt == 2]
        assert by_rank(exits)[1] == common.EXIT_CAUSE_SIGNAL
        assert set(by_rank(exits)) == {0, 1}
        await assert_nothing_runs(killed)
        await trial.conclude(facts.TrialStopped(attempt=2))

        last = await launch(trial, parameters)
        assert await last.wait(SECONDS) == 0, last.driver_log
    assert ((await last.ended()).outcome, (await last.ended()).last_step) == (facts.ATTEMPT_OUTCOME_COMPLETED, STEPS)
    state = await trial.state()
    assert state.ignored == 0
    assert [list(one.devices) for one in instances.values()] == [["cpu"], ["cpu"]]
    assert {one.world_size for one in await trial.payloads(facts.AttemptStarted)} == {2}
    states = [one.state for one in await trial.payloads(facts.ClusterStateObserved) if one.attempt == 1]
    assert states[0] == "worker_group.scheduling"
    assert "worker_group.started" in states
    printed = {
        (line.rank, line.stream, line.text.split(" begins")[0]) for line in writer.lines if "begins" in line.text
    }
    assert printed == {(rank, telemetry.LOG_STREAM_STDOUT, f"rank {rank} of 2") for rank in (0, 1)}

    interrupted = writer.lineage("train/loss", state)
    assert list(interrupted) == list(range(1, STEPS + 1))
    assert same_bits(interrupted, await whole(trial, workers=2))
    assert interrupted == pytest.approx(await whole(trial, workers=0), rel=ROUNDING)

"""Values that are changed while a real attempt trains: of one process and of two, killed with -9 and done again."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog.nats.connection import Connection
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Attempt, TrialOnTest, Writer, same_bits

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
LOOP = "loops.py:steered"
RANKS = "loops.py:ddp"
SLOW = {"step_seconds": 0.03}


@pytest.fixture
async def trial(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> TrialOnTest:
    return TrialOnTest(connection, shared_nats.url, tmp_path)


async def launch(trial: TrialOnTest, parameters: dict[str, Any], **more: Any) -> Attempt:
    workers = more.get("workers", 0)
    attempt = await trial.launch(RANKS if workers else LOOP, parameters, code=ASSETS, every_steps=10, **more)
    attempt.start("tests.support.trainers.plain_host" if workers else "trainer")
    return attempt


async def done_again(trial: TrialOnTest, parameters: dict[str, Any], **more: Any) -> dict[int, float]:
    """Run the loop from its beginning with the changes of a trial, undisturbed. Returns its loss by step."""
    other = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    await other.create(parameters)
    changes = (await trial.state()).steering.changes
    async with Writer(other.connection, other.runtime_id) as writer:
        attempt = await launch(other, parameters, changes=changes, **more)
        assert await attempt.wait() == 0, attempt.driver_log
    assert await other.payloads(facts.ParametersChanged) == []
    return writer.lineage("train/loss", await other.state())


async def changes_of(trial: TrialOnTest) -> list[tuple[int, int, str, str]]:
    """Number, attempt, old and new of every change that is a fact."""
    return [
        (fact.number, fact.attempt, one.old, one.new)
        for fact in await trial.payloads(facts.ParametersChanged)
        for one in fact.changes
    ]


async def test_a_steered_run_that_was_killed_equals_one_that_was_not_bit_for_bit(trial: TrialOnTest) -> None:
    """What was changed before the kill is changed after the same step again, and is no second fact."""
    await trial.create(SLOW)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await launch(trial, SLOW)
        await first.wait_for(facts.SnapshotCommitted)
        await trial.steer(rate=0.5)
        (changed,) = await first.wait_for(facts.ParametersChanged)
        # Behind the newest snapshot, and past the change.
        while max(writer.points("train/loss")[1], default=0) <= changed.step:
            await asyncio.sleep(0.02)
        await trial.crash(first)
        # Nothing runs: it waits for the next attempt.
        await trial.steer(rate=0.25)
        assert [one.number for one in (await trial.state()).steering.waiting] == [2]
        second = await launch(trial, SLOW)
        await second.wait_for(facts.ParametersChanged)
        assert await second.wait() == 0, second.driver_log
    state = await trial.state()
    assert state.ignored == 0 and state.steering.waiting == ()
    restored = (await trial.payloads(facts.AttemptStarted))[-1].restored_step
    assert (await trial.payloads(facts.ParametersChanged))[-1].step == restored
    events = await trial.events()
    asked = [event.id for event in events if event.type.endswith("trial_steer_requested.v1")]
    assert next(event.cause for event in events if event.type.endswith("parameters_changed.v1")) == asked[0]
    assert {fact.actor for fact in await trial.payloads(facts.ParametersChanged)} == {"user:ada"}
    curve = writer.lineage("train/loss", state)
    assert list(curve) == list(range(1, 49))
    assert same_bits(curve, await done_again(trial, {}))
    assert not same_bits(curve, await unsteered(trial))


async def unsteered(trial: TrialOnTest) -> dict[int, float]:
    other = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    await other.create({})
    async with Writer(other.connection, other.runtime_id) as writer:
        attempt = await launch(other, {})
        assert await attempt.wait() == 0, attempt.driver_log
    return writer.lineage("train/loss", await other.state())


async def test_an_attempt_that_goes_back_before_a_change_makes_it_after_the_same_step(trial: TrialOnTest) -> None:
    """The steps that both have done are equal in every bit, those with the old value and those with the new one."""
    await trial.create(SLOW)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await launch(trial, SLOW)
        await first.wait_for(facts.SnapshotCommitted)
        await trial.steer(rate=0.5)
        (changed,) = await first.wait_for(facts.ParametersChanged)
        while max(writer.points("train/loss")[1], default=0) < changed.step + 3:
            await asyncio.sleep(0.02)
        await trial.crash(first)
        # Of no snapshot: from the beginning.
        for record in (await trial.state()).snapshots:
            await trial.append(facts.SnapshotDeleted(snapshot_id=record.snapshot_id, step=record.step))
        second = await launch(trial, {})
        assert await second.wait() == 0, second.driver_log
    assert await changes_of(trial) == [(1, 1, "0.9", "0.5")]
    assert (await trial.payloads(facts.AttemptStarted))[-1].restored_step == 0
    points = writer.points("train/loss")
    both = points[1].keys() & points[2].keys()
    assert max(both) > changed.step > min(both)
    assert same_bits({step: points[1][step] for step in both}, {step: points[2][step] for step in both})


async def kill_at_random(trial: TrialOnTest, times: int, chance: random.Random) -> None:
    """Steer a run and kill its trainer at random instants, and check that no change was lost or made twice."""
    await trial.create(SLOW)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        for _ in range(times):
            attempt = await launch(trial, SLOW)
            await attempt.wait_for(facts.AttemptStarted)
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await trial.steer(rate=round(chance.random(), 3))
            await asyncio.sleep(chance.choice([0.0, 0.01, 0.05, chance.uniform(0.0, 0.6)]))
            await trial.crash(attempt)
        last = await launch(trial, {})
        assert await last.wait() == 0, last.driver_log
    state = await trial.state()
    assert state.steering.waiting == ()
    assert [number for number, *_ in await changes_of(trial)] == list(range(1, times + 1))
    curve = writer.lineage("train/loss", state)
    assert list(curve) == list(range(1, 49))
    assert same_bits(curve, await done_again(trial, {}))


async def test_no_change_is_lost_or_made_twice_whenever_the_trainer_is_killed(trial: TrialOnTest) -> None:
    await kill_at_random(trial, 2, random.Random(5))


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_no_change_is_lost_or_made_twice_in_twenty_kills(trial: TrialOnTest) -> None:
    await kill_at_random(trial, 20, random.Random(7))


async def test_two_ranks_change_after_the_same_step_and_do_it_again(trial: TrialOnTest) -> None:
    """A rank that changed a step earlier or later would have other gradients, and so other weights."""
    parameters = {**SLOW, "sharded": True}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await launch(trial, parameters, workers=2)
        await first.wait_for(facts.AttemptStarted)
        await trial.steer(learning_rate=0.5)
        await trial.steer(learning_rate=0.01)
        one, two = await first.wait_for(facts.ParametersChanged, count=2)
        assert [fact.number for fact in (one, two)] == [1, 2] and one.step <= two.step
        await first.wait_for(facts.SnapshotCommitted)
        await trial.crash(first)
        second = await launch(trial, parameters, workers=2)
        await second.wait_for(facts.AttemptStarted)
        await trial.steer(learning_rate=0.2)
        assert await second.wait() == 0, second.driver_log
    state = await trial.state()
    assert [number for number, *_ in await changes_of(trial)] == [1, 2, 3]
    curve = writer.lineage("train/loss", state)
    assert list(curve) == list(range(1, 49))
    assert same_bits(curve, await done_again(trial, {"sharded": True}, workers=2))


async def test_a_branch_begins_with_the_values_that_its_parent_was_steered_to(trial: TrialOnTest) -> None:
    """As it does it without a change, it goes on as its parent did, bit for bit."""
    await trial.create(SLOW)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        parent = await launch(trial, SLOW, keep_last=20)
        await parent.wait_for(facts.AttemptStarted)
        await trial.steer(rate=0.5)
        await parent.wait_for(facts.SnapshotCommitted, count=2)
        assert await parent.wait() == 0, parent.driver_log
    state = await trial.state()
    at = state.snapshots[1]
    held = state.steering.in_force(at.step)
    assert held == {"rate": "0.5"}
    origin = common.SnapshotOrigin(
        runtime_id=trial.runtime_id, trial=1, attempt=1, snapshot_id=at.snapshot_id, step=at.step, uri=at.uri,
        manifest_sha256=at.manifest_sha256, steered=held,
    )  # fmt: skip
    branch = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    await branch.create({}, origin)
    async with Writer(branch.connection, branch.runtime_id) as own:
        attempt = await launch(branch, {})
        assert await attempt.wait() == 0, attempt.driver_log
    parents = {step: loss for step, loss in writer.lineage("train/loss", state).items() if step > at.step}
    assert same_bits(own.lineage("train/loss", await branch.state()), parents)
    assert await changes_of(branch) == []

"""Attempts from start to end: a real driver, a real worker, a real log."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog.connection import Connection
from tests.attempts import TrialOnTest, Writer, same_bits
from tests.servers import NatsServer

SMALL = {"width": 32, "layers": 1, "heads": 2, "context": 32, "batch_size": 16, "steps_per_epoch": 40, "eval_every": 30}
RECIPE = "milepost.recipes.language_model:train"


@pytest.fixture
async def trial(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> TrialOnTest:
    return TrialOnTest(connection, shared_nats.url, tmp_path)


async def test_an_attempt_trains_to_its_end_and_every_fact_is_in_the_log(trial: TrialOnTest) -> None:
    """Every step is stored once; plan, epochs, evaluations, snapshots and the end are events."""
    await trial.create(SMALL)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch(RECIPE, SMALL, every_steps=50)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    ended = await attempt.ended()
    assert (ended.outcome, ended.cause) == (facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED), ended
    assert ended.last_step == 120
    state = await trial.state()
    assert state.plan.total_steps == 120
    assert state.ignored == 0
    assert [e.epoch for e in await trial.payloads(facts.EpochCompleted)] == [0, 1, 2]
    assert [e.step for e in await trial.payloads(facts.EvaluationCompleted)] == [30, 60, 90, 120]
    assert [s.step for s in state.snapshots] == [50, 100, 120]
    losses = writer.lineage("train/loss", state)
    assert list(losses) == list(range(1, 121))
    assert losses[120] < losses[1] - 1
    assert {"train/loss", "train/grad_norm", "train/learning_rate"} <= {
        c.key for b in writer.step_batches for g in b.groups for c in g.columns
    }


async def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    trial: TrialOnTest, tmp_path: Path
) -> None:
    """Loss at every step, whatever was lost after the last snapshot."""
    await trial.create(SMALL)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await trial.launch(RECIPE, SMALL, every_steps=25)
        first.start()
        await first.wait_for(facts.SnapshotCommitted)
        first.kill()
        await trial.append(facts.AttemptFenced(attempt=1, reason=facts.FENCE_REASON_EXITED))
        await trial.conclude(facts.TrialStopped(attempt=1))
        second = await trial.launch(RECIPE, SMALL, every_steps=25)
        second.start()
        assert await second.wait() == 0, second.driver_log
    started = (await trial.payloads(facts.AttemptStarted))[-1]
    assert started.restored_step >= 25
    interrupted = writer.lineage("train/loss", await trial.state())

    other = TrialOnTest(trial.connection, trial.nats_url, tmp_path / "other")
    await other.create(SMALL)
    async with Writer(other.connection, other.runtime_id) as writer:
        whole = await other.launch(RECIPE, SMALL, every_steps=25)
        whole.start()
        assert await whole.wait() == 0, whole.driver_log
    uninterrupted = writer.lineage("train/loss", await other.state())
    assert list(uninterrupted) == list(range(1, 121))
    assert same_bits(interrupted, uninterrupted)

"""Several ranks of one attempt, as plain processes that meet over gloo: everything of a worker group but Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog.nats.connection import Connection
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Attempt, TrialOnTest, Writer, same_bits

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
LOOP = "loops.py:ddp"
HOST = "tests.support.trainers.plain_host"
STEPS = 48
SECONDS = 120.0
# Two ranks add up the same numbers in another order than one: float32 has 24 bits, and what differs in the last of them
# goes through 48 steps of AdamW.
ROUNDING = 1e-4

pytestmark = pytest.mark.timeout(400)

# By number of workers: the same whichever test asks first.
_whole: dict[int, dict[int, float]] = {}


@pytest.fixture
async def trial(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> TrialOnTest:
    return TrialOnTest(connection, shared_nats.url, tmp_path)


async def launch(trial: TrialOnTest, parameters: dict[str, Any], workers: int = 2, **changes: Any) -> Attempt:
    changes = {"every_steps": 10, **changes}
    attempt = await trial.launch(LOOP, parameters, code=ASSETS, workers=workers, **changes)
    attempt.start(HOST if workers else "trainer")
    return attempt


async def finish(attempt: Attempt) -> facts.AttemptEnded:
    assert await attempt.wait(SECONDS) == 0, attempt.driver_log
    return await attempt.ended()


async def whole(trial: TrialOnTest, workers: int) -> dict[int, float]:
    """Run the loop once without interruption in a trial of its own. Returns its loss by step."""
    if workers not in _whole:
        other = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
        await other.create({})
        async with Writer(other.connection, other.runtime_id) as writer:
            assert (await finish(await launch(other, {}, workers))).last_step == STEPS
        _whole[workers] = writer.lineage("train/loss", await other.state())
    return _whole[workers]


@pytest.mark.parametrize("sharded", [False, True])
async def test_ranks_stop_at_one_step_and_go_on_as_if_nothing_had_been(trial: TrialOnTest, sharded: bool) -> None:
    """Bit for bit the curve of a run that was not stopped, and but for rounding that of one process."""
    parameters = {"step_seconds": 0.05, "sharded": sharded}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await launch(trial, parameters)
        await first.wait_for(facts.SnapshotCommitted, SECONDS)
        await trial.order_stop()
        ended = await finish(first)
        assert (ended.outcome, ended.cause) == (facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED), ended
        snapshot = (await trial.payloads(facts.SnapshotCommitted))[-1]
        assert snapshot.step == ended.last_step < STEPS
        files = {path.name for path in Path(snapshot.uri.removeprefix("file://")).iterdir()}
        assert {"rank-0.pt", "rank-1.pt", "shards" if sharded else "state.pt"} <= files
        await trial.conclude(facts.TrialStopped(attempt=1))
        assert (await finish(await launch(trial, parameters))).last_step == STEPS
    exits = await trial.payloads(facts.InstanceExited)
    assert {(one.attempt, one.rank, one.cause) for one in exits} == {
        (attempt, rank, cause)
        for rank in (0, 1)
        for attempt, cause in ((1, common.EXIT_CAUSE_STOPPED), (2, common.EXIT_CAUSE_FINISHED))
    }
    losses = writer.lineage("train/loss", await trial.state())
    assert list(losses) == list(range(1, STEPS + 1))
    undisturbed = await whole(trial, workers=2)
    assert same_bits(losses, undisturbed), {
        s: (losses[s], undisturbed[s]) for s in losses if losses[s] != undisturbed[s]
    }
    assert losses == pytest.approx(await whole(trial, workers=0), rel=ROUNDING)


async def test_a_branch_of_a_group_goes_on_bit_for_bit_as_its_parent_did(trial: TrialOnTest) -> None:
    parameters = {"sharded": True}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        assert (await finish(await launch(trial, parameters))).last_step == STEPS
    parent = writer.lineage("train/loss", await trial.state())
    record = (await trial.state()).snapshots[0]
    assert 0 < record.step < STEPS
    origin = common.SnapshotOrigin(
        runtime_id=trial.runtime_id, trial=1, attempt=record.attempt, snapshot_id=record.snapshot_id,
        step=record.step, uri=record.uri, manifest_sha256=record.manifest_sha256,
    )  # fmt: skip
    branch = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    await branch.create(parameters, origin)
    async with Writer(branch.connection, branch.runtime_id) as writer:
        assert (await finish(await launch(branch, parameters))).last_step == STEPS
    state = await branch.state()
    assert state.lineage[0].first_step == record.step + 1
    losses = writer.lineage("train/loss", state)
    assert same_bits(losses, {step: loss for step, loss in parent.items() if step > record.step})


async def test_code_that_does_not_restore_is_no_branch(trial: TrialOnTest) -> None:
    """It would begin again from nothing under the numbers of a run that did not."""
    origin = common.SnapshotOrigin(runtime_id="rt-0", trial=1, attempt=1, snapshot_id="step-000000000007-a1", step=7)
    await trial.create({}, origin)
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await trial.launch("loops.py:forgets", {}, code=ASSETS)
        attempt.start("trainer")
        await attempt.wait(SECONDS)
        ended = await attempt.ended()
    assert ended.cause == common.EXIT_CAUSE_EXCEPTION, ended
    assert ended.detail.startswith("FailedPrecondition: a branch begins at step 7: call trial.restore() before"), ended
    assert not await trial.payloads(facts.AttemptStarted)


async def test_a_stop_does_not_wait_for_data_that_no_rank_gets(trial: TrialOnTest, tmp_path: Path) -> None:
    parameters = {"trouble": "data", "flag": str(tmp_path / "flag")}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await launch(trial, parameters)
        await first.wait_for(facts.SnapshotCommitted, SECONDS)
        await trial.order_stop()
        assert ((await finish(first)).outcome, (await first.ended()).last_step) == (facts.ATTEMPT_OUTCOME_STOPPED, 12)
        await trial.conclude(facts.TrialStopped(attempt=1))
        (tmp_path / "flag").touch()
        assert (await finish(await launch(trial, parameters))).last_step == STEPS
    assert same_bits(writer.lineage("train/loss", await trial.state()), await whole(trial, workers=2))


async def test_a_snapshot_by_the_clock_is_taken_by_all_ranks_at_one_step(trial: TrialOnTest) -> None:
    parameters = {"step_seconds": 0.1}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await launch(trial, parameters, every_steps=None, every_minutes=0.01)
        assert (await finish(attempt)).last_step == STEPS
    steps = [one.step for one in await trial.payloads(facts.SnapshotCommitted)]
    # How many depends on the machine; the last one is that of the end.
    assert steps[0] < steps[-1] == STEPS
    assert steps == sorted(set(steps))
    assert not await trial.payloads(facts.SnapshotFailed)


async def test_an_error_of_one_rank_ends_all_and_is_the_cause(trial: TrialOnTest) -> None:
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        ended = await finish(await launch(trial, {"trouble": "raises"}))
    assert (ended.outcome, ended.cause) == (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION), (
        ended,
        writer.text(),
    )
    assert ended.detail.startswith("rank 1: RuntimeError: the loss went away (loops.py:")
    shown = [line for line in writer.lines if line.text.startswith("RuntimeError: the loss went away")]
    assert [(line.rank, line.stream) for line in shown] == [(1, telemetry.LOG_STREAM_STDERR)]


async def test_a_rank_that_cannot_write_its_part_costs_the_snapshot_and_not_the_run(trial: TrialOnTest) -> None:
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id):
        assert (await finish(await launch(trial, {"trouble": "disk"}))).last_step == STEPS
    (failed,) = await trial.payloads(facts.SnapshotFailed)
    assert failed.step == 10
    assert "rank 1: OSError: [Errno 28] No space left on device" in failed.detail
    assert [one.step for one in await trial.payloads(facts.SnapshotCommitted)] == [20, 30, 40, 48]
    storage = trial.folder / trial.runtime_id / "trial-1" / "snapshots"
    assert not [path.name for path in storage.iterdir() if path.name.startswith(".")]


async def test_a_snapshot_of_two_ranks_is_restored_by_another_number(trial: TrialOnTest) -> None:
    """The global batches stay the same, and with them the curve but for rounding."""
    parameters = {"step_seconds": 0.05, "sharded": True}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await launch(trial, parameters)
        await first.wait_for(facts.SnapshotCommitted, SECONDS)
        await trial.order_stop()
        await finish(first)
        await trial.conclude(facts.TrialStopped(attempt=1))
        assert (await finish(await launch(trial, parameters, workers=4))).last_step == STEPS
    assert sum("is of 2 ranks and restored with 4" in line.text for line in writer.lines) == 4
    assert ranks_that_wrote(writer.lines) == {0, 1, 2, 3}
    losses = writer.lineage("train/loss", await trial.state())
    assert losses == pytest.approx(await whole(trial, workers=0), rel=ROUNDING)


def ranks_that_wrote(lines: Sequence[telemetry.LogLine]) -> set[int]:
    return {line.rank for line in lines if "begins after step" in line.text}

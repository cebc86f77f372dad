"""Attempts from start to end: a real driver, a real worker, a real log."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog.nats.connection import Connection
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import TrialOnTest, Writer, same_bits

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
    own = [line.text for line in writer.lines if line.stream == telemetry.LOG_STREAM_MILEPOST]
    assert any(text.startswith("evaluation done: step 30/120") for text in own), own
    assert any(text.startswith("epoch 2 done") for text in own), own
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


ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
LOOPS = "loops.py:"


async def run_whole(trial: TrialOnTest, entrypoint: str, parameters: dict[str, Any]) -> dict[int, float]:
    """Run an entrypoint without interruption in a trial of its own. Returns its loss by step."""
    other = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    await other.create(parameters)
    async with Writer(other.connection, other.runtime_id) as writer:
        attempt = await other.launch(entrypoint, parameters, code=ASSETS, every_steps=10)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    return writer.lineage("train/loss", await other.state())


@pytest.mark.parametrize(
    ("entrypoint", "stop_after"),
    [
        ("plain", facts.SnapshotCommitted),
        ("data_wait", None),
        ("slow_evaluation", facts.EvaluationStarted),
        ("slow_snapshot", facts.SnapshotStarted),
    ],
)
async def test_a_graceful_stop_loses_no_step_wherever_it_comes(
    trial: TrialOnTest, tmp_path: Path, entrypoint: str, stop_after: type[Message] | None
) -> None:
    """Inside an evaluation, a wait for data and a snapshot too; the curve is that of an uninterrupted run."""
    flag = tmp_path / "flag"
    parameters: dict[str, Any] = {"step_seconds": 0.02} if entrypoint == "plain" else {"flag": str(flag)}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await trial.launch(LOOPS + entrypoint, parameters, code=ASSETS, every_steps=10)
        first.start()
        if stop_after is not None:
            await first.wait_for(stop_after, count=3 if entrypoint == "slow_evaluation" else 1)
        while entrypoint != "plain" and not flag.exists():
            assert first.process is not None
            assert first.process.poll() is None, "it ended before it came to the place"
            await asyncio.sleep(0.05)
        began = time.monotonic()
        await trial.order_stop()
        assert await first.wait() == 0, first.driver_log
        assert time.monotonic() - began < 30
        ended = await first.ended()
        assert (ended.outcome, ended.cause) == (facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED), ended
        snapshot = (await trial.payloads(facts.SnapshotCommitted))[-1]
        assert snapshot.step == ended.last_step
        assert ended.last_step < 48
        await trial.conclude(facts.TrialStopped(attempt=1))
        second = await trial.launch(LOOPS + entrypoint, parameters, code=ASSETS, every_steps=10)
        second.start()
        assert await second.wait() == 0, second.driver_log
    assert (await second.ended()).last_step == 48
    losses = writer.lineage("train/loss", await trial.state())
    assert same_bits(losses, await run_whole(trial, LOOPS + entrypoint, parameters))
    if entrypoint == "slow_evaluation":
        done = [e.step for e in await trial.payloads(facts.EvaluationCompleted) if not e.interrupted]
        assert done == [8, 16, 24, 32, 40, 48]
        # The interrupted one runs again under the new attempt, at the step that this went on from.
        assert [snapshot.step, min(writer.points("eval/score")[2])] == [24, 24]


async def test_a_snapshot_that_is_asked_for_is_taken_and_training_goes_on(trial: TrialOnTest) -> None:
    """It answers the event that asked."""
    parameters = {"step_seconds": 0.1}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await trial.launch(LOOPS + "plain", parameters, code=ASSETS, every_steps=1_000)
        attempt.start()
        await attempt.wait_for(facts.AttemptStarted)
        await trial.append(facts.TrialSnapshotRequested(attempt=1))
        (committed,) = await attempt.wait_for(facts.SnapshotCommitted)
        assert committed.reason == facts.SNAPSHOT_REASON_REQUEST
        assert await attempt.wait() == 0, attempt.driver_log
    events = {event.type.split(".")[2]: event for event in reversed(await trial.events())}
    assert events["snapshot_committed"].cause == events["trial_snapshot_requested"].id
    assert (await attempt.ended()).last_step == 48 > committed.step


async def test_an_evaluation_that_is_asked_for_is_run_or_refused_and_training_goes_on(trial: TrialOnTest) -> None:
    """Either way the answer names the event that asked as its cause."""
    seldom = {**SMALL, "eval_every": 110}
    await trial.create(seldom)
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await trial.launch(RECIPE, seldom, every_steps=1_000)
        attempt.start()
        await attempt.wait_for(facts.AttemptStarted)
        await trial.append(facts.TrialEvaluationRequested(attempt=1))
        (first, *_) = await attempt.wait_for(facts.EvaluationCompleted)
        assert first.requested and first.step < 110 and first.values["eval/loss"] > 0
        assert await attempt.wait() == 0, attempt.driver_log
    events = {event.type.split(".")[2]: event for event in await trial.events()}
    completed = [event for event in await trial.events() if event.type.split(".")[2] == "evaluation_completed"]
    assert events["trial_evaluation_requested"].id in {event.cause for event in completed}

    parameters = {"step_seconds": 0.05}
    other = TrialOnTest(trial.connection, trial.nats_url, trial.folder)
    await other.create(parameters)
    async with Writer(other.connection, other.runtime_id):
        attempt = await other.launch(LOOPS + "plain", parameters, code=ASSETS, every_steps=1_000)
        attempt.start()
        await attempt.wait_for(facts.AttemptStarted)
        await other.append(facts.TrialEvaluationRequested(attempt=1))
        (refused,) = await attempt.wait_for(facts.EvaluationRefused)
        assert "says itself when it evaluates" in refused.detail
        assert await attempt.wait() == 0, attempt.driver_log
    events = {event.type.split(".")[2]: event for event in await other.events()}
    assert events["evaluation_refused"].cause == events["trial_evaluation_requested"].id
    assert (await attempt.ended()).last_step == 48


async def test_stacks_that_are_asked_for_come_beside_the_loop(trial: TrialOnTest) -> None:
    parameters = {"step_seconds": 0.1}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await trial.launch(LOOPS + "plain", parameters, code=ASSETS, every_steps=1_000)
        attempt.start()
        # It trains then; before, it may read the modules of its libraries.
        await attempt.wait_for(facts.EpochCompleted)
        await trial.append(facts.TrialStacksRequested(attempt=1))
        (said,) = await attempt.wait_for(facts.StacksRecorded)
        assert said.requested and said.rank == 0 and said.place == facts.STACK_PLACE_CODE
        assert said.frame.startswith("loops.py:") and "in plain" in said.text and "milepost-background" not in said.text
        assert await attempt.wait() == 0, attempt.driver_log
    events = {event.type.split(".")[2]: event for event in await trial.events()}
    assert events["stacks_recorded"].cause == events["trial_stacks_requested"].id
    assert (await attempt.ended()).last_step == 48


async def test_a_pinned_snapshot_survives_those_that_come_after_it(trial: TrialOnTest) -> None:
    """Its policy keeps the last three of twelve."""
    parameters = {"step_seconds": 0.02}
    await trial.create(parameters)
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await trial.launch(LOOPS + "plain", parameters, code=ASSETS, every_steps=4)
        attempt.start()
        (first, *_) = await attempt.wait_for(facts.SnapshotCommitted)
        await trial.append(facts.SnapshotPinned(snapshot_id=first.snapshot_id, step=first.step))
        assert await attempt.wait() == 0, attempt.driver_log
    kept = (await trial.state()).snapshots
    assert [first.step, 48] == [kept[0].step, kept[-1].step] and len(kept) == 4, (
        "the pin does not count among the three"
    )
    assert all((Path(one.uri.removeprefix("file://")) / "state.pt").exists() for one in kept)


@pytest.mark.parametrize(
    ("entrypoint", "cause", "detail", "last_step"),
    [
        ("fails", common.EXIT_CAUSE_EXCEPTION, "RuntimeError: the loss went away (loops.py:", 5),
        ("needs_module", common.EXIT_CAUSE_DETERMINISTIC, "No module named 'no_such_module_anywhere'", 0),
        ("needs_parameter", common.EXIT_CAUSE_DETERMINISTIC, "the configuration has no parameter 'missing'", 0),
        ("not_there", common.EXIT_CAUSE_DETERMINISTIC, "loops.py has no function not_there", 0),
        ("killed", common.EXIT_CAUSE_SIGNAL, "the process was killed by SIGKILL", 6),
        ("exits", common.EXIT_CAUSE_EXCEPTION, "the process ended with exit status 3", 4),
        ("out_of_memory", common.EXIT_CAUSE_OUT_OF_MEMORY, "MemoryError: no more", 1),
        ("bad_state", common.EXIT_CAUSE_DETERMINISTIC, "state['model']: Walk is not read back", 1),
    ],
)
async def test_the_end_of_an_attempt_is_typed(
    trial: TrialOnTest, entrypoint: str, cause: common.ExitCause, detail: str, last_step: int
) -> None:
    """The event says why, where and after which step; the last line that was printed is kept."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch(LOOPS + entrypoint, {}, code=ASSETS)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    ended = await attempt.ended()
    assert (ended.outcome, ended.cause, ended.last_step) == (facts.ATTEMPT_OUTCOME_FAILED, cause, last_step), ended
    assert detail in ended.detail
    exit_file = json_format.Parse((attempt.directory / "exit.json").read_text(), facts.AttemptEnded())
    assert exit_file == ended
    if entrypoint == "killed":
        assert "last words" in writer.text()


@pytest.mark.parametrize("gigabytes", [0.25, 3.0])
async def test_a_loop_gets_the_memory_that_its_configuration_asked_for_and_no_more(
    trial: TrialOnTest, gigabytes: float
) -> None:
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch(
            LOOPS + "takes_memory", {"gigabytes": gigabytes}, code=ASSETS, memory_gigabytes=1.5
        )
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    ended = await attempt.ended()
    if gigabytes < 1:
        assert ended.outcome == facts.ATTEMPT_OUTCOME_COMPLETED, writer.text()
    else:
        assert (ended.outcome, ended.cause) == (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_OUT_OF_MEMORY), ended
        assert "allocate memory" in ended.detail
        assert "loops.py:" in ended.detail
        assert list(writer.points("train/loss")[1]) == [1], "what was logged before is kept"


async def test_a_project_with_modules_named_like_ours_runs(trial: TrialOnTest) -> None:
    """`trainer.py`, `services` and `protos` of the user are found, and ours do not stand in their way."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch("trainer.py:train", {"steps": 7}, code=ASSETS / "project")
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    assert (await attempt.ended()).outcome == facts.ATTEMPT_OUTCOME_COMPLETED, writer.text()
    assert list(writer.points("train/loss")[1]) == list(range(1, 8))


@pytest.mark.parametrize("imported", ["above", "inside"])
async def test_a_loop_that_imports_ray_train_is_in_its_local_mode(
    trial: TrialOnTest, tmp_path: Path, imported: str
) -> None:
    """Its context and `report` are there; a loop that does not ask for Ray does not wait for its import."""
    above, inside = ("import ray.train", "pass") if imported == "above" else ("import sys", "import ray.train")
    (tmp_path / "own.py").write_text(
        f"""
{above}

def train(trial):
    import sys
    trial.log({{"loaded": float("ray.train" in sys.modules)}})
    {inside}
    context = ray.train.get_context()
    ray.train.report({{"seen": 1}})
    trial.log({{"world": context.get_world_size(), "rank": context.get_world_rank()}})
"""
    )
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch("own.py:train", {}, code=tmp_path)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    assert (await attempt.ended()).outcome == facts.ATTEMPT_OUTCOME_COMPLETED, writer.text()
    assert writer.points("loaded")[1] == {1: float(imported == "above")}
    assert (writer.points("world")[1], writer.points("rank")[1]) == ({2: 1.0}, {2: 0.0})
    assert "local mode" not in writer.text().lower()


async def test_a_snapshot_that_is_written_while_the_code_fails_is_committed(trial: TrialOnTest, tmp_path: Path) -> None:
    """The next attempt goes on from there: it was whole on the disk, and nobody knew of it."""
    (tmp_path / "crash.py").write_text(
        """
import time
from milepost.training.saving.snapshots import SnapshotDraft

publish = SnapshotDraft.publish

def slowly(self, manifest):
    time.sleep(1.0)
    return publish(self, manifest)

SnapshotDraft.publish = slowly

def train(trial):
    state = trial.restore() or {"step": 0}
    for step in range(state["step"] + 1, 11):
        trial.log({"train/loss": 1.0 / step})
        trial.maybe_snapshot(lambda: {"step": step})
        if step == 5 and trial.attempt == 1:
            raise ValueError("no more")
"""
    )
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        first = await trial.launch("crash.py:train", {}, code=tmp_path, every_steps=5)
        first.start()
        await first.wait()
        (committed,) = await first.wait_for(facts.SnapshotCommitted)
        assert committed.step == 5
        assert (await first.ended()).detail.startswith("ValueError: no more")
        await trial.conclude(facts.TrialFailed(reason=common.FAILURE_REASON_CRASHED))
        second = await trial.launch("crash.py:train", {}, code=tmp_path, every_steps=5)
        second.start()
        assert await second.wait() == 0, second.driver_log
    assert {attempt: list(values) for attempt, values in writer.points("train/loss").items()} == {
        1: [1, 2, 3, 4, 5],
        2: [6, 7, 8, 9, 10],
    }


async def test_values_arrive_as_they_were_logged(trial: TrialOnTest) -> None:
    """NaN and infinities, named, late and partial steps; what is no number is left out with one line of warning."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch(LOOPS + "odd_values", {}, code=ASSETS)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    losses = writer.points("train/loss")[1]
    assert same_bits(losses, {1: 1.0, 2: math.nan, 3: math.inf, 4: -math.inf, 10: 5.0, 11: 6.0}), losses
    assert writer.points("a b")[1] == {1: 2.0}
    assert writer.points("late")[1] == {2: 3.0}
    assert writer.points("partial")[1] == {11: 1.0}
    assert writer.points("big")[1] == {3: math.inf}
    assert writer.text().count("text is a str") == 1
    assert [a.message for a in await trial.payloads(facts.AlertRaised)] == [
        "train/loss is NaN since step 2",
        "big is infinite since step 3",
    ]


async def test_accumulated_gradients_and_a_last_partial_batch_count_as_they_are(trial: TrialOnTest) -> None:
    """Ten batches are three steps of four, four and two; the epoch ends at its third step, whatever was planned."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch(LOOPS + "accumulates", {}, code=ASSETS)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    assert writer.points("batches")[1] == {1: 4.0, 2: 4.0, 3: 2.0, 4: 4.0, 5: 4.0, 6: 2.0}
    assert [(e.epoch, e.step) for e in await trial.payloads(facts.EpochCompleted)] == [(0, 3), (1, 6)]
    assert (await attempt.ended()).last_step == 6
    places = [(int(h["mp-step"]), int(h["mp-epoch"]), int(h["mp-batch"])) for h in writer.headers]
    assert places[-1][0] == 6
    assert all(batch <= 10 for _, _, batch in places)
    assert {h["mp-epoch-batches"] for h in writer.headers if "mp-epoch-batches" in h} == {"10"}


async def test_output_keeps_its_stream_level_and_step(trial: TrialOnTest) -> None:
    """stdout, stderr and logging are told apart; a progress bar is one line."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch(LOOPS + "talks", {}, code=ASSETS)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    found = {line.text: line for line in writer.lines}
    assert found["to stdout"].stream == telemetry.LOG_STREAM_STDOUT
    assert found["to stderr"].stream == telemetry.LOG_STREAM_STDERR
    assert found["INFO by logging"].stream == telemetry.LOG_STREAM_LOGGER
    assert (found["INFO by logging"].level, found["INFO by logging"].logger) == (telemetry.LOG_LEVEL_INFO, "mine")
    assert found["ERROR with"].level == found["lines"].level == telemetry.LOG_LEVEL_ERROR
    assert found["after step 1"].step == 1
    assert [text for text in found if "%" in text] == ["100 %"]


async def test_an_attempt_that_was_never_launched_leaves_at_once(trial: TrialOnTest) -> None:
    """The log decides who may run, not a file."""
    await trial.create({})
    attempt = await trial.launch(LOOPS + "plain", {"step_seconds": 1.0}, code=ASSETS)
    await trial.append(facts.AttemptFenced(attempt=1, reason=facts.FENCE_REASON_LOST))
    attempt.start()
    assert await attempt.wait() == 3, attempt.driver_log
    assert not await trial.payloads(facts.AttemptStarted)


async def test_a_fenced_attempt_leaves_and_writes_nothing_more(trial: TrialOnTest) -> None:
    """The worker is gone too, and with it what it held."""
    await trial.create({})
    attempt = await trial.launch(LOOPS + "plain", {"step_seconds": 1.0}, code=ASSETS)
    attempt.start()
    worker = (await attempt.wait_for(facts.InstanceStarted))[0].process_id
    await attempt.wait_for(facts.AttemptStarted)
    await trial.append(facts.AttemptFenced(attempt=1, reason=facts.FENCE_REASON_LOST))
    assert await attempt.wait() == 3, attempt.driver_log
    assert not psutil.pid_exists(worker)
    assert (await trial.state()).ignored == 0


async def test_the_worker_dies_with_its_driver(trial: TrialOnTest) -> None:
    """Only the driver is killed, not its group: nothing may go on training that nobody records."""
    await trial.create({})
    attempt = await trial.launch(LOOPS + "plain", {"step_seconds": 1.0}, code=ASSETS)
    attempt.start()
    worker = (await attempt.wait_for(facts.InstanceStarted))[0].process_id
    assert attempt.process is not None
    attempt.process.kill()
    attempt.process.wait(10)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker lives on"
        await asyncio.sleep(0.05)


async def test_a_watched_optimizer_logs_its_values(trial: TrialOnTest) -> None:
    """The gradient norm is the one before clipping, whether there is clipping or not."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id) as writer:
        attempt = await trial.launch(LOOPS + "watched", {}, code=ASSETS)
        attempt.start()
        assert await attempt.wait() == 0, attempt.driver_log
    norms, own = writer.points("train/grad_norm")[1], writer.points("own/norm")[1]
    assert norms == pytest.approx(own, rel=1e-5)
    assert writer.points("train/learning_rate")[1] == dict.fromkeys(range(1, 5), 0.1)
    assert writer.points("train/weight_decay")[1] == dict.fromkeys(range(1, 5), 0.05)

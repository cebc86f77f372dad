"""The life of a run as its user sees and commands it, with the real trainer and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from tests.e2e.runs import small
from tests.e2e.stack import StackProcess, until

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"

pytestmark = pytest.mark.timeout(300)


def loop(entrypoint: str, parameters: dict[str, object], **changes: object) -> str:
    """A configuration of one of the small loops: 48 steps in 3 epochs."""
    configuration: dict[str, object] = {
        "name": entrypoint,
        "entrypoint": f"loops.py:{entrypoint}",
        "working_directory": str(ASSETS),
        "parameters": parameters,
        "snapshots": {"every_steps": 5, "keep_last": 3},
        **changes,
    }
    return json.dumps(configuration)


def payloads(stack: StackProcess, name: str, kind: str) -> list[Any]:
    """The payloads of the events of one kind of trial event, oldest first."""
    events = [event for event in stack.events(name) if event.type == f"milepost.trial.{kind}.v1"]
    return [getattr(event.trial_event, kind) for event in events]


def preview(stack: StackProcess, name: str) -> runtime_api.StopLoss:
    losses = stack.client.runtimes.PreviewStop(runtime_api.PreviewStopRequest(name=name)).losses
    assert len(losses) == 1
    return losses[0]


def test_an_abrupt_stop_loses_exactly_what_its_preview_said(stack: StackProcess, tmp_path: Path) -> None:
    """The loop stands in a wait for data, so that nothing changes between the question and the stop."""
    flag = tmp_path / "flag"
    started = stack.client.start_runtime(loop("data_wait", {"flag": str(flag)}))
    until(flag.exists, "the loop waits for data")
    until(lambda: preview(stack, started.name).snapshot_step == 5, "the snapshot is committed")

    said = preview(stack, started.name)
    assert (said.current_step, said.lost_steps) == (9, 4), "the step of this moment, not that of the last heartbeat"
    stopped = stack.milepost("runtime", "stop", "--mode=abrupt", "--yes", "--wait", started.runtime_id)

    assert stopped.returncode == Exit.OK, stopped.stderr
    assert "4 steps" in stopped.stderr
    assert [fact.lost_steps for fact in payloads(stack, started.name, "trial_stopped")] == [said.lost_steps]
    resumed = stack.milepost("runtime", "resume", "--wait", started.runtime_id)
    assert resumed.returncode == Exit.OK, resumed.stderr
    assert [fact.restored_step for fact in payloads(stack, started.name, "attempt_started")] == [0, 5]
    until(lambda: len(stack.series(started.name, "train/loss")) == 48, "every step is stored once", 30)


def test_what_is_lost_of_a_run_in_motion_is_counted_to_the_step(stack: StackProcess) -> None:
    started = stack.client.start_runtime(
        loop("plain", {"step_seconds": 0.1}, snapshots={"every_steps": 15, "keep_last": 3})
    )
    until(lambda: stack.trial(started.name).newest_snapshot_step == 15, "a snapshot")
    said = preview(stack, started.name)
    stack.client.stop_runtime(started.name, mode=common.STOP_MODE_ABRUPT)
    stack.wait_for_end(started.name)

    (stopped,) = payloads(stack, started.name, "trial_stopped")
    marker = stack.data_dir / "runtimes" / started.runtime_id / "trial-1" / "attempt-1" / "step-rank-0"
    done = int.from_bytes(marker.read_bytes(), "little")
    snapshots = [fact.step for fact in payloads(stack, started.name, "snapshot_committed")]
    assert stopped.lost_steps == done - snapshots[-1]
    assert done >= said.current_step >= 15


def test_the_story_of_a_stopped_and_resumed_run_names_actor_and_cause_of_each_transition(
    stack: StackProcess, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    started = stack.client.start_runtime(loop("data_wait", {"flag": str(flag)}))
    until(flag.exists, "the loop waits for data")
    assert stack.milepost("runtime", "stop", "--reason=lunch", "--wait", started.runtime_id).returncode == Exit.OK
    assert stack.milepost("runtime", "wait", started.runtime_id).returncode == Exit.ABORTED
    assert stack.milepost("runtime", "resume", "--wait", started.runtime_id).returncode == Exit.OK

    story = stack.milepost("runtime", "events", started.runtime_id).stdout.splitlines()
    print("\n".join(story))
    rows = {int(line.split()[0]): line for line in story}
    for line in story:
        origin = line.rpartition("[")[2]
        actor, _, cause = origin.rstrip("]").partition(", because of ")
        assert actor.startswith(("local:", "service:", "trainer")), line
        by_person = any(kind in line for kind in ("requested", "trial_created")) and not cause
        assert by_person or int(cause) < int(line.split()[0]), line
    assert any("stop_requested" in line and "lunch" in line for line in rows.values())

    chain = stack.milepost("runtime", "why", started.runtime_id).stdout.splitlines()
    print("\n".join(chain))

    assert "runtime_completed" in chain[0]
    assert "resume_requested" in chain[-1]
    assert "because of" not in chain[-1]


def test_waiting_for_a_run_tells_by_its_exit_status_how_it_ended(stack: StackProcess) -> None:
    completes = stack.client.start_runtime(loop("plain", {"step_seconds": 0.0}))
    fails = stack.client.start_runtime(loop("needs_module", {}))
    runs = stack.client.start_runtime(loop("plain", {"step_seconds": 60.0}))

    def status(*arguments: str) -> int:
        return stack.milepost("runtime", "wait", *arguments).returncode

    assert status(completes.runtime_id) == 0
    assert status(fails.runtime_id) == 1
    assert status("--timeout=0.5", runs.runtime_id) == 10
    stack.client.stop_runtime(runs.name, mode=common.STOP_MODE_ABRUPT)
    assert status(runs.runtime_id) == 11
    assert status("rt-unknown") == 3


def test_a_killed_training_process_is_retried_and_the_run_says_so(stack: StackProcess) -> None:
    started = stack.client.start_runtime(loop("plain", {"step_seconds": 0.1}, retries={"backoff_seconds": 1.0}))
    until(lambda: stack.trial(started.name).newest_snapshot_step >= 5, "a snapshot")
    attempt = f"{started.runtime_id}/trial-1/attempt-1"
    for trainer in stack.trainers():
        if "milepost.training.process.worker" in trainer.cmdline() and attempt in trainer.environ()["MILEPOST_LAUNCH"]:
            trainer.kill()

    until(lambda: stack.runtime(started.name).reason.startswith("Retry 1 of 2 scheduled"), "it says that it is retried")
    until(lambda: stack.runtime(started.name).reason.startswith("Attempt 2 went on from step"), "it says it went on")
    ended = stack.wait_for_end(started.name)

    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED
    chain = stack.milepost("runtime", "why", started.runtime_id).stdout
    assert "SIGKILL" in chain, "the crash is on the way back to the click"
    assert ", request:" in chain.splitlines()[-1], "the click"


def test_fine_tuning_begins_with_what_another_run_has_learnt(stack: StackProcess) -> None:
    """Other text, steps from 1; stopped and resumed it goes on from its own snapshot."""
    learnt = stack.client.start_runtime(small(name="to start from"))
    assert stack.wait_for_end(learnt.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    newest = stack.client.runtimes.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=learnt.name)).snapshots[0]
    tuning = {
        "name": "fine-tuning",
        "entrypoint": "milepost.recipes.language_model_tuning:train",
        "initialize_from": newest.name,
        # So long that it is still at work when the stop arrives, however fast its steps are.
        "parameters": {"epochs": 3, "batch_size": 16, "steps_per_epoch": 400, "eval_every": 400, "frozen_layers": 1},
    }
    started = stack.client.start_runtime(json.dumps(tuning))
    stack.wait_for_step(started.name, 10)
    stack.client.stop_runtime(started.name)
    assert stack.wait_for_end(started.name).status == runtime_api.RUNTIME_STATUS_ABORTED
    assert stack.milepost("runtime", "resume", "--wait", started.runtime_id).returncode == Exit.OK

    until(lambda: len(stack.series(started.name, "train/loss")) == 1200, "every step is stored once", 30)
    fresh, tuned = stack.series(learnt.name, "train/loss"), stack.series(started.name, "train/loss")
    assert tuned[1] < fresh[1] - 0.5, "it knows something at its first step"
    assert sum(tuned[step] for step in range(1191, 1201)) < sum(tuned[step] for step in range(1, 11)), "and it learns"
    first, second = payloads(stack, started.name, "attempt_started")
    assert (first.restored_step, first.restored_snapshot_id) == (0, "")
    assert second.restored_step >= 10
    requested = stack.events(started.name)[0].runtime_event.runtime_requested
    assert requested.configuration.initialize_from == newest.name


def test_fine_tuning_without_a_snapshot_fails_for_good_and_says_what_to_do(stack: StackProcess) -> None:
    started = stack.client.start_runtime(
        '{"name": "nothing", "entrypoint": "milepost.recipes.language_model_tuning:train"}'
    )
    ended = stack.wait_for_end(started.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_FAILED
    assert "initialize_from" in ended.reason
    assert stack.trial(started.name).attempt_count == 1

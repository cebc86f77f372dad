"""What the policy has done next: by example, and under anything that can happen in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import runtime, trial
from milepost.domain.runtime import Phase, Status
from milepost.errors import MilepostError
from services.runtime.policies import control
from services.runtime.policies.control import Process
from tests.unit.domain.given import at
from tests.unit.runtime.world import World, configuration

COMPLETED = (facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED)
STOPPED = (facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED)
RAISED = (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION)
HOPELESS = (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_DETERMINISTIC)

THREE_TRIALS = {"search": {"space": {"x": [1, 2, 3]}, "max_concurrent_trials": 2}}


def training(world: World, number: int = 1) -> World:
    """Let a trial get as far as its first step."""
    world.turn()
    world.says(number, facts.AttemptStarted())
    world.says(number, facts.InstanceStarted(rank=0))
    world.says(number, facts.InstanceReadinessChanged(rank=0, ready=True))
    world.turn()
    return world


def test_a_trial_is_created_launched_spawned_and_reported_as_started() -> None:
    world = training(World(configuration()))
    kinds = [type(step).__name__ for step in world.carried_out]
    assert kinds == ["CreateTrials", "Launch", "Spawn", "ReportStarted", "ReportReadiness"]
    assert (world.state.phase, world.state.ready) == (Phase.RUNNING, True)


def test_a_runtime_of_which_nothing_runs_says_what_its_job_waits_for() -> None:
    world = World(configuration())
    world.turn()
    world.trials[1].processes[1] = Process.PENDING
    picture = world.picture()
    waiting = replace(picture, trials={1: replace(picture.trials[1], waits="job 7 waits")})
    assert control.next_step(waiting, world.now) == control.ReportWaiting("job 7 waits")
    queue = runtime_facts.PENDING_REASON_CLUSTER_QUEUE
    said = replace(waiting, state=replace(world.state, pending=runtime.Pending(queue, "job 7 waits", 0)))
    assert control.next_step(said, world.now) is None
    runs = replace(waiting, trials={1: replace(waiting.trials[1], process=Process.RUNNING)})
    assert control.next_step(runs, world.now) is None


def test_a_completed_trial_completes_its_runtime_and_releases_what_it_held() -> None:
    world = training(World(configuration()))
    world.leaves(1, *COMPLETED)
    world.turn()
    assert (world.state.status, world.state.phase) == (Status.COMPLETED, Phase.ENDED)


def test_resources_are_kept_until_the_process_has_left_and_it_is_killed_if_it_does_not() -> None:
    world = training(World(configuration()))
    world.says(1, facts.AttemptEnded(outcome=COMPLETED[0], cause=COMPLETED[1]))
    world.turn()
    assert (world.state.status, world.state.phase) == (Status.COMPLETED, Phase.TERMINATING)
    world.wait(control.LEAVING_SECONDS)
    assert world.process(1) is Process.GONE
    assert world.state.phase is Phase.ENDED


def test_a_launched_attempt_without_a_process_gets_one_after_a_crash_of_the_scheduler() -> None:
    world = World(configuration())
    while not isinstance(world.carried_out[-1] if world.carried_out else None, control.Launch):
        world.step()
    # Killed here. The next one sees the launch and no process.
    world.turn()
    assert world.spawned == {(1, 1): 1}


def test_a_dead_process_is_fenced_and_retried_with_growing_waits_until_no_retry_is_left() -> None:
    world = training(World(configuration(snapshots={"every_steps": 5})))
    world.dies(1)
    world.turn()
    assert isinstance(world.trials[1].state.situation, trial.Retrying)
    assert control.wake_time(world.picture()) == at(1)
    world.wait(1)
    world.dies(1)
    world.turn()
    assert control.wake_time(world.picture()) == at(3)
    world.wait(2)
    world.dies(1)
    world.turn()
    assert world.spawned == {(1, 1): 1, (1, 2): 1, (1, 3): 1}
    assert (world.state.status, world.state.phase) == (Status.FAILED, Phase.ENDED)
    assert world.state.failure_reason == common.FAILURE_REASON_CRASHED


def test_an_error_that_would_come_again_is_not_retried() -> None:
    world = training(World(configuration()))
    world.leaves(1, *HOPELESS)
    world.turn()
    assert world.state.failure_reason == common.FAILURE_REASON_DETERMINISTIC_ERROR
    assert world.spawned == {(1, 1): 1}


def test_a_lost_attempt_is_killed_and_fenced_before_the_next_is_launched() -> None:
    world = training(World(configuration()))
    world.trials[1].lost = "silent"
    world.wait(1)
    fence = next(step for step in world.carried_out if isinstance(step, control.EndAttempt))
    assert fence.reason == facts.FENCE_REASON_LOST
    assert world.trials[1].processes == {1: Process.GONE, 2: Process.RUNNING}


def test_an_attempt_that_fills_the_log_is_ended_and_not_tried_again() -> None:
    assert control.excess(control.MAX_MESSAGES, control.MAX_BYTES) == ""
    world = training(World(configuration()))
    world.trials[1].excess = control.excess(control.MAX_MESSAGES + 1, 0)
    world.wait(1)
    (fence,) = (step for step in world.carried_out if isinstance(step, control.EndAttempt))
    assert fence.reason == facts.FENCE_REASON_EXCESS
    assert "1,000,001 messages" in fence.detail
    assert world.trials[1].processes == {1: Process.GONE}
    assert isinstance(world.trials[1].state.situation, trial.Failed)
    assert control.excess(1, control.MAX_BYTES + 1)


def test_a_graceful_stop_waits_for_the_attempt_and_kills_it_at_the_deadline() -> None:
    world = training(World(configuration()))
    world.command(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60), "enough"))
    world.turn()
    assert world.process(1) is Process.RUNNING
    assert control.wake_time(world.picture()) == at(60)
    world.wait(60)
    assert world.process(1) is Process.GONE
    assert (world.state.status, world.state.phase) == (Status.ABORTED, Phase.ENDED)


def test_a_script_that_is_not_heard_of_is_stopped_at_the_deadline_and_it_says_that_it_may_still_run() -> None:
    world = training(World(configuration()))
    world.trials[1].processes[1] = Process.UNSEEN
    world.trials[1].silence = "no contact since 12:00"
    world.says(1, facts.InstanceExited())
    world.says(1, facts.InstanceStarted(process=common.ProcessIdentity(host="far", process_id=7)))
    world.command(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60), "enough"))
    world.wait(59)
    assert world.state.phase is Phase.STOPPING
    world.wait(1)
    assert (world.state.status, world.state.phase) == (Status.ABORTED, Phase.ENDED)
    (ended,) = [step for step in world.carried_out if isinstance(step, control.EndRuntime)]
    assert ended.command == runtime.AbortRuntime(
        "enough: it did not stop before the deadline: no contact since 12:00; process 7 on far may still run"
    )


def test_the_health_of_a_runtime_names_the_silence() -> None:
    world = training(World(configuration()))
    world.trials[1].silence = "no contact since 12:00"
    world.trial_command(1, trial.ReportInstanceHealth(1, 0, common.HEALTH_UNHEALTHY, "no contact since 12:00"))
    world.turn()
    assert world.state.health_reason == "instance 0 of trial 1: no contact since 12:00"
    world.trial_command(1, trial.ReportInstanceHealth(1, 0, common.HEALTH_HEALTHY, "its heartbeats come in time"))
    world.turn()
    assert world.state.health_reason == "every instance is healthy"


def test_one_step_stops_all_trials_of_a_search_that_wait() -> None:
    """A step for each of thousands of trials looked at all of them each time."""
    count = 250
    search = {"space": {"x": list(range(count))}, "max_concurrent_trials": 1, "max_trials": count}
    world = World(configuration(search=search), trial_count=count)
    training(world)
    world.command(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60), "enough"))
    world.turn()
    told = [step.trials for step in world.carried_out if isinstance(step, control.OrderStop)]
    assert [len(numbers) for numbers in told] == [1, 249]
    assert sorted(number for numbers in told for number in numbers) == list(range(1, count + 1))


def test_an_abrupt_stop_kills_at_once_and_overtakes_a_graceful_one() -> None:
    world = training(World(configuration()))
    world.command(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60)))
    world.turn()
    world.command(runtime.StopRuntime(common.STOP_MODE_ABRUPT, at(0)))
    world.turn()
    assert (world.state.status, world.state.phase) == (Status.ABORTED, Phase.ENDED)
    assert world.now == at(0)


def test_a_runtime_whose_trials_completed_in_spite_of_a_stop_is_completed() -> None:
    world = training(World(configuration()))
    world.command(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60)))
    world.turn()
    world.leaves(1, *COMPLETED)
    world.turn()
    assert world.state.status is Status.COMPLETED


def test_a_stop_while_retrying_needs_no_process() -> None:
    world = training(World(configuration()))
    world.dies(1)
    world.turn()
    world.command(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60)))
    world.turn()
    assert world.state.status is Status.ABORTED
    assert world.spawned == {(1, 1): 1}


def test_as_many_trials_run_at_a_time_as_there_are_slots() -> None:
    world = World(configuration(**THREE_TRIALS), 3, slots=2)
    world.turn()
    assert world.running() == [1, 2]
    world.says(1, facts.AttemptStarted())
    world.leaves(1, *COMPLETED)
    world.turn()
    assert world.running() == [2, 3]


def test_a_failed_trial_fails_its_runtime_at_the_end_unless_the_policy_says_at_once() -> None:
    for policy, expected in (("continue", Status.STARTED), ("stop", Status.FAILED)):
        search = {**THREE_TRIALS["search"], "on_trial_failure": policy}
        world = training(World(configuration(search=search), 3, slots=2))
        world.leaves(1, *HOPELESS)
        world.turn()
        assert world.state.status is expected


def test_trials_halted_by_the_policy_may_save_and_wait() -> None:
    search = {**THREE_TRIALS["search"], "on_trial_failure": "stop"}
    world = training(World(configuration(search=search), 3, slots=2))
    world.says(2, facts.AttemptStarted())
    world.leaves(1, *HOPELESS)
    world.turn()
    phases = [world.state.phase]
    world.leaves(2, *STOPPED)
    world.turn()
    assert [*phases, world.state.phase] == [Phase.TERMINATING, Phase.ENDED]
    assert isinstance(world.trials[2].state.situation, trial.Stopped)
    assert isinstance(world.trials[3].state.situation, trial.Stopped)


def test_a_roll_back_kills_the_attempt_and_launches_the_next_from_the_snapshot() -> None:
    world = training(World(configuration()))
    for step in (5, 10):
        world.says(1, facts.SnapshotCommitted(snapshot_id=f"s{step}", step=step))
    world.trial_command(1, trial.RollBackTrial("s5", {}))
    world.turn()
    assert world.running() == [1]
    state = world.trials[1].state
    assert state.active is not None
    assert (state.active.attempt, state.active.launch.snapshot_id, state.retries) == (2, "s5", 0)
    assert world.trials[1].processes == {1: Process.GONE, 2: Process.RUNNING}


def test_a_completed_runtime_goes_on_with_the_trial_that_is_rolled_back() -> None:
    world = training(World(configuration()))
    world.says(1, facts.SnapshotCommitted(snapshot_id="s5", step=5))
    world.leaves(1, facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED)
    world.turn()
    assert world.state.status is Status.COMPLETED
    world.command(runtime.ResumeRuntime((1,), "s5", extends=True))
    world.trial_command(1, trial.RollBackTrial("s5", {}))
    world.turn()
    assert (world.running(), world.state.status) == ([1], Status.STARTED)


def test_the_time_limit_ends_a_runtime_as_failed() -> None:
    world = training(World(configuration(limits={"max_duration_seconds": 100, "stop_deadline_seconds": 10})))
    world.wait(99)
    assert world.state.status is Status.STARTED
    world.wait(1)
    assert (world.state.status, world.state.phase) == (Status.FAILED, Phase.TERMINATING)
    assert world.state.failure_reason == common.FAILURE_REASON_DEADLINE_EXCEEDED
    world.wait(10)
    assert world.state.phase is Phase.ENDED


def test_a_runtime_whose_trials_were_stopped_one_by_one_is_aborted() -> None:
    world = training(World(configuration()))
    world.trial_command(1, trial.StopTrial(common.STOP_MODE_ABRUPT, at(0)))
    world.turn()
    assert (world.state.status, world.state.phase) == (Status.ABORTED, Phase.ENDED)


def test_a_resume_takes_up_the_trials_it_names_and_no_other() -> None:
    world = training(World(configuration(**THREE_TRIALS), 3, slots=3))
    world.command(runtime.StopRuntime(common.STOP_MODE_ABRUPT, at(0)))
    world.turn()
    world.command(runtime.ResumeRuntime((1, 3)))
    world.turn()
    assert world.running() == [1, 3]


def test_a_deleted_runtime_is_stopped_released_and_purged_once() -> None:
    world = training(World(configuration()))
    world.command(runtime.DeleteRuntime(at(0), force=True))
    world.turn()
    assert (world.state.status, world.state.phase) == (Status.ABORTED, Phase.DELETED)
    assert world.purges == 1


def test_a_deleted_runtime_is_purged_when_its_window_is_over_and_not_before() -> None:
    world = training(World(configuration()))
    world.command(runtime.DeleteRuntime(at(0), force=True, purge_time=at(600)))
    world.turn()
    assert (world.state.phase, world.purges) == (Phase.RESTORABLE, 0)
    world.now = at(599)
    world.turn()
    assert (world.state.phase, world.purges) == (Phase.RESTORABLE, 0)
    world.now = at(600)
    world.turn()
    assert (world.state.phase, world.purges) == (Phase.DELETED, 1)


# --- anything in any order ------------------------------------------------------------------------------------------

ACTIONS = [
    *("turn", "turn", "turn", "step", "step", "train", "train", "train", "start", "snapshot"),
    *("complete", "raise", "hopeless", "stopped", "die", "lose", "wait", "wait"),
    *("stop", "stop_trial", "resume", "resume_trial", "roll_back", "delete"),
]
TRIALS = 3


class ControlMachine(RuleBasedStateMachine):
    """The policy with a search of three trials, and a scheduler that is killed between any two steps."""

    @initialize(
        policy=st.sampled_from(["continue", "stop"]), limit=st.sampled_from([None, 50]), slots=st.integers(1, 3)
    )
    def request(self, policy: str, limit: float | None, slots: int) -> None:
        search = {**THREE_TRIALS["search"], "on_trial_failure": policy}
        limits = {"max_duration_seconds": limit, "stop_deadline_seconds": 20}
        self.world = World(configuration(search=search, limits=limits), TRIALS, slots)

    @rule(
        action=st.sampled_from(ACTIONS),
        number=st.integers(1, TRIALS),
        seconds=st.sampled_from([1, 5, 30]),
        abrupt=st.booleans(),
    )
    def act(self, action: str, number: int, seconds: int, abrupt: bool) -> None:
        status = self.world.state.status
        try:
            self.do(action, number, seconds, abrupt)
        except MilepostError:
            # Refused to a user, or to an attempt that is fenced. Never to the scheduler: see `turn`.
            assert action not in ("turn", "step", "wait")
        if status not in (None, Status.STARTED) and self.world.state.status is Status.STARTED:
            assert action in ("resume", "resume_trial", "roll_back"), "it began by itself"

    def do(self, action: str, number: int, seconds: int, abrupt: bool) -> None:
        world = self.world
        mode = common.STOP_MODE_ABRUPT if abrupt else common.STOP_MODE_GRACEFUL
        deadline = world.now
        match action:
            case "turn":
                world.turn()
            case "step":
                world.step()
            case "wait":
                world.wait(seconds)
            case "train":
                world.turn()
                for each in world.running():
                    if world.trials[each].state.active is not None:
                        self.happen("start", each)
                        self.happen("snapshot", each)
            case "stop" if seconds == 30:
                world.command(runtime.StopRuntime(mode, deadline))
            case "stop_trial" if number in world.trials and seconds == 30:
                world.trial_command(number, trial.StopTrial(mode, deadline))
            case "resume":
                self.resume()
            case "resume_trial" if number in world.trials:
                if world.state.in_progress:
                    world.trial_command(number, trial.ResumeTrial())
                else:
                    world.command(runtime.ResumeRuntime((number,)))
            case "roll_back" if number in world.trials:
                for snapshot in trial.restorable_snapshots(world.trials[number].state)[-1:]:
                    back = trial.RollBackTrial(snapshot.snapshot_id, {})
                    # One decision: both or neither.
                    trial.decide(world.trials[number].state, back)
                    if not world.state.in_progress:
                        world.command(runtime.ResumeRuntime((number,), extends=True))
                    elif world.state.stop is not None:
                        return
                    world.trial_command(number, back)
            case "delete" if seconds == 30 and number != 2:
                window = deadline + timedelta(seconds=40) if number == 3 else None
                world.command(runtime.DeleteRuntime(deadline, force=abrupt, purge_time=window))
            case "delete" if number == 2:
                world.command(runtime.UndeleteRuntime())
            case _ if number in world.trials and world.process(number) is Process.RUNNING:
                self.happen(action, number)

    def resume(self) -> None:
        kinds: Any = trial.Stopped | trial.Failed | trial.Queued | trial.Retrying
        chosen = tuple(n for n, one in self.world.trials.items() if isinstance(one.state.situation, kinds))
        if chosen:
            self.world.command(runtime.ResumeRuntime(chosen))

    def happen(self, action: str, number: int) -> None:
        """Something happens to a running process."""
        world = self.world
        active = world.trials[number].state.active
        match action:
            case "start" if active is not None:
                launch = active.launch
                world.says(
                    number,
                    facts.AttemptStarted(restored_snapshot_id=launch.snapshot_id, restored_step=launch.snapshot_step),
                )
            case "snapshot" if active is not None:
                step = active.last_step + 1
                world.says(number, facts.SnapshotCommitted(snapshot_id=f"s{step}a{active.attempt}", step=step))
            case "complete":
                world.leaves(number, *COMPLETED)
            case "raise":
                world.leaves(number, *RAISED)
            case "hopeless":
                world.leaves(number, *HOPELESS)
            case "stopped":
                world.leaves(number, *STOPPED)
            case "die":
                world.dies(number)
            case "lose":
                world.trials[number].lost = "silent"

    @invariant()
    def no_attempt_is_started_twice_and_no_two_of_a_trial_run(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        assert set(world.spawned.values()) <= {1}
        for one in world.trials.values():
            assert list(one.processes.values()).count(Process.RUNNING) <= 1
        if world.state.phase in (Phase.ENDED, Phase.DELETED):
            assert not world.running()
            assert not any(one.state.active for one in world.trials.values())

    def teardown(self) -> None:
        """However it went: a stop ends it, with nothing left running."""
        world = getattr(self, "world", None)
        if world is None:
            return
        if world.state.in_progress and world.state.stop is None:
            world.command(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, world.now))
        world.wait(100)
        assert world.state.phase in (Phase.ENDED, Phase.DELETED), (world.state, world.trials)
        assert world.state.status in (Status.ABORTED, Status.COMPLETED, Status.FAILED)


QUICK = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


class TestControlMachine(ControlMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = QUICK


@pytest.mark.faults
@pytest.mark.timeout(3_600)
class TestControlMachineForLong(ControlMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = settings(QUICK, max_examples=3_000, stateful_step_count=60)

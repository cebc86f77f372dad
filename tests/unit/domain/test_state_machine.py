"""Any command, any fact of an attempt, any forgery, in any order: what must hold of a runtime and of a trial.

300 runs of 40 steps in every test run; 3,000 of 60 in `make test-faults`. Each machine has one rule that chooses with
weights: hypothesis leaves whole rules out at random, and without a launch little else can happen.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import runtime, trial
from milepost.domain.decider import Fact, fold
from milepost.domain.runtime import ENDED_STATUSES, Phase, Status
from milepost.errors import MilepostError
from tests.unit.domain.given import at

MODES = st.sampled_from([common.STOP_MODE_GRACEFUL, common.STOP_MODE_ABRUPT])
STEPS = st.integers(1, 9)
CAUSES = st.sampled_from([common.EXIT_CAUSE_SIGNAL, common.EXIT_CAUSE_LOST, common.EXIT_CAUSE_EXCEPTION])
PICKS = st.integers(0, 59)
# How many attempts back from the newest; mostly it is the newest itself that is meant.
BACK = st.sampled_from([0, 0, 0, 0, 0, 1, 2])
USUALLY = st.sampled_from([True] * 9 + [False])

REQUEST = runtime.RequestRuntime("rt-1", "", RuntimeConfiguration(), "sha256:a", 1)
CREATE = trial.CreateTrial("rt-1", 1, {}, {})
TRUNK = [common.AncestorSteps(runtime_id="rt-0", trial=1, attempt=1, first_step=1, last_step=7)]
ORIGIN = common.SnapshotOrigin(runtime_id="rt-0", trial=1, attempt=1, snapshot_id="s7a1", step=7, trunk=TRUNK)
BRANCH = trial.CreateTrial("rt-1", 1, {}, {}, ORIGIN)
HOLDERS = ("rt-2", "rt-3")
CPU, GPU = runtime_facts.PENDING_REASON_INSUFFICIENT_CPU, runtime_facts.PENDING_REASON_INSUFFICIENT_GPU

RUNTIME_COMMANDS: list[Any] = [
    REQUEST,
    runtime.RequestRuntime("rt-1", "", RuntimeConfiguration(), "sha256:b", 1),
    runtime.ReportPending(CPU, ""),
    runtime.ReportPending(GPU, ""),
    runtime.AllocateResources(runtime.Allocation(1.0, 0.0, (), "here", 0.0)),
    runtime.AllocateResources(runtime.Allocation(1.0, 0.0, (), "here", 0.0)),
    runtime.ReportStarted(),
    runtime.ReportStarted(),
    runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60)),
    runtime.StopRuntime(common.STOP_MODE_ABRUPT, at(60)),
    runtime.AbortRuntime(),
    runtime.AbortRuntime("", trials_stopped=True),
    runtime.FailRuntime(common.FAILURE_REASON_CRASHED, "", 1),
    runtime.CompleteRuntime(),
    runtime.ReleaseResources(),
    runtime.ReleaseResources(),
    runtime.ResumeRuntime((1,)),
    runtime.ResumeRuntime((1,), extends=True),
    runtime.DeleteRuntime(at(0)),
    runtime.DeleteRuntime(at(0), force=True),
    runtime.DeleteRuntime(at(0), force=True, purge_time=at(600)),
    runtime.DeleteRuntime(at(0), purge_time=at(600)),
    runtime.UndeleteRuntime(),
    runtime.UndeleteRuntime(),
    runtime.StartPurge(),
    runtime.ReportPurged(0, 0, 0, 0, ("left",)),
    runtime.ReportPurged(0, 0, 0, 0),
    runtime.ReportHealth(common.HEALTH_HEALTHY, ""),
    runtime.ReportHealth(common.HEALTH_DEGRADED, ""),
    runtime.ReportReadiness(True, ""),
    runtime.ReportReadiness(False, ""),
]
# They end a runtime for good; drawn less often than the others.
DELETES = (runtime.DeleteRuntime, runtime.StartPurge, runtime.ReportPurged)

RUNTIME_FORGERIES: list[Message] = [
    runtime_facts.RuntimeCompleted(),
    runtime_facts.ResumeRequested(),
    facts.TrialCompleted(),
]

# What may follow which status, and by which command.
LEGAL: dict[tuple[Status | None, Status | None], set[type]] = {
    (None, Status.STARTED): {runtime.RequestRuntime},
    (Status.STARTED, Status.ABORTED): {runtime.AbortRuntime, runtime.FailRuntime},
    (Status.STARTED, Status.FAILED): {runtime.FailRuntime},
    (Status.STARTED, Status.COMPLETED): {runtime.CompleteRuntime},
    **{(ended, Status.STARTED): {runtime.ResumeRuntime} for ended in ENDED_STATUSES},
}


class RuntimeMachine(RuleBasedStateMachine):
    """One runtime under any commands."""

    def __init__(self) -> None:
        super().__init__()
        self.state = runtime.initial
        self.facts: list[Fact] = []

    @initialize(requested=USUALLY)
    def request(self, requested: bool) -> None:
        if requested:
            self.command(REQUEST)

    @rule(pick=PICKS, attempt=st.sampled_from([None] * 7 + [1]), late=st.booleans())
    def act(self, pick: int, attempt: int | None, late: bool) -> None:
        command = RUNTIME_COMMANDS[pick % len(RUNTIME_COMMANDS)]
        if attempt is not None:
            self.forge(RUNTIME_FORGERIES[pick % len(RUNTIME_FORGERIES)], attempt)
        elif late or not isinstance(command, DELETES):
            self.command(command)

    def command(self, command: Any) -> None:
        before = self.state.status
        try:
            decided = runtime.decide(self.state, command)
        except MilepostError:
            return
        self.facts += [Fact(payload) for payload in decided]
        self.state = fold(runtime.evolve, self.state, [Fact(payload) for payload in decided])
        if self.state.status is not before:
            assert type(command) in LEGAL[(before, self.state.status)]
        # A purge that left something is a report, and may come again.
        if not isinstance(command, runtime.ReportPurged):
            assert runtime.decide(self.state, command) == [], f"{command} twice"

    def forge(self, payload: Message, attempt: int) -> None:
        after = runtime.evolve(self.state, Fact(payload, attempt))
        assert after.ignored == self.state.ignored + 1
        assert (after.status, after.phase, after.stop) == (self.state.status, self.state.phase, self.state.stop)

    @invariant()
    def status_and_phase_agree(self) -> None:
        state = self.state
        assert state.status in (None, *Status)
        if state.status is Status.STARTED:
            assert state.phase in (Phase.QUEUED, Phase.ALLOCATING, Phase.RUNNING, Phase.STOPPING)
        elif state.status is not None:
            assert state.phase in (Phase.TERMINATING, Phase.ENDED, Phase.RESTORABLE, Phase.DELETING, Phase.DELETED)
            assert state.stop is None
        if state.phase in (Phase.ENDED, Phase.DELETED):
            assert state.allocation is None
        assert (state.failure_reason != common.FAILURE_REASON_UNSPECIFIED) == (state.status is Status.FAILED)

    @invariant()
    def what_is_purged_does_not_come_back(self) -> None:
        state = self.state
        assert state.deleting or not (state.purging or state.purged or state.purge_time)
        assert state.phase is not Phase.RESTORABLE or (state.deleting and not state.purging and state.purge_time)
        assert state.phase not in (Phase.DELETING, Phase.DELETED) or state.purging

    @invariant()
    def the_log_gives_the_same_state(self) -> None:
        assert fold(runtime.evolve, runtime.initial, self.facts) == self.state


def steerable(attempt: int) -> facts.SteerableDeclared:
    return facts.SteerableDeclared(
        attempt=attempt, name="lr", kind=facts.STEERABLE_KIND_INTEGER, value="1", maximum="9"
    )


def parameters_changed(attempt: int, step: int, number: int) -> facts.ParametersChanged:
    changes = [facts.ParameterChange(name="lr", old="1", new=str(number))]
    return facts.ParametersChanged(attempt=attempt, step=step, number=number, changes=changes)


def about(attempt: int, cause: common.ExitCause) -> list[Any]:
    """Everything the service may decide about one attempt."""
    return [
        trial.FenceAttempt(attempt, facts.FENCE_REASON_LOST, cause, ""),
        trial.FenceAttempt(attempt, facts.FENCE_REASON_LOST, cause, ""),
        trial.ScheduleRetry(attempt, 2, at(5), cause, ""),
        trial.ScheduleRetry(attempt, 2, at(5), cause, ""),
        trial.CompleteTrial(attempt),
        trial.FailTrial(attempt, common.FAILURE_REASON_CRASHED, ""),
        trial.ReportInstanceHealth(attempt, 0, common.HEALTH_DEGRADED, ""),
    ]


def of_an_attempt(attempt: int, step: int) -> list[Message]:
    """Everything an attempt may want to say."""
    outcome = [facts.ATTEMPT_OUTCOME_COMPLETED, facts.ATTEMPT_OUTCOME_STOPPED, facts.ATTEMPT_OUTCOME_FAILED][step % 3]
    return [
        facts.PlanDeclared(attempt=attempt, total_steps=step),
        facts.InstanceStarted(attempt=attempt, rank=step % 2),
        facts.InstanceReadinessChanged(attempt=attempt, rank=0, ready=bool(step % 2)),
        facts.InstanceExited(attempt=attempt, rank=step % 2),
        facts.EpochCompleted(attempt=attempt, step=step),
        facts.EvaluationStarted(attempt=attempt, step=step),
        facts.EvaluationCompleted(attempt=attempt, step=step),
        facts.EvaluationRefused(attempt=attempt, step=step),
        facts.SnapshotStarted(attempt=attempt, step=step),
        facts.SnapshotFailed(attempt=attempt, step=step),
        facts.SnapshotDeleted(attempt=attempt, snapshot_id=f"s{step}a{attempt}"),
        facts.TelemetryDropped(attempt=attempt),
        facts.AlertRaised(attempt=attempt, kind=facts.ALERT_KIND_NON_FINITE, step=step),
        facts.ParametersDeclared(attempt=attempt, parameters={"rate": str(step)}),
        facts.ClusterStateObserved(attempt=attempt),
        steerable(attempt),
        parameters_changed(attempt, step, step),
        facts.ParametersNotChanged(attempt=attempt, step=step, number=step),
        facts.AttemptEnded(attempt=attempt, outcome=outcome, last_step=step),
    ]


OTHERS: list[Any] = [
    CREATE,
    trial.FailTrial(0, common.FAILURE_REASON_NO_VALID_SNAPSHOT, ""),
    trial.MarkStopped(""),
    trial.RaiseAlert(facts.AlertRaised(kind=facts.ALERT_KIND_NO_PROGRESS, step=3)),
]

FORGERIES: list[Message] = [
    facts.TrialCompleted(),
    facts.AttemptLaunched(attempt=9),
    facts.TrialStopped(),
    facts.TrialResumeRequested(),
]

# What happens in a step; the more often it stands here the more often it comes.
ACTIONS = [
    *("launch", "launch_and_start", "launch_and_start", "launch_and_start", "start"),
    *("snapshot", "snapshot", "record", "record", "zombie", "forgery"),
    *("crash_and_retry", "crash_and_retry", "snapshot_crash_and_retry", "snapshot_crash_and_retry"),
    *("about", "about", "about", "resume", "resume", "stop", "delete_snapshot", "other"),
    *("hold", "hold", "let_go", "retention", "retention", "pin", "pin", "unpin"),
    *("steer", "steer", "steer_and_change", "steer_and_change", "steer_and_change"),
    *("ask_for_snapshot", "roll_back", "roll_back_and_start", "roll_back_and_start"),
]


class TrialMachine(RuleBasedStateMachine):
    """One trial: commands of the service, attempts that record, zombies that record or forge."""

    def __init__(self) -> None:
        super().__init__()
        self.state = trial.initial
        self.facts: list[Fact] = []
        # Attempts that were launched and neither ended nor were fenced.
        self.unfenced: set[int] = set()
        # Requests for other values that an attempt has answered, by number.
        self.carried_out: list[int] = []

    @initialize(created=USUALLY, branches=st.booleans())
    def create(self, created: bool, branches: bool) -> None:
        if created:
            self.decide(BRANCH if branches else CREATE)

    @rule(action=st.sampled_from(ACTIONS), back=BACK, pick=PICKS, step=STEPS, cause=CAUSES, mode=MODES)
    def act(self, action: str, back: int, pick: int, step: int, cause: common.ExitCause, mode: common.StopMode) -> None:
        attempt = max(1, self.state.attempt - back)
        said = of_an_attempt(attempt, step)
        match action:
            case "launch":
                self.launch(pick % 3, pick)
            case "launch_and_start":
                self.launch(1, pick)
                self.start(self.state.attempt)
            case "start":
                self.start(attempt)
            case "crash_and_retry":
                self.crash_and_retry(cause, pick)
            case "snapshot_crash_and_retry":
                self.snapshot(self.state.attempt, step)
                self.crash_and_retry(cause, pick)
            case "snapshot":
                self.snapshot(attempt, step)
            case "record":
                self.record(attempt, said[pick % len(said)])
            case "zombie":
                self.append_unchecked(attempt, said[pick % len(said)])
            case "forgery":
                self.forge(FORGERIES[pick % len(FORGERIES)])
            case "about":
                commands = about(attempt, cause)
                self.decide(commands[pick % len(commands)])
            case "resume":
                known = ["", "", "", *(s.snapshot_id for s in self.state.snapshots), "s99a9"]
                self.decide(trial.ResumeTrial(known[pick % len(known)], extends=step > 4))
            case "stop":
                self.decide(trial.StopTrial(mode, at(60)))
            case "ask_for_snapshot":
                self.decide(trial.RequestSnapshot())
                self.decide(trial.RequestEvaluation())
            case "steer":
                self.steer(step + pick % 3)
            case "steer_and_change":
                self.record(attempt, steerable(attempt))
                self.steer(step)
                number = self.state.steering.count
                self.record(attempt, parameters_changed(attempt, step, number - pick % 2))
            case "roll_back":
                known = [*(s.snapshot_id for s in self.state.snapshots), "s99a9"]
                self.roll_back(known[pick % len(known)], step if back else 0)
            case "roll_back_and_start":
                best = trial.restorable_snapshots(self.state)
                if best:
                    self.roll_back(best[pick % len(best)].snapshot_id, 0)
                    self.decide(trial.FenceAttempt(self.state.attempt, facts.FENCE_REASON_ROLLED_BACK, cause, ""))
                    self.decide(trial.GoOn(self.state.attempt))
                    self.launch_queued()
                    self.start(self.state.attempt)
            case "delete_snapshot":
                chosen = [s.snapshot_id for s in self.state.snapshots] or ["none"]
                self.decide(trial.DeleteSnapshot(chosen[pick % len(chosen)], facts.SNAPSHOT_DELETE_REASON_CORRUPT))
            case "hold" | "let_go":
                chosen = [s.snapshot_id for s in self.state.snapshots] or ["none"]
                kind = trial.HoldSnapshot if action == "hold" else trial.LetSnapshotGo
                self.decide(kind(chosen[pick % len(chosen)], HOLDERS[step % 2]))
            case "pin" | "unpin":
                chosen = [s.snapshot_id for s in self.state.snapshots] or ["none"]
                change = trial.PinSnapshot if action == "pin" else trial.UnpinSnapshot
                self.decide(change(chosen[pick % len(chosen)]))
            case "retention":
                self.retain(attempt, pick)
            case "other":
                self.decide(OTHERS[pick % len(OTHERS)])

    def retain(self, attempt: int, pick: int) -> None:
        """An attempt lets a snapshot go that its policy does not keep."""
        known = self.state.snapshots
        if known:
            chosen = known[pick % len(known)]
            self.record(attempt, facts.SnapshotDeleted(attempt=attempt, snapshot_id=chosen.snapshot_id))
            assert not chosen.is_kept or chosen in self.state.snapshots, "a branch needs it, or somebody wants it"

    def crash_and_retry(self, cause: common.ExitCause, pick: int) -> None:
        attempt = self.state.attempt
        self.decide(trial.FenceAttempt(attempt, facts.FENCE_REASON_EXITED, cause, ""))
        self.decide(trial.ScheduleRetry(attempt, 2, at(5), cause, ""))
        if pick % 2:
            self.launch(1, pick)
            self.start(self.state.attempt)

    def roll_back(self, snapshot_id: str, skipped: int) -> None:
        before = {s.snapshot_id: s for s in self.state.snapshots}
        count = len(self.state.roll_backs)
        self.decide(trial.RollBackTrial(snapshot_id, {"lr": "0.5"}, skipped))
        if len(self.state.roll_backs) == count:
            return
        chosen = before[snapshot_id]
        assert not chosen.superseded
        best = trial.restorable_snapshots(self.state)
        assert best and all(s.step <= chosen.step for s in best), "it would go on from what was given up"
        assert {s.snapshot_id for s in self.state.snapshots} == set(before), "a snapshot is gone"

    def steer(self, value: int) -> None:
        count = self.state.steering.count
        self.decide(trial.SteerTrial({"lr": value}, "user:ada", request_id=f"q{count}"))
        asked = self.state.steering.count - count
        assert asked == 0 or (asked == 1 and value <= 9 and self.state.steering.steerables)

    def launch_queued(self) -> None:
        situation = self.state.situation
        if isinstance(situation, trial.Queued) and situation.snapshot_id:
            named = [s for s in self.state.snapshots if s.snapshot_id == situation.snapshot_id]
            self.decide(trial.LaunchAttempt(self.state.attempt + 1, named[0] if named else None))

    def launch(self, ahead: int, pick: int) -> None:
        snapshots = trial.restorable_snapshots(self.state)
        snapshot = snapshots[pick % len(snapshots)] if snapshots and pick % 4 else trial.origin_record(self.state)
        self.decide(trial.LaunchAttempt(self.state.attempt + ahead, snapshot))

    def start(self, attempt: int) -> None:
        """An attempt says that it begins."""
        active = self.state.active
        if active is not None:
            launch = active.launch
            fact = facts.AttemptStarted(
                attempt=attempt, restored_snapshot_id=launch.snapshot_id, restored_step=launch.snapshot_step
            )
            self.record(attempt, fact)

    def snapshot(self, attempt: int, ahead: int) -> None:
        active = self.state.active
        step = (active.last_step if active is not None else 0) + ahead
        self.record(attempt, facts.SnapshotCommitted(attempt=attempt, snapshot_id=f"s{step}a{attempt}", step=step))

    def decide(self, command: Any) -> None:
        ended = isinstance(self.state.situation, trial.Stopped | trial.Completed | trial.Failed)
        try:
            decided = trial.decide(self.state, command)
        except MilepostError:
            return
        self.happened([Fact(payload) for payload in decided])
        assert trial.decide(self.state, command) == [], f"{command} twice"
        if ended and not isinstance(command, trial.ResumeTrial | trial.RollBackTrial):
            assert isinstance(self.state.situation, trial.Stopped | trial.Completed | trial.Failed), (
                "it began by itself"
            )

    def record(self, attempt: int, payload: Message) -> None:
        try:
            decided = trial.decide(self.state, trial.Record(attempt, payload))
        except trial.StaleAttempt:
            assert attempt not in self.unfenced
            return
        except MilepostError:
            return
        assert attempt in self.unfenced, "a fenced attempt was allowed to write"
        self.happened([Fact(one, attempt) for one in decided])

    def append_unchecked(self, attempt: int, payload: Message) -> None:
        """An attempt that may not write appends past every check."""
        if attempt not in self.unfenced and self.state.situation is not None:
            self.check_without_effect(Fact(payload, attempt))

    def forge(self, payload: Message) -> None:
        """An attempt writes what only the service may."""
        if self.state.situation is not None:
            self.check_without_effect(Fact(payload, self.state.attempt or 1))

    def check_without_effect(self, fact: Fact) -> None:
        before = self.state
        self.happened([fact])
        fields = {name: getattr(before, name) for name in before.__dataclass_fields__}
        assert self.state == trial.Trial(**{**fields, "ignored": before.ignored + 1})

    def happened(self, decided: list[Fact]) -> None:
        for fact in decided:
            self.facts.append(fact)
            ignored, waiting = self.state.ignored, self.state.steering.waiting
            self.state = trial.evolve(self.state, fact)
            if self.state.ignored > ignored:
                continue
            if isinstance(fact.payload, facts.AttemptLaunched):
                self.unfenced.add(fact.payload.attempt)
            elif isinstance(fact.payload, facts.AttemptFenced | facts.AttemptEnded):
                self.unfenced.discard(fact.payload.attempt)
            elif isinstance(fact.payload, facts.ParametersChanged | facts.ParametersNotChanged):
                assert fact.payload.number in [request.number for request in waiting], "nobody asked, or it was done"
                self.carried_out.append(fact.payload.number)

    @invariant()
    def never_two_unfenced_attempts(self) -> None:
        active = self.state.active
        expected = {active.attempt} if active is not None and active.may_write else set()
        assert self.unfenced == expected

    @invariant()
    def there_is_one_lineage(self) -> None:
        next_step = trial.origin_step(self.state) + 1
        for segment in self.state.lineage:
            assert segment.first_step == next_step
            if segment is not self.state.lineage[-1]:
                assert segment.last_step is not None
                assert segment.last_step >= segment.first_step
                next_step = segment.last_step + 1
        for snapshot in trial.restorable_snapshots(self.state):
            assert trial.owner_of(self.state.lineage, snapshot.step) == snapshot.attempt

    @invariant()
    def no_change_is_lost_or_made_twice(self) -> None:
        steering = self.state.steering
        waiting = [request.number for request in steering.waiting]
        assert sorted(waiting) == waiting
        assert {*waiting, *self.carried_out} == set(range(1, steering.count + 1))
        assert len(waiting) + len(self.carried_out) == steering.count
        steps = [change.step for change in steering.changes]
        assert sorted(steps) == steps

    @invariant()
    def the_steps_up_to_a_snapshot_are_known_without_a_gap(self) -> None:
        for snapshot in self.state.snapshots:
            next_step = 1
            for part in trial.trunk_of(self.state, snapshot):
                assert part.first_step == next_step
                assert (part.runtime_id == "rt-1") == (part.first_step > trial.origin_step(self.state))
                next_step = part.last_step + 1
            assert next_step == snapshot.step + 1

    @invariant()
    def the_log_gives_the_same_state(self) -> None:
        assert fold(trial.evolve, trial.initial, self.facts) == self.state


QUICK = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
LONG = settings(QUICK, max_examples=3_000, stateful_step_count=60)


class TestRuntimeMachine(RuntimeMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = QUICK


class TestTrialMachine(TrialMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = QUICK


@pytest.mark.faults
@pytest.mark.timeout(3_600)
class TestRuntimeMachineForLong(RuntimeMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = LONG


@pytest.mark.faults
@pytest.mark.timeout(3_600)
class TestTrialMachineForLong(TrialMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = LONG

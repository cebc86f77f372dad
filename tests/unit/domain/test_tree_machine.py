"""Runs, their branches and their deletions in any order: no run needs a snapshot that is gone, and no step has two owners.

The deciders are given commands as the services give them: checked against what is known, and decided later, when something
else may have happened; a branch with the hold of its snapshot as one decision; the purge fact by fact, and files after facts.
200 runs of 50 steps in every test run; 2,000 of 80 in `make test-faults`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import runtime, trial
from milepost.domain.decider import Fact, fold
from milepost.domain.runtime import Phase
from milepost.errors import MilepostError
from tests.unit.domain.given import at

MAX_RUNS = 8
PICKS = st.integers(0, 59)
STEPS = st.integers(1, 9)
# What happens in a step; the more often it stands here the more often it comes.
ACTIONS = [
    *("train", "train", "train", "train", "crash", "end", "end", "resume"),
    *("look", "look", "branch", "branch", "look_and_branch", "look_and_branch"),
    *("pin", "unpin", "retention", "retention", "retention", "roll_back", "steer", "steer"),
    *(
        "purged_while_branched",
        "purged_while_branched",
        "delete",
        "delete",
        "undelete",
        "window",
        "window",
        "purge",
        "purge_files",
        "purge_files",
        "purge_files",
    ),
]


@dataclass
class Run:
    """One runtime with its trial, the files of its snapshots, and all of its facts."""

    state: runtime.Runtime = runtime.initial
    trial: trial.Trial = trial.initial
    files: set[str] = field(default_factory=set)
    facts: list[Fact] = field(default_factory=list)
    trial_facts: list[Fact] = field(default_factory=list)

    @property
    def is_hidden(self) -> bool:
        return self.state.deleting


# A command with the run it is for, and whether it is for its trial.
Wanted = tuple[str, bool, Any]


class TreeMachine(RuleBasedStateMachine):
    """Runs that begin at snapshots of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, Run] = {}
        # Branches that were looked at and are not decided: origin, and whose.
        self.looked: list[common.SnapshotOrigin] = []

    @initialize()
    def begin(self) -> None:
        self.start(None)

    @rule(action=st.sampled_from(ACTIONS), which=PICKS, pick=PICKS, step=STEPS, force=st.booleans())
    def act(self, action: str, which: int, pick: int, step: int, force: bool) -> None:
        name = sorted(self.runs)[which % len(self.runs)]
        run = self.runs[name]
        records = run.trial.snapshots
        chosen = records[pick % len(records)] if records else None
        match action:
            case "train":
                self.train(name, step)
            case "crash":
                self.crash(name)
            case "end":
                self.end(name, step)
            case "resume" if not run.is_hidden and not run.state.in_progress:
                both = (
                    (name, False, runtime.ResumeRuntime((1,), extends=True)),
                    (name, True, trial.ResumeTrial("", True)),
                )
                if self.decide(*both):
                    self.launch(name)
            case "roll_back" if chosen is not None and not run.is_hidden and run.state.in_progress:
                if self.decide((name, True, trial.RollBackTrial(chosen.snapshot_id, {}))):
                    attempt = run.trial.attempt
                    self.decide((name, True, fence(attempt)), (name, True, trial.GoOn(attempt)))
                    self.launch(name)
            case "look" if chosen is not None and not run.is_hidden:
                self.look(name, chosen)
            case "branch" if self.looked:
                self.start(self.looked.pop(pick % len(self.looked)))
            case "look_and_branch" if chosen is not None and not run.is_hidden:
                self.look(name, chosen)
                self.start(self.looked.pop())
            case "purged_while_branched" if chosen is not None and not run.is_hidden:
                # Checked when all was there, and decided somewhere within the purge.
                self.look(name, chosen)
                self.delete(name, force=True, pick=0)
                if pick % 2:
                    self.decide((name, True, trial.StartPurge()))
                    self.purge_if_begun(name, whole=force)
                self.start(self.looked.pop())
            case "pin" if chosen is not None and not run.is_hidden:
                self.decide((name, True, trial.PinSnapshot(chosen.snapshot_id)))
            case "unpin" if chosen is not None and not run.is_hidden:
                self.decide((name, True, trial.UnpinSnapshot(chosen.snapshot_id)))
            case "retention" if chosen is not None:
                self.retain(name, chosen)
            case "steer":
                self.steer(name, step)
            case "delete":
                self.delete(name, force, pick)
            case "undelete":
                self.undelete(name)
            case "window":
                self.decide((name, False, runtime.StartPurge()))
            case "purge" if run.state.phase is Phase.DELETING:
                self.decide((name, True, trial.StartPurge()))
            case "purge_files":
                self.purge_if_begun(name, whole=pick % 3 > 0)

    # --- deciding

    def decide(self, *wanted: Wanted) -> bool:
        """Decide commands on several runs as one decision: all of their facts or none. Returns whether anything was decided."""
        states = {name: (self.run(name).state, self.run(name).trial) for name, _, _ in wanted}
        decided: list[tuple[str, bool, Fact]] = []
        try:
            for name, of_trial, command in wanted:
                state, one = states[name]
                payloads: Any = trial.decide(one, command) if of_trial else runtime.decide(state, command)
                for payload in payloads:
                    fact = Fact(payload, command.attempt if isinstance(command, trial.Record) else None)
                    if of_trial:
                        one = trial.evolve(one, fact)
                    else:
                        state = runtime.evolve(state, fact)
                    decided.append((name, of_trial, fact))
                states[name] = (state, one)
        except MilepostError:
            return False
        for name, of_trial, fact in decided:
            run = self.runs.setdefault(name, Run())
            (run.trial_facts if of_trial else run.facts).append(fact)
        for name, (state, one) in states.items():
            if name in self.runs:
                self.runs[name].state, self.runs[name].trial = state, one
        return bool(decided)

    def run(self, name: str) -> Run:
        return self.runs.get(name, Run())

    # --- training

    def start(self, origin: common.SnapshotOrigin | None) -> None:
        """Start a run, or a branch with its snapshot held by the same decision."""
        if len(self.runs) >= MAX_RUNS:
            return
        name = f"rt-{len(self.runs) + 1}"
        request = runtime.RequestRuntime(name, "", RuntimeConfiguration(), "sha256:a", 1)
        wanted: list[Wanted] = [(name, False, request), (name, True, trial.CreateTrial(name, 1, {}, {}, origin))]
        if origin is not None:
            wanted.insert(0, (origin.runtime_id, True, trial.HoldSnapshot(origin.snapshot_id, name)))
        if self.decide(*wanted):
            self.decide((name, False, runtime.AllocateResources(runtime.Allocation(1.0, 0.0, (), "here", 0.0))))
            self.launch(name)
            self.decide((name, False, runtime.ReportStarted()))

    def launch(self, name: str) -> None:
        """Launch the next attempt at the best snapshot, as the scheduler does; its files must be there."""
        one = self.runs[name].trial
        best = [*trial.restorable_snapshots(one)[:1], *filter(None, [trial.origin_record(one)])]
        chosen = best[0] if best else None
        if isinstance(one.situation, trial.Queued) and one.situation.snapshot_id:
            chosen = next(s for s in one.snapshots if s.snapshot_id == one.situation.snapshot_id)
        if not self.decide((name, True, trial.LaunchAttempt(one.attempt + 1, chosen))):
            return
        if chosen is not None:
            of_origin = one.origin is not None and chosen.snapshot_id == one.origin.snapshot_id
            holder = self.runs[one.origin.runtime_id] if of_origin and one.origin is not None else self.runs[name]
            assert chosen.snapshot_id in holder.files, f"{name} goes on from {chosen.snapshot_id}, which is gone"
        started = facts.AttemptStarted(
            attempt=one.attempt + 1,
            restored_snapshot_id=chosen.snapshot_id if chosen is not None else "",
            restored_step=chosen.step if chosen is not None else 0,
        )
        self.record(name, started)

    def record(self, name: str, payload: Any) -> bool:
        return self.decide((name, True, trial.Record(payload.attempt, payload)))

    def train(self, name: str, ahead: int) -> None:
        active = self.runs[name].trial.active
        if active is None:
            return
        step = active.last_step + ahead
        identifier = f"{name}-s{step}a{active.attempt}"
        if self.record(
            name, facts.SnapshotCommitted(attempt=active.attempt, snapshot_id=identifier, step=step, uri=identifier)
        ):
            self.runs[name].files.add(identifier)

    def crash(self, name: str) -> None:
        attempt = self.runs[name].trial.attempt
        if self.runs[name].is_hidden or not self.decide((name, True, fence(attempt))):
            return
        cause = common.EXIT_CAUSE_SIGNAL
        self.decide((name, True, trial.ScheduleRetry(attempt, 2, at(5), cause, "")))
        self.launch(name)

    def end(self, name: str, ahead: int) -> None:
        """Let a run end: its attempt says so, and what held it is free."""
        active = self.runs[name].trial.active
        if active is not None:
            ended = facts.AttemptEnded(
                attempt=active.attempt, outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=active.last_step + ahead
            )
            self.record(name, ended)
            self.decide((name, True, trial.CompleteTrial(active.attempt)))
        self.decide((name, False, runtime.CompleteRuntime()))
        self.decide((name, False, runtime.ReleaseResources()))

    def steer(self, name: str, value: int) -> None:
        active = self.runs[name].trial.active
        if active is None or self.runs[name].is_hidden:
            return
        declared = facts.SteerableDeclared(
            attempt=active.attempt, name="rate", kind=facts.STEERABLE_KIND_INTEGER, value="1"
        )
        self.record(name, declared)
        if self.decide((name, True, trial.SteerTrial({"rate": value}, "user:ann"))):
            number = self.runs[name].trial.steering.count
            changed = facts.ParametersChanged(
                attempt=active.attempt, step=active.last_step + 1, number=number,
                changes=[facts.ParameterChange(name="rate", new=str(value))],
            )  # fmt: skip
            self.record(name, changed)

    def retain(self, name: str, chosen: trial.SnapshotRecord) -> None:
        """The attempt lets a snapshot go that its policy does not keep: first the fact, then the files."""
        active = self.runs[name].trial.active
        if active is not None:
            gone = facts.SnapshotDeleted(attempt=active.attempt, snapshot_id=chosen.snapshot_id, step=chosen.step)
            if self.record(name, gone):
                assert not chosen.is_kept
                self.runs[name].files.discard(chosen.snapshot_id)

    # --- branches and deletions

    def look(self, name: str, record: trial.SnapshotRecord) -> None:
        """Check a branch as the service does before it decides. Much may happen in between."""
        one = self.runs[name].trial
        self.looked.append(
            common.SnapshotOrigin(
                runtime_id=name, trial=1, attempt=record.attempt, snapshot_id=record.snapshot_id, step=record.step,
                uri=record.uri, trunk=trial.trunk_of(one, record), steered=one.steering.in_force(record.step),
            )
        )  # fmt: skip

    def delete(self, name: str, force: bool, pick: int) -> None:
        run = self.runs[name]
        needed = any(not self.runs[holder].is_hidden for s in run.trial.snapshots for holder in s.held_by)
        pinned = any(s.pinned for s in run.trial.snapshots)
        if not run.is_hidden and not force and (needed or pinned):
            return
        purge_time = at(600) if pick % 3 else None
        self.decide((name, False, runtime.DeleteRuntime(at(0), force, purge_time=purge_time)))
        if run.is_hidden and run.state.in_progress:
            # The scheduler stops it, whatever is deleted meanwhile.
            self.decide((name, True, fence(run.trial.attempt)))
            self.decide((name, True, trial.MarkStopped("deleted")))
            self.decide((name, False, runtime.AbortRuntime()), (name, False, runtime.ReleaseResources()))

    def undelete(self, name: str) -> None:
        run = self.runs[name]
        was_hidden, was_purging = run.is_hidden, run.state.purging
        if self.decide((name, False, runtime.UndeleteRuntime())):
            assert was_hidden and not was_purging
            assert {s.snapshot_id for s in run.trial.snapshots} <= run.files, "it came back without what it had"
        assert not was_purging or run.is_hidden, "what is purged came back"

    def purge_if_begun(self, name: str, whole: bool) -> None:
        run = self.runs[name]
        if run.state.phase is Phase.DELETING and run.trial.purging:
            self.purge(name, whole)

    def purge(self, name: str, whole: bool) -> None:
        """Remove files as the purger does; not `whole`: the storage fails in the middle of it."""
        run = self.runs[name]
        held = {s.snapshot_id for s in run.trial.snapshots if s.held_by}
        remaining = [f"{one}: held" for one in sorted(held)]
        for index, identifier in enumerate(sorted(run.files - held)):
            if whole or index % 2 == 0:
                run.files.discard(identifier)
            else:
                remaining.append(f"{identifier}: no answer")
        report = runtime.ReportPurged(0, 0, 0, 0, tuple(remaining))
        origin = run.trial.origin
        if remaining or origin is None:
            self.decide((name, False, report))
        else:
            let_go = trial.LetSnapshotGo(origin.snapshot_id, name)
            self.decide((name, False, report), (origin.runtime_id, True, let_go))

    # --- what must hold

    @invariant()
    def what_a_run_needs_is_there_as_long_as_it_may_come_back(self) -> None:
        for name, run in self.runs.items():
            origin = run.trial.origin
            if origin is not None and not run.state.purged:
                assert origin.snapshot_id in self.runs[origin.runtime_id].files, f"{name} began at what is gone"
            if not run.state.purging:
                assert {s.snapshot_id for s in run.trial.snapshots} <= run.files

    @invariant()
    def nothing_is_left_of_a_purged_run(self) -> None:
        for run in self.runs.values():
            assert not run.state.purged or not run.files
            assert not run.state.purged or not any(s.held_by for s in run.trial.snapshots)

    @invariant()
    def the_steps_of_a_branch_go_on_from_those_of_its_parent(self) -> None:
        for run in self.runs.values():
            begin = trial.origin_step(run.trial)
            for segment in run.trial.lineage[:1]:
                assert segment.first_step == begin + 1
            assert all(s.step > begin for s in run.trial.snapshots)
            for record in run.trial.snapshots:
                trunk = trial.trunk_of(run.trial, record)
                assert [part.first_step for part in trunk] == [1, *(part.last_step + 1 for part in trunk[:-1])]
                assert trunk[-1].last_step == record.step

    @invariant()
    def a_branch_begins_with_what_its_parent_was_steered_to(self) -> None:
        for run in self.runs.values():
            origin = run.trial.origin
            if origin is not None:
                assert run.trial.steering.in_force(origin.step) == dict(origin.steered)

    @invariant()
    def the_logs_give_the_same_states(self) -> None:
        for run in self.runs.values():
            assert fold(runtime.evolve, runtime.initial, run.facts) == run.state
            assert fold(trial.evolve, trial.initial, run.trial_facts) == run.trial


def fence(attempt: int) -> trial.FenceAttempt:
    return trial.FenceAttempt(attempt, facts.FENCE_REASON_EXITED, common.EXIT_CAUSE_SIGNAL, "")


QUICK = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


class TestTreeMachine(TreeMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = QUICK


@pytest.mark.faults
@pytest.mark.timeout(3_600)
class TestTreeMachineForLong(TreeMachine.TestCase):  # type: ignore[valid-type,misc]
    settings = settings(QUICK, max_examples=2_000, stateful_step_count=80)

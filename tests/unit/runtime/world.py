"""A runtime, its trials and their processes without a log or an operating system, moved by the policy alone.

It carries out each step as the scheduler does: the same deciders, the same commands. What the scheduler knows besides
the facts (processes, silence, time) is here for the tests to turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import runtime, trial
from milepost.domain.decider import Fact
from services.runtime.policies import control, retry
from services.runtime.policies.control import Exit, Process
from tests.unit.domain.given import NOW

# More steps in a row than any decision needs.
MAX_STEPS = 200


@dataclass
class TrialInWorld:
    state: trial.Trial = trial.initial
    since: int = 0
    over_since: datetime | None = None
    # Attempt -> what became of its process.
    processes: dict[int, Process] = field(default_factory=dict)
    exit: Exit = field(default_factory=Exit)
    lost: str = ""
    silence: str = ""
    excess: str = ""


class World:
    """One runtime with its trials."""

    def __init__(self, configuration: RuntimeConfiguration, trial_count: int = 1, slots: int = 1) -> None:
        self.now = NOW
        self.sequence = 0
        self.slots = slots
        self.state = runtime.initial
        self.trials: dict[int, TrialInWorld] = {}
        self.began = 0
        self.running_since: datetime | None = None
        self.carried_out: list[control.Step] = []
        # How often a process was started, by trial and attempt.
        self.spawned: dict[tuple[int, int], int] = {}
        self.purges = 0
        self.command(runtime.RequestRuntime("rt-1", "", configuration, "sha256:a", trial_count))

    # --- facts

    def command(self, command: object) -> list[Message]:
        """Decide a command on the runtime."""
        payloads = runtime.decide(self.state, command)
        for payload in payloads:
            self.sequence += 1
            self.state = runtime.evolve(self.state, Fact(payload))
            if isinstance(payload, runtime_facts.RuntimeRequested | runtime_facts.ResumeRequested):
                self.began, self.running_since = self.sequence, None
            if isinstance(payload, runtime_facts.RuntimeStarted):
                self.running_since = self.now
        return payloads

    def trial_command(self, number: int, *commands: object) -> list[Message]:
        """Decide commands on a trial."""
        one = self.trials.setdefault(number, TrialInWorld())
        payloads = trial.decide_all(one.state, list(commands))
        for payload in payloads:
            self._apply(one, Fact(payload))
        return payloads

    def says(self, number: int, payload: Message) -> None:
        """The current attempt of a trial appends a fact, as its process does."""
        one = self.trials[number]
        attempt = one.state.attempt
        payload.attempt = attempt  # type: ignore[attr-defined]
        for decided in trial.decide(one.state, trial.Record(attempt, payload)):
            self._apply(one, Fact(decided, attempt))

    def _apply(self, one: TrialInWorld, fact: Fact) -> None:
        self.sequence += 1
        before = one.state
        one.state = trial.evolve(before, fact)
        if type(before.situation) is not type(one.state.situation) or before.attempt != one.state.attempt:
            one.since = self.sequence
        if isinstance(fact.payload, facts.AttemptEnded | facts.AttemptFenced):
            one.over_since = self.now
        if isinstance(fact.payload, facts.AttemptLaunched):
            one.over_since, one.lost, one.exit = None, "", Exit()

    # --- processes

    def process(self, number: int) -> Process:
        one = self.trials[number]
        return one.processes.get(one.state.attempt, Process.ABSENT)

    def running(self) -> list[int]:
        """Trials of which some process runs."""
        return [n for n, one in self.trials.items() if Process.RUNNING in one.processes.values()]

    def dies(self, number: int, cause: common.ExitCause = common.EXIT_CAUSE_SIGNAL) -> None:
        one = self.trials[number]
        one.processes[one.state.attempt] = Process.GONE
        one.exit = Exit(cause, "died")

    def leaves(self, number: int, outcome: facts.AttemptOutcome, cause: common.ExitCause) -> None:
        """The attempt says its last word and its process ends."""
        self.says(number, facts.AttemptEnded(outcome=outcome, cause=cause, last_step=10))
        self.dies(number, cause)

    # --- the scheduler

    def picture(self) -> control.Picture:
        return control.Picture(
            state=self.state,
            trials={
                number: control.TrialPicture(
                    one.state,
                    one.since,
                    self.process(number),
                    one.exit,
                    one.lost,
                    0,
                    one.over_since,
                    one.silence,
                    one.excess,
                )
                for number, one in sorted(self.trials.items())
            },
            began=self.began,
            running_since=self.running_since,
            slots=self.slots,
        )

    def turn(self) -> None:
        """Let the scheduler do all there is to do now."""
        for _ in range(MAX_STEPS):
            if not self.step():
                return
        raise AssertionError(f"no end of steps: {self.carried_out[-10:]}")

    def step(self) -> bool:
        """Carry out one step. False: there was none."""
        if self.state.phase is runtime.Phase.QUEUED and self.state.stop is None:
            self.command(runtime.AllocateResources(runtime.Allocation(1.0, 0.0, (), "here", 0.0)))
        step = control.next_step(self.picture(), self.now)
        if step is None:
            return False
        self.carried_out.append(step)
        self.carry_out(step)
        return True

    def carry_out(self, step: Any) -> None:
        match step:
            case control.CreateTrials(numbers):
                for number in numbers:
                    self.trial_command(number, trial.CreateTrial("rt-1", number, {}, {}))
            case control.OrderStop(numbers, mode, deadline, reason):
                for number in numbers:
                    self.trial_command(number, trial.StopTrial(mode, deadline, reason))
            case control.OrderResume(number, snapshot_id):
                self.trial_command(number, trial.ResumeTrial(snapshot_id, extends=True))
            case control.EndAttempt(number, attempt, reason, cause, detail):
                self._kill(number, attempt)
                self.trial_command(number, trial.FenceAttempt(attempt, reason, cause, detail))
            case control.Conclude(number, attempt):
                self._conclude(number, attempt)
            case control.Launch(number):
                self._launch(number)
            case control.Spawn(number, attempt):
                assert Process.RUNNING not in self.trials[number].processes.values(), "two processes of one trial"
                self.trials[number].processes[attempt] = Process.RUNNING
                self.spawned[number, attempt] = self.spawned.get((number, attempt), 0) + 1
            case control.Reap(number, attempt):
                self._kill(number, attempt)
            case control.ReportStarted():
                self.command(runtime.ReportStarted())
            case control.ReportHealth(health, reason):
                self.command(runtime.ReportHealth(health, reason))
            case control.ReportReadiness(ready, reason):
                self.command(runtime.ReportReadiness(ready, reason))
            case control.EndRuntime(command):
                self.command(command)
            case control.Release():
                assert not self.running(), "released while something runs"
                self.command(runtime.ReleaseResources())
            case control.StartPurge():
                self.command(runtime.StartPurge())
            case control.Purge():
                self.purges += 1
                self.command(runtime.ReportPurged(0, 0, 0, 0))
            case _:
                raise AssertionError(f"nobody carries out {step}")

    def _kill(self, number: int, attempt: int) -> None:
        if self.trials[number].processes.get(attempt) is Process.RUNNING:
            self.trials[number].processes[attempt] = Process.GONE

    def _conclude(self, number: int, attempt: int) -> None:
        active = self.trials[number].state.active
        assert active is not None
        assert self.state.configuration is not None
        policy = self.state.configuration.retries
        conclusion = retry.conclude(active, self.trials[number].state.retries, policy, True, self.now)
        match conclusion:
            case retry.GoOn():
                self.trial_command(number, trial.GoOn(attempt))
            case retry.Complete():
                self.trial_command(number, trial.CompleteTrial(attempt))
            case retry.Stop(reason):
                self.trial_command(number, trial.MarkStopped(reason))
            case retry.Retry(time, cause, detail):
                self.trial_command(number, trial.ScheduleRetry(attempt, policy.max_retries, time, cause, detail))
            case retry.Fail(reason, detail):
                self.trial_command(number, trial.FailTrial(attempt, reason, detail))

    def _launch(self, number: int) -> None:
        one = self.trials[number].state
        snapshots = trial.restorable_snapshots(one)
        self.trial_command(number, trial.LaunchAttempt(one.attempt + 1, snapshots[0] if snapshots else None))

    def wait(self, seconds: float) -> None:
        """Let time pass, and the scheduler wake when it wanted to."""
        end = self.now + timedelta(seconds=seconds)
        while True:
            self.turn()
            wake = control.wake_time(self.picture())
            if wake is None or wake > end:
                break
            self.now = max(self.now, wake)
            if control.next_step(self.picture(), self.now) is None:
                break
        self.now = end
        self.turn()


def configuration(**changes: Any) -> RuntimeConfiguration:
    """A resolved configuration for tests of policies."""
    from milepost import configuration as configurations

    plain = {"entrypoint": "a:b", "retries": {"max_retries": 2, "backoff_seconds": 1.0}, **changes}
    return configurations.resolve(plain)

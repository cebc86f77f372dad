"""What people ask of a loop while it trains: an evaluation, a snapshot; when it comes, and how it is refused."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import (
    EvaluateInstruction,
    InstanceInstruction,
    SnapshotInstruction,
    StopProposal,
)
from milepost.training.loop.host import Rank
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.saving.keeper import NoSnapshots, State
from milepost.training.saving.snapshots import Boundary, DataState
from tests.support.trainers.remembering_host import RememberingHost
from trainer.coordinator import AgreementCoordinator

EVALUATE = InstanceInstruction(evaluate=EvaluateInstruction())
SNAPSHOT = InstanceInstruction(snapshot=SnapshotInstruction(requested=True))


@pytest.fixture
def host() -> RememberingHost:
    return RememberingHost()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def log(trial: Trial, steps: int = 1) -> None:
    for _ in range(steps):
        trial.log({"train/loss": 1.0})


def evaluated(host: RememberingHost) -> list[tuple[int, bool]]:
    """Steps of the evaluations that ran, and whether somebody asked for them."""
    return [(fact.step, fact.requested) for fact in host.facts if isinstance(fact, facts.EvaluationCompleted)]


def refused(host: RememberingHost) -> list[str]:
    return [fact.detail for fact in host.facts if isinstance(fact, facts.EvaluationRefused)]


def test_a_loop_that_evaluates_every_so_often_evaluates_at_the_next_boundary_too(host: RememberingHost) -> None:
    loop = TrainingLoop(host)
    trial = Trial(loop)

    def evaluate() -> None:
        with trial.evaluation() as evaluation:
            evaluation.log({"eval/loss": 1.0})

    trial.evaluate_every(4, evaluate)
    for batch in trial.batches(range(1, 8)):
        if batch in (3, 6):
            loop.on_instruction(EVALUATE)
        log(trial)
    assert evaluated(host) == [(3, True), (4, False), (6, True)]
    assert refused(host) == []


def test_a_loop_that_asks_whether_one_is_due_is_told(host: RememberingHost) -> None:
    loop = TrainingLoop(host)
    trial = Trial(loop)
    for step in range(1, 7):
        log(trial)
        if step == 4:
            loop.on_instruction(EVALUATE)
            loop.on_instruction(EVALUATE)
        if trial.evaluation_due():
            with trial.evaluation() as evaluation:
                evaluation.log({"eval/loss": 1.0})
    assert evaluated(host) == [(4, True)]
    assert refused(host) == []


def test_a_loop_that_never_asks_says_so_instead_of_leaving_one_waiting(host: RememberingHost) -> None:
    loop = TrainingLoop(host)
    trial = Trial(loop)
    # Only whether the evaluation of the snapshot is to run again.
    assert not trial.evaluation_due()
    log(trial, 3)
    loop.on_instruction(EVALUATE)
    (why,) = refused(host)
    assert "says itself when it evaluates" in why
    log(trial, 3)
    assert not trial.evaluation_due() and evaluated(host) == []


def test_one_that_comes_before_the_loop_has_shown_what_it_asks_is_answered_all_the_same() -> None:
    silent, asking = RememberingHost(), RememberingHost()
    for host in (silent, asking):
        loop = TrainingLoop(host)
        trial = Trial(loop)
        loop.on_instruction(EVALUATE)
        for _ in range(4):
            log(trial)
            if host is asking and trial.evaluation_due():
                with trial.evaluation():
                    pass
        if host is silent:
            until(lambda: bool(refused(silent)))
        loop.end()
    assert (evaluated(asking), refused(asking)) == ([(1, True)], [])
    assert evaluated(silent) == []


def test_a_function_that_evaluates_nothing_answers_no_request(host: RememberingHost) -> None:
    loop = TrainingLoop(host)
    trial = Trial(loop)
    trial.evaluate_every(100, lambda: None)
    for batch in trial.batches(range(1, 8)):
        if batch == 3:
            loop.on_instruction(EVALUATE)
        log(trial)
    assert refused(host) == ["the function that evaluate_every was given has opened no evaluation"]


def test_processes_that_nobody_leads_are_not_told_one_by_one() -> None:
    group = RememberingHost(Rank(0, 2, led=False))
    loop = TrainingLoop(group)
    trial = Trial(loop)
    for _ in range(3):
        log(trial)
        assert not trial.evaluation_due()
    loop.on_instruction(EVALUATE)
    assert "evaluate together" in refused(group)[0]
    assert not trial.evaluation_due()


def test_ranks_evaluate_after_one_step_that_none_has_come_to() -> None:
    told: list[tuple[int, InstanceInstruction]] = []
    coordinator = AgreementCoordinator(2, lambda rank, instruction: told.append((rank, instruction)))
    coordinator.join(0)
    coordinator.join(1)
    coordinator.evaluate()
    coordinator.evaluate()
    assert [(rank, one.hold.number) for rank, one in told] == [(0, 1), (1, 1)]
    told.clear()
    coordinator.offer(0, StopProposal(step=4, hold=1))
    coordinator.offer(1, StopProposal(step=5, hold=1))
    assert [(rank, one.evaluate.step) for rank, one in told] == [(0, 6), (1, 6)]


def test_a_rank_evaluates_not_before_the_step_that_was_agreed_on(host: RememberingHost) -> None:
    loop = TrainingLoop(host)
    trial = Trial(loop)
    for _ in range(8):
        log(trial)
        if trial.step == 3:
            loop.on_instruction(InstanceInstruction(evaluate=EvaluateInstruction(step=6)))
        if trial.evaluation_due():
            with trial.evaluation():
                pass
    assert evaluated(host) == [(6, True)]


class Keeps(NoSnapshots):
    """Gives the state once the loop has, and notes what is taken and refused."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.refused: list[str] = []
        self._gives = False

    @property
    def gives_state(self) -> bool:
        return self._gives

    def register(self, state: State, sharded: bool = False) -> None:
        self._gives = True

    def refuse(self, step: int, detail: str) -> None:
        self.refused.append(detail)

    def can_snapshot(self, step: int) -> bool:
        return self._gives and step > 0

    def take(self, boundary: Boundary, data: DataState, reason: facts.SnapshotReason) -> None:
        self.taken.append(boundary.step)


def test_a_snapshot_that_is_asked_for_in_the_first_steps_is_taken_or_refused(host: RememberingHost) -> None:
    host.keeper = keeps = Keeps()
    loop = TrainingLoop(host)
    trial = Trial(loop)
    loop.on_instruction(SNAPSHOT)
    for _ in range(4):
        log(trial)
        trial.maybe_snapshot(dict)
    assert (keeps.taken, keeps.refused) == ([1], [])
    loop.end()

    silent = RememberingHost()
    silent.keeper = never = Keeps()
    loop = TrainingLoop(silent)
    trial = Trial(loop)
    log(trial)
    loop.on_instruction(SNAPSHOT)
    assert never.refused == []
    log(trial, 3)
    until(lambda: bool(never.refused))
    assert "no function gives the state" in never.refused[0]
    loop.end()

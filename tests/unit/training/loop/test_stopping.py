"""Where a loop stops: after which step, in a batch, in an evaluation, in a group of processes."""

from __future__ import annotations

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import AttemptLaunch, InstanceInstruction, SnapshotInstruction
from milepost.training.loop.host import Rank
from milepost.training.loop.stop import StopOrder, Stopped
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.saving.keeper import NoSnapshots
from milepost.training.saving.snapshots import Boundary, DataState
from tests.support.trainers.remembering_host import RememberingHost


class Taken(NoSnapshots):
    """Notes what is taken; one snapshot of a step is enough."""

    def __init__(self) -> None:
        self.boundaries: list[tuple[Boundary, facts.SnapshotReason]] = []

    def can_snapshot(self, step: int) -> bool:
        return all(boundary.step != step for boundary, _ in self.boundaries)

    def take(self, boundary: Boundary, data: DataState, reason: facts.SnapshotReason) -> None:
        self.boundaries.append((boundary, reason))


def log(trial: Trial, steps: int = 10) -> None:
    for _ in range(steps):
        trial.log({"train/loss": 1.0})


class Group:
    """Notes the steps at which its processes are to stop, and lets them or not."""

    def __init__(self, agrees: bool) -> None:
        self.asked: list[int] = []
        self._agrees = agrees

    def agree_to_stop(self, step: int) -> bool:
        self.asked.append(step)
        return self._agrees


@pytest.fixture
def host() -> RememberingHost:
    return RememberingHost()


@pytest.mark.parametrize(("order", "last"), [(StopOrder(), 3), (StopOrder(step=5), 5), (StopOrder(step=1), 3)])
def test_a_loop_stops_after_the_step_under_way_or_the_one_that_is_named(
    host: RememberingHost, order: StopOrder, last: int
) -> None:
    host.keeper = taken = Taken()
    loop = TrainingLoop(host)
    trial = Trial(loop)
    log(trial, 2)
    loop.request_stop(order)
    with pytest.raises(Stopped):
        log(trial)
    assert trial.step == last
    assert [(boundary.step, reason) for boundary, reason in taken.boundaries] == [(last, facts.SNAPSHOT_REASON_STOP)]
    loop.end()


def test_processes_of_a_group_are_asked_once_and_stop_two_steps_later() -> None:
    """One of them may be a step ahead of this one, never two."""
    group = Group(agrees=True)
    host = RememberingHost(Rank(0, 2, led=False))
    host.stop_by(group.agree_to_stop)
    loop = TrainingLoop(host)
    trial = Trial(loop)
    log(trial, 1)
    loop.request_stop(StopOrder())
    with pytest.raises(Stopped):
        log(trial)
    assert trial.step == 4 and group.asked == [4]


def test_a_group_that_cannot_be_told_of_a_stop_trains_on_and_is_asked_at_the_next() -> None:
    group = Group(agrees=False)
    host = RememberingHost(Rank(0, 2, led=False))
    host.stop_by(group.agree_to_stop)
    loop = TrainingLoop(host)
    trial = Trial(loop)
    for _ in range(2):
        loop.request_stop(StopOrder())
        log(trial, 1)
        assert not trial.stop_requested
    assert group.asked == [3, 4]


def test_a_batch_under_way_is_no_place_to_stop_and_its_step_is_done_first(host: RememberingHost) -> None:
    host.keeper = taken = Taken()
    loop = TrainingLoop(host)
    trial = Trial(loop)
    seen = []

    def train() -> None:
        for batch in trial.batches([10, 11, 12]):
            seen.append(batch)
            if batch == 11:
                loop.request_stop(StopOrder())
            trial.maybe_snapshot(dict)
            log(trial, 1)

    with pytest.raises(Stopped):
        train()
    assert seen == [10, 11]
    ((boundary, reason),) = taken.boundaries
    assert (boundary.step, boundary.epoch, boundary.batch, reason) == (2, 0, 2, facts.SNAPSHOT_REASON_STOP)
    assert boundary.random is not None
    loop.end()


def test_what_no_step_came_after_is_not_gone_on_behind(host: RememberingHost) -> None:
    """With gradient accumulation a step has several batches: a resume begins with the first of them."""
    loop = TrainingLoop(host)
    trial = Trial(loop)
    places = []
    for batch in trial.batches(range(4)):
        if batch % 2:
            log(trial, 1)
        places.append((trial.step, loop.progress.at_boundary, loop.progress.boundary().batch))
    assert places == [(0, False, 0), (1, True, 2), (1, False, 2), (2, True, 4)]
    assert (trial.epoch, trial.batch) == (1, 4)


def test_a_loop_that_asks_is_told_and_not_interrupted(host: RememberingHost) -> None:
    loop = TrainingLoop(host)
    trial = Trial(loop)
    assert not trial.should_stop()
    loop.request_stop(StopOrder())
    log(trial, 3)
    assert trial.should_stop() and loop.left_for_stop and trial.step == 3
    loop.end()


def test_an_evaluation_that_a_stop_interrupts_is_due_again(host: RememberingHost) -> None:
    host.keeper = taken = Taken()
    loop = TrainingLoop(host)
    trial = Trial(loop)

    def evaluate() -> None:
        with trial.evaluation(keep_random=True) as evaluation:
            loop.request_stop(StopOrder())
            evaluation.log({"eval/loss": 1.0})

    def train() -> None:
        for _ in trial.batches([1, 2]):
            log(trial, 1)

    trial.evaluate_every(1, evaluate)
    with pytest.raises(Stopped):
        train()
    assert [(boundary.step, boundary.evaluation_due) for boundary, _ in taken.boundaries] == [(1, True)]
    assert trial.evaluation_due()
    completed = [fact for fact in host.facts if isinstance(fact, facts.EvaluationCompleted)]
    assert [fact.interrupted for fact in completed] == [True]
    loop.end()


ASKED = InstanceInstruction(snapshot=SnapshotInstruction(requested=True))


class GivesState(Taken):
    """Has a function that gives the state, or not, and notes what it refuses."""

    def __init__(self, gives_state: bool = True) -> None:
        super().__init__()
        self._gives_state = gives_state
        self.refused: list[str] = []

    @property
    def gives_state(self) -> bool:
        return self._gives_state

    def refuse(self, step: int, detail: str) -> None:
        self.refused.append(detail)


def test_a_snapshot_that_is_asked_for_is_taken_at_the_next_boundary_that_has_news(host: RememberingHost) -> None:
    host.keeper = taken = GivesState()
    loop = TrainingLoop(host)
    trial = Trial(loop)
    for step in range(1, 5):
        trial.log({"train/loss": 1.0})
        if step == 2:
            taken.boundaries.append((Boundary(2), facts.SNAPSHOT_REASON_INTERVAL))
            loop.on_instruction(ASKED)
        trial.maybe_snapshot(dict)
    assert [(b.step, reason) for b, reason in taken.boundaries[1:]] == [(3, facts.SNAPSHOT_REASON_REQUEST)]


def test_a_snapshot_that_cannot_be_taken_when_asked_for_is_refused(host: RememberingHost) -> None:
    for keeper, why, uses in ((GivesState(False), "no function", True), (GivesState(), "says itself", False)):
        host.keeper = keeper
        loop = TrainingLoop(host)
        trial = Trial(loop)
        if uses:
            trial.maybe_snapshot(dict)
        log(trial, 2)
        loop.on_instruction(ASKED)
        log(trial, 1)
        assert why in keeper.refused[0] and not keeper.boundaries
    group = RememberingHost(Rank(0, 2, led=False))
    group.keeper = keeper = GivesState()
    loop = TrainingLoop(group)
    trial = Trial(loop)
    trial.maybe_snapshot(dict)
    log(trial, 2)
    loop.on_instruction(ASKED)
    assert "take their snapshots together" in keeper.refused[0]


def rolled_back(skip: int, restored: Boundary) -> tuple[RememberingHost, Trial]:
    """A trial that goes on from a boundary, behind so many batches."""
    launch = AttemptLaunch(attempt=2, snapshot_id="s", skip_batches=skip, inexact="rolled back")
    host = RememberingHost(launch=launch)
    loop = TrainingLoop(host)
    trial = Trial(loop)
    loop.progress.data.restore(DataState(known=True))
    loop.beginning._go_on_from(restored)
    return host, trial


def test_batches_are_passed_over_behind_the_snapshot_of_a_roll_back() -> None:
    host, trial = rolled_back(3, Boundary(step=4, batch=4))
    seen = []
    for batch in trial.batches(range(10)):
        seen.append((trial.batch, batch))
        trial.log({"train/loss": 1.0})
    # Those that are done are skipped, and three more.
    assert seen == [(8, 7), (9, 8), (10, 9)]
    assert (trial.step, trial.skip_batches) == (7, 3)
    began = [fact for fact in host.facts if isinstance(fact, facts.AttemptStarted)]
    assert (began[0].restored_step, began[0].inexact) == (4, "rolled back")


@pytest.mark.parametrize("by_epochs", [True, False])
def test_an_epoch_that_has_no_more_batches_to_pass_over_leaves_the_rest_to_the_next(by_epochs: bool) -> None:
    host, trial = rolled_back(5, Boundary(step=8, epoch=0, batch=8))
    seen: list[tuple[int, int]] = []

    def train() -> None:
        for batch in trial.batches(range(10)):
            seen.append((trial.epoch, batch))
            trial.log({"train/loss": 1.0})

    if by_epochs:
        for _ in trial.epochs(2):
            train()
    else:
        train()
        train()
    assert seen == [(1, batch) for batch in range(3, 10)]
    assert [fact.epoch for fact in host.facts if isinstance(fact, facts.EpochCompleted)] == [0, 1]

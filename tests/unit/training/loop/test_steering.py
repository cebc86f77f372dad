"""Values that are changed while a loop runs: after which step, by what, and what a later attempt makes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import (
    AttemptLaunch,
    InstanceInstruction,
    SteeredValue,
    SteerInstruction,
    StopInstruction,
)
from milepost.errors import InvalidArgument
from milepost.training.loop.agreement import Agreement
from milepost.training.loop.host import Rank
from milepost.training.loop.stop import Stopped
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from tests.support.trainers.remembering_host import RememberingHost
from trainer.coordinator import AgreementCoordinator


def order(number: int = 1, step: int = 0, **texts: str) -> SteerInstruction:
    return SteerInstruction(number=number, step=step, parameters=texts, actor="user:ada")


def changes(host: RememberingHost) -> list[tuple[int, int, str, str]]:
    """Number, step, old and new of every change."""
    return [
        (fact.number, fact.step, one.old, one.new)
        for fact in host.facts
        if isinstance(fact, facts.ParametersChanged)
        for one in fact.changes
    ]


class Run:
    """A loop that notes the value that each of its steps reads."""

    def __init__(self, launch: AttemptLaunch | None = None, rank: Rank | None = None, **bounds: Any) -> None:
        self.host = RememberingHost(rank, launch)
        self.loop = TrainingLoop(self.host)
        self.trial = Trial(self.loop)
        self.rate = self.trial.steerable("rate", 0.1, minimum=0, maximum=1, **bounds)
        self.read: dict[int, float] = {}

    def order(self, order: SteerInstruction) -> None:
        self.loop.on_instruction(InstanceInstruction(steer=order))

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.read[self.trial.step + 1] = self.rate.value
            self.trial.log({"train/loss": 1.0})


def test_a_value_changes_behind_the_step_under_way_and_that_is_a_fact() -> None:
    run = Run()
    run.step(2)
    run.order(order(rate="0.05"))
    assert run.rate.value == 0.1, "between two steps only"
    run.step(2)
    assert run.read == {1: 0.1, 2: 0.1, 3: 0.1, 4: 0.05}
    declared, _, ready, change = run.host.facts
    assert (declared.name, declared.value, declared.minimum, declared.maximum) == ("rate", "0.1", "0.0", "1.0")
    assert declared.kind == facts.STEERABLE_KIND_FLOAT
    assert ready.ready
    assert (change.step, change.number, change.actor) == (3, 1, "user:ada")
    assert changes(run.host) == [(1, 3, "0.1", "0.05")]


def test_an_order_that_comes_twice_changes_once() -> None:
    run = Run()
    run.step()
    run.order(order(rate="0.05"))
    run.step()
    run.order(order(rate="0.05"))
    run.step(2)
    assert changes(run.host) == [(1, 2, "0.1", "0.05")]


def test_a_change_is_recorded_before_the_snapshot_that_has_it_in_it() -> None:
    """So whatever is killed, the next attempt finds it recorded, or still asked for."""
    run = Run()
    saved: list[int] = []

    class Keeper(type(run.host.keeper)):  # type: ignore[misc]
        def due(self, step: int) -> bool:
            saved.append(len(changes(run.host)))
            return False

    run.host.keeper = Keeper()
    run.trial.maybe_snapshot(dict)
    run.step()
    run.order(order(rate="0.05"))
    run.trial.maybe_snapshot(dict)
    assert saved == [0, 1]


def launch(**more: Any) -> AttemptLaunch:
    return AttemptLaunch(attempt=2, **more)


def test_an_attempt_from_the_beginning_changes_after_the_same_steps_and_records_nothing() -> None:
    first = Run()
    for number, (at, text) in enumerate(((3, "0.05"), (3, "0.04"), (6, "0.5")), 1):
        first.step(at - 1 - first.trial.step if first.trial.step < at else 0)
        first.order(order(number, rate=text))
        first.step(1 if first.trial.step < at else 0)
    first.step(3)
    steered = [
        SteeredValue(step=fact.step, name="rate", value=fact.changes[0].new)
        for fact in first.host.facts
        if isinstance(fact, facts.ParametersChanged)
    ]
    again = Run(launch(steered=steered))
    again.step(first.trial.step)
    assert again.read == first.read
    assert len(set(first.read.values())) > 2
    assert changes(again.host) == []


def test_an_attempt_begins_with_what_holds_at_its_snapshot() -> None:
    steered = [SteeredValue(step=step, name="rate", value=text) for step, text in ((3, "0.05"), (9, "0.5"))]
    run = Run(launch(steered=steered, snapshot_id="s5", snapshot_step=5))
    assert run.rate.value == 0.05, "known before the snapshot is read"
    run.loop.go_on_after(5)
    run.step(6)
    assert run.read == {6: 0.05, 7: 0.05, 8: 0.05, 9: 0.05, 10: 0.5, 11: 0.5}


def test_one_that_does_not_restore_begins_with_what_held_at_the_beginning() -> None:
    steered = [SteeredValue(step=3, name="rate", value="0.05")]
    run = Run(launch(steered=steered, snapshot_id="s5", snapshot_step=5))
    run.loop.beginning.begin()
    run.step(5)
    assert run.read == {1: 0.1, 2: 0.1, 3: 0.1, 4: 0.05, 5: 0.05}


def test_what_was_asked_for_while_nothing_ran_holds_from_the_first_step() -> None:
    steered = [SteeredValue(step=7, name="rate", value="0.5")]
    run = Run(launch(steers=[order(4, rate="0.05")], steered=steered))
    run.step(9)
    assert set(run.read.values()) == {0.05}, "the newer one wins over what was changed later, in steps given up"
    assert changes(run.host) == [(4, 0, "0.1", "0.05")]
    run.order(order(4, rate="0.05"))
    run.step(2)
    assert len(changes(run.host)) == 1


def test_what_is_declared_late_is_changed_when_it_is_known() -> None:
    run = Run(launch(steers=[order(1, size="9", rate="0.2")]))
    run.step(2)
    assert changes(run.host) == []
    size = run.trial.steerable("size", 8)
    run.step(2)
    assert (size.value, run.rate.value) == (9, 0.2)
    assert changes(run.host) == [(1, 3, "0.1", "0.2"), (1, 3, "8", "9")]


def test_code_with_other_bounds_says_why_it_changes_nothing() -> None:
    run = Run(launch(steers=[order(1, rate="7.0")], steered=[SteeredValue(step=0, name="rate", value="5.0")]))
    run.step(2)
    assert set(run.read.values()) == {0.1}
    (refused,) = [fact for fact in run.host.facts if isinstance(fact, facts.ParametersNotChanged)]
    assert (refused.number, refused.detail) == (1, "rate must be a number from 0.0 to 1.0, not 7.0")
    assert "was changed to 5.0 and must be a number from 0.0 to 1.0" in run.host.said["steering:rate"]


@pytest.mark.parametrize(
    ("value", "bounds", "field"),
    [
        (2.0, {"maximum": 1}, "value"),
        (None, {}, "value"),
        (float("nan"), {}, "value"),
        ("slow", {"minimum": 1}, "minimum"),
        (1, {"minimum": "one"}, "minimum"),
        (1, {"choices": ["a"]}, "choices"),
        ("slow", {"choices": ["fast"]}, "value"),
        ("slow", {"choices": [1]}, "choices"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(value: Any, bounds: dict[str, Any], field: str) -> None:
    host = RememberingHost()
    with pytest.raises(InvalidArgument) as error:
        Trial(TrainingLoop(host)).steerable("x", value, **bounds)
    assert [violation.field for violation in error.value.violations] == [field]
    assert host.facts == []


def test_types_come_from_the_value() -> None:
    trial = Trial(TrainingLoop(RememberingHost()))
    numpy = pytest.importorskip("numpy")
    kinds = [trial.steerable(str(n), v).value for n, v in enumerate((1, 1.0, True, "a", numpy.float32(0.5)))]
    assert [type(kind) for kind in kinds] == [int, float, bool, str, float]


def test_a_stop_after_the_same_step_has_the_change_in_its_snapshot() -> None:
    run = Run()
    run.step()
    run.order(order(rate="0.05"))
    run.loop.on_instruction(InstanceInstruction(stop=StopInstruction()))
    with pytest.raises(Stopped):
        run.step()
    assert changes(run.host) == [(1, 2, "0.1", "0.05")]


def test_a_boundary_that_was_passed_changes_nothing_any_more() -> None:
    """What has run since, such as the end of an epoch, may have read the values."""
    run = Run()
    seen: list[tuple[int, float]] = []

    def data() -> Iterator[int]:
        yield 1
        run.order(order(rate="0.05"))
        yield 2
        yield 3

    for _ in run.trial.batches(data()):
        seen.append((run.trial.step + 1, run.rate.value))
        run.trial.log({"train/loss": 1.0})
    assert seen == [(1, 0.1), (2, 0.1), (3, 0.05)]
    assert changes(run.host) == [(1, 2, "0.1", "0.05")]


class RankLoop(Run):
    """A rank whose loop runs in a thread, as fast as it can."""

    def __init__(self, rank: int, ahead: int) -> None:
        super().__init__(rank=Rank(rank, 2))
        self.host.agreement = Agreement(self.host.send)
        self.loop.go_on_after(ahead)
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.step(10_000_000)
        except Stopped:
            return


@pytest.mark.parametrize("ahead", [0, 1, 500])
def test_ranks_that_run_freely_change_after_the_same_step(ahead: int) -> None:
    """Also where one is far ahead, and both changes and a stop come at once."""
    runs = [RankLoop(0, 0), RankLoop(1, ahead)]
    coordinator = AgreementCoordinator(2, lambda rank, instruction: runs[rank].loop.on_instruction(instruction))
    for rank, run in enumerate(runs):
        run.thread.start()
        coordinator.join(rank)
    coordinator.steer(order(1, rate="0.2"))
    coordinator.steer(order(2, rate="0.3"))
    _answer(coordinator, runs)
    while runs[0].rate.value != 0.3 or runs[1].rate.value != 0.3:
        assert all(run.thread.is_alive() for run in runs)
    coordinator.stop(StopInstruction(deadline_ms=1))
    _answer(coordinator, runs)
    for run in runs:
        run.thread.join(30)
        assert not run.thread.is_alive()
    first, second = runs
    assert [number for number, *_ in changes(first.host)] == [1, 2]
    assert changes(second.host) == [], "rank 0 speaks for all"
    common = sorted(first.read.keys() & second.read.keys())
    assert {first.read[step] for step in common} >= {0.3}
    assert all(first.read[step] == second.read[step] for step in common)


def _answer(coordinator: AgreementCoordinator, runs: list[RankLoop]) -> None:
    waiting = True
    while waiting:
        waiting = False
        for rank, run in enumerate(runs):
            while run.host.sent:
                waiting = True
                coordinator.offer(rank, run.host.sent.pop(0).stop_proposal)


class Group:
    """Notes what its processes are told to change, and lets them or not."""

    def __init__(self, agrees: bool) -> None:
        self.told: list[SteerInstruction] = []
        self._agrees = agrees

    def agree(self, order: SteerInstruction) -> bool:
        self.told.append(order)
        return self._agrees


def test_processes_of_a_group_change_two_steps_later() -> None:
    """One of them may be a step ahead of this one, never two."""
    group, run = Group(agrees=True), Run(rank=Rank(0, 2, led=False))
    run.host.steer_by(group.agree)
    run.step(1)
    run.order(order(rate="0.05"))
    run.step(4)
    assert [one.step for one in group.told] == [4]
    assert run.read == {1: 0.1, 2: 0.1, 3: 0.1, 4: 0.1, 5: 0.05}
    assert changes(run.host) == [(1, 4, "0.1", "0.05")]


def test_a_group_that_cannot_be_told_changes_nothing_and_says_so() -> None:
    group, run = Group(agrees=False), Run(rank=Rank(0, 2, led=False))
    run.host.steer_by(group.agree)
    run.step(1)
    run.order(order(rate="0.05"))
    run.step(3)
    assert set(run.read.values()) == {0.1}
    (refused,) = [fact for fact in run.host.facts if isinstance(fact, facts.ParametersNotChanged)]
    assert refused.step == 2 and "could not be told" in refused.detail

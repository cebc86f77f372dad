"""Ranks agree on the step after which they halt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import (
    InstanceInstruction,
    InstanceReport,
    StopInstruction,
)
from milepost.training.loop.agreement import Agreement
from milepost.training.loop.host import Rank
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.saving.keeper import NoSnapshots
from milepost.training.saving.snapshots import Boundary, DataState
from tests.support.trainers.remembering_host import RememberingHost
from trainer.coordinator import AgreementCoordinator


class Loop:
    """A rank whose loop runs in a thread, as fast as it can, from `start` until it is told to stop."""

    def __init__(self, start: int, last: int) -> None:
        self.sent: list[InstanceReport] = []
        self.agreement = Agreement(self.sent.append)
        self.snapshot_step = -1
        self.stop_step: int | None = None
        self.stopped_at = -1
        self.snapshots: list[int] = []
        self._start, self._last = start, last
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for step in range(self._start, self._last + 1):
            self.agreement.pass_boundary(step)
            if self.stop_step is not None and step >= self.stop_step:
                self.stopped_at = step
                return
            if self.agreement.wants_snapshot(step):
                self.snapshots.append(step)

    def obey(self, instruction: InstanceInstruction) -> None:
        kind = instruction.WhichOneof("instruction")
        if kind == "hold":
            self.agreement.hold(instruction.hold.number)
        elif kind == "stop":
            self.stop_step = instruction.stop.step
            self.agreement.release()
        else:
            self.snapshot_step = instruction.snapshot.step
            self.agreement.release(instruction.snapshot.step)


@pytest.mark.parametrize("ahead", [0, 1, 5000])
def test_ranks_that_run_freely_stop_after_the_same_step(ahead: int) -> None:
    """Also where one is far ahead: nothing but the answers holds them together."""
    for _ in range(20):
        loops = [Loop(0, 10_000_000), Loop(ahead, 10_000_000)]
        coordinator = AgreementCoordinator(2, lambda rank, instruction, loops=loops: loops[rank].obey(instruction))  # type: ignore[misc]
        for rank, loop in enumerate(loops):
            loop.thread.start()
            coordinator.join(rank)
        coordinator.snapshot()
        _answer(coordinator, loops)
        coordinator.stop(StopInstruction(deadline_ms=1))
        _answer(coordinator, loops)
        for loop in loops:
            loop.thread.join(30)
            assert not loop.thread.is_alive()
        assert loops[0].stopped_at == loops[1].stopped_at >= ahead
        assert loops[0].snapshots == loops[1].snapshots
        # A stop after the same step takes its place.
        assert len(loops[0].snapshots) == 1 or loops[0].stopped_at == loops[0].snapshot_step


def _answer(coordinator: AgreementCoordinator, loops: list[Loop]) -> None:
    for rank, loop in enumerate(loops):
        while loop.sent:
            coordinator.offer(rank, loop.sent.pop(0).stop_proposal)


def test_a_rank_that_waits_for_data_can_halt_where_it_is() -> None:
    loop = Loop(0, 0)
    loop.agreement.pass_boundary(7)
    loop.agreement.reopen(7)
    loop.agreement.hold(1)
    assert loop.sent[0].stop_proposal.step == 7


class Steps(NoSnapshots):
    """Notes after which steps a snapshot was taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def can_snapshot(self, step: int) -> bool:
        return step not in self.taken

    def take(self, boundary: Boundary, data: DataState, reason: facts.SnapshotReason) -> None:
        self.taken.append(boundary.step)


class Asked(Steps):
    """Notes why, too, and has a function that gives the state."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[facts.SnapshotReason] = []

    @property
    def gives_state(self) -> bool:
        return True

    def take(self, boundary: Boundary, data: DataState, reason: facts.SnapshotReason) -> None:
        super().take(boundary, data, reason)
        self.reasons.append(reason)


def test_a_snapshot_that_is_agreed_on_while_a_rank_waits_for_data_is_taken_by_it_too() -> None:
    """The others stand at the same step and take it; without this rank's part it would never be whole."""
    host = RememberingHost(Rank(1, 2))
    host.agreement = Agreement(host.send)
    host.keeper = keeper = Steps()
    loop = TrainingLoop(host)
    trial = Trial(loop)

    def data() -> Iterator[str]:
        yield "first"
        loop.on_instruction(InstanceInstruction(hold={"number": 1}))
        agreed = host.sent[-1].stop_proposal.step
        loop.on_instruction(InstanceInstruction(snapshot={"step": agreed}))
        yield "second"

    for _ in trial.batches(data()):
        trial.log({"train/loss": 1.0})
        trial.maybe_snapshot(dict)
    assert host.sent[-1].stop_proposal.step == 1
    assert keeper.taken == [1]


def test_a_loop_that_has_not_begun_halts_before_its_first_step() -> None:
    loop = Loop(0, 0)
    loop.agreement.hold(1)
    assert loop.sent[0].stop_proposal.step == 0


def test_a_stop_waits_for_ranks_that_are_not_there_yet_and_not_for_those_that_left() -> None:
    sent: list[tuple[int, InstanceInstruction]] = []
    coordinator = AgreementCoordinator(3, lambda rank, instruction: sent.append((rank, instruction)))
    coordinator.join(0)
    coordinator.stop(StopInstruction(deadline_ms=9))
    coordinator.join(1)
    assert not sent
    coordinator.join(2)
    assert sorted(rank for rank, _ in sent) == [0, 1, 2]
    sent.clear()
    for rank, step in ((0, 4), (1, 6)):
        coordinator.offer(rank, _proposal(1, step))
    assert not sent
    coordinator.leave(2)
    assert [(rank, i.stop.step, i.stop.deadline_ms) for rank, i in sorted(sent, key=lambda pair: pair[0])] == [
        (0, 6, 9),
        (1, 6, 9),
    ]


def test_an_answer_to_an_older_question_is_ignored() -> None:
    sent: list[Any] = []
    coordinator = AgreementCoordinator(1, lambda rank, instruction: sent.append(instruction))
    coordinator.join(0)
    coordinator.snapshot()
    coordinator.offer(0, _proposal(7, 3))
    assert [i.WhichOneof("instruction") for i in sent] == ["hold"]


def _proposal(hold: int, step: int) -> Any:
    return InstanceReport(stop_proposal={"step": step, "hold": hold}).stop_proposal


def test_a_snapshot_that_somebody_asked_for_is_taken_by_all_ranks_at_one_step_and_says_so() -> None:
    sent: list[tuple[int, InstanceInstruction]] = []
    coordinator = AgreementCoordinator(2, lambda rank, instruction: sent.append((rank, instruction)))
    for rank in (0, 1):
        coordinator.join(rank)
    coordinator.snapshot(requested=True)
    for rank, step in ((0, 3), (1, 4)):
        coordinator.offer(rank, _proposal(1, step))
    orders = [instruction.snapshot for _, instruction in sent if instruction.HasField("snapshot")]
    assert [(order.step, order.requested) for order in orders] == [(4, True), (4, True)]
    host = RememberingHost(Rank(0, 2))
    host.agreement = Agreement(host.send)
    host.keeper = keeper = Asked()
    loop = TrainingLoop(host)
    trial = Trial(loop)
    trial.maybe_snapshot(dict)
    for step in range(1, 6):
        if step == 4:
            loop.on_instruction(InstanceInstruction(snapshot=orders[0]))
        trial.log({"train/loss": 1.0})
        trial.maybe_snapshot(dict)
    assert keeper.reasons == [facts.SNAPSHOT_REASON_REQUEST]
    assert keeper.taken == [4]
    sent.clear()
    coordinator.snapshot()
    for rank, step in ((0, 8), (1, 8)):
        coordinator.offer(rank, _proposal(2, step))
    assert [i.snapshot.requested for _, i in sent if i.HasField("snapshot")] == [False, False]

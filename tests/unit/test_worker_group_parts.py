"""What several ranks share: halts at one step, means over ranks, parts of a batch, words for what a group waits for."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import (
    AttemptLaunch,
    Finished,
    GroupEnded,
    Hello,
    InstanceInstruction,
    InstanceReport,
    SnapshotPart,
    StopInstruction,
)
from milepost.errors import InvalidArgument
from milepost.training.agreement import Agreement
from milepost.training.batches import Position
from milepost.training.buffer import Columns, StepBuffer
from milepost.training.means import AVERAGED, EXAMPLES, RankMeans, add_to_mean, examples_in, own_values
from milepost.training.sharding import part_of, shard
from milepost.training.snapshot_keeper import PartMissing, Parts
from milepost.training.snapshots import Boundary
from milepost.training.trial import Rank, Trial
from trainer.addresses import own_address
from trainer.halts import Halts
from trainer.ray_group import RayGroup
from trainer.ray_host import ON_LOOPBACK, settings_for

# --- halting


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
        halts = Halts(2, lambda rank, instruction, loops=loops: loops[rank].obey(instruction))  # type: ignore[misc]
        for rank, loop in enumerate(loops):
            loop.thread.start()
            halts.join(rank)
        halts.snapshot()
        _answer(halts, loops)
        halts.stop(StopInstruction(deadline_ms=1))
        _answer(halts, loops)
        for loop in loops:
            loop.thread.join(30)
            assert not loop.thread.is_alive()
        assert loops[0].stopped_at == loops[1].stopped_at >= ahead
        assert loops[0].snapshots == loops[1].snapshots
        # A stop after the same step takes its place.
        assert len(loops[0].snapshots) == 1 or loops[0].stopped_at == loops[0].snapshot_step


def _answer(halts: Halts, loops: list[Loop]) -> None:
    for rank, loop in enumerate(loops):
        while loop.sent:
            halts.offer(rank, loop.sent.pop(0).stop_proposal)


def test_a_rank_that_waits_for_data_can_halt_where_it_is() -> None:
    loop = Loop(0, 0)
    loop.agreement.pass_boundary(7)
    loop.agreement.reopen(7)
    loop.agreement.hold(1)
    assert loop.sent[0].stop_proposal.step == 7


class Steps:
    """Stands for the keeper of snapshots: notes after which steps one was taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def register(self, state: Any, sharded: bool) -> None:
        return

    def due_by_count(self, step: int) -> bool:
        return False

    def can_snapshot(self, step: int) -> bool:
        return step not in self.taken

    def epoch_ended(self) -> None:
        return

    def take(self, boundary: Boundary, data: Any, reason: Any) -> None:
        self.taken.append(boundary.step)


def test_a_snapshot_that_is_agreed_on_while_a_rank_waits_for_data_is_taken_by_it_too(tmp_path: Any) -> None:
    """The others stand at the same step and take it; without this rank's part it would never be whole."""
    sent: list[InstanceReport] = []
    keeper = Steps()
    background = SimpleNamespace(
        begin=lambda step: None,
        alive=True,
        progress=SimpleNamespace(total_steps=None, say=lambda *_: None),
        position=Position(),
        buffer=StepBuffer(print),
        send=sent.append,
        wake=lambda: None,
        report=sent.append,
    )
    launch = AttemptLaunch(attempt_directory=str(tmp_path), attempt=1)
    trial = Trial(launch, Rank(1, 2), background, keeper)  # type: ignore[arg-type]

    def data() -> Iterator[str]:
        yield "first"
        trial.on_instruction(InstanceInstruction(hold={"number": 1}))
        agreed = sent[-1].stop_proposal.step
        trial.on_instruction(InstanceInstruction(snapshot={"step": agreed}))
        yield "second"

    for _ in trial.batches(data()):
        trial.log({"train/loss": 1.0})
        trial.maybe_snapshot(dict)
    assert sent[-1].stop_proposal.step == 1
    assert keeper.taken == [1]


def test_a_loop_that_has_not_begun_halts_before_its_first_step() -> None:
    loop = Loop(0, 0)
    loop.agreement.hold(1)
    assert loop.sent[0].stop_proposal.step == 0


def test_a_stop_waits_for_ranks_that_are_not_there_yet_and_not_for_those_that_left() -> None:
    sent: list[tuple[int, InstanceInstruction]] = []
    halts = Halts(3, lambda rank, instruction: sent.append((rank, instruction)))
    halts.join(0)
    halts.stop(StopInstruction(deadline_ms=9))
    halts.join(1)
    assert not sent
    halts.join(2)
    assert sorted(rank for rank, _ in sent) == [0, 1, 2]
    sent.clear()
    for rank, step in ((0, 4), (1, 6)):
        halts.offer(rank, _proposal(1, step))
    assert not sent
    halts.leave(2)
    assert [(rank, i.stop.step, i.stop.deadline_ms) for rank, i in sorted(sent, key=lambda pair: pair[0])] == [
        (0, 6, 9),
        (1, 6, 9),
    ]


def test_an_answer_to_an_older_question_is_ignored() -> None:
    sent: list[Any] = []
    halts = Halts(1, lambda rank, instruction: sent.append(instruction))
    halts.join(0)
    halts.snapshot()
    halts.offer(0, _proposal(7, 3))
    assert [i.WhichOneof("instruction") for i in sent] == ["hold"]


def _proposal(hold: int, step: int) -> Any:
    return InstanceReport(stop_proposal={"step": step, "hold": hold}).stop_proposal


# --- means


def rows(steps: list[int], losses: list[float], examples: list[int]) -> Columns:
    return Columns(
        (AVERAGED, "train/learning_rate", EXAMPLES),
        array("q", steps),
        array("d", [0.0] * len(steps)),
        (array("d", losses), array("d", [0.1] * len(steps)), array("d", examples)),
    )


def test_a_step_is_given_out_when_all_ranks_have_spoken() -> None:
    """Weighted by examples; what only rank 0 has stays as it is, and the weights never leave."""
    means = RankMeans(2)
    assert means.merge([rows([1, 2, 3], [1.0, 2.0, 3.0], [4, 4, 3])], 3) == []
    means.receive(own_values(1, [rows([1, 2], [3.0, 4.0], [4, 1])], 2))
    (ready,) = means.merge([], 3)
    assert ready.keys == (AVERAGED, "train/learning_rate")
    assert list(ready.steps) == [1, 2]
    assert list(ready.values[0]) == [2.0, (2.0 * 4 + 4.0) / 5]
    assert list(ready.values[1]) == [0.1, 0.1]
    means.receive(own_values(1, [rows([3], [7.0], [1])], 3))
    (ready,) = means.merge([], 3)
    assert list(ready.values[0]) == [(3.0 * 3 + 7.0) / 4]


def test_a_rank_that_logs_no_loss_holds_nothing_back() -> None:
    means = RankMeans(2)
    means.receive(own_values(1, [], 5))
    (ready,) = means.merge([rows([5], [1.5], [2])], 5)
    assert list(ready.values[0]) == [1.5]


def test_at_the_end_everything_is_given_out() -> None:
    """Of a rank that died nothing comes any more."""
    means = RankMeans(3)
    means.receive(own_values(1, [rows([1], [3.0], [1])], 1))
    (ready,) = means.merge([rows([1], [1.0], [1])], 1, final=True)
    assert list(ready.values[0]) == [2.0]


@given(
    losses=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20),
    order=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=40),
)
def test_whoever_is_ahead_every_step_comes_out_once_with_the_mean_of_all(
    losses: list[list[float]], order: list[tuple[int, int]]
) -> None:
    """Each rank gives pieces of any length, in any order; a rank may be far ahead of the others."""
    means, found = RankMeans(3), {}
    done = [0, 0, 0]
    for rank, count in [*order, *((rank, len(losses)) for rank in (0, 1, 2))]:
        steps = list(range(done[rank] + 1, min(len(losses), done[rank] + count) + 1))
        done[rank] += len(steps)
        piece = [rows(steps, [losses[s - 1][rank] for s in steps], [rank + 1] * len(steps))] if steps else []
        if rank:
            means.receive(own_values(rank, piece, done[rank]))
            piece = []
        for group in means.merge(piece, done[0]):
            for step, value in zip(group.steps, group.values[0], strict=True):
                assert step not in found
                found[step] = value
    assert list(found) == list(range(1, len(losses) + 1))
    for step, value in found.items():
        first, second, third = losses[step - 1]
        assert value == (first * 1.0 + second * 2.0 + third * 3.0) / 6.0


def test_examples_are_counted_by_the_first_dimension() -> None:
    assert examples_in(torch.zeros(5, 2)) == 5
    assert examples_in((torch.zeros(3), torch.zeros(3, 9))) == 3
    assert examples_in({"input_ids": torch.zeros(7, 4)}) == 7
    assert examples_in(torch.tensor(1.0)) == 1
    assert examples_in(["a", "b"]) == 2
    assert examples_in(object()) == examples_in([]) == examples_in({}) == 1


def test_micro_batches_are_weighted() -> None:
    mean = add_to_mean(add_to_mean(torch.tensor(1.0), 2, torch.tensor(4.0), 1), 3, 0.0, 3)
    assert float(mean) == pytest.approx((1.0 * 2 + 4.0) / 6)


# --- parts of a batch


@given(st.integers(1, 8), st.lists(st.integers(), min_size=8, max_size=40))
def test_the_parts_of_a_batch_are_the_batch(world_size: int, batch: list[int]) -> None:
    parts = [part_of(batch, rank, world_size) for rank in range(world_size)]
    assert list(chain(*parts)) == batch
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_ranks_together_see_the_batches_of_one_rank() -> None:
    """In every epoch, whatever has been drawn from the generators of the process meanwhile."""
    data = TensorDataset(torch.arange(32))

    def batches(rank: int, world_size: int, epoch: int) -> list[list[int]]:
        torch.rand(rank + 1)
        loader = shard(DataLoader(data, batch_size=8, shuffle=True), rank, world_size, seed=4)
        loader.batch_sampler.set_epoch(epoch)
        return [batch[0].tolist() for batch in loader]

    for epoch in (0, 1):
        whole = batches(0, 1, epoch)
        halves = [batches(rank, 2, epoch) for rank in (0, 1)]
        assert whole == [first + second for first, second in zip(*halves, strict=True)]
    assert batches(0, 1, 0) != batches(0, 1, 1)
    assert sorted(chain(*batches(0, 1, 0))) == list(range(32))


@pytest.mark.parametrize("loader", [[1, 2, 3], DataLoader(TensorDataset(torch.arange(1)))])
def test_what_cannot_be_divided_is_refused(loader: Any) -> None:
    with pytest.raises(InvalidArgument):
        shard(loader, 0, 2, 0)


# --- parts of a snapshot


def test_a_snapshot_waits_for_the_parts_of_all_ranks() -> None:
    parts = Parts(3)
    for rank in (1, 2):
        parts.receive(SnapshotPart(snapshot_id="a", rank=rank))
    parts.wait("a", 1.0)
    parts.receive(SnapshotPart(snapshot_id="b", rank=2, failure="OSError: disk full"))
    with pytest.raises(PartMissing, match="rank 2: OSError: disk full"):
        parts.wait("b", 1.0)
    with pytest.raises(PartMissing, match="nothing came from rank 1, 2"):
        parts.wait("c", 0.01)


# --- how a group ends


def group(tmp_path: Any, *said: Any) -> RayGroup:
    found = RayGroup(tmp_path, 2, lambda line: None)
    for rank in (0, 1):
        found.connected(rank, Hello(process_id=1, host="elsewhere"))
    for rank, outcome in said:
        if outcome is None:
            found.gone(rank)
        else:
            found.finished(rank, outcome)
    return found


DONE = Finished(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, cause=common.EXIT_CAUSE_FINISHED, last_step=9)
LOST_PEER = Finished(outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=common.EXIT_CAUSE_EXCEPTION, detail="closed by peer")


def test_all_ranks_returned(tmp_path: Any) -> None:
    ending, exits = group(tmp_path, (0, DONE), (1, DONE)).conclude(memory_killed=False, ordered_kill=False)
    assert (ending.outcome, ending.last_step) == (facts.ATTEMPT_OUTCOME_COMPLETED, 9)
    assert [one.cause for one in exits] == [common.EXIT_CAUSE_FINISHED] * 2


def test_the_rank_that_died_is_the_cause_not_the_one_that_missed_it(tmp_path: Any) -> None:
    ending, exits = group(tmp_path, (1, None), (0, LOST_PEER)).conclude(memory_killed=False, ordered_kill=False)
    assert (ending.outcome, ending.cause) == (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_SIGNAL)
    assert ending.detail == "rank 1: its process was killed or crashed"
    assert [one.cause for one in exits] == [common.EXIT_CAUSE_EXCEPTION, common.EXIT_CAUSE_SIGNAL]


def test_a_rank_that_died_when_memory_ran_out_died_of_that(tmp_path: Any) -> None:
    ending, _ = group(tmp_path, (1, None)).conclude(memory_killed=True, ordered_kill=False)
    assert ending.cause == common.EXIT_CAUSE_OUT_OF_MEMORY


def test_a_dead_daemon_is_the_cause_of_dead_ranks(tmp_path: Any) -> None:
    found = group(tmp_path, (1, None), (0, None))
    found.ended(GroupEnded(cause=common.EXIT_CAUSE_SIGNAL, detail="Ray's raylet was killed by SIGKILL"))
    ending, _ = found.conclude(memory_killed=False, ordered_kill=False)
    assert ending.detail == "Ray's raylet was killed by SIGKILL"


def test_a_group_that_never_came_to_be_was_not_launched(tmp_path: Any) -> None:
    found = RayGroup(tmp_path, 2, lambda line: None)
    found.ended(GroupEnded(cause=common.EXIT_CAUSE_LAUNCH_FAILED, detail="no room"))
    ending, exits = found.conclude(memory_killed=False, ordered_kill=False)
    assert (ending.cause, ending.detail, exits) == (common.EXIT_CAUSE_LAUNCH_FAILED, "no room", [])


def test_an_abrupt_stop_is_no_failure(tmp_path: Any) -> None:
    ending, exits = group(tmp_path, (0, None), (1, None)).conclude(memory_killed=False, ordered_kill=True)
    assert (ending.outcome, ending.cause) == (facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_KILLED)
    assert [one.cause for one in exits] == [common.EXIT_CAUSE_KILLED] * 2


def test_the_driver_listens_where_the_ranks_can_reach_it() -> None:
    assert own_address("") == own_address("127.0.0.1:6379") == own_address("ray://localhost:10001") == "127.0.0.1"


@pytest.mark.parametrize(("cluster", "alone"), [("", True), ("127.0.0.1:6379", True), ("10.0.0.5:6379", False)])
def test_ray_is_kept_to_loopback_only_where_its_cluster_is(cluster: str, alone: bool) -> None:
    """Told to stay there, a driver would not find the nodes of a cluster that has several."""
    assert (settings_for(cluster).items() >= ON_LOOPBACK.items()) is alone

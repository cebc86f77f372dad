"""Why there is no progress, from what each rank says."""

from __future__ import annotations

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls
from milepost.domain.stalls import Group, Stack

CODE, DATA = facts.STACK_PLACE_CODE, facts.STACK_PLACE_DATA_LOADER
COLLECTIVE, STORAGE = facts.STACK_PLACE_COLLECTIVE, facts.STACK_PLACE_STORAGE


def in_all_reduce(rank: int, number: int = 9, operation: str = "all_reduce", group: str = "0") -> Stack:
    return Stack(rank, 40, COLLECTIVE, "train.py:7 in train", (Group(group, number, number - 1, operation),))


def elsewhere(rank: int, place: int, number: int = 8) -> Stack:
    return Stack(rank, 40, place, "train.py:42 in augment", (Group("0", number, number, ""),))


@pytest.mark.parametrize(
    ("place", "kind", "words"),
    [
        (CODE, facts.STALL_KIND_CODE, "rank 3 on b is at train.py:42 in augment"),
        (DATA, facts.STALL_KIND_DATA_LOADER, "rank 3 on b waits for its next batch at train.py:42 in augment"),
        (
            STORAGE,
            facts.STALL_KIND_STORAGE,
            "rank 3 on b loads or saves, or waits for a disk, at train.py:42 in augment",
        ),
    ],
)
def test_the_rank_that_has_not_come_to_a_collective_is_named(place: int, kind: int, words: str) -> None:
    ranks = [*(in_all_reduce(rank) for rank in range(3)), elsewhere(3, place)]
    found = stalls.diagnose(ranks, hosts={0: "a", 3: "b"})
    assert (found.kind, found.ranks) == (kind, (3,))
    assert found.message == f"{words}; ranks 0-2 wait for that in all_reduce 9"


def test_without_a_flight_recorder_the_calls_tell() -> None:
    waiting = [Stack(rank, 40, COLLECTIVE, "train.py:7 in train") for rank in (0, 2)]
    found = stalls.diagnose([*waiting, Stack(1, 40, DATA, "train.py:9 in train")])
    assert (found.kind, found.ranks) == (facts.STALL_KIND_DATA_LOADER, (1,))
    assert found.message == (
        "rank 1 waits for its next batch at train.py:9 in train; ranks 0, 2 wait for that in a collective"
    )


def test_a_rank_that_waits_for_its_device_waits_for_what_the_device_waits_for() -> None:
    """With NCCL the loop stands at a copy from the device, in code of its own."""
    on_device = Stack(0, 40, CODE, "train.py:8 in train", (Group("0", 9, 8, "all_reduce"),))
    found = stalls.diagnose([on_device, elsewhere(1, CODE)])
    assert (found.kind, found.ranks) == (facts.STALL_KIND_CODE, (1,))


def test_a_rank_that_does_not_answer_is_named_before_all_others() -> None:
    found = stalls.diagnose([in_all_reduce(0), in_all_reduce(1)], silent=[2], hosts={2: "node-7"})
    assert (found.kind, found.ranks) == (facts.STALL_KIND_UNRESPONSIVE, (2,))
    assert found.message == "rank 2 on node-7 does not answer; ranks 0-1 wait for that in all_reduce 9"


def test_all_in_one_collective_means_the_network() -> None:
    found = stalls.diagnose([in_all_reduce(rank) for rank in range(4)])
    assert (found.kind, found.ranks) == (facts.STALL_KIND_NETWORK, (0, 1, 2, 3))
    assert "ranks 0-3 wait in all_reduce 9, and none is missing" in found.message


def test_ranks_in_different_collectives_wait_for_ever() -> None:
    found = stalls.diagnose([in_all_reduce(0), in_all_reduce(1, operation="broadcast")])
    assert (found.kind, found.ranks) == (facts.STALL_KIND_MISMATCH, (0, 1))
    assert found.message == (
        "ranks are in different collectives: rank 0 waits in all_reduce 9; rank 1 waits in broadcast 9"
    )
    crossed = stalls.diagnose(
        [
            Stack(0, 40, COLLECTIVE, "", (Group("1", 3, 2, "all_reduce"), Group("2", 4, 4, ""))),
            Stack(1, 40, COLLECTIVE, "", (Group("1", 2, 2, ""), Group("2", 5, 4, "all_gather"))),
        ]
    )
    assert (crossed.kind, crossed.ranks) == (facts.STALL_KIND_MISMATCH, (0, 1))
    assert "rank 1 waits in all_gather 5 of group 2" in crossed.message
    # A group that a rank has never used is not known to it.
    unused = stalls.diagnose(
        [in_all_reduce(0), Stack(1, 40, COLLECTIVE, "", (Group("0", 8, 8, ""), Group("2", 1, 0, "all_reduce")))]
    )
    assert (unused.kind, unused.ranks) == (facts.STALL_KIND_MISMATCH, (0, 1))


@pytest.mark.parametrize(
    ("stack", "kind", "message"),
    [
        (Stack(0, 4, CODE, "a.py:1 in f"), facts.STALL_KIND_CODE, "the loop is at a.py:1 in f"),
        (
            Stack(0, 4, DATA, "a.py:1 in f"),
            facts.STALL_KIND_DATA_LOADER,
            "the loop waits for its next batch at a.py:1 in f",
        ),
        (
            in_all_reduce(0),
            facts.STALL_KIND_OTHER_RANKS,
            "the loop waits in all_reduce 9 for other ranks, which do not say where they are (train.py:7 in train)",
        ),
    ],
)
def test_one_process_alone(stack: Stack, kind: int, message: str) -> None:
    found = stalls.diagnose([stack])
    assert (found.kind, found.ranks, found.message) == (kind, (0,), message)


def test_several_that_are_to_blame_are_told_together() -> None:
    found = stalls.diagnose([in_all_reduce(0), elsewhere(1, DATA), elsewhere(2, DATA), elsewhere(3, CODE)])
    assert (found.kind, found.ranks) == (facts.STALL_KIND_DATA_LOADER, (1, 2))
    assert found.message.startswith("ranks 1-2 wait for their next batch at")
    stored = stalls.diagnose([elsewhere(0, STORAGE), elsewhere(1, STORAGE)])
    assert stored.message == "ranks 0-1 load or save, or wait for a disk, at train.py:42 in augment"


def test_ranks_are_written_shortly() -> None:
    assert stalls.compact([5, 0, 1, 2, 7, 8]) == "0-2, 5, 7-8"
    assert stalls.compact([4]) == "4"

"""How a group of ranks ends, and what is said to be the cause."""

from __future__ import annotations

from typing import Any

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import (
    Finished,
    GroupEnded,
    Hello,
)
from trainer.on_ray.ray_group import RayGroup


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

"""Who is given up at a rung, with whose weights another goes on, and which snapshots are kept for that."""

from __future__ import annotations

import math
from typing import Any

import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.domain import population, trial
from milepost.domain.pruning import Verdict, judge, rung_step
from milepost.domain.search import NO_HISTORY, Ended, History, Promoted, Pruned, Reached, Reported, Suggested

MIN, MAX = config.METRIC_MODE_MIN, config.METRIC_MODE_MAX


def pruner(**fields: Any) -> config.SearchPruner:
    given = {"first_step": 10, "max_step": 40, "population_size": 4, "quantile": 0.25, **fields}
    return config.SearchPruner(kind=config.PRUNER_KIND_PBT, **given)


def search(**fields: Any) -> config.Search:
    objective = config.SearchObjective(metric="eval/loss", mode=MIN)
    return config.Search(pruner=pruner(**fields), max_trials=9, objective=objective)


def history(*entries: Any) -> History:
    found = NO_HISTORY
    for entry in entries:
        match entry:
            case Suggested():
                found = found.suggest(entry.trial, dict(entry.parameters))
            case Reached():
                found = found.reach(entry)
            case Promoted():
                found = found.promote(entry)
            case Pruned():
                found = found.prune(entry)
            case Reported():
                found = found.report(entry, best=False)
    return found


def test_rungs_lie_at_multiples_and_none_where_nothing_is_left_to_train() -> None:
    assert [rung_step(pruner(), 3, rung) for rung in (1, 2, 3, 4)] == [10, 20, 30, None]


def test_the_worst_quantile_is_given_up_and_nobody_where_that_is_less_than_one() -> None:
    assert judge(pruner(), MIN, [9.0], [1.0, 2.0]) is None, "a quarter of three is nobody"
    assert judge(pruner(), MIN, [9.0], [1.0, 2.0, 3.0]) == Verdict(3.0, 4, 4)
    assert judge(pruner(), MIN, [2.5], [1.0, 2.0, 3.0]) is None
    assert judge(pruner(), MIN, [3.0], [1.0, 2.0, 3.0]) is None, "as good is good enough"
    assert judge(pruner(), MAX, [0.5], [1.0, 2.0, 3.0]) == Verdict(1.0, 4, 4)
    assert judge(pruner(quantile=0.3), MIN, [7.5], [float(n) for n in range(1, 10)]) == Verdict(7.0, 8, 10)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_given_up_first_and_gives_no_weights(value: float) -> None:
    assert judge(pruner(), MIN, [value], [1.0, 2.0, 3.0]) == Verdict(3.0, 4, 4)
    at_rung = [Reached(1, 1, 10, value, "a"), Reached(2, 1, 10, 5.0, "b")]
    for mode in (MIN, MAX):
        assert [one.trial for one in population.donors(pruner(), mode, at_rung)] == [2]
    assert population.donors(pruner(), MIN, at_rung[:1]) == []


def test_the_best_quantile_gives_weights_at_least_one_and_only_with_a_snapshot() -> None:
    at_rung = [Reached(n, 1, 10, float(n), f"s{n}") for n in range(1, 9)]
    assert [one.trial for one in population.donors(pruner(), MIN, at_rung)] == [1, 2]
    assert [one.trial for one in population.donors(pruner(), MAX, at_rung)] == [8, 7]
    assert [one.trial for one in population.donors(pruner(), MIN, at_rung[:3])] == [1]
    without = [Reached(1, 1, 10, 1.0), *at_rung[1:]]
    assert [one.trial for one in population.donors(pruner(), MIN, without)] == [2]


def test_places_are_taken_while_max_trials_has_room_for_all_members() -> None:
    drawn = [Suggested(n, ()) for n in (1, 2)]
    assert population.members(history(*drawn)) == 2 and not population.is_drawn(pruner(), history(*drawn))
    one_child = history(*drawn, Suggested(3, ()), Promoted(3, 1, 1, "a"))
    assert (population.members(one_child), one_child.begun_rung(3), one_child.begun_rung(1)) == (2, 1, 0)
    assert [entry.trial for entry in one_child.told_to_sampler()] == [1, 2], "no sampler is told of the third"
    wanted = search()
    assert population.has_room(wanted, one_child, earlier=3) and not population.has_room(wanted, one_child, earlier=4)
    over = Ended(runtime_facts.SEARCH_END_REASON_TARGET, "")
    assert not population.has_room(wanted, History(suggested_count=2, ended=over))


def record(step: int, attempt: int = 1, **fields: Any) -> trial.SnapshotRecord:
    given = {"held_by": ("rt-1",), **fields}
    return trial.SnapshotRecord(f"s{step}", attempt, step, "file:///s", "ab", **given)


def one_trial(*records: trial.SnapshotRecord, situation: Any = None) -> trial.Trial:
    return trial.Trial("rt-1", 1, situation or trial.Completed(40), 1, snapshots=records, rung_steps=10)


def test_a_rung_waits_for_the_snapshot_that_goes_with_it() -> None:
    queued = trial.Queued(1)  # type: ignore[arg-type]
    assert not population.is_settled(one_trial(record(10), situation=queued), 20)
    assert population.is_settled(one_trial(record(10), record(20), situation=queued), 20)
    assert population.is_settled(one_trial(record(30), situation=queued), 20), "there is a later one: it was left out"
    assert population.is_settled(one_trial(record(10)), 20), "none will come"
    failed = trial.Failed(common.FAILURE_REASON_DETERMINISTIC_ERROR, "no")
    assert population.is_settled(one_trial(situation=failed), 20)
    state = one_trial(record(10), record(20, superseded=True))
    assert population.snapshot_at(state, 10) == record(10)
    assert population.snapshot_at(state, 20) is None and population.snapshot_at(state, 15) is None


def test_snapshots_at_which_nobody_will_begin_are_let_go() -> None:
    state = one_trial(record(10), record(20), record(30), record(40))

    def let_go(*entries: Any, ended: bool = False) -> list[int]:
        found = history(Suggested(1, ()), Suggested(2, ()), *entries)
        return [one.step for one in population.unneeded(search(), found, 1, state, ended)]

    assert let_go() == [40], "there is no rung at the last step"
    best = Reached(1, 1, 10, 1.0, "s10")
    assert let_go(best) == [40]
    assert let_go(best, Reached(2, 1, 10, 0.5, "t10")) == [10, 40], (
        "a quarter of four is one, and there is a better one"
    )
    assert let_go(best, Reached(2, 1, 10, math.nan, "t10")) == [40]
    assert let_go(best, Reported(1, (1.0,))) == [20, 30, 40], "nothing more comes of it"
    began = (Suggested(3, ()), Promoted(3, 1, 1, "s10"))
    assert let_go(best, *began, Reached(2, 1, 10, 0.5, "t10")) == [40], "somebody has begun there"
    assert let_go(best, *began, ended=True) == [20, 30, 40]
    assert let_go(best, ended=True) == [10, 20, 30, 40]

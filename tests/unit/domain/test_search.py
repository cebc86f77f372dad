"""The history of a search with a sampler, and what ends it."""

from __future__ import annotations

import math

import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import runtime
from milepost.domain.search import (
    NO_HISTORY,
    NO_POINTS,
    Earlier,
    Points,
    Pruned,
    Reached,
    Reported,
    Suggested,
    Values,
    objective_of,
    surpasses,
    why_over,
)
from milepost.errors import Aborted, FailedPrecondition
from tests.unit.domain.given import Given, at, given_runtime

SEARCH = config.Search(
    kind=config.SEARCH_KIND_TPE,
    max_trials=3,
    objective=config.SearchObjective(metric="eval/loss", mode=config.METRIC_MODE_MIN),
)
REQUESTED = facts.RuntimeRequested(
    runtime_id="rt-1", configuration=config.RuntimeConfiguration(name="one", search=SEARCH), trial_count=3
)


def suggest(trial: int, known: int, x: str = "1") -> runtime.SuggestTrial:
    return runtime.SuggestTrial(known, facts.TrialSuggested(trial=trial, parameters={"x": x}, sampler="tpe"))


def report(trial: int, value: float | None) -> runtime.ReportObjective:
    outcome = facts.OBJECTIVE_OUTCOME_VALUE if value is not None else facts.OBJECTIVE_OUTCOME_TRIAL_FAILED
    return runtime.ReportObjective(facts.ObjectiveReported(trial=trial, outcome=outcome, value=value))


def searched() -> Given:
    chain = given_runtime(REQUESTED)
    chain.when(suggest(1, 0), suggest(2, 1, "2"), report(2, 0.5), suggest(3, 3, "3"), report(1, None))
    return chain


def test_a_history_has_what_was_asked_and_told_in_the_order_of_the_log() -> None:
    history = searched().state.history
    assert history.entries == (
        Suggested(1, (("x", "1"),)), Suggested(2, (("x", "2"),)), Reported(2, (0.5,)), Suggested(3, (("x", "3"),)),
        Reported(1, ()),
    )  # fmt: skip
    assert (history.suggested_count, history.reported) == (3, {1, 2})
    assert (history.best_trial, history.best_value, history.reports_since_best) == (2, 0.5, 1)


def test_a_repeat_decides_nothing() -> None:
    chain = searched()
    assert chain.when(suggest(3, 3, "3"), report(1, None), report(2, 7.0)) == []


def test_what_was_chosen_from_less_than_all_that_there_is_is_refused() -> None:
    for chosen in (suggest(4, 4), suggest(5, 5), suggest(3, 5, "other")):
        with pytest.raises(Aborted, match="has gone on") as raised:
            searched().when(chosen)
        assert raised.value.reason == "SEARCH_MOVED_ON"


def test_a_value_is_the_best_only_where_it_is_better() -> None:
    chain = searched()
    [fact] = chain.when(report(3, 0.5))
    assert isinstance(fact, facts.ObjectiveReported) and not fact.best
    larger = config.RuntimeConfiguration(search=SEARCH)
    larger.search.objective.mode = config.METRIC_MODE_MAX
    chain = given_runtime(facts.RuntimeRequested(runtime_id="rt-1", configuration=larger))
    chain.when(suggest(1, 0), suggest(2, 1, "2"), report(1, 0.5), report(2, 0.75))
    assert (chain.state.history.best_trial, chain.state.history.best_value) == (2, 0.75)


def test_only_what_was_suggested_is_reported() -> None:
    with pytest.raises(FailedPrecondition, match="trial 9 of rt-1 was not suggested"):
        searched().when(report(9, 1.0))


def test_nothing_is_suggested_while_a_runtime_stops_or_after_the_end_of_the_search() -> None:
    stopping = searched()
    stopping.when(runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(300)))
    ended = searched()
    [fact] = ended.when(runtime.EndSearch(facts.SEARCH_END_REASON_TARGET, "enough"))
    assert fact == facts.SearchEnded(
        reason=facts.SEARCH_END_REASON_TARGET, detail="enough", best_trial=2, best_value=0.5
    )
    for chain in (stopping, ended):
        with pytest.raises(FailedPrecondition, match="takes no more trials"):
            chain.when(suggest(4, 5))
    assert ended.when(runtime.EndSearch(facts.SEARCH_END_REASON_HOURS, "late")) == []
    assert ended.when(report(3, 0.25)), "one that ran still has its value"


def test_earlier_trials_are_told_once_and_before_anything_is_suggested() -> None:
    one = facts.EarlierTrial(runtime_id="rt-0", trial=4, parameters={"x": "2"}, values=[0.5], violations=[-1])
    told = (facts.EarlierTrialsTold(trials=[one]), facts.EarlierTrialsTold(trials=[one], detail="2 have none"))
    chain = given_runtime(REQUESTED)
    assert chain.when(runtime.TellEarlierTrials(told)) == list(told)
    history = chain.state.history
    assert history.entries == (Earlier("rt-0", 4, (("x", "2"),), (0.5,), (-1.0,)),) * 2
    assert (history.earlier_told, history.best_trial, history.suggested_count) == (True, 0, 0)
    assert chain.when(runtime.TellEarlierTrials(told[:1])) == [], "a repeat"
    with pytest.raises(Aborted, match="has gone on"):
        searched().when(runtime.TellEarlierTrials(told))


def test_a_rung_is_judged_once_and_a_pruned_trial_is_told_nothing_more() -> None:
    chain = searched()
    rung = facts.RungReached(trial=3, rung=1, step=10, value=9.0, metric="eval/loss")
    pruned = facts.TrialPruned(trial=3, rung=2, step=30, value=9.0, cut_off=1.0, rank=3, reached_count=3)
    assert chain.when(runtime.ReachRung(5, rung)) == [rung]
    assert chain.when(runtime.ReachRung(5, rung)) == [], "a repeat"
    second = facts.RungReached(trial=3, rung=2, step=30, value=9.0)
    with pytest.raises(Aborted, match="has gone on"):
        chain.when(runtime.ReachRung(5, second, (pruned,)))
    with pytest.raises(FailedPrecondition, match="has reached 1 rungs, not 2"):
        chain.when(runtime.ReachRung(6, facts.RungReached(trial=3, rung=3, step=90, value=9.0)))
    assert chain.when(runtime.ReachRung(6, second, (pruned,))) == [second, pruned]
    history = chain.state.history
    assert history.entries[-3:] == (Reached(3, 1, 10, 9.0), Reached(3, 2, 30, 9.0), Pruned(3, 1.0, 3, 3))
    assert history.reported == {1, 2, 3} and history.best_trial == 2
    assert chain.when(report(3, 0.1)) == [], "it went on and completed: the sampler was told already"


def test_a_search_that_its_sampler_ended_goes_on_with_a_resume() -> None:
    def after_resume(reason: facts.SearchEndReason) -> bool:
        chain = searched()
        chain.when(runtime.EndSearch(reason, ""), runtime.FailRuntime(common.FAILURE_REASON_SAMPLER_FAILED, ""))
        chain.when(runtime.ReleaseResources(), runtime.ResumeRuntime())
        return chain.state.history.ended is None

    assert after_resume(facts.SEARCH_END_REASON_SAMPLER_FAILED)
    assert not after_resume(facts.SEARCH_END_REASON_MAX_TRIALS)


@pytest.mark.parametrize(
    ("mode", "kind", "points", "expected"),
    [
        ("MIN", "BEST", Points(3, 0.25, 2.0, 1.0), 0.25),
        ("MAX", "BEST", Points(3, 0.25, 2.0, 1.0), 2.0),
        ("MIN", "LAST", Points(3, 0.25, 2.0, 1.0), 1.0),
        ("MIN", "BEST", Points(3, 0.25, 2.0, math.nan), 0.25),
        ("MIN", "LAST", Points(3, 0.25, 2.0, math.nan), "the last value of eval/loss is NaN or infinite"),
        ("MAX", "LAST", Points(3, 0.25, 2.0, math.inf), "the last value of eval/loss is NaN or infinite"),
        ("MAX", "BEST", Points(2, None, None, math.nan), "every value of eval/loss is NaN or infinite"),
        ("MAX", "BEST", NO_POINTS, "it logged no point of eval/loss"),
    ],
)
def test_the_value_of_a_trial_is_a_finite_one_or_it_is_said_why_there_is_none(
    mode: str, kind: str, points: Points, expected: float | str
) -> None:
    objective = config.SearchObjective(
        metric="eval/loss",
        mode=f"METRIC_MODE_{mode}",
        value=f"OBJECTIVE_VALUE_{kind}",
    )
    search = config.Search(objective=objective)
    fact = objective_of(search, 1, Values({"eval/loss": points}))
    assert fact.HasField("value") == isinstance(expected, float)
    assert (fact.value if isinstance(expected, float) else fact.detail) == expected


def test_a_search_is_over_when_the_target_is_reached_nothing_better_came_or_its_time_is_up() -> None:
    history = NO_HISTORY.suggest(1, {}).report(Reported(1, (0.5,)), best=True)

    def over(**ends: float) -> str | None:
        search = config.Search(objective=SEARCH.objective, stop_when=config.SearchEnd(**ends))  # type: ignore[arg-type]
        ended = why_over(search, history, at(0), at(3_600))
        return ended.detail if ended is not None else None

    assert over(target=0.5) == "trial 1 reached 0.5, the target is 0.5"
    assert over(target=0.25) is None
    assert over(hours=1) == "it has searched for 1 h"
    assert over(hours=1.1) is None
    assert over(no_gain_in_trials=2) is None
    history = history.report(Reported(2, ()), best=False).report(Reported(3, (0.5,)), best=False)
    assert over(no_gain_in_trials=2) == "2 trials in a row were not better than trial 1"


MIN, MAX = config.METRIC_MODE_MIN, config.METRIC_MODE_MAX
SEVERAL = config.Search(
    kind=config.SEARCH_KIND_TPE,
    max_trials=9,
    objectives=[
        config.SearchObjective(metric="eval/loss", mode=MIN),
        config.SearchObjective(metric="eval/accuracy", mode=MAX, value=config.OBJECTIVE_VALUE_LAST),
    ],
    constraints=[
        config.SearchConstraint(metric="gb", at_most=8, value=config.CONSTRAINT_VALUE_WORST),
        config.SearchConstraint(metric="eval/accuracy", at_least=0.25, value=config.CONSTRAINT_VALUE_LAST),
    ],
)


def points(*values: float) -> Points:
    return Points(len(values), min(values), max(values), values[-1])


def test_each_objective_and_each_constraint_has_the_value_that_counts() -> None:
    known = {"eval/loss": points(0.5, 0.25, 0.75), "eval/accuracy": points(0.5, 0.125), "gb": points(7, 9, 6)}
    fact = objective_of(SEVERAL, 4, Values(known))
    assert [(one.metric, one.value) for one in fact.values] == [("eval/loss", 0.25), ("eval/accuracy", 0.125)]
    assert [(one.value, one.violation) for one in fact.constraints] == [(9, 1), (0.125, 0.125)]
    assert fact.infeasible and not fact.HasField("value")
    kept = objective_of(SEVERAL, 4, Values({**known, "gb": points(8), "eval/accuracy": points(0.25)}))
    assert [one.violation for one in kept.constraints] == [0, 0] and not kept.infeasible
    for metric, gone, said in (
        ("gb", None, "it logged no point of gb; 1 batch is lost"),
        ("gb", Points(2, None, None, math.nan), "every value of gb is NaN or infinite; 1 batch is lost"),
        (
            "eval/accuracy",
            Points(2, 0.5, 0.5, math.inf),
            "the last value of eval/accuracy is NaN or infinite; 1 batch is lost",
        ),
    ):
        values = {**known, metric: gone} if gone is not None else {k: v for k, v in known.items() if k != metric}
        fact = objective_of(SEVERAL, 4, Values(values, "1 batch is lost"))
        assert (fact.detail, len(fact.values), len(fact.constraints)) == (said, 0, 0)
        assert fact.outcome != facts.OBJECTIVE_OUTCOME_VALUE


@pytest.mark.parametrize(
    ("values", "others", "expected"),
    [
        ((1, 1), (2, 1), True),
        ((1, 1), (1, 1), False),
        ((1, 1), (2, 2), False),
        ((1, 2), (1, 1), True),
        ((2, 2), (1, 2), False),
    ],
)
def test_one_surpasses_another_that_is_worse_somewhere_and_better_nowhere(
    values: tuple[float, float], others: tuple[float, float], expected: bool
) -> None:
    assert surpasses(values, others, (MIN, MAX)) == expected


def test_the_best_of_several_objectives_are_those_that_none_surpasses() -> None:
    chain = given_runtime(
        facts.RuntimeRequested(runtime_id="rt-1", configuration=config.RuntimeConfiguration(search=SEVERAL))
    )

    def told(trial: int, loss: float, accuracy: float, infeasible: bool = False) -> tuple[bool, list[int]]:
        chain.when(suggest(trial, len(chain.state.history.entries), str(trial)))
        values = [facts.MeasuredValue(metric="eval/loss", value=loss), facts.MeasuredValue(value=accuracy)]
        report = facts.ObjectiveReported(
            trial=trial, outcome=facts.OBJECTIVE_OUTCOME_VALUE, values=values, infeasible=infeasible
        )
        [fact] = chain.when(runtime.ReportObjective(report))
        assert isinstance(fact, facts.ObjectiveReported)
        return fact.best, list(fact.surpassed)

    assert told(1, 0.5, 0.5) == (True, [])
    assert told(2, 0.25, 0.25) == (True, []), "better in one of them"
    assert told(3, 0.75, 0.5) == (False, []), "the first one surpasses it"
    assert told(4, 0.1, 0.9, infeasible=True) == (False, []), "a constraint is not kept"
    assert told(5, 0.5, 0.5) == (True, []), "as good as another is among the best"
    assert told(6, 0.25, 0.5) == (True, [1, 2, 5])
    history = chain.state.history
    assert history.front == ((6, (0.25, 0.5)),) and (history.best_trial, history.reports_since_best) == (0, 0)
    [fact] = chain.when(runtime.EndSearch(facts.SEARCH_END_REASON_HOURS, ""))
    assert fact == facts.SearchEnded(reason=facts.SEARCH_END_REASON_HOURS, best_trials=[6])


def test_one_that_breaks_a_constraint_is_never_the_best() -> None:
    chain = searched()
    broken = facts.MeasuredConstraint(metric="gb", value=9, violation=1)
    report = facts.ObjectiveReported(
        trial=3, outcome=facts.OBJECTIVE_OUTCOME_VALUE, value=0.125, constraints=[broken], infeasible=True
    )
    [fact] = chain.when(runtime.ReportObjective(report))
    assert isinstance(fact, facts.ObjectiveReported) and not fact.best
    assert chain.state.history.entries[-1] == Reported(3, (0.125,), (1.0,))
    assert (chain.state.history.best_trial, chain.state.history.reports_since_best) == (2, 2)

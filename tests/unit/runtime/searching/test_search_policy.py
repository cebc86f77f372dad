"""The next move of a search with a sampler."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.domain import runtime, trial
from milepost.domain.search import NO_HISTORY, Ended, History, Reported
from services.runtime.policies.search import End, Picture, Suggest, because, next_move, to_report, wake_time
from tests.unit.domain.given import at

QUEUED = trial.Trial(situation=trial.Queued(trial_facts.LAUNCH_REASON_FIRST))
COMPLETED = trial.Trial(situation=trial.Completed(10))
STOPPED = trial.Trial(situation=trial.Stopped("enough"))


def picture(
    history: History, *trials: trial.Trial, slots: int = 9, since: datetime | None = None, **changes: Any
) -> Picture:
    search = config.Search(kind=config.SEARCH_KIND_TPE, max_trials=3, max_concurrent_trials=2)
    search.objective.mode = config.METRIC_MODE_MIN
    search.stop_when.hours = 2
    configuration = config.RuntimeConfiguration(search=search)
    state = runtime.Runtime(status=runtime.Status.STARTED, configuration=configuration, history=history)
    return Picture(replace(state, **changes), dict(enumerate(trials, 1)), slots, since)


def suggested(count: int) -> History:
    history = NO_HISTORY
    for number in range(1, count + 1):
        history = history.suggest(number, {"x": str(number)})
    return history


def test_trials_are_suggested_while_fewer_run_than_may_and_there_is_room() -> None:
    assert next_move(picture(suggested(0)), at(0)) == Suggest(1)
    assert next_move(picture(suggested(1), QUEUED), at(0)) == Suggest(2)
    assert next_move(picture(suggested(1), QUEUED, slots=1), at(0)) is None
    assert next_move(picture(suggested(2), QUEUED, QUEUED), at(0)) is None
    assert next_move(picture(suggested(2), STOPPED, QUEUED), at(0)) == Suggest(3), "others take its turn"


def test_one_whose_value_is_not_known_or_that_is_to_be_resumed_is_under_way() -> None:
    unknown = picture(suggested(1), COMPLETED, slots=1)
    assert (to_report(unknown), next_move(unknown, at(0))) == ([1], None)
    known = picture(suggested(1).report(Reported(1, (0.5,)), best=True), COMPLETED, slots=1)
    assert next_move(known, at(0)) == Suggest(2)
    resumed = replace(picture(suggested(1), STOPPED, slots=1), to_resume=frozenset({1}))
    assert next_move(resumed, at(0)) is None


def test_a_search_ends_when_its_trials_are_done_or_its_time_is_over() -> None:
    history = suggested(3)
    assert next_move(picture(history, COMPLETED, COMPLETED, COMPLETED), at(0)) is None, "not reported"
    for number in (1, 2, 3):
        history = history.report(Reported(number, (0.5,)), best=number == 1)
    done = next_move(picture(history, COMPLETED, COMPLETED, COMPLETED), at(0))
    assert isinstance(done, End) and done.ended.reason == facts.SEARCH_END_REASON_MAX_TRIALS
    late = picture(suggested(1), QUEUED, since=at(0))
    assert wake_time(late) == at(7_200)
    over = next_move(late, at(7_200))
    assert isinstance(over, End) and over.ended.reason == facts.SEARCH_END_REASON_HOURS


def test_nothing_moves_once_it_has_ended_or_while_the_runtime_stops() -> None:
    ended = replace(suggested(1), ended=Ended(facts.SEARCH_END_REASON_TARGET, ""))
    stop = runtime.Stop(common.STOP_MODE_GRACEFUL, at(300), "")
    for still in (picture(ended), picture(suggested(1), stop=stop), picture(suggested(1), status=None)):
        assert next_move(still, at(0)) is None


def test_it_is_said_what_a_trial_is_chosen_from() -> None:
    history = suggested(2).report(Reported(2, (0.25,)), best=True)
    assert because(picture(history).state, "cmaes") == "1 value known, the best 0.25 of trial 2, 1 under way"
    assert because(picture(history).state, "tpe").startswith(
        "drawn at random before 10 values are known: 1 value known"
    )
    given = picture(NO_HISTORY)
    assert given.state.configuration is not None
    given.state.configuration.search.points.add(parameters={"x": "1"})
    assert because(given.state, "tpe") == "point 1 of 1 given by hand"

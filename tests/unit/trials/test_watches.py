"""What a watcher of a search is told, when, and what that costs the others."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.trial.v1 import trial_service_pb2 as api
from services.trials import watches
from services.trials.queries import Scope
from services.trials.readmodel import views
from services.trials.readmodel.positions import Position as Place
from services.trials.readmodel.progress import Outlook, outlook_of
from services.trials.readmodel.runtime_estimates import estimate_runtime
from services.trials.readmodel.view import TrialView
from services.trials.watches import Position, Watch
from tests.support.trainers.running_search import RunningSearch
from tests.support.trainers.trial_history import RUNTIME

SEARCH = Scope(RUNTIME)


async def caught_up(responses: object) -> list[api.WatchTrialsResponse]:
    """Read until the state is complete."""
    heard = []
    async for response in responses:  # type: ignore[attr-defined]
        heard.append(response)
        if response.caught_up:
            break
    return heard


def where(response: api.WatchTrialsResponse) -> Position:
    return Position(response.events_sequence, response.telemetry_sequence)


async def test_what_is_left_of_a_trial_is_computed_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each message about each trial, however many watch: that grows with the square of a search."""
    search = RunningSearch(20)
    search.advance()
    computed = []

    def counted(view: TrialView, position: Place) -> Outlook:
        computed.append(view.number)
        return outlook_of(view, position)

    monkeypatch.setattr(views, "outlook_of", counted)
    for _ in range(3):
        async with aclosing(Watch(search, SEARCH, None, True, search.now).responses()) as responses:  # type: ignore[type-var]
            heard = await caught_up(responses)
    assert sorted(computed) == list(range(1, 21))
    runtime = search.views.runtimes[RUNTIME]
    rest = estimate_runtime(search.views, runtime, search.now())
    assert rest is not None
    told = [response.runtime_estimate.remaining for response in heard if response.HasField("trial")]
    assert [round(one.seconds + one.nanos / 1e9, 3) for one in told] == [round(rest.seconds, 3)] * 20


async def test_an_event_is_told_of_while_moves_wait_and_hides_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search's progress takes of a connection is bounded; a status never waits for that."""
    monkeypatch.setattr(watches, "BYTES_PER_SECOND", 1)
    monkeypatch.setattr(watches, "INTERVAL_SECONDS", 0.001)
    search = RunningSearch(5)
    async with aclosing(Watch(search, SEARCH, None, True, search.now).responses()) as responses:  # type: ignore[type-var]
        await caught_up(responses)
        search.advance()
        moved = [await anext(responses) for _ in range(5)]
        assert [response.trial.trial for response in moved] == [1, 2, 3, 4, 5]
        seen = where(moved[-1])
        # Now the others have to wait.
        search.advance()
        search.happens(facts.EvaluationCompleted(step=50, values={"eval/loss": 1.0}), trial=3)
        told = await anext(responses)
    assert told.trial.trial == 3
    assert told.events_sequence == search.views.events_sequence > seen.events
    assert told.telemetry_sequence == seen.telemetry < search.views.telemetry_sequence
    # Whoever comes back with that position is told of all that has moved since.
    async with aclosing(Watch(search, SEARCH, where(told), True, search.now).responses()) as responses:  # type: ignore[type-var]
        heard = await caught_up(responses)
    assert [response.trial.trial for response in heard[:-1]] == [1, 2, 3, 4, 5]


async def test_one_trial_is_told_of_as_often_as_before_whatever_its_search_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watches, "BYTES_PER_SECOND", 1)
    monkeypatch.setattr(watches, "INTERVAL_SECONDS", 0.001)
    search = RunningSearch(5)
    watch = Watch(search, Scope(RUNTIME, 2), None, True, search.now)
    async with aclosing(watch.responses()) as responses:  # type: ignore[type-var]
        await caught_up(responses)
        for _ in range(3):
            search.advance()
            told = await anext(responses)
            assert told.trial.trial == 2
            assert told.telemetry_sequence == search.views.telemetry_sequence - 3

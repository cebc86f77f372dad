"""What single facts do to the views of runtimes and trials."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.message import Message

from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import runtime, trial
from milepost.eventlog import Head
from services.runtime.readmodel.facts import MAX_IGNORED, OF_RUNTIMES, OF_TRIALS, OWN_TIMES, fold_runtime, fold_trial
from services.runtime.readmodel.view import Reference, RuntimeView, TrialView, time_text
from tests.unit.domain.given import NOW
from tests.unit.runtime.world import configuration


def at(sequence: int) -> Reference:
    return Reference(sequence, f"e-{sequence}", NOW + timedelta(seconds=sequence), "local:ada")


def evaluation(step: int, attempt: int = 1) -> facts.EvaluationCompleted:
    return facts.EvaluationCompleted(attempt=attempt, step=step, values={"eval/loss": 1.0})


def test_what_a_fenced_attempt_says_of_evaluations_is_not_judged_however_much_it_has_said() -> None:
    view = RuntimeView("rt-1", Head("runtime"))
    wanted = configuration()
    wanted.search.objective.metric = "eval/loss"
    wanted.search.pruner.SetInParent()
    fold_runtime(view, runtime_facts.RuntimeRequested(runtime_id="rt-1", configuration=wanted, trial_count=1), at(1))
    one = TrialView(1, Head("trial"))
    told: list[tuple[int | None, Message]] = [
        (None, facts.TrialCreated(runtime_id="rt-1", trial=1)),
        (None, facts.AttemptLaunched(attempt=1)),
        (1, facts.AttemptStarted(attempt=1)),
        (1, evaluation(10)),
        (None, facts.AttemptFenced(attempt=1)),
    ]
    for sequence, (attempt, fact) in enumerate(told, 2):
        assert fold_trial(view, one, fact, attempt, at(sequence), None)
    for sequence in range(10, 11 + MAX_IGNORED):
        assert not fold_trial(view, one, evaluation(sequence), 1, at(sequence), NOW)
    assert one.evaluations == [(10, 1.0)]
    assert (len(one.ignored), view.own_end_time) == (MAX_IGNORED, None)


def test_tables_have_facts_of_their_own_kind_of_chain() -> None:
    assert set(OF_RUNTIMES) < set(runtime.EVOLVE)
    assert {*OF_TRIALS, *OWN_TIMES} < set(trial.EVOLVE)


def test_times_as_text_sort_as_they_do() -> None:
    times = [NOW, NOW + timedelta(microseconds=1), NOW + timedelta(seconds=1), NOW + timedelta(days=400)]
    texts = [time_text(time) for time in times]
    assert texts == sorted(texts)
    assert all(len(text) == len("2026-11-30T12:00:00.000000Z") and text.endswith("Z") for text in texts)

"""What trials look like: status, progress, lineage, markers, time; given a history."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.domain.trial import Plan
from services.trials.messages import completion_percent
from services.trials.readmodel.facts import APPLY
from services.trials.readmodel.progress import evaluations_left, planned_evaluations
from services.trials.readmodel.runtime_estimates import estimate_runtime
from services.trials.readmodel.view import Key
from services.trials.readmodel.views import Changes
from tests.support.trainers.trial_history import RUNTIME, History, committed

# Headers whose names are no identifiers.
NAN_LOSS: dict[str, Any] = {"last-train/loss": "nan"}
HALF_LOSS: dict[str, Any] = {"last-train/loss": "0.5"}


def test_every_fact_of_a_trial_is_folded() -> None:
    payloads = facts.TrialEvent.DESCRIPTOR.oneofs_by_name["payload"].fields
    assert {kind.__name__ for kind in APPLY} == {field.message_type.name for field in payloads if field.message_type}


# --- status


def test_a_new_trial_is_waiting_because_it_is_queued() -> None:
    trial = History().requested().trial()
    assert (trial.status, trial.waiting_reason) == (api.TRIAL_STATUS_WAITING, api.WAITING_REASON_QUEUED)
    assert trial.name == "runtimes/rt-test/trials/1"
    assert trial.progress.step == 0
    assert not trial.HasField("estimate")


def test_a_launched_trial_is_running_and_starting() -> None:
    trial = History().requested().control(facts.AttemptLaunched(attempt=1)).trial()
    assert trial.status == api.TRIAL_STATUS_RUNNING
    assert trial.progress.phase == api.PROGRESS_PHASE_STARTING


def test_a_crashed_trial_waits_for_its_retry_and_says_when() -> None:
    history = History().requested().running()
    history.attempt(
        1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=common.EXIT_CAUSE_SIGNAL, last_step=7)
    )
    retry = facts.RetryScheduled(attempt=1, retry=1, max_retries=2, cause=common.EXIT_CAUSE_SIGNAL)
    retry.not_before_time.FromJsonString("2026-01-31T10:01:00Z")
    trial = history.control(retry).trial()
    assert (trial.status, trial.waiting_reason) == (api.TRIAL_STATUS_WAITING, api.WAITING_REASON_RETRYING)
    assert trial.retry_time.ToJsonString() == "2026-01-31T10:01:00Z"
    assert trial.progress.step == 7


def test_a_stopped_trial_waits_and_keeps_the_step_it_reached() -> None:
    history = History().requested().running(total_steps=100)
    history.batch(37)
    history.control(facts.AttemptFenced(attempt=1, reason=facts.FENCE_REASON_ABRUPT_STOP, last_step=37))
    trial = history.control(facts.TrialStopped(attempt=1, lost_steps=37)).trial()
    assert (trial.status, trial.waiting_reason) == (api.TRIAL_STATUS_WAITING, api.WAITING_REASON_STOPPED)
    assert trial.progress.step == 37
    assert not trial.HasField("throughput")


def test_a_failed_trial_says_why() -> None:
    history = History().requested().running()
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=common.EXIT_CAUSE_DETERMINISTIC))
    failed = facts.TrialFailed(attempt=1, reason=common.FAILURE_REASON_DETERMINISTIC_ERROR, detail="no such file")
    trial = history.control(failed).trial()
    assert trial.status == api.TRIAL_STATUS_FAILED
    assert trial.failure_reason == common.FAILURE_REASON_DETERMINISTIC_ERROR
    assert "no such file" in trial.reason
    assert trial.end_time.seconds > 0


def test_a_fact_of_a_fenced_attempt_changes_nothing() -> None:
    history = History().requested().running(total_steps=10)
    history.control(facts.AttemptFenced(attempt=1, last_step=4))
    before = history.trial()
    assert history.attempt(1, facts.EpochCompleted(epoch=0, step=9)).trial() == before


# --- progress


@pytest.mark.parametrize(
    ("step", "total", "percent"),
    [
        (0, 1000, 0.0),
        (1, 3000, 0.0),
        (999, 1000, 99.9),
        (9_999, 10_000, 99.9),
        (1, 3, 33.3),
        (3, 3, 100.0),
        (5, 3, 100.0),
    ],
)
def test_completion_is_floored_to_a_tenth(step: int, total: int, percent: float) -> None:
    assert completion_percent(step, total) == percent


def test_without_a_total_there_is_no_completion() -> None:
    history = History().requested().running()
    history.batch(400)
    trial = history.trial()
    assert trial.progress.step == 400
    assert not trial.progress.HasField("total_steps")
    assert not trial.progress.HasField("completion_percent")


def test_a_trial_that_completed_without_a_plan_has_done_all_of_it() -> None:
    history = History().requested().running()
    history.batch(37)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=37))
    trial = history.control(facts.TrialCompleted(attempt=1, last_step=37)).trial()
    assert trial.status == api.TRIAL_STATUS_COMPLETED
    assert (trial.progress.step, trial.progress.total_steps, trial.progress.completion_percent) == (37, 37, 100.0)


@pytest.mark.parametrize(("last", "detail", "percent"), [(99, "", 100.0), (99, "ended early", 99.0), (98, "", 98.0)])
def test_a_script_that_counts_its_steps_from_0_has_done_all_of_them(last: int, detail: str, percent: float) -> None:
    """Steps 0 to 99 of 100; one that has left before its plan has not."""
    history = History().requested().running(total_steps=100)
    history.batch(last)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=last))
    trial = history.control(facts.TrialCompleted(attempt=1, last_step=last, detail=detail)).trial()
    assert trial.progress.completion_percent == percent


def test_a_batch_moves_step_batch_epoch_and_last_values() -> None:
    history = History().requested().running(total_steps=1000)
    history.batch(450, epoch=0, batch=450, epoch_batches=500, **NAN_LOSS)
    trial = history.trial()
    assert trial.progress.batch_text == "E0 450/500"
    assert trial.progress.completion_percent == 45.0
    assert str(trial.last_values["train/loss"]) == "nan"
    assert trial.telemetry_sequence == 1


def test_steps_and_batches_are_counted_apart() -> None:
    """Several batches make one step when gradients are accumulated; a resumed epoch goes on in its middle."""
    history = History().requested().running(total_steps=6, steps_per_epoch=3, epochs=2)
    history.batch(2, batch=8, epoch=0, epoch_batches=10)
    progress = history.trial().progress
    assert (progress.step, progress.batch_text) == (2, "E0 8/10")
    assert progress.completion_percent == 33.3
    history.attempt(1, facts.EpochCompleted(epoch=0, step=3))
    history.batch(4, batch=4, epoch=1, epoch_batches=10)
    progress = history.trial().progress
    assert (progress.step, progress.batch_text) == (4, "E1 4/10")


def test_a_fence_that_knows_a_step_more_than_was_sent_leaves_the_batches_where_they_were() -> None:
    history = History().requested().running(total_steps=1000, steps_per_epoch=400, epochs=3)
    history.attempt(1, facts.EpochCompleted(epoch=0, step=400))
    history.batch(580, epoch=1, batch=180, epoch_batches=400)
    history.control(facts.AttemptFenced(attempt=1, reason=facts.FENCE_REASON_ABRUPT_STOP, last_step=581))
    progress = history.trial().progress
    assert (progress.step, progress.batch_text) == (581, "E1 180/400")


def test_a_place_that_events_know_to_be_further_counts() -> None:
    history = History().requested().running(total_steps=1000, steps_per_epoch=400, epochs=3)
    history.batch(390, epoch=0, batch=390, epoch_batches=400)
    history.attempt(1, facts.EpochCompleted(epoch=0, step=400))
    progress = history.trial().progress
    assert (progress.step, progress.epoch, progress.batch) == (400, 1, 0)


def test_evaluation_batches_are_shown_while_it_evaluates() -> None:
    history = History().requested().running(total_steps=1000)
    history.attempt(1, facts.EvaluationStarted(step=250, batch_count=40))
    assert history.trial().progress.batch_text == "E0 eval 0/40"
    history.batch(250, phase="evaluating", eval_batch=12, eval_batches=40)
    assert history.trial().progress.batch_text == "E0 eval 12/40"
    history.attempt(1, facts.EvaluationCompleted(step=250, duration_seconds=3.0))
    history.batch(260, batch=260)
    assert history.trial().progress.batch_text == "E0 260"


def test_skipping_data_after_a_resume_is_shown() -> None:
    history = History().requested().running(total_steps=1000)
    history.batch(0, phase="skipping", skipped=12_000, to_skip=400_000)
    trial = history.trial()
    assert trial.progress.batch_text == "skipping data 12,000/400,000"
    assert trial.progress.phase == api.PROGRESS_PHASE_SKIPPING


def test_batches_of_other_ranks_and_repeated_batches_move_nothing() -> None:
    history = History().requested().running(total_steps=1000)
    history.batch(100)
    assert history.batch(150, source="rank-1") is None
    assert history.batch(50, number=1) is None
    assert history.trial().progress.step == 100


def test_a_batch_that_cannot_be_read_is_counted() -> None:
    history = History().requested().running()
    assert history.batch(1, epoch="x") is None
    assert history.views.malformed_batches == 1
    assert history.trial().progress.step == 0


def test_telemetry_that_is_ahead_of_the_events_counts_once_they_arrive() -> None:
    history = History().requested().control(facts.AttemptLaunched(attempt=1))
    assert history.batch(5) is None
    assert history.trial().progress.step == 0
    history.attempt(1, facts.AttemptStarted())
    assert history.trial().progress.step == 5


def test_a_plan_may_be_declared_again() -> None:
    history = History().requested().running(total_steps=1000)
    history.batch(300)
    history.attempt(1, facts.PlanDeclared(total_steps=400))
    assert history.trial().progress.completion_percent == 75.0


# --- markers


def _planned(trial: api.Trial, kind: int) -> list[int]:
    return [marker.step for marker in trial.markers if marker.planned and marker.kind == kind]


def _actual(trial: api.Trial, kind: int) -> list[int]:
    return [marker.step for marker in trial.markers if not marker.planned and marker.kind == kind]


def test_planned_markers_give_way_to_those_that_happened() -> None:
    history = History().requested().running(total_steps=1000, eval_every_steps=250, steps_per_epoch=500)
    assert _planned(history.trial(), api.MARKER_KIND_EVALUATION) == [250, 500, 750, 1000]
    assert _planned(history.trial(), api.MARKER_KIND_EPOCH_END) == [500, 1000]
    history.attempt(
        1, facts.EvaluationStarted(step=250), facts.EvaluationCompleted(step=250, values={"eval/loss": 2.5})
    )
    history.batch(300)
    trial = history.trial()
    assert _planned(trial, api.MARKER_KIND_EVALUATION) == [500, 750, 1000]
    assert _actual(trial, api.MARKER_KIND_EVALUATION) == [250]
    assert next(m for m in trial.markers if not m.planned).values["eval/loss"] == 2.5


def test_epoch_ends_are_planned_from_the_last_real_one_so_partial_batches_do_not_shift_them() -> None:
    history = History().requested().running(total_steps=300, steps_per_epoch=100)
    history.attempt(1, facts.EpochCompleted(epoch=0, step=97))
    trial = history.trial()
    assert _planned(trial, api.MARKER_KIND_EPOCH_END) == [197, 297]
    assert [m.epoch for m in trial.markers if m.planned] == [1, 2]


@pytest.mark.parametrize("every", [1, 3, 4, 9, 10])
@pytest.mark.parametrize("epochs", [None, 1, 2])
def test_evaluations_within_epochs_are_planned_where_they_come(every: int, epochs: int | None) -> None:
    """Counted from the start of an epoch, those that do not divide it begin anew with it; some epochs may have none."""
    plan = Plan(total_steps=45, steps_per_epoch=10, eval_every_steps=every, eval_every_epochs=epochs)
    expected = [
        step
        for step in range(1, 46)
        if (step % every if epochs is None else ((step - 1) % 10 + 1) % every) == 0
        and (epochs is None or ((step - 1) // 10 + 1) % epochs == 0)
    ]
    for after in range(46):
        assert list(planned_evaluations(plan, after, 45)) == [step for step in expected if step > after]
        assert evaluations_left(plan, after, 45) == len([step for step in expected if step > after])
    planned: dict[str, Any] = {"eval_every_epochs": epochs} if epochs else {}
    history = History().requested().running(total_steps=45, steps_per_epoch=10, eval_every_steps=every, **planned)
    assert _planned(history.trial(), api.MARKER_KIND_EVALUATION) == expected


def test_an_interrupted_evaluation_leaves_no_marker() -> None:
    history = History().requested().running(total_steps=100)
    history.attempt(1, facts.EvaluationStarted(step=50), facts.EvaluationCompleted(step=50, interrupted=True))
    assert _actual(history.trial(), api.MARKER_KIND_EVALUATION) == []


def test_planned_markers_of_a_kind_are_limited() -> None:
    history = History().requested().running(total_steps=1_000_000, eval_every_steps=10)
    assert len(_planned(history.trial(), api.MARKER_KIND_EVALUATION)) == 500


# --- lineage


def test_a_resume_cuts_everything_after_the_snapshot() -> None:
    history = History().requested().running(total_steps=1000)
    snapshot = committed(400, epoch=0, batch=400)
    history.attempt(1, snapshot)
    history.attempt(
        1, facts.EvaluationStarted(step=420), facts.EvaluationCompleted(step=420, values={"eval/loss": 0.1})
    )
    history.batch(437, **HALF_LOSS)
    history.control(facts.AttemptFenced(attempt=1, reason=facts.FENCE_REASON_EXITED, last_step=437))
    history.control(facts.RetryScheduled(attempt=1, retry=1))
    history.running(2, snapshot, total_steps=1000)
    trial = history.trial()
    assert trial.progress.step == 400
    assert (trial.progress.epoch, trial.progress.batch) == (0, 400)
    assert [(s.attempt, s.first_step, s.last_step) for s in trial.lineage] == [(1, 1, 400), (2, 401, 0)]
    assert [(r.attempt, r.first_step, r.last_step) for r in trial.redone] == [(1, 400, 437)]
    assert _actual(trial, api.MARKER_KIND_EVALUATION) == []
    assert _actual(trial, api.MARKER_KIND_SNAPSHOT) == [400]
    assert not trial.HasField("best")
    assert not trial.last_values
    assert "resumed from step 400" in trial.hints
    history.batch(410, attempt=2)
    assert history.trial().progress.step == 410


def test_an_attempt_that_appends_leaves_everything_where_it_is() -> None:
    history = History().requested().running()
    history.attempt(1, facts.EvaluationStarted(step=42), facts.EvaluationCompleted(step=42, values={"eval/loss": 0.1}))
    history.batch(50, **HALF_LOSS)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=50))
    history.control(facts.TrialCompleted(attempt=1, last_step=50), facts.TrialResumeRequested())
    history.control(facts.AttemptLaunched(attempt=2, appends=True))
    history.attempt(2, facts.AttemptStarted(restored_step=10))
    history.batch(51)
    trial = history.trial()
    assert (trial.status, trial.progress.step) == (api.TRIAL_STATUS_RUNNING, 51)
    assert [(s.attempt, s.first_step, s.last_step) for s in trial.lineage] == [(1, 1, 0)]
    assert not trial.redone
    assert _actual(trial, api.MARKER_KIND_EVALUATION) == [42]
    history.attempt(2, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_FAILED, last_step=60))
    trial = history.control(facts.TrialFailed(attempt=2)).trial()
    assert (trial.status, trial.progress.step) == (api.TRIAL_STATUS_FAILED, 60)


def test_an_evaluation_that_runs_again_at_the_step_of_the_resume_takes_the_place_of_the_one_before() -> None:
    history = History().requested().running(total_steps=1000)
    snapshot = committed(400, epoch=0, batch=400)
    first = {"eval/loss": 0.1, "eval/other": 3.0}
    history.attempt(1, facts.EvaluationStarted(step=400), facts.EvaluationCompleted(step=400, values=first), snapshot)
    history.attempt(1, facts.EpochCompleted(epoch=0, step=400))
    history.control(facts.AttemptFenced(attempt=1, last_step=437), facts.RetryScheduled(attempt=1, retry=1))
    history.running(2, snapshot, total_steps=1000)
    assert (history.trial().best.value, history.trial().best.step) == (0.1, 400)
    history.attempt(2, facts.EvaluationStarted(step=400))
    history.attempt(2, facts.EvaluationCompleted(step=400, values={"eval/loss": 0.5}))
    history.attempt(2, facts.EpochCompleted(epoch=0, step=400))
    trial = history.trial()
    assert (trial.best.value, trial.best.step) == (0.5, 400)
    shown = [dict(m.values) for m in trial.markers if not m.planned and m.kind == api.MARKER_KIND_EVALUATION]
    assert shown == [{"eval/other": 3.0}, {"eval/loss": 0.5}]
    assert _actual(trial, api.MARKER_KIND_EPOCH_END) == [400]


def test_late_telemetry_of_an_abandoned_attempt_moves_no_step_and_tells_how_far_it_was() -> None:
    history = History().requested().running(total_steps=1000)
    snapshot = committed(400)
    history.attempt(1, snapshot)
    history.control(facts.AttemptFenced(attempt=1, last_step=437), facts.RetryScheduled(attempt=1))
    history.running(2, snapshot)
    history.batch(405, attempt=2)
    history.batch(437, attempt=1)
    assert history.trial().progress.step == 405
    assert [(r.attempt, r.first_step, r.last_step) for r in history.trial().redone] == [(1, 400, 437)]
    assert history.batch(450, attempt=1) is not None
    assert history.batch(449, attempt=1) is None
    assert history.trial().progress.step == 405
    assert [(r.attempt, r.first_step, r.last_step) for r in history.trial().redone] == [(1, 400, 450)]


def test_the_lineage_of_an_ended_trial_is_closed() -> None:
    history = History().requested().running(total_steps=10)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=10))
    trial = history.control(facts.TrialCompleted(attempt=1, last_step=10)).trial()
    assert trial.status == api.TRIAL_STATUS_COMPLETED
    assert [(s.first_step, s.last_step) for s in trial.lineage] == [(1, 10)]
    assert trial.progress.completion_percent == 100.0
    assert not [m for m in trial.markers if m.planned]


def test_the_best_value_is_that_of_the_configured_metric() -> None:
    best = config.KeepBest(metric="eval/accuracy", mode=config.METRIC_MODE_MAX)
    history = History().requested(config.RuntimeConfiguration(snapshots=config.SnapshotPolicy(keep_best=best)))
    history.running(total_steps=100)
    for step, value in ((10, 0.5), (20, 0.9), (30, float("nan")), (40, 0.7)):
        values = {"eval/accuracy": value}
        history.attempt(1, facts.EvaluationStarted(step=step), facts.EvaluationCompleted(step=step, values=values))
    trial = history.trial()
    assert (trial.best.metric, trial.best.value, trial.best.step) == ("eval/accuracy", 0.9, 20)


# --- time


def test_elapsed_counts_running_time_only() -> None:
    history = History().requested().after(100).running(total_steps=100)
    history.after(30).control(facts.AttemptFenced(attempt=1, last_step=5), facts.TrialStopped(attempt=1))
    history.after(1_000)
    assert history.trial().elapsed.seconds == 30
    history.control(facts.TrialResumeRequested()).after(50).running(2).after(12)
    assert history.trial().elapsed.seconds == 42


def test_the_step_of_a_snapshot_is_no_work_of_the_attempt_that_restored_it() -> None:
    history = History().requested().running(total_steps=1_000)
    history.after(1.0).batch(0)
    for step in range(410, 510, 10):
        history.after(1.0).batch(step)
    trial = history.trial()
    assert trial.throughput.steps_per_second == pytest.approx(10)
    assert trial.estimate.remaining.seconds == pytest.approx(50, abs=2)


def test_a_trial_that_has_ended_shows_how_fast_it_was_by_its_own_clock() -> None:
    """Also where its record was sent all at once, long after."""
    history = History().requested().running(total_steps=100)
    for step in range(0, 101, 10):
        history.after(1.0).batch(step)
    assert history.trial().throughput.steps_per_second == pytest.approx(10)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=100))
    trial = history.after(1_000).control(facts.TrialCompleted(last_step=100)).trial()
    assert trial.status == api.TRIAL_STATUS_COMPLETED
    assert trial.throughput.steps_per_second == pytest.approx(10)
    assert not trial.HasField("estimate")


def test_an_estimate_comes_when_warm_and_goes_when_stalled() -> None:
    history = History().requested().running(total_steps=1_000)
    assert not history.trial().HasField("estimate")
    for step in range(10, 110, 10):
        history.after(1.0).batch(step)
    trial = history.trial()
    assert trial.estimate.remaining.seconds == pytest.approx(90, abs=2)
    assert (
        trial.estimate.remaining_low.seconds
        <= trial.estimate.remaining.seconds
        <= trial.estimate.remaining_high.seconds
    )
    assert trial.throughput.steps_per_second == pytest.approx(10)
    history.after(200)
    trial = history.trial()
    assert not trial.HasField("estimate")
    assert "no progress for 3 m 20 s" in trial.hints


def test_clocks_that_differ_by_an_hour_do_not_shift_the_estimate() -> None:
    for ahead in (-3_600.0, 3_600.0):
        history = History(clock_ahead=ahead).requested().running(total_steps=1_000)
        for step in range(10, 110, 10):
            history.after(1.0).batch(step)
        assert history.trial().estimate.remaining.seconds == pytest.approx(90, abs=2)


def test_a_trial_that_is_stopping_has_no_estimate() -> None:
    history = History().requested().running(total_steps=1_000)
    for step in range(10, 110, 10):
        history.after(1.0).batch(step)
    history.control(facts.TrialStopRequested(mode=common.STOP_MODE_GRACEFUL))
    assert not history.trial().HasField("estimate")


def searched(trials: int, at_a_time: int) -> History:
    search = config.Search(max_concurrent_trials=at_a_time)
    return History().requested(config.RuntimeConfiguration(search=search), trials=trials)


def completed(history: History, number: int, seconds: float) -> None:
    history.running(trial=number, total_steps=100).after(seconds)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=100), trial=number)
    history.control(facts.TrialCompleted(attempt=1, last_step=100), trial=number)


def rest_of(history: History) -> float | None:
    rest = estimate_runtime(history.views, history.views.runtimes[RUNTIME], history.nanoseconds)
    return None if rest is None else rest.seconds


def test_the_time_of_a_search_is_not_known_before_one_of_its_trials_is() -> None:
    history = searched(trials=3, at_a_time=1)
    assert rest_of(history) is None
    history.running(trial=1, total_steps=100).after(5)
    assert rest_of(history) is None


def test_trials_that_wait_or_have_just_begun_will_take_as_long_as_the_others_did() -> None:
    history = searched(trials=4, at_a_time=2)
    completed(history, 1, 100.0)
    # Three of 100 s that wait, two at a time.
    assert rest_of(history) == 200.0
    history.running(trial=2, total_steps=100).after(30)
    assert rest_of(history) == 170.0
    history.running(trial=3, total_steps=100)
    assert rest_of(history) == 170.0
    # What takes longer than the others did is near its end, as far as anybody knows.
    history.after(200)
    assert rest_of(history) == 100.0


def test_the_time_of_a_search_is_not_known_while_one_of_its_trials_stands_still_or_stops() -> None:
    history = searched(trials=2, at_a_time=2)
    completed(history, 1, 100.0)
    history.running(trial=2, total_steps=100)
    history.batch(1, trial=2)
    assert rest_of(history) == 100.0
    history.after(3_600)
    assert rest_of(history) is None


def pruned(history: History, number: int, seconds: float) -> None:
    history.runtime(runtime_facts.TrialSuggested(trial=number, sampler="tpe"))
    history.control(facts.TrialCreated(runtime_id=RUNTIME, trial=number), trial=number)
    history.running(trial=number, total_steps=100).after(seconds)
    reached = runtime_facts.RungReached(trial=number, rung=1, step=10, value=2.0)
    history.runtime(reached, runtime_facts.TrialPruned(trial=number, rung=1, step=10, value=2.0, cut_off=0.5, rank=2))
    history.control(facts.TrialStopRequested(pruned=True), trial=number)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_STOPPED), trial=number)
    history.control(facts.TrialStopped(attempt=1, pruned=True), trial=number)


def test_trials_to_come_last_as_long_as_those_that_were_pruned_or_completed() -> None:
    search = config.Search(kind=config.SEARCH_KIND_TPE, max_trials=14, max_concurrent_trials=1)
    search.objective.metric = "train/loss"
    history = History().requested(config.RuntimeConfiguration(search=search), trials=0)
    history.runtime(runtime_facts.TrialSuggested(trial=1, sampler="tpe"))
    history.control(facts.TrialCreated(runtime_id=RUNTIME, trial=1), trial=1)
    completed(history, 1, 100.0)
    assert rest_of(history) == 1_300.0
    for number in (2, 3, 4):
        pruned(history, number, 20.0)
    # One in four takes 100 s, the others 20: 40 s in the mean, and ten are to come.
    assert rest_of(history) == pytest.approx(400.0)
    rest = estimate_runtime(history.views, history.views.runtimes[RUNTIME], history.nanoseconds)
    assert rest is not None and rest.low < 340 and rest.high > 460, "few trials are known, and they differ much"


def test_a_search_has_no_time_left_when_all_of_it_is_done() -> None:
    history = searched(trials=1, at_a_time=1)
    completed(history, 1, 100.0)
    assert rest_of(history) is None


def test_a_trial_says_how_a_sampler_chose_it_and_what_it_came_to() -> None:
    search = config.Search(kind=config.SEARCH_KIND_TPE, max_trials=3, max_concurrent_trials=1)
    search.objective.metric = "train/loss"
    history = History().requested(config.RuntimeConfiguration(search=search), trials=0)
    for number in (1, 2):
        chosen = runtime_facts.TrialSuggested(trial=number, sampler="tpe", because="0 values known")
        created = facts.TrialCreated(runtime_id=RUNTIME, trial=number)
        history.runtime(chosen).control(created, trial=number)
    assert history.trial().suggestion == api.Suggestion(sampler="tpe", because="0 values known", metric="train/loss")
    value = runtime_facts.OBJECTIVE_OUTCOME_VALUE
    history.runtime(runtime_facts.ObjectiveReported(trial=1, outcome=value, value=0.5, best=True))
    assert history.trial(1).suggestion.best
    changed = history.event(
        "events.rt-test.runtime", runtime_facts.ObjectiveReported(trial=2, outcome=value, value=0.25, best=True)
    )
    assert {key.trial for key in changed} == {1, 2}, "the first one is the best no longer"
    assert [history.trial(n).suggestion.best for n in (1, 2)] == [False, True]
    assert history.trial(2).best == api.BestValue(metric="train/loss", value=0.25)
    completed(history, 1, 100.0)
    completed(history, 2, 100.0)
    assert rest_of(history) == 100.0, "one is still to be chosen"
    history.runtime(runtime_facts.TrialSuggested(trial=3, sampler="tpe"))
    history.control(facts.TrialCreated(runtime_id=RUNTIME, trial=3), trial=3).running(trial=3)
    pruned = runtime_facts.TrialPruned(trial=3, rung=1, step=10, value=2.0, cut_off=0.5, rank=3, reached_count=3)
    history.runtime(runtime_facts.RungReached(trial=3, rung=1, step=10, value=2.0), pruned)
    history.control(facts.TrialStopRequested(pruned=True), trial=3)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_STOPPED), trial=3)
    history.control(facts.TrialStopped(attempt=1, pruned=True), trial=3)
    shown = history.trial(3)
    assert (shown.status, shown.waiting_reason) == (api.TRIAL_STATUS_WAITING, api.WAITING_REASON_PRUNED)
    assert (shown.suggestion.outcome, shown.suggestion.rung) == (runtime_facts.OBJECTIVE_OUTCOME_PRUNED, 1)
    assert shown.suggestion.detail == "at rung 1, step 10: 2, the cut-off is 0.5, place 3 of 3"
    history.runtime(runtime_facts.SearchEnded(reason=runtime_facts.SEARCH_END_REASON_TARGET))
    assert rest_of(history) is None


def test_each_place_of_a_population_takes_as_long_as_a_whole_trial() -> None:
    search = config.Search(kind=config.SEARCH_KIND_QMC, max_trials=9, max_concurrent_trials=1)
    search.objective.metric = "train/loss"
    search.pruner.kind, search.pruner.population_size = config.PRUNER_KIND_PBT, 3
    history = History().requested(config.RuntimeConfiguration(search=search), trials=0)
    for number in (1, 2):
        history.runtime(runtime_facts.TrialSuggested(trial=number, sampler="qmc"))
        history.control(facts.TrialCreated(runtime_id=RUNTIME, trial=number, rung_steps=25), trial=number)
    completed(history, 1, 100.0)
    assert rest_of(history) == 200.0, "one waits and one is to come"
    history.running(trial=2, total_steps=100)
    pruned = runtime_facts.TrialPruned(trial=2, rung=1, step=25, value=2.0, cut_off=0.5, rank=2, reached_count=2)
    reached = runtime_facts.RungReached(trial=2, rung=1, step=25, value=2.0)
    suggested = runtime_facts.TrialSuggested(trial=3, sampler="pbt", because="trial 1 is number 1 of 2")
    promoted = runtime_facts.TrialPromoted(donor=1, child=3, replaced=2, rung=1, step=25, snapshot_id="s")
    history.runtime(reached, pruned, suggested, promoted)
    history.control(facts.TrialStopRequested(pruned=True), trial=2)
    origin = common.SnapshotOrigin(runtime_id=RUNTIME, trial=1, snapshot_id="s", step=25)
    history.control(facts.TrialCreated(runtime_id=RUNTIME, trial=3, origin=origin, rung_steps=25), trial=3)
    history.attempt(1, facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_STOPPED), trial=2)
    history.control(facts.TrialStopped(attempt=1, pruned=True), trial=2)
    assert rest_of(history) == pytest.approx(175.0), "three quarters of the child, and a member"
    shown = history.trial(3).suggestion
    assert (shown.sampler, shown.donor, shown.donor_step, shown.replaced, shown.rung) == ("pbt", 1, 25, 2, 1)
    completed(history, 3, 75.0)
    assert rest_of(history) == pytest.approx(100.0), "a whole one takes as long as if nobody had begun later"


def test_trials_of_several_objectives_are_the_best_until_another_surpasses_them() -> None:
    search = config.Search(kind=config.SEARCH_KIND_NSGA2, max_trials=3)
    search.objectives.add(metric="eval/loss")
    search.objectives.add(metric="gb")
    history = History().requested(config.RuntimeConfiguration(search=search), trials=0)
    told = {1: (0.5, 3.0), 2: (0.25, 4.0), 3: (0.25, 3.0)}
    surpassed = {1: [], 2: [], 3: [1, 2]}
    changed: set[int] = set()
    for number, values in told.items():
        history.runtime(runtime_facts.TrialSuggested(trial=number, sampler="nsga2"))
        history.control(facts.TrialCreated(runtime_id=RUNTIME, trial=number), trial=number)
        report = runtime_facts.ObjectiveReported(
            trial=number,
            outcome=runtime_facts.OBJECTIVE_OUTCOME_VALUE,
            values=[
                runtime_facts.MeasuredValue(metric=m, value=v) for m, v in zip(("eval/loss", "gb"), values, strict=True)
            ],
            constraints=[runtime_facts.MeasuredConstraint(metric="gb", value=values[1], violation=values[1] - 5)],
            best=True,
            surpassed=surpassed[number],
        )
        changed = {key.trial for key in history.event("events.rt-test.runtime", report)}
        if number == 2:
            assert [history.trial(n).suggestion.best for n in (1, 2)] == [True, True]
    assert changed == {1, 2, 3}
    shown = [history.trial(n).suggestion for n in told]
    assert [one.best for one in shown] == [False, False, True]
    assert [(one.metric, one.value) for one in shown[0].values] == [("eval/loss", 0.5), ("gb", 3.0)]
    assert shown[1].constraints[0].violation == -1 and not shown[1].infeasible and not shown[1].HasField("value")


def test_estimates_are_kept_with_the_step_at_which_they_were_given() -> None:
    history = History().requested().running(total_steps=1_000)
    for step in range(5, 1_005, 5):
        history.after(0.5).batch(step)
    estimates = history.view().estimates
    assert 90 <= len(estimates) <= 101
    assert all(b.step - a.step >= 10 for a, b in pairwise(estimates))
    ended = history.nanoseconds
    assert all(abs(ended - e.finish) < 2e9 for e in estimates)


# --- instances and hints


def test_instances_of_the_current_attempt_are_shown_with_their_health() -> None:
    history = History().requested().running()
    history.attempt(1, facts.InstanceStarted(rank=0, host="a", process_id=42, devices=["cpu"]))
    history.attempt(1, facts.InstanceReadinessChanged(rank=0, ready=True))
    history.control(facts.InstanceHealthChanged(attempt=1, rank=0, health=common.HEALTH_UNHEALTHY, reason="silent"))
    trial = history.after(65).trial()
    assert (trial.instances[0].host, trial.instances[0].ready) == ("a", True)
    assert trial.instances[0].health == common.HEALTH_UNHEALTHY
    assert "no contact with instance 0 for 1 m 5 s" in trial.hints


def test_an_alert_is_a_hint_until_a_resume_goes_back_before_it() -> None:
    history = History().requested().running()
    snapshot = committed(3_000)
    alert = facts.AlertRaised(kind=facts.ALERT_KIND_NON_FINITE, series="train/loss", step=3_210)
    alert.message = "train/loss is NaN since step 3,210"
    history.attempt(1, snapshot, alert)
    assert alert.message in history.trial().hints
    history.control(facts.AttemptFenced(attempt=1, last_step=3_300), facts.RetryScheduled(attempt=1))
    assert alert.message not in history.running(2, snapshot).trial().hints


def test_dropped_telemetry_is_named() -> None:
    history = History().requested().running()
    history.attempt(1, facts.TelemetryDropped(kind="steps", batch_count=2, item_count=4_096))
    assert "4,096 points dropped by the sender" in history.trial().hints


def test_a_brief_trial_has_no_markers_and_no_instances() -> None:
    history = History().requested().running(total_steps=100, eval_every_steps=10)
    history.attempt(1, facts.InstanceStarted(rank=0))
    trial = history.trial(brief=True)
    assert not trial.markers
    assert not trial.instances
    assert trial.progress.total_steps == 100


def test_folding_the_same_history_again_gives_the_same_trial() -> None:
    def fold() -> bytes:
        history = History().requested().running(total_steps=100, eval_every_steps=10)
        for step in range(1, 60):
            history.after(0.5).batch(step)
        history.attempt(1, committed(50))
        return history.trial().SerializeToString(deterministic=True)

    assert fold() == fold()


def test_the_order_in_which_the_two_streams_are_read_does_not_matter() -> None:
    def fold(telemetry_first: bool) -> bytes:
        history = History().requested().control(facts.AttemptLaunched(attempt=1))
        if telemetry_first:
            history.batch(20)
            history.attempt(1, facts.AttemptStarted(), facts.PlanDeclared(total_steps=100))
        else:
            history.attempt(1, facts.AttemptStarted(), facts.PlanDeclared(total_steps=100))
            history.batch(20)
        return history.trial().SerializeToString(deterministic=True)

    assert fold(True) == fold(False)


def test_changes_are_taken_a_few_at_a_time_and_each_once() -> None:
    changes = Changes({"a", "b"}, {Key("a", 1), Key("b", 1)}, {Key("a", 1)})
    taken = [changes.take(2) for _ in range(3)]
    assert [part.count for part in taken] == [2, 2, 1]
    assert changes.count == 0
    assert set().union(*(part.trials for part in taken)) == {Key("a", 1), Key("b", 1)}
    assert set().union(*(part.runtimes for part in taken)) == {"a", "b"}


def test_deleting_a_runtime_hides_its_trials_and_keeps_them() -> None:
    history = History().requested().runtime(runtime_facts.DeleteRequested())
    assert history.views.runtimes["rt-test"].deleted
    assert history.trial().trial == 1

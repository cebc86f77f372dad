"""What each rule finds in a run, and what it makes of resumes, gaps, late messages and time."""

from __future__ import annotations

import pytest

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from services.rules.detectors import choosing
from services.rules.evaluation.fold import LINGER_MS, Evaluation
from tests.unit.rules.given import NAN, START_MS, Run, apply, ends, fired, played, rule, steps

ABOVE, BELOW = rules.COMPARISON_ABOVE, rules.COMPARISON_BELOW
RECOVERED, SUPERSEDED, ENDED = (
    facts.CLEAR_REASON_RECOVERED,
    facts.CLEAR_REASON_SUPERSEDED,
    facts.CLEAR_REASON_ENDED,
)
ABOVE_5 = rule(threshold=rules.Threshold(series="train/loss", comparison=ABOVE, value=5.0))


def running() -> Run:
    return Run().requested().begins()


def test_every_detector_is_evaluated() -> None:
    members = {field.name for field in rules.Detector.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(choosing.SERIES) | choosing.OTHERS == members


def test_a_threshold_fires_when_it_is_passed_and_ends_when_it_is_not() -> None:
    found = played(running().logs([1, 6, 7, 2, 8]), ABOVE_5)
    assert steps(found) == [2, 5]
    assert ends(found) == [(4, RECOVERED)]
    first = next(fired(found))
    assert (first.value, first.threshold, first.trial, first.attempt, first.subject) == (6, 5, 1, 1, "train/loss")
    assert first.message == "train/loss is 6, above 5, at step 2"
    assert first.watching_only


def test_values_that_are_not_finite_are_passed_over_by_all_but_one() -> None:
    run = running().logs([1, NAN, float("inf"), 6])
    assert steps(played(run, ABOVE_5)) == [4]
    assert steps(played(run, rule(not_finite=rules.NotFinite()))) == [2]
    assert steps(played(run, rule(not_finite=rules.NotFinite(series="eval/loss")))) == []


def test_a_condition_must_hold_for_as_long_as_the_rule_says() -> None:
    held = rule(hold_seconds=3, threshold=rules.Threshold(series="train/loss", comparison=ABOVE, value=5.0))
    found = played(running().logs([6, 6, 1, 6, 6, 6, 6, 6]), held)
    assert steps(found) == [7]
    assert next(fired(found)).onset_step == 4


def test_a_rule_is_silent_once_it_has_fired_as_often_as_it_may() -> None:
    run = running().logs([1, 9] * 20)
    assert steps(played(run, rule(max_firings=3, threshold=ABOVE_5.rule.detector.threshold))) == [2, 4, 6]


def test_a_change_is_far_from_the_median_before_it() -> None:
    quiet = [1.0 + 0.01 * (index % 3) for index in range(60)]
    found = played(running().logs([*quiet, 9.0, 1.0, 0.1]), rule(change=rules.Change(series="train/loss")))
    assert steps(found) == [61, 63]
    up = rules.Change(series="train/loss", direction=rules.DIRECTION_UP)
    assert steps(played(running().logs([*quiet, 9.0, 1.0, 0.1]), rule(change=up))) == [61]


def test_a_new_level_is_taken_over_in_the_end() -> None:
    run = running().logs([1.0, 1.1] * 20 + [9.0, 9.1] * 40)
    found = played(run, rule(change=rules.Change(series="train/loss", window=20)))
    assert steps(found) == [41]
    assert len(ends(found)) == 1


def test_a_baseline_is_compared_at_the_same_step() -> None:
    baseline = rules.Baseline(series="train/loss", trial="runtimes/rt-2/trials/1", tolerance=0.1)
    made = rule(baseline=baseline)
    made.rule.detector.baseline.steps.extend([10, 20])
    made.rule.detector.baseline.values.extend([5.0, 1.0])
    found = played(running().logs([9.0] * 9 + [5.4] * 10 + [1.05, 1.2]), made)
    assert steps(found) == [21]


def test_a_plateau_is_no_better_value_for_a_number_of_points() -> None:
    plateau = rules.Plateau(series="train/loss", window=5, min_improvement=0.01)
    found = played(running().logs([5, 4, 3, 3, 3, 2.99, 3, 3, 3, 2]), rule(plateau=plateau))
    assert steps(found) == [8]
    assert ends(found) == [(10, RECOVERED)]


def test_gradients_explode_and_vanish() -> None:
    key = "train/grad_norm"
    found = played(running().logs([1.0] * 20 + [50.0], key=key), rule(exploding_gradient=rules.ExplodingGradient()))
    assert steps(found) == [21]
    vanishing = rule(vanishing_gradient=rules.VanishingGradient(points=3))
    assert steps(played(running().logs([1.0, 0, 0, 1.0, 0, 0, 0], key=key), vanishing)) == [7]


def test_throughput_gpus_and_disks_have_their_series() -> None:
    pace = running().logs([10.0] * 10 + [4.0], key="system/steps_per_second")
    assert steps(played(pace, rule(throughput_drop=rules.ThroughputDrop()))) == [11]
    idle = rule(hold_seconds=2, gpu_idle=rules.GpuIdle())
    busy_and_idle = (
        running().logs([90, 3, 3, 3], key="system/gpu_0_percent").logs([3, 3, 3], key="system/rank_1/gpu_7_percent")
    )
    assert [(fact.subject, fact.step) for fact in fired(played(busy_and_idle, idle))] == [
        ("system/gpu_0_percent", 4),
        ("system/rank_1/gpu_7_percent", 3),
    ]
    disk = rule(disk_filling=rules.DiskFilling())
    full = running().logs([80, 95], key="system/disk_used_percent")
    full.own(trial_facts.TelemetryDropped(attempt=1, kind="steps", item_count=7))
    assert [fact.subject for fact in fired(played(full, disk))] == ["system/disk_used_percent", "spool"]


def test_silence_is_told_by_time_alone_and_ends_with_the_next_step() -> None:
    silence = rule(silence=rules.Silence(factor=5, min_seconds=10))
    run = running().logs([1.0] * 10, chunk=1)
    assert steps(played(run, silence, until=run.seconds + 9)) == []
    found = played(run, silence, until=run.seconds + 500)
    assert steps(found) == [10]
    assert next(fired(found)).occur_time.ToMilliseconds() == run.now_ms + 10_000
    run.seconds += 100
    found = played(run.logs([1.0], first_step=11), silence)
    assert (steps(found), ends(found)) == ([10], [(11, RECOVERED)])


def test_an_evaluation_and_an_end_are_no_silence() -> None:
    silence = rule(silence=rules.Silence(factor=5, min_seconds=10))
    run = running().logs([1.0] * 10, chunk=1).own(trial_facts.EvaluationStarted(attempt=1, step=10))
    assert steps(played(run, silence, until=1_000)) == []
    run.seconds += 300
    run.own(trial_facts.EvaluationCompleted(attempt=1, step=10))
    assert steps(played(run, silence, until=run.seconds + 9)) == []
    run.own(trial_facts.AttemptEnded(attempt=1, outcome=trial_facts.ATTEMPT_OUTCOME_COMPLETED))
    assert steps(played(run, silence, until=10_000)) == []


def test_lines_are_searched_once_each() -> None:
    cuda = rule(log_pattern=rules.LogPattern(pattern=r"CUDA (out of memory|error)"))
    run = (
        running().says("fine", "CUDA out of memory", "CUDA error").says("again", number=1).says("CUDA error", number=1)
    )
    found = list(fired(played(run, cuda)))
    assert [fact.message for fact in found] == ["the log says: CUDA out of memory", "the log says: CUDA error"]
    assert all(fact.momentary for fact in found)


def test_events_states_and_retries_are_found() -> None:
    run = running().begins(attempt=2).begins(attempt=3)
    fenced = rule(event=rules.EventSeen(type="milepost.trial.attempt_fenced.v1"))
    assert [fact.attempt for fact in fired(played(run, fenced))] == [1, 2]
    (retried,) = fired(played(run, rule(retries=rules.Retries(count=2))))
    assert retried.message == "retry 2 of the trial"
    run.of_runtime(runtime_facts.RuntimeFailed(detail="signal 9"))
    (failed,) = fired(played(run, rule(state=rules.StateEntered(states=["Failed"]))))
    assert (failed.subject, failed.trial, failed.momentary) == ("Failed", 0, True)


def test_a_state_with_a_hold_time_fires_when_it_has_lasted() -> None:
    waits = rule(hold_seconds=60, state=rules.StateEntered(states=["QUEUED"]))
    run = Run().requested()
    assert list(fired(played(run, waits, until=59))) == []
    (queued,) = fired(played(run, waits, until=600))
    assert (queued.subject, queued.occur_time.ToMilliseconds()) == ("QUEUED", START_MS + 60_000)


def test_an_estimated_end_beyond_a_time_is_found() -> None:
    late = rule(estimated_end=rules.EstimatedEnd(after_seconds=60))
    run = running().own(trial_facts.PlanDeclared(attempt=1, total_steps=50)).logs([1.0] * 20)
    assert steps(played(run, late)) == []
    run.own(trial_facts.PlanDeclared(attempt=1, total_steps=5_000)).logs([1.0], first_step=21)
    assert steps(played(run, late)) == [21]


# --- lineage


def test_a_step_that_is_done_again_fires_once() -> None:
    run = running().logs([1, 1, 1, 9, 9]).begins(attempt=2, restored_step=2).logs([1, 9, 9], first_step=3)
    found = played(run, ABOVE_5)
    assert steps(found) == [4]
    assert ends(found) == [(4, SUPERSEDED)]


def test_a_resume_that_fails_elsewhere_fires_there() -> None:
    run = running().logs([1, 1, 1, 9]).begins(attempt=2, restored_step=2).logs([1, 1, 1, 9], first_step=3)
    assert steps(played(run, ABOVE_5)) == [4, 6]


def test_an_abandoned_stretch_fires_nothing_new() -> None:
    """What an attempt has left in its spool arrives when another one has begun."""
    run = running().logs([1, 1]).begins(attempt=2, restored_step=2)
    run.attempt = 1
    run.logs([9, 9], first_step=3)
    run.attempt = 2
    assert steps(played(run.logs([1, 1, 9], first_step=3), ABOVE_5)) == [5]


def test_points_wait_for_the_event_with_which_their_attempt_began() -> None:
    run = Run().requested().control(trial_facts.AttemptLaunched(attempt=1))
    run.logs([1, 9]).own(trial_facts.AttemptStarted(attempt=1)).logs([1], first_step=3)
    assert steps(played(run, ABOVE_5)) == [2]


def test_a_window_forgets_what_was_abandoned() -> None:
    exploding = rule(exploding_gradient=rules.ExplodingGradient(series="train/loss", factor=3.0, window=8))
    run = running().logs([1.0] * 10 + [2.0] * 8).begins(attempt=2, restored_step=10)
    assert steps(played(run.logs([4.0], first_step=11), exploding)) == []
    run = running().logs([1.0] * 10 + [2.0] * 2).begins(attempt=2, restored_step=10)
    assert steps(played(run.logs([4.0], first_step=11), exploding)) == []


def test_what_is_open_ends_with_its_trial() -> None:
    run = running().logs([9]).own(trial_facts.AttemptEnded(attempt=1, outcome=trial_facts.ATTEMPT_OUTCOME_FAILED))
    run.control(trial_facts.TrialFailed(attempt=1))
    assert ends(played(run, ABOVE_5)) == [(1, ENDED)]
    # What was still on its way.
    late = rule(threshold=rules.Threshold(series="eval/loss", comparison=ABOVE, value=5.0))
    found = played(run.logs([9], key="eval/loss"), late)
    assert (steps(found), ends(found)) == ([1], [(1, ENDED)])


def test_a_rule_watches_the_runs_that_it_selects() -> None:
    chosen = rule(threshold=ABOVE_5.rule.detector.threshold)
    chosen.rule.selector = "label.team=nlp"
    assert steps(played(running().logs([9]), chosen)) == []
    labelled = Run().requested(labels={"team": "nlp"}).begins().logs([9])
    assert steps(played(labelled, chosen)) == [1]
    declared = running().own(trial_facts.ParametersDeclared(attempt=1, labels={"team": "nlp"})).logs([9])
    assert steps(played(declared, chosen)) == [1]


def test_a_rule_that_is_changed_begins_anew_and_its_firings_end() -> None:
    evaluation = Evaluation()
    run = Run()
    run.event(facts.RuleSet(rule_id="r", revision=1, rule=ABOVE_5.rule), "events.platform.rules")
    run.requested().begins().logs([9])
    run.event(facts.RuleSet(rule_id="r", revision=2, rule=ABOVE_5.rule), "events.platform.rules")
    run.logs([9], first_step=2)
    run.event(facts.RuleDisabled(rule_id="r"), "events.platform.rules")
    run.logs([9], first_step=3)
    found = [occurrence.fact for message in run.what for occurrence in apply(evaluation, message)]
    assert [(fact.step, fact.revision) for fact in fired(found)] == [(1, 1), (2, 2)]
    assert [reason for _, reason in ends(found)] == [facts.CLEAR_REASON_RULE_CHANGED] * 2
    assert len({fact.firing_id for fact in fired(found)}) == 2


@pytest.mark.parametrize("has_fired", [True, False])
def test_a_run_that_is_long_at_rest_is_let_go_of(has_fired: bool) -> None:
    """Only where its rules have fired is kept, so that they do not fire there again."""
    evaluation = Evaluation()
    evaluation.set_rule(ABOVE_5)
    run = running().logs([9 if has_fired else 1])
    run.own(trial_facts.AttemptEnded(attempt=1, outcome=trial_facts.ATTEMPT_OUTCOME_COMPLETED))
    run.control(trial_facts.TrialCompleted(attempt=1)).of_runtime(runtime_facts.RuntimeCompleted())
    for message in run.what:
        apply(evaluation, message)
    assert evaluation.advance(run.now_ms + LINGER_MS) == []
    assert evaluation.knows("rt-1")
    evaluation.advance(run.now_ms + LINGER_MS + 1)
    assert evaluation.knows("rt-1") == has_fired

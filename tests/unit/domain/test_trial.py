"""What the decider of trials decides, for both of its writers."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import sentences, stalls, trial
from milepost.domain.decider import Fact
from milepost.domain.trial import (
    Active,
    Completed,
    Failed,
    Queued,
    Record,
    Retrying,
    Segment,
    StaleAttempt,
    Stopped,
    commands,
)
from milepost.errors import FailedPrecondition, NotFound
from milepost.eventlog import codec
from tests.unit.domain.given import Given, at, given_trial, names, of_attempt, stamp

CREATED = facts.TrialCreated(runtime_id="rt-1", trial=1)
STOP_ABRUPTLY = trial.StopTrial(common.STOP_MODE_ABRUPT, at(0))
STOP_GRACEFULLY = trial.StopTrial(common.STOP_MODE_GRACEFUL, at(300))


def launched(attempt: int = 1, snapshot: str = "", step: int = 0) -> facts.AttemptLaunched:
    return facts.AttemptLaunched(attempt=attempt, snapshot_id=snapshot, snapshot_step=step)


def started(attempt: int = 1, snapshot: str = "", step: int = 0) -> Fact:
    return of_attempt(facts.AttemptStarted(attempt=attempt, restored_snapshot_id=snapshot, restored_step=step))


def committed(step: int, attempt: int = 1) -> Fact:
    return of_attempt(
        facts.SnapshotCommitted(attempt=attempt, snapshot_id=f"s{step}", step=step, uri=f"file:///s{step}")
    )


def ended(outcome: facts.AttemptOutcome, attempt: int = 1, step: int = 10) -> Fact:
    cause = common.EXIT_CAUSE_EXCEPTION if outcome == facts.ATTEMPT_OUTCOME_FAILED else common.EXIT_CAUSE_FINISHED
    return of_attempt(facts.AttemptEnded(attempt=attempt, outcome=outcome, cause=cause, last_step=step))


def fenced(attempt: int = 1) -> facts.AttemptFenced:
    return facts.AttemptFenced(attempt=attempt, reason=facts.FENCE_REASON_LOST, cause=common.EXIT_CAUSE_LOST)


def running(*more: Message | Fact) -> Given:
    return given_trial(CREATED, launched(), started(), *more)


def test_a_created_trial_waits_to_be_launched() -> None:
    chain = given_trial()
    assert names(chain.when(trial.CreateTrial("rt-1", 1, {}, {}))) == ["TrialCreated"]
    assert chain.state.situation == Queued(facts.LAUNCH_REASON_FIRST)
    assert chain.when(trial.CreateTrial("rt-1", 1, {}, {})) == []


def test_an_attempt_is_launched_once_and_in_order() -> None:
    chain = given_trial(CREATED)
    assert names(chain.when(trial.LaunchAttempt(1, None))) == ["AttemptLaunched"]
    assert chain.when(trial.LaunchAttempt(1, None)) == []
    with pytest.raises(FailedPrecondition):
        chain.when(trial.LaunchAttempt(2, None))
    with pytest.raises(FailedPrecondition):
        given_trial(CREATED).when(trial.LaunchAttempt(2, None))


def test_no_second_attempt_is_launched_while_one_is_not_concluded() -> None:
    for happened in ([], [fenced()], [ended(facts.ATTEMPT_OUTCOME_FAILED)]):
        with pytest.raises(FailedPrecondition):
            running(*happened).when(trial.LaunchAttempt(2, None))


def test_the_current_attempt_may_record_and_no_other() -> None:
    chain = running()
    assert names(chain.when(Record(1, facts.EpochCompleted(attempt=1, epoch=0, step=5)))) == ["EpochCompleted"]
    with pytest.raises(StaleAttempt):
        chain.when(Record(2, facts.EpochCompleted(attempt=2, epoch=0, step=5)))


@pytest.mark.parametrize("over", [fenced(), ended(facts.ATTEMPT_OUTCOME_COMPLETED)])
def test_an_attempt_that_is_fenced_or_has_ended_may_write_nothing(over: Message | Fact) -> None:
    with pytest.raises(StaleAttempt):
        running(over).when(Record(1, facts.EpochCompleted(attempt=1, epoch=0, step=5)))


def test_an_attempt_may_write_only_its_own_facts_about_itself() -> None:
    with pytest.raises(FailedPrecondition, match="may not write"):
        running().when(Record(1, facts.TrialCompleted(attempt=1)))
    with pytest.raises(FailedPrecondition, match="names attempt"):
        running().when(Record(1, facts.EpochCompleted(attempt=7, step=1)))


def test_nothing_is_recorded_before_the_attempt_has_started() -> None:
    with pytest.raises(FailedPrecondition, match="has not started"):
        given_trial(CREATED, launched()).when(Record(1, facts.EpochCompleted(attempt=1, step=1)))


def test_an_attempt_starts_only_from_a_committed_snapshot() -> None:
    chain = running(committed(5), fenced(), facts.RetryScheduled(attempt=1, retry=1), launched(2, "s5", 5))
    with pytest.raises(FailedPrecondition, match="not a committed snapshot"):
        chain.when(Record(2, facts.AttemptStarted(attempt=2, restored_snapshot_id="s9", restored_step=9)))
    assert chain.when(Record(2, facts.AttemptStarted(attempt=2, restored_snapshot_id="s5", restored_step=5)))


def test_what_a_zombie_wrote_past_the_check_changes_nothing() -> None:
    chain = running(committed(5), fenced(), committed(9), ended(facts.ATTEMPT_OUTCOME_COMPLETED))
    assert [record.step for record in chain.state.snapshots] == [5]
    assert isinstance(chain.state.situation, Active)
    assert chain.state.situation.ending is None
    assert chain.state.ignored == 2


def test_a_forged_fact_of_the_service_on_the_subject_of_an_attempt_changes_nothing() -> None:
    chain = running(Fact(facts.TrialCompleted(attempt=1, last_step=3), attempt=1))
    assert isinstance(chain.state.situation, Active)
    assert chain.state.ignored == 1


def test_a_fence_for_another_attempt_changes_nothing() -> None:
    assert running(fenced(7)).state.active == running().state.active


def test_fencing_twice_decides_nothing() -> None:
    fence = trial.FenceAttempt(1, facts.FENCE_REASON_LOST, common.EXIT_CAUSE_LOST, "silent")
    chain = running()
    assert names(chain.when(fence)) == ["AttemptFenced"]
    assert chain.when(fence) == []


def test_a_running_attempt_is_not_concluded() -> None:
    for command in (
        trial.ScheduleRetry(1, 2, at(5), common.EXIT_CAUSE_SIGNAL, ""),
        trial.CompleteTrial(1),
        trial.FailTrial(1, common.FAILURE_REASON_CRASHED, ""),
        trial.MarkStopped(""),
    ):
        with pytest.raises(FailedPrecondition, match="still runs"):
            running().when(command)


def test_only_an_attempt_that_completed_completes_its_trial() -> None:
    with pytest.raises(FailedPrecondition, match="did not complete"):
        running(ended(facts.ATTEMPT_OUTCOME_FAILED)).when(trial.CompleteTrial(1))
    chain = running(ended(facts.ATTEMPT_OUTCOME_COMPLETED, step=40))
    chain.when(trial.CompleteTrial(1))
    assert chain.state.situation == Completed(40)
    assert chain.when(trial.CompleteTrial(1)) == []


def test_retries_count_up_to_the_next_resume() -> None:
    retry = trial.ScheduleRetry(1, 2, at(5), common.EXIT_CAUSE_SIGNAL, "signal 9")
    chain = running(fenced())
    chain.when(retry)
    assert chain.state.situation == Retrying(1, at(5), common.EXIT_CAUSE_SIGNAL, "signal 9")
    assert chain.when(retry) == []
    decided = chain.when(trial.LaunchAttempt(2, None))
    assert decided[0].reason == facts.LAUNCH_REASON_RETRY  # type: ignore[attr-defined]
    chain.when(
        trial.FenceAttempt(2, facts.FENCE_REASON_EXITED, common.EXIT_CAUSE_SIGNAL, ""),
        trial.FailTrial(2, common.FAILURE_REASON_CRASHED, "again"),
        trial.ResumeTrial(),
    )
    assert chain.state.retries == 0
    assert chain.state.situation == Queued(facts.LAUNCH_REASON_RESUME)


def test_a_waiting_trial_is_stopped_at_once() -> None:
    retrying = running(fenced(), facts.RetryScheduled(attempt=1, retry=1, not_before_time=stamp(5)))
    for chain in (given_trial(CREATED), retrying):
        assert names(chain.when(STOP_GRACEFULLY)) == ["TrialStopRequested", "TrialStopped"]
        assert isinstance(chain.state.situation, Stopped)
        assert chain.when(STOP_GRACEFULLY) == []


def test_a_stop_of_a_running_trial_is_an_order_and_an_abrupt_one_overtakes() -> None:
    chain = running()
    assert names(chain.when(STOP_GRACEFULLY)) == ["TrialStopRequested"]
    assert chain.when(STOP_GRACEFULLY) == []
    assert names(chain.when(STOP_ABRUPTLY)) == ["TrialStopRequested"]
    assert chain.when(STOP_GRACEFULLY, STOP_ABRUPTLY) == []


def test_a_stop_reaches_an_attempt_that_has_crashed_and_is_not_concluded() -> None:
    chain = running(ended(facts.ATTEMPT_OUTCOME_FAILED))
    assert names(chain.when(STOP_GRACEFULLY)) == ["TrialStopRequested"]
    assert chain.state.active is not None
    assert chain.state.active.stop is not None


def test_an_ended_trial_cannot_be_stopped() -> None:
    for end in (trial.CompleteTrial(1), trial.FailTrial(1, common.FAILURE_REASON_CRASHED, "")):
        chain = running(ended(facts.ATTEMPT_OUTCOME_COMPLETED))
        chain.when(end)
        with pytest.raises(FailedPrecondition):
            chain.when(STOP_GRACEFULLY)


def test_a_stopped_trial_says_how_many_steps_will_be_done_again() -> None:
    chain = running(
        committed(20),
        of_attempt(facts.EvaluationStarted(attempt=1, step=30)),
        facts.TrialStopRequested(mode=common.STOP_MODE_ABRUPT),
    )
    chain.when(trial.FenceAttempt(1, facts.FENCE_REASON_ABRUPT_STOP, common.EXIT_CAUSE_KILLED, "", last_step=37))
    decided = chain.when(trial.MarkStopped("enough"))
    assert decided == [facts.TrialStopped(attempt=1, reason="enough", lost_steps=17)]
    assert isinstance(chain.state.situation, Stopped)


def test_resume_refuses_unknown_and_superseded_snapshots() -> None:
    happened: list[Message | Fact] = [
        committed(5),
        committed(9),
        fenced(),
        facts.RetryScheduled(attempt=1, retry=1),
        launched(2, "s5", 5),
        started(2, "s5", 5),
        ended(facts.ATTEMPT_OUTCOME_STOPPED, 2),
        facts.TrialStopped(attempt=2),
    ]
    chain = running(*happened)
    with pytest.raises(NotFound):
        chain.when(trial.ResumeTrial("s7"))
    with pytest.raises(FailedPrecondition, match="superseded"):
        chain.when(trial.ResumeTrial("s9"))
    assert names(chain.when(trial.ResumeTrial("s5"))) == ["TrialResumeRequested"]
    assert chain.when(trial.ResumeTrial("s5")) == []


def test_a_stopping_trial_is_not_resumed_and_a_completed_one_only_for_longer() -> None:
    with pytest.raises(FailedPrecondition, match="stopping"):
        running(facts.TrialStopRequested()).when(trial.ResumeTrial())
    chain = running(ended(facts.ATTEMPT_OUTCOME_COMPLETED), facts.TrialCompleted(attempt=1, last_step=10))
    with pytest.raises(FailedPrecondition, match="larger total"):
        chain.when(trial.ResumeTrial())
    assert chain.when(trial.ResumeTrial(extends=True))


def test_the_lineage_is_cut_where_an_attempt_goes_on() -> None:
    chain = running(
        committed(100),
        committed(200),
        fenced(),
        facts.RetryScheduled(attempt=1, retry=1),
        launched(2, "s100", 100),
        started(2, "s100", 100),
    )
    assert chain.state.lineage == (Segment(1, 1, 100), Segment(2, 101, None))
    assert [(s.step, s.superseded) for s in chain.state.snapshots] == [(100, False), (200, True)]
    assert [s.step for s in trial.restorable_snapshots(chain.state)] == [100]
    assert trial.owner_of(chain.state.lineage, 100) == 1
    assert trial.owner_of(chain.state.lineage, 101) == 2
    assert trial.owner_of((), 1) is None


def test_an_attempt_that_appends_takes_no_step_from_anybody() -> None:
    chain = running(
        committed(100), ended(facts.ATTEMPT_OUTCOME_COMPLETED), facts.TrialCompleted(attempt=1, last_step=100)
    )
    chain.when(trial.ResumeTrial(extends=True), trial.LaunchAttempt(2, None, appends=True))
    chain.when(trial.Record(2, facts.AttemptStarted(attempt=2, restored_step=10)))
    assert chain.state.lineage == (Segment(1, 1, None),)
    assert [(s.step, s.superseded) for s in chain.state.snapshots] == [(100, False)]
    assert names(chain.when(trial.Record(2, facts.EvaluationStarted(attempt=2, step=5)))) == ["EvaluationStarted"]


def test_the_first_attempt_that_starts_has_all_steps_though_it_appends() -> None:
    """The one before was fenced before it had begun."""
    append = facts.AttemptLaunched(attempt=2, appends=True)
    chain = given_trial(CREATED, launched(), fenced(), facts.RetryScheduled(attempt=1, retry=1), append, started(2))
    assert chain.state.lineage == (Segment(2, 1, None),)


def test_an_attempt_that_begins_again_takes_all_steps() -> None:
    chain = running(committed(100), fenced(), facts.RetryScheduled(attempt=1, retry=1), launched(2), started(2))
    assert chain.state.lineage == (Segment(2, 1, None),)
    assert trial.restorable_snapshots(chain.state) == []


def test_what_the_log_says_already_is_not_recorded_again() -> None:
    chain = running()
    once: list[Message] = [
        facts.InstanceStarted(attempt=1, rank=0),
        facts.InstanceReadinessChanged(attempt=1, rank=0, ready=True),
        facts.EvaluationStarted(attempt=1, step=5),
        facts.EvaluationCompleted(attempt=1, step=5),
        facts.SnapshotCommitted(attempt=1, snapshot_id="s5", step=5),
        facts.SnapshotDeleted(attempt=1, snapshot_id="s5"),
        facts.InstanceReadinessChanged(attempt=1, rank=0, ready=False),
        facts.InstanceExited(attempt=1, rank=0),
    ]
    for payload in once:
        assert chain.when(Record(1, payload)) == [payload]
        assert chain.when(Record(1, payload)) == []


def test_health_of_an_instance_is_said_only_on_change() -> None:
    chain = running()
    report = trial.ReportInstanceHealth(1, 0, common.HEALTH_DEGRADED, "late")
    assert names(chain.when(report)) == ["InstanceHealthChanged"]
    assert chain.when(report) == []
    assert chain.when(trial.ReportInstanceHealth(2, 0, common.HEALTH_UNHEALTHY, "")) == []


def test_a_snapshot_that_is_gone_is_not_deleted_again() -> None:
    chain = running(committed(5))
    delete = trial.DeleteSnapshot("s5", facts.SNAPSHOT_DELETE_REASON_CORRUPT)
    assert names(chain.when(delete)) == ["SnapshotDeleted"]
    assert chain.when(delete) == []


def test_a_waiting_trial_can_fail() -> None:
    chain = given_trial(CREATED)
    chain.when(trial.FailTrial(0, common.FAILURE_REASON_NO_VALID_SNAPSHOT, "none"))
    assert chain.state.situation == Failed(common.FAILURE_REASON_NO_VALID_SNAPSHOT, "none")


def test_every_fact_of_a_trial_can_be_folded() -> None:
    members = {
        getattr(facts, field.message_type.name)  # type: ignore[union-attr]
        for field in facts.TrialEvent.DESCRIPTOR.oneofs_by_name["payload"].fields
    }
    assert set(trial.EVOLVE) == members


def test_every_command_has_a_decision() -> None:
    defined = {one for one in vars(commands).values() if isinstance(one, type)}
    assert set(trial.DECIDE) == {one for one in defined if one.__module__ == commands.__name__}


def test_every_event_has_a_sentence_and_each_word_of_a_closed_set_one() -> None:
    assert {codec.type_of(kind()) for kind in sentences.SENTENCES} == set(codec.TYPES)
    for kind in sentences.SENTENCES:
        text = sentences.sentence(kind())
        assert text
        assert text[0].isupper()
        assert "\n" not in text
    tables: dict[Any, dict[Any, str]] = {
        common.ExitCause: sentences.EXIT_CAUSES,
        common.FailureReason: sentences.FAILURE_REASONS,
        common.Health: sentences.HEALTHS,
        common.StopMode: sentences.STOP_MODES,
        facts.FenceReason: sentences.FENCE_REASONS,
        facts.LaunchReason: sentences.LAUNCH_REASONS,
        facts.AttemptOutcome: sentences.OUTCOMES,
        facts.SnapshotReason: sentences.SNAPSHOT_REASONS,
        facts.SnapshotDeleteReason: sentences.SNAPSHOT_DELETE_REASONS,
    }
    for enum, table in tables.items():
        assert set(table) == set(enum.values())


def test_every_fact_has_a_writer_a_scope_and_a_category() -> None:
    for ce_type in codec.TYPES:
        assert codec.writer_of(ce_type) != options.WRITER_UNSPECIFIED
        assert codec.scope_of(ce_type) != options.SCOPE_UNSPECIFIED
        assert codec.category_of(ce_type) != options.CATEGORY_UNSPECIFIED


# --- roll backs, snapshots on request


def back_to(snapshot: str, **more: Any) -> trial.RollBackTrial:
    return trial.RollBackTrial(snapshot, {"learning_rate": "0.01"}, **more)


def concluded(chain: Given, attempt: int = 1) -> list[str]:
    """Have the attempt ended, as the scheduler does it."""
    fence = trial.FenceAttempt(attempt, facts.FENCE_REASON_ROLLED_BACK, common.EXIT_CAUSE_KILLED, "")
    return names(chain.when(fence, trial.GoOn(attempt)))


def test_a_roll_back_ends_the_attempt_and_goes_on_from_the_snapshot() -> None:
    chain = running(committed(5), committed(10))
    (asked,) = chain.when(back_to("s5", skip_batches=3, reason="it diverges"))
    assert isinstance(asked, facts.TrialRollBackRequested)
    assert (asked.snapshot_step, asked.attempt, asked.skip_batches) == (5, 1, 3)
    assert concluded(chain) == ["AttemptFenced", "TrialResumeRequested"]
    assert chain.state.situation == Queued(facts.LAUNCH_REASON_ROLL_BACK, "s5")
    (best,) = trial.restorable_snapshots(chain.state)
    (launch,) = chain.when(trial.LaunchAttempt(2, best))
    assert isinstance(launch, facts.AttemptLaunched)
    assert (launch.snapshot_id, launch.skip_batches, launch.reason) == ("s5", 3, facts.LAUNCH_REASON_ROLL_BACK)
    again = Given(trial, started(2, "s5", 5))
    again.state = trial.evolve(chain.state, started(2, "s5", 5))
    assert again.state.lineage == (Segment(1, 1, 5), Segment(2, 6))
    assert [(s.snapshot_id, s.superseded) for s in again.state.snapshots] == [("s5", False), ("s10", True)]


def test_an_interruption_leaves_the_retries_and_is_counted_by_itself() -> None:
    chain = running(committed(5))
    chain.when(trial.FenceAttempt(1, facts.FENCE_REASON_EXITED, common.EXIT_CAUSE_TIME_LIMIT, "the limit"))
    schedule = trial.ScheduleRetry(1, 3, at(0), common.EXIT_CAUSE_TIME_LIMIT, "the limit", interrupted=True)
    (fact,) = chain.when(schedule)
    assert isinstance(fact, facts.RetryScheduled)
    assert (fact.retry, fact.interruption) == (0, 1)
    assert (chain.state.retries, chain.state.interruptions) == (0, 1)
    chain.when(trial.LaunchAttempt(2, trial.restorable_snapshots(chain.state)[0]))
    chain.when(trial.FenceAttempt(2, facts.FENCE_REASON_LOST, common.EXIT_CAUSE_LOST, ""))
    (fact,) = chain.when(trial.ScheduleRetry(2, 3, at(0), common.EXIT_CAUSE_LOST, ""))
    assert isinstance(fact, facts.RetryScheduled)
    assert (fact.retry, fact.interruption) == (1, 0)
    assert (chain.state.retries, chain.state.interruptions) == (1, 1)


def test_a_retry_after_a_roll_back_passes_over_the_batches_again_and_never_takes_what_was_given_up() -> None:
    chain = running(committed(5), committed(10))
    chain.when(back_to("s5", skip_batches=3))
    # The attempt is not fenced yet, and saves.
    chain.when(Record(1, facts.SnapshotCommitted(attempt=1, snapshot_id="s12", step=12)))
    assert chain.when(Record(1, facts.SnapshotDeleted(attempt=1, snapshot_id="s5"))) == []
    concluded(chain)
    (best,) = trial.restorable_snapshots(chain.state)
    chain.when(trial.LaunchAttempt(2, best))
    lost = trial.FenceAttempt(2, facts.FENCE_REASON_LOST, common.EXIT_CAUSE_LOST, "")
    chain.when(lost, trial.ScheduleRetry(2, 3, at(0), common.EXIT_CAUSE_LOST, ""))
    (best,) = trial.restorable_snapshots(chain.state)
    (launch,) = chain.when(trial.LaunchAttempt(3, best))
    assert isinstance(launch, facts.AttemptLaunched)
    assert (launch.snapshot_id, launch.skip_batches) == ("s5", 3)


def test_a_second_roll_back_to_a_snapshot_passes_over_more() -> None:
    chain = running(committed(5))
    chain.when(back_to("s5", skip_batches=3))
    concluded(chain)
    (best,) = trial.restorable_snapshots(chain.state)
    chain.when(trial.LaunchAttempt(2, best))
    (asked,) = chain.when(back_to("s5", skip_batches=4))
    assert isinstance(asked, facts.TrialRollBackRequested)
    assert asked.skip_batches == 7


def test_a_roll_back_given_again_decides_nothing() -> None:
    chain = running(committed(5))
    assert chain.when(back_to("s5", request_id="a"))
    assert chain.when(back_to("s5", request_id="b")) == []
    concluded(chain)
    assert chain.when(back_to("s5")) == []
    (best,) = trial.restorable_snapshots(chain.state)
    chain.when(trial.LaunchAttempt(2, best))
    assert chain.when(back_to("s5", request_id="a")) == []
    assert chain.when(back_to("s5", request_id="c"))


def test_what_was_abandoned_already_is_not_rolled_back_again() -> None:
    chain = running(committed(5))
    chain.when(back_to("s5", step=9, attempt=1))
    with pytest.raises(FailedPrecondition, match="abandoned already"):
        chain.when(back_to("s5", step=8, attempt=1))
    concluded(chain)
    (best,) = trial.restorable_snapshots(chain.state)
    chain.when(trial.LaunchAttempt(2, best))
    chain.state = trial.evolve(chain.state, started(2, "s5", 5))
    with pytest.raises(FailedPrecondition, match="abandoned already"):
        chain.when(back_to("s5", step=8, attempt=1))
    assert chain.when(back_to("s5", step=8, attempt=2))


def test_a_roll_back_has_a_bound() -> None:
    chain = running(committed(5))
    chain.when(back_to("s5", max_times=1))
    concluded(chain)
    (best,) = trial.restorable_snapshots(chain.state)
    chain.when(trial.LaunchAttempt(2, best))
    with pytest.raises(FailedPrecondition, match="rolled back once already"):
        chain.when(back_to("s5", max_times=1))


def test_what_a_roll_back_goes_on_from_must_be_there() -> None:
    chain = running(committed(5), committed(10))
    with pytest.raises(NotFound):
        chain.when(back_to("s7"))
    chain.when(back_to("s5"))
    with pytest.raises(FailedPrecondition, match="superseded"):
        chain.when(back_to("s10"))
    with pytest.raises(FailedPrecondition, match="stopping"):
        running(committed(5), facts.TrialStopRequested()).when(back_to("s5"))


def test_a_stop_wins_over_a_roll_back() -> None:
    chain = running(committed(5))
    chain.when(back_to("s5"))
    assert names(chain.when(STOP_ABRUPTLY)) == ["TrialStopRequested"]
    chain.when(trial.FenceAttempt(1, facts.FENCE_REASON_ABRUPT_STOP, common.EXIT_CAUSE_KILLED, ""))
    chain.when(trial.MarkStopped("enough"))
    assert isinstance(chain.state.situation, Stopped)


def test_a_trial_that_has_ended_is_rolled_back_too() -> None:
    for outcome, end in (
        (facts.ATTEMPT_OUTCOME_COMPLETED, trial.CompleteTrial(1)),
        (facts.ATTEMPT_OUTCOME_FAILED, trial.FailTrial(1, common.FAILURE_REASON_TRAINING_ERROR, "NaN")),
    ):
        chain = running(committed(5), ended(outcome))
        chain.when(end)
        assert chain.when(back_to("s5"))
        assert chain.state.situation == Queued(facts.LAUNCH_REASON_ROLL_BACK, "s5")


def test_a_snapshot_is_asked_of_an_attempt_that_trains_once_until_it_came() -> None:
    for not_training in (given_trial(CREATED), given_trial(CREATED, launched()), running(facts.TrialStopRequested())):
        with pytest.raises(FailedPrecondition):
            not_training.when(trial.RequestSnapshot())
    chain = running()
    assert names(chain.when(trial.RequestSnapshot("before lunch"))) == ["TrialSnapshotRequested"]
    assert chain.when(trial.RequestSnapshot()) == []
    chain.state = trial.evolve(chain.state, committed(7))
    assert names(chain.when(trial.RequestSnapshot(request_id="a"))) == ["TrialSnapshotRequested"]
    chain.state = trial.evolve(chain.state, committed(9))
    assert chain.when(trial.RequestSnapshot(request_id="a")) == []


def test_a_branch_is_rolled_back_to_where_it_began() -> None:
    origin = common.SnapshotOrigin(snapshot_id="o5", step=5, runtime_id="rt-0", trial=1, attempt=1)
    created = facts.TrialCreated(runtime_id="rt-1", trial=1, origin=origin)
    begun = facts.AttemptLaunched(attempt=1, snapshot_id="o5", snapshot_step=5)
    chain = given_trial(created, begun, started(1, "o5", 5), committed(10))
    (asked,) = chain.when(back_to("o5"))
    assert isinstance(asked, facts.TrialRollBackRequested)
    assert (asked.snapshot_step, trial.restorable_snapshots(chain.state)) == (5, [])
    concluded(chain)
    assert chain.state.situation == Queued(facts.LAUNCH_REASON_ROLL_BACK, "o5")


def test_a_pinned_snapshot_stays_until_it_is_unpinned() -> None:
    chain = running(committed(4), committed(8))
    assert names(chain.when(trial.PinSnapshot("s4", "before the spike"))) == ["SnapshotPinned"]
    assert chain.when(trial.PinSnapshot("s4")) == [], "a repeat decides nothing"
    thinned = Record(1, facts.SnapshotDeleted(attempt=1, snapshot_id="s4", step=4))
    assert chain.when(thinned) == []
    assert names(chain.when(trial.UnpinSnapshot("s4"))) == ["SnapshotUnpinned"]
    assert chain.when(trial.UnpinSnapshot("s4")) == []
    assert names(chain.when(thinned)) == ["SnapshotDeleted"]
    with pytest.raises(FailedPrecondition, match="s4 was deleted") as refused:
        chain.when(trial.PinSnapshot("s4"))
    assert refused.value.reason == "SNAPSHOT_NOT_FOUND"


def test_a_pin_does_not_end_with_a_branch_that_needed_the_snapshot() -> None:
    chain = running(committed(4))
    chain.when(trial.PinSnapshot("s4"), trial.HoldSnapshot("s4", "rt-2"), trial.LetSnapshotGo("s4", "rt-2"))
    assert chain.state.snapshots[0].is_kept
    chain.when(trial.HoldSnapshot("s4", "rt-2"), trial.UnpinSnapshot("s4"))
    assert chain.state.snapshots[0].is_kept


def test_once_its_purge_has_started_nobody_begins_at_a_snapshot_that_was_not_held() -> None:
    chain = running(committed(4), committed(8))
    chain.when(trial.HoldSnapshot("s8", "rt-2"))
    assert names(chain.when(trial.StartPurge())) == ["TrialPurgeStarted"]
    assert chain.when(trial.StartPurge()) == []
    for late in (trial.HoldSnapshot("s4", "rt-3"), trial.PinSnapshot("s4")):
        with pytest.raises(FailedPrecondition, match="s4 was deleted"):
            chain.when(late)
    assert names(chain.when(trial.LetSnapshotGo("s8", "rt-2"))) == ["SnapshotLetGo"]


def test_stacks_are_asked_for_as_often_as_is_worth_it_and_a_stall_is_explained_once() -> None:
    chain = running()
    asked = trial.RequestStacks("it hangs", "one")
    assert names(chain.when(asked)) == ["TrialStacksRequested"]
    assert chain.when(asked) == [], "the same request again"
    answer = facts.StacksRecorded(attempt=1, step=4, requested=True, text="main:")
    assert names(chain.when(Record(1, answer), Record(1, answer))) == ["StacksRecorded"] * 2
    by_itself = facts.StacksRecorded(attempt=1, step=4, place=facts.STACK_PLACE_CODE, frame="a.py:1 in f")
    assert names(chain.when(Record(1, by_itself), Record(1, by_itself))) == ["StacksRecorded"], "a repeat of the spool"
    assert chain.state.active is not None
    why = stalls.diagnose(chain.state.active.stalls.stacks)
    (said,) = chain.when(trial.DiagnoseStall(1, 4, why))
    assert said == facts.StallDiagnosed(
        attempt=1, step=4, kind=facts.STALL_KIND_CODE, ranks=[0], message="the loop is at a.py:1 in f"
    )
    assert chain.when(trial.DiagnoseStall(1, 4, why), trial.DiagnoseStall(2, 5, why)) == []
    for _ in range(stalls.MAX_REQUESTS - 1):
        chain.when(trial.RequestStacks())
    with pytest.raises(FailedPrecondition, match="asked for 100 times"):
        chain.when(trial.RequestStacks())
    with pytest.raises(FailedPrecondition, match="nothing to look at"):
        given_trial(CREATED).when(trial.RequestStacks())


def test_an_evaluation_is_asked_for_once_until_it_is_answered() -> None:
    chain = running()
    asked = trial.RequestEvaluation("before the spike", "one")
    assert names(chain.when(asked)) == ["TrialEvaluationRequested"]
    assert chain.when(asked, trial.RequestEvaluation()) == []
    chain.when(Record(1, facts.EvaluationStarted(attempt=1, step=4)))
    chain.when(Record(1, facts.EvaluationCompleted(attempt=1, step=4, interrupted=True)))
    assert chain.when(trial.RequestEvaluation()) == [], "what was interrupted is no answer"
    chain.when(Record(1, facts.EvaluationStarted(attempt=1, step=5)))
    chain.when(Record(1, facts.EvaluationCompleted(attempt=1, step=5)))
    assert chain.when(asked) == [], "the same request again"
    assert names(chain.when(trial.RequestEvaluation())) == ["TrialEvaluationRequested"]
    chain.when(Record(1, facts.EvaluationRefused(attempt=1, step=6, detail="it cannot")))
    assert names(chain.when(trial.RequestEvaluation())) == ["TrialEvaluationRequested"]


@pytest.mark.parametrize(
    "more",
    [
        [of_attempt(facts.AttemptEnded(attempt=1, outcome=facts.ATTEMPT_OUTCOME_COMPLETED))],
        [facts.TrialStopRequested(mode=common.STOP_MODE_GRACEFUL)],
    ],
)
def test_no_evaluation_is_asked_of_what_does_not_train(more: list[Any]) -> None:
    with pytest.raises(FailedPrecondition):
        running(*more).when(trial.RequestEvaluation())
    with pytest.raises(FailedPrecondition, match="there is nobody to evaluate"):
        given_trial(CREATED).when(trial.RequestEvaluation())

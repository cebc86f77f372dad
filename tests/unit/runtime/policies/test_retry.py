"""What follows the end of an attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from milepost.api.config.v1.configuration_pb2 import RetryPolicy
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import trial
from milepost.domain.sentences import EXIT_CAUSES
from services.runtime.policies.retry import (
    INTERRUPTIONS,
    MAX_INTERRUPTIONS,
    Complete,
    Fail,
    GoOn,
    Retry,
    Stop,
    backoff,
    conclude,
    may_interrupt,
)
from tests.unit.domain.given import NOW, at

POLICY = RetryPolicy(max_retries=2, backoff_seconds=5.0)
STOP = trial.StopOrder(common.STOP_MODE_GRACEFUL, at(60), "enough")


def ended(outcome: facts.AttemptOutcome, cause: common.ExitCause, stop: trial.StopOrder | None = None) -> trial.Active:
    return trial.Active(1, facts.AttemptLaunched(attempt=1), stop=stop, ending=trial.Ending(outcome, cause, "why", 10))


def fenced(cause: common.ExitCause, stop: trial.StopOrder | None = None) -> trial.Active:
    fence = facts.AttemptFenced(attempt=1, cause=cause, detail="why")
    return trial.Active(1, facts.AttemptLaunched(attempt=1), stop=stop, fence=fence)


def test_a_completed_attempt_is_completed_stop_or_not() -> None:
    for stop in (None, STOP):
        attempt = ended(facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED, stop)
        assert conclude(attempt, 0, POLICY, True, NOW) == Complete()


@pytest.mark.parametrize(
    "cause", [common.EXIT_CAUSE_EXCEPTION, common.EXIT_CAUSE_SIGNAL, common.EXIT_CAUSE_DETERMINISTIC]
)
def test_an_accepted_stop_wins_over_any_crash_and_burns_no_retry(cause: common.ExitCause) -> None:
    for attempt in (ended(facts.ATTEMPT_OUTCOME_FAILED, cause, STOP), fenced(cause, STOP)):
        assert conclude(attempt, 2, POLICY, True, NOW) == Stop("enough")


@pytest.mark.parametrize(
    "cause",
    [
        common.EXIT_CAUSE_EXCEPTION,
        common.EXIT_CAUSE_SIGNAL,
        common.EXIT_CAUSE_OUT_OF_MEMORY,
        common.EXIT_CAUSE_LOST,
        common.EXIT_CAUSE_LAUNCH_FAILED,
    ],
)
def test_crashes_are_retried_with_their_cause(cause: common.ExitCause) -> None:
    assert conclude(fenced(cause), 0, POLICY, True, NOW) == Retry(at(5), cause, "why")
    assert conclude(fenced(cause), 1, POLICY, True, NOW) == Retry(at(10), cause, "why")


def test_a_roll_back_goes_on_whatever_the_attempt_came_to_unless_it_is_stopped_or_its_runtime_has_ended() -> None:
    order = trial.RollBackOrder("s5", "it diverges")
    for attempt in (
        fenced(common.EXIT_CAUSE_KILLED),
        ended(facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED),
        ended(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_DETERMINISTIC),
    ):
        rolled_back = replace(attempt, roll_back=order)
        assert conclude(rolled_back, 2, POLICY, True, NOW) == GoOn()
        assert conclude(rolled_back, 2, POLICY, False, NOW, in_progress=False) != GoOn()
        assert conclude(replace(rolled_back, stop=STOP), 2, POLICY, True, NOW) != GoOn()


def test_after_the_last_retry_the_failure_names_cause_and_count() -> None:
    assert conclude(fenced(common.EXIT_CAUSE_LOST), 2, POLICY, True, NOW) == Fail(
        common.FAILURE_REASON_LOST, "why, after 2 retries"
    )


def test_what_would_come_again_and_what_nobody_can_launch_is_not_retried() -> None:
    deterministic = ended(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_DETERMINISTIC)
    assert conclude(deterministic, 0, POLICY, True, NOW) == Fail(common.FAILURE_REASON_DETERMINISTIC_ERROR, "why")
    assert conclude(fenced(common.EXIT_CAUSE_LOST), 0, POLICY, False, NOW) == Fail(common.FAILURE_REASON_LOST, "why")


def test_waits_double_and_end_at_ten_minutes() -> None:
    waits = [backoff(POLICY, n).total_seconds() for n in (0, 1, 2, 3, 10, 1000)]
    assert waits == [5, 10, 20, 40, 600, 600]


@pytest.mark.parametrize("cause", sorted(INTERRUPTIONS))
def test_an_interruption_by_the_cluster_uses_no_retry_while_each_attempt_saves_steps(cause: common.ExitCause) -> None:
    for attempt in (fenced(cause), ended(facts.ATTEMPT_OUTCOME_FAILED, cause)):
        goes_on = conclude(attempt, 2, POLICY, True, NOW, may_interrupt=True)
        assert goes_on == Retry(at(5), cause, "why", interrupted=True)
        assert conclude(attempt, 0, POLICY, True, NOW) == Retry(at(5), cause, "why")
        assert isinstance(conclude(attempt, 2, POLICY, True, NOW), Fail)
    assert conclude(fenced(cause, STOP), 0, POLICY, True, NOW, may_interrupt=True) == Stop("enough")


def test_an_attempt_that_has_saved_a_step_may_be_interrupted() -> None:
    def saved(step: int, began: int, interruptions: int = 0) -> bool:
        record = trial.SnapshotRecord("s", 1, step, "", "", False, 0, 0)
        active = trial.Active(1, facts.AttemptLaunched(attempt=1, snapshot_step=began))
        return may_interrupt(trial.Trial(snapshots=(record,), interruptions=interruptions), active)

    assert saved(11, 10)
    assert not saved(10, 10)
    assert not saved(11, 10, MAX_INTERRUPTIONS)


def test_every_cause_has_a_failure() -> None:
    for cause in EXIT_CAUSES:
        conclusion = conclude(fenced(cause), 99, POLICY, True, NOW)
        assert isinstance(conclusion, Fail)
        assert conclusion.reason != common.FAILURE_REASON_UNSPECIFIED

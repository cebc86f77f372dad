"""What follows the end of an attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from milepost.api.config.v1.configuration_pb2 import RetryPolicy
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import trial

MAX_BACKOFF_SECONDS = 600.0

# Causes after which the same would happen again.
_NOT_RETRIED = frozenset({common.EXIT_CAUSE_DETERMINISTIC})

# The cluster took its place away: nothing is wrong with the run.
INTERRUPTIONS = frozenset({common.EXIT_CAUSE_TIME_LIMIT, common.EXIT_CAUSE_PREEMPTED, common.EXIT_CAUSE_NODE_FAILED})
# Since the request or the last resume. Each has saved some steps, so this is a bound against errors of ours.
MAX_INTERRUPTIONS = 10_000

_FAILURES = {
    common.EXIT_CAUSE_EXCEPTION: common.FAILURE_REASON_TRAINING_ERROR,
    common.EXIT_CAUSE_DETERMINISTIC: common.FAILURE_REASON_DETERMINISTIC_ERROR,
    common.EXIT_CAUSE_OUT_OF_MEMORY: common.FAILURE_REASON_OUT_OF_MEMORY,
    common.EXIT_CAUSE_LOST: common.FAILURE_REASON_LOST,
    common.EXIT_CAUSE_LAUNCH_FAILED: common.FAILURE_REASON_LAUNCH_FAILED,
}


@dataclass(frozen=True, slots=True)
class Complete:
    pass


@dataclass(frozen=True, slots=True)
class Stop:
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    not_before_time: datetime
    cause: common.ExitCause
    detail: str
    # By its cluster: no retry is used up.
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    reason: common.FailureReason
    detail: str


@dataclass(frozen=True, slots=True)
class GoOn:
    """The next attempt goes on from the snapshot of a roll back."""


Conclusion = Complete | Stop | Retry | Fail | GoOn


def conclude(
    active: trial.Active,
    retries: int,
    policy: RetryPolicy,
    retryable: bool,
    now: datetime,
    in_progress: bool = True,
    *,
    may_interrupt: bool = False,
) -> Conclusion:
    """Decide what follows an attempt that ended or was fenced.

    An accepted stop wins over a crash, and over a roll back. A completed attempt is completed, stop or not, unless it was
    rolled back.

    Args:
        active: the attempt, ended or fenced.
        retries: retries since the request or the last resume.
        retryable: the launcher can launch it again.
        in_progress: its runtime is.
        may_interrupt: its cluster may interrupt it without using up a retry.
    """
    cause, detail = _cause(active)
    if active.roll_back is not None and active.stop is None and in_progress:
        return GoOn()
    if active.ending is not None and active.fence is None and active.ending.outcome == facts.ATTEMPT_OUTCOME_COMPLETED:
        return Complete()
    if active.stop is not None:
        return Stop(_stop_reason(active, active.stop))
    if active.ending is not None and active.ending.outcome == facts.ATTEMPT_OUTCOME_STOPPED:
        return Stop(detail or "the training code stopped by itself")
    if cause in INTERRUPTIONS and retryable and may_interrupt:
        return Retry(now + timedelta(seconds=policy.backoff_seconds), cause, detail, interrupted=True)
    if cause in _NOT_RETRIED or not retryable or retries >= policy.max_retries:
        return Fail(failure_reason(cause), _with_count(detail, retries))
    return Retry(now + backoff(policy, retries), cause, detail)


def may_interrupt(state: trial.Trial, active: trial.Active) -> bool:
    """Return whether an interruption of an attempt uses no retry: it has saved steps, so the run comes to its end."""
    saved = max((snapshot.step for snapshot in trial.restorable_snapshots(state)), default=0)
    return saved > active.launch.snapshot_step and state.interruptions < MAX_INTERRUPTIONS


def backoff(policy: RetryPolicy, retries: int) -> timedelta:
    """Wait before the next retry: doubled at each, at most ten minutes."""
    return timedelta(seconds=min(policy.backoff_seconds * 2.0 ** min(retries, 30), MAX_BACKOFF_SECONDS))


def failure_reason(cause: common.ExitCause) -> common.FailureReason:
    return _FAILURES.get(cause, common.FAILURE_REASON_CRASHED)


def _cause(active: trial.Active) -> tuple[common.ExitCause, str]:
    if active.ending is not None:
        return active.ending.cause, active.ending.detail
    if active.fence is not None:
        return active.fence.cause, active.fence.detail
    raise ValueError(f"attempt {active.attempt} has not ended")


def _stop_reason(active: trial.Active, stop: trial.StopOrder) -> str:
    reason = stop.reason or "on request"
    if active.fence is not None and active.fence.reason == facts.FENCE_REASON_STOP_DEADLINE:
        return f"{reason}: {active.fence.detail}"
    return reason


def _with_count(detail: str, retries: int) -> str:
    if not retries:
        return detail
    times = "1 retry" if retries == 1 else f"{retries} retries"
    return f"{detail}, after {times}" if detail else f"after {times}"

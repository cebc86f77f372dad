"""What has to be done next for a runtime, seen from its facts and its processes. Pure.

The scheduler asks for the next step, carries it out, and asks again until there is none. Each step follows from facts
alone, so a scheduler that is killed anywhere and started again, here or elsewhere, goes on with the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.configuration import has_sampler
from milepost.domain import runtime, trial
from services.runtime.policies import placement, search

# Trials that one step creates; together with the runtime's own events they stay below the limit of a batch.
CREATED_AT_ONCE = 500
# Time a process has to leave after its attempt has ended, before it is killed.
LEAVING_SECONDS = 30.0
# What one attempt may write to the log, which is kept for ever and read by every start. One of ours writes some messages
# for each evaluation and each snapshot, of some hundred bytes.
MAX_MESSAGES = 1_000_000
MAX_BYTES = 1 << 30


class Process(Enum):
    """What the launcher knows of the process of an attempt."""

    # Never started, or not by anybody that left a trace.
    ABSENT = "absent"
    # Was handed to a cluster that has not begun it.
    PENDING = "pending"
    RUNNING = "running"
    # Was started and is gone, with everything it started.
    GONE = "gone"
    # Not ours to see, or not now: whether it lives is known by its beats alone.
    UNSEEN = "unseen"

    @property
    def is_held(self) -> bool:
        """Whether the launcher holds something that could still act."""
        return self in (Process.PENDING, Process.RUNNING)


@dataclass(frozen=True, slots=True)
class Exit:
    """How the process of an attempt ended, as far as it can be known."""

    cause: common.ExitCause = common.EXIT_CAUSE_SIGNAL
    detail: str = "the process is gone without having said why"


@dataclass(frozen=True, slots=True)
class TrialPicture:
    state: trial.Trial
    # Sequence of the event that made its situation.
    since: int
    process: Process = Process.ABSENT
    exit: Exit = Exit()
    # Why its contact counts as lost. Empty: it does not, or nobody takes over.
    lost: str = ""
    # The highest step known to be done, from whatever source.
    last_step: int = 0
    # When the attempt ended or was fenced; None while it runs.
    over_since: datetime | None = None
    # Since when it is not heard of. Empty: it is heard of.
    silence: str = ""
    # Why it has written more than an attempt may. Empty: it has not.
    excess: str = ""
    # What it waits for in the queue of its cluster. Empty: it does not, or that is not known.
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """All that the next step of a runtime depends on."""

    state: runtime.Runtime
    trials: Mapping[int, TrialPicture]
    # Sequence of the request or of the last resume.
    began: int
    # When the first attempt since then started.
    running_since: datetime | None = None
    # Trials that may run at a time with what is allocated. 0: the launcher can launch nothing now.
    slots: int = 1
    # Trials for which it is to hold resources from now on, because others wait. None: for as many as it does.
    to_keep: int | None = None
    # A purge was tried and something remained: not again before.
    purge_not_before: datetime | None = None
    # Of the trials those that have not come to rest, or whose processes have not left. None: it may be any.
    restless: Mapping[int, TrialPicture] | None = None

    @property
    def moving(self) -> Mapping[int, TrialPicture]:
        """The trials of which something may follow without a command. Of ten thousand these are few."""
        return self.trials if self.restless is None else self.restless


# --- steps ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateTrials:
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OrderStop:
    """Tell trials to stop: one that runs, or all that wait. A search has thousands, and each step looks at all of them."""

    trials: tuple[int, ...]
    mode: common.StopMode
    deadline_time: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class OrderResume:
    trial: int
    snapshot_id: str


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """Kill what runs of an attempt, take in what it left, and fence it."""

    trial: int
    attempt: int
    reason: facts.FenceReason
    cause: common.ExitCause
    detail: str
    last_step: int = 0


@dataclass(frozen=True, slots=True)
class Conclude:
    """Decide what follows an attempt that ended or was fenced."""

    trial: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Launch:
    """Decide on the next attempt of a trial; its process follows with `Spawn`."""

    trial: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process of an attempt that the log says is launched."""

    trial: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Reap:
    """Kill a process that did not leave after its attempt ended."""

    trial: int
    attempt: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Give back the resources of a search that others wait for and that none of its trials uses."""

    trials: int


@dataclass(frozen=True, slots=True)
class ReportStarted:
    pass


@dataclass(frozen=True, slots=True)
class ReportHealth:
    """Say the health of the runtime as a whole."""

    health: common.Health
    reason: str


@dataclass(frozen=True, slots=True)
class ReportReadiness:
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ReportWaiting:
    """Say what the jobs of a runtime wait for in the queue of its cluster."""

    detail: str


@dataclass(frozen=True, slots=True)
class EndRuntime:
    command: runtime.AbortRuntime | runtime.FailRuntime | runtime.CompleteRuntime


@dataclass(frozen=True, slots=True)
class Release:
    pass


@dataclass(frozen=True, slots=True)
class StartPurge:
    """Say that the restore window is over. From then on nothing brings the runtime back."""


@dataclass(frozen=True, slots=True)
class Purge:
    pass


Step = (
    CreateTrials
    | OrderStop
    | OrderResume
    | EndAttempt
    | Conclude
    | Launch
    | Spawn
    | Reap
    | GiveBack
    | ReportStarted
    | ReportHealth
    | ReportReadiness
    | ReportWaiting
    | EndRuntime
    | Release
    | StartPurge
    | Purge
)


# --- policy ---------------------------------------------------------------------------------------------------------


def excess(messages: int, byte_count: int) -> str:
    """Say why an attempt that has written so much to the log has written too much. Empty: it has not."""
    if messages <= MAX_MESSAGES and byte_count <= MAX_BYTES:
        return ""
    return (
        f"it wrote {messages:,} messages of {byte_count:,} bytes to the event log; "
        f"an attempt may write {MAX_MESSAGES:,} and {MAX_BYTES:,} bytes"
    )


def next_step(picture: Picture, now: datetime) -> Step | None:
    """Return what has to be done now; None: nothing until a fact, a process or the time changes."""
    if not picture.state.exists:
        return None
    for rule in _RULES:
        step = rule(picture, now)
        if step is not None:
            return step
    return None


def wake_time(picture: Picture) -> datetime | None:
    """Return when the next step may follow from the time alone; None: never."""
    return min(_times(picture), default=None)


def _times(picture: Picture) -> Iterator[datetime]:
    state = picture.state
    for one in picture.moving.values():
        situation = one.state.situation
        if isinstance(situation, trial.Retrying):
            yield situation.not_before_time
        if isinstance(situation, trial.Active) and situation.stop is not None and situation.may_write:
            yield situation.stop.deadline_time
        if one.process.is_held and one.over_since is not None:
            yield one.over_since + timedelta(seconds=LEAVING_SECONDS)
    end = _time_limit(picture)
    if end is not None and state.in_progress:
        yield end
    if picture.purge_not_before is not None and state.phase is runtime.Phase.DELETING:
        yield picture.purge_not_before
    if state.purge_time is not None and state.phase is runtime.Phase.RESTORABLE:
        yield state.purge_time


def _time_limit(picture: Picture) -> datetime | None:
    limits = picture.state.configuration.limits if picture.state.configuration is not None else None
    if limits is None or not limits.HasField("max_duration_seconds") or picture.running_since is None:
        return None
    return picture.running_since + timedelta(seconds=limits.max_duration_seconds)


def _create_trials(picture: Picture, now: datetime) -> Step | None:
    state = picture.state
    if not state.in_progress or state.stop is not None or _is_search(state):
        return None
    if len(picture.trials) >= state.trial_count and all(t.state.situation for t in picture.moving.values()):
        return None
    missing = [
        n
        for n in range(1, state.trial_count + 1)
        if n not in picture.trials or picture.trials[n].state.situation is None
    ]
    return CreateTrials(tuple(missing[:CREATED_AT_ONCE])) if missing else None


def _report_started(picture: Picture, now: datetime) -> Step | None:
    if picture.running_since is not None or not picture.state.in_progress or picture.state.stop is not None:
        return None
    started = any(t.state.active is not None and t.state.active.started for t in picture.moving.values())
    return ReportStarted() if started else None


def _report_health(picture: Picture, now: datetime) -> Step | None:
    """Say the worst health among the instances that run."""
    if not picture.state.in_progress or picture.state.deleting:
        return None
    known = [
        (health, number, rank)
        for number, one in picture.moving.items()
        if one.state.active is not None and one.state.active.may_write
        for rank, health in one.state.active.health
    ]
    if not known:
        return None
    # The worse, the larger.
    worst, number, rank = max(known, key=lambda entry: entry[0])
    if worst == picture.state.health:
        return None
    if worst == common.HEALTH_HEALTHY:
        return ReportHealth(worst, "every instance is healthy")
    silence = picture.trials[number].silence if worst == common.HEALTH_UNHEALTHY else ""
    which = f"instance {rank} of trial {number}"
    return ReportHealth(worst, f"{which}: {silence}" if silence else which)


def _report_readiness(picture: Picture, now: datetime) -> Step | None:
    """It is ready while every instance of some trial is."""
    if not picture.state.in_progress or picture.state.deleting:
        return None
    running = [(n, t.state.active) for n, t in sorted(picture.moving.items()) if t.state.active is not None]
    ready = [n for n, active in running if active.may_write and active.ready and active.running_ranks <= active.ready]
    if bool(ready) == picture.state.ready:
        return None
    return ReportReadiness(bool(ready), f"trial {ready[0]} trains" if ready else "no trial is training")


def _report_waiting(picture: Picture, now: datetime) -> Step | None:
    """Say what a runtime waits for of which nothing runs, because the queue of its cluster has all of it."""
    state = picture.state
    if not state.in_progress or state.deleting or state.stop is not None or state.allocation is None:
        return None
    active = [t for _, t in sorted(picture.moving.items()) if t.state.active is not None and t.state.active.may_write]
    waits = [one.waits for one in active if one.process is Process.PENDING]
    if not waits or not waits[0] or len(waits) < len(active):
        return None
    more = f"; {len(waits) - 1} more of its jobs wait" if len(waits) > 1 else ""
    detail = f"{waits[0]}{more}"
    return ReportWaiting(detail) if state.pending is None or state.pending.detail != detail else None


def _order_stops(picture: Picture, now: datetime) -> Step | None:
    """Carry the stop of the runtime, or its end, to every trial that could still do something."""
    state = picture.state
    order = _order(picture, now)
    if order is None:
        return None
    mode, deadline, reason = order
    waiting: list[int] = []
    for number, one in picture.moving.items():
        situation = one.state.situation
        if isinstance(situation, trial.Queued | trial.Retrying):
            waiting.append(number)
        if isinstance(situation, trial.Active) and situation.may_write:
            known = situation.stop
            stronger = known is not None and known.mode != common.STOP_MODE_ABRUPT and mode == common.STOP_MODE_ABRUPT
            if known is None or (stronger and state.stop is not None):
                return OrderStop((number,), mode, deadline, reason)
    return OrderStop(tuple(waiting), mode, deadline, reason) if waiting else None


def _order(picture: Picture, now: datetime) -> tuple[common.StopMode, datetime, str] | None:
    state = picture.state
    if state.stop is not None:
        return state.stop.mode, state.stop.deadline_time, state.stop.reason
    if state.phase is not runtime.Phase.TERMINATING or state.configuration is None:
        return None
    # Its end was decided while trials still ran: they may save their work.
    seconds = state.configuration.limits.stop_deadline_seconds
    if state.failure_reason == common.FAILURE_REASON_DEADLINE_EXCEEDED:
        reason = "the time limit of the runtime was reached"
    else:
        reason = "another trial failed" if state.status is runtime.Status.FAILED else "the runtime has ended"
    return common.STOP_MODE_GRACEFUL, now + timedelta(seconds=seconds), reason


def _order_resumes(picture: Picture, now: datetime) -> Step | None:
    state = picture.state
    if not state.in_progress or state.stop is not None:
        return None
    for number in state.resume_trials:
        one = picture.trials.get(number)
        if one is None or one.since > picture.began:
            continue
        if isinstance(one.state.situation, trial.Stopped | trial.Failed | trial.Completed):
            return OrderResume(number, state.resume_snapshot_id)
    return None


def _end_attempts(picture: Picture, now: datetime) -> Step | None:
    for number, one in picture.moving.items():
        active = one.state.active
        if active is None or not active.may_write:
            continue
        end = _reason_to_end(active, one, now)
        if end is not None:
            reason, cause, detail = end
            return EndAttempt(number, active.attempt, reason, cause, detail, one.last_step)
    return None


def _reason_to_end(
    active: trial.Active, one: TrialPicture, now: datetime
) -> tuple[facts.FenceReason, common.ExitCause, str] | None:
    if active.stop is not None and active.stop.mode == common.STOP_MODE_ABRUPT:
        return facts.FENCE_REASON_ABRUPT_STOP, common.EXIT_CAUSE_KILLED, active.stop.reason
    if active.stop is not None and one.process in (Process.ABSENT, Process.PENDING):
        return facts.FENCE_REASON_ABRUPT_STOP, common.EXIT_CAUSE_KILLED, "stopped before its process was started"
    if active.roll_back is not None and active.stop is None:
        # What it has computed since is not wanted: nothing is saved.
        return facts.FENCE_REASON_ROLLED_BACK, common.EXIT_CAUSE_KILLED, active.roll_back.reason
    if one.process is Process.GONE:
        return facts.FENCE_REASON_EXITED, one.exit.cause, one.exit.detail
    if active.stop is not None and now >= active.stop.deadline_time:
        return facts.FENCE_REASON_STOP_DEADLINE, common.EXIT_CAUSE_KILLED, _unstopped(active, one)
    if one.excess:
        # It would do the same again.
        return facts.FENCE_REASON_EXCESS, common.EXIT_CAUSE_DETERMINISTIC, one.excess
    if one.lost:
        return facts.FENCE_REASON_LOST, common.EXIT_CAUSE_LOST, one.lost
    return None


def _unstopped(active: trial.Active, one: TrialPicture) -> str:
    detail = "it did not stop before the deadline"
    if one.silence:
        detail = f"{detail}: {one.silence}"
    if one.process is Process.UNSEEN and active.process is not None:
        detail = f"{detail}; process {active.process.process_id} on {active.process.host} may still run"
    return detail


def _conclude(picture: Picture, now: datetime) -> Step | None:
    for number, one in picture.moving.items():
        active = one.state.active
        if active is not None and not active.may_write:
            return Conclude(number, active.attempt)
    return None


def _spawn(picture: Picture, now: datetime) -> Step | None:
    for number, one in picture.moving.items():
        active = one.state.active
        if active is not None and active.may_write and one.process is Process.ABSENT:
            return Spawn(number, active.attempt)
    return None


def _reap(picture: Picture, now: datetime) -> Step | None:
    for number, one in picture.moving.items():
        if not one.process.is_held or one.over_since is None:
            continue
        if now >= one.over_since + timedelta(seconds=LEAVING_SECONDS):
            return Reap(number, one.state.attempt)
    return None


def _launch(picture: Picture, now: datetime) -> Step | None:
    state = picture.state
    if not state.in_progress or state.stop is not None or state.allocation is None:
        return None
    running = _running(picture)
    if running >= picture.slots or (picture.to_keep is not None and running >= picture.to_keep):
        return None
    for number, one in sorted(picture.moving.items()):
        situation = one.state.situation
        ready = isinstance(situation, trial.Queued) or (
            isinstance(situation, trial.Retrying) and now >= situation.not_before_time
        )
        if ready:
            return Launch(number)
    return None


def _running(picture: Picture) -> int:
    return sum(1 for one in picture.moving.values() if one.state.active is not None)


def _give_back(picture: Picture, now: datetime) -> Step | None:
    state = picture.state
    if picture.to_keep is None or not state.in_progress or state.allocation is None or state.configuration is None:
        return None
    held = placement.slots_of(state.allocation, placement.need_of(state.configuration))
    trials = max(picture.to_keep, _running(picture), 1)
    return GiveBack(trials) if trials < held else None


def _end_runtime(picture: Picture, now: datetime) -> Step | None:
    state = picture.state
    if not state.in_progress:
        return None
    unfinished = any(
        isinstance(one.state.situation, trial.Queued | trial.Retrying | trial.Active) for one in picture.moving.values()
    )
    if unfinished and state.stop is not None:
        return None
    all_there = not unfinished and _are_all_there(picture)
    all_completed = all_there and all(_is_done(one.state.situation) for one in picture.trials.values())
    if state.stop is not None:
        return EndRuntime(
            runtime.CompleteRuntime(_ended_early(picture))
            if all_completed
            else runtime.AbortRuntime(_stopped_how(picture))
        )
    limit = _time_limit(picture)
    if limit is not None and now >= limit:
        seconds = state.configuration.limits.max_duration_seconds if state.configuration is not None else 0.0
        return EndRuntime(runtime.FailRuntime(common.FAILURE_REASON_DEADLINE_EXCEEDED, f"it ran for {seconds:g} s"))
    if not all_there and not _may_stop_at_failure(state):
        return None
    failure = _first_failure(picture)
    if failure is not None and (all_there or _stops_at_failure(picture)):
        return EndRuntime(failure)
    if not all_there or _to_resume(picture):
        return None
    ended = state.history.ended
    if ended is not None and ended.reason == runtime_facts.SEARCH_END_REASON_SAMPLER_FAILED:
        return EndRuntime(runtime.FailRuntime(common.FAILURE_REASON_SAMPLER_FAILED, ended.detail))
    if all_completed:
        return EndRuntime(runtime.CompleteRuntime(_ended_early(picture)))
    return EndRuntime(runtime.AbortRuntime("every trial that was left was stopped", trials_stopped=True))


def _is_done(situation: object) -> bool:
    return isinstance(situation, trial.Completed) or (isinstance(situation, trial.Stopped) and situation.pruned)


def _is_search(state: runtime.Runtime) -> bool:
    """Return whether the trials of a runtime are created one by one, by `searching`."""
    return state.configuration is not None and has_sampler(state.configuration)


def _are_all_there(picture: Picture) -> bool:
    """Return whether no trial is still to come, nor the value of one."""
    if _is_search(picture.state):
        if picture.state.history.ended is None:
            return False
        trials = {number: one.state for number, one in picture.trials.items()}
        return not search.to_report(search.Picture(picture.state, trials, 1, None))
    return len(picture.trials) >= picture.state.trial_count


def _stopped_how(picture: Picture) -> str:
    """Say why a runtime is Aborted: as its only trial says it, or as the stop was asked for."""
    only = picture.trials[1].state.situation if len(picture.trials) == 1 and 1 in picture.trials else None
    if isinstance(only, trial.Stopped):
        return only.reason
    return picture.state.stop.reason if picture.state.stop is not None else ""


def _ended_early(picture: Picture) -> str:
    """Say which trials were complete before the last step of their plan; empty: none was."""
    details = [
        one.state.situation.detail
        for one in picture.trials.values()
        if isinstance(one.state.situation, trial.Completed)
    ]
    early = [detail for detail in details if detail]
    if not early or picture.state.trial_count == 1:
        return "".join(early)
    return f"every trial completed, {len(early):,} of {picture.state.trial_count:,} before the end of its plan"


def _to_resume(picture: Picture) -> bool:
    return _order_resumes(picture, datetime.min.replace(tzinfo=UTC)) is not None


def _may_stop_at_failure(state: runtime.Runtime) -> bool:
    configuration = state.configuration
    policy = configuration.search.on_trial_failure if configuration is not None else config.ON_TRIAL_FAILURE_UNSPECIFIED
    return policy == config.ON_TRIAL_FAILURE_STOP


def _stops_at_failure(picture: Picture) -> bool:
    return _may_stop_at_failure(picture.state) and _first_failure(picture, since=picture.began) is not None


def _first_failure(picture: Picture, since: int = 0) -> runtime.FailRuntime | None:
    if _to_resume(picture):
        return None
    failed = [
        (one.since, number, one.state.situation)
        for number, one in picture.trials.items()
        if isinstance(one.state.situation, trial.Failed) and one.since > since
    ]
    if not failed:
        return None
    _, number, situation = min(failed, key=lambda entry: entry[:2])
    if picture.state.trial_count == 1:
        return runtime.FailRuntime(situation.reason, situation.detail, number)
    return runtime.FailRuntime(common.FAILURE_REASON_TRIAL_FAILED, situation.detail, number)


def _release(picture: Picture, now: datetime) -> Step | None:
    state = picture.state
    if state.phase is not runtime.Phase.TERMINATING:
        return None
    busy = any(
        isinstance(one.state.situation, trial.Queued | trial.Retrying | trial.Active) or one.process.is_held
        for one in picture.moving.values()
    )
    return None if busy else Release()


def _start_purge(picture: Picture, now: datetime) -> Step | None:
    state = picture.state
    over = state.purge_time is not None and now >= state.purge_time
    return StartPurge() if over and state.phase is runtime.Phase.RESTORABLE else None


def _purge(picture: Picture, now: datetime) -> Step | None:
    if picture.state.phase is not runtime.Phase.DELETING or picture.state.purged:
        return None
    if picture.purge_not_before is not None and now < picture.purge_not_before:
        return None
    return Purge()


# In this order: what is over is concluded before anything new begins.
_RULES: tuple[Callable[[Picture, datetime], Step | None], ...] = (
    _create_trials,
    _report_started,
    _order_stops,
    _order_resumes,
    _report_health,
    _report_readiness,
    _report_waiting,
    _end_attempts,
    _conclude,
    _reap,
    _end_runtime,
    _spawn,
    _give_back,
    _launch,
    _release,
    _start_purge,
    _purge,
)

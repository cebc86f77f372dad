"""The life of one runtime: ids, facts, states, `initial`, `evolve`, `decide`.

Pure: no clock, no random, no I/O. Times and ids come in with the commands. Facts are the messages of
`runtime_events.proto`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import LAUNCHER_EXTERNAL, RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import search
from milepost.domain.decider import Fact, replace, to_timestamp
from milepost.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound

# --- states ---------------------------------------------------------------------------------------------------------


class Status(Enum):
    """The four words users know. A runtime that was never requested has none."""

    STARTED = "Started"
    ABORTED = "Aborted"
    FAILED = "Failed"
    COMPLETED = "Completed"


class Phase(Enum):
    """Where in its status a runtime is."""

    # Accepted; waits for resources. The scheduler moves it on; a crash leaves it queued.
    QUEUED = "QUEUED"
    # It holds resources; nothing is launched yet. The scheduler launches; a crash leaves it allocated.
    ALLOCATING = "ALLOCATING"
    # An attempt is launched; none has started yet.
    STARTING = "STARTING"
    # At least one attempt has started since the request or the last resume.
    RUNNING = "RUNNING"
    # A stop was accepted; trials are being stopped. The scheduler ends it with RuntimeAborted.
    STOPPING = "STOPPING"
    # The status is final; processes and resources are being given back.
    TERMINATING = "TERMINATING"
    # Nothing of it runs. Only a resume or a delete moves it on.
    ENDED = "ENDED"
    # Hidden, and whole. Undeleting it moves it on, or the scheduler when its restore window is over.
    RESTORABLE = "RESTORABLE"
    # Hidden; data is being purged. Purging goes on after a crash until nothing remains.
    DELETING = "DELETING"
    DELETED = "DELETED"


ENDED_STATUSES = frozenset({Status.ABORTED, Status.FAILED, Status.COMPLETED})


@dataclass(frozen=True, slots=True)
class Stop:
    """An accepted stop."""

    mode: common.StopMode
    deadline_time: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Allocation:
    cpus: float
    memory_gigabytes: float
    gpus: tuple[int, ...]
    host: str
    gpu_count: float


@dataclass(frozen=True, slots=True)
class Pending:
    reason: facts.PendingReason
    detail: str
    # Of events of earlier versions; today's do not say it, because it follows from the others.
    position: int


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the log says about one runtime, as far as decisions need it."""

    runtime_id: str = ""
    status: Status | None = None
    phase: Phase | None = None
    configuration: RuntimeConfiguration | None = None
    configuration_digest: str = ""
    # Of the client that asked for it. Empty: none.
    request_id: str = ""
    trial_count: int = 0
    # Where it branched off another runtime. None: it is no branch.
    branch: facts.Branch | None = None
    # Only while QUEUED, once it is known why it waits.
    pending: Pending | None = None
    # From ResourcesAllocated to ResourcesReleased.
    allocation: Allocation | None = None
    # From StopRequested until the end that it brings.
    stop: Stop | None = None
    failure_reason: common.FailureReason = common.FAILURE_REASON_UNSPECIFIED
    health: common.Health = common.HEALTH_UNSPECIFIED
    health_reason: str = ""
    ready: bool = False
    # What the last resume asked for: trials (empty: all that can) and the snapshot.
    resume_trials: tuple[int, ...] = ()
    resume_snapshot_id: str = ""
    # Counts resumes, so that one resume is told from the next.
    resumes: int = 0
    deleting: bool = False
    # Until then a deletion can be taken back. None: it is not deleted, or its data is removed at once.
    purge_time: datetime | None = None
    # Its data is being removed, or is gone.
    purging: bool = False
    purge_remaining: tuple[str, ...] = ()
    purged: bool = False
    # Labels that were set since, and those of the configuration that were taken away.
    labels: tuple[tuple[str, str], ...] = ()
    removed_labels: frozenset[str] = frozenset()
    # Of a search with a sampler: what it was asked and told.
    history: search.History = search.NO_HISTORY
    # Facts of types this version does not expect here.
    ignored: int = 0

    @property
    def exists(self) -> bool:
        return self.status is not None

    @property
    def in_progress(self) -> bool:
        return self.status is Status.STARTED


initial = Runtime()

# --- evolve ---------------------------------------------------------------------------------------------------------


def _requested(state: Runtime, fact: facts.RuntimeRequested) -> Runtime:
    return replace(
        state,
        runtime_id=fact.runtime_id,
        status=Status.STARTED,
        phase=Phase.QUEUED,
        configuration=fact.configuration,
        configuration_digest=fact.configuration_digest,
        request_id=fact.request_id,
        trial_count=fact.trial_count,
        branch=fact.branch if fact.HasField("branch") else None,
    )


def _pending(state: Runtime, fact: facts.ResourcesPending) -> Runtime:
    return replace(state, pending=Pending(fact.reason, fact.detail, fact.position))


def _allocated(state: Runtime, fact: facts.ResourcesAllocated) -> Runtime:
    allocation = Allocation(fact.cpus, fact.memory_gigabytes, tuple(fact.gpus), fact.host, fact.gpu_count)
    phase = Phase.ALLOCATING if state.phase is Phase.QUEUED else state.phase
    return replace(state, allocation=allocation, pending=None, phase=phase)


def _started(state: Runtime, _: facts.RuntimeStarted) -> Runtime:
    return replace(state, phase=Phase.RUNNING if state.phase in _BEFORE_RUNNING else state.phase)


def _stop_requested(state: Runtime, fact: facts.StopRequested) -> Runtime:
    stop = Stop(fact.mode, fact.deadline_time.ToDatetime(UTC), fact.reason)
    return replace(state, stop=stop, phase=Phase.STOPPING, pending=None)


def _aborted(state: Runtime, _: facts.RuntimeAborted) -> Runtime:
    return _end(state, Status.ABORTED)


def _failed(state: Runtime, fact: facts.RuntimeFailed) -> Runtime:
    return replace(_end(state, Status.FAILED), failure_reason=fact.reason)


def _completed(state: Runtime, _: facts.RuntimeCompleted) -> Runtime:
    return _end(state, Status.COMPLETED)


def _end(state: Runtime, status: Status) -> Runtime:
    return replace(state, status=status, phase=Phase.TERMINATING, stop=None, pending=None, ready=False)


def _released(state: Runtime, _: facts.ResourcesReleased) -> Runtime:
    phase = Phase.ENDED if state.status in ENDED_STATUSES else state.phase
    if state.deleting:
        phase = Phase.DELETED if state.purged else _phase_of_deletion(state.purging)
    return replace(state, allocation=None, phase=phase)


def _phase_of_deletion(purging: bool) -> Phase:
    return Phase.DELETING if purging else Phase.RESTORABLE


def _resume_requested(state: Runtime, fact: facts.ResumeRequested) -> Runtime:
    changed = fact.HasField("configuration")
    history = state.history
    if history.ended is not None and history.ended.reason == facts.SEARCH_END_REASON_SAMPLER_FAILED:
        # Whatever was wrong with the sampler may be so no longer.
        history = replace(history, ended=None)
    return replace(
        state,
        history=history,
        status=Status.STARTED,
        phase=Phase.QUEUED,
        configuration=fact.configuration if changed else state.configuration,
        configuration_digest=fact.configuration_digest if changed else state.configuration_digest,
        resume_trials=tuple(fact.trials),
        resume_snapshot_id=fact.snapshot_id,
        resumes=state.resumes + 1,
        failure_reason=common.FAILURE_REASON_UNSPECIFIED,
        health=common.HEALTH_UNSPECIFIED,
        health_reason="",
    )


def _delete_requested(state: Runtime, fact: facts.DeleteRequested) -> Runtime:
    at_once = not fact.HasField("purge_time")
    purge_time = None if at_once else fact.purge_time.ToDatetime(UTC)
    return _with_deletion(replace(state, deleting=True, purge_time=purge_time), state.purging or at_once)


def _with_deletion(state: Runtime, purging: bool) -> Runtime:
    over = state.allocation is None and state.status in ENDED_STATUSES
    return replace(state, purging=purging, phase=_phase_of_deletion(purging) if over else state.phase)


def _undeleted(state: Runtime, _: facts.RuntimeUndeleted) -> Runtime:
    phase = Phase.ENDED if state.phase is Phase.RESTORABLE else state.phase
    return replace(state, deleting=False, purge_time=None, phase=phase)


def _purge_started(state: Runtime, _: facts.PurgeStarted) -> Runtime:
    return _with_deletion(state, purging=True)


def _purged(state: Runtime, fact: facts.RuntimePurged) -> Runtime:
    remaining = tuple(fact.remaining)
    return replace(
        state, purge_remaining=remaining, purged=not remaining, phase=Phase.DELETING if remaining else Phase.DELETED
    )


def _health_changed(state: Runtime, fact: facts.HealthChanged) -> Runtime:
    return replace(state, health=fact.health, health_reason=fact.reason)


def _readiness_changed(state: Runtime, fact: facts.ReadinessChanged) -> Runtime:
    return replace(state, ready=fact.ready)


def _labels_changed(state: Runtime, fact: facts.LabelsChanged) -> Runtime:
    gone = frozenset(fact.removed_labels)
    kept = {key: text for key, text in state.labels if key not in gone}
    labels = tuple(sorted({**kept, **fact.labels}.items()))
    return replace(state, labels=labels, removed_labels=(state.removed_labels | gone) - frozenset(fact.labels))


def _suggested(state: Runtime, fact: facts.TrialSuggested) -> Runtime:
    return replace(state, history=state.history.suggest(fact.trial, fact.parameters))


def _objective_reported(state: Runtime, fact: facts.ObjectiveReported) -> Runtime:
    value = fact.value if fact.HasField("value") else None
    return replace(state, history=state.history.report(fact.trial, value, best=fact.best))


def _rung_reached(state: Runtime, fact: facts.RungReached) -> Runtime:
    return replace(state, history=state.history.reach(fact.trial, fact.rung, fact.step, fact.value))


def _pruned(state: Runtime, fact: facts.TrialPruned) -> Runtime:
    pruned = search.Pruned(fact.trial, fact.cut_off, fact.rank, fact.reached_count)
    return replace(state, history=state.history.prune(pruned))


def _search_ended(state: Runtime, fact: facts.SearchEnded) -> Runtime:
    return replace(state, history=replace(state.history, ended=search.Ended(fact.reason, fact.detail)))


EVOLVE: dict[type[Message], Callable[[Runtime, Any], Runtime]] = {
    facts.RuntimeRequested: _requested,
    facts.ResourcesPending: _pending,
    facts.ResourcesAllocated: _allocated,
    facts.RuntimeStarted: _started,
    facts.StopRequested: _stop_requested,
    facts.RuntimeAborted: _aborted,
    facts.RuntimeFailed: _failed,
    facts.RuntimeCompleted: _completed,
    facts.ResourcesReleased: _released,
    facts.ResumeRequested: _resume_requested,
    facts.DeleteRequested: _delete_requested,
    facts.RuntimeUndeleted: _undeleted,
    facts.PurgeStarted: _purge_started,
    facts.RuntimePurged: _purged,
    facts.HealthChanged: _health_changed,
    facts.ReadinessChanged: _readiness_changed,
    facts.LabelsChanged: _labels_changed,
    facts.TrialSuggested: _suggested,
    facts.ObjectiveReported: _objective_reported,
    facts.RungReached: _rung_reached,
    facts.TrialPruned: _pruned,
    facts.SearchEnded: _search_ended,
}

_BEFORE_RUNNING = frozenset({Phase.QUEUED, Phase.ALLOCATING, Phase.STARTING})


def evolve(state: Runtime, fact: Fact) -> Runtime:
    """Apply one fact. One that an attempt wrote, or that comes before the request, is counted and changes nothing."""
    apply = EVOLVE.get(type(fact.payload))
    first = isinstance(fact.payload, facts.RuntimeRequested)
    if apply is None or fact.attempt is not None or first == state.exists:
        return replace(state, ignored=state.ignored + 1)
    return apply(state, fact.payload)


# --- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestRuntime:
    runtime_id: str
    configuration_text: str
    configuration: RuntimeConfiguration
    configuration_digest: str
    trial_count: int
    request_id: str = ""
    cloned_from: str = ""
    branch: facts.Branch | None = None


@dataclass(frozen=True, slots=True)
class ReportPending:
    reason: facts.PendingReason
    detail: str


@dataclass(frozen=True, slots=True)
class AllocateResources:
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class ReportStarted:
    pass


@dataclass(frozen=True, slots=True)
class StopRuntime:
    mode: common.StopMode
    # In UTC.
    deadline_time: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AbortRuntime:
    """Every trial has ended because of a stop: of the runtime, or of each trial that was left."""

    reason: str = ""
    # The trials were stopped one by one.
    trials_stopped: bool = False


@dataclass(frozen=True, slots=True)
class FailRuntime:
    reason: common.FailureReason
    detail: str
    trial: int = 0


@dataclass(frozen=True, slots=True)
class CompleteRuntime:
    # Which trials were complete before the last step of their plan; empty: none was.
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseResources:
    pass


@dataclass(frozen=True, slots=True)
class ResumeRuntime:
    trials: tuple[int, ...] = ()
    snapshot_id: str = ""
    # None: unchanged.
    configuration: RuntimeConfiguration | None = None
    configuration_digest: str = ""
    changed_fields: tuple[str, ...] = ()
    # The new configuration trains for longer, which alone lets a Completed runtime go on.
    extends: bool = False


@dataclass(frozen=True, slots=True)
class DeleteRuntime:
    # In UTC; of the abrupt stop that a forced delete brings.
    deadline_time: datetime
    force: bool = False
    reason: str = ""
    # In UTC; from when its data may be removed. None: at once.
    purge_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class UndeleteRuntime:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StartPurge:
    """The restore window is over."""


@dataclass(frozen=True, slots=True)
class ReportPurged:
    snapshot_count: int
    snapshot_bytes: int
    point_count: int
    log_line_count: int
    remaining: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportHealth:
    health: common.Health
    reason: str


@dataclass(frozen=True, slots=True)
class ReportReadiness:
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LabelRuntime:
    labels: dict[str, str]
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SuggestTrial:
    """The sampler has chosen the next trial, knowing so many entries of the history."""

    entry_count: int
    suggestion: facts.TrialSuggested


@dataclass(frozen=True, slots=True)
class ReportObjective:
    report: facts.ObjectiveReported


@dataclass(frozen=True, slots=True)
class ReachRung:
    """A trial has reached a rung, judged with so many entries of the history known. `pruned`: None: it goes on."""

    entry_count: int
    rung: facts.RungReached
    pruned: facts.TrialPruned | None = None


@dataclass(frozen=True, slots=True)
class EndSearch:
    reason: facts.SearchEndReason
    detail: str


# --- decide ---------------------------------------------------------------------------------------------------------


def _request(state: Runtime, command: RequestRuntime) -> list[Message]:
    if state.exists:
        repeated, other = state.configuration_digest == command.configuration_digest, "with another configuration"
        if command.configuration.launcher == LAUNCHER_EXTERNAL and command.request_id:
            # Its attempt belongs to the process that asked for it.
            repeated, other = command.request_id == state.request_id, "already, and was begun by another process"
        if repeated:
            return []
        raise AlreadyExists(f"runtime {state.runtime_id} exists {other}", reason="RUNTIME_EXISTS")
    return [
        facts.RuntimeRequested(
            runtime_id=command.runtime_id,
            configuration_text=command.configuration_text,
            configuration=command.configuration,
            configuration_digest=command.configuration_digest,
            cloned_from=command.cloned_from,
            request_id=command.request_id,
            trial_count=command.trial_count,
            branch=command.branch,
        )
    ]


def _report_pending(state: Runtime, command: ReportPending) -> list[Message]:
    if state.phase is not Phase.QUEUED:
        return []
    known = state.pending
    if known is not None and known.reason == command.reason:
        return []
    return [facts.ResourcesPending(reason=command.reason, detail=command.detail)]


def _allocate(state: Runtime, command: AllocateResources) -> list[Message]:
    if state.phase is not Phase.QUEUED or state.allocation is not None:
        return []
    held = command.allocation
    return [
        facts.ResourcesAllocated(
            cpus=held.cpus,
            memory_gigabytes=held.memory_gigabytes,
            gpus=held.gpus,
            host=held.host,
            gpu_count=held.gpu_count,
        )
    ]


def _report_started(state: Runtime, _: ReportStarted) -> list[Message]:
    return [facts.RuntimeStarted()] if state.phase in _BEFORE_RUNNING else []


def _stop(state: Runtime, command: StopRuntime) -> list[Message]:
    if state.status is Status.ABORTED:
        return []
    if state.status in ENDED_STATUSES:
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is {_word(state)}; only a Started runtime can be stopped",
            reason="RUNTIME_ENDED",
        )
    if state.stop is not None and (
        state.stop.mode == common.STOP_MODE_ABRUPT or command.mode != common.STOP_MODE_ABRUPT
    ):
        return []
    return [
        facts.StopRequested(mode=command.mode, deadline_time=to_timestamp(command.deadline_time), reason=command.reason)
    ]


def _abort(state: Runtime, command: AbortRuntime) -> list[Message]:
    if not state.in_progress:
        return []
    if state.stop is None and not command.trials_stopped:
        raise FailedPrecondition(f"no stop of runtime {state.runtime_id} was requested", reason="NO_STOP_REQUESTED")
    return [facts.RuntimeAborted(reason=command.reason)]


def _fail(state: Runtime, command: FailRuntime) -> list[Message]:
    if not state.in_progress:
        return []
    if state.stop is not None:
        # An accepted stop wins over a later crash.
        return [facts.RuntimeAborted(reason=f"stopped; while stopping: {command.detail}")]
    return [facts.RuntimeFailed(reason=command.reason, detail=command.detail, trial=command.trial)]


def _complete(state: Runtime, command: CompleteRuntime) -> list[Message]:
    return [facts.RuntimeCompleted(detail=command.detail)] if state.in_progress else []


def _release(state: Runtime, _: ReleaseResources) -> list[Message]:
    if state.phase is Phase.TERMINATING or (state.allocation is not None and not state.in_progress):
        return [facts.ResourcesReleased()]
    return []


def _resume(state: Runtime, command: ResumeRuntime) -> list[Message]:
    if state.in_progress:
        if state.stop is not None:
            raise FailedPrecondition(
                f"runtime {state.runtime_id} is stopping; resume it when it is Aborted", reason="RUNTIME_STOPPING"
            )
        return []
    if state.phase is Phase.TERMINATING:
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is {_word(state)} and still terminating", reason="RUNTIME_TERMINATING"
        )
    if state.status is Status.COMPLETED and not command.extends:
        script = state.configuration is not None and state.configuration.launcher == LAUNCHER_EXTERNAL
        longer = "milepost.init(resume=..., total_steps=...)" if script else "give changes that let it train for longer"
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is Completed; it can go on only with a larger total: {longer}. What is measured of it "
            "afterwards, such as an evaluation, is a run of its own: a label of both lets them be found together",
            reason="RUNTIME_COMPLETED",
        )
    return [
        facts.ResumeRequested(
            trials=command.trials,
            snapshot_id=command.snapshot_id,
            configuration=command.configuration,
            configuration_digest=command.configuration_digest,
            changed_fields=command.changed_fields,
        )
    ]


def _delete(state: Runtime, command: DeleteRuntime) -> list[Message]:
    purge_time = to_timestamp(command.purge_time) if command.purge_time is not None else None
    deleted = facts.DeleteRequested(reason=command.reason, purge_time=purge_time)
    if state.deleting:
        # It was hidden already; only that its data goes sooner is new.
        return [deleted] if command.purge_time is None and not state.purging else []
    if not state.in_progress:
        return [deleted]
    if not command.force:
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is Started; stop it first, or delete with force", reason="RUNTIME_IN_PROGRESS"
        )
    stop = _stop(state, StopRuntime(common.STOP_MODE_ABRUPT, command.deadline_time, "deleted"))
    return [*stop, deleted]


def _undelete(state: Runtime, command: UndeleteRuntime) -> list[Message]:
    if not state.deleting:
        return []
    if state.purging:
        how = "is purged: its snapshots, metrics and logs are gone" if state.purged else "is being purged"
        raise FailedPrecondition(
            f"runtime {state.runtime_id} {how}; its events stay, and milepost runtime clone starts it anew",
            reason="RUNTIME_PURGED",
        )
    return [facts.RuntimeUndeleted(reason=command.reason)]


def _start_purge(state: Runtime, _: StartPurge) -> list[Message]:
    return [facts.PurgeStarted()] if state.phase is Phase.RESTORABLE else []


def _report_purged(state: Runtime, command: ReportPurged) -> list[Message]:
    if state.phase is not Phase.DELETING:
        raise FailedPrecondition(f"runtime {state.runtime_id} is not being deleted", reason="NOT_DELETING")
    if command.remaining and _what(command.remaining) == _what(state.purge_remaining):
        # Tried again for ever, it must not fill the log, which keeps everything.
        return []
    return [
        facts.RuntimePurged(
            snapshot_count=command.snapshot_count,
            snapshot_bytes=command.snapshot_bytes,
            point_count=command.point_count,
            log_line_count=command.log_line_count,
            remaining=command.remaining,
        )
    ]


def _what(remaining: Iterable[str]) -> set[str]:
    """Name what remains, without the reasons, which may be worded otherwise each time."""
    return {line.partition(": ")[0] for line in remaining}


def _report_health(state: Runtime, command: ReportHealth) -> list[Message]:
    if not state.in_progress or state.health == command.health:
        return []
    return [facts.HealthChanged(health=command.health, reason=command.reason)]


def _report_readiness(state: Runtime, command: ReportReadiness) -> list[Message]:
    if not state.in_progress or state.ready == command.ready:
        return []
    return [facts.ReadinessChanged(ready=command.ready, reason=command.reason)]


def _label(state: Runtime, command: LabelRuntime) -> list[Message]:
    known = {**(state.configuration.labels if state.configuration is not None else {}), **dict(state.labels)}
    kept = {key: text for key, text in known.items() if key not in state.removed_labels}
    # What its code declares is not known here, so what is taken away is said once whether it is there or not.
    removed = sorted(command.removed - state.removed_labels - frozenset(command.labels))
    labels = {key: text for key, text in command.labels.items() if kept.get(key) != text}
    return [facts.LabelsChanged(labels=labels, removed_labels=removed)] if labels or removed else []


def _suggest(state: Runtime, command: SuggestTrial) -> list[Message]:
    history, chosen = state.history, command.suggestion
    if any(one.trial == chosen.trial and dict(one.parameters) == chosen.parameters for one in history.suggestions()):
        return []
    if len(history.entries) != command.entry_count or chosen.trial != history.suggested_count + 1:
        # Chosen from what is no longer all that there is: it is chosen anew.
        raise Aborted(f"the search of runtime {state.runtime_id} has gone on", reason="SEARCH_MOVED_ON")
    if not state.in_progress or state.stop is not None or history.ended is not None:
        raise FailedPrecondition(f"runtime {state.runtime_id} takes no more trials", reason="SEARCH_ENDED")
    return [chosen]


def _report_objective(state: Runtime, command: ReportObjective) -> list[Message]:
    history, report = state.history, command.report
    if report.trial in history.reported:
        return []
    if all(entry.trial != report.trial for entry in history.suggestions()):
        raise FailedPrecondition(
            f"trial {report.trial} of {state.runtime_id} was not suggested", reason="TRIAL_NOT_SUGGESTED"
        )
    search_of = state.configuration.search if state.configuration is not None else None
    if search_of is None or not report.HasField("value"):
        return [report]
    decided = facts.ObjectiveReported()
    decided.CopyFrom(report)
    decided.best = search.is_better(report.value, history.best_value, search_of.objective.mode)
    return [decided]


def _reach_rung(state: Runtime, command: ReachRung) -> list[Message]:
    history, rung = state.history, command.rung
    own = [one.rung for one in history.rungs() if one.trial == rung.trial]
    if rung.rung in own or rung.trial in history.reported:
        return []
    if len(history.entries) != command.entry_count:
        raise Aborted(f"the search of runtime {state.runtime_id} has gone on", reason="SEARCH_MOVED_ON")
    if rung.rung != len(own) + 1:
        raise FailedPrecondition(
            f"trial {rung.trial} of {state.runtime_id} has reached {len(own)} rungs, not {rung.rung - 1}",
            reason="RUNG_LEFT_OUT",
        )
    return [rung, *([command.pruned] if command.pruned is not None else [])]


def _end_search(state: Runtime, command: EndSearch) -> list[Message]:
    history = state.history
    if history.ended is not None or not state.in_progress:
        return []
    return [
        facts.SearchEnded(
            reason=command.reason,
            detail=command.detail,
            best_trial=history.best_trial,
            best_value=history.best_value,
        )
    ]


DECIDE: dict[type, Callable[[Runtime, Any], list[Message]]] = {
    RequestRuntime: _request,
    ReportPending: _report_pending,
    AllocateResources: _allocate,
    ReportStarted: _report_started,
    StopRuntime: _stop,
    AbortRuntime: _abort,
    FailRuntime: _fail,
    CompleteRuntime: _complete,
    ReleaseResources: _release,
    ResumeRuntime: _resume,
    DeleteRuntime: _delete,
    UndeleteRuntime: _undelete,
    StartPurge: _start_purge,
    ReportPurged: _report_purged,
    ReportHealth: _report_health,
    ReportReadiness: _report_readiness,
    LabelRuntime: _label,
    SuggestTrial: _suggest,
    ReportObjective: _report_objective,
    ReachRung: _reach_rung,
    EndSearch: _end_search,
}

_WHEN_DELETED: frozenset[type] = frozenset(
    {DeleteRuntime, UndeleteRuntime, StartPurge, ReportPurged}
    | {ReleaseResources, AbortRuntime, FailRuntime, CompleteRuntime}
)


def decide(state: Runtime, command: object) -> list[Message]:
    """Decide what a command brings about. A repeated command decides nothing.

    Raises:
        NotFound: there is no such runtime, or it is deleted.
        AlreadyExists: the id is taken by another configuration.
        FailedPrecondition: the state does not allow it.
    """
    if not isinstance(command, RequestRuntime):
        if not state.exists:
            raise NotFound("no such runtime", reason="RUNTIME_NOT_FOUND")
        if state.deleting and type(command) not in _WHEN_DELETED:
            raise NotFound(f"runtime {state.runtime_id} is deleted", reason="RUNTIME_DELETED")
        if state.purged and isinstance(command, ReportPurged):
            return []
    return DECIDE[type(command)](state, command)


def _word(state: Runtime) -> str:
    return state.status.value if state.status is not None else "unknown"

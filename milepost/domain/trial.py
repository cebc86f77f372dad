"""The life of one trial: ids, facts, states, `initial`, `evolve`, `decide`.

Two writers decide through this module: the runtime service (on the control subject) and the current attempt (on its
own subject). Pure: no clock, no random, no I/O. Facts are the messages of `trial_events.proto`.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import steering
from milepost.domain.decider import Fact, replace, to_timestamp
from milepost.errors import AlreadyExists, FailedPrecondition, NotFound
from milepost.numbers import MAX_NUMBER

# --- states ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queued:
    """Waits for its first launch or, after a resume, its next. The scheduler launches it."""

    reason: facts.LaunchReason
    # The snapshot that a resume named. Empty: the newest valid one, or the beginning.
    snapshot_id: str = ""


@dataclass(frozen=True, slots=True)
class Retrying:
    """Crashed or lost, and will be launched again. The scheduler launches it when the time has come."""

    retry: int
    not_before_time: datetime
    cause: common.ExitCause
    detail: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Was stopped. Only a resume moves it on."""

    reason: str
    # By the pruner of its search, for which it is over.
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    """Ended by itself. Goes on only with a larger total."""

    last_step: int
    # Why that was before the last step of its plan; empty: it was not.
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Failed for good. Only a resume moves it on."""

    reason: common.FailureReason
    detail: str


@dataclass(frozen=True, slots=True)
class StopOrder:
    """A stop that the current attempt has to obey."""

    mode: common.StopMode
    deadline_time: datetime
    reason: str
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class RollBackOrder:
    """The trial goes on from an earlier snapshot as soon as the current attempt is over."""

    snapshot_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The last word of an attempt."""

    outcome: facts.AttemptOutcome
    cause: common.ExitCause
    detail: str
    last_step: int


@dataclass(frozen=True, slots=True)
class Active:
    """An attempt is launched and not concluded. The process, or the scheduler for it, moves it on.

    A crash of the process leaves it here until the scheduler notices and fences it.
    """

    attempt: int
    launch: facts.AttemptLaunched
    started: bool = False
    stop: StopOrder | None = None
    roll_back: RollBackOrder | None = None
    # Snapshots that it was asked for, whether the last one is still to come, and the id of that request.
    snapshot_requests: int = 0
    snapshot_wanted: bool = False
    snapshot_request_id: str = ""
    # The same of evaluations.
    evaluation_requests: int = 0
    evaluation_wanted: bool = False
    evaluation_request_id: str = ""
    # Set by AttemptEnded: it writes nothing more; the scheduler concludes.
    ending: Ending | None = None
    # Set by AttemptFenced: nothing it writes counts; the scheduler concludes.
    fence: facts.AttemptFenced | None = None
    open_evaluation_step: int | None = None
    last_step: int = 0
    # Rank -> last declared health, ready; for change detection.
    health: tuple[tuple[int, common.Health], ...] = ()
    ready: frozenset[int] = frozenset()
    running_ranks: frozenset[int] = frozenset()
    # Alerts that were raised: kind, series or title, step.
    alerts: frozenset[tuple[int, str, int]] = frozenset()
    # The process of a script, as it was named at the launch or by itself. None: it is not known, or no script.
    process: common.ProcessIdentity | None = None

    @property
    def may_write(self) -> bool:
        return self.fence is None and self.ending is None


Situation = Queued | Retrying | Stopped | Completed | Failed | Active


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of steps that one attempt owns. `last_step` None: open, nothing has cut it yet."""

    attempt: int
    first_step: int
    last_step: int | None = None


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What a roll back gave up: the steps after one, of this attempt and those before it."""

    attempt: int
    step: int


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot that was committed and not deleted."""

    snapshot_id: str
    attempt: int
    step: int
    uri: str
    manifest_sha256: str
    # A later attempt went on from an earlier step, or is about to.
    superseded: bool = False
    epoch: int = 0
    batch: int = 0
    # Who owned the steps up to it when it was committed.
    trunk: tuple[Segment, ...] = ()
    # The runtimes that began at it and are not purged.
    held_by: tuple[str, ...] = ()
    # Somebody wants it kept.
    pinned: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether it stays, whatever the policy of its trial keeps."""
        return self.pinned or bool(self.held_by)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the training code last said it will do. None: unknown."""

    total_steps: int | None = None
    steps_per_epoch: int | None = None
    epochs: int | None = None
    eval_every_steps: int | None = None
    snapshot_every_steps: int | None = None
    batches_per_epoch: int | None = None
    # Set: evaluations are counted from the start of every so many-th epoch.
    eval_every_epochs: int | None = None
    # The loop gives the state that a snapshot needs, so a graceful stop can take one.
    gives_state: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """What the log says about one trial, as far as decisions need it."""

    runtime_id: str = ""
    number: int = 0
    # None: not created.
    situation: Situation | None = None
    # The number of the last attempt that was launched.
    attempt: int = 0
    # Retries since the last request or resume.
    retries: int = 0
    lineage: tuple[Segment, ...] = ()
    # By step, oldest first.
    snapshots: tuple[SnapshotRecord, ...] = ()
    plan: Plan = Plan()
    # The snapshot of another trial at which this one begins. None: at nothing.
    origin: common.SnapshotOrigin | None = None
    # Batches to pass over behind a snapshot, by its id.
    skips: tuple[tuple[str, int], ...] = ()
    # Requests of roll backs that were accepted, oldest first; empty texts are of those without an id.
    roll_backs: tuple[str, ...] = ()
    # By the last roll back. None: there was none.
    abandoned: Abandoned | None = None
    # Its snapshots are being removed, or are gone, but for those that are held.
    purging: bool = False
    # What may be changed while it runs.
    steering: steering.Steering = steering.initial
    # Events that had no right to be where they are; they changed nothing.
    ignored: int = 0

    @property
    def active(self) -> Active | None:
        return self.situation if isinstance(self.situation, Active) else None

    def skip_of(self, snapshot_id: str) -> int:
        """Return how many batches are passed over behind a snapshot."""
        return dict(self.skips).get(snapshot_id, 0)


initial = Trial()

# --- lineage --------------------------------------------------------------------------------------------------------


def cut_lineage(lineage: tuple[Segment, ...], attempt: int, restored_step: int) -> tuple[Segment, ...]:
    """Give the steps after `restored_step` to an attempt, and leave the others where they are."""
    kept = []
    for segment in lineage:
        if segment.first_step > restored_step:
            continue
        last = restored_step if segment.last_step is None else min(segment.last_step, restored_step)
        kept.append(replace(segment, last_step=last))
    return (*kept, Segment(attempt, restored_step + 1))


def owner_of(lineage: tuple[Segment, ...], step: int) -> int | None:
    """Return the attempt that owns a step; None where no attempt can have done it."""
    for segment in lineage:
        if step >= segment.first_step and (segment.last_step is None or step <= segment.last_step):
            return segment.attempt
    return None


def restorable_snapshots(state: Trial) -> list[SnapshotRecord]:
    """List the snapshots a resume may go on from, best first: those of the lineage, newest first.

    Of a branch these are its own; behind them is its origin.
    """
    return sorted((s for s in state.snapshots if not s.superseded), key=lambda s: (s.step, s.attempt), reverse=True)


def origin_record(state: Trial) -> SnapshotRecord | None:
    """Describe the snapshot of another trial at which a branch begins; None: it is no branch."""
    origin = state.origin
    if origin is None:
        return None
    return SnapshotRecord(
        origin.snapshot_id,
        origin.attempt,
        origin.step,
        origin.uri,
        origin.manifest_sha256,
        False,
        origin.epoch,
        origin.batch,
    )


def origin_step(state: Trial) -> int:
    """Return the step at which a trial begins: that of the snapshot it branched off at, else 0."""
    return state.origin.step if state.origin is not None else 0


def trunk_of(state: Trial, record: SnapshotRecord) -> list[common.AncestorSteps]:
    """List who did every step up to a snapshot, oldest first: the ancestors of the trial, and its own attempts."""
    inherited = (
        [part for part in state.origin.trunk if part.last_step <= record.step] if state.origin is not None else []
    )
    own = [
        common.AncestorSteps(
            runtime_id=state.runtime_id,
            trial=state.number,
            attempt=segment.attempt,
            first_step=segment.first_step,
            last_step=segment.last_step,
        )
        for segment in record.trunk
        if segment.last_step is not None and segment.first_step <= segment.last_step
    ]
    return [*inherited, *own]


# --- evolve ---------------------------------------------------------------------------------------------------------

_PAYLOADS: list[Any] = [field.message_type for field in facts.TrialEvent.DESCRIPTOR.oneofs_by_name["payload"].fields]
_WRITERS = {getattr(facts, kind.name): kind.GetOptions().Extensions[options.writer] for kind in _PAYLOADS}

# The largest number that every reader can hold, and count one further. As in telemetry.
# Workers of one attempt.
MAX_RANKS = 10_000
# Alerts of one attempt; what a run has more to say has been heard.
MAX_ALERTS = 200
# Numbers of an attempt that may be negative, and those that `PlanDeclared` may get wrong without being wrong itself.
_ANY_NUMBER = frozenset({"exit_code", "signal"})
_COUNTS = {
    getattr(facts, kind.name): tuple(
        field.name
        for field in kind.fields
        if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
        and not field.is_repeated
        and field.name not in _ANY_NUMBER
    )
    for kind in _PAYLOADS
    if kind.name != facts.PlanDeclared.DESCRIPTOR.name
}


def _created(state: Trial, fact: facts.TrialCreated) -> Trial:
    return replace(
        state,
        runtime_id=fact.runtime_id,
        number=fact.trial,
        situation=Queued(facts.LAUNCH_REASON_FIRST),
        origin=fact.origin if fact.HasField("origin") else None,
        steering=_inherited(fact),
    )


def _inherited(fact: facts.TrialCreated) -> steering.Steering:
    """Return what a branch takes over of the values that its parent was steered to. What a search chose wins."""
    values = {name: text for name, text in fact.origin.steered.items() if name not in fact.searched_parameters}
    return steering.inherit(fact.origin.step, values)


def _launched(state: Trial, fact: facts.AttemptLaunched) -> Trial:
    process = fact.process if fact.HasField("process") else None
    return replace(state, situation=Active(fact.attempt, fact, process=process), attempt=fact.attempt)


def _fenced(state: Trial, fact: facts.AttemptFenced) -> Trial:
    active = state.active
    if active is None or active.attempt != fact.attempt:
        return replace(state, ignored=state.ignored + 1)
    return _with_active(state, fence=fact)


def _attempt_started(state: Trial, fact: facts.AttemptStarted) -> Trial:
    if state.active is not None and state.active.launch.appends and state.lineage:
        # It takes no step from anybody: what it adds is of the attempt that has the end of the lineage.
        return _with_active(state, started=True, last_step=fact.restored_step)
    snapshots = tuple(
        replace(s, superseded=True) if s.step > fact.restored_step and s.attempt != fact.attempt else s
        for s in state.snapshots
    )
    lineage = cut_lineage(state.lineage, fact.attempt, fact.restored_step)
    state = _with_active(state, started=True, last_step=fact.restored_step)
    return replace(state, lineage=lineage, snapshots=snapshots)


def _plan_declared(state: Trial, fact: facts.PlanDeclared) -> Trial:
    def known(name: str) -> int | None:
        value: int = getattr(fact, name)
        return value if fact.HasField(name) and 0 <= value <= MAX_NUMBER else None

    plan = Plan(
        total_steps=known("total_steps"),
        steps_per_epoch=known("steps_per_epoch"),
        epochs=known("epochs"),
        eval_every_steps=known("eval_every_steps"),
        snapshot_every_steps=known("snapshot_every_steps"),
        batches_per_epoch=known("batches_per_epoch"),
        eval_every_epochs=known("eval_every_epochs"),
        gives_state=fact.gives_state,
    )
    return replace(state, plan=plan)


def _instance_started(state: Trial, fact: facts.InstanceStarted) -> Trial:
    active = state.active
    if active is None:
        return state
    process = fact.process if fact.HasField("process") and fact.rank == 0 else active.process
    return _with_active(state, running_ranks=active.running_ranks | {fact.rank}, process=process)


def _instance_ready(state: Trial, fact: facts.InstanceReadinessChanged) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(state, ready=active.ready | {fact.rank} if fact.ready else active.ready - {fact.rank})


def _instance_health(state: Trial, fact: facts.InstanceHealthChanged) -> Trial:
    active = state.active
    if active is None:
        return state
    others = tuple(entry for entry in active.health if entry[0] != fact.rank)
    return _with_active(state, health=(*others, (fact.rank, fact.health)))


def _instance_exited(state: Trial, fact: facts.InstanceExited) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(state, running_ranks=active.running_ranks - {fact.rank}, ready=active.ready - {fact.rank})


def _stepped(state: Trial, fact: Any, **changes: Any) -> Trial:
    active = state.active
    if active is None or (not changes and fact.step <= active.last_step):
        return state
    return _with_active(state, last_step=max(active.last_step, fact.step), **changes)


def _evaluation_started(state: Trial, fact: facts.EvaluationStarted) -> Trial:
    return _stepped(state, fact, open_evaluation_step=fact.step)


def _evaluation_completed(state: Trial, fact: facts.EvaluationCompleted) -> Trial:
    active = state.active
    wanted = active is not None and active.evaluation_wanted and fact.interrupted
    return _stepped(state, fact, open_evaluation_step=None, evaluation_wanted=wanted)


def _evaluation_refused(state: Trial, fact: facts.EvaluationRefused) -> Trial:
    return _stepped(state, fact, evaluation_wanted=False)


def _snapshot_committed(state: Trial, fact: facts.SnapshotCommitted) -> Trial:
    trunk = cut_lineage(state.lineage, fact.attempt, fact.step)[:-1]
    record = SnapshotRecord(
        fact.snapshot_id, fact.attempt, fact.step, fact.uri, fact.manifest_sha256,
        superseded=state.active is not None and state.active.roll_back is not None,
        epoch=fact.epoch, batch=fact.batch, trunk=trunk,
    )  # fmt: skip
    place = bisect.bisect_right(state.snapshots, (record.step, record.attempt), key=lambda s: (s.step, s.attempt))
    snapshots = (*state.snapshots[:place], record, *state.snapshots[place:])
    return replace(_with_active(_stepped(state, fact), snapshot_wanted=False), snapshots=snapshots)


def _snapshot_failed(state: Trial, fact: facts.SnapshotFailed) -> Trial:
    return _with_active(_stepped(state, fact), snapshot_wanted=False)


def _snapshot_deleted(state: Trial, fact: facts.SnapshotDeleted) -> Trial:
    return replace(state, snapshots=tuple(s for s in state.snapshots if s.snapshot_id != fact.snapshot_id))


def _snapshot_held(state: Trial, fact: facts.SnapshotHeld) -> Trial:
    def held(record: SnapshotRecord) -> SnapshotRecord:
        return replace(record, held_by=tuple(sorted({*record.held_by, fact.runtime_id})))

    return _with_snapshot(state, fact.snapshot_id, held)


def _snapshot_let_go(state: Trial, fact: facts.SnapshotLetGo) -> Trial:
    def let_go(record: SnapshotRecord) -> SnapshotRecord:
        return replace(record, held_by=tuple(one for one in record.held_by if one != fact.runtime_id))

    return _with_snapshot(state, fact.snapshot_id, let_go)


def _snapshot_pinned(state: Trial, fact: facts.SnapshotPinned) -> Trial:
    return _with_snapshot(state, fact.snapshot_id, lambda record: replace(record, pinned=True))


def _snapshot_unpinned(state: Trial, fact: facts.SnapshotUnpinned) -> Trial:
    return _with_snapshot(state, fact.snapshot_id, lambda record: replace(record, pinned=False))


def _purge_started(state: Trial, _: facts.TrialPurgeStarted) -> Trial:
    return replace(state, purging=True)


def _with_snapshot(state: Trial, snapshot_id: str, change: Callable[[SnapshotRecord], SnapshotRecord]) -> Trial:
    snapshots = tuple(change(record) if record.snapshot_id == snapshot_id else record for record in state.snapshots)
    return replace(state, snapshots=snapshots)


def _attempt_ended(state: Trial, fact: facts.AttemptEnded) -> Trial:
    ending = Ending(fact.outcome, fact.cause, fact.detail, fact.last_step)
    return _with_active(state, ending=ending, last_step=fact.last_step)


def _retry_scheduled(state: Trial, fact: facts.RetryScheduled) -> Trial:
    situation = Retrying(fact.retry, fact.not_before_time.ToDatetime(UTC), fact.cause, fact.detail)
    return replace(state, situation=situation, retries=fact.retry)


def _stop_requested(state: Trial, fact: facts.TrialStopRequested) -> Trial:
    return _with_active(state, stop=StopOrder(fact.mode, fact.deadline_time.ToDatetime(UTC), fact.reason, fact.pruned))


def _resume_requested(state: Trial, fact: facts.TrialResumeRequested) -> Trial:
    reason = facts.LAUNCH_REASON_RESUME if state.attempt else facts.LAUNCH_REASON_FIRST
    active = state.active
    if active is not None and active.roll_back is not None:
        reason = facts.LAUNCH_REASON_ROLL_BACK
    return replace(state, situation=Queued(reason, fact.snapshot_id), retries=0)


def _snapshot_requested(state: Trial, fact: facts.TrialSnapshotRequested) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(
        state,
        snapshot_requests=active.snapshot_requests + 1,
        snapshot_wanted=True,
        snapshot_request_id=fact.request_id,
    )


def _evaluation_requested(state: Trial, fact: facts.TrialEvaluationRequested) -> Trial:
    active = state.active
    if active is None:
        return state
    return _with_active(
        state,
        evaluation_requests=active.evaluation_requests + 1,
        evaluation_wanted=True,
        evaluation_request_id=fact.request_id,
    )


def _roll_back_requested(state: Trial, fact: facts.TrialRollBackRequested) -> Trial:
    skips = tuple(entry for entry in state.skips if entry[0] != fact.snapshot_id)
    if fact.skip_batches:
        skips = (*skips, (fact.snapshot_id, fact.skip_batches))
    snapshots = tuple(replace(s, superseded=True) if s.step > fact.snapshot_step else s for s in state.snapshots)
    state = replace(
        state,
        skips=skips,
        snapshots=snapshots,
        roll_backs=(*state.roll_backs, fact.request_id),
        abandoned=Abandoned(state.attempt, fact.snapshot_step),
        steering=steering.forget(state.steering, frozenset(fact.parameters)),
    )
    if state.active is not None:
        order = RollBackOrder(fact.snapshot_id, fact.reason)
        return _with_active(state, roll_back=order)
    return replace(state, situation=Queued(facts.LAUNCH_REASON_ROLL_BACK, fact.snapshot_id), retries=0)


def _completed(state: Trial, fact: facts.TrialCompleted) -> Trial:
    return replace(state, situation=Completed(fact.last_step, fact.detail))


def _failed(state: Trial, fact: facts.TrialFailed) -> Trial:
    return replace(state, situation=Failed(fact.reason, fact.detail))


def _stopped(state: Trial, fact: facts.TrialStopped) -> Trial:
    return replace(state, situation=Stopped(fact.reason, fact.pruned))


def _steerable_declared(state: Trial, fact: facts.SteerableDeclared) -> Trial:
    return replace(state, steering=steering.declare(state.steering, fact))


def _steer_requested(state: Trial, fact: facts.TrialSteerRequested) -> Trial:
    return replace(state, steering=steering.request(state.steering, fact))


def _parameters_changed(state: Trial, fact: facts.ParametersChanged) -> Trial:
    return replace(_stepped(state, fact), steering=steering.change(state.steering, fact))


def _parameters_not_changed(state: Trial, fact: facts.ParametersNotChanged) -> Trial:
    return replace(_stepped(state, fact), steering=steering.end_request(state.steering, fact.number))


def _alert_raised(state: Trial, fact: facts.AlertRaised) -> Trial:
    active = state.active
    return _with_active(state, alerts=active.alerts | {_alert_key(fact)}) if active else state


def _alert_key(fact: facts.AlertRaised) -> tuple[int, str, int]:
    return (fact.kind, fact.series or fact.title, fact.step)


def _unchanged(state: Trial, _: Message) -> Trial:
    return state


def _with_active(state: Trial, **changes: Any) -> Trial:
    active = state.active
    return state if active is None else replace(state, situation=replace(active, **changes))


EVOLVE: dict[type[Message], Callable[[Trial, Any], Trial]] = {
    facts.TrialCreated: _created,
    facts.AttemptLaunched: _launched,
    facts.AttemptFenced: _fenced,
    facts.AttemptStarted: _attempt_started,
    facts.PlanDeclared: _plan_declared,
    facts.ParametersDeclared: _unchanged,
    facts.InstanceStarted: _instance_started,
    facts.InstanceReadinessChanged: _instance_ready,
    facts.InstanceHealthChanged: _instance_health,
    facts.InstanceExited: _instance_exited,
    facts.EpochCompleted: _stepped,
    facts.EvaluationStarted: _evaluation_started,
    facts.EvaluationCompleted: _evaluation_completed,
    facts.EvaluationRefused: _evaluation_refused,
    facts.SnapshotStarted: _stepped,
    facts.SnapshotCommitted: _snapshot_committed,
    facts.SnapshotFailed: _snapshot_failed,
    facts.SnapshotDeleted: _snapshot_deleted,
    facts.SnapshotHeld: _snapshot_held,
    facts.SnapshotLetGo: _snapshot_let_go,
    facts.SnapshotPinned: _snapshot_pinned,
    facts.SnapshotUnpinned: _snapshot_unpinned,
    facts.TrialPurgeStarted: _purge_started,
    facts.TelemetryDropped: _unchanged,
    facts.AttemptEnded: _attempt_ended,
    facts.RetryScheduled: _retry_scheduled,
    facts.TrialStopRequested: _stop_requested,
    facts.TrialResumeRequested: _resume_requested,
    facts.TrialCompleted: _completed,
    facts.TrialFailed: _failed,
    facts.TrialStopped: _stopped,
    facts.AlertRaised: _alert_raised,
    facts.ClusterStateObserved: _unchanged,
    facts.EnvironmentRecorded: _unchanged,
    facts.TrialSnapshotRequested: _snapshot_requested,
    facts.TrialEvaluationRequested: _evaluation_requested,
    facts.TrialRollBackRequested: _roll_back_requested,
    facts.SteerableDeclared: _steerable_declared,
    facts.TrialSteerRequested: _steer_requested,
    facts.ParametersChanged: _parameters_changed,
    facts.ParametersNotChanged: _parameters_not_changed,
}


def has_effect(state: Trial, fact: Fact) -> bool:
    """Return whether a fact stands where its writer may put it and its attempt may still write.

    This is what makes a zombie, a forged or an unchecked append change nothing.
    """
    writer = _WRITERS.get(type(fact.payload))
    if writer is None or (state.situation is None) != isinstance(fact.payload, facts.TrialCreated):
        return False
    if fact.attempt is None:
        return writer != options.WRITER_ATTEMPT
    if writer == options.WRITER_RUNTIME_SERVICE:
        return False
    active = state.active
    if active is None or not active.may_write:
        return False
    named: int = fact.payload.attempt  # type: ignore[attr-defined]
    return active.attempt == fact.attempt == named and is_plausible(active, fact.payload)


def is_plausible(active: Active, payload: Message) -> bool:
    """Return whether an attempt can mean what it says: numbers that count something, of workers that there can be."""
    for name in _COUNTS.get(type(payload), ()):
        if not 0 <= getattr(payload, name) <= MAX_NUMBER:
            return False
    if isinstance(payload, facts.AlertRaised):
        return len(active.alerts) < MAX_ALERTS
    rank: int = getattr(payload, "rank", 0)
    return rank < MAX_RANKS and steering.is_readable(payload)


def evolve(state: Trial, fact: Fact) -> Trial:
    """Apply one fact. One that has no right to be there is counted and changes nothing."""
    if not has_effect(state, fact):
        return replace(state, ignored=state.ignored + 1)
    return EVOLVE[type(fact.payload)](state, fact.payload)


# --- commands of the runtime service --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateTrial:
    runtime_id: str
    trial: int
    parameters: dict[str, str]
    searched_parameters: dict[str, str]
    origin: common.SnapshotOrigin | None = None


@dataclass(frozen=True, slots=True)
class LaunchAttempt:
    # The number it must get: one more than the last. Guards against launching twice.
    attempt: int
    snapshot: SnapshotRecord | None
    host: str = ""
    gpus: tuple[int, ...] = ()
    rejected_snapshot_ids: tuple[str, ...] = ()
    # Of a script: which process asked for it, by which request, and the step of the checkpoint of its own.
    process: common.ProcessIdentity | None = None
    request_id: str = ""
    own_step: int | None = None
    appends: bool = False


@dataclass(frozen=True, slots=True)
class FenceAttempt:
    attempt: int
    reason: facts.FenceReason
    cause: common.ExitCause
    detail: str
    last_step: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleRetry:
    attempt: int
    max_retries: int
    not_before_time: datetime
    cause: common.ExitCause
    detail: str


@dataclass(frozen=True, slots=True)
class CompleteTrial:
    attempt: int


@dataclass(frozen=True, slots=True)
class FailTrial:
    attempt: int
    reason: common.FailureReason
    detail: str


@dataclass(frozen=True, slots=True)
class MarkStopped:
    """The attempt ended or was fenced because of a stop, or the trial waited and need not be launched."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopTrial:
    mode: common.StopMode
    deadline_time: datetime
    reason: str = ""
    # The pruner of its search wants it.
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class ResumeTrial:
    snapshot_id: str = ""
    # The configuration trains for longer now, which alone lets a Completed trial go on.
    extends: bool = False


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RequestEvaluation:
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RollBackTrial:
    snapshot_id: str
    # What changes of the parameters. JSON scalars as text.
    parameters: dict[str, str]
    # Beside those that are passed over behind this snapshot already.
    skip_batches: int = 0
    reason: str = ""
    request_id: str = ""
    # Only while `step` is a step of this attempt. 0: whose ever it is.
    step: int = 0
    attempt: int = 0
    # Refused where it was rolled back so often already. 0: any number.
    max_times: int = 0


@dataclass(frozen=True, slots=True)
class SteerTrial:
    """Change steerable values. Whether they may be what they are to be is judged here."""

    # Anything that JSON can hold, by name.
    values: Mapping[str, Any]
    actor: str
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class GoOn:
    """The attempt is over because of a roll back: the next one goes on from the snapshot."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ReplaceAttempt:
    """Another process goes on with the run of a script, whose attempt before is dead and has not said its end."""

    fence: FenceAttempt
    failure: common.FailureReason
    launch: LaunchAttempt


@dataclass(frozen=True, slots=True)
class ReportInstanceHealth:
    attempt: int
    rank: int
    health: common.Health
    reason: str


@dataclass(frozen=True, slots=True)
class RecordInstanceExit:
    attempt: int
    exit: facts.InstanceExited


@dataclass(frozen=True, slots=True)
class RaiseAlert:
    alert: facts.AlertRaised


@dataclass(frozen=True, slots=True)
class DeleteSnapshot:
    snapshot_id: str
    reason: facts.SnapshotDeleteReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HoldSnapshot:
    """A runtime begins at this snapshot."""

    snapshot_id: str
    runtime_id: str


@dataclass(frozen=True, slots=True)
class LetSnapshotGo:
    """The runtime that began at this snapshot is purged."""

    snapshot_id: str
    runtime_id: str


@dataclass(frozen=True, slots=True)
class StartPurge:
    """Its runtime is purged: no snapshot is held from here on that is not held already."""


@dataclass(frozen=True, slots=True)
class PinSnapshot:
    snapshot_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UnpinSnapshot:
    snapshot_id: str
    reason: str = ""


# --- command of an attempt ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """Something happened in an attempt: one of the facts that an attempt may write."""

    attempt: int
    payload: Message


# --- decide ---------------------------------------------------------------------------------------------------------


class StaleAttempt(FailedPrecondition):
    """The attempt is fenced, ended, or not the current one. Its process must leave at once and write nothing."""

    reason = "STALE_ATTEMPT"


def _create(state: Trial, command: CreateTrial) -> list[Message]:
    if state.situation is not None:
        if (state.runtime_id, state.number) == (command.runtime_id, command.trial):
            return []
        raise AlreadyExists(f"trial {command.trial} exists", reason="TRIAL_EXISTS")
    return [
        facts.TrialCreated(
            runtime_id=command.runtime_id,
            trial=command.trial,
            parameters=command.parameters,
            searched_parameters=command.searched_parameters,
            origin=command.origin,
        )
    ]


def _launch(state: Trial, command: LaunchAttempt) -> list[Message]:
    if command.attempt <= state.attempt:
        return []
    if not isinstance(state.situation, Queued | Retrying) or command.attempt != state.attempt + 1:
        raise FailedPrecondition(
            f"{_label(state)} cannot launch attempt {command.attempt}: it is {describe(state)}", reason="NOT_LAUNCHABLE"
        )
    reason = facts.LAUNCH_REASON_RETRY if isinstance(state.situation, Retrying) else state.situation.reason
    launched = facts.AttemptLaunched(
        attempt=command.attempt,
        reason=reason,
        host=command.host,
        gpus=command.gpus,
        rejected_snapshot_ids=command.rejected_snapshot_ids,
        process=command.process,
        request_id=command.request_id,
        own_step=command.own_step,
        appends=command.appends,
    )
    if command.snapshot is not None:
        launched.skip_batches = state.skip_of(command.snapshot.snapshot_id)
        launched.snapshot_id = command.snapshot.snapshot_id
        launched.snapshot_step = command.snapshot.step
        launched.snapshot_uri = command.snapshot.uri
    return [launched]


def _fence(state: Trial, command: FenceAttempt) -> list[Message]:
    active = state.active
    if active is None or active.attempt != command.attempt or not active.may_write:
        return []
    return [
        facts.AttemptFenced(
            attempt=command.attempt,
            reason=command.reason,
            cause=command.cause,
            detail=command.detail,
            last_step=max(command.last_step, active.last_step),
        )
    ]


def _concludable(state: Trial, attempt: int) -> Active | None:
    """Return the attempt if it is over but not concluded; None when it was concluded already."""
    active = state.active
    if active is None or active.attempt != attempt:
        return None
    if active.may_write:
        raise FailedPrecondition(
            f"{_label(state)}: attempt {attempt} still runs; fence it first", reason="ATTEMPT_RUNNING"
        )
    return active


def _schedule_retry(state: Trial, command: ScheduleRetry) -> list[Message]:
    if _concludable(state, command.attempt) is None:
        return []
    return [
        facts.RetryScheduled(
            attempt=command.attempt,
            retry=state.retries + 1,
            max_retries=command.max_retries,
            cause=command.cause,
            detail=command.detail,
            not_before_time=to_timestamp(command.not_before_time),
        )
    ]


def _complete(state: Trial, command: CompleteTrial) -> list[Message]:
    active = _concludable(state, command.attempt)
    if active is None:
        return []
    if active.ending is None or active.ending.outcome != facts.ATTEMPT_OUTCOME_COMPLETED:
        raise FailedPrecondition(f"{_label(state)}: attempt {command.attempt} did not complete", reason="NOT_COMPLETED")
    ending = active.ending
    return [facts.TrialCompleted(attempt=command.attempt, last_step=ending.last_step, detail=ending.detail)]


def _fail(state: Trial, command: FailTrial) -> list[Message]:
    if command.attempt == 0 or isinstance(state.situation, Queued | Retrying):
        waiting = isinstance(state.situation, Queued | Retrying)
        return (
            [facts.TrialFailed(attempt=state.attempt, reason=command.reason, detail=command.detail)] if waiting else []
        )
    if _concludable(state, command.attempt) is None:
        return []
    return [facts.TrialFailed(attempt=command.attempt, reason=command.reason, detail=command.detail)]


def _mark_stopped(state: Trial, command: MarkStopped) -> list[Message]:
    if isinstance(state.situation, Stopped | Completed | Failed):
        return []
    active = state.active
    if active is None:
        return [_stopped_fact(state, command.reason)]
    if _concludable(state, active.attempt) is None:
        return []
    return [_stopped_fact(state, command.reason)]


def _stopped_fact(state: Trial, reason: str, pruned: bool = False) -> facts.TrialStopped:
    snapshots = restorable_snapshots(state)
    active = state.active
    done = active.last_step if active else 0
    if active is not None and active.fence is not None:
        done = max(done, active.fence.last_step)
    lost = max(0, done - (snapshots[0].step if snapshots else origin_step(state))) if active else 0
    pruned = pruned or (active is not None and active.stop is not None and active.stop.pruned)
    return facts.TrialStopped(attempt=state.attempt, reason=reason, lost_steps=lost, pruned=pruned)


def _stop(state: Trial, command: StopTrial) -> list[Message]:
    situation = state.situation
    if isinstance(situation, Stopped):
        return []
    if isinstance(situation, Completed | Failed):
        raise FailedPrecondition(
            f"{_label(state)} is {describe(state)}; only a running or waiting trial can be stopped",
            reason="TRIAL_ENDED",
        )
    order = facts.TrialStopRequested(
        mode=command.mode,
        deadline_time=to_timestamp(command.deadline_time),
        reason=command.reason,
        pruned=command.pruned,
    )
    if isinstance(situation, Active):
        known = situation.stop
        # Also one that is to go on elsewhere: a stop wins.
        no_stronger = known is not None and (
            known.mode == common.STOP_MODE_ABRUPT or command.mode != common.STOP_MODE_ABRUPT
        )
        # An attempt that has ended but is not concluded takes the order too: a stop wins over a retry.
        return [] if no_stronger else [order]
    return [order, _stopped_fact(state, command.reason, pruned=command.pruned)]


def _resume(state: Trial, command: ResumeTrial) -> list[Message]:
    situation = state.situation
    if isinstance(situation, Queued | Retrying):
        return []
    if isinstance(situation, Active):
        if situation.stop is not None:
            raise FailedPrecondition(
                f"{_label(state)} is stopping; resume it when it is stopped", reason="TRIAL_STOPPING"
            )
        return []
    if isinstance(situation, Completed) and not command.extends:
        raise FailedPrecondition(
            f"{_label(state)} is Completed; it can go on only with a larger total", reason="TRIAL_COMPLETED"
        )
    if command.snapshot_id:
        known = [*state.snapshots, *filter(None, [origin_record(state)])]
        named = next((s for s in known if s.snapshot_id == command.snapshot_id), None)
        if named is None:
            raise NotFound(f"{_label(state)} has no snapshot {command.snapshot_id}", reason="SNAPSHOT_NOT_FOUND")
        if named.superseded:
            # Its steps belong to another attempt now; going on from it would make two histories of one trial.
            raise FailedPrecondition(
                f"{_label(state)}: {command.snapshot_id} was superseded by a later attempt; branch the trial there to go on "
                "from it",
                reason="SNAPSHOT_SUPERSEDED",
            )
    return [facts.TrialResumeRequested(snapshot_id=command.snapshot_id)]


def _training(state: Trial, so_that: str) -> Active:
    """Return the attempt that trains.

    Raises:
        FailedPrecondition: none does, or it is being ended.
    """
    active = state.active
    if active is None or not active.may_write or not active.started:
        raise FailedPrecondition(
            f"{_label(state)} is {describe(state)}, and no attempt of it trains: {so_that}", reason="NOT_TRAINING"
        )
    if active.stop is not None or active.roll_back is not None:
        raise FailedPrecondition(f"{_label(state)}: attempt {active.attempt} is being ended", reason="TRIAL_STOPPING")
    return active


def _request_snapshot(state: Trial, command: RequestSnapshot) -> list[Message]:
    active = _training(state, "there is nothing new to save")
    if active.snapshot_wanted or (command.request_id and command.request_id == active.snapshot_request_id):
        return []
    return [facts.TrialSnapshotRequested(attempt=active.attempt, reason=command.reason, request_id=command.request_id)]


def _request_evaluation(state: Trial, command: RequestEvaluation) -> list[Message]:
    active = _training(state, "there is nobody to evaluate")
    if active.evaluation_wanted or (command.request_id and command.request_id == active.evaluation_request_id):
        return []
    return [
        facts.TrialEvaluationRequested(attempt=active.attempt, reason=command.reason, request_id=command.request_id)
    ]


def _roll_back(state: Trial, command: RollBackTrial) -> list[Message]:
    active = state.active
    if command.request_id and command.request_id in state.roll_backs:
        return []
    origin = origin_record(state)
    known = (*state.snapshots, *([origin] if origin is not None else []))
    named = next((s for s in known if s.snapshot_id == command.snapshot_id), None)
    if named is None:
        raise NotFound(f"{_label(state)} has no snapshot {command.snapshot_id}", reason="SNAPSHOT_NOT_FOUND")
    if named.superseded:
        raise FailedPrecondition(
            f"{_label(state)}: {command.snapshot_id} was superseded by a later attempt", reason="SNAPSHOT_SUPERSEDED"
        )
    if command.attempt and not _is_step_of(state, command.step, command.attempt):
        raise FailedPrecondition(
            f"{_label(state)}: step {command.step} of attempt {command.attempt} is abandoned already",
            reason="STEPS_ABANDONED",
        )
    if active is not None and active.stop is not None:
        raise FailedPrecondition(
            f"{_label(state)} is stopping; roll it back when it is stopped", reason="TRIAL_STOPPING"
        )
    if command.snapshot_id == _goes_back_to(state):
        return []
    if command.max_times and len(state.roll_backs) >= command.max_times:
        times = "once" if command.max_times == 1 else f"{command.max_times} times"
        raise FailedPrecondition(f"{_label(state)} was rolled back {times} already", reason="ROLLED_BACK_OFTEN")
    return [
        facts.TrialRollBackRequested(
            snapshot_id=named.snapshot_id,
            snapshot_step=named.step,
            attempt=active.attempt if active is not None else 0,
            parameters=command.parameters,
            skip_batches=state.skip_of(named.snapshot_id) + command.skip_batches,
            reason=command.reason,
            request_id=command.request_id,
        )
    ]


def _steer(state: Trial, command: SteerTrial) -> list[Message]:
    known = state.steering
    if command.request_id and command.request_id in known.request_ids:
        return []
    if isinstance(state.situation, Completed | Failed):
        raise FailedPrecondition(
            f"{_label(state)} is {describe(state)}; only a running or waiting trial can be steered",
            reason="TRIAL_ENDED",
        )
    if not known.steerables:
        raise FailedPrecondition(
            f"the code of {_label(state)} has declared nothing steerable: it says trial.steerable(name, value), and has to "
            "run once to say so",
            reason="NOT_STEERABLE",
        )
    parameters = steering.read(known, command.values)
    if known.count >= steering.MAX_REQUESTS or len(known.waiting) >= steering.MAX_WAITING:
        waits = len(known.waiting) >= steering.MAX_WAITING
        raise FailedPrecondition(
            f"{_label(state)} was asked to change values {known.count:,} times"
            f"{', and the last are still to be carried out' if waits else ''}; it takes no more",
            reason="STEERED_OFTEN",
        )
    return [
        facts.TrialSteerRequested(
            number=known.count + 1,
            parameters=parameters,
            actor=command.actor,
            reason=command.reason,
            request_id=command.request_id,
        )
    ]


def _goes_back_to(state: Trial) -> str:
    """Return the id of the snapshot that the next attempt is to go back to; empty: it is not to."""
    active, situation = state.active, state.situation
    if active is not None:
        return active.roll_back.snapshot_id if active.roll_back is not None else ""
    queued = isinstance(situation, Queued) and situation.reason == facts.LAUNCH_REASON_ROLL_BACK
    return situation.snapshot_id if isinstance(situation, Queued) and queued else ""


def _is_step_of(state: Trial, step: int, attempt: int) -> bool:
    """Return whether an attempt owns a step, and will go on owning it."""
    abandoned = state.abandoned
    if abandoned is not None and attempt <= abandoned.attempt and step > abandoned.step:
        return False
    return owner_of(state.lineage, step) == attempt


def _go_on(state: Trial, command: GoOn) -> list[Message]:
    active = _concludable(state, command.attempt)
    if active is None or active.roll_back is None:
        return []
    return [facts.TrialResumeRequested(snapshot_id=active.roll_back.snapshot_id)]


def _replace_attempt(state: Trial, command: ReplaceAttempt) -> list[Message]:
    active, fence = state.active, command.fence
    if active is None or active.attempt != fence.attempt or not active.may_write:
        # It has said its end meanwhile, or somebody else was faster.
        return []
    failed = FailTrial(fence.attempt, command.failure, fence.detail)
    return decide_all(state, [fence, failed, ResumeTrial(), command.launch])


def _report_instance_health(state: Trial, command: ReportInstanceHealth) -> list[Message]:
    active = state.active
    if active is None or active.attempt != command.attempt or not active.may_write:
        return []
    if dict(active.health).get(command.rank, common.HEALTH_UNSPECIFIED) == command.health:
        return []
    return [
        facts.InstanceHealthChanged(
            attempt=command.attempt, rank=command.rank, health=command.health, reason=command.reason
        )
    ]


def _record_instance_exit(state: Trial, command: RecordInstanceExit) -> list[Message]:
    active = state.active
    if active is None or active.attempt != command.attempt or command.exit.rank not in active.running_ranks:
        return []
    return [command.exit]


def _raise_alert(state: Trial, command: RaiseAlert) -> list[Message]:
    active = state.active
    return [command.alert] if active is not None and _alert_key(command.alert) not in active.alerts else []


def _delete_snapshot(state: Trial, command: DeleteSnapshot) -> list[Message]:
    for record in state.snapshots:
        if record.snapshot_id == command.snapshot_id:
            return [
                facts.SnapshotDeleted(
                    snapshot_id=record.snapshot_id, step=record.step, reason=command.reason, detail=command.detail
                )
            ]
    return []


def _hold_snapshot(state: Trial, command: HoldSnapshot) -> list[Message]:
    record = _existing(state, command.snapshot_id)
    if command.runtime_id in record.held_by:
        return []
    return [facts.SnapshotHeld(snapshot_id=record.snapshot_id, step=record.step, runtime_id=command.runtime_id)]


def _existing(state: Trial, snapshot_id: str) -> SnapshotRecord:
    for record in state.snapshots:
        if record.snapshot_id == snapshot_id and not state.purging:
            return record
    raise FailedPrecondition(f"{_label(state)}: the snapshot {snapshot_id} was deleted", reason="SNAPSHOT_NOT_FOUND")


def _start_purge(state: Trial, _: StartPurge) -> list[Message]:
    return [] if state.purging else [facts.TrialPurgeStarted()]


def _pin_snapshot(state: Trial, command: PinSnapshot) -> list[Message]:
    record = _existing(state, command.snapshot_id)
    if record.pinned:
        return []
    return [facts.SnapshotPinned(snapshot_id=record.snapshot_id, step=record.step, reason=command.reason)]


def _unpin_snapshot(state: Trial, command: UnpinSnapshot) -> list[Message]:
    record = _existing(state, command.snapshot_id)
    if not record.pinned:
        return []
    return [facts.SnapshotUnpinned(snapshot_id=record.snapshot_id, step=record.step, reason=command.reason)]


def _let_snapshot_go(state: Trial, command: LetSnapshotGo) -> list[Message]:
    for record in state.snapshots:
        if record.snapshot_id == command.snapshot_id and command.runtime_id in record.held_by:
            return [
                facts.SnapshotLetGo(snapshot_id=record.snapshot_id, step=record.step, runtime_id=command.runtime_id)
            ]
    return []


def _record(state: Trial, command: Record) -> list[Message]:
    active = state.active
    if active is None or active.attempt != command.attempt or not active.may_write:
        raise StaleAttempt(
            f"{_label(state)}: attempt {command.attempt} may write nothing: the trial is {describe(state)}"
        )
    payload = command.payload
    writer = _WRITERS.get(type(payload), options.WRITER_UNSPECIFIED)
    if writer not in (options.WRITER_ATTEMPT, options.WRITER_BOTH):
        raise FailedPrecondition(f"an attempt may not write {type(payload).__name__}", reason="WRONG_WRITER")
    if getattr(payload, "attempt", None) != command.attempt:
        raise FailedPrecondition(
            f"{type(payload).__name__} names attempt {getattr(payload, 'attempt', None)}", reason="WRONG_ATTEMPT"
        )
    repeated = _REPEATED.get(type(payload))
    if repeated is not None and repeated(state, active, payload):
        return []
    if not is_plausible(active, payload):
        raise FailedPrecondition(
            f"{type(payload).__name__} has a number that counts nothing, or is one of too many", reason="IMPLAUSIBLE"
        )
    if not active.started and type(payload) not in _BEFORE_START:
        raise FailedPrecondition(
            f"{_label(state)}: attempt {command.attempt} has not started", reason="ATTEMPT_NOT_STARTED"
        )
    if isinstance(payload, facts.AttemptStarted) and payload.restored_step < origin_step(state):
        raise FailedPrecondition(
            f"{_label(state)} is a branch and begins at step {origin_step(state)}, not at {payload.restored_step}",
            reason="NOT_RESTORED",
        )
    if isinstance(payload, facts.AttemptStarted) and payload.restored_snapshot_id:
        known = [*state.snapshots, *filter(None, [origin_record(state)])]
        if all(s.snapshot_id != payload.restored_snapshot_id or s.step != payload.restored_step for s in known):
            raise FailedPrecondition(
                f"{_label(state)}: {payload.restored_snapshot_id} is not a committed snapshot",
                reason="UNVERIFIED_SNAPSHOT",
            )
    return [payload]


_BEFORE_START: frozenset[type[Message]] = frozenset(
    {
        facts.AttemptStarted,
        facts.InstanceStarted,
        facts.InstanceReadinessChanged,
        facts.InstanceExited,
        facts.ClusterStateObserved,
        facts.EnvironmentRecorded,
        facts.TelemetryDropped,
        facts.AttemptEnded,
        facts.AlertRaised,
        facts.SteerableDeclared,
        # Left in a spool by the attempt before.
        facts.PlanDeclared,
        facts.ParametersDeclared,
    }
)

# When a payload says again what the log already says.
_REPEATED: dict[type[Message], Callable[[Trial, Active, Any], bool]] = {
    facts.AttemptStarted: lambda state, active, payload: active.started,
    facts.InstanceStarted: lambda state, active, payload: payload.rank in active.running_ranks,
    facts.InstanceReadinessChanged: lambda state, active, payload: payload.ready == (payload.rank in active.ready),
    facts.InstanceExited: lambda state, active, payload: payload.rank not in active.running_ranks,
    facts.AlertRaised: lambda state, active, payload: _alert_key(payload) in active.alerts,
    facts.SteerableDeclared: lambda state, active, payload: steering.of_fact(payload) in state.steering.steerables,
    facts.ParametersChanged: lambda state, active, payload: not steering.is_waiting(state.steering, payload.number),
    facts.ParametersNotChanged: lambda state, active, payload: not steering.is_waiting(state.steering, payload.number),
    facts.EvaluationStarted: lambda state, active, payload: active.open_evaluation_step == payload.step,
    facts.EvaluationCompleted: lambda state, active, payload: active.open_evaluation_step != payload.step,
    facts.SnapshotCommitted: lambda state, active, payload: any(
        s.snapshot_id == payload.snapshot_id for s in state.snapshots
    ),
    # One at which another runtime began, or that is pinned, is kept, and what a roll back goes on from is not made room of.
    facts.SnapshotDeleted: lambda state, active, payload: (
        active.roll_back is not None or all(s.snapshot_id != payload.snapshot_id or s.is_kept for s in state.snapshots)
    ),
}

DECIDE: dict[type, Callable[[Trial, Any], list[Message]]] = {
    CreateTrial: _create,
    LaunchAttempt: _launch,
    FenceAttempt: _fence,
    ScheduleRetry: _schedule_retry,
    CompleteTrial: _complete,
    FailTrial: _fail,
    MarkStopped: _mark_stopped,
    StopTrial: _stop,
    ResumeTrial: _resume,
    RequestSnapshot: _request_snapshot,
    RequestEvaluation: _request_evaluation,
    RollBackTrial: _roll_back,
    SteerTrial: _steer,
    GoOn: _go_on,
    ReplaceAttempt: _replace_attempt,
    ReportInstanceHealth: _report_instance_health,
    RecordInstanceExit: _record_instance_exit,
    RaiseAlert: _raise_alert,
    DeleteSnapshot: _delete_snapshot,
    HoldSnapshot: _hold_snapshot,
    LetSnapshotGo: _let_snapshot_go,
    StartPurge: _start_purge,
    PinSnapshot: _pin_snapshot,
    UnpinSnapshot: _unpin_snapshot,
    Record: _record,
}


def decide(state: Trial, command: object) -> list[Message]:
    """Decide what a command brings about. A repeated command decides nothing.

    Raises:
        NotFound: there is no such trial or snapshot.
        StaleAttempt: the attempt may not write any more.
        FailedPrecondition: the state does not allow it.
        InvalidArgument: a steerable value cannot be what it is to be.
    """
    if state.situation is None and not isinstance(command, CreateTrial):
        raise NotFound("no such trial", reason="TRIAL_NOT_FOUND")
    return DECIDE[type(command)](state, command)


def decide_all(state: Trial, commands: list[object]) -> list[Message]:
    """Decide several commands of the runtime service as one decision: all of their facts or none."""
    decided: list[Message] = []
    for command in commands:
        payloads = decide(state, command)
        for payload in payloads:
            state = evolve(state, Fact(payload))
        decided += payloads
    return decided


def describe(state: Trial) -> str:
    """Say in words what a trial is: `Waiting (queued)`, `Running`, `Failed`."""
    match state.situation:
        case None:
            return "not created"
        case Queued():
            return "Waiting (queued)"
        case Retrying():
            return "Waiting (retrying)"
        case Stopped():
            return "Waiting (stopped)"
        case Completed():
            return "Completed"
        case Failed():
            return "Failed"
        case Active():
            return "Running"


def _label(state: Trial) -> str:
    return f"trial {state.number} of {state.runtime_id}"

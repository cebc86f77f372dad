"""The read model of the trial service: every trial, folded from `EVENTS` and from the headers of `TELEMETRY`.

The two streams are folded apart, so the order in which they are read does not matter. Rules of status and lineage are
those of `milepost.domain.trial`; here is only what people ask for beside them. No clock: times are those of the server
of the log, in nanoseconds since 1970.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

from google.protobuf.message import Message

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.domain import trial
from milepost.domain.decider import Fact
from milepost.domain.sentences import sentence
from milepost.eventlog import RecordedEvent, codec, parse_subject
from services.trials import eta
from services.trials.positions import MalformedHeaders, Position, Rate, Told, advance, parse_headers

# Durations kept of evaluations and snapshots.
KEEP_DURATIONS = 16
# Estimates kept to show how good they were; when there are more, every other one goes.
MAXIMUM_ESTIMATES = 200
# One for each so much of the run.
ESTIMATE_SHARE = 0.01


class Key(NamedTuple):
    """A trial of a runtime."""

    runtime_id: str
    trial: int


@dataclass(slots=True)
class Marker:
    """Something that happened at a step: an evaluation, the end of an epoch, a snapshot."""

    kind: int
    step: int
    sequence: int
    time: int
    attempt: int
    epoch: int = 0
    values: dict[str, float] = field(default_factory=dict)
    snapshot_id: str = ""


@dataclass(slots=True)
class Instance:
    """One worker process of one attempt."""

    rank: int
    attempt: int
    host: str = ""
    process_id: int = 0
    devices: list[str] = field(default_factory=list)
    software: str = ""
    ready: bool = False
    health: int = common.HEALTH_UNSPECIFIED
    health_time: int = 0
    exit_cause: int = common.EXIT_CAUSE_UNSPECIFIED
    detail: str = ""
    start_time: int = 0
    exit_time: int = 0


@dataclass(slots=True)
class Attempt:
    """One execution of a trial. Times 0: not yet."""

    number: int
    launch_time: int = 0
    start_time: int = 0
    end_time: int = 0
    restored_snapshot_id: str = ""
    restored_step: int = 0
    last_step: int = 0
    cause: int = common.EXIT_CAUSE_UNSPECIFIED
    detail: str = ""
    fenced: bool = False
    world_size: int = 0
    instances: dict[int, Instance] = field(default_factory=dict)
    evaluation_seconds: float = 0.0
    snapshot_count: int = 0


@dataclass(slots=True)
class Alert:
    kind: int
    series: str
    step: int
    message: str


@dataclass(slots=True)
class Redone:
    """Steps first_step < step <= last_step that an attempt did and a later one did again."""

    attempt: int
    first_step: int
    last_step: int


@dataclass(slots=True)
class EvaluationUnderWay:
    step: int
    # By the writer's clock, seconds since 1970.
    start_time: float
    batch_count: int | None


@dataclass(slots=True)
class IssuedEstimate:
    """An estimate as it was given at a moment: when, at which step, and the time of the end it named, with its range."""

    time: int
    attempt: int
    step: int
    finish: int
    low: int
    high: int


@dataclass(slots=True)
class TrialView:
    """One trial. `events_sequence`: the last event that changed it."""

    runtime_id: str
    number: int
    state: trial.Trial = trial.initial
    created_sequence: int = 0
    events_sequence: int = 0
    parameters: dict[str, str] = field(default_factory=dict)
    searched_parameters: dict[str, str] = field(default_factory=dict)
    # What its code has said of it.
    labels: dict[str, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    # Of the lineage, by step.
    markers: list[Marker] = field(default_factory=list)
    redone: list[Redone] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    dropped_steps: int = 0
    dropped_lines: int = 0
    # The highest step of the lineage that events tell of, and where in the data that was.
    reached_step: int = 0
    epoch: int = 0
    batch: int = 0
    # Snapshot id -> epoch and batch.
    snapshot_places: dict[str, tuple[int, int]] = field(default_factory=dict)
    evaluation: EvaluationUnderWay | None = None
    # By the writer's clock, seconds since 1970. None: none has begun in this attempt.
    snapshot_since: float | None = None
    evaluation_seconds: list[float] = field(default_factory=list)
    # Running time of intervals that are over, and the start of the one that is not.
    running_nanoseconds: int = 0
    running_since: int = 0
    start_time: int = 0
    end_time: int = 0
    reason: str = ""
    change_time: int = 0
    estimates: list[IssuedEstimate] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return Key(self.runtime_id, self.number)

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that was launched last."""
        return self.attempts[-1] if self.attempts else None

    @property
    def owner(self) -> int:
        """The attempt that has the end of the lineage; 0: none has started."""
        return self.state.lineage[-1].attempt if self.state.lineage else 0


@dataclass(slots=True)
class RuntimeView:
    """What trials share: the part of the configuration that matters here, and the running time of the whole."""

    runtime_id: str
    created_sequence: int
    events_sequence: int = 0
    max_concurrent_trials: int = 1
    best_metric: str = ""
    best_mode: int = config.METRIC_MODE_UNSPECIFIED
    deleted: bool = False
    trials: list[int] = field(default_factory=list)
    active_count: int = 0
    running_nanoseconds: int = 0
    running_since: int = 0


def nanoseconds(time: datetime) -> int:
    """Return nanoseconds since 1970, exactly."""
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000


@dataclass(slots=True)
class Changes:
    """What changed since somebody last asked."""

    runtimes: set[str] = field(default_factory=set)
    trials: set[Key] = field(default_factory=set)
    positions: set[Key] = field(default_factory=set)

    @property
    def count(self) -> int:
        return len(self.runtimes) + len(self.trials) + len(self.positions)

    def take(self, count: int) -> Changes:
        """Take at most so many out, whichever they are."""
        taken = Changes()
        for mine, theirs in zip(self._kinds, taken._kinds, strict=True):
            while mine and taken.count < count:
                theirs.add(mine.pop())
        return taken

    @property
    def _kinds(self) -> tuple[set[Any], ...]:
        return self.runtimes, self.trials, self.positions

    def clear(self) -> None:
        self.runtimes.clear()
        self.trials.clear()
        self.positions.clear()


class Views:
    """All trials. Written by `apply_event` and `apply_telemetry` alone."""

    def __init__(self) -> None:
        self.runtimes: dict[str, RuntimeView] = {}
        self.trials: dict[Key, TrialView] = {}
        self.positions: dict[Key, Position] = {}
        # Those of which an attempt is under way.
        self.active: set[Key] = set()
        # Everything up to here is folded.
        self.events_sequence = 0
        self.telemetry_sequence = 0
        # The server's time of the last event.
        self.events_time = 0
        # The server's time of the last batch.
        self.telemetry_time = 0
        self.changes = Changes()
        # Events of unknown types, and batches whose headers could not be read.
        self.skipped_events = 0
        self.malformed_batches = 0
        # Grows when a trial comes or goes; caches of lists compare it.
        self.revision = 0

    def position_of(self, view: TrialView) -> Position | None:
        """Return where a trial's telemetry says it is; None: the attempt that owns the end of the lineage said nothing."""
        position = self.positions.get(view.key)
        return position if position is not None and position.attempt == view.owner else None

    # --- events

    def apply_event(self, event: RecordedEvent) -> list[Key]:
        """Fold the next event. Returns the trials that it changed."""
        self.events_sequence = event.sequence
        self.events_time = nanoseconds(event.recorded_time)
        subject = parse_subject(event.subject)
        try:
            payload = codec.decode(event.type, event.body)
        except codec.UnknownEventType:
            self.skipped_events += 1
            return []
        if subject.trial is not None:
            return self._apply_to_trial(Key(subject.runtime_id, subject.trial), subject.attempt, payload, event)
        if subject.is_platform:
            return []
        return self._apply_to_runtime(subject.runtime_id, payload, event)

    def _apply_to_runtime(self, runtime_id: str, payload: Message, event: RecordedEvent) -> list[Key]:
        runtime = self.runtimes.get(runtime_id)
        if isinstance(payload, runtime_facts.RuntimeRequested):
            if runtime is not None:
                return []
            runtime = self.runtimes[runtime_id] = RuntimeView(runtime_id, event.sequence)
            configure(runtime, payload.configuration)
        elif runtime is None:
            return []
        elif isinstance(payload, runtime_facts.ResumeRequested) and payload.HasField("configuration"):
            configure(runtime, payload.configuration)
        elif isinstance(payload, runtime_facts.DeleteRequested):
            runtime.deleted = True
            self.revision += 1
        else:
            return []
        runtime.events_sequence = event.sequence
        self.changes.runtimes.add(runtime_id)
        return [Key(runtime_id, number) for number in runtime.trials]

    def _apply_to_trial(self, key: Key, attempt: int | None, payload: Message, event: RecordedEvent) -> list[Key]:
        runtime = self.runtimes.get(key.runtime_id)
        if runtime is None:
            return []
        view = self.trials.get(key)
        if view is None:
            view = TrialView(key.runtime_id, key.trial, created_sequence=event.sequence)
        fact = Fact(payload, attempt)
        was_active = view.state.active is not None
        owner, ignored = view.owner, view.state.ignored
        view.state = trial.evolve(view.state, fact)
        if view.state.ignored != ignored:
            return []
        if key not in self.trials:
            self.trials[key] = view
            bisect.insort(runtime.trials, key.trial)
            self.revision += 1
        time = nanoseconds(event.recorded_time)
        APPLY[type(payload)](view, payload, Occasion(event.sequence, time, event.time.timestamp(), owner))
        view.events_sequence = event.sequence
        self._keep_time(runtime, view, was_active, time)
        self.changes.trials.add(key)
        self.changes.runtimes.add(key.runtime_id)
        return [key]

    def _keep_time(self, runtime: RuntimeView, view: TrialView, was_active: bool, time: int) -> None:
        is_active = view.state.active is not None
        if is_active and not was_active:
            self.active.add(view.key)
            view.running_since = time
            runtime.active_count += 1
            if runtime.active_count == 1:
                runtime.running_since = time
        elif was_active and not is_active:
            self.active.discard(view.key)
            view.running_nanoseconds += time - view.running_since
            view.running_since = 0
            runtime.active_count -= 1
            if runtime.active_count == 0:
                runtime.running_nanoseconds += time - runtime.running_since
                runtime.running_since = 0

    # --- telemetry

    def apply_telemetry(
        self, sequence: int, time: int, key: Key, attempt: int, headers: Mapping[str, str]
    ) -> Key | None:
        """Fold the headers of the next step batch. Returns the trial that it moved; None: none."""
        self.telemetry_sequence, self.telemetry_time = sequence, time
        try:
            told: Told = parse_headers(headers)
        except MalformedHeaders:
            self.malformed_batches += 1
            return None
        position = advance(self.positions.get(key), attempt, sequence, time, told)
        if position is None:
            return None
        self.positions[key] = position
        self.changes.positions.add(key)
        view = self.trials.get(key)
        if view is None or self.position_of(view) is None:
            return None
        self._keep_estimate(view, position)
        self.changes.trials.add(key)
        return key

    def _keep_estimate(self, view: TrialView, position: Position) -> None:
        total = view.state.plan.total_steps
        if total is None or total <= 0:
            return
        last = view.estimates[-1] if view.estimates else None
        if last is not None and last.attempt == position.attempt and position.step - last.step < ESTIMATE_SHARE * total:
            return
        estimate = estimate_trial(view, position, position.time)
        if estimate is None:
            return
        finish, low, high = (
            position.time + int(seconds * 1e9) for seconds in (estimate.seconds, estimate.low, estimate.high)
        )
        view.estimates.append(IssuedEstimate(position.time, position.attempt, position.step, finish, low, high))
        if len(view.estimates) > MAXIMUM_ESTIMATES:
            del view.estimates[1::2]


def configure(runtime: RuntimeView, configuration: config.RuntimeConfiguration) -> None:
    """Take over what a configuration says about trials."""
    concurrent = configuration.search.max_concurrent_trials if configuration.HasField("search") else 1
    runtime.max_concurrent_trials = max(1, concurrent)
    best = configuration.snapshots.keep_best
    runtime.best_metric, runtime.best_mode = best.metric, best.mode


# --- facts of a trial -----------------------------------------------------------------------------------------------


class Occasion(NamedTuple):
    """The envelope of a fact, and who owned the end of the lineage before it."""

    sequence: int
    time: int
    # By the writer's clock, seconds since 1970.
    writer_time: float
    owner: int


def _changed(view: TrialView, fact: Message, occasion: Occasion) -> None:
    view.reason = sentence(fact)
    view.change_time = occasion.time


def _created(view: TrialView, fact: facts.TrialCreated, occasion: Occasion) -> None:
    view.parameters = dict(sorted(fact.parameters.items()))
    view.searched_parameters = dict(sorted(fact.searched_parameters.items()))
    _changed(view, fact, occasion)


def _parameters_declared(view: TrialView, fact: facts.ParametersDeclared, occasion: Occasion) -> None:
    view.parameters = dict(sorted({**view.parameters, **fact.parameters}.items()))
    kept = {key: text for key, text in view.labels.items() if key not in fact.removed_labels}
    view.labels = dict(sorted({**kept, **fact.labels}.items()))


def _launched(view: TrialView, fact: facts.AttemptLaunched, occasion: Occasion) -> None:
    view.attempts.append(Attempt(fact.attempt, launch_time=occasion.time))
    view.start_time = view.start_time or occasion.time
    view.end_time = 0
    view.evaluation, view.snapshot_since = None, None
    _changed(view, fact, occasion)


def _fenced(view: TrialView, fact: facts.AttemptFenced, occasion: Occasion) -> None:
    attempt = view.attempts[-1]
    attempt.fenced, attempt.cause, attempt.detail = True, fact.cause, fact.detail
    _end_attempt(view, attempt, fact.last_step, occasion)
    _changed(view, fact, occasion)


def _end_attempt(view: TrialView, attempt: Attempt, last_step: int, occasion: Occasion) -> None:
    attempt.end_time = attempt.end_time or occasion.time
    attempt.last_step = max(attempt.last_step, last_step)
    view.evaluation = None
    if view.owner == attempt.number:
        view.reached_step = max(view.reached_step, last_step)


def _attempt_started(view: TrialView, fact: facts.AttemptStarted, occasion: Occasion) -> None:
    attempt = view.attempts[-1]
    attempt.start_time, attempt.world_size = occasion.time, fact.world_size
    attempt.restored_snapshot_id, attempt.restored_step = fact.restored_snapshot_id, fact.restored_step
    attempt.last_step = fact.restored_step
    if view.reached_step > fact.restored_step:
        view.redone.append(Redone(occasion.owner, fact.restored_step, view.reached_step))
    view.markers = [m for m in view.markers if m.step <= fact.restored_step]
    view.alerts = [a for a in view.alerts if a.step <= fact.restored_step]
    view.reached_step = fact.restored_step
    view.epoch, view.batch = view.snapshot_places.get(fact.restored_snapshot_id, (0, 0))
    _changed(view, fact, occasion)


def _plan_declared(view: TrialView, fact: facts.PlanDeclared, occasion: Occasion) -> None:
    pass  # the decider's state has it


def _instance_started(view: TrialView, fact: facts.InstanceStarted, occasion: Occasion) -> None:
    view.attempts[-1].instances[fact.rank] = Instance(
        fact.rank,
        fact.attempt,
        fact.host,
        fact.process_id,
        list(fact.devices),
        fact.software,
        health=common.HEALTH_HEALTHY,
        start_time=occasion.time,
    )


def _instance(view: TrialView, attempt: int, rank: int) -> Instance:
    instances = view.attempts[-1].instances
    return instances.setdefault(rank, Instance(rank, attempt))


def _instance_ready(view: TrialView, fact: facts.InstanceReadinessChanged, occasion: Occasion) -> None:
    instance = _instance(view, fact.attempt, fact.rank)
    instance.ready, instance.detail = fact.ready, fact.reason


def _instance_health(view: TrialView, fact: facts.InstanceHealthChanged, occasion: Occasion) -> None:
    instance = _instance(view, fact.attempt, fact.rank)
    instance.health, instance.detail, instance.health_time = fact.health, fact.reason, occasion.time


def _instance_exited(view: TrialView, fact: facts.InstanceExited, occasion: Occasion) -> None:
    instance = _instance(view, fact.attempt, fact.rank)
    instance.exit_cause, instance.detail, instance.exit_time = fact.cause, fact.detail, occasion.time
    instance.ready = False


def _stepped(view: TrialView, step: int) -> None:
    view.reached_step = max(view.reached_step, step)
    view.attempts[-1].last_step = max(view.attempts[-1].last_step, step)


def _mark(view: TrialView, marker: Marker) -> None:
    if view.attempts[-1].restored_step == marker.step:
        _take_place(view, marker)
    bisect.insort(view.markers, marker, key=lambda m: (m.step, m.sequence))


def _take_place(view: TrialView, marker: Marker) -> None:
    """What an attempt does again at the step it went on from counts instead of what earlier ones did there."""
    kept = []
    for earlier in view.markers:
        repeated = (earlier.step, earlier.kind) == (marker.step, marker.kind) and earlier.attempt < marker.attempt
        if repeated and marker.kind == api.MARKER_KIND_EVALUATION:
            # Series by series, as the metric service does.
            rest = {key: value for key, value in earlier.values.items() if key not in marker.values}
            if not rest:
                continue
            earlier = replace(earlier, values=rest)
        elif repeated and marker.kind == api.MARKER_KIND_EPOCH_END:
            continue
        kept.append(earlier)
    view.markers = kept


def _epoch_completed(view: TrialView, fact: facts.EpochCompleted, occasion: Occasion) -> None:
    _stepped(view, fact.step)
    view.epoch, view.batch = fact.epoch + 1, 0
    marker = Marker(api.MARKER_KIND_EPOCH_END, fact.step, occasion.sequence, occasion.time, fact.attempt, fact.epoch)
    _mark(view, marker)


def _evaluation_started(view: TrialView, fact: facts.EvaluationStarted, occasion: Occasion) -> None:
    _stepped(view, fact.step)
    batches = fact.batch_count if fact.HasField("batch_count") else None
    view.evaluation = EvaluationUnderWay(fact.step, occasion.writer_time, batches)


def _evaluation_completed(view: TrialView, fact: facts.EvaluationCompleted, occasion: Occasion) -> None:
    _stepped(view, fact.step)
    view.evaluation = None
    view.attempts[-1].evaluation_seconds += fact.duration_seconds
    if fact.interrupted:
        return
    _keep(view.evaluation_seconds, fact.duration_seconds)
    marker = Marker(api.MARKER_KIND_EVALUATION, fact.step, occasion.sequence, occasion.time, fact.attempt, view.epoch)
    marker.values = dict(sorted(fact.values.items()))
    _mark(view, marker)


def _keep(durations: list[float], seconds: float) -> None:
    if math.isfinite(seconds) and seconds >= 0:
        durations.append(seconds)
        del durations[:-KEEP_DURATIONS]


def _snapshot_started(view: TrialView, fact: facts.SnapshotStarted, occasion: Occasion) -> None:
    _stepped(view, fact.step)
    view.snapshot_since = occasion.writer_time


def _snapshot_committed(view: TrialView, fact: facts.SnapshotCommitted, occasion: Occasion) -> None:
    _stepped(view, fact.step)
    view.attempts[-1].snapshot_count += 1
    view.snapshot_places[fact.snapshot_id] = (fact.epoch, fact.batch)
    marker = Marker(api.MARKER_KIND_SNAPSHOT, fact.step, occasion.sequence, occasion.time, fact.attempt, fact.epoch)
    marker.snapshot_id = fact.snapshot_id
    _mark(view, marker)


def _snapshot_failed(view: TrialView, fact: facts.SnapshotFailed, occasion: Occasion) -> None:
    _stepped(view, fact.step)
    view.alerts.append(Alert(facts.ALERT_KIND_UNSPECIFIED, "", fact.step, sentence(fact)))


def _snapshot_deleted(view: TrialView, fact: facts.SnapshotDeleted, occasion: Occasion) -> None:
    view.snapshot_places.pop(fact.snapshot_id, None)
    if fact.reason == facts.SNAPSHOT_DELETE_REASON_CORRUPT:
        view.alerts.append(Alert(facts.ALERT_KIND_UNSPECIFIED, "", fact.step, sentence(fact)))


def _telemetry_dropped(view: TrialView, fact: facts.TelemetryDropped, occasion: Occasion) -> None:
    if fact.kind == "logs":
        view.dropped_lines += fact.item_count
    else:
        view.dropped_steps += fact.item_count


def _attempt_ended(view: TrialView, fact: facts.AttemptEnded, occasion: Occasion) -> None:
    attempt = view.attempts[-1]
    attempt.cause, attempt.detail = fact.cause, fact.detail
    _end_attempt(view, attempt, fact.last_step, occasion)
    _changed(view, fact, occasion)


def _retry_scheduled(view: TrialView, fact: facts.RetryScheduled, occasion: Occasion) -> None:
    _changed(view, fact, occasion)


def _stop_requested(view: TrialView, fact: facts.TrialStopRequested, occasion: Occasion) -> None:
    _changed(view, fact, occasion)


def _resume_requested(view: TrialView, fact: facts.TrialResumeRequested, occasion: Occasion) -> None:
    view.end_time = 0
    _changed(view, fact, occasion)


def _concluded(view: TrialView, fact: Message, occasion: Occasion) -> None:
    view.end_time = occasion.time
    _changed(view, fact, occasion)


def _completed(view: TrialView, fact: facts.TrialCompleted, occasion: Occasion) -> None:
    view.reached_step = max(view.reached_step, fact.last_step)
    _concluded(view, fact, occasion)


def _alert_raised(view: TrialView, fact: facts.AlertRaised, occasion: Occasion) -> None:
    view.alerts = [a for a in view.alerts if (a.kind, a.series) != (fact.kind, fact.series)]
    view.alerts.append(Alert(fact.kind, fact.series, fact.step, fact.message))


def _cluster_observed(view: TrialView, fact: facts.ClusterStateObserved, occasion: Occasion) -> None:
    if not view.attempts[-1].start_time:
        _changed(view, fact, occasion)


APPLY: dict[type[Message], Callable[[TrialView, Any, Occasion], None]] = {
    facts.TrialCreated: _created,
    facts.AttemptLaunched: _launched,
    facts.AttemptFenced: _fenced,
    facts.AttemptStarted: _attempt_started,
    facts.PlanDeclared: _plan_declared,
    facts.ParametersDeclared: _parameters_declared,
    facts.InstanceStarted: _instance_started,
    facts.InstanceReadinessChanged: _instance_ready,
    facts.InstanceHealthChanged: _instance_health,
    facts.InstanceExited: _instance_exited,
    facts.EpochCompleted: _epoch_completed,
    facts.EvaluationStarted: _evaluation_started,
    facts.EvaluationCompleted: _evaluation_completed,
    facts.SnapshotStarted: _snapshot_started,
    facts.SnapshotCommitted: _snapshot_committed,
    facts.SnapshotFailed: _snapshot_failed,
    facts.SnapshotDeleted: _snapshot_deleted,
    facts.TelemetryDropped: _telemetry_dropped,
    facts.AttemptEnded: _attempt_ended,
    facts.RetryScheduled: _retry_scheduled,
    facts.TrialStopRequested: _stop_requested,
    facts.TrialResumeRequested: _resume_requested,
    facts.TrialCompleted: _completed,
    facts.TrialFailed: _concluded,
    facts.TrialStopped: _concluded,
    facts.AlertRaised: _alert_raised,
    facts.ClusterStateObserved: _cluster_observed,
}


# --- progress and time ----------------------------------------------------------------------------------------------


def step_of(view: TrialView, position: Position | None) -> int:
    """Return the step that the lineage has reached."""
    return max(view.reached_step, position.step) if position is not None else view.reached_step


def redone_of(view: TrialView, position: Position | None) -> list[Redone]:
    """Return the stretches that ran twice: as events told, and further where telemetry of the first run says so."""
    ranges = {(r.attempt, r.first_step): r.last_step for r in view.redone}
    if position is not None:
        started = [attempt for attempt in view.attempts if attempt.start_time]
        for earlier, later in pairwise(started):
            reached = position.reached_by(earlier.number)
            if reached > later.restored_step:
                place = (earlier.number, later.restored_step)
                ranges[place] = max(reached, ranges.get(place, 0))
    return [Redone(attempt, first, last) for (attempt, first), last in sorted(ranges.items())]


def interval_of(view: TrialView, kind: int, planned: int | None) -> int | None:
    """Return the usual distance of markers in steps: as planned, else as it has been, the first from the start."""
    if planned:
        return planned
    steps = [marker.step for marker in view.markers if marker.kind == kind]
    gaps = sorted(b - a for a, b in pairwise([0, *steps]) if b > a)
    return gaps[len(gaps) // 2] if gaps else None


def _left(interval: int | None, step: int, total: int) -> int:
    return total // interval - step // interval if interval else 0


def _seconds_under_way(start: float | None, position: Position, phase: str) -> float | None:
    if start is None or position.phase != phase:
        return None
    return max(0.0, position.trainer_time - start)


def work_left(view: TrialView, position: Position) -> eta.Work:
    """Say what is left to do at a position, in steps, evaluations and snapshots. The total must be known."""
    plan, total, step = view.state.plan, view.state.plan.total_steps or 0, position.step
    attempt, under_way = view.attempts[-1], view.evaluation
    evaluating = _seconds_under_way(under_way.start_time if under_way is not None else None, position, "evaluating")
    snapshotting = _seconds_under_way(view.snapshot_since, position, "snapshotting")
    share = None
    if evaluating is not None and under_way is not None:
        batches = position.evaluation_batches or under_way.batch_count
        share = min(1.0, position.evaluation_batch / batches) if batches else None
    every = interval_of(view, api.MARKER_KIND_EVALUATION, plan.eval_every_steps)
    evaluations = _left(every, step, total)
    evaluated = max((m.step for m in view.markers if m.kind == api.MARKER_KIND_EVALUATION), default=0)
    if every and step and step % every == 0 and evaluated < step and evaluating is None:
        evaluations += 1
    # What evaluations and snapshots have blocked in this attempt, less the evaluations: the snapshots.
    blocked = max(0.0, position.busy_seconds - attempt.evaluation_seconds)
    return eta.Work(
        steps=max(0, total - step),
        evaluations=evaluations,
        snapshots=_left(interval_of(view, api.MARKER_KIND_SNAPSHOT, plan.snapshot_every_steps), step, total),
        epochs=max(0, _left(interval_of(view, api.MARKER_KIND_EPOCH_END, plan.steps_per_epoch), step, total - 1)),
        evaluation_seconds=view.evaluation_seconds,
        snapshot_seconds=[blocked / attempt.snapshot_count] if attempt.snapshot_count else (),
        evaluation_elapsed=evaluating,
        evaluation_share=share,
        snapshot_elapsed=snapshotting,
    )


def is_stalled(view: TrialView, position: Position, now: int) -> bool:
    evaluation = eta.typical(view.evaluation_seconds) if view.evaluation is not None else None
    return eta.is_stalled(position.times, (now - position.advance_time) / 1e9, evaluation)


def estimate_trial(view: TrialView, position: Position | None, now: int) -> eta.Remaining | None:
    """Estimate the rest of a running trial; None: not known, stalled, stopping, or not running."""
    active = view.state.active
    if active is None or not active.started or not active.may_write or active.stop is not None or position is None:
        return None
    if not view.state.plan.total_steps or is_stalled(view, position, now):
        return None
    rest = eta.remaining(position.times, work_left(view, position))
    if rest is None:
        return None
    passed = max(0.0, now / 1e9 - (position.trainer_time + position.clock_offset))
    return eta.Remaining(max(0.0, rest.seconds - passed), max(0.0, rest.low - passed), max(0.0, rest.high - passed))


def elapsed_nanoseconds(view: TrialView | RuntimeView, now: int) -> int:
    """Return the running time up to now."""
    return view.running_nanoseconds + (max(0, now - view.running_since) if view.running_since else 0)


def estimate_runtime(views: Views, runtime: RuntimeView, now: int) -> eta.Remaining | None:
    """Estimate when all trials that run or wait for a launch are done, at the allowed concurrency; None: not known."""
    running: list[eta.Remaining] = []
    unknown: list[float] = []
    waiting: list[float] = []
    durations: list[float] = []
    for number in runtime.trials:
        view = views.trials[Key(runtime.runtime_id, number)]
        situation = view.state.situation
        if isinstance(situation, trial.Active):
            position = views.position_of(view)
            rest = estimate_trial(view, position, now)
            if rest is not None:
                running.append(rest)
                durations.append(_whole(view, rest.seconds, now))
            elif situation.stop is not None or (position is not None and is_stalled(view, position, now)):
                return None
            else:
                unknown.append(elapsed_nanoseconds(view, now) / 1e9)
        elif isinstance(situation, trial.Queued | trial.Retrying):
            total = view.state.plan.total_steps
            snapshots = trial.restorable_snapshots(view.state)
            done = snapshots[0].step / total if snapshots and total else 0.0
            waiting.append(max(0.0, 1.0 - done))
        elif isinstance(situation, trial.Completed):
            durations.append(view.running_nanoseconds / 1e9)
    if ((waiting or unknown) and not durations) or not (running or unknown or waiting):
        return None
    usual = sorted(durations)[len(durations) // 2] if durations else 0.0
    # A trial that has just begun will take as long as the others did.
    for elapsed in unknown:
        rest_seconds = max(0.0, usual - elapsed)
        running.append(eta.Remaining(rest_seconds, 0.9 * rest_seconds, 1.15 * rest_seconds))
    ends = [
        eta.schedule(
            [pick(rest) for rest in running],
            [share * usual * stretch for share in waiting],
            runtime.max_concurrent_trials,
        )
        for pick, stretch in ((_middle, 1.0), (_low, 0.9), (_high, 1.15))
    ]
    return eta.Remaining(*ends)


def _middle(rest: eta.Remaining) -> float:
    return rest.seconds


def _low(rest: eta.Remaining) -> float:
    return rest.low


def _high(rest: eta.Remaining) -> float:
    return rest.high


def _whole(view: TrialView, rest: float, now: int) -> float:
    return elapsed_nanoseconds(view, now) / 1e9 + rest


# Everything a checkpoint of this read model holds.
CHECKPOINT_CLASSES: tuple[type, ...] = (
    Marker,
    Instance,
    Attempt,
    Alert,
    Redone,
    EvaluationUnderWay,
    IssuedEstimate,
    TrialView,
    RuntimeView,
    Position,
    Rate,
    eta.StepTimes,
    eta.Window,
    trial.Trial,
    trial.Queued,
    trial.Retrying,
    trial.Stopped,
    trial.Completed,
    trial.Failed,
    trial.Active,
    trial.StopOrder,
    trial.Ending,
    trial.Segment,
    trial.SnapshotRecord,
    trial.Plan,
    facts.AttemptLaunched,
    facts.AttemptFenced,
)

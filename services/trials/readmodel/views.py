"""The read model of the trial service: every trial, folded from `EVENTS` and from the headers of `TELEMETRY`.

The two streams are folded apart, so the order in which they are read does not matter. Rules of status and lineage are
those of `milepost.domain.trial`; here is only what people ask for beside them. No clock: times are those of the server
of the log, or those that a script says of itself, in nanoseconds since 1970.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.configuration import adapts, has_sampler
from milepost.domain import stalls, steering, trial
from milepost.domain.decider import Fact
from milepost.domain.sentences import pruning
from milepost.domain.times import own_time
from milepost.eventlog import (
    EVENTS,
    TELEMETRY,
    LogMessage,
    RecordedEvent,
    UnreadableMessage,
    codec,
    parse_subject,
)
from services.readmodel.set_aside import SetAside
from services.trials.readmodel import eta
from services.trials.readmodel.facts import APPLY, EventContext
from services.trials.readmodel.positions import (
    MalformedHeaders,
    Position,
    ProgressHeaders,
    Rate,
    advance,
    parse_headers,
)
from services.trials.readmodel.progress import Outlook, outlook_of
from services.trials.readmodel.view import (
    Alert,
    Attempt,
    EvaluationUnderWay,
    Instance,
    IssuedEstimate,
    Key,
    Marker,
    Redone,
    RuntimeView,
    Suggestion,
    TrialView,
    nanoseconds,
)

# Estimates kept to show how good they were; when there are more, every other one goes.
MAX_ESTIMATES = 200
# One for each so much of the run.
ESTIMATE_SHARE = 0.01


SearchFact = (
    runtime_facts.TrialSuggested
    | runtime_facts.ObjectiveReported
    | runtime_facts.RungReached
    | runtime_facts.TrialPruned
    | runtime_facts.TrialPromoted
)


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

    def all_of(self, views: Views) -> None:
        """Take everything for changed."""
        self.runtimes.update(views.runtimes)
        self.trials.update(views.trials)
        self.positions.update(views.positions)

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
        # Events of unknown types, messages that are no events, and batches whose headers could not be read.
        self.skipped_events = 0
        self.unreadable_messages = 0
        self.malformed_batches = 0
        self.set_aside = SetAside("trials", EVENTS)
        self.batches_set_aside = SetAside("trials", TELEMETRY)
        # Grows when a trial comes or goes; caches of lists compare it.
        self.revision = 0
        # Of active trials, with the sequences of the event and of the batch that they follow from.
        self._outlooks: dict[Key, tuple[int, int, Outlook]] = {}

    def position_of(self, view: TrialView) -> Position | None:
        """Return where a trial's telemetry says it is; None: the attempt that owns the end of the lineage said nothing."""
        position = self.positions.get(view.key)
        return position if position is not None and position.attempt == view.owner else None

    def estimate_of(self, view: TrialView, now: int) -> eta.Remaining | None:
        """Estimate the rest of a trial at a moment; None: not known, stalled, stopping, or not running."""
        position = self.position_of(view)
        if position is None or view.state.active is None:
            return None
        return self._outlook(view, position).estimate(position, now)

    def is_stalled(self, view: TrialView, now: int) -> bool:
        """Return whether an active trial has not advanced for too long."""
        position = self.position_of(view)
        if position is None or view.state.active is None:
            return False
        return self._outlook(view, position).is_stalled(position, now)

    def _outlook(self, view: TrialView, position: Position) -> Outlook:
        """Compute what does not depend on the moment once for each change: a search asks for all of its trials."""
        known = self._outlooks.get(view.key)
        if known is not None and known[:2] == (view.events_sequence, position.sequence):
            return known[2]
        outlook = outlook_of(view, position)
        self._outlooks[view.key] = (view.events_sequence, position.sequence, outlook)
        return outlook

    def what_was_set_aside(self, runtime_id: str) -> list[str]:
        """Say what could not be taken in, of one runtime or, with an empty id, of all."""
        return self.set_aside.sentences(runtime_id) + self.batches_set_aside.sentences(runtime_id)

    # --- events

    def apply_event(self, message: LogMessage) -> list[Key]:
        """Fold the next message of the log. Returns the trials that it changed."""
        self.events_sequence = message.sequence
        self.events_time = nanoseconds(message.recorded_time)
        if isinstance(message, UnreadableMessage):
            self.unreadable_messages += 1
            return []
        try:
            return self._apply_event(message)
        except Exception as error:
            # The outermost loop over the log: whatever one event does, those after it are read.
            self.set_aside.add(message.sequence, message.subject, error)
            return []

    def _apply_event(self, event: RecordedEvent) -> list[Key]:
        subject = parse_subject(event.subject)
        try:
            payload = codec.decode(event.type, event.body)
        except codec.UnknownEventType:
            self.skipped_events += 1
            return []
        if subject.trial is not None:
            return self._apply_to_trial(Key(subject.runtime_id, subject.trial), subject.attempt, payload, event)
        if subject.is_platform or subject.is_of_rules:
            return []
        return self._apply_to_runtime(subject.runtime_id, payload, event)

    def _apply_to_runtime(self, runtime_id: str, payload: Message, event: RecordedEvent) -> list[Key]:
        runtime = self.runtimes.get(runtime_id)
        if isinstance(payload, runtime_facts.RuntimeRequested):
            if runtime is not None:
                return []
            runtime = self.runtimes[runtime_id] = RuntimeView(runtime_id, event.sequence)
            configure(runtime, payload.configuration)
            runtime.searched_trials = _searched_trials(payload.configuration)
        elif runtime is None:
            return []
        elif isinstance(payload, SearchFact):
            return self._apply_to_search(runtime, payload, event)
        elif isinstance(payload, runtime_facts.ResumeRequested) and payload.HasField("configuration"):
            configure(runtime, payload.configuration)
        elif isinstance(payload, runtime_facts.SearchEnded):
            runtime.searched_trials = 0
        elif isinstance(payload, runtime_facts.DeleteRequested):
            runtime.deleted = True
            self.revision += 1
        elif isinstance(payload, runtime_facts.RuntimeUndeleted):
            runtime.deleted = False
            self.revision += 1
        else:
            return []
        runtime.events_sequence = event.sequence
        self.changes.runtimes.add(runtime_id)
        return [Key(runtime_id, number) for number in runtime.trials]

    def _apply_to_search(
        self,
        runtime: RuntimeView,
        fact: SearchFact,
        event: RecordedEvent,
    ) -> list[Key]:
        number = fact.child if isinstance(fact, runtime_facts.TrialPromoted) else fact.trial
        changed = {number}
        if isinstance(fact, runtime_facts.TrialSuggested):
            runtime.suggestions[fact.trial] = Suggestion(fact.sampler, fact.because)
        elif number not in runtime.suggestions:
            return []
        elif isinstance(fact, runtime_facts.TrialPromoted):
            one = runtime.suggestions[number]
            one.donor, one.donor_step, one.replaced, one.rung = fact.donor, fact.step, fact.replaced, fact.rung
            # The members that are to come are as many as before.
            runtime.searched_trials += 1
        elif isinstance(fact, runtime_facts.RungReached):
            runtime.suggestions[fact.trial].rung = fact.rung
        elif isinstance(fact, runtime_facts.TrialPruned):
            one = runtime.suggestions[fact.trial]
            one.outcome, one.detail = runtime_facts.OBJECTIVE_OUTCOME_PRUNED, pruning(fact)
        else:
            one = runtime.suggestions[fact.trial]
            one.outcome, one.detail = fact.outcome, fact.detail
            one.value = fact.value if fact.HasField("value") else None
            one.values = tuple((measured.metric, measured.value) for measured in fact.values)
            one.constraints = tuple((kept.metric, kept.value, kept.violation) for kept in fact.constraints)
            one.infeasible = fact.infeasible
            if fact.best:
                gone = frozenset(fact.surpassed) if fact.values else runtime.best_trials
                changed |= gone
                runtime.best_trials = (runtime.best_trials - gone) | {fact.trial}
        runtime.events_sequence = event.sequence
        keys = [key for number in sorted(changed) if (key := Key(runtime.runtime_id, number)) in self.trials]
        self.changes.runtimes.add(runtime.runtime_id)
        self.changes.trials.update(keys)
        return keys

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
        received = time = nanoseconds(event.recorded_time)
        if runtime.is_script and attempt is not None:
            time = nanoseconds(own_time(event.time, event.recorded_time))
        occasion = EventContext(event.sequence, time, received, event.time.timestamp(), owner, runtime.is_script)
        APPLY[type(payload)](view, payload, occasion)
        view.events_sequence = event.sequence
        self._keep_time(runtime, view, was_active, occasion)
        if isinstance(payload, facts.InstanceStarted) and runtime.is_script:
            _begin_earlier(runtime, view, time)
        self.changes.trials.add(key)
        self.changes.runtimes.add(key.runtime_id)
        return [key]

    def _keep_time(self, runtime: RuntimeView, view: TrialView, was_active: bool, occasion: EventContext) -> None:
        is_active = view.state.active is not None
        time = occasion.time
        if was_active and not is_active and runtime.is_script:
            time = max(view.end_time, view.running_since)
        if is_active and not was_active:
            self.active.add(view.key)
            view.running_since = time
            runtime.active_count += 1
            if runtime.active_count == 1:
                runtime.running_since = time
        elif was_active and not is_active:
            self.active.discard(view.key)
            self._outlooks.pop(view.key, None)
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
            return self._apply_headers(sequence, time, key, attempt, headers)
        except Exception as error:
            # As for events.
            subject = f"telemetry.{key.runtime_id}.{key.trial}.{attempt}.steps"
            self.batches_set_aside.add(sequence, subject, error)
            return None

    def _apply_headers(
        self, sequence: int, time: int, key: Key, attempt: int, headers: Mapping[str, str]
    ) -> Key | None:
        try:
            told: ProgressHeaders = parse_headers(headers)
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
        estimate = self.estimate_of(view, position.time)
        if estimate is None:
            return
        finish, low, high = (
            position.time + int(seconds * 1e9) for seconds in (estimate.seconds, estimate.low, estimate.high)
        )
        view.estimates.append(IssuedEstimate(position.time, position.attempt, position.step, finish, low, high))
        if len(view.estimates) > MAX_ESTIMATES:
            del view.estimates[1::2]


def _begin_earlier(runtime: RuntimeView, view: TrialView, time: int) -> None:
    """A script has run before it was heard of."""
    attempt = view.attempts[-1]
    attempt.launch_time = min(attempt.launch_time, time)
    view.start_time = min(view.start_time, time)
    if view.running_since:
        view.running_since = min(view.running_since, time)
    if runtime.running_since:
        runtime.running_since = min(runtime.running_since, time)


def _searched_trials(configuration: config.RuntimeConfiguration) -> int:
    """Return how many trials a sampler may choose; 0: there is none."""
    search = configuration.search
    return (search.pruner.population_size or search.max_trials) if has_sampler(configuration) else 0


def configure(runtime: RuntimeView, configuration: config.RuntimeConfiguration) -> None:
    """Take over what a configuration says about trials."""
    concurrent = configuration.search.max_concurrent_trials if configuration.HasField("search") else 1
    runtime.max_concurrent_trials = 0 if adapts(configuration) else max(1, concurrent)
    searches = has_sampler(configuration)
    # With several objectives no series alone says which trial is the best.
    best = configuration.search.objective if searches else configuration.snapshots.keep_best
    runtime.best_metric, runtime.best_mode = best.metric, best.mode
    runtime.is_population = configuration.search.pruner.kind == config.PRUNER_KIND_PBT
    runtime.is_script = configuration.launcher == config.LAUNCHER_EXTERNAL


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
    Suggestion,
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
    trial.RollBackOrder,
    trial.Abandoned,
    stalls.Stalls,
    stalls.Stack,
    stalls.Group,
    steering.Steering,
    steering.Steerable,
    steering.Change,
    steering.Request,
    trial.Ending,
    trial.Segment,
    trial.SnapshotRecord,
    trial.Plan,
    facts.AttemptLaunched,
    facts.AttemptFenced,
    common.ProcessIdentity,
    common.SnapshotOrigin,
)

"""The read model of the runtime service: every runtime and its trials, folded from `EVENTS`.

It holds what the deciders know (states and heads) and what people ask for beside it (who, when, why, snapshots). It
is written by `Views.apply` alone, event by event in the order of the log, so folding the same events again gives the
same views.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import LAUNCHER_EXTERNAL, RuntimeConfiguration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime, trial
from milepost.domain.decider import Fact
from milepost.domain.sentences import sentence
from milepost.domain.times import own_time
from milepost.errors import Unavailable
from milepost.eventlog import (
    EVENTS,
    EventLog,
    Head,
    LogMessage,
    RecordedEvent,
    UnreadableMessage,
    codec,
    parse_subject,
    runtime_chain,
    trial_chain,
)
from milepost.eventlog.bounds import bounded, scalars
from milepost.eventlog.nats.occasions import Occasions
from milepost.names import trial_name
from services.readmodel.set_aside import SetAside
from services.readmodel.waiting import Waiters
from services.runtime.readmodel.lazy_index import AT_REST, LazyIndex, Summary, Written
from services.runtime.readmodel.queue import Queue

log = logging.getLogger(__name__)

# How long a call waits for what it needs, and the start of the service for the whole log.
WAIT_SECONDS = 10.0
START_SECONDS = 600.0
# Events without effect that are marked as such, in one chain. Of more there is only the number.
MAX_IGNORED = 10_000
_DELETION = (runtime_facts.DeleteRequested, runtime_facts.PurgeStarted, runtime_facts.RuntimePurged)
# Changes of lists that are remembered; who comes later sorts anew.
REMEMBERED_CHANGES = 4_096


@dataclass(frozen=True, slots=True)
class Reference:
    """Where, when and by whom something was said. `time` is the clock of the log's server."""

    sequence: int
    event_id: str
    time: datetime
    actor: str
    traceparent: str = ""


@dataclass(slots=True)
class TrialView:
    number: int
    head: Head
    state: trial.Trial = trial.initial
    # The last event of each type that had an effect, by the name of its payload.
    last: dict[str, Reference] = field(default_factory=dict)
    # When it became what it is: Queued, Active with this attempt, Stopped ...
    since: Reference | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    # Those that the search chose.
    searched: dict[str, str] = field(default_factory=dict)
    # Those that roll backs have changed.
    patched: dict[str, str] = field(default_factory=dict)
    # What its code has said of it.
    labels: dict[str, str] = field(default_factory=dict)
    # By id, deleted and corrupt ones too, in order of their commits.
    snapshots: dict[str, api.Snapshot] = field(default_factory=dict)
    # When each attempt began to train.
    attempt_starts: dict[int, datetime] = field(default_factory=dict)
    # Running time of the attempts that have ended, ms.
    spent_ms: int = 0
    # Of a search with a pruner: step and value of each evaluation that has the metric, each further than the one before.
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    # Sequences of events that had no right to be where they are.
    ignored: list[int] = field(default_factory=list)
    # A service wrote an event of a type that this version does not know: it cannot be decided here.
    undecidable: str = ""
    # What the last attempt has written on its subject, whatever it is.
    written_messages: int = 0
    written_bytes: int = 0


@dataclass(slots=True)
class RuntimeView:
    runtime_id: str
    head: Head
    state: runtime.Runtime = runtime.initial
    last: dict[str, Reference] = field(default_factory=dict)
    trials: dict[int, TrialView] = field(default_factory=dict)
    # Numbers of the trials with an attempt that has begun, and of those with one that is launched or will be again.
    running: frozenset[int] = frozenset()
    starting: frozenset[int] = frozenset()
    # As the client gave it.
    configuration_text: str = ""
    cloned_from: str = ""
    created: Reference | None = None
    # When it first ran.
    started: Reference | None = None
    ended: Reference | None = None
    # The last change of status or phase, and why, in one sentence.
    changed: Reference | None = None
    reason: str = ""
    # The same without what became of a deletion: it holds again when that is taken back.
    lived: Reference | None = None
    lived_reason: str = ""
    # Of a script: when it began, ran and ended by its own clock. None: it has not said so.
    own_create_time: datetime | None = None
    own_start_time: datetime | None = None
    own_end_time: datetime | None = None
    # Position of the last event of the runtime or one of its trials.
    sequence: int = 0
    ignored: list[int] = field(default_factory=list)
    undecidable: str = ""

    @property
    def phase(self) -> runtime.Phase | None:
        """The phase with what only the trials tell: no attempt runs, but one is launched or will be launched again."""
        if self.state.phase is runtime.Phase.ALLOCATING and (self.starting or self.running):
            return runtime.Phase.STARTING
        if self.state.phase is runtime.Phase.RUNNING and self.starting and not self.running:
            return runtime.Phase.STARTING
        return self.state.phase

    @property
    def began(self) -> int:
        """Sequence of the request or of the last resume."""
        references = (self.last.get("ResumeRequested"), self.last.get("RuntimeRequested"))
        return max((r.sequence for r in references if r is not None), default=0)

    @property
    def is_script(self) -> bool:
        """Whether it is recorded by its own process, which may tell of it long after."""
        configuration = self.state.configuration
        return configuration is not None and configuration.launcher == LAUNCHER_EXTERNAL

    @property
    def create_time(self) -> datetime | None:
        return self.own_create_time or (self.created.time if self.created is not None else None)

    @property
    def start_time(self) -> datetime | None:
        return (self.own_start_time or self.started.time) if self.started is not None else None

    @property
    def end_time(self) -> datetime | None:
        return (self.own_end_time or self.ended.time) if self.ended is not None else None

    @property
    def change_time(self) -> datetime | None:
        """When it became what it is."""
        for reference, time in ((self.ended, self.end_time), (self.started, self.start_time)):
            if reference is not None and reference is self.changed:
                return time
        return self.changed.time if self.changed is not None else None

    @property
    def running_since(self) -> datetime | None:
        """When the first attempt since the request or the last resume started; None while none has."""
        started = self.last.get("RuntimeStarted")
        return started.time if started is not None and started.sequence > self.began else None


def summarize(entry: RuntimeView | Written) -> Summary:
    """Say what lists know of a runtime."""
    if isinstance(entry, Written):
        return entry.summary
    state, created, configuration = entry.state, entry.created, entry.state.configuration
    return Summary(
        runtime_id=entry.runtime_id,
        sequence=entry.sequence,
        status=state.status.value if state.status is not None else "",
        phase=entry.phase.value if entry.phase is not None else "",
        deleting=state.deleting,
        name=configuration.name if configuration is not None else "",
        labels=dict(sorted(labels_of(entry).items())),
        created_sequence=created.sequence if created is not None else 0,
        create_time=time_text(entry.create_time) if entry.create_time is not None else "",
        created_by=created.actor if created is not None else "",
        purge_time=time_text(state.purge_time) if _is_restorable(state) and state.purge_time is not None else "",
    )


def _is_restorable(state: runtime.Runtime) -> bool:
    return state.phase is runtime.Phase.RESTORABLE


def _phase_word(entry: RuntimeView | Written) -> str:
    if isinstance(entry, Written):
        return entry.summary.phase
    return entry.state.phase.value if entry.state.phase is not None else ""


def time_text(time: datetime) -> str:
    """Write a time so that texts sort as the times do."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# Told of every change: the runtime and the sequence of the event.
Listener = Callable[[RuntimeView, int], None]


class Views:
    """All runtimes by id, in the order of their requests."""

    def __init__(self) -> None:
        self.runtimes = LazyIndex()
        # Everything up to here is folded.
        self.sequence = 0
        # Runtimes that are others since somebody wrote them down, in the order in which they changed.
        self.changed: dict[str, None] = {}
        # Events of types that this version does not know, and messages that are no events: they change nothing.
        self.skipped = 0
        self.unreadable = 0
        self._occasions = Occasions()
        self.set_aside = SetAside("runtime", EVENTS)
        self.queue = Queue()
        # Grows when a runtime comes, goes, or changes its status or phase; sorted lists compare it.
        self.list_revision = 0
        # The runtimes of the last changes, one for each revision.
        self._list_changes: deque[str] = deque(maxlen=REMEMBERED_CHANGES)
        # Runtimes that are not deleted, by status; and those that are not at rest.
        self.status_counts: Counter[str] = Counter()
        self._active: dict[str, RuntimeView] = {}
        # Those that can be undeleted: when their data goes, as text that sorts as the times do.
        self._purge_times: dict[str, str] = {}
        # How many of them each actor has, and for whom each is counted.
        self._active_of: Counter[str] = Counter()
        self._counted_for: dict[str, str] = {}
        # Sequences of events that had no right to be where they are, of all runtimes.
        self.ignored: set[int] = set()
        self._listeners: list[Listener] = []
        self._waiters = Waiters()

    # --- folding

    def apply(self, message: LogMessage) -> None:
        """Fold the next message of the log.

        Events of unknown types are skipped and counted; if a service wrote them, their chain cannot be decided here. What
        is no event moves the head of its chain, for the next one stands behind it, and changes nothing else.
        """
        view = None
        try:
            view = self._pass_over(message) if isinstance(message, UnreadableMessage) else self._fold(message)
        except Exception as error:
            # The outermost loop over the log: whatever one message does, those after it are read.
            self.set_aside.add(message.sequence, message.subject, error)
        self.sequence = message.sequence
        self._waiters.wake()
        if view is not None:
            for listener in list(self._listeners):
                listener(view, message.sequence)

    def _pass_over(self, message: UnreadableMessage) -> RuntimeView | None:
        self.unreadable += 1
        try:
            subject = parse_subject(message.subject)
        except ValueError:
            return None
        view = self.runtimes.get(subject.runtime_id)
        if view is None or subject.is_of_rules or (subject.trial is not None and subject.trial not in view.trials):
            # Nothing that stands there can be decided on.
            return None
        view.sequence = message.sequence
        self.changed[view.runtime_id] = None
        chain = view if subject.trial is None else view.trials[subject.trial]
        chain.head = replace(chain.head, sequence=message.sequence)
        _weigh(chain, subject.attempt, message.byte_count)
        return view

    def _fold(self, event: RecordedEvent) -> RuntimeView | None:
        subject = parse_subject(event.subject)
        if subject.is_platform or subject.is_of_rules:
            return None
        view = self.runtimes.get(subject.runtime_id)
        if view is None:
            view = RuntimeView(subject.runtime_id, Head(runtime_chain(subject.runtime_id)))
            self.runtimes.add(view)
        view.sequence = event.sequence
        self.changed[view.runtime_id] = None
        before = (view.state.status, view.phase, view.state.deleting)
        reference = Reference(event.sequence, event.id, event.recorded_time, event.actor, event.traceparent)
        chain: RuntimeView | TrialView = view if subject.trial is None else self._trial(view, subject.trial)
        chain.head = event.head
        _weigh(chain, subject.attempt, len(event.body))
        try:
            payload = codec.decode(event.type, event.body)
        except codec.UnknownEventType as error:
            self.skipped += 1
            if subject.attempt is None:
                chain.undecidable = str(error)
            if count := self._occasions.next(event.subject):
                extra = {"sequence": event.sequence, "type": event.type[:200], "count": count}
                log.warning("event.skipped", extra=extra)
            return view
        if isinstance(chain, TrialView):
            own = own_time(event.time, event.recorded_time) if view.is_script and subject.attempt else None
            fold_trial(chain, payload, subject.attempt, reference, own)
            if isinstance(payload, trial_facts.EvaluationCompleted) and reference.sequence not in chain.ignored[-1:]:
                _keep_evaluation(view, chain, payload)
            if own is not None and reference.sequence not in chain.ignored[-1:]:
                _keep_own_times(view, payload, own)
            _count(view, chain)
        else:
            fold_runtime(chain, payload, reference)
        if (view.state.status, view.phase, view.state.deleting) != before:
            # What a run held is free: that is why it is at its end, not why it ended.
            if isinstance(payload, runtime_facts.RuntimeUndeleted):
                view.changed, view.reason = view.lived, view.lived_reason
            elif not isinstance(payload, runtime_facts.ResourcesReleased):
                view.changed = reference
                view.reason = _reason(view, chain, payload)
                if not isinstance(payload, _DELETION):
                    view.lived, view.lived_reason = view.changed, view.reason
            self._count_status(before[0], before[2], -1)
            self._count_status(view.state.status, view.state.deleting, 1)
            self._note(view)
        elif isinstance(payload, trial_facts.ParametersDeclared | runtime_facts.LabelsChanged):
            # Lists are filtered by labels.
            self._note(view)
        if chain.ignored and chain.ignored[-1] == event.sequence:
            self.ignored.add(event.sequence)
        self.queue.update(view.runtime_id, view.state, view.began)
        return view

    def _trial(self, view: RuntimeView, number: int) -> TrialView:
        if number not in view.trials:
            view.trials[number] = TrialView(number, Head(trial_chain(view.runtime_id, number)))
        return view.trials[number]

    def _count_status(self, status: runtime.Status | None, deleting: bool, change: int) -> None:
        if status is not None and not deleting:
            self.status_counts[status.value] += change

    def _note(self, view: RuntimeView) -> None:
        """A list may have to show this runtime at another place."""
        self.list_revision += 1
        self._list_changes.append(view.runtime_id)
        self._keep_active(view, _phase_word(view) not in AT_REST)
        self._keep_purge_time(view.runtime_id, summarize(view).purge_time)

    def _keep_purge_time(self, runtime_id: str, purge_time: str) -> None:
        if purge_time:
            self._purge_times[runtime_id] = purge_time
        else:
            self._purge_times.pop(runtime_id, None)

    def _keep_active(self, view: RuntimeView, active: bool) -> None:
        counted = self._counted_for.pop(view.runtime_id, None)
        if counted is not None:
            self._active_of[counted] -= 1
        if not active:
            self._active.pop(view.runtime_id, None)
            return
        self._active[view.runtime_id] = view
        actor = self._counted_for[view.runtime_id] = view.created.actor if view.created is not None else ""
        self._active_of[actor] += 1

    # --- beginning from what was written

    def lay(self, written: Written, open_record: Callable[[bytes], RuntimeView]) -> None:
        """Take in a runtime from a checkpoint. It is opened when it is looked up, or now if something may follow."""
        summary = written.summary
        self.runtimes.lay(written, open_record)
        if summary.status and not summary.deleting:
            self.status_counts[summary.status] += 1
        self._keep_purge_time(summary.runtime_id, summary.purge_time)
        if not summary.at_rest:
            view = self.runtimes[summary.runtime_id]
            self._keep_active(view, active=True)
            self.queue.update(view.runtime_id, view.state, view.began)

    # --- reading

    def active(self) -> list[RuntimeView]:
        """List the runtimes that are not at rest, oldest first."""
        return sorted(self._active.values(), key=lambda view: view.created.sequence if view.created is not None else 0)

    def due_purges(self, now: datetime) -> list[str]:
        """Name the deleted runtimes whose restore window is over."""
        text = time_text(now)
        return [runtime_id for runtime_id, purge_time in self._purge_times.items() if purge_time <= text]

    def count_active(self, actor: str) -> int:
        """Count the runtimes of somebody that are not at rest."""
        return self._active_of[actor]

    def summaries(self) -> Iterator[Summary]:
        """Yield what lists know of every runtime."""
        return map(summarize, self.runtimes.entries())

    def summary(self, runtime_id: str) -> Summary:
        return summarize(self.runtimes.entry(runtime_id))

    def list_changes(self, since: int) -> Sequence[str] | None:
        """Name the runtimes whose place in lists may have changed since a revision; None: too many, or too long ago."""
        count = self.list_revision - since
        if count > len(self._list_changes):
            return None
        return [self._list_changes[index] for index in range(-count, 0)]

    def phase_counts(self) -> Counter[str]:
        """Count all runtimes by phase."""
        words = (_phase_word(entry) for entry in self.runtimes.entries())
        return Counter(word for word in words if word)

    def snapshot(self, name: str) -> tuple[RuntimeView, TrialView, api.Snapshot] | None:
        """Find a committed snapshot by `runtimes/{runtime}/trials/{trial}/snapshots/{snapshot}`; None: there is none.

        Returns whose it is with it.
        """
        _, runtime_id, _, number, _, snapshot_id = name.split("/")
        view = self.runtimes.get(runtime_id)
        one = view.trials.get(int(number)) if view is not None else None
        if view is None or one is None:
            return None
        found = one.snapshots.get(snapshot_id)
        return (view, one, found) if found is not None and found.state == api.SNAPSHOT_STATE_COMMITTED else None

    def configuration_of_origin(self, state: trial.Trial) -> RuntimeConfiguration | None:
        """Return the configuration of the runtime at whose snapshot a trial began; None: it did not, or it is not known."""
        view = self.runtimes.get(state.origin.runtime_id) if state.origin is not None else None
        return view.state.configuration if view is not None else None

    async def follow(self, event_log: EventLog) -> None:
        """Fold everything after what is folded, then each new event, for ever."""
        async for message in event_log.follow(after=self.sequence):
            self.apply(message)

    # --- reading one's own writes

    async def wait_for(self, sequence: int, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Wait until everything up to a sequence is folded.

        Raises:
            Unavailable: it did not come in time.
        """
        if not await self._waiters.wait(lambda: self.sequence >= sequence, timeout_seconds):
            raise Unavailable(
                f"the read model stands at {self.sequence} and did not reach {sequence} in time",
                reason="READ_MODEL_BEHIND",
            )

    async def catch_up(self, event_log: EventLog) -> None:
        """Wait until everything is folded that is in the log now: at the start of a service, which may be long.

        Raises:
            Unavailable: it did not come in time.
        """
        await self.wait_for(await event_log.last_sequence(), START_SECONDS)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Call a function after each event that concerns a runtime."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


def _keep_own_times(view: RuntimeView, payload: Message, time: datetime) -> None:
    match payload:
        case trial_facts.InstanceStarted():
            assert view.created is not None
            view.own_create_time = view.own_create_time or min(time, view.created.time)
            view.own_end_time = None
        case trial_facts.AttemptStarted():
            view.own_start_time = view.own_start_time or time
        case trial_facts.AttemptEnded():
            # Clocks go back at times.
            view.own_end_time = max(time, view.own_start_time or time)


def _keep_evaluation(view: RuntimeView, one: TrialView, fact: trial_facts.EvaluationCompleted) -> None:
    """Keep what a pruner judges. An evaluation that was done again, after a crash, was judged already."""
    search = view.state.configuration.search if view.state.configuration is not None else None
    if search is None or not search.HasField("pruner") or fact.interrupted:
        return
    metric = search.objective.metric
    if metric in fact.values and fact.step > (one.evaluations[-1][0] if one.evaluations else 0):
        one.evaluations.append((fact.step, fact.values[metric]))


def _ignore(chain: RuntimeView | TrialView, reference: Reference) -> None:
    if len(chain.ignored) < MAX_IGNORED:
        chain.ignored.append(reference.sequence)


def _weigh(chain: RuntimeView | TrialView, attempt: int | None, byte_count: int) -> None:
    """Count what the last attempt of a trial writes."""
    if isinstance(chain, TrialView) and attempt is not None and attempt == chain.state.attempt:
        chain.written_messages += 1
        chain.written_bytes += byte_count


def _reason(view: RuntimeView, chain: RuntimeView | TrialView, payload: Message) -> str:
    """Say why a runtime is what it is, by the event that made it so."""
    if isinstance(chain, TrialView) and view.state.trial_count > 1:
        return f"Trial {chain.number}: {sentence(payload)}"
    return sentence(payload)


def _count(view: RuntimeView, one: TrialView) -> None:
    """Note whether a trial runs or starts. An attempt that is over runs until it is known what follows."""
    active = one.state.active
    runs = active is not None and (active.started or not active.may_write)
    starts = not runs and (active is not None or isinstance(one.state.situation, trial.Retrying))
    if runs != (one.number in view.running):
        view.running ^= {one.number}
    if starts != (one.number in view.starting):
        view.starting ^= {one.number}


def given_parameters(configuration: RuntimeConfiguration, one: TrialView) -> dict[str, str]:
    """Return what a trial is given: parameters of its runtime, those that its search chose, those changed by roll backs."""
    return {**configuration.parameters, **one.searched, **one.patched}


def labels_of(view: RuntimeView) -> Mapping[str, str]:
    """Return the labels of a configuration, those that the code of the only trial has declared, and what people made of them."""
    state = view.state
    given = state.configuration.labels if state.configuration is not None else {}
    declared = view.trials[1].labels if len(view.trials) == 1 and 1 in view.trials else {}
    if not (declared or state.labels or state.removed_labels):
        return given
    known = {**given, **declared}
    return {key: text for key, text in known.items() if key not in state.removed_labels} | dict(state.labels)


def fold_runtime(view: RuntimeView, payload: Message, reference: Reference) -> None:
    """Apply an event of the runtime's own chain."""
    ignored = view.state.ignored
    view.state = runtime.evolve(view.state, Fact(payload))
    if view.state.ignored > ignored:
        _ignore(view, reference)
        return
    view.last[type(payload).__name__] = reference
    match payload:
        case runtime_facts.RuntimeRequested():
            view.created = reference
            view.configuration_text = payload.configuration_text
            view.cloned_from = payload.cloned_from
        case runtime_facts.RuntimeStarted():
            view.started = view.started or reference
        case runtime_facts.RuntimeAborted() | runtime_facts.RuntimeFailed() | runtime_facts.RuntimeCompleted():
            view.ended = reference
        case runtime_facts.ResumeRequested():
            view.ended = None


def fold_trial(
    view: TrialView, payload: Message, attempt: int | None, reference: Reference, own: datetime | None = None
) -> None:
    """Apply an event of a trial's chain. `own`: when it happened, by the clock of a script."""
    before = view.state
    view.state = trial.evolve(before, Fact(payload, attempt))
    if view.state.ignored > before.ignored:
        _ignore(view, reference)
        return
    view.last[type(payload).__name__] = reference
    if type(view.state.situation) is not type(before.situation) or view.state.attempt != before.attempt:
        view.since = reference
        began = view.attempt_starts.get(before.attempt) if before.active is not None else None
        if began is not None:
            view.spent_ms += _milliseconds(began, own or reference.time)
    match payload:
        case trial_facts.AttemptLaunched():
            view.written_messages = view.written_bytes = 0
        case trial_facts.TrialCreated():
            # Maps of protobuf have another order in every process, and views must not differ from those rebuilt.
            view.parameters = dict(sorted(payload.parameters.items()))
            view.searched = dict(sorted(payload.searched_parameters.items()))
        case trial_facts.ParametersDeclared():
            view.parameters = bounded({**view.parameters, **scalars(payload.parameters)})
            kept = {key: text for key, text in view.labels.items() if key not in payload.removed_labels}
            view.labels = bounded({**kept, **payload.labels})
        case trial_facts.SnapshotCommitted():
            view.snapshots[payload.snapshot_id] = _snapshot(view, payload, reference, own or reference.time)
            rolled_back = view.state.active is not None and view.state.active.roll_back is not None
            view.snapshots[payload.snapshot_id].superseded = rolled_back
        case trial_facts.SnapshotDeleted() if payload.snapshot_id in view.snapshots:
            corrupt = payload.reason == trial_facts.SNAPSHOT_DELETE_REASON_CORRUPT
            state = api.SNAPSHOT_STATE_CORRUPT if corrupt else api.SNAPSHOT_STATE_DELETED
            view.snapshots[payload.snapshot_id].state = state
        case trial_facts.AttemptStarted() | trial_facts.TrialRollBackRequested():
            if isinstance(payload, trial_facts.AttemptStarted):
                view.attempt_starts[payload.attempt] = own or reference.time
            else:
                changed = dict(sorted(payload.parameters.items()))
                view.patched = view.patched | changed
                view.parameters = bounded({**view.parameters, **changed})
            for record in view.state.snapshots:
                view.snapshots[record.snapshot_id].superseded = record.superseded
        case trial_facts.SnapshotHeld() | trial_facts.SnapshotLetGo():
            for record in view.state.snapshots:
                if record.snapshot_id == payload.snapshot_id:
                    del view.snapshots[record.snapshot_id].held_by[:]
                    view.snapshots[record.snapshot_id].held_by.extend(record.held_by)
        case trial_facts.SnapshotPinned() if payload.snapshot_id in view.snapshots:
            pin = view.snapshots[payload.snapshot_id].pin
            pin.actor, pin.reason = reference.actor, payload.reason
            pin.time.FromDatetime(reference.time)
        case trial_facts.SnapshotUnpinned() if payload.snapshot_id in view.snapshots:
            view.snapshots[payload.snapshot_id].ClearField("pin")


def _milliseconds(began: datetime, ended: datetime) -> int:
    return max(0, (ended - began) // timedelta(milliseconds=1))


def _snapshot(
    view: TrialView, fact: trial_facts.SnapshotCommitted, reference: Reference, time: datetime
) -> api.Snapshot:
    snapshot = api.Snapshot(
        name=f"{trial_name(view.state.runtime_id, view.number)}/snapshots/{fact.snapshot_id}",
        snapshot_id=fact.snapshot_id,
        trial=view.number,
        attempt=fact.attempt,
        step=fact.step,
        epoch=fact.epoch,
        batch=fact.batch,
        uri=fact.uri,
        byte_count=fact.byte_count,
        state=api.SNAPSHOT_STATE_COMMITTED,
        reason=fact.reason,
        manifest_sha256=fact.manifest_sha256,
        metrics=fact.metrics,
    )
    snapshot.commit_time.FromDatetime(time)
    snapshot.receive_time.FromDatetime(reference.time)
    return snapshot

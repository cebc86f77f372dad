"""What is kept of one runtime and of one trial, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from milepost.api.config.v1.configuration_pb2 import LAUNCHER_EXTERNAL, RuntimeConfiguration
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime, trial
from milepost.eventlog import Head

# Phases in which nothing can follow for a runtime without a command, or before its purge time.
AT_REST = ("", "ENDED", "RESTORABLE", "DELETED")


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


@dataclass(frozen=True, slots=True)
class Summary:
    """What lists know of a runtime.

    Attributes:
        sequence: of its last event.
        created_sequence: of its request. 0: there was none.
        create_time: as RFC 3339 text in UTC with microseconds, which sorts as the times do. Empty: there was none.
        created_by: who requested it.
        purge_time: of one that can be undeleted, when its data goes; as `create_time`. Empty: it is none.
        status, phase: their words. Empty: none.
    """

    runtime_id: str
    sequence: int
    status: str
    phase: str
    deleting: bool
    name: str
    labels: dict[str, str]
    created_sequence: int
    create_time: str
    created_by: str
    purge_time: str

    @property
    def exists(self) -> bool:
        return bool(self.status)

    @property
    def at_rest(self) -> bool:
        """Nothing can follow for this runtime without a command, or before its purge time."""
        return self.phase in AT_REST


@dataclass(frozen=True, slots=True)
class Written:
    """A runtime that is not opened: its summary, and all of it as `open_record` reads it."""

    summary: Summary
    record: bytes


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
        purge_time=purge_time_of(entry),
    )


def purge_time_of(view: RuntimeView) -> str:
    """Say when the data of a deleted runtime goes; empty: it cannot be undeleted."""
    state = view.state
    restorable = state.phase is runtime.Phase.RESTORABLE and state.purge_time is not None
    return time_text(state.purge_time) if restorable and state.purge_time is not None else ""


def phase_word(entry: RuntimeView | Written) -> str:
    if isinstance(entry, Written):
        return entry.summary.phase
    return entry.state.phase.value if entry.state.phase is not None else ""


def time_text(time: datetime) -> str:
    """Write a time so that texts sort as the times do."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


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


def configuration_of(view: RuntimeView) -> RuntimeConfiguration:
    """Return the configuration that a runtime has, which exists."""
    assert view.state.configuration is not None, "an existing runtime has a configuration"
    return view.state.configuration

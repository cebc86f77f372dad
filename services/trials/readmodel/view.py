"""What is kept of a trial and of its runtime. Times are nanoseconds since 1970; 0: not yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.domain import trial


class Key(NamedTuple):
    """A trial of a runtime."""

    runtime_id: str
    trial: int


@dataclass(slots=True)
class Marker:
    """Something that happened at a step: an evaluation, the end of an epoch, a snapshot, a change of steerable values."""

    kind: int
    step: int
    sequence: int
    time: int
    received: int
    attempt: int
    epoch: int = 0
    values: dict[str, float] = field(default_factory=dict)
    snapshot_id: str = ""
    # Of steerable values: name, old, new; and who asked for it.
    changes: tuple[tuple[str, str, str], ...] = ()
    actor: str = ""


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
    start_received: int = 0
    end_received: int = 0
    restored_snapshot_id: str = ""
    restored_step: int = 0
    last_step: int = 0
    cause: int = common.EXIT_CAUSE_UNSPECIFIED
    detail: str = ""
    fenced: bool = False
    world_size: int = 0
    instances: dict[int, Instance] = field(default_factory=dict)
    # Which rank holds up the others. Empty: none.
    straggler: str = ""
    # Why it made no progress after a step, when it was said last.
    stall_step: int = -1
    stall: str = ""
    evaluation_seconds: float = 0.0
    snapshot_count: int = 0
    # It only adds to what earlier ones have recorded.
    appends: bool = False


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
    start_received: int = 0
    end_received: int = 0
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
class Suggestion:
    """How a trial was chosen by the sampler of its search, and what it came to."""

    sampler: str
    because: str
    outcome: runtime_facts.ObjectiveOutcome = runtime_facts.OBJECTIVE_OUTCOME_UNSPECIFIED
    # None: it has none.
    value: float | None = None
    detail: str = ""
    # Rungs that it has reached.
    rung: int = 0
    # Of several objectives: metric and value of each. Of constraints: metric, value, and how far that is beyond its bound.
    values: tuple[tuple[str, float], ...] = ()
    constraints: tuple[tuple[str, float, float], ...] = ()
    infeasible: bool = False
    # Whose weights it began with, at which step, and whose place it took. 0: nobody's.
    donor: int = 0
    donor_step: int = 0
    replaced: int = 0


@dataclass(slots=True)
class RuntimeView:
    """What trials share: the part of the configuration that matters here, and the running time of the whole."""

    runtime_id: str
    created_sequence: int
    events_sequence: int = 0
    # 0: as many as are free for it.
    max_concurrent_trials: int = 1
    best_metric: str = ""
    best_mode: int = config.METRIC_MODE_UNSPECIFIED
    # Of a search with a sampler: by number of the trial, and the trials with the best value: one, or with several objectives
    # those that no other surpasses.
    suggestions: dict[int, Suggestion] = field(default_factory=dict)
    best_trials: frozenset[int] = frozenset()
    # Trials that it may have in all; of a population, as far as it is known. 0: it has ended, or there is no sampler.
    searched_trials: int = 0
    # Trials take the places of others, and go on where these were.
    is_population: bool = False
    # Recorded by its own process, whose clock says when things happened: it may tell of them long after.
    is_script: bool = False
    deleted: bool = False
    trials: list[int] = field(default_factory=list)
    active_count: int = 0
    running_nanoseconds: int = 0
    running_since: int = 0


def nanoseconds(time: datetime) -> int:
    """Return nanoseconds since 1970, exactly."""
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000

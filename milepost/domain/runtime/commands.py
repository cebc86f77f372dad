"""What can be asked of a runtime, and what is reported of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.runtime.states import Allocation


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
class AdjustResources:
    """Have a search hold more, or less.

    Attributes:
        before: what it held when this was decided. If it holds something else now, nothing changes.
        trials: that may run at a time then.
        because: for people.
    """

    before: Allocation
    after: Allocation
    trials: int
    because: str


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
class TellEarlierTrials:
    """What trials of other runtimes came to, before anything is suggested. Told once; at least one fact."""

    told: tuple[facts.EarlierTrialsTold, ...]


@dataclass(frozen=True, slots=True)
class ReportObjective:
    report: facts.ObjectiveReported


@dataclass(frozen=True, slots=True)
class ReachRung:
    """A trial has reached a rung, judged with so many entries of the history known.

    Attributes:
        follows: what comes of it: who is pruned, and of a population who takes the place.
    """

    entry_count: int
    rung: facts.RungReached
    follows: tuple[facts.TrialPruned | facts.TrialSuggested | facts.TrialPromoted, ...] = ()


@dataclass(frozen=True, slots=True)
class EndSearch:
    reason: facts.SearchEndReason
    detail: str

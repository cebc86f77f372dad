"""What a runtime is: its status and phase, what it has of the log, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import search


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
    # While QUEUED, once it is known why it waits, and while the queue of its cluster has what was launched.
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

# Phases from which the first attempt that starts makes it RUNNING.
BEFORE_RUNNING = frozenset({Phase.QUEUED, Phase.ALLOCATING, Phase.STARTING})


def word(state: Runtime) -> str:
    """Return the word that users know for its status."""
    return state.status.value if state.status is not None else "unknown"

"""What a trial is: its situations, what it has of the log, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls, steering


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
    # Rank and host of every instance that was there.
    hosts: frozenset[tuple[int, str]] = frozenset()
    # The rank that holds up the others. None: none does.
    straggler: int | None = None
    # Where its instances were when they made no progress.
    stalls: stalls.Stalls = stalls.initial
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
    # How often its cluster has interrupted it since then.
    interruptions: int = 0
    lineage: tuple[Segment, ...] = ()
    # By step, oldest first.
    snapshots: tuple[SnapshotRecord, ...] = ()
    plan: Plan = Plan()
    # The snapshot of another trial at which this one begins. None: at nothing.
    origin: common.SnapshotOrigin | None = None
    # Above 0: snapshots at its multiples are taken, and its own runtime holds them for others to begin at.
    rung_steps: int = 0
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


def label(state: Trial) -> str:
    return f"trial {state.number} of {state.runtime_id}"

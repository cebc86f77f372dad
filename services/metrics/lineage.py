"""What the metric service knows from EVENTS: lineage, deletions and quotas, at any position of the log.

`Lineages` is a pure fold; `EventFollower` feeds it from the log.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from milepost.api.config.v1.configuration_pb2 import KeepBest
from milepost.api.event.v1 import runtime_events_pb2 as runtime_events
from milepost.api.event.v1 import trial_events_pb2 as trial_events
from milepost.domain import trial as trial_decider
from milepost.domain.decider import Fact
from milepost.domain.trial import Segment, Trial, cut_lineage
from milepost.eventlog import (
    EVENTS,
    EventLog,
    EventLogError,
    LogMessage,
    RecordedEvent,
    UnreadableMessage,
    parse_subject,
)
from milepost.eventlog.codec import UnknownEventType, decode, newest_type, type_of
from services.metrics.storage.selection import StepRange, TrialRef, owned_pieces, superseded_pieces, trunk_pieces
from services.readmodel.set_aside import SetAside
from services.readmodel.waiting import Waiters

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
# Of a trial that the log does not know yet: its first attempt did everything.
UNKNOWN_LINEAGE = (Segment(1, 1),)

# What changes who owns which steps, or who may say so. Everything else is not even decoded.
_TRIAL_TYPES = frozenset(
    type_of(kind())
    for kind in (
        trial_events.TrialCreated,
        trial_events.AttemptLaunched,
        trial_events.AttemptFenced,
        trial_events.AttemptStarted,
        trial_events.AttemptEnded,
        trial_events.RetryScheduled,
        trial_events.TrialResumeRequested,
        trial_events.TrialCompleted,
        trial_events.TrialFailed,
        trial_events.TrialStopped,
    )
)
_RUNTIME_TYPES = frozenset(
    type_of(kind())
    for kind in (
        runtime_events.RuntimeRequested,
        runtime_events.ResumeRequested,
        runtime_events.DeleteRequested,
        runtime_events.PurgeStarted,
    )
)


@dataclass(frozen=True, slots=True)
class Cut:
    """An attempt went on from a step: from `restored_step + 1` on the steps are its own.

    What it logs at `restored_step` again counts instead of what earlier attempts logged there, series by series.
    """

    attempt: int
    restored_step: int
    events_sequence: int
    # By the clock of the log's server, ms since 1970.
    recorded_ms: int = 0


@dataclass(slots=True)
class TrialHistory:
    """What is kept of a trial: the state that decides who may cut, and its cuts, oldest first."""

    state: Trial = trial_decider.initial
    cuts: list[Cut] = field(default_factory=list)


@dataclass(slots=True)
class RuntimeHistory:
    """What is kept of a runtime. `sequence` is that of the last event that changed it."""

    runtime_id: str
    sequence: int = 0
    log_quota_bytes: int | None = None
    sample_quota_bytes: int | None = None
    keep_best: KeepBest | None = None
    # Its data is being removed. One that is only hidden, and can be undeleted, keeps what comes.
    deleted: bool = False
    trials: dict[int, TrialHistory] = field(default_factory=dict)


class Lineages:
    """The lineage of every trial, now and at each earlier position of the log."""

    def __init__(self) -> None:
        self.sequence = 0
        # Types that this version does not know; they were skipped.
        self.unknown_events = 0
        self.set_aside = SetAside("metrics", EVENTS)
        # (time, sequence) of every cut: between them no lineage changes.
        self._times: list[tuple[int, int]] = []
        self._runtimes: dict[str, RuntimeHistory] = {}

    def apply(self, message: LogMessage) -> Cut | None:
        """Fold the next message of the log. Returns the cut that it made, if it made one."""
        self.sequence = message.sequence
        if isinstance(message, UnreadableMessage):
            return None
        try:
            return self._apply(message)
        except Exception as error:
            # The outermost loop over the log: whatever one event does, those after it are read.
            self.set_aside.add(message.sequence, message.subject, error)
            return None

    def _apply(self, event: RecordedEvent) -> Cut | None:
        ce_type = newest_type(event.type)
        if ce_type not in _TRIAL_TYPES and ce_type not in _RUNTIME_TYPES:
            return None
        try:
            payload = decode(event.type, event.body)
        except UnknownEventType:
            self.unknown_events += 1
            return None
        subject = parse_subject(event.subject)
        runtime = self._runtimes.get(subject.runtime_id)
        if runtime is None:
            runtime = self._runtimes[subject.runtime_id] = RuntimeHistory(subject.runtime_id)
        runtime.sequence = event.sequence
        if subject.trial is None:
            _apply_to_runtime(runtime, payload)
            return None
        if ce_type not in _TRIAL_TYPES:
            return None
        history = runtime.trials.setdefault(subject.trial, TrialHistory())
        before = history.state.lineage
        history.state = trial_decider.evolve(history.state, Fact(payload, subject.attempt))
        if history.state.lineage == before or not isinstance(payload, trial_events.AttemptStarted):
            return None
        recorded_ms = int(event.recorded_time.timestamp() * 1000)
        cut = Cut(payload.attempt, payload.restored_step, event.sequence, recorded_ms)
        history.cuts.append(cut)
        self._times.append((recorded_ms, event.sequence))
        return cut

    def histories(self) -> Iterable[RuntimeHistory]:
        """List everything that is known, by runtime."""
        return self._runtimes.values()

    def restore(self, histories: Iterable[RuntimeHistory], sequence: int, unknown_events: int) -> None:
        """Take over what was known at a position of the log."""
        self._runtimes = {history.runtime_id: history for history in histories}
        self.sequence, self.unknown_events = sequence, unknown_events
        cuts = (cut for history in self._runtimes.values() for one in history.trials.values() for cut in one.cuts)
        self._times = sorted((cut.recorded_ms, cut.events_sequence) for cut in cuts)

    def sequence_at(self, time_ms: int) -> int:
        """Return a position of the log whose lineages are those of a time by the server's clock."""
        index = bisect_right(self._times, (time_ms, self.sequence))
        return self._times[index - 1][1] if index else 0

    def cuts(self, runtime_id: str, trial: int, sequence: int | None = None) -> list[Cut]:
        """List the cuts of a trial, oldest first, as of a position of the log (None: now)."""
        runtime = self._runtimes.get(runtime_id)
        history = runtime.trials.get(trial) if runtime else None
        if history is None:
            return []
        if sequence is None:
            return list(history.cuts)
        return history.cuts[: bisect_right(history.cuts, sequence, key=lambda cut: cut.events_sequence)]

    def lineage(self, runtime_id: str, trial: int, sequence: int | None = None) -> tuple[Segment, ...]:
        """Say which attempt owns which steps, as of a position of the log (None: now)."""
        cuts = self.cuts(runtime_id, trial, sequence)
        if not cuts:
            return UNKNOWN_LINEAGE
        lineage: tuple[Segment, ...] = ()
        for cut in cuts:
            lineage = cut_lineage(lineage, cut.attempt, cut.restored_step)
        return lineage

    def restarts(self, runtime_id: str, trial: int, sequence: int | None = None) -> dict[int, tuple[int, ...]]:
        """Say which attempts went on from which step, oldest first, for the steps that are in the lineage."""
        found: dict[int, tuple[int, ...]] = {}
        for cut in self.cuts(runtime_id, trial, sequence):
            found = {step: attempts for step, attempts in found.items() if step <= cut.restored_step}
            if cut.restored_step > 0:
                found[cut.restored_step] = (*found.get(cut.restored_step, ()), cut.attempt)
        return found

    def owned(self, ref: TrialRef, sequence: int | None = None) -> list[StepRange]:
        """List what the attempts of a trial own, as of a position of the log (None: now)."""
        place = (ref.runtime_id, ref.trial, sequence)
        return owned_pieces(ref, self.lineage(*place), self.restarts(*place))

    def branch_step(self, ref: TrialRef) -> int:
        """Return the step at which a trial begins, of another one's; 0: it is no branch."""
        runtime = self._runtimes.get(ref.runtime_id)
        history = runtime.trials.get(ref.trial) if runtime else None
        return trial_decider.origin_step(history.state) if history else 0

    def eldest(self, ref: TrialRef) -> TrialRef:
        """Return the oldest ancestor of a trial with a step of its curve; itself, if it is no branch."""
        runtime = self._runtimes.get(ref.runtime_id)
        history = runtime.trials.get(ref.trial) if runtime else None
        trunk = history.state.origin.trunk if history is not None and history.state.origin is not None else ()
        return TrialRef(trunk[0].runtime_id, trunk[0].trial) if trunk else ref

    def inherited(self, ref: TrialRef, sequence: int | None = None) -> list[StepRange]:
        """List what the ancestors of a trial own of its curve, as of a position of the log (None: now)."""
        runtime = self._runtimes.get(ref.runtime_id)
        history = runtime.trials.get(ref.trial) if runtime else None
        if history is None or history.state.origin is None:
            return []
        return trunk_pieces(history.state.origin.trunk, ref, self.restarts(ref.runtime_id, ref.trial, sequence))

    def superseded(self, ref: TrialRef, sequence: int | None = None) -> list[StepRange]:
        """List what the attempts of a trial did in vain, as of a position of the log (None: now)."""
        place = (ref.runtime_id, ref.trial, sequence)
        return superseded_pieces(ref, self.lineage(*place), self.attempts(*place), self.restarts(*place))

    def attempts(self, runtime_id: str, trial: int, sequence: int | None = None) -> list[int]:
        """List the attempts that have started."""
        return [cut.attempt for cut in self.cuts(runtime_id, trial, sequence)] or [1]

    def writing(self, runtime_id: str) -> set[tuple[int, int]]:
        """Name the attempts of a runtime that are in progress, by trial and number."""
        runtime = self._runtimes.get(runtime_id)
        actives = {number: history.state.active for number, history in runtime.trials.items()} if runtime else {}
        return {(number, one.attempt) for number, one in actives.items() if one is not None and one.may_write}

    def trials(self, runtime_id: str) -> list[int]:
        """List the trials of a runtime that the log knows."""
        runtime = self._runtimes.get(runtime_id)
        return sorted(runtime.trials) if runtime else []

    def is_known(self, runtime_id: str) -> bool:
        """Return whether the log has said anything about a runtime that changes what is read of it."""
        return runtime_id in self._runtimes

    def knows(self, ref: TrialRef) -> bool:
        """Return whether the log has told of a trial, or with trial 0 of a runtime."""
        runtime = self._runtimes.get(ref.runtime_id)
        return runtime is not None and (not ref.trial or ref.trial in runtime.trials)

    def is_deleted(self, runtime_id: str) -> bool:
        runtime = self._runtimes.get(runtime_id)
        return runtime is not None and runtime.deleted

    def log_quota_bytes(self, runtime_id: str) -> int | None:
        """Quota of stored log text of a runtime; None: unknown or none."""
        runtime = self._runtimes.get(runtime_id)
        return runtime.log_quota_bytes if runtime else None

    def sample_quota_bytes(self, runtime_id: str) -> int | None:
        """Quota of stored samples of a runtime; None: unknown or none."""
        runtime = self._runtimes.get(runtime_id)
        return runtime.sample_quota_bytes if runtime else None

    def keep_best(self, runtime_id: str) -> KeepBest | None:
        """What a runtime says of its best value; None: nothing."""
        runtime = self._runtimes.get(runtime_id)
        return runtime.keep_best if runtime else None


def _apply_to_runtime(runtime: RuntimeHistory, payload: object) -> None:
    if isinstance(payload, runtime_events.PurgeStarted):
        runtime.deleted = True
        return
    if isinstance(payload, runtime_events.DeleteRequested):
        runtime.deleted |= not payload.HasField("purge_time")
        return
    if isinstance(payload, runtime_events.RuntimeRequested | runtime_events.ResumeRequested) and payload.HasField(
        "configuration"
    ):
        megabytes = payload.configuration.limits.log_megabytes
        runtime.log_quota_bytes = megabytes * 1_000_000 if megabytes > 0 else None
        megabytes = payload.configuration.limits.sample_megabytes
        runtime.sample_quota_bytes = megabytes * 1_000_000 if megabytes > 0 else None
        snapshots = payload.configuration.snapshots
        runtime.keep_best = snapshots.keep_best if snapshots.HasField("keep_best") else None


CutListener = Callable[[str, int, Cut], None]


class EventFollower:
    """Keep `Lineages` at the head of the log.

    Args:
        begin: fills the lineages from a checkpoint, before the log is read from there. May raise `EventLogError`.
    """

    def __init__(self, event_log: EventLog, begin: Callable[[Lineages], Awaitable[None]] | None = None) -> None:
        self.lineages = Lineages()
        self._begin = begin
        self._log = event_log
        self._waiters = Waiters()
        self._listeners: list[CutListener] = []

    def on_cut(self, listener: CutListener) -> None:
        """Call back with (runtime, trial, cut) at each new cut."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow the log until cancelled. While the log is away, it waits for it."""
        while True:
            try:
                if self._begin is not None:
                    await self._begin(self.lineages)
                    self._begin = None
                    self._waiters.wake()
                async for message in self._log.follow(after=self.lineages.sequence):
                    self._apply(message)
            except EventLogError as error:
                log.warning("lineage.waits", extra={"error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)

    def _apply(self, message: LogMessage) -> None:
        cut = self.lineages.apply(message)
        if cut is not None:
            subject = parse_subject(message.subject)
            assert subject.trial is not None
            for listener in self._listeners:
                listener(subject.runtime_id, subject.trial, cut)
        self._waiters.wake()

    async def wait_for(self, sequence: int) -> None:
        """Return when everything up to a position of the log is folded."""
        await self._waiters.wait(lambda: self.lineages.sequence >= sequence)

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until what is folded meets a condition. Returns False when time is up."""
        return await self._waiters.wait(condition, seconds)

    async def catch_up(self) -> None:
        """Return when everything is folded that is in the log now."""
        await self.wait_for(await self._log.last_sequence())

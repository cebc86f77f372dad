"""The read model of the runtime service: every runtime and its trials, folded from `EVENTS`.

It holds what the deciders know (states and heads) and what people ask for beside it (who, when, why, snapshots). It
is written by `Views.apply` alone, event by event in the order of the log, so folding the same events again gives the
same views.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime, trial
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
from milepost.eventlog.nats.occasions import Occasions
from services.readmodel.set_aside import SetAside
from services.readmodel.waiting import Waiters
from services.runtime.readmodel.facts import fold_runtime, fold_trial, reason_of, weigh
from services.runtime.readmodel.lazy_index import LazyIndex
from services.runtime.readmodel.queue import Queue
from services.runtime.readmodel.view import (
    AT_REST,
    Reference,
    RuntimeView,
    Summary,
    TrialView,
    Written,
    phase_word,
    purge_time_of,
    summarize,
    time_text,
)

log = logging.getLogger(__name__)

# How long a call waits for what it needs, and the start of the service for the whole log.
WAIT_SECONDS = 10.0
START_SECONDS = 600.0
# They are not why a runtime is what it was before.
_DELETION = (runtime_facts.DeleteRequested, runtime_facts.PurgeStarted, runtime_facts.RuntimePurged)
# Lists are filtered by labels.
_OF_LABELS = (trial_facts.ParametersDeclared, runtime_facts.LabelsChanged)
# Changes of lists that are remembered; who comes later sorts anew.
REMEMBERED_CHANGES = 4_096

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
        if view is not None and self._listeners:
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
        weigh(chain, subject.attempt, message.byte_count)
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
        chain.head = Head(chain.head.chain, event.sequence, event.version, event.hash)
        weigh(chain, subject.attempt, len(event.body))
        try:
            payload = codec.decode(event.type, event.body)
        except codec.UnknownEventType as error:
            self._skip(event, chain, error, by_a_service=subject.attempt is None)
            return view
        if isinstance(chain, TrialView):
            own = own_time(event.time, event.recorded_time) if subject.attempt and view.is_script else None
            had_effect = fold_trial(view, chain, payload, subject.attempt, reference, own)
        else:
            had_effect = fold_runtime(chain, payload, reference)
            # Nothing that a trial does moves its runtime in the queue.
            self.queue.update(view.runtime_id, view.state, view.began)
        if (view.state.status, view.phase, view.state.deleting) != before:
            self._keep_reason(view, chain, payload, reference)
            self._count_status(before[0], before[2], -1)
            self._count_status(view.state.status, view.state.deleting, 1)
            self._note(view)
        elif isinstance(payload, _OF_LABELS):
            self._note(view)
        if not had_effect and chain.ignored[-1] == event.sequence:
            self.ignored.add(event.sequence)
        return view

    def _skip(
        self, event: RecordedEvent, chain: RuntimeView | TrialView, error: codec.UnknownEventType, by_a_service: bool
    ) -> None:
        self.skipped += 1
        if by_a_service:
            chain.undecidable = str(error)
        if count := self._occasions.next(event.subject):
            extra = {"sequence": event.sequence, "type": event.type[:200], "count": count}
            log.warning("event.skipped", extra=extra)

    def _keep_reason(
        self, view: RuntimeView, chain: RuntimeView | TrialView, payload: Message, reference: Reference
    ) -> None:
        """Keep why a runtime is what it is now."""
        if isinstance(payload, runtime_facts.RuntimeUndeleted):
            view.changed, view.reason = view.lived, view.lived_reason
        # What a run held is free: that is why it is at its end, not why it ended.
        elif not isinstance(payload, runtime_facts.ResourcesReleased):
            view.changed = reference
            view.reason = reason_of(view, chain, payload)
            if not isinstance(payload, _DELETION):
                view.lived, view.lived_reason = view.changed, view.reason

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
        self._keep_active(view, phase_word(view) not in AT_REST)
        self._keep_purge_time(view.runtime_id, purge_time_of(view))

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
        words = (phase_word(entry) for entry in self.runtimes.entries())
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

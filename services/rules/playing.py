"""Plays the two streams through the fold: merged by the clock of the log's server, an event before a message of its time.

Live and on the past it is the same code, so a rule finds the same in both. What differs is where messages come from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.eventlog import LogMessage, RecordedEvent, UnreadableMessage, codec, parse_subject
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.happenings import milliseconds
from services.rules.evaluation.inputs import Lines, Points
from services.rules.evaluation.occurrences import Occurrence

REQUESTED = codec.type_of(runtime_facts.RuntimeRequested())

# Reads the events of a runtime up to a position of the log.
History = Callable[[str, int], AsyncIterator[RecordedEvent]]


class Player:
    """Applies messages, and gives a run that was let go of its history back first."""

    def __init__(self, evaluation: Evaluation, history: History, events_sequence: int = 0) -> None:
        self.evaluation = evaluation
        self._history = history
        # The last event that was applied.
        self.events_sequence = events_sequence

    async def event(self, message: LogMessage) -> list[Occurrence]:
        """Apply the next event."""
        before, self.events_sequence = self.events_sequence, message.sequence
        if isinstance(message, UnreadableMessage):
            return []
        subject = parse_subject(message.subject)
        if subject.is_platform or subject.is_of_rules:
            return self.evaluation.apply_event(message)
        if message.type != REQUESTED and self.evaluation.watches(subject.runtime_id):
            await self._know(subject.runtime_id, before)
        found = self.evaluation.apply_event(message) if self._may_watch(message, subject.runtime_id) else []
        if not self.evaluation.watches(subject.runtime_id):
            # Nothing watches: whoever does later asks for the history.
            self.evaluation.runs.pop(subject.runtime_id, None)
        return found

    def _may_watch(self, message: RecordedEvent, runtime_id: str) -> bool:
        """Return whether any rule may watch a run, also one that is only just made."""
        return message.type == REQUESTED or self.evaluation.watches(runtime_id)

    async def message(self, message: Points | Lines) -> list[Occurrence]:
        """Apply the next message of TELEMETRY."""
        if not self.evaluation.watches(message.runtime_id):
            return []
        await self._know(message.runtime_id, self.events_sequence)
        if isinstance(message, Points):
            return self.evaluation.apply_points(message)
        return self.evaluation.apply_lines(message)

    async def _know(self, runtime_id: str, until: int) -> None:
        if not self.evaluation.knows(runtime_id):
            self.evaluation.restore(runtime_id, [event async for event in self._history(runtime_id, until)])


def comes_first(event: LogMessage, time_ms: int) -> bool:
    """Return whether an event is before a message of TELEMETRY of a time."""
    return event_ms(event) <= time_ms


def event_ms(event: LogMessage) -> int:
    """Return when a message of the log was stored, ms since 1970."""
    return milliseconds(event) if isinstance(event, RecordedEvent) else int(event.recorded_time.timestamp() * 1_000)

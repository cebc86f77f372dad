"""Runs that happened, as the fold of rules takes them in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.config.v1.rule_pb2 import Detector, Rule
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.eventlog import RecordedEvent, attempt_subject, codec, control_subject, runtime_subject
from milepost.rules.checks import checked
from services.rules.decoding import lines, points
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.inputs import Lines, Points
from services.rules.evaluation.occurrences import Occurrence
from services.rules.evaluation.states import SetRule

RUN = "rt-1"
NAN = math.nan
START = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
START_MS = int(START.timestamp() * 1_000)


def rule(hold_seconds: float = 0.0, max_firings: int = 10, rule_id: str = "r", **detector: Any) -> SetRule:
    given = Rule(detector=Detector(**detector), hold_seconds=hold_seconds, max_firings=max_firings)
    return SetRule(rule_id, 1, checked(given))


@dataclass
class Run:
    """A run whose clock is moved by hand, in seconds; the loop and the server have the same one."""

    seconds: float = 0.0
    sequence: int = 0
    attempt: int = 1
    number: int = 0
    what: list[RecordedEvent | Points | Lines] = field(default_factory=list)

    @property
    def now_ms(self) -> int:
        return START_MS + int(self.seconds * 1_000)

    def event(self, payload: Message, subject: str) -> RecordedEvent:
        self.sequence += 1
        ce_type, body = codec.encode(payload)
        time = START + timedelta(seconds=self.seconds)
        event = RecordedEvent(
            self.sequence, subject, time, ce_type, body, f"event-{self.sequence}", time, "/x", "ada", "", "", 1, "", ""
        )
        self.what.append(event)
        return event

    def requested(self, **configuration: Any) -> Run:
        made = runtime_facts.RuntimeRequested(
            runtime_id=RUN, configuration=RuntimeConfiguration(name="one", **configuration), trial_count=1
        )
        self.event(made, runtime_subject(RUN))
        self.control(trial_facts.TrialCreated(runtime_id=RUN, trial=1))
        return self

    def of_runtime(self, payload: Message) -> Run:
        self.event(payload, runtime_subject(RUN))
        return self

    def control(self, payload: Message) -> Run:
        self.event(payload, control_subject(RUN, 1))
        return self

    def own(self, payload: Message) -> Run:
        self.event(payload, attempt_subject(RUN, 1, self.attempt))
        return self

    def begins(self, attempt: int = 1, restored_step: int = 0) -> Run:
        self.attempt = attempt
        if attempt > 1:
            self.control(trial_facts.AttemptFenced(attempt=attempt - 1))
            self.control(trial_facts.RetryScheduled(attempt=attempt - 1, retry=attempt - 1))
        self.control(trial_facts.AttemptLaunched(attempt=attempt))
        return self.own(trial_facts.AttemptStarted(attempt=attempt, restored_step=restored_step))

    def logs(self, values: Sequence[float], first_step: int = 1, key: str = "train/loss", chunk: int = 0) -> Run:
        """Log one value a step, a step a second, in messages of so many steps; 0: one."""
        for start in range(0, len(values), chunk or max(1, len(values))):
            rows = []
            for index, value in enumerate(values[start : start + (chunk or len(values))], start):
                self.seconds += 1
                rows.append((first_step + index, self.now_ms, value))
            self.message({key: rows})
        return self

    def message(self, rows: dict[str, list[tuple[int, int, float]]]) -> Run:
        self.sequence += 1
        self.what.append(points((RUN, 1, self.attempt), self.sequence, self.now_ms, rows))
        return self

    def says(self, *texts: str, number: int = 0) -> Run:
        self.number = number or self.number + 1
        self.sequence += 1
        numbered = [(index, 0, text) for index, text in enumerate(texts)]
        made = lines((RUN, 1, self.attempt), "rank-0", self.number, self.sequence, self.now_ms, numbered)
        assert made is not None
        self.what.append(made)
        return self


def apply(evaluation: Evaluation, message: RecordedEvent | Points | Lines) -> list[Occurrence]:
    if isinstance(message, RecordedEvent):
        return evaluation.apply_event(message)
    return evaluation.apply_points(message) if isinstance(message, Points) else evaluation.apply_lines(message)


def played(run: Run, *rules: SetRule, until: float | None = None) -> list[Message]:
    """What rules make of a run, as facts; `until`: seconds that have passed in the end."""
    evaluation = Evaluation()
    for one in rules:
        evaluation.set_rule(one)
    found = [occurrence for message in run.what for occurrence in apply(evaluation, message)]
    if until is not None:
        found += evaluation.advance(START_MS + int(until * 1_000))
    return [occurrence.fact for occurrence in found]


def fired(found: list[Message]) -> Iterator[facts.RuleFired]:
    return (fact for fact in found if isinstance(fact, facts.RuleFired))


def steps(found: list[Message]) -> list[int]:
    """The steps at which rules fired."""
    return [fact.step for fact in fired(found)]


def ends(found: list[Message]) -> list[tuple[int, int]]:
    """How firings ended: the step, and the reason."""
    return [(fact.step, fact.reason) for fact in found if isinstance(fact, facts.RuleCleared)]

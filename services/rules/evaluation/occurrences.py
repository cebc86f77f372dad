"""What happened to a rule in a run, as facts. Pure: the same happening gives the same facts, byte for byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from google.protobuf.message import Message

from milepost.api.event.v1 import rule_events_pb2 as facts
from services.rules.evaluation.states import SetRule, Watch

Cleared = facts.ClearReason
# The end of the year 9999.
LATEST_MS = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A fact about a rule in a runtime, and the id of the event behind it; empty: none."""

    runtime_id: str
    fact: Message
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Happening:
    """Where and when something was seen.

    Attributes:
        subject: the series, the type of event, the word of a state.
        place: tells one occurrence of a rule, trial and subject from the next.
        time_ms: ms since 1970, by the clock of what was seen.
    """

    runtime_id: str
    trial: int
    attempt: int
    subject: str
    place: str
    step: int
    time_ms: int
    message: str
    events_sequence: int = 0
    telemetry_sequence: int = 0
    cause: str = ""
    value: float | None = None
    threshold: float | None = None
    window: int = 0
    onset_step: int = 0
    onset_ms: int = 0
    momentary: bool = False


def firing_id(rule: SetRule, happening: Happening) -> str:
    """Name an occurrence: the same whoever evaluates it, however often."""
    parts = (rule.rule_id, rule.revision, happening.runtime_id, happening.trial, happening.subject, happening.place)
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def fire(rule: SetRule, watch: Watch, happening: Happening) -> list[Occurrence]:
    """Fire, unless it has fired there before or as often as it may. It is open from here on, or momentary."""
    limited = len(watch.fired) >= rule.rule.max_firings or happening.place in watch.fired
    known = "" if limited else firing_id(rule, happening)
    if not happening.momentary:
        watch.open_id, watch.open_step = known, happening.step
    if limited:
        return []
    watch.fired.append(happening.place)
    fired = facts.RuleFired(
        firing_id=known,
        rule_id=rule.rule_id,
        revision=rule.revision,
        rule_name=rule.rule.display_name or rule.rule_id,
        severity=rule.rule.severity,
        trial=happening.trial,
        attempt=happening.attempt,
        subject=happening.subject,
        step=happening.step,
        window=happening.window,
        onset_step=happening.onset_step,
        message=happening.message,
        events_sequence=happening.events_sequence,
        telemetry_sequence=happening.telemetry_sequence,
        watching_only=rule.rule.watching_only,
        momentary=happening.momentary,
    )
    if happening.value is not None:
        fired.value = happening.value
    if happening.threshold is not None:
        fired.threshold = happening.threshold
    fired.onset_time.FromMilliseconds(_possible(happening.onset_ms or happening.time_ms))
    fired.occur_time.FromMilliseconds(_possible(happening.time_ms))
    return [Occurrence(happening.runtime_id, fired, happening.cause)]


def clear(
    runtime_id: str, trial: int, rule_id: str, watch: Watch, reason: Cleared, step: int, time_ms: int, cause: str = ""
) -> list[Occurrence]:
    """End what is open, if anything is."""
    known, watch.open_id = watch.open_id, None
    if not known:
        return []
    cleared = facts.RuleCleared(firing_id=known, rule_id=rule_id, trial=trial, reason=reason, step=step)
    cleared.occur_time.FromMilliseconds(_possible(time_ms))
    return [Occurrence(runtime_id, cleared, cause)]


def _possible(time_ms: int) -> int:
    """Return a time that can be written down. Those of points are what their sender says."""
    return min(max(time_ms, 0), LATEST_MS)

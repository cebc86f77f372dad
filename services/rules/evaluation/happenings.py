"""What rules make of events: types, states, retries, spools; and what an event does to what is open."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.domain import runtime, trial
from milepost.eventlog import RecordedEvent, codec, parse_subject
from services.rules.evaluation.compiling import Compiled
from services.rules.evaluation.occurrences import Happening, Occurrence, clear, fire
from services.rules.evaluation.states import RunFold, TrialFold


def milliseconds(event: RecordedEvent) -> int:
    """Return when an event was stored, ms since 1970, by the clock of the log's server."""
    return int(event.recorded_time.timestamp() * 1_000)


def words_of(state: runtime.Runtime) -> set[str]:
    """Name the status and the phase of a runtime."""
    return {word.value for word in (state.status, state.phase) if word is not None}


def happened(run: RunFold, one: TrialFold, rule: Compiled, payload: Message, event: RecordedEvent) -> list[Occurrence]:
    """What a rule that looks at events makes of one."""
    name, words = _named(rule, one, payload, event)
    if not name:
        return []
    watch = rule.watch(one.watches.setdefault(rule.rule_id, {}), name)
    happening = Happening(
        runtime_id=run.runtime_id,
        trial=one.number,
        attempt=parse_subject(event.subject).attempt or int(getattr(payload, "attempt", 0)),
        subject=name,
        place=event.id,
        step=getattr(payload, "step", 0),
        time_ms=milliseconds(event),
        message=words,
        events_sequence=event.sequence,
        cause=event.id,
        momentary=True,
    )
    return fire(rule.rule, watch, happening)


def _named(rule: Compiled, one: TrialFold, payload: Message, event: RecordedEvent) -> tuple[str, str]:
    """Say what a rule sees in an event: the subject and a sentence; empty: nothing."""
    detector = rule.rule.rule.detector
    if rule.kind == "event" and codec.newest_type(event.type) == detector.event.type:
        words = payload.message if isinstance(payload, trial_facts.AlertRaised) else ""
        return detector.event.type, words or detector.event.type.split(".")[2].replace("_", " ")
    if rule.kind == "retries" and isinstance(payload, trial_facts.RetryScheduled):
        return ("retries", f"retry {one.retries} of the trial") if one.retries == detector.retries.count else ("", "")
    if rule.kind == "disk_filling" and isinstance(payload, trial_facts.TelemetryDropped):
        return "spool", f"a spool is full: {payload.item_count:,} of {payload.kind[:20]} were given up"
    return "", ""


def entered(run: RunFold, rule: Compiled, words: set[str], left: set[str], event: RecordedEvent) -> list[Occurrence]:
    """What a rule that looks at states makes of a change. One with a hold time fires when time has passed."""
    one = run.trial(0)
    watches = one.watches.setdefault(rule.rule_id, {})
    for word in left & watches.keys():
        watches[word].onset_ms = None
    found: list[Occurrence] = []
    for word in sorted(words & set(rule.rule.rule.detector.state.states)):
        watch = rule.watch(watches, word)
        watch.onset_ms = milliseconds(event)
        if not rule.hold_ms:
            found += state_held(run, rule, word, milliseconds(event), event)
    return found


def state_held(
    run: RunFold, rule: Compiled, word: str, at: int, event: RecordedEvent | None = None
) -> list[Occurrence]:
    """A runtime has been in a state for as long as the rule asks for."""
    watch = run.trial(0).watches[rule.rule_id][word]
    onset, watch.onset_ms = watch.onset_ms or at, None
    happening = Happening(
        runtime_id=run.runtime_id,
        trial=0,
        attempt=0,
        subject=word,
        place=str(onset),
        step=0,
        time_ms=at,
        message=f"{word} for {rule.hold_ms / 1_000:g} s" if rule.hold_ms else word,
        events_sequence=event.sequence if event is not None else 0,
        cause=event.id if event is not None else "",
        onset_ms=onset,
        momentary=True,
    )
    return fire(rule.rule, watch, happening)


def went_silent(run: RunFold, one: TrialFold, rule: Compiled, at: int) -> list[Occurrence]:
    """No point came for longer than the rule allows."""
    watch = one.watches[rule.rule_id]["silence"]
    active = one.state.active
    attempt, step = active.attempt if active is not None else 0, max(0, watch.last_step)
    seconds = (at - watch.detector.last_ms) / 1_000
    happening = Happening(
        runtime_id=run.runtime_id,
        trial=one.number,
        attempt=attempt,
        subject="silence",
        place=f"{attempt}/{step}/{watch.detector.last_ms}",
        step=step,
        time_ms=at,
        message=f"no step for {seconds:g} s since step {step:,}",
        cause=one.begun.get(attempt, ""),
        threshold=seconds,
        window=len(watch.detector.gaps),
        onset_step=step,
        onset_ms=watch.detector.last_ms,
    )
    return fire(rule.rule, watch, happening)


def signs_of_life(run: RunFold, one: TrialFold, rules: list[Compiled], event: RecordedEvent) -> list[Occurrence]:
    """An event of an attempt ends its silence; one that is no longer active is not silent, it is over."""
    if parse_subject(event.subject).attempt is None and one.state.active is not None:
        return []
    active = one.state.active is not None
    reason = facts.CLEAR_REASON_RECOVERED if active else facts.CLEAR_REASON_ENDED
    found: list[Occurrence] = []
    for rule in rules:
        for watch in one.watches.get(rule.rule_id, {}).values() if rule.silence is not None else ():
            rule.silence.alive(watch.detector, milliseconds(event))  # type: ignore[union-attr]
            at = milliseconds(event)
            found += clear(run.runtime_id, one.number, rule.rule_id, watch, reason, watch.open_step, at, event.id)
    return found


def came_to_rest(run: RunFold, one: TrialFold, before: trial.Trial, event: RecordedEvent) -> list[Occurrence]:
    """What is open ends with the trial."""
    if not one.is_over or type(before.situation) is type(one.state.situation):
        return []
    ended, at = facts.CLEAR_REASON_ENDED, milliseconds(event)
    return [
        occurrence
        for rule_id, watches in one.watches.items()
        for watch in watches.values()
        for occurrence in clear(run.runtime_id, one.number, rule_id, watch, ended, watch.open_step, at, event.id)
    ]

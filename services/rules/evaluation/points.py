"""What rules make of messages with points and lines, for one trial."""

from __future__ import annotations

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.rules import patterns
from services.rules.evaluation.compiling import Compiled, Selected
from services.rules.evaluation.inputs import Column, Lines, Points
from services.rules.evaluation.occurrences import Happening, Occurrence, clear, fire
from services.rules.evaluation.states import MAX_SENDERS, MAX_SERIES, TrialFold, Watch
from services.rules.evaluation.watching import watch_column

SYSTEM = "system/"
SHOWN_CHARACTERS = 200


def watch_points(selected: Selected, one: TrialFold, message: Points) -> list[Occurrence]:
    """Take in the points of an attempt that has begun. Those of steps that another one owns fire nothing."""
    found: list[Occurrence] = []
    columns = [kept for column in message.columns if (kept := owned(one, message.attempt, column)) is not None]
    for column in columns:
        for rule in selected.of_key(column.key):
            watches = one.watches.setdefault(rule.rule_id, {})
            if rule.series is not None and (column.key in watches or len(watches) < MAX_SERIES):
                watch = rule.watch(watches, column.key)
                found += watch_column(rule.rule, rule.series, watch, one, message, column)
    if selected.paced:
        steps = _steps_of(columns)
        for rule in selected.paced if steps else ():
            found += (
                _silenced(rule, one, message, steps) if rule.silence is not None else _ending(rule, one, message, steps)
            )
    return found


def owned(one: TrialFold, attempt: int, column: Column) -> Column | None:
    """Return the points of a series whose steps an attempt owns; None: it has none of them."""
    segments = [segment for segment in one.state.lineage if segment.attempt == attempt]
    if attempt in one.appending or not segments:
        return column if attempt in one.appending else None
    first, last = segments[-1].first_step, segments[-1].last_step
    # At the step it was restored at, an attempt may log again.
    first = max(first - 1, 0)
    if column.steps[0] >= first and (last is None or column.steps[-1] <= last):
        return column
    kept = [i for i, step in enumerate(column.steps) if step >= first and (last is None or step <= last)]
    if not kept:
        return None
    parts = (column.steps, column.times_ms, column.values)
    steps, times, values = ([part[i] for i in kept] for part in parts)
    return Column(column.key, steps, times, values)  # type: ignore[arg-type]


def _steps_of(columns: list[Column]) -> dict[int, int]:
    """Return the steps that were done, and when: of all series but those of the machine."""
    return {
        step: time_ms
        for column in columns
        if not column.key.startswith(SYSTEM)
        for step, time_ms in zip(column.steps, column.times_ms, strict=True)
    }


def _silenced(rule: Compiled, one: TrialFold, message: Points, steps: dict[int, int]) -> list[Occurrence]:
    """Points end a silence, and say how long it usually takes until they come."""
    watch = rule.watch(one.watches.setdefault(rule.rule_id, {}), "silence")
    if rule.silence is not None:
        rule.silence.heard(watch.detector, message.time_ms)
    watch.last_step = max(steps)
    recovered, cause = facts.CLEAR_REASON_RECOVERED, one.begun.get(message.attempt, "")
    return clear(
        message.runtime_id, one.number, rule.rule_id, watch, recovered, watch.last_step, message.time_ms, cause
    )


def _ending(rule: Compiled, one: TrialFold, message: Points, steps: dict[int, int]) -> list[Occurrence]:
    """Estimate the end at each step."""
    watch = rule.watch(one.watches.setdefault(rule.rule_id, {}), "end")
    found: list[Occurrence] = []
    for step in sorted(steps):
        if step > watch.last_step and rule.end is not None:
            watch.last_step = step
            estimate = rule.end.estimate_ms(watch.detector, step, steps[step], one.state.plan.total_steps)
            if estimate is not None:
                found += _estimated(rule, one, watch, message, (step, steps[step]), estimate)
    return found


def _estimated(
    rule: Compiled, one: TrialFold, watch: Watch, message: Points, point: tuple[int, int], estimate: tuple[int, int]
) -> list[Occurrence]:
    step, time_ms = point
    cause = one.begun.get(message.attempt, "")
    late = estimate[0] - estimate[1]
    if late <= 0:
        watch.onset_ms = None
        recovered = facts.CLEAR_REASON_RECOVERED
        return clear(message.runtime_id, one.number, rule.rule_id, watch, recovered, step, time_ms, cause)
    if watch.onset_ms is None:
        watch.onset_step, watch.onset_ms = step, time_ms
    if watch.open_id is not None or time_ms - watch.onset_ms < rule.hold_ms:
        return []
    happening = Happening(
        runtime_id=message.runtime_id,
        trial=one.number,
        attempt=message.attempt,
        subject="end",
        place=one.place_of(step, message.attempt),
        step=step,
        time_ms=time_ms,
        message=f"the estimated end is {late / 1_000:,.0f} s too late, at step {step:,}",
        telemetry_sequence=message.sequence,
        cause=cause,
        value=estimate[0] / 1_000,
        threshold=estimate[1] / 1_000,
        window=len(watch.detector.steps),
        onset_step=watch.onset_step,
        onset_ms=watch.onset_ms,
    )
    return fire(rule.rule, watch, happening)


def watch_lines(selected: Selected, one: TrialFold, message: Lines) -> list[Occurrence]:
    """Take in lines of the log, unless their message came before."""
    sender = f"{message.attempt}/{message.source}"
    if message.number <= one.heard.get(sender, 0) or (sender not in one.heard and len(one.heard) >= MAX_SENDERS):
        return []
    one.heard[sender] = message.number
    found: list[Occurrence] = []
    for rule in selected.lines:
        watch = rule.watch(one.watches.setdefault(rule.rule_id, {}), "log")
        pattern = rule.rule.rule.detector.log_pattern.pattern
        for number, step, text in message.lines:
            if len(watch.fired) >= rule.rule.rule.max_firings:
                break
            if patterns.found_in(pattern, text):
                happening = Happening(
                    runtime_id=message.runtime_id,
                    trial=one.number,
                    attempt=message.attempt,
                    subject="log",
                    place=f"{sender}/{message.number}/{number}",
                    step=step,
                    time_ms=message.time_ms,
                    message=f"the log says: {_shown(text)}",
                    telemetry_sequence=message.sequence,
                    cause=one.begun.get(message.attempt, ""),
                    momentary=True,
                )
                found += fire(rule.rule, watch, happening)
    return found


def _shown(text: str) -> str:
    return "".join(c for c in text[:SHOWN_CHARACTERS] if c.isprintable()).strip()

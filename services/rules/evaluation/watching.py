"""A rule over the points of one series: onset, hold, firing, end."""

from __future__ import annotations

import math

from milepost.api.event.v1 import rule_events_pb2 as facts
from services.rules.detectors.verdicts import SeriesDetector, Verdict
from services.rules.evaluation.inputs import Column, Points
from services.rules.evaluation.occurrences import Happening, Occurrence, clear, fire
from services.rules.evaluation.states import SetRule, TrialFold, Watch


def watch_column(
    rule: SetRule, detector: SeriesDetector, watch: Watch, trial: TrialFold, message: Points, column: Column
) -> list[Occurrence]:
    """Take in the points of a series that the attempt owns. Each step is looked at once."""
    if column.steps[-1] <= watch.last_step:
        return []
    if watch.onset_ms is None and watch.open_id is None and detector.is_quiet(column.values):
        watch.last_step = column.steps[-1]
        return []
    found: list[Occurrence] = []
    for step, time_ms, value in zip(column.steps, column.times_ms, column.values, strict=True):
        if step <= watch.last_step:
            continue
        watch.last_step = step
        verdict = detector.judge(watch.detector, step, value)
        if verdict is not None and (verdict.holds or watch.onset_ms is not None or watch.open_id is not None):
            found += _judged(rule, watch, trial, message, column.key, (step, time_ms, value), verdict)
    return found


def _judged(
    rule: SetRule,
    watch: Watch,
    trial: TrialFold,
    message: Points,
    key: str,
    point: tuple[int, int, float],
    verdict: Verdict,
) -> list[Occurrence]:
    step, time_ms, value = point
    cause = trial.begun.get(message.attempt, "")
    if not verdict.holds:
        watch.onset_ms = None
        recovered = facts.CLEAR_REASON_RECOVERED
        return clear(message.runtime_id, trial.number, rule.rule_id, watch, recovered, step, time_ms, cause)
    if watch.onset_ms is None:
        watch.onset_step, watch.onset_ms = step, time_ms
    if watch.open_id is not None or time_ms - watch.onset_ms < rule.rule.hold_seconds * 1_000:
        return []
    happening = Happening(
        runtime_id=message.runtime_id,
        trial=trial.number,
        attempt=message.attempt,
        subject=key,
        place=trial.place_of(step, message.attempt),
        step=step,
        time_ms=time_ms,
        message=_sentence(key, value, verdict, step, watch.onset_step),
        telemetry_sequence=message.sequence,
        cause=cause,
        value=value,
        threshold=verdict.threshold,
        window=verdict.window,
        onset_step=watch.onset_step,
        onset_ms=watch.onset_ms,
    )
    found = fire(rule, watch, happening)
    if trial.is_over:
        # What came in after the end.
        ended = facts.CLEAR_REASON_ENDED
        found += clear(message.runtime_id, trial.number, rule.rule_id, watch, ended, step, time_ms, cause)
    return found


def _sentence(key: str, value: float, verdict: Verdict, step: int, onset_step: int) -> str:
    since = f", since step {onset_step:,}" if onset_step != step else ""
    number = f"{value:g}" if math.isfinite(value) else "NaN" if math.isnan(value) else "infinite"
    return f"{key} is {number}, {verdict.words}, at step {step:,}{since}"

"""Where the newest attempt of each trial is, folded from the headers of its step batches alone.

Everything here is of one attempt and does not know the events, so it does not matter which of the two streams is read
faster. Which position counts is decided where it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from milepost.eventlog import telemetry_headers
from milepost.numbers import MAX_NUMBER
from services.trials.readmodel.eta import Observation, StepTimes, observe, restart

# The instance that speaks for the attempt.
SOURCE = "rank-0"
PHASES = frozenset({"starting", "training", "evaluating", "snapshotting", "skipping", "finishing"})
BUSY_PHASES = frozenset({"evaluating", "snapshotting"})
# Batches that throughput is computed from.
MAX_RATES = 32
# The end of the year 9999, as milliseconds since 1970.
MAX_MILLISECONDS = 253_402_300_799_999.0
# And no more than the newest so many seconds of them.
RATE_SECONDS = 30.0


class MalformedHeaders(ValueError):
    """The headers are not those of a step batch."""


@dataclass(slots=True)
class Rate:
    """Steps of one batch, and the seconds they took without evaluations and snapshots."""

    seconds: float
    steps: int
    # Median time of a step within the batch. None: not said.
    step_seconds: float | None
    # Samples per step. None: unknown.
    samples: float | None


@dataclass(slots=True)
class Position:
    """The last position an attempt told, and its speed. Times are nanoseconds since 1970 by the server's clock."""

    attempt: int
    sequence: int = 0
    number: int = 0
    step: int = 0
    epoch: int = 0
    batch: int = 0
    epoch_batches: int | None = None
    phase: str = ""
    evaluation_batch: int = 0
    evaluation_batches: int | None = None
    skipped: int = 0
    to_skip: int | None = None
    last_values: dict[str, float] = field(default_factory=dict)
    # When the position was told, and when it last moved at all.
    time: int = 0
    advance_time: int = 0
    step_time: int = 0
    # The same by the trainer's clock, seconds since 1970.
    step_trainer_time: float = 0.0
    # Seconds since 1970 by the trainer's clock, and the least difference of the two clocks that was seen.
    trainer_time: float = 0.0
    clock_offset: float = math.inf
    busy_seconds: float = 0.0
    times: StepTimes = field(default_factory=StepTimes)
    rates: list[Rate] = field(default_factory=list)
    # The highest step that each earlier attempt told, also when that came late.
    reached: dict[int, int] = field(default_factory=dict)

    def reached_by(self, attempt: int) -> int:
        """Return the highest step an attempt told; 0: none."""
        return self.step if attempt == self.attempt else self.reached.get(attempt, 0)


@dataclass(frozen=True, slots=True)
class ProgressHeaders:
    """What the headers of one step batch say."""

    source: str
    number: int
    step: int
    epoch: int
    batch: int
    epoch_batches: int | None
    phase: str
    evaluation_batch: int
    evaluation_batches: int | None
    skipped: int
    to_skip: int | None
    trainer_time: float
    busy_seconds: float
    step_seconds: float | None
    samples: float | None
    last_values: dict[str, float]


def parse_headers(headers: Mapping[str, str]) -> ProgressHeaders:
    """Read the headers of a step batch.

    Raises:
        MalformedHeaders: one is missing or is not a number.
    """
    phase = headers.get(telemetry_headers.PHASE, "")
    step_ms = _optional_decimal(headers, telemetry_headers.STEP_MS)
    return ProgressHeaders(
        source=headers.get(telemetry_headers.SOURCE, ""),
        number=_integer(headers, telemetry_headers.NUMBER),
        step=_integer(headers, telemetry_headers.STEP),
        epoch=_integer(headers, telemetry_headers.EPOCH),
        batch=_integer(headers, telemetry_headers.BATCH),
        epoch_batches=_optional_integer(headers, telemetry_headers.EPOCH_BATCHES),
        phase=phase if phase in PHASES else "",
        evaluation_batch=_optional_integer(headers, telemetry_headers.EVAL_BATCH) or 0,
        evaluation_batches=_optional_integer(headers, telemetry_headers.EVAL_BATCHES),
        skipped=_optional_integer(headers, telemetry_headers.SKIPPED) or 0,
        to_skip=_optional_integer(headers, telemetry_headers.TO_SKIP),
        trainer_time=_decimal(headers, telemetry_headers.TIME) / 1000,
        busy_seconds=(_optional_decimal(headers, telemetry_headers.BUSY_MS) or 0.0) / 1000,
        step_seconds=step_ms / 1000 if step_ms is not None else None,
        samples=_optional_decimal(headers, telemetry_headers.SAMPLES),
        last_values={
            name.removeprefix(telemetry_headers.LAST_VALUE).replace(".", "/"): _value(text)
            for name, text in headers.items()
            # LAST_STEP looks like the last value of a series `step`.
            if name.startswith(telemetry_headers.LAST_VALUE) and name != telemetry_headers.LAST_STEP
        },
    )


def advance(
    position: Position | None, attempt: int, sequence: int, time: int, told: ProgressHeaders
) -> Position | None:
    """Take in one batch of an attempt; None: it says nothing new about where the newest attempt is.

    `time` is the server's clock, nanoseconds since 1970. The position given is changed in place.
    """
    if told.source != SOURCE:
        return None
    if position is None:
        position = Position(attempt)
    elif attempt < position.attempt:
        return _advance_earlier(position, attempt, sequence, told.step)
    elif attempt > position.attempt:
        position = Position(attempt, reached={**position.reached, position.attempt: position.step})
    elif told.number <= position.number:
        return None
    _measure(position, told)
    before = (position.step, position.batch, position.evaluation_batch, position.skipped, position.phase)
    if told.step != position.step:
        position.step_time, position.step_trainer_time = time, told.trainer_time
    position.step, position.epoch, position.batch = told.step, told.epoch, told.batch
    position.epoch_batches, position.phase = told.epoch_batches, told.phase
    position.evaluation_batch, position.evaluation_batches = told.evaluation_batch, told.evaluation_batches
    position.skipped, position.to_skip = told.skipped, told.to_skip
    position.last_values.update(told.last_values)
    position.number, position.sequence, position.time = told.number, sequence, time
    position.trainer_time = told.trainer_time
    position.clock_offset = min(position.clock_offset, time / 1e9 - told.trainer_time)
    after = (position.step, position.batch, position.evaluation_batch, position.skipped, position.phase)
    if before != after or position.advance_time == 0:
        position.advance_time = time
    return position


def _advance_earlier(position: Position, attempt: int, sequence: int, step: int) -> Position | None:
    """Take in what an attempt that is over left behind: it may have been further than anybody knew."""
    if step <= position.reached.get(attempt, 0):
        return None
    position.reached[attempt], position.sequence = step, sequence
    return position


def _measure(position: Position, told: ProgressHeaders) -> None:
    """Fold the speed. A missing number means that the time before is not known."""
    position.busy_seconds += told.busy_seconds
    # From 0 an attempt may jump to the step of its snapshot, which it did not work for.
    if told.number != position.number + 1 or (position.step == 0 and told.step > 0):
        restart(position.times)
    before = position.times.last_time
    steps = told.step - position.step
    new_epoch = before is not None and told.epoch != position.epoch
    in_busy = told.phase in BUSY_PHASES
    observe(
        position.times,
        Observation(told.trainer_time, told.step, told.busy_seconds, in_busy, new_epoch, told.samples),
    )
    if before is None or steps <= 0:
        return
    seconds = max(0.0, told.trainer_time - before - told.busy_seconds)
    position.rates.append(Rate(seconds, steps, told.step_seconds, told.samples))
    del position.rates[:-MAX_RATES]


def recent_rates(position: Position) -> list[Rate]:
    """Return the newest batches that have steps, as far back as throughput looks."""
    kept: list[Rate] = []
    seconds = 0.0
    for rate in reversed(position.rates):
        kept.append(rate)
        seconds += rate.seconds
        if seconds >= RATE_SECONDS:
            break
    return kept


def step_quantile(rates: list[Rate], share: float) -> float | None:
    """Return the time of a step below which `share` of the recent steps lie; None: not known."""
    known = sorted((rate.step_seconds, rate.steps) for rate in rates if rate.step_seconds is not None)
    wanted = share * sum(steps for _, steps in known)
    passed = 0
    for seconds, steps in known:
        passed += steps
        if passed >= wanted:
            return seconds
    return None


def usual_samples(rates: list[Rate]) -> float | None:
    """Return the usual samples per step; None: unknown."""
    samples = [rate.samples for rate in rates if rate.samples is not None]
    return median(samples) if samples else None


def _value(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MalformedHeaders(f"{text[:40]!r} is not a number") from None


def _decimal(headers: Mapping[str, str], name: str) -> float:
    """Read a time or a duration in milliseconds, or a count that may have a fraction."""
    value = _value(headers.get(name, ""))
    # Also false for NaN.
    if not 0.0 <= value <= MAX_MILLISECONDS:
        raise MalformedHeaders(f"{name} is {value}, which no clock shows")
    return value


def _optional_decimal(headers: Mapping[str, str], name: str) -> float | None:
    return _decimal(headers, name) if name in headers else None


def _integer(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) > MAX_NUMBER:
        raise MalformedHeaders(f"{name} is {text[:40]!r}, not a whole number up to {MAX_NUMBER}")
    return int(text)


def _optional_integer(headers: Mapping[str, str], name: str) -> int | None:
    return _integer(headers, name) if name in headers else None

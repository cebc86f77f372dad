"""Columns of steps as messages for TELEMETRY, with the headers that readers of progress need."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from milepost.api.telemetry.v1.telemetry_pb2 import Sender, StepBatch
from milepost.eventlog import telemetry_headers
from milepost.training.telemetry.buffer import Columns, rows_per_slice

MAX_BATCH_BYTES = 384 << 10
MAX_BATCH_STEPS = 4096
# The series whose last value travels in the headers.
HEADLINE_KEYS = ("train/loss", "train/learning_rate", "train/grad_norm")

STARTING = "starting"
TRAINING = "training"
EVALUATING = "evaluating"
SNAPSHOTTING = "snapshotting"
SKIPPING = "skipping"
FINISHING = "finishing"


@dataclass(slots=True)
class Position:
    """Where an instance is. Written by the training loop, read in the background."""

    step: int = 0
    epoch: int = 0
    # Batches of the epoch that were handed to the loop; the last of them may be in work.
    batch: int = 0
    epoch_batches: int | None = None
    phase: str = STARTING
    eval_batch: int | None = None
    eval_batches: int | None = None
    skipped: int | None = None
    to_skip: int | None = None
    # Samples per step.
    samples: int | None = None
    # Time spent in evaluations and snapshots since the start, in seconds.
    busy_seconds: float = 0.0
    # Examples that were handed out since the last step ended.
    examples: int = 0
    # Tokens that were read in the whole training, those of the step under way included.
    tokens: int = 0
    # The same before the step under way, where it has read any: it is the one after `tokens_step`.
    tokens_before: int = 0
    tokens_step: int = -1
    # The share of what all devices can do in a second that one token takes; 0: it is not known.
    mfu_per_token: float = 0.0

    def read_tokens(self, count: int) -> None:
        """Add tokens to the step under way."""
        if self.tokens_step != self.step:
            self.tokens_before, self.tokens_step = self.tokens, self.step
        self.tokens += count

    def reach_tokens(self, tokens: int) -> None:
        """Note how many tokens were read when the last step ended."""
        self.tokens = max(self.tokens, tokens)

    @property
    def tokens_at_boundary(self) -> int:
        """Tokens that were read when the last step ended."""
        return self.tokens_before if self.tokens_step == self.step else self.tokens

    def headers(self) -> dict[str, str]:
        """Give the headers of progress. Reads each field once; the loop may write meanwhile."""
        found = {
            telemetry_headers.STEP: self.step,
            telemetry_headers.EPOCH: self.epoch,
            telemetry_headers.BATCH: self.batch,
            telemetry_headers.PHASE: self.phase,
        }
        optional = {
            telemetry_headers.EPOCH_BATCHES: self.epoch_batches,
            telemetry_headers.EVAL_BATCH: self.eval_batch,
            telemetry_headers.EVAL_BATCHES: self.eval_batches,
            telemetry_headers.SKIPPED: self.skipped,
            telemetry_headers.TO_SKIP: self.to_skip,
            telemetry_headers.SAMPLES: self.samples,
        }
        found |= {name: value for name, value in optional.items() if value is not None}
        return {name: str(value) for name, value in found.items()}


class LastValues:
    """The last value of each series: of its highest step, and there the newest."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self._places: dict[str, tuple[int, float]] = {}

    def take_in(self, columns: Sequence[Columns]) -> None:
        """Note what was logged, in the order in which it was."""
        for group in columns:
            place = group.steps[-1], group.times[-1]
            for key, values in zip(group.keys, group.values, strict=True):
                if place >= self._places.get(key, place):
                    self._places[key], self.values[key] = place, values[-1]

    def is_last(self, group: Columns, key: str) -> bool:
        """Return whether the last value of a series is the last one in a group. What comes late is for an earlier step."""
        return self._places[key] == (group.steps[-1], group.times[-1])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that only lacks its number."""

    sender: Sender
    groups: tuple[Columns, ...]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def points(self) -> int:
        return sum(group.points for group in self.groups)

    @property
    def first_step(self) -> int:
        return min((group.steps[0] for group in self.groups), default=0)

    @property
    def last_step(self) -> int:
        return max((group.steps[-1] for group in self.groups), default=0)

    def encode(self, number: int) -> tuple[dict[str, str], bytes]:
        """Give headers and body of the batch with this number."""
        batch = StepBatch(sender=self.sender, number=number)
        for group in self.groups:
            times_ms = array("q", [int(time * 1000) for time in group.times])
            encoded = batch.groups.add(steps=little_endian(group.steps), times_ms=little_endian(times_ms))
            for key, values in zip(group.keys, group.values, strict=True):
                encoded.columns.add(key=key, values=little_endian(values))
        return {**self.headers, telemetry_headers.NUMBER: str(number)}, batch.SerializeToString()


def little_endian(values: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        values = array(values.typecode, values)
        values.byteswap()
    return values.tobytes()


def prepare(
    sender: Sender,
    columns: Sequence[Columns],
    progress: dict[str, str],
    time_ms: int,
    busy_ms: int,
    last: LastValues,
) -> Iterator[Prepared]:
    """Cut columns into batches of bounded size. Without columns there is one batch, of progress alone.

    Args:
        last: has taken in these columns.
    """
    parts = list(_partition(columns)) or [()]
    for index, groups in enumerate(parts):
        ends = index == len(parts) - 1
        headers = {
            **progress,
            telemetry_headers.SOURCE: sender.source,
            telemetry_headers.TIME: str(time_ms),
            telemetry_headers.POINTS: str(sum(group.points for group in groups)),
            # Counted once.
            telemetry_headers.BUSY_MS: str(busy_ms if ends else 0),
        }
        if groups:
            headers[telemetry_headers.FIRST_STEP] = str(min(group.steps[0] for group in groups))
            headers[telemetry_headers.LAST_STEP] = str(max(group.steps[-1] for group in groups))
            headers |= _statistics(groups, last)
        yield Prepared(sender, groups, headers)


def _partition(columns: Sequence[Columns]) -> Iterator[tuple[Columns, ...]]:
    """Distribute groups over batches of at most 4,096 steps and 384 KiB each."""
    current: list[Columns] = []
    free_rows, free_bytes = MAX_BATCH_STEPS, MAX_BATCH_BYTES
    for group in (part for wide in columns for part in wide.narrow(MAX_BATCH_BYTES)):
        names = sum(len(key.encode()) + 16 for key in group.keys)
        for piece in group.slices(min(MAX_BATCH_STEPS, rows_per_slice(len(group.keys), MAX_BATCH_BYTES))):
            size = 8 * piece.rows * (len(piece.keys) + 2) + names
            if current and (piece.rows > free_rows or size > free_bytes):
                yield tuple(current)
                current = []
                free_rows, free_bytes = MAX_BATCH_STEPS, MAX_BATCH_BYTES
            current.append(piece)
            free_rows -= piece.rows
            free_bytes -= size
    if current:
        yield tuple(current)


def _statistics(groups: Sequence[Columns], last: LastValues) -> dict[str, str]:
    headers = {}
    steady = max(groups, key=lambda group: group.rows)
    step_time = median_step_seconds(steady)
    if step_time is not None:
        headers[telemetry_headers.STEP_MS] = f"{step_time * 1000:.6g}"
    for group in groups:
        for key, values in zip(group.keys, group.values, strict=True):
            if key in HEADLINE_KEYS and last.is_last(group, key):
                headers[f"{telemetry_headers.LAST_VALUE}{key.replace('/', '.')}"] = format_number(values[-1])
    return headers


def median_step_seconds(group: Columns) -> float | None:
    """Return the median time of one step; None when there are fewer than two steps."""
    steps = group.steps[-1] - group.steps[0]
    if group.rows < 2 or steps <= 0:
        return None
    times = group.times[-512:]
    stride = steps / (group.rows - 1)
    return max(0.0, median(map(float.__sub__, times[1:], times)) / stride)


def format_number(value: float) -> str:
    """Decimal, or nan, inf, -inf."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)

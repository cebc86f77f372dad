"""Columns of steps as messages for TELEMETRY, with the headers that readers of progress need."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from milepost.api.telemetry.v1.telemetry_pb2 import Sender, StepBatch
from milepost.training.buffer import Columns, rows_per_slice

LARGEST_BATCH_BYTES = 384 << 10
LARGEST_BATCH_STEPS = 4096
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

    def headers(self) -> dict[str, str]:
        """Give the headers of progress. Reads each field once; the loop may write meanwhile."""
        found = {"mp-step": self.step, "mp-epoch": self.epoch, "mp-batch": self.batch, "mp-phase": self.phase}
        optional = {
            "mp-epoch-batches": self.epoch_batches,
            "mp-eval-batch": self.eval_batch,
            "mp-eval-batches": self.eval_batches,
            "mp-skipped": self.skipped,
            "mp-to-skip": self.to_skip,
            "mp-samples": self.samples,
        }
        found |= {name: value for name, value in optional.items() if value is not None}
        return {name: str(value) for name, value in found.items()}


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
        return {**self.headers, "mp-number": str(number)}, batch.SerializeToString()


def little_endian(values: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        values = array(values.typecode, values)
        values.byteswap()
    return values.tobytes()


def prepare(
    sender: Sender, columns: Sequence[Columns], progress: dict[str, str], time_ms: int, busy_ms: int
) -> Iterator[Prepared]:
    """Cut columns into batches of bounded size. Without columns there is one batch, of progress alone."""
    parts = list(_partition(columns)) or [()]
    for index, groups in enumerate(parts):
        last = index == len(parts) - 1
        headers = {
            **progress,
            "mp-source": sender.source,
            "mp-time": str(time_ms),
            "mp-points": str(sum(group.points for group in groups)),
            # Counted once.
            "mp-busy-ms": str(busy_ms if last else 0),
        }
        if groups:
            headers["mp-first-step"] = str(min(group.steps[0] for group in groups))
            headers["mp-last-step"] = str(max(group.steps[-1] for group in groups))
            headers |= _statistics(groups)
        yield Prepared(sender, groups, headers)


def _partition(columns: Sequence[Columns]) -> Iterator[tuple[Columns, ...]]:
    """Distribute groups over batches of at most 4,096 steps and 384 KiB each."""
    current: list[Columns] = []
    free_rows, free_bytes = LARGEST_BATCH_STEPS, LARGEST_BATCH_BYTES
    for group in columns:
        for piece in group.slices(min(LARGEST_BATCH_STEPS, rows_per_slice(len(group.keys), LARGEST_BATCH_BYTES))):
            size = 8 * piece.rows * (len(piece.keys) + 2) + sum(len(key) + 16 for key in piece.keys)
            if current and (piece.rows > free_rows or size > free_bytes):
                yield tuple(current)
                current = []
                free_rows, free_bytes = LARGEST_BATCH_STEPS, LARGEST_BATCH_BYTES
            current.append(piece)
            free_rows -= piece.rows
            free_bytes -= size
    if current:
        yield tuple(current)


def _statistics(groups: Sequence[Columns]) -> dict[str, str]:
    headers = {}
    steady = max(groups, key=lambda group: group.rows)
    step_time = median_step_seconds(steady)
    if step_time is not None:
        headers["mp-step-ms"] = f"{step_time * 1000:.6g}"
    newest: dict[str, tuple[int, float]] = {}
    for group in groups:
        for key, values in zip(group.keys, group.values, strict=True):
            if key in HEADLINE_KEYS and newest.get(key, (-1, 0.0))[0] <= group.steps[-1]:
                newest[key] = (group.steps[-1], values[-1])
    return headers | {f"mp-last-{key.replace('/', '.')}": format_number(value) for key, (_, value) in newest.items()}


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

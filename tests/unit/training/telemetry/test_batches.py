"""Batches of steps stay within what a message takes."""

from __future__ import annotations

from array import array

from milepost.api.telemetry.v1.telemetry_pb2 import Sender, StepBatch
from milepost.eventlog.nats.server import MAX_PAYLOAD_BYTES
from milepost.training.telemetry import buffer as buffers
from milepost.training.telemetry.batches import (
    MAX_BATCH_BYTES,
    MAX_BATCH_STEPS,
    LastValues,
    Prepared,
    prepare,
)
from milepost.training.telemetry.buffer import StepBuffer

SENDER = Sender(runtime_id="rt-x", trial=1, attempt=1, source="rank-0")


def prepared(buffer: StepBuffer) -> list[Prepared]:
    """Cut what a buffer has into batches."""
    columns, last = buffer.take(), LastValues()
    last.take_in(columns)
    return list(prepare(SENDER, columns, {}, 0, 0, last))


def test_batches_stay_within_their_size_and_lose_nothing() -> None:
    """At most 4,096 steps and 384 KiB, in order."""
    buffer = StepBuffer(lambda problem, text: None)
    for step in range(1, 10_001):
        buffer.append(step, float(step), {f"series/{index}": float(step) for index in range(20)})
    parts = prepared(buffer)
    bodies = [part.encode(number)[1] for number, part in enumerate(parts, start=1)]
    assert all(len(body) < MAX_BATCH_BYTES + 8192 for body in bodies)
    steps = [step for body in bodies for group in StepBatch.FromString(body).groups for step in array("q", group.steps)]
    assert steps == list(range(1, 10_001))
    assert all(sum(group.rows for group in part.groups) <= MAX_BATCH_STEPS for part in parts)


def test_more_and_longer_names_than_fit_into_a_message_are_spread_over_several() -> None:
    """10,000 series of one step, with the longest names there are."""
    buffer = StepBuffer(lambda problem, text: None)
    names = [f"{index:05}{'层' * 245}" for index in range(buffers.MAX_SERIES)]
    buffer.append(1, 0.0, dict.fromkeys(names, 0.5))
    bodies = [part.encode(1)[1] for part in prepared(buffer)]
    assert max(map(len, bodies)) < MAX_PAYLOAD_BYTES - 8192
    groups = [group for body in bodies for group in StepBatch.FromString(body).groups]
    assert [column.key for group in groups for column in group.columns] == names

"""Comparing ClickHouse with TELEMETRY, message by message, where both still have them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.telemetry import StoredMessage
from services.metrics.arrays import as_numpy
from services.metrics.batches import STEPS, Batch, decode
from services.metrics.engine import Engine
from services.metrics.selection import TrialRef, in_trials

MAXIMUM_DIFFERENCES = 20
MESSAGES_AT_ONCE = 100


async def verify_stored(engine: Engine, parent: TrialRef) -> pb.VerifyStoredResponse:
    """Compare every value of every stored step batch, bit by bit. An empty parent: everything."""
    pipeline = engine.writer.steps
    end = pipeline.stored
    response = pb.VerifyStoredResponse()
    async for messages in _messages(engine, parent, end):
        outcomes, values = await _rows(engine, pipeline.stream_id, messages)
        for batch in (decode(message) for message in messages):
            # Of a deleted runtime nothing is kept, on purpose.
            if engine.follower.lineages.is_deleted(batch.sender.runtime_id):
                continue
            _compare(response, batch, outcomes.get(batch.sequence), values.get(batch.sequence, []))
    return response


async def _messages(engine: Engine, parent: TrialRef, end: int) -> AsyncIterator[list[StoredMessage]]:
    subject = f"telemetry.{parent.runtime_id or '*'}.{parent.trial or '*'}.*.{STEPS}"
    state = await engine.telemetry.state()
    if not state.message_count or state.first_sequence > end:
        return
    async with engine.telemetry.consume(state.first_sequence - 1, [subject]) as reader:
        while True:
            messages = [m for m in await reader.next_batch(MESSAGES_AT_ONCE, wait_seconds=2.0) if m.sequence <= end]
            if not messages:
                return
            yield messages
            if messages[-1].pending == 0:
                return


async def _rows(
    engine: Engine, stream_id: int, messages: list[StoredMessage]
) -> tuple[dict[int, str], dict[int, list[tuple[str, int, int, bytes]]]]:
    """Read what the table has of messages: what became of each, and its points with the bits of their values."""
    trials = {TrialRef(m.subject.split(".")[1], int(m.subject.split(".")[2])) for m in messages}
    condition = in_trials(trials)
    parameters = {**condition.parameters, "stream": stream_id, "sequences": [m.sequence for m in messages]}
    rows = await engine.store.read(
        "SELECT log_seq, toString(kind) AS outcome, key, step, time_ms, value FROM points "
        f"WHERE ({condition.sql}) AND stream_id = {{stream:UInt64}} AND log_seq IN {{sequences:Array(UInt64)}}",
        parameters,
    )
    outcomes: dict[int, str] = {}
    found: dict[int, list[tuple[str, int, int, bytes]]] = {}
    bits = as_numpy(rows["value"]).view("V8").tolist() if rows.num_rows else []
    columns = (rows[name].to_pylist() for name in ("log_seq", "outcome", "key", "step", "time_ms"))
    for (sequence, outcome, key, step, time_ms), value in zip(zip(*columns, strict=True), bits, strict=True):
        if outcome == "point":
            found.setdefault(sequence, []).append((key, step, time_ms, bytes(value)))
        else:
            outcomes[sequence] = outcome
    return outcomes, found


def _compare(
    response: pb.VerifyStoredResponse, batch: Batch, outcome: str | None, stored: list[tuple[str, int, int, bytes]]
) -> None:
    response.compared_batches += 1
    sent = [
        (key, step, time_ms, bytes(value))
        for group in batch.groups
        for key, values in zip(group.keys, group.values, strict=True)
        for step, time_ms, value in zip(
            group.steps.tolist(), group.times_ms.tolist(), values.view("V8").tolist(), strict=True
        )
    ]
    if outcome in ("duplicate", "purged", "rejected", "tombstone"):
        sent = []
    response.compared_points += len(sent)
    where = f"message {batch.sequence} (batch {batch.number} of {batch.sender.source}, attempt {batch.sender.attempt})"
    if outcome is None:
        _differ(response, f"{where} is not in ClickHouse")
    elif sorted(sent) != sorted(stored):
        _differ(response, f"{where}: {len(sent)} points sent, {len(stored)} stored, or other values")


def _differ(response: pb.VerifyStoredResponse, text: str) -> None:
    response.difference_count += 1
    if len(response.differences) < MAXIMUM_DIFFERENCES:
        response.differences.append(text)

"""Steps that ran twice, before a crash or a stop and again after the resume: are their values the same, bit by bit?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from milepost.api.metric.v1 import metric_service_pb2 as pb
from services.metrics.storage.order import NEWEST
from services.metrics.storage.selection import Condition, StepRange, all_of, clip, in_keys, in_pieces
from services.metrics.storage.store import Store

# They say how the machine did, not what was computed.
MACHINE = "system/"


async def check_determinism(
    store: Store, owned: Sequence[StepRange], superseded: Sequence[StepRange], keys: Sequence[str]
) -> pb.CheckDeterminismResponse:
    """Compare what abandoned attempts did with what their steps are in the lineage."""
    response = pb.CheckDeterminismResponse(bit_exact=True)
    for piece in superseded:
        repeated = await _repeated(store, piece, owned, keys)
        if repeated is not None:
            response.repetitions.append(repeated)
    response.bit_exact = all(not repetition.first_different_step for repetition in response.repetitions)
    response.message = sentence(response.repetitions)
    return response


async def _repeated(
    store: Store, piece: StepRange, owned: Sequence[StepRange], keys: Sequence[str]
) -> pb.Repetition | None:
    """Compare one abandoned piece; None: none of its steps was done again."""
    again = [other for other in clip(owned, piece.first, piece.last) if other.attempt > piece.attempt]
    if not again:
        return None
    rows = await _compared(store, piece, again, keys)
    if not rows:
        return None
    repetition = pb.Repetition(
        attempt=piece.attempt,
        repeated_by=sorted({attempt for row in rows for attempt in row["attempts"]}),
        first_step=min(row["first_step"] for row in rows),
        last_step=max(row["last_step"] for row in rows),
    )
    for row in rows:
        series = repetition.series.add(key=row["key"], compared_points=row["compared"], different_points=row["other"])
        if row["other"]:
            series.first_different_step = row["first_other"]
            series.before, series.after = row["was"], row["became"]
    different = [series.first_different_step for series in repetition.series if series.different_points]
    repetition.first_different_step = min(different, default=0)
    return repetition


async def _compared(
    store: Store, piece: StepRange, again: Sequence[StepRange], keys: Sequence[str]
) -> list[dict[str, Any]]:
    wanted = (
        in_keys(keys)
        if keys
        else Condition("key != '' AND NOT startsWith(key, {machine:String})", {"machine": MACHINE})
    )
    condition = all_of(in_pieces([piece, *again]), wanted)
    # Of several values of a step in one attempt the newest is the one that is shown.
    rows = await store.read(
        "SELECT key, count() AS compared, min(step) AS first_step, max(step) AS last_step,"
        " groupUniqArray(repeated_by) AS attempts, countIf(differs) AS other, minIf(step, differs) AS first_other,"
        " argMinIf(old, step, differs) AS was, argMinIf(new, step, differs) AS became "
        f"FROM (SELECT key, step, argMaxIf(value, {NEWEST}, attempt = {{old:UInt32}}) AS old,"
        f" argMaxIf(value, (attempt, {NEWEST}), attempt != {{old:UInt32}}) AS new,"
        " maxIf(attempt, attempt != {old:UInt32}) AS repeated_by,"
        " reinterpretAsUInt64(old) != reinterpretAsUInt64(new) AS differs "
        f"FROM points WHERE {condition.sql} GROUP BY key, step "
        "HAVING countIf(attempt = {old:UInt32}) > 0 AND countIf(attempt != {old:UInt32}) > 0) "
        "GROUP BY key ORDER BY key",
        {**condition.parameters, "old": piece.attempt},
    )
    return rows.to_pylist()


def sentence(repetitions: Iterable[pb.Repetition]) -> str:
    """Say what was found in one sentence."""
    repetitions = list(repetitions)
    if not repetitions:
        return "no step ran twice"
    count = sum(repetition.last_step - repetition.first_step + 1 for repetition in repetitions)
    first = min((r for r in repetitions if r.first_different_step), key=lambda r: r.first_different_step, default=None)
    if first is None:
        return f"{count:,} {'step' if count == 1 else 'steps'} ran twice, bit-exact"
    step = first.first_different_step
    series = next(s for s in first.series if s.different_points and s.first_different_step == step)
    more = sum(1 for s in first.series if s.different_points) - 1
    others = f", and {more} more series" if more else ""
    return f"not bit-exact from step {step:,}: {series.key} was {series.before:.9g}, then {series.after:.9g}{others}"

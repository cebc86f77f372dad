"""Removing what a deleted runtime has left in the tables."""

from __future__ import annotations

from milepost.errors import FailedPrecondition
from services.metrics.engine import Engine
from services.metrics.ingest.writer import Pipeline
from services.metrics.storage.batches import LOGS, OFFSET, STEPS, Batch, LogsBlock, SenderKey, StepsBlock
from services.metrics.storage.store import SAMPLES


async def purge(engine: Engine, runtime_id: str) -> tuple[int, int]:
    """Delete the points, samples and log lines of a runtime and return how many there were. Again: nothing more.

    Raises:
        Unavailable: another process stores now, or none.
        FailedPrecondition: nobody asked for the runtime to be deleted; its trainers would go on sending.
    """
    engine.require_lead()
    await engine.follower.catch_up()
    if not engine.follower.lineages.is_deleted(runtime_id):
        raise FailedPrecondition(f"runtimes/{runtime_id} is not being deleted", reason="NOT_DELETED")
    counts = []
    for pipeline in (engine.writer.steps, engine.writer.logs):
        # What was taken before the deletion was known must not appear after it.
        await pipeline.wait_stored(pipeline.accepted)
        counts.append(await _purge_table(engine, pipeline, runtime_id))
    await engine.store.command(
        f"ALTER TABLE {SAMPLES} DELETE WHERE runtime = {{runtime:String}} SETTINGS mutations_sync = 2",
        {"runtime": runtime_id},
    )
    return counts[0], counts[1]


async def _purge_table(engine: Engine, pipeline: Pipeline, runtime_id: str) -> int:
    content = "key != ''" if pipeline.kind == STEPS else "kind = 'line'"
    rows = await engine.store.read(
        f"SELECT countIf({content}) AS items, count() AS rows FROM {pipeline.table} WHERE runtime = {{runtime:String}}",
        {"runtime": runtime_id},
    )
    items, everything = int(rows["items"][0].as_py()), int(rows["rows"][0].as_py())
    if everything:
        # The position must not go back with the rows that carried it.
        await engine.store.insert(pipeline.table, _offset_row(pipeline).table())
        await engine.store.command(
            f"ALTER TABLE {pipeline.table} DELETE WHERE runtime = {{runtime:String}} SETTINGS mutations_sync = 2",
            {"runtime": runtime_id},
        )
    return items


def _offset_row(pipeline: Pipeline) -> StepsBlock | LogsBlock:
    batch = Batch(pipeline.stored, 0, SenderKey("", 0, 0, ""), 0, OFFSET)
    if pipeline.kind == LOGS:
        lines = LogsBlock(pipeline.stream_id)
        lines.add(batch, [])
        return lines
    steps = StepsBlock(pipeline.stream_id)
    steps.add(batch)
    return steps

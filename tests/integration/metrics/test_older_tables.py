"""A data directory of an older version is opened as it is, and its roll-ups become those of this one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from milepost.eventlog.telemetry import StoredMessage
from services.metrics.queries.series import SeriesReader
from services.metrics.storage import store as stores
from services.metrics.storage.batches import StepsBlock, decode
from services.metrics.storage.selection import Pin, StepRange, TrialRef
from tests.support.servers.metrics_service import ROOT, step_batch

OLDER = ROOT / "tests" / "golden" / "clickhouse"
TRIAL = TrialRef("rt-a", 1)
STEPS = 5000
DEADLINE_SECONDS = 60.0


def test_rows_of_an_older_version_are_read_right_and_rolled_up_again(tmp_path: Path) -> None:
    """The last step has two values in two messages, of which the older version showed the first."""
    _in_process("write", tmp_path)
    told = _in_process("read", tmp_path)
    assert told["projections"] == ["offsets", "rollup_128", "rollup_4096"]
    assert told["bucket"] == told["summary"] == {"count": STEPS + 1, "last": -1.0, "last_step": STEPS}
    assert told["used"] == {"7": "rollup_128", "12": "rollup_4096"}


def _in_process(what: str, directory: Path) -> dict[str, object]:
    """Run a part of this module by itself: an embedded database is open for as long as its process lives."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, what, str(directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


async def write(directory: Path) -> dict[str, object]:
    """Store what an older version has."""
    stores.SCHEMA, stores.RETIRED_PROJECTIONS = OLDER, ()
    store = await stores.open_embedded(directory)
    for number, (first, values) in enumerate(((1, np.arange(STEPS)), (STEPS, np.array([-1.0]))), 1):
        steps = np.arange(first, first + len(values))
        batch = step_batch(TRIAL.runtime_id, number, steps, {"x": values.astype(float)})
        subject = f"telemetry.{TRIAL.runtime_id}.1.1.steps"
        block = StepsBlock(1)
        block.add(decode(StoredMessage(number, subject, {}, batch.SerializeToString(), 1, 0)))
        await store.insert("points", block.table())
    await store.close()
    return {}


async def read(directory: Path) -> dict[str, object]:
    """Open the directory as this version does; wait until the mutations that this begins are done."""
    store = await stores.open_embedded(directory)
    reader, pieces, pin = SeriesReader(store), [StepRange(TRIAL, 1)], Pin(1, 9)
    (buckets,) = (await reader.buckets(pieces, ["x"], 13, pin, by_attempt=False)).values()
    (summary,) = await reader.summaries(pieces, [], None)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await store.read("SELECT count() AS n FROM system.mutations WHERE NOT is_done"))["n"][0].as_py():
            await asyncio.sleep(0.05)
    projections = await store.read("SELECT DISTINCT name FROM system.projection_parts WHERE active ORDER BY name")
    told = {
        "projections": projections["name"].to_pylist(),
        "bucket": {
            "count": int(buckets.counts[-1]),
            "last": float(buckets.lasts[-1]),
            "last_step": int(buckets.last_steps[-1]),
        },
        "summary": {"count": summary["counts"], "last": summary["lasts"], "last_step": summary["last_steps"]},
        "used": {shift: await _used(store, reader, int(shift), pin) for shift in ("7", "12")},
    }
    await store.close()
    return told


async def _used(store: stores.Store, reader: SeriesReader, shift: int, pin: Pin) -> str:
    """Name the roll-up that a read of buckets is answered from."""
    asked: list[tuple[str, stores.Parameters | None]] = []
    plain = store.read

    async def listening(sql: str, parameters: stores.Parameters | None = None) -> object:
        asked.append((sql, parameters))
        return await plain(sql, parameters)

    store.read = listening  # type: ignore[method-assign, assignment]
    await reader.buckets(
        [StepRange(TRIAL, 1, 0, (4096 if shift == 12 else 128) - 1)], ["x"], shift, pin, by_attempt=False
    )
    store.read = plain  # type: ignore[method-assign]
    sql, parameters = asked[0]
    plan = (await store.read(f"EXPLAIN projections = 1 {sql}", parameters)).column(0).to_pylist()
    return next(name for name in ("rollup_128", "rollup_4096", "points") if any(name in line for line in plan))


if __name__ == "__main__":
    print(json.dumps(asyncio.run({"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2])))))

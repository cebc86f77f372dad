"""Growth 21 and 27: a worker group of 10, 100 and 1,000 ranks, without its processes.

What one second of it costs at 10 steps a second: rank 0 and the driver for the mean, the driver for a log line, the runtime
service for a look at the beats; and whether there is room for the series that its code logs. The last ratio is to two ranks.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat, LogLine
from milepost.api.training.v1.training_pb2 import InstanceInstruction, RankValues
from milepost.names import AttemptKey
from milepost.training.telemetry.buffer import Columns
from milepost.training.telemetry.marker import StepMarker, marker_path
from milepost.training.telemetry.means import AVERAGED, EXAMPLES, RankMeans, own_values
from milepost.training.telemetry.system_metrics import SystemSampler
from services.metrics.ingest.series_limit import SeriesLimit
from services.metrics.storage.batches import STORED, Batch, Group, SenderKey
from services.runtime.scheduling.liveness import Liveness
from tests.benchmarks.parts.growth import report_growth
from trainer.means import PASS_ON_SECONDS, GroupMeans
from trainer.on_ray.ray_group import RayGroup

SIZES = (2, 10, 100, 1_000)
STEPS_PER_SECOND = 10
SECONDS = 5
TURNS = 5


def rows(first: int, count: int) -> Columns:
    """Make rows of a loss, each of eight examples."""
    losses, examples = array("d", [0.5] * count), array("d", [8.0] * count)
    return Columns(
        (AVERAGED, EXAMPLES), array("q", range(first, first + count)), array("d", [0.0] * count), (losses, examples)
    )


def mean_seconds(ranks: int) -> tuple[float, float]:
    """Return the CPU of rank 0 and of the driver for a second of a group, whose ranks speak once in it, each at its time."""
    group, means, spent = GroupMeans(ranks), RankMeans(), [0.0, 0.0]
    ticks = int(SECONDS / PASS_ON_SECONDS)
    turns = [random.Random(rank).randrange(int(1 / PASS_ON_SECONDS)) for rank in range(ranks)]
    spoken = [0] * ranks
    given = 0
    for tick in range(ticks):
        done = int((tick + 1) * PASS_ON_SECONDS * STEPS_PER_SECOND)
        speaking = [r for r in range(1, ranks) if tick % int(1 / PASS_ON_SECONDS) == turns[r]]
        messages = [own_values(r, [rows(spoken[r] + 1, done - spoken[r])], done).SerializeToString() for r in speaking]
        for rank in speaking:
            spoken[rank] = done
        began = time.process_time()
        for rank, message in zip(speaking, messages, strict=True):
            group.receive(rank, RankValues.FromString(message), tick * PASS_ON_SECONDS)
        due = group.due(tick * PASS_ON_SECONDS)
        message = b"" if due is None else InstanceInstruction(values=due).SerializeToString()
        between = time.process_time()
        if message:
            means.receive(InstanceInstruction.FromString(message).values)
        given += sum(c.rows for c in means.merge([rows(spoken[0] + 1, done - spoken[0])], done))
        spoken[0] = done
        spent[0] += time.process_time() - between
        spent[1] += between - began
    assert given >= (SECONDS - 2) * STEPS_PER_SECOND, given
    return spent[0] / SECONDS, spent[1] / SECONDS


def line_seconds(ranks: int) -> float:
    """Return how long the driver takes for one line of the last rank."""
    lines: list[LogLine] = []
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        for rank in range(ranks):
            StepMarker(marker_path(Path(folder), rank)).cell[0] = 7
        group = RayGroup(Path(folder), ranks, lines.append)
        source = group._sources[-1]
        began = time.perf_counter()
        for _ in range(200):
            source._emit(telemetry.LOG_STREAM_STDOUT, telemetry.LOG_LEVEL_INFO, "a line")
        took = (time.perf_counter() - began) / 200
    assert lines[-1].step == 7
    return took


def beat_seconds(ranks: int) -> float:
    """Return how long the runtime service takes for one beat, all looks at them included."""
    liveness, key = Liveness(), AttemptKey("rt-a", 1, 1)
    liveness.watch(key)
    body = Heartbeat(step=7, next_beat_ms=2_000, process_id=1).SerializeToString()
    began = time.process_time()
    for _ in range(3):
        for rank in range(ranks):
            liveness.receive(f"heartbeat.rt-a.1.1.{rank}", body)
        # It looks once a second, and a beat comes every two.
        for _ in range(2):
            liveness.reports(key, ())
            assert not liveness.why_lost(key, 30.0) and not liveness.silence(key)
    return (time.process_time() - began) / (3 * ranks)


def refused_series(ranks: int) -> int:
    """Count the series of user code that are refused once the system series of all ranks are there."""
    limit = SeriesLimit()
    samples = [SystemSampler(rank)._prefix + name for rank in range(ranks) for name in (f"s{n}" for n in range(29))]

    def problem(keys: list[str]) -> str:
        group = Group(np.ones(1, np.int64), np.ones(1, np.int64), keys, [np.zeros(1)] * len(keys))
        return limit.problem(Batch(1, 0, SenderKey("rt-a", 1, 1, "rank-0"), 1, STORED, len(keys), groups=[group]))

    assert not problem(samples)
    return sum(bool(problem([f"eval/{number}"])) for number in range(1_000))


def median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(TURNS))


def main() -> None:
    """Print the rows."""
    means = {ranks: [mean_seconds(ranks) for _ in range(TURNS)] for ranks in SIZES}
    for name, index, before in (("rank 0", 0, "31 % of a core"), ("the driver", 1, "")):
        shares = {ranks: 100 * statistics.median(turn[index] for turn in means[ranks]) for ranks in SIZES}
        report_growth(f"growth.27.{name} for a mean", shares, "% of a core", "<= 1", before)
    report_growth(
        "growth.27.a log line",
        {ranks: 1e6 * median(lambda ranks=ranks: line_seconds(ranks)) for ranks in SIZES},  # type: ignore[misc]
        "us",
        "<= 2x",
        "450x",
    )
    report_growth(
        "growth.27.a beat",
        {ranks: 1e6 * median(lambda ranks=ranks: beat_seconds(ranks)) for ranks in SIZES},  # type: ignore[misc]
        "us",
        "<= 2x",
    )
    report_growth(
        "growth.21.series of user code refused", {r: float(refused_series(r)) for r in SIZES}, "series", "0", "all"
    )


if __name__ == "__main__":
    main()

"""What runs beside a training loop, by itself: threads, forks, a broker that is not there, and its last words."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from array import array
from pathlib import Path

import pytest

from milepost.api.telemetry.v1.telemetry_pb2 import LogLine, StepBatch
from milepost.api.training.v1.training_pb2 import Finished, InstanceReport
from milepost.training.telemetry.buffer import StepBuffer
from tests.support.servers.metrics_service import ROOT
from tests.support.trainers.telemetry_trainer import LoggingTrial, Orders

NOWHERE = "nats://127.0.0.1:1"
THREADS, ROWS = 8, 5_000


def orders(folder: Path, nats_url: str = NOWHERE) -> Orders:
    return Orders(nats_url, str(folder), "rt-sender", 1, {})


def spooled_steps(trial: LoggingTrial) -> list[int]:
    """Steps of the batches that wait in the spool on disk."""
    with sqlite3.connect(next(trial.directory.glob("spool-*.sqlite"))) as database:
        rows = database.execute("SELECT body FROM batches WHERE kind = 'steps' ORDER BY number").fetchall()
    return [s for (body,) in rows for group in StepBatch.FromString(body).groups for s in array("q", group.steps)]


def test_many_threads_log_at_once_and_no_row_is_lost_or_torn() -> None:
    """While they add rows, with the same keys and with others, another one takes."""
    buffer = StepBuffer(lambda problem, text: None)
    taken: list[tuple[int, set[float]]] = []
    done = threading.Event()

    def log(thread: int) -> None:
        for row in range(ROWS):
            step = thread * ROWS + row
            keys = ("a", "b") if row % 2 else ("a", f"own_{thread}")
            buffer.append(step, 0.0, dict.fromkeys(keys, float(step)))

    def take() -> None:
        while not done.is_set() or buffer.pending:
            for group in buffer.take():
                taken.extend(
                    (step, set(values))
                    for step, values in zip(group.steps, zip(*group.values, strict=True), strict=True)
                )

    threads = [threading.Thread(target=log, args=(number,)) for number in range(THREADS)]
    taker = threading.Thread(target=take)
    for thread in (taker, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    taker.join()
    assert sorted(step for step, _ in taken) == list(range(THREADS * ROWS))
    assert all(values == {float(step)} for step, values in taken)


def test_the_end_says_what_is_left_and_each_problem_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No broker, and a disk that takes nothing: two problems, two lines; then what is not sent, in one more."""
    caplog.set_level(logging.WARNING, "milepost")
    trial = LoggingTrial(orders(tmp_path), 1, 0)
    trial.background._spool._fail(OSError("no room"))
    for _ in range(5):
        trial.log()
        trial.background.wait_stored(0.1)
    report = InstanceReport(finished=Finished())
    left = trial.background.finish(report, 1.0)
    assert left >= 5
    assert report.finished.unsent_batch_count == left
    said = [record.getMessage() for record in caplog.records if record.name == "milepost"]
    assert sum("training goes on" in text for text in said) <= 1
    assert sum("cannot be written" in text for text in said) == 1
    assert [text for text in said if "not sent yet" in text] == [
        f"{left} batches are not sent yet; they wait in {trial.directory / 'spool-rank-0.sqlite'}"
    ]
    assert spooled_steps(trial) == [1, 2, 3, 4, 5]


FORKS = """
import os, sys
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.api.training.v1.training_pb2 import Finished, InstanceReport
from tests.support.trainers.telemetry_trainer import LoggingTrial, Orders

trial = LoggingTrial(Orders(sys.argv[1], sys.argv[2], "rt-sender", 1, {}), 1, 0)
for step in range(100):
    trial.log()
child = os.fork()
if child == 0:
    # As a worker of a data loader that logs by mistake: it is no instance.
    for step in range(1000):
        trial.log()
    trial.background.log_line(LogLine(text="from the child"))
    trial.background.wake()
    assert not trial.background.wait_stored(5.0)
    assert trial.background.finish(InstanceReport(finished=Finished()), 5.0) == 0
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
for step in range(50):
    trial.log()
trial.background.finish(InstanceReport(finished=Finished()), 0.5)
"""


def test_a_process_that_was_forked_off_sends_nothing_and_harms_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, NOWHERE, str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = next(tmp_path.rglob("spool-*.sqlite"))
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT kind, body FROM batches ORDER BY number").fetchall()
    steps = [
        step
        for kind, body in rows
        if kind == "steps"
        for group in StepBatch.FromString(body).groups
        if "train/loss" in {column.key for column in group.columns}
        for step in array("q", group.steps)
    ]
    assert steps == list(range(1, 151))
    assert not any(LogLine(text="from the child").text.encode() in body for _, body in rows)

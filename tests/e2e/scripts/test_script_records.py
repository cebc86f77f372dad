"""The record of a script that no server sees: sent while it runs, after it was killed, and later than it happened."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.scripts.test_guides import NOWHERE
from tests.e2e.stack import ROOT, StackProcess, until

# Does so many steps, each time that it is told to.
TOLD = """
import sys
import milepost

trial = milepost.init(name="told", total_steps=80)
for line in sys.stdin:
    for _ in range(int(line)):
        milepost.log({"train/loss": 1.0 / (trial.step + 1)})
    with milepost.evaluation() as evaluation:
        evaluation.log({"eval/loss": 2.0})
"""


class Told:
    """A script without a server that does what it is told."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder

    def do(self, steps: int) -> None:
        """Have it do more steps, and wait until they are in its spool."""
        before = self._spooled()
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        until(lambda: self._spooled() == before + steps, "the steps are written")

    def _spooled(self) -> int:
        """The last step in the spool."""
        for path in self.folder.glob("runtimes/*/trial-1/attempt-1/spool-rank-0.sqlite"):
            with closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)) as database:
                tables = database.execute("SELECT name FROM sqlite_master").fetchall()
                if ("batches",) in tables:
                    return database.execute("SELECT max(last_step) FROM batches").fetchone()[0] or 0
        return 0

    def end(self) -> None:
        """Let it come to its end."""
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        assert "`milepost sync` sends" in errors

    @property
    def name(self) -> str:
        (found,) = self.folder.glob("runtimes/rt-*")
        return f"runtimes/{found.name}"


@contextmanager
def told(folder: Path) -> Iterator[Told]:
    command = [sys.executable, "-c", TOLD]
    environment = {**os.environ, **NOWHERE, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(folder)}
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder.parent
    ) as process:
        try:
            yield Told(process, folder)
        finally:
            process.kill()


def sync(stack: StackProcess, folder: Path) -> str:
    """Send what is in a folder to a stack. Returns what was said."""
    found = stack.endpoints
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(folder),
        "MILEPOST_RUNTIME_ADDRESS": found.runtime, "MILEPOST_NATS_URL": found.nats,
        "MILEPOST_KEYS_DIR": str(stack.data_dir / "keys"),
    }  # fmt: skip
    command = [sys.executable, "-m", "milepost", "sync"]
    sent = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert sent.returncode == 0, sent.stderr
    return sent.stderr


def steps(stack: StackProcess, name: str) -> list[int]:
    return list(stack.series(name, "train/loss"))


def test_a_script_is_sent_while_it_runs_and_loses_nothing(stack: StackProcess, tmp_path: Path) -> None:
    """Twice while it runs and once after its end: every point once, and never more certain than what is known."""
    with told(tmp_path / "data") as script:
        script.do(34)
        said = sync(stack, script.folder)
        assert re.search(r"is still being written by process \d+ on ", said), said
        assert steps(stack, script.name) == list(range(1, 35))
        known = stack.completeness(script.name)
        assert known.still_writing
        assert known.message.startswith("still writing, ") and "gap" not in known.message
        script.do(20)
        sync(stack, script.folder)
        script.do(26)
        script.end()
        assert stack.completeness(script.name).still_writing, "that it has ended is not known here"
    said = sync(stack, script.folder)
    assert "still being written" not in said
    ended = stack.wait_for_end(script.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    assert steps(stack, script.name) == list(range(1, 81))
    assert list(stack.series(script.name, "eval/loss")) == [34, 54, 80]
    done = [event for event in stack.events(script.name) if event.type.endswith("evaluation_completed.v1")]
    assert len(done) == 3, "each event is in the log once"
    known = stack.completeness(script.name)
    assert not known.still_writing and not known.unfinished
    assert re.fullmatch(r"[\d,]+ sent = [\d,]+ stored, 0 gaps", known.message)
    assert not list(tmp_path.rglob("spool-*")), "what is stored needs no files"


def test_times_are_those_of_the_run_and_not_of_its_sync(stack: StackProcess, tmp_path: Path) -> None:
    """When it was received is known too, everywhere where it matters."""
    before = datetime.now(UTC)
    with told(tmp_path / "data") as script:
        script.do(10)
        begun = datetime.now(UTC)
        script.end()
        ended = datetime.now(UTC)
    sync(stack, script.folder)
    stack.wait_for_end(script.name)
    runtime = until(lambda: _ended(stack, script.name), "its end is folded")
    trial = stack.trial(script.name)
    for one in (runtime, trial):
        assert before <= _time(one.start_time) <= begun
        assert begun <= _time(one.end_time) <= ended
        assert _time(one.start_receive_time) >= ended and _time(one.end_receive_time) >= ended
    assert before <= _time(runtime.create_time) <= _time(runtime.start_time)
    assert _time(runtime.create_receive_time) >= ended
    assert _time(runtime.change_time) == _time(runtime.end_time), "it is Completed since it ended"
    assert trial.elapsed.ToTimedelta() == _time(trial.end_time) - _time(trial.start_time)
    assert before <= _time(trial.progress.step_time) <= ended
    (evaluation,) = [one for one in trial.markers if not one.planned]
    assert before <= _time(evaluation.time) <= ended <= _time(evaluation.receive_time)
    written = [event for event in stack.events(script.name) if ".attempt-" in event.subject]
    assert written and all(before <= _time(event.event_time) <= ended for event in written)
    assert all(_time(event.recorded_time) >= ended for event in written)
    lines = stack.client.logs.QueryLogs(log_api.QueryLogsRequest(parent=script.name)).entries
    assert lines and all(_time(line.time) <= ended <= _time(line.receive_time) for line in lines)


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def _ended(stack: StackProcess, name: str) -> runtime_api.Runtime | None:
    """What both services say of it once they know that it is over."""
    return stack.runtime(name) if stack.trial(name).HasField("end_time") else None


def test_what_a_killed_script_has_left_is_sent_with_its_end(stack: StackProcess, tmp_path: Path) -> None:
    """It has no last word: who finds it dead says so in its name."""
    with told(tmp_path / "data") as script:
        script.do(10)
        script.process.kill()
        script.process.wait()
        sync(stack, script.folder)
    ended = stack.wait_for_end(script.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_FAILED
    assert "is gone without a last word" in ended.reason
    assert steps(stack, script.name) == list(range(1, 11))
    assert stack.completeness(script.name).message.endswith("stored, 0 gaps")
    assert not list(tmp_path.rglob("spool-*"))


FOLDS = """
import milepost

for fold in range(3):
    trial = milepost.init(name=f"fold {fold}")
    with milepost.evaluation() as evaluation:
        evaluation.log({"eval/loss": float(fold)})
    milepost.log({"train/loss": 1.0})
    milepost.log({"train/loss": 2.0})
    milepost.finish()
milepost.log({"test/accuracy": 0.5})
trial.log({"test/accuracy": 0.6})
"""


def test_folds_are_runs_of_their_own_and_what_comes_after_their_end_is_named(
    stack: StackProcess, tmp_path: Path
) -> None:
    """An evaluation before the first step is one at step 0. Values after the end are refused in words, also on the page."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir)}
    done = subprocess.run(
        [sys.executable, "-c", FOLDS], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("are not recorded (the first: test/accuracy at step 3)") == 1
    names = [
        f"runtimes/{found}" for found in re.findall(r"recording fold \d at \S*/runtimes/(rt-[0-9a-v]{26})", done.stderr)
    ]
    assert len(set(names)) == 3
    for fold, name in enumerate(names):
        assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_COMPLETED
        assert stack.series(name, "eval/loss") == {0: float(fold)}
        assert steps(stack, name) == [1, 2]
        assert stack.completeness(name).message.endswith("stored, 0 gaps")

    def last_lines() -> list[str]:
        request = log_api.QueryLogsRequest(parent=names[-1], page_size=1_000)
        return [line.text for line in stack.client.logs.QueryLogs(request).entries if "not recorded" in line.text]

    assert len(until(lambda: last_lines() or None, "the line is on the page")) == 1
    assert not stack.series(names[-1], "test/accuracy")

"""Training scripts in three styles, as they are and with the lines that record them: both compute the same.

Each is a program in `tests/assets/styles` with the diff that makes it recorded. Those that have snapshots are also stopped
somewhere and resumed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.scripts.test_guides import completed, is_running, name_in
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.guides import apply_diff, run_program

STYLES = ROOT / "tests" / "assets" / "styles"
SECONDS = 120.0
# Seconds after each step of the one that is stopped: long enough for a stop to come before its end.
PAUSE = "1"


def programs(style: str, folder: Path) -> tuple[str, str]:
    """Return a program as it is, and recorded."""
    plain = (STYLES / f"{style}.py").read_text()
    return plain, apply_diff(plain, (STYLES / f"{style}.diff").read_text(), f"{style}.py", folder)


def losses(output: str) -> dict[int, float]:
    return {
        int(step): float(loss) for step, loss in re.findall(r"^(?:iter|step) (\d+): loss (\S+)$", output, re.MULTILINE)
    }


def last_line(output: str) -> str:
    return output.splitlines()[-1]


@pytest.mark.parametrize("style", ["globals", "trainer"])
def test_a_script_that_is_recorded_stopped_and_resumed_computes_what_it_computes_alone(
    style: str, stack: StackProcess, tmp_path: Path
) -> None:
    plain, recorded = programs(style, tmp_path)
    alone = run_program(plain, tmp_path, {})
    assert alone.returncode == 0, alone.stderr
    expected = losses(alone.stdout)
    data = {"MILEPOST_DATA_DIR": str(stack.data_dir)}
    (tmp_path / "train.py").write_text(recorded)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PAUSE": PAUSE, **data}
    first = subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert first.stderr is not None
    said = ""
    while "/runtimes/rt-" not in said:
        line = first.stderr.readline()
        assert line, said
        said += line
    name = name_in(said)
    until(lambda: is_running(stack, name), "it runs")
    stack.wait_for_step(name, 2)
    preview = stack.client.runtimes.PreviewStop(runtime_api.PreviewStopRequest(name=name))
    assert [loss.graceful_saves for loss in preview.losses] == [True]
    assert preview.graceful_message == "takes a snapshot at the next step, so nothing is lost"
    stack.client.stop_runtime(name)
    done, errors = first.communicate(timeout=SECONDS)
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_ABORTED, errors
    assert 2 <= len(losses(done)) < len(expected)
    second = run_program(recorded, tmp_path, {**data, "RESUME": name.removeprefix("runtimes/")})
    assert second.returncode == 0, second.stderr
    completed(stack, name)
    assert {**losses(done), **losses(second.stdout)} == expected
    assert last_line(second.stdout) == last_line(alone.stdout)
    until(lambda: len(stack.series(name, "train/loss")) == len(expected), "all of its points are stored")
    stored = stack.series(name, "train/loss")
    assert {step: pytest.approx(value) for step, value in stored.items()} == expected
    assert stack.completeness(name).gap_count == 0
    started = [event.message for event in stack.events(name) if "attempt_started" in event.type]
    # One draws its batches from the random generators, which are put back; that it has no loader nobody can know.
    assert ("is not in the snapshot" in started[1]) == (style == "globals"), started
    assert ("is not in the snapshot" in second.stderr) == (style == "globals"), second.stderr


RUN_CELLS = """
import sys
cells = open(sys.argv[1]).read().split("# %%\\n")
scope = {"__name__": "__main__"}
for cell in cells:
    for _ in range(2 if "milepost.init" in cell else 1):
        exec(compile(cell, "cell", "exec"), scope)
"""


def test_a_notebook_computes_what_it_computes_alone_also_where_a_cell_is_run_again(
    stack: StackProcess, tmp_path: Path
) -> None:
    """The second `init` ends the first run with a word; nothing of the training changes."""
    plain, recorded = programs("notebook", tmp_path)
    outputs = []
    for text, environment in ((plain, {}), (recorded, {"MILEPOST_DATA_DIR": str(stack.data_dir)})):
        (tmp_path / "cells.py").write_text(text)
        done = run_program(RUN_CELLS.replace("sys.argv[1]", "'cells.py'"), tmp_path, environment)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "notebook is finished at step 0, and another run begins" in done.stderr
    names = [f"runtimes/{found}" for found in re.findall(r"/runtimes/(rt-[0-9a-v]{26})", done.stderr)]
    assert len(names) == 2
    for name in names:
        completed(stack, name)
    until(lambda: list(stack.series(names[1], "train/loss")) == list(range(1, 19)), "all of its points are stored")
    assert stack.series(names[0], "train/loss") == {}

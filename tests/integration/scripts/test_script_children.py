"""Children of a script, of every kind: nothing of its run acts in them, they do what they always did, and all say so once."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from milepost.domain import trial
from milepost.eventlog.nats.connection import Connection
from services.runtime.application import Application
from tests.integration.scripts.test_external import ROOT, finish_script, own, reachable, service, start_script, until
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Writer

__all__ = ["own", "service"]
SCRIPT = ROOT / "tests" / "assets" / "children.py"
NUMBERS = [1, 2, 3, 4]
SECONDS = 60.0


@dataclass(frozen=True)
class Done:
    """What the script and its children wrote."""

    status: int
    lines: dict[str, str]
    errors: str


async def run_children(tmp_path: Path, environment: dict[str, str], *kinds: str) -> Done:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), *kinds,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(tmp_path), **environment},
    )  # fmt: skip
    async with asyncio.timeout(SECONDS * 3):
        output, errors = await process.communicate()
    assert process.returncode is not None
    lines = dict(line.split(": ", 1) for line in output.decode().splitlines())
    return Done(process.returncode, lines, errors.decode())


def trials(service: Application) -> dict[str, list[trial.Trial]]:
    """The trials of all runs, by the name of their run."""
    found: dict[str, list[trial.Trial]] = {}
    for view in service.views.runtimes.values():
        assert view.state.configuration is not None
        found.setdefault(view.state.configuration.name, []).append(view.trials[1].state)
    return found


FORKS = {"fork, exit": "3", "fork, _exit": "3", "fork, exec": "4", "program": "0"}


def expected_lines(kinds: tuple[str, ...]) -> dict[str, str]:
    lines = dict(FORKS)
    for kind, method in (kind.split("-") for kind in kinds):
        names = {"pools": ("pool", "executor"), "loaders": ("loader",), "own": ("own",)}[kind]
        lines |= {"reader": "an item"} if kind == "loaders" else {}
        lines |= {f"{method}, {name}": "[0, 7]" if kind == "own" else str(NUMBERS) for name in names}
    return lines


@pytest.mark.parametrize(
    "kinds",
    [
        ("pools-fork", "loaders-fork", "pools-spawn", "own-fork"),
        pytest.param(
            ("pools-forkserver", "loaders-spawn", "loaders-forkserver", "own-spawn", "own-forkserver"),
            marks=pytest.mark.faults,
        ),
    ],
)
async def test_children_do_their_work_and_record_nothing(
    kinds: tuple[str, ...], service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """The run is that of the process that began it; a child that begins one has one. What they print is in its log."""
    async with Writer(own, "*") as writer:
        done = await run_children(tmp_path, reachable(service, nats_server), *kinds)
        await until(lambda: writer.text().count("reader: an item") >= len(NUMBERS))
    assert (done.status, done.lines) == (0, expected_lines(kinds)), done.errors
    assert "Traceback" not in done.errors and "Task was destroyed" not in done.errors
    # Once for all that were forked off.
    assert done.errors.count("was forked off process") == 1, done.errors
    own_runs = sum(kind.startswith("own-") for kind in kinds)

    def ended() -> bool:
        states = [state for states in trials(service).values() for state in states]
        return len(states) == 2 + 2 * own_runs and not any(isinstance(s.situation, trial.Active) for s in states)

    await until(ended)
    found = trials(service)
    assert [s.situation for s in found["script"]] == [trial.Completed(3)]
    assert [s.situation for s in found["program"]] == [trial.Completed(1)]
    assert [type(s.situation) for s in found["child 0"]] == [trial.Completed] * own_runs
    assert [s.situation.detail for s in found["child 7"] if isinstance(s.situation, trial.Failed)] == [
        "exit status 7"
    ] * own_runs  # fmt: skip


ALONE = """
import os, sys, time, milepost
trial = milepost.init(name="alone")
def child(leave):
    if os.fork() == 0:
        milepost.log({"train/loss": 99.0})
        milepost.evaluation().__enter__()
        print("from the child", flush=True)
        leave(0)
    os.wait()
for step in range(6):
    milepost.log({"train/loss": float(step)})
    child(os._exit if step % 2 else sys.exit)
print("step", open(trial._host.launch.attempt_directory + "/step-rank-0", "rb").read()[0])
"""


async def test_children_leave_the_files_of_their_parent_alone(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its spool, its marker of the last step, its connections: all of them are theirs too, as copies."""
    async with Writer(own, "*") as writer:
        process = await start_script(tmp_path, reachable(service, nats_server), code=ALONE)
        status, errors = await finish_script(process)
        assert status == 0, errors
        await until(lambda: len(writer.points("train/loss")[1]) == 6)
    assert list(writer.points("train/loss")[1].items()) == [(step + 1, float(step)) for step in range(6)]
    # The marker is still that of the parent.
    assert "step 6" in writer.text() and writer.text().count("from the child") == 6
    assert writer.duplicates == 0


IMPORTS = """
import sys, threading, milepost
late = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            late.append(name)
trial = milepost.init(name="imports")
sys.meta_path.insert(0, Watch())
milepost.log({"train/loss": 1.0})
milepost.finish()
print("late:", late, file=sys.stderr)
"""


async def test_no_thread_of_ours_imports_anything(
    service: Application, nats_server: NatsServer, tmp_path: Path
) -> None:
    """A child that is forked off meanwhile would wait for ever for the end of that import."""
    process = await start_script(tmp_path, reachable(service, nats_server), code=IMPORTS)
    status, errors = await finish_script(process)
    assert status == 0 and "late: []" in errors, errors

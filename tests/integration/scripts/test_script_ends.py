"""Scripts that end in every way, and that have children: what the run says is what the process did."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from pathlib import Path

from milepost.domain import trial
from services.runtime.application import Application
from tests.integration.scripts.test_external import finish_script, own, reachable, run_script, service, start_script
from tests.support.servers.servers import NatsServer

__all__ = ["own", "service"]
SECONDS = 30.0
# The machine has no more to give.
AT_ONCE = 3
COMPLETED, FAILED, STOPPED = trial.Completed, trial.Failed, trial.Stopped
HEAD = """
import os, signal, sys, threading, time, traceback, types
from sys import exit as leave
import milepost
def begin():
    milepost.init(name={name!r})
    for step in range(3):
        milepost.log({{"train/loss": 1.0}})
begin()
"""


@dataclass(frozen=True)
class Expected:
    """How a script ends: its status as its parent sees it, and its runs in the order in which they began."""

    status: int
    runs: tuple[type, ...]
    detail: str = ""


# A script, after `begin()`.
SCRIPTS: dict[str, tuple[str, Expected]] = {
    "caught, then sys.exit": (
        "try:\n    raise ValueError('diverged')\nexcept ValueError:\n    traceback.print_exc()\n    sys.exit(1)",
        Expected(1, (FAILED,), "exit status 1 after ValueError: diverged"),
    ),
    "SystemExit by itself": ("raise SystemExit(7)", Expected(7, (FAILED,), "exit status 7")),
    "SystemExit of success": ("raise SystemExit(0)", Expected(0, (COMPLETED,))),
    "os._exit of a failure": ("os._exit(3)", Expected(3, (FAILED,), "exit status 3")),
    "os._exit of success": ("os._exit(0)", Expected(0, (COMPLETED,))),
    "SIGTERM": (
        "os.kill(os.getpid(), signal.SIGTERM)\nwhile True:\n    time.sleep(1)",
        Expected(-signal.SIGTERM, (FAILED,), "the process was ended by SIGTERM"),
    ),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT)\nwhile True:\n    time.sleep(1)", Expected(-signal.SIGINT, (STOPPED,))),
    "SIGTERM after finish": (
        "milepost.finish()\nos.kill(os.getpid(), signal.SIGTERM)\nwhile True:\n    time.sleep(1)",
        Expected(-signal.SIGTERM, (COMPLETED,)),
    ),
    "finish in finally": (
        "try:\n    raise ValueError('diverged')\nfinally:\n    milepost.finish()",
        Expected(1, (FAILED,), "ValueError: diverged"),
    ),
    "finish of another error than the one that is handled": (
        "milepost.finish()\n"
        "try:\n    raise ValueError('no GPU')\n"
        "except ValueError:\n    begin()\n    milepost.finish()\n",
        Expected(0, (COMPLETED, COMPLETED)),
    ),
    "finish when the data is at its end": (
        "batches = iter([])\ntry:\n    next(batches)\nexcept StopIteration:\n    milepost.finish()",
        Expected(0, (COMPLETED,)),
    ),
    "sys.exit under another name": ("leave(5)", Expected(5, (FAILED,), "exit status 5")),
    "SystemExit where the C library tells of no exits": (
        "from milepost.training.script.attempt import last_word\n"
        "last_word.ctypes = types.SimpleNamespace(CDLL=lambda name: object())\n"
        "raise SystemExit(0)",
        Expected(0, (FAILED,), "leave with sys.exit instead"),
    ),
    "os.abort": ("os.abort()", Expected(-signal.SIGABRT, (FAILED,), "is gone without having said why")),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", Expected(-signal.SIGKILL, (FAILED,), "is gone without having said why")),
    "finish with success, though an error is handled": (
        "try:\n    raise ValueError('diverged')\nexcept ValueError:\n    milepost.finish(exit_code=0)",
        Expected(0, (COMPLETED,)),
    ),
    "finish with a status": ("milepost.finish(exit_code=2)", Expected(0, (FAILED,), "exit status 2")),
    "finish, then a failure": ("milepost.finish()\nsys.exit(1)", Expected(1, (COMPLETED,))),
    "finish in a generator that is closed": (
        "def train():\n"
        "    try:\n        yield 1\n"
        "    finally:\n        milepost.finish()\n"
        "for epoch in train():\n    break\n"
        "begin()\n"
        "for epoch in train():\n    raise ValueError('diverged')",
        Expected(1, (COMPLETED, FAILED), "ValueError: diverged"),
    ),
}  # fmt: skip


@dataclass
class Runs:
    """The runs of the scripts, by the name of their script."""

    service: Application
    statuses: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> list[trial.Trial]:
        views = [
            v
            for v in self.service.views.runtimes.values()
            if v.state.configuration and v.state.configuration.name == name
        ]
        return [v.trials[1].state for v in sorted(views, key=lambda v: v.state.runtime_id) if 1 in v.trials]

    def ended(self, name: str) -> list[trial.Trial]:
        found = self.of(name)
        return [s for s in found if isinstance(s.situation, COMPLETED | FAILED | STOPPED)]


async def run_all(runs: Runs, environment: dict[str, str], tmp_path: Path) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def run_one(name: str, code: str) -> None:
        async with free:
            status, errors = await run_script(tmp_path, environment, code=HEAD.format(name=name) + code)
        runs.statuses[name], runs.errors[name] = status, errors

    await asyncio.gather(*(run_one(name, code) for name, (code, _) in SCRIPTS.items()))


async def test_a_run_ends_as_its_process_does(service: Application, nats_server: NatsServer, tmp_path: Path) -> None:
    """Completed is what ends with status 0, and the shell sees the status that it would see without us."""
    runs = Runs(service)
    await run_all(runs, reachable(service, nats_server), tmp_path)
    deadline = asyncio.get_running_loop().time() + SECONDS
    for name, (_, expected) in SCRIPTS.items():
        assert (name, runs.statuses[name]) == (name, expected.status), runs.errors[name]
        while len(runs.ended(name)) < len(expected.runs):
            assert asyncio.get_running_loop().time() < deadline, (name, runs.of(name), runs.errors[name])
            await asyncio.sleep(0.05)
        situations = [state.situation for state in runs.ended(name)]
        assert (name, [type(s) for s in situations]) == (name, list(expected.runs)), runs.errors[name]
        assert expected.detail in getattr(situations[-1], "detail", ""), name


# What the main thread has done is not all that the process does.
THREAD = """
import sys, threading, milepost
milepost.init(name="thread")
def train():
    milepost.log({"train/loss": 1.0})
    sys.stdin.readline()
    threading.main_thread().join()
    for step in range(3):
        milepost.log({"train/loss": 1.0})
threading.Thread(target=train).start()
"""


async def test_a_run_whose_loop_is_a_thread_ends_with_the_thread(
    service: Application, nats_server: NatsServer, tmp_path: Path
) -> None:
    """The main thread is at its end long before, and the loop may be waiting for just that."""
    process = await start_script(tmp_path, reachable(service, nats_server), code=THREAD)
    runs = Runs(service)
    async with asyncio.timeout(SECONDS):
        while not [s for s in runs.of("thread") if isinstance(s.situation, trial.Active) and s.situation.started]:
            await asyncio.sleep(0.05)
    assert process.stdin is not None
    process.stdin.write(b"go on\n")
    status, errors = await finish_script(process)
    assert status == 0, errors
    async with asyncio.timeout(SECONDS):
        while not (ended := runs.ended("thread")):
            await asyncio.sleep(0.05)
    assert ended[0].situation == COMPLETED(4)

"""Rules for the whole test session: it leaves no process behind and no file outside its temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
# Machines that run tests are busy: how long an example takes says nothing.
hypothesis.settings.register_profile("milepost", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("milepost")

# A shell that runs the tests in the background (`&`) has them ignore these, and every script of a test inherits that.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# `nohup` goes on holding for the tests themselves: unlike what is ignored, a handler is not inherited.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# Where a shell asks for no bytecode, each of the thousand processes of a session would compile all its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SESSION_VARIABLE = "MILEPOST_TEST_SESSION"
# Processes that were told to end may need this long to be gone.
SETTLE_SECONDS = 10.0


def _untracked_files() -> set[str]:
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=all"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {line for line in listing.stdout.splitlines() if line.startswith("??")}


def _processes_of(session: str) -> list[psutil.Process]:
    """Every process that inherited the session's variables, orphans included.

    Trainers get a clean environment, but keep the folder for temporary files.
    """
    found = []
    for process in psutil.process_iter():
        try:
            variables = process.environ()
            inherited = session in (variables.get(SESSION_VARIABLE), Path(variables.get("TMPDIR", "")).name)
            if process.pid != os.getpid() and inherited:
                found.append(process)
        except psutil.Error:
            continue  # it is gone, or not ours to look at
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def _wait_until_gone(session: str) -> list[str]:
    deadline = time.monotonic() + SETTLE_SECONDS
    left = _processes_of(session)
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = _processes_of(session)
    lines = []
    for process in left:
        try:
            lines.append(f"process {process.pid}: {' '.join(process.cmdline())[:300]}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return lines


@pytest.fixture(scope="session", autouse=True)
def _leave_nothing_behind() -> Iterator[None]:
    """Give the session a temporary folder and a home of its own; fail it if something is left outside."""
    # Short: sockets are made below it, whose paths are limited to 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="mp-"))
    session = folder.name
    changes = {SESSION_VARIABLE: session, "TMPDIR": str(folder), "MILEPOST_DATA_DIR": str(folder / "data")}
    before = {name: os.environ.get(name) for name in changes}
    files = _untracked_files()
    os.environ.update(changes)
    tempfile.tempdir = None
    yield
    left = _wait_until_gone(session)
    left += [f"file {line}" for line in sorted(_untracked_files() - files)]
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    tempfile.tempdir = None
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, "the tests left behind:\n" + "\n".join(left)


@pytest.fixture(scope="module", autouse=True)
def _block_no_signal() -> Iterator[None]:
    """Fail the module in which this thread begins to block a signal: all programs of later tests would inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert after == before, f"signals that a test has blocked for all later ones: {sorted(after - before)}"

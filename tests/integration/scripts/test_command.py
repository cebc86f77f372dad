"""`milepost run -- COMMAND`: the command and its shell notice as little of it as can be."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from milepost.api.telemetry.v1.telemetry_pb2 import LogBatch
from milepost.cli.runs.command import end_by
from milepost.training.script.command import status_of_refusal
from milepost.training.spooling.spool import LOGS, open_left
from tests.integration.scripts.test_external import NOWHERE
from tests.support.servers.metrics_service import ROOT

# Says which signals it gets; SIGTERM ends it.
LISTENER = """
import os, signal, sys, time
def tell(number, frame):
    print(signal.Signals(number).name, flush=True)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT):
    signal.signal(number, tell)
print("ready", os.getpid(), flush=True)
while True:
    time.sleep(1)
"""


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "milepost", "run", f"--data-dir={folder}", "--", *words]


def environment() -> dict[str, str]:
    return {**os.environ, **NOWHERE, "PYTHONPATH": str(ROOT)}


def run(folder: Path, *words: str, line: str = "") -> subprocess.CompletedProcess[str]:
    started = ["bash", "-c", line, *command(folder, *words)] if line else command(folder, *words)
    return subprocess.run(
        started, env=environment(), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def recorded(folder: Path) -> list[str]:
    """The lines of the only run, which nobody has sent."""
    (path,) = folder.glob("runtimes/*/trial-1/attempt-1/spool-rank-0.sqlite")
    spool = open_left(path)
    assert spool is not None
    entries = [spool.get(LOGS, number) for number in spool.held(LOGS)]
    lines = [line.text for entry in entries if entry for line in LogBatch.FromString(entry.body).lines]
    spool.close()
    return lines


class Listening:
    """A command that listens to signals, behind `milepost run`."""

    def __init__(self, folder: Path, stdout: int = subprocess.PIPE, **how: object) -> None:
        self.process = subprocess.Popen(
            command(folder, sys.executable, "-c", LISTENER),
            env=environment(), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL, text=True, **how,
        )  # type: ignore[call-overload]  # fmt: skip
        assert self.process.stdout is not None
        word, number = self.process.stdout.readline().split()
        assert word == "ready"
        self.number = int(number)

    def next(self) -> str:
        return str(self.process.stdout.readline().strip())

    def end(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=60)
        return int(self.process.returncode)


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def until_state(processes: tuple[int, ...], state: str) -> None:
    deadline = time.monotonic() + 30.0
    while any(state_of(process) != state for process in processes):
        assert time.monotonic() < deadline, [state_of(process) for process in processes]
        time.sleep(0.02)


def test_a_command_gets_the_signals_that_are_sent_to_its_run(tmp_path: Path) -> None:
    """Each once; it is suspended and goes on with it, and when a signal ends it so does the run's process."""
    # In a group whose parent is in another one of the same session: the kernel suspends no orphaned group.
    listening = Listening(tmp_path, process_group=0)
    both = (listening.process.pid, listening.number)
    for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT", "SIGINT"):
        listening.process.send_signal(getattr(signal, name))
        assert listening.next() == name
    listening.process.send_signal(signal.SIGTSTP)
    until_state(both, "T")
    listening.process.send_signal(signal.SIGCONT)
    assert listening.next() == "SIGCONT"
    listening.process.send_signal(signal.SIGUSR1)
    assert listening.next() == "SIGUSR1"
    assert listening.end() == -signal.SIGTERM


def test_a_key_of_the_terminal_reaches_the_command_once(tmp_path: Path) -> None:
    """Also where its stdin is not the terminal, and as often as it is pressed."""
    leader, follower = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(follower), os.O_RDWR))

    listening = Listening(tmp_path, preexec_fn=own_terminal)
    os.close(follower)
    try:
        for key in (b"\x03", b"\x03", b"\x1c"):
            os.write(leader, key)
            assert listening.next() == ("SIGINT" if key == b"\x03" else "SIGQUIT")
        # Sent after them, it comes after all of them.
        listening.process.send_signal(signal.SIGUSR1)
        assert listening.next() == "SIGUSR1"
        assert listening.end() == -signal.SIGTERM
    finally:
        os.close(leader)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_run_ends_by_the_signal_that_ended_its_command(number: signal.Signals, tmp_path: Path) -> None:
    done = run(tmp_path, "sh", "-c", f"kill -{number.value} $$")
    assert done.returncode == -number, done.stderr


def test_the_first_process_of_a_container_ends_with_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be ended by a signal that it sends itself."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert end_by(signal.SIGTERM) == 128 + signal.SIGTERM


def test_a_command_that_cannot_be_run_has_the_status_of_a_shell(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no program")
    (tmp_path / "no-format").write_bytes(b"\x00\x01\x02")
    (tmp_path / "no-interpreter").write_text("#!/no/such/interpreter\n")
    for name in ("no-format", "no-interpreter"):
        (tmp_path / name).chmod(0o755)
    expected = {"data": 126, "no-format": 126, "no-interpreter": 126, "nothing": 127, ".": 126}
    for name, status in expected.items():
        with pytest.raises(OSError) as refused:
            subprocess.Popen([str(tmp_path / name)])
        assert (name, status_of_refusal(str(tmp_path / name), refused.value)) == (name, status)
    assert run(tmp_path, str(tmp_path / "data")).returncode == 126


def test_a_command_whose_output_nobody_reads_ends_as_without_a_run(tmp_path: Path) -> None:
    """And its run is recorded to the end."""
    done = run(tmp_path, "yes", line='("$0" "$@"; echo status $? >&2) | head -1')
    assert done.stdout == "y\n" and "status 141" in done.stderr


def test_output_that_cannot_be_passed_on_is_recorded_and_the_command_goes_on(tmp_path: Path) -> None:
    done = run(tmp_path, "sh", "-c", "echo one; sleep 0.5; echo two", line='"$0" "$@" > /dev/full')
    assert done.returncode == 0, done.stderr
    lines = recorded(tmp_path)
    assert [line for line in lines if line in ("one", "two")] == ["one", "two"]
    assert any("cannot be passed on (No space left on device)" in line for line in lines)

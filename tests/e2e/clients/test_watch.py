"""`milepost runtime watch`: drawn in a terminal, plain lines where there is none."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time

import pytest

from milepost.cli.exits import Exit
from tests.e2e.runs import small
from tests.e2e.stack import ROOT, RUN_SECONDS, StackProcess

ROWS, COLUMNS = 40, 110
# What begins a line and ends a picture in the stream of characters.
START_OF_LINE, END_OF_PICTURE = "\x1b[K", "\x1b[J"

pytestmark = pytest.mark.timeout(300)


def watch_in_terminal(stack: StackProcess, name: str) -> tuple[int, list[list[str]]]:
    """Run the command in a terminal of its own. Returns its exit status and the pictures it drew, as lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MILEPOST_DATA_DIR": str(stack.data_dir),
        "PYTHONIOENCODING": "utf-8",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "milepost", "runtime", "watch", name],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    written = bytearray()
    deadline = time.monotonic() + RUN_SECONDS
    try:
        while chunk := os.read(ours, 65_536):
            written += chunk
            assert time.monotonic() < deadline, written[-2_000:].decode(errors="replace")
    except OSError:
        pass  # Linux says EIO when the other end is closed
    finally:
        os.close(ours)
        process.kill() if time.monotonic() > deadline else process.wait(30)
    pictures = [picture for picture in written.decode().split(END_OF_PICTURE) if picture.strip()]
    return process.returncode, [
        [line.rpartition(START_OF_LINE)[2] for line in picture.split("\r\n") if START_OF_LINE in line]
        for picture in pictures
    ]


def test_a_run_is_drawn_in_a_terminal_to_its_end(stack: StackProcess) -> None:
    started = stack.client.start_runtime(small(name="drawn"))
    status, pictures = watch_in_terminal(stack, started.runtime_id)

    assert status == 0
    assert len(pictures) > 3
    assert max(len(line) for picture in pictures for line in picture) < COLUMNS
    last = {line[:15].strip(): line[15:] for line in pictures[-1]}
    total = stack.trial(started.name).progress.total_steps
    assert "Completed" in pictures[-1][0]
    assert f"{total:,} / {total:,} · 100.0 %" in last["steps"]
    assert "┃" in last["steps"]
    assert "│" in last["steps"]
    assert "▴" in last["snapshots"]
    assert "elapsed" in last["time"]
    for label in ("learning rate", "gradient norm", "training loss"):
        assert set(last[label]) & set("▂▃▄▅▆▇"), label


def test_without_a_terminal_there_are_plain_lines(stack: StackProcess) -> None:
    started = stack.client.start_runtime(small(name="piped"))
    told = stack.milepost("runtime", "watch", started.runtime_id)

    assert told.returncode == Exit.OK
    assert "\x1b" not in told.stdout
    assert "\r" not in told.stdout
    lines = told.stdout.splitlines()
    assert any(line.startswith(started.runtime_id) and "Completed" in line for line in lines)
    # The runtime is told by another stream, so lines about it may come later.
    assert "trial 1 Completed" in [line for line in lines if "trial 1 " in line][-1]

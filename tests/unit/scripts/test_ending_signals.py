"""Signals that end a process: something is said first, and then what would have happened happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENDING = ["SIGHUP", "SIGQUIT", "SIGTERM"]
HEAD = """
import ctypes, multiprocessing, os, resource, signal, subprocess, sys, threading, time
from milepost.training.script.signals import ending_signals
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

def say(number):
    print("said", number.name, flush=True)

def send(number):
    os.kill(os.getpid(), number)
    while True:
        time.sleep(0.01)
"""


def run(code: str, *, before: str = "") -> tuple[int, list[str]]:
    """Run a program. Returns its exit status, negative after a signal, and the lines that it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", before + HEAD + code]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("name", ENDING)
def test_it_is_said_and_the_process_ends_by_the_signal(name: str) -> None:
    status, lines = run(f"ending_signals.attach(say)\nsend(signal.{name})")
    assert (status, lines) == (-signal.Signals[name], [f"said {name}"])


@pytest.mark.parametrize("name", ENDING)
def test_after_the_run_signals_do_what_they_always_did(name: str) -> None:
    status, lines = run(f"ending_signals.attach(say)\nending_signals.detach()\nsend(signal.{name})")
    assert (status, lines) == (-signal.Signals[name], [])


def test_a_call_that_does_not_return_is_ended_too() -> None:
    """A collective that hangs keeps Python's handlers from running: they wait for the main thread."""
    status, lines = run(
        "ending_signals.attach(say)\n"
        "subprocess.Popen(['sh', '-c', f'sleep 0.2; kill {os.getpid()}'])\n"
        "library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
        "library.pthread_mutex_lock(mutex)\n"
        "library.pthread_mutex_lock(mutex)\n"
    )
    assert (status, lines) == (-signal.SIGTERM, ["said SIGTERM"])


def test_a_second_signal_is_not_made_to_wait() -> None:
    status, lines = run(
        "def slow(number):\n"
        "    say(number)\n"
        "    send(number)\n"
        "ending_signals.attach(slow)\n"
        "send(signal.SIGTERM)\n"
    )  # fmt: skip
    assert (status, lines) == (-signal.SIGTERM, ["said SIGTERM"])


def test_a_process_that_is_about_to_return_ends_by_the_signal_all_the_same() -> None:
    status, lines = run(
        "ending_signals.attach(lambda number: (time.sleep(0.2), say(number)))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "ending_signals.yield_to_signal()\n"
    )
    assert (status, lines) == (-signal.SIGTERM, ["said SIGTERM"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("signal.signal(signal.SIGTERM, lambda *about: sys.exit(143))\n", ""),
        ("", "signal.signal(signal.SIGTERM, lambda *about: sys.exit(143))\n"),
        # One that calls the handler that was there before decides as well.
        ("", "old = signal.getsignal(15)\nsignal.signal(15, lambda *about: (old(*about), sys.exit(143)))\n"),
        # It stays when the run is over.
        ("", "signal.signal(signal.SIGTERM, lambda *about: sys.exit(143))\nending_signals.detach()\n"),
    ],
)
def test_a_handler_of_the_script_is_the_one_that_counts(before: str, after: str) -> None:
    status, lines = run(f"{before}ending_signals.attach(say)\n{after}send(signal.SIGTERM)")
    assert (status, lines) == (143, [])


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    status, lines = run(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "ending_signals.attach(say)\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "ending_signals.detach()\n"
        "print(signal.getsignal(signal.SIGHUP).name)\n"
    )
    assert (status, lines) == (0, ["SIG_IGN"])


def test_a_run_that_ends_in_another_thread_leaves_the_default_actions() -> None:
    """Python lets only the main thread change handlers."""
    ended = "t = threading.Thread(target=ending_signals.detach)\nt.start()\nt.join()\n"
    assert run(f"ending_signals.attach(say)\n{ended}send(signal.SIGTERM)") == (-signal.SIGTERM, [])
    again = "ending_signals.attach(say)\nsend(signal.SIGTERM)"
    assert run(f"ending_signals.attach(say)\n{ended}{again}") == (-signal.SIGTERM, ["said SIGTERM"])


def test_the_wakeup_of_an_event_loop_is_left_to_it() -> None:
    """One that is there before, and one that comes later."""
    loop = (
        "import asyncio\n"
        "async def main():\n"
        "    came = asyncio.Event()\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)\n"
    )
    signals = (
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    await came.wait()\n"
        "    came.clear()\n"
        "    ending_signals.detach()\n"
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    await came.wait()\n"
    )
    assert run(f"{loop}    ending_signals.attach(say)\n{signals}asyncio.run(main())") == (0, [])
    assert run(f"ending_signals.attach(say)\n{loop}{signals}asyncio.run(main())") == (0, [])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_works_and_ends(method: str, tmp_path: Path) -> None:
    """`terminate` sends each child SIGTERM, and waits until it is gone."""
    program = tmp_path / "pool.py"
    program.write_text(
        HEAD
        + "if __name__ == '__main__':\n"
        + "    ending_signals.attach(say)\n"
        + f"    with multiprocessing.get_context('{method}').Pool(2) as pool:\n"
        + "        print(pool.map(abs, [-1, -2]), flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, ["[1, 2]"]), done.stderr


def test_a_child_ends_by_a_signal_that_comes_while_it_still_has_the_handlers_of_its_parent() -> None:
    """`Pool.terminate` may send it right after the fork, and then waits for ever for a child that has lost it."""
    early = "import os\nos.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), 15))\n"
    status, lines = run(
        "ending_signals.attach(say)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "send(signal.SIGHUP)\n",
        before=early,
    )
    assert (status, lines) == (-signal.SIGHUP, ["-15", "said SIGHUP"])


def test_signals_to_a_child_do_not_reach_its_parent() -> None:
    """A child that has handlers of its own writes nothing into the pipe of its parent."""
    status, lines = run(
        "ending_signals.attach(say)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.signal(signal.SIGTERM, lambda *about: os._exit(0))\n"
        "    send(signal.SIGTERM)\n"
        "os.waitpid(child, 0)\n"
        "send(signal.SIGHUP)\n"
    )
    assert (status, lines) == (-signal.SIGHUP, ["said SIGHUP"])


def test_other_programs_are_started_with_the_default_actions() -> None:
    status, lines = run(
        "ending_signals.attach(say)\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import signal; print(signal.getsignal(15).name)'])\n"
        "other.wait()\n"
        "other = subprocess.Popen(['sleep', '60'])\n"
        "other.terminate()\n"
        "print(other.wait())\n"
    )
    assert (status, lines) == (0, ["SIG_DFL", "-15"])

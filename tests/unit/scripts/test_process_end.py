"""How a process ends, as it can tell before it does: what it says is what its shell sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEAD = """
import json, os, sys
from milepost.training.process.process_end import process_end

def say(ending):
    eval("0")
    print(json.dumps([ending.status, ending.interrupted, ending.words()]), file=sys.__stderr__, flush=True)

process_end.attach(say)
"""


@dataclass(frozen=True)
class Ended:
    """What a program said of its end, and what its shell saw."""

    status: int
    said: list[list[object]]


def run(code: str, *arguments: str) -> Ended:
    """Run a program that says how it ends."""
    command = [sys.executable, *arguments] if arguments else [sys.executable, "-c", HEAD + code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return Ended(done.returncode, [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")])


# program -> exit status, and what is said of the end; "exit status None": it is not known in the process.
PROGRAMS: dict[str, tuple[str, int, str]] = {
    "it returns": ("pass", 0, ""),
    "sys.exit": ("sys.exit()", 0, ""),
    "sys.exit of a number": ("sys.exit(3)", 3, "exit status 3"),
    "of a number that wraps": ("sys.exit(-1)", 255, "exit status 255"),
    "of a number that is a multiple of 256": ("sys.exit(256)", 0, ""),
    "of a text": ("sys.exit('no data')", 1, "exit status 1: no data"),
    "exit of the interpreter": ("exit(4)", 4, "exit status 4"),
    "after an error that was caught": (
        "try:\n    raise ValueError('nan')\nexcept ValueError:\n    sys.exit(1)",
        1,
        "exit status 1 after ValueError: nan (<string>:11 in <module>)",
    ),
    "an exit through finally and with": (
        "import contextlib\n"
        "def leave():\n"
        "    with contextlib.ExitStack():\n"
        "        sys.exit(5)\n"
        "try:\n    leave()\nfinally:\n    print('clean')",
        5,
        "exit status 5",
    ),
    "an exit that is caught and raised again": (
        "try:\n    sys.exit(6)\nexcept SystemExit:\n    raise",
        6,
        "exit status 6",
    ),
    "an exit in a coroutine": ("import asyncio\nasync def main(): sys.exit(7)\nasyncio.run(main())", 7, "exit status 7"),
    "an exit of argparse": (
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--a', required=True)\nparser.parse_args([])",
        2,
        "exit status 2",
    ),
    "an exit that is caught": ("try:\n    sys.exit(8)\nexcept SystemExit:\n    pass", 0, ""),
    "one that is caught, and then another": (
        "try:\n    sys.exit(8)\nexcept SystemExit:\n    pass\nraise SystemExit(0)",
        0,
        "exit status None",
    ),
    "one that is caught deeper, and then another": (
        "def leave():\n    try:\n        sys.exit(8)\n    except SystemExit:\n        pass\nleave()\nraise SystemExit(9)",
        9,
        "exit status None",
    ),
    "one in the place of another": ("try:\n    sys.exit(8)\nexcept SystemExit:\n    raise SystemExit(9)", 9, "exit status None"),
    "SystemExit by itself": ("raise SystemExit(0)", 0, "exit status None"),
    "an error": ("raise ValueError('nan')", 1, "ValueError: nan (<string>:10 in <module>)"),
    "an error that another hook shows": (
        "sys.excepthook = lambda *about: print('pretty')\nraise ValueError('nan')",
        1,
        "ValueError: nan (<string>:11 in <module>)",
    ),
    "an error, and the hook of before": (
        "process_end.detach()\nsys.excepthook = lambda *about: print('pretty')\nprocess_end.attach(say)\nraise KeyError('k')",
        1,
        "KeyError: 'k' (<string>:13 in <module>)",
    ),
    "an error in a thread": ("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()", 0, ""),
    "an error in a thread, and an exit": (
        "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\nsys.exit(1)",
        1,
        "exit status 1",
    ),
    "an exit in a thread": ("import threading\nt = threading.Thread(target=lambda: sys.exit(3))\nt.start()\nt.join()", 0, ""),
    "os._exit": ("os._exit(10)", 10, "exit status 10"),
    "os._exit of a hook for errors": (
        "sys.excepthook = lambda *about: os._exit(11)\nraise ValueError('nan')",
        11,
        "exit status 11",
    ),
    "a handler of SIGTERM": (
        "import signal\nsignal.signal(15, lambda *about: sys.exit(143))\nos.kill(os.getpid(), 15)\nsignal.pause()",
        143,
        "exit status 143",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "status", "words"), PROGRAMS.values(), ids=PROGRAMS.keys())
def test_a_process_knows_how_it_ends(code: str, status: int, words: str) -> None:
    ended = run(code)
    said_status = None if words == "exit status None" else status
    assert (ended.status, ended.said) == (status, [[said_status, False, words or "exit status 0"]])


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise KeyboardInterrupt", -2),
        ("try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt:\n    sys.exit(1)", 1),
        ("sys.exit(130)", 130),
        ("from milepost.training.loop.stop import Stopped\nraise Stopped", 1),
    ],
)
def test_an_interrupt_is_no_failure_of_its_own(code: str, status: int) -> None:
    ended = run(code)
    assert ended.status == status
    assert [interrupted for _, interrupted, _ in ended.said] == [True]


@pytest.mark.parametrize("start", [("-m", "ends"), ("ends.py",)])
@pytest.mark.parametrize(("code", "status"), [("sys.exit(3)", 3), ("pass", 0), ("1 / 0", 1)])
def test_it_is_known_however_the_program_was_started(
    start: tuple[str, ...], code: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends.py").write_text(HEAD + code)
    monkeypatch.chdir(tmp_path)
    ended = run("", *start)
    assert (ended.status, [said for said, *_ in ended.said]) == (status, [status])


@pytest.mark.parametrize(
    ("thread", "said"),
    [
        ("threading.Thread(target=work).start()", ["worked", "said"]),
        ("threading.Thread(target=work, daemon=True).start()", ["said"]),
        ("futures.ThreadPoolExecutor(1).submit(abs, 1).result()", ["said"]),
        ("futures.ProcessPoolExecutor(1).submit(abs, 1).result()", ["said"]),
    ],
)
def test_the_process_ends_with_the_last_thread_that_works(thread: str, said: list[str]) -> None:
    """A thread that waits for the main thread's end does not wait for ever, and pools are told to end after us."""
    ended = run(
        "import threading, concurrent.futures as futures\n"
        "def work():\n"
        "    threading.main_thread().join()\n"
        "    say_line('worked')\n"
        "def say_line(text):\n"
        "    print(json.dumps([text]), file=sys.stderr, flush=True)\n"
        f"{thread}\n"
        "process_end.attach(lambda ending: say_line('said'))\n"
    )
    assert (ended.status, ended.said) == (0, [[text] for text in said])


CHILD = """
import multiprocessing
def child():
    process_end.attach(say)
    {code}
if __name__ == "__main__":
    process = multiprocessing.get_context("{method}").Process(target=child)
    process.start()
    process.join()
    process_end.detach()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("code", "status"), [("pass", 0), ("sys.exit(9)", 9), ("raise SystemExit(8)", 8), ("1 / 0", 1)]
)
def test_a_process_of_multiprocessing_knows_how_it_ends(method: str, code: str, status: int, tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(HEAD + CHILD.format(code=code, method=method))
    ended = run("", str(program))
    assert (ended.status, [said for said, *_ in ended.said][:1]) == (status, [status])


def test_a_child_says_nothing_of_the_end_of_its_parent() -> None:
    """Neither where it exits, nor where it fails, nor at once."""
    ended = run(
        "for leave in (sys.exit, os._exit):\n"
        "    if os.fork() == 0:\n"
        "        leave(3)\n"
        "    os.wait()\n"
    )  # fmt: skip
    assert ended.said == [[0, False, "exit status 0"]]


# What of IPython's shell is used, as IPython 8 and 9 do it: https://ipython.readthedocs.io/en/stable/config/callbacks.html
SHELL = """
import types
class Events:
    def __init__(self): self.called = {"pre_run_cell": [], "post_run_cell": []}
    def register(self, event, function): self.called[event].append(function)
    def unregister(self, event, function): self.called[event].remove(function)
    def trigger(self, event, about):
        for function in list(self.called[event]): function(about)
class Shell:
    def __init__(self): self.events = Events()
    def run_cell(self, code):
        self.events.trigger("pre_run_cell", types.SimpleNamespace(raw_cell=code))
        try:
            exec(code, globals())
        except Exception as error:
            sys.last_value = error
        about = types.SimpleNamespace(raw_cell=code)
        self.events.trigger("post_run_cell", types.SimpleNamespace(info=about))
shell = Shell()
process_end.detach()
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
cells = ["process_end.attach(say)", *CELLS]
for cell in cells:
    shell.run_cell(cell)
"""


@pytest.mark.parametrize("leave", ["", "sys.exit(0)", "raise SystemExit(0)"])
@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["pass"], None),
        (["1 / 0"], "ZeroDivisionError: division by zero (<string>:1 in <module>)"),
        # It was mended.
        (["1 / 0", "pass"], None),
        (
            ["1 / 0", "open('/no/such')"],
            "FileNotFoundError: [Errno 2] No such file or directory: '/no/such' (<string>:1 in <module>)",
        ),
        (["1 / 0", "exit"], "ZeroDivisionError: division by zero (<string>:1 in <module>)"),
        # An error of before the run began.
        (["process_end.detach()", "1 / 0", "process_end.attach(say)"], None),
    ],
)
def test_a_notebook_ends_as_its_last_cell_did(cells: list[str], words: str | None, leave: str) -> None:
    """Its process ends with status 0 whatever has happened in it."""
    ended = run(f"CELLS = {cells!r}\n{SHELL}\n{leave}\n")
    assert ended.status == 0
    ((status, _, said),) = ended.said
    if words is None:
        # Of that end the status is not known in the process.
        assert status == (None if leave.startswith("raise") else 0)
    else:
        assert (status, said) == (1, words)


def test_a_notebook_whose_run_has_ended_is_followed_no_longer() -> None:
    cells = [
        "process_end.detach()",
        "print(json.dumps([[len(c) for c in shell.events.called.values()]]), file=sys.stderr)",
    ]
    assert run(f"CELLS = {cells!r}\n{SHELL}\n").said == [[[0, 0]]]


def test_what_was_replaced_is_given_back_and_what_others_put_there_stays() -> None:
    ended = run(
        "ours = sys.exit, os._exit, sys.excepthook, type(exit).__call__\n"
        "sys.excepthook = theirs = lambda *about: None\n"
        "process_end.detach()\n"
        "plain = sys.exit, os._exit, sys.excepthook, type(exit).__call__\n"
        "print(json.dumps([a is b for a, b in zip(ours, plain)]), file=sys.stderr)\n"
        "print(json.dumps([sys.excepthook is theirs]), file=sys.stderr)\n"
    )
    assert ended.said == [[False, False, False, False], [True]]

"""What a process and everything it starts print: it arrives as without Milepost, and is copied once where that can be done."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# The lines that are copied go to a file; `plain` is the same script without Milepost.
HEAD = """
import atexit, json, logging, os, signal, subprocess, sys
earlier = logging.StreamHandler()
logging.getLogger("earlier").addHandler(earlier)
class Nothing:
    def close(self): pass
def begin():
    from milepost.training.output import descriptors
    from milepost.training.script.tee import ConsoleCapture
    # The order is kept for as long as this; a machine may be busy.
    descriptors._SETTLE_SECONDS = 30.0
    lines = os.dup2(os.open(os.environ["LINES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 250)
    def note(line):
        os.write(lines, json.dumps([line.stream, line.logger, line.text]).encode() + b"\\n")
    return ConsoleCapture(0, lambda: 0, note)
capture = begin() if "LINES" in os.environ else Nothing()
atexit.register(capture.close)
"""
FROM_STDOUT, FROM_STDERR, FROM_LOGGER, FROM_MILEPOST = 1, 2, 3, 4


def environment(lines: Path | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("LINES", "PYTHONUNBUFFERED")}
    return {**kept, "PYTHONPATH": str(ROOT), **({"LINES": str(lines)} if lines is not None else {})}


def copied(lines: Path) -> list[tuple[int, str, str]]:
    return [tuple(json.loads(line)) for line in lines.read_text().splitlines()]


def texts(lines: Path, *streams: int) -> list[str]:
    return [text for stream, _, text in copied(lines) if stream in streams]


def run(code: str, lines: Path | None, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", HEAD + code]
    return subprocess.run(
        command,
        env=environment(lines),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def from_shell(command: str, code: str, lines: Path | None) -> subprocess.CompletedProcess[str]:
    """Run a script as `$SCRIPT` of a command line."""
    known = {**environment(lines), "CODE": HEAD + code, "PYTHON": sys.executable}
    line = command.replace("$SCRIPT", '"$PYTHON" -c "$CODE"')
    return subprocess.run(
        ["bash", "-c", line],
        env=known,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


EVERYBODY = """
import ctypes, multiprocessing, threading
def work(number):
    print("worker", number, flush=True)
print("one")
sys.stdout.flush()
subprocess.run(["echo", "two"])
print("three", flush=True)
logging.getLogger("earlier").warning("four")
os.write(1, b"five\\n")
os.write(2, b"six\\n")
sys.stdout.buffer.write(b"seven\\n")
print("eight", file=sys.__stdout__, flush=True)
sys.stdout.flush()
ctypes.CDLL(None).printf(b"nine\\n")
ctypes.CDLL(None).fflush(None)
with multiprocessing.get_context("fork").Pool(1) as pool:
    pool.map(work, [10, 11])
if os.fork() == 0:
    os.execvp("echo", ["echo", "twelve"])
os.wait()
os.posix_spawnp("sh", ["sh", "-c", "echo thirteen >&2"], os.environ)
os.wait()
try:
    os.wait()
except ChildProcessError:
    print("no child is left")
sys.stdout.flush()
spawned = multiprocessing.get_context("spawn").Process(target=print, args=("worker 14",))
spawned.start()
spawned.join()
print("at the end", end="")
capture.close()
"""
IN_ORDER = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "worker 10", "worker 11", "twelve", "thirteen",
    "no child is left", "worker 14", "at the end",
]  # fmt: skip


ON_STDOUT = [text for text in IN_ORDER if text not in ("four", "six", "thirteen")]


@pytest.mark.parametrize("where", ["", "> {file} 2>&1", "2>&1", ">> {file}"])
def test_what_everybody_prints_arrives_in_order_and_is_copied_once(where: str, tmp_path: Path) -> None:
    """Other programs, C code, workers of every kind, Python's own streams, handlers that were there before."""
    lines, file = tmp_path / "lines", tmp_path / "file"
    done = from_shell(f"$SCRIPT {where.format(file=file)}", EVERYBODY, lines)
    assert done.returncode == 0, done.stderr
    written = "\n".join([done.stdout, file.read_text() if file.exists() else "", done.stderr])
    assert sorted(filter(None, written.splitlines())) == sorted(IN_ORDER)
    # What others print is heard before this process prints on.
    heard = texts(lines, FROM_STDOUT)
    in_order = [text for text in IN_ORDER if text in heard]
    assert heard == in_order if "2>&1" in where else [text for text in heard if text in ON_STDOUT] == ON_STDOUT
    if where != "2>&1":
        assert [text for text in written.splitlines() if text in ON_STDOUT] == ON_STDOUT
    else:
        assert done.stdout.splitlines() == IN_ORDER
    assert sorted(texts(lines, FROM_STDOUT, FROM_STDERR, FROM_LOGGER)) == sorted(IN_ORDER)
    assert [(logger, text) for stream, logger, text in copied(lines) if stream == FROM_LOGGER] == [("earlier", "four")]
    assert texts(lines, FROM_MILEPOST) == ["this log begins at milepost.init: what was printed before is not in it"]


# What a script prints, how, and where it goes: all as without Milepost.
SAME: dict[str, tuple[str, str]] = {
    "nobody reads on": ("for i in range(200000): print(i)", "($SCRIPT; echo status $? >&2) | head -1"),
    "nobody reads what a child prints": (
        "print(subprocess.run(['sh', '-c', 'while echo y; do :; done']).returncode, file=sys.stderr)",
        "($SCRIPT; echo status $? >&2) | head -1",
    ),
    "a full disk": ("print('lost')", "$SCRIPT > /dev/full; echo status $?"),
    "a full disk, at once": ("print('lost', flush=True)", "$SCRIPT > /dev/full; echo status $?"),
    "a full disk, without a buffer": ("print('lost')", "export PYTHONUNBUFFERED=1; $SCRIPT > /dev/full; echo status $?"),
    "a full disk, at the end of the run": ("print('lost'); capture.close()", "$SCRIPT > /dev/full; echo status $?"),
    "a file that cannot be written": ("print('lost')", "$SCRIPT 1< /dev/zero; echo status $?"),
    "no stdout": ("print('lost'); print(sys.stdout, file=sys.stderr)", "$SCRIPT >&-; echo status $?"),
    "no stderr, no stdin": ("print('kept'); print('lost', file=sys.stderr); capture.close()", "$SCRIPT 2>&- <&-"),
    "an error": ("print('kept')\n1 / 0", "$SCRIPT; echo status $?"),
    "killed": (
        "subprocess.run(['echo', 'kept']); os.write(2, b'kept'); os.kill(os.getpid(), 9)",
        "$SCRIPT 2>&1 | cat; echo status ${PIPESTATUS[0]}",
    ),
    "aborted": (
        "os.write(2, b'what(): no memory\\n'); os.abort()",
        "ulimit -c 0; $SCRIPT 2>&1 | cat; echo status ${PIPESTATUS[0]}",
    ),
    "os._exit": ("print('lost'); print('kept', file=sys.stderr); os._exit(3)", "$SCRIPT; echo status $?"),
    "no line feed": ("print('kept', end=''); capture.close()", "$SCRIPT; echo status $?"),
    "a lot": (
        "subprocess.run(['sh', '-c', 'head -c 5000000 /dev/zero | tr \\\\\\\\0 x'])\nprint('end')",
        "$SCRIPT | md5sum",
    ),
    "redirected by the script": (
        "import contextlib, io\nkept = io.StringIO()\n"
        "with contextlib.redirect_stdout(kept): print('inside')\n"
        "print('outside', kept.getvalue())",
        "$SCRIPT",
    ),
    "led elsewhere by the script": (
        "before = os.dup(1)\nother = subprocess.Popen(['tr', 'a-z', 'A-Z'], stdin=subprocess.PIPE)\n"
        "os.dup2(other.stdin.fileno(), 1)\nprint('loud', flush=True)\nsubprocess.run(['echo', 'louder'])\n"
        "os.dup2(before, 1)\nos.close(before)\nother.stdin.close()\nother.wait()\nprint('quiet', flush=True)",
        "$SCRIPT",
    ),
    "a stream around the descriptor": (
        "again = os.fdopen(sys.stdout.fileno(), 'w', closefd=False)\nprint('again', file=again, flush=True)\n"
        "print(sys.stdout.name, sys.stdout.mode, sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno())",
        "$SCRIPT",
    ),
    "a stream made of its parts": (
        "import io\nprint('before')\nsys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='latin-1')\n"
        "print('after \\u00e9')\nsys.stdout.flush()\ncapture.close()",
        "$SCRIPT | od -c",
    ),
    "a stream that is closed": ("print('before')\nsys.stdout.close()\nos.write(1, b'after')", "$SCRIPT; echo status $?"),
    "all is closed that a script does not know": (
        "import tempfile\nos.closerange(3, 200)\nfile = tempfile.TemporaryFile()\nprint('out', flush=True)\n"
        "os.write(1, b'more\\n')\nfile.seek(0)\nprint(file.read())",
        "$SCRIPT",
    ),
    "Python for older systems": (
        "subprocess.run(['echo', 'kept'])",
        "CODE=\"import os; getattr(os, 'memfd_create') and delattr(os, 'memfd_create')\n$CODE\"; $SCRIPT",
    ),
    "a signal handler that prints": (
        "def handle(*about):\n"
        "    print('alarm', file=sys.stderr, flush=True)\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.0005)\n"
        "signal.signal(signal.SIGALRM, handle)\n"
        "handle()\n"
        "for i in range(2000): print(i)\n"
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)",
        "$SCRIPT 2>/dev/null",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "command"), SAME.values(), ids=SAME)
def test_it_is_printed_as_without_milepost(code: str, command: str, tmp_path: Path) -> None:
    plain, with_copy = (from_shell(command, code, lines) for lines in (None, tmp_path / "lines"))
    assert (with_copy.returncode, with_copy.stdout) == (plain.returncode, plain.stdout)
    assert without_places(with_copy.stderr) == without_places(plain.stderr)


def without_places(errors: str) -> list[str]:
    """Leave out where in the code an error was raised."""
    return [line for line in errors.splitlines() if not line.startswith(("  ", "Traceback"))]


def test_a_daemon_that_lets_go_of_its_output_does_not_hold_it(tmp_path: Path) -> None:
    """Whoever reads the output of the script comes to its end."""
    waits, go = os.pipe()
    code = (
        "if os.fork() == 0:\n"
        "    for number in (0, 1, 2): os.close(number)\n"
        f"    os.read({waits}, 1)\n"
        "    os._exit(0)\n"
        "print('here', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + code],
        env=environment(tmp_path / "lines"), pass_fds=(waits,), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    os.close(waits)
    try:
        assert process.communicate(timeout=60)[0] == b"here\n"
    finally:
        os.close(go)


def test_lines_are_copied_when_they_are_printed_not_when_they_are_written(tmp_path: Path) -> None:
    """A script that prints little, into a file, writes it at its end."""
    lines = tmp_path / "lines"
    done = run(
        "print('kept in memory')\nprint(open(os.environ['LINES']).read(), file=sys.stderr)\ncapture.close()", lines
    )
    assert "kept in memory" in done.stderr and done.stdout == "kept in memory\n"


def test_a_child_that_outlives_the_script_prints_on(tmp_path: Path) -> None:
    """It is not ended by what it prints, nor waited for; the end of the script is as quick as without it."""
    lines = tmp_path / "lines"
    code = (
        "subprocess.Popen(['sh', '-c', 'echo first; read line; echo $line; echo done >&2'], stdin=0)\n"
        "import time\n"
        "while 'first' not in open(os.environ['LINES']).read(): time.sleep(0.02)\n"
        "capture.close()\n"
        "print('the script is done', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + code],
        env=environment(lines),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    assert process.wait(60) == 0
    output, errors = process.communicate(b"later\n", timeout=60)
    assert (output.decode().splitlines(), errors) == (["first", "the script is done", "later"], b"done\n")
    assert texts(lines, FROM_STDOUT, FROM_STDERR) == ["first"]


def test_a_script_whose_relay_is_killed_prints_on_and_says_so(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    code = """
import glob, time
pipe = os.readlink("/proc/self/fd/1")
def holders():
    for path in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path) == pipe and int(path.split("/")[2]) != os.getpid():
                yield int(path.split("/")[2])
        except OSError:
            continue
for relay in set(holders()):
    os.kill(relay, signal.SIGKILL)
while os.readlink("/proc/self/fd/1") == pipe:
    time.sleep(0.02)
subprocess.run(["echo", "from a child"])
print("from the script")
capture.close()
"""
    done = run(code, lines)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["from a child", "from the script"]
    assert texts(lines, FROM_STDOUT) == ["from the script"]
    assert "from here on the output of other programs, C code and workers is not in this log" in texts(
        lines, FROM_MILEPOST
    )


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    leader, follower = pty.openpty()
    try:
        yield leader, follower
    finally:
        os.close(leader)


def test_a_terminal_is_left_alone_and_the_log_says_what_it_lacks(tmp_path: Path) -> None:
    """Programs ask a terminal how wide it is, and for keys."""
    lines = tmp_path / "lines"
    code = "print(os.isatty(1), os.isatty(2)); subprocess.run(['echo', 'not copied']); capture.close()"
    with terminal() as (leader, follower):
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD + code],
            env=environment(lines),
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        assert process.wait(60) == 0
        printed = os.read(leader, 1000).decode().split("\r\n")
    assert printed[:2] == ["True True", "not copied"] or printed[:2] == ["not copied", "True True"]
    assert texts(lines, FROM_STDOUT) == ["True True"]
    (said,) = (text for text in texts(lines, FROM_MILEPOST) if "is not copied" in text)
    assert "on stdout and stderr" in said and "because this is a terminal" in said and "`milepost run" in said


def as_first_process(code: str) -> list[str]:
    """Return the command of a script that is the first process of a container; where none can be made, of one that thinks so."""
    container = ["unshare", "--pid", "--fork"]
    try:
        possible = subprocess.run([*container, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        possible = False
    python = [sys.executable, "-c"]
    return (
        [*container, *python, HEAD + code] if possible else [*python, f"import os\nos.getpid = lambda: 1\n{HEAD}{code}"]
    )


def test_the_first_process_of_a_container_is_left_alone(tmp_path: Path) -> None:
    """Its end kills whatever would carry its output on, and signals that it has no handler for do nothing."""
    code = """
from milepost.training.script.signals import ENDING, ending_signals
ending_signals.attach(print)
print(os.getpid(), [signal.getsignal(number) == signal.SIG_DFL for number in ENDING], flush=True)
subprocess.run(["echo", "from a child"])
"""
    lines = tmp_path / "lines"
    done = subprocess.run(
        as_first_process(code), env=environment(lines), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    own = "1 [True, True, True]"
    assert (done.stdout.splitlines(), texts(lines, FROM_STDOUT)) == ([own, "from a child"], [own])
    assert any("because this is the first process of a container" in text for text in texts(lines, FROM_MILEPOST))


def test_a_stream_of_somebody_else_is_copied_once(tmp_path: Path) -> None:
    """It may write on to the one of Python, where the copy would be a second one."""
    lines = tmp_path / "lines"
    code = """
class Both:
    def __init__(self, stream): self.stream = stream
    def write(self, text): return self.stream.write(text)
    def flush(self): self.stream.flush()
sys.stdout = Both(sys.__stdout__)
capture = begin()
print("once", flush=True)
capture.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", HEAD.replace("capture = begin()", "capture = Nothing()") + code],
        env=environment(lines), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, texts(lines, FROM_STDOUT)) == ("once\n", ["once"])
    assert any("Python prints to a stream of somebody else" in text for text in texts(lines, FROM_MILEPOST))

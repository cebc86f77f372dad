"""The command line: configurations are sent as given, names are completed, every error has an exit status."""

from __future__ import annotations

import errno
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost import cli as command_line
from milepost import errors
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli import completion, exits, output
from milepost.cli.exits import Exit
from milepost.cli.local.supervisor import readable
from milepost.cli.output import duration
from milepost.cli.runs.following import ProgressPrinter, View
from milepost.cli.runs.monitor import Picture, Screen, draw, glyphs_for
from milepost.cli.runs.runtimes import read_configuration
from milepost.configuration import parse_text, resolve
from milepost.installation.settings import SETTINGS
from milepost.security.terminal import coloured_line, one_line, visible, visible_json
from tests.support.programs.guides import ROOT


def write(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


def test_the_folder_of_the_file_is_added_and_the_rest_is_sent_as_given(tmp_path: Path) -> None:
    text = "# mine\nentrypoint: train.py:train  # here\nparameters: {epochs: 3}"

    sent = read_configuration(write(tmp_path, text))

    assert sent.startswith(text)
    assert yaml.safe_load(sent) == {
        "entrypoint": "train.py:train",
        "parameters": {"epochs": 3},
        "working_directory": str(tmp_path),
    }


def test_json_gets_the_folder_too(tmp_path: Path) -> None:
    sent = read_configuration(write(tmp_path, '{"entrypoint": "train.py:train"}'))

    assert yaml.safe_load(sent)["working_directory"] == str(tmp_path)


def test_a_relative_working_directory_is_meant_from_the_file(tmp_path: Path) -> None:
    sent = read_configuration(write(tmp_path, "entrypoint: train.py:train\nworking_directory: code"))

    assert yaml.safe_load(sent)["working_directory"] == str(tmp_path / "code")


@pytest.mark.parametrize("placed", ["", "working_directory: code\n"])
def test_a_number_that_is_none_goes_to_the_server_which_names_it_with_all_other_mistakes(
    tmp_path: Path, placed: str
) -> None:
    text = f"entrypoint: nowhere.py:train\nparameters: {{rate: .nan, low: -.inf}}\nnmae: x\n{placed}"

    with pytest.raises(errors.InvalidArgument) as refused:
        resolve(parse_text(read_configuration(write(tmp_path, text))))

    named = {violation.field for violation in refused.value.violations}
    assert {"nmae", "parameters.rate", "parameters.low"} <= named


@pytest.mark.parametrize(
    "text",
    [
        "entrypoint: milepost.recipes.language_model:train\n",
        "entrypoint: train.py:train\ncode: {uri: 'file:/code.tar', digest: 'sha256:0'}\n",
        "entrypoint: train.py:train\nworking_directory: /somewhere\n",
        "not: [closed",
        "just a text",
    ],
)
def test_a_configuration_that_needs_no_folder_is_sent_unchanged(tmp_path: Path, text: str) -> None:
    assert read_configuration(write(tmp_path, text)) == text


def test_every_error_has_an_exit_status_of_its_own_kind() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.MilepostError)]

    for kind in kinds:
        error = kind([]) if kind is errors.InvalidArgument else kind("it went wrong")
        expected = kind is errors.MilepostError
        assert (exits.exit_of(error) is exits.Exit.INTERNAL) == expected, kind


def test_json_log_lines_are_made_readable() -> None:
    line = json.dumps({"time": "2026-01-31T10:00:00.123", "level": "info", "event": "server.started", "port": 8471})

    assert readable(line) == "10:00:00.123 INFO    server.started port=8471"
    assert readable("Traceback") == "Traceback"
    assert readable("{not json") == "{not json"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (59.6, "1 m 0 s"), (130, "2 m 10 s"), (7_320, "2 h 2 m")]
)
def test_durations_are_said_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


HOSTILE = "a\x1b]0;title\x07b\x9b2Jc\u202ed\re\x1b[8mf\ud800g"
SHOWN = r"a\x1b]0;title\x07b\x9b2Jc\u202ed\re\x1b[8mf\ud800g".replace(r"\r", r"\x0d")


def test_what_a_terminal_would_obey_is_made_visible() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("plain\ttext\nin ünïcödé 日本 👩‍🚀") == "plain\ttext\nin ünïcödé 日本 👩‍🚀"
    assert one_line("a\nb\tc") == r"a\nb\tc"
    assert coloured_line("\x1b[31mred") == "\x1b[31mred\x1b[0m", "a colour ends with its line"
    for hiding in ("\x1b[8m", "\x1b[08m", "\x1b[1;8m", "\x1b[8;31m", "\x1b[2J", "\x1b[31\x1bm"):
        assert "\x1b" not in coloured_line(hiding), hiding
    assert json.loads(visible_json(json.dumps({"name": HOSTILE}, ensure_ascii=False))) == {"name": HOSTILE}
    assert visible_json('{\n "a": 1\n}') == '{\n "a": 1\n}'


def test_every_printer_of_the_command_line_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(HOSTILE)
    output.show(HOSTILE)
    output.show_coloured(HOSTILE + "\n")
    output.print_json({"name": HOSTILE})
    output.print_json_line({"name": HOSTILE})
    output.print_table(["NAME"], [[HOSTILE + "\n"]])
    output.print_fields([("name", HOSTILE)])
    output.draw_line(HOSTILE, 200)
    runtime = runtime_api.Runtime(display_name=HOSTILE.replace("\ud800", ""), reason="x\x1b[2J")
    Screen(sys.stdout).show(draw(Picture(runtime, {}, {}, None), 200, glyphs_for("utf-8")), 20)
    printed = "".join(capsys.readouterr())
    for own in ("\r\x1b[K", "\x1b[J"):  # the first begins a line, the second ends the picture
        printed = printed.replace(own, "")
    # Where it is no terminal, of the line that is drawn over another one only this is left.
    printed = printed.replace("\r", "", 1)
    assert printed == visible(printed), repr(printed)


def test_errors_of_the_command_line_are_shown_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["milepost", "runtime", "get", "--output", "x\x1b[2J"])
    assert command_line.run() != Exit.OK
    assert "\x1b" not in "".join(capsys.readouterr())


def test_no_other_part_of_the_command_line_writes_to_a_terminal() -> None:
    for path in Path(output.__file__).parent.rglob("*.py"):
        if path.name != "output.py":
            written = re.findall(r"click\.s?echo|\bprint\(|sys\.std(?:out|err)\.(?:write|buffer)", path.read_text())
            assert not written, (path.name, written)


# --- terminals, pipes and disks

CELLS = st.text("abc xyz/-", max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5), st.integers(40, 200))
def test_a_table_fits_the_terminal_and_loses_nothing(rows: list[tuple[str, str, str]], width: int) -> None:
    """A line is wider only where it is one cell, or one word of the last column: those are to be copied."""
    cells = [("ID", "NAME", "TEXT"), *rows]
    lines = list(output.table_lines(cells, width))
    words = [word for row in cells for cell in row for word in cell.split()]
    assert [word for line in lines for word in line.split()] == words
    longest = max(max(map(len, row[:2])) + len(output.INDENT) for row in cells)
    unbreakable = max((len(word) for row in cells for word in row[2].split()), default=0)
    for line in lines:
        assert len(line) <= max(width, longest) or len(line.split()[-1]) == unbreakable, line
    plain = list(output.table_lines(cells, 1_000))
    assert len(plain) == len(cells), "where there is room a row is one line"


def test_a_table_goes_on_at_the_end_of_a_column_and_between_words() -> None:
    cells = [("ID", "NAME", "STATUS", "WHY"), ("rt-0123456789", "a name", "Completed", "because it was told to do so")]
    assert list(output.table_lines(cells, 50)) == [
        "ID             NAME    STATUS",
        "    WHY",
        "rt-0123456789  a name  Completed",
        "    because it was told to do so",
    ]
    assert list(output.table_lines([(row[0], row[3]) for row in cells], 40)) == [
        "ID             WHY",
        "rt-0123456789  because it was told to do",
        "               so",
    ]


def test_an_entry_goes_on_in_indented_lines() -> None:
    entry = "       9  16:09:39  trial.created   Environment: Python 3.11  [trainer, because of 4]"
    assert output.entry_lines(entry, 100) == [entry]
    assert output.entry_lines(entry, 50) == [
        "       9  16:09:39  trial.created   Environment:",
        "    Python 3.11  [trainer, because of 4]",
    ]


def test_a_command_prints_no_names_of_log_lines() -> None:
    program = (
        "import atexit, logging, sys; from milepost import cli; sys.argv = ['milepost', '--version'];"
        "atexit.register(logging.getLogger('milepost.eventlog.nats').warning, 'nats.error'); cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == ""


def milepost(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, where no server is."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MILEPOST_RUNTIME_ADDRESS": "127.0.0.1:1",
        **options.pop("env", {}),
    }
    command = [sys.executable, "-m", "milepost", *arguments]
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, timeout=60, **{**piped, **options})


def test_a_full_disk_behind_the_output_has_a_status_of_its_own() -> None:
    with Path("/dev/full").open("w") as full:
        done = milepost("config", stdout=full)
        assert done.returncode == Exit.WRITE
        assert done.stderr == "error: the output cannot be written: No space left on device\n"
        assert milepost("config", stdout=full, stderr=full).returncode == Exit.WRITE


def test_whoever_has_read_enough_ends_it_as_any_program() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = milepost("config", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_what_the_output_cannot_spell_is_escaped(tmp_path: Path) -> None:
    odd = tmp_path / "损失"
    done = milepost("config", "--data-dir", str(odd), env={"PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"})
    assert done.returncode == Exit.OK, done.stderr
    assert r"\u635f\u5931" in done.stdout


def test_a_dumb_terminal_is_drawn_over_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal: Any = SimpleNamespace(isatty=lambda: True)
    for name, draws in (("dumb", False), ("", False), ("xterm-256color", True)):
        monkeypatch.setenv("TERM", name)
        assert output.draws_over(terminal) is draws
    monkeypatch.delenv("TERM")
    assert not output.draws_over(terminal)
    assert not output.draws_over(io.StringIO())


def test_a_run_is_followed_in_plain_lines_on_a_dumb_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    running = trial_api.Trial(trial=1, status=trial_api.TRIAL_STATUS_RUNNING)
    view = View(runtime_api.Runtime(runtime_id="rt-1"), {1: running})
    printer = ProgressPrinter()
    printer.show(view)
    output.show_coloured("\x1b[31mred\x1b[0m")
    printer.close()
    printed = capsys.readouterr().out
    assert "trial 1 Running" in printed and "red" in printed
    assert "\x1b" not in printed and "\r" not in printed


@pytest.mark.parametrize(
    ("number", "path", "status"),
    [
        (errno.ENOENT, "/nowhere/run.zip", Exit.USAGE),
        (errno.EACCES, "/root/run.zip", Exit.USAGE),
        (errno.EISDIR, "/tmp", Exit.USAGE),
        (errno.ENOSPC, "/data/run.zip", Exit.WRITE),
        (errno.EROFS, "/cdrom/run.zip", Exit.WRITE),
        (errno.EIO, None, Exit.WRITE),
    ],
)
def test_what_the_system_refuses_is_said_with_a_status(
    number: int, path: str | None, status: Exit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(command_line, "_run", refuse)
    assert command_line.run() == status
    assert capsys.readouterr().err == f"error: {path or 'the output cannot be written'}: {os.strerror(number)}\n"


def test_a_fault_that_is_none_of_the_system_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out() -> int:
        raise TimeoutError

    monkeypatch.setattr(command_line, "_run", time_out)
    with pytest.raises(TimeoutError):
        command_line.run()


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    def full() -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "run.zip"
    assert output.write_file(str(path), [b"one", b"two"]) == 6
    with pytest.raises(OSError, match=str(path)):
        output.write_file(str(path), full())
    assert path.read_bytes() == b"onetwo"
    (tmp_path / "link.zip").symlink_to(path)
    output.write_file(str(tmp_path / "link.zip"), [b"three"])
    assert (path.read_bytes(), sorted(item.name for item in tmp_path.iterdir())) == (b"three", ["link.zip", "run.zip"])
    for bad in (tmp_path, tmp_path / "nowhere" / "run.zip", path / "run.zip"):
        with pytest.raises(OSError, match=str(bad)):
            output.write_file(str(bad), [b"one"])


def test_what_is_no_regular_file_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert output.write_file(str(pipe), [b"one", b"two"]) == 6
        assert os.read(reader, 100) == b"onetwo"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="/dev/full"):
        output.write_file("/dev/full", [b"one"])


def test_a_configuration_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), errors="surrogateescape"))
    with pytest.raises(click.UsageError, match="not readable"):
        read_configuration("-")


def test_the_help_of_each_command_fits_a_screen_and_names_where_the_rest_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("doctor", "up", "demo"):
        monkeypatch.setattr(sys, "argv", ["milepost", name, "--help"])
        assert command_line.run() == Exit.OK
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) < 50 and max(map(len, lines)) <= 80, name
        assert any("milepost config --help" in line for line in lines)
        assert any(line.strip().startswith("--data-dir") for line in lines)
    monkeypatch.setattr(sys, "argv", ["milepost", "config", "--help"])
    assert command_line.run() == Exit.OK
    whole = capsys.readouterr().out
    assert all(setting.flag in whole and setting.variable in whole for setting in SETTINGS)


# --- completion


class Runs:
    """Servers with two runs, each of which fills a page; one has three trials."""

    def __init__(self) -> None:
        self.runtimes = self.trials = self

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *error: object) -> None:
        """There is nothing to close."""

    def ListRuntimes(self, request: Any, timeout: float) -> runtime_api.ListRuntimesResponse:
        runs = [("rt-aa1", "linear"), ("rt-ab2", "two words")]
        found = [
            runtime_api.Runtime(runtime_id=run, display_name=name)
            for run, name in runs
            if request.filter.strip('"') in f"{run} {name}"
        ]
        start = int(request.page_token or 0)
        more = str(start + 1) if start + 1 < len(found) else ""
        return runtime_api.ListRuntimesResponse(runtimes=found[start : start + 1], next_page_token=more)

    def ListTrials(self, request: Any, timeout: float) -> trial_api.ListTrialsResponse:
        if request.parent != "runtimes/rt-aa1":
            raise errors.NotFound("there is no such run")
        return trial_api.ListTrialsResponse(trials=[trial_api.Trial(trial=number) for number in (1, 2, 12)])


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("runtime get ", ["rt-aa1", "rt-ab2"]),
        ("runtime get rt-ab", ["rt-ab2"]),
        ("runtime stop lin", ["linear"]),
        ("runtime watch two", []),
        ("trial get rt-aa1/1", ["rt-aa1/1", "rt-aa1/12"]),
        ("trial get nobody/", []),
        ("trial compare rt-aa1 rt-a", ["rt-aa1", "rt-ab2"]),
        ("metrics query rt-aa1/2", ["rt-aa1/2"]),
        ("audit show rt-aa", ["rt-aa1"]),
        ("export tensorboard rt-aa", ["rt-aa1"]),
        ("runtime wat", ["watch"]),
    ],
)
def test_what_stands_for_a_run_is_completed(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(completion, "Client", lambda *arguments, **options: Runs())
    assert completed(typed, monkeypatch, capsys) == [f"plain,{text}" for text in offered]


def completed(typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Ask for what completes a line, as bash does."""
    words = f"milepost {typed}".split(" ")
    for name, value in (
        (completion.VARIABLE, "bash_complete"), ("COMP_WORDS", " ".join(words)), ("COMP_CWORD", str(len(words) - 1)),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert command_line.run() == 0
    printed = capsys.readouterr()
    assert printed.err == "", "nothing is said on a line that is being typed"
    return printed.out.split()


def test_without_a_server_nothing_is_completed_but_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MILEPOST_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MILEPOST_RUNTIME_ADDRESS", "127.0.0.1:1")
    assert completed("runtime get ", monkeypatch, capsys) == []
    assert completed("audit verify run", monkeypatch, capsys) == ["file,run"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_is_told_how_to_complete(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["milepost", "completion", shell])
    assert command_line.run() == Exit.OK
    assert f"{completion.VARIABLE}={shell}_complete" in capsys.readouterr().out

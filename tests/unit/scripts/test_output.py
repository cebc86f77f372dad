"""What a script prints and logs, on its way to the log of its run."""

from __future__ import annotations

import io
import logging
import re
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress
from tqdm import tqdm

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.training.output.screen import MAX_TEXT, Screen
from milepost.training.script.tee import ConsoleCapture


def test_a_wrong_logging_call_is_complained_of_by_logging_and_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without Milepost: the complaint is printed, and the next statement runs."""
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    handler = logging.StreamHandler(printed)
    logger = logging.Logger("wrong")
    logger.addHandler(handler)
    lines: list[LogLine] = []
    capture = ConsoleCapture(0, lambda: 0, lines.append)
    try:
        logger.warning("step %d loss %f", *[1])
        logger.warning("step %d", 2)
    finally:
        capture.close()
    assert "--- Logging error ---" in printed.getvalue()
    assert "not enough arguments for format string" in printed.getvalue()
    assert [(line.logger, line.text) for line in lines if line.logger == "wrong"] == [("wrong", "step 2")]


def test_a_last_line_without_a_line_feed_is_handed_on_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    lines: list[LogLine] = []
    capture = ConsoleCapture(0, lambda: 0, lines.append)
    print("first")
    print("final accuracy: 0.93", end="")
    capture.close()
    printed = [line.text for line in lines if line.stream == telemetry.LOG_STREAM_STDOUT]
    assert printed == ["first", "final accuracy: 0.93"]


# --- what a terminal would show


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()


class Terminal(io.StringIO):
    """A terminal for progress bars: each write takes 10 ms, and what it told is kept."""

    def __init__(self, seconds: float = 0.01) -> None:
        super().__init__()
        self.now, self._seconds = 1_000.0, seconds
        self.screen = Screen()
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self._take(self.screen.feed(text.encode(), self.now))
        self.wait(self._seconds)
        return len(text)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._take(self.screen.tick(self.now))

    def end(self) -> list[str]:
        self._take(self.screen.end(self.now))
        return self.lines

    def _take(self, lines: list[tuple[float, str]]) -> None:
        assert all(time <= self.now for time, _ in lines)
        self.lines += [uncoloured(text) for _, text in lines]

    def isatty(self) -> bool:
        return True


def told(*texts: str) -> list[str]:
    terminal = Terminal()
    for text in texts:
        terminal.write(text)
    return terminal.end()


def test_nested_bars_of_tqdm_become_what_they_say_at_last() -> None:
    terminal = Terminal()
    for epoch in tqdm(range(2), desc="epochs", mininterval=0, file=terminal, ncols=60):
        for batch in tqdm(range(50), desc="batches", leave=False, mininterval=0, file=terminal, ncols=60):
            if batch == 20:
                tqdm.write(f"loss of epoch {epoch}", file=terminal)
    terminal.write("after the bars\n")
    lines = terminal.end()
    assert [line.partition("|")[0] for line in lines] == [
        "epochs:   0%", "loss of epoch 0", "loss of epoch 1", "epochs: 100%", "after the bars",
    ]  # fmt: skip


def test_a_live_display_of_rich_is_told_when_it_ends_and_now_and_then() -> None:
    terminal = Terminal(0.0)
    console = Console(file=terminal, force_terminal=True, width=60)
    with Progress(console=console, auto_refresh=False) as progress:
        epochs, batches = progress.add_task("epochs", total=2), progress.add_task("batches", total=200)
        for _ in range(200):
            progress.advance(batches)
            progress.refresh()
            terminal.wait(0.1)
        console.print("[red]in between[/]")
        progress.advance(epochs, 2)
    terminal.write("after it\n")
    lines = terminal.end()
    assert [line.split()[0] for line in lines[-4:]] == ["in", "epochs", "batches", "after"]
    assert all("100%" in line for line in lines[-3:-1])
    assert 4 < len(lines) < 12, "200 redraws"


def test_a_long_bar_shows_its_state_at_growing_intervals() -> None:
    terminal = Terminal(0.0)
    for percent in range(3_600):
        terminal.write(f"\r{percent} of 3600")
        terminal.wait(1.0)
    states = [int(line.split()[0]) for line in terminal.lines]
    assert states[:4] == [4, 14, 34, 74]
    assert 50 < len(states) < 70
    terminal.write("\rdone        \n")
    assert terminal.lines[-1] == "done"


def test_a_line_that_waits_for_its_end_is_shown_and_its_end_too() -> None:
    terminal = Terminal(0.0)
    terminal.write("loading ...")
    terminal.wait(6.0)
    assert terminal.lines == ["loading ..."]
    terminal.wait(100.0)
    terminal.write(" done\n")
    assert terminal.lines == ["loading ...", "loading ... done"]


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (("a\n", "\n", "b"), ["a", "", "b"]),
        (("10%\r20%\r30%\n", "\r\n"), ["30%", ""]),
        (("a long line\rshort\n",), ["shortg line"]),
        (("a long line\r\x1b[Kshort\n",), ["short"]),
        (("abc\b\bX\n",), ["aXc"]),
        (("100%\r    \rafter\n",), ["after"]),
        (("\x1b]0;a title\x07text\x1b[?25h\n",), ["text"]),
        (("one\ntwo\n\x1b[2Aone!\n",), ["one", "two", "one!"]),
        (("first\nsecond\x1b[1A\rFIRST\n\x1b[2Kthird\n",), ["first", "FIRST", "third"]),
        (("ab\x1b[0m\n", "\x1b[1Aab"), ["ab"]),
        (("日本 1%\r日本 2%\n",), ["日本 2%"]),
        (("unfinished \x1b[",), ["unfinished"]),
        (("a\tb\x07c\n",), ["a\tbc"]),
    ],
)  # fmt: skip
def test_what_is_overwritten_or_erased_is_not_told(texts: tuple[str, ...], lines: list[str]) -> None:
    assert told(*texts) == lines


@given(
    st.lists(
        st.sampled_from(["ab", "█é日", "\n", "\r", "\x1b[1A", "\x1b[2K", "\x1b[32m", "\x1b[0m", "\b"]), max_size=30
    ),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_how_output_is_cut_into_pieces_changes_nothing(pieces: list[str], cuts: list[int]) -> None:
    """But for how colours are written: those of a line that is only printed stay as they are."""
    data = "".join(pieces).encode()
    whole, cut = Screen(), Screen()
    expected = whole.feed(data, 1.0) + whole.end(1.0)
    bounds = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    found = [line for a, b in pairwise(bounds) for line in cut.feed(data[a:b], 1.0)] + cut.end(1.0)
    assert [uncoloured(text) for _, text in found] == [uncoloured(text) for _, text in expected]


def test_a_line_without_end_takes_bounded_memory_and_says_what_is_cut() -> None:
    screen = Screen()
    for _ in range(100):
        assert screen.feed(b"x" * 10_000, 1.0) == []
    ((_, text),) = screen.feed(b"\n", 1.0)
    assert text == "x" * MAX_TEXT + f" ... [line cut: {1_000_000 - MAX_TEXT} bytes more]"
    assert screen.feed(b"y" * 100_000 + b"\nz\n", 1.0)[1] == (1.0, "z")

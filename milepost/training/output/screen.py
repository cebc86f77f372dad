"""Output folded to the lines that a terminal would show.

Lines that are printed and left alone, which is most output, pass through as they are. Progress bars go back: with a
carriage return on their line, with cursor movements over several. The rows that the cursor has come back to are a
*region*; of them a state is told now and then, and what they say at last. A row above the place where the next redraw
begins is finished, and so is a region below which something else was printed.

Only what bars and prompts use is understood: no colours are computed, no width is assumed, nothing scrolls.
Imports the standard library only: the process that copies a script's output runs without any other package.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import deque

# Bytes of one line in UTF-8; what is beyond is counted.
MAX_TEXT = 64 << 10
_CUT = " ... [line cut: {count} bytes more]"
# The first state of an unfinished line is told after so many seconds, the next after twice as many.
FIRST_STATE_SECONDS = 5.0
MAX_STATE_SECONDS = 60.0
# A line below a region that is left alone for so long belongs to what follows the region.
SETTLE_SECONDS = 0.5
# How often `tick` is to be called.
TICK_SECONDS = 0.5
# A region that does not move for so long is told as it is.
QUIET_SECONDS = 10.0
# Rows of a region that are kept; more is no progress display.
MAX_ROWS = 500
PAST_ROWS = 50

# A line with none of these is what it looks like. Colours do no harm.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]|\x1b(?!\[[0-9;:]*m)")
_TOKEN = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])"  # control sequence
    r"|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links and other strings
    r"|\x1b[ -/]*([0-~])"
    r"|([\x00-\x08\x0a-\x1f\x7f])"
)
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]P^_X][^\x07\x1b]{0,4096}\x1b?|[ -/]*)\Z")
# Characters that do not take exactly one column.
_UNEVEN = re.compile(
    r"[\u0300-\u036f\u1100-\u115f\u200b-\u200f\u20d0-\u20ff\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe00-\ufe6f\uff00-\uff60"
    r"\uffe0-\uffe6\U0001f000-\U0003fffd]"
)
_MAX_BEGUN = 4200
_COLOURED = re.compile(r"((?:\x1b\[[0-9;:]*m)*)([^\x1b]*)")
_PLAIN = "\x1b[0m"
_STYLE = re.compile(r"(?:\x1b\[[0-9;:]*m)*")
_MAX_STYLE = 64

# When it was last changed, seconds since 1970, and what it says.
Line = tuple[float, str]


class _Row:
    """One row: a cell is a character with its colour and what combines with it."""

    __slots__ = ("beyond", "cells", "changed", "due", "interval", "revisited", "told")

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.changed = 0.0
        # When a state may be told again.
        self.due = 0.0
        self.interval = FIRST_STATE_SECONDS
        self.told = ""
        # Whether the cursor has come back to it.
        self.revisited = False
        self.beyond = 0

    def touch(self, now: float) -> None:
        if not self.due:
            self.due = now + self.interval
        self.changed = now

    def text(self) -> str:
        cells = self.cells
        while cells and cells[-1] == " ":
            cells.pop()
        return _bounded(_joined(cells), self.beyond)


def folded(text: str) -> list[str]:
    """Fold a text that is complete. Returns at least one line."""
    screen = Screen()
    lines = [*screen.feed(text.encode("utf-8", "replace"), 1.0), *screen.end(1.0)]
    return [line for _, line in lines] or [""]


class Screen:
    """Folds one stream. Times are handed in, in seconds since 1970."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        # An escape sequence that has begun.
        self._rest = ""
        self._lines: list[Line] = []
        # What the last rows said that are finished: the cursor may come back to them.
        self._past: deque[str] = deque(maxlen=PAST_ROWS)
        self._rows = [_Row()]
        self._row = 0
        self._column = 0
        self._saved = (0, 0)
        self._style = ""
        # Whether the cursor has gone up, so that rows above it are not finished when they are left.
        self._region = False
        # It has, and nothing was written since.
        self._went_up = False

    def feed(self, data: bytes, now: float) -> list[Line]:
        """Take output and return the lines that are finished."""
        self._settle(now)
        text = self._rest + self._decode(data)
        begun = _BEGUN.search(text, max(0, len(text) - _MAX_BEGUN)) if "\x1b" in text[-_MAX_BEGUN:] else None
        self._rest = begun[0] if begun is not None else ""
        *parts, last = (text[: begun.start()] if begun is not None else text).split("\n")
        for part in parts:
            part = part.removesuffix("\r")
            if self._is_fresh and _CONTROLS.search(part) is None:
                self._finish(now, _bounded(part, 0))
            else:
                self._write(part, now)
                self._line_feed(now)
        if last:
            self._write(last, now)
        return self._take()

    def tick(self, now: float) -> list[Line]:
        """Return what time has finished, and the state of what is not finished, now and then. Call it often."""
        self._settle(now)
        for row in self._rows:
            quiet = self._region and now - row.changed >= QUIET_SECONDS
            if row.cells and (now >= row.due or quiet):
                self._tell_state(row, now)
        return self._take()

    def end(self, now: float) -> list[Line]:
        """Return what was begun and not ended by a line feed, and forget it."""
        rest = self._decode(b"", True)
        if rest:
            self._write(rest, now)
        self._finish_rows(len(self._rows))
        self._column, self._region, self._went_up, self._style = 0, False, False, ""
        return [line for line in self._take() if line[1]]

    def _take(self) -> list[Line]:
        lines, self._lines = self._lines, []
        return lines

    @property
    def _is_fresh(self) -> bool:
        return not self._region and not self._column and not self._rows[0].cells

    # --- what is finished

    def _finish(self, time: float, text: str) -> None:
        self._lines.append((time, text))
        self._past.append(text)

    def _tell_state(self, row: _Row, now: float) -> None:
        text = row.text()
        if text and text != row.told:
            row.told = text
            row.interval = min(2 * row.interval, MAX_STATE_SECONDS)
            row.due = now + row.interval
            self._lines.append((row.changed, text))

    def _settle(self, now: float) -> None:
        """Finish a region below which a line was printed and left alone."""
        if not self._region:
            return
        for index in range(self._row - 1, -1, -1):
            row = self._rows[index]
            if not row.revisited and row.changed and now - row.changed >= SETTLE_SECONDS:
                self._finish_rows(index + 1)
                break
        if self._row == len(self._rows) - 1 and not any(row.revisited for row in self._rows):
            self._finish_rows(self._row)
            self._region = False
        elif len(self._rows) > MAX_ROWS:
            self._finish_rows(len(self._rows) - MAX_ROWS // 2)

    def _finish_rows(self, count: int) -> None:
        """Tell what the first rows say, unless that was told, and let them go."""
        for row in self._rows[:count]:
            text = row.text()
            if row.changed and (text != row.told if text else not row.revisited):
                self._lines.append((row.changed, text))
            self._past.append(text)
        del self._rows[:count]
        self._rows = self._rows or [_Row()]
        self._row = max(0, self._row - count)

    def _line_feed(self, now: float) -> None:
        if self._region:
            if self._went_up:
                self._begin_redraw()
            self._rows[self._row].touch(now)
            self._down(1)
        else:
            row = self._rows[0]
            text = row.text()
            if not text or text != row.told:
                self._lines.append((now, text))
            self._past.append(text)
            self._rows[0] = _Row()
        self._column = 0

    def _begin_redraw(self) -> None:
        """Take note that a redraw begins here: what is above is finished, what is below is redrawn."""
        self._went_up = False
        self._finish_rows(self._row)
        for row in self._rows:
            row.revisited = True

    # --- what is written

    def _write(self, text: str, now: float) -> None:
        """Take text without line feeds."""
        if "\r" in text and "\x1b" not in text and "\b" not in text:
            text = _without_overwritten(text)
        position = 0
        for match in _TOKEN.finditer(text):
            if match.start() > position:
                self._put(text[position : match.start()], now)
            position = match.end()
            arguments, command, single, control = match.groups()
            if command is not None:
                self._command(command, arguments, now)
            elif control is not None:
                self._control(control)
            elif single is not None:
                self._single(single)
        if position < len(text):
            self._put(text[position:], now)

    def _put(self, text: str, now: float) -> None:
        if self._went_up:
            self._begin_redraw()
        row = self._rows[self._row]
        row.touch(now)
        room = MAX_TEXT - self._column
        if len(text) > room:
            row.beyond += len(text[room:].encode("utf-8", "replace"))
            text = text[:room]
        new = list(text) if _UNEVEN.search(text) is None else _cells(text)
        if self._style:
            new = [self._style + cell if cell else cell for cell in new]
        cells = row.cells
        if len(cells) < self._column:
            cells.extend(" " * (self._column - len(cells)))
        cells[self._column : self._column + len(new)] = new
        self._column += len(new)

    def _control(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)

    def _single(self, character: str) -> None:
        if character == "7":
            self._saved = (self._row, self._column)
        elif character == "8":
            self._go(*self._saved)
        elif character == "M":
            self._up(1)

    def _command(self, command: str, arguments: str, now: float) -> None:
        """Follow a control sequence, if it is one that moves, erases or colours."""
        if command == "m":
            self._colour(arguments)
            return
        if command not in "ABCDEFGHJKfsu" or arguments.startswith(("<", "=", ">", "?")):
            return
        first, _, second = arguments.partition(";")
        count = min(int(first[:6]), MAX_TEXT) if first.isdecimal() else 0
        if command in "JK":
            self._erase(command, count, now)
        elif command == "s":
            self._saved = (self._row, self._column)
        elif command == "u":
            self._go(*self._saved)
        elif command in "Hf":
            self._go(max(count, 1) - 1, max(int(second[:6]), 1) - 1 if second.isdecimal() else 0)
        elif command == "G":
            self._column = max(count, 1) - 1
        else:
            self._move(command, max(count, 1))

    def _move(self, command: str, count: int) -> None:
        if command in "AF":
            self._up(count)
        elif command in "BE":
            self._down(count)
        elif command == "C":
            self._column = min(self._column + count, MAX_TEXT)
        else:
            self._column = max(0, self._column - count)
        if command in "EF":
            self._column = 0

    def _go(self, row: int, column: int) -> None:
        if row < self._row:
            self._up(self._row - row)
        else:
            self._down(row - self._row)
        self._column = min(column, MAX_TEXT)

    def _up(self, count: int) -> None:
        count = min(count, MAX_ROWS)
        missing = max(0, count - self._row)
        self._rows[:0] = [self._past_row() for _ in range(missing)][::-1]
        self._row += missing - count
        self._region = self._went_up = True

    def _past_row(self) -> _Row:
        """Take back a row that was finished, or one that nothing is known of."""
        row = _Row()
        past = self._past.pop() if self._past else ""
        style = ""
        for match in _COLOURED.finditer(past[:MAX_TEXT]):
            style = (style + match[1].replace("\x1b[m", _PLAIN)).rpartition(_PLAIN)[2]
            row.cells += [style + cell if cell else cell for cell in _cells(match[2])]
        # The same colours may be written in another way.
        row.told = row.text()
        return row

    def _down(self, count: int) -> None:
        self._row += min(count, MAX_ROWS)
        self._rows += [_Row() for _ in range(self._row + 1 - len(self._rows))]
        self._region = self._region or len(self._rows) > 1

    def _erase(self, command: str, how: int, now: float) -> None:
        row = self._rows[self._row]
        if how == 0:
            del row.cells[self._column :]
        elif how == 1:
            row.cells[: self._column + 1] = " " * min(self._column + 1, len(row.cells))
        else:
            row.cells.clear()
        row.touch(now)
        if command == "J":
            others = self._rows[self._row + 1 :] if how == 0 else self._rows[: self._row] if how == 1 else self._rows
            for other in others:
                other.cells.clear()
                other.touch(now)

    def _colour(self, arguments: str) -> None:
        if not arguments.strip("0;"):
            self._style = ""
        elif len(self._style) < _MAX_STYLE and not arguments.startswith("0"):
            self._style += f"\x1b[{arguments}m"
        else:
            self._style = f"\x1b[{arguments}m"


def _without_overwritten(text: str) -> str:
    """Leave out what a carriage return goes back over and a longer text covers."""
    first, *others = text.split("\r")
    kept: list[str] = []
    covered = -1
    for part in reversed(others):
        if len(part) > covered:
            kept.append(part)
            covered = len(part)
    return "\r".join([first, *reversed(kept)])


def _cells(text: str) -> list[str]:
    """Put each character into the columns that it takes: two, one, or that of the one before it."""
    cells: list[str] = []
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
            if cells:
                cells[-1] += character
        else:
            cells.append(character)
            if unicodedata.east_asian_width(character) in "WF":
                cells.append("")
    return cells


def _joined(cells: list[str]) -> str:
    """Join cells; of each colour only where it begins."""
    text = "".join(cells)
    if "\x1b" not in text:
        return text
    parts: list[str] = []
    style = ""
    for cell in cells:
        own = _STYLE.match(cell)[0]  # type: ignore[index]
        if own != style:
            parts.append(f"{_PLAIN}{own}" if style else own)
            style = own
        parts.append(cell[len(own) :])
    return "".join(parts) + (_PLAIN if style else "")


def _bounded(text: str, beyond: int) -> str:
    if len(text) > MAX_TEXT // 4:
        data = text.encode("utf-8", "replace")
        beyond += max(0, len(data) - MAX_TEXT)
        if len(data) > MAX_TEXT:
            text = data[:MAX_TEXT].decode("utf-8", "ignore")
    return text + _CUT.format(count=beyond) if beyond else text

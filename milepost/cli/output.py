"""How the command line shows things: tables or JSON on stdout, messages on stderr.

Nothing else of it writes to a terminal: names, reasons, log lines and errors are what others wrote, and what a terminal
would obey in them is made visible here.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from milepost import files
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.protojson import enum_words, to_json
from milepost.security.terminal import coloured_line, one_line, visible, visible_json

TABLE = "table"
JSON = "json"
# Of a table that is wider than the terminal: what begins the further lines of a row, and the least room for a text.
INDENT = "    "
MIN_TEXT = 24


def as_any_terminal_can() -> None:
    """Have everything printed, as escapes where the encoding of the output lacks it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def draws_over(stream: TextIO) -> bool:
    """Return whether lines of a stream can be drawn over: it is a terminal that knows how to."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def say(text: str) -> None:
    """Tell the user something that is not the data asked for."""
    click.echo(visible(text), err=True)


def show(text: str = "") -> None:
    """Print a line, or several, of the data asked for."""
    click.echo(visible(text))


def show_entry(text: str) -> None:
    """Print what is one line where there is room; on a terminal that is narrower it goes on in indented ones."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in visible(text).split("\n"):
        click.echo("\n".join(entry_lines(line, width)))


def entry_lines(text: str, width: int) -> list[str]:
    """Lay out a line in lines of at most so many columns, broken between words."""
    if len(text) <= width:
        return [text]
    return textwrap.wrap(
        text, width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )  # fmt: skip


def show_coloured(text: str) -> None:
    """Print one line that may have colours."""
    # Left out where the output is no terminal.
    dumb = sys.stdout.isatty() and not draws_over(sys.stdout)
    click.echo(coloured_line(text), color=False if dumb else None)


def draw_line(text: str, width: int) -> None:
    """Write a line of at most so many columns over the one that the cursor is in, and leave it there."""
    click.echo(f"\r\x1b[K{one_line(text)[:width]}", nl=False)


def write_bytes(pieces: Iterable[bytes]) -> None:
    """Write a file to stdout as it is; to a terminal as text, and visible."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        if sys.stdout.isatty():
            click.echo(visible(decoder.decode(piece)), nl=False)
        else:
            sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def write_file(path: str, pieces: Iterable[bytes]) -> int:
    """Replace a file, as a whole or not at all; write to what is no regular file, such as a pipe. Returns the bytes.

    Raises:
        OSError: it cannot be written. A regular file is then what it was before.
    """
    target = Path(path).resolve()
    try:
        if target.is_file() or not target.exists():
            return files.write_pieces(target, pieces)
        with target.open("wb") as file:
            return sum(map(file.write, pieces))
    except OSError as error:
        # It is written under another name at first.
        raise OSError(error.errno, error.strerror, path) from error


def print_json(value: Message | Any) -> None:
    """Print one JSON document."""
    click.echo(_json(value, indent=2))


def print_json_line(value: Message | Any) -> None:
    """Print one JSON document on one line, at once: for streams."""
    click.echo(_json(value))
    sys.stdout.flush()


def _json(value: Message | Any, indent: int | None = None) -> str:
    plain = to_json(value) if isinstance(value, Message) else value
    return visible_json(json.dumps(plain, indent=indent, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, each column as wide as it must be.

    On a terminal that is narrower a row goes on in further lines, at the end of a column and between the words of the last.
    """
    cells = [[str(heading) for heading in headings], *([one_line(str(cell)) for cell in row] for row in rows)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in table_lines(cells, width):
        click.echo(line)


def table_lines(cells: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Lay out rows in lines of at most so many columns, as far as single cells fit."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    # Of the last column, which is not padded, as much as a text needs at least.
    needed = [*widths[:-1], min(widths[-1], MIN_TEXT)]
    groups: list[list[int]] = [[0]]
    used = needed[0]
    for column in range(1, len(needed)):
        if used + 2 + needed[column] > width:
            groups.append([])
            used = len(INDENT) - 2
        groups[-1].append(column)
        used += 2 + needed[column]
    for row in cells:
        for place, group in enumerate(groups):
            indent = INDENT if place else ""
            line = indent + "  ".join(row[column].ljust(widths[column]) for column in group).rstrip()
            if not line.strip() and place:
                continue
            before = len(indent) + sum(widths[column] + 2 for column in group[:-1])
            if len(line) <= width or group[-1] != len(widths) - 1:
                yield line
                continue
            yield from textwrap.wrap(
                row[-1], width, initial_indent=line[:before], subsequent_indent=" " * before,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print one thing as name and value, leaving out what is empty."""
    shown = [(name, visible(str(value))) for name, value in fields if str(value)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}")


def enum_word(message: Message, field: str) -> str:
    """Name the value of an enum field in a word, `Started` or `RUNNING`; empty where it is unspecified."""
    enum: Any = message.DESCRIPTOR.fields_by_name[field].enum_type
    return enum_words(enum).get(getattr(message, field)) or ""


def trial_status(trial: trial_api.Trial) -> str:
    """Name the status of a trial, with the reason of waiting: `Waiting (queued)`."""
    waiting = enum_word(trial, "waiting_reason").lower()
    return enum_word(trial, "status") + (f" ({waiting})" if waiting else "")


def duration(value: Duration | float) -> str:
    """Say a duration in its two largest units: `2 m 10 s`."""
    seconds = value if isinstance(value, int | float) else value.seconds + value.nanos / 1e9
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} m"
    return f"{minutes} m {whole % 60} s" if minutes else f"{whole} s"


def moment(value: Timestamp) -> str:
    """Say a time in the local time zone, to the second; empty where it is unset."""
    if not value.seconds:
        return ""
    return value.ToDatetime(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock(value: Timestamp | datetime) -> str:
    """Say the time of day in the local time zone."""
    time = value if isinstance(value, datetime) else value.ToDatetime(tzinfo=UTC)
    return time.astimezone().strftime("%H:%M:%S")


def number(value: float) -> str:
    """Write a value with the digits that matter."""
    return f"{value:.6g}"

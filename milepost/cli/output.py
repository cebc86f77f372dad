"""How the command line shows things: tables or JSON on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.protojson import enum_words, to_json

TABLE = "table"
JSON = "json"


def say(text: str) -> None:
    """Tell the user something that is not the data asked for."""
    click.echo(text, err=True)


def print_json(value: Message | Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(to_json(value) if isinstance(value, Message) else value, indent=2, ensure_ascii=False))


def print_json_line(value: Message | Any) -> None:
    """Print one JSON document on one line, at once: for streams."""
    click.echo(json.dumps(to_json(value) if isinstance(value, Message) else value, ensure_ascii=False))
    sys.stdout.flush()


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, each column as wide as it must be."""
    cells = [[str(heading) for heading in headings], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print one thing as name and value, leaving out what is empty."""
    shown = [(name, str(value)) for name, value in fields if str(value)]
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

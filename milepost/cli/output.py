"""How the command line shows things: tables or JSON on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api

TABLE = "table"
JSON = "json"


def say(text: str) -> None:
    """Tell the user something that is not the data asked for."""
    click.echo(text, err=True)


def message_json(message: Message) -> Any:
    """Turn a message into what `json.dumps` takes."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def print_json(value: Message | Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(message_json(value) if isinstance(value, Message) else value, indent=2, ensure_ascii=False))


def print_json_line(value: Message | Any) -> None:
    """Print one JSON document on one line, at once: for streams."""
    click.echo(json.dumps(message_json(value) if isinstance(value, Message) else value, ensure_ascii=False))
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


def runtime_status(number: runtime_api.RuntimeStatus) -> str:
    """Name a status by the word users know: `Started`."""
    return _word(runtime_api.RuntimeStatus.Name(number), "RUNTIME_STATUS_").capitalize()


def runtime_phase(number: runtime_api.RuntimePhase) -> str:
    return _word(runtime_api.RuntimePhase.Name(number), "RUNTIME_PHASE_")


def trial_status(trial: trial_api.Trial) -> str:
    """Name a status by the word users know, with the reason of waiting: `Waiting (queued)`."""
    word = _word(trial_api.TrialStatus.Name(trial.status), "TRIAL_STATUS_").capitalize()
    if trial.waiting_reason:
        waiting = _word(trial_api.WaitingReason.Name(trial.waiting_reason), "WAITING_REASON_").lower()
        return f"{word} ({waiting})"
    return word


def failure(number: common.FailureReason) -> str:
    return _word(common.FailureReason.Name(number), "FAILURE_REASON_") if number else ""


def enum_word(message: Message, field: str) -> str:
    """Name the value of an enum field without the prefix of its enum; empty where it is unspecified."""
    number = getattr(message, field)
    if not number:
        return ""
    enum: Any = message.DESCRIPTOR.fields_by_name[field].enum_type
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return enum.values_by_number[number].name.removeprefix(prefix)


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix)


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

"""Reading what MLflow clients send: every value is checked, and cut where MLflow's own server cuts it. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from milepost import series_names
from milepost.numbers import MAX_NUMBER
from services.edge.bodies import MAX_PROGRAM_BODY_BYTES
from services.mlflow.errors import invalid
from services.mlflow.names import number_of, parameter_text, whole_of
from services.mlflow.recorder import Point

# What MLflow itself allows in one call.
MAX_METRICS, MAX_PARAMETERS, MAX_TAGS = 1_000, 100, 100
MAX_KEY = 250
# Beyond that values are cut, as MLflow's own server does it.
MAX_PARAMETER, MAX_TAG = 6_000, 8_000
MAX_RESULTS = 50_000
LATEST_TIME_MS = 253_402_300_799_999

Body = Mapping[str, Any]


def text_of(body: Body, field: str, longest: int, may_be_empty: bool = False) -> str:
    """Read a text. Raises InvalidArgument, as all of these do."""
    value = body.get(field, "" if may_be_empty else None)
    if isinstance(value, str) and len(value) <= longest and (value or may_be_empty):
        return value
    raise invalid(field, f"must be a text of {0 if may_be_empty else 1} to {longest:,} characters")


def _value(entry: Body, longest: int) -> str:
    """Read the text of a parameter or a tag, cut at its limit."""
    return text_of(entry, "value", MAX_PROGRAM_BODY_BYTES, True)[:longest]


def entries_of(value: Any, field: str, most: int) -> list[Any]:
    """Read a list of objects."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise invalid(field, "must be a list of objects")
    if len(value) > most:
        raise invalid(field, f"must not have more than {most:,} entries")
    return value


def pairs_of(value: Any, field: str) -> dict[str, str]:
    """Read tags."""
    entries = entries_of(value, field, MAX_TAGS)
    return {text_of(entry, "key", MAX_KEY): _value(entry, MAX_TAG) for entry in entries}


def parameters_of(entries: list[Any]) -> dict[str, str]:
    """Read parameters, as JSON scalars. Each may be given once."""
    found: dict[str, str] = {}
    for entry in entries:
        key, value = text_of(entry, "key", MAX_KEY), parameter_text(_value(entry, MAX_PARAMETER))
        if key in found:
            raise invalid("params", f"{key} is given twice")
        found[key] = value
    return found


def _metric_name(entry: Body, field: str) -> str:
    """Read the name of a metric, in the form in which the client has it."""
    name = text_of(entry, "key", MAX_KEY)
    try:
        series_names.parse(name)
    except series_names.BadName as error:
        raise invalid(f"{field}.key", f"must be {series_names.FORM}: {error}") from error
    return name


def point_of(entry: Body, field: str) -> Point:
    """Read one value of a metric."""
    return Point(
        _metric_name(entry, field),
        whole_of(entry.get("step", 0), f"{field}.step", 0, MAX_NUMBER),
        whole_of(entry.get("timestamp", time.time_ns() // 1_000_000), f"{field}.timestamp", 0, LATEST_TIME_MS),
        number_of(entry.get("value"), f"{field}.value"),
    )


def time_of(body: Body, field: str) -> int | None:
    """Read a time, milliseconds since 1970; None: none is given."""
    if body.get(field) is None:
        return None
    return whole_of(body[field], field, 0, LATEST_TIME_MS)


def page_of(entries: list[Any], body: Body, default: int = MAX_RESULTS) -> tuple[list[Any], dict[str, str]]:
    """Cut a page; the token is the place to go on at."""
    size, start = place_of(body, default)
    following = start + size
    return entries[start:following], ({"next_page_token": str(following)} if following < len(entries) else {})


def place_of(body: Body, default: int) -> tuple[int, int]:
    """Return how long a page is to be, and where it begins."""
    size = body.get("max_results")
    size = whole_of(default if size is None else size, "max_results", 1, MAX_RESULTS)
    return size, whole_of(body.get("page_token") or 0, "page_token", 0, MAX_NUMBER)

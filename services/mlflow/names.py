"""Ids and values in MLflow's form and in ours. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from typing import Any

from milepost.configuration import scalar_text
from milepost.ids import is_runtime_id
from services.mlflow.errors import invalid

DEFAULT_EXPERIMENT = "Default"
DEFAULT_EXPERIMENT_ID = "0"
# Labels of a runtime that an MLflow client has made.
EXPERIMENT_LABEL = "mlflow.experiment_id"
EXPERIMENT_NAME_LABEL = "experiment"
# Names of parameters and tags, with commas between them, that look like secrets and are none.
NOT_SECRET_TAG = "milepost.not_secret"
# In front of a series key: what the client calls it, where that is not the key.
METRIC_NAME_LABEL = "mlflow.metric."
# What the client says who has started a run, where no tag says so.
USER_LABEL = "mlflow.user_id"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def run_id_of(runtime_id: str) -> str:
    """Write a runtime's id as MLflow writes ids: 32 hexadecimal digits of the same 128 bits."""
    return base64.b32hexdecode(f"{runtime_id.removeprefix('rt-').upper()}======").hex()


def is_run_id(text: object) -> bool:
    """Return whether a text is an id of a run as MLflow writes it."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


def is_ours(label: str) -> bool:
    """Return whether a label is no tag of a client, but says something of the run to Milepost."""
    return label == USER_LABEL or label.startswith(METRIC_NAME_LABEL)


def runtime_id_of(run_id: object) -> str:
    """Read an MLflow id.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        raw = bytes.fromhex(str(run_id))
    except ValueError:
        raw = b""
    if len(raw) != 16 or len(str(run_id)) != 32:
        raise invalid("run_id", f"must be 32 hexadecimal digits, not {str(run_id)[:64]!r}")
    runtime_id = "rt-" + base64.b32hexencode(raw).decode().rstrip("=").lower()
    assert is_runtime_id(runtime_id)
    return runtime_id


def experiment_id_of(name: str) -> str:
    """Return the id of an experiment: always the same one for a name, so that a lost catalog does no harm."""
    if name == DEFAULT_EXPERIMENT:
        return DEFAULT_EXPERIMENT_ID
    return str(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % 10**15 or 1)


def parameter_text(value: str) -> str:
    """Keep an MLflow parameter, which is text, as a JSON scalar: a number as it is written, anything else as text."""
    try:
        is_scalar = isinstance(json.loads(value, parse_constant=_refuse), int | float | bool)
    except ValueError:
        is_scalar = False
    return value if is_scalar and value == value.strip() else scalar_text(value)


def _refuse(word: str) -> float:
    raise ValueError(word)


def parameter_value(text: str) -> str:
    """Give back what the client wrote."""
    return str(json.loads(text)) if text.startswith('"') else text


def number_of(value: Any, field: str) -> float:
    """Read a metric's value; protobuf writes those that JSON lacks as words.

    Raises:
        InvalidArgument: it is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise invalid(field, "must be a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise invalid(field, f"must be a number, not {str(value)[:64]!r}") from None


def number_text(value: float) -> float | str:
    """Write a number for JSON, as protobuf does."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def whole_of(value: Any, field: str, smallest: int, largest: int) -> int:
    """Read a whole number; protobuf writes 64-bit ones as text.

    Raises:
        InvalidArgument: it is none, or out of range.
    """
    try:
        number = int(value) if not isinstance(value, bool | float) else None
    except (TypeError, ValueError):
        number = None
    if number is None or not smallest <= number <= largest:
        raise invalid(field, f"must be a whole number from {smallest} to {largest}")
    return number

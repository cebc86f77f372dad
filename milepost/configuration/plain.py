"""The plain form of a configuration: dicts, lists, text and numbers, and how large it may be."""

from __future__ import annotations

import json
from typing import Any

MAXIMUM_TEXT_BYTES = 256 * 1024
MAXIMUM_DEPTH = 20
MAXIMUM_TRIALS = 10_000
MAXIMUM_STEP = 2**53 - 1

Plain = dict[str, Any]


def scalar_text(value: Any) -> str:
    """Write a JSON scalar as text, such that reading it gives the same value of the same kind."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def scalar_value(text: str) -> Any:
    """Read a JSON scalar that `scalar_text` wrote."""
    return json.loads(text)

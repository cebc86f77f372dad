"""The plain form of a configuration: dicts, lists, text and numbers, and how large it may be."""

from __future__ import annotations

import json
from typing import Any

MAX_TEXT_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_TRIALS = 10_000
MAX_CONCURRENT_TRIALS = 1_000
# Limits that came after the first release, and what they are where nothing is said. They are shown only where they differ,
# so that the digests of configurations from before them stay what they are.
LATER_LIMITS = {"sample_megabytes": 2_048, "stall_seconds": 30.0}

Plain = dict[str, Any]


def scalar_text(value: Any) -> str:
    """Write a JSON scalar as text, such that reading it gives the same value of the same kind."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

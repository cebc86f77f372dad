"""Counts, durations, sizes and lists as sentences have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

# Names that a sentence lists before it counts the rest.
LISTED_NAMES = 6


def number(value: int) -> str:
    """Write a count: `4,120`."""
    return f"{value:,}"


def plural(value: int, word: str) -> str:
    """Write a count with its word: `1 step`, `37 steps`."""
    return f"{value:,} {word}" if value == 1 else f"{value:,} {word}s"


def duration(seconds: float) -> str:
    """Write a duration: `45 s`, `2 m 10 s`, `3 h 5 m`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} m {whole % 60} s" if whole % 60 else f"{whole // 60} m"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60} m" if whole % 3_600 >= 60 else f"{whole // 3_600} h"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600} h" if whole % 86_400 >= 3_600 else f"{whole // 86_400} d"


def size(byte_count: int) -> str:
    """Write a size in units of 1000: `3.4 MB`."""
    value, units = float(byte_count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1_000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 99.5 or units[0] == "B" else f"{value:.1f} {units[0]}"


def tail(text: str, separator: str = ": ") -> str:
    """Write what may be missing: nothing, or the text behind its separator."""
    return f"{separator}{text}" if text else ""


def clock(timestamp: Timestamp) -> str:
    """Write a time of day: `14:05:09 UTC`."""
    try:
        return timestamp.ToDatetime(UTC).strftime("%H:%M:%S UTC")
    except (ValueError, OverflowError):
        return "a time that no clock shows"


def measured(values: Mapping[str, float]) -> str:
    """Write values by name: `eval/accuracy 0.91, eval/loss 0.32`."""
    return ", ".join(f"{key} {value:.6g}" for key, value in sorted(values.items()))


def join(parts: Iterable[str]) -> str:
    """Write those parts that there are."""
    return ", ".join(part for part in parts if part)


def listed(names: Sequence[str]) -> str:
    """Write the first names and count the rest: `a, b, c, d, e, f and 3 more`."""
    more = len(names) - LISTED_NAMES
    return f"{', '.join(names[:LISTED_NAMES])}{f' and {more:,} more' if more > 0 else ''}"

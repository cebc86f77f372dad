"""What training code says of itself: settings of any shape, as the scalars that a log can keep."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from milepost.configuration import scalar_text

# A configuration object of a framework may hold a whole vocabulary.
LARGEST_COUNT = 1_000
LONGEST_NAME = 250
LONGEST_TEXT = 500


def flatten(values: Mapping[Any, Any]) -> dict[str, str]:
    """Write settings as JSON scalars by name: nested mappings by dotted names, anything else as the text it prints as.

    Texts are cut at 500 characters; after 1,000 names the rest is left out.
    """
    return dict(item for item, _ in zip(_walk("", values), range(LARGEST_COUNT), strict=False))


def _walk(prefix: str, values: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        path = f"{prefix}{name}"[:LONGEST_NAME]
        if isinstance(value, Mapping):
            yield from _walk(f"{path}.", value)
        elif path:
            yield path, _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool | int):
        return scalar_text(value)
    if isinstance(value, float):
        return scalar_text(value if math.isfinite(value) else str(value))
    return scalar_text(str(value)[:LONGEST_TEXT])


def labels_of(values: Mapping[Any, Any]) -> dict[str, str]:
    """Write labels as texts by key, cut at their limits."""
    return {str(key)[:LONGEST_NAME]: str(value)[:LONGEST_TEXT] for key, value in values.items()}

"""Pages of a list: how large one is, and where the next begins."""

from __future__ import annotations

import base64
import json
from typing import Any

from milepost.errors import Violation


def page_size(given: int, default: int, largest: int, violations: list[Violation]) -> int:
    """Return the size of a page, or say what is wrong with it."""
    if not 0 <= given <= largest:
        violations.append(Violation("page_size", f"must be 0 to {largest:,}"))
    return given or default


def encode(parts: list[Any]) -> str:
    """Write a token of what JSON has."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def decode(token: str) -> Any:
    """Read what `encode` wrote.

    Raises:
        ValueError: it is no token.
        RecursionError: it is one that nobody wrote here.
    """
    return json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))


def write_token(query: list[Any], last: list[Any]) -> str:
    """Write where the next page begins. It holds for the same query only."""
    return encode([query, last])


def read_token(token: str, query: list[Any], violations: list[Violation]) -> list[Any] | None:
    """Read where a page begins; None: at the beginning."""
    if not token:
        return None
    try:
        known, last = decode(token)
        if known == query and isinstance(last, list) and last and _is_key(last):
            return last
    except (ValueError, TypeError, RecursionError):
        pass
    violations.append(Violation("page_token", "is not one that was given for this query"))
    return None


def _is_key(last: list[Any]) -> bool:
    return all(isinstance(part, str | int) for part in last)

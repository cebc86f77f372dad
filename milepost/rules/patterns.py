"""Patterns in log lines, in the syntax of RE2: time linear in the text, whatever the pattern. The one place that knows it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

MAX_PATTERN = 1_000
# Of a line, so many characters are searched.
MAX_SEARCHED = 4_096
# What one compiled pattern may take, in bytes.
MAX_MEMORY = 1 << 20

_OPTIONS = re2.Options()
_OPTIONS.max_mem = MAX_MEMORY
_OPTIONS.log_errors = False


def problem_with(pattern: str) -> str:
    """Say what is wrong with a pattern; empty: nothing."""
    if not 1 <= len(pattern) <= MAX_PATTERN:
        return f"must have 1 to {MAX_PATTERN:,} characters, not {len(pattern):,}"
    try:
        compiled(pattern)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        return f"is not a pattern of RE2: {reason[:200]}"
    return ""


@lru_cache(maxsize=1_024)
def compiled(pattern: str) -> Any:
    return re2.compile(pattern, _OPTIONS)


def found_in(pattern: str, text: str) -> bool:
    """Return whether a pattern is found in the part of a line that is searched."""
    return compiled(pattern).search(text[:MAX_SEARCHED]) is not None

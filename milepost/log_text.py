"""The text of a log line: as a terminal would show it, and as it is searched."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def fold_line(text: str) -> str:
    """Return what a terminal would show in the end of a line that went back to its beginning."""
    if "\r" not in text:
        return text
    parts = [part for part in text.split("\r") if part]
    return parts[-1] if parts else ""


def plain(text: str) -> str:
    """Remove ANSI sequences and other control characters except tabs."""
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    return text if text.isprintable() else "".join(c for c in text if c >= " " or c == "\t")

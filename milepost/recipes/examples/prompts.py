"""Prompts that a model answers, with what rewards look at: from files of JSON lines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from milepost.recipes.examples.lines import read_lines


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines, each an object with a prompt: a text or the messages of a conversation.

    Raises:
        BadParameter: there is no such file, it has no lines, or one has no prompt or other fields than those before it. The
            line is named.
    """
    fields: set[str] = set()

    def parse(given: Any) -> dict[str, Any]:
        if not isinstance(given, Mapping) or not isinstance(given.get("prompt"), str | list) or not given["prompt"]:
            raise ValueError("a line has a prompt, a text or a list of messages")
        if fields and fields != set(given):
            raise ValueError(f"its fields are not those of the lines before: {', '.join(sorted(fields))}")
        fields.update(given)
        return dict(given)

    return read_lines(path, parse)

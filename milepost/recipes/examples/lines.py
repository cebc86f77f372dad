"""Files of JSON lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from milepost.training.loop.parameters import BadParameter

One = TypeVar("One")


def read_lines(path: Path, parse: Callable[[Any], One]) -> list[One]:
    """Read a file of JSON lines; empty lines are passed over. Return what `parse` makes of each, in their order.

    Args:
        parse: raises ValueError with what is wrong with a line.

    Raises:
        BadParameter: there is no such file, it has no lines, or one is not what it should be. The line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadParameter(f"{path} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(parse(json.loads(line)))
        except ValueError as error:
            raise BadParameter(f"{path}, line {number:,}: {error}") from error
    if not found:
        raise BadParameter(f"{path} has no examples")
    return found

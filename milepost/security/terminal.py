"""Texts of others as a terminal may show them: what it would obey is made visible."""

from __future__ import annotations

import re

# Control characters of ASCII and of ISO 8859 (a terminal takes 0x9b for the beginning of a command), what turns the
# direction of writing, separators of lines, half characters. Tabs and ends of lines stay.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
# Colours and weights, but not what hides a text.
_COLOUR = re.compile(r"\x1b\[(?!(?:\d*[;:])*0*8(?:[;:m]))[0-9;:]{0,64}m")
_PLAIN = "\x1b[0m"


def visible(text: str) -> str:
    r"""Write what a terminal would obey as what it is, `\x1b` for an escape. Ends of lines and tabs stay."""
    return _OBEYED.sub(lambda match: _written(match[0]), text)


def one_line(text: str) -> str:
    """Make visible as `visible` does, and keep to one line."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def coloured_line(text: str) -> str:
    """Make visible as `one_line` does, but for colours, which end with the line."""
    parts = _COLOUR.split(text)
    colours = [*_COLOUR.findall(text), ""]
    line = "".join(one_line(part) + colour for part, colour in zip(parts, colours, strict=True))
    return line + _PLAIN if len(parts) > 1 else line


def visible_json(document: str) -> str:
    """Escape within JSON what a terminal would obey: the document says the same. Its own lines stay."""
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def _written(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"

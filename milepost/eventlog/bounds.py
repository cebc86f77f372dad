"""How much of what an attempt says is taken in: an event of one may be as large as a message, and be shown in every list.

Our own trainers stay far below (see `milepost.training.loop.said.declared`). What is beyond is cut or left out wherever an
event is read, the same in every reader; the event itself stays as it is in the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

# Characters of one text. Beyond it is cut.
MAX_TEXT = 4_000
# Characters of one entry of a map, of a JSON text those that it stands for: tags of MLflow clients may have as many.
MAX_VALUE = 8_000
# How long the JSON text of so many characters can be: each as two escapes of six, and the quotes.
_MAX_WRITTEN = 12 * MAX_VALUE + 2
# Entries of one map or list, and characters of one key. Those beyond are left out.
MAX_COUNT = 1_000
MAX_KEY = 250


class Bounds:
    """The bounds of one type of payload."""

    def __init__(self, descriptor: Any) -> None:
        self._texts: list[str] = []
        self._lists: list[tuple[str, bool]] = []
        self._maps: list[tuple[str, bool]] = []
        for field in descriptor.fields:
            is_text = field.type == FieldDescriptor.TYPE_STRING
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                value = field.message_type.fields_by_name["value"]
                self._maps.append((field.name, value.type == FieldDescriptor.TYPE_STRING))
            elif field.is_repeated:
                self._lists.append((field.name, is_text))
            elif is_text:
                self._texts.append(field.name)

    def apply(self, payload: Message) -> None:
        """Cut a payload to its bounds, in place."""
        for name in self._texts:
            text = getattr(payload, name)
            if len(text) > MAX_TEXT:
                setattr(payload, name, _cut(text))
        for name, is_text in self._lists:
            values = getattr(payload, name)
            if values:
                del values[MAX_COUNT:]
                if is_text and any(len(text) > MAX_TEXT for text in values):
                    values[:] = [_cut(text) for text in values]
        for name, is_text in self._maps:
            entries = getattr(payload, name)
            if entries:
                _bound_map(entries, is_text)


def _cut(text: str, longest: int = MAX_TEXT) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _cut_value(text: str) -> str:
    """Cut an entry of a map. A JSON text stays one."""
    if text.startswith('"'):
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, str):
            cut = _cut(value, MAX_VALUE)
            # As ASCII: an escape may stand for half a character, which cannot be stored as it is.
            return text if cut == value and len(text) <= _MAX_WRITTEN else json.dumps(cut)
    return _cut(text, MAX_VALUE)


def _bound_map(entries: Any, is_text: bool) -> None:
    for key in [key for key in entries if len(key) > MAX_KEY]:
        del entries[key]
    if is_text:
        for key in [key for key, text in entries.items() if len(text) > MAX_VALUE]:
            entries[key] = _cut_value(entries[key])
    # The same ones in every process: maps have no order.
    for key in sorted(entries)[MAX_COUNT:]:
        del entries[key]


def bounded(entries: dict[str, str]) -> dict[str, str]:
    """Order entries by their names, and keep as many as are shown of one trial."""
    return dict(sorted(entries.items())[:MAX_COUNT])


def scalars(entries: Mapping[str, str]) -> dict[str, str]:
    """Keep of parameters that an attempt declares those that are JSON scalars: whoever reads them takes them for that."""
    return {name: text for name, text in entries.items() if is_scalar_text(text)}


def is_scalar_text(text: str) -> bool:
    """Return whether a text is a number, text, boolean or null as JSON, and not too long."""
    if len(text) > _MAX_WRITTEN:
        return False
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return not isinstance(value, dict | list)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")

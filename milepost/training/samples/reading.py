"""What a loop hands over as rows: counted and copied in the caller, made into messages of bounded size beside it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from milepost import series_names
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import Row, RowForm
from milepost.numbers import MAX_NUMBER
from milepost.training.samples.histograms import binned
from milepost.training.user_code import given as user

# Rows of one series at one step.
MAX_ROWS = 256
# Of one text, in UTF-8.
MAX_TEXT_BYTES = 64 << 10
MAX_GROUP_BYTES = 250
MAX_SCORES = 32
MAX_TAGS = 32
MAX_TABLE_CELLS = 10_000

SAMPLE = telemetry.ROW_FORM_SAMPLE
TEXT = telemetry.ROW_FORM_TEXT
TABLE = telemetry.ROW_FORM_TABLE
HISTOGRAM = telemetry.ROW_FORM_HISTOGRAM

_WANTED = {
    SAMPLE: "samples takes rows such as {'prompt': ..., 'completion': ..., 'scores': {...}}, or columns of them",
    TEXT: "text takes a text, or several",
    TABLE: "table takes columns by name, or rows",
    HISTOGRAM: "histogram takes values, or counts and edges",
}
# What cannot be changed.
_PLAIN = frozenset({str, int, float, bool, type(None)})


def count_of(form: RowForm, given: Any) -> int:
    """Return how many rows something makes; 0: it is nothing that makes any."""
    if form == SAMPLE:
        if isinstance(given, Mapping):
            columns = [len(column) for column in given.values() if _is_column(column)]
            return min(columns, default=0) if columns else int(bool(given))
        return user.ask(lambda: len(given), 0) if _is_column(given) else 0
    if form == TEXT and not isinstance(given, str):
        return user.ask(lambda: len(given), 0) if _is_column(given) else 1
    return int(given is not None)


def hold(form: RowForm, given: Any, rows: int) -> Any:
    """Copy what a loop may change after it has handed it over. Texts cannot change; tensors are copied on their device."""
    if form == SAMPLE:
        if isinstance(given, Mapping):
            return [_held(row) for row in _transposed(given, rows)]
        return [_held(row) for row in given[:rows]]
    if form == TEXT:
        return [given] if isinstance(given, str) or not _is_column(given) else list(given[:rows])
    return _copied(given)


def _is_column(value: Any) -> bool:
    return (isinstance(value, Sequence) and not isinstance(value, str | bytes)) or _is_array(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and user.ask(lambda: len(value.shape) > 0, False)


def _transposed(columns: Mapping[Any, Any], rows: int) -> Iterator[dict[Any, Any]]:
    """Make rows of columns. What is no column holds for each row."""
    for index in range(rows):
        yield {name: column[index] if _is_column(column) else column for name, column in columns.items()}


def _held(row: Any) -> dict[Any, Any]:
    """Copy a row. The loop waits for it: what cannot change is not looked at twice."""
    found = row if type(row) is dict else user.group(row) or {"completion": user.text(row)}
    for value in found.values():
        if type(value) not in _PLAIN:
            return {name: one if type(one) in _PLAIN else _copied(one) for name, one in found.items()}
    return dict(found)


def _copied(value: Any) -> Any:
    """Copy a value: containers with what is in them, arrays with their numbers."""
    if type(value) is dict or isinstance(value, Mapping):
        return {name: one if type(one) in _PLAIN else _copied(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [one if type(one) in _PLAIN else _copied(one) for one in value]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach().clone()
    return value.copy() if _is_array(value) and hasattr(value, "copy") else value


class Reader:
    """Makes rows of what was held. `warn(problem, message)` says each problem once."""

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        self._warn = warn

    def wanted(self, form: RowForm) -> str:
        """Say what makes rows of a form."""
        return _WANTED[form]

    def read(self, form: RowForm, held: Any) -> Iterator[Row]:
        """Make rows; what cannot be a row is said and left out."""
        if form == SAMPLE:
            for one in held:
                yield self._sample(one)
        elif form == TEXT:
            for one in held:
                yield Row(completion=self._text(one))
        elif form == TABLE:
            content = self._table(held)
            if content is not None:
                yield Row(content=content)
        elif form == HISTOGRAM:
            found = user.ask(lambda: binned(held), None)
            if found is None:
                self._warn("histogram", f"{_WANTED[HISTOGRAM]}, one edge more than counts; nothing is recorded")
            else:
                yield Row(edges=found[0], counts=found[1])

    def _sample(self, given: Mapping[Any, Any]) -> Row:
        row = Row()
        scores: dict[str, float] = {}
        for name, value in given.items():
            field = user.text(name)
            if field in ("prompt", "completion"):
                setattr(row, field, self._text(value))
            elif field == "group":
                row.group = "" if value is None else _cut(user.line(value), MAX_GROUP_BYTES)
            elif field == "tags":
                tags = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
                row.tags.extend([_cut(user.line(tag), MAX_GROUP_BYTES) for tag in tags if tag is not None][:MAX_TAGS])
            elif field == "scores" and not isinstance(value, Mapping):
                self._score(scores, "score", value)
            elif field == "scores":
                for key, one in series_names.flat(value).items():
                    self._score(scores, key, one)
            else:
                self._score(scores, field, value)
        if len(scores) > MAX_SCORES:
            self._warn("scores", f"a sample has at most {MAX_SCORES} scores; the rest is left out")
        for key, score in list(scores.items())[:MAX_SCORES]:
            row.scores.add(name=key, value=score)
        return row

    def _score(self, scores: dict[str, float], name: object, value: Any) -> None:
        number = None if value is None else user.number(value)
        if number is not None:
            scores[series_names.key_of(series_names.text_of(name))] = number
        elif value is not None:
            self._warn(
                f"sample:{name}",
                f"a sample has prompt, completion, scores, group and tags, and numbers under names of their own; {name!r} is "
                f"a {type(value).__name__} and left out",
            )

    def _text(self, value: Any) -> str:
        text = _written(value)
        cut = _cut(text, MAX_TEXT_BYTES)
        if len(cut) < len(text):
            self._warn("text", f"texts of samples are cut at {MAX_TEXT_BYTES >> 10} KiB; the cut is marked")
            return f"{cut}\n[cut: {len(text):,} characters]"
        return text

    def _table(self, given: Any) -> str | None:
        rows = _rows_of(given)
        if rows is None:
            self._warn("table", f"{_WANTED[TABLE]}, not {type(given).__name__}; nothing is recorded")
            return None
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells: list[list[Any]] = []
        size = sum(len(name) + 4 for name in columns)
        for row in rows:
            line = [_cell(row.get(name)) for name in columns]
            size += len(json.dumps(line, ensure_ascii=False).encode()) + 2
            if size > MAX_TEXT_BYTES or (len(cells) + 1) * len(columns) > MAX_TABLE_CELLS:
                self._warn(
                    "table size", f"a table has at most {MAX_TABLE_CELLS:,} cells and 64 KiB; its first rows are kept"
                )
                break
            cells.append(line)
        content = {"columns": columns, "rows": cells, "row_count": len(rows)}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _written(value: Any) -> str:
    """Write a prompt or a completion: a text, or the messages of a conversation."""
    if isinstance(value, str):
        return user.text(value)
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "content" in one for one in value):
        return "\n\n".join(f"{user.text(one.get('role', ''))}: {user.text(one['content'])}" for one in value)
    return "" if value is None else user.text(value)


def _cut(text: str, most: int) -> str:
    """Return as much of a text as has so many bytes in UTF-8."""
    if len(text) * 4 <= most:
        return text
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[:most].decode(errors="ignore")


def _rows_of(given: Any) -> list[dict[str, Any]] | None:
    """Read a table: rows by column, columns by name, or a data frame."""
    if hasattr(given, "to_dict") and not isinstance(given, Mapping):
        given = user.ask(lambda: given.to_dict(orient="list"), None)
    if isinstance(given, Mapping):
        if not all(_is_column(column) for column in given.values()):
            return [{user.text(name): value for name, value in given.items()}]
        count = min((len(column) for column in given.values()), default=0)
        return [{user.text(name): column[index] for name, column in given.items()} for index in range(count)]
    if _is_column(given):
        found: list[dict[str, Any]] = []
        for row in given:
            if isinstance(row, Mapping):
                found.append({user.text(name): value for name, value in row.items()})
            else:
                cells = list(row) if _is_column(row) else [row]
                found.append({str(index): value for index, value in enumerate(cells)})
        return found
    return None


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return _cut(user.text(value), 2_000) if isinstance(value, str) else value
    number = user.number(value)
    if number is None:
        return _cut(user.text(value), 2_000)
    if not math.isfinite(number):
        return str(number)
    return int(number) if number.is_integer() and abs(number) <= MAX_NUMBER else number

"""Steps as the training loop logs them: appended flat in the loop, sliced into columns in the background.

Rows with the same keys share one flat list `step, time, value, value, ..., step, time, value, ...`. The loop only
extends it and the background only takes whole rows off its front; both are single operations of a list, so there is
no lock for the loop to wait for.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEY = re.compile(r"^[A-Za-z0-9_./-]{1,128}$")
_PLAIN = frozenset({float, int, bool})
LARGEST_STEP = 2**53 - 1
# Series of one trial. The metric service refuses more of them.
MAXIMUM_SERIES = 10_000
# Bytes of a column's element, and of a row's step and time.
_ELEMENT = 8


def clean_key(key: object) -> str:
    """Make a series key of whatever was given: characters that keys may not have become `_`."""
    text = str(key)
    return text if KEY.match(text) else (re.sub(r"[^A-Za-z0-9_./-]", "_", text)[:128] or "_")


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows with the same keys, as columns of equal length."""

    keys: tuple[str, ...]
    # int64, ascending.
    steps: array[int]
    # Seconds since 1970.
    times: array[float]
    values: tuple[array[float], ...]

    @property
    def rows(self) -> int:
        return len(self.steps)

    @property
    def points(self) -> int:
        return len(self.steps) * len(self.keys)

    def slices(self, rows: int) -> Iterator[Columns]:
        """Cut into pieces of at most this many rows."""
        for start in range(0, self.rows, rows):
            end = start + rows
            yield Columns(
                self.keys, self.steps[start:end], self.times[start:end], tuple(v[start:end] for v in self.values)
            )


@dataclass(frozen=True, slots=True)
class Refused:
    """Values that are not recorded: their series would be too many."""

    values: int
    first_step: int
    last_step: int


class Schema:
    """One set of keys and the rows that have it."""

    __slots__ = ("extend", "keys", "rows", "sources", "width")

    def __init__(self, given: tuple[Any, ...]) -> None:
        self.sources = given
        self.keys = tuple(clean_key(key) for key in given)
        self.width = len(given) + 2
        self.rows: list[Any] = []
        self.extend = self.rows.extend


class StepBuffer:
    """Collects rows from any number of threads.

    `warn(problem, message)` is called for values that cannot be series; it says each problem once.
    """

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        self._schemas: dict[tuple[Any, ...], Schema] = {}
        self._warn = warn
        # The series that are recorded, and what was refused since it was last asked for.
        self._series: set[str] = set()
        self._refused: Refused | None = None

    def append(self, step: int, time: float, values: Mapping[str, Any]) -> None:
        """Add one row. Tensors on a device are copied on the device and read later, in the background."""
        row = tuple(values.values())
        for value in row:
            if type(value) not in _PLAIN:
                values = self._freeze(values)
                row = tuple(values.values())
                break
        keys = tuple(values)
        schema = self._schemas.get(keys)
        if schema is None:
            values = self._within_limit(values, step)
            keys, row = tuple(values), tuple(values.values())
            schema = self._schemas.get(keys) or self._add_schema(keys)
        schema.extend((step, time, *row))

    def _within_limit(self, values: Mapping[str, Any], step: int) -> Mapping[str, Any]:
        """Leave out the values whose series would be too many, and count them."""
        kept = {}
        for given, value in values.items():
            key = clean_key(given)
            if key in self._series or len(self._series) < MAXIMUM_SERIES:
                self._series.add(key)
                kept[given] = value
        left_out = len(values) - len(kept)
        if left_out:
            so_far = self._refused or Refused(0, step, step)
            self._refused = Refused(so_far.values + left_out, so_far.first_step, step)
            self._warn(
                "series",
                f"this trial has {MAXIMUM_SERIES:,} series, which is as many as are recorded; more are dropped",
            )
        return kept

    def take_refused(self) -> Refused | None:
        """Return what was refused since the last time."""
        refused, self._refused = self._refused, None
        return refused

    def _add_schema(self, keys: tuple[Any, ...]) -> Schema:
        schema = Schema(keys)
        for given, key in zip(keys, schema.keys, strict=True):
            if given != key:
                self._warn(
                    f"key:{key}",
                    f"{given!r} is not a series key (letters, digits, _ . / -, at most 128); it is kept as {key!r}",
                )
        return self._schemas.setdefault(keys, schema)

    def _freeze(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn every value into a number or into a tensor that nobody else can change."""
        frozen: dict[str, Any] = {}
        on_device: list[str] = []
        torch = sys.modules.get("torch")
        for key, value in values.items():
            if type(value) in _PLAIN:
                frozen[key] = value
            elif torch is not None and isinstance(value, torch.Tensor):
                if value.numel() != 1:
                    self._warn(
                        f"value:{key}",
                        f"{key} is a tensor of shape {tuple(value.shape)}; only single numbers are logged",
                    )
                elif value.device.type == "cpu":
                    frozen[key] = float(value.item())
                else:
                    frozen[key] = value
                    on_device.append(key)
            else:
                number = _number(value)
                if number is None:
                    self._warn(f"value:{key}", f"{key} is a {type(value).__name__}; only numbers are logged")
                else:
                    frozen[key] = number
        if on_device:
            _copy_on_device(torch, frozen, on_device)
        return frozen

    @property
    def pending(self) -> bool:
        return any(schema.rows for schema in list(self._schemas.values()))

    def take(self) -> list[Columns]:
        """Take everything that was added so far, as columns in ascending order of steps."""
        taken = []
        for schema in list(self._schemas.values()):
            length = len(schema.rows) // schema.width * schema.width
            if length == 0:
                continue
            flat = schema.rows[:length]
            del schema.rows[:length]
            taken += self._columns(schema, flat)
        return taken

    def _columns(self, schema: Schema, flat: list[Any]) -> list[Columns]:
        width = schema.width
        steps = array("q", flat[0::width])
        times = array("d", flat[1::width])
        values: list[array[float]] = []
        for index in range(2, width):
            values.append(_column(flat[index::width]))
        columns = Columns(schema.keys, steps, times, tuple(values))
        return [columns if _ascending(steps) else _sorted(columns)]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        pass
    item = getattr(value, "item", None)
    if item is None:
        return None
    try:
        return float(item())
    except (TypeError, ValueError):
        return None


def _copy_on_device(torch: Any, frozen: dict[str, Any], keys: Sequence[str]) -> None:
    """Replace device tensors by copies made in the order of the stream: no wait, and safe from in-place changes."""
    by_device: dict[Any, list[str]] = {}
    for key in keys:
        by_device.setdefault(frozen[key].device, []).append(key)
    with torch.no_grad():
        for names in by_device.values():
            copies = torch.stack([frozen[name].detach().reshape(()).to(torch.float64) for name in names])
            for index, name in enumerate(names):
                frozen[name] = DeviceValue(copies, index)


class DeviceValue:
    """One number of a tensor on a device. Becomes a float when the background asks for it."""

    __slots__ = ("_copies", "_index")

    def __init__(self, copies: Any, index: int) -> None:
        self._copies = copies
        self._index = index

    def __float__(self) -> float:
        return float(self._copies[self._index])


def _column(values: list[Any]) -> array[float]:
    try:
        return array("d", values)
    except OverflowError:
        return array("d", [_number(value) or 0.0 for value in values])


def _ascending(steps: array[int]) -> bool:
    return all(map(int.__le__, steps, steps[1:]))


def _sorted(columns: Columns) -> Columns:
    order = sorted(range(columns.rows), key=columns.steps.__getitem__)
    return Columns(
        columns.keys,
        array("q", [columns.steps[i] for i in order]),
        array("d", [columns.times[i] for i in order]),
        tuple(array("d", [column[i] for i in order]) for column in columns.values),
    )


def rows_per_slice(keys: int, largest_bytes: int) -> int:
    """Return how many rows of so many keys fit into so many bytes."""
    return max(1, largest_bytes // (_ELEMENT * (keys + 2)))

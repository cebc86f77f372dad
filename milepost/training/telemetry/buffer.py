"""Steps as the training loop logs them: appended flat in the loop, sliced into columns in the background.

Rows with the same keys share one flat list `step, time, value, value, ..., step, time, value, ...`. The loop only
extends it and the background only takes whole rows off its front; both are single operations of a list, so there is
no lock for the loop to wait for.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from milepost import series_names
from milepost.series_names import MAX_SERIES, MAX_SYSTEM_SERIES, SYSTEM
from milepost.training.user_code import given

_PLAIN = frozenset({float, int, bool})
# Bytes of a column's element, and of a row's step and time.
_ELEMENT = 8


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

    def narrow(self, largest_bytes: int) -> Iterator[Columns]:
        """Cut into pieces whose keys, and the values of one row, take at most so many bytes; one key at least."""
        first, size = 0, 0
        for index, key in enumerate(self.keys):
            needed = len(key.encode()) + 2 * _ELEMENT
            if size + needed > largest_bytes and index > first:
                yield self._between(first, index)
                first, size = index, 0
            size += needed
        yield self if first == 0 else self._between(first, len(self.keys))

    def _between(self, first: int, end: int) -> Columns:
        return Columns(self.keys[first:end], self.steps, self.times, self.values[first:end])

    def rows_at(self, indices: Sequence[int]) -> Columns:
        """Take some rows, in this order."""
        return Columns(
            self.keys,
            array("q", [self.steps[i] for i in indices]),
            array("d", [self.times[i] for i in indices]),
            tuple(array("d", [column[i] for i in indices]) for column in self.values),
        )

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

    def __init__(self, names: tuple[Any, ...]) -> None:
        self.sources = names
        self.keys = tuple(map(series_names.key_of, names))
        self.width = len(names) + 2
        self.rows: list[Any] = []
        self.extend = self.rows.extend


class StepBuffer:
    """Collects rows from any number of threads.

    `warn(problem, message)` is called for values that cannot be series; it says each problem once.
    """

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        self._schemas: dict[tuple[Any, ...], Schema] = {}
        self._warn = warn
        # The series that are recorded, each with the first name it was logged by.
        self._series: dict[str, str] = {}
        # How many of them are under `system/`.
        self._system = 0
        # What was refused since it was last asked for.
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
            schema = self._schemas.get(keys) or self._schemas.setdefault(keys, Schema(keys))
        schema.extend((step, time, *row))

    def _within_limit(self, values: Mapping[str, Any], step: int) -> Mapping[str, Any]:
        """Leave out the values whose series would be too many, and count them."""
        kept = {}
        for source, value in values.items():
            name = series_names.text_of(source)
            key = series_names.key_of(name)
            if key in self._series or self._takes(key):
                if key not in self._series:
                    self._add(name, key)
                self._look_at(name, key, self._series[key])
                kept[source] = value
        left_out = len(values) - len(kept)
        if left_out:
            so_far = self._refused or Refused(0, step, step)
            self._refused = Refused(so_far.values + left_out, so_far.first_step, step)
            self._warn(
                "series",
                f"this trial has {MAX_SERIES:,} series, which is as many as are recorded; more are dropped",
            )
        return kept

    def _takes(self, key: str) -> bool:
        """Return whether there is room for one more series of this kind."""
        if key.startswith(SYSTEM):
            return self._system < MAX_SYSTEM_SERIES
        return len(self._series) - self._system < MAX_SERIES

    def _add(self, name: str, key: str) -> None:
        self._series[key] = name
        self._system += key.startswith(SYSTEM)

    def take_refused(self) -> Refused | None:
        """Return what was refused since the last time."""
        refused, self._refused = self._refused, None
        return refused

    def _look_at(self, name: str, key: str, first: str) -> None:
        """Say what a name is kept as, where that is not the name, and which names are one series."""
        if not series_names.is_kept(name, key):
            self._warn(
                "series name",
                f"a name of a series is {series_names.FORM}; {name[:80]!r}{'...' if len(name) > 80 else ''} "
                f"is kept as {key!r}, others like it in the same way",
            )
        if first != name:
            self._warn("same series", f"{name!r} and {first!r} are one series, {key!r}: a step may have two values")

    def _freeze(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Turn every value into a number or into a tensor that nobody else can change; nested names into paths."""
        values = series_names.flat(values)
        frozen: dict[str, Any] = {}
        on_device: list[str] = []
        torch = sys.modules.get("torch")
        for key, value in values.items():
            if type(value) in _PLAIN:
                frozen[key] = value
            # The usual tensor by the shortest way: twice as fast as by that for any kind, and each step pays for it.
            elif torch is not None and type(value) is torch.Tensor and value.is_cpu and _is_plain(item := _item(value)):
                frozen[key] = float(item)
            elif torch is not None and isinstance(value, torch.Tensor):
                if not given.is_real_number(value):
                    shape = given.ask(partial(_shape, value), "unknown")
                    kind = f"{key} is a tensor of shape {shape}, {value.dtype}"
                    self._warn(f"value:{key}", f"{kind}; only single real numbers are logged")
                elif value.device.type == "cpu":
                    self._put_number(frozen, key, value)
                else:
                    frozen[key] = value
                    on_device.append(key)
            else:
                self._put_number(frozen, key, value)
        if on_device:
            _copy_on_device(torch, frozen, on_device)
        return frozen

    def _put_number(self, frozen: dict[str, Any], key: str, value: Any) -> None:
        number = given.number(value)
        if number is None:
            self._warn(f"value:{key}", f"{key} is a {type(value).__name__}; only numbers are logged")
        else:
            frozen[key] = number

    @property
    def pending(self) -> bool:
        return any(schema.rows for schema in list(self._schemas.values()))

    def take(self) -> list[Columns]:
        """Take everything that was added so far, as columns in ascending order of steps.

        Of several values of a series at one step the one that was added last stands behind the others.
        """
        taken: list[Columns] = []
        for schema in list(self._schemas.values()):
            length = len(schema.rows) // schema.width * schema.width
            if length == 0:
                continue
            flat = schema.rows[:length]
            del schema.rows[:length]
            taken.append(self._columns(schema, flat))
        return _in_order(taken)

    def _columns(self, schema: Schema, flat: list[Any]) -> Columns:
        width = schema.width
        steps = array("q", flat[0::width])
        times = array("d", flat[1::width])
        values: list[array[float]] = []
        for index in range(2, width):
            values.append(_column(flat[index::width]))
        columns = Columns(schema.keys, steps, times, tuple(values))
        return columns if _ascending(steps) else columns.rows_at(sorted(range(len(steps)), key=steps.__getitem__))


def _item(tensor: Any) -> Any:
    """Read the number in a tensor of the CPU. None: there are several, or none that can be read."""
    return given.ask(tensor.item, None)


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN


def _shape(tensor: Any) -> str:
    return str(tuple(tensor.shape))


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
        return array("d", [given.number(value) or 0.0 for value in values])


def _ascending(steps: array[int]) -> bool:
    return all(map(int.__le__, steps, steps[1:]))


def _in_order(taken: list[Columns]) -> list[Columns]:
    """Let rows with values of the same series at the same step, which are in several groups, follow by their time."""
    again = _contested(taken)
    if not again:
        return taken
    rest, contested = [], []
    for columns in taken:
        kept = [index for index, step in enumerate(columns.steps) if step not in again]
        if kept:
            rest.append(columns.rows_at(kept))
        contested += [columns.rows_at([i]) for i, step in enumerate(columns.steps) if step in again]
    return rest + sorted(contested, key=lambda row: row.times[0])


def _contested(taken: list[Columns]) -> set[int]:
    """Find the steps at which two groups have values of one series."""
    seen: set[int] = set()
    several: set[int] = set()
    for columns in taken:
        steps = set(columns.steps)
        several |= seen & steps
        seen |= steps
    if not several:
        return several
    found: set[int] = set()
    keys_at: dict[int, set[str]] = {}
    for columns in taken:
        for step in several.intersection(columns.steps):
            before = keys_at.setdefault(step, set())
            if not before.isdisjoint(columns.keys):
                found.add(step)
            before.update(columns.keys)
    return found


def rows_per_slice(keys: int, largest_bytes: int) -> int:
    """Return how many rows of so many keys fit into so many bytes."""
    return max(1, largest_bytes // (_ELEMENT * (keys + 2)))

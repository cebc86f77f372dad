"""What training code says of itself: settings and labels of any shape, as the scalars and texts that a log can keep.

One rule for all ways in: `init`, `declare`, and what frameworks declare. What cannot be kept as it is, is shortened or
left out, and said; nothing of it ends a training.
"""

from __future__ import annotations

import enum
import json
import math
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from milepost import series_names
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.configuration import CONFIGURATION, scalar_text
from milepost.configuration.specs import Entries
from milepost.errors import Violation
from milepost.security.redaction import Redactor
from milepost.training.loop.host import Host
from milepost.training.user_code import given

# A configuration object of a framework may hold a whole vocabulary.
MAX_COUNT = 1_000
MAX_TEXT = 2_000
MAX_LABEL = 500
# Groups in groups that are followed; one that holds itself has no end.
DEEPEST = 20
# Members of a list that are written: each needs two characters at least, and the text is cut.
_MAX_ITEMS = MAX_TEXT // 2
# Characters of a name in a warning.
_SHOWN = 60
# Bytes of one event; a large group is said in several.
MAX_EVENT = 256 << 10
# Bytes of parameters and labels that go into a configuration. The rest is declared once the run is there.
MAX_CONFIGURED = 64 << 10
_NOT_A_GROUP = "must be names with values, not {}; it is not kept"


@dataclass(slots=True)
class Declared:
    """What was said, as it is kept."""

    # JSON scalars as text, by name.
    parameters: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    # What is not kept as it was given: problem -> a sentence for people.
    notes: dict[str, str] = field(default_factory=dict)

    def parts(self) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        """Cut into parts that fit into one event each."""
        rest = [(0, *item) for item in self.parameters.items()] + [(1, *item) for item in self.labels.items()]
        part: tuple[dict[str, str], dict[str, str]] = ({}, {})
        size = 0
        for which, name, value in rest:
            more = _bytes(name, value)
            if size and size + more > MAX_EVENT:
                yield part
                part, size = ({}, {}), 0
            part[which][name] = value
            size += more
        if size:
            yield part

    def split(self) -> tuple[dict[str, Any], Declared]:
        """Divide into what a configuration can have, as its plain form, and what is declared besides."""
        room = MAX_CONFIGURED
        configured: dict[str, dict[str, Any]] = {"parameters": {}, "labels": {}}
        besides = Declared()
        for section, values in (("parameters", self.parameters), ("labels", self.labels)):
            spec = CONFIGURATION.fields[section].spec
            assert isinstance(spec, Entries)
            for name, value in values.items():
                plain = {name: json.loads(value) if section == "parameters" else value}
                room -= _bytes(name, value)
                if room >= 0 and len(configured[section]) < spec.maximum and _fits(spec, plain):
                    configured[section] |= plain
                else:
                    getattr(besides, section)[name] = value
        return configured, besides


def _fits(spec: Entries, plain: dict[str, Any]) -> bool:
    refused: list[Violation] = []
    spec.read(plain, "", refused)
    return not refused


def _bytes(name: str, value: str) -> int:
    return len(name.encode()) + len(value.encode()) + 16


def record(said: Declared, host: Host) -> None:
    """Record what was read, and say what of it could not be kept as it was given."""
    for problem, note in said.notes.items():
        host.warn(f"declared:{problem}", note)
    redactor = Redactor(host.launch.configuration.not_secret)
    for parameters, labels in said.parts():
        host.report(
            facts.ParametersDeclared(
                attempt=host.launch.attempt,
                parameters=redactor.scalars(parameters),
                labels=redactor.texts(labels),
            )
        )
    if redactor.found:
        host.warn(redactor.said, redactor.said)


def read(parameters: Any = None, labels: Any = None) -> Declared:
    """Read what code says of itself.

    Parameters: nested groups (mappings, namespaces, records) get dotted names; numbers, texts, booleans and None are kept as
    what they are, lists as their JSON text, anything else as the text it prints as. Labels are texts by key.
    """
    reader = _Reader()
    declared = Declared(reader.parameters(parameters), reader.labels(labels))
    declared.notes = reader.notes()
    return declared


class _Reader:
    """Reads one declaration, and remembers what it could not keep."""

    def __init__(self) -> None:
        self._problems: dict[str, list[str]] = {}

    def parameters(self, values: Any) -> dict[str, str]:
        return self._collect("parameters", values, lambda group: _walk("", group, DEEPEST), self._scalar)

    def labels(self, values: Any) -> dict[str, str]:
        return self._collect("labels", values, _items, self._label)

    def _collect(self, what: str, values: Any, walk: Any, write: Any) -> dict[str, str]:
        group = {} if values is None else given.group(values)
        if group is None:
            self._problems[f"{what} {_NOT_A_GROUP.format(type(values).__name__)}"] = []
            return {}
        found: dict[str, str] = {}
        for path, value in islice(walk(group), MAX_COUNT + 1):
            name = self._name(path)
            if name in found:
                self._note("given twice; the last value is kept", name)
            if len(found) == MAX_COUNT:
                self._note(f"left out with all {what} after it: {MAX_COUNT:,} are kept of one declaration", name)
                break
            found[name] = write(name, value)
        return found

    def _scalar(self, name: str, value: Any) -> str:
        plain = given.ask(lambda: _plain(value, DEEPEST, iter(range(_MAX_ITEMS))), given.text(value))
        if isinstance(plain, list | dict):
            plain = json.dumps(plain, ensure_ascii=False)
        return scalar_text(self._cut(name, plain, MAX_TEXT) if isinstance(plain, str) else plain)

    def _label(self, name: str, value: Any) -> str:
        return self._cut(name, given.line(value), MAX_LABEL)

    def _cut(self, name: str, text: str, longest: int) -> str:
        if len(text) > longest:
            self._note(f"cut after {longest:,} characters", name)
        return text[:longest]

    def _name(self, path: Any) -> str:
        """Name it as a series would be named."""
        text = path if isinstance(path, str) else given.text(path)
        name = series_names.key_of(text)
        if not series_names.is_kept(series_names.text_of(text), name):
            self._note(f"a name is {series_names.FORM}; it is kept so", name)
        return name

    def _note(self, problem: str, name: str) -> None:
        self._problems.setdefault(problem, []).append(name)

    def notes(self) -> dict[str, str]:
        return {
            problem: f"{', '.join(n[:_SHOWN] for n in names[:3])}{' ...' if len(names) > 3 else ''}: {problem}"
            if names
            else problem
            for problem, names in self._problems.items()
        }


def _items(group: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Read the members one by one: one that cannot be read, as a setting without a value, takes no other along."""
    names: list[Any] = given.ask(lambda: list(group), [])
    for name in names:
        yield name, given.ask(partial(group.__getitem__, name), "<has no value>")


def _walk(prefix: str, group: Mapping[Any, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in _items(group):
        path = f"{prefix}{series_names.text_of(name if isinstance(name, str) else given.text(name))}"
        inner = given.members(value) if depth else None
        if inner:
            yield from _walk(f"{path}.", inner, depth - 1)
        else:
            yield path, value


def _plain(value: Any, depth: int, room: Iterator[int]) -> Any:
    """Return a JSON scalar, or lists and mappings of some; of all of them together as many as there is room for."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return _of_array(value, math.prod(shape), depth, room)
    if depth and isinstance(value, Mapping):
        return {
            given.text(name): _plain(one, depth - 1, room) for (name, one), _ in zip(_items(value), room, strict=False)
        }
    if depth and isinstance(value, Set):
        members = [one for one, _ in zip(value, room, strict=False)]
        return [_plain(one, depth - 1, room) for one in sorted(members, key=given.text)]
    if depth and isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [_plain(one, depth - 1, room) for one, _ in zip(value, room, strict=False)]
    return given.text(value)


def _of_array(value: Any, size: int, depth: int, room: Iterator[int]) -> Any:
    """Return the number of a NumPy scalar or of a tensor without dimensions, or the numbers of a short array."""
    if not depth or size > _MAX_ITEMS:
        return given.text(value)
    if type(value).__name__ in ("float16", "float32"):
        # They print as they were written; as doubles they would not.
        return _plain(float(given.text(value)), depth, room)
    return _plain(value.tolist(), depth - 1, room)

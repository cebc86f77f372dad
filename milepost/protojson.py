"""Between protobuf messages and JSON, as the HTTP API and the command line have it.

The rules, for both directions:

* fields have their protobuf names (snake_case); fields with default values are there, unset messages and unset
  optionals are null, members of a oneof are there only when set;
* `RuntimeStatus` and `TrialStatus` are words (`Started`), other enums lose their prefix (`RUNNING`); unspecified is null;
* a configuration of a runtime has the form of its file, in which `launcher` is `local` and a parameter is a number or text;
* 64-bit integers are numbers, bytes are base64, timestamps are RFC 3339, durations are seconds;
* JSON has no NaN and no infinity: a single value is one of the strings `NaN`, `Infinity`, `-Infinity`; in a list the
  element is null and a sibling `<field>_non_finite` lists `[index, word]`, absent where every element is finite.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration import resolve, to_plain
from milepost.errors import InvalidArgument, Violation

TIMESTAMP = Timestamp.DESCRIPTOR.full_name
DURATION = Duration.DESCRIPTOR.full_name
CONFIGURATION = RuntimeConfiguration.DESCRIPTOR.full_name

# Enums whose values are the words users know.
STATUS_ENUMS = frozenset({"milepost.api.runtime.v1.RuntimeStatus", "milepost.api.trial.v1.TrialStatus"})

_FLOATS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NON_FINITE_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# Seconds of the largest google.protobuf.Duration.
DURATION_BOUND = 315_576_000_000
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")

Writer = Callable[[Any, dict[str, Any]], None]
M = TypeVar("M", bound=Message)


def is_repeated(field: FieldDescriptor) -> bool:
    return field.is_repeated


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def map_value(field: FieldDescriptor) -> FieldDescriptor:
    """Return the field of a map's values."""
    assert field.message_type is not None
    return field.message_type.fields_by_name["value"]


def real_oneof(field: FieldDescriptor) -> str | None:
    """Name the oneof a field is a member of; None for fields outside and for `optional` ones."""
    oneof = field.containing_oneof
    if oneof is None or oneof.name.startswith("_"):
        return None
    return oneof.name


def enum_words(enum: EnumDescriptor) -> dict[int, str | None]:
    """Return number -> word of an enum; the unspecified value has None."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    words: dict[int, str | None] = {}
    for value in enum.values:
        word = value.name.removeprefix(prefix)
        if value.number == 0 and word == "UNSPECIFIED":
            words[0] = None
        else:
            words[value.number] = word.capitalize() if enum.full_name in STATUS_ENUMS else word
    return words


def non_finite_word(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def to_json_number(value: float) -> float | str:
    """Return a double as JSON has it: not finite as a word."""
    return value if math.isfinite(value) else non_finite_word(value)


def _time_text(timestamp: Timestamp) -> str | None:
    """Return a time as text; None: what an attempt wrote there is no time."""
    try:
        return timestamp.ToJsonString()
    except (ValueError, OverflowError):
        return None


def _seconds(duration: Any) -> float:
    return duration.seconds + duration.nanos / 1e9


def _scalar_encoder(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    """Return what turns one value of a field into JSON; None: it is JSON already."""
    if field.message_type is not None:
        if field.message_type.full_name == TIMESTAMP:
            return _time_text
        if field.message_type.full_name == DURATION:
            return _seconds
        return to_json
    if field.enum_type is not None:
        words = enum_words(field.enum_type)
        return lambda number: words.get(number, number)
    if field.cpp_type in _FLOATS:
        return to_json_number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    return None


def _map_writer(field: FieldDescriptor) -> Writer:
    name = field.name
    encode = _scalar_encoder(map_value(field))

    def write(message: Any, out: dict[str, Any]) -> None:
        entries = getattr(message, name)
        out[name] = {str(key): encode(entries[key]) if encode else entries[key] for key in sorted(entries)}

    return write


def _column_writer(field: FieldDescriptor) -> Writer:
    """Write a list of doubles. One sum finds out whether any is not finite: no Python work per point otherwise."""
    name = field.name
    sibling = f"{name}_non_finite"

    def write(message: Any, out: dict[str, Any]) -> None:
        values: list[float | None] = list(getattr(message, name))
        if not math.isfinite(sum(values)):  # type: ignore[arg-type]
            odd = [[index, non_finite_word(value)] for index, value in enumerate(values) if not math.isfinite(value)]  # type: ignore[arg-type]
            for index, _ in odd:
                values[index] = None  # type: ignore[index,call-overload]
            if odd:
                out[sibling] = odd
        out[name] = values

    return write


def _repeated_writer(field: FieldDescriptor) -> Writer:
    if field.cpp_type in _FLOATS:
        return _column_writer(field)
    name = field.name
    encode = _scalar_encoder(field)

    def write(message: Any, out: dict[str, Any]) -> None:
        values = getattr(message, name)
        out[name] = [encode(value) for value in values] if encode else list(values)

    return write


def _singular_writer(field: FieldDescriptor) -> Writer:
    name = field.name
    encode = _scalar_encoder(field)
    in_oneof = real_oneof(field) is not None
    has_presence = field.has_presence

    def write(message: Any, out: dict[str, Any]) -> None:
        if has_presence and not message.HasField(name):
            if not in_oneof:
                out[name] = None
            return
        value = getattr(message, name)
        out[name] = encode(value) if encode else value

    return write


def _compile(descriptor: Any) -> tuple[Writer, ...]:
    writers = []
    for field in descriptor.fields:
        if is_map(field):
            writers.append(_map_writer(field))
        elif is_repeated(field):
            writers.append(_repeated_writer(field))
        else:
            writers.append(_singular_writer(field))
    return tuple(writers)


_writers: dict[str, tuple[Writer, ...]] = {}


def to_json(message: Message) -> dict[str, Any]:
    """Return a message as what `json.dumps` takes; holds no value that JSON does not have."""
    name = message.DESCRIPTOR.full_name
    if name == CONFIGURATION:
        return to_plain(message)  # type: ignore[arg-type]
    writers = _writers.get(name)
    if writers is None:
        writers = _writers[name] = _compile(message.DESCRIPTOR)
    out: dict[str, Any] = {}
    for write in writers:
        write(message, out)
    return out


class _Reader:
    """Reads JSON into a message and collects every violation on the way.

    `from_text`: values come from a query string, so numbers and booleans are text.
    """

    def __init__(self, from_text: bool) -> None:
        self.from_text = from_text
        self.violations: list[Violation] = []

    def refuse(self, path: str, description: str) -> None:
        self.violations.append(Violation(path, description))

    def message(self, values: object, target: Any, path: str) -> None:
        if not isinstance(values, Mapping):
            self.refuse(path, "must be an object")
            return
        for key, value in values.items():
            field_path = f"{path}.{key}" if path else str(key)
            field = target.DESCRIPTOR.fields_by_name.get(key)
            if field is None:
                known = ", ".join(target.DESCRIPTOR.fields_by_name)
                self.refuse(field_path, f"is not a known field; known: {known}")
            elif value is not None:
                self._field(field, value, target, field_path)
        for oneof in target.DESCRIPTOR.oneofs:
            given = [member.name for member in oneof.fields if values.get(member.name) is not None]
            if len(given) > 1:
                self.refuse(path or oneof.name, f"only one of {', '.join(given)} may be given")

    def _field(self, field: FieldDescriptor, value: object, target: Any, path: str) -> None:
        if is_map(field):
            self._map(field, value, target, path)
        elif is_repeated(field):
            if not isinstance(value, Sequence) or isinstance(value, str):
                self.refuse(path, "must be a list")
                return
            for index, element in enumerate(value):
                if field.message_type is not None:
                    self._into_message(
                        field.message_type, element, getattr(target, field.name).add(), f"{path}[{index}]"
                    )
                    continue
                scalar = self._scalar(field, element, f"{path}[{index}]")
                if scalar is not None:
                    getattr(target, field.name).append(scalar)
        elif field.message_type is not None:
            member = getattr(target, field.name)
            member.SetInParent()
            self._into_message(field.message_type, value, member, path)
        else:
            scalar = self._scalar(field, value, path)
            if scalar is not None:
                setattr(target, field.name, scalar)

    def _map(self, field: FieldDescriptor, value: object, target: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            self.refuse(path, "must be an object")
            return
        entry = map_value(field)
        for key, element in value.items():
            if entry.message_type is not None:
                self._into_message(entry.message_type, element, getattr(target, field.name)[str(key)], f"{path}.{key}")
                continue
            scalar = self._scalar(entry, element, f"{path}.{key}")
            if scalar is not None:
                getattr(target, field.name)[str(key)] = scalar

    def _into_message(self, descriptor: Descriptor, value: object, target: Any, path: str) -> None:
        if descriptor.full_name == TIMESTAMP:
            self._timestamp(value, target, path)
        elif descriptor.full_name == DURATION:
            self._duration(value, target, path)
        elif descriptor.full_name == CONFIGURATION:
            self._configuration(value, target, path)
        else:
            self.message(value, target, path)

    def _configuration(self, value: object, target: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            self.refuse(path, "must be an object")
            return
        try:
            target.CopyFrom(resolve(value))
        except InvalidArgument as error:
            for violation in error.violations:
                self.refuse(f"{path}.{violation.field}", violation.description)

    def _timestamp(self, value: object, target: Timestamp, path: str) -> None:
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) and not _DATE.match(value) else None
            if moment is None or moment.tzinfo is None:
                raise ValueError
            target.FromDatetime(moment)
        except (ValueError, OverflowError):
            self.refuse(path, "must be a time with a time zone as in RFC 3339, such as 2026-01-31T10:00:00Z")

    def _duration(self, value: object, target: Duration, path: str) -> None:
        seconds = self._float(value)
        if seconds is None or not math.isfinite(seconds) or abs(seconds) > DURATION_BOUND:
            self.refuse(path, "must be a number of seconds")
            return
        target.FromNanoseconds(round(seconds * 1e9))

    def _scalar(self, field: FieldDescriptor, value: object, path: str) -> Any:
        """Return the value as the field takes it; None after a refusal."""
        if field.enum_type is not None:
            return self._enum(field.enum_type, value, path)
        if field.cpp_type in _INTEGERS:
            low, high = _INTEGERS[field.cpp_type]
            number = self._integer(value)
            if number is None or not low <= number <= high:
                self.refuse(path, f"must be a whole number from {low} to {high}")
                return None
            return number
        if field.cpp_type in _FLOATS:
            decimal = self._float(value)
            if decimal is None:
                self.refuse(path, f"must be a number, not {str(value)[:40]!r}")
            return decimal
        if field.type == FieldDescriptor.TYPE_BOOL:
            if self.from_text:
                value = {"true": True, "false": False}.get(str(value), value)
            if not isinstance(value, bool):
                self.refuse(path, "must be true or false")
                return None
            return value
        if not isinstance(value, str):
            self.refuse(path, "must be a string")
            return None
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._bytes(value, path)
        if not _is_text(value):
            self.refuse(path, "must be valid Unicode")
            return None
        return value

    def _enum(self, enum: EnumDescriptor, value: object, path: str) -> int | None:
        words = enum_words(enum)
        for number, word in words.items():
            if word is not None and value in (word, enum.values_by_number[number].name):
                return number
        self.refuse(path, f"must be one of {', '.join(word for word in words.values() if word)}")
        return None

    def _integer(self, value: object) -> int | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
            return int(value)
        return None

    def _float(self, value: object) -> float | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            if value in _NON_FINITE_WORDS:
                return _NON_FINITE_WORDS[value]
            if self.from_text and re.fullmatch(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][-+]?[0-9]{1,3})?", value):
                return float(value)
        return None

    def _bytes(self, value: str, path: str) -> bytes | None:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            self.refuse(path, "must be base64")
            return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_json(values: object, message_class: type[M]) -> M:
    """Read a JSON object into a new message.

    Raises:
        InvalidArgument: with every violation, by the path of the field.
    """
    reader = _Reader(from_text=False)
    message = message_class()
    reader.message(values, message, "")
    if reader.violations:
        raise InvalidArgument(reader.violations)
    return message


def from_query(pairs: Iterable[tuple[str, str]], message_class: type[M], flatten: str = "") -> M:
    """Read the parameters of a query string into a new message.

    Lists are repeated parameters; members of messages are dotted (`as_of.events_sequence=7`). The members of the
    field named by `flatten` are parameters of their own. `as_of` may also be one text: `<events>`,
    `<events>/<telemetry>` or a time.

    Raises:
        InvalidArgument: with every violation, by the name of the parameter.
    """
    reader = _Reader(from_text=True)
    tree: dict[str, Any] = {}
    for key, text in pairs:
        _plant(reader, message_class.DESCRIPTOR, tree, key, text, flatten)
    message = message_class()
    reader.message(tree, message, "")
    if reader.violations:
        raise InvalidArgument([_unflatten(violation, flatten) for violation in reader.violations])
    return message


def _unflatten(violation: Violation, flatten: str) -> Violation:
    return Violation(violation.field.removeprefix(f"{flatten}."), violation.description) if flatten else violation


def _plant(reader: _Reader, descriptor: Any, tree: dict[str, Any], key: str, text: str, flatten: str) -> None:
    path = key.split(".")
    if flatten and path[0] not in descriptor.fields_by_name:
        path.insert(0, flatten)
    for name in path[:-1]:
        field = descriptor.fields_by_name.get(name)
        if (
            field is None
            or field.message_type is None
            or field.message_type.full_name in (TIMESTAMP, DURATION)
            or is_repeated(field)
        ):
            reader.refuse(key, "is not a known parameter")
            return
        tree = tree.setdefault(name, {})
        descriptor = field.message_type
        if not isinstance(tree, dict):
            reader.refuse(key, "is given in two ways")
            return
    field = descriptor.fields_by_name.get(path[-1])
    if field is None:
        reader.refuse(key, "is not a known parameter")
    elif field.message_type is not None and field.message_type.full_name == "milepost.api.event.v1.AsOf":
        tree[field.name] = _as_of(text)
    elif is_repeated(field) and not is_map(field):
        tree.setdefault(field.name, []).append(text)
    elif field.name in tree:
        reader.refuse(key, "is given more than once")
    else:
        tree[field.name] = text


def _as_of(text: str) -> dict[str, str]:
    match = re.fullmatch(r"([0-9]{1,18})(?:/([0-9]{1,18}))?", text)
    if match is None:
        return {"time": text}
    return {"events_sequence": match[1], "telemetry_sequence": match[2] or "0"}


def message_class_of(descriptor: Any) -> type[Message]:
    """Return the class of a message by its descriptor."""
    return GetMessageClass(descriptor)

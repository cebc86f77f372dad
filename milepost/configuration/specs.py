"""What a value may be: kinds of values that judge, normalise and describe."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from milepost import series_names
from milepost.configuration.plain import MAX_TRIALS, Plain
from milepost.errors import Violation

# What no text may have, written as JSON Schema writes it.
CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
PRINTABLE = f"[^{CONTROL}]*"


class Spec(Protocol):
    """What one value may be."""

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        """Return the value, normalised. Appends what is wrong with it to `violations`."""
        ...

    def schema(self) -> Plain:
        """Describe it as JSON Schema."""
        ...


def refuse(violations: list[Violation], path: str, description: str) -> None:
    violations.append(Violation(path, description))


@dataclass(frozen=True)
class Text:
    maximum: int = 200
    pattern: str | None = None
    # What the pattern asks for, in words.
    form: str = ""
    description: str = ""

    def read(self, value: Any, path: str, violations: list[Violation]) -> str:
        if not isinstance(value, str):
            hint = "; put it in quotes" if isinstance(value, int | float) else ""
            refuse(violations, path, f"must be text, not {kind(value)}{hint}")
        elif len(value) > self.maximum:
            refuse(violations, path, f"has {len(value):,} characters, more than {self.maximum:,}")
        elif not series_names.is_printable(value):
            refuse(violations, path, "has control characters")
        elif self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            refuse(violations, path, f"must be {self.form}")
        else:
            return value
        return ""

    def schema(self) -> Plain:
        return {"type": "string", "maxLength": self.maximum, "pattern": f"^(?:{self.pattern or PRINTABLE})$"}


@dataclass(frozen=True)
class SeriesKey:
    """The key of a series, in the form in which series have it."""

    def read(self, value: Any, path: str, violations: list[Violation]) -> str:
        if not isinstance(value, str):
            refuse(violations, path, f"must be text, not {kind(value)}")
            return ""
        try:
            return series_names.parse(value)
        except series_names.BadName as error:
            refuse(violations, path, f"must be a series key such as eval/loss: {error}")
            return ""

    def schema(self) -> Plain:
        return {
            "type": "string",
            "maxLength": series_names.LONGEST,
            "pattern": rf"^{PRINTABLE}[^\s{CONTROL}]{PRINTABLE}$",
        }


@dataclass(frozen=True)
class Number:
    minimum: float
    maximum: float
    whole: bool = False
    above_minimum: bool = False

    def read(self, value: Any, path: str, violations: list[Violation]) -> float:
        what = "a whole number" if self.whole else "a number"
        if self.whole and isinstance(value, float) and value.is_integer():
            # JSON knows one kind of number only: 200.0 is a whole one.
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            refuse(violations, path, f"must be {what}, not {kind(value)}")
        elif isinstance(value, float) and not math.isfinite(value):
            refuse(violations, path, "must be finite")
        elif not (self.minimum <= value <= self.maximum) or (self.above_minimum and value == self.minimum):
            lower = f"above {self.minimum:,}" if self.above_minimum else f"at least {self.minimum:,}"
            refuse(violations, path, f"must be {lower} and at most {self.maximum:,}")
        else:
            return value if self.whole else float(value)
        return max(self.minimum, 1)

    def schema(self) -> Plain:
        lower = "exclusiveMinimum" if self.above_minimum else "minimum"
        return {"type": "integer" if self.whole else "number", lower: self.minimum, "maximum": self.maximum}


@dataclass(frozen=True)
class Choice:
    words: tuple[str, ...]

    def read(self, value: Any, path: str, violations: list[Violation]) -> str:
        if value not in self.words:
            refuse(violations, path, f"must be one of {', '.join(self.words)}")
            return self.words[0]
        return str(value)

    def schema(self) -> Plain:
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Flag:
    def read(self, value: Any, path: str, violations: list[Violation]) -> bool:
        if not isinstance(value, bool):
            refuse(violations, path, f"must be true or false, not {kind(value)}")
        return value is True

    def schema(self) -> Plain:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Scalar:
    """A JSON scalar. Kept as it is: a number never changes its value or its kind."""

    maximum: int = 16_384

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            refuse(violations, path, "must be finite")
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            refuse(violations, path, "must fit in 64 bits")
        elif isinstance(value, str) and (len(value) > self.maximum or any(0xD800 <= ord(c) < 0xE000 for c in value)):
            refuse(violations, path, f"must be Unicode text of at most {self.maximum:,} characters")
        elif value is not None and not isinstance(value, str | int | float):
            refuse(violations, path, f"must be text, a number, true, false or null, not {kind(value)}")
        else:
            return value
        return None

    def schema(self) -> Plain:
        text = {"type": "string", "maxLength": self.maximum}
        number = {"type": "number", "minimum": -(2**63), "maximum": 2**64 - 1}
        return {"anyOf": [text, number, {"type": "boolean"}, {"type": "null"}]}


@dataclass(frozen=True)
class Values:
    """A list of scalars."""

    maximum: int = MAX_TRIALS

    def read(self, value: Any, path: str, violations: list[Violation]) -> list[Any]:
        if not isinstance(value, list):
            refuse(violations, path, f"must be a list, not {kind(value)}")
            return []
        if not 1 <= len(value) <= self.maximum:
            refuse(violations, path, f"must have 1 to {self.maximum:,} values")
            return []
        return [Scalar().read(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]

    def schema(self) -> Plain:
        return {"type": "array", "items": Scalar().schema(), "minItems": 1, "maxItems": self.maximum}


@dataclass(frozen=True)
class Names:
    """A list of names."""

    maximum: int
    longest: int

    def read(self, value: Any, path: str, violations: list[Violation]) -> list[str]:
        if not isinstance(value, list):
            refuse(violations, path, f"must be a list, not {kind(value)}")
            return []
        if len(value) > self.maximum:
            refuse(violations, path, f"has {len(value):,} names, more than {self.maximum:,}")
            return []
        return [Text(self.longest).read(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]

    def schema(self) -> Plain:
        return {"type": "array", "items": Text(self.longest).schema(), "maxItems": self.maximum}


@dataclass(frozen=True)
class Listed:
    """A list of values of one kind."""

    value: Spec
    maximum: int

    def read(self, value: Any, path: str, violations: list[Violation]) -> list[Any]:
        if not isinstance(value, list):
            refuse(violations, path, f"must be a list, not {kind(value)}")
            return []
        if len(value) > self.maximum:
            refuse(violations, path, f"has {len(value):,} entries, more than {self.maximum:,}")
            return []
        return [self.value.read(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]

    def schema(self) -> Plain:
        return {"type": "array", "items": self.value.schema(), "maxItems": self.maximum}


@dataclass(frozen=True)
class Entries:
    """A mapping with free keys. Entries that are null are kept: null is a value here."""

    key_pattern: str
    key_form: str
    value: Spec
    maximum: int = 1_000
    # Judged by whoever reads it.
    minimum: int = 0

    def read(self, value: Any, path: str, violations: list[Violation]) -> Plain:
        if not isinstance(value, Mapping):
            refuse(violations, path, f"must be a mapping, not {kind(value)}")
            return {}
        if len(value) > self.maximum:
            refuse(violations, path, f"has {len(value):,} entries, more than {self.maximum:,}")
            return {}
        entries = {}
        for key, item in value.items():
            if not isinstance(key, str) or re.fullmatch(self.key_pattern, key) is None:
                refuse(violations, path, f"the key {str(key)[:80]!r} must be {self.key_form}")
                continue
            entries[key] = self.value.read(item, f"{path}.{key}", violations)
        return entries

    def schema(self) -> Plain:
        least = {"minProperties": self.minimum} if self.minimum else {}
        return {
            "type": "object",
            "additionalProperties": self.value.schema(),
            "propertyNames": {"pattern": f"^(?:{self.key_pattern})$"},
            **least,
            "maxProperties": self.maximum,
        }


REQUIRED = object()


@dataclass(frozen=True)
class Field:
    """A named field: what it may be, and what it is when it is absent or null."""

    spec: Spec
    default: Any
    description: str


@dataclass(frozen=True)
class Section:
    """A mapping with known keys. Unknown ones are violations.

    Attributes:
        together: what JSON Schema can say of several fields together. Whoever reads the section judges it.
    """

    fields: Mapping[str, Field]
    together: Plain = dataclasses.field(default_factory=dict)

    def read(self, value: Any, path: str, violations: list[Violation]) -> Plain:
        if not isinstance(value, Mapping):
            refuse(violations, path or "configuration", f"must be a mapping, not {kind(value)}")
            value = {}
        prefix = f"{path}." if path else ""
        for key in value:
            if key not in self.fields:
                refuse(violations, f"{prefix}{str(key)[:80]}", f"is not a known key; known: {', '.join(self.fields)}")
        read: Plain = {}
        for name, field in self.fields.items():
            given = value.get(name)
            if given is not None and not (given == "" and field.default == ""):
                read[name] = field.spec.read(given, f"{prefix}{name}", violations)
            elif field.default is REQUIRED:
                refuse(violations, f"{prefix}{name}", "is required")
                read[name] = None
            elif isinstance(field.default, dict) and isinstance(field.spec, Section):
                read[name] = field.spec.read(field.default, f"{prefix}{name}", violations)
            else:
                read[name] = field.default
        return read

    def schema(self) -> Plain:
        properties = {}
        for name, field in self.fields.items():
            if field.default is REQUIRED:
                properties[name] = {**field.spec.schema(), "description": field.description}
                continue
            # Null is as good as absent, and so is an empty text where that is the default.
            given = field.spec.schema()
            if field.default == "":
                given["pattern"] = given["pattern"].removesuffix("$") + "?$"
            properties[name] = {
                "anyOf": [given, {"type": "null"}],
                "description": field.description,
                "default": field.default,
            }
        required = [name for name, field in self.fields.items() if field.default is REQUIRED]
        schema = {"type": "object", "additionalProperties": False, "properties": properties, **self.together}
        return {**schema, "required": required} if required else schema


SECRET = Text(128, r"[A-Za-z_][A-Za-z0-9_.-]*", "the name of a secret")


@dataclass(frozen=True)
class Variable:
    """The value of an environment variable: text, or a reference to a secret."""

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        if isinstance(value, Mapping):
            return Section({"secret": Field(SECRET, REQUIRED, "")}).read(value, path, violations)
        if isinstance(value, str) and "\0" not in value and len(value) <= 32_768:
            return value
        refuse(violations, path, f"must be text without NUL, or {{secret: NAME}}, not {kind(value)}")
        return ""

    def schema(self) -> Plain:
        secret = {
            "type": "object",
            "properties": {"secret": SECRET.schema()},
            "required": ["secret"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string", "maxLength": 32_768, "pattern": r"^[^\u0000]*$"}, secret]}


@dataclass(frozen=True)
class OneOrMore:
    """A scalar, or a list of them. Read as a list."""

    def read(self, value: Any, path: str, violations: list[Violation]) -> list[Any]:
        return Values().read(value if isinstance(value, list) else [value], path, violations)

    def schema(self) -> Plain:
        return {"anyOf": [Scalar().schema(), Values().schema()]}


PARAMETER = r"[A-Za-z_][A-Za-z0-9_.\-]{0,127}"
_WHEN = Field(
    Entries(PARAMETER, "a name of letters, digits, _ . -", OneOrMore(), 10),
    {},
    "only where other parameters have these values",
)
_ABOVE_ZERO = {
    "if": {"required": ["log_scale"], "properties": {"log_scale": {"const": True}}},
    "then": {"properties": {"minimum": {"exclusiveMinimum": 0}}},
}
_RANGE = Section(
    {
        "minimum": Field(Number(-1e300, 1e300), REQUIRED, "smallest value"),
        "maximum": Field(Number(-1e300, 1e300), REQUIRED, "largest value"),
        "log_scale": Field(Flag(), False, "uniform in the logarithm"),
        "integer": Field(Flag(), False, "rounded to whole numbers"),
        "when": _WHEN,
    },
    {
        "description": "The maximum is not below the minimum.",
        "if": {"required": ["integer"], "properties": {"integer": {"const": True}}},
        "then": {"properties": {"minimum": {"type": "integer"}, "maximum": {"type": "integer"}}, **_ABOVE_ZERO},
        "else": _ABOVE_ZERO,
    },
)


_LIST = Section({"values": Field(Values(), REQUIRED, "the values"), "when": _WHEN})


@dataclass(frozen=True)
class Dimension:
    """The values that a search may give to one parameter: a list, or a range.

    A list is read as itself, with a condition as a mapping with `values`.
    """

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        if not isinstance(value, Mapping):
            return Values().read(value, path, violations)
        if "values" in value:
            listed = _LIST.read(value, path, violations)
            return listed if listed["when"] else listed["values"] or []
        before = len(violations)
        read = _RANGE.read(value, path, violations)
        if len(violations) > before:
            return read
        if read["minimum"] > read["maximum"]:
            refuse(violations, f"{path}.maximum", "must not be below the minimum")
        if read["log_scale"] and read["minimum"] <= 0:
            refuse(violations, f"{path}.minimum", "must be above 0 with log_scale")
        if read["integer"] and (read["minimum"] != int(read["minimum"]) or read["maximum"] != int(read["maximum"])):
            refuse(violations, path, "minimum and maximum must be whole with integer")
        return read

    def schema(self) -> Plain:
        return {"anyOf": [Values().schema(), _LIST.schema(), _RANGE.schema()]}


def kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, word in (
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (Mapping, "a mapping"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return word
    return type(value).__name__

"""The configuration of a runtime: from text to a resolved message and back.

Three forms exist. *Text* is YAML or JSON as a person wrote it. The *plain* form is what that text says: dicts, lists,
text and numbers. The *message* is `RuntimeConfiguration`, resolved: every default filled in. Everything here is pure.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import yaml

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.errors import FailedPrecondition, InvalidArgument, Violation

MAXIMUM_TEXT_BYTES = 256 * 1024
MAXIMUM_DEPTH = 20
MAXIMUM_TRIALS = 10_000
MAXIMUM_STEP = 2**53 - 1

Plain = dict[str, Any]

# --- text to plain --------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """The text is no configuration, whatever it says."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML with the scalars of version 1.2, in which `1e-3` is a number and `no` is text; refuses repeated keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _construct_float(loader: Any, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node)
    return float(text if text[-1].isdigit() or text[-1] == "." else text.replace(".", ""))


def _construct_mapping(loader: Any, node: yaml.MappingNode) -> Plain:
    mapping: Plain = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _Refused(f"{_place(key_node.start_mark)}: keys must be text, not {key!r}")
        if key in mapping:
            raise _Refused(f"{_place(key_node.start_mark)}: the key {key!r} is given twice")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def parse_text(text: str) -> Plain:
    """Read YAML or JSON text into its plain form, without judging what it says.

    Raises:
        InvalidArgument: it is too large or too deep, is not readable, repeats a key, or is not a mapping.
    """
    try:
        size = len(text.encode())
        if size > MAXIMUM_TEXT_BYTES:
            raise _Refused(f"{size:,} bytes are more than {MAXIMUM_TEXT_BYTES:,}")
        plain = _parse_json(text) if text.lstrip().startswith("{") else None
        if plain is None:
            plain = _parse_yaml(text)
        if not isinstance(plain, dict):
            raise _Refused("must be a mapping of keys to values")
        return plain
    except _Refused as error:
        raise InvalidArgument([Violation("configuration_text", str(error))]) from error
    except UnicodeEncodeError as error:
        raise InvalidArgument([Violation("configuration_text", "is not valid Unicode text")]) from error


def _parse_json(text: str) -> Plain | None:
    """Read JSON; None when it is not JSON, for a flow mapping of YAML also begins with a brace."""
    try:
        plain = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError:
        return None
    except RecursionError as error:
        raise _Refused(f"is nested deeper than {MAXIMUM_DEPTH}") from error
    except ValueError as error:
        raise _Refused("has a number that is too long") from error
    if _depth(plain) > MAXIMUM_DEPTH:
        raise _Refused(f"is nested deeper than {MAXIMUM_DEPTH}")
    return plain if isinstance(plain, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> Plain:
    mapping: Plain = {}
    for key, value in pairs:
        if key in mapping:
            raise _Refused(f"the key {key!r} is given twice")
        mapping[key] = value
    return mapping


def _no_constant(name: str) -> Any:
    raise _Refused(f"{name} is not a JSON number")


def _parse_yaml(text: str) -> Any:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                # An alias of aliases makes a small text huge.
                raise _Refused(f"{_place(event.start_mark)}: aliases are not allowed; write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAXIMUM_DEPTH:
                raise _Refused(f"{_place(event.start_mark)}: is nested deeper than {MAXIMUM_DEPTH}")
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        place = f"{_place(error.problem_mark)}: " if error.problem_mark else ""
        raise _Refused(f"{place}{error.problem or error.context or 'is not readable'}") from error
    except yaml.YAMLError as error:
        raise _Refused(f"is not readable: {str(error).splitlines()[0]}") from error
    except ValueError as error:
        raise _Refused("has a number that is too long") from error


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [child for v in level for child in (v.values() if isinstance(v, dict) else v)]
    return depth


# --- what each field may say ----------------------------------------------------------------------------------------


class Spec(Protocol):
    """What one value may be."""

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        """Return the value, normalised. Appends what is wrong with it to `violations`."""
        ...

    def schema(self) -> Plain:
        """Describe it as JSON Schema."""
        ...


def _refuse(violations: list[Violation], path: str, description: str) -> None:
    violations.append(Violation(path, description))


def _clean(text: str) -> bool:
    return not any(
        ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 or c in "\u2028\u2029" for c in text
    )


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
            _refuse(violations, path, f"must be text, not {_kind(value)}{hint}")
        elif len(value) > self.maximum:
            _refuse(violations, path, f"has {len(value):,} characters, more than {self.maximum:,}")
        elif not _clean(value):
            _refuse(violations, path, "has control characters")
        elif self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            _refuse(violations, path, f"must be {self.form}")
        else:
            return value
        return ""

    def schema(self) -> Plain:
        schema: Plain = {"type": "string", "maxLength": self.maximum}
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern})$"
        return schema


@dataclass(frozen=True)
class Number:
    minimum: float
    maximum: float
    whole: bool = False
    above_minimum: bool = False

    def read(self, value: Any, path: str, violations: list[Violation]) -> float:
        what = "a whole number" if self.whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            _refuse(violations, path, f"must be {what}, not {_kind(value)}")
        elif isinstance(value, float) and not math.isfinite(value):
            _refuse(violations, path, "must be finite")
        elif not (self.minimum <= value <= self.maximum) or (self.above_minimum and value == self.minimum):
            lower = f"above {self.minimum:,}" if self.above_minimum else f"at least {self.minimum:,}"
            _refuse(violations, path, f"must be {lower} and at most {self.maximum:,}")
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
            _refuse(violations, path, f"must be one of {', '.join(self.words)}")
            return self.words[0]
        return str(value)

    def schema(self) -> Plain:
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Flag:
    def read(self, value: Any, path: str, violations: list[Violation]) -> bool:
        if not isinstance(value, bool):
            _refuse(violations, path, f"must be true or false, not {_kind(value)}")
        return value is True

    def schema(self) -> Plain:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Scalar:
    """A JSON scalar. Kept as it is: a number never changes its value or its kind."""

    maximum: int = 16_384

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            _refuse(violations, path, "must be finite")
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            _refuse(violations, path, "must fit in 64 bits")
        elif isinstance(value, str) and (len(value) > self.maximum or any(0xD800 <= ord(c) < 0xE000 for c in value)):
            _refuse(violations, path, f"must be Unicode text of at most {self.maximum:,} characters")
        elif value is not None and not isinstance(value, str | int | float):
            _refuse(violations, path, f"must be text, a number, true, false or null, not {_kind(value)}")
        else:
            return value
        return None

    def schema(self) -> Plain:
        return {"type": ["string", "number", "boolean", "null"]}


@dataclass(frozen=True)
class Values:
    """A list of scalars."""

    maximum: int = MAXIMUM_TRIALS

    def read(self, value: Any, path: str, violations: list[Violation]) -> list[Any]:
        if not isinstance(value, list):
            _refuse(violations, path, f"must be a list, not {_kind(value)}")
            return []
        if not 1 <= len(value) <= self.maximum:
            _refuse(violations, path, f"must have 1 to {self.maximum:,} values")
            return []
        return [Scalar().read(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]

    def schema(self) -> Plain:
        return {"type": "array", "items": Scalar().schema(), "minItems": 1, "maxItems": self.maximum}


@dataclass(frozen=True)
class Entries:
    """A mapping with free keys. Entries that are null are kept: null is a value here."""

    key_pattern: str
    key_form: str
    value: Spec
    maximum: int = 1_000

    def read(self, value: Any, path: str, violations: list[Violation]) -> Plain:
        if not isinstance(value, Mapping):
            _refuse(violations, path, f"must be a mapping, not {_kind(value)}")
            return {}
        if len(value) > self.maximum:
            _refuse(violations, path, f"has {len(value):,} entries, more than {self.maximum:,}")
            return {}
        entries = {}
        for key, item in value.items():
            if not isinstance(key, str) or re.fullmatch(self.key_pattern, key) is None:
                _refuse(violations, path, f"the key {str(key)[:80]!r} must be {self.key_form}")
                continue
            entries[key] = self.value.read(item, f"{path}.{key}", violations)
        return entries

    def schema(self) -> Plain:
        return {
            "type": "object",
            "additionalProperties": self.value.schema(),
            "propertyNames": {"pattern": f"^(?:{self.key_pattern})$"},
            "maxProperties": self.maximum,
        }


_REQUIRED = object()


@dataclass(frozen=True)
class Field:
    """A named field: what it may be, and what it is when it is absent or null."""

    spec: Spec
    default: Any
    description: str


@dataclass(frozen=True)
class Section:
    """A mapping with known keys. Unknown ones are violations."""

    fields: Mapping[str, Field]

    def read(self, value: Any, path: str, violations: list[Violation]) -> Plain:
        if not isinstance(value, Mapping):
            _refuse(violations, path or "configuration", f"must be a mapping, not {_kind(value)}")
            value = {}
        prefix = f"{path}." if path else ""
        for key in value:
            if key not in self.fields:
                _refuse(violations, f"{prefix}{str(key)[:80]}", f"is not a known key; known: {', '.join(self.fields)}")
        read: Plain = {}
        for name, field in self.fields.items():
            given = value.get(name)
            if given is not None and not (given == "" and field.default == ""):
                read[name] = field.spec.read(given, f"{prefix}{name}", violations)
            elif field.default is _REQUIRED:
                _refuse(violations, f"{prefix}{name}", "is required")
                read[name] = None
            elif isinstance(field.default, dict) and isinstance(field.spec, Section):
                read[name] = field.spec.read(field.default, f"{prefix}{name}", violations)
            else:
                read[name] = field.default
        return read

    def schema(self) -> Plain:
        properties = {}
        for name, field in self.fields.items():
            properties[name] = {**field.spec.schema(), "description": field.description}
            if field.default is not _REQUIRED:
                properties[name]["default"] = field.default
        required = [name for name, field in self.fields.items() if field.default is _REQUIRED]
        return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


@dataclass(frozen=True)
class Variable:
    """The value of an environment variable: text, or a reference to a secret."""

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        if isinstance(value, Mapping):
            return Section(
                {"secret": Field(Text(128, r"[A-Za-z_][A-Za-z0-9_.-]*", "the name of a secret"), _REQUIRED, "")}
            ).read(value, path, violations)
        if isinstance(value, str) and "\0" not in value and len(value) <= 32_768:
            return value
        _refuse(violations, path, f"must be text without NUL, or {{secret: NAME}}, not {_kind(value)}")
        return ""

    def schema(self) -> Plain:
        secret = {
            "type": "object",
            "properties": {"secret": {"type": "string"}},
            "required": ["secret"],
            "additionalProperties": False,
        }
        return {"oneOf": [{"type": "string"}, secret]}


_RANGE = Section(
    {
        "minimum": Field(Number(-1e300, 1e300), _REQUIRED, "smallest value"),
        "maximum": Field(Number(-1e300, 1e300), _REQUIRED, "largest value"),
        "log_scale": Field(Flag(), False, "uniform in the logarithm"),
        "integer": Field(Flag(), False, "rounded to whole numbers"),
    }
)


@dataclass(frozen=True)
class Dimension:
    """The values that a search may give to one parameter: a list, or a range."""

    def read(self, value: Any, path: str, violations: list[Violation]) -> Any:
        if not isinstance(value, Mapping):
            return Values().read(value, path, violations)
        before = len(violations)
        read = _RANGE.read(value, path, violations)
        if len(violations) > before:
            return read
        if read["minimum"] > read["maximum"]:
            _refuse(violations, f"{path}.maximum", "must not be below the minimum")
        if read["log_scale"] and read["minimum"] <= 0:
            _refuse(violations, f"{path}.minimum", "must be above 0 with log_scale")
        if read["integer"] and (read["minimum"] != int(read["minimum"]) or read["maximum"] != int(read["maximum"])):
            _refuse(violations, path, "minimum and maximum must be whole with integer")
        return read

    def schema(self) -> Plain:
        return {"oneOf": [Values().schema(), _RANGE.schema()]}


_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_MODULE = rf"{_NAME}(?:\.{_NAME})*"
# A relative path without `..`; `:` ends it.
_PART = r"(?!\.\.?/)[^/:\\]+"
_FILE = rf"(?:{_PART}/)*[^/:\\]+\.py"
_PARAMETER = r"[A-Za-z_][A-Za-z0-9_.\-]{0,127}"
_RESOURCE = r"runtimes/[a-z0-9][a-z0-9_-]{0,62}/trials/[1-9][0-9]{0,8}/snapshots/[a-z0-9][a-z0-9_-]{0,62}"
_SERIES = r"[A-Za-z0-9_./-]{1,128}"
_ABSOLUTE = r"(?!.*(?:^|/)\.\.(?:/|$))/.*"
_STORAGE = r"(?!.*(?:^|/)\.\.(?:/|$))(?:/.*|file:///.*|(?:s3|gs|gcs|abfs|abfss|hdfs|viewfs)://(?![^/]*:[^/@]*@).+)"
_STORAGE_WORDS = "a URI (file, s3, gs, abfs, hdfs) or an absolute path, without '..' and without credentials"


def _whole(minimum: int, maximum: int) -> Number:
    return Number(minimum, maximum, whole=True)


CONFIGURATION = Section(
    {
        "name": Field(Text(200), "", "free text"),
        "entrypoint": Field(
            Text(
                500,
                rf"(?:{_MODULE}|{_FILE}):{_MODULE}",
                "package.module:function or file.py:function, the path relative and without '..'",
            ),
            "",
            "what to run: package.module:function or file.py:function",
        ),
        "code": Field(
            Section(
                {
                    "uri": Field(
                        Text(2_000, _STORAGE, _STORAGE_WORDS),
                        _REQUIRED,
                        "where the archive is",
                    ),
                    "digest": Field(
                        Text(71, r"sha256:[0-9a-f]{64}", "sha256: and 64 hex digits"),
                        _REQUIRED,
                        "SHA-256 of the archive",
                    ),
                }
            ),
            None,
            "archive of a folder of code; null: the entrypoint is importable where it runs",
        ),
        "working_directory": Field(
            Text(4_096, _ABSOLUTE, "an absolute path without '..'"),
            "",
            "folder in which file entrypoints and relative paths are found",
        ),
        "initialize_from": Field(
            Text(300, _RESOURCE, "runtimes/{runtime}/trials/{trial}/snapshots/{snapshot}"),
            "",
            "snapshot of another run whose weights to start from",
        ),
        "parameters": Field(
            Entries(_PARAMETER, "a name of letters, digits, _ . -", Scalar()), {}, "scalars, handed to the entrypoint"
        ),
        "search": Field(
            Section(
                {
                    "kind": Field(Choice(("grid", "random")), "grid", "grid: every combination; random: draws"),
                    "space": Field(
                        Entries(_PARAMETER, "a name of letters, digits, _ . -", Dimension(), 100),
                        _REQUIRED,
                        "values per parameter",
                    ),
                    "seed": Field(_whole(-(2**63), 2**63 - 1), 0, "seed of the random search"),
                    "max_trials": Field(_whole(1, MAXIMUM_TRIALS), 10, "no more trials than this"),
                    "max_concurrent_trials": Field(_whole(1, 1_000), 1, "trials at a time"),
                    "on_trial_failure": Field(
                        Choice(("continue", "stop")), "continue", "what a failed trial does to the others"
                    ),
                }
            ),
            None,
            "several trials over a space of parameters; null: one trial",
        ),
        "launcher": Field(Choice(("local", "ray", "external")), "local", "how worker processes are started"),
        "resources": Field(
            Section(
                {
                    "workers": Field(_whole(0, 4_096), 0, "worker processes; 0: one process without a worker group"),
                    "cpus_per_worker": Field(Number(0, 1_024, above_minimum=True), 1.0, "CPUs of each"),
                    "gpus_per_worker": Field(Number(0, 64), 0.0, "GPUs of each"),
                    "memory_gigabytes_per_worker": Field(
                        Number(0, 100_000, above_minimum=True), None, "memory of each, 10^9 bytes; null: none reserved"
                    ),
                }
            ),
            {},
            "what one trial needs",
        ),
        "priority": Field(_whole(-1_000, 1_000), 0, "higher goes first"),
        "snapshots": Field(
            Section(
                {
                    "every_steps": Field(_whole(1, MAXIMUM_STEP), None, "steps between snapshots"),
                    "every_epochs": Field(_whole(1, MAXIMUM_STEP), None, "epochs between snapshots"),
                    "every_minutes": Field(Number(0, 1e6, above_minimum=True), None, "minutes between snapshots"),
                    "keep_last": Field(_whole(1, 10_000), 3, "the newest snapshots that are kept"),
                    "keep_best": Field(
                        Section(
                            {
                                "metric": Field(
                                    Text(128, _SERIES, "a series key such as eval/loss"), _REQUIRED, "series key"
                                ),
                                "mode": Field(Choice(("min", "max")), "min", "which is better"),
                            }
                        ),
                        None,
                        "also keep the best by this metric; null: none",
                    ),
                    "storage": Field(
                        Text(2_000, _STORAGE, _STORAGE_WORDS),
                        "",
                        "where snapshots go; empty: the data directory",
                    ),
                }
            ),
            {},
            "when snapshots are taken and kept",
        ),
        "retries": Field(
            Section(
                {
                    "max_retries": Field(_whole(0, 100), 2, "launches after a crash"),
                    "backoff_seconds": Field(Number(0, 600), 5.0, "wait before the first retry, doubled at each"),
                }
            ),
            {},
            "what follows a crash",
        ),
        "limits": Field(
            Section(
                {
                    "max_duration_seconds": Field(
                        Number(0, 1e9, above_minimum=True),
                        None,
                        "running time since the start or the last resume; null: none",
                    ),
                    "heartbeat_grace_seconds": Field(
                        Number(1, 86_400), 30.0, "silence after which an instance counts as lost"
                    ),
                    "stop_deadline_seconds": Field(
                        Number(0, 86_400, above_minimum=True), 300.0, "time a graceful stop may take"
                    ),
                    "log_megabytes": Field(_whole(1, 1_000_000), 512, "quota of stored log text, 10^6 bytes"),
                }
            ),
            {},
            "limits of the run",
        ),
        "environment": Field(
            Entries(_NAME, "a name of letters, digits and _", Variable()),
            {},
            "environment variables of the worker processes",
        ),
        "labels": Field(
            Entries(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}", "1 to 63 letters, digits, _ . / -", Text(256), 64),
            {},
            "free text by key, to find runtimes by",
        ),
    }
)


def _kind(value: Any) -> str:
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


# --- plain to message -----------------------------------------------------------------------------------------------

_LAUNCHERS = {"local": config.LAUNCHER_LOCAL, "ray": config.LAUNCHER_RAY, "external": config.LAUNCHER_EXTERNAL}
_KINDS = {"grid": config.SEARCH_KIND_GRID, "random": config.SEARCH_KIND_RANDOM}
_ON_FAILURE = {"continue": config.ON_TRIAL_FAILURE_CONTINUE, "stop": config.ON_TRIAL_FAILURE_STOP}
_MODES = {"min": config.METRIC_MODE_MIN, "max": config.METRIC_MODE_MAX}


def resolve(plain: Mapping[str, Any]) -> RuntimeConfiguration:
    """Judge a plain configuration and fill in every default.

    Raises:
        InvalidArgument: with every violation at once, each with the path of its field.
    """
    violations: list[Violation] = []
    read = CONFIGURATION.read(plain, "", violations)
    _judge_together(read, violations)
    if violations:
        raise InvalidArgument(violations)
    read["name"] = read["name"] or read["entrypoint"] or "unnamed"
    return _message(read)


def resolve_text(text: str) -> RuntimeConfiguration:
    """Read, judge and resolve a configuration. Raises `InvalidArgument` with every violation."""
    return resolve(parse_text(text))


def resolve_message(configuration: RuntimeConfiguration) -> RuntimeConfiguration:
    """Judge a message that a client filled in, and resolve it. Unset fields get their defaults."""
    violations: list[Violation] = []
    plain = _given_plain(configuration, violations)
    if violations:
        raise InvalidArgument(violations)
    return resolve(plain)


def _judge_together(read: Plain, violations: list[Violation]) -> None:
    """Judge what one field alone cannot tell."""
    external = read["launcher"] == "external"
    if not read["entrypoint"] and not external and not any(v.field == "entrypoint" for v in violations):
        _refuse(violations, "entrypoint", "is required")
    if read["code"] is not None and read["working_directory"]:
        _refuse(violations, "working_directory", "must be empty with code")
    if external and read["search"] is not None:
        _refuse(violations, "search", "is not possible with the external launcher")
    if read["search"] is None:
        return
    search = read["search"]
    space = search["space"] or {}
    if not space and not any(v.field.startswith("search.space") for v in violations):
        _refuse(violations, "search.space", "must name at least one parameter")
    if search["kind"] == "grid":
        for name, dimension in space.items():
            if isinstance(dimension, dict):
                _refuse(violations, f"search.space.{name}", "must be a list in a grid; ranges are for kind: random")


def _message(read: Plain) -> RuntimeConfiguration:
    """Build the message of a configuration that was judged."""
    message = RuntimeConfiguration(
        name=read["name"],
        entrypoint=read["entrypoint"],
        initialize_from=read["initialize_from"],
        parameters={name: scalar_text(value) for name, value in read["parameters"].items()},
        launcher=_LAUNCHERS[read["launcher"]],
        resources=config.Resources(**_given(read["resources"])),
        priority=read["priority"],
        retries=config.RetryPolicy(**read["retries"]),
        limits=config.Limits(**_given(read["limits"])),
        labels=read["labels"],
        working_directory=read["working_directory"],
    )
    if read["code"] is not None:
        message.code.CopyFrom(config.Code(**read["code"]))
    snapshots = dict(read["snapshots"])
    best = snapshots.pop("keep_best")
    message.snapshots.CopyFrom(config.SnapshotPolicy(**_given(snapshots)))
    if best is not None:
        message.snapshots.keep_best.CopyFrom(config.KeepBest(metric=best["metric"], mode=_MODES[best["mode"]]))
    for name, value in read["environment"].items():
        if isinstance(value, str):
            message.environment[name].value = value
        else:
            message.environment[name].secret = value["secret"]
    if read["search"] is not None:
        message.search.CopyFrom(_search_message(read["search"]))
    return message


def _search_message(read: Plain) -> config.Search:
    search = config.Search(
        kind=_KINDS[read["kind"]],
        seed=read["seed"],
        max_trials=read["max_trials"],
        max_concurrent_trials=read["max_concurrent_trials"],
        on_trial_failure=_ON_FAILURE[read["on_trial_failure"]],
    )
    for name, dimension in read["space"].items():
        if isinstance(dimension, dict):
            search.space[name].CopyFrom(config.SearchDimension(**dimension))
        else:
            search.space[name].values.extend(scalar_text(value) for value in dimension)
    return search


def _given(read: Plain) -> Plain:
    return {name: value for name, value in read.items() if value is not None}


def scalar_text(value: Any) -> str:
    """Write a JSON scalar as text, such that reading it gives the same value of the same kind."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def scalar_value(text: str) -> Any:
    """Read a JSON scalar that `scalar_text` wrote."""
    return json.loads(text)


# --- message to plain -----------------------------------------------------------------------------------------------


def to_plain(configuration: RuntimeConfiguration) -> Plain:
    """Show a resolved configuration in its plain form, every field named. `resolve` of it gives the same message."""
    plain: Plain = {
        "name": configuration.name,
        "entrypoint": configuration.entrypoint,
        "code": {"uri": configuration.code.uri, "digest": configuration.code.digest}
        if configuration.HasField("code")
        else None,
        "working_directory": configuration.working_directory,
        "initialize_from": configuration.initialize_from,
        "parameters": {name: scalar_value(text) for name, text in sorted(configuration.parameters.items())},
        "search": _search_plain(configuration.search) if configuration.HasField("search") else None,
        "launcher": _word(_LAUNCHERS, configuration.launcher),
        "resources": _fields(configuration.resources),
        "priority": configuration.priority,
        "snapshots": {
            **_fields(configuration.snapshots, skip="keep_best"),
            "keep_best": {
                "metric": configuration.snapshots.keep_best.metric,
                "mode": _word(_MODES, configuration.snapshots.keep_best.mode),
            }
            if configuration.snapshots.HasField("keep_best")
            else None,
        },
        "retries": _fields(configuration.retries),
        "limits": _fields(configuration.limits),
        "environment": {
            name: entry.value if entry.WhichOneof("kind") != "secret" else {"secret": entry.secret}
            for name, entry in sorted(configuration.environment.items())
        },
        "labels": dict(sorted(configuration.labels.items())),
    }
    return plain


def _search_plain(search: config.Search) -> Plain:
    space: Plain = {}
    for name, dimension in sorted(search.space.items()):
        if dimension.values:
            space[name] = [scalar_value(text) for text in dimension.values]
        else:
            space[name] = _fields(dimension, skip="values")
    return {
        "kind": _word(_KINDS, search.kind),
        "space": space,
        "seed": search.seed,
        "max_trials": search.max_trials,
        "max_concurrent_trials": search.max_concurrent_trials,
        "on_trial_failure": _word(_ON_FAILURE, search.on_trial_failure),
    }


def _fields(message: Any, skip: str = "") -> Plain:
    plain = {}
    for field in message.DESCRIPTOR.fields:
        if field.name != skip:
            unset = field.has_presence and not message.HasField(field.name)
            plain[field.name] = None if unset else getattr(message, field.name)
    return plain


def _word(table: Mapping[str, int], value: int) -> str:
    return next((word for word, known in table.items() if known == value), "")


def _given_plain(configuration: RuntimeConfiguration, violations: list[Violation]) -> Plain:
    """Return what a client gave in a message. What proto3 cannot tell from absent counts as absent."""
    plain: Plain = {
        name: getattr(configuration, name) or None
        for name in ("name", "entrypoint", "working_directory", "initialize_from")
    }
    plain["priority"] = configuration.priority
    plain["parameters"] = _given_scalars(configuration.parameters, "parameters", violations)
    plain["launcher"] = _given_word(_LAUNCHERS, configuration.launcher, "launcher", violations)
    plain["labels"] = dict(configuration.labels)
    plain["environment"] = {
        name: {"secret": entry.secret} if entry.WhichOneof("kind") == "secret" else entry.value
        for name, entry in configuration.environment.items()
    }
    if configuration.HasField("code"):
        plain["code"] = {"uri": configuration.code.uri, "digest": configuration.code.digest}
    if configuration.HasField("retries"):
        plain["retries"] = _fields(configuration.retries)
    for name, section in (
        ("resources", configuration.resources),
        ("limits", configuration.limits),
        ("snapshots", configuration.snapshots),
    ):
        plain[name] = {
            key: value
            for key, value in _fields(section, skip="keep_best").items()
            if value or (value is not None and section.DESCRIPTOR.fields_by_name[key].has_presence)
        }
    if configuration.snapshots.HasField("keep_best"):
        best = configuration.snapshots.keep_best
        plain["snapshots"]["keep_best"] = {
            "metric": best.metric or None,
            "mode": _given_word(_MODES, best.mode, "snapshots.keep_best.mode", violations),
        }
    if configuration.HasField("search"):
        plain["search"] = _given_search(configuration.search, violations)
    return plain


def _given_search(search: config.Search, violations: list[Violation]) -> Plain:
    space: Plain = {}
    for name, dimension in search.space.items():
        if dimension.values:
            path = f"search.space.{name}"
            values = _given_scalars({str(i): text for i, text in enumerate(dimension.values)}, path, violations)
            space[name] = [values.get(str(i)) for i in range(len(dimension.values))]
        else:
            space[name] = _fields(dimension, skip="values")
    return {
        "kind": _given_word(_KINDS, search.kind, "search.kind", violations),
        "space": space,
        "seed": search.seed,
        "max_trials": search.max_trials or None,
        "max_concurrent_trials": search.max_concurrent_trials or None,
        "on_trial_failure": _given_word(_ON_FAILURE, search.on_trial_failure, "search.on_trial_failure", violations),
    }


def _given_word(table: Mapping[str, int], value: int, path: str, violations: list[Violation]) -> str | None:
    if value and value not in table.values():
        _refuse(violations, path, f"{value} is not a known value")
    return _word(table, value) or None


def _given_scalars(texts: Mapping[str, str], path: str, violations: list[Violation]) -> Plain:
    values: Plain = {}
    for name, text in texts.items():
        try:
            values[name] = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError, _Refused):
            _refuse(violations, f"{path}.{name}", 'must be one JSON scalar as text, such as 0.003, true or "adam"')
    return values


# --- digest ---------------------------------------------------------------------------------------------------------


def canonical_json(configuration: RuntimeConfiguration) -> str:
    """Write a resolved configuration such that equal configurations give equal text."""
    return json.dumps(
        to_plain(configuration), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(configuration: RuntimeConfiguration) -> str:
    """Return `sha256:<hex>` over the canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical_json(configuration).encode()).hexdigest()


def schema() -> Plain:
    """Describe the plain form as JSON Schema, for forms and editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of a runtime",
        **CONFIGURATION.schema(),
    }


# --- search ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrialParameters:
    """What one trial of a runtime is given. Values are JSON scalars as text."""

    parameters: dict[str, str]
    # Only those that the search chose.
    searched: dict[str, str]


def expand(configuration: RuntimeConfiguration) -> list[TrialParameters]:
    """List the trials of a resolved configuration, in order; one without a search.

    The same configuration gives the same trials for ever: they are drawn with Python's Mersenne Twister.
    """
    given = dict(configuration.parameters)
    if not configuration.HasField("search"):
        return [TrialParameters(given, {})]
    search = configuration.search
    points = _grid(search) if search.kind == config.SEARCH_KIND_GRID else _draws(search)
    return [TrialParameters({**given, **point}, point) for point in itertools.islice(points, search.max_trials)]


def _grid(search: config.Search) -> Iterator[dict[str, str]]:
    names = sorted(search.space)
    for values in itertools.product(*(search.space[name].values for name in names)):
        yield dict(zip(names, values, strict=True))


def _draws(search: config.Search) -> Iterator[dict[str, str]]:
    """Draw points, each only once; ends when a hundred draws in a row gave nothing new."""
    generator = random.Random(search.seed)
    seen: set[tuple[str, ...]] = set()
    misses = 0
    while misses < 100:
        point = {name: _draw(generator, search.space[name]) for name in sorted(search.space)}
        key = tuple(point.values())
        misses = misses + 1 if key in seen else 0
        if key not in seen:
            seen.add(key)
            yield point


def _draw(generator: random.Random, dimension: config.SearchDimension) -> str:
    uniform = generator.random()
    if dimension.values:
        return dimension.values[int(uniform * len(dimension.values))]
    low, high = dimension.minimum, dimension.maximum
    if dimension.integer and not dimension.log_scale:
        # Each whole number is as likely as the next.
        return scalar_text(int(low) + int(uniform * (int(high) - int(low) + 1)))
    value = (
        math.exp(math.log(low) + uniform * (math.log(high) - math.log(low)))
        if dimension.log_scale
        else low + uniform * (high - low)
    )
    value = min(max(value, low), high)
    return scalar_text(round(value) if dimension.integer else value)


# --- continuation ---------------------------------------------------------------------------------------------------

# Parameters that say how long to train. A continuation may change these and no other.
DURATION_PARAMETERS = frozenset(
    {
        "epochs",
        "max_epochs",
        "num_epochs",
        "num_train_epochs",
        "steps",
        "max_steps",
        "num_steps",
        "total_steps",
        "max_train_steps",
    }
)
_CONTINUABLE = frozenset({"limits", "retries", "snapshots", "priority"})


def merge(plain: Plain, changes: Mapping[str, Any]) -> Plain:
    """Lay changes over a plain configuration: mappings merge, everything else replaces."""
    merged = dict(plain)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged


@dataclass(frozen=True, slots=True)
class Continuation:
    """A configuration that a resumed run goes on with."""

    configuration: RuntimeConfiguration
    # Paths of the fields that changed.
    changed_fields: tuple[str, ...]
    # It trains for longer than before.
    extends: bool


def continue_with(configuration: RuntimeConfiguration, changes: Mapping[str, Any]) -> Continuation:
    """Judge what a resume changes: how long to train, limits, retries, snapshots and the priority, nothing else.

    Raises:
        InvalidArgument: the result is no valid configuration.
        FailedPrecondition: it changes what a continuation may not change; names every such field.
    """
    before = to_plain(configuration)
    merged = resolve(merge(before, changes))
    after = to_plain(merged)
    changed = tuple(_changed_paths(before, after))
    refused = [path for path in changed if not _may_change(path)]
    if refused:
        raise FailedPrecondition(
            f"a continuation may not change {', '.join(refused)}; it may change how long to train "
            f"(parameters {', '.join(sorted(DURATION_PARAMETERS))}), limits, retries, snapshots and priority. "
            "Clone the runtime to change more.",
            reason="NOT_A_CONTINUATION",
        )
    extends = any(
        _grew(before["parameters"].get(path.partition(".")[2]), after["parameters"].get(path.partition(".")[2]))
        for path in changed
        if path.startswith("parameters.")
    )
    return Continuation(merged, changed, extends)


def _changed_paths(before: Plain, after: Plain, prefix: str = "") -> Iterator[str]:
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changed_paths(old, new, f"{prefix}{key}.")
        elif key not in before or key not in after or (type(old), old) != (type(new), new):
            yield f"{prefix}{key}"


def _may_change(path: str) -> bool:
    section, _, name = path.partition(".")
    return (section in _CONTINUABLE and path != "snapshots.storage") or (
        section == "parameters" and name in DURATION_PARAMETERS
    )


def _grew(old: Any, new: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (old, new))
    return numbers and new > old

"""Text to plain and back: YAML or JSON as a person wrote it, and YAML that says the same again."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import yaml

from milepost.configuration.plain import MAX_DEPTH, MAX_TEXT_BYTES, Plain
from milepost.errors import InvalidArgument, Violation
from milepost.security.terminal import visible


class Refused(Exception):
    """The text is no configuration, whatever it says."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML with the scalars of version 1.2, in which `1e-3` is a number and `no` is text; refuses repeated keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads as the same: a text that either version of YAML takes for something else is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


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
            raise Refused(f"{_place(key_node.start_mark)}: keys must be text, not {key!r}")
        if key in mapping:
            raise Refused(f"{_place(key_node.start_mark)}: the key {key!r} is given twice")
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
        if size > MAX_TEXT_BYTES:
            raise Refused(f"{size:,} bytes are more than {MAX_TEXT_BYTES:,}")
        plain = _parse_json(text) if text.lstrip().startswith("{") else None
        if plain is None:
            plain = _parse_yaml(text)
        if not isinstance(plain, dict):
            raise Refused("must be a mapping of keys to values")
        return plain
    except Refused as error:
        raise InvalidArgument([Violation("configuration_text", str(error))]) from error
    except UnicodeEncodeError as error:
        raise InvalidArgument([Violation("configuration_text", "is not valid Unicode text")]) from error


def write_text(plain: Plain) -> str:
    """Write a plain configuration as YAML. `parse_text` of it gives the same, each number of the same kind.

    What a terminal would obey is escaped, so the text is the same wherever it is printed.
    """
    text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=_is_visible(plain), width=1_000_000)
    return str(text)


def _is_visible(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_visible(part) for entry in value.items() for part in entry)
    if isinstance(value, list):
        return all(map(_is_visible, value))
    return not isinstance(value, str) or visible(value) == value


def _parse_json(text: str) -> Plain | None:
    """Read JSON; None when it is not JSON, for a flow mapping of YAML also begins with a brace."""
    try:
        plain = json.loads(text, object_pairs_hook=_unique, parse_constant=no_constant)
    except json.JSONDecodeError:
        return None
    except RecursionError as error:
        raise Refused(f"is nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise Refused("has a number that is too long") from error
    if _depth(plain) > MAX_DEPTH:
        raise Refused(f"is nested deeper than {MAX_DEPTH}")
    return plain if isinstance(plain, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> Plain:
    mapping: Plain = {}
    for key, value in pairs:
        if key in mapping:
            raise Refused(f"the key {key!r} is given twice")
        mapping[key] = value
    return mapping


def no_constant(name: str) -> Any:
    raise Refused(f"{name} is not a JSON number")


def _parse_yaml(text: str) -> Any:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                # An alias of aliases makes a small text huge.
                raise Refused(f"{_place(event.start_mark)}: aliases are not allowed; write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise Refused(f"{_place(event.start_mark)}: is nested deeper than {MAX_DEPTH}")
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        place = f"{_place(error.problem_mark)}: " if error.problem_mark else ""
        raise Refused(f"{place}{error.problem or error.context or 'is not readable'}") from error
    except yaml.YAMLError as error:
        raise Refused(f"is not readable: {str(error).splitlines()[0]}") from error
    except ValueError as error:
        raise Refused("has a number that is too long") from error


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [child for v in level for child in (v.values() if isinstance(v, dict) else v)]
    return depth

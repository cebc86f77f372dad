"""Write the messages of the API as types for the page, or with --verify fail where they are not up to date.

They come from the OpenAPI document, so that the TypeScript compiler tells where the page asks for what no answer has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.gateway.openapi import document

PAGE = Path(__file__).resolve().parent.parent / "services" / "gateway" / "web" / "types" / "messages.d.ts"
HEAD = """// The messages of the API, as JSON has them. Written by `make page-types` from the OpenAPI document.
"""
WIDTH = 120
INDENT = 2


def main() -> int:
    """Write the file. Returns 0, or with --verify 1 where it is another one."""
    text = types()
    if "--verify" not in sys.argv[1:]:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text)
        return 0
    if PAGE.is_file() and PAGE.read_text() == text:
        return 0
    print("the types of the page are not those of the API: run make page-types", file=sys.stderr)
    return 1


def types() -> str:
    """Return the file."""
    schemas = document("0.0.0")["components"]["schemas"]
    parts = [_declaration(_name(name), schema) for name, schema in schemas.items() if schema.get("properties")]
    return HEAD + "declare namespace Api {\n" + "\n".join(parts) + "}\n"


def _name(schema: str) -> str:
    """`runtime.v1.Runtime` -> `Runtime`: no two messages of the API share a last part."""
    return schema.rpartition(".")[2]


def _declaration(name: str, schema: dict[str, Any]) -> str:
    return f"{' ' * INDENT}interface {name} {{\n{_members(schema, 2 * INDENT)}{' ' * INDENT}}}\n"


def _members(schema: dict[str, Any], indent: int) -> str:
    required = schema.get("required", ())
    lines = []
    for name, field in schema["properties"].items():
        head = f"{' ' * indent}{name}{'' if name in required else '?'}:"
        # What has several alternatives is a choice; what has too many for a line stands below each other.
        choices = list(dict.fromkeys(_choices(field, indent)))
        line = f"{head} {' | '.join(choices)}"
        if len(line) > WIDTH and "\n" not in line:
            line = head + "".join(f"\n{' ' * (indent + INDENT)}| {choice}" for choice in choices)
        lines.append(f"{line}\n")
    return "".join(lines)


def _choices(schema: dict[str, Any], indent: int) -> Iterator[str]:
    if "$ref" in schema:
        name = _name(schema["$ref"].rpartition("/")[2])
        yield "string" if name == "CsrfHeader" else name
    elif "anyOf" in schema:
        for choice in schema["anyOf"]:
            yield from _choices(choice, indent)
    elif "enum" in schema:
        yield from ("null" if word is None else f"'{word}'" for word in schema["enum"])
    elif isinstance(schema.get("type"), list):
        for kind in schema["type"]:
            yield from _choices({**schema, "type": kind}, indent)
    else:
        yield _single(schema, indent)


def _single(schema: dict[str, Any], indent: int) -> str:
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(_union(item, indent) for item in schema['prefixItems'])}]"
    if kind == "array":
        item = _union(schema["items"], indent)
        return f"({item})[]" if " | " in item else f"{item}[]"
    if kind == "object" and schema.get("properties"):
        return f"{{\n{_members(schema, indent + INDENT)}{' ' * indent}}}"
    if kind == "object":
        return f"Record<string, {_union(schema.get('additionalProperties') or {}, indent)}>"
    return {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}.get(
        str(kind), "unknown"
    )


def _union(schema: dict[str, Any], indent: int) -> str:
    return " | ".join(dict.fromkeys(_choices(schema, indent)))


if __name__ == "__main__":
    sys.exit(main())

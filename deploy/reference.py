"""Write docs/configuration.md from the fields of a configuration, or with --verify fail where it is not up to date."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milepost.configuration import schema

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# The configuration of a run

YAML or JSON. Written by `make docs` from the fields as the services read them; what is left out has
its default. `milepost runtime start config.yaml --validate-only` judges a file and prints it with
every default filled in. What it prints, and what `milepost runtime get`, HTTP and the page
show of a run, has this form and can be given back as it is.

```yaml
name: linear
entrypoint: train.py:train
parameters: {learning_rate: 0.01, steps: 1000}
snapshots: {every_steps: 100, keep_best: {metric: eval/loss}}
search: {kind: grid, space: {learning_rate: [0.01, 0.1]}, max_concurrent_trials: 2}
resources: {workers: 0, cpus_per_worker: 0.5}
limits: {max_duration_seconds: 3600}
environment: {HF_HOME: /data/hub, API_KEY: {secret: api-key}}
labels: {team: nlp}
rules: [{id: diverges, detector: {change: {series: train/loss, direction: UP}}}]
```

| field | what it is | takes | default |
|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    return HEAD + "\n".join(_rows(schema(), "")) + "\n"


def _rows(section: dict[str, Any], path: str) -> Iterator[str]:
    for name, field in section["properties"].items():
        inner = _section_in(field)
        default = "required" if name in section.get("required", ()) else _default(field)
        yield f"| `{path}{name}` | {field.get('description', '')} | {_takes(field)} | {default} |"
        if inner is not None:
            yield from _rows(inner, f"{path}{name}.")


def _alternatives(field: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in field.get("anyOf", field.get("oneOf", [field])) if one.get("type") != "null"]


def _section_in(field: dict[str, Any]) -> dict[str, Any] | None:
    return next((one for one in _alternatives(field) if one.get("properties")), None)


def _takes(field: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_kind(one) for one in _alternatives(field)))


def _kind(one: dict[str, Any]) -> str:
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    kinds = one.get("type", "value")
    kind = " or ".join(kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null")
    if kind in ("integer", "number"):
        low, high = one.get("minimum", one.get("exclusiveMinimum")), one.get("maximum")
        word = "whole number" if kind == "integer" else "number"
        return f"{word} {'above ' if 'exclusiveMinimum' in one else ''}{_number(low)} to {_number(high)}"
    if kind == "string" and "maxLength" in one:
        return f"text to {one['maxLength']:,} characters"
    return {"object": "mapping", "string": "text", "boolean": "true or false", "array": "list"}.get(kind, kind)


def _number(value: float | None) -> str:
    return "any" if value is None else f"{value:,}" if abs(value) < 10**9 else f"{value:.3g}"


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value in ("", {}, None) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    if "--verify" not in sys.argv[1:]:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        raise SystemExit("docs/configuration.md is not up to date: run `make docs`")

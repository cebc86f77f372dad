"""Whether an entrypoint is there, found out without running any of its code."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


def why_missing(entrypoint: str, folder: str) -> str | None:
    """Say what is not there of `package.module:function` or `file.py:function`; None: nothing is known to be missing.

    Modules are looked for in the folder first, then where this process would find them. Nothing is imported, so a
    function that the module makes in other ways than by a plain definition, assignment or import counts as there only
    if the module imports everything of another one.
    """
    target, _, function = entrypoint.partition(":")
    if target.endswith(".py"):
        source = Path(folder) / target
        if not source.is_file():
            return f"there is no file {target} in {folder}"
    else:
        spec = _find(target, folder)
        if spec is None:
            return f"there is no module {target}"
        if spec.origin is None or not spec.origin.endswith(".py"):
            return None
        source = Path(spec.origin)
    try:
        names = set(_top_level_names(ast.parse(source.read_bytes()).body))
    except (OSError, SyntaxError, ValueError) as error:
        return f"{target} cannot be read as Python: {error}"
    if function in names or "*" in names:
        return None
    return f"{target} has no function {function}"


def _find(module: str, folder: str) -> ModuleSpec | None:
    top, *rest = module.split(".")
    spec = PathFinder.find_spec(top, [folder]) if folder else None
    if spec is None:
        try:
            spec = importlib.util.find_spec(top)
        except ValueError:
            return None
    path = top
    for name in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        path = f"{path}.{name}"
        spec = PathFinder.find_spec(path, spec.submodule_search_locations)
    return spec


def _top_level_names(body: list[ast.stmt]) -> Iterator[str]:
    """Names that the statements of a module bind, those within `if` and `try` included."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
            case ast.Assign():
                yield from (
                    name.id for target in statement.targets for name in ast.walk(target) if isinstance(name, ast.Name)
                )
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If() | ast.Try() | ast.With():
                handlers = [handler.body for handler in getattr(statement, "handlers", [])]
                blocks = [
                    statement.body,
                    getattr(statement, "orelse", []),
                    getattr(statement, "finalbody", []),
                    *handlers,
                ]
                yield from (name for block in blocks for name in _top_level_names(block))

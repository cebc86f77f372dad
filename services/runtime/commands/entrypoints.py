"""Whether an entrypoint is there, found out without running any of its code."""

from __future__ import annotations

import ast
import importlib.util
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from milepost.errors import Violation
from milepost.files import open_regular

# More is data, and not to be read for what is in it.
MAX_SOURCE_BYTES = 2 << 20
# CPython 3.11 counts the depth of its trees for all threads together: two that parse at once make it raise SystemError.
_PARSING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Declared:
    """The parameters that the definition of an entrypoint names, besides the trial."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    takes_any: bool


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """What is known of an entrypoint from its source."""

    # Why it cannot be called; None: nothing is known to be missing.
    missing: str | None = None
    # None: it is not a plain definition, so what it takes is not known.
    declared: Declared | None = None


def examine(entrypoint: str, folder: str) -> Entrypoint:
    """Look at `package.module:function` or `file.py:function`.

    Modules are looked for in the folder first, then where this process would find them. Nothing is imported, so a
    function that the module makes in other ways than by a plain definition, assignment or import counts as there only
    if the module imports everything of another one.
    """
    target, _, function = entrypoint.partition(":")
    if target.endswith(".py"):
        source = Path(folder) / target
        if not source.is_file():
            return Entrypoint(f"there is no file {target} in {folder}")
    else:
        spec = _find(target, folder)
        if spec is None:
            return Entrypoint(f"there is no module {target}")
        if spec.origin is None or not spec.origin.endswith(".py"):
            return Entrypoint()
        source = Path(spec.origin)
    try:
        with open_regular(source) as file:
            content = file.read(MAX_SOURCE_BYTES + 1)
        if len(content) > MAX_SOURCE_BYTES:
            return Entrypoint(f"{target} has more than {MAX_SOURCE_BYTES >> 20} MiB: put the entrypoint elsewhere")
        with _PARSING:
            body = ast.parse(content).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Entrypoint(f"{target} cannot be read as Python: {error or type(error).__name__}")
    names = set(_top_level_names(body))
    if function in names or "*" in names:
        return Entrypoint(declared=_declared(body, function))
    near = get_close_matches(function, names, 1)
    return Entrypoint(f"{target} has no function {function}" + (f"; did you mean {near[0]}?" if near else ""))


def wrong_parameters(declared: Declared, function: str, given: Iterable[str]) -> list[Violation]:
    """List what an entrypoint would refuse of the parameters it is given, by the rule of `training.parameters.bind`."""
    names = (*declared.required, *declared.optional)
    if not names:
        return []
    given = set(given)
    unknown = [] if declared.takes_any else sorted(given - set(names))
    violations = []
    for name in unknown:
        near = get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(names))}"
        violations.append(Violation(f"parameters.{name}", f"{function} takes no such parameter; {hint}"))
    missing = [name for name in declared.required if name not in given]
    if missing:
        violations.append(Violation("parameters", f"{function} needs {', '.join(missing)}"))
    return violations


def _declared(body: list[ast.stmt], function: str) -> Declared | None:
    """Read the arguments of a plain definition. None: it is none, or something may have changed it since."""
    found = [node for node in body if function in _top_level_names([node])]
    if len(found) != 1 or not isinstance(found[0], ast.FunctionDef) or found[0].decorator_list:
        return None
    arguments = found[0].args
    if arguments.vararg is not None or arguments.posonlyargs:
        return None
    positional = [argument.arg for argument in arguments.args]
    optional = positional[len(positional) - len(arguments.defaults) :]
    keyword = [(a.arg, default is None) for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return Declared(
        tuple([n for n in positional[1:] if n not in optional] + [n for n, required in keyword if required]),
        tuple([n for n in optional if n in positional[1:]] + [n for n, required in keyword if not required]),
        arguments.kwarg is not None,
    )


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

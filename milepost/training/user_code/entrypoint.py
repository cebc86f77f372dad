"""Finds the function that a configuration names, in a package or in a file of the user."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Under which a user's file is loaded, so that its name never meets a module of ours.
PRIVATE_MODULE = "__milepost_entrypoint__"


class EntrypointError(Exception):
    """The entrypoint cannot be loaded. It would fail again: the attempt fails for good."""


def load_entrypoint(entrypoint: str, folder: Path | None) -> Callable[..., Any]:
    """Return the function of `package.module:function` or `file.py:function`.

    The folder of a file, or else the given folder, comes first on the path.

    Raises:
        EntrypointError: there is no such module, file or function.
    """
    place, separator, name = entrypoint.rpartition(":")
    if not separator or not place or not name.isidentifier():
        raise EntrypointError(f"{entrypoint!r} is neither package.module:function nor file.py:function")
    if place.endswith(".py"):
        module = _load_file((folder or Path.cwd()) / place)
    else:
        _put_first(folder)
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and (place == error.name or place.startswith(error.name + ".")):
                raise EntrypointError(f"there is no module {place}") from error
            raise
    function = getattr(module, name, None)
    if not callable(function):
        raise EntrypointError(f"{place} has no function {name}")
    return function


def _put_first(folder: Path | None) -> None:
    if folder is not None and str(folder) not in sys.path[:1]:
        sys.path.insert(0, str(folder))


def _load_file(path: Path) -> Any:
    path = path.resolve()
    if not path.is_file():
        raise EntrypointError(f"there is no file {path}")
    _put_first(path.parent)
    spec = importlib.util.spec_from_file_location(PRIVATE_MODULE, path)
    if spec is None or spec.loader is None:
        raise EntrypointError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Pickled functions, worker processes of data loaders and dataclasses look it up.
    sys.modules[PRIVATE_MODULE] = module
    spec.loader.exec_module(module)
    return module

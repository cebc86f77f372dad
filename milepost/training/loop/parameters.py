"""The parameters of a trial, and errors that would come again."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class BadParameter(ValueError):
    """A parameter is missing, unknown or has a value that cannot work. The attempt fails for good: no retry helps."""


class Parameters(Mapping[str, Any]):
    """The parameters of a trial: numbers, texts, booleans or None by name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._values = {name: json.loads(text) for name, text in texts.items()}

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(sorted(self._values)) or "none"
            raise MissingParameter(f"the configuration has no parameter {name!r}; it has {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


class MissingParameter(BadParameter, KeyError):
    """The training code asks for a parameter that the configuration does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


def bind(function: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the keyword arguments of an entrypoint: every parameter it names, if it names any.

    An entrypoint that takes only the trial gets none; it reads `trial.parameters`.

    Raises:
        BadParameter: it takes named parameters, and the configuration has one that is not among them or lacks one.
    """
    declared = list(inspect.signature(function).parameters.values())[1:]
    named = {p.name: p for p in declared if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in declared)
    if not named and not takes_any:
        return {}
    unknown = sorted(set(parameters) - set(named))
    if unknown and not takes_any:
        raise BadParameter(
            f"{function.__qualname__} takes no parameter {', '.join(unknown)}; it takes {', '.join(sorted(named))}"
        )
    missing = sorted(name for name, p in named.items() if p.default is p.empty and name not in parameters)
    if missing:
        raise BadParameter(f"{function.__qualname__} needs {', '.join(missing)}, which the configuration does not have")
    return dict(parameters)

"""Which runs a rule watches: the filter of lists, over what a run is made with. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from milepost.api.config.v1 import configuration_pb2 as config
from services.readmodel.filters import Term, parse_filter


@dataclass(frozen=True, slots=True)
class Selectable:
    """What a selector looks at. It stays the same for the life of a run, but for labels that its code declares."""

    runtime_id: str
    name: str
    created_by: str
    launcher: str
    labels: tuple[tuple[str, str], ...] = ()
    # JSON scalars as text; text is without its quotes.
    parameters: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(runtime_id: str, configuration: config.RuntimeConfiguration, created_by: str) -> Selectable:
        """Describe a runtime as it was asked for."""
        launcher = config.Launcher.Name(configuration.launcher).removeprefix("LAUNCHER_").lower()
        parameters = {key: text.strip('"') for key, text in configuration.parameters.items()}
        return Selectable(
            runtime_id,
            configuration.name,
            created_by,
            launcher,
            tuple(sorted(configuration.labels.items())),
            tuple(sorted(parameters.items())),
        )


Selector = Callable[[Selectable], bool]

_TEXTS: dict[str, Callable[[Selectable], str]] = {
    "name": lambda run: run.name,
    "id": lambda run: run.runtime_id,
    "created_by": lambda run: run.created_by,
    "launcher": lambda run: run.launcher,
}
KNOWN = (*_TEXTS, "label.<key>", "parameters.<name>")


@lru_cache(maxsize=4_096)
def parse_selector(text: str) -> Selector:
    """Read a selector. The empty one selects every run.

    Raises:
        InvalidArgument: it is not of the language, or names a field that no run has for its whole life.
    """
    terms = [_predicate(term) for term in parse_filter(text)]
    return lambda run: all(accepts(run) for accepts in terms)


def _predicate(term: Term) -> Selector:
    if not term.field:
        return lambda run: term.accepts(run.name) or term.accepts(run.runtime_id)
    if term.field.startswith("label."):
        key = term.field.removeprefix("label.")
        return lambda run: term.accepts(dict(run.labels).get(key, ""))
    if term.field.startswith("parameters."):
        name = term.field.removeprefix("parameters.")
        return lambda run: term.accepts(dict(run.parameters).get(name, ""))
    text_of = _TEXTS.get(term.field)
    if text_of is None:
        raise term.unknown(KNOWN)
    return lambda run: term.accepts(text_of(run))

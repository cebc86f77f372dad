"""Parameters of a space that are there only where others have certain values.

`Conditions` has them by name of the parameter, and by name of the other one: JSON scalars as text, any of which will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Conditions = Mapping[str, Mapping[str, Sequence[str]]]


def in_order(conditions: Conditions) -> list[str]:
    """List all parameters, each after those that it depends on, else by name.

    Raises:
        ValueError: some depend on each other in a circle; has their names.
    """
    ordered: list[str] = []

    def place(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(", ".join((*path[path.index(name) :], name)))
        if name not in ordered:
            for other in sorted(conditions.get(name, ())):
                place(other, (*path, name))
            ordered.append(name)

    for name in sorted(conditions):
        place(name, ())
    return ordered


def holds(condition: Mapping[str, Sequence[str]], point: Mapping[str, str]) -> bool:
    """Return whether the others have such values. One that is not there itself has none."""
    return all(point.get(other) in values for other, values in condition.items())


def demanded(conditions: Conditions, name: str) -> dict[str, frozenset[str]]:
    """Return which values others must have for a parameter to be there, those included on which these depend in turn.

    An empty set: it never is. There is no circle.
    """
    demands: dict[str, frozenset[str]] = {}
    for other, values in conditions.get(name, {}).items():
        for one, wanted in ((other, frozenset(values)), *demanded(conditions, other).items()):
            demands[one] = demands[one] & wanted if one in demands else wanted
    return demands

"""Parameters near those of another trial, as a population explores them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.configuration.conditions import holds, in_order
from milepost.configuration.plain import scalar_text
from milepost.configuration.search import conditions_of, draw


def perturb(search: config.Search, given: Mapping[str, str], generator: random.Random) -> dict[str, str]:
    """Return a point of the space near another one (Jaderberg and others, 2017, "explore").

    Each parameter is drawn anew with `resample_probability`. Else a number of a range is multiplied by one of
    `perturbation_factors`, within its range; a number of a list becomes its neighbour there; anything else stays. What
    `keep_parameters` names stays always. A parameter whose condition holds now, and did not, is drawn.

    Args:
        given: JSON scalars as text, by name.
        generator: each parameter takes the same from it whatever becomes of it, so that others do not depend on that.
    """
    conditions, pruner = conditions_of(search), search.pruner
    point: dict[str, str] = {}
    for name in in_order(conditions):
        dimension = search.space[name]
        anew, choice, drawn = generator.random(), generator.random(), draw(generator, dimension)
        if not holds(conditions[name], point):
            continue
        if name in pruner.keep_parameters and name in given:
            point[name] = given[name]
        elif name not in given or anew < pruner.resample_probability:
            point[name] = drawn
        else:
            point[name] = _near(dimension, given[name], pruner, choice)
    return dict(sorted(point.items()))


def _near(dimension: config.SearchDimension, text: str, pruner: config.SearchPruner, choice: float) -> str:
    """Return a value near one. `choice`: 0 to 1, which of those that there are."""
    if dimension.values:
        return _neighbour(list(dimension.values), text, choice)
    factor = pruner.perturbation_factors[int(choice * len(pruner.perturbation_factors))]
    before = json.loads(text)
    value = min(max(before * factor, dimension.minimum), dimension.maximum)
    if not dimension.integer:
        return scalar_text(value)
    whole = round(value)
    if whole == before and factor != 1:
        # A small number would never move.
        whole = before + (1 if (factor > 1) == (before >= 0) else -1)
    return scalar_text(min(max(whole, math.ceil(dimension.minimum)), math.floor(dimension.maximum)))


def _neighbour(values: list[str], text: str, choice: float) -> str:
    """Return the next smaller or larger number of a list. Texts have no neighbours."""
    numbers = [json.loads(one) for one in values]
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in numbers) or text not in values:
        return text
    ordered = [known for _, known in sorted(zip(numbers, values, strict=True))]
    place = ordered.index(text) + (1 if choice >= 0.5 else -1)
    return ordered[min(max(place, 0), len(ordered) - 1)]

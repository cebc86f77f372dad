"""The trials of a configuration with a search."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration.conditions import holds, in_order
from milepost.configuration.plain import scalar_text
from milepost.configuration.words import SAMPLERS


@dataclass(frozen=True, slots=True)
class TrialParameters:
    """What one trial of a runtime is given. Values are JSON scalars as text."""

    parameters: dict[str, str]
    # Only those that the search chose.
    searched: dict[str, str]


def has_sampler(configuration: RuntimeConfiguration) -> bool:
    """Return whether the trials of a configuration are chosen one by one, from the values of those before them."""
    return configuration.HasField("search") and configuration.search.kind in SAMPLERS.values()


def adapts(configuration: RuntimeConfiguration) -> bool:
    """Return whether as many trials of a configuration run at a time as what is free admits."""
    return configuration.search.concurrency == config.SEARCH_CONCURRENCY_AUTO


def trial_count(configuration: RuntimeConfiguration) -> int:
    """Return how many trials a resolved configuration has; with a sampler, how many it may have."""
    return configuration.search.max_trials if has_sampler(configuration) else len(expand(configuration))


def expand(configuration: RuntimeConfiguration) -> list[TrialParameters]:
    """List the trials of a resolved configuration, in order: one without a search, none that a sampler is to choose.

    The same configuration gives the same trials for ever: they are drawn with Python's Mersenne Twister.
    """
    given = dict(configuration.parameters)
    if not configuration.HasField("search"):
        return [TrialParameters(given, {})]
    if has_sampler(configuration):
        return []
    search = configuration.search
    points = _grid(search) if search.kind == config.SEARCH_KIND_GRID else _draws(search)
    return [TrialParameters({**given, **point}, point) for point in itertools.islice(points, search.max_trials)]


def left_out(configuration: RuntimeConfiguration) -> int:
    """Return how many combinations of a grid `max_trials` leaves out. Random searches draw as many as they may."""
    search = configuration.search
    if not configuration.HasField("search") or search.kind != config.SEARCH_KIND_GRID:
        return 0
    return max(0, math.prod(len(dimension.values) for dimension in search.space.values()) - search.max_trials)


def conditions_of(search: config.Search) -> dict[str, dict[str, list[str]]]:
    """Return what the parameters of a space depend on; most on nothing."""
    return {
        name: {other: list(condition.values) for other, condition in dimension.when.items()}
        for name, dimension in search.space.items()
    }


def point_of(search: config.Search, given: Mapping[str, str]) -> dict[str, str] | None:
    """Return the part of some parameters that is a point of a space; None: there is none.

    Args:
        given: JSON scalars as text, by name. What is not in the space is left out.
    """
    conditions = conditions_of(search)
    point: dict[str, str] = {}
    for name in in_order(conditions):
        if not holds(conditions[name], point):
            continue
        if name not in given or not _is_in(search.space[name], given[name]):
            return None
        point[name] = given[name]
    return dict(sorted(point.items()))


def _is_in(dimension: config.SearchDimension, text: str) -> bool:
    if dimension.values:
        return text in dimension.values
    value = json.loads(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return dimension.minimum <= value <= dimension.maximum and (not dimension.integer or isinstance(value, int))


def _grid(search: config.Search) -> Iterator[dict[str, str]]:
    names = sorted(search.space)
    for values in itertools.product(*(search.space[name].values for name in names)):
        yield dict(zip(names, values, strict=True))


def _draws(search: config.Search) -> Iterator[dict[str, str]]:
    """Draw points, each only once; ends when a hundred draws in a row gave nothing new."""
    generator = random.Random(search.seed)
    conditions = conditions_of(search)
    ordered = in_order(conditions)
    seen: set[tuple[tuple[str, str], ...]] = set()
    misses = 0
    while misses < 100:
        drawn = {name: draw(generator, search.space[name]) for name in sorted(search.space)}
        point: dict[str, str] = {}
        for name in ordered:
            if holds(conditions[name], point):
                point[name] = drawn[name]
        key = tuple(sorted(point.items()))
        misses = misses + 1 if key in seen else 0
        if key not in seen:
            seen.add(key)
            yield point


def draw(generator: random.Random, dimension: config.SearchDimension) -> str:
    """Draw a value of a dimension, a JSON scalar as text. Takes one number from the generator."""
    uniform = generator.random()
    if dimension.values:
        return dimension.values[int(uniform * len(dimension.values))]
    low, high = dimension.minimum, dimension.maximum
    if dimension.integer and not dimension.log_scale:
        # Each whole number is as likely as the next.
        return scalar_text(int(low) + int(uniform * (int(high) - int(low) + 1)))
    value = (
        math.exp(math.log(low) + uniform * (math.log(high) - math.log(low)))
        if dimension.log_scale
        else low + uniform * (high - low)
    )
    value = min(max(value, low), high)
    return scalar_text(round(value) if dimension.integer else value)

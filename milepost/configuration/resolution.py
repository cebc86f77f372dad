"""Plain to message: a configuration is judged as a whole, and every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration.fields import CONFIGURATION, MAX_NAME
from milepost.configuration.plain import Plain, scalar_text
from milepost.configuration.shown import given_plain
from milepost.configuration.specs import refuse
from milepost.configuration.text import parse_text
from milepost.configuration.words import (
    KINDS,
    LAUNCHERS,
    MODES,
    OBJECTIVE_VALUES,
    ON_FAILURE,
    PRUNERS,
    RANGES_ONLY,
    SAMPLERS,
)
from milepost.errors import InvalidArgument, Violation

# Whole numbers that a float can hold.
MAX_WHOLE = 2**53


def resolve(plain: Mapping[str, Any]) -> RuntimeConfiguration:
    """Judge a plain configuration and fill in every default.

    Raises:
        InvalidArgument: with every violation at once, each with the path of its field.
    """
    return _resolved(plain, [])


def resolve_text(text: str) -> RuntimeConfiguration:
    """Read, judge and resolve a configuration. Raises `InvalidArgument` with every violation."""
    return resolve(parse_text(text))


def resolve_message(configuration: RuntimeConfiguration) -> RuntimeConfiguration:
    """Judge a message that a client filled in, and resolve it. Unset fields get their defaults.

    Raises:
        InvalidArgument: with every violation at once, each with the path of its field.
    """
    violations: list[Violation] = []
    return _resolved(given_plain(configuration, violations), violations)


def _resolved(plain: Mapping[str, Any], violations: list[Violation]) -> RuntimeConfiguration:
    """Judge and resolve. `violations` are those that are known already."""
    read = CONFIGURATION.read(plain, "", violations)
    _judge_together(read, violations)
    if violations:
        raise InvalidArgument(violations)
    # What is shown can be given back, and a name is shorter than an entrypoint may be.
    read["name"] = read["name"] or read["entrypoint"][:MAX_NAME] or "unnamed"
    return _message(read)


def _judge_together(read: Plain, violations: list[Violation]) -> None:
    """Judge what one field alone cannot tell."""
    external = read["launcher"] == "external"
    if not read["entrypoint"] and not external and not any(v.field == "entrypoint" for v in violations):
        refuse(violations, "entrypoint", "is required")
    if read["code"] is not None and read["working_directory"]:
        refuse(violations, "working_directory", "must be empty with code")
    if external and read["search"] is not None:
        refuse(violations, "search", "is not possible with the external launcher")
    if read["search"] is None:
        return
    _judge_search(read["search"], violations)


def _judge_search(search: Plain, violations: list[Violation]) -> None:
    space = search["space"] or {}
    if not space and not any(v.field.startswith("search.space") for v in violations):
        refuse(violations, "search.space", "must name at least one parameter")
    if search["kind"] == "grid":
        for name, dimension in space.items():
            if isinstance(dimension, dict):
                refuse(violations, f"search.space.{name}", "must be a list in a grid; ranges are for the other kinds")
    if search["kind"] in SAMPLERS:
        _judge_sampler(search, space, violations)
        return
    for name in ("objective", "points", "pruner", "stop_when"):
        if search[name]:
            refuse(violations, f"search.{name}", f"is for kind: {', '.join(SAMPLERS)}, which choose by it")


def _judge_sampler(search: Plain, space: Plain, violations: list[Violation]) -> None:
    kind, points = search["kind"], search["points"]
    if search["objective"] is None:
        refuse(violations, "search.objective", f"is required with kind: {kind}")
    pruner = search["pruner"]
    if pruner is not None and pruner["kind"] == "threshold" and pruner["bound"] is None:
        refuse(violations, "search.pruner.bound", "is required with kind: threshold")
    if any(violation.field.startswith(("search.space", "search.points")) for violation in violations):
        # What cannot be read cannot be judged.
        return
    for name, dimension in space.items():
        if isinstance(dimension, list) and kind in RANGES_ONLY:
            refuse(violations, f"search.space.{name}", f"must be a range: {kind} knows no lists; tpe, gp and qmc do")
        if isinstance(dimension, dict) and dimension.get("integer"):
            if max(abs(dimension["minimum"]), abs(dimension["maximum"])) > MAX_WHOLE:
                refuse(violations, f"search.space.{name}", f"must lie within {-MAX_WHOLE:,} and {MAX_WHOLE:,}")
    moving = [d for d in space.values() if isinstance(d, dict) and d["minimum"] != d["maximum"]]
    if kind == "cmaes" and len(moving) < 2 and all(isinstance(d, dict) for d in space.values()):
        refuse(violations, "search.space", "must have at least two ranges: cmaes adapts how they vary together")
    if len(points) > search["max_trials"]:
        refuse(violations, "search.points", f"has {len(points):,} points, more than max_trials")
    for index, point in enumerate(points):
        path = f"search.points[{index}]"
        if not point:
            refuse(violations, path, "must name at least one parameter")
        for name, value in point.items():
            problem = _outside(value, space[name]) if name in space else "is not in search.space"
            if problem:
                refuse(violations, f"{path}.{name}", problem)


def _outside(value: Any, dimension: Any) -> str:
    """Say why a value is not one that a search may give to a parameter. Empty: it is."""
    if isinstance(dimension, list):
        return "" if scalar_text(value) in map(scalar_text, dimension) else "must be one of the list in search.space"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if not dimension["minimum"] <= value <= dimension["maximum"]:
        return f"must be from {dimension['minimum']:g} to {dimension['maximum']:g}"
    return "must be whole" if dimension["integer"] and value != int(value) else ""


def _message(read: Plain) -> RuntimeConfiguration:
    """Build the message of a configuration that was judged."""
    message = RuntimeConfiguration(
        name=read["name"],
        entrypoint=read["entrypoint"],
        initialize_from=read["initialize_from"],
        parameters={name: scalar_text(value) for name, value in read["parameters"].items()},
        launcher=LAUNCHERS[read["launcher"]],
        resources=config.Resources(**_given(read["resources"])),
        priority=read["priority"],
        retries=config.RetryPolicy(**read["retries"]),
        limits=config.Limits(**_given(read["limits"])),
        labels=read["labels"],
        working_directory=read["working_directory"],
        not_secret=read["not_secret"],
        rules=read["rules"],
    )
    if read["code"] is not None:
        message.code.CopyFrom(config.Code(**read["code"]))
    snapshots = dict(read["snapshots"])
    best = snapshots.pop("keep_best")
    message.snapshots.CopyFrom(config.SnapshotPolicy(**_given(snapshots)))
    if best is not None:
        message.snapshots.keep_best.CopyFrom(config.KeepBest(metric=best["metric"], mode=MODES[best["mode"]]))
    for name, value in read["environment"].items():
        if isinstance(value, str):
            message.environment[name].value = value
        else:
            message.environment[name].secret = value["secret"]
    if read["search"] is not None:
        message.search.CopyFrom(_search_message(read["search"]))
    return message


def _search_message(read: Plain) -> config.Search:
    search = config.Search(
        kind=KINDS[read["kind"]],
        seed=read["seed"],
        max_trials=read["max_trials"],
        max_concurrent_trials=read["max_concurrent_trials"],
        on_trial_failure=ON_FAILURE[read["on_trial_failure"]],
    )
    for name, dimension in read["space"].items():
        if isinstance(dimension, dict):
            search.space[name].CopyFrom(config.SearchDimension(**dimension))
        else:
            search.space[name].values.extend(scalar_text(value) for value in dimension)
    if read["objective"] is not None:
        of = read["objective"]
        search.objective.CopyFrom(
            config.SearchObjective(metric=of["metric"], mode=MODES[of["mode"]], value=OBJECTIVE_VALUES[of["value"]])
        )
    for point in read["points"]:
        search.points.add(parameters={name: scalar_text(value) for name, value in point.items()})
    if read["pruner"] is not None:
        pruner = _given(read["pruner"])
        search.pruner.CopyFrom(config.SearchPruner(**{**pruner, "kind": PRUNERS[pruner["kind"]]}))
    ends = _given(read["stop_when"] or {})
    if ends:
        search.stop_when.CopyFrom(config.SearchEnd(**ends))
    return search


def _given(read: Plain) -> Plain:
    return {name: value for name, value in read.items() if value is not None}

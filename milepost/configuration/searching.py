"""What holds between the fields of a search, and its message."""

from __future__ import annotations

from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.configuration.conditions import demanded, holds, in_order
from milepost.configuration.plain import MAX_CONCURRENT_TRIALS, Plain, scalar_text
from milepost.configuration.specs import refuse
from milepost.configuration.words import (
    CONDITIONAL,
    CONSTRAINT_VALUES,
    KINDS,
    MODES,
    OBJECTIVE_VALUES,
    ON_FAILURE,
    ONE_OBJECTIVE,
    PRUNERS,
    RANGES_ONLY,
    SAMPLERS,
    WARM,
)
from milepost.errors import Violation

# Whole numbers that a float can hold.
MAX_WHOLE = 2**53
# As Optuna has it.
POPULATION_SIZE = 50
# Of population based training. The factors are those of its paper (Jaderberg and others, 2017).
PBT_DEFAULTS: Plain = {
    "population_size": 8,
    "quantile": 0.25,
    "perturbation_factors": [0.8, 1.2],
    "resample_probability": 0.25,
    "keep_parameters": [],
}


def judge_search(search: Plain, violations: list[Violation]) -> None:
    """Judge a search as a whole. Appends what is wrong with it to `violations`."""
    space = search["space"] or {}
    if not space and not any(v.field.startswith("search.space") for v in violations):
        refuse(violations, "search.space", "must name at least one parameter")
    judge_conditions(search["kind"], space, violations)
    if search["kind"] == "grid":
        for name, dimension in space.items():
            if listed(dimension) is None:
                refuse(violations, f"search.space.{name}", "must be a list in a grid; ranges are for the other kinds")
    if search["kind"] in SAMPLERS:
        _judge_sampler(search, space, violations)
        return
    for name in (
        "objective",
        "objectives",
        "constraints",
        "points",
        "population_size",
        "pruner",
        "stop_when",
        "warm_start",
    ):
        if search[name]:
            refuse(violations, f"search.{name}", f"is for kind: {', '.join(SAMPLERS)}, which choose by it")


def listed(dimension: Any) -> list[Any] | None:
    """Return the values of a dimension as it was read; None: it is a range."""
    return dimension if isinstance(dimension, list) else dimension.get("values")


def when_of(name: str, space: Plain) -> dict[str, list[str]]:
    """Return the condition of a parameter, as texts. Whole numbers of a range are such however they are written."""
    dimension = space[name]
    when = {} if isinstance(dimension, list) else dimension.get("when") or {}
    return {other: [_text_of(value, space.get(other)) for value in values] for other, values in when.items()}


def _text_of(value: Any, dimension: Any) -> str:
    of_range = dimension is not None and listed(dimension) is None
    return scalar_text(int(value) if of_range and isinstance(value, float) and value.is_integer() else value)


def judge_conditions(kind: str, space: Plain, violations: list[Violation]) -> None:
    """Judge which parameters are there only where others have certain values."""
    conditions = {name: when_of(name, space) for name in space}
    if not any(conditions.values()) or any(violation.field.startswith("search.space") for violation in violations):
        return
    for name, when in conditions.items():
        path = f"search.space.{name}.when"
        if when and kind not in CONDITIONAL:
            refuse(
                violations,
                path,
                f"is for kind: {' and '.join(CONDITIONAL)}; {kind} needs all parameters in every trial",
            )
        for other, wanted in when.items():
            problem = _condition_problem(space.get(other), wanted) if other in space else "is not in search.space"
            if problem:
                refuse(violations, f"{path}.{other}", problem)
    if any(violation.field.startswith("search.space") for violation in violations):
        return
    try:
        ordered = in_order(conditions)
    except ValueError as error:
        refuse(violations, "search.space", f"has conditions in a circle: {error}")
        return
    for name in ordered:
        never = [other for other, values in demanded(conditions, name).items() if not values]
        if never:
            refuse(
                violations, f"search.space.{name}.when", f"can never hold: no value of {never[0]} is in all conditions"
            )


def _condition_problem(dimension: Any, wanted: list[str]) -> str:
    """Say why another parameter cannot have values that a condition names. Empty: it can."""
    values = listed(dimension)
    if values is not None:
        known = list(map(scalar_text, values))
        strange = [text for text in wanted if text not in known]
        return f"is never {', '.join(strange)}; it is one of {', '.join(known[:9])}" if strange else ""
    if not dimension["integer"]:
        return "must be a list or a range of whole numbers: a condition names values"
    low, high = int(dimension["minimum"]), int(dimension["maximum"])
    strange = [text for text in wanted if not text.lstrip("-").isdigit() or not low <= int(text) <= high]
    return f"is never {', '.join(strange)}; it is from {low} to {high}" if strange else ""


def _needs(name: str, point: Plain, space: Plain) -> str:
    """Say why a point has a parameter that would not be there. Empty: it would."""
    when = when_of(name, space)
    if holds(when, {other: _text_of(value, space.get(other)) for other, value in point.items()}):
        return ""
    return "is there only with " + ", ".join(
        f"{other}: {' or '.join(values)}" for other, values in sorted(when.items())
    )


def _judge_sampler(search: Plain, space: Plain, violations: list[Violation]) -> None:
    kind, points = search["kind"], search["points"]
    _judge_objectives(search, violations)
    if search["warm_start"] and kind not in WARM:
        refuse(
            violations, "search.warm_start", f"is for kind: {', '.join(WARM)}; {kind} ignores what it did not choose"
        )
    if len(set(search["warm_start"])) < len(search["warm_start"]):
        refuse(violations, "search.warm_start", "names a runtime twice")
    if search["pruner"] is not None:
        judge_pruner(search["pruner"], "search.pruner", violations)
        _judge_population(search, space, violations)
    if any(violation.field.startswith(("search.space", "search.points")) for violation in violations):
        # What cannot be read cannot be judged.
        return
    for name, dimension in space.items():
        if listed(dimension) is not None and kind in RANGES_ONLY:
            refuse(violations, f"search.space.{name}", f"must be a range: {kind} knows no lists; tpe, gp and qmc do")
        if listed(dimension) is None and dimension.get("integer"):
            if max(abs(dimension["minimum"]), abs(dimension["maximum"])) > MAX_WHOLE:
                refuse(violations, f"search.space.{name}", f"must lie within {-MAX_WHOLE:,} and {MAX_WHOLE:,}")
    moving = [d for d in space.values() if listed(d) is None and d["minimum"] != d["maximum"]]
    if kind == "cmaes" and len(moving) < 2 and all(listed(d) is None for d in space.values()):
        refuse(violations, "search.space", "must have at least two ranges: cmaes adapts how they vary together")
    if len(points) > search["max_trials"]:
        refuse(violations, "search.points", f"has {len(points):,} points, more than max_trials")
    for index, point in enumerate(points):
        path = f"search.points[{index}]"
        if not point:
            refuse(violations, path, "must name at least one parameter")
        for name, value in point.items():
            problem = _outside(value, space[name]) if name in space else "is not in search.space"
            problem = problem or _needs(name, point, space)
            if problem:
                refuse(violations, f"{path}.{name}", problem)


def judge_pruner(pruner: Plain, at: str, violations: list[Violation]) -> None:
    """Judge a pruner as a whole. `at`: its path."""
    if pruner["kind"] == "threshold" and pruner["bound"] is None:
        refuse(violations, f"{at}.bound", "is required with kind: threshold")
    path, kind = f"{at}.max_step", pruner["kind"]
    ends = kind in ("hyperband", "pbt")
    if ends and pruner["max_step"] is None:
        refuse(violations, path, f"is required with kind: {kind}: the steps of a whole trial")
    elif not ends and pruner["max_step"] is not None:
        refuse(violations, path, "is for kind: hyperband, pbt")
    elif ends and pruner["max_step"] <= pruner["first_step"]:
        refuse(violations, path, "must be above first_step, where the first rung is")
    if kind != "pbt":
        for name in PBT_DEFAULTS:
            if pruner[name] not in (None, []):
                refuse(violations, f"{at}.{name}", "is for kind: pbt")
        return
    size, quantile = (pruner[name] or PBT_DEFAULTS[name] for name in ("population_size", "quantile"))
    if size * quantile < 1:
        refuse(
            violations, f"{at}.quantile", f"of a population of {size} is less than one trial: nobody would be given up"
        )


def _judge_population(search: Plain, space: Plain, violations: list[Violation]) -> None:
    pruner = search["pruner"]
    if pruner["kind"] != "pbt":
        return
    if search["max_trials"] < (pruner["population_size"] or PBT_DEFAULTS["population_size"]):
        refuse(violations, "search.max_trials", "must be at least search.pruner.population_size")
    for index, name in enumerate(pruner["keep_parameters"]):
        if space and name not in space:
            refuse(violations, f"search.pruner.keep_parameters[{index}]", "is not in search.space")
    if space and set(space) <= set(pruner["keep_parameters"]):
        refuse(violations, "search.pruner.keep_parameters", "names all of search.space: nothing would be tried")


def _judge_objectives(search: Plain, violations: list[Violation]) -> None:
    kind, objectives, constraints = search["kind"], search["objectives"], search["constraints"]
    if search["objective"] is None and not objectives:
        if not any(violation.field.startswith("search.objective") for violation in violations):
            refuse(violations, "search.objective", f"is required with kind: {kind}")
    elif search["objective"] is not None and objectives:
        refuse(violations, "search.objectives", "is instead of search.objective: leave one of them out")
    _refuse_repeated(objectives, "search.objectives", violations)
    _refuse_repeated(constraints, "search.constraints", violations)
    for index, one in enumerate(constraints):
        if (one["at_most"] is None) == (one["at_least"] is None):
            refuse(violations, f"search.constraints[{index}]", "must have one of at_most and at_least")
    if kind != "nsga2" and search["population_size"] is not None:
        refuse(violations, "search.population_size", "is for kind: nsga2")
    several = [word for word in SAMPLERS if word not in ONE_OBJECTIVE]
    if kind in ONE_OBJECTIVE and constraints:
        refuse(violations, "search.constraints", f"is for kind: {', '.join(several)}; {kind} knows no constraints")
    if len(objectives) < 2:
        return
    if kind in ONE_OBJECTIVE:
        refuse(violations, "search.objectives", f"must be one with kind: {kind}; {', '.join(several)} know several")
    if search["pruner"] is not None:
        refuse(violations, "search.pruner", "needs one objective: of several, none alone says which trial is worse")
    if search["stop_when"] and search["stop_when"]["target"] is not None:
        refuse(violations, "search.stop_when.target", "needs one objective; no_gain_in_trials and hours do not")


def _refuse_repeated(listed: list[Plain], path: str, violations: list[Violation]) -> None:
    """Refuse a metric that is named before."""
    metrics = [one["metric"] for one in listed]
    for index, metric in enumerate(metrics):
        if metric is not None and metric in metrics[:index]:
            refuse(violations, f"{path}[{index}].metric", f"{metric} is named twice")


def _outside(value: Any, dimension: Any) -> str:
    """Say why a value is not one that a search may give to a parameter. Empty: it is."""
    values = listed(dimension)
    if values is not None:
        return "" if scalar_text(value) in map(scalar_text, values) else "must be one of the list in search.space"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if not dimension["minimum"] <= value <= dimension["maximum"]:
        return f"must be from {dimension['minimum']:g} to {dimension['maximum']:g}"
    return "must be whole" if dimension["integer"] and value != int(value) else ""


def search_message(read: Plain) -> config.Search:
    """Build the message of a search that was judged."""
    adapts = read["concurrency"] == "auto"
    search = config.Search(
        kind=KINDS[read["kind"]],
        seed=read["seed"],
        max_trials=read["max_trials"],
        max_concurrent_trials=read["max_concurrent_trials"] or (MAX_CONCURRENT_TRIALS if adapts else 1),
        warm_start=read["warm_start"],
        on_trial_failure=ON_FAILURE[read["on_trial_failure"]],
    )
    if adapts:
        search.concurrency = config.SEARCH_CONCURRENCY_AUTO
    for name, dimension in read["space"].items():
        values = listed(dimension)
        if values is None:
            search.space[name].CopyFrom(config.SearchDimension(**{k: v for k, v in dimension.items() if k != "when"}))
        else:
            search.space[name].values.extend(scalar_text(value) for value in values)
        for other, wanted in when_of(name, read["space"]).items():
            search.space[name].when[other].values.extend(wanted)
    objectives = [read["objective"]] if read["objective"] is not None else read["objectives"]
    if len(objectives) == 1:
        # A list of one is the same search.
        search.objective.CopyFrom(_objective_message(objectives[0]))
    else:
        search.objectives.extend(_objective_message(one) for one in objectives)
    for one in read["constraints"]:
        search.constraints.add(**{**_given(one), "value": CONSTRAINT_VALUES[one["value"]]})
    if read["kind"] == "nsga2":
        search.population_size = read["population_size"] or POPULATION_SIZE
    for point in read["points"]:
        search.points.add(parameters={name: scalar_text(value) for name, value in point.items()})
    if read["pruner"] is not None:
        search.pruner.CopyFrom(pruner_message(read["pruner"]))
    ends = _given(read["stop_when"] or {})
    if ends:
        search.stop_when.CopyFrom(config.SearchEnd(**ends))
    return search


def pruner_message(read: Plain) -> config.SearchPruner:
    """Build the message of a pruner that was judged."""
    given = _given(read)
    if read["kind"] == "pbt":
        given |= {name: default for name, default in PBT_DEFAULTS.items() if read[name] in (None, [])}
    return config.SearchPruner(**{**given, "kind": PRUNERS[read["kind"]]})


def _objective_message(of: Plain) -> config.SearchObjective:
    return config.SearchObjective(metric=of["metric"], mode=MODES[of["mode"]], value=OBJECTIVE_VALUES[of["value"]])


def _given(read: Plain) -> Plain:
    return {name: value for name, value in read.items() if value is not None}

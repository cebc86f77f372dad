"""Message to plain: a resolved configuration as people see it, and what a client gave in a message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration.plain import LATER_LIMITS, Plain
from milepost.configuration.specs import Scalar, refuse
from milepost.configuration.text import Refused, no_constant
from milepost.configuration.watching import rules_plain
from milepost.configuration.words import (
    CONCURRENCIES,
    CONSTRAINT_VALUES,
    KINDS,
    LAUNCHERS,
    MODES,
    OBJECTIVE_VALUES,
    ON_FAILURE,
    PRUNERS,
    SAMPLERS,
)
from milepost.errors import Violation

_SCALARS = json.JSONDecoder(parse_constant=no_constant)


def to_plain(configuration: RuntimeConfiguration) -> Plain:
    """Show a resolved configuration in its plain form, every field named. `resolve` of it gives the same message."""
    plain: Plain = {
        "name": configuration.name,
        "entrypoint": configuration.entrypoint,
        "code": {"uri": configuration.code.uri, "digest": configuration.code.digest}
        if configuration.HasField("code")
        else None,
        "working_directory": configuration.working_directory,
        "initialize_from": configuration.initialize_from,
        "parameters": {name: _shown_scalar(text) for name, text in sorted(configuration.parameters.items())},
        "search": _search_plain(configuration.search) if configuration.HasField("search") else None,
        "launcher": _word(LAUNCHERS, configuration.launcher),
        "resources": _fields(configuration.resources),
        "priority": configuration.priority,
        "snapshots": {
            **_fields(configuration.snapshots, skip="keep_best"),
            "keep_best": {
                "metric": configuration.snapshots.keep_best.metric,
                "mode": _word(MODES, configuration.snapshots.keep_best.mode),
            }
            if configuration.snapshots.HasField("keep_best")
            else None,
        },
        "retries": _fields(configuration.retries),
        "limits": _limits_plain(configuration.limits),
        "environment": {
            name: entry.value if entry.WhichOneof("kind") != "secret" else {"secret": entry.secret}
            for name, entry in sorted(configuration.environment.items())
        },
        "labels": dict(sorted(configuration.labels.items())),
    }
    if configuration.not_secret:
        # Not named when it is empty: the digests of configurations from before there was this field stay what they are.
        plain["not_secret"] = list(configuration.not_secret)
    if configuration.HasField("slurm"):
        plain["slurm"] = {
            **_fields(configuration.slurm),
            "time_limit_minutes": configuration.slurm.time_limit_minutes or None,
        }
    if configuration.rules:
        plain["rules"] = rules_plain(configuration.rules)
    return plain


def _limits_plain(limits: config.Limits) -> Plain:
    plain = _fields(limits)
    # 0: it was resolved before there was this limit.
    return {
        name: value for name, value in plain.items() if name not in LATER_LIMITS or value not in (0, LATER_LIMITS[name])
    }


def to_text(configuration: RuntimeConfiguration) -> str:
    """Show a resolved configuration as JSON for people. `resolve_text` of it gives the same message."""
    return json.dumps(to_plain(configuration), indent=2, ensure_ascii=False)


def _search_plain(search: config.Search) -> Plain:
    space: Plain = {}
    for name, dimension in sorted(search.space.items()):
        values = [_shown_scalar(text) for text in dimension.values]
        shown: Plain = {"values": values} if values else _dimension_fields(dimension)
        if dimension.when:
            # Not named in others: their digests stay what they were before there were conditions.
            shown["when"] = {
                other: [_shown_scalar(text) for text in condition.values]
                for other, condition in sorted(dimension.when.items())
            }
        space[name] = values if values and not dimension.when else shown
    plain = {
        "kind": _word(KINDS, search.kind),
        "space": space,
        "seed": search.seed,
        "max_trials": search.max_trials,
        "max_concurrent_trials": search.max_concurrent_trials,
        "on_trial_failure": _word(ON_FAILURE, search.on_trial_failure),
    }
    if search.concurrency == config.SEARCH_CONCURRENCY_AUTO:
        # Not named in others: their digests stay what they were before there was a choice.
        plain["concurrency"] = "auto"
    if search.kind in SAMPLERS.values():
        # Not named in other searches: their digests stay what they were before there were samplers.
        if search.HasField("objective"):
            plain["objective"] = _objective_plain(search.objective)
        else:
            plain["objectives"] = [_objective_plain(one) for one in search.objectives]
        # From here on what is not given is not named, for the same reason.
        if search.constraints:
            plain["constraints"] = [
                {**_fields(one), "value": _word(CONSTRAINT_VALUES, one.value)} for one in search.constraints
            ]
        if search.warm_start:
            plain["warm_start"] = list(search.warm_start)
        if search.population_size:
            plain["population_size"] = search.population_size
        plain["points"] = [
            {name: _shown_scalar(text) for name, text in sorted(point.parameters.items())} for point in search.points
        ]
        plain["stop_when"] = _fields(search.stop_when) if search.HasField("stop_when") else None
        if search.HasField("pruner"):
            plain["pruner"] = _pruner_plain(search.pruner)
    return plain


# What of a pruner there was not at first: not named where it is not given.
_LATER_OF_PRUNERS = (
    "max_step",
    "population_size",
    "quantile",
    "perturbation_factors",
    "resample_probability",
    "keep_parameters",
)


def _pruner_plain(pruner: config.SearchPruner) -> Plain:
    plain = {**_fields(pruner), "kind": _word(PRUNERS, pruner.kind)}
    for name in ("perturbation_factors", "keep_parameters"):
        plain[name] = list(plain[name])
    later = {name: plain.pop(name) for name in _LATER_OF_PRUNERS}
    is_given = {name: value not in (None, [], 0) for name, value in later.items()}
    is_given["resample_probability"] = pruner.HasField("resample_probability")
    return plain | {name: value for name, value in later.items() if is_given[name]}


def _dimension_fields(dimension: config.SearchDimension) -> Plain:
    plain = _fields(dimension, skip="values")
    del plain["when"]
    return plain


def _objective_plain(objective: config.SearchObjective) -> Plain:
    return {
        "metric": objective.metric,
        "mode": _word(MODES, objective.mode),
        "value": _word(OBJECTIVE_VALUES, objective.value),
    }


def _shown_scalar(text: str) -> Any:
    """Read a scalar. What is none, in a bundle of somebody else's, is shown as the text that it is."""
    found: list[Violation] = []
    value = Scalar().read(_given_scalar(text, "", found), "", found)
    return text if found else value


def _fields(message: Any, skip: str = "") -> Plain:
    plain = {}
    for field in message.DESCRIPTOR.fields:
        if field.name != skip:
            unset = field.has_presence and not message.HasField(field.name)
            plain[field.name] = None if unset else getattr(message, field.name)
    return plain


def _word(table: Mapping[str, int], value: int) -> str:
    return next((word for word, known in table.items() if known == value), "")


def given_plain(configuration: RuntimeConfiguration, violations: list[Violation]) -> Plain:
    """Return what a client gave in a message. What proto3 cannot tell from absent counts as absent."""
    plain: Plain = {
        name: getattr(configuration, name) or None
        for name in ("name", "entrypoint", "working_directory", "initialize_from")
    }
    plain["priority"] = configuration.priority
    plain["parameters"] = {
        name: _given_scalar(text, f"parameters.{name}", violations) for name, text in configuration.parameters.items()
    }
    plain["launcher"] = _given_word(LAUNCHERS, configuration.launcher, "launcher", violations)
    plain["labels"] = dict(configuration.labels)
    plain["not_secret"] = list(configuration.not_secret)
    plain["rules"] = rules_plain(configuration.rules)
    plain["environment"] = {
        name: {"secret": entry.secret} if entry.WhichOneof("kind") == "secret" else entry.value
        for name, entry in configuration.environment.items()
    }
    if configuration.HasField("code"):
        plain["code"] = {"uri": configuration.code.uri, "digest": configuration.code.digest}
    if configuration.HasField("slurm"):
        plain["slurm"] = {name: value or None for name, value in _fields(configuration.slurm).items()}
    if configuration.HasField("retries"):
        plain["retries"] = _fields(configuration.retries)
    for name, section in (
        ("resources", configuration.resources),
        ("limits", configuration.limits),
        ("snapshots", configuration.snapshots),
    ):
        plain[name] = {
            key: value
            for key, value in _fields(section, skip="keep_best").items()
            if value or (value is not None and section.DESCRIPTOR.fields_by_name[key].has_presence)
        }
    if configuration.snapshots.HasField("keep_best"):
        best = configuration.snapshots.keep_best
        plain["snapshots"]["keep_best"] = {
            "metric": best.metric or None,
            "mode": _given_word(MODES, best.mode, "snapshots.keep_best.mode", violations),
        }
    if configuration.HasField("search"):
        plain["search"] = _given_search(configuration.search, violations)
    return plain


def _given_search(search: config.Search, violations: list[Violation]) -> Plain:
    space: Plain = {}
    for name, dimension in search.space.items():
        path = f"search.space.{name}"
        values = _given_scalars(dimension.values, path, violations)
        given: Plain = {"values": values} if values else _dimension_fields(dimension)
        if dimension.when:
            given["when"] = {
                other: _given_scalars(condition.values, f"{path}.when.{other}", violations)
                for other, condition in dimension.when.items()
            }
        space[name] = given
    plain: Plain = {
        "kind": _given_word(KINDS, search.kind, "search.kind", violations),
        "space": space,
        "seed": search.seed,
        "max_trials": search.max_trials or None,
        "max_concurrent_trials": search.max_concurrent_trials or None,
        "concurrency": _given_word(CONCURRENCIES, search.concurrency, "search.concurrency", violations),
        "on_trial_failure": _given_word(ON_FAILURE, search.on_trial_failure, "search.on_trial_failure", violations),
        "points": [
            {
                name: _given_scalar(text, f"search.points[{index}].{name}", violations)
                for name, text in point.parameters.items()
            }
            for index, point in enumerate(search.points)
        ],
    }
    if search.HasField("objective"):
        plain["objective"] = _given_objective(search.objective, "search.objective", violations)
    plain["objectives"] = [
        _given_objective(one, f"search.objectives[{index}]", violations) for index, one in enumerate(search.objectives)
    ]
    plain["constraints"] = [
        {
            **_fields(one),
            "metric": one.metric or None,
            "value": _given_word(CONSTRAINT_VALUES, one.value, f"search.constraints[{index}].value", violations),
        }
        for index, one in enumerate(search.constraints)
    ]
    plain["population_size"] = search.population_size or None
    plain["warm_start"] = list(search.warm_start)
    if search.HasField("stop_when"):
        plain["stop_when"] = _fields(search.stop_when)
    if search.HasField("pruner"):
        # What proto3 cannot tell from absent counts as absent.
        given = {name: value or None for name, value in _fields(search.pruner, skip="bound").items()}
        set_ones = {name: _fields(search.pruner)[name] for name in ("bound", "resample_probability")}
        lists = {name: list(getattr(search.pruner, name)) for name in ("perturbation_factors", "keep_parameters")}
        kind = _given_word(PRUNERS, search.pruner.kind, "search.pruner.kind", violations)
        plain["pruner"] = {**given, **set_ones, **lists, "kind": kind}
    return plain


def _given_objective(objective: config.SearchObjective, path: str, violations: list[Violation]) -> Plain:
    return {
        "metric": objective.metric or None,
        "mode": _given_word(MODES, objective.mode, f"{path}.mode", violations),
        "value": _given_word(OBJECTIVE_VALUES, objective.value, f"{path}.value", violations),
    }


def _given_word(table: Mapping[str, int], value: int, path: str, violations: list[Violation]) -> str | None:
    if value and value not in table.values():
        refuse(violations, path, f"{value} is not a known value")
    return _word(table, value) or None


def _given_scalars(texts: Iterable[str], path: str, violations: list[Violation]) -> list[Any]:
    return [_given_scalar(text, f"{path}[{index}]", violations) for index, text in enumerate(texts)]


def _given_scalar(text: str, path: str, violations: list[Violation]) -> Any:
    """Read a scalar as a message has it. One that is refused counts as null, which nothing else is wrong with."""
    try:
        return _SCALARS.decode(text)
    except (ValueError, RecursionError, Refused):
        refuse(violations, path, 'must be one JSON scalar as text, such as 0.003, true or "adam"')
        return None


def canonical_json(configuration: RuntimeConfiguration) -> str:
    """Write a resolved configuration such that equal configurations give equal text."""
    return json.dumps(
        to_plain(configuration), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(configuration: RuntimeConfiguration) -> str:
    """Return `sha256:<hex>` over the canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical_json(configuration).encode()).hexdigest()

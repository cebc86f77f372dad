"""Plain to message: a configuration is judged as a whole, and every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration.fields import CONFIGURATION, MAX_NAME, PRUNER
from milepost.configuration.plain import Plain, scalar_text
from milepost.configuration.searching import judge_pruner, judge_search, pruner_message, search_message
from milepost.configuration.shown import given_plain
from milepost.configuration.specs import refuse
from milepost.configuration.text import parse_text
from milepost.configuration.words import LAUNCHERS, MODES
from milepost.errors import InvalidArgument, Violation


def resolve(plain: Mapping[str, Any]) -> RuntimeConfiguration:
    """Judge a plain configuration and fill in every default.

    Raises:
        InvalidArgument: with every violation at once, each with the path of its field.
    """
    return _resolved(plain, [])


def resolve_text(text: str) -> RuntimeConfiguration:
    """Read, judge and resolve a configuration. Raises `InvalidArgument` with every violation."""
    return resolve(parse_text(text))


def resolve_pruner(plain: Mapping[str, Any]) -> config.SearchPruner:
    """Judge a pruner alone, as in `search.pruner`, and fill in its defaults.

    Raises:
        InvalidArgument: with every violation at once, each with the path of its field.
    """
    violations: list[Violation] = []
    read = PRUNER.read(plain, "pruner", violations)
    judge_pruner(read, "pruner", violations)
    if violations:
        raise InvalidArgument(violations)
    return pruner_message(read)


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
    if read["launcher"] != "slurm" and read["slurm"] != CONFIGURATION.fields["slurm"].spec.read({}, "slurm", []):
        refuse(violations, "slurm", "is for launcher: slurm")
    if read["search"] is None:
        return
    judge_search(read["search"], violations)


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
    if message.launcher == config.LAUNCHER_SLURM:
        message.slurm.CopyFrom(config.SlurmOptions(**_given(read["slurm"])))
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
        message.search.CopyFrom(search_message(read["search"]))
    return message


def _given(read: Plain) -> Plain:
    return {name: value for name, value in read.items() if value is not None}

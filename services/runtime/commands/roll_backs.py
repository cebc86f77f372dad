"""What a roll back goes on from, and with which parameters."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from milepost import configuration as configurations
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.configuration import DURATION_PARAMETERS
from milepost.domain import trial
from milepost.errors import FailedPrecondition, InvalidArgument, Violation
from milepost.numbers import MAX_NUMBER
from services.runtime.commands.branching import read_mapping
from services.runtime.readmodel.view import RuntimeView, TrialView, given_parameters
from services.runtime.snapshots import SnapshotStorage, restorable

MAX_SKIPPED = 1_000_000_000
MAX_TIMES = 1_000


@dataclass(frozen=True, slots=True)
class Changes:
    """Parameters that a roll back changes, as JSON scalars, and the configuration as it would be with them."""

    parameters: dict[str, str]
    configuration: RuntimeConfiguration
    # It names some that the trial was not given.
    adds: bool


def checked(request: api.RollBackTrialRequest) -> None:
    """Refuse numbers that a request cannot have. Raises InvalidArgument: with all of them."""
    violations = []
    match request.WhichOneof("target"):
        case None:
            violations.append(Violation("snapshot_id", "is required, or before_step"))
        case "snapshot_id" if not request.snapshot_id:
            violations.append(Violation("snapshot_id", "must not be empty"))
        case "before_step" if not 1 <= request.before_step <= MAX_NUMBER:
            violations.append(Violation("before_step", f"must be 1 to {MAX_NUMBER:,}"))
    highest = {"skip_batches": MAX_SKIPPED, "margin_steps": MAX_SKIPPED, "max_times": MAX_TIMES, "attempt": 1 << 31}
    for field, most in highest.items():
        if not 0 <= getattr(request, field) <= most:
            violations.append(Violation(field, f"must be 0 to {most:,}"))
    for name, factor in sorted(request.factors.items()):
        if not (math.isfinite(factor) and factor > 0):
            violations.append(Violation(f"factors.{name[:80]}", "must be a number above 0"))
    if violations:
        raise InvalidArgument(violations)


def read_changes(configuration: RuntimeConfiguration, one: TrialView, request: api.RollBackTrialRequest) -> Changes:
    """Read which parameters of a trial are to change.

    Raises:
        InvalidArgument: with everything that is wrong, by field.
    """
    given = given_parameters(configuration, one)
    patch = read_mapping(request.parameters_text, "parameters_text")
    violations = []
    for name, factor in sorted(request.factors.items()):
        number = json.loads(given[name]) if name in given else None
        if name in patch:
            violations.append(Violation(f"factors.{name}", "is in parameters_text too"))
        elif isinstance(number, bool) or not isinstance(number, int | float):
            violations.append(Violation(f"factors.{name[:80]}", "is no number that the trial was given"))
        else:
            patch[name] = number * factor
    for name in sorted(DURATION_PARAMETERS & set(patch)):
        violations.append(Violation(f"parameters.{name}", "says how long to train; give it to a resume"))
    if violations:
        raise InvalidArgument(violations)
    plain = configurations.to_plain(configuration)
    # What is searched is in the way of what is given.
    plain["search"] = None
    plain["parameters"] = {name: json.loads(text) for name, text in given.items()} | patch
    merged = configurations.resolve(plain)
    refused = [v for v in configurations.secret_violations(merged) if v.field.removeprefix("parameters.") in patch]
    if refused:
        raise InvalidArgument(refused)
    return Changes({name: merged.parameters[name] for name in sorted(patch)}, merged, not set(patch) <= set(given))


async def choose(
    storage: SnapshotStorage,
    view: RuntimeView,
    number: int,
    request: api.RollBackTrialRequest,
    of_origin: RuntimeConfiguration | None,
) -> trial.SnapshotRecord:
    """Choose the snapshot that a trial goes back to: the one named, or the newest before a step, if it is whole.

    Args:
        of_origin: of a branch, the configuration of its parent; what it began at comes behind what it saved itself.

    Raises:
        FailedPrecondition: there is none, or none that is whole.
        StorageUnavailable: where it is does not answer.
    """
    state, configuration = view.trials[number].state, view.state.configuration
    assert configuration is not None, "an existing runtime has a configuration"
    if request.snapshot_id:
        # Whether there is such a one the decider says.
        known = (*state.snapshots, *restorable(state)[-1:])
        candidates = [record for record in known if record.snapshot_id == request.snapshot_id][:1]
        if not candidates:
            return trial.SnapshotRecord(request.snapshot_id, 0, 0, "", "")
    else:
        highest = request.before_step - request.margin_steps
        candidates = [record for record in restorable(state) if record.step < highest]
    problems = []
    for record in candidates:
        problem = await storage.verify_of(configuration, state, record, of_origin)
        if not problem:
            return record
        problems.append(problem)
    if problems:
        raise FailedPrecondition(
            f"trial {number} has no valid snapshot to go back to: {'; '.join(problems)}", reason="NO_VALID_SNAPSHOT"
        )
    raise FailedPrecondition(
        f"trial {number} has no snapshot of a step before {max(highest, 0):,}", reason="NO_EARLIER_SNAPSHOT"
    )


def answer_of(one: TrialView) -> tuple[str, int]:
    """Return what the last roll back of a trial goes on from: id and step of the snapshot."""
    abandoned = one.state.abandoned
    step = abandoned.step if abandoned is not None else 0
    found = [record.snapshot_id for record in restorable(one.state) if record.step == step]
    return (found[0] if found else "", step)

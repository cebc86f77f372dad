"""Where a branch begins, and what is other in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import trial
from milepost.domain.sentences import number
from milepost.errors import FailedPrecondition, InvalidArgument, NotFound, Violation
from milepost.rules.of_runs import with_rules_checked
from services.runtime.readmodel.family import origin_at
from services.runtime.readmodel.view import RuntimeView, TrialView, configuration_of, given_parameters

# Requests that name a snapshot by its step, or by its id.
NamesSnapshot = api.BranchTrialRequest | api.PinSnapshotRequest | api.UnpinSnapshotRequest
# Steps that are named where there is no snapshot at the one asked for.
_NEAREST = 4


@dataclass(frozen=True, slots=True)
class Branching:
    """A branch as it may be recorded."""

    branch: facts.Branch
    text: str
    configuration: RuntimeConfiguration

    @property
    def origin(self) -> common.SnapshotOrigin | None:
        """What the trials go on from. None: they begin with weights only."""
        return None if self.branch.weights_only else self.branch.origin


def checked(request: api.BranchTrialRequest) -> None:
    """Refuse what a request cannot have. Raises InvalidArgument: with all of it."""
    violations = place_violations(request)
    if request.keep not in api.BranchKeep.values():
        violations.append(Violation("keep", f"{request.keep} is not a known value"))
    if violations:
        raise InvalidArgument(violations)


def check_restartable(configuration: RuntimeConfiguration) -> None:
    """Refuse to start what Milepost did not start. Raises FailedPrecondition."""
    if configuration.launcher == config.LAUNCHER_EXTERNAL:
        raise FailedPrecondition(
            "Milepost did not start this process and cannot start it again at a snapshot: start the script with "
            "milepost.init(...) and load the snapshot there, or run it by milepost runtime start",
            reason="EXTERNAL_LAUNCHER",
        )


def place_violations(request: NamesSnapshot) -> list[Violation]:
    """Say what is wrong with how a request names a snapshot."""
    match request.WhichOneof("at"):
        case None:
            return [Violation("step", "is required, or snapshot_id")]
        case "step" if request.step < 0:
            return [Violation("step", "must not be negative")]
        case _:
            return []


def find_snapshot(view: RuntimeView, one: TrialView, request: NamesSnapshot) -> trial.SnapshotRecord:
    """Find the snapshot that is asked for; superseded ones too.

    Raises:
        NotFound: it is not there; names the steps that are nearest.
    """
    records = one.state.snapshots
    if request.WhichOneof("at") == "snapshot_id":
        for record in records:
            if record.snapshot_id == request.snapshot_id:
                return record
        known = one.snapshots.get(request.snapshot_id)
        was = "was deleted" if known is not None else "is none of its snapshots"
        raise NotFound(
            f"trial {one.number} of {view.runtime_id}: {request.snapshot_id[:100]} {was}{_nearest(one, None)}",
            reason="SNAPSHOT_NOT_FOUND",
        )
    here = [record for record in records if record.step == request.step]
    if here:
        return max(here, key=lambda record: (not record.superseded, record.attempt))
    origin = one.state.origin
    if origin is not None and request.step <= origin.step:
        raise NotFound(
            f"steps up to {number(origin.step)} of trial {one.number} of {view.runtime_id} are those of "
            f"{origin.runtime_id}/{origin.trial}; name that one{_nearest(one, None)}",
            reason="SNAPSHOT_NOT_FOUND",
        )
    raise NotFound(
        f"trial {one.number} of {view.runtime_id} has no snapshot at step {number(request.step)}"
        f"{_nearest(one, request.step)}",
        reason="SNAPSHOT_NOT_FOUND",
    )


def _nearest(one: TrialView, step: int | None) -> str:
    """Name the steps that have a snapshot, those nearest to one first chosen."""
    steps = sorted({record.step for record in one.state.snapshots})
    if not steps:
        return "; it has none"
    chosen = sorted(steps, key=lambda s: abs(s - step))[:_NEAREST] if step is not None else steps[-_NEAREST:]
    words = "the nearest are" if step is not None else "there are"
    return f"; {words} at {', '.join(number(s) for s in sorted(chosen))}"


def read_branch(
    view: RuntimeView,
    one: TrialView,
    record: trial.SnapshotRecord,
    request: api.BranchTrialRequest,
    declared: Callable[[RuntimeConfiguration], frozenset[str]],
) -> Branching:
    """Read what is to be other in a branch. May look at the files of the code.

    Args:
        declared: gives the parameters that an entrypoint names.

    Raises:
        InvalidArgument: with everything that is wrong, by field.
        FailedPrecondition: it changes what a branch may not change.
    """
    configuration = configuration_of(view)
    patch = read_mapping(request.parameters_text, "parameters_text")
    changes = read_mapping(request.configuration_changes_text, "configuration_changes_text")
    given = given_parameters(configuration, one)
    _check_names(configuration, one, given, patch, changes, declared)
    weights_only = request.keep == api.BRANCH_KEEP_WEIGHTS
    name = f"runtimes/{view.runtime_id}/trials/{one.number}/snapshots/{record.snapshot_id}"
    branched = configurations.branch_with(configuration, given, patch, changes, name if weights_only else "")
    resolved = with_rules_checked(branched.configuration)
    changed = {change.field for change in branched.changes}
    # What was recorded by an earlier version stays, and does not stand in the way.
    secret = [v for v in configurations.secret_violations(resolved) if v.field in changed]
    if secret:
        raise InvalidArgument(secret)
    branch = facts.Branch(
        origin=origin_at(view, one, record, _given_anew(patch, changes)),
        weights_only=weights_only,
        changes=[facts.FieldChange(field=c.field, before=c.before, after=c.after) for c in branched.changes],
    )
    return Branching(branch, configurations.canonical_json(resolved), resolved)


def _given_anew(patch: dict[str, object], changes: dict[str, object]) -> frozenset[str]:
    """Name the parameters that a branch says itself, by one of the three ways that there are."""
    parameters, searched = changes.get("parameters"), changes.get("search")
    space = searched.get("space") if isinstance(searched, dict) else None
    return frozenset({*patch, *_names(parameters), *_names(space)})


def _names(group: object) -> list[str]:
    return [str(name) for name in group] if isinstance(group, dict) else []


def _check_names(
    configuration: RuntimeConfiguration,
    one: TrialView,
    given: dict[str, str],
    patch: dict[str, object],
    changes: dict[str, object],
    declared: Callable[[RuntimeConfiguration], frozenset[str]],
) -> None:
    known: dict[str, object] = {name: json.loads(text) for name, text in given.items()}
    searched = changes.get("search")
    space = searched.get("space") if isinstance(searched, dict) else None
    names = {*patch, *(space if isinstance(space, dict) else ())}
    if names - set(known):
        # Its code may have said more, and name more.
        said = {name for name in one.parameters if name not in known}
        known |= dict.fromkeys([*said, *declared(configuration)])
        known |= {name: json.loads(text) for name, text in given.items()}
    violations = configurations.patch_violations(known, patch)
    if isinstance(space, dict):
        violations += configurations.patch_violations(known, dict.fromkeys(map(str, space)), "search.space")
    if violations:
        raise InvalidArgument(violations)


def read_mapping(text: str, field: str) -> dict[str, object]:
    """Read what a field of a request says by name. Raises InvalidArgument under its name."""
    if not text.strip():
        return {}
    try:
        return dict(configurations.parse_text(text))
    except InvalidArgument as error:
        raise InvalidArgument([Violation(field, violation.description) for violation in error.violations]) from error

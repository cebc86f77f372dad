"""What each RPC asks of its caller: one table. An RPC that is not in it is refused to everybody."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from google.protobuf.message import Message

from milepost.errors import PermissionDenied
from milepost.security.tokens import Identity, Role

HEALTH = "/grpc.health.v1.Health/"


class Kind(Enum):
    """What limits an RPC counts against, and whether it leaves an access fact."""

    READ = "read"
    # Changes something, or takes much out: always leaves an access fact.
    COMMAND = "command"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Rule:
    """What an RPC asks.

    Attributes:
        role: the least role that may call it.
        resources: the fields of the request that name what it is about, each a name or several. All of them: what an
            attempt may ask for is judged by these.
        trainer: an attempt may call it too, for its own runtime.
        service: a service may call it, whatever the role.
        owned: for who started the runtime, and admins. Its handler looks at that and tells the observer what came of it.
    """

    role: Role
    kind: Kind = Kind.READ
    resources: tuple[str, ...] = ()
    trainer: bool = False
    service: bool = False
    owned: bool = False


def _read(*resources: str) -> Rule:
    return Rule(Role.VIEWER, resources=resources, trainer=bool(resources))


def _command(role: Role, resource: str = "name") -> Rule:
    return Rule(role, Kind.COMMAND, (resource,) if resource else ())


def _export(resource: str) -> Rule:
    return Rule(Role.VIEWER, Kind.EXPORT, (resource,) if resource else ())


RUNTIMES = "/milepost.api.runtime.v1.RuntimeService/"
AUDIT = "/milepost.api.audit.v1.AuditService/"
TRIALS = "/milepost.api.trial.v1.TrialService/"
METRICS = "/milepost.api.metric.v1.MetricService/"
LOGS = "/milepost.api.log.v1.LogService/"
ACCESS = "/milepost.api.access.v1.AccessService/"
LAUNCHES = "/milepost.api.training.v1.LaunchService/"
RULE_BOOK = "/milepost.api.rule.v1.RuleService/"
MLFLOW = "/milepost.api.mlflow.v1.MlflowService/"

RULES: dict[str, Rule] = {
    RUNTIMES + "StartRuntime": _command(Role.OPERATOR, ""),
    RUNTIMES + "GetRuntime": _read("name"),
    RUNTIMES + "ListRuntimes": _read(),
    RUNTIMES + "WatchRuntimes": _read("name"),
    RUNTIMES + "PreviewStop": _read("name"),
    RUNTIMES + "StopRuntime": _command(Role.OPERATOR),
    RUNTIMES + "ResumeRuntime": _command(Role.OPERATOR),
    RUNTIMES + "CloneRuntime": _command(Role.OPERATOR),
    RUNTIMES + "BranchTrial": _command(Role.OPERATOR),
    RUNTIMES + "DeleteRuntime": _command(Role.ADMIN),
    RUNTIMES + "UndeleteRuntime": _command(Role.ADMIN),
    RUNTIMES + "ListSnapshots": _read("parent"),
    RUNTIMES + "PinSnapshot": _command(Role.OPERATOR),
    RUNTIMES + "UnpinSnapshot": _command(Role.OPERATOR),
    RUNTIMES + "ListLineage": _read("name"),
    RUNTIMES + "ListRungs": _read("parent"),
    RUNTIMES + "GetImportances": _read("name"),
    RUNTIMES + "ListEvents": _read("parent"),
    RUNTIMES + "WatchEvents": _read("parent"),
    RUNTIMES + "StopTrial": _command(Role.OPERATOR),
    RUNTIMES + "ResumeTrial": _command(Role.OPERATOR),
    RUNTIMES + "LabelRuntime": _command(Role.OPERATOR),
    RUNTIMES + "SnapshotTrial": _command(Role.OPERATOR),
    RUNTIMES + "EvaluateTrial": _command(Role.OPERATOR),
    # What it shows are names of files and functions; whoever may only read finds them in the events.
    RUNTIMES + "RecordStacks": _command(Role.OPERATOR),
    RUNTIMES + "RollBackTrial": _command(Role.OPERATOR),
    RUNTIMES + "SteerTrial": _command(Role.OPERATOR),
    AUDIT + "ReplayEvents": _export("parent"),
    AUDIT + "GetStateAt": _read("name"),
    AUDIT + "DiffStates": _read("name"),
    # It reads everything there is, which takes minutes on a large log.
    AUDIT + "VerifyLog": Rule(Role.OPERATOR, Kind.EXPORT, ("parent",)),
    AUDIT + "ExportBundle": _export("name"),
    TRIALS + "GetTrial": _read("name"),
    TRIALS + "ListTrials": _read("parent"),
    TRIALS + "WatchTrials": _read("parent"),
    TRIALS + "ListAttempts": _read("parent"),
    TRIALS + "CompareTrials": _read("names"),
    TRIALS + "ListEstimates": _read("parent"),
    METRICS + "ListSeries": _read("parent", "parents"),
    METRICS + "QuerySeries": _read("parents"),
    METRICS + "StreamSeries": _read("parents"),
    METRICS + "ListSampleSeries": _read("parent"),
    METRICS + "ListSamples": _read("parents"),
    METRICS + "QueryHistograms": _read("parent"),
    METRICS + "ExportSeries": _export("parents"),
    METRICS + "GetCompleteness": _read("parent"),
    # The runtime service asks it for a whole verification.
    METRICS + "VerifyStored": replace(_command(Role.OPERATOR, "parent"), service=True),
    METRICS + "CheckDeterminism": _read("parent"),
    METRICS + "PurgeRuntime": _command(Role.SERVICE),
    METRICS + "ExportTables": Rule(Role.ADMIN, Kind.EXPORT),
    METRICS + "ExportRows": Rule(Role.SERVICE, Kind.EXPORT, ("name",)),
    LOGS + "QueryLogs": _read("parent"),
    LOGS + "StreamLogs": _read("parent"),
    LOGS + "ListLogFacets": _read("parent"),
    RULE_BOOK + "CreateRule": _command(Role.OPERATOR, ""),
    RULE_BOOK + "GetRule": Rule(Role.VIEWER, resources=("name",)),
    RULE_BOOK + "ListRules": _read(),
    RULE_BOOK + "UpdateRule": _command(Role.OPERATOR),
    RULE_BOOK + "DisableRule": _command(Role.OPERATOR),
    RULE_BOOK + "DeleteRule": _command(Role.OPERATOR),
    # It reads all that is stored of many runs.
    RULE_BOOK + "TestRule": Rule(Role.VIEWER, Kind.EXPORT, ("name",)),
    RULE_BOOK + "ListFirings": Rule(Role.VIEWER, resources=("parent",)),
    RULE_BOOK + "WatchFirings": _read(),
    RULE_BOOK + "ListNotifications": Rule(Role.VIEWER, resources=("parent",)),
    RULE_BOOK + "RetryNotification": _command(Role.OPERATOR),
    RULE_BOOK + "ListDestinations": _read(),
    RULE_BOOK + "TestDestination": _command(Role.OPERATOR),
    ACCESS + "GetCaller": Rule(Role.VIEWER, trainer=True),
    # What it says becomes facts by itself.
    ACCESS + "ReportAccess": Rule(Role.SERVICE),
    # The ticket says which one; it is good once.
    LAUNCHES + "ClaimLaunch": Rule(Role.LAUNCH, Kind.COMMAND),
    LAUNCHES + "TakeUpAttempt": replace(_command(Role.OPERATOR), owned=True),
    LAUNCHES + "BeginAttempt": replace(_command(Role.OPERATOR), owned=True),
    # Who may write, and to which run, it says itself, as it does in the gateway's process (services/mlflow/writing.py).
    MLFLOW + "Answer": Rule(Role.VIEWER),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _read(),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": _read(),
}

# What actions of rules come to: what a service may call in the name of somebody who may call it.
ON_BEHALF = frozenset(
    RUNTIMES + name
    for name in ("StartRuntime", "StopRuntime", "StopTrial", "LabelRuntime", "SnapshotTrial", "RollBackTrial")
)

_RANKS = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


def is_open(method: str) -> bool:
    """Return whether anybody may call a method: health, and nothing else."""
    return method.startswith(HEALTH)


def authorize(identity: Identity, method: str) -> Rule:
    """Return the rule of a method if this caller may call it at all. A trainer's request is looked at later.

    Raises:
        PermissionDenied: the role is not enough, or the method has no rule.
    """
    rule = RULES.get(method)
    if rule is None:
        raise PermissionDenied(f"{method} is not open to anybody", reason="NO_RULE")
    if identity.role is Role.LOCAL:
        allowed = True
    elif identity.role is Role.SERVICE:
        allowed = rule.service or rule.role in (Role.VIEWER, Role.SERVICE)
    elif identity.role is Role.TRAINER:
        allowed = rule.trainer
    elif identity.role is Role.LAUNCH:
        allowed = rule.role is Role.LAUNCH
    else:
        allowed = rule.role in _RANKS and _RANKS[identity.role] >= _RANKS[rule.role]
    if not allowed:
        raise PermissionDenied(
            f"{identity.actor} has the role {identity.role}, this needs {rule.role}",
            reason="ROLE_TOO_LOW",
            metadata={"role": identity.role, "needed": rule.role},
        )
    return rule


def authorize_request(identity: Identity, rule: Rule, request: Message) -> None:
    """Keep an attempt to its own runtime.

    Raises:
        PermissionDenied: the request names another runtime, or none.
    """
    if identity.role is not Role.TRAINER or not rule.resources:
        return
    names = resources_of(rule, request)
    own = re.compile(rf"runtimes/{re.escape(identity.runtime_id)}(/trials/[0-9]+(/snapshots/[a-z0-9-]+)?)?")
    if not names or not all(own.fullmatch(name) for name in names):
        raise PermissionDenied("an attempt may read its own runtime only", reason="ANOTHER_RUNTIME")


def resources_of(rule: Rule, request: Message) -> list[str]:
    """Name what a request is about."""
    values = [getattr(request, field) for field in rule.resources]
    names = [name for value in values for name in ([value] if isinstance(value, str) else value)]
    # One of several fields may be left out.
    return [name for name in names if name] if len(rule.resources) > 1 else names

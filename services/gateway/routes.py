"""The one table between HTTP and RPCs. Everything else in the gateway is read off it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from services.edge.contract import method_of

# Between services, and of processes that run attempts, only.
INTERNAL_RPCS = frozenset(
    {
        "MetricService.PurgeRuntime",
        "MetricService.ExportTables",
        "MetricService.ExportRows",
        "LaunchService.ClaimLaunch",
        "LaunchService.TakeUpAttempt",
        "LaunchService.BeginAttempt",
    }
)

RUNTIME = "runtimes/{runtime}"
TRIAL = "runtimes/{runtime}/trials/{trial}"
RULE = "rules/{rule}"
API = "/api/v1"
MAX_TRIAL = 999_999_999


class Answer(Enum):
    """How the answer of an RPC becomes an HTTP response."""

    # One message as JSON, with an ETag.
    JSON = "json"
    # Each message of a stream as a line of JSON.
    LINES = "lines"
    # Arrow chunks as Arrow, Parquet, CSV or lines of JSON.
    TABLE = "table"
    # Chunks of a file.
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP route.

    Attributes:
        rpc: `Service.Method`.
        bind: request field -> template over the parameters of the path.
        flatten: request field whose members are query parameters of their own.
        seconds: deadline of the RPC.
        wildcard: the runtime may be `-`, for all of them.
    """

    method: str
    path: str
    rpc: str
    summary: str
    bind: Mapping[str, str] = field(default_factory=dict)
    flatten: str = ""
    answer: Answer = Answer.JSON
    seconds: float = 30.0
    wildcard: bool = False

    @property
    def descriptor(self) -> MethodDescriptor:
        return method_of(self.rpc)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of a live stream: an RPC that streams, and how it is begun and gone on with.

    Attributes:
        request: the fixed part of the request, as templates over `runtime` and `trial`.
        positions: request fields that say what the client has seen, in the order in which they stand in the position.
        seen: fields of a response that say the same.
        snapshot: it begins with the state as it is; a position holds only after `caught_up`.
        query: request fields that a client may set, by the name of the query parameter.
        state: response field with the state of one thing. Only of snapshots.
        hidden: field of that state: it is deleted, and no part of the state as it is.
        everything: position from which the service gives deleted ones too.
    """

    rpc: str
    request: Mapping[str, Any]
    positions: tuple[str, ...]
    seen: tuple[str, ...]
    snapshot: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    needs_trial: bool = False
    state: str = ""
    hidden: str = ""
    everything: tuple[str, ...] = ()


def _read(path: str, rpc: str, summary: str, bind: Mapping[str, str] | None = None, **more: Any) -> Route:
    return Route("GET", API + path, rpc, summary, bind or {}, **more)


def _command(path: str, rpc: str, summary: str, bind: Mapping[str, str] | None = None, **more: Any) -> Route:
    return Route("POST", API + path, rpc, summary, bind or {}, **more)


ROUTES: tuple[Route, ...] = (
    _command(
        "/runtimes", "RuntimeService.StartRuntime", "Start a runtime, or with validate_only check its configuration"
    ),
    _read("/runtimes", "RuntimeService.ListRuntimes", "List runtimes"),
    _read("/runtimes/{runtime}", "RuntimeService.GetRuntime", "Get a runtime", {"name": RUNTIME}),
    Route("DELETE", API + "/runtimes/{runtime}", "RuntimeService.DeleteRuntime", "Delete a runtime", {"name": RUNTIME}),
    _command(
        "/runtimes/{runtime}:undelete", "RuntimeService.UndeleteRuntime", "Take a deletion back", {"name": RUNTIME}
    ),
    _command("/runtimes/{runtime}:stop", "RuntimeService.StopRuntime", "Stop a runtime", {"name": RUNTIME}),
    _command("/runtimes/{runtime}:resume", "RuntimeService.ResumeRuntime", "Resume a runtime", {"name": RUNTIME}),
    _command(
        "/runtimes/{runtime}:clone", "RuntimeService.CloneRuntime", "Start a copy of a runtime", {"name": RUNTIME}
    ),
    _command("/runtimes/{runtime}:label", "RuntimeService.LabelRuntime", "Label a runtime anew", {"name": RUNTIME}),
    _command(
        "/runtimes/{runtime}:previewStop", "RuntimeService.PreviewStop", "Say what a stop would lose", {"name": RUNTIME}
    ),
    _read(
        "/runtimes/{runtime}/snapshots",
        "RuntimeService.ListSnapshots",
        "List the snapshots of a runtime",
        {"parent": RUNTIME},
    ),
    _read(
        "/runtimes/{runtime}/trials/{trial}/snapshots",
        "RuntimeService.ListSnapshots",
        "List the snapshots of a trial",
        {"parent": TRIAL},
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:pinSnapshot",
        "RuntimeService.PinSnapshot",
        "Keep a snapshot of a trial",
        {"name": TRIAL},
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:unpinSnapshot",
        "RuntimeService.UnpinSnapshot",
        "Keep a snapshot of a trial no longer than its policy does",
        {"name": TRIAL},
    ),
    _read(
        "/runtimes/{runtime}/events",
        "RuntimeService.ListEvents",
        "List events; runtime - for all",
        {"parent": RUNTIME},
        wildcard=True,
        flatten="filter",
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:branch",
        "RuntimeService.BranchTrial",
        "Start a runtime at a snapshot of a trial",
        {"name": TRIAL},
    ),
    _read(
        "/runtimes/{runtime}/lineage",
        "RuntimeService.ListLineage",
        "List the tree of branches that a runtime is part of",
        {"name": RUNTIME},
    ),
    _read(
        "/runtimes/{runtime}/rungs",
        "RuntimeService.ListRungs",
        "List the rungs that the trials of a search reached",
        {"parent": RUNTIME},
    ),
    _read(
        "/runtimes/{runtime}/importances",
        "RuntimeService.GetImportances",
        "Say how much follows from each parameter of a search",
        {"name": RUNTIME},
        seconds=90.0,
    ),
    _command("/runtimes/{runtime}/trials/{trial}:stop", "RuntimeService.StopTrial", "Stop a trial", {"name": TRIAL}),
    _command(
        "/runtimes/{runtime}/trials/{trial}:resume", "RuntimeService.ResumeTrial", "Resume a trial", {"name": TRIAL}
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:snapshot",
        "RuntimeService.SnapshotTrial",
        "Have a trial take a snapshot",
        {"name": TRIAL},
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:evaluate",
        "RuntimeService.EvaluateTrial",
        "Have a trial evaluate",
        {"name": TRIAL},
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:recordStacks",
        "RuntimeService.RecordStacks",
        "Have the instances of a trial say what their threads are doing",
        {"name": TRIAL},
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:rollBack",
        "RuntimeService.RollBackTrial",
        "Have a trial go on from an earlier snapshot",
        {"name": TRIAL},
        # It reads the snapshot.
        seconds=120.0,
    ),
    _command(
        "/runtimes/{runtime}/trials/{trial}:steer",
        "RuntimeService.SteerTrial",
        "Change steerable values of a trial while it runs",
        {"name": TRIAL},
    ),
    _read(
        "/runtimes/{runtime}/trials",
        "TrialService.ListTrials",
        "List trials; runtime - for all",
        {"parent": RUNTIME},
        wildcard=True,
    ),
    _read("/runtimes/{runtime}/trials/{trial}", "TrialService.GetTrial", "Get a trial", {"name": TRIAL}),
    _read(
        "/runtimes/{runtime}/trials/{trial}/attempts",
        "TrialService.ListAttempts",
        "List the attempts of a trial",
        {"parent": TRIAL},
    ),
    _read(
        "/runtimes/{runtime}/trials/{trial}/estimates",
        "TrialService.ListEstimates",
        "List the estimates of the end that were given",
        {"parent": TRIAL},
    ),
    _read("/trials:compare", "TrialService.CompareTrials", "Compare 2 to 10 trials"),
    _read(
        "/runtimes/{runtime}/trials/{trial}/series",
        "MetricService.ListSeries",
        "List the series of a trial",
        {"parent": TRIAL},
    ),
    _read(
        "/runtimes/{runtime}/trials/{trial}/sampleSeries",
        "MetricService.ListSampleSeries",
        "List the series of samples and other rows of a trial",
        {"parent": TRIAL},
    ),
    _read("/samples:query", "MetricService.ListSamples", "Read samples and other rows that match"),
    _read(
        "/runtimes/{runtime}/trials/{trial}/histograms",
        "MetricService.QueryHistograms",
        "Read a series of histograms over the steps",
        {"parent": TRIAL},
    ),
    _read("/series:query", "MetricService.QuerySeries", "Read series as buckets or raw points"),
    _read(
        "/series:export",
        "MetricService.ExportSeries",
        "Export all points as a file",
        answer=Answer.TABLE,
        seconds=600.0,
    ),
    _read(
        "/runtimes/{runtime}/completeness",
        "MetricService.GetCompleteness",
        "Compare what was sent with what is stored",
        {"parent": RUNTIME},
    ),
    _read(
        "/runtimes/{runtime}/trials/{trial}/completeness",
        "MetricService.GetCompleteness",
        "Compare what a trial sent with what is stored",
        {"parent": TRIAL},
    ),
    _read(
        "/runtimes/{runtime}/trials/{trial}/determinism",
        "MetricService.CheckDeterminism",
        "Compare the steps that ran twice",
        {"parent": TRIAL},
    ),
    _command("/rules", "RuleService.CreateRule", "Make a rule, or with validate_only check it"),
    _read("/rules", "RuleService.ListRules", "List rules"),
    _read("/rules/{rule}", "RuleService.GetRule", "Get a rule", {"name": RULE}),
    _command("/rules/{rule}:update", "RuleService.UpdateRule", "Replace a rule", {"name": RULE}),
    Route("DELETE", API + "/rules/{rule}", "RuleService.DeleteRule", "Delete a rule", {"name": RULE}),
    _command("/rules/{rule}:disable", "RuleService.DisableRule", "Have a rule fire no more", {"name": RULE}),
    _command(
        "/rules:test",
        "RuleService.TestRule",
        "Play a rule over stored runs: each run, then a summary",
        answer=Answer.LINES,
        seconds=3600.0,
    ),
    _read(
        "/rules/{rule}/firings",
        "RuleService.ListFirings",
        "List what a rule found; rule - for all",
        {"parent": RULE},
        wildcard=True,
    ),
    _read(
        "/rules/{rule}/notifications",
        "RuleService.ListNotifications",
        "List who was told of what a rule found; rule - for all",
        {"parent": RULE},
        wildcard=True,
    ),
    _command(
        "/notifications/{notification}:retry",
        "RuleService.RetryNotification",
        "Send a dead letter again",
        {"name": "notifications/{notification}"},
    ),
    _read("/destinations", "RuleService.ListDestinations", "List where firings may be told"),
    _command(
        "/destinations/{destination}:test",
        "RuleService.TestDestination",
        "Tell a destination something made up",
        {"name": "destinations/{destination}"},
    ),
    _command("/telemetry:verify", "MetricService.VerifyStored", "Compare ClickHouse with the stream", seconds=600.0),
    _read("/runtimes/{runtime}/logs", "LogService.QueryLogs", "Read log lines", {"parent": RUNTIME}, flatten="filter"),
    _read(
        "/runtimes/{runtime}/trials/{trial}/logs",
        "LogService.QueryLogs",
        "Read log lines of a trial",
        {"parent": TRIAL},
        flatten="filter",
    ),
    _read(
        "/runtimes/{runtime}/logs/facets",
        "LogService.ListLogFacets",
        "Count log lines",
        {"parent": RUNTIME},
        flatten="filter",
    ),
    _read(
        "/runtimes/{runtime}/trials/{trial}/logs/facets",
        "LogService.ListLogFacets",
        "Count log lines of a trial",
        {"parent": TRIAL},
        flatten="filter",
    ),
    _read(
        "/runtimes/{runtime}:state",
        "AuditService.GetStateAt",
        "Get a runtime and its trials as they were",
        {"name": RUNTIME},
    ),
    _read(
        "/runtimes/{runtime}:diff", "AuditService.DiffStates", "Say what changed between two moments", {"name": RUNTIME}
    ),
    _read(
        "/runtimes/{runtime}:export",
        "AuditService.ExportBundle",
        "Export a runtime as a file",
        {"name": RUNTIME},
        answer=Answer.FILE,
        seconds=600.0,
    ),
    _read(
        "/events:replay",
        "AuditService.ReplayEvents",
        "Replay events",
        flatten="filter",
        answer=Answer.LINES,
        seconds=3600.0,
    ),
    _command(
        "/log:verify",
        "AuditService.VerifyLog",
        "Verify the log; progress, then the verdict",
        answer=Answer.LINES,
        seconds=3600.0,
    ),
)

# What rules have open, in all runs: every page shows it.
FIRINGS = Topic("RuleService.WatchFirings", {}, ("after_sequence",), ("sequence",), snapshot=True, state="open")

# Topics of `/api/v1/runtimes/{runtime}/stream`.
RUNTIME_TOPICS: dict[str, Topic] = {
    "runtime": Topic(
        "RuntimeService.WatchRuntimes",
        {"name": RUNTIME},
        ("after_sequence",),
        ("sequence",),
        snapshot=True,
        state="runtime",
    ),
    "trials": Topic(
        "TrialService.WatchTrials",
        {"parent": RUNTIME},
        ("after_events_sequence", "after_telemetry_sequence"),
        ("events_sequence", "telemetry_sequence"),
        snapshot=True,
        state="trial",
        query={"brief": "brief"},
    ),
    "trial": Topic(
        "TrialService.WatchTrials",
        {"parent": TRIAL},
        ("after_events_sequence", "after_telemetry_sequence"),
        ("events_sequence", "telemetry_sequence"),
        snapshot=True,
        state="trial",
        needs_trial=True,
    ),
    "events": Topic("RuntimeService.WatchEvents", {"parent": RUNTIME}, ("after_sequence",), ("sequence",)),
    "metrics": Topic(
        "MetricService.StreamSeries",
        {"parents": [TRIAL]},
        ("after_telemetry_sequence",),
        ("telemetry_sequence",),
        query={"keys": "keys"},
        needs_trial=True,
    ),
    "logs": Topic("LogService.StreamLogs", {"parent": TRIAL}, ("cursor",), ("cursor",), needs_trial=True),
    "firings": FIRINGS,
}

# Topics of `/api/v1/stream`.
PLATFORM_TOPICS: dict[str, Topic] = {
    "runtimes": Topic(
        "RuntimeService.WatchRuntimes",
        {},
        ("after_sequence",),
        ("sequence",),
        snapshot=True,
        state="runtime",
        hidden="deleted",
        everything=("1",),
        query={"filter": "filter"},
    ),
    "trials": Topic(
        "TrialService.WatchTrials",
        {"parent": "runtimes/-", "brief": True},
        ("after_events_sequence", "after_telemetry_sequence"),
        ("events_sequence", "telemetry_sequence"),
        snapshot=True,
        state="trial",
        hidden="runtime_deleted",
    ),
    "events": Topic("RuntimeService.WatchEvents", {"parent": "runtimes/-"}, ("after_sequence",), ("sequence",)),
    "firings": FIRINGS,
}

RUNTIME_STREAM = API + "/runtimes/{runtime}/stream"
PLATFORM_STREAM = API + "/stream"

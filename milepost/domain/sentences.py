"""Every event as one sentence for people, and the words of the closed sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import platform_events_pb2 as platform_facts
from milepost.api.event.v1 import rule_events_pb2 as rule_facts
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.domain import steering

Number = TypeVar("Number", bound=int)

# Names that a sentence lists before it counts the rest.
LISTED_NAMES = 6


class Words(dict[Number, str]):
    """The words of a closed set by its numbers. One of a newer version has no word, and is said as a number."""

    def __init__(self, before: str, words: Mapping[Number, str]) -> None:
        super().__init__(words)
        self._before = before

    def __missing__(self, number: Number) -> str:
        return f"{self._before} {number}, which this version does not know"


EXIT_CAUSES = Words(
    "for cause",
    {
        common.EXIT_CAUSE_UNSPECIFIED: "for an unknown cause",
        common.EXIT_CAUSE_FINISHED: "finished",
        common.EXIT_CAUSE_STOPPED: "stopped on request",
        common.EXIT_CAUSE_EXCEPTION: "raised an exception",
        common.EXIT_CAUSE_DETERMINISTIC: "failed in a way that would repeat itself",
        common.EXIT_CAUSE_SIGNAL: "was killed by a signal",
        common.EXIT_CAUSE_OUT_OF_MEMORY: "ran out of memory",
        common.EXIT_CAUSE_LOST: "was lost",
        common.EXIT_CAUSE_KILLED: "was killed by Milepost",
        common.EXIT_CAUSE_LAUNCH_FAILED: "could not be started",
        common.EXIT_CAUSE_FENCED: "left because it was fenced",
    },
)

FAILURE_REASONS = Words(
    "for reason",
    {
        common.FAILURE_REASON_UNSPECIFIED: "for an unknown reason",
        common.FAILURE_REASON_TRAINING_ERROR: "the training code raised",
        common.FAILURE_REASON_DETERMINISTIC_ERROR: "the same error would come again",
        common.FAILURE_REASON_CRASHED: "the process crashed",
        common.FAILURE_REASON_OUT_OF_MEMORY: "out of memory",
        common.FAILURE_REASON_LOST: "contact was lost",
        common.FAILURE_REASON_LAUNCH_FAILED: "it could not be launched",
        common.FAILURE_REASON_DEADLINE_EXCEEDED: "its time limit was reached",
        common.FAILURE_REASON_TRIAL_FAILED: "a trial failed",
        common.FAILURE_REASON_NO_VALID_SNAPSHOT: "no snapshot is valid",
        common.FAILURE_REASON_SAMPLER_FAILED: "its sampler could not choose the next trial",
    },
)

HEALTHS = Words(
    "health",
    {
        common.HEALTH_UNSPECIFIED: "unknown",
        common.HEALTH_HEALTHY: "healthy",
        common.HEALTH_DEGRADED: "degraded",
        common.HEALTH_UNHEALTHY: "unhealthy",
    },
)

STOP_MODES = Words(
    "mode",
    {
        common.STOP_MODE_UNSPECIFIED: "graceful",
        common.STOP_MODE_GRACEFUL: "graceful",
        common.STOP_MODE_ABRUPT: "abrupt",
    },
)

PENDING_REASONS = Words(
    "reason",
    {
        runtime_facts.PENDING_REASON_UNSPECIFIED: "resources",
        runtime_facts.PENDING_REASON_INSUFFICIENT_CPU: "CPUs",
        runtime_facts.PENDING_REASON_INSUFFICIENT_GPU: "GPUs",
        runtime_facts.PENDING_REASON_INSUFFICIENT_MEMORY: "memory",
        runtime_facts.PENDING_REASON_BEHIND_OTHERS: "the runtimes before it",
        runtime_facts.PENDING_REASON_LAUNCHER_UNAVAILABLE: "its launcher, which is not available",
    },
)

OBJECTIVE_OUTCOMES = Words(
    "outcome",
    {
        runtime_facts.OBJECTIVE_OUTCOME_UNSPECIFIED: "outcome not known",
        runtime_facts.OBJECTIVE_OUTCOME_VALUE: "a value",
        runtime_facts.OBJECTIVE_OUTCOME_TRIAL_FAILED: "no value, the trial failed",
        runtime_facts.OBJECTIVE_OUTCOME_NO_VALUE: "no value",
        runtime_facts.OBJECTIVE_OUTCOME_NON_FINITE: "no finite value",
        runtime_facts.OBJECTIVE_OUTCOME_PRUNED: "pruned",
    },
)

SEARCH_ENDS = Words(
    "for reason",
    {
        runtime_facts.SEARCH_END_REASON_UNSPECIFIED: "for an unknown reason",
        runtime_facts.SEARCH_END_REASON_MAX_TRIALS: "every trial is done",
        runtime_facts.SEARCH_END_REASON_TARGET: "the target is reached",
        runtime_facts.SEARCH_END_REASON_NO_GAIN: "nothing better came",
        runtime_facts.SEARCH_END_REASON_HOURS: "its time is over",
        runtime_facts.SEARCH_END_REASON_SAMPLER_FAILED: "its sampler could not choose the next trial",
    },
)

FENCE_REASONS = Words(
    "for reason",
    {
        trial_facts.FENCE_REASON_UNSPECIFIED: "for an unknown reason",
        trial_facts.FENCE_REASON_LOST: "contact was lost",
        trial_facts.FENCE_REASON_EXITED: "its process is gone",
        trial_facts.FENCE_REASON_ABRUPT_STOP: "an abrupt stop",
        trial_facts.FENCE_REASON_STOP_DEADLINE: "the deadline of its stop",
        trial_facts.FENCE_REASON_LAUNCH_FAILED: "it could not be launched",
        trial_facts.FENCE_REASON_DEADLINE_EXCEEDED: "the time limit of the runtime",
        trial_facts.FENCE_REASON_POLICY: "another trial failed",
        trial_facts.FENCE_REASON_DELETED: "the runtime was deleted",
        trial_facts.FENCE_REASON_EXCESS: "it wrote more than an attempt may",
        trial_facts.FENCE_REASON_ROLLED_BACK: "the trial goes on from an earlier snapshot",
    },
)

LAUNCH_REASONS = Words(
    " for reason",
    {
        trial_facts.LAUNCH_REASON_UNSPECIFIED: "",
        trial_facts.LAUNCH_REASON_FIRST: "",
        trial_facts.LAUNCH_REASON_RESUME: " on resume",
        trial_facts.LAUNCH_REASON_RETRY: " as a retry",
        trial_facts.LAUNCH_REASON_ROLL_BACK: " by a roll back",
    },
)

# What a rule does, by the field of `Action`.
ACTION_WORDS = {
    "label": "label the run",
    "snapshot": "have a snapshot taken",
    "stop": "stop it",
    "start": "start a run",
    "roll_back": "roll it back",
}

OUTCOMES = Words(
    "ended with outcome",
    {
        trial_facts.ATTEMPT_OUTCOME_UNSPECIFIED: "ended",
        trial_facts.ATTEMPT_OUTCOME_COMPLETED: "completed",
        trial_facts.ATTEMPT_OUTCOME_STOPPED: "stopped",
        trial_facts.ATTEMPT_OUTCOME_FAILED: "failed",
    },
)

SNAPSHOT_REASONS = Words(
    " for reason",
    {
        trial_facts.SNAPSHOT_REASON_UNSPECIFIED: "",
        trial_facts.SNAPSHOT_REASON_INTERVAL: "",
        trial_facts.SNAPSHOT_REASON_STOP: " before the stop",
        trial_facts.SNAPSHOT_REASON_END: " at the end",
        trial_facts.SNAPSHOT_REASON_REQUEST: " on request",
    },
)

SNAPSHOT_DELETE_REASONS = Words(
    "for reason",
    {
        trial_facts.SNAPSHOT_DELETE_REASON_UNSPECIFIED: "",
        trial_facts.SNAPSHOT_DELETE_REASON_RETENTION: "newer or better ones are kept",
        trial_facts.SNAPSHOT_DELETE_REASON_PURGE: "its runtime was deleted",
        trial_facts.SNAPSHOT_DELETE_REASON_CORRUPT: "it did not verify",
    },
)

ACCESS_RESULTS = Words(
    "had result",
    {
        platform_facts.ACCESS_RESULT_UNSPECIFIED: "did",
        platform_facts.ACCESS_RESULT_ALLOWED: "did",
        platform_facts.ACCESS_RESULT_UNAUTHENTICATED: "was not authenticated for",
        platform_facts.ACCESS_RESULT_PERMISSION_DENIED: "was not allowed",
    },
)

CLEAR_REASONS = Words(
    "for reason",
    {
        rule_facts.CLEAR_REASON_UNSPECIFIED: "for an unknown reason",
        rule_facts.CLEAR_REASON_RECOVERED: "what it looks for is over",
        rule_facts.CLEAR_REASON_SUPERSEDED: "the steps it was about were abandoned",
        rule_facts.CLEAR_REASON_ENDED: "the trial has come to rest",
        rule_facts.CLEAR_REASON_RULE_CHANGED: "the rule was changed",
    },
)


def number(value: int) -> str:
    """Write a count: `4,120`."""
    return f"{value:,}"


def plural(value: int, word: str) -> str:
    """Write a count with its word: `1 step`, `37 steps`."""
    return f"{value:,} {word}" if value == 1 else f"{value:,} {word}s"


def duration(seconds: float) -> str:
    """Write a duration: `45 s`, `2 m 10 s`, `3 h 5 m`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} m {whole % 60} s" if whole % 60 else f"{whole // 60} m"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60} m" if whole % 3_600 >= 60 else f"{whole // 3_600} h"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600} h" if whole % 86_400 >= 3_600 else f"{whole // 86_400} d"


def size(byte_count: int) -> str:
    """Write a size in units of 1000: `3.4 MB`."""
    value, units = float(byte_count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1_000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 99.5 or units[0] == "B" else f"{value:.1f} {units[0]}"


def sentence(payload: Message) -> str:
    """Say an event in one sentence, without the name of its runtime or trial."""
    return SENTENCES[type(payload)](payload)


def _tail(text: str, separator: str = ": ") -> str:
    return f"{separator}{text}" if text else ""


def _time(timestamp: Timestamp) -> str:
    try:
        return timestamp.ToDatetime(UTC).strftime("%H:%M:%S UTC")
    except (ValueError, OverflowError):
        return "a time that no clock shows"


def _values(values: Any) -> str:
    return ", ".join(f"{key} {value:.6g}" for key, value in sorted(values.items()))


def _join(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def _requested(fact: runtime_facts.RuntimeRequested) -> str:
    origin = f", a clone of {fact.cloned_from}" if fact.cloned_from else ""
    if fact.HasField("branch"):
        origin = f", {branch_sentence(fact.branch)}"
    return f"Requested with {plural(fact.trial_count, 'trial')}{origin}"


def branch_sentence(branch: runtime_facts.Branch) -> str:
    """Say where a runtime branched off, and with what: "branched from rt-... trial 1 at step 4,000 with ..."."""
    at = branch.origin
    how = "with the weights of" if branch.weights_only else "branched from"
    changes = [f"{change.field} {change.after or 'none'}" for change in branch.changes]
    more = len(changes) - LISTED_NAMES
    told = f"{', '.join(changes[:LISTED_NAMES])}{f' and {more:,} more' if more > 0 else ''}"
    return f"{how} {at.runtime_id} trial {at.trial} at step {number(at.step)}{_tail(told, ' with ')}"


def _pending(fact: runtime_facts.ResourcesPending) -> str:
    place = f", number {fact.position} in the queue" if fact.position else ""
    return f"Waiting for {PENDING_REASONS[fact.reason]}{place}{_tail(fact.detail)}"


def _allocated(fact: runtime_facts.ResourcesAllocated) -> str:
    gpus = (
        f"GPUs {', '.join(map(str, fact.gpus))}" if fact.gpus else f"{fact.gpu_count:g} GPUs" if fact.gpu_count else ""
    )
    memory = f"{fact.memory_gigabytes:g} GB" if fact.memory_gigabytes else ""
    held = _join([f"{fact.cpus:g} CPUs" if fact.cpus else "", gpus, memory]) or "nothing of this host"
    return f"Allocated {held}{_tail(fact.host, ' on ')}"


def _stop_requested(fact: Any) -> str:
    mode = STOP_MODES[fact.mode].capitalize()
    until = (
        f", until {_time(fact.deadline_time)}"
        if fact.mode != common.STOP_MODE_ABRUPT and fact.HasField("deadline_time")
        else ""
    )
    return f"{mode} stop requested{until}{_tail(fact.reason)}"


def _runtime_failed(fact: runtime_facts.RuntimeFailed) -> str:
    where = f" in trial {fact.trial}" if fact.trial else ""
    return f"Failed{where}, {FAILURE_REASONS[fact.reason]}{_tail(fact.detail)}"


def _resume_requested(fact: runtime_facts.ResumeRequested) -> str:
    source = f" from {fact.snapshot_id}" if fact.snapshot_id else ""
    changes = f", changing {', '.join(fact.changed_fields)}" if fact.changed_fields else ""
    which = f" of {plural(len(fact.trials), 'trial')}" if len(fact.trials) > 1 else ""
    return f"Resume{which} requested{source}{changes}"


def _delete_requested(fact: runtime_facts.DeleteRequested) -> str:
    until = f"; it can be undeleted until {_time(fact.purge_time)}" if fact.HasField("purge_time") else ""
    return f"Delete requested{_tail(fact.reason)}{until}"


def _runtime_purged(fact: runtime_facts.RuntimePurged) -> str:
    gone = _join(
        [
            f"{plural(fact.snapshot_count, 'snapshot')} ({size(fact.snapshot_bytes)})",
            plural(fact.point_count, "point"),
            plural(fact.log_line_count, "log line"),
        ]
    )
    left = f"; still there: {'; '.join(fact.remaining)}" if fact.remaining else ""
    return f"Removed {gone}{left}"


def _objective_reported(fact: runtime_facts.ObjectiveReported) -> str:
    value = f"{fact.metric} {fact.value:.6g}" if fact.HasField("value") else OBJECTIVE_OUTCOMES[fact.outcome]
    return f"Trial {fact.trial}: {value}{', the best so far' if fact.best else ''}{_tail(fact.detail)}"


def pruning(fact: runtime_facts.TrialPruned) -> str:
    """Say where a trial was pruned and why: "at rung 2, step 400: 0.91, the cut-off is 0.52, place 7 of 9"."""
    place = f"place {fact.rank} of {fact.reached_count}"
    return (
        f"at rung {fact.rung}, step {number(fact.step)}: {fact.value:.6g}, the cut-off is {fact.cut_off:.6g}, {place}"
    )


def _best(fact: runtime_facts.SearchEnded) -> str:
    return f"; the best is trial {fact.best_trial} with {fact.best_value:.6g}" if fact.best_trial else ""


def _attempt_launched(fact: trial_facts.AttemptLaunched) -> str:
    source = f" from the snapshot at step {number(fact.snapshot_step)}" if fact.snapshot_id else " from the beginning"
    if fact.HasField("own_step"):
        source = f" from a checkpoint of the script's own at step {number(fact.own_step)}"
    elif fact.appends:
        source = " to record more"
    elif fact.HasField("process") and not fact.snapshot_id and fact.attempt > 1:
        source = " from where the script says"
    rejected = f"; passed over {', '.join(fact.rejected_snapshot_ids)}, not valid" if fact.rejected_snapshot_ids else ""
    return f"Attempt {fact.attempt} launched{LAUNCH_REASONS[fact.reason]}{source}{_tail(fact.host, ' on ')}{rejected}"


def _environment(fact: trial_facts.EnvironmentRecorded) -> str:
    git = fact.git
    changes = " with changes" if git.dirty else ", changes unknown" if git.unknown_changes else ""
    code = f"commit {git.commit[:10]}{_tail(git.branch, ' of ')}{changes}" if git.commit else "code in no Git checkout"
    packages = len(fact.packages) + fact.left_out_package_count
    return (
        f"Environment: {code}, Python {fact.python}, {number(packages)} packages{_tail(', '.join(fact.devices), ', ')}"
    )


def _attempt_started(fact: trial_facts.AttemptStarted) -> str:
    source = f"went on from step {number(fact.restored_step)}" if fact.restored_step else "began"
    group = f" with {plural(fact.world_size, 'worker')}" if fact.world_size > 1 else ""
    return f"Attempt {fact.attempt} {source}{group}{_tail(fact.inexact)}"


def _plan(fact: trial_facts.PlanDeclared) -> str:
    parts = [
        plural(fact.total_steps, "step") if fact.HasField("total_steps") else "an unknown number of steps",
        plural(fact.epochs, "epoch") if fact.HasField("epochs") else "",
        _planned_evaluations(fact) if fact.HasField("eval_every_steps") else "",
        f"snapshot every {plural(fact.snapshot_every_steps, 'step')}" if fact.HasField("snapshot_every_steps") else "",
        "a stop can take a snapshot" if fact.gives_state else "",
    ]
    return f"Plan: {_join(parts)}"


def _planned_evaluations(fact: trial_facts.PlanDeclared) -> str:
    within = ""
    if fact.HasField("eval_every_epochs"):
        every = fact.eval_every_epochs
        within = f" of each {number(every)} epochs" if every > 1 else " of an epoch"
    return f"evaluation every {plural(fact.eval_every_steps, 'step')}{within}"


def _epoch_completed(fact: trial_facts.EpochCompleted) -> str:
    if fact.HasField("batch_count"):
        done = f"batch {number(fact.batch)} of {number(fact.batch_count)}"
        return f"Epoch {fact.epoch} left by the script after {done}, at step {number(fact.step)}"
    return f"Epoch {fact.epoch} completed at step {number(fact.step)}"


def _instance_exited(fact: trial_facts.InstanceExited) -> str:
    code = (
        f" (signal {fact.signal})"
        if fact.HasField("signal")
        else f" (exit code {fact.exit_code})"
        if fact.HasField("exit_code")
        else ""
    )
    return f"Instance {fact.rank} {EXIT_CAUSES[fact.cause]}{code}{_tail(fact.detail)}"


def _evaluation_completed(fact: trial_facts.EvaluationCompleted) -> str:
    if fact.interrupted:
        return f"Evaluation at step {number(fact.step)} interrupted"
    return f"Evaluation at step {number(fact.step)} took {fact.duration_seconds:.1f} s{_tail(_values(fact.values))}"


def _retry_scheduled(fact: trial_facts.RetryScheduled) -> str:
    when = f", not before {_time(fact.not_before_time)}"
    why = f"attempt {fact.attempt} {EXIT_CAUSES[fact.cause]}{_tail(fact.detail)}"
    return f"Retry {fact.retry} of {fact.max_retries} scheduled{when}: {why}"


def _trial_stopped(fact: trial_facts.TrialStopped) -> str:
    lost = f"; {plural(fact.lost_steps, 'step')} will be done again" if fact.lost_steps else ""
    return f"Stopped{_tail(fact.reason)}{lost}"


def _access(fact: platform_facts.AccessObserved) -> str:
    what = f"{fact.operation}{_tail(fact.resource, ' on ')}"
    return f"{fact.peer or 'Somebody'} {ACCESS_RESULTS[fact.result]} {what}, {plural(fact.count, 'time')}"


def _telemetry_dropped(fact: trial_facts.TelemetryDropped) -> str:
    batches = "1 batch" if fact.batch_count == 1 else f"{fact.batch_count:,} batches"
    return f"Telemetry given up: {batches} of {fact.kind} with {plural(fact.item_count, 'item')}{_tail(fact.reason)}"


def _parameters(fact: trial_facts.ParametersDeclared) -> str:
    said = [*sorted(fact.parameters), *(f"label {key}" for key in sorted(fact.labels))]
    said += [f"no label {key}" for key in sorted(fact.removed_labels)]
    more = len(said) - LISTED_NAMES
    return f"Declared: {', '.join(said[:LISTED_NAMES])}{f' and {more:,} more' if more > 0 else ''}"


def _attempt_ended(fact: trial_facts.AttemptEnded) -> str:
    return f"Attempt {fact.attempt} {OUTCOMES[fact.outcome]} at step {number(fact.last_step)}{_tail(fact.detail)}"


def _roll_back_requested(fact: trial_facts.TrialRollBackRequested) -> str:
    changes = _join([f"{name} {text}" for name, text in sorted(fact.parameters.items())])
    skipped = f", passing over {number(fact.skip_batches)} batches" if fact.skip_batches else ""
    return (
        f"Roll back to the snapshot at step {number(fact.snapshot_step)} requested{_tail(changes, ', with ')}{skipped}"
        f"{_tail(fact.reason)}"
    )


def _labels_changed(fact: runtime_facts.LabelsChanged) -> str:
    said = [f"{key}={text}" for key, text in sorted(fact.labels.items())]
    said += [f"no {key}" for key in sorted(fact.removed_labels)]
    more = len(said) - LISTED_NAMES
    return f"Labelled {', '.join(said[:LISTED_NAMES])}{f' and {more:,} more' if more > 0 else ''}"


def _steerable_declared(fact: trial_facts.SteerableDeclared) -> str:
    return f"May be changed while it runs: {steering.listed([steering.of_fact(fact)])}, now {fact.value}"


def _steer_requested(fact: trial_facts.TrialSteerRequested) -> str:
    wanted = _join([f"{name} to {text}" for name, text in sorted(fact.parameters.items())])
    return f"Change of {wanted} requested{_tail(fact.reason)}"


def _parameters_changed(fact: trial_facts.ParametersChanged) -> str:
    changes = _join([f"{one.name} from {one.old} to {one.new}" for one in fact.changes])
    return f"Changed after step {number(fact.step)}: {changes}{_tail(fact.actor, ', asked for by ')}"


SENTENCES: dict[type[Message], Callable[[Any], str]] = {
    runtime_facts.RuntimeRequested: _requested,
    runtime_facts.ResourcesPending: _pending,
    runtime_facts.ResourcesAllocated: _allocated,
    runtime_facts.RuntimeStarted: lambda fact: "Started: training runs",
    runtime_facts.StopRequested: _stop_requested,
    runtime_facts.RuntimeAborted: lambda fact: f"Aborted{_tail(fact.reason)}",
    runtime_facts.RuntimeFailed: _runtime_failed,
    runtime_facts.RuntimeCompleted: lambda fact: f"Completed: {fact.detail or 'every trial completed'}",
    runtime_facts.ResourcesReleased: lambda fact: "Resources released: nothing of it runs any more",
    runtime_facts.ResumeRequested: _resume_requested,
    runtime_facts.DeleteRequested: _delete_requested,
    runtime_facts.RuntimeUndeleted: lambda fact: f"Undeleted{_tail(fact.reason)}",
    runtime_facts.PurgeStarted: lambda fact: "Purge started: the restore window is over",
    runtime_facts.RuntimePurged: _runtime_purged,
    runtime_facts.HealthChanged: lambda fact: f"Health is {HEALTHS[fact.health]}{_tail(fact.reason)}",
    runtime_facts.ReadinessChanged: lambda fact: f"{'Ready' if fact.ready else 'Not ready'}{_tail(fact.reason)}",
    runtime_facts.LabelsChanged: _labels_changed,
    runtime_facts.TrialSuggested: lambda fact: f"Trial {fact.trial} suggested by {fact.sampler}{_tail(fact.because)}",
    runtime_facts.ObjectiveReported: _objective_reported,
    runtime_facts.RungReached: lambda fact: (
        f"Trial {fact.trial} reached rung {fact.rung} at step {number(fact.step)} with {fact.metric} {fact.value:.6g}"
    ),
    runtime_facts.TrialPruned: lambda fact: f"Trial {fact.trial} pruned by {fact.pruner} {pruning(fact)}",
    runtime_facts.SearchEnded: lambda fact: (
        f"Search ended, {SEARCH_ENDS[fact.reason]}{_tail(fact.detail)}{_best(fact)}"
    ),
    trial_facts.TrialCreated: lambda fact: (
        f"Trial {fact.trial} created"
        + _tail(", ".join(f"{name} {text}" for name, text in sorted(fact.searched_parameters.items())), " with ")
    ),
    trial_facts.AttemptLaunched: _attempt_launched,
    trial_facts.AttemptFenced: lambda fact: (
        f"Attempt {fact.attempt} fenced, {FENCE_REASONS[fact.reason]}{_tail(fact.detail)}"
    ),
    trial_facts.AttemptStarted: _attempt_started,
    trial_facts.PlanDeclared: _plan,
    trial_facts.ParametersDeclared: _parameters,
    trial_facts.InstanceStarted: lambda fact: (
        f"Instance {fact.rank} started as process {fact.process_id} on {fact.host}"
        + _tail(", ".join(fact.devices), " with ")
    ),
    trial_facts.InstanceReadinessChanged: lambda fact: (
        f"Instance {fact.rank} is {'ready' if fact.ready else 'not ready'}{_tail(fact.reason)}"
    ),
    trial_facts.InstanceHealthChanged: lambda fact: (
        f"Instance {fact.rank} is {HEALTHS[fact.health]}{_tail(fact.reason)}"
    ),
    trial_facts.InstanceExited: _instance_exited,
    trial_facts.EpochCompleted: _epoch_completed,
    trial_facts.EvaluationStarted: lambda fact: f"Evaluation at step {number(fact.step)} started",
    trial_facts.EvaluationCompleted: _evaluation_completed,
    trial_facts.SnapshotStarted: lambda fact: (
        f"Snapshot at step {number(fact.step)} started{SNAPSHOT_REASONS[fact.reason]}"
    ),
    trial_facts.SnapshotCommitted: lambda fact: (
        f"Snapshot at step {number(fact.step)} committed{SNAPSHOT_REASONS[fact.reason]}"
        f" ({size(fact.byte_count)} in {fact.duration_seconds:.1f} s)"
    ),
    trial_facts.SnapshotFailed: lambda fact: f"Snapshot at step {number(fact.step)} failed{_tail(fact.detail)}",
    trial_facts.SnapshotHeld: lambda fact: (
        f"Snapshot at step {number(fact.step)} is kept: {fact.runtime_id} began there"
    ),
    trial_facts.SnapshotLetGo: lambda fact: (
        f"Snapshot at step {number(fact.step)} is no longer kept for {fact.runtime_id}"
    ),
    trial_facts.TrialPurgeStarted: lambda fact: "Purge started: no run begins at its snapshots any more",
    trial_facts.SnapshotPinned: lambda fact: f"Snapshot at step {number(fact.step)} pinned{_tail(fact.reason)}",
    trial_facts.SnapshotUnpinned: lambda fact: f"Snapshot at step {number(fact.step)} unpinned{_tail(fact.reason)}",
    trial_facts.SnapshotDeleted: lambda fact: (
        f"Snapshot at step {number(fact.step)} deleted"
        f"{_tail(SNAPSHOT_DELETE_REASONS[fact.reason], ', ')}{_tail(fact.detail)}"
    ),
    trial_facts.TelemetryDropped: _telemetry_dropped,
    trial_facts.AttemptEnded: _attempt_ended,
    trial_facts.RetryScheduled: _retry_scheduled,
    trial_facts.TrialStopRequested: _stop_requested,
    trial_facts.TrialResumeRequested: lambda fact: f"Resume requested{_tail(fact.snapshot_id, ' from ')}",
    trial_facts.TrialCompleted: lambda fact: (
        f"Completed: {fact.detail}" if fact.detail else f"Completed at step {number(fact.last_step)}"
    ),
    trial_facts.TrialFailed: lambda fact: f"Failed, {FAILURE_REASONS[fact.reason]}{_tail(fact.detail)}",
    trial_facts.TrialStopped: _trial_stopped,
    trial_facts.AlertRaised: lambda fact: f"Alert: {fact.message}",
    trial_facts.ClusterStateObserved: lambda fact: f"Cluster: {fact.message or fact.state}",
    trial_facts.EnvironmentRecorded: _environment,
    trial_facts.TrialEvaluationRequested: lambda fact: f"Evaluation requested{_tail(fact.reason)}",
    trial_facts.EvaluationRefused: lambda fact: (
        f"Evaluation that was asked for is not run at step {number(fact.step)}{_tail(fact.detail)}"
    ),
    trial_facts.TrialSnapshotRequested: lambda fact: f"Snapshot requested{_tail(fact.reason)}",
    trial_facts.TrialRollBackRequested: _roll_back_requested,
    trial_facts.SteerableDeclared: _steerable_declared,
    trial_facts.TrialSteerRequested: _steer_requested,
    trial_facts.ParametersChanged: _parameters_changed,
    trial_facts.ParametersNotChanged: lambda fact: f"Nothing changed at step {number(fact.step)}{_tail(fact.detail)}",
    rule_facts.RuleSet: lambda fact: f"Rule {fact.rule_id} set, revision {fact.revision}",
    rule_facts.RuleDisabled: lambda fact: f"Rule {fact.rule_id} disabled",
    rule_facts.RuleDeleted: lambda fact: f"Rule {fact.rule_id} deleted",
    rule_facts.RuleFired: lambda fact: f"Rule {fact.rule_name or fact.rule_id} fired{_tail(fact.message)}",
    rule_facts.RuleCleared: lambda fact: f"Rule {fact.rule_id} cleared: {CLEAR_REASONS[fact.reason]}",
    rule_facts.NotificationDelivered: lambda fact: f"Told {fact.destination} of rule {fact.rule_id}",
    rule_facts.NotificationRetried: lambda fact: f"Telling {fact.destination} of rule {fact.rule_id} again",
    rule_facts.NotificationFailed: lambda fact: (
        f"Could not tell {fact.destination} of rule {fact.rule_id}{_tail(fact.detail)}"
    ),
    rule_facts.ActionTaken: lambda fact: f"Rule {fact.rule_id} for {fact.owner}{_tail(fact.detail)}",
    rule_facts.ActionFailed: lambda fact: (
        f"Rule {fact.rule_id} could not {ACTION_WORDS.get(fact.kind, fact.kind)} for {fact.owner}{_tail(fact.detail)}"
    ),
    platform_facts.AccessObserved: _access,
    platform_facts.LogRegressionAccepted: lambda fact: (
        "A person accepted a log at sequence "
        f"{number(fact.found_sequence)} that is behind its anchor at {number(fact.anchored_sequence)}{_tail(fact.reason)}"
    ),
}

"""What is said of the events of a trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.domain import steering
from milepost.domain.sentences.of_runtimes import stop_requested
from milepost.domain.sentences.quantities import clock, join, listed, measured, number, plural, size, tail
from milepost.domain.sentences.words import (
    EXIT_CAUSES,
    FAILURE_REASONS,
    FENCE_REASONS,
    HEALTHS,
    LAUNCH_REASONS,
    OUTCOMES,
    SNAPSHOT_DELETE_REASONS,
    SNAPSHOT_REASONS,
    STACK_PLACES,
)


def _attempt_launched(fact: trial_facts.AttemptLaunched) -> str:
    source = f" from the snapshot at step {number(fact.snapshot_step)}" if fact.snapshot_id else " from the beginning"
    if fact.HasField("own_step"):
        source = f" from a checkpoint of the script's own at step {number(fact.own_step)}"
    elif fact.appends:
        source = " to record more"
    elif fact.HasField("process") and not fact.snapshot_id and fact.attempt > 1:
        source = " from where the script says"
    rejected = f"; passed over {', '.join(fact.rejected_snapshot_ids)}, not valid" if fact.rejected_snapshot_ids else ""
    return f"Attempt {fact.attempt} launched{LAUNCH_REASONS[fact.reason]}{source}{tail(fact.host, ' on ')}{rejected}"


def _environment(fact: trial_facts.EnvironmentRecorded) -> str:
    git = fact.git
    changes = " with changes" if git.dirty else ", changes unknown" if git.unknown_changes else ""
    code = f"commit {git.commit[:10]}{tail(git.branch, ' of ')}{changes}" if git.commit else "code in no Git checkout"
    packages = len(fact.packages) + fact.left_out_package_count
    return (
        f"Environment: {code}, Python {fact.python}, {number(packages)} packages{tail(', '.join(fact.devices), ', ')}"
    )


def _attempt_started(fact: trial_facts.AttemptStarted) -> str:
    source = f"went on from step {number(fact.restored_step)}" if fact.restored_step else "began"
    group = f" with {plural(fact.world_size, 'worker')}" if fact.world_size > 1 else ""
    return f"Attempt {fact.attempt} {source}{group}{tail(fact.inexact)}"


def _plan(fact: trial_facts.PlanDeclared) -> str:
    parts = [
        plural(fact.total_steps, "step") if fact.HasField("total_steps") else "an unknown number of steps",
        plural(fact.epochs, "epoch") if fact.HasField("epochs") else "",
        _planned_evaluations(fact) if fact.HasField("eval_every_steps") else "",
        f"snapshot every {plural(fact.snapshot_every_steps, 'step')}" if fact.HasField("snapshot_every_steps") else "",
        "a stop can take a snapshot" if fact.gives_state else "",
    ]
    return f"Plan: {join(parts)}"


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
    return f"Instance {fact.rank} {EXIT_CAUSES[fact.cause]}{code}{tail(fact.detail)}"


def _evaluation_completed(fact: trial_facts.EvaluationCompleted) -> str:
    if fact.interrupted:
        return f"Evaluation at step {number(fact.step)} interrupted"
    return f"Evaluation at step {number(fact.step)} took {fact.duration_seconds:.1f} s{tail(measured(fact.values))}"


def _retry_scheduled(fact: trial_facts.RetryScheduled) -> str:
    when = f", not before {clock(fact.not_before_time)}"
    why = f"attempt {fact.attempt} {EXIT_CAUSES[fact.cause]}{tail(fact.detail)}"
    if fact.interruption:
        return f"Interrupted, goes on in another job{when}: {why}"
    return f"Retry {fact.retry} of {fact.max_retries} scheduled{when}: {why}"


def _trial_stopped(fact: trial_facts.TrialStopped) -> str:
    lost = f"; {plural(fact.lost_steps, 'step')} will be done again" if fact.lost_steps else ""
    return f"Stopped{tail(fact.reason)}{lost}"


def _telemetry_dropped(fact: trial_facts.TelemetryDropped) -> str:
    if not fact.batch_count:
        steps = f" of steps {fact.first_step:,} to {fact.last_step:,}"
        return f"Not recorded: {plural(fact.item_count, 'item')} of {fact.kind}{steps}{tail(fact.reason)}"
    batches = "1 batch" if fact.batch_count == 1 else f"{fact.batch_count:,} batches"
    return f"Telemetry given up: {batches} of {fact.kind} with {plural(fact.item_count, 'item')}{tail(fact.reason)}"


def _parameters(fact: trial_facts.ParametersDeclared) -> str:
    said = [*sorted(fact.parameters), *(f"label {key}" for key in sorted(fact.labels))]
    said += [f"no label {key}" for key in sorted(fact.removed_labels)]
    return f"Declared: {listed(said)}"


def _attempt_ended(fact: trial_facts.AttemptEnded) -> str:
    return f"Attempt {fact.attempt} {OUTCOMES[fact.outcome]} at step {number(fact.last_step)}{tail(fact.detail)}"


def straggler(fact: trial_facts.StragglerObserved) -> str:
    """Say which rank holds up the others: "Rank 1 on b holds up the others: they wait 39 % of their time, it 14 %"."""
    one = f"Rank {fact.rank}{tail(fact.host, ' on ')}"
    if fact.over:
        return f"{one} no longer holds up the others"
    return f"{one} holds up the others: they wait {fact.others_waiting:.0%} of their time, it {fact.waiting:.0%}"


def _stacks_recorded(fact: trial_facts.StacksRecorded) -> str:
    where = f" at {fact.frame}" if fact.frame else ""
    why = "" if fact.requested else f", after {fact.idle_seconds:.0f} s without a step"
    return f"Stacks of rank {fact.rank} at step {number(fact.step)}: {STACK_PLACES[fact.place]}{where}{why}"


def _roll_back_requested(fact: trial_facts.TrialRollBackRequested) -> str:
    changes = join([f"{name} {text}" for name, text in sorted(fact.parameters.items())])
    skipped = f", passing over {number(fact.skip_batches)} batches" if fact.skip_batches else ""
    return (
        f"Roll back to the snapshot at step {number(fact.snapshot_step)} requested{tail(changes, ', with ')}{skipped}"
        f"{tail(fact.reason)}"
    )


def _steerable_declared(fact: trial_facts.SteerableDeclared) -> str:
    return f"May be changed while it runs: {steering.listed([steering.of_fact(fact)])}, now {fact.value}"


def _steer_requested(fact: trial_facts.TrialSteerRequested) -> str:
    wanted = join([f"{name} to {text}" for name, text in sorted(fact.parameters.items())])
    return f"Change of {wanted} requested{tail(fact.reason)}"


def _parameters_changed(fact: trial_facts.ParametersChanged) -> str:
    changes = join([f"{one.name} from {one.old} to {one.new}" for one in fact.changes])
    return f"Changed after step {number(fact.step)}: {changes}{tail(fact.actor, ', asked for by ')}"


SENTENCES: dict[type[Message], Callable[[Any], str]] = {
    trial_facts.TrialCreated: lambda fact: (
        f"Trial {fact.trial} created"
        + tail(", ".join(f"{name} {text}" for name, text in sorted(fact.searched_parameters.items())), " with ")
    ),
    trial_facts.AttemptLaunched: _attempt_launched,
    trial_facts.AttemptFenced: lambda fact: (
        f"Attempt {fact.attempt} fenced, {FENCE_REASONS[fact.reason]}{tail(fact.detail)}"
    ),
    trial_facts.AttemptStarted: _attempt_started,
    trial_facts.PlanDeclared: _plan,
    trial_facts.ParametersDeclared: _parameters,
    trial_facts.InstanceStarted: lambda fact: (
        f"Instance {fact.rank} started as process {fact.process_id} on {fact.host}"
        + tail(", ".join(fact.devices), " with ")
    ),
    trial_facts.InstanceReadinessChanged: lambda fact: (
        f"Instance {fact.rank} is {'ready' if fact.ready else 'not ready'}{tail(fact.reason)}"
    ),
    trial_facts.InstanceHealthChanged: lambda fact: (
        f"Instance {fact.rank} is {HEALTHS[fact.health]}{tail(fact.reason)}"
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
    trial_facts.SnapshotFailed: lambda fact: f"Snapshot at step {number(fact.step)} failed{tail(fact.detail)}",
    trial_facts.SnapshotHeld: lambda fact: (
        f"Snapshot at step {number(fact.step)} is kept: {fact.runtime_id} began there"
    ),
    trial_facts.SnapshotLetGo: lambda fact: (
        f"Snapshot at step {number(fact.step)} is no longer kept for {fact.runtime_id}"
    ),
    trial_facts.TrialPurgeStarted: lambda fact: "Purge started: no run begins at its snapshots any more",
    trial_facts.SnapshotPinned: lambda fact: f"Snapshot at step {number(fact.step)} pinned{tail(fact.reason)}",
    trial_facts.SnapshotUnpinned: lambda fact: f"Snapshot at step {number(fact.step)} unpinned{tail(fact.reason)}",
    trial_facts.SnapshotDeleted: lambda fact: (
        f"Snapshot at step {number(fact.step)} deleted"
        f"{tail(SNAPSHOT_DELETE_REASONS[fact.reason], ', ')}{tail(fact.detail)}"
    ),
    trial_facts.TelemetryDropped: _telemetry_dropped,
    trial_facts.AttemptEnded: _attempt_ended,
    trial_facts.RetryScheduled: _retry_scheduled,
    trial_facts.TrialStopRequested: stop_requested,
    trial_facts.TrialResumeRequested: lambda fact: f"Resume requested{tail(fact.snapshot_id, ' from ')}",
    trial_facts.TrialCompleted: lambda fact: (
        f"Completed: {fact.detail}" if fact.detail else f"Completed at step {number(fact.last_step)}"
    ),
    trial_facts.TrialFailed: lambda fact: f"Failed, {FAILURE_REASONS[fact.reason]}{tail(fact.detail)}",
    trial_facts.TrialStopped: _trial_stopped,
    trial_facts.AlertRaised: lambda fact: f"Alert: {fact.message}",
    trial_facts.ClusterStateObserved: lambda fact: f"Cluster: {fact.message or fact.state}",
    trial_facts.EnvironmentRecorded: _environment,
    trial_facts.TrialEvaluationRequested: lambda fact: f"Evaluation requested{tail(fact.reason)}",
    trial_facts.EvaluationRefused: lambda fact: (
        f"Evaluation that was asked for is not run at step {number(fact.step)}{tail(fact.detail)}"
    ),
    trial_facts.TrialSnapshotRequested: lambda fact: f"Snapshot requested{tail(fact.reason)}",
    trial_facts.TrialRollBackRequested: _roll_back_requested,
    trial_facts.TrialStacksRequested: lambda fact: f"Stacks requested{tail(fact.reason)}",
    trial_facts.StacksRecorded: _stacks_recorded,
    trial_facts.StallDiagnosed: lambda fact: f"No progress after step {number(fact.step)}: {fact.message}",
    trial_facts.StragglerObserved: straggler,
    trial_facts.SteerableDeclared: _steerable_declared,
    trial_facts.TrialSteerRequested: _steer_requested,
    trial_facts.ParametersChanged: _parameters_changed,
    trial_facts.ParametersNotChanged: lambda fact: f"Nothing changed at step {number(fact.step)}{tail(fact.detail)}",
}

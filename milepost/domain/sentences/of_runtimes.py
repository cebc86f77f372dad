"""What is said of the events of a runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.domain.sentences.quantities import clock, join, listed, number, plural, size, tail
from milepost.domain.sentences.words import (
    FAILURE_REASONS,
    HEALTHS,
    OBJECTIVE_OUTCOMES,
    PENDING_REASONS,
    SEARCH_ENDS,
    STOP_MODES,
)


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
    return f"{how} {at.runtime_id} trial {at.trial} at step {number(at.step)}{tail(listed(changes), ' with ')}"


def _pending(fact: runtime_facts.ResourcesPending) -> str:
    place = f", number {fact.position} in the queue" if fact.position else ""
    return f"Waiting for {PENDING_REASONS[fact.reason]}{place}{tail(fact.detail)}"


def _allocated(fact: runtime_facts.ResourcesAllocated) -> str:
    return f"Allocated {_held(fact)}{tail(fact.host, ' on ')}"


def _adjusted(fact: runtime_facts.ResourcesAdjusted) -> str:
    return f"Holds {_held(fact)} now, for {plural(fact.trials, 'trial')} at a time{tail(fact.because)}"


def _held(fact: runtime_facts.ResourcesAllocated | runtime_facts.ResourcesAdjusted) -> str:
    gpus = (
        f"GPUs {', '.join(map(str, fact.gpus))}" if fact.gpus else f"{fact.gpu_count:g} GPUs" if fact.gpu_count else ""
    )
    memory = f"{fact.memory_gigabytes:g} GB" if fact.memory_gigabytes else ""
    return join([f"{fact.cpus:g} CPUs" if fact.cpus else "", gpus, memory]) or "nothing of this host"


def stop_requested(fact: Any) -> str:
    mode = STOP_MODES[fact.mode].capitalize()
    until = (
        f", until {clock(fact.deadline_time)}"
        if fact.mode != common.STOP_MODE_ABRUPT and fact.HasField("deadline_time")
        else ""
    )
    return f"{mode} stop requested{until}{tail(fact.reason)}"


def _runtime_failed(fact: runtime_facts.RuntimeFailed) -> str:
    where = f" in trial {fact.trial}" if fact.trial else ""
    return f"Failed{where}, {FAILURE_REASONS[fact.reason]}{tail(fact.detail)}"


def _resume_requested(fact: runtime_facts.ResumeRequested) -> str:
    source = f" from {fact.snapshot_id}" if fact.snapshot_id else ""
    changes = f", changing {', '.join(fact.changed_fields)}" if fact.changed_fields else ""
    which = f" of {plural(len(fact.trials), 'trial')}" if len(fact.trials) > 1 else ""
    return f"Resume{which} requested{source}{changes}"


def _delete_requested(fact: runtime_facts.DeleteRequested) -> str:
    until = f"; it can be undeleted until {clock(fact.purge_time)}" if fact.HasField("purge_time") else ""
    return f"Delete requested{tail(fact.reason)}{until}"


def _runtime_purged(fact: runtime_facts.RuntimePurged) -> str:
    gone = join(
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
    if fact.values:
        value = ", ".join(f"{one.metric} {one.value:.6g}" for one in fact.values)
    best = ", none surpasses it" if fact.values else ", the best so far"
    broken = [f"{one.metric} {one.value:.6g}" for one in fact.constraints if one.violation > 0]
    kept = f", breaks a constraint: {', '.join(broken)}" if broken else ""
    return f"Trial {fact.trial}: {value}{best if fact.best else ''}{kept}{tail(fact.detail)}"


def _earlier_told(fact: runtime_facts.EarlierTrialsTold) -> str:
    counts = Counter(one.runtime_id for one in fact.trials)
    of = ", ".join(f"{count} of {runtime_id}" for runtime_id, count in sorted(counts.items()))
    return f"Sampler told of {plural(len(fact.trials), 'earlier trial')}{tail(of, ': ')}{tail(fact.detail, '; ')}"


def pruning(fact: runtime_facts.TrialPruned) -> str:
    """Say where a trial was pruned and why: "at rung 2, step 400: 0.91, the cut-off is 0.52, place 7 of 9"."""
    place = f"place {fact.rank} of {fact.reached_count}"
    return (
        f"at rung {fact.rung}, step {number(fact.step)}: {fact.value:.6g}, the cut-off is {fact.cut_off:.6g}, {place}"
    )


def _promoted(fact: runtime_facts.TrialPromoted) -> str:
    changes = listed([f"{change.field} {change.after or 'none'}" for change in fact.changes])
    return (
        f"Trial {fact.child} takes the place of trial {fact.replaced} with the weights of trial {fact.donor} at step "
        f"{number(fact.step)}{tail(changes, ' and ')}{tail(fact.because)}"
    )


def _best(fact: runtime_facts.SearchEnded) -> str:
    if fact.best_trials:
        which = ", ".join(map(str, fact.best_trials))
        return f"; the best is trial {which}" if len(fact.best_trials) == 1 else f"; the best are trials {which}"
    return f"; the best is trial {fact.best_trial} with {fact.best_value:.6g}" if fact.best_trial else ""


def _labels_changed(fact: runtime_facts.LabelsChanged) -> str:
    said = [f"{key}={text}" for key, text in sorted(fact.labels.items())]
    said += [f"no {key}" for key in sorted(fact.removed_labels)]
    return f"Labelled {listed(said)}"


SENTENCES: dict[type[Message], Callable[[Any], str]] = {
    runtime_facts.RuntimeRequested: _requested,
    runtime_facts.ResourcesPending: _pending,
    runtime_facts.ResourcesAllocated: _allocated,
    runtime_facts.ResourcesAdjusted: _adjusted,
    runtime_facts.RuntimeStarted: lambda fact: "Started: training runs",
    runtime_facts.StopRequested: stop_requested,
    runtime_facts.RuntimeAborted: lambda fact: f"Aborted{tail(fact.reason)}",
    runtime_facts.RuntimeFailed: _runtime_failed,
    runtime_facts.RuntimeCompleted: lambda fact: f"Completed: {fact.detail or 'every trial completed'}",
    runtime_facts.ResourcesReleased: lambda fact: "Resources released: nothing of it runs any more",
    runtime_facts.ResumeRequested: _resume_requested,
    runtime_facts.DeleteRequested: _delete_requested,
    runtime_facts.RuntimeUndeleted: lambda fact: f"Undeleted{tail(fact.reason)}",
    runtime_facts.PurgeStarted: lambda fact: "Purge started: the restore window is over",
    runtime_facts.RuntimePurged: _runtime_purged,
    runtime_facts.HealthChanged: lambda fact: f"Health is {HEALTHS[fact.health]}{tail(fact.reason)}",
    runtime_facts.ReadinessChanged: lambda fact: f"{'Ready' if fact.ready else 'Not ready'}{tail(fact.reason)}",
    runtime_facts.LabelsChanged: _labels_changed,
    runtime_facts.TrialSuggested: lambda fact: f"Trial {fact.trial} suggested by {fact.sampler}{tail(fact.because)}",
    runtime_facts.ObjectiveReported: _objective_reported,
    runtime_facts.RungReached: lambda fact: (
        f"Trial {fact.trial} reached rung {fact.rung} at step {number(fact.step)} with {fact.metric} {fact.value:.6g}"
    ),
    runtime_facts.EarlierTrialsTold: _earlier_told,
    runtime_facts.TrialPruned: lambda fact: f"Trial {fact.trial} pruned by {fact.pruner} {pruning(fact)}",
    runtime_facts.TrialPromoted: _promoted,
    runtime_facts.SearchEnded: lambda fact: f"Search ended, {SEARCH_ENDS[fact.reason]}{tail(fact.detail)}{_best(fact)}",
}

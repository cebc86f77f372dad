"""What each fact does to the view of its runtime or trial: a function for each type that does something, and their tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from google.protobuf.message import Message

from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime, trial
from milepost.domain.decider import Fact
from milepost.domain.sentences import sentence
from milepost.eventlog.bounds import bounded, scalars
from milepost.names import trial_name
from services.runtime.readmodel.view import Reference, RuntimeView, TrialView

# Events without effect that are marked as such, in one chain. Of more there is only the number.
MAX_IGNORED = 10_000


class Occasion(NamedTuple):
    """Where a fact stands, and when it happened: by the clock of a script where it says so, else by the server's."""

    reference: Reference
    time: datetime


def fold_runtime(view: RuntimeView, payload: Message, reference: Reference) -> bool:
    """Apply an event of the runtime's own chain. Returns whether it had an effect."""
    ignored = view.state.ignored
    view.state = runtime.evolve(view.state, Fact(payload))
    if view.state.ignored > ignored:
        _ignore(view, reference)
        return False
    view.last[type(payload).__name__] = reference
    apply = OF_RUNTIMES.get(type(payload))
    if apply is not None:
        apply(view, payload, reference)
    return True


def fold_trial(
    view: RuntimeView, one: TrialView, payload: Message, attempt: int | None, reference: Reference, own: datetime | None
) -> bool:
    """Apply an event of a trial's chain. Returns whether it had an effect.

    Args:
        own: when it happened, by the clock of a script. None: it is none, or the attempt has not said it.
    """
    before = one.state
    state = one.state = trial.evolve(before, Fact(payload, attempt))
    if state.ignored > before.ignored:
        _ignore(one, reference)
        return False
    kind = type(payload)
    one.last[kind.__name__] = reference
    occasion = Occasion(reference, own or reference.time)
    if type(state.situation) is not type(before.situation) or state.attempt != before.attempt:
        one.since = reference
        began = one.attempt_starts.get(before.attempt) if before.active is not None else None
        if began is not None:
            one.spent_ms += max(0, (occasion.time - began) // timedelta(milliseconds=1))
    apply = OF_TRIALS.get(kind)
    if apply is not None:
        apply(one, payload, occasion)
    if kind is facts.EvaluationCompleted:
        _keep_evaluation(view, one, payload)
    if own is not None and kind in OWN_TIMES:
        OWN_TIMES[kind](view, own)
    _count(view, one)
    return True


def weigh(chain: RuntimeView | TrialView, attempt: int | None, byte_count: int) -> None:
    """Count what the last attempt of a trial writes, whatever it is."""
    if attempt is not None and isinstance(chain, TrialView) and attempt == chain.state.attempt:
        chain.written_messages += 1
        chain.written_bytes += byte_count


def reason_of(view: RuntimeView, chain: RuntimeView | TrialView, payload: Message) -> str:
    """Say why a runtime is what it is, by the event that made it so."""
    if isinstance(chain, TrialView) and view.state.trial_count > 1:
        return f"Trial {chain.number}: {sentence(payload)}"
    return sentence(payload)


def _ignore(chain: RuntimeView | TrialView, reference: Reference) -> None:
    if len(chain.ignored) < MAX_IGNORED:
        chain.ignored.append(reference.sequence)


def _count(view: RuntimeView, one: TrialView) -> None:
    """Note whether a trial runs or starts. An attempt that is over runs until it is known what follows."""
    active = one.state.active
    runs = active is not None and (active.started or not active.may_write)
    starts = not runs and (active is not None or isinstance(one.state.situation, trial.Retrying))
    if runs != (one.number in view.running):
        view.running ^= {one.number}
    if starts != (one.number in view.starting):
        view.starting ^= {one.number}


# --- of a runtime


def _requested(view: RuntimeView, fact: runtime_facts.RuntimeRequested, reference: Reference) -> None:
    view.created = reference
    view.configuration_text = fact.configuration_text
    view.cloned_from = fact.cloned_from


def _runtime_started(view: RuntimeView, _: runtime_facts.RuntimeStarted, reference: Reference) -> None:
    view.started = view.started or reference


def _ended(view: RuntimeView, _: Message, reference: Reference) -> None:
    view.ended = reference


def _resumed(view: RuntimeView, _: runtime_facts.ResumeRequested, __: Reference) -> None:
    view.ended = None


OF_RUNTIMES: dict[type[Message], Callable[[RuntimeView, Any, Reference], None]] = {
    runtime_facts.RuntimeRequested: _requested,
    runtime_facts.RuntimeStarted: _runtime_started,
    runtime_facts.RuntimeAborted: _ended,
    runtime_facts.RuntimeFailed: _ended,
    runtime_facts.RuntimeCompleted: _ended,
    runtime_facts.ResumeRequested: _resumed,
}

# --- of a trial


def _launched(view: TrialView, _: facts.AttemptLaunched, __: Occasion) -> None:
    view.written_messages = view.written_bytes = 0


def _created(view: TrialView, fact: facts.TrialCreated, _: Occasion) -> None:
    # Maps of protobuf have another order in every process, and views must not differ from those rebuilt.
    view.parameters = dict(sorted(fact.parameters.items()))
    view.searched = dict(sorted(fact.searched_parameters.items()))


def _parameters_declared(view: TrialView, fact: facts.ParametersDeclared, _: Occasion) -> None:
    view.parameters = bounded({**view.parameters, **scalars(fact.parameters)})
    kept = {key: text for key, text in view.labels.items() if key not in fact.removed_labels}
    view.labels = bounded({**kept, **fact.labels})


def _attempt_started(view: TrialView, fact: facts.AttemptStarted, occasion: Occasion) -> None:
    view.attempt_starts[fact.attempt] = occasion.time
    _keep_superseded(view)


def _roll_back_requested(view: TrialView, fact: facts.TrialRollBackRequested, _: Occasion) -> None:
    changed = dict(sorted(fact.parameters.items()))
    view.patched = view.patched | changed
    view.parameters = bounded({**view.parameters, **changed})
    _keep_superseded(view)


def _keep_superseded(view: TrialView) -> None:
    for record in view.state.snapshots:
        view.snapshots[record.snapshot_id].superseded = record.superseded


def _snapshot_committed(view: TrialView, fact: facts.SnapshotCommitted, occasion: Occasion) -> None:
    active = view.state.active
    snapshot = view.snapshots[fact.snapshot_id] = api.Snapshot(
        name=f"{trial_name(view.state.runtime_id, view.number)}/snapshots/{fact.snapshot_id}",
        snapshot_id=fact.snapshot_id,
        trial=view.number,
        attempt=fact.attempt,
        step=fact.step,
        epoch=fact.epoch,
        batch=fact.batch,
        uri=fact.uri,
        byte_count=fact.byte_count,
        state=api.SNAPSHOT_STATE_COMMITTED,
        reason=fact.reason,
        manifest_sha256=fact.manifest_sha256,
        metrics=fact.metrics,
        superseded=active is not None and active.roll_back is not None,
        held_by=[view.state.runtime_id] if trial.is_at_rung(view.state.rung_steps, fact.step) else [],
    )
    snapshot.commit_time.FromDatetime(occasion.time)
    snapshot.receive_time.FromDatetime(occasion.reference.time)


def _snapshot_deleted(view: TrialView, fact: facts.SnapshotDeleted, _: Occasion) -> None:
    if fact.snapshot_id in view.snapshots:
        corrupt = fact.reason == facts.SNAPSHOT_DELETE_REASON_CORRUPT
        state = api.SNAPSHOT_STATE_CORRUPT if corrupt else api.SNAPSHOT_STATE_DELETED
        view.snapshots[fact.snapshot_id].state = state


def _holders_changed(view: TrialView, fact: facts.SnapshotHeld | facts.SnapshotLetGo, _: Occasion) -> None:
    for record in view.state.snapshots:
        if record.snapshot_id == fact.snapshot_id:
            del view.snapshots[record.snapshot_id].held_by[:]
            view.snapshots[record.snapshot_id].held_by.extend(record.held_by)


def _snapshot_pinned(view: TrialView, fact: facts.SnapshotPinned, occasion: Occasion) -> None:
    if fact.snapshot_id in view.snapshots:
        pin = view.snapshots[fact.snapshot_id].pin
        pin.actor, pin.reason = occasion.reference.actor, fact.reason
        pin.time.FromDatetime(occasion.reference.time)


def _snapshot_unpinned(view: TrialView, fact: facts.SnapshotUnpinned, _: Occasion) -> None:
    if fact.snapshot_id in view.snapshots:
        view.snapshots[fact.snapshot_id].ClearField("pin")


OF_TRIALS: dict[type[Message], Callable[[TrialView, Any, Occasion], None]] = {
    facts.TrialCreated: _created,
    facts.AttemptLaunched: _launched,
    facts.AttemptStarted: _attempt_started,
    facts.ParametersDeclared: _parameters_declared,
    facts.SnapshotCommitted: _snapshot_committed,
    facts.SnapshotDeleted: _snapshot_deleted,
    facts.SnapshotHeld: _holders_changed,
    facts.SnapshotLetGo: _holders_changed,
    facts.SnapshotPinned: _snapshot_pinned,
    facts.SnapshotUnpinned: _snapshot_unpinned,
    facts.TrialRollBackRequested: _roll_back_requested,
}


def _keep_evaluation(view: RuntimeView, one: TrialView, fact: Any) -> None:
    """Keep what a pruner judges. An evaluation that was done again, after a crash, was judged already."""
    search = view.state.configuration.search if view.state.configuration is not None else None
    if search is None or not search.HasField("pruner") or fact.interrupted:
        return
    metric = search.objective.metric
    if metric in fact.values and fact.step > (one.evaluations[-1][0] if one.evaluations else 0):
        one.evaluations.append((fact.step, fact.values[metric]))


# --- when a script says that it began, ran and ended


def _instance_started_at(view: RuntimeView, time: datetime) -> None:
    assert view.created is not None
    view.own_create_time = view.own_create_time or min(time, view.created.time)
    view.own_end_time = None


def _attempt_started_at(view: RuntimeView, time: datetime) -> None:
    view.own_start_time = view.own_start_time or time


def _attempt_ended_at(view: RuntimeView, time: datetime) -> None:
    # Clocks go back at times.
    view.own_end_time = max(time, view.own_start_time or time)


OWN_TIMES: dict[type[Message], Callable[[RuntimeView, datetime], None]] = {
    facts.InstanceStarted: _instance_started_at,
    facts.AttemptStarted: _attempt_started_at,
    facts.AttemptEnded: _attempt_ended_at,
}

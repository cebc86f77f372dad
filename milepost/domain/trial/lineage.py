"""Which attempt owns which steps of a trial, from which of its snapshots it may go on, and where it comes from."""

from __future__ import annotations

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.trial.states import Queued, Segment, SnapshotRecord, Trial


def cut_lineage(lineage: tuple[Segment, ...], attempt: int, restored_step: int) -> tuple[Segment, ...]:
    """Give the steps after `restored_step` to an attempt, and leave the others where they are."""
    kept = []
    for segment in lineage:
        if segment.first_step > restored_step:
            continue
        last = restored_step if segment.last_step is None else min(segment.last_step, restored_step)
        kept.append(Segment(segment.attempt, segment.first_step, last))
    return (*kept, Segment(attempt, restored_step + 1))


def owner_of(lineage: tuple[Segment, ...], step: int) -> int | None:
    """Return the attempt that owns a step; None where no attempt can have done it."""
    for segment in lineage:
        if step >= segment.first_step and (segment.last_step is None or step <= segment.last_step):
            return segment.attempt
    return None


def restorable_snapshots(state: Trial) -> list[SnapshotRecord]:
    """List the snapshots a resume may go on from, best first: those of the lineage, newest first.

    Of a branch these are its own; behind them is its origin.
    """
    return sorted((s for s in state.snapshots if not s.superseded), key=lambda s: (s.step, s.attempt), reverse=True)


def origin_record(state: Trial) -> SnapshotRecord | None:
    """Describe the snapshot of another trial at which a branch begins; None: it is no branch."""
    origin = state.origin
    if origin is None:
        return None
    return SnapshotRecord(
        origin.snapshot_id,
        origin.attempt,
        origin.step,
        origin.uri,
        origin.manifest_sha256,
        False,
        origin.epoch,
        origin.batch,
    )


def known_snapshots(state: Trial) -> tuple[SnapshotRecord, ...]:
    """List the snapshots that a trial can be told to go on from: its own, and that at which a branch begins."""
    origin = origin_record(state)
    return state.snapshots if origin is None else (*state.snapshots, origin)


def origin_step(state: Trial) -> int:
    """Return the step at which a trial begins: that of the snapshot it branched off at, else 0."""
    return state.origin.step if state.origin is not None else 0


def trunk_of(state: Trial, record: SnapshotRecord) -> list[common.AncestorSteps]:
    """List who did every step up to a snapshot, oldest first: the ancestors of the trial, and its own attempts."""
    inherited = (
        [part for part in state.origin.trunk if part.last_step <= record.step] if state.origin is not None else []
    )
    own = [
        common.AncestorSteps(
            runtime_id=state.runtime_id,
            trial=state.number,
            attempt=segment.attempt,
            first_step=segment.first_step,
            last_step=segment.last_step,
        )
        for segment in record.trunk
        if segment.last_step is not None and segment.first_step <= segment.last_step
    ]
    return [*inherited, *own]


def is_at_rung(rung_steps: int, step: int) -> bool:
    """Return whether a snapshot is taken at a step because others may begin there."""
    return rung_steps > 0 and step > 0 and step % rung_steps == 0


def goes_back_to(state: Trial) -> str:
    """Return the id of the snapshot that the next attempt is to go back to; empty: it is not to."""
    active, situation = state.active, state.situation
    if active is not None:
        return active.roll_back.snapshot_id if active.roll_back is not None else ""
    queued = isinstance(situation, Queued) and situation.reason == facts.LAUNCH_REASON_ROLL_BACK
    return situation.snapshot_id if isinstance(situation, Queued) and queued else ""


def is_step_of(state: Trial, step: int, attempt: int) -> bool:
    """Return whether an attempt owns a step, and will go on owning it."""
    abandoned = state.abandoned
    if abandoned is not None and attempt <= abandoned.attempt and step > abandoned.step:
        return False
    return owner_of(state.lineage, step) == attempt

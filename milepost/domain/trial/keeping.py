"""Decisions about which snapshots of a trial are kept: held by branches, pinned by people, deleted, purged."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.trial.commands import (
    DeleteSnapshot,
    HoldSnapshot,
    LetSnapshotGo,
    PinSnapshot,
    StartPurge,
    UnpinSnapshot,
)
from milepost.domain.trial.states import SnapshotRecord, Trial, label
from milepost.errors import FailedPrecondition


def delete_snapshot(state: Trial, command: DeleteSnapshot) -> list[Message]:
    for record in state.snapshots:
        if record.snapshot_id == command.snapshot_id:
            return [
                facts.SnapshotDeleted(
                    snapshot_id=record.snapshot_id, step=record.step, reason=command.reason, detail=command.detail
                )
            ]
    return []


def hold_snapshot(state: Trial, command: HoldSnapshot) -> list[Message]:
    record = _existing(state, command.snapshot_id)
    if command.runtime_id in record.held_by:
        return []
    return [facts.SnapshotHeld(snapshot_id=record.snapshot_id, step=record.step, runtime_id=command.runtime_id)]


def let_snapshot_go(state: Trial, command: LetSnapshotGo) -> list[Message]:
    for record in state.snapshots:
        if record.snapshot_id == command.snapshot_id and command.runtime_id in record.held_by:
            return [
                facts.SnapshotLetGo(snapshot_id=record.snapshot_id, step=record.step, runtime_id=command.runtime_id)
            ]
    return []


def pin_snapshot(state: Trial, command: PinSnapshot) -> list[Message]:
    record = _existing(state, command.snapshot_id)
    if record.pinned:
        return []
    return [facts.SnapshotPinned(snapshot_id=record.snapshot_id, step=record.step, reason=command.reason)]


def unpin_snapshot(state: Trial, command: UnpinSnapshot) -> list[Message]:
    record = _existing(state, command.snapshot_id)
    if not record.pinned:
        return []
    return [facts.SnapshotUnpinned(snapshot_id=record.snapshot_id, step=record.step, reason=command.reason)]


def _existing(state: Trial, snapshot_id: str) -> SnapshotRecord:
    for record in state.snapshots:
        if record.snapshot_id == snapshot_id and not state.purging:
            return record
    raise FailedPrecondition(f"{label(state)}: the snapshot {snapshot_id} was deleted", reason="SNAPSHOT_NOT_FOUND")


def start_purge(state: Trial, _: StartPurge) -> list[Message]:
    return [] if state.purging else [facts.TrialPurgeStarted()]

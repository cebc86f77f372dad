"""Which snapshots of a trial go, as its events come."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import SnapshotPolicy
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog import RecordedEvent, attempt_subject
from milepost.eventlog.codec import encode
from milepost.storage import folder_of
from milepost.training.saving.retention import Retention

TIME = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_snapshot_that_a_branch_needs_stays_beside_those_that_the_policy_keeps(tmp_path: Path) -> None:
    deleted: list[int] = []

    def record(payload: Message) -> None:
        assert isinstance(payload, facts.SnapshotDeleted)
        deleted.append(payload.step)

    retention = Retention(SnapshotPolicy(keep_last=2), 1, "", record, lambda uri, name: folder_of(str(tmp_path / name)))

    def happens(payload: Message) -> None:
        ce_type, body = encode(payload)
        subject = attempt_subject("rt-a", 1, 1)
        retention.apply(RecordedEvent(1, subject, TIME, ce_type, body, "e", TIME, "/t", "a", "", "", 1, "", ""))

    def commit(*steps: int) -> None:
        for step in steps:
            happens(facts.SnapshotCommitted(attempt=1, snapshot_id=f"s{step}", step=step))

    commit(1, 2)
    happens(facts.SnapshotHeld(snapshot_id="s1", step=1, runtime_id="rt-b"))
    happens(facts.SnapshotHeld(snapshot_id="s1", step=1, runtime_id="rt-c"))
    commit(3)
    assert deleted == []
    commit(4)
    assert deleted == [2], "the one that is held does not count among the two"
    happens(facts.SnapshotLetGo(snapshot_id="s1", step=1, runtime_id="rt-b"))
    commit(5)
    assert deleted == [2, 3]
    happens(facts.SnapshotLetGo(snapshot_id="s1", step=1, runtime_id="rt-c"))
    commit(6)
    assert sorted(deleted) == [1, 2, 3, 4]

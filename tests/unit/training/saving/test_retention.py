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


class Kept:
    """A retention that keeps two, and the steps whose snapshots it lets go."""

    def __init__(self, folder: Path) -> None:
        self.deleted: list[int] = []
        policy = SnapshotPolicy(keep_last=2)
        self._retention = Retention(policy, 1, "", self._record, lambda uri, name: folder_of(str(folder / name)))

    def _record(self, payload: Message) -> None:
        assert isinstance(payload, facts.SnapshotDeleted)
        self.deleted.append(payload.step)

    def happens(self, payload: Message) -> None:
        ce_type, body = encode(payload)
        subject = attempt_subject("rt-a", 1, 1)
        self._retention.apply(RecordedEvent(1, subject, TIME, ce_type, body, "e", TIME, "/t", "a", "", "", 1, "", ""))

    def commit(self, *steps: int) -> None:
        for step in steps:
            self.happens(facts.SnapshotCommitted(attempt=1, snapshot_id=f"s{step}", step=step))


def test_a_snapshot_that_a_branch_needs_stays_beside_those_that_the_policy_keeps(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    commit, happens, deleted = kept.commit, kept.happens, kept.deleted
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


def test_snapshots_of_rungs_stay_until_nobody_can_begin_there_any_more(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.happens(facts.TrialCreated(runtime_id="rt-a", trial=1, rung_steps=2))
    kept.commit(1, 2, 3, 4, 5, 6, 7)
    assert kept.deleted == [1, 3], "the newest two of those that are no rungs stay"
    kept.happens(facts.SnapshotLetGo(snapshot_id="s4", step=4, runtime_id="rt-a"))
    kept.commit(9)
    assert sorted(kept.deleted) == [1, 3, 4, 5]


def test_a_pinned_snapshot_stays_until_it_is_unpinned_and_no_branch_needs_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.commit(1, 2)
    kept.happens(facts.SnapshotPinned(snapshot_id="s1", step=1))
    kept.happens(facts.SnapshotHeld(snapshot_id="s1", step=1, runtime_id="rt-b"))
    kept.commit(3, 4)
    assert kept.deleted == [2]
    kept.happens(facts.SnapshotLetGo(snapshot_id="s1", step=1, runtime_id="rt-b"))
    kept.commit(5)
    assert kept.deleted == [2, 3]
    kept.happens(facts.SnapshotUnpinned(snapshot_id="s1", step=1))
    kept.commit(6)
    assert sorted(kept.deleted) == [1, 2, 3, 4]

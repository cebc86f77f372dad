"""Snapshots that several ranks write, and a commit that takes long."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import AttemptLaunch, SnapshotPart
from milepost.training.saving import snapshot_keeper
from milepost.training.saving.snapshot_keeper import PartMissing, Parts, SnapshotKeeper
from milepost.training.saving.snapshots import Boundary, DataState
from tests.support.trainers.remembering_host import RememberingHost


def test_a_snapshot_waits_for_the_parts_of_all_ranks() -> None:
    parts = Parts(3)
    for rank in (1, 2):
        parts.receive(SnapshotPart(snapshot_id="a", rank=rank))
    parts.wait("a", 1.0)
    parts.receive(SnapshotPart(snapshot_id="b", rank=2, failure="OSError: disk full"))
    with pytest.raises(PartMissing, match="rank 2: OSError: disk full"):
        parts.wait("b", 1.0)
    with pytest.raises(PartMissing, match="nothing came from rank 1, 2"):
        parts.wait("c", 0.01)


class SlowStore(RememberingHost):
    """A commit goes on when something is said of it."""

    def __init__(self, launch: AttemptLaunch) -> None:
        super().__init__(launch=launch)
        self.goes_on = threading.Event()

    def wait_stored(self, seconds: float) -> bool:
        return self.goes_on.wait()

    def warn(self, problem: str, text: str) -> None:
        super().warn(problem, text)
        self.goes_on.set()


def test_a_commit_that_takes_long_is_waited_for_and_said_and_is_no_error_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raised TimeoutError in the loop."""
    monkeypatch.setattr(snapshot_keeper, "SLOW_SECONDS", 0.02)
    launch = AttemptLaunch(runtime_id="rt-x", trial=1, attempt=1, attempt_directory=str(tmp_path))
    launch.snapshot_storage_uri = (tmp_path / "snapshots").as_uri()
    launch.configuration.snapshots.every_steps = 10
    store = SlowStore(launch)
    keeper = SnapshotKeeper(launch, 0, 1, store)
    keeper.register(lambda: {"x": 1})
    keeper.take(Boundary(10), DataState(), facts.SNAPSHOT_REASON_INTERVAL)
    with pytest.raises(TimeoutError):
        keeper.wait(0.01)
    assert not keeper.due(20), "an interval does not wait"
    keeper.take(Boundary(20), DataState(), facts.SNAPSHOT_REASON_REQUEST)
    keeper.wait()
    # On a busy machine the one of step 20 is slow too.
    slow = "the commit of the snapshot at step 10 takes more than 0 s; training waits for it"
    assert ("snapshot_slow", slow) in store.warned
    assert [fact.step for fact in store.facts if isinstance(fact, facts.SnapshotCommitted)] == [10, 20]


def test_the_snapshot_of_a_rung_is_due_also_while_the_one_before_is_committed(tmp_path: Path) -> None:
    """Others may begin there: it is not passed over, and no interval moves it."""
    launch = AttemptLaunch(runtime_id="rt-x", trial=1, attempt=1, attempt_directory=str(tmp_path), rung_steps=10)
    launch.snapshot_storage_uri = (tmp_path / "snapshots").as_uri()
    launch.configuration.snapshots.every_steps = 7
    store = SlowStore(launch)
    keeper = SnapshotKeeper(launch, 0, 1, store)
    keeper.register(lambda: {"x": 1})
    keeper.take(Boundary(7), DataState(), facts.SNAPSHOT_REASON_INTERVAL)
    assert [step for step in range(8, 31) if keeper.due(step)] == [10, 20, 30]
    assert [step for step in range(8, 16) if keeper.due_by_count(step)] == [10, 14, 15]
    store.goes_on.set()
    keeper.wait()
    assert not keeper.due(7), "it was taken"

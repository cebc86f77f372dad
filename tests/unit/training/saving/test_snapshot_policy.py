"""When a snapshot is due, and which ones are kept."""

from __future__ import annotations

from milepost.api.config.v1.configuration_pb2 import METRIC_MODE_MIN, KeepBest, SnapshotPolicy
from milepost.training.saving.snapshot_policy import Candidate, Since, snapshot_due, snapshots_to_delete


def test_retention_keeps_the_last_and_the_best() -> None:
    policy = SnapshotPolicy(keep_last=2, keep_best=KeepBest(metric="eval/loss", mode=METRIC_MODE_MIN))
    losses = {10: 3.0, 20: 1.0, 30: float("nan"), 40: 2.0, 50: 1.5}
    candidates = [Candidate(str(step), step, {"eval/loss": loss}) for step, loss in losses.items()]
    assert snapshots_to_delete(policy, candidates) == ["10", "30"]
    assert snapshots_to_delete(policy, [*candidates, Candidate("45", 45, superseded=True)]) == ["10", "30", "45"]


def test_a_snapshot_is_due_when_the_first_interval_ends() -> None:
    policy = SnapshotPolicy(every_steps=10, every_minutes=1)
    assert not snapshot_due(policy, Since(9, 0, 59))
    assert snapshot_due(policy, Since(10, 0, 0))
    assert snapshot_due(policy, Since(1, 0, 60))
    assert not snapshot_due(policy, Since(0, 0, 600))
    assert not snapshot_due(SnapshotPolicy(), Since(10**6, 10, 10**6))

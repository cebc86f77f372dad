"""A snapshot that several ranks write."""

from __future__ import annotations

import pytest

from milepost.api.training.v1.training_pb2 import (
    SnapshotPart,
)
from milepost.training.saving.snapshot_keeper import PartMissing, Parts


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

"""When a snapshot is due, and which old ones may go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from milepost.api.config.v1.configuration_pb2 import METRIC_MODE_MAX, SnapshotPolicy


@dataclass(frozen=True, slots=True)
class Since:
    """What has happened since the last snapshot, or since the start."""

    steps: int
    epochs: int
    seconds: float


def snapshot_due(policy: SnapshotPolicy, since: Since) -> bool:
    """Return whether one of the intervals has ended."""
    if since.steps <= 0:
        return False
    if policy.HasField("every_steps") and since.steps >= policy.every_steps:
        return True
    if policy.HasField("every_epochs") and since.epochs >= policy.every_epochs:
        return True
    return policy.HasField("every_minutes") and since.seconds >= 60 * policy.every_minutes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A committed snapshot that a retention rule looks at."""

    snapshot_id: str
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    superseded: bool = False


def snapshots_to_delete(policy: SnapshotPolicy, candidates: Sequence[Candidate], protected: str = "") -> list[str]:
    """List the snapshots that neither `keep_last` nor `keep_best` keeps, oldest first.

    `protected` is never listed. Superseded ones go as soon as there is a newer one that is not.
    """
    own = sorted((c for c in candidates if not c.superseded), key=lambda c: c.step)
    if not own:
        return []
    kept = {c.snapshot_id for c in own[-max(1, policy.keep_last) :]} | {protected}
    best = best_snapshot(policy, own)
    if best is not None:
        kept.add(best.snapshot_id)
    return [c.snapshot_id for c in sorted(candidates, key=lambda c: c.step) if c.snapshot_id not in kept]


def best_snapshot(policy: SnapshotPolicy, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the snapshot with the best finite value of the `keep_best` metric; the older one of equals."""
    metric = policy.keep_best.metric
    scored = [
        (c.metrics[metric], c) for c in candidates if metric in c.metrics and c.metrics[metric] - c.metrics[metric] == 0
    ]
    if not metric or not scored:
        return None
    sign = -1 if policy.keep_best.mode == METRIC_MODE_MAX else 1
    return min(scored, key=lambda pair: (sign * pair[0], pair[1].step))[1]

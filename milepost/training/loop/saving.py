"""Snapshots as the loop asks for them: of the state at the last boundary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import InstanceReport, SnapshotWanted
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.said.plan import Plan
from milepost.training.saving.adopted import Adopted
from milepost.training.saving.snapshots import Boundary

State = Mapping[str, Any]


class Saving:
    """Takes snapshots of one loop; of several ranks each at the same step."""

    def __init__(self, host: Host, progress: Progress, plan: Plan) -> None:
        self._host = host
        self._progress = progress
        self._plan = plan
        # The loop has them taken as the interval says.
        self.by_interval = False
        # One by the clock was asked for, and is not taken yet.
        self._wanted = False

    @property
    def has_news(self) -> bool:
        """Whether there is anything new to save at the last boundary, and a function that gives it."""
        return self._host.keeper.can_snapshot(self._progress.boundary().step)

    def register(self, state: Callable[[], State] | State, sharded: bool) -> None:
        """Remember the function that gives the state."""
        self._host.keeper.register(state if callable(state) else lambda: state, sharded)
        self._plan.note_state_is_given()

    def is_due(self) -> bool:
        """Return whether a snapshot is to be taken now. All ranks come to the same answer at the same step."""
        host, step = self._host, self._progress.position.step
        if host.agreement is None:
            return host.keeper.due(step)
        agreed = host.agreement.wants_snapshot(step)
        if agreed:
            self._wanted = False
        if agreed or host.keeper.due_by_count(step):
            return host.keeper.can_snapshot(step)
        if host.rank.rank == 0 and not self._wanted and host.keeper.due(step):
            self._wanted = True
            host.send(InstanceReport(snapshot_wanted=SnapshotWanted()))
        return False

    def take(self, reason: facts.SnapshotReason) -> None:
        """Take a snapshot of the last boundary."""
        progress = self._progress
        if self._host.refuses_snapshot(progress.position.step):
            return
        boundary = replace(progress.with_random(), evaluation_due=progress.evaluation_due)
        self._host.keeper.take(boundary, progress.data.state(), reason)

    def adopt(
        self, checkpoint: Path, parts: Collection[str], plain: Collection[str], reason: facts.SnapshotReason
    ) -> None:
        """Take what another library has just written as a snapshot of this step; see `Trial.adopt`."""
        position = self._progress.position
        self._plan.note_state_is_given()
        boundary = Boundary(position.step, position.epoch, position.batch)
        self._host.keeper.adopt(Adopted(checkpoint, parts, plain), boundary, reason)

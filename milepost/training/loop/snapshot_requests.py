"""Snapshots that the loop asks for: when the interval says so, now, or as another library has written them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.training.loop.beginning import Beginning
from milepost.training.loop.evaluation import Evaluations
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.saving import Saving, State
from milepost.training.loop.stopping import Stopping


class SnapshotRequests:
    """Carries out those of one loop."""

    def __init__(
        self,
        host: Host,
        progress: Progress,
        beginning: Beginning,
        saving: Saving,
        stopping: Stopping,
        evaluations: Evaluations,
    ) -> None:
        self._host = host
        self._progress = progress
        self._beginning = beginning
        self._saving = saving
        self._stopping = stopping
        self._evaluations = evaluations

    def maybe(self, state: Callable[[], State], sharded: bool) -> None:
        """Take one if the interval says so; see `Trial.maybe_snapshot`."""
        self._saving.by_interval = True
        self._saving.register(state, sharded)
        if self._progress.at_boundary:
            self._stopping.stop_at_boundary()
            if not self._evaluations.is_next:
                self._saving.take_if_due()

    def now(self, state: Callable[[], State] | None, sharded: bool) -> None:
        """Take one; see `Trial.snapshot`."""
        if state is not None:
            self._saving.register(state, sharded)
        self._saving.take(facts.SNAPSHOT_REASON_REQUEST)
        if self._host.rank.led:
            self._host.keeper.raise_refusal()

    def adopt(self, checkpoint: Path, parts: Collection[str], plain: Collection[str]) -> None:
        """Record what another library has written; see `Trial.adopt`."""
        if self._host.refuses_snapshot(self._progress.position.step):
            return
        self._beginning.begin()
        reason = facts.SNAPSHOT_REASON_INTERVAL if self._stopping.order is None else facts.SNAPSHOT_REASON_STOP
        self._saving.adopt(checkpoint, parts, plain, reason)

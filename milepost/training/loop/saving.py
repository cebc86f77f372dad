"""Snapshots as the loop asks for them: of the state at the last boundary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import InstanceReport, SnapshotWanted
from milepost.training.loop.agreement import Agreement
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
        # Somebody asked for one, by the number of times; and how often one was taken for it. Written by two threads.
        self._asked = 0
        self._answered = 0
        # The ranks agreed on a step at which the loop had not given its state.
        self._missed = False

    @property
    def has_news(self) -> bool:
        """Whether there is anything new to save at the last boundary, and a function that gives it."""
        return self._host.keeper.can_snapshot(self._progress.boundary().step)

    def register(self, state: Callable[[], State] | State, sharded: bool) -> None:
        """Remember the function that gives the state."""
        self._host.keeper.register(state if callable(state) else lambda: state, sharded)
        self._plan.note_state_is_given()

    def take_if_due(self) -> None:
        """Take a snapshot if the interval says so or somebody asked for one. All ranks do it at the same step, or none."""
        reason = self._due_alone() if self._host.agreement is None else self._due_together(self._host.agreement)
        if reason is not None:
            self.take(reason)

    def _due_alone(self) -> facts.SnapshotReason | None:
        asked = self._asked
        if asked != self._answered and self.has_news:
            self._answered = asked
            return facts.SNAPSHOT_REASON_REQUEST
        due = self.by_interval and self._host.keeper.due(self._progress.position.step)
        return facts.SNAPSHOT_REASON_INTERVAL if due else None

    def _due_together(self, agreement: Agreement) -> facts.SnapshotReason | None:
        host, step = self._host, self._progress.position.step
        agreed = agreement.wants_snapshot(step)
        if agreed:
            self._wanted = False
        if agreed or (self.by_interval and host.keeper.due_by_count(step)):
            requested = agreed and agreement.is_requested
            self._missed |= requested and not host.keeper.gives_state
            reason = facts.SNAPSHOT_REASON_REQUEST if requested else facts.SNAPSHOT_REASON_INTERVAL
            return reason if host.keeper.can_snapshot(step) else None
        if host.rank.rank == 0 and self.by_interval and not self._wanted and host.keeper.due(step):
            self._wanted = True
            host.send(InstanceReport(snapshot_wanted=SnapshotWanted()))
        return None

    def ask_for(self, alone: bool) -> None:
        """Take a snapshot at the next boundary. May come from any thread; of several ranks it is agreed on where.

        Where the loop cannot be had to take one, that is said.
        """
        if alone and self._host.rank.world_size > 1:
            self._refuse("the processes of this group take their snapshots together, when their script says so")
            return
        if alone:
            self._asked += 1
        self._progress.once_begun(partial(self._refuse_where_none_can_be, alone))

    def _refuse_where_none_can_be(self, alone: bool) -> None:
        progress, why_not = self._progress, ""
        if not self._host.keeper.gives_state:
            why_not = "no function gives the state that a snapshot needs"
        elif not (self.by_interval or progress.uses_batches):
            why_not = "the loop says itself when a snapshot is taken: it uses neither maybe_snapshot nor batches"
        elif self._missed:
            why_not = "the loop had not given its state yet at the step that its ranks agreed on"
        self._missed = False
        if why_not:
            if alone:
                self._answered = self._asked
            self._refuse(why_not)

    def _refuse(self, why_not: str) -> None:
        self._host.keeper.refuse(self._progress.position.step, why_not)

    def take(self, reason: facts.SnapshotReason) -> None:
        """Take a snapshot of the last boundary."""
        progress = self._progress
        if self._host.refuses_snapshot(progress.position.step):
            return
        kept = self._host.samples.kept_steps
        boundary = replace(
            progress.with_random(),
            evaluation_due=progress.evaluation_due,
            sample_steps=kept,
            tokens=progress.position.tokens_at_boundary,
        )
        self._host.keeper.take(boundary, progress.data.state(), reason)

    def adopt(
        self, checkpoint: Path, parts: Collection[str], plain: Collection[str], reason: facts.SnapshotReason
    ) -> None:
        """Take what another library has just written as a snapshot of this step; see `Trial.adopt`."""
        position = self._progress.position
        self._plan.note_state_is_given()
        boundary = Boundary(position.step, position.epoch, position.batch, tokens=position.tokens_at_boundary)
        self._host.keeper.adopt(Adopted(checkpoint, parts, plain), boundary, reason)

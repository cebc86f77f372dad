"""Where the loop is: its step, its epoch and batch, and the boundary between two steps from which it could go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.training.loop.data.feed import DataFeed, loader_length
from milepost.training.loop.host import Host
from milepost.training.saving.rng import RandomCapture
from milepost.training.saving.snapshots import Boundary
from milepost.training.telemetry.background import wake_step
from milepost.training.telemetry.means import examples_in

# Between two looks at whether a loop has done its first steps.
_POLL_SECONDS = 0.1


class Progress:
    """The position of one loop. A step ends where `position.step` grows; everything else follows from that."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.position = host.position
        self.random = RandomCapture()
        self.data = DataFeed(self.random, tells_epoch=host.rank.led, warn=host.warn)
        # The loop takes its batches from `batches`.
        self.uses_batches = False
        # Batches behind the snapshot that a roll back leaves out, and that are not passed over yet.
        self.to_pass_over = 0
        # The loader of this epoch has no batch left.
        self.drained = False
        # The evaluation of this step has not run to its end; and the last step that had one.
        self.evaluation_due = False
        self.evaluated_step = 0
        # Where this attempt went on from.
        self.start_step = 0
        # Nothing more comes from the loop.
        self.is_over = False
        # The step at which a batch of telemetry is full.
        self.full_step = wake_step(0)
        # The last one that was asked for; of an earlier step it says nothing.
        self._boundary = Boundary(0)
        # The step after which a batch was handed out: until the next one ends the state is between two boundaries.
        self._opened_after = -1

    @property
    def at_boundary(self) -> bool:
        """Whether no batch has been handed out since the last step ended."""
        return self._opened_after != self.position.step

    @property
    def is_beginning(self) -> bool:
        """Whether it is not known yet what the loop asks for: it may say so, and begin with its batches, in its first step."""
        return self.position.step <= self.start_step + 1

    def once_begun(self, work: Callable[[], None]) -> None:
        """Do something, if need be beside the loop as soon as it has done two steps; not if it ends before."""
        if not self.is_beginning:
            work()
            return

        def wait() -> None:
            while self.is_beginning:
                if self.is_over:
                    return
                time.sleep(_POLL_SECONDS)
            work()

        threading.Thread(target=wait, name="milepost-requests", daemon=True).start()

    @property
    def epoch(self) -> int:
        """The current epoch; between two epochs the next one."""
        return self.boundary().epoch if self.at_boundary else self.position.epoch

    def boundary(self) -> Boundary:
        """Return where training could go on from. `batches` asks before every batch, so it never is out of date."""
        position = self.position
        if self._boundary.step != position.step:
            self._boundary = Boundary(position.step, position.epoch, position.batch)
        return self._boundary

    def with_random(self) -> Boundary:
        """Return the boundary, with the random generators as they are there."""
        boundary = self.boundary()
        if boundary.random is None:
            self._boundary = boundary = replace(boundary, random=self.random.capture())
        return boundary

    def remember_random(self) -> None:
        """Note the random generators as they are between two steps."""
        if self.at_boundary:
            self.with_random()

    def forget_random(self) -> None:
        """Have them noted anew: what has run between two steps has drawn from them."""
        if self.at_boundary:
            self._boundary = replace(self.boundary(), random=None)

    def go_on_from(self, boundary: Boundary) -> None:
        """Put everything where training goes on."""
        position = self.position
        self._boundary, self.start_step = boundary, boundary.step
        position.step, position.epoch, position.batch = boundary.step, boundary.epoch, boundary.batch
        position.tokens = boundary.tokens
        self._host.marker[0] = boundary.step
        self.full_step = wake_step(boundary.step)
        self.evaluated_step, self.evaluation_due = boundary.step, boundary.evaluation_due
        self._host.keeper.restored(boundary)
        self._host.samples.go_on_from(boundary.sample_steps or {})

    def pass_on(self, step: int) -> None:
        """Have a batch of telemetry cut that is full with this step."""
        self.full_step = wake_step(step)
        self._host.wake()

    # --- epochs and batches

    def enter_epoch(self, epoch: int) -> None:
        """Show another epoch. The position of the last one is shown until here."""
        position = self.position
        if position.epoch != epoch:
            position.epoch, position.batch, position.epoch_batches = epoch, 0, None

    def enter_loader(self, loader: Any) -> None:
        """Begin with the batches of a loader, where the boundary is."""
        boundary, position = self.boundary(), self.position
        self.uses_batches, self.drained = True, False
        self.enter_epoch(boundary.epoch)
        # Not of a batch that somebody only had a look at.
        position.batch = boundary.batch
        position.epoch_batches = loader_length(loader)

    def open_batch(self, batch: Any) -> None:
        """Note that a batch is handed out."""
        position = self.position
        position.batch += 1
        self._opened_after = position.step
        position.examples += examples_in(batch)

    def leave_epoch(self) -> None:
        """Have the next epoch begin. Batches that no step came after belong to the one that is over."""
        position = self.position
        self._opened_after = -1
        self._boundary = Boundary(position.step, position.epoch + 1, 0, self.random.capture())
        self.data.end_epoch()
        self._host.keeper.epoch_ended()

    def epoch_completed(self, epoch: int) -> facts.EpochCompleted:
        """Say that an epoch is over, and how much of it was done where that was not all."""
        position = self.position
        completed = facts.EpochCompleted(attempt=self._host.launch.attempt, epoch=epoch, step=position.step)
        if not self.drained and position.epoch_batches is not None and position.batch < position.epoch_batches:
            completed.batch, completed.batch_count = position.batch, position.epoch_batches
        return completed

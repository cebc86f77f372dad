"""The epochs and batches of a loop, and what is done between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

from milepost.training.loop.beginning import Beginning
from milepost.training.loop.data.tracked import Batches
from milepost.training.loop.evaluation import Evaluations
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.stopping import Stopping
from milepost.training.telemetry.batches import SKIPPING, TRAINING

Batch = TypeVar("Batch")


class Epochs:
    """Leads one loop through its data."""

    def __init__(
        self, host: Host, progress: Progress, beginning: Beginning, evaluations: Evaluations, stopping: Stopping
    ) -> None:
        self._host = host
        self._progress = progress
        self._beginning = beginning
        self._evaluations = evaluations
        self._stopping = stopping
        # Each run through the batches is an epoch, as long as the loop does not ask for epochs.
        self._by_batches = True

    def epochs(self, count: int) -> Iterator[int]:
        """Go through the epochs; see `Trial.epochs`."""
        self._beginning.begin_unless_awaited()
        self._by_batches = False
        for epoch in range(self._progress.boundary().epoch, count):
            self._progress.enter_epoch(epoch)
            yield epoch
            self._settle()
            self._end_epoch()

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Go through the batches of the current epoch; see `Trial.batches`."""
        return Batches(partial(self._begin_batches, loader))

    def leave(self) -> None:
        """End the epoch that the loop has left before its last batch. Between two epochs it does nothing."""
        progress = self._progress
        if self._by_batches and progress.uses_batches and progress.position.batch and progress.boundary().batch:
            self._end_epoch()

    def _begin_batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        self._beginning.begin_unless_awaited()
        self.leave()
        self._progress.enter_loader(loader)
        return self._hand_out(self._start_data(loader))

    def _start_data(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        data, position, boundary = self._progress.data, self._progress.position, self._progress.boundary()
        if boundary.batch == 0:
            return data.begin(loader, boundary, lambda done: None)

        def on_skip(done: int) -> None:
            position.skipped = done

        position.phase, position.skipped, position.to_skip = SKIPPING, 0, boundary.batch
        try:
            return data.begin(loader, boundary, on_skip)
        finally:
            position.phase, position.skipped, position.to_skip = TRAINING, None, None

    def _pass_over(self, iterator: Iterator[Batch]) -> None:
        """Leave out the batches that a roll back leaves out. Those that this epoch has no more are left out of the next."""
        progress, position = self._progress, self._progress.position
        if not progress.to_pass_over:
            return
        position.phase, position.skipped, position.to_skip = SKIPPING, 0, progress.to_pass_over
        try:
            for done, _ in enumerate(islice(iterator, progress.to_pass_over), start=1):
                position.batch, position.skipped = position.batch + 1, done
                progress.to_pass_over -= 1
        finally:
            position.phase, position.skipped, position.to_skip = TRAINING, None, None

    def _hand_out(self, iterator: Iterator[Batch]) -> Iterator[Batch]:
        progress, stopping = self._progress, self._stopping
        self._pass_over(iterator)
        while True:
            self._settle()
            progress.remember_random()
            agreement = self._host.agreement
            if agreement is not None and progress.at_boundary:
                agreement.reopen(progress.position.step)
            stopping.gate.enter()
            try:
                batch = next(iterator)
            except StopIteration:
                progress.drained = True
                break
            finally:
                stopping.gate.leave()
            if agreement is not None and progress.at_boundary:
                # What was decided while this rank waited for data holds here: the batch is not begun.
                stopping.halt_if_due()
            progress.open_batch(batch)
            yield batch
        if self._by_batches:
            self._end_epoch()

    def _end_epoch(self) -> None:
        epoch = self._progress.position.epoch
        completed = self._progress.epoch_completed(epoch)
        self._host.report(completed)
        self._host.say(f"epoch {epoch} {'left' if completed.HasField('batch_count') else 'done'}", {})
        self._progress.leave_epoch()
        self._settle()

    def _settle(self) -> None:
        """Between two batches: evaluate, take a snapshot, or stop, whichever is due."""
        beginning = self._beginning
        if beginning.is_awaited and not beginning.says_first:
            beginning.attend(self._progress.position.step + 1)
        if self._progress.at_boundary:
            self._evaluations.run_if_next()
            self._stopping.halt_if_due()

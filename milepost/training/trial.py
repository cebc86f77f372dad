"""The trial as training code sees it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import AttemptLaunch, InstanceInstruction, InstanceReport, SnapshotWanted
from milepost.endpoints import Endpoints
from milepost.errors import InvalidArgument, Violation
from milepost.snapshots import fetch, read_manifest
from milepost.storage import folder_of
from milepost.training.agreement import Agreement
from milepost.training.averages import Averages
from milepost.training.background import Background, wake_step
from milepost.training.batches import FINISHING, HEADLINE_KEYS, SKIPPING, TRAINING
from milepost.training.buffer import LARGEST_STEP
from milepost.training.card import card
from milepost.training.data import DataFeed, loader_length
from milepost.training.declared import flatten, labels_of
from milepost.training.evaluation import Evaluation
from milepost.training.marker import StepMarker, marker_path
from milepost.training.means import AVERAGED, EXAMPLES, add_to_mean, examples_in
from milepost.training.parameters import Parameters
from milepost.training.rng import RandomCapture
from milepost.training.snapshot_keeper import SnapshotKeeper, staging_folder
from milepost.training.snapshots import ADOPTED, Boundary, load, load_weights
from milepost.training.stop import Gate, StopOrder, Stopped
from milepost.training.tracked import TrackedLoader

# Exit status of a process whose attempt may write nothing more.
STALE = 3

Batch = TypeVar("Batch")
State = Mapping[str, Any]

# A loop that waits for one batch longer than this when a stop comes is not waited for.
_DATA_WAIT_SECONDS = 0.3
# Between tries of the snapshot of a stop, and how long before the deadline none is begun any more.
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
_LEAVE_SECONDS = 5.0
# How long reading a series waits for what was logged last.
_READ_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of how many worker processes this is."""

    rank: int = 0
    world_size: int = 1
    # Whether a driver leads the ranks; processes of torchrun find together by themselves.
    led: bool = True

    @property
    def writers(self) -> int:
        """How many ranks write a part of each snapshot. Without a driver it is rank 0 alone."""
        return self.world_size if self.led else 1


class Trial:
    """One training run as its code sees it. The worker process makes it and hands it to the entrypoint."""

    def __init__(
        self, launch: AttemptLaunch, rank: Rank, background: Background, keeper: SnapshotKeeper | None = None
    ) -> None:
        self.runtime_id = launch.runtime_id
        self.number = launch.trial
        self.attempt = launch.attempt
        self.rank = rank.rank
        self.world_size = rank.world_size
        self._writers = rank.writers
        self.parameters = Parameters(launch.parameters)
        self.position = background.position
        self.random = RandomCapture()
        self._launch = launch
        self._staging = staging_folder(launch) / f"rank-{rank.rank}"
        self._background = background
        self._buffer_append: Callable[[int, float, Mapping[str, Any]], None] = background.buffer.append
        # With one rank, or without a driver, the loop never asks anybody.
        self._agreement: Agreement | None = None
        if self.world_size > 1 and rank.led:
            self._agreement = Agreement(background.send)
            self._buffer_append = self._append_with_weight
        elif self.rank != 0:
            self._buffer_append = lambda step, now, values: None
        self._marker = StepMarker(marker_path(Path(launch.attempt_directory), self.rank)).cell
        background.completed = lambda: self._marker[0]
        self._data = DataFeed(self.random)
        self._keeper = keeper or SnapshotKeeper(launch, rank.rank, rank.writers, background)
        self._gate = Gate()
        self._pending: dict[str, Any] = {}
        self._averages = Averages()
        self._watches: list[Any] = []
        # The last one; None: the position as it is now, for whoever asks.
        self._boundary: Boundary | None = Boundary(0)
        # A batch was handed out and no step has ended since: the state is between two boundaries.
        self._batch_open = False
        # Examples that were handed out since the last step ended, and those among them behind a pending mean.
        self._examples = 0
        self._pending_examples = 0
        self._snapshot_wanted = False
        # Set when `log` has something else to do than to append: the first step, a stop.
        self._attention = True
        self._wake_step = wake_step(0)
        self._begun = False
        self._ended = False
        self._uses_batches = False
        self._uses_snapshots = False
        self._polls_stop = False
        self._own_epochs = True
        self._stop: StopOrder | None = None
        # Has the processes of a group agree on a step to stop after. None: this one stops by itself.
        self.agree_to_stop: Callable[[int], None] | None = None
        self._restored_snapshot = ""
        self._evaluate: Callable[[], object] | None = None
        self._evaluate_steps = 0
        self._evaluated_step = 0
        self._evaluation_due = False
        # Whether the loop was told of a stop by `should_stop`.
        self.left_for_stop = False
        # Where it is looked at and read; None: the stack that is found.
        self.page = ""
        self.endpoints: Endpoints | None = None
        # What `finish` does; a managed trial ends with its entrypoint.
        self.on_finish: Callable[[], None] = lambda: None
        # Called instead of the loop when a stop was carried out while the loop was waiting for data.
        self.on_stopped_elsewhere: Callable[[], None] = lambda: None

    # --- what the trial is

    @property
    def step(self) -> int:
        """The last step that was done; 0 before the first."""
        return self.position.step

    @property
    def epoch(self) -> int:
        """The current epoch, from 0; between two epochs the next one."""
        return self._last_boundary().epoch if not self._batch_open else self.position.epoch

    @property
    def batch(self) -> int:
        """The current batch of this epoch, from 1."""
        return self.position.batch

    @property
    def name(self) -> str:
        return f"runtimes/{self.runtime_id}/trials/{self.number}"

    @property
    def configuration(self) -> RuntimeConfiguration:
        """The configuration of the runtime, as resolved."""
        return self._launch.configuration

    def __repr__(self) -> str:
        return f"<milepost.Trial {self.name} attempt {self.attempt}, step {self.step:,}, rank {self.rank} of {self.world_size}>"

    def _repr_html_(self) -> str:
        values = {
            key: self._background.last_values[key] for key in HEADLINE_KEYS if key in self._background.last_values
        }
        total = self._background.progress.total_steps
        name = self._launch.configuration.name or self.runtime_id
        return card(name, self.page, self.step, total, values)

    def series(self, key: str, form: str = "arrow") -> Any:
        """Read back a series of this trial, every point that was logged so far.

        Returns an Arrow table with step, time and value, or with `form="pandas"` a data frame.

        Raises:
            Unavailable: no server answers.
            FailedPrecondition: pyarrow, or pandas, is not installed.
        """
        from milepost.client import Client
        from milepost.series import as_form, read_series

        self._background.wait_stored(_READ_SECONDS)
        with Client(self.endpoints) as client:
            return as_form(read_series(client, self.name, [key]).select(["step", "time", "value"]), form)

    def plan(
        self,
        total_steps: int | None = None,
        *,
        steps_per_epoch: int | None = None,
        epochs: int | None = None,
        eval_every: int | None = None,
        batches_per_epoch: int | None = None,
    ) -> None:
        """Say how long training will take, as far as it is known. May be said again; the last one holds.

        Args:
            total_steps: optimizer updates in the whole training, those of earlier attempts included.
            steps_per_epoch: optimizer updates in an epoch.
            epochs: number of epochs.
            eval_every: steps from one evaluation to the next.
            batches_per_epoch: batches of the loader in an epoch.
        """
        if self.rank != 0:
            return
        self._background.progress.total_steps = total_steps
        every = self._launch.configuration.snapshots
        planned = facts.PlanDeclared(
            attempt=self.attempt,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            epochs=epochs,
            eval_every_steps=eval_every,
            batches_per_epoch=batches_per_epoch,
            snapshot_every_steps=every.every_steps if every.HasField("every_steps") else None,
        )
        self.report(planned)

    def declare(self, parameters: Mapping[str, Any] | None = None, labels: Mapping[str, object] | None = None) -> None:
        """Say what else this run was given; adds to what is known, also after its start.

        Args:
            parameters: settings by name. Nested mappings get dotted names; what is no scalar is kept as its text.
            labels: short texts to find the run by.
        """
        said = facts.ParametersDeclared(
            attempt=self.attempt, parameters=flatten(parameters or {}), labels=labels_of(labels or {})
        )
        if said.parameters or said.labels:
            self.report(said)

    # --- beginning

    def restore(
        self, map_location: Any = "cpu", into: Callable[[], dict[str, Any]] | None = None
    ) -> dict[str, Any] | None:
        """Load the state to go on from. None: start from the beginning.

        The step, the position in the data and, at the first batch, the random generators are put where they were.
        Without a snapshot of its own, a trial configured with `initialize_from` gets the state of that snapshot
        under the key `initialize_from`, and begins at step 0.

        Args:
            map_location: where tensors go, as for `torch.load`.
            into: gives a state of the right shape, best the function that `maybe_snapshot` is given. A sharded
                snapshot is read into its tensors, each rank the part it has; all ranks must call this.

        Raises:
            SnapshotInvalid: the snapshot does not verify.
            InvalidArgument: it is sharded, and `into` is not given.
        """
        if not self._launch.snapshot_id:
            self._begin()
            if self._launch.initialize_from_uri:
                weights = load_weights(self._launch.initialize_from_uri, self._staging, map_location, into)
                return {"initialize_from": weights}
            return None
        launch = self._launch
        restored = load(launch.snapshot_uri, self.rank, self._staging, launch.manifest_sha256, map_location, into)
        if restored.manifest.world_size != self._writers:
            self._background.warnings.say(
                "world_size",
                f"the snapshot is of {restored.manifest.world_size} ranks and restored with {self._writers}: "
                "the state is the same, the order of data and random numbers need not be",
            )
        self._data.restore(restored.data)
        self._go_on_from(restored.boundary)
        return restored.state

    def _go_on_from(self, boundary: Boundary) -> None:
        self._boundary = boundary
        position = self.position
        position.step, position.epoch, position.batch = boundary.step, boundary.epoch, boundary.batch
        self._marker[0] = position.step
        self._wake_step = wake_step(position.step)
        self._evaluated_step = position.step
        self._evaluation_due = boundary.evaluation_due
        self._keeper.restored(boundary)
        self._restored_snapshot = self._launch.snapshot_id
        self._begin()

    def restored_checkpoint(self) -> Path | None:
        """Return the checkpoint of another library to go on from; see `adopt`. None: start from the beginning.

        It is the folder that was adopted, or one with the file that was.

        Raises:
            SnapshotInvalid: the snapshot does not verify.
        """
        if not self._launch.snapshot_id:
            self._begin()
            return None
        folder = fetch(self._launch.snapshot_uri, self._staging, self._launch.manifest_sha256)
        manifest = read_manifest(folder_of(str(folder)), self._launch.manifest_sha256)
        self._go_on_from(Boundary(manifest.step, manifest.epoch, manifest.batch))
        return folder / ADOPTED

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self.position.phase = TRAINING
        if self.rank == 0:
            self.report(
                facts.AttemptStarted(
                    attempt=self.attempt,
                    restored_snapshot_id=self._restored_snapshot,
                    restored_step=self.position.step,
                    world_size=self.world_size,
                )
            )
        self._background.report(
            facts.InstanceReadinessChanged(attempt=self.attempt, rank=self.rank, ready=True, reason="training begins")
        )
        self._background.begin(self.position.step)

    def shard(self, loader: Any, *, seed: int = 0) -> Any:
        """Return a PyTorch loader that gives each rank its part of every batch of another one.

        The batches together are those of the given loader, whatever the number of ranks; their order comes from the
        seed and the epoch alone. A batch that cannot be divided evenly gives the first ranks one example more.

        Args:
            loader: a `DataLoader` over a data set with indices; its batch size is that of the global batch.
            seed: of the order, where the loader shuffles.

        Raises:
            InvalidArgument: the loader has no batches of indices, or batches smaller than the number of ranks.
        """
        from milepost.training.sharding import shard

        return shard(loader, self.rank, self.world_size, seed)

    # --- the loop

    def epochs(self, count: int) -> Iterator[int]:
        """Go through the epochs, from the one that a resume goes on in.

        Raises:
            Stopped: a stop was asked for.
        """
        self._begin()
        self._own_epochs = False
        for epoch in range(self._last_boundary().epoch, count):
            self._enter_epoch(epoch)
            yield epoch
            self._settle()
            self._end_epoch()

    def _enter_epoch(self, epoch: int) -> None:
        """Show another epoch. The position of the last one is shown until here."""
        position = self.position
        if position.epoch != epoch:
            position.epoch, position.batch, position.epoch_batches = epoch, 0, None

    def _end_epoch(self) -> None:
        position = self.position
        if self.rank == 0:
            self.report(facts.EpochCompleted(attempt=self.attempt, epoch=position.epoch, step=position.step))
            self.say(f"epoch {position.epoch} done", {})
        # Batches that no step came after belong to the epoch that is over.
        self._batch_open = False
        self._boundary = Boundary(position.step, position.epoch + 1, 0, self.random.capture())
        self._keeper.epoch_ended()
        self._settle()

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Go through the batches of the current epoch, after a resume from where the snapshot was.

        Feeds the batch monitor. A loader with `state_dict` and `load_state_dict` goes on by itself; with others the
        batches that are done are skipped, in the same order.

        Raises:
            Stopped: a stop was asked for.
        """
        self._begin()
        self._uses_batches = True
        position = self.position
        self._enter_epoch(self._last_boundary().epoch)
        position.epoch_batches = loader_length(loader)
        iterator = self._start_data(loader)
        while True:
            self._settle()
            self._remember_random()
            if self._agreement is not None and self._at_boundary():
                self._agreement.reopen(position.step)
            self._gate.enter()
            try:
                batch = next(iterator)
            except StopIteration:
                break
            finally:
                self._gate.leave()
            if self._agreement is not None and self._at_boundary():
                # What was decided while this rank waited for data holds here: the batch is not begun.
                self._halt_if_due()
            position.batch += 1
            self._batch_open = True
            self._examples += examples_in(batch)
            yield batch
        if self._own_epochs:
            self._end_epoch()

    def leave_epoch(self) -> None:
        """End the epoch that the loop has left before its last batch. Between two epochs it does nothing."""
        if self._own_epochs and self._uses_batches and self.position.batch and self._last_boundary().batch:
            self._end_epoch()

    def track(self, loader: Iterable[Batch]) -> TrackedLoader:
        """Wrap the loader of a loop of one's own: each iteration over it is an epoch whose batches are counted.

        Everything else about the loader stays as it is. With gradient accumulation a step has several batches.
        """
        return TrackedLoader(self, loader)

    def _start_data(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        position, boundary = self.position, self._last_boundary()
        if boundary.batch == 0:
            return self._data.begin(loader, boundary, lambda done: None)

        def on_skip(done: int) -> None:
            position.skipped = done

        position.phase, position.skipped, position.to_skip = SKIPPING, 0, boundary.batch
        try:
            return self._data.begin(loader, boundary, on_skip)
        finally:
            position.phase, position.skipped, position.to_skip = TRAINING, None, None

    def log(self, values: Mapping[str, Any], step: int | None = None, commit: bool = True) -> None:
        """Log values and end the step.

        Costs a few microseconds: nothing is sent here. Tensors are read later, without waiting for their device.

        Args:
            values: numbers by series key, such as `train/loss`.
            step: the step that the values belong to. Default: the next one.
            commit: False adds the values to the current step without ending it.

        Raises:
            Stopped: a stop was asked for, and the loop uses neither `batches` nor `maybe_snapshot`.
        """
        if step is not None or not commit or self._pending:
            combined = self._combine(values, step, commit)
            if combined is None:
                return
            values, step = combined
        else:
            step = self.position.step + 1
        if self._attention:
            self._attend()
        position = self.position
        position.step = step
        self._buffer_append(step, time.time(), values)
        self._marker[0] = step
        self._boundary = None
        self._batch_open = False
        self._examples = self._pending_examples = 0
        if step >= self._wake_step:
            self._wake_step = wake_step(step)
            self._background.wake()
        if self._stop is not None or self._agreement is not None:
            self._stop_in_log()

    def _append_with_weight(self, step: int, now: float, values: Mapping[str, Any]) -> None:
        """Keep what one of several ranks logs: rank 0 everything, the others what goes into a mean."""
        if AVERAGED in values:
            mine = values if self.rank == 0 else {AVERAGED: values[AVERAGED]}
            self._background.buffer.append(step, now, {**mine, EXAMPLES: max(1, self._examples)})
        elif self.rank == 0:
            self._background.buffer.append(step, now, values)

    def _combine(
        self, values: Mapping[str, Any], step: int | None, commit: bool
    ) -> tuple[Mapping[str, Any], int] | None:
        """Handle the rarer forms of `log`. None: the step does not end."""
        current = self.position.step
        if step is not None and not (isinstance(step, int) and 0 <= step <= LARGEST_STEP):
            raise InvalidArgument([Violation("step", f"must be a whole number from 0 to {LARGEST_STEP}, not {step!r}")])
        if not commit and (step is None or step == current + 1):
            self._pending.update(self._with_mean(values))
            return None
        if step is not None and step <= current:
            # Late values for a step that has ended already.
            self._buffer_append(step, time.time(), values)
            return None
        if self._pending:
            values = {**self._pending, **self._with_mean(values)}
            self._pending.clear()
        return values, step if step is not None else current + 1

    def _with_mean(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take the loss of a micro-batch into the mean over those of the step before it."""
        if AVERAGED not in values:
            return values
        before, self._pending_examples = self._pending_examples, max(1, self._examples)
        if AVERAGED not in self._pending or self._pending_examples <= before:
            return values
        mean = add_to_mean(self._pending[AVERAGED], before, values[AVERAGED], self._pending_examples - before)
        return {**values, AVERAGED: mean}

    def _attend(self) -> None:
        """Do what only the first step needs."""
        self._attention = False
        if not self._background.alive:
            # A process that was forked off, such as a worker of a data loader: it is no instance.
            self._buffer_append = lambda step, now, values: None
            return
        self._begin()

    def advance(self, step: int, *, epoch: int | None = None, batch: int | None = None) -> None:
        """Say that a framework has done this step, with no values to log. It is not interrupted by a stop.

        Args:
            step: optimizer updates that are done.
            epoch: the current epoch, from 0.
            batch: batches of this epoch that are done.
        """
        if self._attention:
            self._attend()
        position = self.position
        if epoch is not None:
            position.epoch = epoch
        if batch is not None:
            position.batch = batch
        if step <= position.step:
            return
        position.step = step
        self._marker[0] = step
        self._boundary, self._batch_open = None, False
        if self._pending:
            self._buffer_append(step, time.time(), self._pending)
            self._pending.clear()
        if step >= self._wake_step:
            self._wake_step = wake_step(step)
            self._background.wake()

    def complete_epoch(self, epoch: int) -> None:
        """Say that a framework has ended an epoch."""
        self.report(facts.EpochCompleted(attempt=self.attempt, epoch=epoch, step=self.position.step))
        self._keeper.epoch_ended()

    def accumulate(self, values: Mapping[str, Any], examples: float = 1) -> None:
        """Add the values of one micro-batch to the step under way, each a mean over so many examples."""
        self._averages.add(values, examples)

    def mean(self) -> dict[str, Any]:
        """Return the means of what was accumulated since the last call, over micro-batches and over processes.

        Under torchrun every process must call it, at the same step: `trial.log(trial.mean())`.
        """
        return self._averages.take()

    def local_mean(self) -> dict[str, Any]:
        """Return the means over the micro-batches of this process alone: no other process takes part."""
        return self._averages.take(alone=True)

    def log_at_current_step(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Log values for the step that was done last. Returns those that are numbers."""
        self._begin()
        self._buffer_append(self.position.step, time.time(), values)
        return {key: float(value) for key, value in values.items() if _is_number(value)}

    def watch(self, optimizer: Any, prefix: str = "train") -> None:
        """Log an optimizer's learning rate, weight decay and gradient norm before clipping, with every step.

        The series are `train/learning_rate`, `train/weight_decay` and `train/grad_norm`; those of further parameter
        groups end in `_1`, `_2`... A value that `log` is given under the same key wins. `prefix` stands in place of
        `train`, where there are several optimizers.
        """
        from milepost.training.optimizer_watch import OptimizerWatch

        self._watches.append(OptimizerWatch(optimizer, self._pending.update, prefix))

    # --- evaluations

    def evaluation(self, batch_count: int | None = None, keep_random: bool = True) -> Evaluation:
        """Open an evaluation at the current step: `with trial.evaluation() as evaluation: ...`.

        With `keep_random` the random generators are put back at its end, so that training goes on as without it.
        """
        self._begin()
        return Evaluation(self, batch_count, keep_random)

    def evaluate_every(self, steps: int, function: Callable[[], object]) -> None:
        """Have a function run after every so many steps, between two batches.

        The function opens `trial.evaluation()` itself. One that a stop interrupted runs again right after the resume.
        """
        self._evaluate_steps, self._evaluate = steps, function

    def evaluation_due(self) -> bool:
        """Tell whether a stop interrupted the evaluation of this step, so that it must run again."""
        return self._evaluation_due

    def evaluation_ended(self, values: Mapping[str, float], interrupted: bool) -> None:
        """Note the end of an evaluation."""
        self._evaluation_due = interrupted
        if not interrupted:
            self._evaluated_step = self.position.step
            self._keeper.evaluated(values)
        self._background.wake()

    def check_stop_in_evaluation(self) -> None:
        # Several ranks may be at different batches of it, or in a collective: they stop after it.
        if self._agreement is None and not self._polls_stop and self._stop_here():
            raise Stopped(f"stopped in the evaluation at step {self.position.step}")

    # --- snapshots

    def maybe_snapshot(self, state: Callable[[], State], *, sharded: bool = False) -> None:
        """Take a snapshot if the interval says so. Call it between two steps, best right after `log`.

        The function gives what is needed to go on: tensors and plain values. It is remembered, so that a stop can
        take a snapshot at any step. Of several ranks each calls it, and the state of rank 0 is kept.

        Args:
            state: gives the state as it is at this step.
            sharded: each rank keeps what it holds of the state (`DTensor`s, as FSDP makes them), so that it is never
                in one place. `restore` then needs `into`.

        Raises:
            Stopped: a stop was asked for; the snapshot is committed.
        """
        self._uses_snapshots = True
        self._keeper.register(state, sharded)
        if self._at_boundary():
            self._pass_boundary()
            if self._stop_here():
                self._stop_now()
            if not self._wants_evaluation() and self._snapshot_due():
                self._snapshot(facts.SNAPSHOT_REASON_INTERVAL)

    def snapshot(self, state: Callable[[], State] | None = None, *, sharded: bool = False) -> None:
        """Take a snapshot now. Call it between two steps; of several ranks each at the same."""
        if state is not None:
            self._keeper.register(state, sharded)
        self._snapshot(facts.SNAPSHOT_REASON_REQUEST)

    def adopt(self, checkpoint: str | Path) -> None:
        """Record a checkpoint that another library has just written, a file or a folder, as a snapshot of this step.

        It is copied and checked beside the loop; `restored_checkpoint` gives it back after a resume.
        """
        reason = facts.SNAPSHOT_REASON_STOP if self._stop is not None else facts.SNAPSHOT_REASON_INTERVAL
        position = self.position
        self._begin()
        self._keeper.adopt(Path(checkpoint), Boundary(position.step, position.epoch, position.batch), reason)

    def wait_for_snapshot(self) -> None:
        """Wait until the snapshot that is under way is committed, or has failed."""
        self._keeper.wait()

    def _snapshot(self, reason: facts.SnapshotReason) -> None:
        boundary = replace(self._with_random(), evaluation_due=self._evaluation_due)
        self._keeper.take(boundary, self._data.state(), reason)

    def _at_boundary(self) -> bool:
        """Tell whether no batch has been handed out since the last step ended."""
        return not self._batch_open

    def _last_boundary(self) -> Boundary:
        """Return where training could go on from. `batches` asks before every batch, so it never is out of date."""
        if self._boundary is None:
            position = self.position
            self._boundary = Boundary(position.step, position.epoch, position.batch)
        return self._boundary

    def _with_random(self) -> Boundary:
        boundary = self._last_boundary()
        if boundary.random is None:
            self._boundary = boundary = replace(boundary, random=self.random.capture())
        return boundary

    def _remember_random(self) -> None:
        if self._at_boundary():
            self._with_random()

    def _wants_evaluation(self) -> bool:
        if self._evaluate is None:
            return False
        step = self.position.step
        return self._evaluation_due or (step > 0 and step % self._evaluate_steps == 0 and self._evaluated_step != step)

    def _settle(self) -> None:
        """Between two batches: evaluate, take a snapshot, or stop, whichever is due."""
        if self._attention:
            self._attend()
        if not self._at_boundary():
            return
        if self._evaluate is not None and self._wants_evaluation():
            self._run_evaluation(self._evaluate)
        self._halt_if_due()

    def _halt_if_due(self) -> None:
        """Stop at this boundary, or take a snapshot, if that is due; of several ranks all do it, or none."""
        self._pass_boundary()
        if (self._agreement is not None or not self._polls_stop) and self._stop_here():
            self._stop_now()
        if self._uses_snapshots and self._snapshot_due():
            self._snapshot(facts.SNAPSHOT_REASON_INTERVAL)

    def _pass_boundary(self) -> None:
        if self._agreement is not None:
            self._agreement.pass_boundary(self.position.step)

    def _snapshot_due(self) -> bool:
        """Tell whether a snapshot is to be taken now. All ranks come to the same answer at the same step."""
        step = self.position.step
        if self._agreement is None:
            return self._keeper.due(step)
        agreed = self._agreement.wants_snapshot(step)
        if agreed:
            self._snapshot_wanted = False
        if agreed or self._keeper.due_by_count(step):
            return self._keeper.can_snapshot(step)
        if self.rank == 0 and not self._snapshot_wanted and self._keeper.due(step):
            self._snapshot_wanted = True
            self._background.send(InstanceReport(snapshot_wanted=SnapshotWanted()))
        return False

    def _run_evaluation(self, evaluate: Callable[[], object]) -> None:
        self._with_random()
        self._evaluation_due = True
        try:
            evaluate()
        except Stopped:
            self._evaluation_due = True
            self._stop_now()
        # Also when the function found nothing to evaluate.
        self._evaluation_due = False
        self._evaluated_step = self.position.step

    # --- stops

    def should_stop(self) -> bool:
        """Tell whether a stop was asked for.

        A loop that asks is not interrupted by `log`: it takes its snapshot with `snapshot` and returns.
        """
        self._polls_stop = True
        if self._at_boundary():
            self._pass_boundary()
        self.left_for_stop = self._stop_here()
        return self.left_for_stop

    @property
    def stop_requested(self) -> bool:
        return self._stop is not None

    def on_instruction(self, instruction: InstanceInstruction) -> None:
        """Take an instruction of the driver. Called in the background thread."""
        kind = instruction.WhichOneof("instruction")
        if kind == "fenced":
            # Nothing this process does counts any more, and another attempt may want its GPU.
            os._exit(STALE)
        if kind == "stop":
            self.request_stop(StopOrder(instruction.stop.step, instruction.stop.deadline_ms))
        if kind == "snapshot_part":
            self._keeper.receive_part(instruction.snapshot_part)
        if kind == "values":
            self._background.receive_values(instruction.values)
        if self._agreement is None:
            return
        if kind == "hold":
            self._agreement.hold(instruction.hold.number)
        elif kind == "stop":
            self._agreement.release()
        elif kind == "snapshot":
            self._agreement.release(instruction.snapshot.step)

    def request_stop(self, order: StopOrder) -> None:
        """Stop at the next boundary, or after the step that the order names. May come from any thread."""
        first = self._stop is None
        self._stop = order
        # Processes that no driver leads cannot be ended one by one: the others would wait for it.
        if first and (self.world_size == 1 or self._agreement is not None):
            threading.Thread(target=self._stop_waiting_loop, name="milepost-stop", daemon=True).start()

    def _stop_here(self) -> bool:
        order = self._stop
        if order is None:
            return False
        if self.agree_to_stop is not None:
            # Another process may be a step ahead of this one, never two: each step takes both of them.
            self._stop = order = replace(order, step=self.position.step + 2)
            agree, self.agree_to_stop = self.agree_to_stop, None
            agree(order.step)
        return self.position.step >= order.step

    def _stop_in_log(self) -> None:
        """Stop a loop that has no better place for it than the end of `log`."""
        if self._uses_batches or self._uses_snapshots or self._polls_stop:
            return
        self._pass_boundary()
        if self._stop_here():
            self._stop_now()

    def _stop_now(self) -> None:
        self.save_for_stop()
        raise Stopped(f"stopped after step {self.position.step}")

    def save_for_stop(self) -> None:
        """Commit a snapshot of the last boundary, unless there is one.

        One that fails, for example because the disk is full, is tried again until shortly before the deadline of the
        stop: somebody may make room. Only a single process does so; a group would have to try again together.
        """
        pause = _FIRST_RETRY_SECONDS
        self._keeper.wait()
        while self._keeper.can_snapshot(self._last_boundary().step):
            self._snapshot(facts.SNAPSHOT_REASON_STOP)
            self._keeper.wait()
            left = self._stop.deadline_ms / 1000 - time.time() - _LEAVE_SECONDS if self._stop is not None else 0.0
            if self.world_size > 1 or not self._keeper.can_snapshot(self._last_boundary().step) or left < pause:
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_RETRY_SECONDS)

    def _stop_waiting_loop(self) -> None:
        """Carry out a stop for a loop that waits for data."""
        waited_batch, since = -1, time.monotonic()
        while not self._ended:
            time.sleep(0.05)
            if not self._gate.waiting or self.position.batch != waited_batch:
                waited_batch, since = self.position.batch, time.monotonic()
            elif time.monotonic() - since > _DATA_WAIT_SECONDS and self._stop_here() and self._at_boundary():
                if self._gate.take_over(self.save_for_stop):
                    self.on_stopped_elsewhere()
                    return

    # --- ending

    def complete(self) -> None:
        """Take the last evaluation and the last snapshot when the entrypoint has returned."""
        if self._begun and self._at_boundary():
            if self._evaluate is not None and self._wants_evaluation():
                self._run_evaluation(self._evaluate)
            if self._keeper.can_snapshot(self._last_boundary().step):
                self._snapshot(facts.SNAPSHOT_REASON_END)
        self.end()
        self._keeper.wait()

    def finish(self) -> None:
        """End the run of a script. A managed trial ends when its entrypoint returns; there it does nothing."""
        self.on_finish()

    def end(self) -> None:
        """Note that the loop is over."""
        if self._pending and self.position.step:
            self._buffer_append(self.position.step + 1, time.time(), self._pending)
            self._pending.clear()
        self._ended = True
        self.position.phase = FINISHING

    def say(self, what: str, values: Mapping[str, float]) -> None:
        """Write a line about progress into the trial's log."""
        if self.rank == 0:
            self._background.progress.say(what, dict(values))

    def report(self, payload: Message) -> None:
        """Hand a fact about the attempt to its driver. Only rank 0 speaks for the attempt."""
        if self.rank == 0:
            self._background.report(payload)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True

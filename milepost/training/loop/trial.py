"""The trial as training code sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from milepost import series_names
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import InstanceInstruction
from milepost.installation.endpoints import Endpoints
from milepost.names import trial_name
from milepost.numbers import MAX_NUMBER
from milepost.training.loop import declared
from milepost.training.loop.alerts import Alerts
from milepost.training.loop.beginning import Beginning
from milepost.training.loop.card import card
from milepost.training.loop.data.tracked import TrackedLoader
from milepost.training.loop.epochs import Epochs
from milepost.training.loop.evaluation import Evaluation, Evaluations
from milepost.training.loop.host import Host
from milepost.training.loop.parameters import Parameters
from milepost.training.loop.plan import Plan
from milepost.training.loop.progress import Progress
from milepost.training.loop.saving import Saving, State
from milepost.training.loop.stop import StopOrder
from milepost.training.loop.stopping import Stopping
from milepost.training.loop.values.averages import Averages
from milepost.training.loop.values.optimizer_watch import OptimizerWatches
from milepost.training.loop.values.step_values import StepValues
from milepost.training.saving.keeper import COMMIT_SECONDS
from milepost.training.telemetry.batches import FINISHING, HEADLINE_KEYS
from milepost.training.user_code import given

Batch = TypeVar("Batch")

# How long reading a series waits for what was logged last.
_READ_SECONDS = 10.0


class Trial:
    """One training run as its code sees it. Whoever runs it makes it, and hands it to the entrypoint or the script."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.position = host.position
        self._plan = Plan(host)
        self._progress = Progress(host)
        self._beginning = Beginning(host, self._progress)
        self._values = StepValues(host, self._beginning)
        self._pending = self._values.pending
        self._averages = Averages()
        self._watches = OptimizerWatches(self._pending.update, host.warn)
        self._saving = Saving(host, self._progress, self._plan)
        self._stopping = Stopping(host, self._progress, self._saving)
        self._alerts = Alerts(host)
        self._evaluations = Evaluations(host, self._progress, self._beginning, self._values, self._stopping)
        self._epochs = Epochs(host, self._progress, self._beginning, self._evaluations, self._stopping)

    # --- what the trial is

    @property
    def step(self) -> int:
        """The last step that was done; 0 before the first."""
        return self.position.step

    @property
    def epoch(self) -> int:
        """The current epoch, from 0; between two epochs the next one."""
        return self._progress.epoch

    @property
    def batch(self) -> int:
        """The current batch of this epoch, from 1."""
        return self.position.batch

    @property
    def runtime_id(self) -> str:
        return self._host.launch.runtime_id

    @property
    def number(self) -> int:
        """The number of this trial among those of its runtime, from 1."""
        return self._host.launch.trial

    @property
    def attempt(self) -> int:
        """Which execution of the trial this is, from 1."""
        return self._host.launch.attempt

    @property
    def rank(self) -> int:
        """Which of the worker processes this is, from 0."""
        return self._host.rank.rank

    @property
    def world_size(self) -> int:
        """How many worker processes there are."""
        return self._host.rank.world_size

    @property
    def parameters(self) -> Parameters:
        """What the run was given, by name."""
        return self._host.parameters

    @property
    def page(self) -> str:
        """Where it is looked at; empty: nowhere."""
        return self._host.page

    @property
    def endpoints(self) -> Endpoints | None:
        """Where it is read. None: the stack that is found."""
        return self._host.endpoints

    @property
    def name(self) -> str:
        return trial_name(self.runtime_id, self.number)

    @property
    def configuration(self) -> RuntimeConfiguration:
        """The configuration of the runtime, as resolved."""
        return self._host.launch.configuration

    def __repr__(self) -> str:
        return f"<milepost.Trial {self.name} attempt {self.attempt}, step {self.step:,}, rank {self.rank} of {self.world_size}>"

    def _repr_html_(self) -> str:
        last_values = self._host.last_values
        values = {key: last_values[key] for key in HEADLINE_KEYS if key in last_values}
        name = self._host.launch.configuration.name or self.runtime_id
        return card(name, self.page, self.step, self._plan.total_steps, values)

    def series(self, key: str, form: str = "arrow") -> Any:
        """Read back a series of this trial, every point that was logged so far.

        Returns an Arrow table with step, time and value, or with `form="pandas"` a data frame.

        Raises:
            Unavailable: no server answers.
            FailedPrecondition: pyarrow, or pandas, is not installed.
        """
        from milepost.client import Client
        from milepost.series import as_form, read_series

        self._host.wait_stored(_READ_SECONDS)
        with Client(self.endpoints) as client:
            return as_form(read_series(client, self.name, [key]).select(["step", "time", "value"]), form)

    def plan(
        self,
        total_steps: float | None = None,
        *,
        steps_per_epoch: float | None = None,
        epochs: float | None = None,
        eval_every: float | None = None,
        batches_per_epoch: float | None = None,
        eval_every_epochs: float | None = None,
    ) -> None:
        """Say how long training will take, as far as it is known. May be said again; the last one holds.

        Numbers of any kind are taken, and rounded up; what is no number above 0 counts as unknown.

        Args:
            total_steps: optimizer updates in the whole training, those of earlier attempts included.
            steps_per_epoch: optimizer updates in an epoch.
            epochs: number of epochs.
            eval_every: steps from one evaluation to the next.
            batches_per_epoch: batches of the loader in an epoch.
            eval_every_epochs: where it is given, evaluations come in every so many-th epoch only, and `eval_every` is
                counted from the start of that epoch.
        """
        self._plan.say(total_steps, steps_per_epoch, epochs, eval_every, batches_per_epoch, eval_every_epochs)

    def warn(self, problem: str, text: str) -> None:
        """Say a problem, once."""
        self._host.warn(problem, text)

    def declare(self, parameters: Any = None, labels: Any = None) -> None:
        """Say what else this run was given; adds to what is known, also after its start.

        Args:
            parameters: settings by name: a mapping, an `argparse.Namespace`, a record. Groups in it get dotted names;
                what is no number, text, boolean or None is kept as its text.
            labels: short texts to find the run by.

        What looks like a secret is recorded as `[redacted: looks like a secret]`, unless `not_secret` names it.
        """
        self.declare_read(declared.read(parameters, labels))

    def declare_read(self, said: declared.Declared) -> None:
        """Record what was read, and say what of it could not be kept as it was given."""
        declared.record(said, self._host)

    def alert(self, title: str, text: str = "", level: str = "warning") -> None:
        """Say something that somebody should know of: an event of this trial, at the current step.

        It is shown with the run, and a rule that looks at `milepost.trial.alert_raised.v1` finds it. At most 100 are
        recorded of an attempt, each title once a step; texts are cut at 1,000 characters.

        Args:
            level: `info`, `warning` or `error`.
        """
        self._alerts.alert(title, text, level, self.position.step)

    # --- beginning

    def restore(
        self, map_location: Any = "cpu", into: Callable[[], dict[str, Any]] | None = None
    ) -> dict[str, Any] | None:
        """Load the state to go on from. None: start from the beginning.

        The step, the position in the data and, at the first batch, the random generators are put where they were. For
        a loop that reads its data without `batches` or `track` the generators are put there at once, best right before the
        loop; that its place in the data is not known is then said in the log and with the attempt.
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
        return self._beginning.restore(map_location, into)

    def restored_checkpoint(self) -> Path | None:
        """Return the checkpoint of another library to go on from; see `adopt`. None: start from the beginning.

        It is the folder that was adopted, or one with the file that was.

        Raises:
            SnapshotInvalid: the snapshot does not verify.
        """
        return self._beginning.restored_checkpoint()

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
        from milepost.training.loop.data.sharding import shard

        return shard(loader, self.rank, self.world_size, seed)

    # --- the loop

    def epochs(self, count: int) -> Iterator[int]:
        """Go through the epochs, from the one that a resume goes on in.

        Raises:
            Stopped: a stop was asked for.
        """
        return self._epochs.epochs(count)

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Go through the batches of the current epoch, after a resume from where the snapshot was.

        Feeds the batch monitor. A loader with `state_dict` and `load_state_dict` goes on by itself; with others the
        batches that are done are skipped, in the same order. A loop of one's own that leaves an epoch before its last
        batch begins the next one with the next call.

        Raises:
            Stopped: a stop was asked for.
        """
        return self._epochs.batches(loader)

    def leave_epoch(self) -> None:
        """End the epoch that the loop has left before its last batch. Between two epochs it does nothing."""
        self._epochs.leave()

    def track(self, loader: Iterable[Batch]) -> TrackedLoader:
        """Wrap the loader of a loop of one's own: each iteration over it is an epoch whose batches are counted.

        Everything else about the loader stays as it is. With gradient accumulation a step has several batches.
        """
        return TrackedLoader(loader, self.batches)

    def log(self, values: Mapping[str, Any], step: int | None = None, commit: bool = True) -> None:
        """Log values and end the step.

        Costs a few microseconds: nothing is sent here. Tensors are read later, without waiting for their device.

        Args:
            values: numbers by series key, such as `train/loss`; what is nested is named by its path. What is no number is
                left out, and said once.
            step: the step that the values belong to: a whole number of any kind, from 0. Default: the next one, which
                is also where values go whose step is something else.
            commit: False adds the values to the current step without ending it.

        Raises:
            Stopped: a stop was asked for, and the loop uses neither `batches` nor `maybe_snapshot`.
        """
        if type(values) is not dict:
            values = self._values.named(values)
        position, host = self.position, self._host
        ends = commit and not self._pending
        if ends and step is None:
            number = position.step + 1
        elif ends and type(step) is int and position.step < step <= MAX_NUMBER:
            number = step
        else:
            combined = self._values.combine(values, step, commit)
            if combined is None:
                return
            values, number = combined
        if self._beginning.is_awaited:
            self._beginning.attend(number)
        position.step = number
        host.rows.append(number, time.time(), values)
        host.marker[0] = number
        position.examples = 0
        if number >= self._progress.full_step:
            self._progress.pass_on(number)
        if self._stopping.order is not None or host.agreement is not None:
            self._stopping.stop_in_log()

    def advance(self, step: int, *, epoch: int | None = None, batch: int | None = None) -> None:
        """Say that a framework has done this step, with no values to log. It is not interrupted by a stop.

        Args:
            step: optimizer updates that are done.
            epoch: the current epoch, from 0.
            batch: batches of this epoch that are done.
        """
        step = self._values.read_step(step) or 0
        if self._beginning.is_awaited:
            self._beginning.attend(step + 1)
        position = self.position
        if epoch is not None:
            position.epoch = given.count(epoch)
        if batch is not None:
            position.batch = given.count(batch)
        if step <= position.step:
            return
        position.step = step
        self._host.marker[0] = step
        if self._pending:
            self._values.append_pending(step)
        if step >= self._progress.full_step:
            self._progress.pass_on(step)

    def complete_epoch(self, epoch: int) -> None:
        """Say that a framework has ended an epoch, or left it: its place is that of `advance`."""
        self._host.report(self._progress.epoch_completed(epoch))
        self._host.keeper.epoch_ended()

    def accumulate(self, values: Mapping[str, Any], examples: float = 1) -> None:
        """Add the values of one micro-batch to the step under way, each a mean over so many examples."""
        left_out = self._averages.add(series_names.flat(self._values.named(values)), examples)
        if left_out:
            self.warn(
                "accumulate", f"accumulate: {', '.join(left_out[:5])}: no number, or no examples behind it; left out"
            )

    def mean(self) -> dict[str, Any]:
        """Return the means of what was accumulated since the last call, over micro-batches and over processes.

        Under torchrun every process must call it, at the same step: `trial.log(trial.mean())`.
        """
        return self._averages.take()

    def local_mean(self) -> dict[str, Any]:
        """Return the means over the micro-batches of this process alone: no other process takes part."""
        return self._averages.take(alone=True)

    def watch(self, optimizer: Any, prefix: str = "train") -> None:
        """Log an optimizer's learning rate, weight decay and gradient norm before clipping, with every step.

        The series are `train/learning_rate`, `train/weight_decay` and `train/grad_norm`; those of further parameter
        groups end in `_1`, `_2`... A value that `log` is given under the same key wins. `prefix` stands in place of
        `train`, where there are several optimizers; a second one under the same prefix is `train_2`. One that stands
        within another, as `accelerator.prepare` makes it, is found; what cannot be watched is said, and training goes on.
        """
        self._watches.add(optimizer, prefix)

    # --- evaluations

    def evaluation(self, batch_count: float | None = None, keep_random: bool | None = None) -> Evaluation:
        """Open an evaluation at the current step: `with trial.evaluation() as evaluation: ...`.

        Args:
            batch_count: how many batches it has, if that is known.
            keep_random: whether the random generators are put back at its end, so that training goes on as without it.
                Default: in the entrypoint of a runtime they are; a script of one's own computes what it computes by
                itself, so there they are left alone.
        """
        return self._evaluations.open(batch_count, keep_random)

    def evaluate_every(self, steps: float, function: Callable[[], object]) -> None:
        """Have a function run after every so many steps, between two batches.

        The function opens `trial.evaluation()` itself. One that a stop interrupted runs again right after the resume.
        """
        self._evaluations.run_every(steps, function)

    def evaluation_due(self) -> bool:
        """Tell whether a stop interrupted the evaluation of this step, so that it must run again."""
        return self._progress.evaluation_due

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
        self._saving.by_interval = True
        self._saving.register(state, sharded)
        if self._progress.at_boundary:
            self._stopping.stop_at_boundary()
            if not self._evaluations.is_next and self._saving.is_due():
                self._saving.take(facts.SNAPSHOT_REASON_INTERVAL)

    def snapshot(self, state: Callable[[], State] | None = None, *, sharded: bool = False) -> None:
        """Take a snapshot now. Call it between two steps; of several ranks each at the same.

        Raises:
            StateNotSavable: the state could not be read back. Only in an entrypoint that Milepost runs, which is to be
                mended before it trains for long; a script of one's own goes on, and the snapshot has failed.
        """
        if state is not None:
            self._saving.register(state, sharded)
        self._saving.take(facts.SNAPSHOT_REASON_REQUEST)
        if self._host.rank.led:
            self._host.keeper.raise_refusal()

    def adopt(self, checkpoint: str | Path, *, parts: Collection[str] = (), plain: Collection[str] = ()) -> None:
        """Record a checkpoint that another library has just written, a file or a folder, as a snapshot of this step.

        It is copied and looked at beside the loop: a file that is torn fails the snapshot, not the training. Whether the
        library takes it back it alone can tell. `restored_checkpoint` gives it back after a resume.

        Args:
            parts: names of files in it that other processes write; they are waited for.
            plain: patterns of the names of files that the library reads with `torch.load(weights_only=True)`: what that
                refuses fails the snapshot, instead of the resume. Without any it is said what that would refuse.
        """
        if self._host.refuses_snapshot(self.step):
            return
        self._beginning.begin()
        reason = facts.SNAPSHOT_REASON_STOP if self.stop_requested else facts.SNAPSHOT_REASON_INTERVAL
        self._saving.adopt(Path(checkpoint), parts, plain, reason)

    def wait_for_snapshot(self, seconds: float = COMMIT_SECONDS) -> None:
        """Wait until the snapshot that is under way is committed, or has failed.

        Raises:
            TimeoutError: it took longer than this.
        """
        self._host.keeper.wait(seconds)

    # --- stops and the end

    def should_stop(self) -> bool:
        """Tell whether a stop was asked for.

        A loop that asks is not interrupted by `log`: it takes its snapshot with `snapshot` and returns.
        """
        return self._stopping.ask()

    @property
    def stop_requested(self) -> bool:
        return self._stopping.order is not None

    def explain_end(self, reason: str) -> None:
        """Keep why a framework ends training before the last step of its plan, such as early stopping."""
        self._plan.explain_end(reason)

    def finish(self, exit_code: int | None = None) -> None:
        """End the run of a script. A managed trial ends when its entrypoint returns; there it does nothing.

        Args:
            exit_code: as for `milepost.finish`.
        """
        self._host.finish(exit_code)

    # --- for whoever runs it

    @property
    def thread(self) -> threading.Thread | None:
        """The one that has done the first step."""
        return self._beginning.thread

    def go_on_after(self, step: int | None) -> None:
        """Go on after a step of which the script has a checkpoint of its own. None: the first step it logs says it."""
        self._beginning.go_on_after(step)

    def on_instruction(self, instruction: InstanceInstruction) -> None:
        """Take an instruction of the driver. Called in the background thread."""
        self._stopping.obey(instruction)

    def request_stop(self, order: StopOrder) -> None:
        """Stop at the next boundary, or after the step that the order names. May come from any thread."""
        self._stopping.request(order)

    @property
    def left_for_stop(self) -> bool:
        """Whether the loop was told of a stop by `should_stop`."""
        return self._stopping.loop_was_told

    def save_for_stop(self) -> None:
        """Commit a snapshot of the last boundary, unless there is one."""
        self._stopping.save()

    def take_no_more_snapshots(self) -> None:
        """Save nothing from now on: the attempt was given up, and nobody would know of it."""
        self._host.keeper.close()

    def complete(self) -> None:
        """Take the last evaluation and the last snapshot when the entrypoint has returned."""
        if self._beginning.is_done and self._progress.at_boundary:
            self._evaluations.run_if_next()
            if self._saving.has_news:
                self._saving.take(facts.SNAPSHOT_REASON_END)
        self.end()
        self._host.keeper.wait()

    def end(self) -> None:
        """Note that the loop is over."""
        self._values.end()
        self._stopping.end()
        self.position.phase = FINISHING

    def early_end(self) -> str:
        """Say that the loop has left before the last step of its plan. Empty: it has not, or there is no plan."""
        return self._plan.early_end(self.step, self._values.count_from_zero)

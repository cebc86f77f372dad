"""The trial as training code sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from milepost import series_names
from milepost.training.loop.data.tracked import TrackedLoader
from milepost.training.loop.evaluation import Evaluation
from milepost.training.loop.said import declared
from milepost.training.loop.saving import State
from milepost.training.loop.steering.steerable import Steerable, Value
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial_info import TrialInfo

Batch = TypeVar("Batch")

# How long reading a series waits for what was logged last.
_READ_SECONDS = 10.0


class Trial(TrialInfo):
    """One training run as its code sees it. Whoever runs it makes it, and hands it to the entrypoint or the script."""

    def __init__(self, loop: TrainingLoop) -> None:
        super().__init__(loop.host, loop.progress, loop.plan)
        self._loop = loop
        self._steps = loop.steps

    # --- what its code says of it

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
        self._loop.plan.say(total_steps, steps_per_epoch, epochs, eval_every, batches_per_epoch, eval_every_epochs)

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
        self._loop.declare_read(declared.read(parameters, labels))

    def alert(self, title: str, text: str = "", level: str = "warning") -> None:
        """Say something that somebody should know of: an event of this trial, at the current step.

        It is shown with the run, and a rule that looks at `milepost.trial.alert_raised.v1` finds it. At most 100 are
        recorded of an attempt, each title once a step; texts are cut at 1,000 characters.

        Args:
            level: `info`, `warning` or `error`.
        """
        self._loop.alerts.alert(title, text, level, self.position.step)

    def steerable(
        self,
        name: str,
        value: Value,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        choices: Collection[str] | None = None,
    ) -> Steerable[Value]:
        """Declare a value that people may change while training runs, and get it: read `.value` in every step.

        It is changed between two steps, on all ranks between the same two, and each change is a fact of the trial. An
        attempt that goes on from an earlier step changes it after the same steps again. Declare it before the first step;
        every rank must.

        Args:
            name: best that of the parameter which gives its first value.
            value: what it is as long as nobody changes it: a float, an int, a bool or a text. It stays of that type.
            minimum: of a number, included.
            maximum: of a number, included.
            choices: what a text may be.

        Raises:
            InvalidArgument: the value is out of its bounds, or a bound is none.
        """
        return self._loop.steering.declare(name, value, minimum, maximum, choices)

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
        return self._loop.beginning.restore(map_location, into)

    def restored_checkpoint(self) -> Path | None:
        """Return the checkpoint of another library to go on from; see `adopt`. None: start from the beginning.

        It is the folder that was adopted, or one with the file that was.

        Raises:
            SnapshotInvalid: the snapshot does not verify.
        """
        return self._loop.beginning.restored_checkpoint()

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
        return self._loop.epochs.epochs(count)

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Go through the batches of the current epoch, after a resume from where the snapshot was.

        Feeds the batch monitor. A loader with `state_dict` and `load_state_dict` goes on by itself; with others the
        batches that are done are skipped, in the same order. A loop of one's own that leaves an epoch before its last
        batch begins the next one with the next call.

        Raises:
            Stopped: a stop was asked for.
        """
        return self._loop.epochs.batches(loader)

    def leave_epoch(self) -> None:
        """End the epoch that the loop has left before its last batch. Between two epochs it does nothing."""
        self._loop.epochs.leave()

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
        self._steps.log(values, step, commit)

    def samples(self, name: str, rows: Any, step: int | None = None) -> None:
        """Log what a model was asked and what it said, at a step.

        Costs microseconds a row: nothing is read or sent here. Of a step at most 256 rows of a series are kept, of each text
        64 KiB, and of long runs one step in so many (`docs/samples.md` has the rule); what is left out is said.

        Args:
            name: of the series, such as `eval/samples`.
            rows: mappings with `prompt`, `completion`, `scores` (numbers by name), `group` (what belongs together, such as
                the completions of one prompt) and `tags`, all of which may be missing. A number under another name is a
                score. Columns of equal length by these names are taken too.
            step: the step that they belong to. Default: the last one that was logged, as in an evaluation. Log them before
                `maybe_snapshot`, so that a resume has them.
        """
        self._loop.samples.samples(name, rows, step)

    def text(self, name: str, text: str | list[str], step: int | None = None) -> None:
        """Log a text, or several, at a step; see `samples` for what is kept."""
        self._loop.samples.text(name, text, step)

    def table(self, name: str, table: Any, step: int | None = None) -> None:
        """Log a table at a step: rows as mappings, columns by name, or a data frame. At most 10,000 cells and 64 KiB."""
        self._loop.samples.table(name, table, step)

    def histogram(
        self,
        name: str,
        values: Any = None,
        *,
        bins: int = 64,
        counts: Any = None,
        edges: Any = None,
        step: int | None = None,
    ) -> None:
        """Log how values are distributed, at a step.

        Args:
            values: numbers of any shape. They are copied here and counted beside the loop, in bins of equal width as
                `numpy.histogram` has them; what is not finite is left out.
            bins: at most 1,024.
            counts: of bins that the caller has counted, in place of values.
            edges: of these bins, ascending, one more than counts.
        """
        self._loop.samples.histogram(name, values, bins, counts, edges, step)

    def tokens(self, count: int) -> None:
        """Count tokens that the step under way reads, of all ranks together; several calls of a step add up.

        `log` then has `train/tokens` with it: those of the whole training, which goes on where a snapshot was. Of it come
        `system/tokens_per_second`, and with `flops` `system/mfu_percent`.

        Args:
            count: tokens that a model reads, best without padding.
        """
        self._loop.tokens.count(count)

    def flops(self, parameters: Any = None, *, per_token: float | None = None, peak: float | None = None) -> None:
        """Say what a token takes, so that the share of the devices' speed that training uses (MFU) is known.

        What is reckoned with is recorded with the parameters of the trial, below `compute`.

        Args:
            parameters: how many the model has, or the model, a module of PyTorch: a token then takes 6 operations for each.
            per_token: operations for one token, forwards and backwards, in place of that.
            peak: operations that all devices together can do in a second. None: that of the GPU of this rank, dense in 16
                bits, from a table, for each rank.
        """
        self._loop.tokens.flops(parameters, per_token, peak)

    def advance(self, step: int, *, epoch: int | None = None, batch: int | None = None) -> None:
        """Say that a framework has done this step, with no values to log. It is not interrupted by a stop.

        Args:
            step: optimizer updates that are done.
            epoch: the current epoch, from 0.
            batch: batches of this epoch that are done.
        """
        self._steps.advance(step, epoch, batch)

    def complete_epoch(self, epoch: int) -> None:
        """Say that a framework has ended an epoch, or left it: its place is that of `advance`."""
        self._host.report(self._progress.epoch_completed(epoch))
        self._host.keeper.epoch_ended()

    def accumulate(self, values: Mapping[str, Any], examples: float = 1) -> None:
        """Add the values of one micro-batch to the step under way, each a mean over so many examples."""
        left_out = self._loop.averages.add(series_names.flat(self._loop.values.named(values)), examples)
        if left_out:
            self.warn(
                "accumulate", f"accumulate: {', '.join(left_out[:5])}: no number, or no examples behind it; left out"
            )

    def mean(self) -> dict[str, Any]:
        """Return the means of what was accumulated since the last call, over micro-batches and over processes.

        Under torchrun every process must call it, at the same step: `trial.log(trial.mean())`.
        """
        return self._loop.averages.take()

    def local_mean(self) -> dict[str, Any]:
        """Return the means over the micro-batches of this process alone: no other process takes part."""
        return self._loop.averages.take(alone=True)

    def watch(self, optimizer: Any, prefix: str = "train") -> None:
        """Log an optimizer's learning rate, weight decay and gradient norm before clipping, with every step.

        The series are `train/learning_rate`, `train/weight_decay` and `train/grad_norm`; those of further parameter
        groups end in `_1`, `_2`... A value that `log` is given under the same key wins. `prefix` stands in place of
        `train`, where there are several optimizers; a second one under the same prefix is `train_2`. One that stands
        within another, as `accelerator.prepare` makes it, is found; what cannot be watched is said, and training goes on.
        """
        self._loop.watches.add(optimizer, prefix)

    # --- evaluations

    def evaluation(self, batch_count: float | None = None, keep_random: bool | None = None) -> Evaluation:
        """Open an evaluation at the current step: `with trial.evaluation() as evaluation: ...`.

        Args:
            batch_count: how many batches it has, if that is known.
            keep_random: whether the random generators are put back at its end, so that training goes on as without it.
                Default: in the entrypoint of a runtime they are; a script of one's own computes what it computes by
                itself, so there they are left alone.
        """
        return self._loop.evaluations.open(batch_count, keep_random)

    def evaluate_every(self, steps: float, function: Callable[[], object]) -> None:
        """Have a function run after every so many steps, between two batches.

        The function opens `trial.evaluation()` itself. One that a stop interrupted runs again right after the resume.
        """
        self._loop.evaluations.run_every(steps, function)

    def evaluation_due(self) -> bool:
        """Return whether the loop is to evaluate now: a stop interrupted the evaluation of this step, or somebody asks for one.

        A loop that asks after each step can be had to evaluate by `milepost trial evaluate`; so can one that uses
        `evaluate_every`.
        """
        return self._loop.evaluations.is_due()

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
        self._loop.snapshots.maybe(state, sharded)

    def snapshot(self, state: Callable[[], State] | None = None, *, sharded: bool = False) -> None:
        """Take a snapshot now. Call it between two steps; of several ranks each at the same.

        Raises:
            StateNotSavable: the state could not be read back. Only in an entrypoint that Milepost runs, which is to be
                mended before it trains for long; a script of one's own goes on, and the snapshot has failed.
        """
        self._loop.snapshots.now(state, sharded)

    def adopt(self, checkpoint: str | Path, *, parts: Collection[str] = (), plain: Collection[str] = ()) -> None:
        """Record a checkpoint that another library has just written, a file or a folder, as a snapshot of this step.

        It is copied and looked at beside the loop: a file that is torn fails the snapshot, not the training. Whether the
        library takes it back it alone can tell. `restored_checkpoint` gives it back after a resume.

        Args:
            parts: names of files in it that other processes write; they are waited for.
            plain: patterns of the names of files that the library reads with `torch.load(weights_only=True)`: what that
                refuses fails the snapshot, instead of the resume. Without any it is said what that would refuse.
        """
        self._loop.snapshots.adopt(Path(checkpoint), parts, plain)

    def wait_for_snapshot(self, seconds: float | None = None) -> None:
        """Wait until the snapshot that is under way is committed, or has failed.

        Args:
            seconds: no longer than this. None: however long it takes.

        Raises:
            TimeoutError: it took longer than `seconds`.
        """
        self._host.keeper.wait(seconds)

    # --- reading

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

    # --- stops and the end

    def should_stop(self) -> bool:
        """Return whether a stop was asked for.

        A loop that asks is not interrupted by `log`: it takes its snapshot with `snapshot` and returns.
        """
        return self._loop.stopping.ask()

    @property
    def stop_requested(self) -> bool:
        return self._loop.stopping.order is not None

    def explain_end(self, reason: str) -> None:
        """Keep why a framework ends training before the last step of its plan, such as early stopping."""
        self._loop.plan.explain_end(reason)

    def finish(self, exit_code: int | None = None) -> None:
        """End the run of a script. A managed trial ends when its entrypoint returns; there it does nothing.

        Args:
            exit_code: as for `milepost.finish`.
        """
        self._host.finish(exit_code)
